/* The DLQ: one ClickHouse table per captured table, a row per change that could not be delivered.
 *
 * Its order is table, key and version, and it replaces equal ones, so a change that is
 * dead-lettered again after a crash stands there once. The row is JSON as it came from the source;
 * columns marked pii read "<pii>". A retry reads the row again from the source by its key.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "pipeline/internal.h"

int pe_dlq_ensure(struct pe_engine *e, struct pe_etable *t, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "CREATE TABLE IF NOT EXISTS ");
  pe_buf_put_ident_ch(&sql, e->db);
  pe_buf_puts(&sql, ".");
  pe_buf_put_ident_ch(&sql, t->dlq);
  pe_buf_puts(&sql,
              " (`table` String, `key` String, `_version` UInt64, `op` LowCardinality(String), "
              "`reason` String, `column` String, `traceback` String, `row` String, "
              "`script_hash` String, `position` String, `source_time` DateTime64(6, 'UTC'), "
              "`inserted_at` DateTime64(3, 'UTC') DEFAULT now64(3)) "
              "ENGINE = ReplacingMergeTree ORDER BY (`table`, `key`, `_version`) "
              "SETTINGS non_replicated_deduplication_window = 1000");
  int rc = pe_buf_ok(&sql) ? pe_ch_exec(e->ch_work, pe_buf_cstr(&sql), NULL, NULL, err) : PE_ENOMEM;
  pe_buf_close(&sql);
  return rc ? pe_err_wrap(err, "DLQ table %s", t->dlq) : 0;
}

struct pe_edead *pe_dlq_of(struct pe_engine *e, struct pe_epoch *ep, struct pe_etable *t) {
  for (uint32_t i = 0; i < ep->ndead; i++)
    if (ep->dead[i]->table == t && ep->dead[i]->status == PE_BLOCK_TODO)
      return ep->dead[i];
  struct pe_edead **all = realloc(ep->dead, (ep->ndead + 1) * sizeof(*all));
  struct pe_edead *d = calloc(1, sizeof(*d));
  if (all)
    ep->dead = all;
  if (!all || !d) {
    free(d);
    return NULL;
  }
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "INSERT INTO ");
  pe_buf_put_ident_ch(&sql, e->db);
  pe_buf_puts(&sql, ".");
  pe_buf_put_ident_ch(&sql, t->dlq);
  pe_buf_puts(&sql, " FORMAT JSONEachRow");
  d->sql = pe_buf_ok(&sql) ? strdup(pe_buf_cstr(&sql)) : NULL;
  pe_buf_close(&sql);
  if (!d->sql) {
    free(d);
    return NULL;
  }
  d->table = t;
  d->epoch = ep;
  pe_buf_init(&d->body);
  ep->dead[ep->ndead++] = d;
  return d;
}

static const char *op_name(enum pe_op op) {
  switch (op) {
    case PE_OP_INSERT:
      return "insert";
    case PE_OP_UPDATE:
      return "update";
    case PE_OP_DELETE:
      return "delete";
    case PE_OP_SNAPSHOT:
      return "snapshot";
  }
  return "?";
}

static void put_field(struct pe_buf *b, const char *name, const char *text, size_t n) {
  pe_buf_printf(b, "\"%s\":", name);
  pe_buf_put_json(b, text, n);
  pe_buf_puts(b, ",");
}

static void put_version(struct pe_engine *e, struct pe_buf *b, uint64_t version) {
  uint32_t gen, file;
  uint64_t offset;
  pe_version_split(version, &gen, &file, &offset);
  (void)e;
  pe_buf_printf(
      b, "\"_version\":%" PRIu64 ",\"position\":\"generation %u file %06u offset %" PRIu64 "\"",
      version, gen, file, offset);
}

static void key_text(const struct pe_table *t, const uint8_t *row, struct pe_buf *out) {
  for (uint32_t i = 0; i < t->npk; i++) {
    const struct pe_column *c = &t->columns[t->pk[i]];
    if (i)
      pe_buf_puts(out, ",");
    if (c->pii)
      pe_buf_puts(out, "<pii>");
    else
      pe_value_text(c, row, out);
  }
}

int pe_dlq_add(struct pe_engine *e, struct pe_epoch *ep, struct pe_etable *t,
               const struct pe_dead *d, const char *script_hash) {
  struct pe_edead *q = pe_dlq_of(e, ep, t);
  struct pe_buf *key = &e->dlq_key, *json = &e->dlq_json;
  if (!q)
    return PE_ENOMEM;
  pe_buf_clear(key);
  pe_buf_clear(json);
  key_text(d->table, d->row, key);
  pe_row_json(d->table, d->row, json);
  struct pe_buf *b = &q->body;
  pe_buf_puts(b, "{");
  put_field(b, "table", t->full, strlen(t->full));
  put_field(b, "key", (const char *)key->data, key->len);
  put_field(b, "op", op_name(d->op), strlen(op_name(d->op)));
  put_field(b, "reason", d->reason, strlen(d->reason));
  put_field(b, "column", d->column ? d->column : "", d->column ? strlen(d->column) : 0);
  put_field(b, "traceback", d->traceback ? d->traceback : "",
            d->traceback ? strlen(d->traceback) : 0);
  put_field(b, "row", (const char *)json->data, json->len);
  put_field(b, "script_hash", script_hash, strlen(script_hash));
  pe_buf_printf(b, "\"source_time\":\"%" PRId64 ".%06d\",", d->meta.ts_us / 1000000,
                (int)(d->meta.ts_us % 1000000));
  put_version(e, b, d->meta.version);
  pe_buf_puts(b, "}\n");
  q->rows++;
  return pe_buf_ok(b) && pe_buf_ok(json) && pe_buf_ok(key) ? 0 : PE_ENOMEM;
}

/* A row that ClickHouse itself refused: only its encoded form is left, so the DLQ names it by
 * version. */
int pe_dlq_add_refused(struct pe_engine *e, struct pe_epoch *ep, struct pe_eblock *blk,
                       const char *reason) {
  struct pe_etable *t = NULL;
  for (uint32_t i = 0; i < e->ntables && !t; i++)
    if (e->tables[i].dest == blk->dest)
      t = &e->tables[i];
  for (uint32_t i = 0; i < e->ntables && !t; i++)
    for (uint32_t k = 0; k < e->tables[i].nroutes; k++)
      if (e->tables[i].routes[k] == &blk->dest->dest)
        t = &e->tables[i];
  struct pe_edead *q = t ? pe_dlq_of(e, ep, t) : NULL;
  if (!q)
    return PE_ENOMEM;
  struct pe_buf *b = &q->body, json;
  pe_buf_init(&json);
  uint64_t version = pe_block_version(blk->block, 0);
  pe_block_row_json(blk->block, 0, &json);
  pe_buf_puts(b, "{");
  put_field(b, "table", t->full, strlen(t->full));
  char key[64];
  snprintf(key, sizeof(key), "_version=%" PRIu64, version);
  put_field(b, "key", key, strlen(key));
  put_field(b, "op", pe_block_deleted(blk->block, 0) ? "delete" : "insert", 6);
  put_field(b, "reason", reason, strlen(reason));
  put_field(b, "row", (const char *)json.data, json.len);
  put_field(b, "script_hash", ep->script_hash, strlen(ep->script_hash));
  put_version(e, b, version);
  pe_buf_puts(b, "}\n");
  q->rows++;
  struct pe_etable_counts *c = &ep->counts[t - e->tables];
  if (c->out) {
    c->out--;
    c->dlq++;
  }
  int rc = pe_buf_ok(b) && pe_buf_ok(&json) ? 0 : PE_ENOMEM;
  pe_buf_close(&json);
  return rc;
}
