/* The inner loops for values of fixed width: one function for each pair of forms, so that nothing
 * is decided per value. They trust pe_plan_check: a value that doesn't fit would be cut. A zero or
 * partial date comes here only by policy, and goes out as 1970-01-01 (or under a NULL). */
#include "base/assert.h"
#include "sink/block_plan.h"

/* All bits set where the value counts, none where a NULL goes out. */
#define KEEP(D, i) ((D)((D)nulls[i] - 1))

#define FIXED(name, S, D, expr)                                                   \
  static void name(const struct pe_conv *c, const uint8_t *const *rows, size_t n, \
                   const uint8_t *nulls, uint8_t *dst) {                          \
    const size_t at = c->offset;                                                  \
    if (nulls) {                                                                  \
      for (size_t i = 0; i < n; i++) {                                            \
        S v;                                                                      \
        memcpy(&v, rows[i] + at, sizeof(v));                                      \
        D out = (D)((D)(expr)&KEEP(D, i));                                        \
        memcpy(dst + i * sizeof(out), &out, sizeof(out));                         \
      }                                                                           \
    } else {                                                                      \
      for (size_t i = 0; i < n; i++) {                                            \
        S v;                                                                      \
        memcpy(&v, rows[i] + at, sizeof(v));                                      \
        D out = (D)(expr);                                                        \
        memcpy(dst + i * sizeof(out), &out, sizeof(out));                         \
      }                                                                           \
    }                                                                             \
  }

FIXED(copy1, uint8_t, uint8_t, v)
FIXED(copy2, uint16_t, uint16_t, v)
FIXED(copy4, uint32_t, uint32_t, v)
FIXED(copy8, uint64_t, uint64_t, v)
FIXED(i8_to_2, int8_t, uint16_t, v)
FIXED(i8_to_4, int8_t, uint32_t, v)
FIXED(i8_to_8, int8_t, uint64_t, v)
FIXED(i16_to_4, int16_t, uint32_t, v)
FIXED(i16_to_8, int16_t, uint64_t, v)
FIXED(i32_to_8, int32_t, uint64_t, v)
FIXED(u8_to_2, uint8_t, uint16_t, v)
FIXED(u8_to_4, uint8_t, uint32_t, v)
FIXED(u8_to_8, uint8_t, uint64_t, v)
FIXED(u16_to_4, uint16_t, uint32_t, v)
FIXED(u16_to_8, uint16_t, uint64_t, v)
FIXED(u32_to_8, uint32_t, uint64_t, v)

/* 16 and 32 bytes, as they are or filled up with the sign. */
static inline void copy_wide(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                             const uint8_t *nulls, uint8_t *dst, size_t from, size_t to) {
  for (size_t i = 0; i < n; i++, dst += to) {
    if (nulls && nulls[i]) {
      memset(dst, 0, to);
      continue;
    }
    const uint8_t *p = rows[i] + c->offset;
    memcpy(dst, p, from);
    if (to > from) {
      int fill = c->src_signed && (p[from - 1] & 0x80) ? 0xFF : 0;
      memset(dst + from, fill, to - from);
    }
  }
}

#define WIDE(name, from, to)                                                      \
  static void name(const struct pe_conv *c, const uint8_t *const *rows, size_t n, \
                   const uint8_t *nulls, uint8_t *dst) {                          \
    copy_wide(c, rows, n, nulls, dst, from, to);                                  \
  }

WIDE(copy16, 16, 16)
WIDE(copy32, 32, 32)
WIDE(from1_to_16, 1, 16)
WIDE(from2_to_16, 2, 16)
WIDE(from4_to_16, 4, 16)
WIDE(from8_to_16, 8, 16)
WIDE(from1_to_32, 1, 32)
WIDE(from2_to_32, 2, 32)
WIDE(from4_to_32, 4, 32)
WIDE(from8_to_32, 8, 32)
WIDE(from16_to_32, 16, 32)

static int log2_of(uint32_t bytes) {
  return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : bytes == 8 ? 3 : bytes == 16 ? 4 : 5;
}

pe_fixed_fn pe_conv_copy(uint32_t bytes) {
  static const pe_fixed_fn copies[] = {copy1, copy2, copy4, copy8, copy16, copy32};
  return copies[log2_of(bytes)];
}

/* Narrower: the low bytes. Wider: filled up with the sign or with zeros. */
pe_fixed_fn pe_conv_int(uint32_t src_bytes, bool src_signed, uint32_t out_bytes) {
  static const pe_fixed_fn wider[2][5][6] = {
      {{NULL, u8_to_2, u8_to_4, u8_to_8, from1_to_16, from1_to_32},
       {NULL, NULL, u16_to_4, u16_to_8, from2_to_16, from2_to_32},
       {NULL, NULL, NULL, u32_to_8, from4_to_16, from4_to_32},
       {NULL, NULL, NULL, NULL, from8_to_16, from8_to_32},
       {NULL, NULL, NULL, NULL, NULL, from16_to_32}},
      {{NULL, i8_to_2, i8_to_4, i8_to_8, from1_to_16, from1_to_32},
       {NULL, NULL, i16_to_4, i16_to_8, from2_to_16, from2_to_32},
       {NULL, NULL, NULL, i32_to_8, from4_to_16, from4_to_32},
       {NULL, NULL, NULL, NULL, from8_to_16, from8_to_32},
       {NULL, NULL, NULL, NULL, NULL, from16_to_32}}};
  return out_bytes <= src_bytes ? pe_conv_copy(out_bytes)
                                : wider[src_signed][log2_of(src_bytes)][log2_of(out_bytes)];
}

static uint64_t double_bits(double v) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof(bits));
  return bits;
}

static uint32_t float_bits(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof(bits));
  return bits;
}

FIXED(f32_to_f64, float, uint64_t, double_bits((double)v))
FIXED(f64_to_f32, double, uint32_t, float_bits((float)v))

pe_fixed_fn pe_conv_f32_to_f64(void) {
  return f32_to_f64;
}

pe_fixed_fn pe_conv_f64_to_f32(void) {
  return f64_to_f32;
}

FIXED(date_to_2, int32_t, uint16_t, pe_date_is_special(v) ? 0 : v)
FIXED(date_to_4, int32_t, uint32_t, pe_date_is_special(v) ? 0 : v)

pe_fixed_fn pe_conv_date(uint32_t out_bytes) {
  return out_bytes == 2 ? date_to_2 : date_to_4;
}

#define REAL(v) (pe_datetime_is_special(v) ? 0 : (v))

/* One function a divisor: a division by a constant is a multiplication. */
FIXED(datetime_us, int64_t, uint64_t, REAL(v))
FIXED(datetime_by_10, int64_t, uint64_t, REAL(v) / 10)
FIXED(datetime_by_100, int64_t, uint64_t, REAL(v) / 100)
FIXED(datetime_by_1000, int64_t, uint64_t, REAL(v) / 1000)
FIXED(datetime_by_10000, int64_t, uint64_t, REAL(v) / 10000)
FIXED(datetime_by_100000, int64_t, uint64_t, REAL(v) / 100000)
FIXED(datetime_s, int64_t, uint64_t, REAL(v) / 1000000)
FIXED(datetime_s32, int64_t, uint32_t, REAL(v) / 1000000)
FIXED(datetime_finer, int64_t, uint64_t, REAL(v) * (int64_t)c->factor)

pe_fixed_fn pe_conv_datetime(struct pe_conv *c, uint32_t scale, uint32_t out_bytes) {
  static const pe_fixed_fn all[] = {datetime_s,       datetime_by_100000, datetime_by_10000,
                                    datetime_by_1000, datetime_by_100,    datetime_by_10,
                                    datetime_us};
  c->factor = 1;
  for (uint32_t i = scale; i < 6; i++) {
    c->factor *= 10;
  }
  for (uint32_t i = 6; i < scale; i++) {
    c->factor *= 10;
  }
  if (out_bytes == 4) {
    PE_ASSERT(scale == 0);
    return datetime_s32;
  }
  return scale <= 6 ? all[scale] : datetime_finer;
}

static void fixed_string(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                         const uint8_t *nulls, uint8_t *dst) {
  size_t bytes = c->out_bytes;
  for (size_t i = 0; i < n; i++, dst += bytes) {
    struct pe_str s;
    memcpy(&s, rows[i] + c->offset, sizeof(s));
    if (nulls && nulls[i]) {
      memset(dst, 0, bytes);
    } else {
      PE_ASSERT(s.len == bytes);
      memcpy(dst, s.p, bytes);
    }
  }
}

pe_fixed_fn pe_conv_fixed_string(void) {
  return fixed_string;
}

/* ClickHouse keeps a UUID as two 64-bit numbers, the first half first, each least byte first. */
static void uuid_swap(const uint8_t in[16], uint8_t out[16]) {
  for (int i = 0; i < 8; i++) {
    out[i] = in[7 - i];
    out[8 + i] = in[15 - i];
  }
}

static int hex_digit(char ch) {
  return ch >= '0' && ch <= '9'   ? ch - '0'
         : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
         : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                  : -1;
}

bool pe_uuid_parse(const char *p, size_t n, uint8_t out[16]) {
  uint8_t raw[16];
  if (n != 36) {
    return false;
  }
  size_t at = 0;
  for (size_t i = 0; i < 16; i++) {
    if ((i == 4 || i == 6 || i == 8 || i == 10) && p[at++] != '-') {
      return false;
    }
    int high = hex_digit(p[at]), low = hex_digit(p[at + 1]);
    if (high < 0 || low < 0) {
      return false;
    }
    raw[i] = (uint8_t)(high << 4 | low);
    at += 2;
  }
  uuid_swap(raw, out);
  return true;
}

static void uuid_text(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                      const uint8_t *nulls, uint8_t *dst) {
  for (size_t i = 0; i < n; i++, dst += 16) {
    struct pe_str s;
    memcpy(&s, rows[i] + c->offset, sizeof(s));
    if (nulls && nulls[i]) {
      memset(dst, 0, 16);
    } else {
      PE_ASSERT(pe_uuid_parse(s.p, s.len, dst));
    }
  }
}

static void uuid_bytes(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                       const uint8_t *nulls, uint8_t *dst) {
  for (size_t i = 0; i < n; i++, dst += 16) {
    struct pe_str s;
    memcpy(&s, rows[i] + c->offset, sizeof(s));
    if (nulls && nulls[i]) {
      memset(dst, 0, 16);
    } else {
      PE_ASSERT(s.len == 16);
      uuid_swap((const uint8_t *)s.p, dst);
    }
  }
}

pe_fixed_fn pe_conv_uuid_text(void) {
  return uuid_text;
}

pe_fixed_fn pe_conv_uuid_bytes(void) {
  return uuid_bytes;
}
