/* Table versions: built column by column, laid out once, then immutable and shared. Everything of a
 * table lies in its own arena. Out of memory gives NULL or PE_ENOMEM; a table that cannot be laid
 * out (too wide) is PE_EDATA. */
#include "model/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
  COLUMNS_FIRST = 16,
  ROW_ALIGN = 16,
  TABLE_ARENA_BYTES = 4096,
  COLUMNS_MAX = 8192 /* MySQL allows 4096; the rest is for extras */
};

struct building {
  struct pe_table t;
  uint32_t columns_cap;
  bool finished;
};

static struct building *building_of(struct pe_table *t) {
  return (struct building *)t;
}

struct pe_table *pe_table_create(const char *db, const char *name) {
  struct building *b = calloc(1, sizeof(*b));
  if (!b) {
    return NULL;
  }
  struct pe_table *t = &b->t;
  pe_arena_init(&t->arena, TABLE_ARENA_BYTES);
  t->refs = 1;
  t->db = pe_arena_strndup(&t->arena, db, strlen(db));
  t->name = pe_arena_strndup(&t->arena, name, strlen(name));
  if (!t->db || !t->name) {
    pe_table_unref(t);
    return NULL;
  }
  return t;
}

static struct pe_column *add_column(struct pe_table *t, const char *name) {
  struct building *b = building_of(t);
  PE_ASSERT(!b->finished);
  if (t->ncolumns == b->columns_cap) {
    uint32_t cap = b->columns_cap ? b->columns_cap * 2 : COLUMNS_FIRST;
    struct pe_column *more =
        pe_arena_zalloc(&t->arena, cap * sizeof(*more), _Alignof(struct pe_column));
    if (!more) {
      return NULL;
    }
    if (t->ncolumns) {
      memcpy(more, t->columns, t->ncolumns * sizeof(*more));
    }
    t->columns = more;
    b->columns_cap = cap;
  }
  struct pe_column *c = &t->columns[t->ncolumns];
  memset(c, 0, sizeof(*c));
  c->name = pe_arena_strndup(&t->arena, name, strlen(name));
  if (!c->name) {
    return NULL;
  }
  t->ncolumns++;
  return c;
}

struct pe_column *pe_table_add(struct pe_table *t, const char *name) {
  PE_ASSERT(t->ncolumns == t->nsource); /* extras come last */
  struct pe_column *c = add_column(t, name);
  if (c) {
    t->nsource++;
  }
  return c;
}

struct pe_column *pe_table_add_extra(struct pe_table *t, const char *name) {
  struct pe_column *c = add_column(t, name);
  if (c) {
    c->is_extra = true;
    c->nullable = true;
  }
  return c;
}

/* Key columns by their ordinals; they must be 1..n, each once. */
static int collect_pk(struct pe_table *t, struct pe_err *err) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    n += t->columns[i].pk_ordinal != 0;
  }
  t->npk = n;
  t->pk = NULL;
  if (!n) {
    return 0;
  }
  t->pk = pe_arena_alloc(&t->arena, n * sizeof(*t->pk), _Alignof(uint32_t));
  if (!t->pk) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  memset(t->pk, 0xFF, n * sizeof(*t->pk));
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    uint32_t ordinal = t->columns[i].pk_ordinal;
    if (!ordinal) {
      continue;
    }
    if (ordinal > n || t->pk[ordinal - 1] != UINT32_MAX) {
      return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                        "table %s.%s: the primary key has no column, or two, at one of its places",
                        t->db, t->name);
    }
    t->pk[ordinal - 1] = i;
  }
  return 0;
}

static void lay_out(struct pe_table *t) {
  t->null_bytes = (t->ncolumns + 7) / 8;
  uint32_t at = t->null_bytes;
  for (uint32_t align = 16; align; align /= 2) {
    for (uint32_t i = 0; i < t->ncolumns; i++) {
      struct pe_column *c = &t->columns[i];
      if (pe_ctype_align(c->ctype) == align) {
        at = (at + align - 1) & ~(align - 1);
        c->offset = at;
        at += pe_ctype_bytes(c->ctype);
      }
    }
  }
  t->row_bytes = (at + ROW_ALIGN - 1) & ~(uint32_t)(ROW_ALIGN - 1);
}

static uint64_t fnv(uint64_t h, const void *p, size_t n) {
  const uint8_t *b = p;
  for (size_t i = 0; i < n; i++) {
    h = (h ^ b[i]) * UINT64_C(0x100000001b3);
  }
  return h;
}

static uint64_t fnv_text(uint64_t h, const char *s) {
  return s ? fnv(h, s, strlen(s) + 1) : fnv(h, "\xff", 1);
}

static uint64_t fnv_u32(uint64_t h, uint32_t v) {
  return fnv(h, &v, sizeof(v));
}

static uint64_t schema_hash(const struct pe_table *t) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  for (uint32_t i = 0; i < t->nsource; i++) {
    const struct pe_column *c = &t->columns[i];
    h = fnv_text(h, c->name);
    h = fnv_text(h, c->type_text);
    h = fnv_u32(h, (uint32_t)c->ctype);
    h = fnv_u32(h, c->nullable);
    h = fnv_u32(h, c->pk_ordinal);
    h = fnv_u32(h, c->collation);
    h = fnv_u32(h, c->nmembers);
    for (uint32_t m = 0; m < c->nmembers; m++) {
      h = fnv_text(h, c->members[m]);
    }
  }
  return h;
}

int pe_table_finish(struct pe_table *t, struct pe_err *err) {
  struct building *b = building_of(t);
  PE_ASSERT(!b->finished);
  if (t->ncolumns == 0 || t->ncolumns > COLUMNS_MAX) {
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "table %s.%s has %u columns; 1 to %d work",
                      t->db, t->name, t->ncolumns, (int)COLUMNS_MAX);
  }
  int rc = collect_pk(t, err);
  if (rc) {
    return rc;
  }
  lay_out(t);
  t->schema_hash = schema_hash(t);
  b->finished = true;
  return 0;
}

static char *copy_text(struct pe_table *t, const char *s, bool *ok) {
  if (!s) {
    return NULL;
  }
  char *copy = pe_arena_strndup(&t->arena, s, strlen(s));
  *ok = *ok && copy;
  return copy;
}

static bool clone_column(struct pe_table *to, const struct pe_column *from) {
  struct pe_column *c =
      from->is_extra ? pe_table_add_extra(to, from->name) : pe_table_add(to, from->name);
  if (!c) {
    return false;
  }
  char *name = c->name;
  *c = *from;
  c->name = name;
  c->offset = 0;
  bool ok = true;
  c->type_text = copy_text(to, from->type_text, &ok);
  if (from->nmembers) {
    c->members = pe_arena_alloc(&to->arena, from->nmembers * sizeof(*c->members), _Alignof(char *));
    if (!c->members) {
      return false;
    }
    for (uint32_t m = 0; m < from->nmembers; m++) {
      c->members[m] = copy_text(to, from->members[m], &ok);
    }
  }
  return ok;
}

struct pe_table *pe_table_clone(const struct pe_table *t) {
  struct pe_table *copy = pe_table_create(t->db, t->name);
  if (!copy) {
    return NULL;
  }
  copy->id = t->id;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    if (!clone_column(copy, &t->columns[i])) {
      pe_table_unref(copy);
      return NULL;
    }
  }
  return copy;
}

struct pe_table *pe_table_ref(struct pe_table *t) {
  __atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
  return t;
}

void pe_table_unref(struct pe_table *t) {
  if (!t || __atomic_fetch_sub(&t->refs, 1, __ATOMIC_ACQ_REL) != 1) {
    return;
  }
  pe_arena_close(&t->arena);
  free(building_of(t));
}

int pe_table_find(const struct pe_table *t, const char *name) {
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    if (strcmp(t->columns[i].name, name) == 0) {
      return (int)i;
    }
  }
  return -1;
}

struct ctype_row {
  uint8_t bytes, align;
  const char *name;
};

static const struct ctype_row ctypes[PE_C_COUNT] = {
    [PE_C_I8] = {1, 1, "i8"},
    [PE_C_U8] = {1, 1, "u8"},
    [PE_C_I16] = {2, 2, "i16"},
    [PE_C_U16] = {2, 2, "u16"},
    [PE_C_I32] = {4, 4, "i32"},
    [PE_C_U32] = {4, 4, "u32"},
    [PE_C_I64] = {8, 8, "i64"},
    [PE_C_U64] = {8, 8, "u64"},
    [PE_C_F32] = {4, 4, "f32"},
    [PE_C_F64] = {8, 8, "f64"},
    [PE_C_DEC64] = {8, 8, "dec64"},
    [PE_C_DEC128] = {16, 8, "dec128"},
    [PE_C_DEC256] = {32, 8, "dec256"},
    [PE_C_DATE] = {4, 4, "date"},
    [PE_C_DATETIME] = {8, 8, "datetime"},
    [PE_C_TIME] = {8, 8, "time"},
    [PE_C_YEAR] = {2, 2, "year"},
    [PE_C_BIT] = {8, 8, "bit"},
    [PE_C_ENUM] = {2, 2, "enum"},
    [PE_C_SET] = {8, 8, "set"},
    [PE_C_STR] = {sizeof(struct pe_str), _Alignof(struct pe_str), "str"},
    [PE_C_BYTES] = {sizeof(struct pe_str), _Alignof(struct pe_str), "bytes"},
    [PE_C_JSON] = {sizeof(struct pe_str), _Alignof(struct pe_str), "json"},
};

uint32_t pe_ctype_bytes(enum pe_ctype c) {
  PE_ASSERT((unsigned)c < PE_C_COUNT);
  return ctypes[c].bytes;
}

uint32_t pe_ctype_align(enum pe_ctype c) {
  PE_ASSERT((unsigned)c < PE_C_COUNT);
  return ctypes[c].align;
}

const char *pe_ctype_name(enum pe_ctype c) {
  PE_ASSERT((unsigned)c < PE_C_COUNT);
  return ctypes[c].name;
}
