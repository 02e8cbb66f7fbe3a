/* The file itself: settings of the connection, whose file it is, and its tables. Everything in it
 * is plain columns, for people with the sqlite3 shell. */
#include <stdio.h>
#include <string.h>

#include "state/internal.h"

static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    /* where to go on: all changes up to version are in the target */
    "CREATE TABLE checkpoint(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " file TEXT NOT NULL, pos INTEGER NOT NULL, generation INTEGER NOT NULL,"
    " base_version INTEGER NOT NULL, version INTEGER NOT NULL, ts_us INTEGER NOT NULL,"
    " saved_at TEXT NOT NULL);"
    /* the range that may be half in the target */
    "CREATE TABLE epoch(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " id INTEGER NOT NULL, snapshot INTEGER NOT NULL, from_version INTEGER NOT NULL,"
    " to_file TEXT NOT NULL, to_pos INTEGER NOT NULL, to_generation INTEGER NOT NULL,"
    " to_base_version INTEGER NOT NULL, to_version INTEGER NOT NULL, to_ts_us INTEGER NOT NULL,"
    " script_hash TEXT NOT NULL, block_rows INTEGER NOT NULL, saved_at TEXT NOT NULL);"
    "CREATE TABLE script_set(hash TEXT PRIMARY KEY, put INTEGER NOT NULL, saved_at TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE script(hash TEXT NOT NULL, module TEXT NOT NULL, path TEXT, text TEXT NOT NULL,"
    " UNIQUE(hash, module));"
    "CREATE TABLE table_state(name TEXT PRIMARY KEY,"
    " phase TEXT NOT NULL CHECK(phase IN ('none', 'running', 'diff', 'done')),"
    " version INTEGER NOT NULL, planned INTEGER NOT NULL, staged INTEGER NOT NULL,"
    " schema_hash INTEGER NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE chunk(table_name TEXT NOT NULL, id INTEGER NOT NULL, lo TEXT, hi TEXT,"
    " done INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(table_name, id)) WITHOUT ROWID;"
    "CREATE TABLE kv(space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY(space, key)) WITHOUT ROWID;";

static int read_number(struct pe_state *s, const char *sql, int64_t *out, struct pe_err *err) {
  sqlite3_stmt *st;
  if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK ||
      sqlite3_step(st) != SQLITE_ROW) {
    int rc = pe_state_fail(s, "open", err);
    sqlite3_finalize(st);
    return rc;
  }
  *out = sqlite3_column_int64(st, 0);
  sqlite3_finalize(st);
  return 0;
}

static int create_tables(struct pe_state *s, struct pe_err *err) {
  char pragmas[128];
  snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id=%d; PRAGMA user_version=%d",
           PE_STATE_APP_ID, PE_STATE_FORMAT);
  int rc = pe_state_exec(s, "BEGIN IMMEDIATE", "set up", err);
  if (!rc) {
    rc = pe_state_exec(s, schema, "set up", err);
  }
  if (!rc) {
    rc = pe_state_exec(s, pragmas, "set up", err);
  }
  if (!rc) {
    rc = pe_state_exec(s, "COMMIT", "set up", err);
  }
  if (rc && !sqlite3_get_autocommit(s->db)) {
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  }
  return rc;
}

/* Ours, of a format we know? *empty: a file with nothing in it yet. */
static int check_owner(struct pe_state *s, bool *empty, struct pe_err *err) {
  int64_t app_id = 0, format = 0, objects = 0;
  int rc = read_number(s, "PRAGMA application_id", &app_id, err);
  if (!rc) {
    rc = read_number(s, "PRAGMA user_version", &format, err);
  }
  if (!rc) {
    rc = read_number(s, "SELECT count(*) FROM sqlite_master", &objects, err);
  }
  if (rc) {
    return rc;
  }
  *empty = app_id == 0 && format == 0 && objects == 0;
  if (*empty || (app_id == PE_STATE_APP_ID && format == PE_STATE_FORMAT)) {
    return 0;
  }
  if (app_id != PE_STATE_APP_ID) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "%s is an SQLite file of another program: move it away, or use another "
                      "state directory",
                      s->path);
  }
  return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                    "the state store %s has format %lld and this engine knows format %d: run it "
                    "with the version of pipe-engine that wrote it",
                    s->path, (long long)format, (int)PE_STATE_FORMAT);
}

int pe_state_prepare_file(struct pe_state *s, struct pe_err *err) {
  sqlite3_busy_timeout(s->db, PE_STATE_BUSY_MS);
  /* A damaged schema must be an error, and no file may bring code along. */
  sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  bool empty = false;
  int rc = check_owner(s, &empty, err);
  if (rc) {
    return rc;
  }
  if (empty && s->read_only) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "the state store %s is empty: the pipeline has not run yet", s->path);
  }
  if (!s->read_only) {
    char pragmas[256];
    snprintf(pragmas, sizeof(pragmas),
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-%d;"
             "PRAGMA journal_size_limit=%d",
             PE_STATE_CACHE_KB, PE_STATE_WAL_KEEP_BYTES);
    rc = pe_state_exec(s, pragmas, "open", err);
  }
  if (!rc && empty) {
    rc = create_tables(s, err);
  }
  return rc;
}
