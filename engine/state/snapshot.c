/* How far the snapshots are: tables and their chunks. */
#include <string.h>

#include "base/assert.h"
#include "state/internal.h"

static const char *const phases[] = {
    [PE_SNAP_NONE] = "none",
    [PE_SNAP_RUNNING] = "running",
    [PE_SNAP_DIFF] = "diff",
    [PE_SNAP_DONE] = "done",
};
enum { PHASES = sizeof(phases) / sizeof(phases[0]) };

static int read_table(struct pe_state *s, sqlite3_stmt *st, struct pe_table_state *t,
                      struct pe_err *err) {
  memset(t, 0, sizeof(*t));
  int rc = pe_state_text(s, st, 0, t->name, sizeof(t->name), err);
  char phase[16];
  if (!rc) {
    rc = pe_state_text(s, st, 1, phase, sizeof(phase), err);
  }
  if (rc) {
    return rc;
  }
  for (int i = 0; i < PHASES; i++) {
    if (strcmp(phases[i], phase) == 0) {
      t->phase = (enum pe_snapshot_phase)i;
    }
  }
  t->version = pe_state_u64(st, 2);
  t->planned = sqlite3_column_int(st, 3) != 0;
  t->staged = sqlite3_column_int(st, 4) != 0;
  t->schema_hash = pe_state_u64(st, 5);
  t->rows = pe_state_u64(st, 6);
  return 0;
}

int pe_state_table_get(struct pe_state *s, const char *name, struct pe_table_state *t,
                       struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_TABLE_GET, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, name);
  rc = pe_state_one(s, st, err);
  if (rc == 1) {
    int bad = read_table(s, st, t, err);
    rc = bad ? bad : 1;
    sqlite3_reset(st);
  }
  return rc;
}

int pe_state_table_set(struct pe_state *s, const struct pe_table_state *t, struct pe_err *err) {
  PE_ASSERT((unsigned)t->phase < PHASES);
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_TABLE_SET, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, t->name);
  pe_state_bind_text(st, 2, phases[t->phase]);
  pe_state_bind_u64(st, 3, t->version);
  sqlite3_bind_int(st, 4, t->planned);
  sqlite3_bind_int(st, 5, t->staged);
  pe_state_bind_u64(st, 6, t->schema_hash);
  pe_state_bind_u64(st, 7, t->rows);
  return pe_state_run(s, st, err);
}

struct table_each {
  struct pe_state *s;
  int (*cb)(void *arg, const struct pe_table_state *t);
  void *arg;
  struct pe_err *err;
};

static int table_row(void *arg, sqlite3_stmt *st) {
  const struct table_each *e = arg;
  struct pe_table_state t;
  int rc = read_table(e->s, st, &t, e->err);
  return rc ? rc : e->cb(e->arg, &t);
}

int pe_state_table_each(struct pe_state *s, int (*cb)(void *arg, const struct pe_table_state *t),
                        void *arg, struct pe_err *err) {
  struct table_each e = {s, cb, arg, err};
  return pe_state_each(s,
                       "SELECT name, phase, version, planned, staged, schema_hash, rows"
                       " FROM table_state ORDER BY name",
                       NULL, table_row, &e, err);
}

static int run_on_table(struct pe_state *s, enum pe_stmt which, const char *name,
                        struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, which, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, name);
  return pe_state_run(s, st, err);
}

int pe_state_table_forget(struct pe_state *s, const char *name, struct pe_err *err) {
  int rc = run_on_table(s, PE_ST_CHUNK_FORGET, name, err);
  return rc ? rc : run_on_table(s, PE_ST_TABLE_FORGET, name, err);
}

int pe_state_chunk_put(struct pe_state *s, const char *table, uint64_t id, const char *lo,
                       const char *hi, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_CHUNK_PUT, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, table);
  pe_state_bind_u64(st, 2, id);
  pe_state_bind_text(st, 3, lo);
  pe_state_bind_text(st, 4, hi);
  return pe_state_run(s, st, err);
}

int pe_state_chunk_done(struct pe_state *s, const char *table, uint64_t id, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_CHUNK_DONE, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, table);
  pe_state_bind_u64(st, 2, id);
  rc = pe_state_run(s, st, err);
  if (!rc && sqlite3_changes(s->db) != 1) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "the state store %s knows no chunk %llu of table %s", s->path,
                      (unsigned long long)id, table);
  }
  return rc;
}

struct chunk_each {
  int (*cb)(void *arg, uint64_t id, const char *lo, const char *hi, bool done);
  void *arg;
};

static int chunk_row(void *arg, sqlite3_stmt *st) {
  const struct chunk_each *e = arg;
  return e->cb(e->arg, pe_state_u64(st, 0), (const char *)sqlite3_column_text(st, 1),
               (const char *)sqlite3_column_text(st, 2), sqlite3_column_int(st, 3) != 0);
}

int pe_state_chunk_each(struct pe_state *s, const char *table,
                        int (*cb)(void *arg, uint64_t id, const char *lo, const char *hi,
                                  bool done),
                        void *arg, struct pe_err *err) {
  struct chunk_each e = {cb, arg};
  return pe_state_each(s, "SELECT id, lo, hi, done FROM chunk WHERE table_name = ?1 ORDER BY id",
                       table, chunk_row, &e, err);
}
