/* The ClickHouse client against a real server (the embedded one): tokens, parts, error classes from
 * real errors, broken and cut requests, SQL folders. Skipped where libchdb.so isn't there. */
#include "sink_embedded_support.h"

/* --- helpers ---------------------------------------------------------------------------------- */

struct insert {
  struct pe_ch_insert req;
  struct pe_buf body;
  struct pe_iov iov[3];
  char token[32];
  int code, calls, order;
  struct pe_err err;
  struct pe_ch *destroy; /* the call-back destroys the client */
};

static int finished;

static void on_insert(struct pe_ch_insert *req, int code, const struct pe_err *err) {
  struct insert *i = req->arg;
  i->code = code;
  i->calls++;
  i->order = finished++;
  if (err) {
    i->err = *err;
  }
  if (i->destroy) {
    pe_ch_destroy(i->destroy);
  }
}

static void insert_init(struct insert *i, const char *sql, const char *token) {
  memset(i, 0, sizeof *i);
  pe_buf_init(&i->body);
  snprintf(i->token, sizeof i->token, "%s", token);
  i->req.sql = sql;
  i->req.token = i->token;
  i->req.cb = on_insert;
  i->req.arg = i;
}

/* The body in three uneven pieces. */
static void insert_pieces(struct insert *i) {
  size_t a = i->body.len / 3, b = i->body.len / 2;
  i->iov[0] = (struct pe_iov){i->body.data, a};
  i->iov[1] = (struct pe_iov){i->body.data + a, b - a};
  i->iov[2] = (struct pe_iov){i->body.data + b, i->body.len - b};
  i->req.iov = i->iov;
  i->req.niov = 3;
}

static bool is_called(void *arg) {
  return ((struct insert *)arg)->calls > 0;
}

static void insert_rows(struct server *s, struct pe_ch *ch, struct insert *i, uint64_t from,
                        uint64_t rows) {
  struct pe_err err = PE_ERR_INIT;
  native_block(&i->body, "a", from, rows);
  insert_pieces(i);
  assert_int_equal(0, pe_ch_insert(ch, &i->req, &err));
  run_until(&s->loop, is_called, i, 20000);
  if (i->code < 0) {
    print_message("%s\n", i->err.text);
  }
}

static void make_tables(struct server *s) {
  exec_ok(s->ch, "DROP TABLE IF EXISTS t_mv");
  exec_ok(s->ch, "DROP TABLE IF EXISTS t");
  exec_ok(s->ch, "DROP TABLE IF EXISTS sums");
  exec_ok(s->ch,
          "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS "
          "non_replicated_deduplication_window = 1000");
  exec_ok(s->ch,
          "CREATE TABLE sums (k UInt8, c AggregateFunction(count), s AggregateFunction(sum, "
          "UInt64)) ENGINE = AggregatingMergeTree ORDER BY k SETTINGS "
          "non_replicated_deduplication_window = 1000");
  exec_ok(s->ch,
          "CREATE MATERIALIZED VIEW t_mv TO sums AS SELECT toUInt8(a % 3) AS k, countState() AS c, "
          "sumState(a) AS s FROM t GROUP BY k");
}

static const char insert_sql[] = "INSERT INTO t (a) FORMAT Native";
static const char parts_sql[] = "SELECT count() FROM system.parts WHERE table = 't' AND active";

/* --- inserts ---------------------------------------------------------------------------------- */

static void test_token_twice_is_one_part(void **state) {
  struct server *s = need(state);
  make_tables(s);
  for (int round = 0; round < 3; round++) {
    struct insert i;
    insert_init(&i, insert_sql, "token & 'one'");
    insert_rows(s, s->ch, &i, 0, 1000);
    assert_int_equal(0, i.code);
    assert_int_equal(0, i.req.ch_code);
    assert_int_equal(1003, i.req.written_rows); /* the rows and those of the view */
    pe_buf_close(&i.body);
  }
  assert_value(s->ch, "SELECT count() FROM t", "1000");
  assert_value(s->ch, parts_sql, "1");
  assert_value(s->ch, "SELECT countMerge(c) || ' ' || sumMerge(s) FROM sums", "1000 499500");
  /* Other rows under a new token go in, the same rows under a new token too. */
  struct insert i;
  insert_init(&i, insert_sql, "token two");
  insert_rows(s, s->ch, &i, 0, 1000);
  assert_int_equal(1003, i.req.written_rows);
  pe_buf_close(&i.body);
  assert_value(s->ch, "SELECT countMerge(c) FROM sums", "2000");
}

static void test_one_block_is_one_part(void **state) {
  struct server *s = need(state);
  const uint64_t sizes[] = {1, 65536, 131072, 2000000};
  for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
    make_tables(s);
    exec_ok(s->ch, "SYSTEM STOP MERGES t");
    struct insert i;
    insert_init(&i, insert_sql, "one");
    insert_rows(s, s->ch, &i, 7, sizes[n]);
    assert_int_equal(0, i.code);
    pe_buf_close(&i.body);
    assert_value(s->ch, parts_sql, "1");
    assert_value(s->ch, "SELECT count() FROM system.parts WHERE table = 'sums' AND active", "1");
    char rows[32];
    snprintf(rows, sizeof rows, "%llu", (unsigned long long)sizes[n]);
    assert_value(s->ch, "SELECT count() FROM t", rows);
    assert_value(s->ch, "SELECT countMerge(c) FROM sums", rows);
  }
}

static void test_compressed(void **state) {
  struct server *s = need(state);
  make_tables(s);
  struct pe_ch *ch = client(&s->loop, s->port, "/default?compress=1");
  for (uint64_t n = 0; n < 3; n++) {
    struct insert i;
    char token[16];
    snprintf(token, sizeof token, "z%d", (int)n);
    insert_init(&i, insert_sql, token);
    insert_rows(s, ch, &i, n * 100000, 100000);
    assert_int_equal(0, i.code);
    pe_buf_close(&i.body);
  }
  assert_value(s->ch, "SELECT count() || ' ' || sum(a) FROM t", "300000 44999850000");
  pe_ch_destroy(ch);
}

enum { MANY = 40 };

static bool all_finished(void *arg) {
  return finished >= *(int *)arg;
}

static void run_many(struct server *s, unsigned connections, bool in_order) {
  make_tables(s);
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%u", s->port);
  assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
  o.connections = connections;
  struct pe_ch *ch = NULL;
  assert_int_equal(0, pe_ch_create(&s->loop, &o, &ch, &err));
  struct insert many[MANY];
  finished = 0;
  for (int n = 0; n < MANY; n++) {
    char token[16];
    snprintf(token, sizeof token, "m%d", n);
    insert_init(&many[n], insert_sql, token);
    native_block(&many[n].body, "a", (uint64_t)n * 100, 100);
    insert_pieces(&many[n]);
    assert_int_equal(0, pe_ch_insert(ch, &many[n].req, &err));
    assert_int_equal(n + 1, pe_ch_inflight(ch));
  }
  int expected = MANY;
  run_until(&s->loop, all_finished, &expected, 30000);
  assert_int_equal(0, pe_ch_inflight(ch));
  for (int n = 0; n < MANY; n++) {
    assert_int_equal(0, many[n].code);
    assert_int_equal(1, many[n].calls);
    if (in_order) {
      assert_int_equal(n, many[n].order);
    }
    pe_buf_close(&many[n].body);
  }
  pe_ch_destroy(ch);
  assert_value(s->ch, "SELECT count() || ' ' || uniqExact(a) FROM t", "4000 4000");
}

static void test_many_wait_in_order(void **state) {
  run_many(need(state), 1, true);
}
static void test_many_share_connections(void **state) {
  run_many(need(state), 3, false);
}

enum { RUNNING = 6 };

static void destroy_with_running(struct server *s, const char *options_text, bool from_callback) {
  make_tables(s);
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch *ch = client(&s->loop, s->port, options_text);
  struct insert many[RUNNING];
  for (int n = 0; n < RUNNING; n++) {
    insert_init(&many[n], insert_sql, "d");
    native_block(&many[n].body, "a", 0, 300000);
    insert_pieces(&many[n]);
    assert_int_equal(0, pe_ch_insert(ch, &many[n].req, &err));
  }
  if (from_callback) {
    many[0].destroy = ch;
    run_until(&s->loop, is_called, &many[0], 30000);
    assert_int_equal(0, many[0].code);
  } else {
    uv_run(&s->loop, UV_RUN_NOWAIT); /* two are on their way */
    pe_ch_destroy(ch);
    assert_int_equal(PE_ESTOPPED, many[0].code);
  }
  assert_int_equal(PE_ESTOPPED, many[RUNNING - 1].code);
  for (int round = 0; round < 50; round++) {
    uv_run(&s->loop, UV_RUN_NOWAIT);
    pe_sleep_ms(1);
  }
  for (int n = 0; n < RUNNING; n++) {
    assert_int_equal(1, many[n].calls);
    assert_true(many[n].code == 0 || many[n].code == PE_ESTOPPED);
    pe_buf_close(&many[n].body);
  }
}

static void test_destroy_while_sending(void **state) {
  destroy_with_running(need(state), "", false);
}
static void test_destroy_while_compressing(void **state) {
  destroy_with_running(need(state), "?compress=1", false);
}
static void test_destroy_in_a_callback(void **state) {
  destroy_with_running(need(state), "", true);
}

/* --- errors ----------------------------------------------------------------------------------- */

static void check_exec(struct pe_ch *ch, const char *sql, int code, enum pe_class cls) {
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(code, pe_ch_exec(ch, sql, NULL, NULL, &err));
  assert_int_equal(cls, err.cls);
  assert_null(strstr(err.text, "canary"));
}

static void test_statement_errors(void **state) {
  struct server *s = need(state);
  check_exec(s->ch, "SELECT * FROM nowhere", PE_ESINK_SCHEMA, PE_CLASS_FATAL);
  check_exec(s->ch, "SELECT * FROM nodb.t", PE_ESINK_SCHEMA, PE_CLASS_FATAL);
  check_exec(s->ch, "SELECT nocolumn FROM system.one WHERE 'canary' = ''", PE_ESINK_SCHEMA,
             PE_CLASS_FATAL);
  check_exec(s->ch, "SELEKT 'canary'", PE_ESINK_REFUSED, PE_CLASS_FATAL);
  check_exec(s->ch, "SELECT toUInt8('canary')", PE_ESINK_REFUSED, PE_CLASS_FATAL);
}

static void test_wrong_password(void **state) {
  struct server *s = need(state);
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  char url[64];
  snprintf(url, sizeof url, "http://eve:canary@127.0.0.1:%u", s->port);
  assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
  struct pe_ch *ch = NULL;
  assert_int_equal(0, pe_ch_create(NULL, &o, &ch, &err));
  check_exec(ch, "SELECT 1", PE_ESINK_AUTH, PE_CLASS_FATAL);
  pe_ch_destroy(ch);
  /* A user that is known, but may not do this. */
  check_exec(s->ch, "CREATE USER adam IDENTIFIED BY 'canary'", PE_ESINK_AUTH, PE_CLASS_FATAL);
}

static void check_block(struct server *s, const char *sql, const struct pe_buf *body, int code,
                        enum pe_class cls) {
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(code, pe_ch_insert_body(s->ch, sql, NULL, body->data, body->len, &err));
  assert_int_equal(cls, err.cls);
  assert_null(strstr(err.text, "canary"));
  assert_null(strstr(err.text, "4711"));
}

static void test_refused_blocks(void **state) {
  struct server *s = need(state);
  exec_ok(s->ch, "DROP TABLE IF EXISTS r");
  exec_ok(s->ch,
          "CREATE TABLE r (a UInt64, b UUID, CONSTRAINT small CHECK a < 1000) ENGINE = MergeTree "
          "ORDER BY a");
  struct pe_buf b;
  pe_buf_init(&b);

  native_block(&b, "a", 4711, 1);
  check_block(s, "INSERT INTO r (a) FORMAT Native", &b, PE_ESINK_REFUSED, PE_CLASS_POISON);
  check_block(s, "INSERT INTO gone (a) FORMAT Native", &b, PE_ESINK_SCHEMA, PE_CLASS_FATAL);
  check_block(s, "INSERT INTO r (nope) FORMAT Native", &b, PE_ESINK_SCHEMA, PE_CLASS_FATAL);

  pe_buf_clear(&b); /* a column that the statement doesn't name */
  native_block(&b, "zz", 1, 1);
  assert_true(
      pe_ch_insert_body(s->ch, "INSERT INTO r (a) FORMAT Native", NULL, b.data, b.len, NULL) < 0);

  pe_buf_clear(&b); /* a text that is no UUID */
  put_varint(&b, 1);
  put_varint(&b, 1);
  put_text(&b, "b");
  put_text(&b, "String");
  put_text(&b, "canary");
  check_block(s, "INSERT INTO r (b) FORMAT Native", &b, PE_ESINK_REFUSED, PE_CLASS_POISON);

  pe_buf_clear(&b); /* a NULL where none may be */
  put_varint(&b, 1);
  put_varint(&b, 1);
  put_text(&b, "a");
  put_text(&b, "Nullable(UInt64)");
  pe_buf_put(&b, "\1\0\0\0\0\0\0\0\0", 9);
  check_block(s, "INSERT INTO r (a) FORMAT Native", &b, PE_ESINK_REFUSED, PE_CLASS_POISON);

  pe_buf_clear(&b); /* cut in the middle of the column */
  native_block(&b, "a", 1, 100);
  b.len -= 300;
  check_block(s, "INSERT INTO r (a) FORMAT Native", &b, PE_ESINK_REFUSED, PE_CLASS_POISON);
  assert_value(s->ch, "SELECT count() FROM r", "0");
  pe_buf_close(&b);
}

/* A connection that breaks in the middle of the body: nothing is inserted. */
static void test_cut_connection_inserts_nothing(void **state) {
  struct server *s = need(state);
  make_tables(s);
  struct pe_buf b;
  pe_buf_init(&b);
  native_block(&b, "a", 1, 200000);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(0, connect(fd, (struct sockaddr *)&a, sizeof a));
  char head[256];
  int n = snprintf(head, sizeof head,
                   "POST /?query=INSERT+INTO+t+(a)+FORMAT+Native HTTP/1.1\r\nHost: x\r\n"
                   "Content-Length: %zu\r\n\r\n",
                   b.len);
  assert_int_equal(n, send(fd, head, (size_t)n, 0));
  assert_true(send(fd, b.data, b.len / 2, 0) > 0);
  pe_sleep_ms(100);
  close(fd);
  pe_sleep_ms(300);
  assert_value(s->ch, "SELECT count() FROM t", "0");
  pe_buf_close(&b);
}

static bool answers(void *arg) {
  struct server *s = arg;
  char value[8];
  struct pe_err err = PE_ERR_INIT;
  return pe_ch_value(s->ch, "SELECT 1", value, sizeof value, &err) == 1;
}

static void test_killed_server_then_retry(void **state) {
  struct server *s = need(state);
  make_tables(s);
  struct insert i;
  insert_init(&i, insert_sql, "k");
  native_block(&i.body, "a", 0, 3000000);
  insert_pieces(&i);
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(0, pe_ch_insert(s->ch, &i.req, &err));
  for (int n = 0; n < 5; n++) {
    uv_run(&s->loop, UV_RUN_NOWAIT);
  }
  assert_int_equal(0, kill(pe_embedded_pid(s->embedded), SIGKILL));
  run_until(&s->loop, is_called, &i, 30000);
  assert_true(i.code < 0);
  assert_int_equal(PE_CLASS_RETRY, i.err.cls);
  run_until(&s->loop, answers, s, 30000);
  i.calls = 0;
  assert_int_equal(0, pe_ch_insert(s->ch, &i.req, &err));
  run_until(&s->loop, is_called, &i, 30000);
  assert_int_equal(0, i.code);
  assert_value(s->ch, "SELECT count() FROM t", "3000000");
  assert_value(s->ch, "SELECT countMerge(c) FROM sums", "3000000");
  pe_buf_close(&i.body);
}

static void test_outage_without_death(void **state) {
  struct server *s = need(state);
  make_tables(s);
  struct insert i;
  struct pe_ch_opts o;
  struct pe_err err = PE_ERR_INIT;
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%u", s->port);
  assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
  o.timeout_ms = 300;
  struct pe_ch *ch = NULL;
  assert_int_equal(0, pe_ch_create(&s->loop, &o, &ch, &err));
  kill(pe_embedded_pid(s->embedded), SIGSTOP);
  insert_init(&i, insert_sql, "o");
  insert_rows(s, ch, &i, 0, 10);
  kill(pe_embedded_pid(s->embedded), SIGCONT);
  assert_int_equal(PE_ESINK_DOWN, i.code);
  assert_int_equal(PE_CLASS_RETRY, i.err.cls);
  i.calls = 0;
  pe_buf_clear(&i.body);
  insert_rows(s, ch, &i, 0, 10);
  assert_int_equal(0, i.code);
  assert_value(s->ch, "SELECT count() FROM t", "10");
  pe_ch_destroy(ch);
  pe_buf_close(&i.body);
}

/* --- values and folders ------------------------------------------------------------------------
 */

static void test_value(void **state) {
  struct server *s = need(state);
  struct pe_err err = PE_ERR_INIT;
  char value[16];
  assert_value(s->ch, "SELECT 'a\\tb\\nc'", "a\tb\nc");
  assert_int_equal(0, pe_ch_value(s->ch, "SELECT 1 WHERE 0", value, sizeof value, &err));
  assert_int_equal(1, pe_ch_value(s->ch, "SELECT ''", value, sizeof value, &err));
  assert_string_equal("", value);
  assert_int_equal(PE_EDATA,
                   pe_ch_value(s->ch, "SELECT repeat('x', 16)", value, sizeof value, &err));
  struct pe_buf out;
  pe_buf_init(&out);
  assert_int_equal(0, pe_ch_exec(s->ch, "SELECT number FROM numbers(3)", NULL, &out, &err));
  assert_int_equal(0, pe_ch_exec(s->ch, "SELECT {x:UInt8}", "param_x=9", &out, &err));
  assert_string_equal("0\n1\n2\n9\n", pe_buf_cstr(&out));
  pe_buf_close(&out);
}

static void write_file(const char *dir, const char *name, const char *text) {
  char path[400];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void test_apply_dir(void **state) {
  struct server *s = need(state);
  char dir[256];
  temp_folder(dir, sizeof dir);
  write_file(dir, "20_view.sql",
             "CREATE VIEW IF NOT EXISTS ${db}.v AS SELECT a, ';' AS semi -- not here;\n"
             "FROM ${db}.tt; -- the end\n");
  write_file(dir, "10_table.sql",
             "-- a comment; with 'quotes\n/* and\n;\n*/\n\n"
             "CREATE DATABASE IF NOT EXISTS ${db};\n"
             "CREATE TABLE IF NOT EXISTS ${db}.tt (a String DEFAULT 'it\\'s;\n', `b;\n` UInt8)\n"
             "ENGINE = MergeTree ORDER BY a;\n\n-- nothing more\n");
  write_file(dir, "ignored.txt", "nonsense;\n");
  write_file(dir, "30_empty.sql", "");
  write_file(dir, "31_who.sql",
             "CREATE VIEW IF NOT EXISTS ${db}.who AS SELECT ${user} AS u, ${password} AS p;\n");
  const char *const vars[] = {"db", "applied", NULL};
  struct pe_err err = PE_ERR_INIT;
  for (int round = 0; round < 2; round++) {
    int code = pe_ch_apply_dir(s->ch, dir, vars, &err);
    if (code < 0) {
      print_error("%s\n", err.text);
    }
    assert_int_equal(0, code);
  }
  assert_value(s->ch, "SELECT name FROM system.columns WHERE table = 'tt' AND position = 2",
               "b;\n");
  assert_value(s->ch, "SELECT count() FROM applied.v", "0");
  assert_value(s->ch, "SELECT u || '/' || p FROM applied.who", "default/");

  write_file(dir, "40_bad.sql",
             "SELECT 1;\n\n-- here\nCREATE TABLE IF NOT EXISTS applied.u (a Nonsense('canary'))\n"
             "ENGINE = Memory;\n");
  assert_true(pe_ch_apply_dir(s->ch, dir, vars, &err) < 0);
  assert_non_null(strstr(err.text, "40_bad.sql:4: CREATE TABLE IF NOT EXISTS applied.u"));
  assert_null(strstr(err.text, "canary"));
  write_file(dir, "40_bad.sql", "SELECT ${nothing};\n");
  assert_int_equal(PE_ECONFIG, pe_ch_apply_dir(s->ch, dir, vars, &err));
  assert_non_null(strstr(err.text, "${nothing}"));
  assert_int_equal(PE_ECONFIG, pe_ch_apply_dir(s->ch, "/nonexistent", vars, &err));
  exec_ok(s->ch, "DROP DATABASE applied");
  remove_folder(dir);
}

/* The folder that the example ships: twice, into a database of its own, and with rows through it.
 */
static void test_shipped_sql(void **state) {
  struct server *s = need(state);
  exec_ok(s->ch, "CREATE DATABASE shipped");
  struct pe_ch *ch = client(NULL, s->port, "/shipped");
  struct pe_err err = PE_ERR_INIT;
  for (int round = 0; round < 2; round++) {
    int code = pe_ch_apply_dir(ch, PE_SOURCE_DIR "/sql/clickhouse", NULL, &err);
    if (code < 0) {
      print_error("%s\n", err.text);
    }
    assert_int_equal(0, code);
  }
  assert_value(ch,
               "SELECT groupArray(name) FROM (SELECT name FROM system.tables WHERE database = "
               "'shipped' AND engine LIKE '%MergeTree' AND create_table_query NOT LIKE "
               "'%non_replicated_deduplication_window = 10000%' ORDER BY name)",
               "[]");
  exec_ok(ch, "INSERT INTO trustworthiness VALUES (1, 'high', NULL, 5, 0), (2, 'low', 'x', 5, 0)");
  exec_ok(ch, "SYSTEM RELOAD DICTIONARY shipped.trustworthiness_dict");
  assert_value(ch, "SELECT dictGet('trustworthiness_dict', 'name', 2)", "low");
  exec_ok(ch, "INSERT INTO trustworthiness VALUES (2, 'low', 'x', 6, 1)");
  exec_ok(ch, "SYSTEM RELOAD DICTIONARY shipped.trustworthiness_dict");
  assert_value(ch, "SELECT dictHas('trustworthiness_dict', 2)", "0");

  const char *const rows[] = {
      "10, 0, 60, 1.5", "11, 0, NULL, NULL", /* an update to NULL shows NULL, not the older value */
  };
  for (size_t i = 0; i < 2; i++) {
    char sql[400];
    snprintf(sql, sizeof sql,
             "INSERT INTO epoch_data (id, end_user_id, app_id, data_type_id, start_ts, created_at, "
             "_version, _deleted, long_value, double_value) VALUES (1, 2, 3, 3001, "
             "toDateTime64(today(), 3), now(), %s)",
             rows[i]);
    exec_ok(ch, sql);
  }
  assert_value(ch,
               "SELECT count() || ' ' || countIf(long_value IS NULL AND double_value IS NULL) FROM "
               "epoch_data_current",
               "1 1");
  assert_value(ch,
               "SELECT avgMerge(avg_hr) || ' ' || countMerge(samples) FROM mv_daily_resting_hr "
               "WHERE end_user_id = 2",
               "60 2");
  exec_ok(ch,
          "INSERT INTO epoch_data (id, end_user_id, app_id, data_type_id, start_ts, _version, "
          "_deleted) VALUES (1, 2, 3, 3001, toDateTime64(today(), 3), 12, 1)");
  assert_value(ch, "SELECT count() FROM epoch_data_current", "0");
  pe_ch_destroy(ch);
  exec_ok(s->ch, "DROP DATABASE shipped");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_token_twice_is_one_part),
      cmocka_unit_test(test_one_block_is_one_part),
      cmocka_unit_test(test_compressed),
      cmocka_unit_test(test_many_wait_in_order),
      cmocka_unit_test(test_many_share_connections),
      cmocka_unit_test(test_destroy_while_sending),
      cmocka_unit_test(test_destroy_while_compressing),
      cmocka_unit_test(test_destroy_in_a_callback),
      cmocka_unit_test(test_statement_errors),
      cmocka_unit_test(test_wrong_password),
      cmocka_unit_test(test_refused_blocks),
      cmocka_unit_test(test_cut_connection_inserts_nothing),
      cmocka_unit_test(test_outage_without_death),
      cmocka_unit_test(test_killed_server_then_retry),
      cmocka_unit_test(test_value),
      cmocka_unit_test(test_apply_dir),
      cmocka_unit_test(test_shipped_sql),
  };
  return cmocka_run_group_tests(tests, server_setup, server_teardown);
}
