/* Reload: a new script set beside the old one, tried on the last rows seen, swapped between two
 * epochs.
 *
 * The caller's thread reads and compiles the new set (nothing of the running one is touched). The
 * script thread, with no epoch open, runs both over the recent rows: a script error that the old
 * set did not have keeps the old set; rows that are newly quarantined or come out otherwise are
 * counted and told. Then it swaps. Any failure keeps the old set.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

/* The last rows that went into transforms, packed, per table a ring. owner: script thread. */
enum { RECENT_PER_TABLE = 1000, RECENT_PER_RUN = 64, RECENT_ROW_MAX = 4096 };
struct ring {
  struct {
    uint8_t *data;
    size_t n;
  } rows[RECENT_PER_TABLE];
  uint32_t next;
};
struct pe_recent {
  struct ring *tables[PE_TABLES_MAX];
};

void pe_recent_add(struct pe_engine *e, const struct pe_segment *seg, uint32_t from, uint32_t n) {
  uint32_t per = seg->op == PE_OP_UPDATE ? 2 : 1;
  if (!e->recent && !(e->recent = calloc(1, sizeof(*e->recent))))
    return;
  struct ring **slot = &e->recent->tables[seg->table->id];
  if (!*slot && !(*slot = calloc(1, sizeof(**slot))))
    return;
  struct ring *r = *slot;
  struct pe_buf b;
  pe_buf_init(&b);
  for (uint32_t i = 0; i < n && i < RECENT_PER_RUN; i++) {
    size_t image = (size_t)(from + n - 1 - i) * per + per - 1;
    pe_buf_clear(&b);
    pe_row_pack(seg->table, seg->rows + image * seg->table->row_bytes, &b);
    if (!pe_buf_ok(&b) || b.len > RECENT_ROW_MAX)
      continue;
    uint8_t *copy = realloc(r->rows[r->next].data, b.len);
    if (!copy)
      break;
    memcpy(copy, b.data, b.len);
    r->rows[r->next].data = copy;
    r->rows[r->next].n = b.len;
    r->next = (r->next + 1) % RECENT_PER_TABLE;
  }
  pe_buf_close(&b);
}

void pe_recent_close(struct pe_engine *e) {
  for (uint32_t t = 0; e->recent && t < PE_TABLES_MAX; t++) {
    struct ring *r = e->recent->tables[t];
    for (uint32_t i = 0; r && i < RECENT_PER_TABLE; i++)
      free(r->rows[i].data);
    free(r);
  }
  free(e->recent);
  e->recent = NULL;
}

/* A batch of the recent rows of a table as inserts. */
static struct pe_batch *recent_batch(struct pe_engine *e, uint32_t table) {
  struct ring *r = e->recent ? e->recent->tables[table] : NULL;
  struct pe_batch *b = r ? pe_batch_create() : NULL;
  struct pe_err err = PE_ERR_INIT;
  for (uint32_t i = 0; b && i < RECENT_PER_TABLE; i++) {
    uint8_t *row, *to;
    struct pe_image_meta *meta;
    struct pe_table *layout = e->tables[table].layout;
    if (!r->rows[i].data ||
        pe_row_unpack(layout, r->rows[i].data, r->rows[i].n, &b->arena, &row, &err))
      continue;
    if (pe_batch_extend(b, layout, PE_OP_INSERT, 1, &to, &meta))
      break;
    memcpy(to, row, layout->row_bytes);
    *meta = (struct pe_image_meta){.version = i + 1};
  }
  return b;
}

static uint32_t all_columns(const struct pe_table *t, uint32_t *cols) {
  for (uint32_t i = 0; i < t->ncolumns; i++)
    cols[i] = i;
  return t->ncolumns;
}

static bool same_outs(const struct pe_outputs *a, const struct pe_outputs *b, uint32_t change,
                      size_t *ia, size_t *ib, uint32_t *cols) {
  bool same = true;
  while (*ia < a->nouts && a->outs[*ia].change == change && *ib < b->nouts &&
         b->outs[*ib].change == change) {
    const struct pe_out *x = &a->outs[(*ia)++], *y = &b->outs[(*ib)++];
    same = same && x->dest == y->dest &&
           pe_rows_equal(x->dest->layout, x->row, y->row, cols, all_columns(x->dest->layout, cols));
  }
  for (; *ia < a->nouts && a->outs[*ia].change == change; (*ia)++)
    same = false;
  for (; *ib < b->nouts && b->outs[*ib].change == change; (*ib)++)
    same = false;
  return same;
}

static uint64_t errors_of(const struct pe_outputs *o) {
  uint64_t n = 0;
  for (size_t i = 0; i < o->ndead; i++)
    n += o->dead[i].traceback != NULL;
  return n;
}

static void trial_table(struct pe_engine *e, struct pe_script *new_script, uint32_t table,
                        struct pe_reload_result *r, uint64_t *old_errors, char *why, size_t nwhy) {
  struct pe_batch *x = recent_batch(e, table), *y = recent_batch(e, table);
  struct pe_outputs a, b;
  struct pe_err err = PE_ERR_INIT;
  const struct pe_run_hooks hooks = {0};
  pe_outputs_init(&a);
  pe_outputs_init(&b);
  uint32_t ncols = 0;
  for (uint32_t i = 0; i < e->ndests; i++)
    if (e->dests[i]->dest.layout->ncolumns > ncols)
      ncols = e->dests[i]->dest.layout->ncolumns;
  uint32_t *cols = calloc(ncols + 1, sizeof(*cols));
  if (x && y && x->first && y->first && cols) {
    struct pe_segment *sx = x->first, *sy = y->first;
    uint32_t n = sx->nimages;
    if (!pe_script_run(e->script, sx, 0, n, &hooks, &a, &err) &&
        !pe_script_run(new_script, sy, 0, n, &hooks, &b, &err)) {
      size_t ia = 0, ib = 0;
      r->trial_rows += n;
      for (uint32_t i = 0; i < n; i++)
        r->trial_changed += !same_outs(&a, &b, i, &ia, &ib, cols);
      if (b.ndead > a.ndead)
        r->trial_quarantined += b.ndead - a.ndead;
      *old_errors += errors_of(&a);
      uint64_t was = r->trial_errors;
      r->trial_errors += errors_of(&b);
      for (size_t i = 0; i < b.ndead && r->trial_errors > was && !why[0]; i++)
        if (b.dead[i].traceback)
          snprintf(why, nwhy, "%s: %s", e->tables[table].full, b.dead[i].reason);
    }
  }
  free(cols);
  pe_outputs_close(&a);
  pe_outputs_close(&b);
  if (x)
    pe_batch_destroy(x);
  if (y)
    pe_batch_destroy(y);
}

/* Script thread, no epoch open: try and swap what a reload has built. */
void pe_reload_at_boundary(struct pe_engine *e) {
  pthread_mutex_lock(&e->lock);
  struct pe_script *s = e->reload_script;
  struct pe_reload_result *r = e->reload_result;
  e->reload_script = NULL;
  pthread_mutex_unlock(&e->lock);
  if (!s)
    return;
  uint64_t old_errors = 0;
  char why[512] = "";
  for (uint32_t t = 0; t < e->ntables; t++)
    if (e->tables[t].cfg->transform)
      trial_table(e, s, t, r, &old_errors, why, sizeof(why));
  bool ok = r->trial_errors <= old_errors;
  if (e->reload_gen != e->layout_gen) { /* only this thread changes layout_gen */
    ok = false;
    snprintf(why, sizeof(why), "a table changed in the meantime; reload again");
  }
  struct pe_script_set *set = pe_script_set_of(s);
  struct pe_err err = PE_ERR_INIT;
  snprintf(r->from, sizeof(r->from), "%s", pe_script_set_of(e->script)->hash);
  snprintf(r->to, sizeof(r->to), "%s", set->hash);
  int rc = ok ? pe_scripts_record(e, set, &err) : 0;
  if (!ok) {
    r->code = PE_ESCRIPT;
    snprintf(r->text, sizeof(r->text),
             "kept %.6s: the new scripts fail on %" PRIu64 " of the last %" PRIu64
             " rows (%.1200s)",
             r->from, r->trial_errors, r->trial_rows, why);
    pe_script_destroy(s);
  } else if (rc) {
    r->code = rc;
    snprintf(r->text, sizeof(r->text), "kept %.6s: %.1800s", r->from, err.text);
    pe_script_destroy(s);
  } else {
    pe_script_destroy(e->script);
    e->script = s;
    r->code = 0;
    r->epoch = e->next_epoch;
  }
  pthread_mutex_lock(&e->lock);
  if (!r->code)
    snprintf(e->script_hash, sizeof(e->script_hash), "%s", r->to);
  e->reload_done = true;
  pthread_cond_broadcast(&e->reload_cond);
  pthread_mutex_unlock(&e->lock);
}

static void finish_text(struct pe_reload_result *r) {
  if (!r->code && !r->text[0])
    snprintf(r->text, sizeof(r->text),
             "reloaded transforms %.6s -> %.6s at epoch %" PRIu64
             " in %.0f ms (checked on the "
             "last %" PRIu64 " rows: %" PRIu64 " now quarantined, %" PRIu64 " changed)",
             r->from, r->to, r->epoch, r->ms, r->trial_rows, r->trial_quarantined,
             r->trial_changed);
}

int pe_engine_reload(struct pe_engine *e, unsigned timeout_ms, struct pe_reload_result *r) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_script *s = NULL;
  int64_t t0 = pe_clock_us();
  memset(r, 0, sizeof(*r));
  pthread_mutex_lock(&e->reload_lock);
  pthread_mutex_lock(&e->layout_lock);
  struct pe_script_env env = pe_script_env_of(e);
  unsigned gen = e->layout_gen;
  int rc = pe_script_create(&env, NULL, &s, &err);
  pthread_mutex_unlock(&e->layout_lock);
  pthread_mutex_lock(&e->lock);
  e->reload_gen = gen;
  snprintf(r->from, sizeof(r->from), "%s", e->script_hash);
  if (rc) {
    r->code = rc;
    snprintf(r->text, sizeof(r->text), "kept %.6s: %.1900s", r->from, err.text);
  } else if (strcmp(pe_script_set_of(s)->hash, r->from) == 0) {
    snprintf(r->to, sizeof(r->to), "%s", r->from);
    snprintf(r->text, sizeof(r->text), "transforms %.6s are unchanged", r->from);
    pe_script_destroy(s);
  } else if (e->stopping || e->worker_done) {
    r->code = PE_ESTOPPED;
    snprintf(r->text, sizeof(r->text), "kept %.6s: the engine is stopping", r->from);
    pe_script_destroy(s);
  } else {
    struct timespec until;
    e->reload_result = r;
    e->reload_script = s;
    e->reload_done = false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
      until.tv_sec++;
      until.tv_nsec -= 1000000000;
    }
    int w = 0;
    while (!e->reload_done && !(w == ETIMEDOUT && e->reload_script))
      w = pthread_cond_timedwait(&e->reload_cond, &e->lock, &until);
    if (!e->reload_done) {
      e->reload_script = NULL;
      r->code = PE_ETIMEOUT;
      snprintf(r->text, sizeof(r->text),
               "kept %.6s: no epoch ended within %u ms (is ClickHouse away?)", r->from, timeout_ms);
      pe_script_destroy(s);
    }
    e->reload_result = NULL;
  }
  pthread_mutex_unlock(&e->lock);
  r->ms = (double)(pe_clock_us() - t0) / 1000.0;
  finish_text(r);
  atomic_fetch_add(r->code ? &e->reloads_failed : &e->reloads_ok, 1);
  if (r->code)
    pe_error("script", "%s", r->text);
  else
    pe_info("script", "%s", r->text);
  pthread_mutex_unlock(&e->reload_lock);
  return r->code;
}

/* The engine ends: nobody will swap any more. */
void pe_reload_abort(struct pe_engine *e) {
  pthread_mutex_lock(&e->lock);
  if (e->reload_script) {
    pe_script_destroy(e->reload_script);
    e->reload_script = NULL;
    e->reload_result->code = PE_ESTOPPED;
    snprintf(e->reload_result->text, sizeof(e->reload_result->text),
             "kept %.6s: the engine is stopping", e->script_hash);
    e->reload_done = true;
    pthread_cond_broadcast(&e->reload_cond);
  }
  pthread_mutex_unlock(&e->lock);
}
