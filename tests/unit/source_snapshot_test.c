/* Keys as SQL, decimals as text, and rows of the binary protocol from packets made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "source/snapshot_key.h"
#include "source/snapshot_row.h"

static struct pe_column *add(struct pe_table *t, const char *name, const char *type,
                             enum pe_ctype ctype, unsigned pk) {
  struct pe_column *c = pe_table_add(t, name);
  assert_non_null(c);
  c->type_text = pe_arena_strndup(&t->arena, type, strlen(type));
  c->ctype = ctype;
  c->pk_ordinal = (uint16_t)pk;
  return c;
}

static struct pe_table *finished(struct pe_table *t) {
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_table_finish(t, &err), 0);
  return t;
}

/* ---- keys ---- */

static struct pe_table *key_table(void) {
  struct pe_table *t = pe_table_create("d", "t");
  add(t, "v", "int", PE_C_I32, 0);
  add(t, "b`x", "varchar(10)", PE_C_STR, 2);
  add(t, "a", "int", PE_C_I32, 1);
  add(t, "c", "enum('p','q')", PE_C_ENUM, 3);
  return finished(t);
}

static char range_text[2048];
static const char *range(const struct pe_key *k, const char *lo, const char *hi) {
  struct pe_buf b;
  struct pe_err err = PE_ERR_INIT;
  pe_buf_init(&b);
  assert_int_equal(pe_key_put_range(k, lo, hi, &b, &err), 0);
  snprintf(range_text, sizeof(range_text), "%s", pe_buf_cstr(&b));
  pe_buf_close(&b);
  return range_text;
}

static void ranges(void **state) {
  (void)state;
  struct pe_table *t = key_table();
  struct pe_key k;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_key_init(&k, t, &err), 0);
  assert_int_equal(k.n, 3);
  assert_string_equal(range(&k, NULL, NULL), "TRUE");
  assert_string_equal(range(&k, "(1,X'41',2)", NULL),
                      "((`a` > 1) OR (`a` = 1 AND `b``x` > X'41') OR (`a` = 1 AND `b``x` = X'41' "
                      "AND `c` > 2))");
  assert_string_equal(range(&k, NULL, "(1,X'41',2)"),
                      "((`a` < 1) OR (`a` = 1 AND `b``x` < X'41') OR (`a` = 1 AND `b``x` = X'41' "
                      "AND `c` <= 2))");
  assert_string_equal(range(&k, "(1,X'',2)", "(1,X'41',2)"),
                      "`a` = 1 AND ((`b``x` > X'') OR (`b``x` = X'' AND `c` > 2)) AND "
                      "((`b``x` < X'41') OR (`b``x` = X'41' AND `c` <= 2))");
  assert_string_equal(range(&k, "(1,X'41',1)", "(1,X'41',2)"),
                      "`a` = 1 AND `b``x` = X'41' AND ((`c` > 1)) AND ((`c` <= 2))");
  struct pe_buf b;
  pe_buf_init(&b);
  pe_key_put_select(&k, &b);
  assert_string_equal(pe_buf_cstr(&b), "`a`,HEX(`b``x`),`c`+0");
  pe_buf_clear(&b);
  pe_key_put_order(&k, &b);
  assert_string_equal(pe_buf_cstr(&b), "`a`,`b``x`,`c`");
  pe_buf_close(&b);
  pe_table_unref(t);
}

static void bad_literals(void **state) {
  (void)state;
  static const char *const bad[] = {"",       "()",     "(1)",    "(1,2)",  "(1,2,3,4)", "1,2,3",
                                    "(1,2,3", "(1,,3)", "(,2,3)", "(1,2,)", "(1,'a,3)"};
  struct pe_table *t = key_table();
  struct pe_key k;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_key_init(&k, t, &err), 0);
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    struct pe_buf b;
    pe_buf_init(&b);
    assert_int_equal(pe_key_put_range(&k, bad[i], NULL, &b, &err), PE_EDATA);
    assert_int_equal(pe_key_put_range(&k, NULL, bad[i], &b, &err), PE_EDATA);
    pe_buf_close(&b);
  }
  pe_table_unref(t);
}

static void cells(void **state) {
  (void)state;
  struct pe_table *t = key_table();
  struct pe_key k;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_key_init(&k, t, &err), 0);
  snprintf(k.cols[1].charset, sizeof(k.cols[1].charset), "latin1");
  struct pe_buf b;
  pe_buf_init(&b);
  char *row[] = {"-7", "27C3", "2"};
  unsigned long lengths[] = {2, 4, 1};
  assert_int_equal(pe_key_put_cells(&k, row, lengths, &b, &err), 0);
  assert_string_equal(pe_buf_cstr(&b), "(-7,_latin1 X'27C3',2)");
  char *hostile[] = {"1 OR 1=1", "27C3", "2"};
  unsigned long hostile_lengths[] = {8, 4, 1};
  assert_int_equal(pe_key_put_cells(&k, hostile, hostile_lengths, &b, &err), PE_EDATA);
  assert_null(strstr(err.text, "OR 1=1"));
  char *null_cell[] = {NULL, "27C3", "2"};
  assert_int_equal(pe_key_put_cells(&k, null_cell, lengths, &b, &err), PE_EDATA);
  pe_buf_close(&b);
  pe_table_unref(t);
}

static void key_of_row(void **state) {
  (void)state;
  struct pe_table *t = pe_table_create("d", "t");
  add(t, "i", "bigint unsigned", PE_C_U64, 1);
  add(t, "s", "varchar(10)", PE_C_STR, 2);
  add(t, "y", "varbinary(10)", PE_C_BYTES, 3);
  add(t, "f", "float", PE_C_F32, 4);
  add(t, "d", "datetime(3)", PE_C_DATETIME, 5)->scale = 3;
  add(t, "z", "decimal(10,2)", PE_C_DEC64, 6)->scale = 2;
  finished(t);
  struct pe_key k;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_key_init(&k, t, &err), 0);
  assert_true(k.resumable);
  _Alignas(16) uint8_t row[256] = {0};
  assert_true(t->row_bytes <= sizeof(row));
  uint64_t i = UINT64_MAX;
  struct pe_str s = {"it's,", 5, 0}, y = {"\0\xff", 2, 0};
  float f = 1.1f;
  int64_t d = 1704164645006000, z = -1250;
  memcpy(row + t->columns[0].offset, &i, 8);
  memcpy(row + t->columns[1].offset, &s, sizeof(s));
  memcpy(row + t->columns[2].offset, &y, sizeof(y));
  memcpy(row + t->columns[3].offset, &f, 4);
  memcpy(row + t->columns[4].offset, &d, 8);
  memcpy(row + t->columns[5].offset, &z, 8);
  struct pe_buf b;
  pe_buf_init(&b);
  pe_key_put_row(&k, t, row, &b);
  assert_string_equal(pe_buf_cstr(&b),
                      "(18446744073709551615,_utf8mb4 X'697427732C',X'00FF',1.1000000238418579e+00,"
                      "'2024-01-02 03:04:05.006',-12.50)");
  assert_non_null(strstr(range(&k, pe_buf_cstr(&b), NULL), "`y` = X'00FF' AND `f` > 1.1"));
  pe_buf_close(&b);
  pe_table_unref(t);
}

static void no_key(void **state) {
  (void)state;
  struct pe_table *t = pe_table_create("d", "t");
  add(t, "i", "int", PE_C_I32, 0);
  finished(t);
  struct pe_key k;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_key_init(&k, t, &err), PE_ESOURCE_KEY);
  pe_table_unref(t);
}

/* ---- decimals ---- */

static int64_t dec64(const char *s, unsigned scale) {
  int64_t v = 0;
  assert_true(pe_decimal_parse(s, strlen(s), (uint8_t)scale, &v, 8));
  return v;
}

static bool dec_ok(const char *s, unsigned scale, uint32_t bytes) {
  uint8_t out[32];
  return pe_decimal_parse(s, strlen(s), (uint8_t)scale, out, bytes);
}

static void decimals(void **state) {
  (void)state;
  assert_int_equal(dec64("0.00", 2), 0);
  assert_int_equal(dec64("-0.00", 2), 0);
  assert_int_equal(dec64("12.50", 2), 1250);
  assert_int_equal(dec64("-12.50", 2), -1250);
  assert_int_equal(dec64("00012", 0), 12);
  assert_int_equal(dec64("999999999999999999", 0), INT64_C(999999999999999999));
  assert_int_equal(dec64("-0.999999999999999999", 18), INT64_C(-999999999999999999));
  __int128 v128;
  const char *big = "-99999999999999999999999999999999999999";
  assert_true(pe_decimal_parse(big, strlen(big), 0, &v128, 16));
  __int128 want = 1;
  for (int i = 0; i < 38; i++) {
    want *= 10;
  }
  assert_true(v128 == 1 - want);
  uint64_t v256[4];
  const char *minus = "-1.00000000000000000000000000000000000000000000000000000000000000000";
  assert_true(pe_decimal_parse(minus, strlen(minus) - 35, 30, v256, 32));
  /* -10^30 */
  unsigned __int128 low = (unsigned __int128)v256[1] << 64 | v256[0];
  unsigned __int128 ten30 = 1;
  for (int i = 0; i < 30; i++) {
    ten30 *= 10;
  }
  assert_true(low == 0 - ten30);
  assert_true(v256[2] == UINT64_MAX && v256[3] == UINT64_MAX);
}

static void no_decimals(void **state) {
  (void)state;
  assert_false(dec_ok("", 0, 8));
  assert_false(dec_ok("-", 0, 8));
  assert_false(dec_ok(".", 0, 8));
  assert_false(dec_ok("1.5", 2, 8));
  assert_false(dec_ok("1.234", 2, 8));
  assert_false(dec_ok("1.2.3", 1, 8));
  assert_false(dec_ok("1e5", 0, 8));
  assert_false(dec_ok(" 1", 0, 8));
  assert_false(dec_ok("9223372036854775808", 0, 8));
  assert_false(dec_ok("340282366920938463463374607431768211456", 0, 16));
  assert_true(dec_ok("99999999999999999999999999999999999999999999999999999999999999999", 0, 32));
  assert_false(
      dec_ok("999999999999999999999999999999999999999999999999999999999999999999999999999"
             "99999999999999999999",
             0, 32));
}

/* ---- rows ---- */

enum { NCOLS = 14 };
static struct pe_table *wide_table(MYSQL_FIELD *f) {
  static const struct {
    const char *name, *type;
    enum pe_ctype ctype;
    unsigned wire;
    unsigned flags;
  } cols[NCOLS] = {
      {"id", "int", PE_C_I32, MYSQL_TYPE_LONG, 0},
      {"u8", "tinyint unsigned", PE_C_U8, MYSQL_TYPE_TINY, UNSIGNED_FLAG},
      {"i16", "smallint", PE_C_I16, MYSQL_TYPE_SHORT, 0},
      {"u64", "bigint unsigned", PE_C_U64, MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG},
      {"f", "float", PE_C_F32, MYSQL_TYPE_FLOAT, 0},
      {"d", "double", PE_C_F64, MYSQL_TYPE_DOUBLE, 0},
      {"n", "decimal(10,2)", PE_C_DEC64, MYSQL_TYPE_NEWDECIMAL, 0},
      {"da", "date", PE_C_DATE, MYSQL_TYPE_DATE, 0},
      {"dt", "datetime(6)", PE_C_DATETIME, MYSQL_TYPE_DATETIME, 0},
      {"t", "time(6)", PE_C_TIME, MYSQL_TYPE_TIME, 0},
      {"b", "bit(9)", PE_C_BIT, MYSQL_TYPE_BIT, UNSIGNED_FLAG},
      {"e", "enum('a','b')", PE_C_ENUM, MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG},
      {"s", "varchar(300)", PE_C_STR, MYSQL_TYPE_VAR_STRING, 0},
      {"x", "blob", PE_C_BYTES, MYSQL_TYPE_BLOB, 0},
  };
  struct pe_table *t = pe_table_create("d", "t");
  for (unsigned i = 0; i < NCOLS; i++) {
    struct pe_column *c = add(t, cols[i].name, cols[i].type, cols[i].ctype, i == 0);
    c->scale = cols[i].ctype == PE_C_DEC64 ? 2 : 6;
    memset(&f[i], 0, sizeof(f[i]));
    f[i].type = cols[i].wire;
    f[i].flags = cols[i].flags;
  }
  assert_non_null(pe_table_add_extra(t, "app_id"));
  t->columns[NCOLS].ctype = PE_C_U32;
  return finished(t);
}

struct packet {
  uint8_t p[1024];
  size_t n;
};

static void put(struct packet *p, const void *bytes, size_t n) {
  memcpy(p->p + p->n, bytes, n);
  p->n += n;
}
#define PUT(p, ...)                            \
  do {                                         \
    static const uint8_t b_[] = {__VA_ARGS__}; \
    put(p, b_, sizeof(b_));                    \
  } while (0)

static struct packet full_packet(void) {
  struct packet p = {.n = 0};
  PUT(&p, 0);                      /* a row */
  PUT(&p, 0, 0);                   /* 14 columns and two bits before them: no NULL */
  PUT(&p, 0xFE, 0xFF, 0xFF, 0xFF); /* id -2 */
  PUT(&p, 200);                    /* u8 */
  PUT(&p, 0x00, 0x80);             /* i16 -32768 */
  PUT(&p, 255, 255, 255, 255, 255, 255, 255, 255);
  PUT(&p, 0, 0, 0x80, 0x3F);           /* 1.0f */
  PUT(&p, 0, 0, 0, 0, 0, 0, 0, 0x80);  /* -0.0 */
  PUT(&p, 5, '-', '1', '.', '2', '5'); /* decimal */
  PUT(&p, 4, 0xE8, 0x07, 2, 29);       /* 2024-02-29 */
  PUT(&p, 11, 0xE8, 0x07, 1, 2, 3, 4, 5, 6, 0, 0, 0);
  PUT(&p, 12, 1, 34, 0, 0, 0, 22, 59, 59, 0x3F, 0x42, 0x0F, 0); /* -838:59:59.999999 */
  PUT(&p, 2, 1, 2);                                             /* bit 0x102 */
  PUT(&p, 2, 0, 0, 0, 0, 0, 0, 0);                              /* member 2 */
  PUT(&p, 3, 'a', 0, 'b');
  PUT(&p, 0xFC, 2, 0, 0xFF, 0x00); /* a longer length than needed is still a length */
  return p;
}

#define AT(type, t, row, col)                                  \
  ({                                                           \
    type v_;                                                   \
    memcpy(&v_, (row) + (t)->columns[col].offset, sizeof(v_)); \
    v_;                                                        \
  })

struct fixture {
  MYSQL_FIELD fields[NCOLS];
  struct pe_table *t;
  struct pe_wire w;
  struct pe_arena a;
  _Alignas(16) uint8_t row[512];
};

static void open_fixture(struct fixture *f) {
  struct pe_err err = PE_ERR_INIT;
  memset(f->row, 0, sizeof(f->row));
  f->t = wide_table(f->fields);
  assert_true(f->t->row_bytes <= sizeof(f->row));
  pe_arena_init(&f->a, 0);
  assert_int_equal(pe_wire_init(&f->w, f->t, f->fields, NCOLS, &err), 0);
}

static void close_fixture(struct fixture *f) {
  pe_wire_close(&f->w);
  pe_arena_close(&f->a);
  pe_table_unref(f->t);
}

static void row_values(void **state) {
  (void)state;
  struct fixture f;
  struct pe_err err = PE_ERR_INIT;
  open_fixture(&f);
  struct packet p = full_packet();
  assert_int_equal(pe_wire_decode(&f.w, p.p, p.n, f.row, &f.a, &err), 0);
  assert_int_equal(AT(int32_t, f.t, f.row, 0), -2);
  assert_int_equal(AT(uint8_t, f.t, f.row, 1), 200);
  assert_int_equal(AT(int16_t, f.t, f.row, 2), -32768);
  assert_true(AT(uint64_t, f.t, f.row, 3) == UINT64_MAX);
  assert_true(AT(float, f.t, f.row, 4) == 1.0f);
  assert_true(AT(uint64_t, f.t, f.row, 5) == UINT64_C(1) << 63);
  assert_int_equal(AT(int64_t, f.t, f.row, 6), -125);
  assert_int_equal(AT(int32_t, f.t, f.row, 7), 19782);
  assert_int_equal(AT(int64_t, f.t, f.row, 8), INT64_C(1704164645000006));
  assert_int_equal(AT(int64_t, f.t, f.row, 9), INT64_C(-3020399999999));
  assert_int_equal(AT(uint64_t, f.t, f.row, 10), 0x102);
  assert_int_equal(AT(uint16_t, f.t, f.row, 11), 2);
  struct pe_str s = AT(struct pe_str, f.t, f.row, 12);
  assert_int_equal(s.len, 3);
  assert_memory_equal(s.p, "a\0b", 3);
  s = AT(struct pe_str, f.t, f.row, 13);
  assert_int_equal(s.len, 2);
  assert_memory_equal(s.p, "\xff\0", 2);
  for (uint32_t i = 0; i < NCOLS; i++) {
    assert_false(pe_row_null(f.row, i));
  }
  assert_true(pe_row_null(f.row, NCOLS)); /* the extra */
  close_fixture(&f);
}

static void row_of_nulls(void **state) {
  (void)state;
  struct fixture f;
  struct pe_err err = PE_ERR_INIT;
  open_fixture(&f);
  struct packet p = {.n = 0};
  PUT(&p, 0, 0xF8, 0xFF, 1, 0, 0, 0); /* all but the first column */
  assert_int_equal(pe_wire_decode(&f.w, p.p, p.n, f.row, &f.a, &err), 0);
  assert_false(pe_row_null(f.row, 0));
  assert_int_equal(AT(int32_t, f.t, f.row, 0), 1);
  for (uint32_t i = 1; i <= NCOLS; i++) {
    assert_true(pe_row_null(f.row, i));
  }
  close_fixture(&f);
}

static int decode_one(enum pe_ctype ctype, unsigned wire, const uint8_t *value, size_t n,
                      void *out) {
  struct pe_table *t = pe_table_create("d", "t");
  add(t, "v", "x", ctype, 1);
  finished(t);
  MYSQL_FIELD field = {.type = wire};
  struct pe_wire w;
  struct pe_arena a;
  struct pe_err err = PE_ERR_INIT;
  pe_arena_init(&a, 0);
  assert_int_equal(pe_wire_init(&w, t, &field, 1, &err), 0);
  uint8_t *packet = malloc(n + 2); /* exact, so that ASan sees a step too far */
  _Alignas(16) uint8_t row[64] = {0};
  packet[0] = packet[1] = 0;
  memcpy(packet + 2, value, n);
  int rc = pe_wire_decode(&w, packet, n + 2, row, &a, &err);
  memcpy(out, row + t->columns[0].offset, pe_ctype_bytes(ctype));
  free(packet);
  pe_wire_close(&w);
  pe_arena_close(&a);
  pe_table_unref(t);
  return rc;
}
#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void strange_dates(void **state) {
  (void)state;
  int32_t d;
  int64_t v;
  assert_int_equal(decode_one(PE_C_DATE, MYSQL_TYPE_DATE, BYTES(0), &d), 0);
  assert_int_equal(d, PE_DATE_SPECIAL_BASE); /* 0000-00-00 */
  assert_int_equal(decode_one(PE_C_DATE, MYSQL_TYPE_DATE, BYTES(4, 0xE8, 7, 0, 17), &d), 0);
  assert_int_equal(d, PE_DATE_SPECIAL_BASE + (2024 << 9 | 17));
  assert_int_equal(decode_one(PE_C_DATE, MYSQL_TYPE_DATE, BYTES(4, 0xE7, 7, 2, 29), &d), 0);
  assert_int_equal(d, PE_DATE_SPECIAL_BASE + (2023 << 9 | 2 << 5 | 29)); /* no such day */
  assert_int_equal(decode_one(PE_C_DATE, MYSQL_TYPE_DATE, BYTES(4, 0x0F, 0x27, 12, 31), &d), 0);
  assert_int_equal(d, 2932896); /* 9999-12-31 */
  assert_int_equal(decode_one(PE_C_DATETIME, MYSQL_TYPE_TIMESTAMP, BYTES(0), &v), 0);
  assert_true(v == PE_DATETIME_SPECIAL_BASE);
  assert_int_equal(decode_one(PE_C_DATETIME, MYSQL_TYPE_DATETIME, BYTES(4, 0xB2, 7, 1, 1), &v), 0);
  assert_int_equal(v, 0);
  assert_int_equal(
      decode_one(PE_C_DATETIME, MYSQL_TYPE_DATETIME, BYTES(7, 0xE8, 7, 0, 17, 1, 2, 3), &v), 0);
  assert_true(v == PE_DATETIME_SPECIAL_BASE + (int64_t)(UINT64_C(2024) * 13 << 42 |
                                                        UINT64_C(17) << 37 | UINT64_C(1) << 32 |
                                                        UINT64_C(2) << 26 | UINT64_C(3) << 20));
  assert_int_equal(decode_one(PE_C_TIME, MYSQL_TYPE_TIME, BYTES(0), &v), 0);
  assert_int_equal(v, 0);
  assert_int_equal(decode_one(PE_C_TIME, MYSQL_TYPE_TIME, BYTES(8, 0, 0, 0, 0, 0, 1, 2, 3), &v), 0);
  assert_int_equal(v, INT64_C(3723000000));
}

static void nonsense(void **state) {
  (void)state;
  uint8_t out[32];
  assert_int_equal(decode_one(PE_C_DATE, MYSQL_TYPE_DATE, BYTES(3, 1, 2, 3), out),
                   PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_DATE, MYSQL_TYPE_DATE, BYTES(4, 0xE8, 7, 13, 1), out),
                   PE_ESOURCE_PROTO);
  assert_int_equal(
      decode_one(PE_C_DATETIME, MYSQL_TYPE_DATETIME, BYTES(7, 0xE8, 7, 1, 1, 24, 0, 0), out),
      PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_TIME, MYSQL_TYPE_TIME, BYTES(8, 2, 0, 0, 0, 0, 1, 2, 3), out),
                   PE_ESOURCE_PROTO);
  assert_int_equal(
      decode_one(PE_C_TIME, MYSQL_TYPE_TIME, BYTES(8, 0, 255, 255, 255, 255, 1, 2, 3), out),
      PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_BIT, MYSQL_TYPE_BIT, BYTES(9, 1, 2, 3, 4, 5, 6, 7, 8, 9), out),
                   PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_ENUM, MYSQL_TYPE_LONG, BYTES(0, 0, 1, 0), out),
                   PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_STR, MYSQL_TYPE_BLOB, BYTES(0xFB), out), PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_STR, MYSQL_TYPE_BLOB,
                              BYTES(0xFE, 255, 255, 255, 255, 255, 255, 255, 255), out),
                   PE_ESOURCE_PROTO);
  assert_int_equal(decode_one(PE_C_STR, MYSQL_TYPE_BLOB, BYTES(1, 'a', 'b'), out),
                   PE_ESOURCE_PROTO); /* one byte too many */
}

static void cut_anywhere(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f);
  struct packet p = full_packet();
  for (size_t n = 0; n < p.n; n++) {
    struct pe_err err = PE_ERR_INIT;
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, p.p, n);
    memset(f.row, 0, sizeof(f.row));
    assert_int_equal(pe_wire_decode(&f.w, exact, n, f.row, &f.a, &err), PE_ESOURCE_PROTO);
    free(exact);
  }
  close_fixture(&f);
}

static void changed_types(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f);
  struct pe_wire w;
  struct pe_err err = PE_ERR_INIT;
  f.fields[0].type = MYSQL_TYPE_LONGLONG;
  assert_int_equal(pe_wire_init(&w, f.t, f.fields, NCOLS, &err), PE_ESOURCE_SCHEMA);
  assert_non_null(strstr(err.text, "'id'"));
  f.fields[0].type = MYSQL_TYPE_LONG;
  f.fields[0].flags = UNSIGNED_FLAG;
  assert_int_equal(pe_wire_init(&w, f.t, f.fields, NCOLS, &err), PE_ESOURCE_SCHEMA);
  f.fields[0].flags = 0;
  f.fields[12].type = MYSQL_TYPE_LONG;
  assert_int_equal(pe_wire_init(&w, f.t, f.fields, NCOLS, &err), PE_ESOURCE_SCHEMA);
  assert_int_equal(pe_wire_init(&w, f.t, f.fields, NCOLS - 1, &err), PE_ESOURCE_PROTO);
  close_fixture(&f);
}

static void select_list(void **state) {
  (void)state;
  struct pe_table *t = pe_table_create("d", "t");
  add(t, "a", "int", PE_C_I32, 1);
  add(t, "e`", "enum('x')", PE_C_ENUM, 0);
  add(t, "u", "uuid", PE_C_STR, 0);
  pe_table_add_extra(t, "extra");
  finished(t);
  struct pe_buf b;
  pe_buf_init(&b);
  pe_wire_put_select(t, &b);
  assert_string_equal(pe_buf_cstr(&b), "`a`,CAST(`e``` AS UNSIGNED),`u`");
  pe_buf_close(&b);
  pe_table_unref(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ranges),        cmocka_unit_test(bad_literals),
      cmocka_unit_test(cells),         cmocka_unit_test(key_of_row),
      cmocka_unit_test(no_key),        cmocka_unit_test(decimals),
      cmocka_unit_test(no_decimals),   cmocka_unit_test(row_values),
      cmocka_unit_test(row_of_nulls),  cmocka_unit_test(strange_dates),
      cmocka_unit_test(nonsense),      cmocka_unit_test(cut_anywhere),
      cmocka_unit_test(changed_types), cmocka_unit_test(select_list),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
