/* Arrays of results that grow and are used again. owner: the script thread. */
#include "model/output.h"

#include <stdlib.h>
#include <string.h>

enum { OUTS_FIRST = 1024, DEAD_FIRST = 16 };

void pe_outputs_init(struct pe_outputs *o) {
  memset(o, 0, sizeof(*o));
  pe_arena_init(&o->scratch, 0);
}

void pe_outputs_close(struct pe_outputs *o) {
  free(o->outs);
  free(o->dead);
  pe_arena_close(&o->scratch);
  memset(o, 0, sizeof(*o));
}

void pe_outputs_clear(struct pe_outputs *o) {
  o->nouts = o->ndead = 0;
  o->changes_in = o->changes_out = o->changes_filtered = o->changes_dlq = 0;
  pe_arena_reset(&o->scratch);
}

static int grow(void **items, size_t *cap, size_t first, size_t item_bytes) {
  size_t want = *cap ? *cap * 2 : first;
  if (want > SIZE_MAX / item_bytes) {
    return PE_ENOMEM;
  }
  void *p = realloc(*items, want * item_bytes);
  if (!p) {
    return PE_ENOMEM;
  }
  *items = p;
  *cap = want;
  return 0;
}

int pe_outputs_add(struct pe_outputs *o, const struct pe_out *out) {
  if (o->nouts == o->outs_cap) {
    void *items = o->outs;
    if (grow(&items, &o->outs_cap, OUTS_FIRST, sizeof(*o->outs))) {
      return PE_ENOMEM;
    }
    o->outs = items;
  }
  o->outs[o->nouts++] = *out;
  return 0;
}

int pe_outputs_add_dead(struct pe_outputs *o, const struct pe_dead *d) {
  if (o->ndead == o->dead_cap) {
    void *items = o->dead;
    if (grow(&items, &o->dead_cap, DEAD_FIRST, sizeof(*o->dead))) {
      return PE_ENOMEM;
    }
    o->dead = items;
  }
  o->dead[o->ndead++] = *d;
  return 0;
}
