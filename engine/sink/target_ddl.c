/* The table in ClickHouse for a source table that has no DDL of its own. Pure; the table of types
 * stands in README.md. */
#include <inttypes.h>

#include "sink/target.h"

enum { DEDUP_WINDOW = 10000 };

static const char *plain_type(enum pe_ctype c) {
  static const char *const names[PE_C_COUNT] = {
      [PE_C_I8] = "Int8",     [PE_C_U8] = "UInt8",     [PE_C_I16] = "Int16",
      [PE_C_U16] = "UInt16",  [PE_C_I32] = "Int32",    [PE_C_U32] = "UInt32",
      [PE_C_I64] = "Int64",   [PE_C_U64] = "UInt64",   [PE_C_F32] = "Float32",
      [PE_C_F64] = "Float64", [PE_C_DATE] = "Date32",  [PE_C_TIME] = "String",
      [PE_C_YEAR] = "UInt16", [PE_C_BIT] = "UInt64",   [PE_C_SET] = "String",
      [PE_C_STR] = "String",  [PE_C_BYTES] = "String", [PE_C_JSON] = "String",
  };
  return names[c];
}

int pe_target_type(const struct pe_column *c, struct pe_buf *out) {
  const char *open = c->nullable ? "Nullable(" : "", *close = c->nullable ? ")" : "";
  switch (c->ctype) {
    case PE_C_DEC64:
    case PE_C_DEC128:
    case PE_C_DEC256:
      pe_buf_printf(out, "%sDecimal(%u, %u)%s", open, c->precision, c->scale, close);
      break;
    case PE_C_DATETIME:
      pe_buf_printf(out, "%sDateTime64(%u, 'UTC')%s", open, c->scale, close);
      break;
    case PE_C_ENUM:
      pe_buf_printf(out, "LowCardinality(%sString%s)", open, close);
      break;
    default:
      pe_buf_printf(out, "%s%s%s", open, plain_type(c->ctype), close);
  }
  return pe_buf_ok(out) ? 0 : PE_ENOMEM;
}

static int put_columns(const struct pe_table *t, struct pe_buf *sql, struct pe_err *err) {
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    struct pe_column c = t->columns[i];
    if (c.excluded) {
      if (c.pk_ordinal) {
        return pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                          "column %s of %s.%s is part of the primary key and can't be excluded: "
                          "rows could not be told apart",
                          c.name, t->db, t->name);
      }
      continue;
    }
    if (strcmp(c.name, "_version") == 0 || strcmp(c.name, "_deleted") == 0) {
      return pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                        "%s.%s has a column %s, a name that the engine needs in the target: "
                        "exclude it",
                        t->db, t->name, c.name);
    }
    c.nullable = c.nullable && !c.pk_ordinal;
    pe_buf_puts(sql, "  ");
    pe_buf_put_ident_ch(sql, c.name);
    pe_buf_puts(sql, " ");
    pe_target_type(&c, sql);
    pe_buf_puts(sql, ",\n");
  }
  return 0;
}

int pe_target_ddl(const struct pe_table *t, const char *db, const char *name, struct pe_buf *sql,
                  struct pe_err *err) {
  if (!t->npk) {
    return pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                      "%s.%s has no primary key, so no table can be made for it: add one, or "
                      "create %s.%s in ClickHouse",
                      t->db, t->name, db, name);
  }
  pe_buf_puts(sql, "CREATE TABLE IF NOT EXISTS ");
  pe_buf_put_ident_ch(sql, db);
  pe_buf_puts(sql, ".");
  pe_buf_put_ident_ch(sql, name);
  pe_buf_puts(sql, "\n(\n");
  int rc = put_columns(t, sql, err);
  if (rc) {
    return rc;
  }
  pe_buf_puts(sql,
              "  `_version` UInt64,\n  `_deleted` UInt8\n)\n"
              "ENGINE = ReplacingMergeTree(_version, _deleted)\nORDER BY (");
  for (uint32_t i = 0; i < t->npk; i++) {
    pe_buf_puts(sql, i ? ", " : "");
    pe_buf_put_ident_ch(sql, t->columns[t->pk[i]].name);
  }
  pe_buf_printf(sql, ")\nSETTINGS non_replicated_deduplication_window = %d", DEDUP_WINDOW);
  return pe_buf_ok(sql) ? 0
                        : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL,
                                     "out of memory for the definition of %s", name);
}
