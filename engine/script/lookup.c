/* Lookups: definition, the hash and its entries. How changes of the source come in is in
 * lookup_apply.c, how entries go to the state store and back in lookup_store.c. owner: the script
 * thread. Fails with PE_ENOMEM, and PE_ECONFIG for a definition that the table has no columns for.
 */
#include "script/lookup_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { SLOTS_FIRST = 1024, NAMES_MAX = 4096 };

struct pe_lookups *pe_lookups_create(void) {
  return calloc(1, sizeof(struct pe_lookups));
}

static void lookup_destroy(struct pe_lookup *l) {
  if (!l) {
    return;
  }
  for (uint32_t i = 0; i < l->npages; i++) {
    free(l->pages[i]);
  }
  free(l->pages);
  free(l->slots);
  free(l->dirty);
  free(l->name);
  pe_table_unref(l->table);
  pe_table_unref(l->values);
  pe_arena_close(&l->arena);
  pe_buf_close(&l->key_buf);
  free(l);
}

void pe_lookups_destroy(struct pe_lookups *ls) {
  if (!ls) {
    return;
  }
  for (uint32_t i = 0; i < ls->n; i++) {
    lookup_destroy(ls->items[i]);
  }
  free(ls->items);
  free(ls);
}

static int no_memory(struct pe_err *err) {
  return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a lookup");
}

static int resolve(const struct pe_table *t, const char *name, uint32_t *col, struct pe_err *err) {
  int i = pe_table_find(t, name);
  if (i >= 0 && (uint32_t)i < t->nsource) {
    *col = (uint32_t)i;
    return 0;
  }
  const char *names[NAMES_MAX];
  uint32_t n = t->nsource < NAMES_MAX ? t->nsource : NAMES_MAX;
  for (uint32_t c = 0; c < n; c++) {
    names[c] = t->columns[c].name;
  }
  const char *near = pe_str_nearest(name, names, n);
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "lookup: table %s has no column \"%s\"%s%s%s",
                    t->name, name, near ? "; did you mean \"" : "", near ? near : "",
                    near ? "\"?" : "");
}

/* The layout of a value: copies of the value columns, all nullable. */
static int value_layout(const struct pe_table *t, const uint32_t *cols, uint32_t n,
                        struct pe_table **out, struct pe_err *err) {
  struct pe_table *v = pe_table_create(t->db, t->name);
  if (!v) {
    return no_memory(err);
  }
  int rc = 0;
  for (uint32_t i = 0; i < n && !rc; i++) {
    const struct pe_column *from = &t->columns[cols[i]];
    struct pe_column *c = pe_table_add(v, from->name);
    if (!c) {
      rc = no_memory(err);
      break;
    }
    char *name = c->name;
    *c = *from;
    c->name = name;
    c->pk_ordinal = 0;
    c->offset = 0;
    c->type_text = from->type_text
                       ? pe_arena_strndup(&v->arena, from->type_text, strlen(from->type_text))
                       : NULL;
    c->members = NULL;
    if (from->nmembers) {
      c->members = pe_arena_zalloc(&v->arena, from->nmembers * sizeof(char *), _Alignof(char *));
      for (uint32_t m = 0; m < from->nmembers && c->members; m++) {
        c->members[m] = pe_arena_strndup(&v->arena, from->members[m], strlen(from->members[m]));
      }
      if (!c->members) {
        rc = no_memory(err);
      }
    }
  }
  if (!rc) {
    rc = pe_table_finish(v, err);
  }
  if (rc) {
    pe_table_unref(v);
    return rc;
  }
  *out = v;
  return 0;
}

static void define_name(struct pe_buf *b, const char *table, const char *const *keys,
                        uint32_t nkeys, const char *const *values, uint32_t nvalues) {
  pe_buf_puts(b, table);
  for (uint32_t i = 0; i < nkeys; i++) {
    pe_buf_puts(b, i ? "," : "(");
    pe_buf_puts(b, keys[i]);
  }
  for (uint32_t i = 0; i < nvalues; i++) {
    pe_buf_puts(b, i ? "," : "):");
    pe_buf_puts(b, values[i]);
  }
}

struct pe_lookup *pe_lookup_find(const struct pe_lookups *ls, const char *name) {
  for (uint32_t i = 0; i < ls->n; i++) {
    if (strcmp(ls->items[i]->name, name) == 0) {
      return ls->items[i];
    }
  }
  return NULL;
}

static void measure(struct pe_lookup *l) {
  uint32_t end = l->values->null_bytes;
  for (uint32_t i = 0; i < l->values->ncolumns; i++) {
    const struct pe_column *c = &l->values->columns[i];
    uint32_t at = c->offset + pe_ctype_bytes(c->ctype);
    end = at > end ? at : end;
  }
  l->value_bytes = (end + 7) & ~7u;
  l->head_bytes = (uint32_t)((sizeof(struct pe_entry) + 7) & ~(size_t)7);
  l->entry_bytes = l->head_bytes + l->value_bytes;
}

static int fill_in(struct pe_lookup *l, struct pe_table *t, const char *const *keys,
                   const char *const *values, struct pe_err *err) {
  l->table = pe_table_ref(t);
  for (uint32_t i = 0; i < l->nkeys; i++) {
    int rc = resolve(t, keys[i], &l->key_cols[i], err);
    if (rc) {
      return rc;
    }
  }
  for (uint32_t i = 0; i < l->nvalues; i++) {
    int rc = resolve(t, values[i], &l->value_cols[i], err);
    if (rc) {
      return rc;
    }
    if (t->columns[l->value_cols[i]].pii) {
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                        "lookup: column %s.%s is marked pii and can't be kept in a lookup; leave "
                        "it out of values, or out of tables.%s.pii",
                        t->name, values[i], t->name);
    }
  }
  enum pe_ctype kc = t->columns[l->key_cols[0]].ctype;
  l->int_key = l->nkeys == 1 && pe_ctype_is_int(kc);
  l->key_signed = pe_ctype_is_signed(kc);
  int rc = value_layout(t, l->value_cols, l->nvalues, &l->values, err);
  if (rc) {
    return rc;
  }
  measure(l);
  l->nslots = SLOTS_FIRST;
  l->slots = calloc(l->nslots, sizeof(*l->slots));
  return l->slots ? 0 : no_memory(err);
}

int pe_lookup_define(struct pe_lookups *ls, struct pe_table *table, const char *const *keys,
                     uint32_t nkeys, const char *const *values, uint32_t nvalues,
                     struct pe_lookup **out, struct pe_err *err) {
  if (!nkeys || nkeys > PE_LOOKUP_KEYS_MAX || !nvalues || nvalues > PE_LOOKUP_VALUES_MAX) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "lookup on %s: 1 to %d key columns and 1 to %d value columns work",
                      table->name, (int)PE_LOOKUP_KEYS_MAX, (int)PE_LOOKUP_VALUES_MAX);
  }
  struct pe_buf name;
  pe_buf_init(&name);
  define_name(&name, table->name, keys, nkeys, values, nvalues);
  const char *text = pe_buf_cstr(&name);
  *out = pe_buf_ok(&name) ? pe_lookup_find(ls, text) : NULL;
  if (*out || !pe_buf_ok(&name)) {
    int rc = *out ? 0 : no_memory(err);
    pe_buf_close(&name);
    return rc;
  }
  struct pe_lookup *l = calloc(1, sizeof(*l));
  int rc = l ? 0 : no_memory(err);
  if (l) {
    pe_arena_init(&l->arena, 0);
    pe_buf_init(&l->key_buf);
    l->nkeys = nkeys;
    l->nvalues = nvalues;
    l->name = strdup(text);
    rc = l->name ? fill_in(l, table, keys, values, err) : no_memory(err);
  }
  pe_buf_close(&name);
  if (!rc && ls->n == ls->cap) {
    uint32_t cap = ls->cap ? ls->cap * 2 : 8;
    struct pe_lookup **p = realloc(ls->items, cap * sizeof(struct pe_lookup *));
    if (p) {
      ls->items = p;
      ls->cap = cap;
    } else {
      rc = no_memory(err);
    }
  }
  if (rc) {
    lookup_destroy(l);
    return rc;
  }
  ls->items[ls->n++] = l;
  *out = l;
  return 0;
}

uint32_t pe_lookups_count(const struct pe_lookups *ls) {
  return ls->n;
}

struct pe_lookup *pe_lookups_at(const struct pe_lookups *ls, uint32_t i) {
  PE_ASSERT(i < ls->n);
  return ls->items[i];
}

const char *pe_lookup_name(const struct pe_lookup *l) {
  return l->name;
}

const struct pe_table *pe_lookup_table(const struct pe_lookup *l) {
  return l->table;
}

uint64_t pe_lookup_keys(const struct pe_lookup *l) {
  return l->nlive;
}

uint64_t pe_lookup_bytes(const struct pe_lookup *l) {
  return (uint64_t)l->npages * PE_LOOKUP_PAGE_ENTRIES * l->entry_bytes +
         (uint64_t)l->nslots * sizeof(*l->slots) + l->arena.bytes +
         (uint64_t)l->dirty_cap * sizeof(*l->dirty);
}

bool pe_lookup_filled(const struct pe_lookup *l) {
  return l->filled;
}

void pe_lookup_set_filled(struct pe_lookup *l, bool filled) {
  l->filled = filled;
}

static bool same_table(const struct pe_table *a, const struct pe_table *b) {
  return a == b || (strcmp(a->db, b->db) == 0 && strcmp(a->name, b->name) == 0);
}

bool pe_lookups_uses(const struct pe_lookups *ls, const struct pe_table *t) {
  for (uint32_t i = 0; i < ls->n; i++) {
    if (same_table(ls->items[i]->table, t)) {
      return true;
    }
  }
  return false;
}

/* ---- the hash ---- */

uint64_t pe_lookup_hash(const void *p, size_t n) {
  const uint8_t *b = p;
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < n; i++) {
    h = (h ^ b[i]) * UINT64_C(0x100000001b3);
  }
  return h;
}

struct pe_entry *pe_lookup_find_bytes(const struct pe_lookup *l, const void *p, size_t n) {
  uint64_t key = pe_lookup_hash(p, n);
  uint32_t mask = l->nslots - 1;
  for (uint32_t at = (uint32_t)pe_lookup_mix(key) & mask;; at = (at + 1) & mask) {
    uint32_t slot = l->slots[at];
    if (!slot) {
      return NULL;
    }
    struct pe_entry *e = pe_entry_at(l, slot - 1);
    if (e->key == key && e->bytes.len == n && memcmp(e->bytes.p, p, n) == 0) {
      return e;
    }
  }
}

static void put_slot(uint32_t *slots, uint32_t nslots, uint64_t key, uint32_t entry) {
  uint32_t mask = nslots - 1;
  uint32_t at = (uint32_t)pe_lookup_mix(key) & mask;
  while (slots[at]) {
    at = (at + 1) & mask;
  }
  slots[at] = entry + 1;
}

static bool grow_slots(struct pe_lookup *l) {
  uint32_t n = l->nslots * 2;
  uint32_t *slots = n ? calloc(n, sizeof(*slots)) : NULL;
  if (!slots) {
    return false;
  }
  for (uint32_t i = 0; i < l->nentries; i++) {
    put_slot(slots, n, pe_entry_at(l, i)->key, i);
  }
  free(l->slots);
  l->slots = slots;
  l->nslots = n;
  return true;
}

static bool grow_pages(struct pe_lookup *l) {
  if (l->npages == l->pages_cap) {
    uint32_t cap = l->pages_cap ? l->pages_cap * 2 : 16;
    uint8_t **p = realloc(l->pages, cap * sizeof(*p));
    if (!p) {
      return false;
    }
    l->pages = p;
    l->pages_cap = cap;
  }
  uint8_t *page = malloc((size_t)PE_LOOKUP_PAGE_ENTRIES * l->entry_bytes);
  if (!page) {
    return false;
  }
  l->pages[l->npages++] = page;
  return true;
}

struct pe_entry *pe_lookup_entry(struct pe_lookup *l, uint64_t key, const void *p, size_t n) {
  struct pe_entry *e = l->int_key ? pe_lookup_find_int(l, key) : pe_lookup_find_bytes(l, p, n);
  if (e) {
    return e;
  }
  if ((uint64_t)l->nentries * 10 >= (uint64_t)l->nslots * 7 && !grow_slots(l)) {
    return NULL;
  }
  if (l->nentries == l->npages * PE_LOOKUP_PAGE_ENTRIES && !grow_pages(l)) {
    return NULL;
  }
  struct pe_str bytes = {0};
  if (!l->int_key) {
    bytes.p = pe_arena_strndup(&l->arena, p, n);
    bytes.len = (uint32_t)n;
    key = pe_lookup_hash(p, n);
    if (!bytes.p) {
      return NULL;
    }
  }
  e = pe_entry_at(l, l->nentries);
  memset(e, 0, l->entry_bytes);
  e->key = key;
  e->bytes = bytes;
  put_slot(l->slots, l->nslots, key, l->nentries);
  l->nentries++;
  return e;
}

int pe_lookup_mark_dirty(struct pe_lookup *l, struct pe_entry *e) {
  if (e->dirty) {
    return 0;
  }
  if (l->ndirty == l->dirty_cap) {
    uint32_t cap = l->dirty_cap ? l->dirty_cap * 2 : 256;
    uint32_t *p = realloc(l->dirty, cap * sizeof(*p));
    if (!p) {
      return PE_ENOMEM;
    }
    l->dirty = p;
    l->dirty_cap = cap;
  }
  /* the entry's number, from its slot: dirty entries are few beside gets, so it is not stored */
  uint32_t mask = l->nslots - 1;
  uint32_t at = (uint32_t)pe_lookup_mix(e->key) & mask;
  while (pe_entry_at(l, l->slots[at] - 1) != e) {
    at = (at + 1) & mask;
  }
  l->dirty[l->ndirty++] = l->slots[at] - 1;
  e->dirty = true;
  return 0;
}

/* ---- values ---- */

bool pe_lookup_values_equal(const struct pe_lookup *l, const uint8_t *a, const uint8_t *b) {
  uint32_t cols[PE_LOOKUP_VALUES_MAX];
  for (uint32_t i = 0; i < l->nvalues; i++) {
    cols[i] = i;
  }
  return pe_rows_equal(l->values, a, b, cols, l->nvalues);
}

static int copy_value(struct pe_lookup *l, uint8_t *to, const uint8_t *from) {
  memcpy(to, from, l->value_bytes);
  for (uint32_t i = 0; i < l->nvalues; i++) {
    const struct pe_column *c = &l->values->columns[i];
    if (!pe_ctype_is_str(c->ctype) || pe_row_null(from, i)) {
      continue;
    }
    struct pe_str s;
    memcpy(&s, from + c->offset, sizeof(s));
    s.p = pe_arena_strndup(&l->arena, s.len ? s.p : "", s.len);
    if (!s.p) {
      return PE_ENOMEM;
    }
    memcpy(to + c->offset, &s, sizeof(s));
  }
  return 0;
}

static bool in_past(const struct pe_lookup *l, const struct pe_entry *e, const uint8_t *value) {
  for (const struct pe_past *p = e->past; p; p = p->next) {
    if (pe_lookup_values_equal(l, p->value, value)) {
      return true;
    }
  }
  return false;
}

static struct pe_past *new_past(struct pe_lookup *l) {
  return pe_arena_alloc(&l->arena, sizeof(struct pe_past) + l->value_bytes, 8);
}

int pe_entry_add_past(struct pe_lookup *l, struct pe_entry *e, const uint8_t *value) {
  bool is_today =
      (e->flags & PE_ENTRY_TODAY) && pe_lookup_values_equal(l, pe_entry_value(l, e), value);
  if (is_today || in_past(l, e, value)) {
    return 0;
  }
  struct pe_past *p = new_past(l);
  if (!p || copy_value(l, p->value, value)) {
    return PE_ENOMEM;
  }
  p->next = e->past;
  e->past = p;
  return pe_lookup_mark_dirty(l, e);
}

int pe_entry_set(struct pe_lookup *l, struct pe_entry *e, const uint8_t *value) {
  uint8_t *today = pe_entry_value(l, e);
  bool had = e->flags & PE_ENTRY_TODAY;
  if (had && value && pe_lookup_values_equal(l, today, value)) {
    return 0;
  }
  if (pe_lookup_mark_dirty(l, e)) {
    return PE_ENOMEM;
  }
  if (had && !in_past(l, e, today)) {
    struct pe_past *p = new_past(l);
    if (!p) {
      return PE_ENOMEM;
    }
    memcpy(p->value, today, l->value_bytes); /* its strings are in the arena already */
    p->next = e->past;
    e->past = p;
  }
  if (!value) {
    l->nlive -= had;
    e->flags = (uint8_t)((e->flags & ~PE_ENTRY_TODAY) | PE_ENTRY_HAD_NONE);
    return 0;
  }
  if (copy_value(l, today, value)) {
    return PE_ENOMEM;
  }
  l->nlive += !had;
  e->flags |= PE_ENTRY_TODAY;
  return 0;
}
