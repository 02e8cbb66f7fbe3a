/* Loading what ClickHouse knows about a table: three questions to its system tables. owner: the
 * caller of the blocking pe_ch. Fails when ClickHouse does, or when its answer makes no sense. */
#include "sink/target.h"

#include <stdlib.h>
#include <string.h>

#include "sink/target_parse.h"

static void put_where(struct pe_buf *sql, const char *db, const char *name, const char *column) {
  pe_buf_puts(sql, " WHERE database = ");
  pe_buf_put_sql(sql, db, strlen(db));
  pe_buf_printf(sql, " AND %s = ", column);
  pe_buf_put_sql(sql, name, strlen(name));
}

static int ask(struct pe_ch *ch, struct pe_buf *sql, struct pe_buf *answer, struct pe_err *err) {
  pe_buf_puts(sql, " FORMAT TabSeparated");
  if (!pe_buf_ok(sql)) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  pe_buf_clear(answer);
  int rc = pe_ch_exec(ch, pe_buf_cstr(sql), NULL, answer, err);
  if (!rc && !pe_buf_ok(answer)) {
    rc = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  pe_buf_clear(sql);
  return rc;
}

enum { TABLE_FIELDS = 6 };

static bool is_one(const char *field) {
  return field && strcmp(field, "1") == 0;
}

/* The window: of the table's own settings, else the server's default. */
static int load_window(struct pe_ch *ch, struct pe_target *t, const char *engine_full,
                       struct pe_buf *sql, struct pe_buf *answer, struct pe_err *err) {
  const char *name =
      t->replicated ? "replicated_deduplication_window" : "non_replicated_deduplication_window";
  t->dedup_window = 0;
  if (!strstr(t->engine, "MergeTree") || pe_target_setting(engine_full, name, &t->dedup_window)) {
    return 0;
  }
  pe_buf_printf(sql, "SELECT value FROM system.%smerge_tree_settings WHERE name = '%s'",
                t->replicated ? "replicated_" : "", name);
  int rc = ask(ch, sql, answer, err);
  if (!rc) {
    t->dedup_window = strtoull(pe_buf_cstr(answer), NULL, 10);
  }
  return rc;
}

static int load_empty(struct pe_ch *ch, struct pe_target *t, struct pe_buf *sql,
                      struct pe_buf *answer, struct pe_err *err) {
  pe_buf_puts(sql, "SELECT count() FROM (SELECT 1 FROM ");
  pe_buf_put_ident_ch(sql, t->db);
  pe_buf_puts(sql, ".");
  pe_buf_put_ident_ch(sql, t->name);
  pe_buf_puts(sql, " LIMIT 1)");
  int rc = ask(ch, sql, answer, err);
  if (!rc) {
    t->empty = strcmp(pe_buf_cstr(answer), "0\n") == 0;
  }
  return rc;
}

static int load(struct pe_ch *ch, struct pe_target *t, struct pe_buf *sql, struct pe_buf *answer,
                struct pe_err *err) {
  /* Whether days beyond 1900..2299 survive depends on the version. */
  pe_buf_puts(sql,
              "SELECT engine, partition_key, engine_full, total_rows, "
              "timezone() IN ('UTC', 'Etc/UTC'), "
              "toString(addDays(toDate32('1970-01-01'), 2932896)) = '9999-12-31' AND "
              "toString(addDays(toDate32('1970-01-01'), -719528)) = '0000-01-01' AND "
              "toString(CAST(253402300799 AS DateTime64(0, 'UTC'))) = '9999-12-31 23:59:59' "
              "FROM system.tables");
  put_where(sql, t->db, t->name, "name");
  int rc = ask(ch, sql, answer, err);
  if (rc) {
    return rc;
  }
  struct pe_buf table = *answer; /* its fields are needed to the end */
  pe_buf_init(answer);
  char *line = (char *)(uintptr_t)pe_buf_cstr(&table), *f[TABLE_FIELDS];
  int n = pe_tsv_next(&line, f, TABLE_FIELDS);
  if (n != TABLE_FIELDS || !f[0] || !f[1] || !f[2]) {
    pe_buf_close(&table);
    return n == 0 ? 0 : pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "an answer that can't be read");
  }
  t->engine = pe_arena_strndup(&t->arena, f[0], strlen(f[0]));
  if (!t->engine) {
    pe_buf_close(&table);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  t->replicated = strncmp(f[0], "Replicated", 10) == 0 || strncmp(f[0], "Shared", 6) == 0;
  t->server_utc = is_one(f[4]);
  t->wide_dates = is_one(f[5]);
  t->empty = f[3] && strcmp(f[3], "0") == 0;
  pe_buf_puts(sql,
              "SELECT name, type, default_kind, is_in_sorting_key, is_in_partition_key "
              "FROM system.columns");
  put_where(sql, t->db, t->name, "table");
  pe_buf_puts(sql, " ORDER BY position");
  rc = ask(ch, sql, answer, err);
  if (!rc) {
    rc = pe_target_parse_columns(t, (char *)(uintptr_t)pe_buf_cstr(answer), err);
  }
  if (!rc) {
    pe_target_parse_partition(t, f[1]);
    rc = load_window(ch, t, f[2], sql, answer, err);
  }
  if (!rc && !f[3]) {
    rc = load_empty(ch, t, sql, answer, err);
  }
  pe_buf_close(&table);
  return rc ? rc : 1;
}

int pe_target_load(struct pe_ch *ch, const char *db, const char *name, struct pe_target **out,
                   struct pe_err *err) {
  struct pe_target *t = calloc(1, sizeof(*t));
  if (!t) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  pe_arena_init(&t->arena, 4096);
  t->db = pe_arena_strndup(&t->arena, db, strlen(db));
  t->name = pe_arena_strndup(&t->arena, name, strlen(name));
  struct pe_buf sql, answer;
  pe_buf_init(&sql);
  pe_buf_init(&answer);
  int rc = t->db && t->name ? load(ch, t, &sql, &answer, err)
                            : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  pe_buf_close(&sql);
  pe_buf_close(&answer);
  if (rc < 0) {
    pe_err_wrap(err, "looking at table %s.%s in ClickHouse", db, name);
  }
  if (rc == 1) {
    *out = t;
  } else {
    pe_target_destroy(t);
  }
  return rc;
}

void pe_target_destroy(struct pe_target *t) {
  if (t) {
    pe_arena_close(&t->arena);
    free(t);
  }
}

static enum pe_ctype extra_int(const struct pe_chcolumn *cc) {
  bool is_signed = cc->kind == PE_CH_INT;
  switch (cc->width_bytes) {
    case 1:
      return is_signed ? PE_C_I8 : PE_C_U8;
    case 2:
      return is_signed ? PE_C_I16 : PE_C_U16;
    case 4:
      return is_signed ? PE_C_I32 : PE_C_U32;
    case 8:
      return is_signed ? PE_C_I64 : PE_C_U64;
    case 16: /* what has no integer here is a decimal without a fraction */
      return is_signed ? PE_C_DEC128 : PE_C_DEC256;
    default:
      return PE_C_DEC256;
  }
}

int pe_target_extra(const struct pe_chcolumn *cc, struct pe_column *c, struct pe_err *err) {
  (void)err;
  c->precision = c->scale = 0;
  c->nullable = cc->nullable;
  switch (cc->kind) {
    case PE_CH_INT:
    case PE_CH_UINT:
      c->ctype = extra_int(cc);
      c->precision = c->ctype == PE_C_DEC128 ? 38 : c->ctype == PE_C_DEC256 ? 76 : 0;
      break;
    case PE_CH_FLOAT:
      c->ctype = cc->width_bytes == 4 ? PE_C_F32 : PE_C_F64;
      break;
    case PE_CH_DECIMAL:
      c->ctype = cc->width_bytes <= 8    ? PE_C_DEC64
                 : cc->width_bytes == 16 ? PE_C_DEC128
                                         : PE_C_DEC256;
      c->precision = (uint8_t)cc->precision;
      c->scale = (uint8_t)cc->scale;
      break;
    case PE_CH_DATE:
    case PE_CH_DATE32:
      c->ctype = PE_C_DATE;
      break;
    case PE_CH_DATETIME:
    case PE_CH_DATETIME64:
      c->ctype = PE_C_DATETIME;
      c->scale = (uint8_t)(cc->scale > 6 ? 6 : cc->scale);
      break;
    case PE_CH_STRING:
    case PE_CH_FIXEDSTRING:
    case PE_CH_UUID:
    case PE_CH_OTHER:
      c->ctype = PE_C_STR;
      break;
  }
  return 0;
}
