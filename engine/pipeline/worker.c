/* The script thread: batches in, epochs out.
 *
 *   pop batch -> lookups -> transforms -> exactness check -> blocks of the epoch being built ->
 * (boundary?) hand over
 *
 * An epoch is handed over when it is full, or when it is old enough and the loop has nothing on its
 * way; while the loop is busy it just grows, so batches get larger by themselves when ClickHouse is
 * slow, and when it is full the thread waits, the queue fills, and the source is simply not read
 * on. New script sets and table versions only ever take over between two epochs. A pending epoch of
 * a former run is built again first: the same range, cut the same way, by the same scripts. owner:
 * script thread. Fails: worker_err, after which the loop ends the engine.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

enum { POP_MS_MAX = 100 };

struct pe_etable *pe_engine_table(struct pe_engine *e, const struct pe_table *t) {
  PE_ASSERT(t->id < e->ntables);
  return &e->tables[t->id];
}

static size_t building_bytes(const struct pe_engine *e) {
  size_t n = e->building ? e->building->bytes : 0;
  for (uint32_t i = 0; e->building && i < e->building->ndead; i++)
    n += e->building->dead[i]->body.len;
  for (uint32_t i = 0; i < e->nbuilders; i++)
    if (e->builders[i].block)
      n += pe_block_bytes(e->builders[i].block);
  return n;
}

static int open_epoch(struct pe_engine *e, bool snapshot, struct pe_err *err) {
  if (e->building)
    return 0;
  e->building = pe_epoch_open(e, snapshot);
  if (!e->building)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for an epoch");
  e->building->opened_us = pe_clock_us();
  e->building->from_version = e->seen.version;
  snprintf(e->building->script_hash, sizeof(e->building->script_hash), "%s",
           pe_script_set_of(e->script)->hash);
  return 0;
}

struct delta_ctx {
  struct pe_epoch *ep;
  const char *space;
};

static int delta_cb(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue) {
  struct delta_ctx *c = arg;
  return pe_epoch_delta(c->ep, c->space, key, nkey, value, nvalue);
}

static int take_deltas(struct pe_engine *e, struct pe_epoch *ep, struct pe_err *err) {
  for (uint32_t i = 0; i < pe_lookups_count(e->lookups); i++) {
    struct pe_lookup *l = pe_lookups_at(e->lookups, i);
    struct delta_ctx c = {ep, pe_lookup_name(l)};
    if (pe_lookup_take_deltas(l, delta_cb, &c))
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for lookup changes");
  }
  return 0;
}

/* Gives the epoch to the loop; waits while the one before it has not been taken. */
static int hand_over(struct pe_engine *e, struct pe_err *err) {
  struct pe_epoch *ep = e->building;
  e->building = NULL;
  if (!ep)
    return 0;
  int rc = ep->snapshot ? 0 : pe_epoch_seal(e, ep, err);
  if (!rc)
    rc = take_deltas(e, ep, err);
  if (rc) {
    pe_epoch_destroy(ep);
    return rc;
  }
  pthread_mutex_lock(&e->lock);
  while (e->handed && !e->stopping)
    pthread_cond_wait(&e->handed_cond, &e->lock);
  if (e->stopping) {
    pthread_mutex_unlock(&e->lock);
    pe_epoch_destroy(ep);
    return PE_ESTOPPED;
  }
  e->handed = ep;
  pthread_mutex_unlock(&e->lock);
  uv_async_send(&e->wake);
  return 0;
}

/* Waits until all that was handed over is acknowledged and the checkpoint stands behind it. */
static int drain(struct pe_engine *e) {
  pthread_mutex_lock(&e->lock);
  while ((e->handed || e->loop_busy) && !e->stopping)
    pthread_cond_wait(&e->handed_cond, &e->lock);
  bool stopping = e->stopping;
  pthread_mutex_unlock(&e->lock);
  return stopping ? PE_ESTOPPED : 0;
}

static bool loop_idle(struct pe_engine *e) {
  pthread_mutex_lock(&e->lock);
  bool idle = !e->handed && !e->loop_busy;
  pthread_mutex_unlock(&e->lock);
  return idle;
}

static void script_swap(struct pe_engine *e, struct pe_script *s) {
  pe_script_destroy(e->script);
  e->script = s;
  pthread_mutex_lock(&e->lock);
  snprintf(e->script_hash, sizeof(e->script_hash), "%s", pe_script_set_of(s)->hash);
  pthread_mutex_unlock(&e->lock);
}

/* The pending epoch of the former run has all its rows again. */
static int replay_done(struct pe_engine *e, struct pe_err *err) {
  e->replaying = false;
  if (!e->building) {
    int rc = open_epoch(e, false, err);
    if (rc)
      return rc;
  }
  e->building->has_position = true;
  e->building->replayed = true;
  e->building->to = e->replay.to;
  uint64_t rows = e->building->rows;
  int rc = hand_over(e, err);
  if (rc)
    return rc;
  e->seen = e->replay.to;
  pe_info("pipeline", "built the pending epoch again: %" PRIu64 " rows", rows);
  if (e->after_replay) {
    script_swap(e, e->after_replay);
    e->after_replay = NULL;
  }
  e->cfg->block_rows = e->replay_block_rows;
  return 0;
}

/* Takes outs whose value has no exact place in the target out of the run and sends their change to
 * the DLQ. Returns the number of changes of this run that stand (n, or fewer: the run must be
 * repeated behind that one, because a later change may build on the row that is now quarantined).
 */
static uint32_t check_outs(struct pe_engine *e, struct pe_etable *t, const struct pe_segment *seg,
                           const uint8_t *pristine, uint32_t from, uint32_t n,
                           const struct pe_run_hooks *hooks, struct pe_outputs *o,
                           struct pe_err *err) {
  if (o->nouts > e->bad_cap) {
    free(e->bad);
    free(e->bad_why);
    e->bad_cap = o->nouts * 2;
    e->bad = malloc(e->bad_cap * sizeof(*e->bad));
    e->bad_why = malloc(e->bad_cap * sizeof(*e->bad_why));
    if (!e->bad || !e->bad_why) {
      e->bad_cap = 0;
      pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a run of %s", t->full);
      return 0;
    }
  }
  size_t first_bad = SIZE_MAX;
  for (size_t i = 0; i < o->nouts && first_bad == SIZE_MAX;) {
    size_t j = i + 1;
    while (j < o->nouts && o->outs[j].dest == o->outs[i].dest)
      j++;
    const struct pe_edest *d = (const struct pe_edest *)o->outs[i].dest;
    if (pe_plan_check(d->plan, o->outs + i, j - i, e->bad, e->bad_why)) {
      for (size_t k = 0; k < j - i; k++)
        if (e->bad[k]) {
          first_bad = i + k;
          e->bad[0] = e->bad[k];
          e->bad_why[0] = e->bad_why[k];
          break;
        }
    }
    i = j;
  }
  if (first_bad == SIZE_MAX)
    return n;
  const struct pe_out *bad = &o->outs[first_bad];
  uint32_t change = bad->change;
  uint32_t per = seg->op == PE_OP_UPDATE ? 2 : 1;
  const struct pe_table *layout = bad->dest->layout;
  struct pe_dead d = {
      .table = seg->table,
      .row = pristine + (size_t)((change - from) * per + per - 1) * seg->table->row_bytes,
      .op = seg->op,
      .meta = seg->meta[change * per + per - 1],
      .reason = e->bad_why[0],
      .column = layout->columns[e->bad[0] - 1].name,
      .last_good =
          per == 2 ? pristine + (size_t)((change - from) * per) * seg->table->row_bytes : NULL,
      .change = change};
  /* keep what belongs to earlier changes, drop the rest of this run */
  size_t keep = 0;
  for (size_t i = 0; i < o->nouts; i++)
    if (o->outs[i].change < change)
      o->outs[keep++] = o->outs[i];
  o->nouts = keep;
  keep = 0;
  for (size_t i = 0; i < o->ndead; i++)
    if (o->dead[i].change < change)
      o->dead[keep++] = o->dead[i];
  o->ndead = keep;
  /* dispositions again, from what is left */
  uint64_t in = change - from + 1, out = 0;
  uint32_t last = UINT32_MAX;
  for (size_t i = 0; i < o->nouts; i++)
    if (o->outs[i].change != last) {
      out++;
      last = o->outs[i].change;
    }
  if (pe_outputs_add_dead(o, &d)) {
    pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a run of %s", t->full);
    return 0;
  }
  if (hooks->dead)
    hooks->dead(hooks->arg, &d, d.row);
  o->changes_in = in;
  o->changes_out = out;
  o->changes_dlq = o->ndead;
  o->changes_filtered = in - out - o->ndead;
  return change - from + 1;
}

static void note_lag(struct pe_epoch *ep, uint32_t table, int64_t ts_us, uint32_t count) {
  struct pe_elag *l = ep->nlags ? &ep->lags[ep->nlags - 1] : NULL;
  if (l && l->table == table && (l->ts_us == ts_us || ep->nlags >= 4096)) {
    l->count += count;
    return;
  }
  if (ep->nlags == ep->lags_cap) {
    uint32_t cap = ep->lags_cap ? ep->lags_cap * 2 : 64;
    struct pe_elag *p = realloc(ep->lags, cap * sizeof(*p));
    if (!p)
      return; /* a figure, not data */
    ep->lags = p;
    ep->lags_cap = cap;
  }
  ep->lags[ep->nlags++] = (struct pe_elag){.ts_us = ts_us, .table = table, .count = count};
}

/* ---- the overlap of snapshot and stream ----
 * Up to the place where the snapshot was complete, an image that the stream brings may have been
 * read by the snapshot as well, at a moment when a lookup said something else: then it stands in
 * the target under another key. So the after images of that time are run once more as updates of
 * themselves, and of that only the tombstones are taken: T(before) names every key that the image
 * can stand under. */
static bool overlapping(const struct pe_engine *e, const struct pe_segment *seg, uint32_t from,
                        const struct pe_etable *t) {
  return (seg->op == PE_OP_INSERT || seg->op == PE_OP_UPDATE) && t->cfg->transform &&
         seg->meta[from].version <= e->overlap_until && pe_lookups_count(e->lookups);
}

static int overlap_copy(struct pe_engine *e, const struct pe_segment *seg, uint32_t from,
                        uint32_t n, struct pe_segment *out, struct pe_err *err) {
  size_t row = seg->table->row_bytes;
  uint32_t per = seg->op == PE_OP_UPDATE ? 2 : 1;
  free(e->overlap_rows);
  free(e->overlap_meta);
  e->overlap_rows = malloc(2 * n * row);
  e->overlap_meta = malloc(2 * n * sizeof(*e->overlap_meta));
  if (!e->overlap_rows || !e->overlap_meta)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a run");
  for (uint32_t i = 0; i < 2 * n; i++) {
    size_t image = (size_t)(from + i / 2) * per + per - 1;
    memcpy(e->overlap_rows + i * row, seg->rows + image * row, row);
    e->overlap_meta[i] = seg->meta[image];
  }
  *out = (struct pe_segment){.table = seg->table,
                             .op = PE_OP_UPDATE,
                             .nimages = 2 * n,
                             .cap = 2 * n,
                             .rows = e->overlap_rows,
                             .meta = e->overlap_meta};
  return 0;
}

static int overlap_run(struct pe_engine *e, struct pe_segment *seg, struct pe_err *err) {
  struct pe_outputs *o = &e->outs;
  const struct pe_run_hooks none = {0};
  pe_outputs_clear(o);
  int rc = pe_script_run(e->script, seg, 0, seg->nimages / 2, &none, o, err);
  size_t keep = 0;
  for (size_t i = 0; i < o->nouts; i++) {
    const struct pe_edest *d = (const struct pe_edest *)o->outs[i].dest;
    uint32_t bad;
    const char *why;
    if (o->outs[i].deleted && !pe_plan_check(d->plan, &o->outs[i], 1, &bad, &why))
      o->outs[keep++] = o->outs[i];
  }
  o->nouts = keep;
  o->ndead = 0;
  o->changes_in = o->changes_out = o->changes_filtered = o->changes_dlq = 0;
  if (!rc && keep)
    rc = pe_epoch_add(e, e->building, o, pe_engine_table(e, seg->table), false, 0, err);
  return rc;
}

/* Runs changes [from, from+n) of a segment into the epoch being built. */
static int run_changes(struct pe_engine *e, struct pe_segment *seg, uint32_t from, uint32_t n,
                       bool snapshot, uint64_t chunk, struct pe_err *err) {
  struct pe_etable *t = pe_engine_table(e, seg->table);
  struct pe_segment both;
  if (pe_lookups_apply(e->lookups, seg, from, n))
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a lookup on %s", t->full);
  if (t->cfg->transform)
    pe_recent_add(e, seg, from, n);
  bool overlap = !snapshot && overlapping(e, seg, from, t);
  if (overlap) {
    int rc = overlap_copy(e, seg, from, n, &both, err);
    if (rc)
      return rc;
  }
  uint32_t per = seg->op == PE_OP_UPDATE ? 2 : 1;
  size_t bytes = (size_t)n * per * seg->table->row_bytes;
  uint8_t *images = seg->rows + (size_t)from * per * seg->table->row_bytes;
  struct pe_run_hooks hooks;
  pe_quarantine_hooks(e, &hooks, seg->table->id);
  /* a run that has to be repeated needs its images as they were */
  if (bytes > e->pristine_cap) {
    free(e->pristine);
    e->pristine_cap = 0;
    e->pristine = malloc(bytes);
    if (!e->pristine)
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a run of %s", t->full);
    e->pristine_cap = bytes;
  }
  memcpy(e->pristine, images, bytes);
  uint32_t done = 0, most = n;
  while (done < n) {
    struct pe_outputs *o = &e->outs;
    /* where rows of the table are quarantined, a change may build on what the one before it did to
     * them */
    uint32_t k = n - done < most ? n - done : most;
    if (pe_quarantine_count(e, seg->table->id))
      k = 1;
    pe_outputs_clear(o);
    int rc = pe_script_run(e->script, seg, from + done, k, &hooks, o, err);
    if (rc)
      return pe_err_wrap(err, "transform of %s", t->full);
    size_t at = (size_t)done * per * seg->table->row_bytes;
    uint32_t stand = check_outs(e, t, seg, e->pristine + at, from + done, k, &hooks, o, err);
    if (!stand)
      return PE_ENOMEM;
    if (stand < k) { /* once more, only up to the change that is dead, so that none behind it has
                        left a trace */
      memcpy(images + at, e->pristine + at, bytes - at);
      pe_quarantine_clear(e, seg->table->id);
      most = stand;
      continue;
    }
    most = n;
    for (size_t i = 0; i < o->ndead; i++)
      if (pe_dlq_add(e, e->building, pe_engine_table(e, o->dead[i].table), &o->dead[i],
                     e->building->script_hash))
        return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the DLQ");
    rc = pe_epoch_add(e, e->building, o, t, snapshot, chunk, err);
    if (rc)
      return rc;
    done += stand;
  }
  if (overlap) {
    int rc = overlap_run(e, &both, err);
    if (rc)
      return rc;
  }
  if (snapshot)
    e->building->counts[seg->table->id].snapshot_rows += n;
  else
    note_lag(e->building, seg->table->id, seg->meta[(from + n) * per - 1].ts_us, n);
  return 0;
}

static uint32_t changes_of(const struct pe_segment *seg) {
  return seg->op == PE_OP_UPDATE ? seg->nimages / 2 : seg->nimages;
}

static uint64_t change_version(const struct pe_segment *seg, uint32_t i) {
  return seg->meta[seg->op == PE_OP_UPDATE ? 2 * i + 1 : i].version;
}

static int run_segment(struct pe_engine *e, struct pe_segment *seg, const struct pe_batch *b,
                       struct pe_err *err) {
  uint32_t all = changes_of(seg), from = 0;
  while (from < all) {
    uint32_t n = all - from < PE_RUN_CHANGES ? all - from : PE_RUN_CHANGES;
    if (e->replaying && !b->snapshot) {
      uint32_t k = 0;
      while (k < n && change_version(seg, from + k) <= e->replay.to.version)
        k++;
      if (!k) {
        int rc = replay_done(e, err);
        if (rc)
          return rc;
        continue;
      }
      n = k;
    }
    int rc = open_epoch(e, b->snapshot, err);
    if (!rc)
      rc = run_changes(e, seg, from, n, b->snapshot, b->chunk_id, err);
    if (rc)
      return rc;
    from += n;
  }
  return 0;
}

static int table_changed(struct pe_engine *e, struct pe_table *new_table, struct pe_err *err) {
  int rc = hand_over(e, err);
  if (!rc)
    rc = drain(e);
  if (!rc)
    rc = pe_table_take_over(e, new_table, err);
  return rc;
}

static int truncated(struct pe_engine *e, const struct pe_batch *b, struct pe_err *err) {
  int rc = open_epoch(e, false, err);
  if (rc)
    return rc;
  e->building->truncate = pe_table_ref(b->new_table);
  e->building->truncate_version = b->end.version;
  e->building->has_position = true;
  e->building->to = b->end;
  return hand_over(e, err);
}

static int chunk_done(struct pe_engine *e, const struct pe_batch *b, struct pe_err *err) {
  int rc = open_epoch(e, true, err);
  if (rc)
    return rc;
  return pe_epoch_seal_chunk(e, e->building, b->new_table->id, b->chunk_id, true, err);
}

static int after_batch(struct pe_engine *e, const struct pe_batch *b, struct pe_err *err) {
  int rc = 0;
  switch (b->event) {
    case PE_EV_CHUNK_DONE:
      rc = chunk_done(e, b, err);
      break;
    case PE_EV_TABLE_CHANGED:
      rc = table_changed(e, b->new_table, err);
      break;
    case PE_EV_TRUNCATE:
      rc = truncated(e, b, err);
      break;
    case PE_EV_FATAL:
      rc = hand_over(e, err);
      if (!rc)
        rc = drain(e);
      if (!rc) {
        *err = *b->error;
        rc = err->code ? err->code : PE_EINTERNAL;
      }
      break;
    case PE_EV_NONE:
      break;
  }
  return rc;
}

static int take_batch(struct pe_engine *e, struct pe_batch *b, struct pe_err *err) {
  int rc = 0;
  if (e->building && e->building->snapshot != b->snapshot)
    rc = hand_over(e, err);
  if (!rc && !b->snapshot && e->replaying && e->replay_script) {
    e->after_replay = e->script;
    e->script = e->replay_script;
    e->replay_script = NULL;
  }
  if (!rc && !b->snapshot && e->replaying)
    e->cfg->block_rows = e->replay.block_rows;
  for (struct pe_segment *seg = b->first; seg && !rc; seg = seg->next)
    rc = run_segment(e, seg, b, err);
  if (!rc && !b->snapshot && b->event != PE_EV_FATAL && b->end.file[0]) {
    if (e->replaying && b->end.version >= e->replay.to.version)
      rc = replay_done(e, err);
    if (!rc && !e->replaying) {
      e->seen = b->end;
      if (e->building) {
        e->building->to = b->end;
        e->building->has_position = true;
      }
    }
  }
  return rc ? rc : after_batch(e, b, err);
}

/* A checkpoint for a stream that moves on without rows of ours. */
static int empty_epoch(struct pe_engine *e, struct pe_err *err) {
  int64_t now = pe_clock_us();
  if (e->building || e->replaying || !e->seen.file[0] ||
      now - e->last_empty_us < PE_EMPTY_COMMIT_MS * 1000)
    return 0;
  e->last_empty_us = now;
  if (e->empty_at.pos == e->seen.pos && e->empty_at.version == e->seen.version &&
      strcmp(e->empty_at.file, e->seen.file) == 0)
    return 0;
  if (!loop_idle(e))
    return 0;
  e->empty_at = e->seen;
  int rc = open_epoch(e, false, err);
  if (rc)
    return rc;
  e->building->has_position = true;
  e->building->to = e->seen;
  return hand_over(e, err);
}

static int maybe_hand_over(struct pe_engine *e, struct pe_err *err) {
  struct pe_epoch *ep = e->building;
  if (e->replaying && (!ep || !ep->snapshot))
    return 0;
  if (!ep)
    return empty_epoch(e, err);
  int64_t age_us = pe_clock_us() - ep->opened_us;
  size_t bytes = building_bytes(e);
  if (ep->snapshot) {
    bool something = ep->nblocks || ep->nchunks || ep->ndead;
    if (bytes >= e->cfg->epoch_bytes && bytes - ep->bytes >= e->cfg->epoch_bytes / 2) {
      /* chunks too large to be held whole: their parts go out */
      for (uint32_t i = 0; i < e->nbuilders; i++)
        if (e->builders[i].block) {
          int rc =
              pe_epoch_seal_chunk(e, ep, e->builders[i].table, e->builders[i].chunk, false, err);
          if (rc)
            return rc;
        }
      something = true;
    }
    if (something && (bytes >= e->cfg->epoch_bytes || loop_idle(e)))
      return hand_over(e, err);
    return 0;
  }
  bool full = ep->rows >= e->cfg->epoch_rows || bytes >= e->cfg->epoch_bytes;
  bool old = age_us >= (int64_t)atomic_load(&e->flush_ms) * 1000;
  if (!ep->has_position)
    return 0;
  if (full || (old && loop_idle(e))) {
    e->last_empty_us = pe_clock_us();
    e->empty_at = e->seen;
    return hand_over(e, err);
  }
  return 0;
}

static int wait_ms(struct pe_engine *e) {
  if (!e->building || e->replaying)
    return POP_MS_MAX;
  int64_t left =
      (int64_t)atomic_load(&e->flush_ms) - (pe_clock_us() - e->building->opened_us) / 1000;
  if (left < 1)
    left = 5; /* old enough, the loop is busy: look again soon */
  return left < POP_MS_MAX ? (int)left : POP_MS_MAX;
}

struct metrics_ctx {
  struct pe_buf *out;
};

static void metric_cb(void *arg, const char *name, double value) {
  struct metrics_ctx *c = arg;
  pe_buf_puts(c->out, "pipe_engine_script_value{name=\"");
  for (const char *p = name; *p; p++)
    if (*p != '"' && *p != '\\' && *p != '\n')
      pe_buf_put(c->out, p, 1);
  pe_buf_printf(c->out, "\"} %.17g\n", value);
}

static void copy_metrics(struct pe_engine *e) {
  int64_t now = pe_clock_us();
  if (now - e->metrics_at_us < 1000000)
    return;
  e->metrics_at_us = now;
  pthread_mutex_lock(&e->lock);
  pe_buf_clear(&e->script_metrics);
  struct metrics_ctx c = {&e->script_metrics};
  pe_script_each_counter(e->script, metric_cb, &c);
  pthread_mutex_unlock(&e->lock);
}

static void *worker_main(void *arg) {
  struct pe_engine *e = arg;
  struct pe_err err = PE_ERR_INIT;
  int rc = 0;
  while (!rc) {
    struct pe_batch *b = pe_queue_pop(&e->queue, wait_ms(e));
    pthread_mutex_lock(&e->lock);
    bool stopping = e->stopping;
    pthread_mutex_unlock(&e->lock);
    if (stopping) {
      if (b)
        pe_batch_destroy(b);
      break;
    }
    if (b) {
      rc = take_batch(e, b, &err);
      pe_batch_destroy(b);
    }
    if (!rc)
      rc = maybe_hand_over(e, &err);
    if (!rc && !e->building && !e->replaying)
      pe_reload_at_boundary(e);
    copy_metrics(e);
  }
  if (e->building) {
    pe_epoch_destroy(e->building);
    e->building = NULL;
  }
  pthread_mutex_lock(&e->lock);
  e->worker_done = true;
  if (rc && rc != PE_ESTOPPED) {
    e->worker_err = err;
    if (!e->worker_err.code)
      e->worker_err.code = rc;
  }
  pthread_mutex_unlock(&e->lock);
  uv_async_send(&e->wake);
  return NULL;
}

int pe_worker_start(struct pe_engine *e, struct pe_err *err) {
  int rc = pthread_create(&e->worker_thread, NULL, worker_main, e);
  if (rc)
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "can't start the script thread: %s",
                      strerror(rc));
  e->worker_started = true;
  return 0;
}
