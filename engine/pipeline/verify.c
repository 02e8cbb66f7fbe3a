/* A block that ClickHouse answered for: is it really there?
 *
 * A killed ClickHouse can remember a block's token although the part went down with it: it answers
 * a retry with 200 and drops it. So a block that was on its way when a request failed, or that a
 * restart sends again, is looked for. One part is all or nothing, so any of its rows is an answer:
 * by _version in the stream, by key in a snapshot, whose rows share one version. What isn't there
 * is put back beside the views, which the retry has served (each view drops by itself what it
 * knows): into a table of the same shape, whose part is then attached to the target. Blocking: runs
 * on work items and at start.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "pipeline/internal.h"

enum { SAMPLES = 64 };
static const char RESCUE_PREFIX[] = "_pe_rescue_";

static void put_table(struct pe_engine *e, struct pe_buf *b, const char *prefix, const char *name) {
  char full[300];
  snprintf(full, sizeof(full), "%s%s", prefix, name);
  pe_buf_put_ident_ch(b, e->db);
  pe_buf_puts(b, ".");
  pe_buf_put_ident_ch(b, full);
}

/* The primary key's column by which rows of a snapshot block can be named in SQL; NULL: none. */
static const char *key_column(const struct pe_engine *e, const struct pe_edest *d,
                              const struct pe_block *b) {
  struct pe_buf probe;
  const char *found = NULL;
  pe_buf_init(&probe);
  for (uint32_t i = 0; i < e->ntables && !found; i++)
    if (e->tables[i].dest == d) {
      const struct pe_table *t = d->dest.layout;
      for (uint32_t k = 0; k < t->npk && !found; k++)
        if (pe_block_sql_value(b, t->columns[t->pk[k]].name, 0, &probe))
          found = t->columns[t->pk[k]].name;
    }
  pe_buf_close(&probe);
  return found;
}

bool pe_verify_sql(struct pe_engine *e, const struct pe_eblock *b, struct pe_buf *sql) {
  const char *column = b->epoch->snapshot ? key_column(e, b->dest, b->block) : "_version";
  uint32_t rows = pe_block_rows(b->block), step = rows / SAMPLES + 1;
  if (!column || b->dest->target->version_col < 0)
    return false;
  pe_buf_puts(sql, "SELECT count() FROM ");
  put_table(e, sql, b->staged ? "_pe_stage_" : "", b->dest->dest.name);
  pe_buf_puts(sql, " WHERE ");
  if (b->epoch->snapshot)
    pe_buf_printf(sql, "_version = %" PRIu64 " AND ", pe_block_version(b->block, 0));
  pe_buf_put_ident_ch(sql, column);
  pe_buf_puts(sql, " IN (");
  for (uint32_t i = 0; i < rows; i += step) {
    if (!b->epoch->snapshot)
      pe_buf_printf(sql, "%" PRIu64 ",", pe_block_version(b->block, i));
    else if (pe_block_sql_value(b->block, column, i, sql))
      pe_buf_puts(sql, ",");
  }
  /* the last row has the highest version of its key, so no other row of the block replaces it */
  if (!b->epoch->snapshot)
    pe_buf_printf(sql, "%" PRIu64, pe_block_version(b->block, rows - 1));
  else
    pe_block_sql_value(b->block, column, rows - 1, sql);
  pe_buf_puts(sql, ")");
  return pe_buf_ok(sql);
}

static int exec(struct pe_engine *e, struct pe_buf *sql, struct pe_err *err) {
  int rc = pe_buf_ok(sql) ? pe_ch_exec(e->ch_work, pe_buf_cstr(sql), NULL, NULL, err) : PE_ENOMEM;
  pe_buf_clear(sql);
  return rc;
}

static int drop_rescue(struct pe_engine *e, const char *table, struct pe_buf *sql,
                       struct pe_err *err) {
  pe_buf_puts(sql, "DROP TABLE IF EXISTS ");
  put_table(e, sql, RESCUE_PREFIX, table);
  pe_buf_puts(sql, " SYNC");
  return exec(e, sql, err);
}

static int attach(struct pe_engine *e, const char *table, struct pe_buf *sql, struct pe_err *err) {
  char name[300];
  struct pe_buf parts;
  snprintf(name, sizeof(name), "%s%s", RESCUE_PREFIX, table);
  pe_buf_init(&parts);
  pe_buf_puts(sql, "SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = ");
  pe_buf_put_sql(sql, e->db, strlen(e->db));
  pe_buf_puts(sql, " AND table = ");
  pe_buf_put_sql(sql, name, strlen(name));
  pe_buf_puts(sql, " FORMAT TSVRaw");
  int rc = pe_buf_ok(sql) ? pe_ch_exec(e->ch_work, pe_buf_cstr(sql), NULL, &parts, err) : PE_ENOMEM;
  pe_buf_clear(sql);
  char *save = NULL;
  for (char *p = rc ? NULL : strtok_r((char *)(uintptr_t)pe_buf_cstr(&parts), "\n", &save);
       p && !rc; p = strtok_r(NULL, "\n", &save)) {
    pe_buf_puts(sql, "ALTER TABLE ");
    put_table(e, sql, "", table);
    pe_buf_puts(sql, " ATTACH PARTITION ID ");
    pe_buf_put_sql(sql, p, strlen(p));
    pe_buf_puts(sql, " FROM ");
    put_table(e, sql, RESCUE_PREFIX, table);
    rc = exec(e, sql, err);
  }
  pe_buf_close(&parts);
  return rc;
}

/* Puts an encoded block into the target without its views. columns: "(`a`,`b`)" */
int pe_rescue(struct pe_engine *e, const char *table, const char *columns, const void *body,
              size_t n, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_warn("sink", "%s answered for a block that it lost when it was killed: putting it back",
          table);
  int rc = drop_rescue(e, table, &sql, err);
  pe_buf_puts(&sql, "CREATE TABLE ");
  put_table(e, &sql, RESCUE_PREFIX, table);
  pe_buf_puts(&sql, " AS ");
  put_table(e, &sql, "", table);
  if (!rc)
    rc = exec(e, &sql, err);
  pe_buf_clear(&sql);
  pe_buf_puts(&sql, "INSERT INTO ");
  put_table(e, &sql, RESCUE_PREFIX, table);
  pe_buf_printf(&sql, " %s FORMAT Native", columns);
  if (!rc)
    rc = pe_ch_insert_body(e->ch_work, pe_buf_cstr(&sql), NULL, body, n, err);
  pe_buf_clear(&sql);
  if (!rc)
    rc = attach(e, table, &sql, err);
  if (!rc)
    rc = drop_rescue(e, table, &sql, err);
  pe_buf_close(&sql);
  return rc ? pe_err_wrap(err, "putting a lost block back into %s", table) : 0;
}

static int rescue_block(struct pe_engine *e, struct pe_eblock *b, struct pe_err *err) {
  const struct pe_iov *iov;
  size_t n;
  struct pe_buf body;
  pe_buf_init(&body);
  int rc = pe_block_iov(b->block, &iov, &n);
  for (size_t i = 0; !rc && i < n; i++)
    pe_buf_put(&body, iov[i].p, iov[i].n);
  if (!rc && !pe_buf_ok(&body))
    rc = PE_ENOMEM;
  if (!rc && b->staged) /* a stage has no views */
    rc = pe_ch_insert_body(e->ch_work, b->dest->stage_sql, NULL, body.data, body.len, err);
  else if (!rc)
    rc = pe_rescue(e, b->dest->dest.name, pe_plan_insert_columns(b->dest->plan), body.data,
                   body.len, err);
  pe_buf_close(&body);
  return rc;
}

/* 0: the block is there (it was, or is now). */
int pe_verify_block(struct pe_engine *e, struct pe_eblock *b, struct pe_err *err) {
  struct pe_buf sql;
  char text[32] = "1";
  pe_buf_init(&sql);
  int rc = 1;
  if (pe_verify_sql(e, b, &sql))
    rc = pe_ch_value(e->ch_work, pe_buf_cstr(&sql), text, sizeof(text), err);
  pe_buf_close(&sql);
  if (rc < 0)
    return rc;
  return strcmp(text, "0") == 0 ? rescue_block(e, b, err) : 0;
}
