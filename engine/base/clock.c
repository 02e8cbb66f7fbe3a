/* The three clocks the engine reads. Nothing here fails. */
#include "base/clock.h"

#include <errno.h>
#include <time.h>

static int64_t read_us(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t pe_clock_us(void) {
  return read_us(CLOCK_MONOTONIC);
}

int64_t pe_clock_wall_us(void) {
  return read_us(CLOCK_REALTIME);
}

void pe_sleep_ms(unsigned ms) {
  struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  while (nanosleep(&ts, &ts) == -1 && errno == EINTR) {
  }
}
