/* Opening and closing the store, transactions, and what there is one of: meta, checkpoint, epoch.
 * owner: one thread at a time. Everything that fails is PE_ESTATE (PE_ELOCKED for a second engine).
 */
#include "state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "state/internal.h"

enum { NAME_MAX_BYTES = 128, PATH_BYTES = 4096 };

static int check_name(const char *pipeline, struct pe_err *err) {
  size_t n = strlen(pipeline);
  if (n == 0 || n > NAME_MAX_BYTES || pipeline[0] == '.' || strchr(pipeline, '/')) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "the pipeline's name names its state file: it needs 1 to %d characters, "
                      "without '/' and without '.' in front",
                      (int)NAME_MAX_BYTES);
  }
  return 0;
}

/* mkdir -p, for nobody else to read: lookups can hold personal data. */
static int make_dir(const char *dir, struct pe_err *err) {
  char path[PATH_BYTES];
  int n = snprintf(path, sizeof(path), "%s", dir);
  if (n <= 0 || (size_t)n >= sizeof(path)) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "the state directory's path is %s",
                      n <= 0 ? "empty" : "too long");
  }
  for (char *p = path + 1;; p++) {
    if (*p && *p != '/') {
      continue;
    }
    char was = *p;
    *p = 0;
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
      struct stat st;
      int why = errno;
      if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                          "cannot make the state directory %s: %s; make it yourself or set "
                          "another",
                          dir, strerror(why));
      }
    }
    *p = was;
    if (!was) {
      return 0;
    }
  }
}

/* The file exists with narrow permissions before SQLite opens it: its log and index take them over.
 */
static int touch_file(const char *dir, const char *path, struct pe_err *err) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "cannot open the state store %s: %s; make it and its directory writable for "
                      "this user",
                      path, strerror(errno));
  }
  close(fd);
  int dfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dfd >= 0) {
    (void)fsync(dfd);
    close(dfd);
  }
  return 0;
}

static int open_writable(struct pe_state *s, const char *dir, const char *pipeline,
                         struct pe_err *err) {
  int rc = make_dir(dir, err);
  if (rc) {
    return rc;
  }
  char lock_path[PATH_BYTES + NAME_MAX_BYTES + 16];
  snprintf(lock_path, sizeof(lock_path), "%s/%s.lock", dir, pipeline);
  rc = pe_state_lock(lock_path, s->path, &s->lock_fd, err);
  return rc ? rc : touch_file(dir, s->path, err);
}

static int open_file(struct pe_state *s, const char *dir, const char *pipeline,
                     struct pe_err *err) {
  if (s->read_only) {
    if (access(s->path, F_OK) < 0) {
      return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                        "there is no state store %s: the pipeline has not run yet, or its state "
                        "directory is another one",
                        s->path);
    }
  } else {
    int rc = open_writable(s, dir, pipeline, err);
    if (rc) {
      return rc;
    }
  }
  int flags = (s->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK) {
    if (!s->db) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    }
    return pe_state_fail(s, "open", err);
  }
  return pe_state_prepare_file(s, err);
}

int pe_state_open(const char *dir, const char *pipeline, bool read_only, struct pe_state **out,
                  struct pe_err *err) {
  *out = NULL;
  int rc = check_name(pipeline, err);
  if (rc) {
    return rc;
  }
  struct pe_state *s = calloc(1, sizeof(*s));
  if (!s || asprintf(&s->path, "%s/%s.db", dir, pipeline) < 0) {
    free(s);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  s->lock_fd = -1;
  s->read_only = read_only;
  rc = open_file(s, dir, pipeline, err);
  if (rc) {
    pe_state_close(s);
    return rc;
  }
  *out = s;
  return 0;
}

void pe_state_close(struct pe_state *s) {
  if (!s) {
    return;
  }
  pe_state_rollback(s);
  for (int i = 0; i < PE_ST_COUNT; i++) {
    sqlite3_finalize(s->stmts[i]);
  }
  sqlite3_close(s->db);
  if (s->lock_fd >= 0) {
    close(s->lock_fd); /* last: nobody may open the file before it is closed here */
  }
  free(s->path);
  free(s);
}

int pe_state_begin(struct pe_state *s, struct pe_err *err) {
  PE_ASSERT(!s->in_tx && !s->read_only);
  int rc = pe_state_exec(s, "BEGIN IMMEDIATE", "write", err);
  s->in_tx = rc == 0;
  return rc;
}

int pe_state_commit(struct pe_state *s, struct pe_err *err) {
  PE_ASSERT(s->in_tx);
  if (sqlite3_get_autocommit(s->db)) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "cannot write the state store %s: an earlier failure undid the transaction",
                      s->path);
  }
  int rc = pe_state_exec(s, "COMMIT", "write", err);
  if (!rc) {
    s->in_tx = false;
  }
  return rc;
}

void pe_state_rollback(struct pe_state *s) {
  if (s->db && !sqlite3_get_autocommit(s->db)) {
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  }
  s->in_tx = false;
}

int pe_state_meta_get(struct pe_state *s, const char *key, char *out, size_t n,
                      struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_META_GET, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, key);
  rc = pe_state_one(s, st, err);
  if (rc == 1) {
    int bad = pe_state_text(s, st, 0, out, n, err);
    rc = bad ? bad : 1;
    sqlite3_reset(st);
  }
  return rc;
}

int pe_state_meta_set(struct pe_state *s, const char *key, const char *value, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_META_SET, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_text(st, 1, key);
  pe_state_bind_text(st, 2, value);
  return pe_state_run(s, st, err);
}

int pe_state_checkpoint_get(struct pe_state *s, struct pe_position *p, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_CHECKPOINT_GET, &st, err);
  if (rc) {
    return rc;
  }
  rc = pe_state_one(s, st, err);
  if (rc == 1) {
    int bad = pe_state_position(s, st, 0, p, err);
    rc = bad ? bad : 1;
    sqlite3_reset(st);
  }
  return rc;
}

int pe_state_checkpoint_set(struct pe_state *s, const struct pe_position *p, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_CHECKPOINT_SET, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_position(st, 1, p);
  return pe_state_run(s, st, err);
}

int pe_state_epoch_get(struct pe_state *s, struct pe_epoch_rec *e, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_EPOCH_GET, &st, err);
  if (rc) {
    return rc;
  }
  rc = pe_state_one(s, st, err);
  if (rc != 1) {
    return rc;
  }
  memset(e, 0, sizeof(*e));
  e->id = pe_state_u64(st, 0);
  e->snapshot = sqlite3_column_int(st, 1) != 0;
  e->from_version = pe_state_u64(st, 2);
  int bad = pe_state_text(s, st, 3, e->script_hash, sizeof(e->script_hash), err);
  e->block_rows = (uint32_t)pe_state_u64(st, 4);
  if (!bad) {
    bad = pe_state_position(s, st, 5, &e->to, err);
  }
  sqlite3_reset(st);
  return bad ? bad : 1;
}

int pe_state_epoch_set(struct pe_state *s, const struct pe_epoch_rec *e, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_EPOCH_SET, &st, err);
  if (rc) {
    return rc;
  }
  pe_state_bind_u64(st, 1, e->id);
  sqlite3_bind_int(st, 2, e->snapshot);
  pe_state_bind_u64(st, 3, e->from_version);
  pe_state_bind_text(st, 4, e->script_hash);
  pe_state_bind_u64(st, 5, e->block_rows);
  pe_state_bind_position(st, 6, &e->to);
  return pe_state_run(s, st, err);
}

int pe_state_epoch_clear(struct pe_state *s, struct pe_err *err) {
  sqlite3_stmt *st;
  int rc = pe_state_stmt(s, PE_ST_EPOCH_CLEAR, &st, err);
  return rc ? rc : pe_state_run(s, st, err);
}
