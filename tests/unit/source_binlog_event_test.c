/* Single events made by hand: statements, what is refused, positions over 4 GB. */
#include "source/binlog_query.h"
#include "source_binlog_support.h"

struct made {
  uint8_t bytes[512];
  size_t n;
};

static struct made made_event(uint8_t type, uint32_t log_pos, uint16_t flags, const void *body,
                              size_t n) {
  struct made e = {.n = 19 + n};
  assert_true(e.n <= sizeof(e.bytes));
  put32(e.bytes, 1700000000);
  e.bytes[4] = type;
  put32(e.bytes + 9, (uint32_t)e.n);
  put32(e.bytes + 13, log_pos);
  memcpy(e.bytes + 17, &flags, 2);
  memcpy(e.bytes + 19, body, n);
  return e;
}

static struct made made_query(uint32_t log_pos, const char *db, const char *sql) {
  uint8_t body[400] = {0};
  size_t db_len = strlen(db), sql_len = strlen(sql);
  body[8] = (uint8_t)db_len;
  memcpy(body + 13, db, db_len + 1);
  memcpy(body + 13 + db_len + 1, sql, sql_len);
  return made_event(PE_BL_QUERY, log_pos, 0, body, 13 + db_len + 1 + sql_len);
}

/* A stream behind a FORMAT_DESCRIPTION without checksums. */
static struct fixture *opened(uint64_t pos) {
  struct setup u = {.start = {.file = "bin.000003", .pos = pos, .generation = 1}};
  struct fixture *f = fixture_open(&u);
  struct pe_err err = PE_ERR_INIT;
  uint8_t body[2 + 50 + 4 + 1 + 42 + 5] = {4, 0};
  body[56] = 19;
  for (unsigned type = 1; type <= 42; type++) {
    body[56 + type] = type == PE_BL_QUERY ? 13 : type >= 30 ? 10 : 8;
  }
  struct made fde =
      made_event(PE_BL_FORMAT_DESCRIPTION, 0, PE_BL_FLAG_ARTIFICIAL, body, sizeof(body));
  assert_int_equal(feed_bytes(&f->s, fde.bytes, fde.n, &err), 0);
  f->s.pos = pos; /* as the made-up ROTATE sets it */
  return f;
}

static int feed_made(struct fixture *f, struct made e, struct pe_err *err) {
  return feed_bytes(&f->s, e.bytes, e.n, err);
}

static enum pe_query_kind kind_of(const char *sql, const char *db, const char *table) {
  struct pe_query_info q;
  pe_binlog_query_classify(sql, strlen(sql), &q);
  assert_string_equal(q.db, db);
  assert_string_equal(q.table, table);
  return q.kind;
}

static void statements_are_told_apart(void **state) {
  (void)state;
  static const struct {
    const char *sql;
    enum pe_query_kind kind;
    const char *db, *table;
  } cases[] = {
      {"BEGIN", PE_Q_BEGIN, "", ""},
      {"COMMIT", PE_Q_COMMIT, "", ""},
      {"ROLLBACK", PE_Q_ROLLBACK, "", ""},
      {"ROLLBACK TO `s1`", PE_Q_ROLLBACK_SAVEPOINT, "", ""},
      {"ROLLBACK WORK TO SAVEPOINT s1", PE_Q_ROLLBACK_SAVEPOINT, "", ""},
      {"SAVEPOINT `s1`", PE_Q_IN_TRANSACTION, "", ""},
      {"XA START X'61',X'',1", PE_Q_XA_BEGIN, "", ""},
      {"XA END X'61',X'',1", PE_Q_IN_TRANSACTION, "", ""},
      {"XA COMMIT X'61',X'',1", PE_Q_XA_COMMIT, "", ""},
      {"XA ROLLBACK X'61',X'',1", PE_Q_XA_ROLLBACK, "", ""},
      {"TRUNCATE t", PE_Q_TRUNCATE, "", "t"},
      {"truncate table db1.t1", PE_Q_TRUNCATE, "db1", "t1"},
      {" /* a; b */ TRUNCATE -- c\n TABLE # d\n `we``ird`.`t 1`", PE_Q_TRUNCATE, "we`ird", "t 1"},
      {"/*!40000 TRUNCATE TABLE */ \"T\"", PE_Q_TRUNCATE, "", "T"},
      {"TRUNCATE TABLE `TABLE`", PE_Q_TRUNCATE, "", "TABLE"},
      {"INSERT LOW_PRIORITY IGNORE INTO a.b VALUES (1)", PE_Q_DML, "a", "b"},
      {"insert into t select 1", PE_Q_DML, "", "t"},
      {"UPDATE t SET x=1", PE_Q_DML, "", "t"},
      {"REPLACE t VALUES (1)", PE_Q_DML, "", "t"},
      {"DELETE FROM t WHERE id=1", PE_Q_DML, "", "t"},
      {"DELETE FROM `m`.`t`", PE_Q_CLEAR, "m", "t"},
      {"DELETE FROM t;", PE_Q_CLEAR, "", "t"},
      {"LOAD DATA INFILE 'x' INTO TABLE t", PE_Q_DML, "", ""},
      {"WITH c AS (SELECT 1) DELETE FROM t", PE_Q_DML, "", ""},
      {"CREATE TABLE t (id int)", PE_Q_OTHER, "", ""},
      {"ALTER TABLE t TRUNCATE PARTITION p", PE_Q_OTHER, "", ""},
      {"# INSERT\nDROP TABLE t", PE_Q_OTHER, "", ""},
      {"", PE_Q_OTHER, "", ""},
      {"/* never closed", PE_Q_OTHER, "", ""},
      {"TRUNCATE TABLE `never closed", PE_Q_TRUNCATE, "", "never closed"},
      {"TRUNCATE", PE_Q_TRUNCATE, "", ""},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_int_equal(kind_of(cases[i].sql, cases[i].db, cases[i].table), cases[i].kind);
  }
}

static void long_names_are_cut(void **state) {
  (void)state;
  char sql[2000];
  struct pe_query_info q;
  memset(sql, 'x', sizeof(sql));
  memcpy(sql, "TRUNCATE ", 9);
  pe_binlog_query_classify(sql, sizeof(sql), &q);
  assert_int_equal(q.kind, PE_Q_TRUNCATE);
  assert_int_equal(strlen(q.table), PE_QUERY_NAME_MAX - 1);
}

static void changes_that_are_not_in_the_log_stop_the_stream(void **state) {
  (void)state;
  static const struct {
    const char *db, *sql;
    int rc;
  } cases[] = {
      {"shop", "INSERT INTO item VALUES (1)", PE_ESOURCE_SETTING},
      {"shop", "UPDATE unknown SET x=1", PE_ESOURCE_SETTING}, /* a trigger may write anywhere */
      {"shop", "DELETE FROM item", PE_ESOURCE_SETTING},
      {"shop", "LOAD DATA INFILE 'x' INTO TABLE y", PE_ESOURCE_SETTING},
      {"shop", "XA ROLLBACK X'61',X'',1", PE_ESOURCE_SETTING},
      {"shop", "DELETE FROM `shop`.`cache`", 0}, /* a MEMORY table after a restart */
      {"mysql", "INSERT INTO heartbeat VALUES (1)", 0},
      {"shop", "INSERT INTO mysql.heartbeat VALUES (1)", 0},
      {"shop", "CREATE TABLE z (id int)", 0},
      {"shop", "GRANT SELECT ON *.* TO x", 0},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct fixture *f = opened(1000);
    struct pe_err err = PE_ERR_INIT;
    assert_int_equal(feed_made(f, made_query(1100, cases[i].db, cases[i].sql), &err), cases[i].rc);
    if (cases[i].rc) {
      assert_int_equal(err.cls, PE_CLASS_FATAL);
      assert_non_null(strstr(err.text, "bin.000003:1000"));
      assert_null(strstr(err.text, "VALUES"));
    }
    fixture_close(f);
  }
}

static void events_that_cannot_be_read_name_the_mend(void **state) {
  (void)state;
  static const struct {
    uint8_t type;
    uint16_t flags;
    int rc;
    const char *text;
  } cases[] = {
      {PE_BL_TRANSACTION_PAYLOAD, 0, PE_ESOURCE_SETTING, "binlog_transaction_compression = OFF"},
      {PE_BL_PARTIAL_UPDATE_ROWS, 0, PE_ESOURCE_SETTING, "binlog_row_value_options"},
      {PE_BL_MARIA_QUERY_COMPRESSED, 0, PE_ESOURCE_SETTING, "log_bin_compress"},
      {PE_BL_MARIA_ROWS_COMPRESSED_FIRST, 0, PE_ESOURCE_SETTING, "log_bin_compress"},
      {PE_BL_MARIA_ROWS_COMPRESSED_LAST, 0, PE_ESOURCE_SETTING, "log_bin_compress"},
      {PE_BL_INCIDENT, 0, PE_ESOURCE_PROTO, "INCIDENT"},
      {PE_BL_EXECUTE_LOAD_QUERY, 0, PE_ESOURCE_SETTING, "binlog_format = ROW"},
      {99, 0, PE_ESOURCE_PROTO, "99"},
      {99, PE_BL_FLAG_IGNORABLE, 0, ""},
      {PE_BL_MARIA_ANNOTATE_ROWS, 0, 0, ""},
      {PE_BL_ROWS_QUERY, 0, 0, ""},
      {PE_BL_HEARTBEAT, 0, 0, ""},
      {PE_BL_STOP, 0, 0, ""},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct fixture *f = opened(1000);
    struct pe_err err = PE_ERR_INIT;
    uint8_t body[20] = {0};
    struct made e = made_event(cases[i].type, 1039, cases[i].flags, body, sizeof(body));
    assert_int_equal(feed_made(f, e, &err), cases[i].rc);
    assert_non_null(strstr(err.text, cases[i].text));
    fixture_close(f);
  }
}

static void files_over_4_gb_are_counted_in_64_bits(void **state) {
  (void)state;
  const uint64_t near = UINT64_C(0x1FFFFFFF0);
  struct fixture *f = opened(near);
  struct pe_err err = PE_ERR_INIT;
  uint8_t body[8] = {0};
  uint64_t at = near;
  for (unsigned i = 0; i < 3; i++) {
    struct made e = made_event(PE_BL_XID, (uint32_t)(at + 27), 0, body, sizeof(body));
    assert_int_equal(feed_made(f, e, &err), 0);
    at += 27;
    assert_int_equal(f->s.pos, at);
    assert_int_equal(f->s.safe.pos, at);
  }
  assert_true(at > UINT64_C(0x200000000));
  assert_int_equal(pe_stream_push(&f->s), 0);
  uint32_t pos;
  pe_stream_restart(&f->s, &pos);
  assert_int_equal(pos, 4); /* the command can't name it: the file is read from its beginning */
  assert_int_equal(f->s.wanted_pos, at);
  fixture_close(f);
}

static void places_move_without_rows(void **state) {
  (void)state;
  struct fixture *f = opened(1000);
  struct pe_err err = PE_ERR_INIT;
  uint8_t body[20] = {0};
  assert_false(pe_stream_moved(&f->s));
  assert_int_equal(feed_made(f, made_event(PE_BL_HEARTBEAT, 1000, 0, body, 20), &err), 0);
  assert_false(pe_stream_moved(&f->s));
  assert_int_equal(feed_made(f, made_query(1100, "x", "CREATE TABLE z (id int)"), &err), 0);
  assert_true(pe_stream_moved(&f->s));
  assert_int_equal(pe_stream_push(&f->s), 0);
  assert_int_equal(f->seen.nbatches, 1);
  assert_int_equal(f->seen.ends[0].pos, 1100);
  assert_false(pe_stream_moved(&f->s));
  assert_int_equal(feed_made(f, made_query(1200, "x", "BEGIN"), &err), 0);
  assert_false(pe_stream_moved(&f->s)); /* inside a transaction is no place to begin at */
  assert_true(f->s.in_group);
  assert_int_equal(feed_made(f, made_query(1300, "x", "COMMIT"), &err), 0);
  assert_int_equal(f->s.safe.pos, 1300);
  fixture_close(f);
}

static void truncates_of_others_are_none_of_ours(void **state) {
  (void)state;
  struct fixture *f = opened(1000);
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(feed_made(f, made_query(1100, "elsewhere", "TRUNCATE item"), &err), 0);
  assert_int_equal(feed_made(f, made_query(1200, "shop", "TRUNCATE ITEM"), &err), 0);
  assert_int_equal(f->seen.nlines, 0);
  assert_int_equal(feed_made(f, made_query(1300, "elsewhere", "TRUNCATE shop.item"), &err), 0);
  assert_int_equal(f->seen.nlines, 1);
  f->s.names_fold = true;
  assert_int_equal(feed_made(f, made_query(1400, "SHOP", "TRUNCATE ITEM"), &err), 0);
  assert_int_equal(f->seen.nlines, 2);
  assert_true(f->seen.versions[1] > f->seen.versions[0]);
  fixture_close(f);
}

/* An artificial ROTATE may or may not carry a checksum, and the name alone says which. */
static void names_of_files_survive_a_checksum(void **state) {
  (void)state;
  struct fixture *f = opened(4);
  struct pe_err err = PE_ERR_INIT;
  uint8_t body[8 + 10 + 4] = {4};
  memcpy(body + 8, "bin.000004\x01\xff\x33\x44", 14);
  struct made e = made_event(PE_BL_ROTATE, 0, PE_BL_FLAG_ARTIFICIAL, body, 8 + 10);
  assert_int_equal(feed_made(f, e, &err), 0);
  assert_string_equal(f->s.file, "bin.000004");
  body[8 + 9] = '5';
  e = made_event(PE_BL_ROTATE, 0, PE_BL_FLAG_ARTIFICIAL, body, sizeof(body));
  assert_int_equal(feed_made(f, e, &err), 0);
  assert_string_equal(f->s.file, "bin.000005");
  assert_int_equal(f->s.file_number, 5);
  memcpy(body + 8, "bin.backup", 10);
  e = made_event(PE_BL_ROTATE, 0, PE_BL_FLAG_ARTIFICIAL, body, 8 + 10);
  assert_int_not_equal(feed_made(f, e, &err), 0);
  fixture_close(f);
}

static void a_log_without_a_format_is_refused(void **state) {
  (void)state;
  struct setup u = {0};
  struct fixture *f = fixture_open(&u);
  struct pe_err err = PE_ERR_INIT;
  uint8_t body[8] = {0};
  assert_int_equal(feed_made(f, made_event(PE_BL_XID, 31, 0, body, 8), &err), PE_ESOURCE_PROTO);
  assert_int_equal(feed_bytes(&f->s, body, 8, &err), PE_ESOURCE_PROTO);
  assert_int_equal(feed_made(f, made_event(PE_BL_FORMAT_DESCRIPTION, 31, 0, body, 8), &err),
                   PE_ESOURCE_PROTO);
  fixture_close(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(statements_are_told_apart),
      cmocka_unit_test(long_names_are_cut),
      cmocka_unit_test(changes_that_are_not_in_the_log_stop_the_stream),
      cmocka_unit_test(events_that_cannot_be_read_name_the_mend),
      cmocka_unit_test(files_over_4_gb_are_counted_in_64_bits),
      cmocka_unit_test(places_move_without_rows),
      cmocka_unit_test(truncates_of_others_are_none_of_ours),
      cmocka_unit_test(names_of_files_survive_a_checksum),
      cmocka_unit_test(a_log_without_a_format_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
