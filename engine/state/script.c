/* Script sets by hash: what an epoch that may be half in the target was made with. */
#include "state/internal.h"

int pe_state_script_put(struct pe_state *s, const char *hash, const char *module, const char *path,
                        const char *text, size_t len, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_SCRIPT_SET_PUT, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, hash);
  rc = pe_state_run(s, st, err);
  if (!rc) {
    rc = pe_state_stmt(s, PE_ST_SCRIPT_PUT, &st, err);
  }
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, hash);
  pe_state_bind_text(st, 2, module);
  pe_state_bind_text(st, 3, path);
  sqlite3_bind_text64(st, 4, len ? text : "", len, SQLITE_STATIC, SQLITE_UTF8);
  return pe_state_run(s, st, err);
}

struct script_each {
  int (*cb)(void *arg, const char *module, const char *path, const char *text, size_t len);
  void *arg;
};

static int script_row(void *arg, sqlite3_stmt *st) {
  const struct script_each *e = arg;
  const char *text = (const char *)sqlite3_column_text(st, 2);
  return e->cb(e->arg, (const char *)sqlite3_column_text(st, 0),
               (const char *)sqlite3_column_text(st, 1), text ? text : "",
               (size_t)sqlite3_column_bytes(st, 2));
}

int pe_state_script_each(struct pe_state *s, const char *hash,
                         int (*cb)(void *arg, const char *module, const char *path,
                                   const char *text, size_t len),
                         void *arg, struct pe_err *err) {
  struct script_each e = {cb, arg};
  return pe_state_each(s, "SELECT module, path, text FROM script WHERE hash = ?1 ORDER BY rowid",
                       hash, script_row, &e, err);
}

int pe_state_script_prune(struct pe_state *s, unsigned keep, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_SCRIPT_PRUNE, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_u64(st, 1, keep);
  rc = pe_state_run(s, st, err);
  if (!rc) {
    rc = pe_state_stmt(s, PE_ST_SCRIPT_PRUNE_TEXTS, &st, err);
  }
  return rc ? rc : pe_state_run(s, st, err);
}
