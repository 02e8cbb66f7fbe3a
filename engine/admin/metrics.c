/* /metrics: Prometheus text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
 * Every name is pipe_engine_*, a counter ends in _total, times are seconds. A metric is one line of
 * one of the tables below: to add one, add a field to the status and a line here. */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "admin/render.h"

enum kind { U64, I64_MS, F_MS };
struct metric {
  const char *name, *type, *help;
  enum kind kind;
  size_t at;
};
#define ST(field) offsetof(struct pe_engine_status, field)
#define TB(field) offsetof(struct pe_table_status, field)

static const struct metric whole[] = {
    {"reloads_ok_total", "counter", "Reloads of the transforms that were swapped in.", U64,
     ST(reloads_ok)},
    {"reloads_failed_total", "counter", "Reloads that were refused; the old transforms stayed.",
     U64, ST(reloads_failed)},
    {"epochs_total", "counter", "Epochs delivered and checkpointed.", U64, ST(epochs)},
    {"blocks_total", "counter", "Blocks that ClickHouse acknowledged.", U64, ST(blocks)},
    {"block_retries_total", "counter", "Blocks sent again under the same token.", U64,
     ST(block_retries)},
    {"dedup_hits_total", "counter",
     "Blocks whose fate was unknown (no answer, or a replay) and that were found delivered once.",
     U64, ST(dedup_hits)},
    {"blocks_refused_total", "counter",
     "Blocks that ClickHouse refused; they are bisected, bad rows go to the DLQ.", U64,
     ST(blocks_refused)},
    {"queue_rows", "gauge", "Rows between reading and transforming.", U64, ST(queue_rows)},
    {"queue_bytes", "gauge", "Bytes between reading and transforming.", U64, ST(queue_bytes)},
    {"reader_events_total", "counter", "Binlog events read.", U64, ST(reader_events)},
    {"reader_bytes_total", "counter", "Binlog bytes read.", U64, ST(reader_bytes)},
    {"reader_rows_total", "counter", "Row changes decoded from the binlog.", U64, ST(reader_rows)},
    {"reader_reconnects_total", "counter", "Times the source was connected to anew.", U64,
     ST(reader_reconnects)},
    {"lag_seconds", "gauge",
     "Commit to queryable of the newest delivered change, or the age of the oldest waiting one.",
     I64_MS, ST(lag_ms)},
    {"sink_down_seconds", "gauge", "How long ClickHouse has not answered; 0 while it does.", I64_MS,
     ST(sink_down_ms)},
    {"resident_memory_bytes", "gauge", "Resident memory of the engine.", U64, ST(rss_bytes)},
    {"epoch_duration_seconds_avg", "gauge", "From an epoch's first row to its checkpoint, lately.",
     F_MS, ST(epoch_ms_avg)},
    {"insert_duration_seconds_avg", "gauge", "One INSERT, lately.", F_MS, ST(insert_ms_avg)},
};

static const struct metric per_table[] = {
    {"rows_in_total", "counter", "Row changes taken in; in = out + filtered + dlq.", U64,
     TB(changes_in)},
    {"rows_out_total", "counter", "Row changes that gave rows or tombstones.", U64,
     TB(changes_out)},
    {"rows_filtered_total", "counter", "Row changes that a transform dropped.", U64,
     TB(changes_filtered)},
    {"rows_dlq_total", "counter", "Row changes that went to the DLQ.", U64, TB(changes_dlq)},
    {"rows_written_total", "counter", "Rows written to the target, tombstones not counted.", U64,
     TB(rows_written)},
    {"tombstones_total", "counter", "Tombstones written to the target.", U64,
     TB(tombstones_written)},
    {"snapshot_rows", "gauge", "Rows of the snapshot passed on.", U64, TB(snapshot_rows)},
    {"snapshot_rows_estimate", "gauge", "Rows the source says the table has.", U64,
     TB(snapshot_rows_estimate)},
    {"table_lag_seconds", "gauge",
     "Commit to queryable of the table's newest delivered change; 0 when idle.", I64_MS,
     TB(lag_ms)},
};

static void head(struct pe_buf *out, const char *name, const char *type, const char *help) {
  pe_buf_printf(out, "# HELP pipe_engine_%s %s\n# TYPE pipe_engine_%s %s\n", name, help, name,
                type);
}

/* A label's value: backslash, quote and newline escaped. */
static void label(struct pe_buf *out, const char *key, const char *v) {
  pe_buf_printf(out, "%s=\"", key);
  for (; v && *v; v++) {
    if (*v == '\n') {
      pe_buf_puts(out, "\\n");
      continue;
    }
    if (*v == '\\' || *v == '"') {
      pe_buf_puts(out, "\\");
    }
    pe_buf_put(out, v, 1);
  }
  pe_buf_puts(out, "\"");
}

static void value(struct pe_buf *out, const struct metric *m, const void *base) {
  const char *p = (const char *)base + m->at;
  if (m->kind == U64) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    pe_buf_printf(out, " %" PRIu64 "\n", v);
  } else if (m->kind == I64_MS) {
    int64_t v;
    memcpy(&v, p, sizeof(v));
    pe_buf_printf(out, " %.3f\n", (double)v / 1000);
  } else {
    double v;
    memcpy(&v, p, sizeof(v));
    pe_buf_printf(out, " %.6f\n", v / 1000);
  }
}

static void build_info(struct pe_buf *out) {
  head(out, "build_info", "gauge", "The engine's version.");
  pe_buf_puts(out, "pipe_engine_build_info{version=\"" PE_VERSION "\"} 1\n");
}

void pe_metrics_render_starting(struct pe_buf *out) {
  build_info(out);
  head(out, "ready", "gauge", "1 when /ready says so.");
  pe_buf_puts(out, "pipe_engine_ready 0\n");
}

static void gauge(struct pe_buf *out, const char *name, const char *help, uint64_t v) {
  head(out, name, "gauge", help);
  pe_buf_printf(out, "pipe_engine_%s %" PRIu64 "\n", name, v);
}

static void tables(const struct pe_engine_status *st, struct pe_buf *out) {
  for (size_t i = 0; i < sizeof(per_table) / sizeof(per_table[0]); i++) {
    const struct metric *m = &per_table[i];
    head(out, m->name, m->type, m->help);
    for (uint32_t t = 0; t < st->ntables; t++) {
      pe_buf_printf(out, "pipe_engine_%s{", m->name);
      label(out, "table", st->tables[t].name);
      pe_buf_puts(out, "}");
      value(out, m, &st->tables[t]);
    }
  }
  head(out, "conservation_difference", "gauge",
       "rows_in - rows_out - rows_filtered - rows_dlq: anything but 0 is a bug.");
  for (uint32_t t = 0; t < st->ntables; t++) {
    const struct pe_table_status *s = &st->tables[t];
    pe_buf_puts(out, "pipe_engine_conservation_difference{");
    label(out, "table", s->name);
    pe_buf_printf(out, "} %" PRId64 "\n",
                  (int64_t)(s->changes_in - s->changes_out - s->changes_filtered - s->changes_dlq));
  }
}

static void lookups(const struct pe_engine_status *st, struct pe_buf *out) {
  for (int bytes = 0; bytes < 2; bytes++) {
    const char *name = bytes ? "lookup_bytes" : "lookup_keys";
    head(out, name, "gauge", bytes ? "Memory of a lookup." : "Keys in a lookup.");
    for (uint32_t i = 0; i < st->nlookups; i++) {
      pe_buf_printf(out, "pipe_engine_%s{", name);
      label(out, "lookup", st->lookups[i].name);
      pe_buf_printf(out, "} %" PRIu64 "\n", bytes ? st->lookups[i].bytes : st->lookups[i].keys);
    }
  }
}

static void latency(const struct pe_latency *lat, struct pe_buf *out) {
  static const char *const bounds[PE_LATENCY_BOUNDS] = {
      "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"};
  head(out, "commit_to_queryable_seconds", "histogram",
       "From the source's commit to ClickHouse's acknowledgement, per row change.");
  for (size_t i = 0; i < PE_LATENCY_BOUNDS; i++) {
    pe_buf_printf(out, "pipe_engine_commit_to_queryable_seconds_bucket{le=\"%s\"} %" PRIu64 "\n",
                  bounds[i], lat->counts[i]);
  }
  pe_buf_printf(out, "pipe_engine_commit_to_queryable_seconds_sum %.3f\n", lat->sum_ms / 1000);
  pe_buf_printf(out, "pipe_engine_commit_to_queryable_seconds_count %" PRIu64 "\n",
                lat->counts[PE_LATENCY_BOUNDS - 1]);
}

void pe_metrics_render(const struct pe_engine_status *st, const struct pe_latency *lat,
                       struct pe_buf *out) {
  build_info(out);
  head(out, "script_info", "gauge", "The transforms in force, by hash.");
  pe_buf_puts(out, "pipe_engine_script_info{");
  label(out, "hash", st->script_hash);
  pe_buf_puts(out, "} 1\n");
  head(out, "state", "gauge", "1 for the state that the pipeline is in.");
  pe_buf_puts(out, "pipe_engine_state{");
  label(out, "state", st->state);
  pe_buf_puts(out, "} 1\n");
  gauge(out, "ready", "1 when /ready says so.", st->ready ? 1 : 0);
  gauge(out, "source_connected", "1 while the binlog is being read.", st->reader_connected ? 1 : 0);
  head(out, "flush_interval_seconds", "gauge",
       "The age that closes an epoch now; it grows while parts pile up.");
  pe_buf_printf(out, "pipe_engine_flush_interval_seconds %.3f\n", st->flush_ms / 1000.0);
  for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
    head(out, whole[i].name, whole[i].type, whole[i].help);
    pe_buf_printf(out, "pipe_engine_%s", whole[i].name);
    value(out, &whole[i], st);
  }
  tables(st, out);
  lookups(st, out);
  latency(lat, out);
}
