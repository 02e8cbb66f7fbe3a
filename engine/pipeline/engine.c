/* The engine's life: start (blocking, everything that can be wrong is said), run (the loop), stop,
 * destroy. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

enum { START_TRIES_MAX = 3 };

static int start_locks(struct pe_engine *e, struct pe_err *err) {
  pthread_condattr_t mono;
  pthread_condattr_init(&mono);
  pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
  pthread_mutex_init(&e->lock, NULL);
  pthread_mutex_init(&e->state_lock, NULL);
  pthread_mutex_init(&e->reload_lock, NULL);
  pthread_mutex_init(&e->layout_lock, NULL);
  pthread_cond_init(&e->handed_cond, &mono);
  pthread_cond_init(&e->reload_cond, &mono);
  pthread_condattr_destroy(&mono);
  pe_outputs_init(&e->outs);
  pe_buf_init(&e->script_metrics);
  pe_buf_init(&e->dlq_key);
  pe_buf_init(&e->dlq_json);
  if (uv_loop_init(&e->loop))
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "can't make the event loop");
  e->loop_open = true;
  return pe_queue_init(&e->queue, e->cfg->queue_rows, e->cfg->queue_bytes);
}

/* A name for this state store that no other has: part of every deduplication token. */
static int state_identity(struct pe_engine *e, struct pe_err *err) {
  int rc = pe_state_meta_get(e->state, "id", e->state_id, sizeof(e->state_id), err);
  if (rc)
    return rc < 0 ? rc : 0;
  uint8_t random[12];
  FILE *f = fopen("/dev/urandom", "rb");
  size_t n = f ? fread(random, 1, sizeof(random), f) : 0;
  if (f)
    fclose(f);
  if (n != sizeof(random))
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "can't read /dev/urandom");
  for (size_t i = 0; i < sizeof(random); i++)
    snprintf(e->state_id + 2 * i, 3, "%02x", random[i]);
  rc = pe_state_begin(e->state, err);
  if (!rc)
    rc = pe_state_meta_set(e->state, "id", e->state_id, err);
  if (!rc)
    rc = pe_state_commit(e->state, err);
  return rc;
}

static int start_source(struct pe_engine *e, struct pe_err *err) {
  MYSQL *m = pe_source_connect(&e->cfg->source, err);
  if (!m)
    return err->code;
  int rc = pe_source_info(m, &e->server, err);
  if (!rc)
    pe_info("source", "%s %s at %s:%u", e->server.mariadb ? "MariaDB" : "MySQL",
            e->server.version_text, e->cfg->source.host, e->cfg->source.port);
  if (!rc)
    rc = pe_start_sink(e, err);
  if (!rc)
    rc = pe_start_tables(e, m, err);
  mysql_close(m);
  return rc;
}

static int start_once(struct pe_config *cfg, const struct pe_engine_opts *o, struct pe_engine **out,
                      struct pe_err *err) {
  struct pe_engine *e = calloc(1, sizeof(*e));
  *out = NULL;
  if (!e)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  e->cfg = cfg;
  e->opts = *o;
  e->lua_dir = strdup(o->lua_dir);
  e->replay_block_rows = cfg->block_rows;
  e->next_epoch = 1;
  atomic_store(&e->flush_ms, cfg->flush_ms);
  snprintf(e->state_word, sizeof(e->state_word), "starting");
  snprintf(e->reason, sizeof(e->reason), "starting");
  int rc = start_locks(e, err);
  if (!rc)
    rc = pe_state_open(cfg->state_dir, cfg->name, false, &e->state, err);
  if (!rc)
    rc = state_identity(e, err);
  if (!rc)
    rc = start_source(e, err);
  if (!rc)
    rc = pe_spool_replay(e, err);
  if (!rc)
    rc = pe_start_scripts(e, err);
  if (!rc)
    rc = pe_phase_begin(e, err);
  if (!rc) {
    e->seen = e->checkpoint;
    e->empty_at = e->checkpoint;
    if (e->replaying && e->replay.from_version != e->checkpoint.version) {
      /* the epoch was acknowledged and left behind by a resync: nothing of it is pending */
      e->replaying = false;
    }
    rc = pe_commit_start(e, err);
  }
  if (rc) {
    if (!err->code)
      pe_err_set(err, rc, PE_CLASS_FATAL, "the engine could not start (%s)", pe_err_name(rc));
    pe_engine_destroy(e);
    return rc;
  }
  *out = e;
  return 0;
}

/* The embedded server may be killed while the engine starts on it: then all of the start is done
 * again. */
int pe_engine_start(struct pe_config *cfg, const struct pe_engine_opts *o, struct pe_engine **out,
                    struct pe_err *err) {
  int rc = 0;
  for (int tries = 0; tries < START_TRIES_MAX; tries++) {
    *err = (struct pe_err)PE_ERR_INIT;
    rc = start_once(cfg, o, out, err);
    if (rc == PE_ESTOPPED) /* nobody can ask for a stop yet: the embedded server went away */
      rc = pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_RETRY,
                      "ClickHouse ended while the engine started");
    if (rc != PE_ESINK_DOWN || !cfg->sink_embedded)
      break;
    pe_warn("sink", "%s", err->text);
  }
  return rc;
}

int pe_engine_check_start(struct pe_engine *e, struct pe_err *err) {
  int rc = start_locks(e, err);
  if (!rc)
    rc = start_source(e, err);
  return rc ? rc : pe_start_scripts(e, err);
}

int pe_engine_run(struct pe_engine *e, struct pe_err *err) {
  int rc = pe_worker_start(e, err);
  if (rc)
    return rc;
  pe_commit_step(e);
  if (!e->finishing)
    uv_run(&e->loop, UV_RUN_DEFAULT);
  if (e->failure.code) {
    *err = e->failure;
    return e->failure.code;
  }
  return 0;
}

void pe_engine_stop(struct pe_engine *e) {
  if (!atomic_exchange(&e->stop_requested, 1))
    pe_engine_reason(e, "stopping", "stopping");
  uv_async_send(&e->wake);
}

static void close_cb(uv_handle_t *h) {
  (void)h;
}

static void close_loop(struct pe_engine *e) {
  uv_handle_t *own[] = {(uv_handle_t *)&e->wake, (uv_handle_t *)&e->retry_timer,
                        (uv_handle_t *)&e->tick_timer};
  for (int i = 0; i < 3; i++)
    if (own[i]->type != UV_UNKNOWN_HANDLE && !uv_is_closing(own[i]))
      uv_close(own[i], close_cb);
  for (int i = 0; i < 1000 && uv_run(&e->loop, UV_RUN_NOWAIT); i++)
    pe_sleep_ms(1);
  uv_loop_close(&e->loop);
}

static void free_table(struct pe_etable *t) {
  for (uint32_t i = 0; i < t->nchunks; i++) {
    free((void *)(uintptr_t)t->chunks[i].lo);
    free((void *)(uintptr_t)t->chunks[i].hi);
  }
  free(t->chunks);
  free(t->routes);
  if (t->layout)
    pe_table_unref(t->layout);
}

static void free_dest(struct pe_edest *d) {
  while (d->nspare)
    pe_block_destroy(d->spare[--d->nspare]);
  free(d->spare);
  pe_plan_destroy(d->plan);
  pe_target_destroy(d->target);
  if (d->dest.layout)
    pe_table_unref(d->dest.layout);
  free(d->dest.name);
  free(d->dest.key);
  free(d->insert_sql);
  free(d->stage_sql);
  free(d);
}

void pe_engine_destroy(struct pe_engine *e) {
  if (!e)
    return;
  pthread_mutex_lock(&e->lock);
  e->stopping = true;
  pthread_cond_broadcast(&e->handed_cond);
  pthread_mutex_unlock(&e->lock);
  pe_queue_shutdown(&e->queue);
  pe_phase_stop(e);
  if (e->worker_started)
    pthread_join(e->worker_thread, NULL);
  for (struct pe_batch *b; (b = pe_queue_pop(&e->queue, 0));)
    pe_batch_destroy(b);
  e->finishing = true;
  while (e->work_running && uv_run(&e->loop, UV_RUN_ONCE)) {
  }
  pe_ch_destroy(e->ch);
  pe_epoch_destroy(e->sending);
  pe_epoch_destroy(e->handed);
  while (e->nbuilders) {
    struct pe_builder *b = &e->builders[--e->nbuilders];
    pe_block_destroy(b->block);
    free(b->idx);
  }
  free(e->builders);
  pe_recent_close(e);
  pe_script_destroy(e->script);
  pe_script_destroy(e->replay_script);
  pe_script_destroy(e->after_replay);
  pe_lookups_destroy(e->lookups);
  pe_quarantine_destroy(e->quarantine);
  pe_outputs_close(&e->outs);
  for (uint32_t i = 0; e->tables && i < e->ntables; i++)
    free_table(&e->tables[i]);
  for (uint32_t i = 0; i < e->ndests; i++)
    free_dest(e->dests[i]);
  free(e->tables);
  free(e->dests);
  free(e->script_tables);
  free(e->snapshot_tables);
  free(e->part_ids);
  free(e->bad);
  free(e->bad_why);
  free(e->pristine);
  free(e->overlap_rows);
  free(e->overlap_meta);
  pe_ch_destroy(e->ch_work);
  pe_ch_destroy(e->ch_script);
  if (e->embedded)
    pe_embedded_stop(e->embedded);
  if (e->loop_open)
    close_loop(e);
  pe_queue_close(&e->queue);
  if (e->state)
    pe_state_close(e->state);
  pe_buf_close(&e->script_metrics);
  pe_buf_close(&e->dlq_key);
  pe_buf_close(&e->dlq_json);
  free(e->lua_dir);
  free(e);
}
