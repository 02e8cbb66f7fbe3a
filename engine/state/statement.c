/* How this room talks to SQLite: statements prepared once, and failures turned into errors that say
 * what a person should do. */
#include <string.h>

#include "base/assert.h"
#include "state/internal.h"

#define NOW "strftime('%Y-%m-%d %H:%M:%f', 'now')"

static const char *const texts[PE_ST_COUNT] = {
    [PE_ST_META_GET] = "SELECT value FROM meta WHERE key = ?1",
    [PE_ST_META_SET] = "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)",
    [PE_ST_CHECKPOINT_GET] =
        "SELECT file, pos, generation, base_version, version, ts_us FROM checkpoint",
    [PE_ST_CHECKPOINT_SET] =
        "INSERT OR REPLACE INTO checkpoint VALUES(1, ?1, ?2, ?3, ?4, ?5, ?6, " NOW ")",
    [PE_ST_EPOCH_GET] =
        "SELECT id, snapshot, from_version, script_hash, block_rows, to_file,"
        " to_pos, to_generation, to_base_version, to_version, to_ts_us FROM epoch",
    [PE_ST_EPOCH_SET] =
        "INSERT OR REPLACE INTO epoch(one, id, snapshot, from_version, script_hash,"
        " block_rows, to_file, to_pos, to_generation, to_base_version, to_version,"
        " to_ts_us, saved_at)"
        " VALUES(1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, " NOW ")",
    [PE_ST_EPOCH_CLEAR] = "DELETE FROM epoch",
    /* A set put again becomes the newest; one that is it already stays as it is. */
    [PE_ST_SCRIPT_SET_PUT] =
        "INSERT INTO script_set(hash, put, saved_at)"
        " VALUES(?1, (SELECT coalesce(max(put), 0) + 1 FROM script_set), " NOW
        ")"
        " ON CONFLICT(hash) DO UPDATE SET put = excluded.put, saved_at = excluded.saved_at"
        " WHERE put < excluded.put - 1",
    [PE_ST_SCRIPT_PUT] =
        "INSERT INTO script(hash, module, path, text) VALUES(?1, ?2, ?3, ?4)"
        " ON CONFLICT(hash, module) DO UPDATE SET path = excluded.path, text = excluded.text",
    [PE_ST_SCRIPT_PRUNE] =
        "DELETE FROM script_set WHERE hash NOT IN (SELECT script_hash FROM epoch)"
        " AND hash NOT IN (SELECT hash FROM script_set ORDER BY put DESC LIMIT ?1)",
    [PE_ST_SCRIPT_PRUNE_TEXTS] =
        "DELETE FROM script WHERE hash NOT IN (SELECT hash FROM script_set)",
    [PE_ST_TABLE_GET] =
        "SELECT name, phase, version, planned, staged, schema_hash, rows"
        " FROM table_state WHERE name = ?1",
    [PE_ST_TABLE_SET] =
        "INSERT OR REPLACE INTO table_state(name, phase, version, planned, staged,"
        " schema_hash, rows) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [PE_ST_TABLE_FORGET] = "DELETE FROM table_state WHERE name = ?1",
    [PE_ST_CHUNK_PUT] =
        "INSERT OR REPLACE INTO chunk(table_name, id, lo, hi, done)"
        " VALUES(?1, ?2, ?3, ?4, 0)",
    [PE_ST_CHUNK_DONE] = "UPDATE chunk SET done = 1 WHERE table_name = ?1 AND id = ?2",
    [PE_ST_CHUNK_FORGET] = "DELETE FROM chunk WHERE table_name = ?1",
    [PE_ST_KV_PUT] = "INSERT OR REPLACE INTO kv(space, key, value) VALUES(?1, ?2, ?3)",
    [PE_ST_KV_DELETE] = "DELETE FROM kv WHERE space = ?1 AND key = ?2",
    [PE_ST_KV_CLEAR] = "DELETE FROM kv WHERE space = ?1",
};

int pe_state_fail(struct pe_state *s, const char *doing, struct pe_err *err) {
  const char *why = sqlite3_errmsg(s->db);
  switch (sqlite3_errcode(s->db) & 0xFF) {
    case SQLITE_FULL:
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                        "cannot %s the state store %s: the disk is full; free space and start "
                        "again. Nothing is lost: the checkpoint stays where it was",
                        doing, s->path);
    case SQLITE_IOERR:
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                        "cannot %s the state store %s: %s; see that its disk is well and has free "
                        "space, then start again. Nothing is lost: the checkpoint stays where it "
                        "was",
                        doing, s->path, why);
    case SQLITE_NOTADB:
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                        "cannot %s the state store %s: it is not an SQLite file; move it away, or "
                        "use another state directory",
                        doing, s->path);
    case SQLITE_CORRUPT:
      return pe_err_set(
          err, PE_ESTATE, PE_CLASS_FATAL,
          "cannot %s the state store %s: it is damaged (%s); put back a copy, or move "
          "it away and let the pipeline take a new snapshot",
          doing, s->path, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return pe_err_set(err, PE_ESTATE, PE_CLASS_RETRY,
                        "cannot %s the state store %s: another program holds it; end its "
                        "transaction",
                        doing, s->path);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                        "cannot %s the state store %s: %s; make it and its directory readable and "
                        "writable for this user",
                        doing, s->path, why);
    case SQLITE_NOMEM:
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL,
                        "cannot %s the state store %s: out of memory", doing, s->path);
    default:
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL, "cannot %s the state store %s: %s", doing,
                        s->path, why);
  }
}

int pe_state_exec(struct pe_state *s, const char *sql, const char *doing, struct pe_err *err) {
  return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : pe_state_fail(s, doing, err);
}

int pe_state_stmt(struct pe_state *s, enum pe_stmt which, sqlite3_stmt **out, struct pe_err *err) {
  sqlite3_stmt *st = s->stmts[which];
  if (!st) {
    if (sqlite3_prepare_v3(s->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) !=
        SQLITE_OK) {
      return pe_state_fail(s, "use", err);
    }
    s->stmts[which] = st;
  }
  sqlite3_reset(st);
  if (!sqlite3_stmt_readonly(st)) {
    PE_ASSERT(s->in_tx);
    /* A failure such as a full disk can undo the whole transaction; what would come behind it must
     * not be committed alone. */
    if (sqlite3_get_autocommit(s->db)) {
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                        "cannot write the state store %s: an earlier failure undid the transaction",
                        s->path);
    }
  }
  *out = st;
  return 0;
}

int pe_state_run(struct pe_state *s, sqlite3_stmt *st, struct pe_err *err) {
  int step = sqlite3_step(st);
  int rc = step == SQLITE_DONE ? 0 : pe_state_fail(s, "write", err);
  sqlite3_reset(st);
  return rc;
}

int pe_state_one(struct pe_state *s, sqlite3_stmt *st, struct pe_err *err) {
  int step = sqlite3_step(st);
  if (step == SQLITE_ROW) {
    return 1;
  }
  int rc = step == SQLITE_DONE ? 0 : pe_state_fail(s, "read", err);
  sqlite3_reset(st);
  return rc;
}

int pe_state_each(struct pe_state *s, const char *sql, const char *param,
                  int (*row)(void *arg, sqlite3_stmt *st), void *arg, struct pe_err *err) {
  sqlite3_stmt *st;
  if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
    return pe_state_fail(s, "read", err);
  }
  if (param) {
    pe_state_bind_text(st, 1, param);
  }
  int rc = 0;
  int step;
  while ((step = sqlite3_step(st)) == SQLITE_ROW) {
    rc = row(arg, st);
    if (rc) {
      break;
    }
  }
  if (!rc && step != SQLITE_DONE) {
    rc = pe_state_fail(s, "read", err);
  }
  sqlite3_finalize(st);
  return rc;
}

int pe_state_text(struct pe_state *s, sqlite3_stmt *st, int col, char *out, size_t n,
                  struct pe_err *err) {
  const unsigned char *text = sqlite3_column_text(st, col);
  size_t len = (size_t)sqlite3_column_bytes(st, col);
  if (len >= n) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "cannot read the state store %s: a text of %zu bytes in column %s does not "
                      "fit; it is damaged or was edited",
                      s->path, len, sqlite3_column_name(st, col));
  }
  if (len) {
    memcpy(out, text, len);
  }
  out[len] = 0;
  return 0;
}

void pe_state_bind_position(sqlite3_stmt *st, int at, const struct pe_position *p) {
  pe_state_bind_text(st, at, p->file);
  pe_state_bind_u64(st, at + 1, p->pos);
  pe_state_bind_u64(st, at + 2, p->generation);
  pe_state_bind_u64(st, at + 3, p->base_version);
  pe_state_bind_u64(st, at + 4, p->version);
  sqlite3_bind_int64(st, at + 5, p->ts_us);
}

int pe_state_position(struct pe_state *s, sqlite3_stmt *st, int col, struct pe_position *p,
                      struct pe_err *err) {
  memset(p, 0, sizeof(*p));
  p->pos = pe_state_u64(st, col + 1);
  p->generation = (uint32_t)pe_state_u64(st, col + 2);
  p->base_version = pe_state_u64(st, col + 3);
  p->version = pe_state_u64(st, col + 4);
  p->ts_us = sqlite3_column_int64(st, col + 5);
  return pe_state_text(s, st, col, p->file, sizeof(p->file), err);
}
