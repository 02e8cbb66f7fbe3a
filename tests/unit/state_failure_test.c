/* The state store when things go wrong: a second engine, a full disk, a kill, foreign and damaged
 * files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/internal.h"
#include "state/state.h"

static char dir[64];
static struct pe_err err;

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof(dir), "/tmp/pe-state-test-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  char cmd[128];
  umount2(dir, MNT_DETACH); /* where a test failed with its small disk still there */
  snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
  return system(cmd);
}

static const char *in_dir(const char *name) {
  static char path[128];
  snprintf(path, sizeof(path), "%s/%s", dir, name);
  return path;
}

#define OK(call)                \
  do {                          \
    int ok_rc = (call);         \
    if (ok_rc) {                \
      fail_msg("%s", err.text); \
    }                           \
  } while (0)

static struct pe_state *open_store(void) {
  struct pe_state *s = NULL;
  OK(pe_state_open(dir, "shop", false, &s, &err));
  return s;
}

static void set_checkpoint(struct pe_state *s, uint64_t pos) {
  struct pe_position p = {.file = "binlog.000001", .pos = pos};
  OK(pe_state_begin(s, &err));
  OK(pe_state_checkpoint_set(s, &p, &err));
  OK(pe_state_commit(s, &err));
}

static uint64_t checkpoint_pos(struct pe_state *s) {
  struct pe_position p;
  assert_int_equal(pe_state_checkpoint_get(s, &p, &err), 1);
  return p.pos;
}

static void names_that_are_paths_are_refused(void **state) {
  (void)state;
  static const char *const names[] = {"", ".", "..", "../x", "a/b", ".hidden"};
  for (int i = 0; i < 6; i++) {
    struct pe_state *s;
    assert_int_equal(pe_state_open(dir, names[i], false, &s, &err), PE_ECONFIG);
    assert_null(s);
  }
}

static void the_lock_of_another_process(void **state) {
  (void)state;
  int ready[2], go[2];
  assert_int_equal(pipe(ready) | pipe(go), 0);
  pid_t pid = fork();
  if (pid == 0) {
    close(go[1]);
    struct pe_state *s;
    char c = pe_state_open(dir, "shop", false, &s, &err) == 0 ? 'y' : 'n';
    ssize_t n = write(ready[1], &c, 1);
    n += read(go[0], &c, 1); /* until the parent closes it */
    _exit(n < 0);            /* without a close: as after a kill */
  }
  char c = 0;
  assert_int_equal(read(ready[0], &c, 1), 1);
  assert_int_equal(c, 'y');
  struct pe_state *s, *other;
  assert_int_equal(pe_state_open(dir, "shop", false, &s, &err), PE_ELOCKED);
  assert_null(s);
  char want[64];
  snprintf(want, sizeof(want), "(process %d): stop that one", (int)pid);
  assert_non_null(strstr(err.text, want));
  assert_int_equal(err.cls, PE_CLASS_FATAL);
  OK(pe_state_open(dir, "other", false, &other, &err)); /* another pipeline */
  pe_state_close(other);
  OK(pe_state_open(dir, "shop", true, &s, &err)); /* a reader needs no lock */
  pe_state_close(s);
  close(go[1]);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  s = open_store(); /* its lock went with it */
  assert_int_equal(pe_state_open(dir, "shop", false, &other, &err), PE_ELOCKED);
  pe_state_close(s);
  s = open_store();
  pe_state_close(s);
  for (int i = 0; i < 2; i++) {
    close(ready[i]);
  }
  close(go[0]);
}

static void a_kill_inside_a_transaction_leaves_the_former_state(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  set_checkpoint(s, 100);
  pe_state_close(s);
  int ready[2];
  assert_int_equal(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    struct pe_position p = {.file = "binlog.000001", .pos = 200};
    int rc = pe_state_open(dir, "shop", false, &s, &err);
    rc |= pe_state_begin(s, &err);
    rc |= pe_state_checkpoint_set(s, &p, &err);
    rc |= pe_state_commit(s, &err); /* this one counts */
    p.pos = 300;
    rc |= pe_state_begin(s, &err);
    rc |= pe_state_checkpoint_set(s, &p, &err);
    static char big[4096];
    for (int i = 0; i < 20000; i++) { /* more than the cache: parts of it are in the log already */
      rc |= pe_state_kv_put(s, "l", &i, sizeof(i), big, sizeof(big), &err);
    }
    char c = rc ? 'n' : 'y';
    if (write(ready[1], &c, 1) == 1) {
      pause();
    }
    _exit(1);
  }
  char c = 0;
  assert_int_equal(read(ready[0], &c, 1), 1);
  assert_int_equal(c, 'y');
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  struct pe_state *reader;
  OK(pe_state_open(dir, "shop", true, &reader, &err));
  assert_int_equal(checkpoint_pos(reader), 200);
  pe_state_close(reader);
  s = open_store();
  assert_int_equal(checkpoint_pos(s), 200);
  sqlite3_stmt *st;
  assert_int_equal(sqlite3_prepare_v2(s->db, "SELECT count(*) FROM kv", -1, &st, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(st), SQLITE_ROW);
  assert_int_equal(sqlite3_column_int(st, 0), 0);
  sqlite3_finalize(st);
  set_checkpoint(s, 400);
  assert_int_equal(checkpoint_pos(s), 400);
  pe_state_close(s);
  close(ready[0]);
  close(ready[1]);
}

static void a_reader_beside_the_engine(void **state) {
  (void)state;
  struct pe_state *reader;
  assert_int_equal(pe_state_open(dir, "shop", true, &reader, &err), PE_ESTATE);
  assert_non_null(strstr(err.text, "has not run yet"));
  assert_int_not_equal(access(in_dir("shop.db"), F_OK), 0);
  struct pe_state *s = open_store();
  set_checkpoint(s, 1);
  OK(pe_state_open(dir, "shop", true, &reader, &err));
  assert_int_equal(checkpoint_pos(reader), 1);
  OK(pe_state_begin(s, &err));
  OK(pe_state_checkpoint_set(s, &(struct pe_position){.pos = 2}, &err));
  assert_int_equal(checkpoint_pos(reader), 1);
  OK(pe_state_commit(s, &err));
  assert_int_equal(checkpoint_pos(reader), 2);
  pe_state_close(s);
  assert_int_equal(checkpoint_pos(reader), 2);
  pe_state_close(reader);
  OK(pe_state_open(dir, "shop", true, &reader, &err)); /* nobody else has it open */
  assert_int_equal(checkpoint_pos(reader), 2);
  pe_state_close(reader);
}

/* Writes until it fails, then checks that the store said so and stands where it stood. */
static void fill_up(struct pe_state *s) {
  set_checkpoint(s, 1);
  OK(pe_state_begin(s, &err));
  OK(pe_state_checkpoint_set(s, &(struct pe_position){.pos = 2}, &err));
  static char big[8192];
  int rc = 0;
  for (int i = 0; !rc && i < 10000; i++) {
    rc = pe_state_kv_put(s, "l", &i, sizeof(i), big, sizeof(big), &err);
  }
  if (!rc) {
    rc = pe_state_commit(s, &err);
  }
  assert_int_equal(rc, PE_ESTATE);
  assert_int_equal(err.cls, PE_CLASS_FATAL);
  assert_non_null(strstr(err.text, "Nothing is lost: the checkpoint stays"));
  assert_non_null(strstr(err.text, "space"));
  /* Whoever goes on regardless must not get half of it committed. */
  struct pe_err second = PE_ERR_INIT;
  int put = pe_state_kv_put(s, "l", "x", 1, "y", 1, &second);
  if (sqlite3_get_autocommit(s->db)) {
    assert_int_equal(put, PE_ESTATE);
    assert_non_null(strstr(second.text, "undid the transaction"));
    assert_int_equal(pe_state_commit(s, &second), PE_ESTATE);
  }
  pe_state_rollback(s);
  assert_int_equal(checkpoint_pos(s), 1);
}

static void a_full_disk(void **state) {
  (void)state;
  if (mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700") < 0) {
    print_message("no right to mount a small disk (%s): left out\n", strerror(errno));
    skip();
  }
  struct pe_state *s = open_store();
  fill_up(s);
  pe_state_close(s);
  s = open_store();
  assert_int_equal(checkpoint_pos(s), 1);
  set_checkpoint(s, 3);
  assert_int_equal(checkpoint_pos(s), 3);
  pe_state_close(s);
  assert_int_equal(umount(dir), 0);
}

static void no_room_to_begin_with(void **state) {
  (void)state;
  if (mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700") < 0) {
    skip();
  }
  int fd = open(in_dir("ballast"), O_WRONLY | O_CREAT, 0600);
  static char block[4096];
  while (write(fd, block, sizeof(block)) > 0) {
  }
  close(fd);
  struct pe_state *s;
  assert_int_equal(pe_state_open(dir, "shop", false, &s, &err), PE_ESTATE);
  assert_null(s);
  unlink(in_dir("ballast"));
  assert_int_equal(umount(dir), 0);
}

static void a_full_file(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  assert_int_equal(sqlite3_exec(s->db, "PRAGMA max_page_count=100", NULL, NULL, NULL), SQLITE_OK);
  fill_up(s);
  assert_non_null(strstr(err.text, "the disk is full"));
  set_checkpoint(s, 3);
  pe_state_close(s);
}

static void write_file(const char *name, const void *p, size_t n) {
  int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, p, n), n);
  close(fd);
}

static void expect_refused(const char *says) {
  for (int read_only = 0; read_only < 2; read_only++) {
    struct pe_state *s;
    assert_int_equal(pe_state_open(dir, "shop", read_only != 0, &s, &err), PE_ESTATE);
    assert_null(s);
    assert_non_null(strstr(err.text, says));
    assert_non_null(strstr(err.text, in_dir("shop.db")));
  }
}

static void edit(const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(in_dir("shop.db"), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void files_that_are_not_ours(void **state) {
  (void)state;
  char noise[8192];
  memset(noise, 'x', sizeof(noise));
  write_file("shop.db", noise, sizeof(noise));
  expect_refused("not an SQLite file");
  unlink(in_dir("shop.db"));
  edit("CREATE TABLE music(title)");
  expect_refused("another program");
  unlink(in_dir("shop.db"));
  pe_state_close(open_store());
  edit("PRAGMA user_version=2");
  expect_refused("format 2");
}

static void damaged_files(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  OK(pe_state_begin(s, &err));
  for (int i = 0; i < 20000; i++) {
    OK(pe_state_kv_put(s, "l", &i, sizeof(i), "value", 5, &err));
  }
  OK(pe_state_commit(s, &err));
  pe_state_close(s);
  int fd = open(in_dir("shop.db"), O_RDWR);
  char noise[4096];
  memset(noise, 0x5A, sizeof(noise));
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  for (off_t at = 4096 * 12; at < st.st_size; at += 4096) {
    assert_int_equal(pwrite(fd, noise, sizeof(noise), at), sizeof(noise));
  }
  close(fd);
  s = open_store();
  OK(pe_state_begin(s, &err));
  int rc = 0;
  for (int i = 0; !rc && i < 20000; i++) {
    rc = pe_state_kv_put(s, "l", &i, sizeof(i), "other", 5, &err);
  }
  assert_int_equal(rc, PE_ESTATE);
  assert_non_null(strstr(err.text, "damaged"));
  pe_state_close(s);
  char none[10] = "";
  write_file("shop.db", none, 10); /* too short for a header */
  expect_refused("");
}

static void hands_off_the_directory(void **state) {
  (void)state;
  struct pe_state *s;
  write_file("file", "x", 1);
  assert_int_equal(pe_state_open(in_dir("file"), "shop", false, &s, &err), PE_ESTATE);
  char below[160];
  snprintf(below, sizeof(below), "%s/below", in_dir("file"));
  assert_int_equal(pe_state_open(below, "shop", false, &s, &err), PE_ESTATE);
  assert_non_null(strstr(err.text, "cannot make the state directory"));
  assert_int_equal(pe_state_open("", "shop", false, &s, &err), PE_ECONFIG);
}

static void a_person_with_the_shell_in_the_way(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  sqlite3 *db;
  assert_int_equal(sqlite3_open(in_dir("shop.db"), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_busy_timeout(s->db, 50);
  assert_int_equal(pe_state_begin(s, &err), PE_ESTATE);
  assert_int_equal(err.cls, PE_CLASS_RETRY);
  assert_non_null(strstr(err.text, "another program holds it"));
  pe_state_rollback(s);
  assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  set_checkpoint(s, 5);
  pe_state_close(s);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      TEST(names_that_are_paths_are_refused),
      TEST(the_lock_of_another_process),
      TEST(a_kill_inside_a_transaction_leaves_the_former_state),
      TEST(a_reader_beside_the_engine),
      TEST(a_full_disk),
      TEST(no_room_to_begin_with),
      TEST(a_full_file),
      TEST(files_that_are_not_ours),
      TEST(damaged_files),
      TEST(hands_off_the_directory),
      TEST(a_person_with_the_shell_in_the_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
