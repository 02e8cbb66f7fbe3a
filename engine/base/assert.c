/* What a failed assertion does: one line on standard error, then abort (a core for the
 * post-mortem). It writes directly, not through the log, because the log may be what is broken. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void pe_assert_failed(const char *file, int line, const char *cond) {
  fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, cond);
  fflush(stderr);
  abort();
}
