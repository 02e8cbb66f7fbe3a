/* The bump allocator behind a batch. Chunks form a list with the current one in front; an
 * allocation larger than a chunk gets one of its own behind the current one, so the rest of that
 * is not lost. Fails with NULL only.
 *
 * Chunks that are given back wait in a process-wide cache for the next batch: handed to the kernel
 * and faulted in again, fresh memory costs several times what filling a row costs. */
#include "base/arena.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct pe_arena_chunk {
  struct pe_arena_chunk *next;
  size_t bytes; /* with this header */
};

enum {
  CHUNK_HEAD = 32,
  CHUNK_MIN = 512,
  ALIGN_MAX = 32,
  CACHE_CHUNK_MIN =
      64 * 1024,             /* smaller and larger ones are malloc's business; sizes between are */
  CACHE_CHUNK_MAX = 4 << 20, /* multiples of the former, so that they fit again */
  CACHE_BYTES_MAX = 32 << 20
};

#if defined(__SANITIZE_ADDRESS__)
#define CACHE_ON false /* it would hide what is used after it was freed */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHE_ON false
#endif
#endif
#ifndef CACHE_ON
#define CACHE_ON true
#endif

/* owner: shared, by its lock */
static struct {
  pthread_mutex_t lock;
  struct pe_arena_chunk *first;
  size_t bytes;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_cacheable(size_t bytes) {
  return CACHE_ON && bytes >= CACHE_CHUNK_MIN && bytes <= CACHE_CHUNK_MAX;
}

/* The smallest waiting chunk of min to max bytes, or NULL. */
static struct pe_arena_chunk *cache_take(size_t min, size_t max) {
  struct pe_arena_chunk **best = NULL;
  pthread_mutex_lock(&cache.lock);
  for (struct pe_arena_chunk **at = &cache.first; *at; at = &(*at)->next) {
    size_t bytes = (*at)->bytes;
    if (bytes >= min && bytes <= max && (!best || bytes < (*best)->bytes)) {
      best = at;
      if (bytes == min) {
        break;
      }
    }
  }
  struct pe_arena_chunk *found = NULL;
  if (best) {
    found = *best;
    *best = found->next;
    cache.bytes -= found->bytes;
  }
  pthread_mutex_unlock(&cache.lock);
  return found;
}

static struct pe_arena_chunk *chunk_get(size_t bytes, bool exact) {
  struct pe_arena_chunk *c = NULL;
  if (is_cacheable(bytes)) {
    if (!exact) {
      bytes = (bytes + CACHE_CHUNK_MIN - 1) / CACHE_CHUNK_MIN * CACHE_CHUNK_MIN;
    }
    c = cache_take(bytes, exact ? bytes : bytes * 2);
  }
  if (!c) {
    c = malloc(bytes);
    if (c) {
      c->bytes = bytes;
    }
  }
  return c;
}

static void chunk_give(struct pe_arena_chunk *c) {
  if (is_cacheable(c->bytes)) {
    pthread_mutex_lock(&cache.lock);
    bool room = cache.bytes + c->bytes <= CACHE_BYTES_MAX;
    if (room) {
      c->next = cache.first;
      cache.first = c;
      cache.bytes += c->bytes;
    }
    pthread_mutex_unlock(&cache.lock);
    if (room) {
      return;
    }
  }
  free(c);
}

void pe_arena_cache_drop(void) {
  pthread_mutex_lock(&cache.lock);
  struct pe_arena_chunk *c = cache.first;
  cache.first = NULL;
  cache.bytes = 0;
  pthread_mutex_unlock(&cache.lock);
  while (c) {
    struct pe_arena_chunk *next = c->next;
    free(c);
    c = next;
  }
}

size_t pe_arena_cache_bytes(void) {
  pthread_mutex_lock(&cache.lock);
  size_t bytes = cache.bytes;
  pthread_mutex_unlock(&cache.lock);
  return bytes;
}

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
    chunk_give(c);
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
      chunk_give(c);
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
  struct pe_arena_chunk *c = chunk_get(own ? need : a->chunk_bytes, !own);
  if (!c) {
    return NULL;
  }
  a->bytes += c->bytes;
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
