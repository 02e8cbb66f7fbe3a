/* Time: monotonic for durations, wall for lag and logs. */
#ifndef PE_BASE_CLOCK_H
#define PE_BASE_CLOCK_H

#include <stdint.h>

int64_t pe_clock_us(void);      /* monotonic, microseconds */
int64_t pe_clock_wall_us(void); /* since 1970 UTC, microseconds */
void pe_sleep_ms(unsigned ms);

#endif
