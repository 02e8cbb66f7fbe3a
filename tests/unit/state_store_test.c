/* What goes into the state store comes back, also after it was closed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
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
  snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
  return system(cmd);
}

static struct pe_state *open_store(void) {
  struct pe_state *s = NULL;
  int rc = pe_state_open(dir, "shop", false, &s, &err);
  if (rc) {
    fail_msg("%s", err.text);
  }
  return s;
}

static struct pe_state *reopen(struct pe_state *s) {
  pe_state_close(s);
  return open_store();
}

#define OK(call)                \
  do {                          \
    int ok_rc = (call);         \
    if (ok_rc) {                \
      fail_msg("%s", err.text); \
    }                           \
  } while (0)

static const struct pe_position somewhere = {.file = "binlog.000042",
                                             .pos = UINT64_C(34359738367),
                                             .generation = 127,
                                             .base_version = UINT64_MAX - 5,
                                             .version = UINT64_MAX,
                                             .ts_us = INT64_C(1780000000000000)};

static void assert_position(const struct pe_position *a, const struct pe_position *b) {
  assert_string_equal(a->file, b->file);
  assert_int_equal(a->pos, b->pos);
  assert_int_equal(a->generation, b->generation);
  assert_int_equal(a->base_version, b->base_version);
  assert_int_equal(a->version, b->version);
  assert_int_equal(a->ts_us, b->ts_us);
}

static void made_with_narrow_permissions(void **state) {
  (void)state;
  char deep[128], path[256];
  snprintf(deep, sizeof(deep), "%s/a/b//c/", dir);
  struct pe_state *s;
  OK(pe_state_open(deep, "shop", false, &s, &err));
  OK(pe_state_begin(s, &err));
  OK(pe_state_meta_set(s, "a", "b", &err));
  OK(pe_state_commit(s, &err));
  struct stat st;
  assert_int_equal(stat(deep, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  static const char *const files[] = {"shop.db", "shop.lock", "shop.db-wal", "shop.db-shm"};
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof(path), "%s/%s", deep, files[i]);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
  }
  pe_state_close(s);
}

static void durable_settings(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  static const char *const want[][2] = {
      {"PRAGMA journal_mode", "wal"}, {"PRAGMA synchronous", "2"}, {"PRAGMA user_version", "1"}};
  for (int i = 0; i < 3; i++) {
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(s->db, want[i][0], -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), want[i][1]);
    sqlite3_finalize(st);
  }
  pe_state_close(s);
}

static void meta_and_checkpoint(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  char text[16];
  struct pe_position p;
  assert_int_equal(pe_state_meta_get(s, "source", text, sizeof(text), &err), 0);
  assert_int_equal(pe_state_checkpoint_get(s, &p, &err), 0);
  OK(pe_state_begin(s, &err));
  OK(pe_state_meta_set(s, "source", "first", &err));
  OK(pe_state_meta_set(s, "source", "second", &err));
  OK(pe_state_checkpoint_set(s, &(struct pe_position){.file = "x.1"}, &err));
  OK(pe_state_checkpoint_set(s, &somewhere, &err));
  OK(pe_state_commit(s, &err));
  s = reopen(s);
  assert_int_equal(pe_state_meta_get(s, "source", text, sizeof(text), &err), 1);
  assert_string_equal(text, "second");
  assert_int_equal(pe_state_meta_get(s, "source", text, 6, &err), PE_ESTATE);
  assert_int_equal(pe_state_meta_get(s, "source", text, 7, &err), 1);
  assert_int_equal(pe_state_checkpoint_get(s, &p, &err), 1);
  assert_position(&p, &somewhere);
  pe_state_close(s);
}

static void a_rollback_leaves_nothing(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  OK(pe_state_begin(s, &err));
  OK(pe_state_checkpoint_set(s, &somewhere, &err));
  OK(pe_state_kv_put(s, "l", "k", 1, "v", 1, &err));
  pe_state_rollback(s);
  pe_state_rollback(s);
  struct pe_position p;
  assert_int_equal(pe_state_checkpoint_get(s, &p, &err), 0);
  OK(pe_state_begin(s, &err));
  OK(pe_state_checkpoint_set(s, &somewhere, &err));
  s = reopen(s); /* closing is no commit */
  assert_int_equal(pe_state_checkpoint_get(s, &p, &err), 0);
  pe_state_close(s);
}

static void epochs(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  struct pe_epoch_rec e;
  assert_int_equal(pe_state_epoch_get(s, &e, &err), 0);
  struct pe_epoch_rec want = {.id = 7, .from_version = UINT64_MAX - 9, .block_rows = 65536};
  want.to = somewhere;
  memset(want.script_hash, 'a', 64);
  OK(pe_state_begin(s, &err));
  OK(pe_state_epoch_set(s, &(struct pe_epoch_rec){.id = 6, .snapshot = true}, &err));
  assert_int_equal(pe_state_epoch_get(s, &e, &err), 1);
  assert_true(e.snapshot);
  OK(pe_state_epoch_set(s, &want, &err));
  OK(pe_state_commit(s, &err));
  s = reopen(s);
  assert_int_equal(pe_state_epoch_get(s, &e, &err), 1);
  assert_int_equal(e.id, 7);
  assert_false(e.snapshot);
  assert_int_equal(e.from_version, want.from_version);
  assert_int_equal(e.block_rows, 65536);
  assert_string_equal(e.script_hash, want.script_hash);
  assert_position(&e.to, &somewhere);
  OK(pe_state_begin(s, &err));
  OK(pe_state_epoch_clear(s, &err));
  OK(pe_state_commit(s, &err));
  assert_int_equal(pe_state_epoch_get(s, &e, &err), 0);
  pe_state_close(s);
}

struct scripts {
  int n;
  char modules[128];
};

static int see_script(void *arg, const char *module, const char *path, const char *text,
                      size_t len) {
  struct scripts *seen = arg;
  seen->n++;
  strcat(seen->modules, module);
  strcat(seen->modules, path ? "+ " : "- ");
  if (strcmp(module, "nul") == 0) {
    assert_int_equal(len, 3);
    assert_memory_equal(text, "a\0b", 3);
  }
  if (strcmp(module, "empty") == 0) {
    assert_int_equal(len, 0);
  }
  return 0;
}

static const char *modules_of(struct pe_state *s, const char *hash) {
  static struct scripts seen;
  memset(&seen, 0, sizeof(seen));
  OK(pe_state_script_each(s, hash, see_script, &seen, &err));
  return seen.modules;
}

static void script_sets(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  OK(pe_state_begin(s, &err));
  OK(pe_state_script_put(s, "h1", "z", "z.lua", "return 1", 8, &err));
  OK(pe_state_script_put(s, "h1", "a", NULL, "return 2", 8, &err));
  OK(pe_state_script_put(s, "h1", "nul", "n.lua", "a\0b", 3, &err));
  OK(pe_state_script_put(s, "h1", "empty", "e.lua", NULL, 0, &err));
  static const char *const sets[] = {"h2", "h3", "h4", "h5"};
  for (int i = 0; i < 4; i++) {
    OK(pe_state_script_put(s, sets[i], "m", "m.lua", "x", 1, &err));
  }
  OK(pe_state_script_put(s, "h1", "z", "z.lua", "return 1", 8, &err)); /* the newest again */
  struct pe_epoch_rec e = {.id = 1, .script_hash = "h2"};
  OK(pe_state_epoch_set(s, &e, &err));
  OK(pe_state_script_prune(s, 2, &err));
  OK(pe_state_commit(s, &err));
  s = reopen(s);
  assert_string_equal(modules_of(s, "h1"), "z+ a- nul+ empty+ ");
  assert_string_equal(modules_of(s, "h2"), "m+ "); /* the epoch still needs it */
  assert_string_equal(modules_of(s, "h3"), "");
  assert_string_equal(modules_of(s, "h4"), "");
  assert_string_equal(modules_of(s, "h5"), "m+ ");
  assert_string_equal(modules_of(s, "none"), "");
  pe_state_close(s);
}

static int see_table(void *arg, const struct pe_table_state *t) {
  strcat(arg, t->name);
  strcat(arg, " ");
  return strcmp(t->name, "d.stop") == 0 ? 42 : 0;
}

static int see_chunk(void *arg, uint64_t id, const char *lo, const char *hi, bool done) {
  char line[64];
  snprintf(line, sizeof(line), "%llu:%s-%s%s ", (unsigned long long)id, lo ? lo : "", hi ? hi : "",
           done ? "!" : "");
  strcat(arg, line);
  return 0;
}

static void tables_and_chunks(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  struct pe_table_state t, want = {.name = "d.a",
                                   .phase = PE_SNAP_DIFF,
                                   .version = UINT64_MAX,
                                   .planned = true,
                                   .schema_hash = UINT64_MAX - 1,
                                   .rows = 5};
  assert_int_equal(pe_state_table_get(s, "d.a", &t, &err), 0);
  OK(pe_state_begin(s, &err));
  OK(pe_state_table_set(s, &(struct pe_table_state){.name = "d.a", .staged = true}, &err));
  OK(pe_state_table_set(s, &want, &err));
  OK(pe_state_table_set(s, &(struct pe_table_state){.name = "d.z"}, &err));
  OK(pe_state_chunk_put(s, "d.a", 2, "[5]", NULL, &err));
  OK(pe_state_chunk_put(s, "d.a", 1, NULL, "[5]", &err));
  OK(pe_state_chunk_put(s, "d.z", 1, "[1]", "[2]", &err));
  OK(pe_state_chunk_done(s, "d.a", 1, &err));
  assert_int_equal(pe_state_chunk_done(s, "d.a", 9, &err), PE_ESTATE);
  OK(pe_state_commit(s, &err));
  s = reopen(s);
  assert_int_equal(pe_state_table_get(s, "d.a", &t, &err), 1);
  assert_memory_equal(&t, &want, sizeof(t));
  char text[256] = "";
  OK(pe_state_table_each(s, see_table, text, &err));
  assert_string_equal(text, "d.a d.z ");
  text[0] = 0;
  OK(pe_state_chunk_each(s, "d.a", see_chunk, text, &err));
  assert_string_equal(text, "1:-[5]! 2:[5]- ");
  OK(pe_state_begin(s, &err));
  OK(pe_state_table_forget(s, "d.a", &err));
  OK(pe_state_table_set(s, &(struct pe_table_state){.name = "d.stop"}, &err));
  OK(pe_state_commit(s, &err));
  text[0] = 0;
  OK(pe_state_chunk_each(s, "d.a", see_chunk, text, &err));
  OK(pe_state_chunk_each(s, "d.z", see_chunk, text, &err));
  assert_string_equal(text, "1:[1]-[2] ");
  text[0] = 0;
  assert_int_equal(pe_state_table_each(s, see_table, text, &err), 42);
  assert_string_equal(text, "d.stop ");
  pe_state_close(s);
}

static int see_pair(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue) {
  char line[64];
  snprintf(line, sizeof(line), "%zu%.*s=%.*s ", nkey, (int)nkey, (const char *)key, (int)nvalue,
           (const char *)value);
  strcat(arg, line);
  return 0;
}

static void key_value_pairs(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  OK(pe_state_begin(s, &err));
  OK(pe_state_kv_put(s, "l", "b", 1, "two", 3, &err));
  OK(pe_state_kv_put(s, "l", "a", 1, "one", 3, &err));
  OK(pe_state_kv_put(s, "l", "", 0, "none", 4, &err));
  OK(pe_state_kv_put(s, "l", "a\0c", 3, "nul", 3, &err));
  OK(pe_state_kv_put(s, "m", "a", 1, "other", 5, &err));
  OK(pe_state_kv_put(s, "l", "b", 1, "2", 1, &err));
  OK(pe_state_commit(s, &err));
  s = reopen(s);
  char text[256] = "";
  OK(pe_state_kv_each(s, "l", see_pair, text, &err));
  assert_string_equal(text, "0=none 1a=one 3a=nul 1b=2 ");
  OK(pe_state_begin(s, &err));
  OK(pe_state_kv_put(s, "l", NULL, 0, NULL, 0, &err));
  OK(pe_state_kv_put(s, "l", "a", 1, NULL, 0, &err));
  OK(pe_state_kv_put(s, "l", "unknown", 7, NULL, 0, &err));
  OK(pe_state_commit(s, &err));
  text[0] = 0;
  OK(pe_state_kv_each(s, "l", see_pair, text, &err));
  assert_string_equal(text, "3a=nul 1b=2 ");
  OK(pe_state_begin(s, &err));
  OK(pe_state_kv_clear(s, "l", &err));
  OK(pe_state_commit(s, &err));
  text[0] = 0;
  OK(pe_state_kv_each(s, "l", see_pair, text, &err));
  OK(pe_state_kv_each(s, "m", see_pair, text, &err));
  assert_string_equal(text, "1a=other ");
  pe_state_close(s);
}

static int count_pair(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue) {
  (void)key;
  (void)nkey;
  (void)value;
  (void)nvalue;
  ++*(int *)arg;
  return 0;
}

static void half_a_million_lookups(void **state) {
  (void)state;
  struct pe_state *s = open_store();
  const int n = 500000;
  int64_t t0 = pe_clock_us();
  OK(pe_state_begin(s, &err));
  for (int i = 0; i < n; i++) {
    uint64_t key = (uint64_t)i * UINT64_C(0x9E3779B97F4A7C15); /* in no order */
    uint64_t value[3] = {key, key, key};
    OK(pe_state_kv_put(s, "lookup.user", &key, sizeof(key), value, sizeof(value), &err));
  }
  OK(pe_state_commit(s, &err));
  int64_t t1 = pe_clock_us();
  int seen = 0;
  OK(pe_state_kv_each(s, "lookup.user", count_pair, &seen, &err));
  int64_t t2 = pe_clock_us();
  assert_int_equal(seen, n);
  print_message("kv_put of %d: %.2f s, kv_each: %.2f s\n", n, (double)(t1 - t0) / 1e6,
                (double)(t2 - t1) / 1e6);
  pe_state_close(s);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      TEST(made_with_narrow_permissions),
      TEST(durable_settings),
      TEST(meta_and_checkpoint),
      TEST(a_rollback_leaves_nothing),
      TEST(epochs),
      TEST(script_sets),
      TEST(tables_and_chunks),
      TEST(key_value_pairs),
      TEST(half_a_million_lookups),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
