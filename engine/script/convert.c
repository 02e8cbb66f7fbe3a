/* Values written by scripts: exact conversions only. A caller that gets -1 tells the script which
 * column and type, never the value. */
#include "script/convert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEC_LIMBS_MAX = 8, DOUBLE_TEXT_MAX = 1500, DEC_PRECISION_MAX = 76 };
#define DAY_US INT64_C(86400000000)
#define TIME_MAX_US INT64_C(3020399999999) /* 838:59:59.999999 */

/* ---- DECIMAL ---- */

static bool multiply_add(uint32_t *limbs, uint32_t n, uint32_t digit) {
  uint64_t carry = digit;
  for (uint32_t i = 0; i < n; i++) {
    carry += (uint64_t)limbs[i] * 10;
    limbs[i] = (uint32_t)carry;
    carry >>= 32;
  }
  return carry == 0;
}

/* Digits of the unscaled number; false: not a decimal number, or not exactly one of this scale. */
static bool scan_decimal(const char *s, size_t n, uint32_t scale, uint32_t precision,
                         uint32_t *limbs, uint32_t nlimbs, bool *negative) {
  size_t i = 0;
  *negative = false;
  if (i < n && (s[i] == '-' || s[i] == '+')) {
    *negative = s[i++] == '-';
  }
  uint32_t after = 0, digits = 0, seen = 0;
  bool point = false;
  for (; i < n; i++) {
    if (s[i] == '.' && !point) {
      point = true;
      continue;
    }
    if (s[i] < '0' || s[i] > '9') {
      return false;
    }
    seen++;
    uint32_t d = (uint32_t)(s[i] - '0');
    if (point && after == scale) {
      if (d) {
        return false; /* more places than the column has */
      }
      continue;
    }
    after += point;
    digits += digits || d;
    if (digits > precision || !multiply_add(limbs, nlimbs, d)) {
      return false;
    }
  }
  for (; after < scale; after++) {
    digits += digits != 0;
    if (digits > precision || !multiply_add(limbs, nlimbs, 0)) {
      return false;
    }
  }
  return seen > 0;
}

static int set_decimal(const struct pe_column *c, uint8_t *row, const char *s, size_t n) {
  uint32_t limbs[DEC_LIMBS_MAX] = {0};
  uint32_t bytes = pe_ctype_bytes(c->ctype), nlimbs = bytes / 4;
  uint32_t most = c->ctype == PE_C_DEC64 ? 18 : c->ctype == PE_C_DEC128 ? 38 : DEC_PRECISION_MAX;
  uint32_t precision = c->precision && c->precision < most ? c->precision : most;
  bool negative;
  if (!scan_decimal(s, n, c->scale, precision, limbs, nlimbs, &negative)) {
    return -1;
  }
  if (negative) {
    uint64_t carry = 1;
    for (uint32_t i = 0; i < nlimbs; i++) {
      carry += (uint32_t)~limbs[i];
      limbs[i] = (uint32_t)carry;
      carry >>= 32;
    }
  }
  memcpy(row + c->offset, limbs, bytes);
  return 0;
}

/* ---- dates and times ---- */

struct scan {
  const char *p, *end;
};

static bool take(struct scan *s, char ch) {
  if (s->p < s->end && *s->p == ch) {
    s->p++;
    return true;
  }
  return false;
}

static bool number(struct scan *s, unsigned min, unsigned max, uint32_t *v) {
  unsigned n = 0;
  *v = 0;
  while (s->p < s->end && *s->p >= '0' && *s->p <= '9' && n < max) {
    *v = *v * 10 + (uint32_t)(*s->p++ - '0');
    n++;
  }
  return n >= min;
}

/* ".123" as microseconds; digits behind the scale have to be zeros. */
static bool fraction(struct scan *s, uint32_t scale, uint32_t *us) {
  *us = 0;
  if (!take(s, '.')) {
    return true;
  }
  uint32_t unit = 100000, n = 0;
  for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++, n++) {
    uint32_t d = (uint32_t)(*s->p - '0');
    if (n >= scale || n >= 6) {
      if (d) {
        return false;
      }
      continue;
    }
    *us += d * unit;
    unit /= 10;
  }
  return n > 0;
}

static uint32_t days_in(uint32_t y, uint32_t m) {
  static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
  return m == 2 && leap ? 29 : days[m - 1];
}

static bool scan_date(struct scan *s, uint32_t *y, uint32_t *m, uint32_t *d, bool *special) {
  if (!number(s, 4, 4, y) || !take(s, '-') || !number(s, 2, 2, m) || !take(s, '-') ||
      !number(s, 2, 2, d) || *m > 12 || *d > 31) {
    return false;
  }
  *special = *y == 0 || *m == 0 || *d == 0;
  return *special || *d <= days_in(*y, *m);
}

static int set_date(const struct pe_column *c, uint8_t *row, struct scan s) {
  uint32_t y, m, d;
  bool special;
  if (!scan_date(&s, &y, &m, &d, &special) || s.p != s.end) {
    return -1;
  }
  int32_t v = special ? (int32_t)((uint32_t)PE_DATE_SPECIAL_BASE + (y << 9 | m << 5 | d))
                      : pe_days_from_civil((int)y, m, d);
  memcpy(row + c->offset, &v, sizeof(v));
  return 0;
}

static int set_datetime(const struct pe_column *c, uint8_t *row, struct scan s) {
  uint32_t y, m, d, hour = 0, min = 0, sec = 0, us = 0;
  bool special;
  if (!scan_date(&s, &y, &m, &d, &special)) {
    return -1;
  }
  if (s.p != s.end) {
    if (!(take(&s, ' ') || take(&s, 'T')) || !number(&s, 2, 2, &hour) || !take(&s, ':') ||
        !number(&s, 2, 2, &min) || !take(&s, ':') || !number(&s, 2, 2, &sec) ||
        !fraction(&s, c->scale, &us) || hour > 23 || min > 59 || sec > 59) {
      return -1;
    }
    take(&s, 'Z');
  }
  if (s.p != s.end) {
    return -1;
  }
  int64_t v;
  if (special) {
    uint64_t bits = (uint64_t)(y * 13 + m) << 42 | (uint64_t)d << 37 | (uint64_t)hour << 32 |
                    (uint64_t)min << 26 | (uint64_t)sec << 20 | us;
    v = (int64_t)((uint64_t)PE_DATETIME_SPECIAL_BASE + bits);
  } else {
    v = (int64_t)pe_days_from_civil((int)y, m, d) * DAY_US +
        (int64_t)(hour * 3600 + min * 60 + sec) * 1000000 + us;
  }
  memcpy(row + c->offset, &v, sizeof(v));
  return 0;
}

static int set_time(const struct pe_column *c, uint8_t *row, struct scan s) {
  bool negative = take(&s, '-');
  uint32_t hour, min, sec, us;
  if (!number(&s, 2, 3, &hour) || !take(&s, ':') || !number(&s, 2, 2, &min) || !take(&s, ':') ||
      !number(&s, 2, 2, &sec) || !fraction(&s, c->scale, &us) || s.p != s.end || min > 59 ||
      sec > 59) {
    return -1;
  }
  int64_t v = (int64_t)(hour * 3600 + min * 60 + sec) * 1000000 + us;
  return pe_convert_int(c, row, negative ? -v : v);
}

static int64_t unit_us(const struct pe_column *c) {
  int64_t unit = 1000000;
  for (uint32_t i = 0; i < c->scale && i < 6; i++) {
    unit /= 10;
  }
  return unit;
}

/* ---- ENUM, SET ---- */

static uint32_t member(const struct pe_column *c, const char *s, size_t n) {
  for (uint32_t i = 0; i < c->nmembers; i++) {
    if (strlen(c->members[i]) == n && memcmp(c->members[i], s, n) == 0) {
      return i + 1;
    }
  }
  return 0;
}

static int set_enum(const struct pe_column *c, uint8_t *row, const char *s, size_t n) {
  uint16_t v = (uint16_t)member(c, s, n);
  if (!v && n) {
    return -1;
  }
  memcpy(row + c->offset, &v, sizeof(v));
  return 0;
}

static int set_set(const struct pe_column *c, uint8_t *row, const char *s, size_t n) {
  uint64_t v = 0;
  while (n) {
    const char *comma = memchr(s, ',', n);
    size_t len = comma ? (size_t)(comma - s) : n;
    uint32_t m = member(c, s, len);
    if (!m || m > 64) {
      return -1;
    }
    v |= UINT64_C(1) << (m - 1);
    size_t used = comma ? len + 1 : len;
    s += used;
    n -= used;
  }
  memcpy(row + c->offset, &v, sizeof(v));
  return 0;
}

/* ---- the doors ---- */

int pe_convert_text(const struct pe_column *c, uint8_t *row, const char *s, size_t n) {
  struct scan scan = {s, s + n};
  switch (c->ctype) {
    case PE_C_DEC64:
    case PE_C_DEC128:
    case PE_C_DEC256:
      return set_decimal(c, row, s, n);
    case PE_C_DATE:
      return set_date(c, row, scan);
    case PE_C_DATETIME:
      return set_datetime(c, row, scan);
    case PE_C_TIME:
      return set_time(c, row, scan);
    case PE_C_ENUM:
      return set_enum(c, row, s, n);
    case PE_C_SET:
      return set_set(c, row, s, n);
    default:
      return -1;
  }
}

int pe_convert_int(const struct pe_column *c, uint8_t *row, int64_t v) {
  char text[32];
  switch (c->ctype) {
    case PE_C_DEC64:
    case PE_C_DEC128:
    case PE_C_DEC256: {
      int n = snprintf(text, sizeof(text), "%lld", (long long)v);
      return set_decimal(c, row, text, (size_t)n);
    }
    case PE_C_DATE: {
      if (v % DAY_US || v / DAY_US < INT32_MIN / 2 || v / DAY_US > INT32_MAX / 2) {
        return -1;
      }
      int32_t days = (int32_t)(v / DAY_US);
      memcpy(row + c->offset, &days, sizeof(days));
      return 0;
    }
    case PE_C_DATETIME:
      if (v % unit_us(c) || pe_datetime_is_special(v)) {
        return -1;
      }
      memcpy(row + c->offset, &v, sizeof(v));
      return 0;
    case PE_C_TIME:
      if (v % unit_us(c) || v > TIME_MAX_US || v < -TIME_MAX_US) {
        return -1;
      }
      memcpy(row + c->offset, &v, sizeof(v));
      return 0;
    case PE_C_ENUM: {
      if (v < 0 || v > (int64_t)c->nmembers) {
        return -1;
      }
      uint16_t m = (uint16_t)v;
      memcpy(row + c->offset, &m, sizeof(m));
      return 0;
    }
    default:
      return -1;
  }
}

int pe_convert_double(const struct pe_column *c, uint8_t *row, double v) {
  if (c->ctype != PE_C_DEC64 && c->ctype != PE_C_DEC128 && c->ctype != PE_C_DEC256) {
    if (!(fabs(v) <= 9007199254740992.0) || v != trunc(v) || c->ctype != PE_C_ENUM) {
      return -1;
    }
    return pe_convert_int(c, row, (int64_t)v);
  }
  if (!isfinite(v) || fabs(v) >= 1e77) {
    return -1;
  }
  /* every double has a finite decimal expansion: this is all of it */
  char text[DOUBLE_TEXT_MAX];
  int n = snprintf(text, sizeof(text), "%.1080f", v);
  return n > 0 && (size_t)n < sizeof(text) ? set_decimal(c, row, text, (size_t)n) : -1;
}

int pe_convert_epoch_us(const struct pe_column *c, const uint8_t *row, int64_t *us) {
  if (c->ctype == PE_C_DATE) {
    int32_t v;
    memcpy(&v, row + c->offset, sizeof(v));
    if (pe_date_is_special(v)) {
      return -1;
    }
    *us = (int64_t)v * DAY_US;
    return 0;
  }
  memcpy(us, row + c->offset, sizeof(*us));
  return c->ctype == PE_C_DATETIME && pe_datetime_is_special(*us) ? -1 : 0;
}
