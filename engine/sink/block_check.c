/* Which values don't fit their column: marked before anything is encoded, so that such a row goes
 * to the DLQ and nothing is clamped. One function for each kind of check, by column; reasons are
 * static texts without values. */
#include <math.h>

#include "base/assert.h"
#include "sink/block_plan.h"

static const char too_large[] = "the value is out of the range of the target column";
static const char is_null[] = "NULL in a column that is not Nullable";
static const char zero_date[] = "a zero or partial date, and no policy for it";
static const char zero_date_null[] = "a zero or partial date, and the column is not Nullable";
static const char date_range[] = "a date out of the range of the target column";
static const char fraction[] = "a fraction of a second finer than the target column";
static const char not_float[] = "the number is not exact as a Float32";
static const char length[] = "a length other than that of the FixedString";
static const char not_uuid[] = "not a UUID";
static const char not_decimal[] = "the number does not fit the target's digits";
static const char no_member[] = "a member number that the table's definition does not have";
static const char tombstone[] = "a tombstone, and the target has no _deleted column";

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

static void mark(const struct pe_conv *c, const uint8_t *row, const char *why, uint32_t *bad,
                 const char **reason) {
  if (!*bad && !pe_row_null(row, c->col)) {
    *bad = c->col + 1;
    *reason = why;
  }
}

#define CHECK(name, S, misfit, why)                                                              \
  static void name(const struct pe_conv *c, const uint8_t *const *rows, size_t n, uint32_t *bad, \
                   const char **reasons) {                                                       \
    for (size_t i = 0; i < n; i++) {                                                             \
      S v;                                                                                       \
      memcpy(&v, rows[i] + c->offset, sizeof(v));                                                \
      if (UNLIKELY(misfit)) {                                                                    \
        mark(c, rows[i], why, &bad[i], &reasons[i]);                                             \
      }                                                                                          \
    }                                                                                            \
  }

#define OUT_OF_RANGE(v, c) ((v) < (c)->lo || (v) > (c)->hi)

CHECK(int_1, int8_t, OUT_OF_RANGE(v, c), too_large)
CHECK(int_2, int16_t, OUT_OF_RANGE(v, c), too_large)
CHECK(int_4, int32_t, OUT_OF_RANGE(v, c), too_large)
CHECK(int_8, int64_t, OUT_OF_RANGE(v, c), too_large)
CHECK(uint_1, uint8_t, v > c->max, too_large)
CHECK(uint_2, uint16_t, v > c->max, too_large)
CHECK(uint_4, uint32_t, v > c->max, too_large)
CHECK(uint_8, uint64_t, v > c->max, too_large)

pe_check_fn pe_check_int(uint32_t src_bytes, bool src_signed) {
  static const pe_check_fn all[2][4] = {{uint_1, uint_2, uint_4, uint_8},
                                        {int_1, int_2, int_4, int_8}};
  return all[src_signed][src_bytes == 1 ? 0 : src_bytes == 2 ? 1 : src_bytes == 4 ? 2 : 3];
}

CHECK(f64_to_f32, double, !isnan(v) && (double)(float)v != v, not_float)

pe_check_fn pe_check_f64_to_f32(void) {
  return f64_to_f32;
}

static const char *special_date(const struct pe_conv *c) {
  return c->zero == PE_ZERO_DLQ                 ? zero_date
         : c->zero == PE_ZERO_NULL && !c->nulls ? zero_date_null
                                                : NULL;
}

static void check_date(const struct pe_conv *c, const uint8_t *const *rows, size_t n, uint32_t *bad,
                       const char **reasons) {
  for (size_t i = 0; i < n; i++) {
    int32_t v;
    memcpy(&v, rows[i] + c->offset, sizeof(v));
    if (UNLIKELY(v < c->lo || v > c->hi)) {
      const char *why = pe_date_is_special(v) ? special_date(c) : date_range;
      if (why) {
        mark(c, rows[i], why, &bad[i], &reasons[i]);
      }
    }
  }
}

pe_check_fn pe_check_date(void) {
  return check_date;
}

/* What is wrong with a DATETIME known to be out of lo..hi or to be too fine; NULL: nothing. */
static const char *datetime_misfit(const struct pe_conv *c, int64_t v) {
  return pe_datetime_is_special(v) ? special_date(c)
         : v < c->lo || v > c->hi  ? date_range
                                   : fraction;
}

#define CHECK_DATETIME(name, divisor)                                                            \
  static void name(const struct pe_conv *c, const uint8_t *const *rows, size_t n, uint32_t *bad, \
                   const char **reasons) {                                                       \
    for (size_t i = 0; i < n; i++) {                                                             \
      int64_t v;                                                                                 \
      memcpy(&v, rows[i] + c->offset, sizeof(v));                                                \
      if (UNLIKELY(v < c->lo || v > c->hi || v % (divisor) != 0)) {                              \
        const char *why = datetime_misfit(c, v);                                                 \
        if (why) {                                                                               \
          mark(c, rows[i], why, &bad[i], &reasons[i]);                                           \
        }                                                                                        \
      }                                                                                          \
    }                                                                                            \
  }

CHECK_DATETIME(datetime_1, 1)
CHECK_DATETIME(datetime_1000, 1000)
CHECK_DATETIME(datetime_1000000, 1000000)
CHECK_DATETIME(datetime_any, (int64_t)c->factor)

/* c->factor is 1 where the target is at least as fine as a microsecond. */
pe_check_fn pe_check_datetime(uint64_t divisor) {
  return divisor == 1         ? datetime_1
         : divisor == 1000    ? datetime_1000
         : divisor == 1000000 ? datetime_1000000
                              : datetime_any;
}

CHECK(fixed_string, struct pe_str, v.len != c->out_bytes, length)

pe_check_fn pe_check_fixed_string(void) {
  return fixed_string;
}

static void uuid_text(const struct pe_conv *c, const uint8_t *const *rows, size_t n, uint32_t *bad,
                      const char **reasons) {
  for (size_t i = 0; i < n; i++) {
    struct pe_str s;
    uint8_t raw[16];
    memcpy(&s, rows[i] + c->offset, sizeof(s));
    if (!pe_row_null(rows[i], c->col) && !pe_uuid_parse(s.p, s.len, raw)) {
      mark(c, rows[i], not_uuid, &bad[i], &reasons[i]);
    }
  }
}

CHECK(uuid_bytes, struct pe_str, v.len != 16, not_uuid)

pe_check_fn pe_check_uuid_text(void) {
  return uuid_text;
}

pe_check_fn pe_check_uuid_bytes(void) {
  return uuid_bytes;
}

static void wide(const struct pe_conv *c, const uint8_t *const *rows, size_t n, uint32_t *bad,
                 const char **reasons) {
  for (size_t i = 0; i < n; i++) {
    struct pe_wide v;
    if (!pe_wide_value(c, rows[i], &v)) {
      mark(c, rows[i], not_decimal, &bad[i], &reasons[i]);
    }
  }
}

pe_check_fn pe_check_wide(void) {
  return wide;
}

CHECK(member_enum, uint16_t, v > c->max, no_member)
CHECK(member_set, uint64_t, v > c->max, no_member)

pe_check_fn pe_check_member(uint32_t src_bytes) {
  return src_bytes == 2 ? member_enum : member_set;
}

static void check_nulls(const struct pe_plan *p, const uint8_t *const *rows, size_t n,
                        uint32_t *bad, const char **reasons) {
  for (size_t i = 0; i < n; i++) {
    for (uint32_t k = 0; k < p->nrequired; k++) {
      uint64_t bits;
      memcpy(&bits, rows[i] + (size_t)k * 8, sizeof(bits));
      bits &= p->required[k];
      if (UNLIKELY(bits)) {
        bad[i] = k * 64 + (uint32_t)__builtin_ctzll(bits) + 1;
        reasons[i] = is_null;
        break;
      }
    }
  }
}

size_t pe_plan_check(const struct pe_plan *p, const struct pe_out *outs, size_t n, uint32_t *bad,
                     const char **reasons) {
  const uint8_t *rows[PE_BLOCK_GROUP];
  size_t nbad = 0;
  for (size_t at = 0; at < n; at += PE_BLOCK_GROUP) {
    size_t m = n - at < PE_BLOCK_GROUP ? n - at : PE_BLOCK_GROUP;
    bool dead = false;
    for (size_t i = 0; i < m; i++) {
      rows[i] = outs[at + i].row;
      bad[at + i] = 0;
      dead |= outs[at + i].deleted;
    }
    check_nulls(p, rows, m, bad + at, reasons + at);
    for (uint32_t k = 0; k < p->nchecked; k++) {
      const struct pe_conv *c = &p->convs[p->checked[k]];
      c->check(c, rows, m, bad + at, reasons + at);
    }
    if (UNLIKELY(dead && !p->deleted_head.n)) {
      for (size_t i = 0; i < m; i++) {
        if (outs[at + i].deleted && !bad[at + i]) {
          bad[at + i] = 1;
          reasons[at + i] = tombstone;
        }
      }
    }
    for (size_t i = 0; i < m; i++) {
      nbad += bad[at + i] != 0;
    }
  }
  return nbad;
}
