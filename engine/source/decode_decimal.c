/* DECIMAL: groups of nine digits, big-endian, the sign in the first bit, negative ones inverted.
 * Format: strings/decimal.c, decimal2bin. Pure. */
#include "source/binlog_wire.h"
#include "source/decode_plan.h"

enum { DIGITS_PER_GROUP = 9, PRECISION_MAX = 65, DECIMAL_BYTES_MAX = 32 };

static const uint8_t group_bytes[DIGITS_PER_GROUP + 1] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};
static const uint32_t powers[DIGITS_PER_GROUP + 1] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

static unsigned half_bytes(unsigned digits) {
  return digits / DIGITS_PER_GROUP * 4 + group_bytes[digits % DIGITS_PER_GROUP];
}

unsigned pe_decimal_bytes(unsigned precision, unsigned scale) {
  return half_bytes(precision - scale) + half_bytes(scale);
}

static void mul_add(uint64_t v[4], uint32_t mul, uint32_t add) {
  unsigned __int128 carry = add;
  for (int i = 0; i < 4; i++) {
    carry += (unsigned __int128)v[i] * mul;
    v[i] = (uint64_t)carry;
    carry >>= 64;
  }
}

static bool take_group(const uint8_t **p, unsigned digits, uint64_t out[4]) {
  if (!digits) {
    return true;
  }
  uint32_t g = (uint32_t)pe_be_n(*p, group_bytes[digits]);
  *p += group_bytes[digits];
  if (g >= powers[digits]) {
    return false;
  }
  mul_add(out, powers[digits], g);
  return true;
}

static void negate(uint64_t v[4]) {
  uint64_t carry = 1;
  for (int i = 0; i < 4; i++) {
    v[i] = ~v[i] + carry;
    carry = carry && v[i] == 0;
  }
}

unsigned pe_decode_decimal(const uint8_t *p, unsigned precision, unsigned scale, uint64_t out[4]) {
  memset(out, 0, 4 * sizeof(*out));
  if (precision == 0 || precision > PRECISION_MAX || scale > precision) {
    return 0;
  }
  unsigned n = pe_decimal_bytes(precision, scale);
  uint8_t raw[DECIMAL_BYTES_MAX];
  memcpy(raw, p, n);
  bool negative = !(raw[0] & 0x80);
  raw[0] ^= 0x80;
  if (negative) {
    for (unsigned i = 0; i < n; i++) {
      raw[i] = (uint8_t)~raw[i];
    }
  }
  const uint8_t *at = raw;
  unsigned whole = precision - scale;
  bool ok = take_group(&at, whole % DIGITS_PER_GROUP, out);
  for (unsigned i = 0; ok && i < whole / DIGITS_PER_GROUP; i++) {
    ok = take_group(&at, DIGITS_PER_GROUP, out);
  }
  for (unsigned i = 0; ok && i < scale / DIGITS_PER_GROUP; i++) {
    ok = take_group(&at, DIGITS_PER_GROUP, out);
  }
  ok = ok && take_group(&at, scale % DIGITS_PER_GROUP, out);
  if (!ok) {
    return 0;
  }
  if (negative) {
    negate(out);
  }
  return n;
}
