/* What the files of this room share: the engine, its tables, its epochs.
 *
 * Three threads meet here. The reader (or the snapshot's workers) pushes batches into `queue`; the
 * script thread (worker.c) turns them into epochs; the loop (commit.c) sends an epoch's blocks and
 * moves the checkpoint. An epoch is owned by the script thread until it is handed over, then by the
 * loop.
 */
#ifndef PE_PIPELINE_INTERNAL_H
#define PE_PIPELINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/queue.h"
#include "model/batch.h"
#include "model/output.h"
#include "pipeline/config.h"
#include "pipeline/engine.h"
#include "script/lookup.h"
#include "script/script.h"
#include "sink/block.h"
#include "sink/clickhouse.h"
#include "sink/embedded.h"
#include "sink/target.h"
#include "source/reader.h"
#include "source/server.h"
#include "source/snapshot.h"
#include "state/state.h"

enum {
  PE_TABLES_MAX = 128,
  PE_RUN_CHANGES = 4096, /* changes given to the scripts in one call */
  PE_RETRY_MS_MIN = 100,
  PE_RETRY_MS_MAX = 10000,
  PE_EMPTY_COMMIT_MS = 1000, /* an epoch without rows moves the checkpoint at most this often */
  PE_RECENT_ROWS = 10000,    /* rows kept for the trial of a reload, over all tables */
  PE_LATENCY_BUCKETS = 12,
};

/* A target table: what the scripts know of it, and what the sink knows. */
struct pe_edest {
  struct pe_dest dest; /* first: a pe_dest pointer is cast back */
  struct pe_target *target;
  struct pe_plan *plan;
  struct pe_plan_opts plan_opts;
  char *insert_sql;        /* INSERT INTO `db`.`t` (...) FORMAT Native */
  char *stage_sql;         /* the same into the staging table, while a table of it is staged */
  struct pe_block **spare; /* cleared blocks to use again; owner: lock */
  uint32_t nspare;
  _Atomic uint64_t rows_written, tombstones_written;
};

/* A captured table. */
struct pe_etable {
  const struct pe_config_table *cfg;
  char full[200];          /* "db.table" */
  struct pe_table *layout; /* newest version; owner: script thread once it runs */
  struct pe_edest *dest;
  struct pe_dest **routes;
  uint32_t nroutes;
  struct pe_table_state state; /* owner: loop */
  struct pe_chunk *chunks;     /* as read from the state store at start */
  uint32_t nchunks;
  char *dlq;             /* DLQ table */
  bool for_lookup;       /* a lookup reads it: it is snapshotted first */
  int snapshot_index;    /* in the running snapshot, -1 */
  bool lookup_unfilled;  /* a lookup on it has never been filled: it is read again */
  uint64_t chunks_todo;  /* of this run; under state_lock */
  uint64_t chunks_acked; /* owner: loop */
  bool all_planned;      /* under state_lock */
  bool finishing;        /* its completion is on a work item */
  int64_t retry_at_us;
  _Atomic int phase; /* enum pe_phase */
  _Atomic uint64_t changes_in, changes_out, changes_filtered, changes_dlq;
  _Atomic uint64_t snapshot_rows;
  _Atomic int64_t lag_us;       /* commit to acknowledged, of the newest delivered change */
  _Atomic int64_t delivered_us; /* wall clock then */
  double rate;                  /* rows a second */
  uint64_t rate_last;
  int64_t rate_at_us; /* these three under lock */
};
enum pe_phase {
  PE_PHASE_WAITING,
  PE_PHASE_SNAPSHOT,
  PE_PHASE_DIFF,
  PE_PHASE_STREAMING,
  PE_PHASE_REFERENCE
};

struct pe_eblock {
  struct pe_edest *dest;
  uint64_t partition;
  struct pe_block *block;
  bool staged;
  char token[400]; /* what it is; the deduplication token is made from it */
  /* owner: loop */
  struct pe_epoch *epoch;
  struct pe_ch_insert req;
  const struct pe_iov *iov;
  enum { PE_BLOCK_TODO, PE_BLOCK_SENT, PE_BLOCK_RETRY, PE_BLOCK_VERIFY, PE_BLOCK_DONE } status;
  bool unsure; /* a request for it failed without an answer: it may be there */
  char full_token[65];
};

/* Rows for one DLQ table in an epoch, as JSONEachRow. */
struct pe_edead {
  struct pe_etable *table;
  struct pe_buf body;
  uint64_t rows;
  char token[160];
  struct pe_epoch *epoch;
  struct pe_ch_insert req;
  struct pe_iov iov;
  char *sql;
  int status; /* as pe_eblock.status */
};

struct pe_etable_counts {
  uint64_t in, out, filtered, dlq, snapshot_rows;
};
struct pe_edelta { /* one key of a lookup or of the quarantine, to be written with the checkpoint */
  const char *space;
  size_t at; /* in deltas_data: key, then value */
  uint32_t nkey, nvalue;
};
struct pe_elag {
  int64_t ts_us;
  uint32_t table, count;
};
struct pe_echunk {
  uint32_t table;
  uint64_t id;
};

struct pe_epoch {
  struct pe_engine *engine;
  uint64_t id;
  bool snapshot;
  bool replayed;     /* built again after a crash: its blocks may be there already */
  bool has_position; /* `to` moves the checkpoint */
  uint64_t from_version;
  struct pe_position to;
  char script_hash[65];
  int64_t opened_us; /* monotonic: first row in */
  int64_t first_read_us;
  uint64_t rows;
  size_t bytes;
  struct pe_eblock **blocks;
  uint32_t nblocks, blocks_cap;
  struct pe_edead **dead;
  uint32_t ndead, dead_cap;
  struct pe_buf deltas_data;
  struct pe_edelta *deltas;
  uint32_t ndeltas, deltas_cap;
  struct pe_echunk *chunks;
  uint32_t nchunks, chunks_cap;
  struct pe_elag *lags;
  uint32_t nlags, lags_cap;
  struct pe_etable_counts *counts; /* by table */
  struct pe_table
      *truncate; /* rows of this table older than truncate_version go away behind the blocks */
  uint64_t truncate_version;
  int64_t truncate_wait_us; /* not to be tried again before */
  int64_t sent_us;
};

/* One block being filled: by dest, partition, and (snapshot) chunk. */
struct pe_builder {
  struct pe_edest *dest;
  uint64_t partition;
  uint32_t table; /* snapshot only */
  uint64_t chunk; /* snapshot only */
  uint32_t seq;   /* number of the block under this key in the epoch or chunk */
  struct pe_block *block;
  uint32_t *idx; /* rows of the run at hand that go in */
  uint32_t nidx, idx_cap;
};

struct pe_quarantine; /* quarantine.c */

struct pe_engine {
  struct pe_config *cfg;
  struct pe_engine_opts opts;
  char *lua_dir;
  struct pe_state *state;     /* under state_lock once threads run */
  pthread_mutex_t state_lock; /* work items and the snapshot's planner */
  struct pe_server_info server;
  uv_loop_t loop;
  bool loop_open;
  struct pe_embedded *embedded;
  struct pe_ch *ch;        /* owner: loop */
  struct pe_ch *ch_work;   /* blocking; owner: start, then the one work item */
  struct pe_ch *ch_script; /* blocking; owner: script thread */
  char db[128];            /* ClickHouse database */
  char state_id[40]; /* of the state store: part of every token, so that a new store never meets old
                        tokens */

  struct pe_etable *tables;
  uint32_t ntables;
  struct pe_edest **dests;
  uint32_t ndests;

  struct pe_lookups *lookups; /* owner: script thread once it runs */
  struct pe_script *script;   /* owner: script thread once it runs */
  struct pe_script_table *script_tables;
  bool declare_lookups;         /* at start: scripts may define lookups */
  struct pe_buf script_metrics; /* under lock; written by the script thread */

  struct pe_queue queue;
  struct pe_reader *reader;     /* owner: loop */
  struct pe_snapshot *snapshot; /* owner: loop */
  struct pe_snapshot_table *snapshot_tables;
  uint32_t nsnapshot;
  bool snapshot_begun;
  uint32_t generation;

  pthread_t worker_thread;
  bool worker_started;

  /* script thread -> loop */
  pthread_mutex_t lock;
  pthread_cond_t handed_cond; /* `handed` was taken, or stop */
  struct pe_epoch *handed;
  bool loop_busy; /* an epoch is on its way */
  bool stopping;
  bool worker_done;
  struct pe_err worker_err; /* code != 0: the script thread gave up */
  uv_async_t wake;
  _Atomic int stop_requested;

  /* loop: commit.c */
  struct pe_epoch *sending;
  bool work_running;
  bool finishing;
  struct pe_err failure; /* why the engine ends */
  uv_timer_t retry_timer, tick_timer;
  unsigned retry_ms;
  unsigned requests; /* inserts in flight */
  int64_t sink_down_since_us;
  struct pe_position checkpoint; /* written; copied under `lock` for status */
  uint64_t epochs_done;
  bool streaming;         /* the reader was started */
  bool snapshot_streamed; /* a streamed table is snapshotted in this run */
  bool overlap_known;
  int64_t overlap_retry_us;
  uint64_t overlap_until; /* set before the reader starts; the script thread reads it */
  struct pe_position once_end;
  bool once_set;
  int64_t last_parts_us;

  /* script thread: worker.c */
  struct pe_epoch *building;
  struct pe_position seen;     /* end of the last batch */
  struct pe_position boundary; /* last place between transactions */
  uint64_t next_epoch;
  bool replaying;
  struct pe_epoch_rec replay;
  struct pe_script
      *replay_script; /* the set the pending epoch was made with, where it is not today's */
  struct pe_script *after_replay; /* the newest set, waiting for the pending epoch to be closed */
  struct pe_outputs outs;
  struct pe_builder *builders;
  uint32_t nbuilders, builders_cap;
  struct pe_quarantine *quarantine;
  uint8_t seal_key[32];
  struct pe_buf dlq_key, dlq_json;
  uint64_t *part_ids;
  uint32_t *bad;
  const char **bad_why;
  size_t scratch_cap, bad_cap, pristine_cap;
  uint8_t *pristine;
  uint8_t *overlap_rows;
  struct pe_image_meta *overlap_meta;
  uint32_t replay_block_rows;
  struct pe_position empty_at;
  int64_t last_empty_us, metrics_at_us;
  _Atomic unsigned flush_ms;
  struct pe_recent *recent;

  /* reload: reload.c */
  pthread_mutex_t
      layout_lock;     /* held while scripts are built on the tables, and while a table changes */
  unsigned layout_gen; /* under layout_lock */
  pthread_mutex_t reload_lock; /* one at a time */
  pthread_cond_t reload_cond;
  unsigned reload_gen;
  struct pe_script *reload_script; /* built, waiting for the script thread; under `lock` */
  struct pe_reload_result *reload_result;
  bool reload_done;

  /* figures */
  _Atomic uint64_t epochs, blocks, block_retries, dedup_hits, blocks_refused, reloads_ok,
      reloads_failed;
  _Atomic uint64_t latency[PE_LATENCY_BUCKETS];
  _Atomic uint64_t latency_sum_us;
  _Atomic int64_t lag_us;
  _Atomic uint64_t epoch_us_sum, insert_us_sum, inserts;
  char state_word[16];  /* under lock */
  char reason[512];     /* under lock */
  char script_hash[65]; /* under lock */
};

/* start.c */
int pe_start_tables(struct pe_engine *e, MYSQL *m, struct pe_err *err);
int pe_start_scripts(struct pe_engine *e, struct pe_err *err);
int pe_start_sink(struct pe_engine *e, struct pe_err *err);

int pe_dest_keys(struct pe_edest *d, struct pe_err *err);
int pe_dest_sql(struct pe_engine *e, struct pe_edest *d, struct pe_err *err);
struct pe_script_env pe_script_env_of(struct pe_engine *e);
int pe_scripts_record(struct pe_engine *e, const struct pe_script_set *set, struct pe_err *err);
/* engine.c: as far as check needs it */
int pe_engine_check_start(struct pe_engine *e, struct pe_err *err);

/* phase.c: which tables are snapshotted, the snapshot itself, the difference, the start of the
 * stream. Loop. */
int pe_phase_begin(struct pe_engine *e, struct pe_err *err); /* at start, before the threads */
void pe_phase_step(struct pe_engine *e); /* after every acknowledged epoch and tick */
int pe_phase_record(struct pe_engine *e, const struct pe_epoch *ep,
                    struct pe_err *err); /* in the state transaction */
void pe_phase_acked(struct pe_engine *e, const struct pe_epoch *ep);
void pe_phase_stop(struct pe_engine *e);

/* diff.c: staging tables and the difference */
int pe_stage_create(struct pe_engine *e, struct pe_etable *t, struct pe_err *err);
int pe_stage_sql(struct pe_engine *e, struct pe_edest *d, struct pe_err *err);
int pe_stage_apply(struct pe_engine *e, struct pe_etable *t, struct pe_err *err);

/* worker.c */
int pe_worker_start(struct pe_engine *e, struct pe_err *err);
/* alter.c: a new version of a table takes over, on the script thread, between epochs */
int pe_table_take_over(struct pe_engine *e, struct pe_table *new_table, struct pe_err *err);
/* epoch.c */
struct pe_epoch *pe_epoch_open(struct pe_engine *e, bool snapshot);
void pe_epoch_destroy(struct pe_epoch *ep);
int pe_epoch_add(struct pe_engine *e, struct pe_epoch *ep, struct pe_outputs *o,
                 struct pe_etable *t, bool snapshot, uint64_t chunk, struct pe_err *err);
int pe_epoch_seal(struct pe_engine *e, struct pe_epoch *ep,
                  struct pe_err *err); /* stream: take all builders */
int pe_epoch_seal_chunk(struct pe_engine *e, struct pe_epoch *ep, uint32_t table, uint64_t chunk,
                        bool done, struct pe_err *err);
int pe_epoch_delta(struct pe_epoch *ep, const char *space, const void *key, size_t nkey,
                   const void *value, size_t nvalue);
struct pe_block *pe_block_take(struct pe_engine *e, struct pe_edest *d);
void pe_block_give(struct pe_engine *e, struct pe_edest *d, struct pe_block *b);
int pe_table_truncate(struct pe_engine *e, struct pe_etable *t, uint64_t version,
                      struct pe_err *err);
/* verify.c */
bool pe_verify_sql(struct pe_engine *e, const struct pe_eblock *b, struct pe_buf *sql);
int pe_verify_block(struct pe_engine *e, struct pe_eblock *b, struct pe_err *err);
int pe_rescue(struct pe_engine *e, const char *table, const char *columns, const void *body,
              size_t n, struct pe_err *err);
/* spool.c */
int pe_spool_write(struct pe_engine *e, const struct pe_epoch *ep, struct pe_err *err);
int pe_spool_replay(struct pe_engine *e, struct pe_err *err);
/* dlq.c */
int pe_dlq_ensure(struct pe_engine *e, struct pe_etable *t, struct pe_err *err);
int pe_dlq_add(struct pe_engine *e, struct pe_epoch *ep, struct pe_etable *t,
               const struct pe_dead *d, const char *script_hash);
int pe_dlq_add_refused(struct pe_engine *e, struct pe_epoch *ep, struct pe_eblock *b,
                       const char *reason);
struct pe_edead *pe_dlq_of(struct pe_engine *e, struct pe_epoch *ep, struct pe_etable *t);
/* quarantine.c */
struct pe_quarantine *pe_quarantine_create(void);
void pe_quarantine_destroy(struct pe_quarantine *q);
int pe_quarantine_load(struct pe_engine *e, struct pe_err *err);
int pe_quarantine_forget(struct pe_engine *e, uint32_t table, struct pe_err *err);
uint32_t pe_quarantine_count(const struct pe_engine *e, uint32_t table);
void pe_quarantine_clear(struct pe_engine *e, uint32_t table); /* all entries of a table */
void pe_quarantine_hooks(struct pe_engine *e, struct pe_run_hooks *h, uint32_t table);
/* reload.c */
void pe_reload_at_boundary(struct pe_engine *e); /* script thread, between epochs */
void pe_recent_add(struct pe_engine *e, const struct pe_segment *seg, uint32_t from, uint32_t n);
void pe_recent_close(struct pe_engine *e);
void pe_reload_abort(struct pe_engine *e);
/* commit.c */
int pe_commit_start(struct pe_engine *e, struct pe_err *err);
void pe_engine_fail(struct pe_engine *e, const struct pe_err *err);
void pe_engine_reason(struct pe_engine *e, const char *word, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void pe_commit_step(struct pe_engine *e);
/* Runs fn on a worker thread, then done on the loop; never two at a time (e->work_running). */
int pe_engine_work(struct pe_engine *e,
                   int (*fn)(struct pe_engine *e, void *arg, struct pe_err *err),
                   void (*done)(struct pe_engine *e, void *arg, int code, struct pe_err *err),
                   void *arg);

struct pe_etable *pe_engine_table(struct pe_engine *e, const struct pe_table *t);

#endif
