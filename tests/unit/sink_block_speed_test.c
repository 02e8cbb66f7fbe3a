/* How long a fact row takes: printed, not asserted (machines differ); asserted is only that the
 * work per row stays without allocations once a block has grown. */
#include <stdio.h>

#include "base/clock.h"
#include "sink_block_support.h"

enum { ROWS = 65536, ROUNDS = 8 };

static const struct fx_column columns[] = {
    {"id", PE_C_U64, false, 0, 0, "bigint(20) unsigned", NULL, false, false},
    {"owner", PE_C_U32, false, 0, 0, "int(10) unsigned", NULL, false, false},
    {"kind", PE_C_U32, false, 0, 0, "int(10) unsigned", NULL, false, false},
    {"origin", PE_C_U16, false, 0, 0, "smallint(5) unsigned", NULL, false, false},
    {"start", PE_C_DATETIME, false, 0, 3, "datetime(3)", NULL, false, false},
    {"end", PE_C_DATETIME, true, 0, 3, "datetime(3)", NULL, false, false},
    {"made", PE_C_DATETIME, false, 0, 3, "datetime(3)", NULL, false, false},
    {"f", PE_C_F64, true, 0, 0, "double", NULL, false, false},
    {"l", PE_C_I64, true, 0, 0, "bigint(20)", NULL, false, false},
    {"b", PE_C_I8, true, 0, 0, "tinyint(1)", NULL, false, false},
    {"s", PE_C_STR, true, 0, 0, "varchar(255)", NULL, false, false},
    {"trust", PE_C_U8, true, 0, 0, "tinyint(3) unsigned", NULL, false, false},
    {"tenant", PE_C_U16, false, 0, 0, NULL, NULL, true, false},
};
static const char target[] =
    "id\tUInt64\t\t1\t0\nowner\tUInt32\t\t1\t0\ntenant\tUInt16\t\t1\t0\nkind\tUInt32\t\t1\t0\n"
    "origin\tUInt16\t\t0\t0\nstart\tDateTime64(3, \\'UTC\\')\t\t1\t1\n"
    "end\tNullable(DateTime64(3, \\'UTC\\'))\t\t0\t0\nmade\tDateTime64(3, \\'UTC\\')\t\t0\t0\n"
    "f\tNullable(Float64)\t\t0\t0\nl\tNullable(Int64)\t\t0\t0\nb\tNullable(UInt8)\t\t0\t0\n"
    "s\tNullable(String)\t\t0\t0\ntrust\tNullable(UInt8)\t\t0\t0\n"
    "_version\tUInt64\t\t0\t0\n_deleted\tUInt8\t\t0\t0\n";

static void fill(struct fx *f) {
  uint64_t seed = 1;
  for (uint32_t i = 0; i < ROWS; i++) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint32_t r = (uint32_t)(seed >> 33);
    uint8_t *row = fx_row(f);
    int64_t ts = INT64_C(1704067200000000) + (int64_t)i * 1000 * 60;
    FX_SET(f, row, 0, uint64_t, i);
    FX_SET(f, row, 1, uint32_t, r % 500000);
    FX_SET(f, row, 2, uint32_t, 3001);
    FX_SET(f, row, 3, uint16_t, (uint16_t)(r % 50));
    FX_SET(f, row, 4, int64_t, ts);
    FX_SET(f, row, 5, int64_t, ts + 60000000);
    FX_SET(f, row, 6, int64_t, ts + 5000000);
    FX_SET(f, row, 7, double, (double)r / 7);
    FX_SET(f, row, 8, int64_t, r % 200);
    FX_SET(f, row, 12, uint16_t, (uint16_t)(r % 230));
    fx_str(f, row, 10, "resting", r % 8);
    pe_row_set_null(row, r & 1 ? 7 : 8);
    if (r % 4) {
      pe_row_set_null(row, 10);
    }
    pe_row_set_null(row, 9);
  }
}

static void a_fact_row(void **state) {
  (void)state;
  struct fx f;
  fx_open(&f, columns, FX_COUNT(columns), target, "toYYYYMM(start)", NULL);
  fill(&f);
  uint32_t *idx = malloc(ROWS * sizeof(*idx)), *bad = malloc(ROWS * sizeof(*bad));
  uint64_t *part = malloc(ROWS * sizeof(*part));
  const char **why = malloc(ROWS * sizeof(*why));
  for (uint32_t i = 0; i < ROWS; i++) {
    idx[i] = i;
  }
  struct pe_block *b = pe_block_create(f.plan);
  assert_int_equal(pe_block_append(b, f.outs, idx, ROWS), 0);
  size_t bytes = pe_block_bytes(b), memory = pe_block_memory(b);
  int64_t append = 0, check = 0, number = 0;
  for (int k = 0; k < ROUNDS; k++) {
    int64_t t0 = pe_clock_us();
    assert_int_equal(pe_plan_check(f.plan, f.outs, ROWS, bad, why), 0);
    int64_t t1 = pe_clock_us();
    pe_plan_partition(f.plan, f.outs, ROWS, part);
    int64_t t2 = pe_clock_us();
    pe_block_clear(b);
    for (uint32_t at = 0; at < ROWS; at += 1024) { /* as a run of the scripts gives them */
      assert_int_equal(pe_block_append(b, f.outs, idx + at, 1024), 0);
    }
    int64_t t3 = pe_clock_us();
    check += t1 - t0;
    number += t2 - t1;
    append += t3 - t2;
  }
  double rows = (double)ROWS * ROUNDS / 1000;
  print_message(
      "a fact row of 15 columns, %u bytes in memory, %.1f in the block: check %.1f ns, "
      "partition %.1f ns, append %.1f ns\n",
      f.layout->row_bytes, (double)bytes / ROWS, (double)check / rows, (double)number / rows,
      (double)append / rows);
  assert_int_equal(pe_block_memory(b), memory);
  assert_int_equal(pe_block_bytes(b), bytes);
  assert_int_equal(part[0], 202401);
  pe_block_destroy(b);
  free(idx);
  free(bad);
  free(part);
  free(why);
  fx_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_fact_row)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
