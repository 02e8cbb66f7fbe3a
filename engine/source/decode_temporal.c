/* The calendar table. owner: the process; built once, then read only. Cannot fail. */
#include "source/decode_temporal.h"

#include <pthread.h>

struct pe_month pe_calendar[(PE_CAL_YEAR_END - PE_CAL_YEAR_FIRST) * PE_CAL_MONTHS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

unsigned pe_month_days(unsigned year, unsigned month) {
  static const uint8_t days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return month > 12 ? 0u : days[month] + (unsigned)(month == 2 && leap);
}

static void build(void) {
  for (unsigned y = PE_CAL_YEAR_FIRST; y < PE_CAL_YEAR_END; y++) {
    for (unsigned m = 1; m < PE_CAL_MONTHS; m++) {
      struct pe_month *at = &pe_calendar[(y - PE_CAL_YEAR_FIRST) * PE_CAL_MONTHS + m];
      at->first_day = pe_days_from_civil((int)y, m, 1) - 1;
      at->days = pe_month_days(y, m);
    }
  }
}

void pe_calendar_init(void) {
  pthread_once(&once, build);
}
