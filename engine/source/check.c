/* What doctor prints and what run refuses to start on: each finding says what is and what to do.
 * Blocking; owner: the calling thread. Nothing here changes the server. A question that the account
 * may not ask is left out unless the answer is needed. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "source/server.h"
#include "source/snapshot_internal.h"

/* Exported by the library, in none of its headers. */
unsigned long mysql_net_read_packet(MYSQL *m);

enum {
  EXPIRE_SECONDS_MIN = 7 * 86400,
  COM_DUMP = 18,
  DUMP_NON_BLOCK = 1,
  FOREIGN_KEYS_LOGGED_FROM = 90600, /* MySQL: keys are handled above the engine from here on */
  ITEM_TOKENS_MAX = 20,             /* a foreign key has at most 16 outside of parentheses */
  TABLES_NAMED_BYTES_MAX = 250,     /* of a finding's text */
  GRANTS_NAMED_BYTES_MAX = 400
};

enum access { MISSING, REFUSED, READABLE };

struct checking {
  MYSQL *m;
  const struct pe_source_opts *o;
  const char *db;
  const char *const *tables;
  unsigned ntables;
  struct pe_server_info info;
  char account[256];
  enum access *access;  /* by table */
  bool no_dump, no_end; /* refused: to read the binlog, to ask where it ends */
  unsigned nrefused;    /* tables */
  struct pe_finding *out;
  unsigned n, max;
  struct pe_err *err;
};

/* A finding whose mend is set by `mend` afterwards. */
static void found(struct checking *k, bool fatal, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void found(struct checking *k, bool fatal, int code, const char *fmt, ...) {
  if (k->n == k->max) {
    return;
  }
  struct pe_finding *f = &k->out[k->n++];
  memset(f, 0, sizeof(*f));
  f->fatal = fatal;
  f->code = code;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(f->what, sizeof(f->what), fmt, ap);
  va_end(ap);
}

static void mend(struct checking *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void mend(struct checking *k, const char *fmt, ...) {
  if (!k->n) {
    return;
  }
  struct pe_finding *f = &k->out[k->n - 1];
  if (f->mend[0]) {
    return; /* the list is full: the finding before has its own */
  }
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(f->mend, sizeof(f->mend), fmt, ap);
  va_end(ap);
}

/* A variable that must (not) have a value; settings that can be changed without a restart. */
struct rule {
  const char *name, *value;
  bool must_be; /* else: must not contain */
  bool fatal;
  const char *why;
  const char *want;
};

static const struct rule rules[] = {
    {"binlog_format", "ROW", true, true, "only row events carry the rows that changed", "ROW"},
    {"binlog_row_image", "FULL", true, true,
     "without the whole image before a change old keys cannot be retracted", "FULL"},
    {"binlog_row_metadata", "FULL", true, false,
     "column names are then taken from information_schema, and a table changed while the engine is "
     "away must be checked by a person",
     "FULL"},
    {"binlog_row_value_options", "PARTIAL_JSON", false, true,
     "parts of JSON documents cannot be put together here", "''"},
    {"binlog_transaction_compression", "ON", false, true, "compressed transactions are not read",
     "OFF"},
    {"log_bin_compress", "ON", false, true, "compressed events are not read", "OFF"},
};

static int check_rule(struct checking *k, const struct rule *r) {
  char value[256];
  int rc = pe_source_variable(k->m, r->name, value, sizeof(value), k->err);
  if (rc < 0) {
    return rc;
  }
  bool bad = r->must_be ? strcasecmp(value, r->value) != 0 : strstr(value, r->value) != NULL;
  if (!rc || !bad) {
    return 0; /* a server without the variable does not do what it is about */
  }
  found(k, r->fatal, PE_ESOURCE_SETTING, "%s is %s: %s", r->name, value, r->why);
  mend(k,
       "SET GLOBAL %s = %s; and in my.cnf under [mysqld]: %s=%s (sessions that are open now keep "
       "the old value: let the applications reconnect)",
       r->name, r->want, r->name, strcmp(r->want, "''") == 0 ? "" : r->want);
  return 0;
}

static int check_expiry(struct checking *k) {
  char value[64];
  int rc = pe_source_variable(k->m, "binlog_expire_logs_seconds", value, sizeof(value), k->err);
  double seconds = strtod(value, NULL);
  if (rc >= 0 && seconds <= 0) {
    rc = pe_source_variable(k->m, "expire_logs_days", value, sizeof(value), k->err);
    seconds = strtod(value, NULL) * 86400;
  }
  if (rc < 0) {
    return rc;
  }
  if (seconds > 0 && seconds < EXPIRE_SECONDS_MIN) {
    found(k, false, PE_ESOURCE_SETTING,
          "the server throws its binlogs away after %.1f hours: an engine that is away for longer "
          "has to start over",
          seconds / 3600);
    mend(k, "SET GLOBAL %s; and the same in my.cnf under [mysqld]",
         k->info.mariadb && k->info.version < 100601 ? "expire_logs_days = 7"
                                                     : "binlog_expire_logs_seconds = 604800");
  }
  return 0;
}

static int check_settings(struct checking *k) {
  if (!k->info.log_bin) {
    found(k, true, PE_ESOURCE_SETTING, "log_bin is OFF: the server writes no binlog");
    mend(k,
         "in my.cnf under [mysqld]: log_bin=mysql-bin, server_id=1, binlog_format=ROW; then "
         "restart the server");
    return 0;
  }
  for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
    int rc = check_rule(k, &rules[i]);
    if (rc) {
      return rc;
    }
  }
  if (!k->info.gtid) {
    found(k, false, PE_ESOURCE_SETTING,
          "gtid_mode is not ON: after a fail-over the engine cannot find its place by itself");
    mend(k,
         "turn gtid_mode to ON step by step: OFF_PERMISSIVE, ON_PERMISSIVE, ON (with "
         "enforce_gtid_consistency = ON)");
  }
  return check_expiry(k);
}

struct status_row {
  char file[PE_BINLOG_FILE_MAX];
  char *only, *never; /* Binlog_Do_DB, Binlog_Ignore_DB */
};

static int take_status(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct status_row *s = arg;
  (void)lengths;
  if (ncols >= 4 && cells[0]) {
    snprintf(s->file, sizeof(s->file), "%s", cells[0]);
    s->only = cells[2] ? strdup(cells[2]) : NULL;
    s->never = cells[3] ? strdup(cells[3]) : NULL;
  }
  return 1;
}

static bool in_list(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *p = list; p && *p;) {
    size_t len = strcspn(p, ",");
    if (len == n && strncasecmp(p, name, n) == 0) {
      return true;
    }
    p += len + (p[len] == ',');
  }
  return false;
}

static void check_filters(struct checking *k, const struct status_row *s) {
  bool left_out = in_list(s->never, k->db) || (s->only && s->only[0] && !in_list(s->only, k->db));
  if (left_out) {
    found(k, true, PE_ESOURCE_SETTING,
          "the server leaves database '%s' out of its binlog (binlog_do_db, binlog_ignore_db)",
          k->db);
    mend(k,
         "take binlog_do_db and binlog_ignore_db out of my.cnf, or let them include '%s'; then "
         "restart the server",
         k->db);
  }
}

static void put_le(unsigned char *p, uint64_t v, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    p[i] = (unsigned char)(v >> (8 * i));
  }
}

/* Asks for the log from its current file, not waiting for more; under an id that nobody has, so
 * that it disturbs no replica. 0 or the server's error number. */
static unsigned probe_dump(MYSQL *m, const char *file) {
  unsigned char body[10 + PE_BINLOG_FILE_MAX];
  size_t len = strlen(file);
  uint32_t id = 0x80000000u | ((uint32_t)time(NULL) ^ (uint32_t)getpid() << 12);
  if (mysql_query(m,
                  "SET @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE', "
                  "@mariadb_slave_capability = 4")) {
    return mysql_errno(m);
  }
  put_le(body, 4, 4);
  put_le(body + 4, DUMP_NON_BLOCK, 2);
  put_le(body + 6, id, 4);
  memcpy(body + 10, file, len);
  if (m->methods->db_command(m, (enum enum_server_command)COM_DUMP, (char *)body, 10 + len, 1,
                             NULL)) {
    return mysql_errno(m);
  }
  /* The first packets decide; the rest of the file is not wanted. */
  unsigned long n = mysql_net_read_packet(m);
  return n == packet_error ? mysql_errno(m) : 0;
}

static int check_dump(struct checking *k, const char *file) {
  struct pe_err ignored = PE_ERR_INIT;
  MYSQL *m = pe_source_connect(k->o, &ignored);
  if (!m) {
    return pe_err_set(k->err, ignored.code, ignored.cls, "%s", ignored.text);
  }
  unsigned code = probe_dump(m, file);
  if (code == 1227 || code == 1045 || code == 1044) {
    k->no_dump = true;
  } else if (code) {
    found(k, true, PE_ESOURCE_SETTING, "the server refuses to send its binlog: %s", mysql_error(m));
    mend(k,
         "see the server's error log; a server_id of 0 on the server is the usual reason (SET "
         "GLOBAL server_id = 1)");
  }
  mysql_close(m);
  return 0;
}

static int check_log(struct checking *k) {
  if (!k->info.log_bin) {
    return 0;
  }
  struct status_row s = {.only = NULL};
  struct pe_err refused = PE_ERR_INIT;
  bool renamed = !k->info.mariadb && k->info.version >= 80400;
  int rc = pe_source_query(k->m, renamed ? "SHOW BINARY LOG STATUS" : "SHOW MASTER STATUS",
                           take_status, &s, &refused);
  if (rc == PE_ESOURCE_GRANT) {
    k->no_end = true;
    rc = 0;
    /* MariaDB tells the position to everyone, by another name. */
    struct pe_position pos = {.pos = 0};
    if (k->info.mariadb && pe_source_position(k->m, &pos, &refused) == 0) {
      snprintf(s.file, sizeof(s.file), "%s", pos.file);
    }
  } else if (rc) {
    rc = pe_err_set(k->err, refused.code, refused.cls, "%s", refused.text);
  }
  check_filters(k, &s);
  if (!rc && s.file[0]) {
    rc = check_dump(k, s.file);
  } else if (!rc && !k->info.mariadb) {
    /* Without a name the server takes its first file: the grant is looked at before it. */
    rc = check_dump(k, "");
  }
  free(s.only);
  free(s.never);
  return rc;
}

struct replica_walk {
  uint32_t id;
  bool seen;
  char host[128];
};

static int take_replica(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct replica_walk *w = arg;
  (void)lengths;
  if (ncols >= 2 && cells[0] && strtoul(cells[0], NULL, 10) == w->id) {
    w->seen = true;
    snprintf(w->host, sizeof(w->host), "%s", cells[1] ? cells[1] : "");
  }
  return w->seen;
}

static void check_server_id(struct checking *k) {
  uint32_t id = k->o->server_id;
  if (k->info.log_bin && k->info.server_id == 0) {
    found(k, true, PE_ESOURCE_SETTING, "the server's own server_id is 0: it serves no replica");
    mend(k, "SET GLOBAL server_id = 1; and in my.cnf under [mysqld]: server_id=1");
  }
  if (!id) {
    return;
  }
  if (id == k->info.server_id) {
    found(k, true, PE_ESOURCE_ID, "server_id %u of this pipeline is the server's own", id);
    mend(k, "give the pipeline another server_id (any number that no server and no replica has)");
    return;
  }
  bool renamed = !k->info.mariadb && k->info.version >= 80022;
  struct replica_walk w = {.id = id};
  struct pe_err ignored = PE_ERR_INIT;
  if (pe_source_query(k->m, renamed ? "SHOW REPLICAS" : "SHOW SLAVE HOSTS", take_replica, &w,
                      &ignored) == 0 &&
      w.seen) {
    found(k, true, PE_ESOURCE_ID, "server_id %u of this pipeline is in use by replica '%s'", id,
          w.host);
    mend(k, "give the pipeline another server_id: two with the same one throw each other off");
  }
}

static int take_any(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  (void)ncols;
  (void)cells;
  (void)lengths;
  *(bool *)arg = true;
  return 1;
}

/* What a replica replays is in its own log only if it is told so. */
static int check_replica(struct checking *k) {
  char value[64];
  bool is_replica = false;
  struct pe_err ignored = PE_ERR_INIT;
  bool renamed = !k->info.mariadb && k->info.version >= 80026;
  const char *name = renamed ? "log_replica_updates" : "log_slave_updates";
  int rc = pe_source_variable(k->m, name, value, sizeof(value), k->err);
  if (rc <= 0 || strcmp(value, "OFF") != 0) {
    return rc < 0 ? rc : 0;
  }
  if (pe_source_query(k->m, renamed ? "SHOW REPLICA STATUS" : "SHOW ALL SLAVES STATUS", take_any,
                      &is_replica, &ignored) == 0 &&
      is_replica) {
    found(k, true, PE_ESOURCE_SETTING,
          "the server is a replica and %s is OFF: what it gets from its source is not in its "
          "binlog",
          name);
    mend(k, "in my.cnf under [mysqld]: %s=ON, then restart it; or read from its source", name);
  }
  return 0;
}

static int check_readable(struct checking *k, unsigned index) {
  const char *table = k->tables[index];
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "SELECT * FROM ");
  pe_buf_put_ident(&sql, k->db);
  pe_buf_puts(&sql, ".");
  pe_buf_put_ident(&sql, table);
  pe_buf_puts(&sql, " LIMIT 0");
  struct pe_err e = PE_ERR_INIT;
  int rc = pe_buf_ok(&sql) ? pe_source_query(k->m, pe_buf_cstr(&sql), NULL, NULL, &e) : PE_ENOMEM;
  pe_buf_close(&sql);
  k->access[index] = rc == 0 ? READABLE : MISSING;
  if (rc == PE_ESOURCE_GRANT) {
    k->access[index] = REFUSED;
    k->nrefused++;
    return 0;
  }
  if (rc == PE_ESOURCE_SCHEMA) {
    char nearest[256];
    pe_source_nearest_table(k->m, k->db, table, nearest, sizeof(nearest));
    found(k, true, PE_ESOURCE_SCHEMA, "there is no table %s.%s%s%s%s", k->db, table,
          nearest[0] ? "; did you mean " : "", nearest, nearest[0] ? "?" : "");
    mend(k, "correct the name under `tables` in the pipeline file, or take it out");
    return 0;
  }
  return rc ? pe_err_set(k->err, e.code ? e.code : rc, e.cls, "%s", e.text) : 0;
}

static void list_refused(struct checking *k, struct pe_buf *out) {
  unsigned named = 0;
  for (unsigned i = 0; i < k->ntables; i++) {
    if (k->access[i] == REFUSED && out->len < TABLES_NAMED_BYTES_MAX) {
      pe_buf_printf(out, "%s%s.%s",
                    named             ? ", "
                    : k->nrefused > 1 ? "tables "
                                      : "table ",
                    k->db, k->tables[i]);
      named++;
    }
  }
  if (named < k->nrefused) {
    pe_buf_printf(out, " and %u more", k->nrefused - named);
  }
}

static void put_select(struct checking *k, struct pe_buf *out, const char *table) {
  pe_buf_puts(out, out->len ? "; GRANT SELECT ON " : "GRANT SELECT ON ");
  pe_buf_put_ident(out, k->db);
  pe_buf_puts(out, ".");
  if (table) {
    pe_buf_put_ident(out, table);
  } else {
    pe_buf_puts(out, "*");
  }
  pe_buf_printf(out, " TO %s", k->account);
}

/* One for each table, as no more than needed is asked for; one for the database where that would
 * be too long to print. */
static void list_selects(struct checking *k, struct pe_buf *out) {
  size_t begin = out->len;
  for (unsigned i = 0; i < k->ntables; i++) {
    if (k->access[i] == REFUSED) {
      put_select(k, out, k->tables[i]);
    }
  }
  if (out->len > GRANTS_NAMED_BYTES_MAX) {
    out->len = begin;
    put_select(k, out, NULL);
  }
}

/* All that is missing in one finding: whoever has to ask for grants wants to ask once. */
static int report_grants(struct checking *k) {
  if (!k->no_dump && !k->no_end && !k->nrefused) {
    return 0;
  }
  struct pe_buf what, grants;
  pe_buf_init(&what);
  pe_buf_init(&grants);
  if (k->no_dump) {
    pe_buf_puts(&what, "read the binlog");
  }
  if (k->no_end) {
    pe_buf_puts(&what, what.len ? ", nor ask where it ends" : "ask where the binlog ends");
  }
  if (k->no_dump || k->no_end) {
    pe_buf_printf(&grants, "GRANT %s%s%s ON *.* TO %s", k->no_dump ? "REPLICATION SLAVE" : "",
                  k->no_dump && k->no_end ? ", " : "", k->no_end ? "REPLICATION CLIENT" : "",
                  k->account);
  }
  if (k->nrefused) {
    pe_buf_puts(&what, what.len ? ", nor read " : "read ");
    list_refused(k, &what);
    list_selects(k, &grants);
  }
  bool ok = pe_buf_ok(&what) && pe_buf_ok(&grants);
  if (ok) {
    found(k, k->no_dump || k->nrefused || !k->info.mariadb, PE_ESOURCE_GRANT, "%s may not %s",
          k->account, pe_buf_cstr(&what));
    mend(k, "%s", pe_buf_cstr(&grants));
  }
  pe_buf_close(&what);
  pe_buf_close(&grants);
  return ok ? 0 : pe_err_set(k->err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
}

/* MariaDB's compressed columns are compressed in the log too. */
static void check_compressed(struct checking *k, const struct pe_table *t) {
  for (uint32_t i = 0; i < t->nsource; i++) {
    const struct pe_column *c = &t->columns[i];
    if (strstr(c->type_text, "COMPRESSED")) {
      found(k, true, PE_ESOURCE_SCHEMA,
            "column `%s` of table %s.%s is COMPRESSED, which is not read", c->name, t->db, t->name);
      mend(k,
           "ALTER TABLE `%s`.`%s` MODIFY `%s` ... without COMPRESSED, or take the table out of "
           "the pipeline",
           t->db, t->name, c->name);
    }
  }
}

static int check_table(struct checking *k, const char *table) {
  struct pe_table *t;
  struct pe_err e = PE_ERR_INIT;
  int rc = pe_source_load_table(k->m, k->db, table, &t, &e);
  if (!rc) {
    check_compressed(k, t);
    pe_table_unref(t);
    return 0;
  }
  if (rc == PE_ESOURCE_KEY) {
    found(k, true, PE_ESOURCE_KEY,
          "table %s.%s has no primary key (nor a unique index of NOT NULL columns)", k->db, table);
    mend(k, "ALTER TABLE `%s`.`%s` ADD PRIMARY KEY (...), or take the table out of the pipeline",
         k->db, table);
    return 0;
  }
  if (rc == PE_ESOURCE_SCHEMA) {
    found(k, true, rc, "%.500s", e.text);
    mend(k, "take the table out of the pipeline, or change it");
    return 0;
  }
  return pe_err_set(k->err, e.code, e.cls, "%s", e.text);
}

/* A piece of SHOW CREATE TABLE; quoted ones with their quotes. */
struct token {
  const char *at;
  size_t len;
};

struct ddl {
  const char *p, *end;
};

static bool in_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$' || (unsigned char)c >= 0x80;
}

/* False at the end. Names and texts may hold anything, so whatever looks like a clause in them must
 * not be taken for one. */
static bool next_token(struct ddl *d, struct token *t) {
  while (d->p < d->end && (*d->p == ' ' || *d->p == '\n' || *d->p == '\r' || *d->p == '\t')) {
    d->p++;
  }
  t->at = d->p;
  if (d->p == d->end) {
    return false;
  }
  char first = *d->p++;
  if (first == '`' || first == '\'' || first == '"') {
    while (d->p < d->end) {
      char c = *d->p++;
      if (c == '\\' && first != '`' && d->p < d->end) {
        d->p++;
      } else if (c == first && (d->p == d->end || *d->p != first)) {
        break;
      } else if (c == first) {
        d->p++;
      }
    }
  } else if (in_word(first)) {
    while (d->p < d->end && in_word(*d->p)) {
      d->p++;
    }
  }
  t->len = (size_t)(d->p - t->at);
  return true;
}

static bool is_word(const struct token *t, const char *word) {
  return t->len == strlen(word) && strncasecmp(t->at, word, t->len) == 0;
}

/* The next definition between the outer parentheses, without what is in parentheses of its own;
 * further tokens than max are left out. False when there is none. */
static bool next_item(struct ddl *d, struct token *item, unsigned max, unsigned *n) {
  unsigned depth = 1;
  struct token t;
  *n = 0;
  while (next_token(d, &t)) {
    char c = t.len == 1 ? *t.at : 0;
    if (c == '(') {
      depth++;
    } else if (c == ')' && --depth == 0) {
      d->p = d->end;
      return *n > 0;
    } else if (c == ',' && depth == 1) {
      return true;
    } else if (c != ')' && depth == 1 && *n < max) {
      item[(*n)++] = t;
    }
  }
  return false;
}

static void put_name(struct pe_buf *out, const struct token *t) {
  if (*t->at != '`' || t->len < 2) {
    pe_buf_put(out, t->at, t->len);
    return;
  }
  for (size_t i = 1; i + 1 < t->len; i++) {
    pe_buf_put(out, t->at + i, 1);
    i += t->at[i] == '`'; /* doubled */
  }
}

/* "SET NULL" of ... ON DELETE SET NULL; NULL for what changes no row. */
static const char *action_of(const struct token *item, unsigned n, const char *event) {
  for (unsigned i = 0; i + 2 < n; i++) {
    if (is_word(&item[i], "ON") && is_word(&item[i + 1], event)) {
      if (is_word(&item[i + 2], "CASCADE")) {
        return "CASCADE";
      }
      if (i + 3 < n && is_word(&item[i + 2], "SET")) {
        return is_word(&item[i + 3], "NULL") ? "SET NULL" : "SET DEFAULT";
      }
    }
  }
  return NULL;
}

/* CONSTRAINT name FOREIGN KEY (...) REFERENCES [db.]parent (...) [ON DELETE x] [ON UPDATE x] */
static void check_key(struct checking *k, const char *table, const struct token *item, unsigned n) {
  if (n < 6 || !is_word(&item[0], "CONSTRAINT") || !is_word(&item[2], "FOREIGN") ||
      !is_word(&item[3], "KEY") || !is_word(&item[4], "REFERENCES")) {
    return;
  }
  const char *on_delete = action_of(item + 5, n - 5, "DELETE");
  const char *on_update = action_of(item + 5, n - 5, "UPDATE");
  if (!on_delete && !on_update) {
    return;
  }
  struct pe_buf name, parent;
  pe_buf_init(&name);
  pe_buf_init(&parent);
  put_name(&name, &item[1]);
  put_name(&parent, &item[5]);
  if (n > 7 && is_word(&item[6], ".")) {
    pe_buf_puts(&parent, ".");
    put_name(&parent, &item[7]);
  }
  found(k, false, PE_ESOURCE_SCHEMA,
        "foreign key %s of table %s (%s%s%s%s%s): this server does not write the rows of %s that "
        "it changes by itself to the binlog, so nobody reading it can see them",
        pe_buf_cstr(&name), table, on_delete ? "ON DELETE " : "", on_delete ? on_delete : "",
        on_delete && on_update ? ", " : "", on_update ? "ON UPDATE " : "",
        on_update ? on_update : "", table);
  mend(k,
       "schedule a resync of %s, or let the application (or a trigger on %s) change those rows "
       "and make the key RESTRICT",
       table, pe_buf_cstr(&parent));
  pe_buf_close(&name);
  pe_buf_close(&parent);
}

struct create_walk {
  struct checking *k;
  const char *table;
};

static int take_create(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct create_walk *w = arg;
  if (ncols < 2 || !cells[1]) {
    return 1;
  }
  struct ddl d = {cells[1], cells[1] + lengths[1]};
  struct token t, item[ITEM_TOKENS_MAX];
  bool more = true;
  unsigned n;
  while ((more = next_token(&d, &t)) && !(t.len == 1 && *t.at == '(')) {
  }
  while (more && next_item(&d, item, ITEM_TOKENS_MAX, &n)) {
    check_key(w->k, w->table, item, n);
  }
  return 1;
}

static int check_cascades_of(struct checking *k, const char *table) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "SHOW CREATE TABLE ");
  pe_buf_put_ident(&sql, k->db);
  pe_buf_puts(&sql, ".");
  pe_buf_put_ident(&sql, table);
  struct pe_err e = PE_ERR_INIT;
  struct create_walk w = {k, table};
  int rc = pe_buf_ok(&sql) ? pe_source_query(k->m, pe_buf_cstr(&sql), take_create, &w, &e)
                           : pe_err_set(&e, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  if (rc == PE_ESOURCE_GRANT) { /* SELECT on each column reads the rows, but does not show this */
    found(k, false, rc, "%s may not see the foreign keys of table %s.%s", k->account, k->db, table);
    pe_buf_clear(&sql);
    put_select(k, &sql, table);
    mend(k, "%s", pe_buf_ok(&sql) ? pe_buf_cstr(&sql) : "GRANT SELECT ON the table");
    rc = 0;
  }
  pe_buf_close(&sql);
  return rc ? pe_err_set(k->err, e.code, e.cls, "%s", e.text) : 0;
}

/* By SHOW CREATE TABLE, because MariaDB shows an account that may only SELECT nothing in
 * information_schema.REFERENTIAL_CONSTRAINTS. */
static int check_cascades(struct checking *k) {
  char native[16] = "";
  int rc = 0;
  if (!k->info.mariadb && k->info.version >= FOREIGN_KEYS_LOGGED_FROM) {
    rc = pe_source_variable(k->m, "innodb_native_foreign_keys", native, sizeof(native), k->err);
    if (rc < 0 || strcmp(native, "ON") != 0) {
      return rc < 0 ? rc : 0;
    }
    rc = 0;
  }
  for (unsigned i = 0; !rc && i < k->ntables; i++) {
    rc = k->access[i] == READABLE ? check_cascades_of(k, k->tables[i]) : 0;
  }
  return rc;
}

static int check_tables(struct checking *k) {
  int rc = 0;
  k->access = calloc(k->ntables + 1, sizeof(*k->access));
  if (!k->access) {
    return pe_err_set(k->err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  for (unsigned i = 0; !rc && i < k->ntables; i++) {
    rc = check_readable(k, i);
  }
  if (!rc) {
    rc = report_grants(k);
  }
  for (unsigned i = 0; !rc && i < k->ntables; i++) {
    rc = k->access[i] == READABLE ? check_table(k, k->tables[i]) : 0;
  }
  if (!rc) {
    rc = check_cascades(k);
  }
  free(k->access);
  return rc;
}

int pe_source_check(MYSQL *m, const struct pe_source_opts *o, const char *db,
                    const char *const *tables, unsigned ntables, struct pe_finding *findings,
                    unsigned max, struct pe_err *err) {
  struct pe_err local = PE_ERR_INIT;
  struct checking k = {.m = m,
                       .o = o,
                       .db = db,
                       .tables = tables,
                       .ntables = ntables,
                       .out = findings,
                       .max = max,
                       .err = err ? err : &local};
  int rc = pe_source_info(m, &k.info, k.err);
  if (!rc) {
    pe_source_account(m, k.account, sizeof(k.account));
    rc = check_settings(&k);
  }
  if (!rc) {
    rc = check_log(&k);
  }
  if (!rc) {
    check_server_id(&k);
    rc = check_replica(&k);
  }
  if (!rc) {
    rc = check_tables(&k);
  }
  if (rc) {
    return pe_err_wrap(k.err, "check the source");
  }
  return (int)k.n;
}
