/* The progress display: bars, rates, time left, and that it fits its terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/progress.h"

static struct pe_engine_status st;
static struct pe_progress progress;
static struct pe_buf out;

static int setup(void **state) {
  (void)state;
  memset(&st, 0, sizeof(st));
  memset(&progress, 0, sizeof(progress));
  pe_buf_init(&out);
  st.state = "snapshot";
  snprintf(st.pipeline, sizeof(st.pipeline), "shop");
  st.ntables = 3;
  st.tables[0] = (struct pe_table_status){
      .name = "orders", .phase = "snapshot", .snapshot_rows_estimate = 1000000};
  st.tables[1] =
      (struct pe_table_status){.name = "items", .phase = "waiting", .snapshot_rows_estimate = 50};
  st.tables[2] = (struct pe_table_status){.name = "kinds",
                                          .phase = "streaming",
                                          .rows_written = 1234,
                                          .lag_ms = 120,
                                          .rows_per_s = 4321};
  return 0;
}

static int teardown(void **state) {
  (void)state;
  pe_buf_close(&out);
  return 0;
}

static void has(const char *part) {
  if (!strstr(pe_buf_cstr(&out), part)) {
    fail_msg("no \"%s\" in:\n%s", part, pe_buf_cstr(&out));
  }
}

/* 100,000 rows a second, a second at a time. */
static void run_half(void) {
  for (int s = 1; s <= 6; s++) {
    st.tables[0].snapshot_rows = (uint64_t)(s - 1) * 100000;
    pe_progress_observe(&progress, &st, (int64_t)s * 1000000);
  }
}

static void test_frame(void **state) {
  (void)state;
  run_half();
  unsigned lines = pe_progress_frame(&progress, &st, 200, 20, &out);
  assert_int_equal(lines, 5);
  has("orders                   [##########..........] 50%  500,000 of ~1,000,000  100,000 rows/s  "
      "0:05 left\n");
  has("items                    [....................]  waiting, ~50 rows\n");
  has("kinds                        120 ms        4,321          1,234");
}

static void test_estimate_too_low(void **state) {
  (void)state;
  run_half();
  st.tables[0].snapshot_rows_estimate = 10;
  pe_progress_frame(&progress, &st, 200, 20, &out);
  has("99%  500,000 of ~10 ");
  assert_null(strstr(pe_buf_cstr(&out), "left"));
}

static void test_fits(void **state) {
  (void)state;
  st.ntables = 128;
  for (uint32_t i = 0; i < 128; i++) {
    st.tables[i] = (struct pe_table_status){.name = "t\xC3\xA4gliche_bestellungen_mit_langem_namen",
                                            .phase = i % 2 ? "snapshot" : "streaming"};
  }
  for (unsigned height = 3; height < 140; height += 7) {
    for (unsigned width = 5; width < 130; width += 31) {
      pe_buf_clear(&out);
      unsigned lines = pe_progress_frame(&progress, &st, width, height, &out);
      unsigned newlines = 0, chars = 0;
      for (size_t i = 0; i < out.len; i++) {
        if (out.data[i] == '\n') {
          newlines++;
          assert_true(chars <= width);
          chars = 0;
        } else if ((out.data[i] & 0xC0) != 0x80) {
          chars++;
        }
      }
      assert_int_equal(lines, newlines);
      assert_true(lines <= height);
      if (height < 120 && width > 20) {
        has("more tables");
      }
    }
  }
}

static void test_lines(void **state) {
  (void)state;
  run_half();
  pe_progress_lines(&progress, &st, &out);
  has("snapshot orders: 50%, 500,000 of about 1,000,000 rows, 100,000 rows/s, 0:05 left\n");
  has("snapshot: lag 0 ms, 4,321 rows/s, 1,234 rows and 0 tombstones written, 0 in the DLQ, at no "
      "position yet\n");
  assert_null(strstr(pe_buf_cstr(&out), "items"));
}

static void test_nothing_yet(void **state) {
  (void)state;
  st.ntables = 0;
  snprintf(st.reason, sizeof(st.reason), "waiting for ClickHouse");
  assert_int_equal(pe_progress_frame(&progress, &st, 80, 24, &out), 1);
  pe_buf_clear(&out);
  pe_progress_lines(&progress, &st, &out);
  has("snapshot: waiting for ClickHouse\n");
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(test_frame), T(test_estimate_too_low), T(test_fits), T(test_lines), T(test_nothing_yet),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
