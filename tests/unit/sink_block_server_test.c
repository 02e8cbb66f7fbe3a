/* Blocks against a real ClickHouse: what goes in comes out again as the same text, for every type
 * and its edges; partitions are where the engine says; the table made for a source takes its rows.
 * Skipped unless PIPE_ENGINE_TEST_CLICKHOUSE_URL names a server (http://127.0.0.1:8123), where it
 * makes and drops the database pe_block_test. */
#include <inttypes.h>
#include <stdio.h>

#include "sink/clickhouse.h"
#include "sink_block_support.h"

#define DB "pe_block_test"
enum { VALUES_MAX = 16, TARGETS_MAX = 12 };

static struct pe_ch *ch;

static void run(const char *sql) {
  struct pe_err err = PE_ERR_INIT;
  if (pe_ch_exec(ch, sql, NULL, NULL, &err)) {
    fail_msg("%s: %s", sql, err.text);
  }
}

static void ask(const char *sql, struct pe_buf *out) {
  struct pe_err err = PE_ERR_INIT;
  pe_buf_init(out);
  if (pe_ch_exec(ch, sql, "output_format_decimal_trailing_zeros=1", out, &err)) {
    fail_msg("%s: %s", sql, err.text);
  }
}

static int connect_server(void **state) {
  (void)state;
  const char *url = getenv("PIPE_ENGINE_TEST_CLICKHOUSE_URL");
  struct pe_ch_opts o;
  struct pe_err err = PE_ERR_INIT;
  if (!url || !*url) {
    return 0;
  }
  if (pe_ch_parse_url(url, &o, &err) || pe_ch_create(NULL, &o, &ch, &err)) {
    print_error("%s\n", err.text);
    return -1;
  }
  run("DROP DATABASE IF EXISTS " DB);
  run("CREATE DATABASE " DB);
  return 0;
}

static int disconnect_server(void **state) {
  (void)state;
  if (ch) {
    run("DROP DATABASE " DB);
    pe_ch_destroy(ch);
  }
  return 0;
}

static void need_server(void) {
  if (!ch) {
    print_message("no PIPE_ENGINE_TEST_CLICKHOUSE_URL\n");
    skip();
  }
}

static void insert(struct fx *f, struct pe_block *b) {
  struct pe_buf sql, body;
  struct pe_err err = PE_ERR_INIT;
  pe_buf_init(&sql);
  pe_buf_printf(&sql, "INSERT INTO " DB ".t %s FORMAT Native", pe_plan_insert_columns(f->plan));
  fx_bytes(b, &body);
  if (pe_ch_insert_body(ch, pe_buf_cstr(&sql), NULL, body.data, body.len, &err)) {
    fail_msg("%s: %s", f->target->columns[1].type_text, err.text);
  }
  pe_buf_close(&sql);
  pe_buf_close(&body);
}

static void load_plan(struct fx *f, const struct pe_plan_opts *o) {
  struct pe_err err = PE_ERR_INIT;
  if (pe_target_load(ch, DB, "t", &f->target, &err) != 1) {
    fail_msg("%s", err.text);
  }
  f->dest = (struct pe_dest){.name = f->target->name, .layout = f->layout};
  if (pe_plan_create(&f->dest, f->target, o, &f->plan, &err)) {
    fail_msg("%s", err.text);
  }
}

struct value {
  int64_t i;
  const char *s;
  uint64_t w[4];
  double d;
};

struct pair {
  struct fx_column from;
  const char *to[TARGETS_MAX]; /* "" is the default type */
  struct value v[VALUES_MAX];
  int n;
};

#define I(x) \
  { .i = (x) }
#define D(x) \
  { .d = (x) }
#define S(x) \
  { .s = (x) }
#define W(a, b, c, e)   \
  {                     \
    .w = { a, b, c, e } \
  }
#define COL(ctype, precision, scale, type, members) \
  { "v", ctype, true, precision, scale, type, members, false, false }

static const char *const members[] = {"a", "b c", "d'e\\", "\xc3\xa4", NULL};
#define MS INT64_C(1000)
#define SEC INT64_C(1000000)
#define DAY (86400 * SEC)
#define ALL (~UINT64_C(0))

static const struct pair pairs[] = {
    {COL(PE_C_I8, 0, 0, "tinyint", NULL),
     {"", "Int16", "Int32", "Int64", "Int128", "Int256", "String", "UInt8", "UInt256", "Bool",
      "Decimal(5, 2)"},
     {I(0), I(1), I(-1), I(INT8_MIN), I(INT8_MAX)},
     5},
    {COL(PE_C_U8, 0, 0, "tinyint unsigned", NULL),
     {"", "UInt16", "UInt32", "UInt64", "UInt128", "UInt256", "Int16", "Int256", "String", "Int8"},
     {I(0), I(127), I(128), I(255)},
     4},
    {COL(PE_C_I16, 0, 0, "smallint", NULL),
     {"", "Int32", "Int64", "Int128", "String", "UInt16", "Decimal(38, 10)"},
     {I(0), I(INT16_MIN), I(INT16_MAX)},
     3},
    {COL(PE_C_U16, 0, 0, "smallint unsigned", NULL),
     {"", "UInt32", "UInt64", "UInt128", "Int32", "String"},
     {I(0), I(UINT16_MAX)},
     2},
    {COL(PE_C_I32, 0, 0, "int", NULL),
     {"", "Int64", "Int128", "Int256", "UInt32", "String", "Int8"},
     {I(0), I(INT32_MIN), I(INT32_MAX), I(-8388608), I(127)},
     5},
    {COL(PE_C_U32, 0, 0, "int unsigned", NULL),
     {"", "UInt64", "UInt128", "Int64", "UInt16", "String"},
     {I(0), I(UINT32_MAX), I(16777215), I(65535)},
     4},
    {COL(PE_C_I64, 0, 0, "bigint", NULL),
     {"", "Int128", "Int256", "UInt64", "String", "Decimal(76, 20)", "Int32"},
     {I(0), I(INT64_MIN), I(INT64_MAX), I(9007199254740993)},
     4},
    {COL(PE_C_U64, 0, 0, "bigint unsigned", NULL),
     {"", "UInt128", "UInt256", "Int128", "String", "Decimal(20, 0)"},
     {I(0), I(-1), I(INT64_MIN), I(9007199254740993)},
     4},
    {COL(PE_C_YEAR, 0, 0, "year", NULL), {"", "UInt32", "String"}, {I(0), I(1901), I(2155)}, 3},
    {COL(PE_C_BIT, 0, 0, "bit(64)", NULL), {"", "String"}, {I(0), I(-1), I(5)}, 3},
    {COL(PE_C_BIT, 0, 0, "bit(1)", NULL), {"", "UInt8", "Bool"}, {I(0), I(1)}, 2},
    {COL(PE_C_F32, 0, 0, "float", NULL),
     {"", "Float64"},
     {D(0), D(-0.0), D(0.5), D(1.5e30), D(-1e-40)},
     5},
    {COL(PE_C_F64, 0, 0, "double", NULL),
     {"", "Float32"},
     {D(0), D(0.1), D(1e308), D(-2.5), D(5e-324), D(1.0 / 3)},
     6},
    {COL(PE_C_DEC64, 4, 2, "decimal(4,2)", NULL),
     {"", "Decimal(9, 2)", "Decimal(18, 4)", "Decimal(38, 2)", "Decimal(76, 30)", "String"},
     {I(0), I(1), I(-1), I(9999), I(-9999), I(120)},
     6},
    {COL(PE_C_DEC64, 18, 9, "decimal(18,9)", NULL),
     {"", "Decimal(18, 5)", "Decimal(40, 20)", "Int64", "UInt8"},
     {I(0), I(999999999999999999), I(-999999999999999999), I(7000000000), I(7000010000)},
     5},
    {COL(PE_C_DEC128, 30, 10, "decimal(30,10)", NULL),
     {"", "Decimal(38, 12)", "Decimal(60, 30)", "Decimal(9, 0)", "String", "Int128"},
     {I(0), W(ALL, ALL, 0, 0), W(0x4674EDE9FFFFFFFF & ALL, 0xC, 0, 0), W(10000000000, 0, 0, 0),
      W((uint64_t)-10000000000, ALL, 0, 0)},
     5},
    {COL(PE_C_DEC256, 65, 30, "decimal(65,30)", NULL),
     {"", "Decimal(76, 40)", "Decimal(38, 30)", "String"},
     {I(0), W(ALL, ALL, ALL, ALL), W(1, 2, 3, 0), W(~UINT64_C(1), ~UINT64_C(2), ~UINT64_C(3), ALL),
      W(5, 0, 0, 0)},
     5},
    {COL(PE_C_DATE, 0, 0, "date", NULL),
     {"", "Date", "String"},
     {I(0), I(-719528), I(2932896), I(-25567), I(65535), I(65536), I(PE_DATE_SPECIAL_BASE),
      I(PE_DATE_SPECIAL_BASE + (2024 << 9 | 17))},
     8},
    {COL(PE_C_DATETIME, 0, 0, "datetime", NULL),
     {"", "DateTime64(3, 'UTC')", "DateTime64(6, 'UTC')", "DateTime64(9, 'UTC')", "DateTime('UTC')",
      "String"},
     {I(0), I(-62167219200 * SEC), I(253402300799 * SEC), I(1704067200 * SEC), I(-SEC),
      I(PE_DATETIME_SPECIAL_BASE), I(4294967295 * SEC), I(9223372036 * SEC)},
     8},
    {COL(PE_C_DATETIME, 0, 3, "datetime(3)", NULL),
     {"", "DateTime64(0, 'UTC')", "DateTime64(6, 'UTC')", "DateTime64(9, 'UTC')", "DateTime('UTC')",
      "DateTime64(4, 'UTC')", "DateTime64(1, 'UTC')"},
     {I(0), I(MS), I(-MS), I(1704067200 * SEC + 123 * MS), I(253402300800 * SEC - MS),
      I(-62167219200 * SEC + MS), I(100 * MS)},
     7},
    {COL(PE_C_DATETIME, 0, 6, "timestamp(6)", NULL),
     {"", "DateTime64(3, 'UTC')", "DateTime64(9, 'UTC')", "String", "DateTime64(5, 'UTC')",
      "DateTime64(2, 'UTC')"},
     {I(0), I(1), I(-1), I(253402300800 * SEC - 1), I(-62167219200 * SEC), I(1704067200123456),
      I(9223372036854775), I(-9223372036854775), I(10)},
     9},
    {COL(PE_C_TIME, 0, 6, "time(6)", NULL),
     {"", "Int64"},
     {I(0), I(1), I(-1), I(3020399999999), I(-3020399999999)},
     5},
    {COL(PE_C_ENUM, 0, 0, "enum", members),
     {"", "String", "Enum8('' = 0, 'a' = 1, 'b c' = 2, 'd\\'e\\\\' = 3, '\xc3\xa4' = 4)"},
     {I(0), I(1), I(2), I(3), I(4), I(5)},
     6},
    {COL(PE_C_SET, 0, 0, "set", members),
     {"", "LowCardinality(String)"},
     {I(0), I(1), I(15), I(16)},
     4},
    {COL(PE_C_STR, 0, 0, "text", NULL),
     {"", "LowCardinality(String)", "FixedString(5)", "UUID"},
     {S(""), S("abcde"), S("\xc3\xa4\tx"), S("\xff\xfe"), S("line\nend\\"),
      S("00112233-4455-6677-8899-aabbccddeeff")},
     6},
    {COL(PE_C_BYTES, 0, 0, "blob", NULL),
     {"", "FixedString(2)"},
     {S(""), S("\x01\xff"), S("abc")},
     3},
    {COL(PE_C_JSON, 0, 0, "json", NULL), {"", "JSON"}, {S("{\"a\":1}"), S("{}")}, 2},
};

/* The same spelling on both sides: no zeros behind the last digit of a fraction, floats as %.17g,
 * booleans as digits. */
static void normalize(const struct pair *p, const char *type, char *text) {
  if (p->from.ctype == PE_C_F32 || p->from.ctype == PE_C_F64) {
    double v = p->from.ctype == PE_C_F32 ? (double)strtof(text, NULL) : strtod(text, NULL);
    sprintf(text, "%.17g", v);
  } else if (p->from.ctype == PE_C_YEAR) {
    sprintf(text, "%ld", strtol(text, NULL, 10));
  } else if (strstr(type, "Bool")) {
    strcpy(text, text[0] == 't' || text[0] == '1' ? "1" : "0");
  } else if (p->from.ctype >= PE_C_DEC64 && p->from.ctype <= PE_C_DATETIME && strchr(text, '.')) {
    size_t n = strlen(text);
    while (text[n - 1] == '0') {
      text[--n] = 0;
    }
    if (text[n - 1] == '.') {
      text[n - 1] = 0;
    }
  }
}

static void set_value(struct fx *f, uint8_t *row, const struct pair *p, const struct value *v) {
  uint32_t bytes = pe_ctype_bytes(p->from.ctype);
  if (v->s) {
    fx_str(f, row, 1, v->s, strlen(v->s));
  } else if (p->from.ctype == PE_C_F32) {
    FX_SET(f, row, 1, float, (float)v->d);
  } else if (p->from.ctype == PE_C_F64) {
    FX_SET(f, row, 1, double, v->d);
  } else if (bytes > 8 && (v->w[0] | v->w[1] | v->w[2] | v->w[3])) {
    fx_set(f, row, 1, v->w, bytes);
  } else {
    fx_set(f, row, 1, &v->i, bytes > 8 ? 8 : bytes);
  }
}

/* What SELECT should give for a row, as hex, so that no escaping is in between. */
static void expected_hex(struct fx *f, const struct pair *p, const char *type, const uint8_t *row,
                         struct pe_buf *out) {
  const struct pe_column *c = &f->layout->columns[1];
  struct pe_buf text;
  pe_buf_init(&text);
  if (p->from.ctype == PE_C_BYTES) {
    pe_value_text(c, row, out);
    return;
  }
  if (p->from.ctype == PE_C_TIME && strstr(type, "Int64")) {
    int64_t v;
    memcpy(&v, row + c->offset, sizeof(v));
    pe_buf_printf(&text, "%" PRId64, v);
  } else {
    pe_value_text(c, row, &text);
  }
  char copy[400];
  snprintf(copy, sizeof(copy), "%.*s", (int)text.len, (char *)text.data);
  if (!strstr(type, "String")) {
    normalize(p, type, copy);
  }
  for (const char *s = copy; *s; s++) {
    pe_buf_printf(out, "%02x", (unsigned)(uint8_t)*s);
  }
  pe_buf_close(&text);
}

static void got_hex(const struct pair *p, const char *type, char *hex, struct pe_buf *out) {
  char text[400];
  size_t n = strlen(hex) / 2;
  assert_true(n < sizeof(text));
  for (size_t i = 0; i < n; i++) {
    unsigned byte;
    assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
    text[i] = (char)byte;
  }
  text[n] = 0;
  if (p->from.ctype != PE_C_BYTES && !strstr(type, "String")) {
    normalize(p, type, text);
    n = strlen(text);
  }
  for (size_t i = 0; i < n; i++) {
    pe_buf_printf(out, "%02x", (unsigned)(uint8_t)text[i]);
  }
}

static void compare(struct fx *f, const struct pair *p, const char *type, const uint32_t *good,
                    uint32_t ngood) {
  struct pe_buf answer;
  ask("SELECT i, lower(hex(toString(v))) FROM " DB ".t ORDER BY i FORMAT TabSeparated", &answer);
  char *line = (char *)(uintptr_t)pe_buf_cstr(&answer), *fields[2];
  for (uint32_t k = 0; k < ngood; k++) {
    const uint8_t *row = f->outs[good[k]].row;
    struct pe_buf want, got;
    pe_buf_init(&want);
    pe_buf_init(&got);
    assert_int_equal(pe_tsv_next(&line, fields, 2), 2);
    assert_int_equal(strtoul(fields[0], NULL, 10), good[k]);
    if (pe_row_null(row, 1)) {
      assert_null(fields[1]);
    } else {
      assert_non_null(fields[1]);
      expected_hex(f, p, type, row, &want);
      got_hex(p, type, fields[1], &got);
      if (strcmp(pe_buf_cstr(&want), pe_buf_cstr(&got)) != 0) {
        fail_msg("%s to %s, value %u: %s came back as %s", pe_ctype_name(p->from.ctype), type,
                 good[k], pe_buf_cstr(&want), pe_buf_cstr(&got));
      }
    }
    pe_buf_close(&want);
    pe_buf_close(&got);
  }
  assert_int_equal(pe_tsv_next(&line, fields, 2), 0);
  pe_buf_close(&answer);
}

static unsigned went_in, refused;

static void one_pair(const struct pair *p, const char *type, bool nullable) {
  struct fx f = {0};
  struct fx_column cols[2] = {{"i", PE_C_U32, false, 0, 0, "int unsigned", NULL, false, false},
                              p->from};
  struct pe_plan_opts o = {.narrow_ok = true};
  pe_arena_init(&f.arena, 0);
  cols[1].nullable = nullable;
  f.layout = fx_layout(cols, 2);
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "CREATE OR REPLACE TABLE " DB ".t (i UInt32, v ");
  size_t at = sql.len;
  if (!*type) {
    pe_target_type(&f.layout->columns[1], &sql);
  } else if (strncmp(type, "LowCardinality(", 15) == 0 && nullable) {
    pe_buf_puts(&sql, "LowCardinality(Nullable(String))");
  } else {
    pe_buf_printf(&sql, nullable ? "Nullable(%s)" : "%s", type);
  }
  char actual[200];
  snprintf(actual, sizeof(actual), "%.*s", (int)(sql.len - at), (char *)sql.data + at);
  pe_buf_puts(&sql,
              ", _version UInt64, _deleted UInt8) ENGINE = ReplacingMergeTree(_version, "
              "_deleted) ORDER BY i");
  run(pe_buf_cstr(&sql));
  pe_buf_close(&sql);
  load_plan(&f, &o);
  int n = p->n + nullable;
  for (int i = 0; i < n; i++) {
    uint8_t *row = fx_row(&f);
    FX_SET(&f, row, 0, uint32_t, (uint32_t)i);
    set_value(&f, row, p, &p->v[i < p->n ? i : p->n - 1]);
    if (i == p->n) {
      pe_row_set_null(row, 1);
    }
  }
  uint32_t bad[VALUES_MAX + 1], good[VALUES_MAX + 1], ngood = 0;
  const char *why[VALUES_MAX + 1];
  pe_plan_check(f.plan, f.outs, f.nouts, bad, why);
  for (uint32_t i = 0; i < f.nouts; i++) {
    if (!bad[i]) {
      good[ngood++] = i;
    }
  }
  assert_true(ngood > 0);
  went_in += ngood;
  refused += (unsigned)f.nouts - ngood;
  struct pe_block *b = pe_block_create(f.plan);
  assert_int_equal(pe_block_append(b, f.outs, good, ngood), 0);
  insert(&f, b);
  compare(&f, p, actual, good, ngood);
  pe_block_destroy(b);
  fx_close(&f);
}

static void every_type_comes_back_as_it_was(void **state) {
  (void)state;
  need_server();
  unsigned n = 0;
  for (size_t i = 0; i < FX_COUNT(pairs); i++) {
    for (size_t k = 0; k < TARGETS_MAX && pairs[i].to[k]; k++, n++) {
      one_pair(&pairs[i], pairs[i].to[k], false);
      one_pair(&pairs[i], pairs[i].to[k], true);
    }
  }
  print_message("%u pairs of types, with and without NULL: %u values came back, %u were refused\n",
                n, went_in, refused);
}

static void partitions_are_where_the_numbers_say(void **state) {
  (void)state;
  need_server();
  static const char *const exprs[] = {"toYYYYMM(t)",
                                      "toYYYYMMDD(t)",
                                      "toDate(t)",
                                      "toMonday(t)",
                                      "toYear(t)",
                                      "toStartOfMonth(t)",
                                      "toYYYYMM(n)",
                                      "toStartOfDay(t)",
                                      "toStartOfYear(d)",
                                      "d",
                                      "i % 7",
                                      "modulo(s, 5)",
                                      "intDiv(s, 10)",
                                      "(toYYYYMM(d), i % 2)",
                                      "x",
                                      "tuple()"};
  static const struct fx_column cols[] = {
      {"i", PE_C_U32, false, 0, 0, "int unsigned", NULL, false, false},
      {"t", PE_C_DATETIME, false, 0, 3, "datetime(3)", NULL, false, false},
      {"d", PE_C_DATE, false, 0, 0, "date", NULL, false, false},
      {"s", PE_C_I32, false, 0, 0, "int", NULL, false, false},
      {"n", PE_C_DATETIME, true, 0, 0, "datetime", NULL, false, false},
      {"x", PE_C_STR, false, 0, 0, "text", NULL, false, false}};
  enum { ROWS = 90 };
  struct pe_plan_opts o = {0};
  for (size_t e = 0; e < FX_COUNT(exprs); e++) {
    struct fx f = {0};
    char sql[600];
    pe_arena_init(&f.arena, 0);
    f.layout = fx_layout(cols, FX_COUNT(cols));
    snprintf(sql, sizeof(sql),
             "CREATE OR REPLACE TABLE " DB
             ".t (i UInt32, t DateTime64(3, 'UTC'), d Date32, "
             "s Int32, n Nullable(DateTime('UTC')), x String, _version UInt64, _deleted UInt8) "
             "ENGINE = ReplacingMergeTree(_version) PARTITION BY %s ORDER BY i "
             "SETTINGS allow_nullable_key = 1",
             exprs[e]);
    run(sql);
    load_plan(&f, &o);
    for (uint32_t i = 0; i < ROWS; i++) {
      uint8_t *row = fx_row(&f);
      int64_t day = 19700 + (int64_t)i * 9;
      FX_SET(&f, row, 0, uint32_t, i);
      FX_SET(&f, row, 1, int64_t, day * DAY + (i % 3 ? DAY - MS : 0));
      FX_SET(&f, row, 2, int32_t, (int32_t)i * 11);
      FX_SET(&f, row, 3, int32_t, (int32_t)i - 45);
      FX_SET(&f, row, 4, int64_t, day * DAY);
      fx_str(&f, row, 5, "abcdefg", i % 7);
      if (i % 10 == 9) {
        pe_row_set_null(row, 4);
      }
    }
    uint64_t number[ROWS];
    pe_plan_partition(f.plan, f.outs, ROWS, number);
    struct pe_block *b = fx_block(&f);
    insert(&f, b);
    pe_block_destroy(b);
    struct pe_buf answer;
    ask("SELECT _partition_id FROM " DB ".t ORDER BY i FORMAT TabSeparated", &answer);
    char *line = (char *)(uintptr_t)pe_buf_cstr(&answer), *id[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
      assert_int_equal(pe_tsv_next(&line, &id[i], 1), 1);
      for (uint32_t k = 0; k < i; k++) {
        if ((strcmp(id[i], id[k]) == 0) != (number[i] == number[k])) {
          fail_msg("%s: rows %u and %u are in %s and %s", exprs[e], k, i, id[k], id[i]);
        }
      }
    }
    pe_buf_close(&answer);
    fx_close(&f);
  }
}

static void the_table_for_a_source_takes_its_rows(void **state) {
  (void)state;
  need_server();
  struct fx_column cols[PE_C_COUNT * 2 + 1];
  char names[PE_C_COUNT * 2][16];
  uint32_t n = 0;
  for (int k = 0; k < 2 * PE_C_COUNT; k++, n++) {
    enum pe_ctype ct = (enum pe_ctype)(k % PE_C_COUNT);
    snprintf(names[k], sizeof(names[k]), "c%d", k);
    uint8_t precision = ct == PE_C_DEC64 ? 18 : ct == PE_C_DEC128 ? 38 : ct == PE_C_DEC256 ? 65 : 0;
    cols[n] = (struct fx_column){names[k], ct,      k >= PE_C_COUNT, precision, precision ? 3 : 0,
                                 NULL,     members, false,           false};
  }
  struct fx f = {0};
  struct pe_plan_opts o = {0};
  struct pe_err err = PE_ERR_INIT;
  struct pe_buf sql;
  uint32_t pk[] = {7, 2};
  pe_arena_init(&f.arena, 0);
  f.layout = fx_layout(cols, n);
  f.layout->pk = pk;
  f.layout->npk = 2;
  pe_buf_init(&sql);
  run("DROP TABLE IF EXISTS " DB ".t");
  assert_int_equal(pe_target_load(ch, DB, "t", &f.target, &err), 0);
  assert_int_equal(pe_target_ddl(f.layout, DB, "t", &sql, &err), 0);
  run(pe_buf_cstr(&sql));
  run(pe_buf_cstr(&sql)); /* IF NOT EXISTS */
  load_plan(&f, &o);
  assert_string_equal(f.target->engine, "ReplacingMergeTree");
  assert_int_equal(f.target->dedup_window, 10000);
  assert_int_equal(f.target->nparts, 0);
  assert_int_equal(f.target->ncolumns, n + 2);
  assert_true(f.target->columns[7].is_key && f.target->columns[2].is_key);
  assert_false(f.target->columns[0].is_key);
  assert_true(f.target->empty);
  uint8_t *row = fx_row(&f);
  for (uint32_t i = PE_C_COUNT; i < n; i++) {
    pe_row_set_null(row, i);
  }
  uint32_t bad;
  const char *why;
  assert_int_equal(pe_plan_check(f.plan, f.outs, 1, &bad, &why), 0);
  struct pe_block *b = fx_block(&f);
  insert(&f, b);
  pe_block_destroy(b);
  struct pe_target *again = NULL;
  assert_int_equal(pe_target_load(ch, DB, "t", &again, &err), 1);
  assert_false(again->empty);
  pe_target_destroy(again);
  pe_buf_close(&sql);
  fx_close(&f);
}

static void what_a_server_says_of_its_tables(void **state) {
  (void)state;
  need_server();
  struct pe_target *t = NULL;
  struct pe_err err = PE_ERR_INIT;
  struct pe_buf tz;
  run("CREATE OR REPLACE TABLE " DB
      ".t (`a ``b\tc` UInt8, d UInt8 DEFAULT 1, m UInt8 MATERIALIZED 2, al UInt8 ALIAS 3) "
      "ENGINE = MergeTree ORDER BY d PARTITION BY d % 3");
  assert_int_equal(pe_target_load(ch, DB, "t", &t, &err), 1);
  assert_string_equal(t->columns[0].name, "a `b\tc");
  assert_true(t->columns[1].has_default && t->columns[1].is_partition);
  assert_true(t->columns[2].is_materialized && t->columns[3].is_materialized);
  assert_int_equal(t->dedup_window, 0); /* the server's default */
  assert_int_equal(t->version_col, -1);
  assert_int_equal(t->parts[0].kind, PE_PART_MOD);
  assert_false(t->replicated);
  ask("SELECT timezone() IN ('UTC', 'Etc/UTC'), toUInt32(splitByChar('.', version())[1]) >= 26 "
      "FORMAT TabSeparated",
      &tz);
  assert_int_equal(t->server_utc, tz.data[0] == '1');
  assert_true(t->wide_dates || tz.data[2] == '0');
  pe_buf_close(&tz);
  pe_target_destroy(t);
  run("CREATE OR REPLACE VIEW " DB ".v AS SELECT 1 AS one");
  assert_int_equal(pe_target_load(ch, DB, "v", &t, &err), 1);
  assert_false(t->empty);
  assert_int_equal(t->dedup_window, 0);
  pe_target_destroy(t);
  assert_int_equal(pe_target_load(ch, DB, "no'such", &t, &err), 0);
}

static void an_empty_extra_takes_the_default(void **state) {
  (void)state;
  need_server();
  static const struct fx_column cols[] = {
      {"i", PE_C_U32, false, 0, 0, "int unsigned", NULL, false, false},
      {"e", PE_C_U32, false, 0, 0, NULL, NULL, true, false}};
  struct pe_plan_opts o = {0};
  struct fx f = {0};
  struct pe_buf answer;
  pe_arena_init(&f.arena, 0);
  f.layout = fx_layout(cols, 2);
  run("CREATE OR REPLACE TABLE " DB
      ".t (i UInt32, e UInt32 DEFAULT i * 10, _version UInt64) "
      "ENGINE = MergeTree ORDER BY i");
  load_plan(&f, &o);
  uint8_t *row = fx_row(&f);
  FX_SET(&f, row, 0, uint32_t, 4);
  pe_row_set_null(row, 1);
  row = fx_row(&f);
  FX_SET(&f, row, 0, uint32_t, 5);
  FX_SET(&f, row, 1, uint32_t, 6);
  struct pe_block *b = fx_block(&f);
  insert(&f, b);
  ask("SELECT e FROM " DB ".t ORDER BY i FORMAT TabSeparated", &answer);
  assert_string_equal(pe_buf_cstr(&answer), "40\n6\n");
  pe_buf_close(&answer);
  pe_block_destroy(b);
  fx_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_type_comes_back_as_it_was),
      cmocka_unit_test(partitions_are_where_the_numbers_say),
      cmocka_unit_test(the_table_for_a_source_takes_its_rows),
      cmocka_unit_test(what_a_server_says_of_its_tables),
      cmocka_unit_test(an_empty_extra_takes_the_default),
  };
  return cmocka_run_group_tests(tests, connect_server, disconnect_server);
}
