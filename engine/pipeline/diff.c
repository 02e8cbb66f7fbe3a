/* A snapshot into a table that already holds rows: staged, compared inside ClickHouse, only the
 * difference written.
 *
 * The staging table `_pe_stage_<table>` has the target's columns and partitions. When the source
 * has been read into it, partition by partition: rows of the stage that the live target does not
 * hold exactly  -> inserted, with the snapshot's version live rows of the target whose key the
 * stage does not have      -> inserted as tombstones, with the same version so views see nothing
 * twice and an hourly full snapshot rewrites nothing. Both statements compare with the target as it
 * is, so after a crash they are simply run again. Rows newer than the snapshot are never touched.
 * Blocking: runs on a work item.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "pipeline/internal.h"

static const char STAGE_PREFIX[] = "_pe_stage_";

static int exec(struct pe_engine *e, struct pe_buf *sql, const char *settings, struct pe_buf *out,
                struct pe_err *err) {
  if (!pe_buf_ok(sql))
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a statement");
  return pe_ch_exec(e->ch_work, pe_buf_cstr(sql), settings, out, err);
}

static void put_name(struct pe_engine *e, struct pe_buf *b, bool stage, const char *name) {
  char full[256];
  snprintf(full, sizeof(full), "%s%s", stage ? STAGE_PREFIX : "", name);
  pe_buf_put_ident_ch(b, e->db);
  pe_buf_puts(b, ".");
  pe_buf_put_ident_ch(b, full);
}

static int drop_stage(struct pe_engine *e, struct pe_etable *t, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "DROP TABLE IF EXISTS ");
  put_name(e, &sql, true, t->dest->dest.name);
  pe_buf_puts(&sql, " SYNC");
  int rc = exec(e, &sql, NULL, NULL, err);
  pe_buf_close(&sql);
  return rc;
}

/* The clause of the target after ENGINE that the stage needs: PARTITION BY and ORDER BY as the
 * target has them. */
static int target_clause(struct pe_engine *e, struct pe_etable *t, struct pe_buf *clause,
                         struct pe_err *err) {
  struct pe_buf sql, out;
  pe_buf_init(&sql);
  pe_buf_init(&out);
  pe_buf_puts(
      &sql,
      "SELECT concat(if(partition_key = '', '', concat(' PARTITION BY (', partition_key, ')')), "
      "' ORDER BY (', sorting_key, ')') FROM system.tables WHERE database = ");
  pe_buf_put_sql(&sql, e->db, strlen(e->db));
  pe_buf_puts(&sql, " AND name = ");
  pe_buf_put_sql(&sql, t->dest->dest.name, strlen(t->dest->dest.name));
  pe_buf_puts(&sql, " FORMAT TSVRaw");
  int rc = exec(e, &sql, NULL, &out, err);
  while (out.len && out.data[out.len - 1] == '\n')
    out.len--;
  if (!rc)
    pe_buf_put(clause, out.data, out.len);
  pe_buf_close(&sql);
  pe_buf_close(&out);
  return rc;
}

int pe_stage_sql(struct pe_engine *e, struct pe_edest *d, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "INSERT INTO ");
  put_name(e, &sql, true, d->dest.name);
  pe_buf_printf(&sql, " %s FORMAT Native", pe_plan_insert_columns(d->plan));
  free(d->stage_sql);
  d->stage_sql = pe_buf_ok(&sql) ? strdup(pe_buf_cstr(&sql)) : NULL;
  pe_buf_close(&sql);
  return d->stage_sql ? 0
                      : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a statement");
}

int pe_stage_create(struct pe_engine *e, struct pe_etable *t, struct pe_err *err) {
  struct pe_buf sql;
  if (t->dest->target->version_col < 0 || t->dest->target->deleted_col < 0)
    return pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                      "%s holds rows but has no columns _version UInt64 and _deleted UInt8: it "
                      "can't be compared with the source; add them or empty the table",
                      t->dest->dest.name);
  int rc = drop_stage(e, t, err);
  if (rc)
    return rc;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "CREATE TABLE ");
  put_name(e, &sql, true, t->dest->dest.name);
  pe_buf_puts(&sql, " AS ");
  put_name(e, &sql, false, t->dest->dest.name);
  pe_buf_puts(&sql, " ENGINE = MergeTree");
  rc = target_clause(e, t, &sql, err);
  pe_buf_puts(&sql,
              " SETTINGS non_replicated_deduplication_window = 10000, allow_nullable_key = 1");
  if (!rc)
    rc = exec(e, &sql, NULL, NULL, err);
  pe_buf_close(&sql);
  return rc ? pe_err_wrap(err, "staging table of %s", t->dest->dest.name) : 0;
}

enum columns { COLS_ALL, COLS_KEY };

static void put_columns(struct pe_buf *b, const struct pe_target *t, enum columns which) {
  bool first = true;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    const struct pe_chcolumn *c = &t->columns[i];
    if (c->is_materialized || (int32_t)i == t->version_col || (int32_t)i == t->deleted_col ||
        (which == COLS_KEY && !c->is_key && !c->is_partition))
      continue;
    if (!first)
      pe_buf_puts(b, ", ");
    first = false;
    pe_buf_put_ident_ch(b, c->name);
  }
}

static int diff_partition(struct pe_engine *e, struct pe_etable *t, const char *partition,
                          struct pe_err *err) {
  const struct pe_target *g = t->dest->target;
  struct pe_buf sql;
  char where[300];
  pe_buf_init(&sql);
  snprintf(where, sizeof(where), "_partition_id = '%.200s'", partition);
  /* changed and new rows */
  pe_buf_puts(&sql, "INSERT INTO ");
  put_name(e, &sql, false, g->name);
  pe_buf_puts(&sql, " (");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_puts(&sql, ", _version, _deleted) SELECT ");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_puts(&sql, ", _version, 0 FROM ");
  put_name(e, &sql, true, g->name);
  pe_buf_printf(&sql, " WHERE %s AND sipHash128(tuple(", where);
  put_columns(&sql, g, COLS_ALL);
  pe_buf_puts(&sql, ")) NOT IN (SELECT sipHash128(tuple(");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_puts(&sql, ")) FROM ");
  put_name(e, &sql, false, g->name);
  pe_buf_printf(&sql, " FINAL WHERE %s AND _deleted = 0)", where);
  /* and no newer row under the same key */
  pe_buf_puts(&sql, " AND sipHash128(tuple(");
  put_columns(&sql, g, COLS_KEY);
  pe_buf_puts(&sql, ")) NOT IN (SELECT sipHash128(tuple(");
  put_columns(&sql, g, COLS_KEY);
  pe_buf_puts(&sql, ")) FROM ");
  put_name(e, &sql, false, g->name);
  pe_buf_printf(&sql, " WHERE %s AND _version > %" PRIu64 ")", where, t->state.version);
  int rc = exec(e, &sql, "async_insert=0&max_insert_threads=1", NULL, err);
  /* rows the source has not any more */
  pe_buf_clear(&sql);
  pe_buf_puts(&sql, "INSERT INTO ");
  put_name(e, &sql, false, g->name);
  pe_buf_puts(&sql, " (");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_puts(&sql, ", _version, _deleted) SELECT ");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_printf(&sql, ", %" PRIu64 ", 1 FROM ", t->state.version);
  put_name(e, &sql, false, g->name);
  pe_buf_printf(&sql,
                " FINAL WHERE %s AND _deleted = 0 AND _version < %" PRIu64 " AND sipHash128(tuple(",
                where, t->state.version);
  put_columns(&sql, g, COLS_KEY);
  pe_buf_puts(&sql, ")) NOT IN (SELECT sipHash128(tuple(");
  put_columns(&sql, g, COLS_KEY);
  pe_buf_puts(&sql, ")) FROM ");
  put_name(e, &sql, true, g->name);
  pe_buf_printf(&sql, " WHERE %s)", where);
  if (!rc)
    rc = exec(e, &sql, "async_insert=0&max_insert_threads=1", NULL, err);
  pe_buf_close(&sql);
  return rc;
}

int pe_stage_apply(struct pe_engine *e, struct pe_etable *t, struct pe_err *err) {
  struct pe_buf sql, out;
  pe_buf_init(&sql);
  pe_buf_init(&out);
  char stage[256], there[8] = "";
  snprintf(stage, sizeof(stage), "%s%s", STAGE_PREFIX, t->dest->dest.name);
  /* dropping the stage is the last step: where it is gone, a killed engine had come that far */
  pe_buf_puts(&sql, "SELECT count() FROM system.tables WHERE database = ");
  pe_buf_put_sql(&sql, e->db, strlen(e->db));
  pe_buf_puts(&sql, " AND name = ");
  pe_buf_put_sql(&sql, stage, strlen(stage));
  int has = pe_buf_ok(&sql) ? pe_ch_value(e->ch_work, pe_buf_cstr(&sql), there, sizeof(there), err)
                            : PE_ENOMEM;
  pe_buf_clear(&sql);
  if (has < 0 || strcmp(there, "0") == 0) {
    pe_buf_close(&sql);
    pe_buf_close(&out);
    return has < 0 ? has : 0;
  }
  pe_buf_puts(&sql, "SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = ");
  pe_buf_put_sql(&sql, e->db, strlen(e->db));
  pe_buf_puts(&sql, " AND table IN (");
  pe_buf_put_sql(&sql, stage, strlen(stage));
  pe_buf_puts(&sql, ",");
  pe_buf_put_sql(&sql, t->dest->dest.name, strlen(t->dest->dest.name));
  pe_buf_puts(&sql, ") ORDER BY 1 FORMAT TSVRaw");
  int rc = exec(e, &sql, NULL, &out, err);
  char *save = NULL;
  for (char *p = rc ? NULL : strtok_r((char *)(uintptr_t)pe_buf_cstr(&out), "\n", &save); p && !rc;
       p = strtok_r(NULL, "\n", &save))
    rc = diff_partition(e, t, p, err);
  if (!rc)
    rc = drop_stage(e, t, err);
  pe_buf_close(&sql);
  pe_buf_close(&out);
  return rc ? pe_err_wrap(err, "comparing %s with its snapshot", t->dest->dest.name) : 0;
}

/* All live rows older than version become tombstones. */
int pe_table_truncate(struct pe_engine *e, struct pe_etable *t, uint64_t version,
                      struct pe_err *err) {
  const struct pe_target *g = t->dest->target;
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "INSERT INTO ");
  put_name(e, &sql, false, g->name);
  pe_buf_puts(&sql, " (");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_puts(&sql, ", _version, _deleted) SELECT ");
  put_columns(&sql, g, COLS_ALL);
  pe_buf_printf(&sql, ", %" PRIu64 ", 1 FROM ", version);
  put_name(e, &sql, false, g->name);
  pe_buf_printf(&sql, " FINAL WHERE _deleted = 0 AND _version < %" PRIu64, version);
  int rc = exec(e, &sql, "async_insert=0&max_partitions_per_insert_block=0", NULL, err);
  pe_buf_close(&sql);
  pe_info("pipeline", "%s was truncated in the source", t->full);
  return rc ? pe_err_wrap(err, "truncating %s", g->name) : 0;
}
