/* The innermost loop: row images into rows. owner: reader. A malformed image is PE_ESOURCE_PROTO,
 * never an over-read: fixed-width values may read into the pad behind the area, and that is noticed
 * at the next string or at the end of the row. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "source/binlog_wire.h"
#include "source/decode_plan.h"
#include "source/decode_temporal.h"

enum { UUID_TEXT_BYTES = 36, INET4_BYTES = 4 };

static inline void put16(uint8_t *to, uint16_t v) {
  memcpy(to, &v, 2);
}
static inline void put32(uint8_t *to, uint32_t v) {
  memcpy(to, &v, 4);
}
static inline void put64(uint8_t *to, uint64_t v) {
  memcpy(to, &v, 8);
}
static inline void put_str(uint8_t *to, const void *p, size_t len) {
  struct pe_str s = {.p = p, .len = (uint32_t)len, .pad_ = 0};
  memcpy(to, &s, sizeof(s));
}

/* A string's bytes behind a prefix of `width` bytes; NULL when they are not all there. */
static inline const uint8_t *take_string(const uint8_t **p, const uint8_t *end, unsigned width,
                                         size_t *len) {
  const uint8_t *at = *p;
  *len = width == 1 ? at[0] : width == 2 ? pe_le16(at) : width == 3 ? pe_le24(at) : pe_le32(at);
  at += width;
  if (at > end || *len > (size_t)(end - at)) {
    return NULL;
  }
  *p = at + *len;
  return at;
}

static int pad_zeros(uint8_t *to, const uint8_t *at, size_t len, size_t full, struct pe_arena *a) {
  if (len >= full) {
    put_str(to, at, len);
    return 0;
  }
  uint8_t *copy = pe_arena_zalloc(a, full, 1);
  if (!copy) {
    return PE_ENOMEM;
  }
  memcpy(copy, at, len);
  put_str(to, copy, full);
  return 0;
}

static void uuid_text(const uint8_t *u, char out[UUID_TEXT_BYTES + 1]) {
  snprintf(out, UUID_TEXT_BYTES + 1,
           "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
           u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

static int address_text(const struct pe_decode_step *s, const uint8_t *at, size_t len, uint8_t *to,
                        struct pe_arena *a) {
  uint8_t full[16] = {0};
  char text[INET6_ADDRSTRLEN + 1];
  if (len > s->length || s->length > sizeof(full)) {
    return PE_ESOURCE_PROTO;
  }
  memcpy(full, at, len);
  if (s->op == PE_OP_UUID) {
    uuid_text(full, text);
  } else if (!inet_ntop(s->length == INET4_BYTES ? AF_INET : AF_INET6, full, text, sizeof(text))) {
    return PE_ESOURCE_PROTO;
  }
  size_t n = strlen(text);
  char *copy = pe_arena_strndup(a, text, n);
  if (!copy) {
    return PE_ENOMEM;
  }
  put_str(to, copy, n);
  return 0;
}

static int json_text(struct pe_decode_plan *plan, const uint8_t *at, size_t len, uint8_t *to,
                     struct pe_arena *a) {
  pe_buf_clear(&plan->scratch);
  int rc = pe_decode_json(at, len, &plan->scratch);
  if (rc) {
    return rc;
  }
  char *copy = pe_arena_strndup(a, (const char *)plan->scratch.data, plan->scratch.len);
  if (!copy) {
    return PE_ENOMEM;
  }
  put_str(to, copy, plan->scratch.len);
  return 0;
}

/* The operations that are not worth a place in the hot loop's instruction cache. */
static __attribute__((noinline)) int decode_rare(struct pe_decode_plan *plan,
                                                 const struct pe_decode_step *s, const uint8_t **pp,
                                                 const uint8_t *end, uint8_t *to,
                                                 struct pe_arena *a) {
  const uint8_t *p = *pp;
  uint64_t limbs[4];
  size_t len;
  switch (s->op) {
    case PE_OP_TIME_OLD:
      put64(to, (uint64_t)pe_temporal_time_old(p));
      break;
    case PE_OP_DATETIME_OLD:
      put64(to, (uint64_t)pe_temporal_datetime_old(pe_le64(p)));
      break;
    case PE_OP_TIMESTAMP_OLD:
      put64(to, (uint64_t)pe_temporal_timestamp(pe_le32(p), 0));
      break;
    case PE_OP_TIME2:
      put64(to, (uint64_t)pe_temporal_time2(p, s->width - 3u));
      break;
    case PE_OP_DEC64:
    case PE_OP_DEC128:
    case PE_OP_DEC256:
      if (!pe_decode_decimal(p, s->precision, s->scale, limbs)) {
        return PE_ESOURCE_PROTO;
      }
      memcpy(to, limbs, s->op == PE_OP_DEC64 ? 8 : s->op == PE_OP_DEC128 ? 16 : 32);
      break;
    case PE_OP_BIT:
      put64(to, pe_be_n(p, s->width));
      break;
    case PE_OP_SET:
      put64(to, pe_le_n(p, s->width));
      break;
    default: {
      const uint8_t *at = take_string(&p, end, s->width, &len);
      if (!at) {
        return PE_ESOURCE_PROTO;
      }
      *pp = p;
      if (s->op == PE_OP_BINARY) {
        return pad_zeros(to, at, len, s->length, a);
      }
      if (s->op == PE_OP_JSON) {
        return json_text(plan, at, len, to, a);
      }
      if (s->op == PE_OP_UUID || s->op == PE_OP_INET) {
        return address_text(s, at, len, to, a);
      }
      struct pe_str out;
      int rc = pe_charset_convert(
          s->cs, (struct pe_str){.p = (const char *)at, .len = (uint32_t)len}, a, &out);
      put_str(to, out.p, out.len);
      return rc;
    }
  }
  *pp = p + s->width;
  return 0;
}

static inline void copy_nulls(const struct pe_decode_plan *plan, const uint8_t *image,
                              uint8_t *row) {
  uint32_t n = plan->null_bytes;
  memcpy(row, image, n);
  row[n - 1] &= plan->last_mask;
  for (uint32_t i = n - 1; i < plan->table->null_bytes; i++) {
    row[i] |= plan->extra_nulls[i];
  }
}

#define STRING_CASE(op_, width_)                              \
  case op_: {                                                 \
    size_t len;                                               \
    const uint8_t *at = take_string(&p, end, (width_), &len); \
    if (__builtin_expect(!at, 0)) {                           \
      return PE_ESOURCE_PROTO;                                \
    }                                                         \
    put_str(to, at, len);                                     \
    break;                                                    \
  }

int pe_decode_row(struct pe_decode_plan *plan, const uint8_t **pp, const uint8_t *end, uint8_t *row,
                  struct pe_arena *a) {
  const uint8_t *p = *pp;
  copy_nulls(plan, p, row);
  p += plan->null_bytes;
  const struct pe_decode_step *steps = plan->steps;
  uint32_t n = plan->nsteps;
  for (uint32_t i = 0; i < n; i++) {
    if (row[i >> 3] >> (i & 7) & 1) {
      continue;
    }
    const struct pe_decode_step *s = &steps[i];
    uint8_t *to = row + s->dst;
    switch (s->op) {
      case PE_OP_BYTES1:
      case PE_OP_ENUM1:
        *to = *p;
        p += 1;
        break;
      case PE_OP_BYTES2:
      case PE_OP_ENUM2:
        memcpy(to, p, 2);
        p += 2;
        break;
      case PE_OP_BYTES4:
        memcpy(to, p, 4);
        p += 4;
        break;
      case PE_OP_BYTES8:
        memcpy(to, p, 8);
        p += 8;
        break;
      case PE_OP_INT24_SIGNED:
        put32(to, (uint32_t)((int32_t)(pe_le24(p) << 8) >> 8));
        p += 3;
        break;
      case PE_OP_INT24_UNSIGNED:
        put32(to, pe_le24(p));
        p += 3;
        break;
      case PE_OP_YEAR:
        put16(to, *p ? (uint16_t)(1900 + *p) : 0);
        p += 1;
        break;
      case PE_OP_DATE: {
        uint32_t v = pe_le24(p);
        put32(to, (uint32_t)pe_temporal_date(v >> 9, v >> 5 & 15, v & 31));
        p += 3;
        break;
      }
      case PE_OP_DATETIME2_F0:
        put64(to, (uint64_t)pe_temporal_datetime2(pe_be40(p), 0));
        p += 5;
        break;
      case PE_OP_DATETIME2_F1:
        put64(to, (uint64_t)pe_temporal_datetime2(pe_be40(p), p[5] * 10000u));
        p += 6;
        break;
      case PE_OP_DATETIME2_F2:
        put64(to, (uint64_t)pe_temporal_datetime2(pe_be40(p), pe_be16(p + 5) * 100u));
        p += 7;
        break;
      case PE_OP_DATETIME2_F3:
        put64(to, (uint64_t)pe_temporal_datetime2(pe_be40(p), pe_be24(p + 5)));
        p += 8;
        break;
      case PE_OP_TIMESTAMP2:
        put64(to, (uint64_t)pe_temporal_timestamp(pe_be32(p),
                                                  pe_temporal_fraction(p + 4, s->width - 4u)));
        p += s->width;
        break;
        STRING_CASE(PE_OP_STR1, 1)
        STRING_CASE(PE_OP_STR2, 2)
        STRING_CASE(PE_OP_STR3, 3)
        STRING_CASE(PE_OP_STR4, 4)
      default: {
        int rc = decode_rare(plan, s, &p, end, to, a);
        if (__builtin_expect(rc, 0)) {
          return rc;
        }
      }
    }
  }
  *pp = p;
  return p <= end ? 0 : PE_ESOURCE_PROTO;
}

const uint8_t *pe_decode_skip(const struct pe_decode_plan *plan, const uint8_t *p,
                              const uint8_t *end) {
  if ((size_t)(end - p) < plan->null_bytes) {
    return NULL;
  }
  const uint8_t *nulls = p;
  p += plan->null_bytes;
  for (uint32_t i = 0; i < plan->nsteps; i++) {
    if (nulls[i >> 3] >> (i & 7) & 1) {
      continue;
    }
    const struct pe_decode_step *s = &plan->steps[i];
    if ((size_t)(end - p) < s->width) {
      return NULL;
    }
    if (s->op < PE_OP_STR1) {
      p += s->width;
      continue;
    }
    size_t len = (size_t)pe_le_n(p, s->width);
    p += s->width;
    if ((size_t)(end - p) < len) {
      return NULL;
    }
    p += len;
  }
  return p;
}
