/* The bump allocator behind a batch. Chunks form a list with the current one in front; an
 * allocation larger than a chunk gets one of its own behind the current one, so the rest of that
 * is not lost. Fails with NULL only. */
#include "base/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct pe_arena_chunk {
  struct pe_arena_chunk *next;
  size_t bytes; /* with this header */
};

enum { CHUNK_HEAD = 32, CHUNK_MIN = 512, ALIGN_MAX = 32 };

void pe_arena_init(struct pe_arena *a, size_t chunk_bytes) {
  memset(a, 0, sizeof(*a));
  a->chunk_bytes = chunk_bytes ? chunk_bytes : PE_ARENA_CHUNK_DEFAULT;
  if (a->chunk_bytes < CHUNK_MIN) {
    a->chunk_bytes = CHUNK_MIN;
  }
}

void pe_arena_close(struct pe_arena *a) {
  struct pe_arena_chunk *c = a->head;
  while (c) {
    struct pe_arena_chunk *next = c->next;
    free(c);
    c = next;
  }
  a->head = NULL;
  a->at = a->end = NULL;
  a->bytes = 0;
}

static void use_chunk(struct pe_arena *a, struct pe_arena_chunk *c) {
  a->at = (uint8_t *)c + CHUNK_HEAD;
  a->end = (uint8_t *)c + c->bytes;
}

void pe_arena_reset(struct pe_arena *a) {
  struct pe_arena_chunk *keep = NULL;
  struct pe_arena_chunk *c = a->head;
  while (c) {
    struct pe_arena_chunk *next = c->next;
    if (!keep && c->bytes == a->chunk_bytes) {
      keep = c;
    } else {
      free(c);
    }
    c = next;
  }
  a->head = keep;
  a->at = a->end = NULL;
  a->bytes = 0;
  if (keep) {
    keep->next = NULL;
    a->bytes = keep->bytes;
    use_chunk(a, keep);
  }
}

void *pe_arena_alloc_slow(struct pe_arena *a, size_t n, size_t align) {
  PE_ASSERT(align && align <= ALIGN_MAX && (align & (align - 1)) == 0);
  if (n > SIZE_MAX / 2) {
    return NULL;
  }
  size_t need = CHUNK_HEAD + n + align;
  bool own = need > a->chunk_bytes / 2;
  size_t bytes = own ? need : a->chunk_bytes;
  struct pe_arena_chunk *c = malloc(bytes);
  if (!c) {
    return NULL;
  }
  c->bytes = bytes;
  a->bytes += bytes;
  if (own && a->head) {
    c->next = a->head->next;
    a->head->next = c;
    uintptr_t p = ((uintptr_t)c + CHUNK_HEAD + (align - 1)) & ~(uintptr_t)(align - 1);
    return (void *)p;
  }
  c->next = a->head;
  a->head = c;
  use_chunk(a, c);
  uintptr_t p = ((uintptr_t)a->at + (align - 1)) & ~(uintptr_t)(align - 1);
  a->at = (uint8_t *)(p + n);
  return (void *)p;
}

void *pe_arena_zalloc(struct pe_arena *a, size_t n, size_t align) {
  void *p = pe_arena_alloc(a, n, align);
  if (p) {
    memset(p, 0, n);
  }
  return p;
}

char *pe_arena_strndup(struct pe_arena *a, const char *s, size_t n) {
  if (n == SIZE_MAX) {
    return NULL;
  }
  char *p = pe_arena_alloc(a, n + 1, 1);
  if (p) {
    if (n) {
      memcpy(p, s, n);
    }
    p[n] = 0;
  }
  return p;
}
