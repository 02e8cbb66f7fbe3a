/* The phases of a table: waiting -> snapshot -> (difference) -> streaming, or reference.
 *
 * At the first start the log's end is read and kept as the checkpoint before any row is; then the
 * tables are read, those that lookups need first; then the stream starts at that checkpoint.
 * Snapshot rows carry the version of the place that was read before them, so every later change
 * wins. A table added later, a resync and a reference table are the same thing at a later place:
 * their snapshot goes into a staging table, and only what differs from the target is written
 * (diff.c), rows of the target that the source hasn't any more as tombstones. owner: loop thread;
 * plan_cb runs on the snapshot's planner thread.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

/* ---- at start ---- */

static int source_place(struct pe_engine *e, MYSQL *m, struct pe_position *p, struct pe_err *err) {
  memset(p, 0, sizeof(*p));
  int rc = pe_source_position(m, p, err);
  if (rc)
    return rc;
  p->generation = e->generation;
  rc = pe_version_make(p->generation, pe_binlog_file_number(p->file), p->pos, &p->version, err);
  p->base_version = p->version;
  return rc;
}

static bool resync_wanted(const char *list, const char *name) {
  if (strcmp(list, "*") == 0)
    return true;
  size_t n = strlen(name);
  for (const char *p = list; (p = strstr(p, name)); p += n)
    if ((p == list || p[-1] == ',') && (p[n] == ',' || !p[n]))
      return true;
  return false;
}

static int check_identity(struct pe_engine *e, bool resync_all, struct pe_err *err) {
  char known[160] = "";
  int rc = pe_state_meta_get(e->state, "source_identity", known, sizeof(known), err);
  if (rc < 0)
    return rc;
  if (rc == 1 && strcmp(known, e->server.identity) != 0 && !resync_all)
    return pe_err_set(err, PE_ESOURCE_OTHER, PE_CLASS_FATAL,
                      "the source is another server (%s) than the one this state store belongs to "
                      "(%s): its log can't be followed from the old position; if the move is "
                      "meant, run `pipe-engine resync %s`, which compares every table",
                      e->server.identity, known, e->cfg->file);
  return 0;
}

/* Reads or sets the checkpoint; a resync of everything goes on from the log's end. */
static int begin_checkpoint(struct pe_engine *e, MYSQL *m, bool resync_all, struct pe_position *now,
                            struct pe_err *err) {
  int have = pe_state_checkpoint_get(e->state, &e->checkpoint, err);
  if (have < 0)
    return have;
  e->generation = have ? e->checkpoint.generation : 0;
  int rc = source_place(e, m, now, err);
  if (rc)
    return rc;
  if (have && resync_all && now->version <= e->checkpoint.version) {
    e->generation++; /* another history: its numbers start over, its versions must not */
    rc = source_place(e, m, now, err);
    if (rc)
      return rc;
  }
  if (!have || resync_all) {
    e->checkpoint = *now;
    rc = pe_state_checkpoint_set(e->state, now, err);
    if (!rc)
      rc = pe_state_epoch_clear(e->state, err);
  }
  if (!rc)
    rc = pe_state_meta_set(e->state, "source_identity", e->server.identity, err);
  return rc;
}

static int chunk_cb(void *arg, uint64_t id, const char *lo, const char *hi, bool done) {
  struct pe_etable *t = arg;
  struct pe_chunk *c = realloc(t->chunks, (t->nchunks + 1) * sizeof(*c));
  if (!c)
    return PE_ENOMEM;
  t->chunks = c;
  c[t->nchunks++] = (struct pe_chunk){
      .id = id, .lo = lo ? strdup(lo) : NULL, .hi = hi ? strdup(hi) : NULL, .done = done};
  if (!done)
    t->chunks_todo++;
  return 0;
}

static int begin_table(struct pe_engine *e, struct pe_etable *t, const char *resync,
                       const struct pe_position *now, struct pe_err *err) {
  int have = pe_state_table_get(e->state, t->full, &t->state, err);
  if (have < 0)
    return have;
  bool again = have && (resync_wanted(resync, t->cfg->name) ||
                        (!t->cfg->stream && t->state.phase == PE_SNAP_DONE) || t->lookup_unfilled);
  bool fresh = !have || again || t->state.phase == PE_SNAP_NONE;
  int rc = 0;
  if (fresh) {
    rc = pe_state_table_forget(e->state, t->full, err);
    if (!rc)
      rc = pe_quarantine_forget(e, (uint32_t)(t - e->tables), err);
    if (rc)
      return rc;
    memset(&t->state, 0, sizeof(t->state));
    snprintf(t->state.name, sizeof(t->state.name), "%s", t->full);
    t->state.schema_hash = t->layout->schema_hash;
    t->state.version = now->version;
    t->state.phase = t->cfg->snapshot ? PE_SNAP_RUNNING : PE_SNAP_DONE;
    t->state.staged = t->cfg->snapshot && !t->dest->target->empty;
    if (t->state.staged)
      rc = pe_stage_create(e, t, err);
    if (!rc)
      rc = pe_state_table_set(e->state, &t->state, err);
  } else if (t->state.phase == PE_SNAP_RUNNING) {
    rc = pe_state_chunk_each(e->state, t->full, chunk_cb, t, err);
  }
  if (!rc && t->state.staged && t->state.phase != PE_SNAP_DONE)
    rc = pe_stage_sql(e, t->dest, err);
  e->snapshot_streamed |= t->cfg->stream && t->state.phase != PE_SNAP_DONE;
  atomic_store(&t->snapshot_rows, t->state.rows);
  atomic_store(&t->phase, t->state.phase != PE_SNAP_DONE ? PE_PHASE_WAITING
                          : t->cfg->stream               ? PE_PHASE_STREAMING
                                                         : PE_PHASE_REFERENCE);
  return rc;
}

int pe_phase_begin(struct pe_engine *e, struct pe_err *err) {
  MYSQL *m = pe_source_connect(&e->cfg->source, err);
  if (!m)
    return err->code;
  char resync[4096] = "";
  struct pe_position now;
  int rc = pe_state_meta_get(e->state, "resync", resync, sizeof(resync), err);
  bool all = strcmp(resync, "*") == 0;
  if (rc >= 0)
    rc = check_identity(e, all, err);
  if (rc >= 0)
    rc = pe_state_begin(e->state, err);
  if (!rc)
    rc = begin_checkpoint(e, m, all, &now, err);
  for (uint32_t i = 0; i < e->ntables && !rc; i++)
    rc = begin_table(e, &e->tables[i], resync, &now, err);
  if (!rc)
    rc = pe_state_meta_set(e->state, "resync", "", err);
  if (!rc)
    rc = pe_state_commit(e->state, err);
  else
    pe_state_rollback(e->state);
  mysql_close(m);
  if (!rc) {
    char text[320];
    pe_info("pipeline", "starting at %s", pe_position_text(&e->checkpoint, text, sizeof(text)));
  }
  return rc;
}

/* ---- the snapshot ---- */

static int plan_cb(void *arg, const struct pe_table *table, const struct pe_chunk *chunk,
                   struct pe_err *err) {
  struct pe_engine *e = arg;
  struct pe_etable *t = &e->tables[table->id];
  pthread_mutex_lock(&e->state_lock);
  int rc = pe_state_begin(e->state, err);
  if (!rc && chunk)
    rc = pe_state_chunk_put(e->state, t->full, chunk->id, chunk->lo, chunk->hi, err);
  if (!rc && !chunk) {
    t->state.planned = true;
    rc = pe_state_table_set(e->state, &t->state, err);
  }
  if (!rc)
    rc = pe_state_commit(e->state, err);
  else
    pe_state_rollback(e->state);
  if (!rc && chunk)
    t->chunks_todo++;
  if (!rc && !chunk)
    t->all_planned = true;
  pthread_mutex_unlock(&e->state_lock);
  return rc;
}

static int snapshot_begin(struct pe_engine *e, struct pe_err *err) {
  uint32_t n = 0;
  e->snapshot_tables = calloc(e->ntables, sizeof(*e->snapshot_tables));
  if (!e->snapshot_tables)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the snapshot");
  for (int first = 1; first >= 0; first--)
    for (uint32_t i = 0; i < e->ntables; i++) {
      struct pe_etable *t = &e->tables[i];
      t->snapshot_index = t->for_lookup == !first ? t->snapshot_index : -1;
      if (t->for_lookup != (first == 1) || t->state.phase != PE_SNAP_RUNNING)
        continue;
      t->snapshot_index = (int)n;
      t->all_planned = t->state.planned;
      e->snapshot_tables[n++] = (struct pe_snapshot_table){.table = t->layout,
                                                           .version = t->state.version,
                                                           .chunks = t->chunks,
                                                           .nchunks = t->nchunks,
                                                           .planned = t->state.planned};
      atomic_store(&t->phase, PE_PHASE_SNAPSHOT);
    }
  e->nsnapshot = n;
  if (!n)
    return 0;
  struct pe_snapshot_opts o = {.source = e->cfg->source,
                               .tables = e->snapshot_tables,
                               .ntables = n,
                               .workers = e->cfg->snapshot_workers,
                               .chunk_rows = e->cfg->chunk_rows,
                               .batch_rows = e->cfg->batch_rows,
                               .batch_bytes = e->cfg->batch_bytes,
                               .plan_cb = plan_cb,
                               .arg = e};
  pe_engine_reason(e, "snapshot", "the snapshot is not complete");
  return pe_snapshot_start(&o, &e->queue, &e->snapshot, err);
}

int pe_phase_record(struct pe_engine *e, const struct pe_epoch *ep, struct pe_err *err) {
  int rc = 0;
  for (uint32_t i = 0; i < ep->nchunks && !rc; i++)
    rc = pe_state_chunk_done(e->state, e->tables[ep->chunks[i].table].full, ep->chunks[i].id, err);
  for (uint32_t i = 0; i < e->ntables && !rc; i++) {
    struct pe_etable *t = &e->tables[i];
    if (!ep->counts[i].snapshot_rows)
      continue;
    t->state.rows += ep->counts[i].snapshot_rows;
    rc = pe_state_table_set(e->state, &t->state, err);
  }
  return rc;
}

void pe_phase_acked(struct pe_engine *e, const struct pe_epoch *ep) {
  for (uint32_t i = 0; i < ep->nchunks; i++)
    e->tables[ep->chunks[i].table].chunks_acked++;
}

static bool table_read(struct pe_engine *e, struct pe_etable *t) {
  pthread_mutex_lock(&e->state_lock);
  bool all = t->all_planned && t->chunks_acked == t->chunks_todo;
  pthread_mutex_unlock(&e->state_lock);
  return all;
}

/* ---- a table read to its end ---- */

static int table_done_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  struct pe_etable *t = arg;
  int rc = 0;
  pthread_mutex_lock(&e->state_lock);
  if (t->state.staged && t->state.phase == PE_SNAP_RUNNING) {
    t->state.phase = PE_SNAP_DIFF;
    rc = pe_state_begin(e->state, err);
    if (!rc)
      rc = pe_state_table_set(e->state, &t->state, err);
    if (!rc)
      rc = pe_state_commit(e->state, err);
    if (rc)
      pe_state_rollback(e->state);
  }
  if (!rc && t->state.phase == PE_SNAP_DIFF)
    rc = pe_stage_apply(e, t, err);
  for (uint32_t i = 0; i < t->cfg->ndictionaries && !rc; i++) {
    struct pe_buf sql;
    pe_buf_init(&sql);
    pe_buf_puts(&sql, "SYSTEM RELOAD DICTIONARY ");
    pe_buf_put_ident_ch(&sql, e->db);
    pe_buf_puts(&sql, ".");
    pe_buf_put_ident_ch(&sql, t->cfg->dictionaries[i]);
    rc = pe_buf_ok(&sql) ? pe_ch_exec(e->ch_work, pe_buf_cstr(&sql), NULL, NULL, err) : PE_ENOMEM;
    pe_buf_close(&sql);
  }
  if (!rc)
    rc = pe_state_begin(e->state, err);
  if (!rc) {
    t->state.phase = PE_SNAP_DONE;
    t->state.staged = false;
    rc = pe_state_table_set(e->state, &t->state, err);
    for (uint32_t i = 0; i < pe_lookups_count(e->lookups) && !rc; i++) {
      struct pe_lookup *l = pe_lookups_at(e->lookups, i);
      if (strcmp(pe_lookup_table(l)->name, t->cfg->name) != 0)
        continue;
      char key[256];
      snprintf(key, sizeof(key), "lookup_filled:%.200s", pe_lookup_name(l));
      rc = pe_state_meta_set(e->state, key, "1", err);
    }
    if (!rc)
      rc = pe_state_commit(e->state, err);
    else
      pe_state_rollback(e->state);
  }
  pthread_mutex_unlock(&e->state_lock);
  return rc;
}

static void table_done_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  struct pe_etable *t = arg;
  if (e->finishing)
    return;
  t->finishing = false;
  if (code && err->cls == PE_CLASS_RETRY) {
    pe_warn("sink", "completing the snapshot of %s: %s; trying again", t->full, err->text);
    t->retry_at_us = pe_clock_us() + 1000000;
    return;
  }
  if (code) {
    pe_err_wrap(err, "completing the snapshot of %s", t->full);
    pe_engine_fail(e, err);
    return;
  }
  atomic_store(&t->phase, t->cfg->stream ? PE_PHASE_STREAMING : PE_PHASE_REFERENCE);
  pe_info("pipeline", "snapshot of %s complete: %" PRIu64 " rows", t->full, t->state.rows);
  pe_commit_step(e);
}

/* ---- the stream ---- */

static int stream_begin(struct pe_engine *e, struct pe_err *err) {
  struct pe_reader_table *rt = calloc(e->ntables, sizeof(*rt));
  if (!rt)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the reader");
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->ntables; i++) {
    struct pe_etable *t = &e->tables[i];
    if (t->cfg->stream)
      rt[n++] = (struct pe_reader_table){.table = t->layout, .from_version = t->state.version};
  }
  struct pe_reader_opts o = {.source = e->cfg->source,
                             .start = e->checkpoint,
                             .tables = rt,
                             .ntables = n,
                             .batch_rows = e->cfg->batch_rows,
                             .batch_bytes = e->cfg->batch_bytes,
                             .idle_push_ms = 1000,
                             .heartbeat_ms = 10000};
  int rc = pe_reader_start(&o, &e->queue, &e->reader, err);
  free(rt);
  if (rc)
    return rc;
  e->streaming = true;
  pe_engine_reason(e, "streaming", "%s", "");
  char text[320];
  pe_info("pipeline", "streaming from %s", pe_position_text(&e->checkpoint, text, sizeof(text)));
  return 0;
}

/* Where the source stands when the last snapshot row has been read: up to there the stream brings
 * rows that a snapshot may have brought before, under the lookups of another moment (worker.c,
 * overlapping). */
static int overlap_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  struct pe_position p;
  char text[32] = "";
  (void)arg;
  int have = pe_state_meta_get(e->state, "overlap_until", text, sizeof(text), err);
  if (have < 0)
    return have;
  if (have == 1 && text[0] && !e->snapshot_streamed) {
    e->overlap_until = strtoull(text, NULL, 10);
    return 0;
  }
  MYSQL *m = pe_source_connect(&e->cfg->source, err);
  if (!m)
    return err->code;
  int rc = source_place(e, m, &p, err);
  mysql_close(m);
  if (rc)
    return rc;
  e->overlap_until = p.version;
  snprintf(text, sizeof(text), "%" PRIu64, p.version);
  pthread_mutex_lock(&e->state_lock);
  rc = pe_state_begin(e->state, err);
  if (!rc)
    rc = pe_state_meta_set(e->state, "overlap_until", text, err);
  if (!rc)
    rc = pe_state_commit(e->state, err);
  if (rc)
    pe_state_rollback(e->state);
  pthread_mutex_unlock(&e->state_lock);
  return rc;
}

static void overlap_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  (void)arg;
  if (e->finishing)
    return;
  if (code && err->cls == PE_CLASS_RETRY) {
    pe_warn("source", "%s; trying again", err->text);
    e->overlap_retry_us = pe_clock_us() + 1000000;
    return;
  }
  if (code) {
    pe_engine_fail(e, err);
    return;
  }
  e->overlap_known = true;
  pe_commit_step(e);
}

static int once_end_work(struct pe_engine *e, void *arg, struct pe_err *err) {
  (void)arg;
  MYSQL *m = pe_source_connect(&e->cfg->source, err);
  if (!m)
    return err->code;
  int rc = source_place(e, m, &e->once_end, err);
  mysql_close(m);
  return rc;
}

static void once_end_done(struct pe_engine *e, void *arg, int code, struct pe_err *err) {
  (void)arg;
  if (code && err->cls != PE_CLASS_RETRY && !e->finishing)
    pe_engine_fail(e, err);
  e->once_set = !code;
}

static bool passed(const struct pe_position *at, const struct pe_position *end) {
  int64_t a = pe_binlog_file_number(at->file), b = pe_binlog_file_number(end->file);
  return a > b || (a == b && at->pos >= end->pos);
}

void pe_phase_step(struct pe_engine *e) {
  struct pe_err err = PE_ERR_INIT;
  if (!e->snapshot_begun) {
    e->snapshot_begun = true;
    if (snapshot_begin(e, &err)) {
      pe_engine_fail(e, &err);
      return;
    }
  }
  bool all = true;
  for (uint32_t i = 0; i < e->ntables; i++) {
    struct pe_etable *t = &e->tables[i];
    if (t->state.phase == PE_SNAP_DONE)
      continue;
    all = false;
    bool ready = t->state.phase == PE_SNAP_DIFF || table_read(e, t);
    if (ready && !t->finishing && !e->work_running && pe_clock_us() >= t->retry_at_us) {
      t->finishing = true;
      if (t->state.staged)
        atomic_store(&t->phase, PE_PHASE_DIFF);
      if (pe_engine_work(e, table_done_work, table_done_done, t))
        t->finishing = false;
      return;
    }
  }
  if (!all)
    return;
  if (!e->streaming && !e->overlap_known) {
    if (!e->work_running && pe_clock_us() >= e->overlap_retry_us)
      pe_engine_work(e, overlap_work, overlap_done, NULL);
    return;
  }
  if (!e->streaming) {
    if (e->snapshot) {
      pe_snapshot_stop(e->snapshot);
      e->snapshot = NULL;
    }
    if (stream_begin(e, &err)) {
      pe_engine_fail(e, &err);
      return;
    }
  }
  if (e->opts.once && !e->once_set && !e->work_running)
    pe_engine_work(e, once_end_work, once_end_done, NULL);
  else if (e->opts.once && e->once_set && passed(&e->checkpoint, &e->once_end))
    pe_engine_stop(e);
}

void pe_phase_stop(struct pe_engine *e) {
  if (e->snapshot)
    pe_snapshot_stop(e->snapshot);
  if (e->reader)
    pe_reader_stop(e->reader);
  e->snapshot = NULL;
  e->reader = NULL;
}
