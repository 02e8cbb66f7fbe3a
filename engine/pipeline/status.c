/* What the engine tells about itself, from any thread. Figures are atomics; texts are copied under
 * the lock. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "pipeline/internal.h"

static uint64_t rss_bytes(void) {
  unsigned long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f) {
    if (fscanf(f, "%*u %lu", &pages) != 1)
      pages = 0;
    fclose(f);
  }
  return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static const char *phase_name(int phase) {
  static const char *const names[] = {"waiting", "snapshot", "diff", "streaming", "reference"};
  return names[phase];
}

static void table_status(struct pe_engine *e, struct pe_etable *t, struct pe_table_status *s) {
  s->name = t->cfg->name;
  s->target = t->cfg->target;
  int phase = atomic_load(&t->phase);
  s->phase = phase_name(phase);
  s->snapshot_rows = atomic_load(&t->snapshot_rows);
  if (t->snapshot_index >= 0 && e->snapshot_tables)
    s->snapshot_rows_estimate = e->snapshot_tables[t->snapshot_index].rows_estimate;
  if (phase >= PE_PHASE_STREAMING || s->snapshot_rows > s->snapshot_rows_estimate)
    s->snapshot_rows_estimate = s->snapshot_rows;
  pthread_mutex_lock(&e->lock); /* an epoch's four counts are added together */
  s->changes_out = atomic_load(&t->changes_out);
  s->changes_filtered = atomic_load(&t->changes_filtered);
  s->changes_dlq = atomic_load(&t->changes_dlq);
  s->changes_in = atomic_load(&t->changes_in);
  pthread_mutex_unlock(&e->lock);
  s->rows_written = atomic_load(&t->dest->rows_written);
  s->tombstones_written = atomic_load(&t->dest->tombstones_written);
  /* the rate is over the time since the last look, at least half a second */
  int64_t now = pe_clock_us();
  pthread_mutex_lock(&e->lock);
  if (now - t->rate_at_us > 500000) {
    if (t->rate_at_us)
      t->rate = (double)(s->changes_in - t->rate_last) * 1e6 / (double)(now - t->rate_at_us);
    t->rate_last = s->changes_in;
    t->rate_at_us = now;
  }
  s->rows_per_s = t->rate;
  pthread_mutex_unlock(&e->lock);
  s->lag_ms = s->rows_per_s > 0 ? atomic_load(&t->lag_us) / 1000 : 0;
}

/* The lag of the whole: what was read from the source and is not acknowledged yet. */
static int64_t lag_ms(struct pe_engine *e, const struct pe_reader_stats *r) {
  pthread_mutex_lock(&e->lock);
  bool behind = e->loop_busy || e->handed || e->sink_down_since_us;
  int64_t ts = e->checkpoint.ts_us;
  pthread_mutex_unlock(&e->lock);
  if (!r->connected && r->last_event_us)
    return (pe_clock_wall_us() - r->last_event_us) / 1000;
  if (behind && ts > 0 && r->source_ts_us > ts) {
    int64_t late = pe_clock_wall_us() - ts;
    return late > 0 ? late / 1000 : 0;
  }
  return 0;
}

void pe_engine_status(struct pe_engine *e, struct pe_engine_status *st) {
  struct pe_reader_stats r = {0};
  memset(st, 0, sizeof(*st));
  pthread_mutex_lock(&e->lock);
  st->state = strcmp(e->state_word, "starting") == 0    ? "starting"
              : strcmp(e->state_word, "snapshot") == 0  ? "snapshot"
              : strcmp(e->state_word, "streaming") == 0 ? "streaming"
              : strcmp(e->state_word, "retrying") == 0  ? "retrying"
              : strcmp(e->state_word, "stopping") == 0  ? "stopping"
                                                        : "failed";
  snprintf(st->reason, sizeof(st->reason), "%s", e->reason);
  snprintf(st->script_hash, sizeof(st->script_hash), "%s", e->script_hash);
  pe_position_text(&e->checkpoint, st->position, sizeof(st->position));
  st->version = e->checkpoint.version;
  struct pe_reader *reader = e->reader;
  int64_t down = e->sink_down_since_us;
  if (reader)
    pe_reader_stats(reader, &r);
  pthread_mutex_unlock(&e->lock);
  snprintf(st->pipeline, sizeof(st->pipeline), "%s", e->cfg->name);
  st->reader_events = r.events;
  st->reader_bytes = r.bytes;
  st->reader_rows = r.rows;
  st->reader_reconnects = r.reconnects;
  st->reader_connected = r.connected;
  st->sink_down_ms = down ? (pe_clock_us() - down) / 1000 : 0;
  st->lag_ms = reader ? lag_ms(e, &r) : 0;
  st->reloads_ok = atomic_load(&e->reloads_ok);
  st->reloads_failed = atomic_load(&e->reloads_failed);
  st->epochs = atomic_load(&e->epochs);
  st->blocks = atomic_load(&e->blocks);
  st->block_retries = atomic_load(&e->block_retries);
  st->dedup_hits = atomic_load(&e->dedup_hits);
  st->blocks_refused = atomic_load(&e->blocks_refused);
  pthread_mutex_lock(&e->queue.lock);
  st->queue_rows = e->queue.rows;
  st->queue_bytes = e->queue.bytes;
  pthread_mutex_unlock(&e->queue.lock);
  st->rss_bytes = rss_bytes();
  st->flush_ms = atomic_load(&e->flush_ms);
  uint64_t n = atomic_load(&e->inserts);
  if (n) {
    st->epoch_ms_avg = (double)atomic_load(&e->epoch_us_sum) / 1000.0 / (double)n;
    st->insert_ms_avg = (double)atomic_load(&e->insert_us_sum) / 1000.0 / (double)n;
  }
  st->http_port = e->embedded ? pe_embedded_port(e->embedded) : 0;
  st->ntables = e->ntables < 128 ? e->ntables : 128;
  for (uint32_t i = 0; i < st->ntables; i++)
    table_status(e, &e->tables[i], &st->tables[i]);
  uint32_t nl = e->lookups ? pe_lookups_count(e->lookups) : 0;
  st->nlookups = nl < 32 ? nl : 32;
  for (uint32_t i = 0; i < st->nlookups; i++) {
    const struct pe_lookup *l = pe_lookups_at(e->lookups, i);
    st->lookups[i].name = pe_lookup_name(l);
    st->lookups[i].keys = pe_lookup_keys(l);
    st->lookups[i].bytes = pe_lookup_bytes(l);
  }
  if (!st->reason[0] && reader && !r.connected) {
    snprintf(st->reason, sizeof(st->reason), "the source is not connected");
    st->state = "retrying";
  }
  if (!st->reason[0] && st->lag_ms > (int64_t)e->cfg->ready_lag_ms)
    snprintf(st->reason, sizeof(st->reason), "the lag of %" PRId64 " ms is over %u ms", st->lag_ms,
             e->cfg->ready_lag_ms);
  st->ready = !st->reason[0];
}

void pe_engine_latency(struct pe_engine *e, uint64_t counts[12], double *sum_ms) {
  uint64_t sum = 0;
  for (int i = 0; i < PE_LATENCY_BUCKETS; i++) {
    sum += atomic_load(&e->latency[i]);
    counts[i] = sum;
  }
  *sum_ms = (double)atomic_load(&e->latency_sum_us) / 1000.0;
}

void pe_engine_script_metrics(struct pe_engine *e, struct pe_buf *out) {
  pthread_mutex_lock(&e->lock);
  if (pe_buf_ok(&e->script_metrics))
    pe_buf_put(out, e->script_metrics.data, e->script_metrics.len);
  pthread_mutex_unlock(&e->lock);
}

const struct pe_config *pe_engine_config(const struct pe_engine *e) {
  return e->cfg;
}
