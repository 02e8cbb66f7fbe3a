/* Key/value pairs under a name (a space): lookups, quarantined rows. Written by the hundred
 * thousand in one transaction, read as a whole at start. */
#include "state/internal.h"

/* An empty blob must not be bound by a NULL pointer: that would be SQL NULL. */
static void bind_bytes(sqlite3_stmt *st, int at, const void *p, size_t n) {
  sqlite3_bind_blob64(st, at, n ? p : "", n, SQLITE_STATIC);
}

int pe_state_kv_put(struct pe_state *s, const char *space, const void *key, size_t nkey,
                    const void *value, size_t nvalue, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, nvalue ? PE_ST_KV_PUT : PE_ST_KV_DELETE, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, space);
  bind_bytes(st, 2, key, nkey);
  if (nvalue) {
    bind_bytes(st, 3, value, nvalue);
  }
  return pe_state_run(s, st, err);
}

struct kv_each {
  int (*cb)(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue);
  void *arg;
};

static int kv_row(void *arg, sqlite3_stmt *st) {
  const struct kv_each *e = arg;
  const void *key = sqlite3_column_blob(st, 0);
  const void *value = sqlite3_column_blob(st, 1);
  return e->cb(e->arg, key, (size_t)sqlite3_column_bytes(st, 0), value,
               (size_t)sqlite3_column_bytes(st, 1));
}

int pe_state_kv_each(struct pe_state *s, const char *space,
                     int (*cb)(void *arg, const void *key, size_t nkey, const void *value,
                               size_t nvalue),
                     void *arg, struct pe_err *err) {
  struct kv_each e = {cb, arg};
  return pe_state_each(s, "SELECT key, value FROM kv WHERE space = ?1 ORDER BY key", space, kv_row,
                       &e, err);
}

int pe_state_kv_clear(struct pe_state *s, const char *space, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_KV_CLEAR, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, space);
  return pe_state_run(s, st, err);
}
