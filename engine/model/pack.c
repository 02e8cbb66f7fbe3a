/* A row as one self-contained run of bytes, for the state store, and back.
 *
 * Format 1, little endian: u8 format, u8[3] zero, u32 row_bytes, u64 shape of the layout, then the
 * fixed part of the row with every string's pointer zeroed, then the bytes of the strings that are
 * not NULL, in column order. Reading checks every length before it is used; anything that does not
 * add up, or that belongs to another layout, is PE_EDATA. */
#include <string.h>

#include "model/table.h"

enum { PACK_FORMAT = 1, PACK_HEAD = 16, ROW_ALIGN = 16 };

/* What the fixed part depends on: a row packed under one layout must not be read under another. */
static uint64_t shape(const struct pe_table *t) {
  uint64_t h = t->schema_hash ^ UINT64_C(0x9E3779B97F4A7C15);
  for (uint32_t i = t->nsource; i < t->ncolumns; i++) {
    h = (h ^ (uint64_t)t->columns[i].ctype ^ (uint64_t)t->columns[i].offset << 8) *
        UINT64_C(0x100000001b3);
  }
  return h;
}

void pe_row_pack(const struct pe_table *t, const uint8_t *row, struct pe_buf *out) {
  uint64_t s = shape(t);
  uint8_t head[PACK_HEAD] = {PACK_FORMAT};
  memcpy(head + 4, &t->row_bytes, 4);
  memcpy(head + 8, &s, 8);
  pe_buf_put(out, head, sizeof(head));
  size_t fixed = out->len;
  pe_buf_put(out, row, t->row_bytes);
  for (uint32_t i = 0; i < t->ncolumns && pe_buf_ok(out); i++) {
    const struct pe_column *c = &t->columns[i];
    if (!pe_ctype_is_str(c->ctype)) {
      continue;
    }
    struct pe_str str;
    memcpy(&str, row + c->offset, sizeof(str));
    bool null = pe_row_null(row, i);
    struct pe_str stored = {.p = NULL, .len = null ? 0 : str.len, .pad_ = 0};
    memcpy(out->data + fixed + c->offset, &stored, sizeof(stored));
    if (!null) {
      pe_buf_put(out, str.p, str.len);
    }
  }
}

static int malformed(struct pe_err *err, const struct pe_table *t, const char *what) {
  return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "a stored row of table %s.%s %s", t->db, t->name,
                    what);
}

int pe_row_unpack(const struct pe_table *t, const void *p, size_t n, struct pe_arena *a,
                  uint8_t **row, struct pe_err *err) {
  const uint8_t *in = p;
  if (n < PACK_HEAD || in[0] != PACK_FORMAT || in[1] || in[2] || in[3]) {
    return malformed(err, t, "is damaged or of an unknown format");
  }
  uint32_t row_bytes;
  uint64_t s;
  memcpy(&row_bytes, in + 4, 4);
  memcpy(&s, in + 8, 8);
  if (row_bytes != t->row_bytes || s != shape(t)) {
    return malformed(err, t, "belongs to another version of the table");
  }
  if (n - PACK_HEAD < row_bytes) {
    return malformed(err, t, "is cut short");
  }
  /* The fixed part and the strings lie behind each other here as they do in the store. */
  size_t body = n - PACK_HEAD;
  uint8_t *to = pe_arena_alloc(a, body, ROW_ALIGN);
  if (!to) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  memcpy(to, in + PACK_HEAD, body);
  size_t at = row_bytes;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    const struct pe_column *c = &t->columns[i];
    if (!pe_ctype_is_str(c->ctype)) {
      continue;
    }
    struct pe_str str;
    memcpy(&str, to + c->offset, sizeof(str));
    if (str.len > body - at || (str.len && pe_row_null(to, i))) {
      return malformed(err, t, "has a string that does not fit");
    }
    str.p = (const char *)to + at;
    str.pad_ = 0;
    at += str.len;
    memcpy(to + c->offset, &str, sizeof(str));
  }
  if (at != body) {
    return malformed(err, t, "has bytes left over");
  }
  *row = to;
  return 0;
}
