/* Text made from an engine's status: JSON and the words for a person (metrics are in metrics.c).
 * Pure; a full buffer marks itself failed and the caller looks once. */
#include "admin/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void json_text(struct pe_buf *out, const char *key, const char *s) {
  pe_buf_printf(out, "\"%s\":", key);
  pe_buf_put_json(out, s ? s : "", s ? strlen(s) : 0);
}

static void json_u64(struct pe_buf *out, const char *key, uint64_t v) {
  pe_buf_printf(out, ",\"%s\":%" PRIu64, key, v);
}

static void json_i64(struct pe_buf *out, const char *key, int64_t v) {
  pe_buf_printf(out, ",\"%s\":%" PRId64, key, v);
}

static void json_table(const struct pe_table_status *t, struct pe_buf *out) {
  pe_buf_puts(out, "{");
  json_text(out, "name", t->name);
  pe_buf_puts(out, ",");
  json_text(out, "target", t->target);
  pe_buf_puts(out, ",");
  json_text(out, "phase", t->phase);
  json_u64(out, "snapshot_rows", t->snapshot_rows);
  json_u64(out, "snapshot_rows_estimate", t->snapshot_rows_estimate);
  json_u64(out, "rows_in", t->changes_in);
  json_u64(out, "rows_out", t->changes_out);
  json_u64(out, "rows_filtered", t->changes_filtered);
  json_u64(out, "rows_dlq", t->changes_dlq);
  json_u64(out, "rows_written", t->rows_written);
  json_u64(out, "tombstones_written", t->tombstones_written);
  pe_buf_printf(out, ",\"rows_per_s\":%.1f", t->rows_per_s);
  json_i64(out, "lag_ms", t->lag_ms);
  pe_buf_puts(out, "}");
}

void pe_status_render_json(const struct pe_engine_status *st, struct pe_buf *out) {
  pe_buf_puts(out, "{");
  json_text(out, "pipeline", st->pipeline);
  pe_buf_puts(out, ",");
  json_text(out, "engine_version", PE_VERSION);
  pe_buf_puts(out, ",");
  json_text(out, "state", st->state);
  pe_buf_printf(out, ",\"ready\":%s,", st->ready ? "true" : "false");
  json_text(out, "reason", st->reason);
  pe_buf_puts(out, ",");
  json_text(out, "script_hash", st->script_hash);
  json_u64(out, "reloads_ok", st->reloads_ok);
  json_u64(out, "reloads_failed", st->reloads_failed);
  pe_buf_puts(out, ",");
  json_text(out, "position", st->position);
  /* As text: JSON readers lose integers beyond 2^53. */
  pe_buf_printf(out, ",\"version\":\"%" PRIu64 "\"", st->version);
  json_u64(out, "epochs", st->epochs);
  json_u64(out, "blocks", st->blocks);
  json_u64(out, "block_retries", st->block_retries);
  json_u64(out, "dedup_hits", st->dedup_hits);
  json_u64(out, "blocks_refused", st->blocks_refused);
  json_u64(out, "queue_rows", st->queue_rows);
  json_u64(out, "queue_bytes", st->queue_bytes);
  json_u64(out, "reader_events", st->reader_events);
  json_u64(out, "reader_bytes", st->reader_bytes);
  json_u64(out, "reader_rows", st->reader_rows);
  json_u64(out, "reader_reconnects", st->reader_reconnects);
  pe_buf_printf(out, ",\"reader_connected\":%s", st->reader_connected ? "true" : "false");
  json_i64(out, "lag_ms", st->lag_ms);
  json_i64(out, "sink_down_ms", st->sink_down_ms);
  json_u64(out, "rss_bytes", st->rss_bytes);
  json_u64(out, "flush_ms", st->flush_ms);
  pe_buf_printf(out, ",\"epoch_ms_avg\":%.2f,\"insert_ms_avg\":%.2f", st->epoch_ms_avg,
                st->insert_ms_avg);
  json_u64(out, "http_port", st->http_port);
  pe_buf_puts(out, ",\"tables\":[");
  for (uint32_t i = 0; i < st->ntables; i++) {
    pe_buf_puts(out, i ? "," : "");
    json_table(&st->tables[i], out);
  }
  pe_buf_puts(out, "],\"lookups\":[");
  for (uint32_t i = 0; i < st->nlookups; i++) {
    pe_buf_puts(out, i ? ",{" : "{");
    json_text(out, "name", st->lookups[i].name);
    json_u64(out, "keys", st->lookups[i].keys);
    json_u64(out, "bytes", st->lookups[i].bytes);
    pe_buf_puts(out, "}");
  }
  pe_buf_puts(out, "]}\n");
}

bool pe_ready_render(const struct pe_engine_status *st, unsigned ready_lag_ms, struct pe_buf *out) {
  if (!st->ready) {
    pe_buf_printf(out, "not ready: %s\n", st->reason[0] ? st->reason : st->state);
    return false;
  }
  if (st->lag_ms > (int64_t)ready_lag_ms) {
    pe_buf_printf(out, "not ready: lag is %.1f s, more than admin.ready_lag_ms (%.1f s)\n",
                  (double)st->lag_ms / 1000, ready_lag_ms / 1000.0);
    return false;
  }
  pe_buf_printf(out, "ready: %s\n", st->state);
  return true;
}

void pe_reload_render_json(const struct pe_reload_result *r, struct pe_buf *out) {
  pe_buf_printf(out, "{\"swapped\":%s,", r->code == 0 ? "true" : "false");
  json_text(out, "error", r->code == 0 ? "" : pe_err_name(r->code));
  pe_buf_puts(out, ",");
  json_text(out, "from", r->from);
  pe_buf_puts(out, ",");
  json_text(out, "to", r->to);
  json_u64(out, "epoch", r->epoch);
  pe_buf_printf(out, ",\"ms\":%.1f", r->ms);
  json_u64(out, "trial_rows", r->trial_rows);
  json_u64(out, "trial_changed", r->trial_changed);
  json_u64(out, "trial_quarantined", r->trial_quarantined);
  json_u64(out, "trial_errors", r->trial_errors);
  pe_buf_puts(out, ",");
  json_text(out, "text", r->text);
  pe_buf_puts(out, "}\n");
}

const char *pe_count_text(uint64_t n, char buf[32]) {
  char digits[24];
  int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
  size_t at = 0;
  for (int i = 0; i < len; i++) {
    if (i > 0 && (len - i) % 3 == 0) {
      buf[at++] = ',';
    }
    buf[at++] = digits[i];
  }
  buf[at] = 0;
  return buf;
}

static void text_table(const struct pe_table_status *t, struct pe_buf *out) {
  char in[32], written[32], tomb[32], filtered[32], dlq[32];
  pe_buf_printf(out, "%-28s %-10s %14s %14s %12s %10s %8s %8" PRId64 " %10.0f\n", t->name, t->phase,
                pe_count_text(t->changes_in, in), pe_count_text(t->rows_written, written),
                pe_count_text(t->tombstones_written, tomb),
                pe_count_text(t->changes_filtered, filtered), pe_count_text(t->changes_dlq, dlq),
                t->lag_ms, t->rows_per_s);
}

void pe_status_render_text(const struct pe_engine_status *st, struct pe_buf *out) {
  char a[32], b[32], c[32];
  pe_buf_printf(out, "%s: %s%s%s\n", st->pipeline, st->state, st->reason[0] ? ", " : "",
                st->reason);
  pe_buf_printf(out, "position    %s (version %" PRIu64 ")\n",
                st->position[0] ? st->position : "none yet", st->version);
  pe_buf_printf(out, "lag         %.1f s, %s\n", (double)st->lag_ms / 1000,
                st->reader_connected ? "source connected" : "source not connected");
  if (st->sink_down_ms > 0) {
    pe_buf_printf(out, "ClickHouse  has not answered for %.1f s\n",
                  (double)st->sink_down_ms / 1000);
  }
  pe_buf_printf(out, "epochs      %s, blocks %s, retried %s\n", pe_count_text(st->epochs, a),
                pe_count_text(st->blocks, b), pe_count_text(st->block_retries, c));
  pe_buf_printf(out, "transforms  %.12s, reloads %" PRIu64 " ok, %" PRIu64 " refused\n",
                st->script_hash[0] ? st->script_hash : "none", st->reloads_ok, st->reloads_failed);
  pe_buf_printf(out, "memory      %.0f MB, queue %s rows\n", (double)st->rss_bytes / 1e6,
                pe_count_text(st->queue_rows, a));
  if (st->http_port) {
    pe_buf_printf(out, "query       curl 'http://127.0.0.1:%u/' -d 'SELECT 1'\n", st->http_port);
  }
  pe_buf_printf(out, "\n%-28s %-10s %14s %14s %12s %10s %8s %8s %10s\n", "table", "phase",
                "rows in", "written", "tombstones", "filtered", "dlq", "lag ms", "rows/s");
  for (uint32_t i = 0; i < st->ntables; i++) {
    text_table(&st->tables[i], out);
  }
}
