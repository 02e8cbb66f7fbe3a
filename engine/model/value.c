/* The text of single values, exact in every type: what logs of bad rows, the DLQ and comparisons
 * show. Pure but for the buffer it writes to. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/table.h"

enum {
  DEC_LIMBS_MAX = 8,  /* 256 bits in 32-bit limbs */
  DEC_DIGITS_MAX = 80 /* 2^255 has 77 */
};

/* Divides the number by 10^9 in place and returns the remainder. */
static uint32_t divide_by_billion(uint32_t *limbs, int n) {
  uint64_t rest = 0;
  for (int i = n - 1; i >= 0; i--) {
    rest = rest << 32 | limbs[i];
    limbs[i] = (uint32_t)(rest / 1000000000);
    rest %= 1000000000;
  }
  return (uint32_t)rest;
}

/* Two's complement of `bytes` bytes, scaled by 10^scale, as decimal text. */
static void put_decimal(struct pe_buf *out, const uint8_t *p, uint32_t bytes, uint32_t scale) {
  uint32_t limbs[DEC_LIMBS_MAX];
  int n = (int)(bytes / 4);
  memcpy(limbs, p, bytes);
  bool negative = limbs[n - 1] >> 31;
  if (negative) {
    uint64_t carry = 1;
    for (int i = 0; i < n; i++) {
      carry += ~limbs[i];
      limbs[i] = (uint32_t)carry;
      carry >>= 32;
    }
  }
  char digits[DEC_DIGITS_MAX + 16]; /* least significant first */
  uint32_t nd = 0;
  while (n > 0) {
    uint32_t rest = divide_by_billion(limbs, n);
    while (n > 0 && limbs[n - 1] == 0) {
      n--;
    }
    for (int i = 0; i < 9 && (n > 0 || rest); i++) {
      digits[nd++] = (char)('0' + rest % 10);
      rest /= 10;
    }
  }
  char text[512];
  size_t len = 0;
  if (negative) {
    text[len++] = '-';
  }
  uint32_t at = nd > scale ? nd : scale + 1; /* digits before the first one are zeros */
  while (at > 0) {
    at--;
    text[len++] = at < nd ? digits[at] : '0';
    if (at == scale && scale > 0) {
      text[len++] = '.';
    }
  }
  pe_buf_put(out, text, len);
}

static void put_double(struct pe_buf *out, double v) {
  char text[48];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof(text), "%.*g", digits, v);
    if (strtod(text, NULL) == v) {
      break;
    }
  }
  pe_buf_puts(out, text);
}

static void put_float(struct pe_buf *out, float v) {
  char text[48];
  for (int digits = 6; digits <= 9; digits++) {
    snprintf(text, sizeof(text), "%.*g", digits, (double)v);
    if (strtof(text, NULL) == v) {
      break;
    }
  }
  pe_buf_puts(out, text);
}

static void put_floating(struct pe_buf *out, double v, bool is_float) {
  if (isnan(v)) {
    pe_buf_puts(out, "nan"); /* the sign of a NaN says nothing */
  } else if (isinf(v)) {
    pe_buf_puts(out, v > 0 ? "inf" : "-inf");
  } else if (is_float) {
    put_float(out, (float)v);
  } else {
    put_double(out, v);
  }
}

static void put_fraction(struct pe_buf *out, uint32_t usec, uint32_t scale) {
  if (scale == 0) {
    return;
  }
  uint32_t digits = scale > 6 ? 6 : scale;
  uint32_t v = usec;
  for (uint32_t i = digits; i < 6; i++) {
    v /= 10;
  }
  pe_buf_printf(out, ".%0*" PRIu32, (int)digits, v);
}

static void put_date(struct pe_buf *out, int32_t v) {
  int y;
  unsigned m, d;
  if (pe_date_is_special(v)) {
    uint32_t bits = (uint32_t)v - (uint32_t)PE_DATE_SPECIAL_BASE;
    y = (int)(bits >> 9);
    m = bits >> 5 & 15;
    d = bits & 31;
  } else {
    pe_civil_from_days(v, &y, &m, &d);
  }
  pe_buf_printf(out, "%04d-%02u-%02u", y, m, d);
}

static void put_datetime(struct pe_buf *out, int64_t v, uint32_t scale) {
  if (pe_datetime_is_special(v)) {
    uint64_t bits = (uint64_t)v - (uint64_t)PE_DATETIME_SPECIAL_BASE;
    uint32_t ym = (uint32_t)(bits >> 42);
    pe_buf_printf(out, "%04u-%02u-%02u %02u:%02u:%02u", ym / 13, ym % 13,
                  (unsigned)(bits >> 37 & 31), (unsigned)(bits >> 32 & 31),
                  (unsigned)(bits >> 26 & 63), (unsigned)(bits >> 20 & 63));
    put_fraction(out, (uint32_t)(bits & 0xFFFFF), scale);
    return;
  }
  const int64_t day_us = INT64_C(86400000000);
  int64_t days = v / day_us;
  int64_t rest = v % day_us;
  if (rest < 0) {
    rest += day_us;
    days--;
  }
  put_date(out, (int32_t)days);
  uint32_t sec = (uint32_t)(rest / 1000000);
  pe_buf_printf(out, " %02u:%02u:%02u", sec / 3600, sec / 60 % 60, sec % 60);
  put_fraction(out, (uint32_t)(rest % 1000000), scale);
}

static void put_time(struct pe_buf *out, int64_t v, uint32_t scale) {
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  uint64_t sec = u / 1000000;
  pe_buf_printf(out, "%s%02" PRIu64 ":%02u:%02u", v < 0 ? "-" : "", sec / 3600,
                (unsigned)(sec / 60 % 60), (unsigned)(sec % 60));
  put_fraction(out, (uint32_t)(u % 1000000), scale);
}

static void put_enum(struct pe_buf *out, const struct pe_column *c, uint32_t v) {
  if (v == 0) {
    return;
  }
  if (v <= c->nmembers) {
    pe_buf_puts(out, c->members[v - 1]);
  } else {
    pe_buf_printf(out, "%" PRIu32, v); /* a member the table version does not know */
  }
}

static void put_set(struct pe_buf *out, const struct pe_column *c, uint64_t v) {
  const char *sep = "";
  for (uint32_t i = 0; i < 64; i++) {
    if (v >> i & 1) {
      pe_buf_puts(out, sep);
      put_enum(out, c, i + 1);
      sep = ",";
    }
  }
}

static void put_hex(struct pe_buf *out, const struct pe_str *s) {
  static const char digits[] = "0123456789abcdef";
  if (!s->len || !pe_buf_reserve(out, (size_t)s->len * 2)) {
    return;
  }
  uint8_t *to = out->data + out->len;
  for (uint32_t i = 0; i < s->len; i++) {
    uint8_t b = (uint8_t)s->p[i];
    *to++ = (uint8_t)digits[b >> 4];
    *to++ = (uint8_t)digits[b & 15];
  }
  out->len += (size_t)s->len * 2;
}

#define LOAD(type, var, p) \
  type var;                \
  memcpy(&var, p, sizeof(var))

static void put_integer(const struct pe_column *c, const uint8_t *p, struct pe_buf *out) {
  uint32_t bytes = pe_ctype_bytes(c->ctype);
  uint64_t u = 0;
  memcpy(&u, p, bytes);
  bool is_signed =
      c->ctype == PE_C_I8 || c->ctype == PE_C_I16 || c->ctype == PE_C_I32 || c->ctype == PE_C_I64;
  if (is_signed) {
    unsigned shift = 64 - bytes * 8;
    pe_buf_printf(out, "%" PRId64, (int64_t)(u << shift) >> shift);
  } else {
    pe_buf_printf(out, "%" PRIu64, u);
  }
}

void pe_value_text(const struct pe_column *c, const uint8_t *row, struct pe_buf *out) {
  const uint8_t *p = row + c->offset;
  switch (c->ctype) {
    case PE_C_I8:
    case PE_C_U8:
    case PE_C_I16:
    case PE_C_U16:
    case PE_C_I32:
    case PE_C_U32:
    case PE_C_I64:
    case PE_C_U64:
    case PE_C_BIT:
      put_integer(c, p, out);
      return;
    case PE_C_F32: {
      LOAD(float, v, p);
      put_floating(out, (double)v, true);
      return;
    }
    case PE_C_F64: {
      LOAD(double, v, p);
      put_floating(out, v, false);
      return;
    }
    case PE_C_DEC64:
    case PE_C_DEC128:
    case PE_C_DEC256:
      put_decimal(out, p, pe_ctype_bytes(c->ctype), c->scale);
      return;
    case PE_C_DATE: {
      LOAD(int32_t, v, p);
      put_date(out, v);
      return;
    }
    case PE_C_DATETIME: {
      LOAD(int64_t, v, p);
      put_datetime(out, v, c->scale);
      return;
    }
    case PE_C_TIME: {
      LOAD(int64_t, v, p);
      put_time(out, v, c->scale);
      return;
    }
    case PE_C_YEAR: {
      LOAD(uint16_t, v, p);
      pe_buf_printf(out, "%04u", v);
      return;
    }
    case PE_C_ENUM: {
      LOAD(uint16_t, v, p);
      put_enum(out, c, v);
      return;
    }
    case PE_C_SET: {
      LOAD(uint64_t, v, p);
      put_set(out, c, v);
      return;
    }
    case PE_C_BYTES: {
      LOAD(struct pe_str, s, p);
      put_hex(out, &s);
      return;
    }
    case PE_C_STR:
    case PE_C_JSON: {
      LOAD(struct pe_str, s, p);
      pe_buf_put(out, s.p, s.len);
      return;
    }
    case PE_C_COUNT:
      break;
  }
  PE_ASSERT(c->ctype < PE_C_COUNT);
}
