/* The progress display as text: a frame for a terminal, lines for a log. Pure functions of a status
 * and of what was seen before; who draws them is the app's ticker. */
#ifndef PE_ADMIN_PROGRESS_H
#define PE_ADMIN_PROGRESS_H

#include "base/buf.h"
#include "pipeline/engine.h"

/* What rates are computed from. Zeroed at first. owner: the thread that shows progress. */
struct pe_progress {
  int64_t seen_us; /* of the last observation, 0 none */
  struct {
    uint64_t snapshot_rows;
    double snapshot_rate; /* rows a second, smoothed over some seconds */
  } tables[128];
};

void pe_progress_observe(struct pe_progress *p, const struct pe_engine_status *st, int64_t now_us);
/* At most height lines of at most width characters, each ending in a newline. Returns their number.
 */
unsigned pe_progress_frame(const struct pe_progress *p, const struct pe_engine_status *st,
                           unsigned width, unsigned height, struct pe_buf *out);
/* A line for each table in its snapshot, and one for the stream; each ends in a newline. */
void pe_progress_lines(const struct pe_progress *p, const struct pe_engine_status *st,
                       struct pe_buf *out);

#endif
