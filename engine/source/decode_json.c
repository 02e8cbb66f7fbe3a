/* MySQL's binary JSON into text, as the server itself prints it.
 * Format: sql-common/json_binary.h. Pure apart from the output buffer. A malformed value is
 * PE_ESOURCE_PROTO: offsets are checked against their container, depth and the number of values
 * against what the server can have written, so that forged offsets can't blow it up. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "source/binlog_wire.h"
#include "source/decode_plan.h"
#include "source/decode_temporal.h"

enum {
  J_SMALL_OBJECT = 0,
  J_LARGE_OBJECT = 1,
  J_SMALL_ARRAY = 2,
  J_LARGE_ARRAY = 3,
  J_LITERAL = 4,
  J_INT16 = 5,
  J_UINT16 = 6,
  J_INT32 = 7,
  J_UINT32 = 8,
  J_INT64 = 9,
  J_UINT64 = 10,
  J_DOUBLE = 11,
  J_STRING = 12,
  J_OPAQUE = 15,
  DEPTH_MAX = 101, /* the server's limit is 100 */
  PLAIN_EXPONENT_MIN = -15,
  PLAIN_EXPONENT_MAX = 14
};

struct json {
  struct pe_buf *out;
  size_t values_left; /* a value takes a byte at least */
};

static int put_value(struct json *j, uint8_t type, const uint8_t *p, size_t n, unsigned depth);

/* 7 bits a byte, low ones first */
static bool read_varlen(struct pe_cursor *c, size_t *len) {
  uint64_t v = 0;
  for (unsigned i = 0; i < 5; i++) {
    uint8_t b = pe_cursor_u8(c);
    v |= (uint64_t)(b & 0x7F) << (7 * i);
    if (!(b & 0x80)) {
      *len = (size_t)v;
      return !c->bad;
    }
  }
  return false;
}

/* The shortest digits that read back as the same number, written as the server does: plain for
 * exponents from -15 to 14, else 1.5e100. */
static void put_double(struct pe_buf *out, double v) {
  char text[40];
  int digits = 15;
  for (; digits <= 17; digits++) {
    snprintf(text, sizeof(text), "%.*e", digits - 1, v);
    if (strtod(text, NULL) == v) {
      break;
    }
  }
  char *e = strchr(text, 'e');
  int exponent = atoi(e + 1);
  while (e[-1] == '0') {
    e--;
    digits--;
  }
  if (e[-1] == '.') {
    e--;
  }
  if (exponent < PLAIN_EXPONENT_MIN || exponent > PLAIN_EXPONENT_MAX) {
    *e = 0;
    pe_buf_printf(out, "%se%d", text, exponent);
    return;
  }
  int decimals = digits - 1 - exponent;
  pe_buf_printf(out, "%.*f", decimals > 1 ? decimals : 1, v);
}

static void put_decimal(struct pe_buf *out, const uint64_t limbs[4], unsigned scale) {
  uint64_t v[4];
  memcpy(v, limbs, sizeof(v));
  bool negative = v[3] >> 63;
  if (negative) {
    uint64_t carry = 1;
    for (int i = 0; i < 4; i++) {
      v[i] = ~v[i] + carry;
      carry = carry && v[i] == 0;
    }
  }
  char digits[80];
  unsigned n = 0;
  while ((v[0] | v[1] | v[2] | v[3]) || n <= scale) {
    unsigned __int128 rest = 0;
    for (int i = 3; i >= 0; i--) {
      rest = rest << 64 | v[i];
      v[i] = (uint64_t)(rest / 10);
      rest %= 10;
    }
    digits[n++] = (char)('0' + (int)rest);
  }
  if (negative) {
    pe_buf_puts(out, "-");
  }
  while (n) {
    if (n == scale) {
      pe_buf_puts(out, ".");
    }
    pe_buf_put(out, &digits[--n], 1);
  }
}

static int put_opaque_decimal(struct pe_buf *out, const uint8_t *p, size_t n) {
  uint64_t limbs[4];
  if (n < 2 || p[0] == 0 || p[0] > 65 || p[1] > p[0] || n - 2 < pe_decimal_bytes(p[0], p[1]) ||
      !pe_decode_decimal(p + 2, p[0], p[1], limbs)) {
    return PE_ESOURCE_PROTO;
  }
  put_decimal(out, limbs, p[1]);
  return 0;
}

static int put_opaque_time(struct pe_buf *out, uint8_t type, const uint8_t *p, size_t n) {
  if (n < 8) {
    return PE_ESOURCE_PROTO;
  }
  int64_t packed = (int64_t)pe_le64(p);
  bool negative = packed < 0;
  uint64_t v = negative ? (uint64_t)0 - (uint64_t)packed : (uint64_t)packed;
  unsigned usec = (unsigned)(v & 0xFFFFFF);
  uint64_t hms = v >> 24;
  unsigned sec = hms & 63, min = hms >> 6 & 63;
  if (type == PE_MT_TIME) {
    pe_buf_printf(out, "\"%s%02u:%02u:%02u.%06u\"", negative ? "-" : "",
                  (unsigned)(hms >> 12 & 1023), min, sec, usec);
    return 0;
  }
  unsigned ymd = (unsigned)(hms >> 17), ym = ymd >> 5;
  pe_buf_printf(out, "\"%04u-%02u-%02u", ym / PE_CAL_MONTHS, ym % PE_CAL_MONTHS, ymd & 31);
  if (type != PE_MT_DATE) {
    pe_buf_printf(out, " %02u:%02u:%02u.%06u", (unsigned)(hms >> 12 & 31), min, sec, usec);
  }
  pe_buf_puts(out, "\"");
  return 0;
}

static void put_base64(struct pe_buf *out, const uint8_t *p, size_t n) {
  static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < n; i += 3) {
    uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
                 (i + 2 < n ? p[i + 2] : 0u);
    char four[4] = {set[v >> 18], set[v >> 12 & 63], i + 1 < n ? set[v >> 6 & 63] : '=',
                    i + 2 < n ? set[v & 63] : '='};
    pe_buf_put(out, four, 4);
  }
}

static int put_opaque(struct pe_buf *out, const uint8_t *p, size_t n) {
  struct pe_cursor c = pe_cursor(p, n);
  uint8_t type = pe_cursor_u8(&c);
  size_t len;
  if (!read_varlen(&c, &len) || len > pe_cursor_left(&c)) {
    return PE_ESOURCE_PROTO;
  }
  switch (type) {
    case PE_MT_NEWDECIMAL:
      return put_opaque_decimal(out, c.p, len);
    case PE_MT_DATE:
    case PE_MT_TIME:
    case PE_MT_DATETIME:
    case PE_MT_TIMESTAMP:
      return put_opaque_time(out, type, c.p, len);
    default:
      pe_buf_printf(out, "\"base64:type%u:", type);
      put_base64(out, c.p, len);
      pe_buf_puts(out, "\"");
      return 0;
  }
}

static int put_scalar(struct json *j, uint8_t type, const uint8_t *p, size_t n) {
  static const uint8_t widths[] = {[J_LITERAL] = 1, [J_INT16] = 2, [J_UINT16] = 2, [J_INT32] = 4,
                                   [J_UINT32] = 4,  [J_INT64] = 8, [J_UINT64] = 8, [J_DOUBLE] = 8};
  if (type < sizeof(widths) && n < widths[type]) {
    return PE_ESOURCE_PROTO;
  }
  switch (type) {
    case J_LITERAL:
      if (*p > 2) {
        return PE_ESOURCE_PROTO;
      }
      pe_buf_puts(j->out, *p == 0 ? "null" : *p == 1 ? "true" : "false");
      return 0;
    case J_INT16:
      pe_buf_printf(j->out, "%d", (int16_t)pe_le16(p));
      return 0;
    case J_UINT16:
      pe_buf_printf(j->out, "%u", pe_le16(p));
      return 0;
    case J_INT32:
      pe_buf_printf(j->out, "%d", (int32_t)pe_le32(p));
      return 0;
    case J_UINT32:
      pe_buf_printf(j->out, "%u", pe_le32(p));
      return 0;
    case J_INT64:
      pe_buf_printf(j->out, "%lld", (long long)(int64_t)pe_le64(p));
      return 0;
    case J_UINT64:
      pe_buf_printf(j->out, "%llu", (unsigned long long)pe_le64(p));
      return 0;
    case J_DOUBLE: {
      double v;
      memcpy(&v, p, 8);
      if (!isfinite(v)) {
        return PE_ESOURCE_PROTO;
      }
      put_double(j->out, v);
      return 0;
    }
    case J_STRING: {
      struct pe_cursor c = pe_cursor(p, n);
      size_t len;
      if (!read_varlen(&c, &len) || len > pe_cursor_left(&c)) {
        return PE_ESOURCE_PROTO;
      }
      pe_buf_put_json(j->out, (const char *)c.p, len);
      return 0;
    }
    case J_OPAQUE:
      return put_opaque(j->out, p, n);
    default:
      return PE_ESOURCE_PROTO;
  }
}

static bool is_inline(uint8_t type, bool large) {
  return type == J_LITERAL || type == J_INT16 || type == J_UINT16 ||
         (large && (type == J_INT32 || type == J_UINT32));
}

static int put_entry(struct json *j, const uint8_t *base, size_t size, size_t entry, bool large,
                     unsigned depth) {
  unsigned w = large ? 4 : 2;
  uint8_t type = base[entry];
  if (is_inline(type, large)) {
    return put_value(j, type, base + entry + 1, w, depth);
  }
  size_t offset = (size_t)pe_le_n(base + entry + 1, w);
  if (offset >= size) {
    return PE_ESOURCE_PROTO;
  }
  return put_value(j, type, base + offset, size - offset, depth);
}

static int put_container(struct json *j, uint8_t type, const uint8_t *p, size_t n, unsigned depth) {
  bool large = type == J_LARGE_OBJECT || type == J_LARGE_ARRAY;
  bool object = type == J_SMALL_OBJECT || type == J_LARGE_OBJECT;
  unsigned w = large ? 4 : 2;
  if (depth > DEPTH_MAX || n < 2u * w) {
    return PE_ESOURCE_PROTO;
  }
  size_t count = (size_t)pe_le_n(p, w), size = (size_t)pe_le_n(p + w, w);
  size_t keys = 2u * w, values = keys + (object ? count * (w + 2u) : 0);
  if (size > n || count > size || values + count * (w + 1u) > size) {
    return PE_ESOURCE_PROTO;
  }
  pe_buf_puts(j->out, object ? "{" : "[");
  for (size_t i = 0; i < count; i++) {
    if (i) {
      pe_buf_puts(j->out, ", ");
    }
    if (object) {
      const uint8_t *key = p + keys + i * (w + 2u);
      size_t at = (size_t)pe_le_n(key, w), len = pe_le16(key + w);
      if (at > size || len > size - at) {
        return PE_ESOURCE_PROTO;
      }
      pe_buf_put_json(j->out, (const char *)p + at, len);
      pe_buf_puts(j->out, ": ");
    }
    int rc = put_entry(j, p, size, values + i * (w + 1u), large, depth);
    if (rc) {
      return rc;
    }
  }
  pe_buf_puts(j->out, object ? "}" : "]");
  return 0;
}

static int put_value(struct json *j, uint8_t type, const uint8_t *p, size_t n, unsigned depth) {
  if (j->values_left-- == 0) {
    j->values_left = 0;
    return PE_ESOURCE_PROTO;
  }
  return type <= J_LARGE_ARRAY ? put_container(j, type, p, n, depth + 1)
                               : put_scalar(j, type, p, n);
}

int pe_decode_json(const uint8_t *p, size_t n, struct pe_buf *out) {
  if (n == 0) { /* what the server writes for a value it never had */
    pe_buf_puts(out, "null");
    return pe_buf_ok(out) ? 0 : PE_ENOMEM;
  }
  struct json j = {.out = out, .values_left = n};
  int rc = put_value(&j, p[0], p + 1, n - 1, 0);
  return rc ? rc : pe_buf_ok(out) ? 0 : PE_ENOMEM;
}
