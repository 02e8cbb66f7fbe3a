/* Value texts, row JSON, equality, packing and keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/table.h"

static void check(enum pe_ctype type, unsigned scale, const void *value, const char *want) {
  uint8_t row[64] = {0};
  struct pe_column c = {.ctype = type, .scale = (uint8_t)scale, .offset = 8};
  memcpy(row + 8, value, pe_ctype_bytes(type));
  struct pe_buf b;
  pe_buf_init(&b);
  pe_value_text(&c, row, &b);
  assert_string_equal(pe_buf_cstr(&b), want);
  pe_buf_close(&b);
}
#define CHECK(type, scale, ctype, value, want) check(type, scale, &(ctype){value}, want)

static void integers(void **state) {
  (void)state;
  CHECK(PE_C_I8, 0, int8_t, -128, "-128");
  CHECK(PE_C_U8, 0, uint8_t, 255, "255");
  CHECK(PE_C_I16, 0, int16_t, -32768, "-32768");
  CHECK(PE_C_U16, 0, uint16_t, 65535, "65535");
  CHECK(PE_C_I32, 0, int32_t, INT32_MIN, "-2147483648");
  CHECK(PE_C_U32, 0, uint32_t, UINT32_MAX, "4294967295");
  CHECK(PE_C_I64, 0, int64_t, INT64_MIN, "-9223372036854775808");
  CHECK(PE_C_U64, 0, uint64_t, UINT64_MAX, "18446744073709551615");
  CHECK(PE_C_BIT, 0, uint64_t, UINT64_MAX, "18446744073709551615");
  CHECK(PE_C_YEAR, 0, uint16_t, 0, "0000");
  CHECK(PE_C_YEAR, 0, uint16_t, 2026, "2026");
}

static void floats(void **state) {
  (void)state;
  CHECK(PE_C_F64, 0, double, 0.1, "0.1");
  CHECK(PE_C_F64, 0, double, 0.1 + 0.2, "0.30000000000000004");
  CHECK(PE_C_F64, 0, double, -0.0, "-0");
  CHECK(PE_C_F64, 0, double, 1e300, "1e+300");
  CHECK(PE_C_F64, 0, double, 5e-324, "4.94065645841247e-324");
  CHECK(PE_C_F64, 0, double, (double)NAN, "nan");
  CHECK(PE_C_F64, 0, double, -(double)INFINITY, "-inf");
  CHECK(PE_C_F32, 0, float, 0.1f, "0.1");
  CHECK(PE_C_F32, 0, float, 16777217.0f, "16777216");
  CHECK(PE_C_F32, 0, float, 3.14159274f, "3.1415927");
}

static void decimals(void **state) {
  (void)state;
  CHECK(PE_C_DEC64, 2, int64_t, 1250, "12.50");
  CHECK(PE_C_DEC64, 2, int64_t, -5, "-0.05");
  CHECK(PE_C_DEC64, 0, int64_t, 0, "0");
  CHECK(PE_C_DEC64, 4, int64_t, 0, "0.0000");
  CHECK(PE_C_DEC64, 0, int64_t, -1000000000, "-1000000000");
  CHECK(PE_C_DEC64, 18, int64_t, 999999999999999999, "0.999999999999999999");
  CHECK(PE_C_DEC64, 0, int64_t, INT64_MIN, "-9223372036854775808");
  /* 99999999999999999999999999999999999999 = 10^38 - 1 */
  __int128 v = 1;
  for (int i = 0; i < 38; i++) {
    v *= 10;
  }
  v -= 1;
  check(PE_C_DEC128, 10, &v, "9999999999999999999999999999.9999999999");
  v = -v;
  check(PE_C_DEC128, 38, &v, "-0.99999999999999999999999999999999999999");
  v = -1;
  check(PE_C_DEC128, 30, &v, "-0.000000000000000000000000000001");
  uint8_t big[32];
  memset(big, 0xFF, 32);
  check(PE_C_DEC256, 0, big, "-1");
  big[31] = 0x7F;
  check(PE_C_DEC256, 30, big,
        "57896044618658097711785492504343953926634992332.820282019728792003956564819967");
  memset(big, 0, 32);
  big[31] = 0x80;
  check(PE_C_DEC256, 0, big,
        "-57896044618658097711785492504343953926634992332820282019728792003956564819968");
}

static void dates(void **state) {
  (void)state;
  CHECK(PE_C_DATE, 0, int32_t, 0, "1970-01-01");
  CHECK(PE_C_DATE, 0, int32_t, -1, "1969-12-31");
  CHECK(PE_C_DATE, 0, int32_t, pe_days_from_civil(1000, 1, 1), "1000-01-01");
  CHECK(PE_C_DATE, 0, int32_t, pe_days_from_civil(9999, 12, 31), "9999-12-31");
  CHECK(PE_C_DATE, 0, int32_t, PE_DATE_SPECIAL_BASE, "0000-00-00");
  CHECK(PE_C_DATE, 0, int32_t, pe_date_special(2024, 0, 17), "2024-00-17");
  CHECK(PE_C_DATETIME, 0, int64_t, 0, "1970-01-01 00:00:00");
  CHECK(PE_C_DATETIME, 3, int64_t, 1234567, "1970-01-01 00:00:01.234");
  CHECK(PE_C_DATETIME, 6, int64_t, -1, "1969-12-31 23:59:59.999999");
  CHECK(PE_C_DATETIME, 0, int64_t, PE_DATETIME_SPECIAL_BASE, "0000-00-00 00:00:00");
  CHECK(PE_C_DATETIME, 4, int64_t, PE_DATETIME_SPECIAL_BASE + 120000, "0000-00-00 00:00:00.1200");
  int64_t special = pe_datetime_special(2024, 12, 0, 23, 59, 58, 999999);
  CHECK(PE_C_DATETIME, 6, int64_t, special, "2024-12-00 23:59:58.999999");
  int64_t last = pe_datetime_special(9999, 12, 31, 23, 59, 59, 999999);
  assert_true(pe_datetime_is_special(last));
  assert_false(pe_datetime_is_special((int64_t)pe_days_from_civil(0, 1, 1) * INT64_C(86400000000)));
  CHECK(PE_C_TIME, 0, int64_t, 0, "00:00:00");
  CHECK(PE_C_TIME, 6, int64_t, -INT64_C(3020399) * 1000000, "-838:59:59.000000");
  CHECK(PE_C_TIME, 2, int64_t, -10000, "-00:00:00.01");
}

static void every_day_goes_there_and_back(void **state) {
  (void)state;
  int y = 1, py = 0;
  unsigned m = 1, d = 1, pm = 0, pd = 0;
  int32_t from = pe_days_from_civil(1, 1, 1), to = pe_days_from_civil(9999, 12, 31);
  for (int32_t day = from; day <= to; day++) {
    pe_civil_from_days(day, &y, &m, &d);
    assert_true(pe_days_from_civil(y, m, d) == day);
    assert_true(y > py || (y == py && (m > pm || (m == pm && d == pd + 1))));
    py = y, pm = m, pd = d;
  }
  assert_int_equal(to - from, 3652058);
  pe_civil_from_days(INT32_MAX, &y, &m, &d);
  pe_civil_from_days(PE_DATE_SPECIAL_END, &y, &m, &d);
}

static void members(void **state) {
  (void)state;
  static char *names[] = {"red", "green", "blue"};
  uint8_t row[32] = {0};
  struct pe_column c = {.ctype = PE_C_ENUM, .members = names, .nmembers = 3};
  static const char *const enums[] = {"", "red", "green", "blue", "4"};
  struct pe_buf b;
  pe_buf_init(&b);
  for (uint16_t v = 0; v < 5; v++) {
    memcpy(row, &v, 2);
    pe_buf_clear(&b);
    pe_value_text(&c, row, &b);
    assert_string_equal(pe_buf_cstr(&b), enums[v]);
  }
  c.ctype = PE_C_SET;
  uint64_t set = 5 | UINT64_C(1) << 63;
  memcpy(row, &set, 8);
  pe_buf_clear(&b);
  pe_value_text(&c, row, &b);
  assert_string_equal(pe_buf_cstr(&b), "red,blue,64");
  pe_buf_close(&b);
}

/* id U64 (key 2), name STR (key 1), data BYTES, amount DEC64, ratio F64, doc JSON, extra STR */
static struct pe_table *sample(void) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = pe_table_create("d", "t");
  struct pe_column *c = pe_table_add(t, "id");
  c->ctype = PE_C_U64;
  c->pk_ordinal = 2;
  c = pe_table_add(t, "na\"me");
  c->ctype = PE_C_STR;
  c->pk_ordinal = 1;
  pe_table_add(t, "data")->ctype = PE_C_BYTES;
  c = pe_table_add(t, "amount");
  c->ctype = PE_C_DEC64;
  c->scale = 2;
  pe_table_add(t, "ratio")->ctype = PE_C_F64;
  pe_table_add(t, "doc")->ctype = PE_C_JSON;
  pe_table_add_extra(t, "extra")->ctype = PE_C_STR;
  assert_int_equal(pe_table_finish(t, &err), 0);
  return t;
}

static void set_str(const struct pe_table *t, uint8_t *row, uint32_t col, const char *s, size_t n) {
  struct pe_str str = {.p = s, .len = (uint32_t)n};
  memcpy(row + t->columns[col].offset, &str, sizeof(str));
}
static void set_u64(const struct pe_table *t, uint8_t *row, uint32_t col, uint64_t v) {
  memcpy(row + t->columns[col].offset, &v, sizeof(v));
}

static void fill(const struct pe_table *t, uint8_t *row) {
  memset(row, 0, t->row_bytes);
  set_u64(t, row, 0, 77);
  set_str(t, row, 1, "Ann\n", 4);
  set_str(t, row, 2, "\x00\xff", 2);
  set_u64(t, row, 3, (uint64_t)-150);
  double ratio = 0.5;
  memcpy(row + t->columns[4].offset, &ratio, 8);
  set_str(t, row, 5, "{\"a\":1}", 7);
  pe_row_set_null(row, 6);
}

static void check_json(const struct pe_table *t, const uint8_t *row, const char *want) {
  struct pe_buf b;
  pe_buf_init(&b);
  pe_row_json(t, row, &b);
  assert_string_equal(pe_buf_cstr(&b), want);
  pe_buf_close(&b);
}

static void json(void **state) {
  (void)state;
  struct pe_table *t = sample();
  _Alignas(16) uint8_t row[256];
  fill(t, row);
  check_json(t, row,
             "{\"id\":77,\"na\\\"me\":\"Ann\\n\",\"data\":\"00ff\",\"amount\":\"-1.50\","
             "\"ratio\":0.5,\"doc\":\"{\\\"a\\\":1}\"}");
  set_u64(t, row, 0, (UINT64_C(1) << 53) + 1);
  t->columns[1].pii = true;
  t->columns[3].pii = true;
  pe_row_set_null(row, 3);
  set_str(t, row, 2, NULL, 0);
  double nan = (double)NAN;
  memcpy(row + t->columns[4].offset, &nan, 8);
  pe_row_set_null(row, 5);
  check_json(t, row,
             "{\"id\":\"9007199254740993\",\"na\\\"me\":\"<pii>\",\"data\":\"\",\"amount\":null,"
             "\"ratio\":\"nan\",\"doc\":null}");
  set_u64(t, row, 0, UINT64_C(1) << 53);
  t->columns[0].ctype = PE_C_I64;
  set_u64(t, row, 0, (uint64_t)(-(INT64_C(1) << 53) - 1));
  t->nsource = 1;
  check_json(t, row, "{\"id\":\"-9007199254740993\"}");
  pe_table_unref(t);
}

static void equality(void **state) {
  (void)state;
  struct pe_table *t = sample();
  _Alignas(16) uint8_t a[256], b[256];
  fill(t, a);
  fill(t, b);
  char other[] = "Ann\n";
  set_str(t, b, 1, other, 4);
  static const uint32_t all[] = {0, 1, 2, 3, 4, 5, 6};
  assert_true(pe_rows_equal(t, a, b, all, 7));
  other[3] = '!';
  assert_false(pe_rows_equal(t, a, b, all, 7));
  assert_true(pe_rows_equal(t, a, b, all + 2, 5));
  set_u64(t, b, 3, 1);
  assert_false(pe_rows_equal(t, a, b, all + 2, 5));
  pe_row_set_null(a, 3);
  assert_false(pe_rows_equal(t, a, b, all + 2, 5));
  pe_row_set_null(b, 3); /* NULL equals NULL, whatever lies beneath */
  assert_true(pe_rows_equal(t, a, b, all + 2, 5));
  set_str(t, b, 2, "\x00", 1);
  assert_false(pe_rows_equal(t, a, b, all + 2, 1));
  assert_true(pe_rows_equal(t, a, b, all, 0));
  pe_table_unref(t);
}

static void packing_goes_there_and_back(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample();
  _Alignas(16) uint8_t row[256];
  fill(t, row);
  pe_row_set_null(row, 5); /* a NULL string whose pointer is still there is not stored */
  struct pe_buf packed, again;
  pe_buf_init(&packed);
  pe_buf_init(&again);
  pe_buf_puts(&packed, "xxx"); /* the format does not care where it lies */
  pe_row_pack(t, row, &packed);
  assert_int_equal(packed.len, 3 + 16 + t->row_bytes + 4 + 2);
  struct pe_arena a;
  pe_arena_init(&a, 0);
  uint8_t *back;
  assert_int_equal(pe_row_unpack(t, packed.data + 3, packed.len - 3, &a, &back, &err), 0);
  static const uint32_t all[] = {0, 1, 2, 3, 4, 5, 6};
  assert_true(pe_rows_equal(t, row, back, all, 7));
  pe_row_pack(t, back, &again);
  assert_int_equal(again.len, packed.len - 3);
  assert_memory_equal(again.data, packed.data + 3, again.len);
  struct pe_table *other = pe_table_clone(t);
  other->columns[0].ctype = PE_C_I64;
  assert_int_equal(pe_table_finish(other, &err), 0);
  assert_int_equal(other->row_bytes, t->row_bytes);
  assert_int_equal(pe_row_unpack(other, again.data, again.len, &a, &back, &err), PE_EDATA);
  assert_non_null(strstr(err.text, "another version"));
  pe_table_unref(other);
  pe_arena_close(&a);
  pe_buf_close(&packed);
  pe_buf_close(&again);
  pe_table_unref(t);
}

/* Reads every string byte, so that a sanitizer sees a pointer that leads outside. */
static unsigned touch(const struct pe_table *t, const uint8_t *row) {
  struct pe_buf b;
  pe_buf_init(&b);
  pe_row_json(t, row, &b);
  unsigned n = (unsigned)b.len;
  pe_buf_close(&b);
  return n;
}

static void packing_survives_damage(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample();
  _Alignas(16) uint8_t row[256];
  fill(t, row);
  struct pe_buf packed;
  pe_buf_init(&packed);
  pe_row_pack(t, row, &packed);
  struct pe_arena a;
  pe_arena_init(&a, 0);
  uint8_t *back;
  for (size_t n = 0; n < packed.len; n++) { /* every cut */
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, packed.data, n);
    assert_int_equal(pe_row_unpack(t, exact, n, &a, &back, &err), PE_EDATA);
    free(exact);
  }
  pe_buf_put(&packed, "z", 1);
  assert_int_equal(pe_row_unpack(t, packed.data, packed.len, &a, &back, &err), PE_EDATA);
  packed.len--;
  uint32_t seed = 12345;
  int refused = 0;
  for (int i = 0; i < 200000; i++) { /* random bytes changed */
    uint8_t *copy = malloc(packed.len);
    memcpy(copy, packed.data, packed.len);
    for (int k = 0; k <= i % 3; k++) {
      seed = seed * 1664525 + 1013904223;
      copy[(seed >> 8) % packed.len] ^= (uint8_t)(seed >> 24 | 1);
    }
    pe_arena_reset(&a);
    int rc = pe_row_unpack(t, copy, packed.len, &a, &back, &err);
    assert_true(rc == 0 || rc == PE_EDATA);
    refused += rc != 0;
    if (rc == 0) {
      assert_true(touch(t, back) > 0);
    }
    free(copy);
  }
  assert_true(refused > 10000);
  pe_arena_close(&a);
  pe_buf_close(&packed);
  pe_table_unref(t);
}

static void keys_never_collide(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = pe_table_create("d", "t");
  struct pe_column *c = pe_table_add(t, "a");
  c->ctype = PE_C_STR;
  c->pk_ordinal = 1;
  c = pe_table_add(t, "b");
  c->ctype = PE_C_STR;
  c->pk_ordinal = 2;
  pe_table_add(t, "note")->ctype = PE_C_I32;
  assert_int_equal(pe_table_finish(t, &err), 0);
  static const char *const pairs[][2] = {{"ab", "c"},
                                         {"a", "bc"},
                                         {"abc", ""},
                                         {"", "abc"},
                                         {"", ""},
                                         {NULL, ""},
                                         {"", NULL},
                                         {NULL, NULL},
                                         {"a\x14", "b"},
                                         {"a",
                                          "\x14"
                                          "b"}};
  enum { N = sizeof(pairs) / sizeof(pairs[0]) };
  struct pe_buf keys[N];
  _Alignas(16) uint8_t row[64];
  for (int i = 0; i < N; i++) {
    memset(row, 0, sizeof(row));
    for (uint32_t k = 0; k < 2; k++) {
      if (pairs[i][k]) {
        set_str(t, row, k, pairs[i][k], strlen(pairs[i][k]));
      } else {
        pe_row_set_null(row, k);
      }
    }
    pe_buf_init(&keys[i]);
    pe_row_key(t, row, &keys[i]);
    for (int k = 0; k < i; k++) {
      assert_false(keys[k].len == keys[i].len &&
                   memcmp(keys[k].data, keys[i].data, keys[i].len) == 0);
    }
  }
  /* A value that looks like the border between two: only the lengths tell these apart. */
  static const char border[] = {'x', PE_C_STR, 0, 0, 0, 0, 'y', PE_C_STR, 0, 0, 0, 0, 'z'};
  struct pe_buf first, second;
  pe_buf_init(&first);
  pe_buf_init(&second);
  memset(row, 0, sizeof(row));
  set_str(t, row, 0, border, 7);
  set_str(t, row, 1, border + 12, 1);
  pe_row_key(t, row, &first);
  set_str(t, row, 0, border, 1);
  set_str(t, row, 1, border + 6, 7);
  pe_row_key(t, row, &second);
  assert_int_equal(first.len, second.len);
  assert_memory_not_equal(first.data, second.data, first.len);
  pe_buf_close(&first);
  pe_buf_close(&second);
  memset(row, 0, sizeof(row));
  char ab[] = "ab";
  set_str(t, row, 0, ab, 2);
  set_str(t, row, 1, "c", 1);
  int32_t note = 5; /* not part of the key */
  memcpy(row + t->columns[2].offset, &note, 4);
  struct pe_buf again;
  pe_buf_init(&again);
  pe_row_key(t, row, &again);
  assert_int_equal(again.len, keys[0].len);
  assert_memory_equal(again.data, keys[0].data, again.len);
  pe_buf_close(&again);
  for (int i = 0; i < N; i++) {
    pe_buf_close(&keys[i]);
  }
  pe_table_unref(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(integers),
      cmocka_unit_test(floats),
      cmocka_unit_test(decimals),
      cmocka_unit_test(dates),
      cmocka_unit_test(every_day_goes_there_and_back),
      cmocka_unit_test(members),
      cmocka_unit_test(json),
      cmocka_unit_test(equality),
      cmocka_unit_test(packing_goes_there_and_back),
      cmocka_unit_test(packing_survives_damage),
      cmocka_unit_test(keys_never_collide),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
