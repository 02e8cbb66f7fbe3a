/* Snapshots of a real server. Skipped unless PIPE_ENGINE_TEST_MYSQL_URL names one where the account
 * may create and drop the database pe_snapshot_test and users, grant, kill connections and read the
 * binlog. */
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
#include "source/snapshot.h"

#define DB "pe_snapshot_test"
enum { KEYS_MAX = 100000, CHUNKS_MAX = 4096, WAIT_MS = 30000 };

static struct pe_source_opts opts;
static MYSQL *admin;
static bool mariadb;

static unsigned retries;

static void drop_line(const char *line, void *arg) {
  (void)arg;
  if (strstr(line, "trying again")) {
    __atomic_fetch_add(&retries, 1, __ATOMIC_RELAXED);
  }
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
  if (!url) {
    return 0;
  }
  struct pe_err err = PE_ERR_INIT;
  if (pe_source_parse_url(url, &opts, &err)) {
    fprintf(stderr, "%s\n", err.text);
    return -1;
  }
  opts.database[0] = 0;
  opts.server_id = 424242;
  admin = pe_source_connect(&opts, &err);
  if (!admin) {
    fprintf(stderr, "%s\n", err.text);
    return -1;
  }
  pe_log_hook(drop_line, NULL);
  mariadb = mariadb_connection(admin) != 0;
  snprintf(opts.database, sizeof(opts.database), DB);
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

static void need_server(void) {
  if (!admin) {
    skip();
  }
}

static struct pe_table *load(const char *name) {
  struct pe_table *t;
  struct pe_err err = PE_ERR_INIT;
  if (pe_source_load_table(admin, DB, name, &t, &err)) {
    fail_msg("%s", err.text);
  }
  return t;
}

/* Rows seen, by their key and as JSON. */
struct seen {
  struct pe_buf text[KEYS_MAX];
  size_t n;
};

static void forget(struct seen *s) {
  for (size_t i = 0; i < s->n; i++) {
    pe_buf_close(&s->text[i]);
  }
  s->n = 0;
}

static int by_text(const void *a, const void *b) {
  const struct pe_buf *x = a, *y = b;
  size_t n = x->len < y->len ? x->len : y->len;
  int c = n ? memcmp(x->data, y->data, n) : 0;
  return c ? c : (x->len > y->len) - (x->len < y->len);
}

static size_t distinct(struct seen *s) {
  qsort(s->text, s->n, sizeof(s->text[0]), by_text);
  size_t n = s->n > 0;
  for (size_t i = 1; i < s->n; i++) {
    n += by_text(&s->text[i - 1], &s->text[i]) != 0;
  }
  return n;
}

struct run {
  struct pe_snapshot_opts o;
  struct pe_snapshot_table t;
  struct pe_queue q;
  struct pe_snapshot *s;
  struct pe_chunk chunks[CHUNKS_MAX]; /* as the callback saw them */
  uint32_t nchunks;
  bool planned;
  struct pe_err fatal;
  uint64_t rows;
};

static int record_plan(void *arg, const struct pe_table *t, const struct pe_chunk *c,
                       struct pe_err *err) {
  struct run *r = arg;
  (void)err;
  assert_ptr_equal(t, r->t.table);
  if (!c) {
    r->planned = true;
    return 0;
  }
  assert_true(r->nchunks < CHUNKS_MAX);
  assert_int_equal(c->id, r->nchunks);
  struct pe_chunk *to = &r->chunks[r->nchunks];
  *to = *c;
  to->lo = c->lo ? strdup(c->lo) : NULL;
  to->hi = c->hi ? strdup(c->hi) : NULL;
  __atomic_store_n(&r->nchunks, r->nchunks + 1, __ATOMIC_RELEASE);
  return 0;
}

static struct run *begin(struct pe_table *t, uint32_t chunk_rows, uint32_t batch_rows,
                         const struct run *before) {
  struct run *r = calloc(1, sizeof(*r));
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_queue_init(&r->q, 500, 1 << 20), 0);
  r->t.table = t;
  r->t.version = 77;
  if (before) {
    for (uint32_t i = 0; i < before->nchunks; i++) {
      r->chunks[i] = before->chunks[i];
      r->chunks[i].lo = before->chunks[i].lo ? strdup(before->chunks[i].lo) : NULL;
      r->chunks[i].hi = before->chunks[i].hi ? strdup(before->chunks[i].hi) : NULL;
    }
    r->nchunks = before->nchunks;
    r->planned = before->planned;
    r->t.chunks = before->chunks;
    r->t.nchunks = before->nchunks;
    r->t.planned = before->planned;
  }
  r->o = (struct pe_snapshot_opts){.source = opts,
                                   .tables = &r->t,
                                   .ntables = 1,
                                   .workers = 2,
                                   .chunk_rows = chunk_rows,
                                   .batch_rows = batch_rows,
                                   .batch_bytes = 1 << 20,
                                   .plan_cb = record_plan,
                                   .arg = r};
  if (pe_snapshot_start(&r->o, &r->q, &r->s, &err)) {
    fail_msg("%s", err.text);
  }
  return r;
}

static void end(struct run *r) {
  pe_snapshot_stop(r->s); /* NULL where it is stopped already */
  struct pe_batch *b;
  while ((b = pe_queue_pop(&r->q, 0)) != NULL) {
    pe_batch_destroy(b);
  }
  pe_queue_close(&r->q);
  for (uint32_t i = 0; i < r->nchunks; i++) {
    free((char *)r->chunks[i].lo);
    free((char *)r->chunks[i].hi);
  }
  free(r);
}

static void see_rows(struct run *r, const struct pe_batch *b, struct seen *seen) {
  for (const struct pe_segment *g = b->first; g; g = g->next) {
    assert_int_equal(g->op, PE_OP_SNAPSHOT);
    for (uint32_t i = 0; i < g->nimages; i++) {
      assert_int_equal(g->meta[i].version, 77);
      r->rows++;
      if (seen) {
        assert_true(seen->n < KEYS_MAX);
        struct pe_buf *to = &seen->text[seen->n++];
        pe_buf_init(to);
        pe_row_key(g->table, g->rows + (size_t)i * g->table->row_bytes, to);
      }
    }
  }
}

/* One batch; false when the snapshot is over. */
static bool step(struct run *r, struct seen *seen) {
  int64_t until = pe_clock_us() + WAIT_MS * 1000;
  struct pe_batch *b = NULL;
  while (!b) {
    assert_true(pe_clock_us() < until);
    bool finished = pe_snapshot_finished(r->s);
    b = pe_queue_pop(&r->q, finished ? 0 : 20);
    if (!b && finished) {
      return false;
    }
  }
  assert_true(b->snapshot);
  if (b->event == PE_EV_FATAL) {
    r->fatal = *b->error;
    pe_batch_destroy(b);
    return false;
  }
  assert_ptr_equal(b->new_table, r->t.table);
  see_rows(r, b, seen);
  if (b->event == PE_EV_CHUNK_DONE) {
    assert_true(b->chunk_id < __atomic_load_n(&r->nchunks, __ATOMIC_ACQUIRE));
    assert_false(r->chunks[b->chunk_id].done);
    r->chunks[b->chunk_id].done = true;
  }
  pe_batch_destroy(b);
  return true;
}

static uint64_t count_of(const char *table) {
  char text[128];
  snprintf(text, sizeof(text), "SELECT COUNT(*) FROM %s", table);
  assert_int_equal(mysql_query(admin, text), 0);
  MYSQL_RES *res = mysql_store_result(admin);
  uint64_t n = strtoull(mysql_fetch_row(res)[0], NULL, 10);
  mysql_free_result(res);
  return n;
}

/* Every row once, in chunks of the given size. */
static void covers(const char *table, uint32_t chunk_rows) {
  static struct seen seen;
  struct pe_table *t = load(table);
  struct run *r = begin(t, chunk_rows, 100, NULL);
  while (step(r, &seen)) {
  }
  if (r->fatal.code) {
    fail_msg("%s: %s", table, r->fatal.text);
  }
  uint64_t rows = count_of(table);
  if (r->rows != rows || distinct(&seen) != rows) {
    fail_msg("%s in chunks of %u: %zu rows of %zu, %zu distinct", table, chunk_rows,
             (size_t)r->rows, (size_t)rows, distinct(&seen));
  }
  assert_true(r->planned);
  assert_int_equal(r->nchunks, rows / chunk_rows + 1);
  for (uint32_t i = 0; i < r->nchunks; i++) {
    assert_true(r->chunks[i].done);
  }
  struct pe_snapshot_stats st;
  pe_snapshot_stats(r->s, 0, &st);
  assert_int_equal(st.rows, rows);
  assert_int_equal(st.chunks_done, r->nchunks);
  assert_int_equal(st.chunks_planned, r->nchunks);
  forget(&seen);
  end(r);
  pe_table_unref(t);
}

static void fill_numbers(void) {
  sql("CREATE TABLE IF NOT EXISTS n (i INT PRIMARY KEY)");
  sql("DELETE FROM n");
  sql("INSERT INTO n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)");
  sql("INSERT INTO n SELECT a.i + 10 * b.i + 100 * c.i + 10 FROM n a, n b, n c");
}

static void keys_of_many_columns(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  sql("CREATE TABLE mk (a INT NOT NULL, b VARCHAR(20) CHARACTER SET latin1 NOT NULL, "
      "e ENUM('z','y','x') NOT NULL, v INT, PRIMARY KEY (a, b, e))");
  sql("INSERT INTO mk SELECT i DIV 300 - 1, CONCAT('K\xc3\xbc''\\\\', i MOD 300 DIV 3), 1 + i MOD "
      "3, "
      "i FROM n");
  covers("mk", 1);
  covers("mk", 7);
  covers("mk", 100);
  covers("mk", 100000);
}

static void keys_of_text(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  sql("CREATE TABLE tk (k VARCHAR(40) NOT NULL PRIMARY KEY, v INT)");
  sql("INSERT INTO tk SELECT CONCAT(CHAR(33 + i MOD 90 USING utf8mb4), "
      "ELT(1 + i MOD 5, '\xe2\x82\xac', '''\"', '\\\\', ' \xf0\x9f\x98\x80', '%_'), i), i FROM n");
  sql("INSERT INTO tk VALUES ('', -1)");
  covers("tk", 3);
  covers("tk", 64);
  sql("CREATE TABLE tb (k VARCHAR(40) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, v INT)");
  sql("INSERT INTO tb SELECT * FROM tk");
  sql("INSERT IGNORE INTO tb SELECT UPPER(k), v FROM tk");
  sql("INSERT IGNORE INTO tb SELECT LOWER(k), v FROM tk");
  covers("tb", 3);
  sql("CREATE TABLE bk (k VARBINARY(40) NOT NULL PRIMARY KEY, v INT)");
  sql("INSERT INTO bk SELECT CONCAT(UNHEX(LPAD(HEX(i MOD 256), 2, '0')), '''', i), i FROM n");
  covers("bk", 5);
  sql("CREATE TABLE fk (k BINARY(4) NOT NULL PRIMARY KEY, v INT)");
  sql("INSERT INTO fk SELECT UNHEX(LPAD(HEX(i * 256), 8, '0')), i FROM n");
  covers("fk", 5);
}

static void keys_of_other_types(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  static const char *const keys[][2] = {
      {"INT", "i - 500"},
      {"BIGINT UNSIGNED", "18446744073709551615 - i"},
      {"DECIMAL(20,3)", "i / 7 - 50"},
      {"DOUBLE", "(i - 500) / 7"},
      {"FLOAT", "(i - 500) / 7"},
      {"DATE", "'1000-01-01' + INTERVAL i DAY"},
      {"DATETIME(6)", "'2024-01-01' + INTERVAL i * 1001 MICROSECOND"},
      {"TIMESTAMP(3)", "'2024-01-01' + INTERVAL i * 1000 MICROSECOND"},
      {"TIME(2)", "SEC_TO_TIME(i - 500)"},
      {"BIT(12)", "i"},
  };
  for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
    char text[512];
    sql("DROP TABLE IF EXISTS ok");
    snprintf(text, sizeof(text), "CREATE TABLE ok (k %s NOT NULL PRIMARY KEY, v INT)", keys[k][0]);
    sql(text);
    snprintf(text, sizeof(text), "INSERT INTO ok SELECT %s, i FROM n", keys[k][1]);
    sql(text);
    covers("ok", 7);
  }
  sql("CREATE TABLE sk (k SET('a','b','c','d','e','f','g','h') NOT NULL PRIMARY KEY, v INT)");
  sql("INSERT INTO sk SELECT i, i FROM n WHERE i < 256");
  covers("sk", 7);
  sql("CREATE TABLE yk (k YEAR NOT NULL PRIMARY KEY, v INT)");
  sql("INSERT INTO yk SELECT 1901 + i, i FROM n WHERE i < 250");
  sql("INSERT INTO yk VALUES (0, 0)");
  covers("yk", 7);
  /* A unique index in place of a primary key, and zero dates in it. */
  sql("CREATE TABLE uk (v INT, d DATE NOT NULL, i INT NOT NULL, UNIQUE u (d, i))");
  sql("INSERT INTO uk SELECT i, '0000-00-00', i FROM n WHERE i < 500");
  sql("INSERT INTO uk SELECT i, '2024-01-01', i FROM n WHERE i >= 500");
  covers("uk", 7);
  if (mariadb) {
    sql("CREATE TABLE uu (k UUID NOT NULL, a INET6 NOT NULL, v INT, PRIMARY KEY (k, a))");
    sql("INSERT INTO uu SELECT UUID(), CONCAT('fe80::', HEX(i)), i FROM n");
    covers("uu", 7);
  }
}

static void empty_table(void **state) {
  (void)state;
  need_server();
  sql("CREATE TABLE nothing (i INT PRIMARY KEY)");
  covers("nothing", 10);
}

static void restart_in_the_middle(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  sql("CREATE TABLE IF NOT EXISTS rs (a INT, b VARCHAR(20), PRIMARY KEY (a, b))");
  sql("INSERT IGNORE INTO rs SELECT i DIV 100, CONCAT('x', i) FROM n");
  static struct seen second;
  struct pe_table *t = load("rs");
  for (int steps = 1; steps < 90; steps += 8) {
    struct run *a = begin(t, 13, 5, NULL);
    for (int i = 0; i < steps && step(a, NULL); i++) {
    }
    pe_snapshot_stop(a->s); /* nothing calls back any more */
    a->s = NULL;
    struct run *b = begin(t, 13, 5, a);
    while (step(b, &second)) {
    }
    assert_int_equal(b->fatal.code, 0);
    /* Rows of the chunks that were done before, read on their own. */
    struct run *c = calloc(1, sizeof(*c));
    c->nchunks = a->nchunks;
    c->planned = true;
    for (uint32_t i = 0; i < a->nchunks; i++) {
      c->chunks[i] = a->chunks[i];
      c->chunks[i].done = !a->chunks[i].done;
    }
    struct run *d = begin(t, 13, 5, c);
    while (step(d, &second)) {
    }
    assert_int_equal(d->fatal.code, 0);
    uint64_t rows = count_of("rs");
    assert_int_equal(b->rows + d->rows, rows);
    assert_int_equal(distinct(&second), rows);
    forget(&second);
    free(c);
    end(d);
    end(b);
    end(a);
  }
  pe_table_unref(t);
}

/* Kills every connection of this account but the test's own. */
static void kill_others(void) {
  char text[64];
  assert_int_equal(mysql_query(admin,
                               "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> "
                               "CONNECTION_ID() AND DB = '" DB "'"),
                   0);
  MYSQL_RES *res = mysql_store_result(admin);
  MYSQL_ROW row;
  while ((row = mysql_fetch_row(res)) != NULL) {
    snprintf(text, sizeof(text), "KILL %s", row[0]);
    mysql_query(admin, text);
  }
  mysql_free_result(res);
}

static void lost_connections(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  sql("CREATE TABLE lc (a INT, b INT, filler VARCHAR(2000), PRIMARY KEY (a, b))");
  sql("INSERT INTO lc SELECT a.i MOD 100, b.i * 2000 + a.i, REPEAT('x', 2000) FROM n a, n b WHERE "
      "b.i < 20");
  static struct seen seen;
  struct pe_table *t = load("lc");
  struct run *r = begin(t, 4000, 50, NULL);
  retries = 0;
  for (int i = 0; step(r, &seen); i++) {
    if (i % 40 == 3 && i < 300) {
      kill_others();
    }
  }
  assert_int_equal(r->fatal.code, 0);
  assert_true(retries > 3);
  assert_int_equal(r->rows, count_of("lc"));
  assert_int_equal(distinct(&seen), count_of("lc"));
  forget(&seen);
  end(r);
  pe_table_unref(t);
}

static void stop_with_a_full_queue(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  sql("CREATE TABLE st (i INT PRIMARY KEY, filler VARCHAR(2000))");
  sql("INSERT INTO st SELECT a.i * 10000 + b.i, REPEAT('x', 2000) FROM n a, n b WHERE b.i < 20");
  struct pe_table *t = load("st");
  struct run *r = begin(t, 5000, 50, NULL);
  assert_true(step(r, NULL));
  pe_sleep_ms(300); /* the queue fills up, both workers block */
  int64_t before = pe_clock_us();
  end(r);
  assert_true(pe_clock_us() - before < 2000000);
  pe_table_unref(t);
}

/* A queue that stays full costs the connections, so that nobody waits for our SELECT; every row
 * still comes once. */
static void letting_go(void **state) {
  (void)state;
  need_server();
  fill_numbers();
  sql("CREATE TABLE lg (i INT, k VARCHAR(20), filler VARCHAR(2000), PRIMARY KEY (i, k))");
  sql("INSERT INTO lg SELECT a.i, CONCAT('k', b.i), REPEAT('x', 2000) FROM n a, n b WHERE b.i < "
      "10");
  static struct seen seen;
  struct pe_table *t = load("lg");
  struct run *r = begin(t, 5000, 50, NULL);
  assert_true(step(r, &seen));
  pe_sleep_ms(3000);
  sql("SET SESSION lock_wait_timeout = 2");
  sql("ALTER TABLE lg COMMENT 'not kept waiting'");
  while (step(r, &seen)) {
  }
  assert_int_equal(r->fatal.code, 0);
  assert_int_equal(r->rows, count_of("lg"));
  assert_int_equal(distinct(&seen), count_of("lg"));
  forget(&seen);
  end(r);
  pe_table_unref(t);
}

static void changed_under_way(void **state) {
  (void)state;
  need_server();
  sql("CREATE TABLE ch (i INT PRIMARY KEY, gone INT, grows INT)");
  sql("INSERT INTO ch VALUES (1, 2, 3)");
  struct pe_table *t = load("ch");
  sql("ALTER TABLE ch MODIFY grows BIGINT");
  struct run *r = begin(t, 10, 10, NULL);
  while (step(r, NULL)) {
  }
  assert_int_equal(r->fatal.code, PE_ESOURCE_SCHEMA);
  assert_non_null(strstr(r->fatal.text, "'grows'"));
  end(r);
  sql("ALTER TABLE ch DROP COLUMN gone");
  r = begin(t, 10, 10, NULL);
  while (step(r, NULL)) {
  }
  assert_int_equal(r->fatal.code, PE_ESOURCE_SCHEMA);
  end(r);
  pe_table_unref(t);
}

static void missing_and_keyless(void **state) {
  (void)state;
  need_server();
  struct pe_table *t;
  struct pe_err err = PE_ERR_INIT;
  sql("CREATE TABLE customers (a INT, b INT UNIQUE)");
  sql("CREATE TABLE partly (a INT, b VARCHAR(50) NOT NULL, UNIQUE (b(10)))");
  sql("CREATE VIEW seen AS SELECT * FROM customers");
  assert_int_equal(pe_source_load_table(admin, DB, "custmers", &t, &err), PE_ESOURCE_SCHEMA);
  assert_non_null(strstr(err.text, "did you mean customers?"));
  assert_int_equal(pe_source_load_table(admin, DB, "customers", &t, &err), PE_ESOURCE_KEY);
  assert_non_null(strstr(err.text, "ADD PRIMARY KEY"));
  assert_int_equal(pe_source_load_table(admin, DB, "partly", &t, &err), PE_ESOURCE_KEY);
  assert_int_equal(pe_source_load_table(admin, DB, "seen", &t, &err), PE_ESOURCE_SCHEMA);
  assert_non_null(strstr(err.text, "VIEW"));
}

/* Rows of the fixture as text, from the snapshot and from the binlog. */
static void texts_of(const struct pe_batch *b, enum pe_op op, struct seen *out) {
  for (const struct pe_segment *g = b->first; g; g = g->next) {
    for (uint32_t i = 0; g->op == op && i < g->nimages; i++) {
      struct pe_buf *to = &out->text[out->n++];
      pe_buf_init(to);
      pe_row_json(g->table, g->rows + (size_t)i * g->table->row_bytes, to);
    }
  }
}

static void read_log(struct pe_table *t, const struct pe_position *from, size_t rows,
                     struct seen *out) {
  struct pe_queue q;
  struct pe_reader *r;
  struct pe_err err = PE_ERR_INIT;
  struct pe_reader_table rt = {.table = t};
  struct pe_reader_opts o = {.source = opts,
                             .start = *from,
                             .tables = &rt,
                             .ntables = 1,
                             .batch_rows = 100,
                             .batch_bytes = 1 << 20,
                             .idle_push_ms = 100,
                             .heartbeat_ms = 1000};
  assert_int_equal(pe_queue_init(&q, 1000, 1 << 24), 0);
  if (pe_reader_start(&o, &q, &r, &err)) {
    fail_msg("%s", err.text);
  }
  int64_t until = pe_clock_us() + WAIT_MS * 1000;
  while (out->n < rows && pe_clock_us() < until) {
    struct pe_batch *b = pe_queue_pop(&q, 100);
    if (b && b->event == PE_EV_FATAL) {
      fail_msg("%s", b->error->text);
    }
    if (b) {
      texts_of(b, PE_OP_INSERT, out);
      pe_batch_destroy(b);
    }
  }
  pe_reader_stop(r);
  struct pe_batch *b;
  while ((b = pe_queue_pop(&q, 0)) != NULL) {
    pe_batch_destroy(b);
  }
  pe_queue_close(&q);
}

/* A value must be the same whether it came by the snapshot or by the log. */
static void same_by_both_ways(const char *table, struct pe_position *from) {
  static struct seen snap, log;
  struct pe_table *t = load(table);
  struct run *r = begin(t, 1000, 100, NULL);
  while (!pe_snapshot_finished(r->s) || r->q.count) {
    struct pe_batch *b = pe_queue_pop(&r->q, 20);
    if (b && b->event == PE_EV_FATAL) {
      fail_msg("%s", b->error->text);
    }
    if (b) {
      texts_of(b, PE_OP_SNAPSHOT, &snap);
      pe_batch_destroy(b);
    }
  }
  end(r);
  assert_int_equal(snap.n, count_of(table));
  read_log(t, from, snap.n, &log);
  assert_int_equal(log.n, snap.n);
  distinct(&snap);
  distinct(&log);
  for (size_t i = 0; i < snap.n; i++) {
    assert_string_equal(pe_buf_cstr(&snap.text[i]), pe_buf_cstr(&log.text[i]));
  }
  forget(&snap);
  forget(&log);
  pe_table_unref(t);
}

static struct pe_position here(void) {
  struct pe_position pos = {.pos = 0};
  struct pe_err err = PE_ERR_INIT;
  if (pe_source_position(admin, &pos, &err)) {
    fail_msg("%s", err.text);
  }
  return pos;
}

static void all_types(void **state) {
  (void)state;
  need_server();
  sql("CREATE TABLE ty (id INT PRIMARY KEY, i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, "
      "u16 SMALLINT UNSIGNED, i24 MEDIUMINT, u24 MEDIUMINT UNSIGNED, i32 INT, u32 INT UNSIGNED, "
      "i64 BIGINT, u64 BIGINT UNSIGNED, z INT(9) ZEROFILL, bo BOOLEAN, f FLOAT, d DOUBLE, "
      "n1 DECIMAL(9,4), n2 DECIMAL(38,10), n3 DECIMAL(65,30), n4 DECIMAL(18,0), "
      "da DATE, dt DATETIME, dt3 DATETIME(3), dt6 DATETIME(6), ts TIMESTAMP NULL, "
      "ts4 TIMESTAMP(4) NULL, t TIME, t6 TIME(6), t1 TIME(1), y YEAR, b1 BIT, b64 BIT(64), "
      "e ENUM('a','b''c','\xc3\xbc'), s SET('x','y','z'), c CHAR(10), "
      "cl CHAR(10) CHARACTER SET latin1, v VARCHAR(400), vu VARCHAR(10) CHARACTER SET utf16, "
      "bi BINARY(6), bl BINARY(255), vb VARBINARY(300), tt TINYTEXT, tx TEXT, mt MEDIUMTEXT, "
      "lt LONGTEXT, tb TINYBLOB, bb BLOB, lb LONGBLOB, j JSON, g GEOMETRY, "
      "gv INT AS (i32 + 1) VIRTUAL, gs INT AS (i32 + 2) STORED, inv INT DEFAULT 5 INVISIBLE)");
  struct pe_position from = here();
  sql("INSERT INTO ty (id) VALUES (1)");
  sql("INSERT INTO ty (id,i8,u8,i16,u16,i24,u24,i32,u32,i64,u64,z,bo,f,d,n1,n2,n3,n4) VALUES "
      "(2,-128,0,-32768,0,-8388608,0,-2147483647,0,-9223372036854775808,0,7,TRUE,-0.1,-1e300,"
      "-0.0001,-1234567890123456789012345678.0123456789,"
      "-99999999999999999999999999999999999.999999999999999999999999999999,-999999999999999999),"
      "(3,127,255,32767,65535,8388607,16777215,2147483645,4294967295,9223372036854775807,"
      "18446744073709551615,123456789,FALSE,3.4028234e38,4.9e-324,99999.9999,0,"
      "0.000000000000000000000000000001,0)");
  sql("INSERT INTO ty (id,da,dt,dt3,dt6,ts,ts4,t,t6,t1,y) VALUES "
      "(4,'2024-02-29','1000-01-01 00:00:00','1969-12-31 23:59:59.999','9999-12-31 "
      "23:59:59.999999','1970-01-01 00:00:01','2038-01-19 03:14:07.9999','838:59:59',"
      "'-838:59:59','-00:00:00.1',2155),"
      "(5,'0000-00-00','0000-00-00','2024-00-17 01:02:03.5','0000-00-00 00:00:00','0000-00-00',"
      "'0000-00-00','00:00:00','-00:00:00.000001','12:34:56.7',0),"
      "(6,'0001-01-01','2024-01-00 10:00:00','2023-12-31 23:59:59.001','1970-01-01','2001-09-09 "
      "01:46:40','2001-09-09 01:46:40.1234','-01:00:00','01:02:03.04','00:00:00',1901)");
  sql("INSERT INTO ty (id,b1,b64,e,s,c,cl,v,vu,bi,bl,vb) VALUES "
      "(7,b'1',18446744073709551615,'\xc3\xbc','x,z','a  ','gr\xc3\xbcn','\xf0\x9f\x98\x80\\n\\\"',"
      "'\xe2\x82\xac','ab\\0','\\0',X'00FF'),"
      "(8,b'0',1,'b''c','','','','','','',REPEAT('x',255),'')");
  sql("INSERT INTO ty (id,tt,tx,mt,lt,tb,bb,lb,g,j) VALUES "
      "(9,REPEAT('t',255),REPEAT('\xc3\xbc',20000),REPEAT('m',70000),REPEAT('l',300000),X'00',"
      "REPEAT(X'FF',300),REPEAT(X'00FF',100000),ST_GeomFromText('POINT(1 2)'),"
      "'{\"a\": [1, 2.5, -3e10, true, null], \"b\": {\"c\": \"\xc3\xbc\\\\n\\\\\"\"}, \"n\": "
      "18446744073709551615}'),"
      "(10,'','','','','','','',NULL,'[]')");
  same_by_both_ways("ty", &from);
  if (mariadb) {
    sql("CREATE TABLE tm (id INT PRIMARY KEY, u UUID, a INET4, b INET6)");
    from = here();
    sql("INSERT INTO tm VALUES (1, '123e4567-e89b-12d3-a456-426614174000', '1.2.3.4', '::1'),"
        "(2, '01890a5d-ac96-774b-bcce-b302099a8057', '0.0.0.0', 'fe80::'),"
        "(3, '00000000-0000-0000-0000-000000000000', '255.0.0.0', '::ffff:1.2.3.4'),"
        "(4, NULL, NULL, '2001:db8:0:0:1:0:0:1')");
    same_by_both_ways("tm", &from);
  }
}

static const struct pe_finding *find(const struct pe_finding *f, int n, int code,
                                     const char *words) {
  for (int i = 0; i < n; i++) {
    if (f[i].code == code && strstr(f[i].what, words)) {
      assert_true(f[i].mend[0]);
      return &f[i];
    }
  }
  return NULL;
}

static const struct pe_finding *must_find(const struct pe_finding *f, int n, int code,
                                          const char *words) {
  static const struct pe_finding none;
  const struct pe_finding *found = find(f, n, code, words);
  if (!found) {
    fail_msg("no finding says '%s'", words);
  }
  return found ? found : &none;
}

static void findings(void **state) {
  (void)state;
  need_server();
  static struct pe_finding f[32];
  struct pe_err err = PE_ERR_INIT;
  sql("CREATE TABLE good (i INT PRIMARY KEY)");
  sql("CREATE TABLE child (i INT PRIMARY KEY, g INT, FOREIGN KEY (g) REFERENCES good (i) ON DELETE "
      "CASCADE)");
  sql("CREATE TABLE IF NOT EXISTS heap (i INT)");
  const char *tables[] = {"good", "child", "heap", "hepa"};
  int n = pe_source_check(admin, &opts, DB, tables, 1, f, 32, &err);
  for (int i = 0; i < n; i++) {
    assert_false(f[i].fatal);
  }
  n = pe_source_check(admin, &opts, DB, tables, 4, f, 32, &err);
  assert_true(n > 0);
  assert_true(must_find(f, n, PE_ESOURCE_KEY, "heap")->fatal);
  assert_true(must_find(f, n, PE_ESOURCE_SCHEMA, "did you mean heap")->fatal);
  if (mariadb) {
    assert_false(must_find(f, n, PE_ESOURCE_SCHEMA, "foreign key")->fatal);
  }
  if (mariadb) {
    sql("CREATE TABLE small (i INT PRIMARY KEY, v VARCHAR(99) COMPRESSED)");
    const char *compressed[] = {"small"};
    n = pe_source_check(admin, &opts, DB, compressed, 1, f, 32, &err);
    assert_true(must_find(f, n, PE_ESOURCE_SCHEMA, "COMPRESSED")->fatal);
  }
  assert_int_equal(pe_source_check(admin, &opts, DB, tables, 4, f, 1, &err), 1);
  struct pe_server_info info;
  assert_int_equal(pe_source_info(admin, &info, &err), 0);
  assert_true(info.log_bin && info.server_id && info.identity[0]);
  struct pe_source_opts same = opts;
  same.server_id = info.server_id;
  n = pe_source_check(admin, &same, DB, tables, 1, f, 32, &err);
  assert_true(must_find(f, n, PE_ESOURCE_ID, "server's own")->fatal);
}

static void missing_grants(void **state) {
  (void)state;
  need_server();
  static struct pe_finding f[32];
  struct pe_err err = PE_ERR_INIT;
  sql("CREATE TABLE IF NOT EXISTS good (i INT PRIMARY KEY)");
  sql("CREATE TABLE IF NOT EXISTS other (i INT PRIMARY KEY)");
  sql("DROP USER IF EXISTS pe_snapshot_low");
  sql("CREATE USER pe_snapshot_low IDENTIFIED BY 'low'");
  sql("GRANT SELECT ON " DB ".good TO pe_snapshot_low");
  struct pe_source_opts low = opts;
  snprintf(low.user, sizeof(low.user), "pe_snapshot_low");
  snprintf(low.password, sizeof(low.password), "low");
  MYSQL *m = pe_source_connect(&low, &err);
  assert_non_null(m);
  const char *tables[] = {"good", "other"};
  int n = pe_source_check(m, &low, DB, tables, 2, f, 32, &err);
  /* Whoever has to ask for grants asks once. */
  const struct pe_finding *grants = must_find(f, n, PE_ESOURCE_GRANT, "read the binlog");
  assert_true(grants->fatal);
  assert_ptr_equal(
      must_find(f, n, PE_ESOURCE_GRANT, "nor ask where it ends, nor read table " DB ".other"),
      grants);
  assert_string_equal(grants->mend,
                      "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO "
                      "'pe_snapshot_low'@'%'; GRANT SELECT ON `" DB
                      "`.`other` TO "
                      "'pe_snapshot_low'@'%'");
  assert_null(strstr(grants->what, DB ".good"));
  sql("GRANT REPLICATION SLAVE ON *.* TO pe_snapshot_low");
  mysql_close(m);
  m = pe_source_connect(&low, &err);
  n = pe_source_check(m, &low, DB, tables, 1, f, 32, &err);
  grants = must_find(f, n, PE_ESOURCE_GRANT, "may not ask where the binlog ends");
  assert_int_equal(grants->fatal, !mariadb); /* which tells it by another name too */
  assert_string_equal(grants->mend, "GRANT REPLICATION CLIENT ON *.* TO 'pe_snapshot_low'@'%'");
  sql("GRANT SELECT ON " DB ".* TO pe_snapshot_low");
  sql("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO pe_snapshot_low");
  mysql_close(m);
  m = pe_source_connect(&low, &err);
  n = pe_source_check(m, &low, DB, tables, 2, f, 32, &err);
  for (int i = 0; i < n; i++) {
    assert_false(f[i].fatal);
  }
  struct pe_position pos = {.pos = 0};
  assert_int_equal(pe_source_position(m, &pos, &err), 0);
  assert_true(pos.file[0] && pos.pos >= 4);
  mysql_close(m);
  sql("DROP USER pe_snapshot_low");
  snprintf(low.password, sizeof(low.password), "wrong");
  assert_null(pe_source_connect(&low, &err));
  assert_int_equal(err.code, PE_ESOURCE_AUTH);
  assert_null(strstr(err.text, "wrong"));
}

/* Accounts with SELECT only, as it should be. Names and comments that look like clauses. */
static void cascades(void **state) {
  (void)state;
  need_server();
  static struct pe_finding f[32];
  struct pe_err err = PE_ERR_INIT;
  sql("CREATE TABLE `pa``rent (x) ON DELETE CASCADE` (i INT PRIMARY KEY, u INT UNIQUE)");
  sql("CREATE TABLE kids (i INT PRIMARY KEY COMMENT 'it''s\\, \n  CONSTRAINT `lie` FOREIGN KEY "
      "(`a`) REFERENCES `p` (`i`) ON DELETE CASCADE', `a) ON DELETE CASCADE` INT, b INT, c INT, "
      "d INT, t VARCHAR(9) DEFAULT '),(', "
      "CONSTRAINT `k``1, REFERENCES` FOREIGN KEY (`a) ON DELETE CASCADE`) REFERENCES "
      "`pa``rent (x) ON DELETE CASCADE` (i) ON DELETE SET NULL ON UPDATE CASCADE, "
      "CONSTRAINT k2 FOREIGN KEY (b) REFERENCES `pa``rent (x) ON DELETE CASCADE` (u), "
      "CONSTRAINT k3 FOREIGN KEY (c) REFERENCES `pa``rent (x) ON DELETE CASCADE` (u) "
      "ON DELETE NO ACTION ON UPDATE RESTRICT, "
      "CONSTRAINT k4 FOREIGN KEY (d) REFERENCES `pa``rent (x) ON DELETE CASCADE` (u) "
      "ON DELETE CASCADE) COMMENT = 'ON DELETE CASCADE'");
  sql("DROP USER IF EXISTS pe_snapshot_low");
  sql("CREATE USER pe_snapshot_low IDENTIFIED BY 'low'");
  sql("GRANT SELECT ON " DB ".kids TO pe_snapshot_low");
  struct pe_source_opts low = opts;
  snprintf(low.user, sizeof(low.user), "pe_snapshot_low");
  snprintf(low.password, sizeof(low.password), "low");
  MYSQL *m = pe_source_connect(&low, &err);
  assert_non_null(m);
  const char *tables[] = {"kids"};
  int n = pe_source_check(m, &low, DB, tables, 1, f, 32, &err);
  if (mariadb) {
    const struct pe_finding *k = must_find(
        f, n, PE_ESOURCE_SCHEMA,
        "foreign key k`1, REFERENCES of table kids (ON DELETE SET NULL, ON UPDATE CASCADE)");
    assert_false(k->fatal);
    assert_non_null(strstr(k->mend, "trigger on pa`rent (x) ON DELETE CASCADE)"));
    must_find(f, n, PE_ESOURCE_SCHEMA, "foreign key k4 of table kids (ON DELETE CASCADE)");
  }
  assert_null(find(f, n, PE_ESOURCE_SCHEMA, "lie"));
  assert_null(find(f, n, PE_ESOURCE_SCHEMA, "k2"));
  assert_null(find(f, n, PE_ESOURCE_SCHEMA, "k3"));
  mysql_close(m);
  if (mariadb) { /* too many to name each */
    static char names[40][16];
    const char *many[40];
    for (int i = 0; i < 40; i++) {
      snprintf(names[i], sizeof(names[i]), "many_%d", i);
      many[i] = names[i];
    }
    m = pe_source_connect(&low, &err);
    assert_non_null(m);
    n = pe_source_check(m, &low, DB, many, 40, f, 32, &err);
    const struct pe_finding *g = must_find(f, n, PE_ESOURCE_GRANT, "nor read tables " DB ".many_0");
    assert_non_null(strstr(g->what, " more"));
    assert_non_null(strstr(g->mend, "; GRANT SELECT ON `" DB "`.* TO 'pe_snapshot_low'@'%'"));
    mysql_close(m);
  }
  sql("DROP USER pe_snapshot_low");
}

static void tls(void **state) {
  (void)state;
  need_server();
  struct pe_source_opts o = opts;
  struct pe_err err = PE_ERR_INIT;
  o.tls = PE_TLS_REQUIRED;
  MYSQL *m = pe_source_connect(&o, &err);
  if (m) {
    assert_non_null(mysql_get_ssl_cipher(m));
    mysql_close(m);
  } else {
    assert_int_equal(err.code, PE_ESOURCE_AUTH);
    assert_non_null(strstr(err.text, "does not support"));
  }
  /* The servers' own certificates are signed by nobody known. */
  o.tls = PE_TLS_VERIFY;
  assert_null(pe_source_connect(&o, &err));
  assert_int_equal(err.code, PE_ESOURCE_AUTH);
  assert_int_equal(err.cls, PE_CLASS_FATAL);
  o.tls = PE_TLS_DEFAULT;
  if (o.socket[0] || strcmp(o.host, "127.0.0.1") == 0) {
    m = pe_source_connect(&o, &err);
    assert_non_null(m);
    assert_null(mysql_get_ssl_cipher(m));
    mysql_close(m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_of_many_columns),
      cmocka_unit_test(keys_of_text),
      cmocka_unit_test(keys_of_other_types),
      cmocka_unit_test(empty_table),
      cmocka_unit_test(restart_in_the_middle),
      cmocka_unit_test(lost_connections),
      cmocka_unit_test(stop_with_a_full_queue),
      cmocka_unit_test(letting_go),
      cmocka_unit_test(changed_under_way),
      cmocka_unit_test(missing_and_keyless),
      cmocka_unit_test(all_types),
      cmocka_unit_test(findings),
      cmocka_unit_test(missing_grants),
      cmocka_unit_test(cascades),
      cmocka_unit_test(tls),
  };
  return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
