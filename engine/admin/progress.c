/* Progress as text: bars with rate and time left for tables in their snapshot, a table of lag and
 * rates for those that stream. Estimates come from the source's own statistics and may be far off:
 * a bar never passes 99 % before the snapshot of its table is done. Cannot fail but by memory,
 * which the buffer marks. */
#include "admin/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/render.h"

enum { BAR = 20, RATE_WINDOW_S = 5, LINE_BYTES = 1536, ETA_MAX_S = 99 * 3600 };

void pe_progress_observe(struct pe_progress *p, const struct pe_engine_status *st, int64_t now_us) {
  double dt = p->seen_us ? (double)(now_us - p->seen_us) / 1e6 : 0;
  for (uint32_t i = 0; i < st->ntables && i < 128; i++) {
    uint64_t rows = st->tables[i].snapshot_rows;
    if (dt > 0) {
      double now =
          rows > p->tables[i].snapshot_rows ? (double)(rows - p->tables[i].snapshot_rows) / dt : 0;
      double weight = dt >= RATE_WINDOW_S ? 1 : dt / RATE_WINDOW_S;
      p->tables[i].snapshot_rate +=
          p->tables[i].snapshot_rate > 0 ? (now - p->tables[i].snapshot_rate) * weight : now;
    }
    p->tables[i].snapshot_rows = rows;
  }
  p->seen_us = now_us;
}

static bool in_snapshot(const struct pe_table_status *t) {
  return strcmp(t->phase, "waiting") == 0 || strcmp(t->phase, "snapshot") == 0 ||
         strcmp(t->phase, "diff") == 0;
}

static unsigned percent(const struct pe_table_status *t) {
  if (strcmp(t->phase, "diff") == 0) {
    return 99;
  }
  if (t->snapshot_rows_estimate == 0) {
    return 0;
  }
  double p = 100.0 * (double)t->snapshot_rows / (double)t->snapshot_rows_estimate;
  return p > 99 ? 99 : (unsigned)p;
}

/* "1:05", "2:03:09", or "" when nobody can tell. */
static void eta(const struct pe_table_status *t, double rate, char *out, size_t n) {
  out[0] = 0;
  if (rate < 1 || t->snapshot_rows >= t->snapshot_rows_estimate) {
    return;
  }
  double s = (double)(t->snapshot_rows_estimate - t->snapshot_rows) / rate;
  if (s > ETA_MAX_S) {
    return;
  }
  unsigned sec = (unsigned)s;
  if (sec >= 3600) {
    snprintf(out, n, "%u:%02u:%02u", sec / 3600, sec / 60 % 60, sec % 60);
  } else {
    snprintf(out, n, "%u:%02u", sec / 60, sec % 60);
  }
}

static const char *duration(int64_t ms, char *out, size_t n) {
  if (ms < 1000) {
    snprintf(out, n, "%" PRId64 " ms", ms);
  } else if (ms < 600000) {
    snprintf(out, n, "%.1f s", (double)ms / 1000);
  } else {
    snprintf(out, n, "%" PRId64 " min", ms / 60000);
  }
  return out;
}

/* Appends a line cut to width characters (not bytes: names may be UTF-8). */
static void put_line(struct pe_buf *out, const char *line, unsigned width) {
  unsigned chars = 0;
  const char *p = line;
  for (; *p; p++) {
    if (((unsigned char)*p & 0xC0) != 0x80 && chars++ == width) {
      break;
    }
  }
  pe_buf_put(out, line, (size_t)(p - line));
  pe_buf_puts(out, "\n");
}

static double total_rate(const struct pe_engine_status *st) {
  double sum = 0;
  for (uint32_t i = 0; i < st->ntables; i++) {
    sum += st->tables[i].rows_per_s;
  }
  return sum;
}

static void headline(const struct pe_engine_status *st, char *line, size_t n) {
  char lag[32], rate[32];
  int used = snprintf(line, n, "%s  %s  %s  lag %s  %s rows/s  %.0f MB", st->pipeline, st->state,
                      st->position[0] ? st->position : "no position yet",
                      duration(st->lag_ms, lag, sizeof(lag)),
                      pe_count_text((uint64_t)total_rate(st), rate), (double)st->rss_bytes / 1e6);
  if (st->reason[0] && used > 0 && (size_t)used < n) {
    snprintf(line + used, n - (size_t)used, "  (%s)", st->reason);
  }
}

static void bar_line(const struct pe_progress *p, const struct pe_engine_status *st, uint32_t i,
                     char *line, size_t n) {
  const struct pe_table_status *t = &st->tables[i];
  char bar[BAR + 1], rows[32], of[32], rate[32], left[32];
  unsigned pc = percent(t);
  for (unsigned k = 0; k < BAR; k++) {
    bar[k] = k < pc * BAR / 100 ? '#' : '.';
  }
  bar[BAR] = 0;
  eta(t, p->tables[i].snapshot_rate, left, sizeof(left));
  if (strcmp(t->phase, "waiting") == 0) {
    snprintf(line, n, "%-24s [%s]  waiting, ~%s rows", t->name, bar,
             pe_count_text(t->snapshot_rows_estimate, of));
  } else {
    snprintf(line, n, "%-24s [%s] %2u%%  %s of ~%s  %s rows/s%s%s%s", t->name, bar, pc,
             pe_count_text(t->snapshot_rows, rows), pe_count_text(t->snapshot_rows_estimate, of),
             pe_count_text((uint64_t)p->tables[i].snapshot_rate, rate), left[0] ? "  " : "", left,
             left[0] ? " left" : (strcmp(t->phase, "diff") == 0 ? "  comparing" : ""));
  }
}

static void stream_line(const struct pe_table_status *t, char *line, size_t n) {
  char lag[32], rate[32], written[32], tomb[32], dlq[32];
  snprintf(line, n, "%-24s %10s %12s %14s %12s %10s%s%s", t->name,
           duration(t->lag_ms, lag, sizeof(lag)), pe_count_text((uint64_t)t->rows_per_s, rate),
           pe_count_text(t->rows_written, written), pe_count_text(t->tombstones_written, tomb),
           pe_count_text(t->changes_dlq, dlq), strcmp(t->phase, "streaming") == 0 ? "" : "  ",
           strcmp(t->phase, "streaming") == 0 ? "" : t->phase);
}

unsigned pe_progress_frame(const struct pe_progress *p, const struct pe_engine_status *st,
                           unsigned width, unsigned height, struct pe_buf *out) {
  char line[LINE_BYTES];
  unsigned lines = 0, left_out = 0;
  if (height < 3) {
    height = 3;
  }
  headline(st, line, sizeof(line));
  put_line(out, line, width);
  lines++;
  for (int streaming = 0; streaming < 2; streaming++) {
    bool headed = streaming == 0;
    for (uint32_t i = 0; i < st->ntables; i++) {
      const struct pe_table_status *t = &st->tables[i];
      if (in_snapshot(t) == (streaming == 1)) {
        continue;
      }
      if (lines + 2 > height) { /* the last line is for "more" */
        left_out++;
        continue;
      }
      if (!headed && lines + 3 <= height) {
        snprintf(line, sizeof(line), "%-24s %10s %12s %14s %12s %10s", "table", "lag", "rows/s",
                 "written", "tombstones", "dlq");
        put_line(out, line, width);
        lines++;
        headed = true;
      }
      if (streaming) {
        stream_line(t, line, sizeof(line));
      } else {
        bar_line(p, st, i, line, sizeof(line));
      }
      put_line(out, line, width);
      lines++;
    }
  }
  if (left_out) {
    snprintf(line, sizeof(line), "and %u more tables", left_out);
    put_line(out, line, width);
    lines++;
  }
  return lines;
}

void pe_progress_lines(const struct pe_progress *p, const struct pe_engine_status *st,
                       struct pe_buf *out) {
  char rows[32], of[32], rate[32], left[32], lag[32];
  uint64_t written = 0, tombstones = 0, dlq = 0;
  bool stream = false;
  for (uint32_t i = 0; i < st->ntables; i++) {
    const struct pe_table_status *t = &st->tables[i];
    written += t->rows_written;
    tombstones += t->tombstones_written;
    dlq += t->changes_dlq;
    if (!in_snapshot(t)) {
      stream = true;
    } else if (strcmp(t->phase, "waiting") != 0) {
      eta(t, p->tables[i].snapshot_rate, left, sizeof(left));
      pe_buf_printf(out, "snapshot %s: %u%%, %s of about %s rows, %s rows/s%s%s%s\n", t->name,
                    percent(t), pe_count_text(t->snapshot_rows, rows),
                    pe_count_text(t->snapshot_rows_estimate, of),
                    pe_count_text((uint64_t)p->tables[i].snapshot_rate, rate), left[0] ? ", " : "",
                    left, left[0] ? " left" : "");
    }
  }
  if (stream) {
    char w[32], d[32], tomb[32];
    const char *why = strcmp(st->reason, st->state) == 0 ? "" : st->reason;
    pe_buf_printf(
        out, "%s: lag %s, %s rows/s, %s rows and %s tombstones written, %s in the DLQ, at %s%s%s\n",
        st->state, duration(st->lag_ms, lag, sizeof(lag)),
        pe_count_text((uint64_t)total_rate(st), rate), pe_count_text(written, w),
        pe_count_text(tombstones, tomb), pe_count_text(dlq, d),
        st->position[0] ? st->position : "no position yet", why[0] ? "; " : "", why);
  } else if (st->reason[0]) {
    pe_buf_printf(out, "%s: %s\n", st->state, st->reason);
  }
}
