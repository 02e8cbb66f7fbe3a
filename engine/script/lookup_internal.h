/* The inside of a lookup, for the files of this room only.
 *
 * One open-addressing index of entry numbers over pages of fixed-size entries, so that a get
 * touches two cache lines: the index and the entry, which holds key and today's value. Everything a
 * value points to (strings, older values) lies in an append-only arena: a value that is replaced
 * becomes history, so nothing is ever wasted. owner: the script thread. */
#ifndef PE_SCRIPT_LOOKUP_INTERNAL_H
#define PE_SCRIPT_LOOKUP_INTERNAL_H

#include "script/lookup.h"

enum { PE_LOOKUP_KEYS_MAX = 8, PE_LOOKUP_VALUES_MAX = 64, PE_LOOKUP_PAGE_ENTRIES = 4096 };

enum {
  PE_ENTRY_TODAY = 1,   /* the key has a value today */
  PE_ENTRY_HAD_NONE = 2 /* there was a time when the stream knew that it had none */
};

struct pe_past { /* an older value, newest first */
  struct pe_past *next;
  uint8_t value[];
};

struct pe_entry {
  uint64_t key; /* the integer, or the hash of the key bytes */
  uint64_t version;
  struct pe_past *past;
  struct pe_str bytes; /* the key bytes; integer keys have none */
  uint8_t flags;
  bool dirty;
};

struct pe_lookup {
  char *name;
  struct pe_table *table;  /* the version in force, a reference */
  struct pe_table *values; /* layout of a value */
  uint32_t nkeys, nvalues;
  uint32_t key_cols[PE_LOOKUP_KEYS_MAX], value_cols[PE_LOOKUP_VALUES_MAX];
  bool int_key, key_signed;
  bool filled;
  bool miss_emitted; /* rows were written after a get that found nothing */
  bool miss_dirty;
  bool missed_now; /* a get found nothing in the pass that runs */
  uint32_t head_bytes, value_bytes, entry_bytes;
  uint32_t *slots; /* entry number + 1; 0 empty */
  uint32_t nslots; /* a power of two */
  uint8_t **pages;
  uint32_t npages, pages_cap;
  uint32_t nentries;
  uint64_t nlive;
  uint32_t *dirty;
  uint32_t ndirty, dirty_cap;
  struct pe_arena arena;
  struct pe_buf key_buf;
};

struct pe_lookups {
  struct pe_lookup **items;
  uint32_t n, cap;
};

static inline struct pe_entry *pe_entry_at(const struct pe_lookup *l, uint32_t i) {
  return (struct pe_entry *)(void *)(l->pages[i / PE_LOOKUP_PAGE_ENTRIES] +
                                     (size_t)(i % PE_LOOKUP_PAGE_ENTRIES) * l->entry_bytes);
}
static inline uint8_t *pe_entry_value(const struct pe_lookup *l, struct pe_entry *e) {
  return (uint8_t *)e + l->head_bytes;
}
static inline uint64_t pe_lookup_mix(uint64_t x) {
  x ^= x >> 32;
  x *= UINT64_C(0xd6e8feb86659fd93);
  x ^= x >> 32;
  return x;
}
uint64_t pe_lookup_hash(const void *p, size_t n);

/* NULL: the key has never been seen. */
static inline struct pe_entry *pe_lookup_find_int(const struct pe_lookup *l, uint64_t key) {
  uint32_t mask = l->nslots - 1;
  for (uint32_t at = (uint32_t)pe_lookup_mix(key) & mask;; at = (at + 1) & mask) {
    uint32_t slot = l->slots[at];
    if (!slot) {
      return NULL;
    }
    struct pe_entry *e = pe_entry_at(l, slot - 1);
    if (e->key == key) {
      return e;
    }
  }
}
struct pe_entry *pe_lookup_find_bytes(const struct pe_lookup *l, const void *p, size_t n);
/* The entry of a key, made when it is new. NULL: out of memory. */
struct pe_entry *pe_lookup_entry(struct pe_lookup *l, uint64_t key, const void *p, size_t n);
int pe_lookup_mark_dirty(struct pe_lookup *l, struct pe_entry *e);
/* Today's value becomes `value` (a row of l->values; strings are copied), or nothing for NULL; what
 * it replaces becomes history. PE_ENOMEM. */
int pe_entry_set(struct pe_lookup *l, struct pe_entry *e, const uint8_t *value);
/* A value that the key once had. PE_ENOMEM. */
int pe_entry_add_past(struct pe_lookup *l, struct pe_entry *e, const uint8_t *value);
bool pe_lookup_values_equal(const struct pe_lookup *l, const uint8_t *a, const uint8_t *b);

/* Key bytes from parts, as gets and applies build them. The first part starts anew. */
void pe_lookup_key_int(struct pe_buf *b, uint64_t v);
void pe_lookup_key_text(struct pe_buf *b, const void *p, size_t n);

/* An integer column's value as 64 bits, signed ones extended. */
uint64_t pe_lookup_int_value(const struct pe_column *c, const uint8_t *row);

static inline bool pe_ctype_is_int(enum pe_ctype c) {
  return c <= PE_C_U64 || c == PE_C_YEAR || c == PE_C_BIT;
}
static inline bool pe_ctype_is_signed(enum pe_ctype c) {
  return c == PE_C_I8 || c == PE_C_I16 || c == PE_C_I32 || c == PE_C_I64;
}

#endif
