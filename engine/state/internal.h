/* Shared by the files of this room only. */
#ifndef PE_STATE_INTERNAL_H
#define PE_STATE_INTERNAL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "state/state.h"

enum {
  PE_STATE_FORMAT = 1,              /* user_version of the file */
  PE_STATE_APP_ID = 0x70697065,     /* "pipe": tells our files from others */
  PE_STATE_BUSY_MS = 5000,          /* how long to wait for a person with the sqlite3 shell */
  PE_STATE_CACHE_KB = 8192,         /* page cache */
  PE_STATE_WAL_KEEP_BYTES = 8 << 20 /* the log is cut back to this after a large transaction */
};

/* Statements kept prepared; the texts are in statement.c. */
enum pe_stmt {
  PE_ST_META_GET,
  PE_ST_META_SET,
  PE_ST_CHECKPOINT_GET,
  PE_ST_CHECKPOINT_SET,
  PE_ST_EPOCH_GET,
  PE_ST_EPOCH_SET,
  PE_ST_EPOCH_CLEAR,
  PE_ST_SCRIPT_SET_PUT,
  PE_ST_SCRIPT_PUT,
  PE_ST_SCRIPT_PRUNE,
  PE_ST_SCRIPT_PRUNE_TEXTS,
  PE_ST_TABLE_GET,
  PE_ST_TABLE_SET,
  PE_ST_TABLE_FORGET,
  PE_ST_CHUNK_PUT,
  PE_ST_CHUNK_DONE,
  PE_ST_CHUNK_FORGET,
  PE_ST_KV_PUT,
  PE_ST_KV_DELETE,
  PE_ST_KV_CLEAR,
  PE_ST_COUNT
};

struct pe_state {
  sqlite3 *db;
  char *path;
  int lock_fd; /* -1 when read_only */
  bool read_only;
  bool in_tx;
  sqlite3_stmt *stmts[PE_ST_COUNT];
};

/* lock.c: takes the lock or fails with PE_ELOCKED. The lock goes with the descriptor. */
int pe_state_lock(const char *lock_path, const char *db_path, int *fd, struct pe_err *err);
/* schema.c: settings, and the tables where there are none yet. */
int pe_state_prepare_file(struct pe_state *s, struct pe_err *err);

/* statement.c */
/* Turns the connection's last failure into an error that says what to do. */
int pe_state_fail(struct pe_state *s, const char *doing, struct pe_err *err);
int pe_state_exec(struct pe_state *s, const char *sql, const char *doing, struct pe_err *err);
/* The prepared statement, reset; bind every parameter. Fails outside of a transaction when it
 * changes anything. */
int pe_state_stmt(struct pe_state *s, enum pe_stmt which, sqlite3_stmt **out, struct pe_err *err);
/* Runs a statement that returns no row. */
int pe_state_run(struct pe_state *s, sqlite3_stmt *st, struct pe_err *err);
/* Steps to the only row: 1, or 0 when there is none. Reset it when its values have been read. */
int pe_state_one(struct pe_state *s, sqlite3_stmt *st, struct pe_err *err);
/* Steps through all rows of `sql` (parameter 1 = text, unless NULL), calling row for each. What row
 * returns when not 0 ends it and is returned. */
int pe_state_each(struct pe_state *s, const char *sql, const char *param,
                  int (*row)(void *arg, sqlite3_stmt *st), void *arg, struct pe_err *err);
/* Copies a text column; PE_ESTATE when it does not fit. */
int pe_state_text(struct pe_state *s, sqlite3_stmt *st, int col, char *out, size_t n,
                  struct pe_err *err);

static inline void pe_state_bind_text(sqlite3_stmt *st, int at, const char *text) {
  sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
}
/* SQLite's integers are signed: numbers from 2^63 on show as negative ones in the shell. */
static inline void pe_state_bind_u64(sqlite3_stmt *st, int at, uint64_t v) {
  sqlite3_bind_int64(st, at, (sqlite3_int64)v);
}
static inline uint64_t pe_state_u64(sqlite3_stmt *st, int col) {
  return (uint64_t)sqlite3_column_int64(st, col);
}
/* A position's six columns, in the order file, pos, generation, base_version, version, ts_us. */
void pe_state_bind_position(sqlite3_stmt *st, int at, const struct pe_position *p);
int pe_state_position(struct pe_state *s, sqlite3_stmt *st, int col, struct pe_position *p,
                      struct pe_err *err);

#endif
