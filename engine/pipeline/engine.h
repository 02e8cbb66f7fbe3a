/* The running pipeline: source -> scripts -> epochs -> ClickHouse, its threads and its state.
 *
 * pe_engine_start blocks through everything that can be wrong at start and reports it;
 * pe_engine_run is the loop. The functions under "from any thread" are what admin calls.
 */
#ifndef PE_PIPELINE_ENGINE_H
#define PE_PIPELINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "pipeline/config.h"

struct pe_engine;

struct pe_engine_opts {
  const char *lua_dir;
  bool once; /* stop by itself when the snapshot is done and the stream has reached the log's end as
                of start */
  bool allow_resync; /* do what `pipe-engine resync` recorded */
};

int pe_engine_start(struct pe_config *cfg, const struct pe_engine_opts *o, struct pe_engine **out,
                    struct pe_err *err);
/* Runs until stopped or failed for good. Returns 0 or the code; err says why. */
int pe_engine_run(struct pe_engine *e, struct pe_err *err);
void pe_engine_destroy(struct pe_engine *e);

/* ---- from any thread ---- */
void pe_engine_stop(struct pe_engine *e); /* finish the epoch in flight, checkpoint, end */

struct pe_reload_result {
  int code;              /* 0 swapped (or nothing changed) */
  char from[65], to[65]; /* script set hashes */
  uint64_t epoch;        /* first epoch with the new set */
  double ms;             /* build, check, trial and swap */
  uint64_t trial_rows, trial_changed, trial_quarantined, trial_errors;
  char text[2048]; /* one line for a person: what happened, or why the old set was kept */
};
/* Blocks until swapped or refused (timeout_ms). */
int pe_engine_reload(struct pe_engine *e, unsigned timeout_ms, struct pe_reload_result *r);

struct pe_table_status {
  const char *name, *target;
  const char *phase; /* "waiting" "snapshot" "diff" "streaming" "reference" */
  uint64_t snapshot_rows, snapshot_rows_estimate;
  uint64_t changes_in, changes_out, changes_filtered, changes_dlq;
  uint64_t rows_written, tombstones_written;
  double rows_per_s; /* over the last seconds */
  int64_t lag_ms;    /* commit to queryable of the newest delivered change; when idle, 0 */
};
struct pe_engine_status {
  const char *state; /* "starting" "snapshot" "streaming" "retrying" "stopping" "failed" */
  char reason[512];  /* why it is not ready, or "" */
  bool ready;
  char pipeline[128];
  char script_hash[65];
  uint64_t reloads_ok, reloads_failed;
  char position[320]; /* checkpoint file:pos */
  uint64_t version;
  uint64_t epochs, blocks, block_retries, dedup_hits, blocks_refused;
  uint64_t queue_rows, queue_bytes;
  uint64_t reader_events, reader_bytes, reader_rows, reader_reconnects;
  bool reader_connected;
  int64_t lag_ms;       /* of the whole pipeline */
  int64_t sink_down_ms; /* how long ClickHouse has not answered, 0 it does */
  uint64_t rss_bytes;
  unsigned flush_ms; /* in force now (grows when parts pile up) */
  double epoch_ms_avg, insert_ms_avg;
  unsigned http_port; /* of the embedded ClickHouse, 0 remote */
  uint32_t ntables;
  struct pe_table_status tables[128];
  uint32_t nlookups;
  struct {
    const char *name;
    uint64_t keys, bytes;
  } lookups[32];
};
/* A consistent copy. Strings point into the engine and live as long as it. */
void pe_engine_status(struct pe_engine *e, struct pe_engine_status *st);
/* counters that scripts set, in Prometheus text form, appended */
void pe_engine_script_metrics(struct pe_engine *e, struct pe_buf *out);
/* latency histogram commit -> acknowledged, cumulative counts for upper bounds (ms) 5 10 25 50 100
 * 250 500 1000 2500 5000 10000 inf */
void pe_engine_latency(struct pe_engine *e, uint64_t counts[12], double *sum_ms);
const struct pe_config *pe_engine_config(const struct pe_engine *e);

/* ---- without a running engine (commands) ---- */
/* `check`: pipeline file, scripts, tables, targets; findings as text lines; 0 when it could run.
 * offline: files only */
int pe_engine_check(struct pe_config *cfg, const char *lua_dir, bool offline, struct pe_buf *out,
                    struct pe_err *err);
/* `resync [TABLE...]`: records in the state store that these tables (none: all) are to be
 * snapshotted and compared anew at the next start, and, when the position is purged, that the
 * stream goes on from the log's end as of that start. */
int pe_engine_resync_request(struct pe_config *cfg, const char *const *tables, uint32_t n,
                             struct pe_err *err);

#endif
