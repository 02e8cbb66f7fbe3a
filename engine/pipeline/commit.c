/* The loop's side of an epoch: make its range durable, send its blocks, move the checkpoint.
 *
 *            handed over           intent written        all acknowledged        checkpoint written
 *   IDLE ------------------> BEGIN ---------------> SENDING ---------------> END ----------------->
 * IDLE ^                       | a request failed: back-off, the same block with the same token |
 * | a block refused: halves of it, down to the row, which goes to the DLQ
 *                              +--- the next epoch is there already: END and its BEGIN are one
 * transaction ---+
 *
 * A block whose request ended without an answer may be in ClickHouse or not. Sending it again under
 * its token is right in either case, except where a server that was killed remembers a token whose
 * part it lost: so such a block is looked for by its versions afterwards, and sent under another
 * token when none is there. owner: loop thread. The state store and blocking queries run in a work
 * item, one at a time.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "pipeline/internal.h"

enum { TICK_MS = 250, PARTS_EVERY_US = 5 * 1000 * 1000 };

/* ---- work items ---- */
struct work {
  uv_work_t req;
  struct pe_engine *e;
  int (*fn)(struct pe_engine *e, void *arg, struct pe_err *err);
  void (*done)(struct pe_engine *e, void *arg, int code, struct pe_err *err);
  void *arg;
  int code;
  struct pe_err err;
};

static void work_cb(uv_work_t *req) {
  struct work *w = req->data;
  w->code = w->fn(w->e, w->arg, &w->err);
}

static void work_after_cb(uv_work_t *req, int status) {
  struct work *w = req->data;
  (void)status;
  w->e->work_running = false;
  w->done(w->e, w->arg, w->code, &w->err);
  free(w);
}

int pe_engine_work(struct pe_engine *e,
                   int (*fn)(struct pe_engine *e, void *arg, struct pe_err *err),
                   void (*done)(struct pe_engine *e, void *arg, int code, struct pe_err *err),
                   void *arg) {
  PE_ASSERT(!e->work_running);
  struct work *w = calloc(1, sizeof(*w));
  if (!w)
    return PE_ENOMEM;
  w->req.data = w;
  w->e = e;
  w->fn = fn;
  w->done = done;
  w->arg = arg;
  e->work_running = true;
  if (uv_queue_work(&e->loop, &w->req, work_cb, work_after_cb)) {
    e->work_running = false;
    free(w);
    return PE_ENOMEM;
  }
  return 0;
}

/* ---- words for status ---- */
void pe_engine_reason(struct pe_engine *e, const char *word, const char *fmt, ...) {
  va_list ap;
  pthread_mutex_lock(&e->lock);
  snprintf(e->state_word, sizeof(e->state_word), "%s", word);
  va_start(ap, fmt);
  vsnprintf(e->reason, sizeof(e->reason), fmt, ap);
  va_end(ap);
  pthread_mutex_unlock(&e->lock);
}

static void finish(struct pe_engine *e) {
  if (e->finishing)
    return;
  e->finishing = true;
  pthread_mutex_lock(&e->lock);
  e->stopping = true;
  pthread_cond_broadcast(&e->handed_cond);
  pthread_mutex_unlock(&e->lock);
  pe_queue_shutdown(&e->queue);
  pe_reload_abort(e);
  uv_stop(&e->loop);
}

void pe_engine_fail(struct pe_engine *e, const struct pe_err *err) {
  if (!e->failure.code)
    e->failure = *err;
  pe_engine_reason(e, "failed", "%.400s", err->text);
  finish(e);
}

/* ---- the state transaction ---- */
struct turn {
  struct pe_epoch *end;   /* acknowledged; NULL none */
  struct pe_epoch *begin; /* to be sent; NULL none */
};

static int record_end(struct pe_engine *e, const struct pe_epoch *ep, struct pe_err *err) {
  int rc = 0;
  for (uint32_t i = 0; i < ep->ndeltas && !rc; i++) {
    const struct pe_edelta *d = &ep->deltas[i];
    const uint8_t *p = ep->deltas_data.data + d->at;
    rc = pe_state_kv_put(e->state, d->space, p, d->nkey, p + d->nkey, d->nvalue, err);
  }
  if (!rc)
    rc = pe_phase_record(e, ep, err);
  if (!rc && ep->has_position)
    rc = pe_state_checkpoint_set(e->state, &ep->to, err);
  return rc;
}

/* A token says where a block comes from: the same rows sent again have the same one. */
static void make_token(struct pe_engine *e, struct pe_eblock *b) {
  struct pe_buf token;
  pe_buf_init(&token);
  pe_buf_printf(&token, "%s/%s/", e->state_id, b->dest->dest.name);
  if (!b->epoch->snapshot)
    pe_buf_printf(&token, "%" PRIx64 "-%" PRIx64 "/", b->epoch->from_version, b->epoch->to.version);
  pe_buf_puts(&token, b->token);
  if (b->epoch->snapshot) {
    /* A chunk that is read again after a crash can hold other rows, and be cut elsewhere: then it
     * must not pass for the block that is there already. */
    char content[65];
    pe_block_hash(b->block, content);
    pe_buf_puts(&token, content);
  }
  pe_sha256_hex(token.data, token.len, b->full_token);
  pe_buf_close(&token);
}

static int turn_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  struct turn *t = arg;
  char spool[32] = "";
  int rc = 0;
  if (t->begin && t->begin->snapshot) {
    for (uint32_t i = 0; i < t->begin->nblocks; i++)
      make_token(e, t->begin->blocks[i]);
    rc = pe_spool_write(e, t->begin, err);
    if (rc)
      return rc;
    snprintf(spool, sizeof(spool), "%" PRIu64, t->begin->id);
  }
  pthread_mutex_lock(&e->state_lock);
  rc = pe_state_begin(e->state, err);
  if (!rc && (spool[0] || (t->end && t->end->snapshot)))
    rc = pe_state_meta_set(e->state, "spool", spool, err);
  if (!rc && t->end)
    rc = record_end(e, t->end, err);
  if (!rc && t->begin && !t->begin->snapshot && t->begin->nblocks + t->begin->ndead) {
    struct pe_epoch_rec r = {.id = t->begin->id,
                             .from_version = t->begin->from_version,
                             .to = t->begin->to,
                             .block_rows = e->cfg->block_rows};
    snprintf(r.script_hash, sizeof(r.script_hash), "%s", t->begin->script_hash);
    rc = pe_state_epoch_set(e->state, &r, err);
  } else if (!rc && t->end && !t->end->snapshot) { /* a snapshot leaves a pending replay alone */
    rc = pe_state_epoch_clear(e->state, err);
  }
  if (!rc)
    rc = pe_state_commit(e->state, err);
  if (rc)
    pe_state_rollback(e->state);
  pthread_mutex_unlock(&e->state_lock);
  return rc;
}

static void send_epoch(struct pe_engine *e);
static void epoch_ended(struct pe_engine *e, struct pe_epoch *ep);

static void turn_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  struct turn *t = arg;
  struct turn got = *t;
  free(t);
  if (code) {
    if (got.end)
      pe_epoch_destroy(got.end);
    if (got.begin)
      pe_epoch_destroy(got.begin);
    e->sending = NULL;
    pe_err_wrap(err, "recording an epoch");
    pe_engine_fail(e, err);
    return;
  }
  if (got.end)
    epoch_ended(e, got.end);
  e->sending = got.begin;
  pthread_mutex_lock(&e->lock);
  e->loop_busy = got.begin != NULL;
  pthread_cond_broadcast(&e->handed_cond);
  pthread_mutex_unlock(&e->lock);
  if (got.begin)
    send_epoch(e);
  else
    pe_commit_step(e);
}

/* Writes down that `end` is done and, when one waits, that the next one begins. */
static void turn_start(struct pe_engine *e, struct pe_epoch *end) {
  struct turn *t = calloc(1, sizeof(*t));
  struct pe_err err = PE_ERR_INIT;
  if (!t) {
    pe_err_set(&err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for an epoch");
    pe_engine_fail(e, &err);
    return;
  }
  t->end = end;
  pthread_mutex_lock(&e->lock);
  t->begin = e->handed;
  e->handed = NULL;
  e->loop_busy = true;
  pthread_cond_broadcast(&e->handed_cond);
  pthread_mutex_unlock(&e->lock);
  if (pe_engine_work(e, turn_work, turn_done, t)) {
    pe_err_set(&err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for an epoch");
    pe_engine_fail(e, &err);
  }
}

static void count_latency(struct pe_engine *e, const struct pe_epoch *ep) {
  static const int64_t bounds_ms[PE_LATENCY_BUCKETS] = {5,   10,   25,   50,   100,   250,
                                                        500, 1000, 2500, 5000, 10000, INT64_MAX};
  int64_t now = pe_clock_wall_us();
  for (uint32_t i = 0; i < ep->nlags; i++) {
    const struct pe_elag *l = &ep->lags[i];
    int64_t us = l->ts_us > 0 && now > l->ts_us ? now - l->ts_us : 0;
    int b = 0;
    while (b < PE_LATENCY_BUCKETS - 1 && us / 1000 >= bounds_ms[b])
      b++;
    atomic_fetch_add(&e->latency[b], l->count);
    atomic_fetch_add(&e->latency_sum_us, (uint64_t)us * l->count);
    struct pe_etable *t = &e->tables[l->table];
    atomic_store(&t->lag_us, us);
    atomic_store(&t->delivered_us, now);
    atomic_store(&e->lag_us, us);
  }
}

static void epoch_ended(struct pe_engine *e, struct pe_epoch *ep) {
  if (ep->has_position) {
    pthread_mutex_lock(&e->lock);
    e->checkpoint = ep->to;
    pthread_mutex_unlock(&e->lock);
  }
  pthread_mutex_lock(&e->lock);
  for (uint32_t i = 0; i < e->ntables; i++) {
    struct pe_etable *t = &e->tables[i];
    const struct pe_etable_counts *c = &ep->counts[i];
    PE_ASSERT(c->in == c->out + c->filtered + c->dlq);
    atomic_fetch_add(&t->changes_in, c->in);
    atomic_fetch_add(&t->changes_out, c->out);
    atomic_fetch_add(&t->changes_filtered, c->filtered);
    atomic_fetch_add(&t->changes_dlq, c->dlq);
    atomic_fetch_add(&t->snapshot_rows, c->snapshot_rows);
  }
  pthread_mutex_unlock(&e->lock);
  count_latency(e, ep);
  atomic_fetch_add(&e->epochs, 1);
  atomic_fetch_add(&e->epoch_us_sum, (uint64_t)(pe_clock_us() - ep->opened_us));
  pe_phase_acked(e, ep);
  pe_epoch_destroy(ep);
}

/* ---- sending ---- */
static void block_send(struct pe_engine *e, struct pe_eblock *b);
static void dead_send(struct pe_engine *e, struct pe_edead *d);
static void epoch_step(struct pe_engine *e);

static void sink_down(struct pe_engine *e, const struct pe_err *err) {
  if (!e->sink_down_since_us) {
    e->sink_down_since_us = pe_clock_us();
    pe_warn("sink", "%s; trying again until it answers", err->text);
  }
  pe_engine_reason(e, "retrying", "%.450s", err->text);
}

static void sink_up(struct pe_engine *e) {
  if (!e->sink_down_since_us)
    return;
  pe_info("sink", "ClickHouse answers again after %" PRId64 " ms",
          (pe_clock_us() - e->sink_down_since_us) / 1000);
  e->sink_down_since_us = 0;
  pe_engine_reason(e, e->streaming ? "streaming" : "snapshot", "%s", "");
}

static int add_halves(struct pe_engine *e, struct pe_epoch *ep, struct pe_eblock *b) {
  uint32_t rows = pe_block_rows(b->block);
  for (int h = 0; h < 2; h++) {
    uint32_t from = h ? rows / 2 : 0, n = h ? rows - rows / 2 : rows / 2;
    struct pe_eblock *x = calloc(1, sizeof(*x));
    struct pe_eblock **all = realloc(ep->blocks, (ep->nblocks + 1) * sizeof(*all));
    if (all) {
      ep->blocks = all;
      ep->blocks_cap = ep->nblocks + 1;
    }
    if (!x || !all || pe_block_slice(b->block, from, n, &x->block)) {
      free(x);
      return PE_ENOMEM;
    }
    x->dest = b->dest;
    x->partition = b->partition;
    x->epoch = ep;
    x->staged = b->staged;
    int used = snprintf(x->token, sizeof(x->token), "%s/%d", b->token, h);
    PE_ASSERT(used > 0 && (size_t)used < sizeof(x->token)); /* halves of 2^17 rows: 34 characters */
    ep->blocks[ep->nblocks++] = x;
  }
  pe_block_give(e, b->dest, b->block);
  b->block = NULL;
  return 0;
}

static void block_refused(struct pe_engine *e, struct pe_eblock *b, const struct pe_err *err) {
  struct pe_epoch *ep = b->epoch;
  int rc;
  atomic_fetch_add(&e->blocks_refused, 1);
  if (pe_block_rows(b->block) > 1) {
    rc = add_halves(e, ep, b);
  } else {
    pe_warn("sink", "%s refused a row, it goes to the DLQ: %.300s", b->dest->dest.name, err->text);
    rc = pe_dlq_add_refused(e, ep, b, err->text);
  }
  b->status = PE_BLOCK_DONE;
  if (rc) {
    struct pe_err nomem = PE_ERR_INIT;
    pe_err_set(&nomem, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a refused block");
    pe_engine_fail(e, &nomem);
  }
}

static void block_done(struct pe_engine *e, struct pe_eblock *b) {
  uint32_t rows = pe_block_rows(b->block);
  uint64_t dead = 0;
  for (uint32_t i = 0; i < rows; i++)
    dead += pe_block_deleted(b->block, i);
  atomic_fetch_add(&b->dest->rows_written, rows - dead);
  atomic_fetch_add(&b->dest->tombstones_written, dead);
  atomic_fetch_add(&e->blocks, 1);
  b->status = PE_BLOCK_DONE;
}

static void insert_cb(struct pe_ch_insert *req, int code, const struct pe_err *err) {
  struct pe_eblock *b = req->arg;
  struct pe_engine *e = b->epoch->engine;
  e->requests--;
  if (e->finishing)
    return;
  if (!code) {
    sink_up(e);
    e->retry_ms = 0;
    if (b->unsure)
      b->status = PE_BLOCK_VERIFY;
    else
      block_done(e, b);
  } else if (err->cls == PE_CLASS_POISON) {
    block_refused(e, b, err);
  } else if (err->cls == PE_CLASS_RETRY) {
    b->unsure = true;
    b->status = PE_BLOCK_RETRY;
    atomic_fetch_add(&e->block_retries, 1);
    sink_down(e, err);
  } else {
    struct pe_err copy = *err;
    pe_err_wrap(&copy, "inserting into %s", b->dest->dest.name);
    pe_engine_fail(e, &copy);
    return;
  }
  epoch_step(e);
}

static void block_send(struct pe_engine *e, struct pe_eblock *b) {
  struct pe_err err = PE_ERR_INIT;
  size_t niov = 0;
  if (pe_block_iov(b->block, &b->iov, &niov)) {
    pe_err_set(&err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a block");
    pe_engine_fail(e, &err);
    return;
  }
  b->req = (struct pe_ch_insert){.sql = b->staged ? b->dest->stage_sql : b->dest->insert_sql,
                                 .token = b->full_token,
                                 .iov = b->iov,
                                 .niov = niov,
                                 .cb = insert_cb,
                                 .arg = b};
  if (!b->full_token[0])
    make_token(e, b);
  b->unsure |= b->epoch->replayed;
  b->status = PE_BLOCK_SENT;
  e->requests++;
  if (pe_ch_insert(e->ch, &b->req, &err)) {
    e->requests--;
    pe_engine_fail(e, &err);
  }
}

static void dead_cb(struct pe_ch_insert *req, int code, const struct pe_err *err) {
  struct pe_edead *d = req->arg;
  struct pe_engine *e = d->epoch->engine;
  e->requests--;
  if (e->finishing)
    return;
  if (!code) {
    sink_up(e);
    e->retry_ms = 0;
    d->status = PE_BLOCK_DONE;
  } else if (err->cls == PE_CLASS_RETRY) {
    d->status = PE_BLOCK_RETRY;
    sink_down(e, err);
  } else {
    struct pe_err copy = *err;
    pe_err_wrap(&copy, "writing to the DLQ table %s", d->table->dlq);
    pe_engine_fail(e, &copy);
    return;
  }
  epoch_step(e);
}

static void dead_send(struct pe_engine *e, struct pe_edead *d) {
  struct pe_err err = PE_ERR_INIT;
  d->iov = (struct pe_iov){d->body.data, d->body.len};
  d->req = (struct pe_ch_insert){.sql = d->sql, .iov = &d->iov, .niov = 1, .cb = dead_cb, .arg = d};
  d->status = PE_BLOCK_SENT;
  e->requests++;
  if (pe_ch_insert(e->ch, &d->req, &err)) {
    e->requests--;
    pe_engine_fail(e, &err);
  }
}

static int verify_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  return pe_verify_block(e, arg, err);
}

static void verify_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  struct pe_eblock *b = arg;
  if (e->finishing)
    return;
  if (code && err->cls != PE_CLASS_RETRY) {
    pe_engine_fail(e, err);
    return;
  }
  if (code) {
    b->status = PE_BLOCK_RETRY; /* ask again, by sending again */
    sink_down(e, err);
  } else {
    b->unsure = false;
    atomic_fetch_add(&e->dedup_hits, 1);
    block_done(e, b);
  }
  epoch_step(e);
}

static void retry_cb(uv_timer_t *timer) {
  struct pe_engine *e = timer->data;
  struct pe_epoch *ep = e->sending;
  if (!ep || e->finishing)
    return;
  for (uint32_t i = 0; i < ep->nblocks && !e->finishing; i++)
    if (ep->blocks[i]->status == PE_BLOCK_RETRY)
      block_send(e, ep->blocks[i]);
  for (uint32_t i = 0; i < ep->ndead && !e->finishing; i++)
    if (ep->dead[i]->status == PE_BLOCK_RETRY)
      dead_send(e, ep->dead[i]);
}

/* TRUNCATE in the source: what is older goes away. Idempotent, so it may run again after a crash.
 */
static int truncate_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  struct pe_epoch *ep = arg;
  return pe_table_truncate(e, &e->tables[ep->truncate->id], ep->truncate_version, err);
}

static void truncate_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  struct pe_epoch *ep = arg;
  if (e->finishing)
    return;
  if (code && err->cls == PE_CLASS_RETRY) {
    sink_down(e, err);
    e->retry_ms = e->retry_ms ? e->retry_ms * 2 : PE_RETRY_MS_MIN;
    ep->truncate_wait_us = pe_clock_us() + 1000 * (int64_t)PE_RETRY_MS_MAX / 10;
    return; /* the ticker calls epoch_step */
  }
  if (code) {
    pe_engine_fail(e, err);
    return;
  }
  pe_table_unref(ep->truncate);
  ep->truncate = NULL;
  epoch_step(e);
}

/* Looks at the epoch on its way and does what comes next. */
static void epoch_step(struct pe_engine *e) {
  struct pe_epoch *ep = e->sending;
  if (!ep || e->finishing)
    return;
  bool retry = false, open = false;
  for (uint32_t i = 0; i < ep->nblocks && !e->finishing; i++) {
    struct pe_eblock *b = ep->blocks[i];
    if (b->status == PE_BLOCK_TODO)
      block_send(e, b);
    if (b->status == PE_BLOCK_VERIFY && !e->work_running &&
        pe_engine_work(e, verify_work, verify_done, b))
      b->status = PE_BLOCK_RETRY;
    retry |= b->status == PE_BLOCK_RETRY;
    open |= b->status != PE_BLOCK_DONE;
  }
  for (uint32_t i = 0; i < ep->ndead && !e->finishing; i++) {
    struct pe_edead *d = ep->dead[i];
    if (d->status == PE_BLOCK_TODO)
      dead_send(e, d);
    retry |= d->status == PE_BLOCK_RETRY;
    open |= d->status != PE_BLOCK_DONE;
  }
  if (e->finishing)
    return;
  if (retry && !uv_is_active((uv_handle_t *)&e->retry_timer)) {
    e->retry_ms = e->retry_ms ? e->retry_ms * 2 : PE_RETRY_MS_MIN;
    if (e->retry_ms > PE_RETRY_MS_MAX)
      e->retry_ms = PE_RETRY_MS_MAX;
    uv_timer_start(&e->retry_timer, retry_cb, e->retry_ms, 0);
  }
  if (open || e->work_running)
    return;
  if (ep->truncate) {
    if (pe_clock_us() >= ep->truncate_wait_us)
      pe_engine_work(e, truncate_work, truncate_done, ep);
    return;
  }
  atomic_fetch_add(&e->insert_us_sum, (uint64_t)(pe_clock_us() - ep->sent_us));
  atomic_fetch_add(&e->inserts, 1);
  e->sending = NULL;
  turn_start(e, ep);
}

static void send_epoch(struct pe_engine *e) {
  e->sending->sent_us = pe_clock_us();
  epoch_step(e);
}

/* Takes the next step that is possible: an epoch that waits, the next phase, the end. */
void pe_commit_step(struct pe_engine *e) {
  if (e->finishing)
    return;
  if (e->sending) {
    epoch_step(e);
    return;
  }
  if (e->work_running)
    return;
  if (atomic_load(&e->stop_requested)) {
    finish(e);
    return;
  }
  pthread_mutex_lock(&e->lock);
  bool waiting = e->handed != NULL;
  bool dead = e->worker_done && e->worker_err.code;
  pthread_mutex_unlock(&e->lock);
  if (waiting) {
    turn_start(e, NULL);
    return;
  }
  if (dead) {
    pe_engine_fail(e, &e->worker_err);
    return;
  }
  pe_phase_step(e);
}

static void wake_cb(uv_async_t *async) {
  pe_commit_step(async->data);
}

/* ---- too many parts: larger batches ---- */
static int parts_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  uint64_t *parts = arg;
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(
      &sql,
      "SELECT max(n) FROM (SELECT count() AS n FROM system.parts WHERE active AND database = ");
  pe_buf_put_sql(&sql, e->db, strlen(e->db));
  pe_buf_puts(&sql, " AND table IN (");
  for (uint32_t i = 0; i < e->ndests; i++) {
    pe_buf_puts(&sql, i ? "," : "");
    pe_buf_put_sql(&sql, e->dests[i]->dest.name, strlen(e->dests[i]->dest.name));
  }
  pe_buf_puts(&sql, ") GROUP BY table, partition_id)");
  char text[32] = "";
  int rc = pe_buf_ok(&sql) ? pe_ch_value(e->ch_work, pe_buf_cstr(&sql), text, sizeof(text), err)
                           : PE_ENOMEM;
  pe_buf_close(&sql);
  *parts = strtoull(text, NULL, 10);
  return rc < 0 ? rc : 0;
}

static void parts_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  uint64_t parts = *(uint64_t *)arg;
  free(arg);
  (void)err;
  if (!code) {
    unsigned base = e->cfg->flush_ms, now = atomic_load(&e->flush_ms), want = base;
    if (parts > 300)
      want = base * 20 > 10000 ? 10000 : base * 20;
    else if (parts > 200)
      want = base * 8;
    else if (parts > 120)
      want = base * 3;
    if (want != now) {
      atomic_store(&e->flush_ms, want);
      pe_info("sink", "%" PRIu64 " parts in the fullest partition: epochs now close after %u ms",
              parts, want);
    }
  }
  pe_commit_step(e);
}

static void tick_cb(uv_timer_t *timer) {
  struct pe_engine *e = timer->data;
  int64_t now = pe_clock_us();
  if (atomic_load(&e->stop_requested) && e->sink_down_since_us) {
    finish(e); /* the epoch on its way stays pending in the state store and is sent again at the
                  next start */
    return;
  }
  pe_commit_step(e);
  if (e->finishing || e->work_running || e->sink_down_since_us)
    return;
  if (e->streaming && now - e->last_parts_us > PARTS_EVERY_US) {
    e->last_parts_us = now;
    uint64_t *parts = calloc(1, sizeof(*parts));
    if (parts && pe_engine_work(e, parts_work, parts_done, parts))
      free(parts);
  }
}

int pe_commit_start(struct pe_engine *e, struct pe_err *err) {
  if (uv_async_init(&e->loop, &e->wake, wake_cb) || uv_timer_init(&e->loop, &e->retry_timer) ||
      uv_timer_init(&e->loop, &e->tick_timer))
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "can't set up the loop");
  e->wake.data = e->retry_timer.data = e->tick_timer.data = e;
  uv_timer_start(&e->tick_timer, tick_cb, TICK_MS, TICK_MS);
  return 0;
}
