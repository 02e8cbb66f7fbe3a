/* A bump allocator: one per batch, freed or reset as a whole. Memory never moves, so pointers into
 * it stay valid until reset/close. Not thread-safe: the owner of the batch owns the arena. */
#ifndef PE_BASE_ARENA_H
#define PE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct pe_arena_chunk;

struct pe_arena {
  struct pe_arena_chunk *head; /* current chunk; older ones linked behind */
  uint8_t *at, *end;           /* free part of the current chunk */
  size_t bytes;                /* sum of all chunks */
  size_t chunk_bytes;          /* size of an ordinary chunk */
};

enum { PE_ARENA_CHUNK_DEFAULT = 256 * 1024 };

void pe_arena_init(struct pe_arena *a, size_t chunk_bytes); /* 0: default; allocates nothing yet */
void pe_arena_close(struct pe_arena *a);
/* Forgets all allocations; keeps one ordinary chunk for reuse, frees the rest. */
void pe_arena_reset(struct pe_arena *a);
void *pe_arena_alloc_slow(struct pe_arena *a, size_t n, size_t align);

/* NULL only when out of memory. align is a power of two <= 32. Memory is not zeroed. */
static inline void *pe_arena_alloc(struct pe_arena *a, size_t n, size_t align) {
  uintptr_t p = ((uintptr_t)a->at + (align - 1)) & ~(uintptr_t)(align - 1);
  if (a->at && p <= (uintptr_t)a->end && n <= (uintptr_t)a->end - p) {
    a->at = (uint8_t *)(p + n);
    return (void *)p;
  }
  return pe_arena_alloc_slow(a, n, align);
}
void *pe_arena_zalloc(struct pe_arena *a, size_t n, size_t align);
char *pe_arena_strndup(struct pe_arena *a, const char *s, size_t n); /* NUL-terminated copy */

/* Chunks of closed arenas wait in a cache of a few ten MB for the next one (thread-safe). */
void pe_arena_cache_drop(void); /* gives them back to malloc */
size_t pe_arena_cache_bytes(void);

#endif
