/* Decimals that change their scale or width, and integers from or to decimals: exact 256-bit
 * arithmetic, one path for all pairs. Same scale and width never comes here. */
#include "base/assert.h"
#include "sink/block_plan.h"

enum { POW10_STEP = 19 }; /* 10^19 is the largest power of ten in 64 bits */

static bool negative(const struct pe_wide *v) {
  return v->w[3] >> 63;
}

void pe_wide_negate(struct pe_wide *v) {
  unsigned char carry = 1;
  for (int i = 0; i < 4; i++) {
    uint64_t flipped = ~v->w[i];
    v->w[i] = flipped + carry;
    carry = carry && v->w[i] == 0;
  }
}

/* |v| * m; false when it leaves 255 bits. v is not negative. */
static bool multiply(struct pe_wide *v, uint64_t m) {
  unsigned __int128 carry = 0;
  for (int i = 0; i < 4; i++) {
    carry += (unsigned __int128)v->w[i] * m;
    v->w[i] = (uint64_t)carry;
    carry >>= 64;
  }
  return !carry && !negative(v);
}

/* |v| / d; false when something is left over. */
static bool divide(struct pe_wide *v, uint64_t d) {
  unsigned __int128 rest = 0;
  for (int i = 3; i >= 0; i--) {
    rest = rest << 64 | v->w[i];
    v->w[i] = (uint64_t)(rest / d);
    rest %= d;
  }
  return rest == 0;
}

static uint64_t pow10_64(uint32_t digits) {
  uint64_t v = 1;
  while (digits--) {
    v *= 10;
  }
  return v;
}

bool pe_wide_pow10(uint32_t digits, struct pe_wide *out) {
  *out = (struct pe_wide){{1, 0, 0, 0}};
  while (digits) {
    uint32_t step = digits < POW10_STEP ? digits : POW10_STEP;
    if (!multiply(out, pow10_64(step))) {
      return false;
    }
    digits -= step;
  }
  return true;
}

static bool less(const struct pe_wide *a, const struct pe_wide *b) {
  if (negative(a) != negative(b)) {
    return negative(a);
  }
  for (int i = 3; i >= 0; i--) {
    if (a->w[i] != b->w[i]) {
      return a->w[i] < b->w[i];
    }
  }
  return false;
}

bool pe_wide_value(const struct pe_conv *c, const uint8_t *row, struct pe_wide *out) {
  const uint8_t *p = row + c->offset;
  bool minus = c->src_signed && (p[c->src_bytes - 1] & 0x80);
  memset(out, minus ? 0xFF : 0, sizeof(*out));
  memcpy(out->w, p, c->src_bytes);
  if (minus) {
    pe_wide_negate(out);
    if (negative(out)) {
      return false; /* -2^255 has no counterpart; no DECIMAL of MySQL is that large */
    }
  }
  uint32_t digits = (uint32_t)(c->shift < 0 ? -c->shift : c->shift);
  while (digits) {
    uint32_t step = digits < POW10_STEP ? digits : POW10_STEP;
    uint64_t m = pow10_64(step);
    if (!(c->shift > 0 ? multiply(out, m) : divide(out, m))) {
      return false;
    }
    digits -= step;
  }
  if (minus) {
    pe_wide_negate(out);
  }
  return !less(out, &c->lo_w) && !less(&c->hi_w, out);
}

static void put_wide(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                     const uint8_t *nulls, uint8_t *dst) {
  for (size_t i = 0; i < n; i++, dst += c->out_bytes) {
    struct pe_wide v = {{0, 0, 0, 0}};
    if (!nulls || !nulls[i]) {
      PE_ASSERT(pe_wide_value(c, rows[i], &v));
    }
    memcpy(dst, v.w, c->out_bytes);
  }
}

pe_fixed_fn pe_conv_wide(void) {
  return put_wide;
}
