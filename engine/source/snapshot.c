/* The snapshot's threads, their connections, and stopping them. owner of struct pe_snapshot:
 * whoever called start; see snapshot_run.h for what the threads share. A fatal problem of any
 * thread is pushed once, as a PE_EV_FATAL batch, and ends all of them. */
#include "source/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/assert.h"
#include "base/log.h"
#include "source/snapshot_internal.h"
#include "source/snapshot_run.h"

enum {
  WORKERS_DEFAULT = 2,
  CHUNK_ROWS_DEFAULT = 50000,
  BATCH_ROWS_DEFAULT = 8192,
  BATCH_BYTES_DEFAULT = 4 * 1024 * 1024,
  PUSH_WAIT_MS = 50,  /* a full queue is looked at this often for a stop */
  PUSH_HOLD_MS = 2000 /* a full queue costs the connection after this */
};

bool pe_snap_stopping(const struct pe_snapshot *s) {
  return __atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE);
}

static struct timespec in_ms(unsigned ms) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  ts.tv_sec += ms / 1000;
  ts.tv_nsec += (long)(ms % 1000) * 1000000;
  if (ts.tv_nsec >= 1000000000) {
    ts.tv_sec++;
    ts.tv_nsec -= 1000000000;
  }
  return ts;
}

/* 0 when the time passed, PE_ESTOPPED. */
static int wait_ms(struct pe_snapshot *s, unsigned ms) {
  struct timespec until = in_ms(ms);
  pthread_mutex_lock(&s->lock);
  while (!s->stopping && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT) {
  }
  pthread_mutex_unlock(&s->lock);
  return pe_snap_stopping(s) ? PE_ESTOPPED : 0;
}

/* Wakes everything that blocks. */
static void stop_all(struct pe_snapshot *s) {
  pthread_mutex_lock(&s->lock);
  __atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
  for (unsigned i = 0; i <= s->nworkers; i++) {
    struct pe_snap_conn *c = i < s->nworkers ? &s->workers[i].conn : &s->planner.conn;
    if (c->fd >= 0) {
      shutdown(c->fd, SHUT_RDWR);
    }
  }
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

static void set_fd(struct pe_snap_conn *c, int fd) {
  pthread_mutex_lock(&c->s->lock);
  c->fd = fd;
  pthread_mutex_unlock(&c->s->lock);
}

void pe_snap_disconnect(struct pe_snap_conn *c) {
  if (c->m) {
    set_fd(c, -1);
    mysql_close(c->m);
    c->m = NULL;
  }
}

static int connect_once(struct pe_snap_conn *c, struct pe_err *err) {
  c->m = pe_source_connect(&c->s->opts.source, err);
  if (!c->m) {
    return err->code;
  }
  set_fd(c, (int)mysql_get_socket(c->m));
  if (mysql_query(c->m, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")) {
    int rc = pe_source_error(c->m, err);
    pe_snap_disconnect(c);
    return rc;
  }
  return 0;
}

int pe_snap_retry(struct pe_snap_conn *c, const char *doing, struct pe_err *err) {
  if (pe_snap_stopping(c->s)) {
    return PE_ESTOPPED;
  }
  if (err->cls != PE_CLASS_RETRY) {
    return err->code;
  }
  c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : PE_SNAP_BACKOFF_FIRST_MS;
  if (c->backoff_ms > PE_SNAP_BACKOFF_MAX_MS) {
    c->backoff_ms = PE_SNAP_BACKOFF_MAX_MS;
  }
  pe_warn("source", "snapshot: %s: %s; trying again in %.1f s", doing, err->text,
          c->backoff_ms / 1000.0);
  return wait_ms(c->s, c->backoff_ms);
}

int pe_snap_connect(struct pe_snap_conn *c, struct pe_err *err) {
  while (!c->m) {
    if (pe_snap_stopping(c->s)) {
      return PE_ESTOPPED;
    }
    if (connect_once(c, err)) {
      int rc = pe_snap_retry(c, "connecting", err);
      if (rc) {
        return rc;
      }
    }
  }
  return 0;
}

/* pe_queue_push cannot be called off, so what may take long, the wait for room, is done here. */
static bool queue_has_room(struct pe_queue *q, size_t rows, size_t bytes) {
  struct timespec until = in_ms(PUSH_WAIT_MS);
  pthread_mutex_lock(&q->lock);
  bool room = false;
  for (;;) {
    room = q->closed || q->count == 0 ||
           (q->count < PE_QUEUE_SLOTS && q->rows < q->rows_max && q->bytes < q->bytes_max &&
            rows <= q->rows_max - q->rows && bytes <= q->bytes_max - q->bytes);
    if (room || pthread_cond_timedwait(&q->can_push, &q->lock, &until) == ETIMEDOUT) {
      break;
    }
  }
  pthread_mutex_unlock(&q->lock);
  return room;
}

int pe_snap_push(struct pe_snapshot *s, struct pe_batch *b, struct pe_snap_conn *let_go) {
  size_t rows = b->nimages, bytes = sizeof(*b) + b->arena.bytes;
  unsigned waited_ms = 0;
  while (!pe_snap_stopping(s) && !queue_has_room(s->out, rows, bytes)) {
    waited_ms += PUSH_WAIT_MS;
    if (let_go && waited_ms >= PUSH_HOLD_MS) {
      pe_snap_disconnect(let_go);
    }
  }
  int rc = pe_snap_stopping(s) ? PE_ESTOPPED : pe_queue_push(s->out, b, rows, bytes);
  if (rc) {
    pe_batch_destroy(b);
  }
  return rc;
}

/* The first fatal problem wins; nobody can be told of one when there is no memory for it. */
static void fail(struct pe_snapshot *s, const struct pe_err *err) {
  if (__atomic_exchange_n(&s->failed, true, __ATOMIC_ACQ_REL)) {
    return;
  }
  struct pe_batch *b = pe_batch_create();
  struct pe_err *copy =
      b ? pe_arena_alloc(&b->arena, sizeof(*copy), _Alignof(struct pe_err)) : NULL;
  if (!copy) {
    pe_error("source", "%s (and no memory to pass it on)", err->text);
    pe_batch_destroy(b);
  } else {
    *copy = *err;
    b->snapshot = true;
    b->event = PE_EV_FATAL;
    b->error = copy;
    if (pe_snap_push(s, b, NULL)) {
      pe_error("source", "%s", err->text);
    }
  }
  stop_all(s);
}

int pe_snap_hand_out(struct pe_snapshot *s, struct pe_snap_job job) {
  pthread_mutex_lock(&s->lock);
  while (!s->stopping && s->njobs == PE_SNAP_JOBS_MAX) {
    pthread_cond_wait(&s->changed, &s->lock);
  }
  bool stopping = s->stopping;
  if (!stopping) {
    s->jobs[(s->jobs_head + s->njobs++) % PE_SNAP_JOBS_MAX] = job;
    s->pending++;
    pthread_cond_broadcast(&s->changed);
  }
  pthread_mutex_unlock(&s->lock);
  if (stopping) {
    free(job.lo);
    free(job.hi);
  }
  return stopping ? PE_ESTOPPED : 0;
}

int pe_snap_settle(struct pe_snapshot *s) {
  pthread_mutex_lock(&s->lock);
  while (!s->stopping && s->pending) {
    pthread_cond_wait(&s->changed, &s->lock);
  }
  bool stopping = s->stopping;
  pthread_mutex_unlock(&s->lock);
  return stopping ? PE_ESTOPPED : 0;
}

static bool take_job(struct pe_snapshot *s, struct pe_snap_job *job) {
  pthread_mutex_lock(&s->lock);
  while (!s->stopping && !s->njobs && !s->no_more) {
    pthread_cond_wait(&s->changed, &s->lock);
  }
  bool taken = !s->stopping && s->njobs;
  if (taken) {
    *job = s->jobs[s->jobs_head];
    s->jobs_head = (s->jobs_head + 1) % PE_SNAP_JOBS_MAX;
    s->njobs--;
    pthread_cond_broadcast(&s->changed);
  }
  pthread_mutex_unlock(&s->lock);
  return taken;
}

static void job_done(struct pe_snapshot *s, struct pe_snap_job *job) {
  free(job->lo);
  free(job->hi);
  pthread_mutex_lock(&s->lock);
  s->pending--;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

static void *run_worker(void *arg) {
  struct pe_snap_worker *w = arg;
  struct pe_snapshot *s = w->conn.s;
  struct pe_snap_job job;
  while (take_job(s, &job)) {
    struct pe_err err = PE_ERR_INIT;
    int rc = pe_snap_read_chunk(&w->conn, &job, &err);
    if (rc && rc != PE_ESTOPPED) {
      fail(s, &err);
    }
    job_done(s, &job);
  }
  pe_snap_disconnect(&w->conn);
  mysql_thread_end();
  return NULL;
}

static void *run_planner(void *arg) {
  struct pe_snap_worker *w = arg;
  struct pe_snapshot *s = w->conn.s;
  struct pe_err err = PE_ERR_INIT;
  int rc = pe_snap_plan(&w->conn, &err);
  if (rc && rc != PE_ESTOPPED) {
    fail(s, &err);
  }
  pe_snap_disconnect(&w->conn);
  pthread_mutex_lock(&s->lock);
  s->no_more = true;
  if (!rc) {
    __atomic_store_n(&s->finished, true, __ATOMIC_RELEASE);
  }
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
  mysql_thread_end();
  return NULL;
}

static char *copy_literal(struct pe_snapshot *s, const char *text, bool *ok) {
  if (!text) {
    return NULL;
  }
  char *copy = pe_arena_strndup(&s->arena, text, strlen(text));
  *ok = *ok && copy;
  return copy;
}

static bool copy_table(struct pe_snapshot *s, const struct pe_snapshot_table *from,
                       struct pe_snap_table *to) {
  bool ok = true;
  to->table = pe_table_ref(from->table);
  to->version = from->version;
  to->planned = from->planned;
  if (from->nchunks) {
    to->chunks =
        pe_arena_alloc(&s->arena, from->nchunks * sizeof(*to->chunks), _Alignof(struct pe_chunk));
    if (!to->chunks) {
      return false;
    }
  }
  to->nchunks = from->nchunks;
  for (uint32_t i = 0; i < from->nchunks; i++) {
    to->chunks[i] = from->chunks[i];
    to->chunks[i].lo = copy_literal(s, from->chunks[i].lo, &ok);
    to->chunks[i].hi = copy_literal(s, from->chunks[i].hi, &ok);
  }
  return ok;
}

static void free_snapshot(struct pe_snapshot *s) {
  for (uint32_t i = 0; s->tables && i < s->opts.ntables; i++) {
    pe_table_unref(s->tables[i].table);
  }
  while (s->njobs) {
    struct pe_snap_job *job = &s->jobs[s->jobs_head];
    free(job->lo);
    free(job->hi);
    s->jobs_head = (s->jobs_head + 1) % PE_SNAP_JOBS_MAX;
    s->njobs--;
  }
  free(s->tables);
  pe_arena_close(&s->arena);
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->lock);
  explicit_bzero(&s->opts.source, sizeof(s->opts.source));
  free(s);
}

static void set_defaults(struct pe_snapshot_opts *o) {
  o->workers = o->workers ? o->workers : WORKERS_DEFAULT;
  o->workers = o->workers > PE_SNAP_WORKERS_MAX ? PE_SNAP_WORKERS_MAX : o->workers;
  o->chunk_rows = o->chunk_rows ? o->chunk_rows : CHUNK_ROWS_DEFAULT;
  o->batch_rows = o->batch_rows ? o->batch_rows : BATCH_ROWS_DEFAULT;
  o->batch_bytes = o->batch_bytes ? o->batch_bytes : BATCH_BYTES_DEFAULT;
}

static struct pe_snapshot *create(const struct pe_snapshot_opts *o, struct pe_queue *out) {
  struct pe_snapshot *s = calloc(1, sizeof(*s));
  if (!s) {
    return NULL;
  }
  s->opts = *o;
  s->out = out;
  set_defaults(&s->opts);
  pe_arena_init(&s->arena, 0);
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&s->changed, &attr);
  pthread_condattr_destroy(&attr);
  pthread_mutex_init(&s->lock, NULL);
  s->planner.conn = (struct pe_snap_conn){.s = s, .fd = -1};
  for (unsigned i = 0; i < PE_SNAP_WORKERS_MAX; i++) {
    s->workers[i].conn = (struct pe_snap_conn){.s = s, .fd = -1};
  }
  s->tables = calloc(o->ntables ? o->ntables : 1, sizeof(*s->tables));
  bool ok = s->tables != NULL;
  for (uint32_t i = 0; ok && i < o->ntables; i++) {
    ok = copy_table(s, &o->tables[i], &s->tables[i]);
  }
  if (!ok) {
    free_snapshot(s);
    return NULL;
  }
  return s;
}

/* For progress only: a server that is away now has no estimates, and the threads wait for it. */
static int estimate(const struct pe_snapshot_opts *o, struct pe_err *err) {
  MYSQL *m = pe_source_connect(&o->source, err);
  if (!m) {
    return err->cls == PE_CLASS_RETRY ? 0 : err->code;
  }
  int rc = 0;
  for (uint32_t i = 0; i < o->ntables && rc >= 0; i++) {
    const struct pe_table *t = o->tables[i].table;
    struct pe_buf sql;
    char rows[32];
    pe_buf_init(&sql);
    pe_buf_puts(&sql, "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = ");
    pe_buf_put_sql(&sql, t->db, strlen(t->db));
    pe_buf_puts(&sql, " AND TABLE_NAME = ");
    pe_buf_put_sql(&sql, t->name, strlen(t->name));
    rc = pe_source_scalar(m, pe_buf_cstr(&sql), rows, sizeof(rows), err);
    o->tables[i].rows_estimate = rc > 0 ? strtoull(rows, NULL, 10) : 0;
    pe_buf_close(&sql);
  }
  mysql_close(m);
  return rc < 0 && err->cls != PE_CLASS_RETRY ? rc : 0;
}

static int start_threads(struct pe_snapshot *s, struct pe_err *err) {
  if (pthread_create(&s->planner.thread, NULL, run_planner, &s->planner)) {
    free_snapshot(s);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "no thread could be started");
  }
  for (unsigned i = 0; i < s->opts.workers; i++) {
    if (pthread_create(&s->workers[i].thread, NULL, run_worker, &s->workers[i])) {
      pe_snapshot_stop(s);
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "no thread could be started");
    }
    pthread_mutex_lock(&s->lock);
    s->nworkers++;
    pthread_mutex_unlock(&s->lock);
  }
  return 0;
}

int pe_snapshot_start(const struct pe_snapshot_opts *o, struct pe_queue *out,
                      struct pe_snapshot **s, struct pe_err *err) {
  *s = NULL;
  struct pe_err local = PE_ERR_INIT;
  err = err ? err : &local;
  int rc = estimate(o, err);
  if (rc) {
    return pe_err_wrap(err, "start the snapshot");
  }
  struct pe_snapshot *made = create(o, out);
  if (!made) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  rc = start_threads(made, err);
  if (rc) {
    return rc;
  }
  *s = made;
  return 0;
}

void pe_snapshot_stats(const struct pe_snapshot *s, uint32_t table, struct pe_snapshot_stats *st) {
  PE_ASSERT(table < s->opts.ntables);
  const struct pe_snapshot_stats *from = &s->tables[table].stats;
  st->rows = __atomic_load_n(&from->rows, __ATOMIC_RELAXED);
  st->bytes = __atomic_load_n(&from->bytes, __ATOMIC_RELAXED);
  st->chunks_done = __atomic_load_n(&from->chunks_done, __ATOMIC_RELAXED);
  st->chunks_planned = __atomic_load_n(&from->chunks_planned, __ATOMIC_RELAXED);
}

bool pe_snapshot_finished(const struct pe_snapshot *s) {
  return __atomic_load_n(&s->finished, __ATOMIC_ACQUIRE);
}

void pe_snapshot_stop(struct pe_snapshot *s) {
  if (!s) {
    return;
  }
  stop_all(s);
  pthread_join(s->planner.thread, NULL);
  for (unsigned i = 0; i < s->nworkers; i++) {
    pthread_join(s->workers[i].thread, NULL);
  }
  free_snapshot(s);
}
