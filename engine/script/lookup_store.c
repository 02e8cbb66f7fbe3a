/* Entries of a lookup on their way to the state store and back.
 *
 * Key: 8 bytes of an integer key, or the key bytes of the others (always more than one). Value,
 * format 1, little endian: u8 format, u8 flags, u16 zero, u32 values, u64 version, then each value
 * (oldest first, today's last) as u32 length and a packed row. One key of one byte, 'm', says that
 * rows were written after a get that found nothing. Reading checks every length; what does not add
 * up is PE_EDATA. owner: the script thread. */
#include <stdlib.h>
#include <string.h>

#include "script/lookup_internal.h"

enum { FORMAT = 1, HEAD = 16 };

static void put_value(const struct pe_lookup *l, const uint8_t *value, struct pe_buf *packed,
                      struct pe_buf *out) {
  _Alignas(16) uint8_t row[PE_LOOKUP_VALUES_MAX * 33 + 32];
  memset(row, 0, l->values->row_bytes);
  memcpy(row, value, l->value_bytes);
  pe_buf_clear(packed);
  pe_row_pack(l->values, row, packed);
  uint32_t n = (uint32_t)packed->len;
  pe_buf_put(out, &n, 4);
  pe_buf_put(out, packed->data, packed->len);
  out->failed = out->failed || packed->failed;
}

/* Oldest first: the chain is newest first. */
static void put_past(const struct pe_lookup *l, const struct pe_past *p, uint32_t n,
                     struct pe_buf *packed, struct pe_buf *out) {
  for (uint32_t left = n; left > 0; left--) {
    const struct pe_past *at = p;
    for (uint32_t i = 1; i < left; i++) {
      at = at->next;
    }
    put_value(l, at->value, packed, out);
  }
}

static void put_entry(const struct pe_lookup *l, struct pe_entry *e, struct pe_buf *packed,
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
  put_past(l, e->past, past, packed, out);
  if (today) {
    put_value(l, pe_entry_value(l, e), packed, out);
  }
}

int pe_lookup_take_deltas(struct pe_lookup *l,
                          int (*cb)(void *arg, const void *key, size_t nkey, const void *value,
                                    size_t nvalue),
                          void *arg) {
  struct pe_buf packed, out;
  pe_buf_init(&packed);
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
    put_entry(l, e, &packed, &out);
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
  pe_buf_close(&packed);
  pe_buf_close(&out);
  return rc;
}

static int malformed(const struct pe_lookup *l, struct pe_err *err) {
  return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "a stored entry of lookup %s is damaged",
                    l->name);
}

static int load_values(struct pe_lookup *l, struct pe_entry *e, const uint8_t *p, size_t n,
                       uint32_t count, bool today, struct pe_arena *a, struct pe_err *err) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t len;
    if (n < 4) {
      return malformed(l, err);
    }
    memcpy(&len, p, 4);
    if (len > n - 4) {
      return malformed(l, err);
    }
    uint8_t *row;
    int rc = pe_row_unpack(l->values, p + 4, len, a, &row, err);
    if (rc) {
      return pe_err_wrap(err, "lookup %s", l->name);
    }
    bool last = today && i + 1 == count;
    if (last ? pe_entry_set(l, e, row) : pe_entry_add_past(l, e, row)) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for lookup %s", l->name);
    }
    p += 4 + len;
    n -= 4 + len;
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
  struct pe_arena a;
  pe_arena_init(&a, 4096);
  int rc = load_values(l, e, v + HEAD, nvalue - HEAD, count, v[1] & PE_ENTRY_TODAY, &a, err);
  pe_arena_close(&a);
  e->dirty = was_dirty;
  e->flags = (uint8_t)((e->flags & PE_ENTRY_TODAY) | (v[1] & PE_ENTRY_HAD_NONE));
  return rc;
}
