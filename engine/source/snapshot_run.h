/* What the threads of one snapshot share.
 *
 * owner: the planner thread fills `jobs` and each table's key, worker threads take jobs; `lock`
 * guards jobs, counters and connections' sockets. What is set before the threads start (opts,
 * tables' recorded chunks) is read without it. */
#ifndef PE_SOURCE_SNAPSHOT_RUN_H
#define PE_SOURCE_SNAPSHOT_RUN_H

#include <pthread.h>

#include "source/snapshot.h"
#include "source/snapshot_key.h"

enum {
  PE_SNAP_WORKERS_MAX = 32,
  PE_SNAP_JOBS_MAX = 64, /* chunks planned ahead of the workers */
  PE_SNAP_BACKOFF_FIRST_MS = 100,
  PE_SNAP_BACKOFF_MAX_MS = 10000
};

struct pe_snap_table {
  struct pe_table *table; /* a reference */
  uint64_t version;
  struct pe_chunk *chunks; /* copies, strings too */
  uint32_t nchunks;
  bool planned;
  struct pe_key key;              /* set by the planner before it hands out the first job */
  struct pe_snapshot_stats stats; /* atomic, relaxed */
};

struct pe_snap_job {
  uint32_t table;
  uint64_t id;
  char *lo, *hi; /* owned */
};

/* A thread's connection: its own, but for the socket, which stop shuts down under the lock. */
struct pe_snap_conn {
  struct pe_snapshot *s;
  MYSQL *m;
  int fd; /* -1: none */
  unsigned backoff_ms;
};

struct pe_snap_worker {
  pthread_t thread;
  struct pe_snap_conn conn;
};

struct pe_snapshot {
  struct pe_snapshot_opts opts;
  struct pe_snap_table *tables;
  struct pe_queue *out;
  struct pe_arena arena; /* recorded chunks */
  pthread_mutex_t lock;
  pthread_cond_t changed; /* jobs, pending, stopping */
  struct pe_snap_job jobs[PE_SNAP_JOBS_MAX];
  unsigned njobs, jobs_head;
  unsigned pending;      /* handed out or being read */
  bool no_more;          /* the planner is through */
  bool stopping;         /* atomic: asked to stop, or a fatal problem was pushed */
  bool failed, finished; /* atomic */
  struct pe_snap_worker planner, workers[PE_SNAP_WORKERS_MAX];
  unsigned nworkers; /* started */
};

bool pe_snap_stopping(const struct pe_snapshot *s);
/* Makes sure c->m is connected. A failure that waiting can mend is waited for and tried again
 * inside; what comes back is fatal, or PE_ESTOPPED. */
int pe_snap_connect(struct pe_snap_conn *c, struct pe_err *err);
void pe_snap_disconnect(struct pe_snap_conn *c);
/* After a failed call on c: 0 when it is to be tried again (it has waited), else the code to give
 * up with. */
int pe_snap_retry(struct pe_snap_conn *c, const char *doing, struct pe_err *err);
/* Pushes, unless stopped first (PE_ESTOPPED; the batch is destroyed then). Where the queue stays
 * full for long, `let_go` (may be NULL) is disconnected meanwhile: a SELECT that is under way keeps
 * an ALTER TABLE, and everybody behind that, waiting. */
int pe_snap_push(struct pe_snapshot *s, struct pe_batch *b, struct pe_snap_conn *let_go);
/* Reads one chunk and pushes its batches, CHUNK_DONE on the last. 0, PE_ESTOPPED or fatal. */
int pe_snap_read_chunk(struct pe_snap_conn *c, const struct pe_snap_job *job, struct pe_err *err);
/* Walks all tables; runs on the planner's thread. 0, PE_ESTOPPED or fatal. */
int pe_snap_plan(struct pe_snap_conn *c, struct pe_err *err);
/* Waits for room and hands a job to the workers; the job's strings are theirs then. PE_ESTOPPED. */
int pe_snap_hand_out(struct pe_snapshot *s, struct pe_snap_job job);
/* Waits until all jobs handed out are pushed. PE_ESTOPPED. */
int pe_snap_settle(struct pe_snapshot *s);

#endif
