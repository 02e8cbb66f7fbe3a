/* The state store: one SQLite file per pipeline (WAL, synchronous=FULL), readable with the sqlite3
 * shell.
 *
 * Tables: meta, checkpoint, epoch (the one that may be half in the target), script_set, script,
 * table_state, chunk, kv (lookups and quarantine, by `space`). Numbers are SQLite's signed 64 bits:
 * a version from 2^63 on shows as a negative one in the shell. A transaction moves the checkpoint
 * and all that belongs to it at once. Every call blocks (fsync): call from a worker, never from the
 * loop. One engine per file: an advisory lock (flock) beside it, PE_ELOCKED names the pid. A full
 * disk is PE_ESTATE with what to do; nothing is lost: the checkpoint stays where it was. owner: one
 * thread at a time.
 */
#ifndef PE_STATE_STATE_H
#define PE_STATE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/position.h"

struct pe_state;

/* Returns are 0 or a negative PE_E*, where not said otherwise. A failure is PE_ESTATE, FATAL with
 * what to do about it (RETRY when somebody else's transaction is in the way). The callback of an
 * _each goes on with 0; anything else ends the walk and is what _each returns. Texts and bytes
 * given to a callback hold until it returns; it may call other functions of the store. */

/* dir is made (0700) when missing, the file too. read_only takes no lock and works beside a running
 * engine; where there is no store yet it fails. */

int pe_state_open(const char *dir, const char *pipeline, bool read_only, struct pe_state **out,
                  struct pe_err *err);
void pe_state_close(struct pe_state *s);

/* Everything that changes does so between begin and commit. rollback after any failure (harmless
 * when there is nothing to undo). */
int pe_state_begin(struct pe_state *s, struct pe_err *err);
int pe_state_commit(struct pe_state *s, struct pe_err *err);
void pe_state_rollback(struct pe_state *s);

/* meta: small named strings (source identity, format version, ...). get: NULL-terminated into out;
 * 1 found, 0 not. */
int pe_state_meta_get(struct pe_state *s, const char *key, char *out, size_t n, struct pe_err *err);
int pe_state_meta_set(struct pe_state *s, const char *key, const char *value, struct pe_err *err);

/* checkpoint: 1 found, 0 none yet */
int pe_state_checkpoint_get(struct pe_state *s, struct pe_position *p, struct pe_err *err);
int pe_state_checkpoint_set(struct pe_state *s, const struct pe_position *p, struct pe_err *err);

/* epoch: what may be half in the target */
struct pe_epoch_rec {
  uint64_t id; /* rising */
  bool snapshot;
  uint64_t from_version; /* stream: rows with from_version < version <= to.version */
  struct pe_position to;
  char script_hash[65];
  uint32_t block_rows; /* how it was cut */
};
int pe_state_epoch_get(struct pe_state *s, struct pe_epoch_rec *e, struct pe_err *err); /* 1, 0 */
int pe_state_epoch_set(struct pe_state *s, const struct pe_epoch_rec *e, struct pe_err *err);
int pe_state_epoch_clear(struct pe_state *s, struct pe_err *err);

/* script sets: modules under the hash of the set, in the order put; path may be NULL. A set put
 * again is the newest again. */
int pe_state_script_put(struct pe_state *s, const char *hash, const char *module, const char *path,
                        const char *text, size_t len, struct pe_err *err);
int pe_state_script_each(struct pe_state *s, const char *hash,
                         int (*cb)(void *arg, const char *module, const char *path,
                                   const char *text, size_t len),
                         void *arg, struct pe_err *err);
/* Keeps only the newest `keep` sets and those named in an epoch. */
int pe_state_script_prune(struct pe_state *s, unsigned keep, struct pe_err *err);

/* table_state */
enum pe_snapshot_phase {
  PE_SNAP_NONE,
  PE_SNAP_RUNNING,
  PE_SNAP_DIFF /* staged, difference being applied */,
  PE_SNAP_DONE
};
struct pe_table_state {
  char name[200]; /* "db.table" */
  enum pe_snapshot_phase phase;
  uint64_t version; /* the low watermark: _version of its snapshot rows; the stream skips changes <=
                       it */
  bool planned;     /* all chunks are known */
  bool staged;      /* the snapshot goes through a staging table because the target held rows */
  uint64_t schema_hash;
  uint64_t rows; /* snapshot rows passed on */
};
int pe_state_table_get(struct pe_state *s, const char *name, struct pe_table_state *t,
                       struct pe_err *err); /* 1, 0 */
int pe_state_table_set(struct pe_state *s, const struct pe_table_state *t, struct pe_err *err);
int pe_state_table_each(struct pe_state *s, int (*cb)(void *arg, const struct pe_table_state *t),
                        void *arg, struct pe_err *err);
int pe_state_table_forget(struct pe_state *s, const char *name,
                          struct pe_err *err); /* with its chunks */

/* chunks. put of a known id replaces it, as not done. lo and hi may be NULL: an open end. done of
 * an unknown one is PE_ESTATE. each goes by id. */
int pe_state_chunk_put(struct pe_state *s, const char *table, uint64_t id, const char *lo,
                       const char *hi, struct pe_err *err);
int pe_state_chunk_done(struct pe_state *s, const char *table, uint64_t id, struct pe_err *err);
int pe_state_chunk_each(struct pe_state *s, const char *table,
                        int (*cb)(void *arg, uint64_t id, const char *lo, const char *hi,
                                  bool done),
                        void *arg, struct pe_err *err);

/* lookups and quarantine: key/value pairs under a name; each goes by key, as bytes */
int pe_state_kv_put(struct pe_state *s, const char *space, const void *key, size_t nkey,
                    const void *value, size_t nvalue, struct pe_err *err); /* nvalue 0: delete */
int pe_state_kv_each(struct pe_state *s, const char *space,
                     int (*cb)(void *arg, const void *key, size_t nkey, const void *value,
                               size_t nvalue),
                     void *arg, struct pe_err *err);
int pe_state_kv_clear(struct pe_state *s, const char *space, struct pe_err *err);

#endif
