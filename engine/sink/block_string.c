/* The inner loops for values that go out as strings: a varint of the length, then the bytes. */
#include "base/assert.h"
#include "sink/block_plan.h"

static void put_bytes(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                      const uint8_t *nulls, struct pe_buf *dst) {
  size_t need = 0;
  for (size_t i = 0; i < n; i++) {
    struct pe_str s;
    memcpy(&s, rows[i] + c->offset, sizeof(s));
    need += (nulls && nulls[i] ? 0 : (size_t)s.len) + PE_VARINT_MAX;
  }
  if (need > PE_BLOCK_BYTES_MAX) { /* before it is copied for nothing */
    dst->failed = true;
  }
  if (!pe_buf_reserve(dst, need)) {
    return;
  }
  uint8_t *to = dst->data + dst->len;
  for (size_t i = 0; i < n; i++) {
    struct pe_str s;
    memcpy(&s, rows[i] + c->offset, sizeof(s));
    if (nulls && nulls[i]) {
      s.len = 0;
    }
    if (__builtin_expect(s.len < 0x80, 1)) {
      *to++ = (uint8_t)s.len;
    } else {
      to += pe_varint_put(to, s.len);
    }
    if (s.len) {
      memcpy(to, s.p, s.len);
      to += s.len;
    }
  }
  dst->len = (size_t)(to - dst->data);
}

pe_string_fn pe_conv_bytes(void) {
  return put_bytes;
}

static void put_enum(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                     const uint8_t *nulls, struct pe_buf *dst) {
  for (size_t i = 0; i < n; i++) {
    uint16_t v;
    memcpy(&v, rows[i] + c->offset, sizeof(v));
    if (nulls && nulls[i]) {
      v = 0; /* the empty text */
    }
    PE_ASSERT(v <= c->from->nmembers);
    pe_buf_put(dst, c->members[v].p, c->members[v].n);
  }
}

pe_string_fn pe_conv_enum(void) {
  return put_enum;
}

static void put_text(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                     const uint8_t *nulls, struct pe_buf *dst) {
  for (size_t i = 0; i < n; i++) {
    size_t at = dst->len;
    pe_buf_put(dst, "", 1); /* the length, where it takes one byte */
    if (nulls && nulls[i]) {
      continue;
    }
    pe_value_text(c->from, rows[i], dst);
    if (dst->failed) {
      return;
    }
    uint8_t head[PE_VARINT_MAX];
    size_t len = dst->len - at - 1, head_n = pe_varint_put(head, len);
    if (head_n > 1) {
      if (!pe_buf_reserve(dst, head_n - 1)) {
        return;
      }
      memmove(dst->data + at + head_n, dst->data + at + 1, len);
      dst->len += head_n - 1;
    }
    memcpy(dst->data + at, head, head_n);
  }
}

pe_string_fn pe_conv_text(void) {
  return put_text;
}
