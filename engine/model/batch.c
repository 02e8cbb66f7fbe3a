/* Batches and their segments. owner: the thread that holds the batch. Row memory comes from the
 * batch's arena; growing a segment copies its rows to a larger block and leaves the old one to the
 * arena, which at most doubles the memory of rows. Fails with PE_ENOMEM only. */
#include "model/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

enum {
  SEGMENT_FIRST = 16,          /* images a new segment has room for */
  SEGMENT_MAX = 8192,          /* images after which a new segment begins */
  SEGMENT_BYTES_MAX = 2 << 20, /* the same for the bytes of wide rows, but SEGMENT_FIRST fit */
  SEGMENT_GROWTH = 4,          /* the first steps; doubling from SEGMENT_GROWTH_END on */
  SEGMENT_GROWTH_END = 1024,
  ROW_ALIGN = 16
};

struct pe_batch *pe_batch_create(void) {
  struct pe_batch *b = calloc(1, sizeof(*b));
  if (!b) {
    return NULL;
  }
  pe_arena_init(&b->arena, 0);
  b->created_us = pe_clock_us();
  b->bytes = sizeof(*b);
  return b;
}

void pe_batch_destroy(struct pe_batch *b) {
  if (!b) {
    return;
  }
  for (struct pe_segment *s = b->first; s; s = s->next) {
    pe_table_unref(s->table);
  }
  if (b->new_table) {
    pe_table_unref(b->new_table);
  }
  pe_arena_close(&b->arena);
  free(b);
}

/* Moves the segment's images to a block with room for cap. */
static int regrow(struct pe_batch *b, struct pe_segment *s, uint32_t cap) {
  size_t row_bytes = s->table->row_bytes;
  uint8_t *rows = pe_arena_alloc(&b->arena, cap * row_bytes, ROW_ALIGN);
  struct pe_image_meta *meta =
      pe_arena_alloc(&b->arena, cap * sizeof(*meta), _Alignof(struct pe_image_meta));
  if (!rows || !meta) {
    return PE_ENOMEM;
  }
  if (s->nimages) {
    memcpy(rows, s->rows, s->nimages * row_bytes);
    memcpy(meta, s->meta, s->nimages * sizeof(*meta));
  }
  s->rows = rows;
  s->meta = meta;
  s->cap = cap;
  return 0;
}

/* Images a segment of this table may have, unless one extend asks for more. */
static uint32_t images_max(const struct pe_table *t) {
  uint32_t n = SEGMENT_BYTES_MAX / t->row_bytes;
  return n > SEGMENT_MAX ? SEGMENT_MAX : n < SEGMENT_FIRST ? SEGMENT_FIRST : n;
}

static uint32_t capacity_for(uint32_t now, uint32_t need, uint32_t max) {
  uint32_t cap = now ? now : SEGMENT_FIRST;
  while (cap < need && cap < max) {
    cap *= cap < SEGMENT_GROWTH_END ? SEGMENT_GROWTH : 2;
  }
  if (cap > max) {
    cap = max;
  }
  return cap < need ? need : cap;
}

static struct pe_segment *add_segment(struct pe_batch *b, struct pe_table *t, enum pe_op op,
                                      uint32_t n) {
  struct pe_segment *s = pe_arena_zalloc(&b->arena, sizeof(*s), _Alignof(struct pe_segment));
  if (!s) {
    return NULL;
  }
  s->table = t;
  s->op = op;
  uint32_t max = images_max(t);
  /* Behind a full segment of the same kind the next one will likely fill up too. */
  struct pe_segment *last = b->last;
  bool more_of_it = last && last->table == t && last->op == op;
  if (regrow(b, s, capacity_for(more_of_it ? max : 0, n, max))) {
    return NULL;
  }
  pe_table_ref(t);
  if (last) {
    last->next = s;
  } else {
    b->first = s;
  }
  b->last = s;
  return s;
}

static int room_for(struct pe_batch *b, struct pe_table *t, enum pe_op op, uint32_t n) {
  struct pe_segment *s = b->last;
  if (s && s->table == t && s->op == op) {
    uint32_t max = images_max(t);
    if (s->nimages < max && n <= max - s->nimages) {
      uint32_t need = s->nimages + n;
      return s->cap >= need ? 0 : regrow(b, s, capacity_for(s->cap, need, max));
    }
  }
  return add_segment(b, t, op, n) ? 0 : PE_ENOMEM;
}

int pe_batch_extend_slow(struct pe_batch *b, struct pe_table *t, enum pe_op op, uint32_t n,
                         uint8_t **rows, struct pe_image_meta **meta) {
  PE_ASSERT(op != PE_OP_UPDATE || n % 2 == 0);
  PE_ASSERT(t->row_bytes > 0);
  if (room_for(b, t, op, n)) {
    return PE_ENOMEM;
  }
  pe_batch_take(b, n, rows, meta);
  return 0;
}

void pe_batch_retract(struct pe_batch *b, uint32_t n) {
  struct pe_segment *s = b->last;
  PE_ASSERT(s && s->nimages >= n);
  PE_ASSERT(s->op != PE_OP_UPDATE || n % 2 == 0);
  s->nimages -= n;
  b->nimages -= n;
  b->nchanges -= s->op == PE_OP_UPDATE ? n / 2 : n;
}
