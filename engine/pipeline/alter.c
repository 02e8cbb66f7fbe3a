/* A table changed in the source: the new version takes over between two epochs.
 *
 * The reader has matched the new version with the log. Columns that it adds are added to the target
 * (nullable), before the first row that has them; then target, plan, scripts and lookups are made
 * anew for it. Whatever the plan can't do stops the engine with the statement that mends it; the
 * change is met again at the next start. Runs on the script thread with nothing on its way, so the
 * blocking client is free.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

static int add_columns(struct pe_engine *e, struct pe_etable *t, const struct pe_table *layout,
                       struct pe_err *err) {
  int rc = 0;
  for (uint32_t i = 0; i < layout->nsource && !rc; i++) {
    const struct pe_column *c = &layout->columns[i];
    bool known = c->excluded;
    for (uint32_t k = 0; k < t->dest->target->ncolumns && !known; k++)
      known = strcmp(t->dest->target->columns[k].name, c->name) == 0;
    if (known)
      continue;
    struct pe_column nullable = *c;
    struct pe_buf sql;
    nullable.nullable = true;
    pe_buf_init(&sql);
    pe_buf_puts(&sql, "ALTER TABLE ");
    pe_buf_put_ident_ch(&sql, e->db);
    pe_buf_puts(&sql, ".");
    pe_buf_put_ident_ch(&sql, t->dest->dest.name);
    pe_buf_puts(&sql, " ADD COLUMN IF NOT EXISTS ");
    pe_buf_put_ident_ch(&sql, c->name);
    pe_buf_puts(&sql, " ");
    rc = pe_target_type(&nullable, &sql);
    if (!rc)
      rc = pe_ch_exec(e->ch_script, pe_buf_cstr(&sql), NULL, NULL, err);
    if (!rc)
      pe_info("pipeline", "%s has a new column: %s", t->full, pe_buf_cstr(&sql));
    pe_buf_close(&sql);
  }
  return rc;
}

static int take_over(struct pe_engine *e, struct pe_table *new_table, struct pe_err *err) {
  struct pe_etable *t = &e->tables[new_table->id];
  struct pe_edest *d = t->dest;
  struct pe_target *target = NULL;
  struct pe_plan *plan = NULL;
  int rc;
  for (unsigned tries = 0;; tries++) {
    rc = add_columns(e, t, new_table, err);
    if (!rc)
      rc = pe_target_load(e->ch_script, e->db, d->dest.name, &target, err) == 1 ? 0
                                                                                : PE_ESINK_SCHEMA;
    if (!rc || err->cls != PE_CLASS_RETRY || tries > 600 || atomic_load(&e->stop_requested))
      break;
    pe_sleep_ms(500);
  }
  if (rc)
    return pe_err_wrap(err, "%s changed in the source", t->full);
  /* nothing of the old plan is left: spare blocks belong to it */
  pthread_mutex_lock(&e->lock);
  while (d->nspare)
    pe_block_destroy(d->spare[--d->nspare]);
  pthread_mutex_unlock(&e->lock);
  struct pe_dest next = d->dest;
  next.layout = new_table;
  rc = pe_plan_create(&next, target, &d->plan_opts, &plan, err);
  if (rc) {
    pe_target_destroy(target);
    return pe_err_wrap(err, "%s changed in the source", t->full);
  }
  pe_plan_destroy(d->plan);
  pe_target_destroy(d->target);
  d->plan = plan;
  d->target = target;
  pe_table_unref(d->dest.layout);
  d->dest.layout = pe_table_ref(new_table);
  rc = pe_dest_keys(d, err);
  if (!rc)
    rc = pe_dest_sql(e, d, err);
  pe_table_unref(t->layout);
  t->layout = pe_table_ref(new_table);
  e->script_tables[new_table->id].table = new_table;
  if (!rc)
    rc = pe_script_table_changed(e->script, &e->script_tables[new_table->id], err);
  if (!rc)
    rc = pe_lookups_table_changed(e->lookups, new_table, err);
  if (!rc)
    pe_info("pipeline", "%s: a new version of the table is in force", t->full);
  return rc;
}

int pe_table_take_over(struct pe_engine *e, struct pe_table *new_table, struct pe_err *err) {
  pthread_mutex_lock(&e->layout_lock);
  e->layout_gen++;
  int rc = take_over(e, new_table, err);
  pthread_mutex_unlock(&e->layout_lock);
  return rc;
}
