/* Entries of a lookup on their way to the state store and back.
 *
 * Key: 8 bytes of an integer key, or the key bytes of the others (always more than one). Value,
 * format 1, little endian: u8 format, u8 flags, u16 zero, u32 values, u64 version, then each value
 * (oldest first, today's last) column by column: u8 kind, u32 length, bytes. Kinds: n NULL,
 * i and u integers of 8 bytes, f a double, s a string, t the text of anything else. So a value is
 * read back into whatever type its column has by then, if that holds it exactly. One key of one
 * byte, 'm', says that rows were written after a get that found nothing. Reading checks every
 * length; what does not add up, or no longer fits its column, is PE_EDATA. owner: the script
 * thread. */
#include <stdlib.h>
#include <string.h>

#include "script/convert.h"
#include "script/lookup_internal.h"

enum { FORMAT = 1, HEAD = 16 };

static void put_part(struct pe_buf *out, char kind, const void *p, size_t n) {
  uint8_t head[5] = {(uint8_t)kind};
  uint32_t len = (uint32_t)n;
  memcpy(head + 1, &len, 4);
  pe_buf_put(out, head, sizeof(head));
  if (n) {
    pe_buf_put(out, p, n);
  }
}

static void put_column(const struct pe_column *c, const uint8_t *value, struct pe_buf *text,
                       struct pe_buf *out) {
  const uint8_t *p = value + c->offset;
  if (pe_ctype_is_int(c->ctype)) {
    uint64_t v = pe_lookup_int_value(c, value);
    put_part(out, pe_ctype_is_signed(c->ctype) ? 'i' : 'u', &v, sizeof(v));
  } else if (pe_ctype_is_str(c->ctype)) {
    struct pe_str s;
    memcpy(&s, p, sizeof(s));
    put_part(out, 's', s.p, s.len);
  } else if (c->ctype == PE_C_F32 || c->ctype == PE_C_F64) {
    float f;
    double d;
    memcpy(&f, p, sizeof(f));
    if (c->ctype == PE_C_F32) {
      d = (double)f;
    } else {
      memcpy(&d, p, sizeof(d));
    }
    put_part(out, 'f', &d, sizeof(d));
  } else {
    pe_buf_clear(text);
    pe_value_text(c, value, text);
    put_part(out, 't', text->data, text->len);
    out->failed = out->failed || text->failed;
  }
}

static void put_value(const struct pe_lookup *l, const uint8_t *value, struct pe_buf *text,
                      struct pe_buf *out) {
  for (uint32_t i = 0; i < l->nvalues; i++) {
    if (pe_row_null(value, i)) {
      put_part(out, 'n', NULL, 0);
    } else {
      put_column(&l->values->columns[i], value, text, out);
    }
  }
}

/* Oldest first: the chain is newest first. */
static void put_past(const struct pe_lookup *l, const struct pe_past *p, uint32_t n,
                     struct pe_buf *text, struct pe_buf *out) {
  for (uint32_t left = n; left > 0; left--) {
    const struct pe_past *at = p;
    for (uint32_t i = 1; i < left; i++) {
      at = at->next;
    }
    put_value(l, at->value, text, out);
  }
}

static void put_entry(const struct pe_lookup *l, struct pe_entry *e, struct pe_buf *text,
                      struct pe_buf *out) {
  uint32_t past = 0;
  for (const struct pe_past *p = e->past; p; p = p->next) {
    past++;
  }
  bool today = e->flags & PE_ENTRY_TODAY;
  uint8_t head[HEAD] = {FORMAT, e->flags};
  uint32_t n = past + today;
  memcpy(head + 4, &n, 4);
  memcpy(head + 8, &e->version, 8);
  pe_buf_put(out, head, sizeof(head));
  put_past(l, e->past, past, text, out);
  if (today) {
    put_value(l, pe_entry_value(l, e), text, out);
  }
}

int pe_lookup_take_deltas(struct pe_lookup *l,
                          int (*cb)(void *arg, const void *key, size_t nkey, const void *value,
                                    size_t nvalue),
                          void *arg) {
  struct pe_buf text, out;
  pe_buf_init(&text);
  pe_buf_init(&out);
  int rc = 0;
  if (l->miss_dirty) {
    rc = cb(arg, "m", 1, "\1", 1);
    l->miss_dirty = rc != 0;
  }
  uint32_t done = 0;
  for (; done < l->ndirty && !rc; done++) {
    struct pe_entry *e = pe_entry_at(l, l->dirty[done]);
    pe_buf_clear(&out);
    put_entry(l, e, &text, &out);
    if (!pe_buf_ok(&out)) {
      rc = PE_ENOMEM;
    } else if (l->int_key) {
      rc = cb(arg, &e->key, sizeof(e->key), out.data, out.len);
    } else {
      rc = cb(arg, e->bytes.p, e->bytes.len, out.data, out.len);
    }
    if (rc) {
      break;
    }
    e->dirty = false;
  }
  if (done && done < l->ndirty) {
    memmove(l->dirty, l->dirty + done, (l->ndirty - done) * sizeof(*l->dirty));
  }
  l->ndirty -= done;
  pe_buf_close(&text);
  pe_buf_close(&out);
  return rc;
}

static int malformed(const struct pe_lookup *l, struct pe_err *err) {
  return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "a stored entry of lookup %s is damaged",
                    l->name);
}

/* An integer of 64 bits into the column's own width; false: it does not fit. */
static bool store_int(const struct pe_column *c, uint8_t *row, uint64_t v, bool is_signed) {
  uint32_t bytes = pe_ctype_bytes(c->ctype);
  bool negative = is_signed && (int64_t)v < 0;
  bool to_signed = pe_ctype_is_signed(c->ctype);
  if (negative && !to_signed) {
    return false;
  }
  unsigned bits = bytes * 8 - to_signed;
  uint64_t magnitude = negative ? ~v : v;
  if (bits < 64 && magnitude >> bits) {
    return false;
  }
  memcpy(row + c->offset, &v, bytes);
  return true;
}

static bool store_float(const struct pe_column *c, uint8_t *row, double d) {
  float f = (float)d;
  if (c->ctype == PE_C_F64) {
    memcpy(row + c->offset, &d, sizeof(d));
    return true;
  }
  memcpy(row + c->offset, &f, sizeof(f));
  double back = (double)f;
  return memcmp(&back, &d, sizeof(d)) == 0;
}

static bool load_column(const struct pe_column *c, uint8_t *row, char kind, const uint8_t *p,
                        uint32_t n) {
  bool wants_int = pe_ctype_is_int(c->ctype);
  bool wants_float = c->ctype == PE_C_F32 || c->ctype == PE_C_F64;
  bool wants_str = pe_ctype_is_str(c->ctype);
  if (wants_int && (kind == 'i' || kind == 'u') && n == 8) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return store_int(c, row, v, kind == 'i');
  }
  if (wants_float && kind == 'f' && n == 8) {
    double d;
    memcpy(&d, p, sizeof(d));
    return store_float(c, row, d);
  }
  if (wants_str && kind == 's') {
    struct pe_str s = {.p = (const char *)p, .len = n};
    memcpy(row + c->offset, &s, sizeof(s));
    return true;
  }
  return !wants_int && !wants_float && !wants_str && kind == 't' &&
         pe_convert_text(c, row, (const char *)p, n) == 0;
}

/* One value at *at; moves it behind. The strings of the row point into the input. */
static int load_value(const struct pe_lookup *l, const uint8_t **at, size_t *left, uint8_t *row,
                      struct pe_err *err) {
  memset(row, 0, l->value_bytes);
  for (uint32_t i = 0; i < l->nvalues; i++) {
    const struct pe_column *c = &l->values->columns[i];
    uint32_t n;
    if (*left < 5) {
      return malformed(l, err);
    }
    char kind = (char)(*at)[0];
    memcpy(&n, *at + 1, 4);
    *at += 5;
    *left -= 5;
    if (n > *left) {
      return malformed(l, err);
    }
    if (kind == 'n') {
      pe_row_set_null(row, i);
    } else if (!load_column(c, row, kind, *at, n)) {
      return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                        "lookup %s was stored when column %s.%s had another type than %s, and its "
                        "values don't fit that: pipe-engine resync %s reads it anew",
                        l->name, l->table->name, c->name,
                        c->type_text ? c->type_text : pe_ctype_name(c->ctype), l->table->name);
    }
    *at += n;
    *left -= n;
  }
  return 0;
}

static int load_values(struct pe_lookup *l, struct pe_entry *e, const uint8_t *p, size_t n,
                       uint32_t count, bool today, struct pe_err *err) {
  _Alignas(16) uint8_t row[PE_LOOKUP_VALUES_MAX * 33 + 16];
  for (uint32_t i = 0; i < count; i++) {
    int rc = load_value(l, &p, &n, row, err);
    if (rc) {
      return rc;
    }
    bool last = today && i + 1 == count;
    if (last ? pe_entry_set(l, e, row) : pe_entry_add_past(l, e, row)) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for lookup %s", l->name);
    }
  }
  return n ? malformed(l, err) : 0;
}

int pe_lookup_load(struct pe_lookup *l, const void *key, size_t nkey, const void *value,
                   size_t nvalue, struct pe_err *err) {
  if (nkey == 1) {
    l->miss_emitted = true;
    return 0;
  }
  const uint8_t *v = value;
  if ((l->int_key ? nkey != 8 : nkey < 2) || nvalue < HEAD || v[0] != FORMAT) {
    return malformed(l, err);
  }
  uint64_t number = 0;
  if (l->int_key) {
    memcpy(&number, key, sizeof(number));
  }
  struct pe_entry *e = pe_lookup_entry(l, number, key, nkey);
  if (!e) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for lookup %s", l->name);
  }
  uint32_t count;
  memcpy(&count, v + 4, 4);
  memcpy(&e->version, v + 8, 8);
  bool was_dirty = e->dirty;
  e->dirty = true; /* what comes from the store needs no delta */
  int rc = load_values(l, e, v + HEAD, nvalue - HEAD, count, v[1] & PE_ENTRY_TODAY, err);
  e->dirty = was_dirty;
  e->flags = (uint8_t)((e->flags & PE_ENTRY_TODAY) | (v[1] & PE_ENTRY_HAD_NONE));
  return rc;
}
