/* The partition that each row goes to, as a number: from the values as they lie in the rows, by the
 * rules that ClickHouse has for the expressions that target_partition.c knows. Where a number
 * can't be had (an unknown expression, a column that isn't sent) it is 0 for all rows; where two
 * numbers fall into one partition (toDate of a day outside of 1970..2149) that costs a smaller
 * block, never a wrong one. */
#include "sink/block_plan.h"

static const uint64_t null_number = UINT64_C(0x9e3779b97f4a7c15);
static const int64_t day_us = INT64_C(86400000000);

static uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * UINT64_C(0xff51afd7ed558ccd);
  h ^= h >> 32;
  h *= UINT64_C(0xc4ceb9fe1a85ec53);
  return h ^ h >> 29;
}

static uint64_t hash_bytes(const void *p, size_t n) {
  const uint8_t *at = p;
  uint64_t h = mix(null_number, n);
  while (n) {
    uint64_t v = 0;
    size_t step = n < 8 ? n : 8;
    memcpy(&v, at, step);
    h = mix(h, v);
    at += step;
    n -= step;
  }
  return h;
}

static int64_t floor_day(int64_t us) {
  return us / day_us - (us % day_us < 0);
}

/* The day of a DATE or DATETIME; false: it goes out as NULL. */
static inline bool day_of(const struct pe_conv *c, const uint8_t *row, int64_t *day) {
  bool special;
  if (c->from->ctype == PE_C_DATE) {
    int32_t days;
    memcpy(&days, row + c->offset, sizeof(days));
    special = pe_date_is_special(days);
    *day = days;
  } else {
    int64_t us;
    memcpy(&us, row + c->offset, sizeof(us));
    special = pe_datetime_is_special(us);
    *day = floor_day(us);
  }
  if (__builtin_expect(special, 0)) {
    *day = 0;
    return c->zero != PE_ZERO_NULL;
  }
  return !pe_row_null(row, c->col);
}

static uint64_t by_day(enum pe_partition_kind kind, int64_t day) {
  int y;
  unsigned m, d;
  pe_civil_from_days((int32_t)day, &y, &m, &d);
  switch (kind) {
    case PE_PART_YYYYMM:
      return (uint64_t)(y * 100 + (int)m);
    case PE_PART_YYYYMMDD:
      return (uint64_t)(y * 10000 + (int)(m * 100 + d));
    case PE_PART_YEAR:
      return (uint64_t)y;
    default:
      return (uint64_t)day;
  }
}

static void number_days(const struct pe_plan_part *part, const struct pe_conv *c,
                        const struct pe_out *outs, size_t n, uint64_t *number) {
  int64_t last = INT64_MAX; /* rows come mostly in the order of time: the calendar once a day */
  uint64_t last_number = 0;
  for (size_t i = 0; i < n; i++) {
    int64_t day;
    if (__builtin_expect(!day_of(c, outs[i].row, &day), 0)) {
      number[i] = null_number;
      continue;
    }
    if (part->kind == PE_PART_MONDAY) { /* 1970-01-01 was a Thursday */
      day += 3;
      day = (day >= 0 ? day : day - 6) / 7;
    }
    if (day != last) {
      last = day;
      last_number = by_day(part->kind, day);
    }
    number[i] = last_number;
  }
}

static uint64_t plain(const struct pe_conv *c, const uint8_t *row) {
  const uint8_t *p = row + c->offset;
  if (pe_ctype_is_str(c->from->ctype)) {
    struct pe_str s;
    memcpy(&s, p, sizeof(s));
    return hash_bytes(s.p, s.len);
  }
  if (c->src_bytes > 8) {
    return hash_bytes(p, c->src_bytes);
  }
  uint64_t v = 0;
  memcpy(&v, p, c->src_bytes);
  if (c->src_signed && c->src_bytes < 8 && v >> (c->src_bytes * 8 - 1)) {
    v |= ~UINT64_C(0) << (c->src_bytes * 8);
  }
  return v;
}

/* ClickHouse's % and intDiv round towards zero, as C does. */
static uint64_t divided(const struct pe_plan_part *part, bool is_signed, uint64_t v) {
  if (!is_signed || part->n > INT64_MAX) {
    return part->kind == PE_PART_MOD ? v % part->n : v / part->n;
  }
  int64_t s = (int64_t)v, n = (int64_t)part->n;
  return (uint64_t)(part->kind == PE_PART_MOD ? s % n : s / n);
}

static bool is_integer(const struct pe_conv *c) {
  return c->from->ctype <= PE_C_U64 || c->from->ctype == PE_C_YEAR || c->from->ctype == PE_C_BIT;
}

static void number_values(const struct pe_plan_part *part, const struct pe_conv *c,
                          const struct pe_out *outs, size_t n, uint64_t *number) {
  bool divide = (part->kind == PE_PART_MOD || part->kind == PE_PART_INTDIV) && is_integer(c);
  for (size_t i = 0; i < n; i++) {
    if (pe_row_null(outs[i].row, c->col)) {
      number[i] = null_number;
      continue;
    }
    uint64_t v = plain(c, outs[i].row);
    number[i] = divide ? divided(part, c->src_signed, v) : v;
  }
}

static void number_meta(const struct pe_plan_part *part, const struct pe_out *outs, size_t n,
                        uint64_t *number) {
  bool divide = part->kind == PE_PART_MOD || part->kind == PE_PART_INTDIV;
  for (size_t i = 0; i < n; i++) {
    uint64_t v = part->conv == PE_PART_VERSION ? outs[i].version : outs[i].deleted;
    number[i] = divide ? divided(part, false, v) : v;
  }
}

static void number_part(const struct pe_plan *p, const struct pe_plan_part *part,
                        const struct pe_out *outs, size_t n, uint64_t *number) {
  if (part->kind == PE_PART_NONE || part->kind == PE_PART_OPAQUE || part->conv == PE_PART_UNSENT) {
    memset(number, 0, n * sizeof(*number));
    return;
  }
  if (part->conv == PE_PART_VERSION || part->conv == PE_PART_DELETED) {
    number_meta(part, outs, n, number);
    return;
  }
  const struct pe_conv *c = &p->convs[part->conv];
  bool is_day = c->from->ctype == PE_C_DATE || c->from->ctype == PE_C_DATETIME;
  if (is_day && part->kind != PE_PART_VALUE) {
    number_days(part, c, outs, n, number);
  } else {
    number_values(part, c, outs, n, number);
  }
}

void pe_plan_partition(const struct pe_plan *p, const struct pe_out *outs, size_t n,
                       uint64_t *partition) {
  uint64_t more[PE_BLOCK_GROUP];
  if (p->nparts == 0) {
    memset(partition, 0, n * sizeof(*partition));
    return;
  }
  for (size_t at = 0; at < n; at += PE_BLOCK_GROUP) {
    size_t m = n - at < PE_BLOCK_GROUP ? n - at : PE_BLOCK_GROUP;
    number_part(p, &p->parts[0], outs + at, m, partition + at);
    for (uint32_t k = 1; k < p->nparts; k++) {
      number_part(p, &p->parts[k], outs + at, m, more);
      for (size_t i = 0; i < m; i++) {
        if (k == 1) { /* small numbers side by side would meet in an exclusive or */
          partition[at + i] = mix(null_number, partition[at + i]);
        }
        partition[at + i] = mix(partition[at + i], more[i]);
      }
    }
  }
}
