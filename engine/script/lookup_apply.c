/* What changes of the source mean for the lookups on their table. owner: the script thread. Fails
 * with PE_ENOMEM only: a row whose key has a NULL part is in no lookup.
 *
 * An entry carries the version of the change that gave it its value of today: an older one (a
 * snapshot row read after the stream had gone past it) only adds to what the key has been. */
#include <string.h>

#include "script/lookup_internal.h"

void pe_lookup_key_int(struct pe_buf *b, uint64_t v) {
  uint8_t part[9] = {'i'};
  memcpy(part + 1, &v, 8);
  pe_buf_put(b, part, sizeof(part));
}

void pe_lookup_key_text(struct pe_buf *b, const void *p, size_t n) {
  uint8_t head[5] = {'t'};
  uint32_t len = (uint32_t)n;
  memcpy(head + 1, &len, 4);
  pe_buf_put(b, head, sizeof(head));
  pe_buf_put(b, p, n);
}

uint64_t pe_lookup_int_value(const struct pe_column *c, const uint8_t *row) {
  uint32_t bytes = pe_ctype_bytes(c->ctype);
  uint64_t v = 0;
  memcpy(&v, row + c->offset, bytes);
  if (pe_ctype_is_signed(c->ctype) && bytes < 8) {
    unsigned shift = 64 - bytes * 8;
    v = (uint64_t)((int64_t)(v << shift) >> shift);
  }
  return v;
}

static void put_key_part(struct pe_buf *b, const struct pe_column *c, const uint8_t *row) {
  if (pe_ctype_is_int(c->ctype)) {
    pe_lookup_key_int(b, pe_lookup_int_value(c, row));
    return;
  }
  if (pe_ctype_is_str(c->ctype)) {
    struct pe_str s;
    memcpy(&s, row + c->offset, sizeof(s));
    pe_lookup_key_text(b, s.p, s.len);
    return;
  }
  /* everything else by the text that a script reads from such a column */
  size_t head = b->len;
  pe_lookup_key_text(b, "", 0);
  pe_value_text(c, row, b);
  if (pe_buf_ok(b)) {
    uint32_t len = (uint32_t)(b->len - head - 5);
    memcpy(b->data + head + 1, &len, 4);
  }
}

struct key {
  bool none; /* a part of it is NULL */
  uint64_t v;
  const void *p; /* in l->key_buf */
  size_t n;
};

static int key_of(struct pe_lookup *l, const struct pe_table *t, const uint8_t *row,
                  struct key *k) {
  memset(k, 0, sizeof(*k));
  for (uint32_t i = 0; i < l->nkeys; i++) {
    if (pe_row_null(row, l->key_cols[i])) {
      k->none = true;
      return 0;
    }
  }
  if (l->int_key) {
    k->v = pe_lookup_int_value(&t->columns[l->key_cols[0]], row);
    return 0;
  }
  pe_buf_clear(&l->key_buf);
  for (uint32_t i = 0; i < l->nkeys; i++) {
    put_key_part(&l->key_buf, &t->columns[l->key_cols[i]], row);
  }
  k->p = l->key_buf.data;
  k->n = l->key_buf.len;
  return pe_buf_ok(&l->key_buf) ? 0 : PE_ENOMEM;
}

/* The value columns of a row, in the lookup's own layout; strings still point into the batch. */
static void value_of(const struct pe_lookup *l, const struct pe_table *t, const uint8_t *row,
                     uint8_t *value) {
  memset(value, 0, l->value_bytes);
  for (uint32_t i = 0; i < l->nvalues; i++) {
    const struct pe_column *from = &t->columns[l->value_cols[i]];
    const struct pe_column *to = &l->values->columns[i];
    if (pe_row_null(row, l->value_cols[i])) {
      pe_row_set_null(value, i);
    } else {
      memcpy(value + to->offset, row + from->offset, pe_ctype_bytes(to->ctype));
    }
  }
}

static int put(struct pe_lookup *l, const struct pe_table *t, const uint8_t *row, uint64_t version,
               bool streamed) {
  struct key k;
  int rc = key_of(l, t, row, &k);
  if (rc || k.none) {
    return rc;
  }
  uint32_t known = l->nentries;
  struct pe_entry *e = pe_lookup_entry(l, k.v, k.p, k.n);
  if (!e) {
    return PE_ENOMEM;
  }
  _Alignas(16) uint8_t value[PE_LOOKUP_VALUES_MAX * 33 + 16];
  value_of(l, t, row, value);
  if (version < e->version) {
    return pe_entry_add_past(l, e, value);
  }
  if (streamed && l->nentries > known) {
    e->flags |= PE_ENTRY_HAD_NONE;
  }
  e->version = version;
  return pe_entry_set(l, e, value);
}

/* The value that an image had, which is not today's any more. */
static int past(struct pe_lookup *l, const struct pe_table *t, const uint8_t *row, uint64_t version,
                bool gone) {
  struct key k;
  int rc = key_of(l, t, row, &k);
  if (rc || k.none) {
    return rc;
  }
  struct pe_entry *e = pe_lookup_entry(l, k.v, k.p, k.n);
  if (!e) {
    return PE_ENOMEM;
  }
  _Alignas(16) uint8_t value[PE_LOOKUP_VALUES_MAX * 33 + 16];
  value_of(l, t, row, value);
  if (pe_entry_add_past(l, e, value)) {
    return PE_ENOMEM;
  }
  if (!gone || version < e->version) {
    return 0;
  }
  e->version = version;
  return pe_entry_set(l, e, NULL);
}

static bool same_key(struct pe_lookup *l, const struct pe_table *t, const uint8_t *a,
                     const uint8_t *b) {
  return pe_rows_equal(t, a, b, l->key_cols, l->nkeys);
}

static int apply_update(struct pe_lookup *l, const struct pe_segment *seg, uint32_t change) {
  const struct pe_table *t = seg->table;
  const uint8_t *before = seg->rows + (size_t)change * 2 * t->row_bytes;
  const uint8_t *after = before + t->row_bytes;
  uint64_t version = seg->meta[change * 2 + 1].version;
  if (same_key(l, t, before, after)) {
    /* the value before joins the history behind the value after: equal ones are no history */
    int rc = put(l, t, after, version, true);
    return rc ? rc : past(l, t, before, version, false);
  }
  int rc = past(l, t, before, version, true);
  return rc ? rc : put(l, t, after, version, true);
}

static int apply(struct pe_lookup *l, const struct pe_segment *seg, uint32_t change) {
  const struct pe_table *t = seg->table;
  const uint8_t *row = seg->rows + (size_t)change * t->row_bytes;
  switch (seg->op) {
    case PE_OP_INSERT:
      return put(l, t, row, seg->meta[change].version, true);
    case PE_OP_SNAPSHOT:
      return put(l, t, row, seg->meta[change].version, false);
    case PE_OP_DELETE:
      return past(l, t, row, seg->meta[change].version, true);
    case PE_OP_UPDATE:
      break;
  }
  return apply_update(l, seg, change);
}

static bool reads(const struct pe_lookup *l, const struct pe_table *t) {
  return l->table == t ||
         (strcmp(l->table->name, t->name) == 0 && strcmp(l->table->db, t->db) == 0);
}

int pe_lookups_apply(struct pe_lookups *ls, const struct pe_segment *seg, uint32_t from,
                     uint32_t n) {
  for (uint32_t i = 0; i < ls->n; i++) {
    struct pe_lookup *l = ls->items[i];
    if (!reads(l, seg->table)) {
      continue;
    }
    for (uint32_t c = from; c < from + n; c++) {
      int rc = apply(l, seg, c);
      if (rc) {
        return rc;
      }
    }
  }
  return 0;
}

/* ---- another version of the table ---- */

static bool same_members(const struct pe_column *a, const struct pe_column *b) {
  if (a->nmembers != b->nmembers) {
    return false;
  }
  for (uint32_t i = 0; i < a->nmembers; i++) {
    if (strcmp(a->members[i], b->members[i]) != 0) {
      return false;
    }
  }
  return true;
}

static int find_again(const struct pe_lookup *l, const struct pe_table *t,
                      const struct pe_column *was, bool value, uint32_t *col, struct pe_err *err) {
  int i = pe_table_find(t, was->name);
  if (i < 0 || (uint32_t)i >= t->nsource) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "column %s.%s is gone, but lookup %s reads it: change the transforms that "
                      "name it, then start again",
                      t->name, was->name, l->name);
  }
  const struct pe_column *now = &t->columns[i];
  bool ok = value ? now->ctype == was->ctype && now->scale == was->scale && same_members(was, now)
                  : pe_ctype_is_int(now->ctype) == pe_ctype_is_int(was->ctype) &&
                        pe_ctype_is_signed(now->ctype) == pe_ctype_is_signed(was->ctype);
  if (!ok) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "column %s.%s became %s, so lookup %s has to be laid out anew: start the "
                      "engine again",
                      t->name, was->name, now->type_text ? now->type_text : "another type",
                      l->name);
  }
  *col = (uint32_t)i;
  return 0;
}

int pe_lookups_table_changed(struct pe_lookups *ls, struct pe_table *t, struct pe_err *err) {
  for (uint32_t i = 0; i < ls->n; i++) {
    struct pe_lookup *l = ls->items[i];
    if (!reads(l, t) || l->table == t) {
      continue;
    }
    uint32_t keys[PE_LOOKUP_KEYS_MAX], values[PE_LOOKUP_VALUES_MAX];
    int rc = 0;
    for (uint32_t k = 0; k < l->nkeys && !rc; k++) {
      rc = find_again(l, t, &l->table->columns[l->key_cols[k]], false, &keys[k], err);
    }
    for (uint32_t v = 0; v < l->nvalues && !rc; v++) {
      rc = find_again(l, t, &l->table->columns[l->value_cols[v]], true, &values[v], err);
    }
    if (rc) {
      return rc;
    }
    memcpy(l->key_cols, keys, sizeof(keys[0]) * l->nkeys);
    memcpy(l->value_cols, values, sizeof(values[0]) * l->nvalues);
    pe_table_ref(t);
    pe_table_unref(l->table);
    l->table = t;
  }
  return 0;
}
