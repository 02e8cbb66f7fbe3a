/* Dates and times out of their binary forms. Inline: part of the innermost loop.
 * Format: MySQL Internals, "Date and Time Data Type Representation"; sql-common/my_time.cc. */
#ifndef PE_SOURCE_DECODE_TEMPORAL_H
#define PE_SOURCE_DECODE_TEMPORAL_H

#include "model/table.h"
#include "source/binlog_wire.h"

/* Day number and length of every month that data usually lies in, index year * 13 + month as
 * DATETIME2 has it. Month 0 has length 0, so that no day is valid in it. */
enum { PE_CAL_YEAR_FIRST = 1900, PE_CAL_YEAR_END = 2156, PE_CAL_MONTHS = 13 };

struct pe_month {
  int32_t first_day; /* since 1970-01-01, of the day before the 1st */
  uint32_t days;
};
extern struct pe_month pe_calendar[(PE_CAL_YEAR_END - PE_CAL_YEAR_FIRST) * PE_CAL_MONTHS];
void pe_calendar_init(void); /* once a process; cheap when done already */

unsigned pe_month_days(unsigned year, unsigned month);

/* false: a zero, partial or impossible date */
static inline bool pe_days_of(unsigned year_month13, unsigned day, int32_t *days) {
  unsigned i = year_month13 - PE_CAL_YEAR_FIRST * PE_CAL_MONTHS;
  if (__builtin_expect(i < (PE_CAL_YEAR_END - PE_CAL_YEAR_FIRST) * PE_CAL_MONTHS, 1)) {
    const struct pe_month *m = &pe_calendar[i];
    *days = m->first_day + (int32_t)day;
    return day - 1u < m->days;
  }
  unsigned y = year_month13 / PE_CAL_MONTHS, mon = year_month13 % PE_CAL_MONTHS;
  if (mon == 0 || day == 0 || y == 0 || day > pe_month_days(y, mon)) {
    return false;
  }
  *days = pe_days_from_civil((int)y, mon, day);
  return true;
}

static inline int32_t pe_temporal_date(unsigned year, unsigned month, unsigned day) {
  int32_t days;
  if (month > 12 || !pe_days_of(year * PE_CAL_MONTHS + month, day, &days)) {
    return PE_DATE_SPECIAL_BASE + (int32_t)(year << 9 | month << 5 | day);
  }
  return days;
}

static inline int64_t pe_temporal_datetime(unsigned year_month13, unsigned day, unsigned hour,
                                           unsigned min, unsigned sec, unsigned usec) {
  int32_t days;
  if (!pe_days_of(year_month13, day, &days)) {
    return PE_DATETIME_SPECIAL_BASE + (int64_t)((uint64_t)year_month13 << 42 | (uint64_t)day << 37 |
                                                (uint64_t)hour << 32 | (uint64_t)min << 26 |
                                                (uint64_t)sec << 20 | usec);
  }
  return ((int64_t)days * 86400 + (int64_t)(hour * 3600 + min * 60 + sec)) * 1000000 +
         (int64_t)usec;
}

/* The 40-bit integer part of DATETIME2 */
static inline int64_t pe_temporal_datetime2(uint64_t be40, unsigned usec) {
  uint64_t v = be40 - UINT64_C(0x8000000000);
  unsigned ymd = (unsigned)(v >> 17), hms = (unsigned)(v & 0x1FFFF);
  return pe_temporal_datetime(ymd >> 5 & 0x1FFFF, ymd & 31, hms >> 12, hms >> 6 & 63, hms & 63,
                              usec);
}

static inline int64_t pe_temporal_timestamp(uint32_t sec, unsigned usec) {
  if (sec == 0 && usec == 0) {
    return PE_DATETIME_SPECIAL_BASE;
  }
  return (int64_t)sec * 1000000 + (int64_t)usec;
}

static inline unsigned pe_temporal_fraction(const uint8_t *p, unsigned bytes) {
  switch (bytes) {
    case 1:
      return p[0] * 10000u;
    case 2:
      return pe_be16(p) * 100u;
    case 3:
      return pe_be24(p);
    default:
      return 0;
  }
}

/* TIME2 with 0..3 bytes of fraction */
static inline int64_t pe_temporal_time2(const uint8_t *p, unsigned bytes) {
  static const uint32_t mul[4] = {0, 10000, 100, 1};
  unsigned bits = bytes * 8;
  int64_t v = (int64_t)pe_be_n(p, 3 + bytes) - (INT64_C(0x800000) << bits);
  bool negative = v < 0;
  uint64_t abs = (uint64_t)(negative ? -v : v);
  uint64_t hms = abs >> bits;
  uint64_t usec = (abs & ((UINT64_C(1) << bits) - 1)) * mul[bytes];
  int64_t us = (int64_t)(((hms >> 12 & 0x3FF) * 3600 + (hms >> 6 & 63) * 60 + (hms & 63)) *
                             UINT64_C(1000000) +
                         usec);
  return negative ? -us : us;
}

static inline int64_t pe_temporal_time_old(const uint8_t *p) {
  int32_t v = (int32_t)(pe_le24(p) << 8) >> 8;
  int64_t a = v < 0 ? -v : v;
  int64_t us = (a / 10000 * 3600 + a / 100 % 100 * 60 + a % 100) * 1000000;
  return v < 0 ? -us : us;
}

static inline int64_t pe_temporal_datetime_old(uint64_t v) {
  unsigned year = (unsigned)(v / UINT64_C(10000000000) % 10000);
  unsigned month = (unsigned)(v / 100000000 % 100), day = (unsigned)(v / 1000000 % 100);
  return pe_temporal_datetime(year * PE_CAL_MONTHS + (month > 12 ? 0 : month), day & 31,
                              (unsigned)(v / 10000 % 100) & 31, (unsigned)(v / 100 % 100) & 63,
                              (unsigned)(v % 100) & 63, 0);
}

#endif
