/* Rows into blocks: the very bytes, what is checked, partitions, slices, and plans that can't be
 * made. */
#include <stdio.h>

#include "sink_block_support.h"

static const struct fx_column small[] = {
    {"id", PE_C_U32, false, 0, 0, "int(10) unsigned", NULL, false, false},
    {"v", PE_C_I16, true, 0, 0, "smallint(6)", NULL, false, false},
    {"s", PE_C_STR, true, 0, 0, "varchar(255)", NULL, false, false},
    {"at", PE_C_DATETIME, false, 0, 3, "datetime(3)", NULL, false, false},
    {"hidden", PE_C_STR, false, 0, 0, "text", NULL, false, true},
};
static const char small_target[] =
    "at\tDateTime64(3, \\'UTC\\')\t\t1\t1\nid\tUInt32\t\t1\t0\nv\tNullable(Int32)\t\t0\t0\n"
    "s\tLowCardinality(String)\t\t0\t0\n_deleted\tUInt8\t\t0\t0\n_version\tUInt64\t\t0\t0\n";

static void fill_small(struct fx *f) {
  uint8_t *row = fx_row(f);
  FX_SET(f, row, 0, uint32_t, 7);
  FX_SET(f, row, 1, int16_t, -2);
  FX_SET(f, row, 3, int64_t, 1000000);
  fx_str(f, row, 2, "ab", 2);
  row = fx_row(f);
  FX_SET(f, row, 0, uint32_t, 258);
  FX_SET(f, row, 1, int16_t, 99); /* must not show through the NULL */
  FX_SET(f, row, 3, int64_t, -1000);
  pe_row_set_null(row, 1);
  fx_str(f, row, 2, "", 0);
  f->outs[1].deleted = true;
}

static void the_bytes_of_a_block(void **state) {
  (void)state;
  static const char expected[] =
      "\x06\x02"
      "\x02"
      "at\x14"
      "DateTime64(3, 'UTC')\xe8\x03\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
      "\x02id\x06UInt32\x07\0\0\0\x02\x01\0\0"
      "\x01v\x0fNullable(Int32)\0\x01\xfe\xff\xff\xff\0\0\0\0"
      "\x01s\x06String\x02"
      "ab\0"
      "\x08_version\x06UInt64\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
      "\x08_deleted\x05UInt8\0\x01";
  struct fx f;
  struct pe_buf bytes;
  fx_open(&f, small, FX_COUNT(small), small_target, "", NULL);
  fill_small(&f);
  assert_string_equal(pe_plan_insert_columns(f.plan), "(`at`,`id`,`v`,`s`,`_version`,`_deleted`)");
  struct pe_block *b = fx_block(&f);
  fx_bytes(b, &bytes);
  assert_int_equal(bytes.len, sizeof(expected) - 1);
  assert_memory_equal(bytes.data, expected, bytes.len);
  assert_int_equal(pe_block_rows(b), 2);
  assert_int_equal(pe_block_version(b, 1), 2);
  assert_false(pe_block_deleted(b, 0));
  assert_true(pe_block_deleted(b, 1));
  pe_buf_close(&bytes);
  pe_block_clear(b);
  assert_int_equal(pe_block_rows(b), 0);
  uint32_t both[] = {0, 1};
  assert_int_equal(pe_block_append(b, f.outs, both, 2), 0);
  fx_bytes(b, &bytes);
  assert_memory_equal(bytes.data, expected, bytes.len);
  pe_buf_close(&bytes);
  pe_block_destroy(b);
  fx_close(&f);
}

static void slices_are_the_blocks_of_their_rows(void **state) {
  (void)state;
  struct fx f;
  fx_open(&f, small, FX_COUNT(small), small_target, "", NULL);
  for (uint32_t i = 0; i < 1000; i++) {
    char text[400];
    memset(text, 'a' + (int)(i % 26), sizeof(text));
    uint8_t *row = fx_row(&f);
    FX_SET(&f, row, 0, uint32_t, i);
    fx_str(&f, row, 2, text, i % sizeof(text));
    if (i % 3 == 0) {
      pe_row_set_null(row, 1);
    }
    f.outs[i].deleted = i % 5 == 0;
  }
  struct pe_block *all = fx_block(&f);
  static const uint32_t cuts[][2] = {{0, 1000}, {0, 1}, {999, 1}, {0, 500}, {500, 500}, {333, 3}};
  for (size_t k = 0; k < FX_COUNT(cuts); k++) {
    uint32_t from = cuts[k][0], n = cuts[k][1], idx[1000];
    struct pe_block *slice, *direct = pe_block_create(f.plan);
    for (uint32_t i = 0; i < n; i++) {
      idx[i] = from + i;
    }
    assert_int_equal(pe_block_append(direct, f.outs, idx, n), 0);
    assert_int_equal(pe_block_slice(all, from, n, &slice), 0);
    struct pe_buf a, b;
    fx_bytes(slice, &a);
    fx_bytes(direct, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    assert_int_equal(pe_block_rows(slice), n);
    assert_int_equal(pe_block_version(slice, n - 1), from + n);
    assert_int_equal(pe_block_deleted(slice, 0), from % 5 == 0);
    pe_buf_close(&a);
    pe_buf_close(&b);
    pe_block_destroy(slice);
    pe_block_destroy(direct);
  }
  pe_block_destroy(all);
  fx_close(&f);
}

static void a_cleared_block_keeps_little(void **state) {
  (void)state;
  struct fx f;
  fx_open(&f, small, FX_COUNT(small), small_target, "", NULL);
  char *text = calloc(1, 1 << 24);
  uint8_t *row = fx_row(&f);
  struct pe_str s = {.p = text, .len = 1 << 24};
  fx_set(&f, row, 2, &s, sizeof(s));
  struct pe_block *b = pe_block_create(f.plan);
  uint32_t idx[] = {0, 0, 0};
  assert_int_equal(pe_block_append(b, f.outs, idx, 3), 0);
  assert_true(pe_block_bytes(b) > 3 << 24);
  pe_block_clear(b);
  assert_true(pe_block_memory(b) < 1 << 20);
  s.len = 1 << 20;
  fx_set(&f, row, 2, &s, sizeof(s));
  assert_int_equal(pe_block_append(b, f.outs, idx, 1), 0);
  pe_block_clear(b);
  assert_true(pe_block_memory(b) > 1 << 20);
  pe_block_destroy(b);
  free(text);
  fx_close(&f);
}

static void an_append_that_fails_leaves_the_block_as_it_was(void **state) {
  (void)state;
  struct fx f;
  fx_open(&f, small, FX_COUNT(small), small_target, "", NULL);
  for (int i = 0; i < 602; i++) {
    fx_str(&f, fx_row(&f), 2, "abcdefgh", (size_t)i % 9);
  }
  struct pe_str huge = {.p = "", .len = UINT32_MAX}; /* refused before a byte of it is read */
  fx_set(&f, (uint8_t *)(uintptr_t)f.outs[600].row, 2, &huge, sizeof(huge));
  fx_set(&f, (uint8_t *)(uintptr_t)f.outs[601].row, 2, &huge, sizeof(huge));
  uint32_t idx[602];
  for (uint32_t i = 0; i < 602; i++) {
    idx[i] = i;
  }
  struct pe_block *b = pe_block_create(f.plan);
  struct pe_buf before, after;
  assert_int_equal(pe_block_append(b, f.outs, idx, 300), 0);
  fx_bytes(b, &before);
  assert_int_equal(pe_block_append(b, f.outs, idx + 10, 592), PE_ENOMEM);
  fx_bytes(b, &after);
  assert_int_equal(pe_block_rows(b), 300);
  assert_int_equal(after.len, before.len);
  assert_memory_equal(after.data, before.data, after.len);
  assert_int_equal(pe_block_append(b, f.outs, idx, 1), 0);
  assert_int_equal(pe_block_rows(b), 301);
  assert_int_equal(pe_block_version(b, 300), 1);
  pe_buf_close(&before);
  pe_buf_close(&after);
  pe_block_destroy(b);
  fx_close(&f);
}

/* One source column `v` against one target type: which of the values are refused. */
struct values {
  struct fx_column from;
  const char *to;
  struct pe_plan_opts opts;
  int n;
  int64_t v[12];
  const char *refused; /* one character a value: '.' goes in, 'x' doesn't, 'n' a NULL goes in */
  bool narrow_dates;
};

#define SPECIAL_DATE (PE_DATE_SPECIAL_BASE + (2024 << 9 | 0 << 5 | 17))
#define SPECIAL_DATETIME (PE_DATETIME_SPECIAL_BASE)
#define US INT64_C(1000000)

static const struct pe_plan_opts narrow = {.narrow_ok = true};
static const struct values checks[] = {
#define COL(ctype, scale) \
  { "v", ctype, true, 0, scale, NULL, NULL, false, false }
#define DEC(ctype, precision, scale) \
  { "v", ctype, true, precision, scale, NULL, NULL, false, false }
    {COL(PE_C_I8, 0), "Int8", {0}, 2, {INT8_MIN, INT8_MAX}, "..", 0},
    {COL(PE_C_I8, 0), "UInt8", {0}, 4, {INT8_MIN, -1, 0, INT8_MAX}, "xx..", 0},
    {COL(PE_C_I8, 0), "UInt64", {0}, 3, {-1, 0, INT8_MAX}, "x..", 0},
    {COL(PE_C_I8, 0), "UInt128", {0}, 3, {-1, 0, INT8_MAX}, "x..", 0},
    {COL(PE_C_I8, 0), "Bool", {0}, 4, {-1, 0, 1, 2}, "x..x", 0},
    {COL(PE_C_U32, 0), "UInt16", {PE_ZERO_DLQ, true}, 4, {0, 65535, 65536, UINT32_MAX}, "..xx", 0},
    {COL(PE_C_U32, 0), "Int32", {PE_ZERO_DLQ, true}, 3, {0, INT32_MAX, UINT32_MAX}, "..x", 0},
    {COL(PE_C_I64, 0),
     "Int16",
     {PE_ZERO_DLQ, true},
     4,
     {-32768, -32769, 32767, INT64_MAX},
     ".x.x",
     0},
    {COL(PE_C_I64, 0), "UInt64", {0}, 3, {INT64_MIN, 0, INT64_MAX}, "x..", 0},
    {COL(PE_C_U64, 0), "Int64", {PE_ZERO_DLQ, true}, 2, {INT64_MAX, -1}, ".x", 0},
    {COL(PE_C_U8, 0), "Decimal(4, 2)", {PE_ZERO_DLQ, true}, 3, {99, 100, 255}, ".xx", 0},
    {COL(PE_C_I8, 0), "Decimal(3, 0)", {0}, 2, {INT8_MIN, INT8_MAX}, "..", 0},
    {DEC(PE_C_DEC64, 10, 2),
     "Decimal(9, 2)",
     {PE_ZERO_DLQ, true},
     4,
     {999999999, 1000000000, -999999999, -1000000000},
     ".x.x",
     0},
    {DEC(PE_C_DEC64, 10, 2), "Decimal(9, 1)", {PE_ZERO_DLQ, true}, 3, {120, 125, -10}, ".x.", 0},
    {DEC(PE_C_DEC64, 5, 0), "UInt32", {0}, 3, {-1, 0, 99999}, "x..", 0},
    {COL(PE_C_DATE, 0),
     "Date",
     {0},
     6,
     {-1, 0, 65535, 65536, PE_DATE_SPECIAL_BASE, SPECIAL_DATE},
     "x..xxx",
     0},
    {COL(PE_C_DATE, 0),
     "Date32",
     {0},
     5,
     {-719528, -719529, 2932896, 2932897, PE_DATE_SPECIAL_BASE},
     ".x.xx",
     0},
    {COL(PE_C_DATE, 0), "Date32", {0}, 4, {-25567, -25568, 120529, 120530}, ".x.x", true},
    {COL(PE_C_DATE, 0), "Date", {PE_ZERO_EPOCH, false}, 3, {SPECIAL_DATE, -1, 1}, ".x.", 0},
    {COL(PE_C_DATE, 0), "Date", {PE_ZERO_NULL, false}, 2, {SPECIAL_DATE, 1}, "x.", 0},
    {COL(PE_C_DATE, 0), "Nullable(Date)", {PE_ZERO_NULL, false}, 2, {SPECIAL_DATE, 1}, "n.", 0},
    {COL(PE_C_DATETIME, 3),
     "DateTime64(3, \\'UTC\\')",
     {0},
     4,
     {-62167219200 * US, -62167219200 * US - 1000, 253402300800 * US - 1000, 253402300800 * US},
     ".x.x",
     0},
    {COL(PE_C_DATETIME, 3),
     "DateTime64(3, \\'UTC\\')",
     {0},
     5,
     {-2208988800 * US, -2208988800 * US - 1000, 10413792000 * US - 1000, 10413792000 * US,
      SPECIAL_DATETIME},
     ".x.xx",
     true},
    {COL(PE_C_DATETIME, 6), "DateTime64(3, \\'UTC\\')", {0}, 3, {-1, 1000, -1000}, "x..", 0},
    {COL(PE_C_DATETIME, 6), "DateTime", {0}, 4, {-1, 0, 999999, UINT32_MAX *US}, "x.x.", 0},
    {COL(PE_C_DATETIME, 0), "DateTime", {0}, 2, {UINT32_MAX * US, (UINT32_MAX + 1) * US}, "..", 0},
    {COL(PE_C_DATETIME, 6),
     "DateTime64(9, \\'UTC\\')",
     {0},
     4,
     {INT64_MAX / 1000, INT64_MAX / 1000 + 1, INT64_MIN / 1000, INT64_MIN / 1000 - 1},
     ".x.x",
     0},
    {COL(PE_C_DATETIME, 0),
     "Nullable(DateTime64(3, \\'UTC\\'))",
     {PE_ZERO_NULL, false},
     2,
     {SPECIAL_DATETIME, 0},
     "n.",
     0},
    {COL(PE_C_DATETIME, 0), "DateTime", {PE_ZERO_EPOCH, false}, 2, {SPECIAL_DATETIME, 0}, "..", 0},
    {COL(PE_C_SET, 0), "String", {0}, 2, {0, 1}, ".x", 0},
    {COL(PE_C_ENUM, 0), "String", {0}, 2, {0, 1}, ".x", 0},
};

static void one_check(const struct values *t) {
  struct fx f;
  char target[200];
  snprintf(target, sizeof(target), "v\t%s\t\t0\t0\n_version\tUInt64\t\t0\t0\n", t->to);
  memset(&f, 0, sizeof(f));
  pe_arena_init(&f.arena, 0);
  f.layout = fx_layout(&t->from, 1);
  f.target = fx_target(target, "");
  f.target->wide_dates = !t->narrow_dates;
  f.dest = (struct pe_dest){.name = f.target->name, .layout = f.layout};
  struct pe_err err = PE_ERR_INIT;
  if (pe_plan_create(&f.dest, f.target, &t->opts, &f.plan, &err)) {
    fail_msg("%s to %s: %s", pe_ctype_name(t->from.ctype), t->to, err.text);
  }
  for (int i = 0; i < t->n; i++) {
    fx_set(&f, fx_row(&f), 0, &t->v[i], pe_ctype_bytes(t->from.ctype));
  }
  uint32_t bad[12], idx[12], good = 0;
  const char *why[12];
  size_t nbad = pe_plan_check(f.plan, f.outs, f.nouts, bad, why), expected = 0;
  for (int i = 0; i < t->n; i++) {
    bool refused = t->refused[i] == 'x';
    expected += refused;
    if ((bad[i] != 0) != refused) {
      fail_msg("%s to %s: value %d: %s", pe_ctype_name(t->from.ctype), t->to, i,
               bad[i] ? why[i] : "went in");
    }
    if (bad[i]) {
      assert_int_equal(bad[i], 1);
    } else {
      idx[good++] = (uint32_t)i;
    }
  }
  assert_int_equal(nbad, expected);
  struct pe_block *b = pe_block_create(f.plan);
  assert_int_equal(pe_block_append(b, f.outs, idx, good), 0);
  const struct pe_iov *iov;
  size_t niov;
  assert_int_equal(pe_block_iov(b, &iov, &niov), 0);
  if (f.target->columns[0].nullable && good) { /* head, name, NULL map */
    for (uint32_t i = 0; i < good; i++) {
      assert_int_equal(((const uint8_t *)iov[2].p)[i], t->refused[idx[i]] == 'n');
    }
  }
  pe_block_destroy(b);
  fx_close(&f);
}

static void what_does_not_fit_is_marked(void **state) {
  (void)state;
  for (size_t i = 0; i < FX_COUNT(checks); i++) {
    one_check(&checks[i]);
  }
}

static void nulls_and_tombstones_are_marked(void **state) {
  (void)state;
  static struct fx_column many[70];
  static char names[70][8], target[70 * 40];
  char *at = target;
  for (int i = 0; i < 70; i++) {
    snprintf(names[i], sizeof(names[i]), "c%d", i);
    many[i] =
        (struct fx_column){names[i], PE_C_U8, true, 0, 0, "tinyint unsigned", NULL, false, false};
    at += sprintf(at, "%s\t%s\t\t0\t0\n", names[i], i == 3 ? "Nullable(UInt8)" : "UInt8");
  }
  struct fx f;
  fx_open(&f, many, 70, target, "", NULL);
  pe_row_set_null(fx_row(&f), 3);
  pe_row_set_null(fx_row(&f), 0);
  pe_row_set_null(fx_row(&f), 69);
  fx_row(&f);
  f.outs[3].deleted = true;
  uint32_t bad[4];
  const char *why[4];
  assert_int_equal(pe_plan_check(f.plan, f.outs, 4, bad, why), 3);
  assert_int_equal(bad[0], 0);
  assert_int_equal(bad[1], 1);
  assert_int_equal(bad[2], 70);
  assert_string_equal(why[2], "NULL in a column that is not Nullable");
  assert_int_equal(bad[3], 1);
  assert_non_null(strstr(why[3], "tombstone"));
  fx_close(&f);
}

static void strings_that_do_not_fit(void **state) {
  (void)state;
  static const struct fx_column cols[] = {
      {"f", PE_C_STR, true, 0, 0, "char(2)", NULL, false, false},
      {"u", PE_C_STR, true, 0, 0, "char(36)", NULL, false, false},
      {"b", PE_C_BYTES, true, 0, 0, "binary(16)", NULL, false, false},
      {"d", PE_C_F64, true, 0, 0, "double", NULL, false, false}};
  struct fx f;
  fx_open(&f, cols, 4,
          "f\tNullable(FixedString(2))\t\t0\t0\nu\tNullable(UUID)\t\t0\t0\n"
          "b\tNullable(UUID)\t\t0\t0\nd\tNullable(Float32)\t\t0\t0\n",
          "", &narrow);
  static const char uuid[] = "00112233-4455-6677-8899-aAbBcCdDeEfF";
  for (int i = 0; i < 6; i++) {
    uint8_t *row = fx_row(&f);
    fx_str(&f, row, 0, "abc", i == 1 ? 1 : 2);
    fx_str(&f, row, 1, i == 2 ? "00112233-4455-6677-8899-aabbccddeefg" : uuid, i == 3 ? 35 : 36);
    fx_str(&f, row, 2, "0123456789abcdef", i == 4 ? 15 : 16);
    FX_SET(&f, row, 3, double, i == 5 ? 0.1 : 0.5);
  }
  uint8_t *row = fx_row(&f); /* NULLs are not looked at */
  for (uint32_t i = 0; i < 4; i++) {
    pe_row_set_null(row, i);
  }
  uint32_t bad[7], good[] = {0, 6};
  const char *why[7];
  assert_int_equal(pe_plan_check(f.plan, f.outs, 7, bad, why), 5);
  static const uint32_t expected[] = {0, 1, 2, 2, 3, 4, 0};
  assert_memory_equal(bad, expected, sizeof(expected));
  struct pe_block *b = pe_block_create(f.plan);
  struct pe_buf bytes;
  assert_int_equal(pe_block_append(b, f.outs, good, 2), 0);
  fx_bytes(b, &bytes);
  assert_non_null(memmem(bytes.data, bytes.len,
                         "\0\1\x77\x66\x55\x44\x33\x22\x11\x00\xff\xee\xdd\xcc\xbb\xaa\x99\x88",
                         18));
  assert_non_null(memmem(bytes.data, bytes.len,
                         "\0\1"
                         "76543210fedcba98",
                         18));
  pe_buf_close(&bytes);
  pe_block_destroy(b);
  fx_close(&f);
}

static void enum_and_set_texts(void **state) {
  (void)state;
  static char long_name[200];
  memset(long_name, 'x', 199);
  static const char *members[] = {"one", long_name, NULL};
  static const struct fx_column cols[] = {
      {"e", PE_C_ENUM, false, 0, 0, "enum", members, false, false},
      {"t", PE_C_SET, false, 0, 0, "set", members, false, false}};
  struct fx f;
  fx_open(&f, cols, 2, "e\tEnum8(\\'a\\' = 1)\t\t0\t0\nt\tString\t\t0\t0\n", "", NULL);
  for (uint16_t i = 0; i < 4; i++) {
    uint8_t *row = fx_row(&f);
    FX_SET(&f, row, 0, uint16_t, i);
    FX_SET(&f, row, 1, uint64_t, i);
  }
  uint32_t bad[4], idx[] = {0, 1, 2};
  const char *why[4];
  assert_int_equal(pe_plan_check(f.plan, f.outs, 4, bad, why), 1);
  assert_int_equal(bad[3], 1);
  struct pe_block *b = pe_block_create(f.plan);
  struct pe_buf bytes;
  assert_int_equal(pe_block_append(b, f.outs, idx, 3), 0);
  fx_bytes(b, &bytes);
  assert_non_null(memmem(bytes.data, bytes.len, "\1e\6String\0\3one\xc7\1xxx", 18));
  assert_non_null(memmem(bytes.data, bytes.len, "\1t\6String\0\3one\xc7\1xxx", 18));
  assert_int_equal(bytes.len, 2 + 2 * (2 + 7 + 1 + 4 + 201));
  pe_buf_close(&bytes);
  pe_block_destroy(b);
  fx_close(&f);
}

static void plan_fails(const struct fx_column *cols, size_t n, const char *target,
                       const char *const *texts) {
  struct pe_table *layout = fx_layout(cols, n);
  struct pe_target *t = fx_target(target, "");
  struct pe_dest dest = {.name = t->name, .layout = layout};
  struct pe_plan_opts o = {0};
  struct pe_plan *p = NULL;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_plan_create(&dest, t, &o, &p, &err), PE_ESINK_SCHEMA);
  assert_int_equal(err.cls, PE_CLASS_FATAL);
  for (; *texts; texts++) {
    if (!strstr(err.text, *texts)) {
      fail_msg("no \"%s\" in: %s", *texts, err.text);
    }
  }
  pe_target_destroy(t);
  pe_table_unref(layout);
}

static void plans_that_cannot_be_made(void **state) {
  (void)state;
  static const struct fx_column cols[] = {
      {"id", PE_C_U32, false, 0, 0, "int(10) unsigned", NULL, false, false},
      {"gone", PE_C_DATETIME, false, 0, 3, "datetime(3)", NULL, false, false},
      {"f", PE_C_F64, true, 0, 0, "double", NULL, false, false},
      {"m", PE_C_U8, false, 0, 0, "tinyint unsigned", NULL, false, false},
      {"hidden", PE_C_STR, false, 0, 0, "text", NULL, false, true}};
  const char *all[] = {
      "dst.t does not take the rows of t (5 problems)",
      "column id (int(10) unsigned) has values that do not fit UInt16: ALTER TABLE `dst`.`t` "
      "MODIFY COLUMN `id` UInt32 (it is part of a key",
      "column f (double) can't be converted to Date: ALTER TABLE `dst`.`t` MODIFY COLUMN `f` "
      "Nullable(Float64)",
      "column alone of the target has no DEFAULT and nothing fills it: ALTER TABLE `dst`.`t` "
      "MODIFY COLUMN `alone` UInt8 DEFAULT defaultValueOfTypeName('UInt8')",
      "column m of the target is computed by ClickHouse",
      "column gone is not in the target: ALTER TABLE `dst`.`t` ADD COLUMN `gone` "
      "Nullable(DateTime64(3, 'UTC'))",
      NULL};
  plan_fails(cols, FX_COUNT(cols),
             "id\tUInt16\t\t1\t0\nf\tDate\t\t0\t0\nalone\tUInt8\t\t0\t0\n"
             "fine\tUInt8\tDEFAULT\t0\t0\nalso_fine\tNullable(UInt8)\t\t0\t0\n"
             "m\tUInt8\tMATERIALIZED\t0\t0\nhidden\tString\tDEFAULT\t0\t0\n",
             all);
  const char *meta[] = {"column _version must be UInt64, not Int64", NULL};
  plan_fails(cols, 1, "id\tUInt32\t\t1\t0\n_version\tInt64\t\t0\t0\n", meta);
  static const struct fx_column own[] = {
      {"_version", PE_C_U64, false, 0, 0, "bigint unsigned", NULL, false, false}};
  const char *taken[] = {"column _version of the source has a name that the engine needs", NULL};
  plan_fails(own, 1, "_version\tUInt64\t\t0\t0\n", taken);
  const char *wide[] = {"has values that do not fit Decimal(9, 2)", NULL};
  static const struct fx_column dec[] = {
      {"d", PE_C_DEC64, false, 10, 2, "decimal(10,2)", NULL, false, false}};
  plan_fails(dec, 1, "d\tDecimal(9, 2)\t\t0\t0\n", wide);
}

static const struct fx_column part_cols[] = {
    {"d", PE_C_DATE, true, 0, 0, "date", NULL, false, false},
    {"t", PE_C_DATETIME, true, 0, 0, "datetime", NULL, false, false},
    {"i", PE_C_I32, true, 0, 0, "int", NULL, false, false},
    {"s", PE_C_STR, true, 0, 0, "text", NULL, false, false}};

static void numbers(const char *expr, uint64_t *out, size_t rows) {
  struct fx f;
  struct pe_plan_opts o = {.zero_date = PE_ZERO_NULL};
  fx_open(&f, part_cols, 4,
          "d\tNullable(Date32)\t\t0\t0\nt\tNullable(DateTime64(0, \\'UTC\\'))\t\t0\t0\n"
          "i\tNullable(Int32)\t\t0\t0\ns\tNullable(String)\t\t0\t0\n_version\tUInt64\t\t0\t0\n",
          expr, &o);
  for (size_t i = 0; i < rows; i++) {
    uint8_t *row = fx_row(&f);
    FX_SET(&f, row, 0, int32_t, (int32_t)i * 400 - 1000);
    FX_SET(&f, row, 1, int64_t, ((int64_t)i * 400 - 1000) * 86400 * US - (i > 3));
    FX_SET(&f, row, 2, int32_t, (int32_t)i - 4);
    fx_str(&f, row, 3, "abcdefghijk", i % 5 + 4);
    if (i == 6) {
      for (uint32_t k = 0; k < 4; k++) {
        pe_row_set_null(row, k);
      }
    }
    if (i == 7) {
      FX_SET(&f, row, 0, int32_t, PE_DATE_SPECIAL_BASE);
      FX_SET(&f, row, 1, int64_t, PE_DATETIME_SPECIAL_BASE);
    }
  }
  pe_plan_partition(f.plan, f.outs, rows, out);
  fx_close(&f);
}

static void partition_numbers(void **state) {
  (void)state;
  uint64_t n[10];
  numbers("", n, 10);
  assert_int_equal(n[0], n[9]);
  numbers("toYYYYMM(d)", n, 10);
  assert_int_equal(n[0], 196704); /* 1967-04-07 */
  assert_int_equal(n[3], 197007); /* 1970-07-20 */
  assert_int_equal(n[6], n[7]);   /* NULL, and a zero date that goes out as NULL */
  assert_int_not_equal(n[6], n[5]);
  numbers("toYYYYMMDD(t)", n, 10);
  assert_int_equal(n[0], 19670407);
  assert_int_equal(n[4], 19710823); /* a microsecond before the 24th */
  numbers("toMonday(d)", n, 10);
  assert_int_equal((int64_t)n[0], (-1000 + 3 - 4) / 7); /* 1967-04-07 was a Friday */
  numbers("toYear(t)", n, 10);
  assert_int_equal(n[9], 1977);
  numbers("toDate(t)", n, 10);
  assert_int_equal(n[4], 599);
  numbers("i % 3", n, 10);
  assert_int_equal((int64_t)n[0], -1);
  assert_int_equal(n[5], 1);
  numbers("intDiv(i, 3)", n, 10);
  assert_int_equal((int64_t)n[0], -1);
  assert_int_equal(n[2], 0);
  assert_int_equal(n[5], 0);
  numbers("i", n, 10);
  assert_int_equal((int64_t)n[0], -4);
  numbers("s", n, 10);
  assert_int_equal(n[0], n[5]);
  assert_int_not_equal(n[0], n[1]);
  assert_int_not_equal(n[4], n[3]);
  numbers("(toYear(d), i % 2)", n, 10); /* 1976 ^ 0 would be 1977 ^ 1 */
  for (int i = 0; i < 10; i++) {
    for (int k = 0; k < i; k++) {
      assert_int_not_equal(n[i], n[k]);
    }
  }
  numbers("(s, i % 5)", n, 10);
  assert_int_equal(n[4], n[9]);
  numbers("_version", n, 10);
  assert_int_equal(n[9], 10);
  numbers("cityHash64(s)", n, 10);
  assert_int_equal(n[0], n[9]);
}

static void an_extra_with_a_default_may_stay_empty(void **state) {
  (void)state;
  static const struct fx_column cols[] = {
      {"id", PE_C_U32, false, 0, 0, "int(10) unsigned", NULL, false, false},
      {"own", PE_C_U8, true, 0, 0, "tinyint unsigned", NULL, false, false},
      {"made", PE_C_U8, false, 0, 0, NULL, NULL, true, false}};
  struct fx f;
  fx_open(&f, cols, 3,
          "id\tUInt32\t\t1\t0\nmade\tUInt8\tDEFAULT\t0\t0\nown\tUInt8\tDEFAULT\t0\t0\n", "", NULL);
  pe_row_set_null(fx_row(&f), 2);
  pe_row_set_null(fx_row(&f), 1);
  assert_string_equal(pe_plan_insert_columns(f.plan),
                      "(`id`,`made`,`own`) SETTINGS input_format_null_as_default = 1");
  uint32_t bad[2], idx[] = {0};
  const char *why[2];
  assert_int_equal(pe_plan_check(f.plan, f.outs, 2, bad, why), 1);
  assert_int_equal(bad[1], 2);
  struct pe_block *b = pe_block_create(f.plan);
  struct pe_buf bytes;
  assert_int_equal(pe_block_append(b, f.outs, idx, 1), 0);
  fx_bytes(b, &bytes);
  assert_non_null(memmem(bytes.data, bytes.len, "\4made\x0fNullable(UInt8)\1\0\3own\5UInt8\0", 34));
  pe_buf_close(&bytes);
  pe_block_destroy(b);
  fx_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_bytes_of_a_block),
      cmocka_unit_test(slices_are_the_blocks_of_their_rows),
      cmocka_unit_test(an_append_that_fails_leaves_the_block_as_it_was),
      cmocka_unit_test(a_cleared_block_keeps_little),
      cmocka_unit_test(what_does_not_fit_is_marked),
      cmocka_unit_test(nulls_and_tombstones_are_marked),
      cmocka_unit_test(strings_that_do_not_fit),
      cmocka_unit_test(enum_and_set_texts),
      cmocka_unit_test(plans_that_cannot_be_made),
      cmocka_unit_test(partition_numbers),
      cmocka_unit_test(an_extra_with_a_default_may_stay_empty),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
