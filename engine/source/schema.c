/* A table version from information_schema, as row events carry it: all columns in their order,
 * invisible and generated ones too. Blocking; owner: the calling thread. Fails with
 * PE_ESOURCE_SCHEMA, PE_ESOURCE_KEY, or what the query failed with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/server.h"
#include "source/snapshot_internal.h"

/* Types of a TABLE_MAP event that the client library's header does not name. */
enum {
  TYPE_VECTOR = 242,
  TYPE_BLOB_COMPRESSED = 140,   /* MariaDB */
  TYPE_VARCHAR_COMPRESSED = 141 /* MariaDB */
};

enum { COLLATION_BINARY = 63, MEMBERS_ENUM_MAX = 65535, INDEX_NAME_MAX = 256 };

struct type_row {
  const char *name; /* DATA_TYPE */
  enum pe_ctype is_signed, is_unsigned;
  uint8_t mysql_type;
  uint8_t meta; /* where it is the same for every column of the type */
};

static const struct type_row types[] = {
    {"tinyint", PE_C_I8, PE_C_U8, MYSQL_TYPE_TINY, 0},
    {"smallint", PE_C_I16, PE_C_U16, MYSQL_TYPE_SHORT, 0},
    {"mediumint", PE_C_I32, PE_C_U32, MYSQL_TYPE_INT24, 0},
    {"int", PE_C_I32, PE_C_U32, MYSQL_TYPE_LONG, 0},
    {"bigint", PE_C_I64, PE_C_U64, MYSQL_TYPE_LONGLONG, 0},
    {"float", PE_C_F32, PE_C_F32, MYSQL_TYPE_FLOAT, 4},
    {"double", PE_C_F64, PE_C_F64, MYSQL_TYPE_DOUBLE, 8},
    {"decimal", PE_C_DEC64, PE_C_DEC64, MYSQL_TYPE_NEWDECIMAL, 0},
    {"date", PE_C_DATE, PE_C_DATE, MYSQL_TYPE_DATE, 0},
    {"datetime", PE_C_DATETIME, PE_C_DATETIME, MYSQL_TYPE_DATETIME2, 0},
    {"timestamp", PE_C_DATETIME, PE_C_DATETIME, MYSQL_TYPE_TIMESTAMP2, 0},
    {"time", PE_C_TIME, PE_C_TIME, MYSQL_TYPE_TIME2, 0},
    {"year", PE_C_YEAR, PE_C_YEAR, MYSQL_TYPE_YEAR, 0},
    {"bit", PE_C_BIT, PE_C_BIT, MYSQL_TYPE_BIT, 0},
    {"enum", PE_C_ENUM, PE_C_ENUM, MYSQL_TYPE_STRING, 0},
    {"set", PE_C_SET, PE_C_SET, MYSQL_TYPE_STRING, 0},
    {"char", PE_C_STR, PE_C_STR, MYSQL_TYPE_STRING, 0},
    {"varchar", PE_C_STR, PE_C_STR, MYSQL_TYPE_VARCHAR, 0},
    {"tinytext", PE_C_STR, PE_C_STR, MYSQL_TYPE_BLOB, 1},
    {"text", PE_C_STR, PE_C_STR, MYSQL_TYPE_BLOB, 2},
    {"mediumtext", PE_C_STR, PE_C_STR, MYSQL_TYPE_BLOB, 3},
    {"longtext", PE_C_STR, PE_C_STR, MYSQL_TYPE_BLOB, 4},
    {"binary", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_STRING, 0},
    {"varbinary", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_VARCHAR, 0},
    {"tinyblob", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_BLOB, 1},
    {"blob", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_BLOB, 2},
    {"mediumblob", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_BLOB, 3},
    {"longblob", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_BLOB, 4},
    {"json", PE_C_JSON, PE_C_JSON, MYSQL_TYPE_JSON, 4},
    {"vector", PE_C_BYTES, PE_C_BYTES, TYPE_VECTOR, 4},
    {"uuid", PE_C_STR, PE_C_STR, MYSQL_TYPE_STRING, 0},
    {"inet4", PE_C_STR, PE_C_STR, MYSQL_TYPE_STRING, 0},
    {"inet6", PE_C_STR, PE_C_STR, MYSQL_TYPE_STRING, 0},
    {"geometry", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"point", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"linestring", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"polygon", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"multipoint", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"multilinestring", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"multipolygon", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"geometrycollection", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
    {"geomcollection", PE_C_BYTES, PE_C_BYTES, MYSQL_TYPE_GEOMETRY, 4},
};

/* What follows a backslash inside a member as the servers print it. */
static char unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case '0':
      return 0;
    case 'Z':
      return 26;
    default:
      return c;
  }
}

/* Reads one 'member' at *at (which stands on its opening quote) into out, which has room for the
 * rest of the text; returns its length, or -1 where the text is malformed. */
static long take_member(const char **at, char *out) {
  const char *p = *at;
  long n = 0;
  if (*p++ != '\'') {
    return -1;
  }
  for (; *p; p++) {
    if (*p == '\'' && p[1] == '\'') {
      p++;
    } else if (*p == '\'') {
      out[n] = 0;
      *at = p + 1;
      return n;
    } else if (*p == '\\' && p[1]) {
      p++;
      out[n++] = unescape(*p);
      continue;
    }
    out[n++] = *p;
  }
  return -1;
}

int pe_source_parse_members(const char *type_text, struct pe_arena *a, char ***members,
                            uint32_t *n) {
  const char *open = strchr(type_text, '(');
  *members = NULL;
  *n = 0;
  if (!open) {
    return PE_EDATA;
  }
  size_t len = strlen(open);
  char *text = malloc(len + 1);
  /* Each member takes three characters of the text at least. */
  char **list = pe_arena_alloc(a, (len / 3 + 1) * sizeof(*list), _Alignof(char *));
  if (!text || !list) {
    free(text);
    return PE_ENOMEM;
  }
  const char *at = open + 1;
  uint32_t count = 0;
  int rc = 0;
  while (!rc) {
    long got = take_member(&at, text);
    if (got < 0 || count == MEMBERS_ENUM_MAX) {
      rc = PE_EDATA;
      break;
    }
    list[count] = pe_arena_strndup(a, text, (size_t)got);
    if (!list[count++]) {
      rc = PE_ENOMEM;
      break;
    }
    if (*at == ')') {
      break;
    }
    if (*at++ != ',') {
      rc = PE_EDATA;
    }
  }
  free(text);
  if (!rc) {
    *members = list;
    *n = count;
  }
  return rc;
}

static uint16_t set_bytes(uint32_t members) {
  uint32_t n = (members + 7) / 8;
  return (uint16_t)(n > 4 ? 8 : n);
}

/* Metadata of CHAR and BINARY: lengths over 255 hide in two bits of the type. */
static uint16_t string_meta(uint32_t bytes) {
  uint32_t first = MYSQL_TYPE_STRING ^ ((bytes & 0x300) >> 4);
  return (uint16_t)(first << 8 | (bytes & 0xFF));
}

/* Cells of the columns' query, in its order. */
enum {
  COL_NAME,
  COL_DATA_TYPE,
  COL_TYPE_TEXT,
  COL_NULLABLE,
  COL_CHARS,
  COL_OCTETS,
  COL_PRECISION,
  COL_SCALE,
  COL_FSP,
  COL_COLLATION,
  COL_EXTRA,
  COL_CELLS
};

struct loading {
  struct pe_table *t;
  struct pe_err *err;
  int rc;
};

static uint32_t number(const char *cell) {
  return cell ? (uint32_t)strtoul(cell, NULL, 10) : 0;
}

static void set_text_type(struct pe_column *c, char **cells) {
  uint32_t octets = number(cells[COL_OCTETS]);
  bool compressed = strstr(cells[COL_TYPE_TEXT], "COMPRESSED") != NULL;
  c->length_max = number(cells[COL_CHARS]);
  c->collation = cells[COL_COLLATION] ? (uint16_t)number(cells[COL_COLLATION]) : COLLATION_BINARY;
  if (c->mysql_type == MYSQL_TYPE_VARCHAR) {
    c->mysql_meta = (uint16_t)octets;
    if (compressed) {
      c->mysql_type = TYPE_VARCHAR_COMPRESSED;
      c->mysql_meta++;
    }
  } else if (c->mysql_type == MYSQL_TYPE_STRING) {
    c->mysql_meta = string_meta(octets);
  } else if (compressed) {
    c->mysql_type = TYPE_BLOB_COMPRESSED;
  }
}

static int set_members(struct pe_table *t, struct pe_column *c, struct pe_err *err) {
  int rc = pe_source_parse_members(c->type_text, &t->arena, &c->members, &c->nmembers);
  if (rc) {
    return pe_err_set(err, rc, PE_CLASS_FATAL, "the members of column '%s' cannot be read",
                      c->name);
  }
  if (c->ctype == PE_C_ENUM) {
    c->mysql_meta = (uint16_t)(MYSQL_TYPE_ENUM << 8 | (c->nmembers < 256 ? 1 : 2));
  } else {
    c->mysql_meta = (uint16_t)(MYSQL_TYPE_SET << 8 | set_bytes(c->nmembers));
  }
  return 0;
}

static void set_decimal(struct pe_column *c, char **cells) {
  c->precision = (uint8_t)number(cells[COL_PRECISION]);
  c->scale = (uint8_t)number(cells[COL_SCALE]);
  c->ctype = c->precision <= 18 ? PE_C_DEC64 : c->precision <= 38 ? PE_C_DEC128 : PE_C_DEC256;
  c->mysql_meta = (uint16_t)(c->precision << 8 | c->scale);
}

/* MariaDB's UUID, INET4 and INET6 travel as BINARY and are text everywhere here. */
static bool set_address(struct pe_column *c) {
  static const struct {
    const char *name;
    uint8_t bytes, text;
  } rows[] = {{"uuid", 16, 36}, {"inet6", 16, 39}, {"inet4", 4, 15}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    if (strcmp(c->type_text, rows[i].name) == 0) {
      c->length_max = rows[i].text;
      c->mysql_meta = string_meta(rows[i].bytes);
      return true;
    }
  }
  return false;
}

static int set_type(struct pe_table *t, struct pe_column *c, char **cells, struct pe_err *err) {
  const struct type_row *row = NULL;
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    if (strcmp(types[i].name, cells[COL_DATA_TYPE]) == 0) {
      row = &types[i];
    }
  }
  if (!row) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                      "column '%s' has type %s, which is not known here; take the table out of "
                      "the pipeline or change the column",
                      c->name, c->type_text);
  }
  c->ctype = strstr(c->type_text, " unsigned") ? row->is_unsigned : row->is_signed;
  c->mysql_type = row->mysql_type;
  c->mysql_meta = row->meta;
  c->collation = pe_ctype_is_str(c->ctype) ? COLLATION_BINARY : 0;
  switch (c->ctype) {
    case PE_C_DEC64:
      set_decimal(c, cells);
      return 0;
    case PE_C_DATETIME:
    case PE_C_TIME:
      c->scale = (uint8_t)number(cells[COL_FSP]);
      c->mysql_meta = c->scale;
      return 0;
    case PE_C_BIT: {
      uint32_t bits = number(cells[COL_PRECISION]);
      c->length_max = bits;
      c->mysql_meta = (uint16_t)((bits / 8) << 8 | bits % 8);
      return 0;
    }
    case PE_C_ENUM:
    case PE_C_SET:
      c->collation = (uint16_t)number(cells[COL_COLLATION]);
      return set_members(t, c, err);
    case PE_C_STR:
    case PE_C_BYTES:
      break;
    default:
      return 0;
  }
  if (set_address(c)) {
    return 0;
  }
  if (row->mysql_type != MYSQL_TYPE_GEOMETRY && row->mysql_type != TYPE_VECTOR) {
    set_text_type(c, cells);
  }
  return 0;
}

static int add_column(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct loading *l = arg;
  (void)ncols;
  (void)lengths;
  struct pe_column *c = pe_table_add(l->t, cells[COL_NAME]);
  if (c) {
    c->type_text =
        pe_arena_strndup(&l->t->arena, cells[COL_TYPE_TEXT], strlen(cells[COL_TYPE_TEXT]));
  }
  if (!c || !c->type_text) {
    l->rc = pe_err_set(l->err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    return 1;
  }
  c->nullable = strcmp(cells[COL_NULLABLE], "YES") == 0;
  const char *extra = cells[COL_EXTRA] ? cells[COL_EXTRA] : "";
  c->is_generated = strstr(extra, "VIRTUAL GENERATED") || strstr(extra, "STORED GENERATED");
  l->rc = set_type(l->t, c, cells, l->err);
  return l->rc;
}

/* " ... WHERE TABLE_SCHEMA = 'db' AND TABLE_NAME = 'table'" behind sql. */
static void put_where(struct pe_buf *b, const char *sql, const char *db, const char *table) {
  pe_buf_puts(b, sql);
  pe_buf_puts(b, " WHERE TABLE_SCHEMA = ");
  pe_buf_put_sql(b, db, strlen(db));
  if (table) {
    pe_buf_puts(b, " AND TABLE_NAME = ");
    pe_buf_put_sql(b, table, strlen(table));
  }
}

/* From MariaDB 10.10 on, a collation's id stands beside its full name in another table. */
static const char *collation_source(MYSQL *m) {
  return mariadb_connection(m) && mysql_get_server_version(m) >= 101001
             ? "(SELECT FULL_COLLATION_NAME AS NAME, MIN(ID) AS ID FROM "
               "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY GROUP BY 1)"
             : "(SELECT COLLATION_NAME AS NAME, ID FROM information_schema.COLLATIONS)";
}

static int load_columns(MYSQL *m, struct pe_table *t, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql,
              "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, IS_NULLABLE, "
              "CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, "
              "NUMERIC_SCALE, DATETIME_PRECISION, k.ID, EXTRA FROM information_schema.COLUMNS c "
              "LEFT JOIN ");
  pe_buf_puts(&sql, collation_source(m));
  put_where(&sql, " k ON k.NAME = c.COLLATION_NAME", t->db, t->name);
  pe_buf_puts(&sql, " ORDER BY ORDINAL_POSITION");
  struct loading l = {t, err, 0};
  int rc = pe_buf_ok(&sql) ? pe_source_query(m, pe_buf_cstr(&sql), add_column, &l, err)
                           : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  pe_buf_close(&sql);
  return rc ? rc : l.rc;
}

enum { NAMES_MAX = 4096 };

struct names {
  char *v[NAMES_MAX];
  size_t n;
};

static int add_name(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct names *names = arg;
  (void)ncols;
  (void)lengths;
  char *copy = cells[0] ? strdup(cells[0]) : NULL;
  if (copy) {
    names->v[names->n++] = copy;
  }
  return names->n == NAMES_MAX;
}

void pe_source_nearest_table(MYSQL *m, const char *db, const char *table, char *out, size_t n) {
  out[0] = 0;
  struct names *names = calloc(1, sizeof(*names));
  struct pe_buf sql;
  pe_buf_init(&sql);
  put_where(&sql, "SELECT TABLE_NAME FROM information_schema.TABLES", db, NULL);
  struct pe_err ignored = PE_ERR_INIT;
  if (names && pe_buf_ok(&sql) &&
      pe_source_query(m, pe_buf_cstr(&sql), add_name, names, &ignored) == 0) {
    const char *best = pe_str_nearest(table, (const char *const *)names->v, names->n);
    if (best) {
      snprintf(out, n, "%s", best);
    }
  }
  for (size_t i = 0; names && i < names->n; i++) {
    free(names->v[i]);
  }
  free(names);
  pe_buf_close(&sql);
}

static int no_such_table(MYSQL *m, const char *db, const char *table, struct pe_err *err) {
  char nearest[256], account[256];
  pe_source_nearest_table(m, db, table, nearest, sizeof(nearest));
  pe_source_account(m, account, sizeof(account));
  return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                    "the server has no table %s.%s%s%s%s; check the name in the pipeline file, or "
                    "if it is there: GRANT SELECT ON `%s`.`%s` TO %s",
                    db, table, nearest[0] ? " (did you mean " : "", nearest, nearest[0] ? "?)" : "",
                    db, table, account);
}

static int check_kind(MYSQL *m, const char *db, const char *table, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  put_where(&sql, "SELECT TABLE_TYPE FROM information_schema.TABLES", db, table);
  char kind[64];
  int rc = pe_buf_ok(&sql) ? pe_source_scalar(m, pe_buf_cstr(&sql), kind, sizeof(kind), err)
                           : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  pe_buf_close(&sql);
  if (rc < 0) {
    return rc;
  }
  if (rc == 0) {
    return no_such_table(m, db, table, err);
  }
  if (strcmp(kind, "BASE TABLE") != 0) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                      "%s.%s is a %s: only ordinary tables can be captured; take it out of the "
                      "pipeline",
                      db, table, kind);
  }
  return 0;
}

struct index_walk {
  char name[INDEX_NAME_MAX];   /* of the index being walked */
  char chosen[INDEX_NAME_MAX]; /* "" none yet */
  bool usable;
};

/* Rows come index by index: PRIMARY first, then unique ones by name. */
static int walk_index(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct index_walk *w = arg;
  (void)ncols;
  (void)lengths;
  if (strcmp(w->name, cells[0]) != 0) {
    if (w->usable && w->name[0]) {
      memcpy(w->chosen, w->name, sizeof(w->chosen));
      return 1;
    }
    snprintf(w->name, sizeof(w->name), "%s", cells[0]);
    w->usable = true;
  }
  bool whole_column = cells[1] != NULL && strcmp(cells[2], "YES") != 0;
  bool primary = strcmp(w->name, "PRIMARY") == 0;
  /* A prefix in a primary key makes the whole column unique as well. */
  w->usable = w->usable && whole_column && (primary || cells[3] == NULL);
  return 0;
}

int pe_source_key_index(MYSQL *m, const char *db, const char *table, char *name, size_t n,
                        struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  put_where(&sql,
            "SELECT INDEX_NAME, COLUMN_NAME, NULLABLE, SUB_PART FROM "
            "information_schema.STATISTICS",
            db, table);
  pe_buf_puts(&sql,
              " AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX");
  struct index_walk w = {.usable = false};
  int rc = pe_buf_ok(&sql) ? pe_source_query(m, pe_buf_cstr(&sql), walk_index, &w, err)
                           : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  pe_buf_close(&sql);
  if (rc) {
    return rc;
  }
  if (!w.chosen[0] && w.usable) {
    memcpy(w.chosen, w.name, sizeof(w.chosen));
  }
  if (!w.chosen[0]) {
    return pe_err_set(
        err, PE_ESOURCE_KEY, PE_CLASS_FATAL,
        "table %s.%s has neither a primary key nor a unique index of NOT NULL "
        "columns, so its rows cannot be told apart: ALTER TABLE `%s`.`%s` ADD PRIMARY "
        "KEY (...), or take the table out of the pipeline",
        db, table, db, table);
  }
  snprintf(name, n, "%s", w.chosen);
  return 0;
}

static int set_key_column(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct loading *l = arg;
  (void)ncols;
  (void)lengths;
  int i = pe_table_find(l->t, cells[0]);
  if (i < 0) {
    l->rc = pe_err_set(l->err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                       "its key has a column '%s' that it does not show", cells[0]);
    return 1;
  }
  l->t->columns[i].pk_ordinal = (uint16_t)number(cells[1]);
  return 0;
}

static int load_key(MYSQL *m, struct pe_table *t, struct pe_err *err) {
  char index[INDEX_NAME_MAX];
  int rc = pe_source_key_index(m, t->db, t->name, index, sizeof(index), err);
  if (rc) {
    return rc;
  }
  struct pe_buf sql;
  pe_buf_init(&sql);
  put_where(&sql, "SELECT COLUMN_NAME, SEQ_IN_INDEX FROM information_schema.STATISTICS", t->db,
            t->name);
  pe_buf_puts(&sql, " AND INDEX_NAME = ");
  pe_buf_put_sql(&sql, index, strlen(index));
  struct loading l = {t, err, 0};
  rc = pe_buf_ok(&sql) ? pe_source_query(m, pe_buf_cstr(&sql), set_key_column, &l, err)
                       : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  pe_buf_close(&sql);
  return rc ? rc : l.rc;
}

int pe_source_load_table(MYSQL *m, const char *db, const char *table, struct pe_table **out,
                         struct pe_err *err) {
  *out = NULL;
  int rc = check_kind(m, db, table, err);
  if (rc) {
    return rc;
  }
  struct pe_table *t = pe_table_create(db, table);
  if (!t) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  rc = load_columns(m, t, err);
  if (!rc && !t->ncolumns) {
    rc = no_such_table(m, db, table, err); /* dropped between two questions */
  } else if (!rc) {
    rc = load_key(m, t, err);
  }
  if (!rc) {
    rc = pe_table_finish(t, err);
  }
  if (rc) {
    pe_table_unref(t);
    return rc == PE_ESOURCE_KEY ? rc : pe_err_wrap(err, "table %s.%s", db, table);
  }
  *out = t;
  return 0;
}
