/* What ClickHouse says about a table, and the table made for a source that has none. */
#include <stdio.h>

#include "sink_block_support.h"

static void lines_are_unescaped(void **state) {
  (void)state;
  char text[] = "a\\tb\tc\\\\d\t\\N\n\tlast\\'s";
  char *line = text, *f[4];
  assert_int_equal(pe_tsv_next(&line, f, 4), 3);
  assert_string_equal(f[0], "a\tb");
  assert_string_equal(f[1], "c\\d");
  assert_null(f[2]);
  assert_int_equal(pe_tsv_next(&line, f, 4), 2);
  assert_string_equal(f[0], "");
  assert_string_equal(f[1], "last's");
  assert_int_equal(pe_tsv_next(&line, f, 4), 0);
  char many[] = "a\tb\tc\n";
  line = many;
  assert_int_equal(pe_tsv_next(&line, f, 2), -1);
}

static void columns_of_a_table(void **state) {
  (void)state;
  struct pe_target *t = fx_target(
      "id\tUInt64\t\t1\t0\nd\tUInt8\tDEFAULT\t0\t0\nm\tUInt8\tMATERIALIZED\t0\t0\n"
      "al\tUInt8\tALIAS\t0\t0\nts\tDateTime(\\'UTC\\')\t\t0\t1\n_version\tUInt64\t\t0\t0\n"
      "_deleted\tUInt8\t\t0\t0\n",
      "");
  assert_int_equal(t->ncolumns, 7);
  assert_true(t->columns[0].is_key);
  assert_false(t->columns[0].has_default);
  assert_true(t->columns[1].has_default);
  assert_false(t->columns[1].is_materialized);
  assert_true(t->columns[2].is_materialized);
  assert_true(t->columns[3].is_materialized);
  assert_true(t->columns[4].is_partition);
  assert_string_equal(t->columns[4].timezone, "UTC");
  assert_int_equal(t->version_col, 5);
  assert_int_equal(t->deleted_col, 6);
  assert_int_equal(t->nparts, 0);
  pe_target_destroy(t);
  struct pe_target broken = {0};
  struct pe_err err = PE_ERR_INIT;
  char tsv[] = "id\tUInt64\n";
  pe_arena_init(&broken.arena, 0);
  assert_int_equal(pe_target_parse_columns(&broken, tsv, &err), PE_EDATA);
  pe_arena_close(&broken.arena);
}

static const char columns[] =
    "id\tUInt64\t\t1\t0\nts\tDateTime64(3, \\'UTC\\')\t\t0\t1\nplain\tDateTime\t\t0\t0\n"
    "tokyo\tDateTime(\\'Asia/Tokyo\\')\t\t0\t0\nd\tDate\t\t0\t0\ns\tString\t\t0\t0\n"
    "odd `name\tUInt8\t\t0\t0\n";

struct partition {
  const char *expr;
  uint32_t n;
  enum pe_partition_kind kind[4];
  uint32_t column[4];
  uint64_t divisor[4];
};

static const struct partition partitions[] = {
    {"", 0, {0}, {0}, {0}},
    {"tuple()", 0, {0}, {0}, {0}},
    {"toYYYYMM(ts)", 1, {PE_PART_YYYYMM}, {1}, {0}},
    {"toStartOfMonth(d)", 1, {PE_PART_YYYYMM}, {4}, {0}},
    {"toYYYYMMDD(ts)", 1, {PE_PART_YYYYMMDD}, {1}, {0}},
    {"toDate(ts)", 1, {PE_PART_DATE}, {1}, {0}},
    {"toMonday(ts)", 1, {PE_PART_MONDAY}, {1}, {0}},
    {"toYear(plain)", 1, {PE_PART_YEAR}, {2}, {0}},
    {"toYYYYMM(tokyo)", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"toYYYYMM(ts, 'Asia/Tokyo')", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"toYYYYMM(s)", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"d", 1, {PE_PART_VALUE}, {4}, {0}},
    {"`odd \\`name`", 1, {PE_PART_VALUE}, {6}, {0}},
    {"id % 24", 1, {PE_PART_MOD}, {0}, {24}},
    {"modulo(id, 24)", 1, {PE_PART_MOD}, {0}, {24}},
    {"intDiv(id, 1000000)", 1, {PE_PART_INTDIV}, {0}, {1000000}},
    {"id % 0", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"(id + 1) % 3", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"cityHash64(s) % 16", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"nothing", 1, {PE_PART_OPAQUE}, {0}, {0}},
    {"(toYYYYMM(ts), id % 24)", 2, {PE_PART_YYYYMM, PE_PART_MOD}, {1, 0}, {0, 24}},
    {"tuple(d, modulo(id, 4), s)",
     3,
     {PE_PART_VALUE, PE_PART_MOD, PE_PART_VALUE},
     {4, 0, 5},
     {0, 4, 0}},
    {"(d, s, id, toYear(ts), toYear(d))",
     4,
     {PE_PART_VALUE, PE_PART_VALUE, PE_PART_VALUE, PE_PART_OPAQUE},
     {4, 5, 0, 0},
     {0}},
};

static void partition_expressions(void **state) {
  (void)state;
  for (size_t i = 0; i < FX_COUNT(partitions); i++) {
    const struct partition *e = &partitions[i];
    struct pe_target *t = fx_target(columns, e->expr);
    if (t->nparts != e->n) {
      fail_msg("%s: %u parts", e->expr, t->nparts);
    }
    for (uint32_t k = 0; k < e->n; k++) {
      if (t->parts[k].kind != e->kind[k] || t->parts[k].column != e->column[k] ||
          t->parts[k].n != e->divisor[k]) {
        fail_msg("%s: part %u is kind %d", e->expr, k, (int)t->parts[k].kind);
      }
    }
    pe_target_destroy(t);
  }
}

static void a_server_of_another_zone_makes_days_opaque(void **state) {
  (void)state;
  struct pe_target *t = fx_target(columns, "");
  t->server_utc = false;
  pe_target_parse_partition(t, "toYYYYMM(plain)");
  assert_int_equal(t->parts[0].kind, PE_PART_OPAQUE);
  pe_target_parse_partition(t, "toYYYYMM(ts)");
  assert_int_equal(t->parts[0].kind, PE_PART_YYYYMM);
  pe_target_destroy(t);
}

static void settings_of_a_table(void **state) {
  (void)state;
  uint64_t v = 1;
  const char *full =
      "ReplacingMergeTree(_version) ORDER BY id SETTINGS index_granularity = 8192, "
      "non_replicated_deduplication_window = 77";
  assert_true(pe_target_setting(full, "non_replicated_deduplication_window", &v));
  assert_int_equal(v, 77);
  assert_true(pe_target_setting(full, "index_granularity", &v));
  assert_int_equal(v, 8192);
  assert_false(pe_target_setting(full, "replicated_deduplication_window", &v));
  assert_false(pe_target_setting("Memory", "index_granularity", &v));
}

static const char *const members[] = {"a", "b", NULL};
static const struct fx_column source[] = {
    {"id", PE_C_U64, false, 0, 0, "bigint(20) unsigned", NULL, false, false},
    {"part", PE_C_I32, true, 0, 0, "mediumint(9)", NULL, false, false},
    {"amount", PE_C_DEC64, true, 10, 2, "decimal(10,2)", NULL, false, false},
    {"day", PE_C_DATE, true, 0, 0, "date", NULL, false, false},
    {"at", PE_C_DATETIME, false, 0, 3, "datetime(3)", NULL, false, false},
    {"took", PE_C_TIME, true, 0, 6, "time(6)", NULL, false, false},
    {"kind", PE_C_ENUM, true, 0, 0, "enum('a','b')", members, false, false},
    {"secret", PE_C_STR, false, 0, 0, "text", NULL, false, true},
};

static void the_table_for_a_source(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_buf sql;
  struct pe_table *t = fx_layout(source, FX_COUNT(source));
  uint32_t pk[] = {1, 0};
  pe_buf_init(&sql);
  assert_int_equal(pe_target_ddl(t, "db", "x", &sql, &err), PE_ESINK_SCHEMA);
  assert_non_null(strstr(err.text, "no primary key"));
  pe_buf_clear(&sql);
  t->pk = pk;
  t->npk = 2;
  t->columns[0].pk_ordinal = 2;
  t->columns[1].pk_ordinal = 1;
  assert_int_equal(pe_target_ddl(t, "db", "x", &sql, &err), 0);
  assert_string_equal(pe_buf_cstr(&sql),
                      "CREATE TABLE IF NOT EXISTS `db`.`x`\n(\n  `id` UInt64,\n  `part` Int32,\n"
                      "  `amount` Nullable(Decimal(10, 2)),\n  `day` Nullable(Date32),\n"
                      "  `at` DateTime64(3, 'UTC'),\n  `took` Nullable(String),\n"
                      "  `kind` LowCardinality(Nullable(String)),\n  `_version` UInt64,\n"
                      "  `_deleted` UInt8\n)\nENGINE = ReplacingMergeTree(_version, _deleted)\n"
                      "ORDER BY (`part`, `id`)\n"
                      "SETTINGS non_replicated_deduplication_window = 10000");
  t->columns[0].excluded = true;
  assert_int_equal(pe_target_ddl(t, "db", "x", &sql, &err), PE_ESINK_SCHEMA);
  assert_non_null(strstr(err.text, "can't be excluded"));
  t->npk = 0;
  pe_table_unref(t);
  pe_buf_close(&sql);
}

static void columns_that_only_the_target_has(void **state) {
  (void)state;
  static const struct {
    const char *type;
    enum pe_ctype ctype;
    uint8_t precision, scale;
  } types[] = {{"Int8", PE_C_I8, 0, 0},
               {"UInt16", PE_C_U16, 0, 0},
               {"Nullable(Int64)", PE_C_I64, 0, 0},
               {"Bool", PE_C_U8, 0, 0},
               {"Int128", PE_C_DEC128, 38, 0},
               {"UInt128", PE_C_DEC256, 76, 0},
               {"Float32", PE_C_F32, 0, 0},
               {"Decimal(9, 3)", PE_C_DEC64, 9, 3},
               {"Decimal(40, 3)", PE_C_DEC256, 40, 3},
               {"Date", PE_C_DATE, 0, 0},
               {"DateTime", PE_C_DATETIME, 0, 0},
               {"DateTime64(9)", PE_C_DATETIME, 0, 6},
               {"LowCardinality(String)", PE_C_STR, 0, 0},
               {"UUID", PE_C_STR, 0, 0},
               {"IPv6", PE_C_STR, 0, 0}};
  for (size_t i = 0; i < FX_COUNT(types); i++) {
    char line[100];
    snprintf(line, sizeof(line), "x\t%s\t\t0\t0\n", types[i].type);
    struct pe_target *t = fx_target(line, "");
    struct pe_column c = {0};
    assert_int_equal(pe_target_extra(&t->columns[0], &c, NULL), 0);
    assert_int_equal(c.ctype, types[i].ctype);
    assert_int_equal(c.precision, types[i].precision);
    assert_int_equal(c.scale, types[i].scale);
    assert_int_equal(c.nullable, t->columns[0].nullable);
    pe_target_destroy(t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_unescaped),
      cmocka_unit_test(columns_of_a_table),
      cmocka_unit_test(partition_expressions),
      cmocka_unit_test(a_server_of_another_zone_makes_days_opaque),
      cmocka_unit_test(settings_of_a_table),
      cmocka_unit_test(the_table_for_a_source),
      cmocka_unit_test(columns_that_only_the_target_has),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
