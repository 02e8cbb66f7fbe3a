/* Values out of their binary forms: DECIMAL, dates and times, JSON, character sets, rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "source/binlog_schema.h"
#include "source/binlog_wire.h"
#include "source/decode_temporal.h"

/* ---- DECIMAL ---- */

static void decimals_keep_every_digit(void **state) {
  (void)state;
  /* the example of strings/decimal.c: 1234567890.1234 as DECIMAL(14,4) */
  static const uint8_t plus[] = {0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2};
  static const uint8_t minus[] = {0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D};
  uint64_t v[4];
  assert_int_equal(pe_decode_decimal(plus, 14, 4, v), sizeof(plus));
  assert_true(v[0] == 12345678901234 && !v[1] && !v[2] && !v[3]);
  assert_int_equal(pe_decode_decimal(minus, 14, 4, v), sizeof(minus));
  assert_true((int64_t)v[0] == -12345678901234 && v[1] == UINT64_MAX && v[3] == UINT64_MAX);
  static const uint8_t zero[] = {0x80};
  assert_int_equal(pe_decode_decimal(zero, 2, 0, v), 1);
  assert_true(!v[0] && !v[3]);
  static const uint8_t minus_zero[] = {0x7F};
  assert_int_equal(pe_decode_decimal(minus_zero, 2, 0, v), 1);
  assert_true(!v[0] && !v[1] && !v[2] && !v[3]);
}

static void impossible_decimals_are_refused(void **state) {
  (void)state;
  uint8_t p[32];
  uint64_t v[4];
  memset(p, 0xFF, sizeof(p));
  assert_int_equal(pe_decode_decimal(p, 2, 0, v), 0); /* 127 in two digits */
  assert_int_equal(pe_decode_decimal(p, 65, 30, v), 0);
  assert_int_equal(pe_decode_decimal(p, 0, 0, v), 0);
  assert_int_equal(pe_decode_decimal(p, 66, 0, v), 0);
  assert_int_equal(pe_decode_decimal(p, 2, 3, v), 0);
  for (unsigned precision = 1; precision <= 65; precision++) {
    for (unsigned scale = 0; scale <= precision; scale++) {
      assert_in_range(pe_decimal_bytes(precision, scale), 1, 32);
    }
  }
}

/* ---- dates and times ---- */

static void days_agree_with_the_calendar(void **state) {
  (void)state;
  pe_calendar_init();
  for (unsigned year = 1; year < 10000; year += year < 1890 || year > 2160 ? 37 : 1) {
    for (unsigned month = 1; month <= 12; month++) {
      unsigned days = pe_month_days(year, month);
      for (unsigned day = 1; day <= days; day += day < days - 1 ? 13 : 1) {
        assert_int_equal(pe_temporal_date(year, month, day),
                         pe_days_from_civil((int)year, month, day));
      }
      assert_true(pe_date_is_special(pe_temporal_date(year, month, 0)));
      assert_true(pe_date_is_special(pe_temporal_date(year, month, days + 1)));
    }
    assert_true(pe_date_is_special(pe_temporal_date(year, 0, 1)));
    assert_true(pe_date_is_special(pe_temporal_date(year, 13, 1)));
    assert_true(pe_date_is_special(pe_temporal_date(year, 15, 1)));
  }
  assert_int_equal(pe_temporal_date(0, 0, 0), PE_DATE_SPECIAL_BASE);
  assert_int_equal(pe_temporal_date(2024, 0, 17), PE_DATE_SPECIAL_BASE + (2024 << 9 | 17));
  assert_true(pe_month_days(1900, 2) == 28 && pe_month_days(2000, 2) == 29);
}

static void times_keep_their_sign_and_fraction(void **state) {
  (void)state;
  static const uint8_t minus_half[] = {0x7F, 0xFF, 0xFF, 0xCE}; /* -00:00:00.5, TIME(2) */
  assert_int_equal(pe_temporal_time2(minus_half, 1), -500000);
  static const uint8_t one_us[] = {0x80, 0, 0, 0, 0, 1};
  assert_int_equal(pe_temporal_time2(one_us, 3), 1);
  static const uint8_t minus_one_us[] = {0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
  assert_int_equal(pe_temporal_time2(minus_one_us, 3), -1);
  static const uint8_t zero[] = {0x80, 0, 0};
  assert_int_equal(pe_temporal_time2(zero, 0), 0);
  static const uint8_t old[] = {0x40, 0xE2, 0x01}; /* 12:34:56 = 123456 */
  assert_int_equal(pe_temporal_time_old(old), INT64_C(45296000000));
  assert_int_equal(pe_temporal_timestamp(0, 0), PE_DATETIME_SPECIAL_BASE);
  assert_int_equal(pe_temporal_timestamp(1, 5), 1000005);
  assert_int_equal(pe_temporal_timestamp(UINT32_MAX, 0), INT64_C(4294967295000000));
  assert_int_equal(pe_temporal_datetime_old(19700102000001), INT64_C(86401000000));
  assert_true(pe_datetime_is_special(pe_temporal_datetime_old(0)));
  assert_true(pe_datetime_is_special(pe_temporal_datetime_old(20240231000000)));
}

/* ---- JSON ---- */

static int json(const void *p, size_t n, struct pe_buf *out) {
  uint8_t *copy = malloc(n ? n : 1); /* exactly, for the sanitizer */
  memcpy(copy, p, n);
  pe_buf_clear(out);
  int rc = pe_decode_json(copy, n, out);
  free(copy);
  return rc;
}

/* {"a": [1, true, "x"], "b": 1.5} in the small format */
static const uint8_t json_sample[] = {
    0x00, 0x02, 0x00, 0x2F, 0x00,                         /* object, 2 keys, 47 bytes */
    0x12, 0x00, 0x01, 0x00, 0x13, 0x00, 0x01, 0x00,       /* keys */
    0x02, 0x14, 0x00, 0x0B, 0x27, 0x00,                   /* values */
    'a',  'b',                                            /* */
    0x03, 0x00, 0x0F, 0x00, 0x05, 0x01, 0x00, 0x04, 0x01, /* array */
    0x00, 0x0C, 0x0D, 0x00, 0x01, 'x',  0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F};

static void json_reads_as_the_server_prints_it(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  assert_int_equal(json(json_sample, sizeof(json_sample), &b), 0);
  assert_string_equal(pe_buf_cstr(&b), "{\"a\": [1, true, \"x\"], \"b\": 1.5}");
  assert_int_equal(json("", 0, &b), 0);
  assert_string_equal(pe_buf_cstr(&b), "null");
  static const struct {
    double v;
    const char *text;
  } doubles[] = {{0, "0.0"},
                 {-0.0, "-0.0"},
                 {100, "100.0"},
                 {0.1, "0.1"},
                 {1e14, "100000000000000.0"},
                 {1e15, "1e15"},
                 {1e-7, "0.0000001"},
                 {1e-16, "1e-16"},
                 {1.7976931348623157e308, "1.7976931348623157e308"},
                 {-2.5e-20, "-2.5e-20"}};
  for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++) {
    uint8_t p[9] = {0x0B};
    memcpy(p + 1, &doubles[i].v, 8);
    assert_int_equal(json(p, 9, &b), 0);
    assert_string_equal(pe_buf_cstr(&b), doubles[i].text);
  }
  static const uint8_t decimal[] = {0x0F, 0xF6, 0x05, 0x05, 0x02, 0x80, 0x7B, 0x2D}; /* 123.45 */
  assert_int_equal(json(decimal, sizeof(decimal), &b), 0);
  assert_string_equal(pe_buf_cstr(&b), "123.45");
  static const uint8_t small[] = {0x0F, 0xF6, 0x04, 0x03, 0x02, 0x7F, 0xFA}; /* -0.05 */
  assert_int_equal(json(small, sizeof(small), &b), 0);
  assert_string_equal(pe_buf_cstr(&b), "-0.05");
  pe_buf_close(&b);
}

static void forged_json_is_refused(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  for (size_t n = 1; n < sizeof(json_sample); n++) {
    assert_int_equal(json(json_sample, n, &b), PE_ESOURCE_PROTO);
  }
  uint8_t copy[sizeof(json_sample)];
  for (size_t i = 0; i < sizeof(copy); i++) {
    for (unsigned v = 0; v < 256; v++) {
      memcpy(copy, json_sample, sizeof(copy));
      copy[i] = (uint8_t)v;
      json(copy, sizeof(copy), &b); /* an error or other text, under the sanitizers */
    }
  }
  /* An array whose elements are the array itself, and one that nests without an end. */
  uint8_t loop[64] = {0x02, 0x10, 0x00, 0x3F, 0x00};
  for (unsigned i = 0; i < 16; i++) {
    loop[5 + i * 3] = 0x02;
  }
  assert_int_equal(json(loop, sizeof(loop), &b), PE_ESOURCE_PROTO);
  pe_buf_close(&b);
}

/* ---- character sets ---- */

static void converts(uint16_t collation, const char *in, size_t n, const char *want) {
  struct pe_arena a;
  struct pe_str out;
  pe_arena_init(&a, 0);
  struct pe_charset *c = pe_charset_open(collation);
  assert_non_null(c);
  assert_int_equal(pe_charset_convert(c, (struct pe_str){in, (uint32_t)n, 0}, &a, &out), 0);
  assert_int_equal(out.len, strlen(want));
  assert_memory_equal(out.p, want, out.len);
  pe_charset_close(c);
  pe_arena_close(&a);
}

static void text_becomes_utf8(void **state) {
  (void)state;
  converts(8, "\x80\xFF\x81", 3, "€ÿ\xC2\x81");
  converts(8, "plain text, longer than a word", 30, "plain text, longer than a word");
  converts(9, "\xA3\xF3", 2, "Łó");
  converts(26, "\x8A", 1, "Š");
  converts(51, "\xCF", 1, "П");
  converts(25, "\xE1", 1, "α");
  converts(16, "\xE0", 1, "א");
  converts(7, "\xF0", 1, "П");
  converts(22, "\xA4", 1, "є");
  converts(13, "\x93\xFA", 2, "日");
  converts(95, "\x87\x40", 2, "①");
  converts(12, "\xC6\xFC", 2, "日");
  converts(97, "\xAD\xA1", 2, "①");
  converts(19, "\xC7\xD1", 2, "한");
  converts(28, "\xD6\xD0", 2, "中");
  converts(24, "\xD6\xD0", 2, "中");
  converts(248, "\x95\x32\x82\x36", 4, "𠀀");
  converts(1, "\xA4\xA4", 2, "中");
  converts(18, "\xA1", 1, "ก");
  converts(4, "\x81", 1, "ü");
  converts(40, "\x9D", 1, "Ł");
  converts(36, "\x8F", 1, "П");
  converts(39, "\x8A", 1, "ä");
  converts(35, "\x65\xE5", 2, "日");
  converts(54, "\xD8\x3D\xDE\x00", 4, "😀");
  converts(56, "\x3D\xD8\x00\xDE", 4, "😀");
  converts(60, "\x00\x01\xF6\x00", 4, "😀");
  converts(2600, "\x65\xE5", 2, "日"); /* a UCA 14 collation of ucs2 */
  converts(1032, "\xE9", 1, "é");      /* a NO PAD collation of latin1 */
}

static void what_has_no_character_stays_visible(void **state) {
  (void)state;
  converts(13, "a\xFF z", 4, "a\xFF z");
  converts(35, "\x65", 1, "\xFF");
  converts(54, "\xD8\x00\x00\x41", 4,
           "\xFF"
           "A");
  assert_null(pe_charset_open(0));
  assert_null(pe_charset_open(4000));
  assert_null(pe_charset_open(92)); /* geostd8: iconv has none */
  assert_true(pe_charset_passes(63) && pe_charset_passes(255) && pe_charset_passes(2304));
  assert_false(pe_charset_passes(8));
  assert_string_equal(pe_charset_of_collation(1032), "latin1");
}

/* ---- rows ---- */

static struct pe_table *wide_table(uint32_t ncolumns, struct pe_binlog_map *m, struct pe_arena *a) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = pe_table_create("d", "t");
  m->ncolumns = ncolumns;
  m->columns = pe_arena_zalloc(a, ncolumns * sizeof(*m->columns), 8);
  for (uint32_t i = 0; i < ncolumns; i++) {
    char name[16];
    snprintf(name, sizeof(name), "c%u", i);
    struct pe_column *c = pe_table_add(t, name);
    c->nullable = true;
    c->ctype = i % 2 ? PE_C_BYTES : PE_C_U32;
    m->columns[i].type = i % 2 ? PE_MT_VARCHAR : PE_MT_LONG;
    m->columns[i].nullable = true;
    m->columns[i].length = m->columns[i].meta = i % 2 ? 20 : 0;
  }
  struct pe_column *extra = pe_table_add_extra(t, "extra");
  extra->ctype = PE_C_I64;
  assert_int_equal(pe_table_finish(t, &err), 0);
  return t;
}

static void rows_of_500_columns(void **state) {
  (void)state;
  enum { COLUMNS = 500 };
  struct pe_arena a;
  struct pe_binlog_map m = {0};
  struct pe_err err = PE_ERR_INIT;
  struct pe_decode_plan *plan;
  uint8_t image[4096], *at = image;
  pe_arena_init(&a, 0);
  struct pe_table *t = wide_table(COLUMNS, &m, &a);
  assert_int_equal(pe_binlog_schema_check(t, &m, &err), 0);
  assert_int_equal(pe_decode_plan_create(t, &m, &plan, &err), 0);
  memset(at, 0, (COLUMNS + 7) / 8);
  image[499 / 8] |= 1 << (499 % 8) | 0xF0; /* the last one NULL, and bits behind it set */
  at += (COLUMNS + 7) / 8;
  for (uint32_t i = 0; i < COLUMNS - 1; i++) {
    if (i % 2) {
      *at++ = 1;
      *at++ = (uint8_t)i;
    } else {
      memcpy(at, &i, 4);
      at += 4;
    }
  }
  size_t n = (size_t)(at - image);
  uint8_t *copy = malloc(n + plan->pad_bytes);
  memcpy(copy, image, n);
  memset(copy + n, 0, plan->pad_bytes);
  uint8_t *row = calloc(1, t->row_bytes);
  const uint8_t *p = copy;
  assert_int_equal(pe_decode_row(plan, &p, copy + n, row, &a), 0);
  assert_ptr_equal(p, copy + n);
  for (uint32_t i = 0; i < COLUMNS - 1; i++) {
    assert_false(pe_row_null(row, i));
    if (i % 2 == 0) {
      assert_int_equal(pe_le32(row + t->columns[i].offset), i);
    }
  }
  assert_true(pe_row_null(row, 499));
  assert_true(pe_row_null(row, 500)); /* the extra */
  assert_ptr_equal(pe_decode_skip(plan, copy, copy + n), copy + n);
  for (size_t cut = 0; cut < n; cut++) {
    uint8_t *less = malloc(cut + plan->pad_bytes);
    memcpy(less, image, cut);
    memset(less + cut, 0xFF, plan->pad_bytes);
    p = less;
    memset(row, 0, t->row_bytes);
    assert_int_equal(pe_decode_row(plan, &p, less + cut, row, &a), PE_ESOURCE_PROTO);
    assert_null(pe_decode_skip(plan, less, less + cut));
    free(less);
  }
  free(copy);
  free(row);
  pe_decode_plan_destroy(plan);
  pe_table_unref(t);
  pe_arena_close(&a);
}

static int step_rc(const struct pe_column *c, uint8_t type, uint16_t meta, uint32_t length) {
  struct pe_map_column mc = {.type = type, .meta = meta, .length = length, .nullable = true};
  struct pe_decode_step s;
  struct pe_err err = PE_ERR_INIT;
  return pe_binlog_schema_step(c, &mc, &s, &err);
}

static void columns_of_another_type_are_noticed(void **state) {
  (void)state;
  struct pe_column i = {.name = "i", .ctype = PE_C_I32, .mysql_type = PE_MT_LONG};
  assert_int_equal(step_rc(&i, PE_MT_LONG, 0, 0), 0);
  assert_int_equal(step_rc(&i, PE_MT_INT24, 0, 0), PE_ESOURCE_SCHEMA);
  assert_int_equal(step_rc(&i, PE_MT_LONGLONG, 0, 0), PE_ESOURCE_SCHEMA);
  assert_int_equal(step_rc(&i, PE_MT_FLOAT, 4, 0), PE_ESOURCE_SCHEMA);
  struct pe_column d = {.name = "d", .ctype = PE_C_DEC64, .precision = 10, .scale = 2};
  assert_int_equal(step_rc(&d, PE_MT_NEWDECIMAL, 10 << 8 | 2, 0), 0);
  assert_int_equal(step_rc(&d, PE_MT_NEWDECIMAL, 12 << 8 | 2, 0), PE_ESOURCE_SCHEMA);
  struct pe_column t = {
      .name = "t", .ctype = PE_C_DATETIME, .scale = 3, .mysql_type = PE_MT_DATETIME2};
  assert_int_equal(step_rc(&t, PE_MT_DATETIME2, 3, 0), 0);
  assert_int_equal(step_rc(&t, PE_MT_DATETIME2, 6, 0), PE_ESOURCE_SCHEMA);
  assert_int_equal(step_rc(&t, PE_MT_DATETIME2, 7, 0), PE_ESOURCE_SCHEMA);
  assert_int_equal(step_rc(&t, PE_MT_TIMESTAMP2, 3, 0), PE_ESOURCE_SCHEMA);
  struct pe_column s = {.name = "s", .ctype = PE_C_STR, .mysql_type = PE_MT_BLOB};
  assert_int_equal(step_rc(&s, PE_MT_BLOB, 2, 0), 0);
  assert_int_equal(step_rc(&s, PE_MT_BLOB, 5, 0), PE_ESOURCE_SCHEMA);
  assert_int_equal(step_rc(&s, PE_MT_MARIA_BLOB_COMPRESSED, 2, 0), PE_ESOURCE_SETTING);
  struct pe_column b = {.name = "b", .ctype = PE_C_BIT};
  assert_int_equal(step_rc(&b, PE_MT_BIT, 0x0008, 64), 0);
  assert_int_equal(step_rc(&b, PE_MT_BIT, 0, 0), PE_ESOURCE_SCHEMA);
  assert_int_equal(step_rc(&b, PE_MT_BIT, 0, 65), PE_ESOURCE_SCHEMA);
}

static void a_new_version_keeps_what_the_pipeline_added(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *old = pe_table_create("d", "t"), *loaded = pe_table_create("d", "t");
  old->id = 7;
  pe_table_add(old, "id")->pk_ordinal = 1;
  struct pe_column *mail = pe_table_add(old, "mail");
  mail->ctype = PE_C_STR;
  mail->pii = true;
  pe_table_add(old, "gone")->excluded = true;
  pe_table_add_extra(old, "region")->ctype = PE_C_U16;
  pe_table_add_extra(old, "now_real")->ctype = PE_C_U16;
  assert_int_equal(pe_table_finish(old, &err), 0);
  pe_table_add(loaded, "mail")->ctype = PE_C_STR;
  pe_table_add(loaded, "id")->pk_ordinal = 1;
  pe_table_add(loaded, "now_real")->ctype = PE_C_I64;
  assert_int_equal(pe_table_finish(loaded, &err), 0);
  struct pe_table *t = pe_binlog_schema_adopt(old, loaded, &err);
  assert_non_null(t);
  assert_int_equal(t->id, 7);
  assert_int_equal(t->nsource, 3);
  assert_int_equal(t->ncolumns, 4);
  assert_true(t->columns[0].pii);
  assert_string_equal(t->columns[3].name, "region");
  assert_true(t->columns[3].is_extra && t->columns[3].ctype == PE_C_U16);
  assert_false(t->columns[2].is_extra);
  assert_int_equal(t->pk[0], 1);
  assert_int_equal(t->schema_hash, loaded->schema_hash);
  pe_table_unref(t);
  pe_table_unref(old);
  pe_table_unref(loaded);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decimals_keep_every_digit),
      cmocka_unit_test(impossible_decimals_are_refused),
      cmocka_unit_test(days_agree_with_the_calendar),
      cmocka_unit_test(times_keep_their_sign_and_fraction),
      cmocka_unit_test(json_reads_as_the_server_prints_it),
      cmocka_unit_test(forged_json_is_refused),
      cmocka_unit_test(text_becomes_utf8),
      cmocka_unit_test(what_has_no_character_stays_visible),
      cmocka_unit_test(rows_of_500_columns),
      cmocka_unit_test(columns_of_another_type_are_noticed),
      cmocka_unit_test(a_new_version_keeps_what_the_pipeline_added),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
