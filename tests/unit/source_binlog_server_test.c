/* The reader against a real server. Skipped unless PIPE_ENGINE_TEST_MYSQL_URL names one where the
 * account may create and drop the database pe_reader_test and users, grant, read the binlog and
 * kill connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "source/reader.h"

#define DB "pe_reader_test"
enum { WAIT_MS = 10000, SOON_MS = 300, QUEUE_ROWS = 65536, QUEUE_BYTES = 64 << 20 };

static struct pe_source_opts opts;
static MYSQL *admin;

static void drop_line(const char *line, void *arg) {
  (void)line;
  (void)arg;
}

static void sql(const char *text) {
  if (mysql_query(admin, text)) {
    fail_msg("%s: %s", text, mysql_error(admin));
  }
  MYSQL_RES *res = mysql_store_result(admin);
  if (res) {
    mysql_free_result(res);
  }
}

static int group_setup(void **state) {
  (void)state;
  const char *url = getenv("PIPE_ENGINE_TEST_MYSQL_URL");
  struct pe_err err = PE_ERR_INIT;
  if (!url) {
    return 0;
  }
  if (pe_source_parse_url(url, &opts, &err)) {
    return -1;
  }
  opts.database[0] = 0;
  opts.server_id = 424243;
  admin = pe_source_connect(&opts, &err);
  if (!admin) {
    fprintf(stderr, "%s\n", err.text);
    return -1;
  }
  pe_log_hook(drop_line, NULL);
  return mysql_query(admin, "DROP DATABASE IF EXISTS " DB) ||
         mysql_query(admin, "CREATE DATABASE " DB " CHARACTER SET utf8mb4") ||
         mysql_select_db(admin, DB);
}

static int group_teardown(void **state) {
  (void)state;
  if (admin) {
    mysql_query(admin, "DROP DATABASE IF EXISTS " DB);
    mysql_close(admin);
  }
  return 0;
}

struct run {
  struct pe_queue q;
  struct pe_reader *r;
  struct pe_reader_opts o;
  struct pe_reader_table table;
  uint64_t changes, last_version;
  size_t batch_bytes_max;
  struct pe_position end;
  enum pe_batch_event event; /* the last one that was none */
  struct pe_err error;
};

static void run_start(struct run *u) {
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_reader_start(&u->o, &u->q, &u->r, &err), 0);
}

/* A reader of table t, from where the log ends now. */
static struct run *run_open(const char *create) {
  struct run *u = calloc(1, sizeof(*u));
  struct pe_err err = PE_ERR_INIT;
  if (!admin) {
    free(u);
    skip();
  }
  sql("DROP TABLE IF EXISTS t");
  sql(create);
  assert_int_equal(pe_queue_init(&u->q, QUEUE_ROWS, QUEUE_BYTES), 0);
  assert_int_equal(pe_source_load_table(admin, DB, "t", &u->table.table, &err), 0);
  u->o = (struct pe_reader_opts){
      .source = opts, .tables = &u->table, .ntables = 1, .idle_push_ms = 200, .heartbeat_ms = 1000};
  assert_int_equal(pe_source_position(admin, &u->o.start, &err), 0);
  u->o.start.generation = 1;
  u->end = u->o.start;
  return u;
}

static void run_close(struct run *u) {
  pe_reader_stop(u->r);
  struct pe_batch *b;
  while ((b = pe_queue_pop(&u->q, 0))) {
    pe_batch_destroy(b);
  }
  pe_queue_close(&u->q);
  pe_table_unref(u->table.table);
  free(u);
}

static bool take(struct run *u, int timeout_ms) {
  struct pe_batch *b = pe_queue_pop(&u->q, timeout_ms);
  if (!b) {
    return false;
  }
  for (struct pe_segment *s = b->first; s; s = s->next) {
    for (uint32_t i = 0; i < s->nimages; i++) {
      assert_true(s->meta[i].version > u->last_version);
      u->last_version = s->meta[i].version;
    }
  }
  u->changes += b->nchanges;
  u->batch_bytes_max = b->bytes > u->batch_bytes_max ? b->bytes : u->batch_bytes_max;
  u->end = b->end;
  if (b->event != PE_EV_NONE) {
    u->event = b->event;
    u->error = b->error ? *b->error : u->error;
  }
  pe_batch_destroy(b);
  return true;
}

static void take_changes(struct run *u, uint64_t n) {
  while (u->changes < n) {
    assert_true(take(u, WAIT_MS));
  }
  assert_int_equal(u->changes, n);
}

static void take_event(struct run *u, enum pe_batch_event event) {
  while (u->event != event) {
    assert_true(take(u, WAIT_MS));
  }
}

static const char *const plain = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(50))";

static void changes_arrive_as_they_are_made(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  run_start(u);
  sql("INSERT INTO t VALUES (1,1,'x'),(2,2,NULL)");
  take_changes(u, 2);
  int64_t before = pe_clock_us();
  sql("UPDATE t SET a = a + 1");
  take_changes(u, 4);
  assert_true(pe_clock_us() - before < SOON_MS * 1000);
  sql("DELETE FROM t WHERE id = 1");
  take_changes(u, 5);
  struct pe_reader_stats st;
  pe_reader_stats(u->r, &st);
  assert_true(st.connected && st.rows == 5 && st.transactions >= 3 && st.reconnects == 0);
  assert_true(st.last_event_us > 0 && st.source_ts_us > 0);
  run_close(u);
}

static void a_killed_connection_goes_on(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  run_start(u);
  for (unsigned i = 1; i <= 5; i++) {
    char text[128];
    snprintf(text, sizeof(text), "INSERT INTO t VALUES (%u,1,'x'),(%u,1,'y')", i * 2, i * 2 + 1);
    sql(text);
    take_changes(u, i * 2);
    assert_int_equal(mysql_query(admin,
                                 "SELECT id FROM information_schema.processlist WHERE command LIKE "
                                 "'Binlog Dump%' ORDER BY id DESC LIMIT 1"),
                     0);
    MYSQL_RES *res = mysql_store_result(admin);
    MYSQL_ROW row = mysql_fetch_row(res);
    if (row) {
      snprintf(text, sizeof(text), "KILL %s", row[0]);
      mysql_query(admin, text);
    }
    mysql_free_result(res);
  }
  sql("DELETE FROM t");
  take_changes(u, 20);
  struct pe_reader_stats st;
  pe_reader_stats(u->r, &st);
  assert_true(st.reconnects >= 3);
  run_close(u);
}

static void the_end_of_every_batch_can_be_gone_on_from(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  u->o.batch_rows = 7;
  run_start(u);
  sql("INSERT INTO t VALUES (0,0,'')");
  for (unsigned i = 0; i < 6; i++) {
    sql("SET @n = (SELECT COUNT(*) FROM t)");
    sql("INSERT INTO t SELECT id + @n, a, REPEAT('z', 20) FROM t");
  }
  sql("FLUSH BINARY LOGS");
  sql("UPDATE t SET a = a + 1"); /* one transaction of 64 */
  uint64_t seen = 0, stops = 0;
  while (seen < 128) {
    assert_true(take(u, WAIT_MS));
    seen = u->changes;
    pe_reader_stop(u->r);
    struct pe_batch *b;
    while ((b = pe_queue_pop(&u->q, 0))) {
      pe_batch_destroy(b);
    }
    u->o.start = u->end;
    run_start(u);
    stops++;
  }
  assert_true(stops > 10);
  assert_int_equal(seen, 128);
  assert_false(take(u, SOON_MS) && u->changes != 128);
  run_close(u);
}

static void stopping_is_prompt(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  run_start(u);
  sql("INSERT INTO t VALUES (1,1,'x')");
  take_changes(u, 1);
  int64_t before = pe_clock_us();
  pe_reader_stop(u->r); /* out of a blocked read */
  assert_true(pe_clock_us() - before < SOON_MS * 1000);
  pe_queue_close(&u->q);
  assert_int_equal(pe_queue_init(&u->q, 4, 1000), 0);
  u->o.batch_rows = 3;
  run_start(u);
  sql("INSERT INTO t SELECT id + 10, a, b FROM t");
  for (unsigned i = 1; i < 7; i++) {
    char text[100];
    snprintf(text, sizeof(text), "INSERT INTO t SELECT id + %u, a, b FROM t", 10 << i);
    sql(text);
  }
  pe_sleep_ms(200);
  before = pe_clock_us();
  pe_reader_stop(u->r); /* out of a blocked push */
  assert_true(pe_clock_us() - before < SOON_MS * 1000);
  struct pe_batch *b = pe_queue_pop(&u->q, 0); /* what is in the queue stays there */
  assert_non_null(b);
  pe_batch_destroy(b);
  run_start(u);
  run_close(u);
}

static void a_new_version_of_the_table_is_found(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  run_start(u);
  sql("INSERT INTO t VALUES (1,1,'x')");
  take_changes(u, 1);
  sql("ALTER TABLE t ADD COLUMN c DATETIME(3) NULL AFTER id");
  sql("INSERT INTO t (id, c) VALUES (2, '2024-01-01')");
  take_changes(u, 2);
  assert_int_equal(u->event, PE_EV_TABLE_CHANGED);
  u->event = PE_EV_NONE;
  sql("TRUNCATE TABLE t");
  take_event(u, PE_EV_TRUNCATE);
  run_close(u);
}

static void a_position_that_is_gone_stops_the_stream(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  strcpy(strrchr(u->o.start.file, '.'), ".900000");
  run_start(u);
  take_event(u, PE_EV_FATAL);
  assert_int_equal(u->error.code, PE_ESOURCE_PURGED);
  assert_non_null(strstr(u->error.text, "pipe-engine resync"));
  run_close(u);
  u = run_open(plain);
  u->o.start.pos += 1000000;
  run_start(u);
  take_event(u, PE_EV_FATAL);
  assert_int_equal(u->error.code, PE_ESOURCE_PURGED);
  run_close(u);
}

static void a_second_replica_with_the_id_is_named(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  run_start(u);
  sql("INSERT INTO t VALUES (1,1,'x')");
  take_changes(u, 1);
  struct run *v = calloc(1, sizeof(*v));
  v->o = u->o;
  v->o.start = u->end;
  assert_int_equal(pe_queue_init(&v->q, QUEUE_ROWS, QUEUE_BYTES), 0);
  v->table.table = pe_table_ref(u->table.table);
  run_start(v);
  take_event(u, PE_EV_FATAL);
  assert_int_equal(u->error.code, PE_ESOURCE_ID);
  assert_non_null(strstr(u->error.text, "424243"));
  run_close(v);
  run_close(u);
}

static void other_peoples_changes_move_the_place(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  sql("CREATE TABLE IF NOT EXISTS other (id INT PRIMARY KEY)");
  sql("DELETE FROM other");
  run_start(u);
  struct pe_position was = u->o.start;
  sql("INSERT INTO other VALUES (1)");
  sql("FLUSH BINARY LOGS");
  while (strcmp(u->end.file, was.file) == 0) {
    assert_true(take(u, WAIT_MS));
  }
  assert_int_equal(u->changes, 0);
  run_close(u);
}

/* One transaction, many times a batch: no batch outgrows its bounds. */
static void a_large_transaction_passes_in_pieces(void **state) {
  (void)state;
  enum { DOUBLINGS = 16, BATCH_BYTES = 512 * 1024 };
  struct run *u = run_open(plain);
  u->o.batch_bytes = BATCH_BYTES;
  sql("BEGIN");
  sql("INSERT INTO t VALUES (0,0,REPEAT('q',50))");
  for (unsigned i = 0; i < DOUBLINGS; i++) {
    char text[100];
    snprintf(text, sizeof(text), "INSERT INTO t SELECT id + %u, a, b FROM t", 1u << i);
    sql(text);
  }
  sql("COMMIT");
  run_start(u);
  take_changes(u, 1u << DOUBLINGS);
  assert_true(u->batch_bytes_max < 3 * BATCH_BYTES);
  run_close(u);
}

static void a_row_of_16_mb_passes(void **state) {
  (void)state;
  struct run *u = run_open("CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT)");
  run_start(u);
  sql("INSERT INTO t VALUES (1, REPEAT('x', 16 * 1024 * 1024)), (2, 'small')");
  sql("UPDATE t SET a = 'short'");
  sql("INSERT INTO t VALUES (3, 'after')");
  take_changes(u, 5);
  run_close(u);
}

static void without_the_grant_it_says_so(void **state) {
  (void)state;
  struct run *u = run_open(plain);
  sql("DROP USER IF EXISTS 'pe_reader_none'@'127.0.0.1'");
  sql("CREATE USER 'pe_reader_none'@'127.0.0.1' IDENTIFIED BY 'none'");
  sql("GRANT SELECT ON " DB ".* TO 'pe_reader_none'@'127.0.0.1'");
  snprintf(u->o.source.user, sizeof(u->o.source.user), "pe_reader_none");
  snprintf(u->o.source.password, sizeof(u->o.source.password), "none");
  run_start(u);
  take_event(u, PE_EV_FATAL);
  assert_int_equal(u->error.code, PE_ESOURCE_GRANT);
  assert_non_null(strstr(u->error.text, "REPLICATION SLAVE"));
  sql("DROP USER 'pe_reader_none'@'127.0.0.1'");
  run_close(u);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(changes_arrive_as_they_are_made),
      cmocka_unit_test(a_killed_connection_goes_on),
      cmocka_unit_test(the_end_of_every_batch_can_be_gone_on_from),
      cmocka_unit_test(stopping_is_prompt),
      cmocka_unit_test(a_new_version_of_the_table_is_found),
      cmocka_unit_test(a_position_that_is_gone_stops_the_stream),
      cmocka_unit_test(a_second_replica_with_the_id_is_named),
      cmocka_unit_test(other_peoples_changes_move_the_place),
      cmocka_unit_test(a_large_transaction_passes_in_pieces),
      cmocka_unit_test(a_row_of_16_mb_passes),
      cmocka_unit_test(without_the_grant_it_says_so),
  };
  return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
