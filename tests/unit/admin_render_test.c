/* Metrics, status and readiness as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/render.h"

static struct pe_engine_status st;
static struct pe_latency lat;
static struct pe_buf out;

static int setup(void **state) {
  (void)state;
  memset(&st, 0, sizeof(st));
  memset(&lat, 0, sizeof(lat));
  pe_buf_init(&out);
  st.state = "streaming";
  st.ready = true;
  snprintf(st.pipeline, sizeof(st.pipeline), "shop");
  snprintf(st.script_hash, sizeof(st.script_hash), "abc123");
  snprintf(st.position, sizeof(st.position), "bin.000003:42");
  st.version = UINT64_C(9007199254740993);
  st.epochs = 7;
  st.lag_ms = 1500;
  st.ntables = 2;
  st.tables[0] = (struct pe_table_status){.name = "orders",
                                          .target = "orders_v2",
                                          .phase = "streaming",
                                          .changes_in = 10,
                                          .changes_out = 7,
                                          .changes_filtered = 2,
                                          .changes_dlq = 1,
                                          .rows_written = 8,
                                          .tombstones_written = 3,
                                          .lag_ms = 250};
  st.tables[1] =
      (struct pe_table_status){.name = "we\"ird\\\n", .target = "w", .phase = "snapshot"};
  st.nlookups = 1;
  st.lookups[0].name = "customers";
  st.lookups[0].keys = 500;
  st.lookups[0].bytes = 4096;
  for (int i = 0; i < 12; i++) {
    lat.counts[i] = (uint64_t)i;
  }
  lat.sum_ms = 1250;
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

static void test_metrics(void **state) {
  (void)state;
  pe_metrics_render(&st, &lat, &out);
  has("pipe_engine_build_info{version=\"" PE_VERSION "\"} 1\n");
  has("pipe_engine_script_info{hash=\"abc123\"} 1\n");
  has("pipe_engine_rows_in_total{table=\"orders\"} 10\n");
  has("pipe_engine_rows_out_total{table=\"orders\"} 7\n");
  has("pipe_engine_rows_filtered_total{table=\"orders\"} 2\n");
  has("pipe_engine_rows_dlq_total{table=\"orders\"} 1\n");
  has("pipe_engine_conservation_difference{table=\"orders\"} 0\n");
  has("pipe_engine_rows_written_total{table=\"orders\"} 8\n");
  has("pipe_engine_tombstones_total{table=\"orders\"} 3\n");
  has("pipe_engine_table_lag_seconds{table=\"orders\"} 0.250\n");
  has("pipe_engine_lag_seconds 1.500\n");
  has("pipe_engine_epochs_total 7\n");
  has("pipe_engine_ready 1\n");
  has("pipe_engine_lookup_keys{lookup=\"customers\"} 500\n");
  has("pipe_engine_commit_to_queryable_seconds_bucket{le=\"0.005\"} 0\n");
  has("pipe_engine_commit_to_queryable_seconds_bucket{le=\"+Inf\"} 11\n");
  has("pipe_engine_commit_to_queryable_seconds_sum 1.250\n");
  has("pipe_engine_commit_to_queryable_seconds_count 11\n");
  has("{table=\"we\\\"ird\\\\\\n\"} 0\n");
}

/* Prometheus refuses a sample without its TYPE above it, and a name that is typed twice. */
static void test_metrics_are_typed(void **state) {
  (void)state;
  pe_metrics_render(&st, &lat, &out);
  char *text = strdup(pe_buf_cstr(&out)), *save = NULL, current[128] = "", seen[8192] = "";
  for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    char name[128] = "";
    if (sscanf(line, "# TYPE %127s", name) == 1) {
      char key[140];
      snprintf(key, sizeof(key), " %s ", name);
      assert_null(strstr(seen, key));
      strncat(seen, key, sizeof(seen) - strlen(seen) - 1);
      snprintf(current, sizeof(current), "%s", name);
    } else if (line[0] != '#') {
      sscanf(line, "%127[a-zA-Z0-9_]", name);
      assert_memory_equal(name, current, strlen(current));
    }
  }
  free(text);
}

static void test_conservation_shows_a_loss(void **state) {
  (void)state;
  st.tables[0].changes_out = 6;
  pe_metrics_render(&st, &lat, &out);
  has("pipe_engine_conservation_difference{table=\"orders\"} 1\n");
}

static void test_starting(void **state) {
  (void)state;
  pe_metrics_render_starting(&out);
  has("pipe_engine_ready 0\n");
}

static void test_ready(void **state) {
  (void)state;
  assert_true(pe_ready_render(&st, 300000, &out));
  has("ready: streaming\n");
  pe_buf_clear(&out);
  assert_false(pe_ready_render(&st, 1000, &out));
  has("lag is 1.5 s, more than admin.ready_lag_ms (1.0 s)");
  pe_buf_clear(&out);
  st.ready = false;
  snprintf(st.reason, sizeof(st.reason), "ClickHouse does not answer");
  assert_false(pe_ready_render(&st, 300000, &out));
  has("not ready: ClickHouse does not answer\n");
}

static void test_json(void **state) {
  (void)state;
  snprintf(st.reason, sizeof(st.reason), "a \"quoted\" reason");
  pe_status_render_json(&st, &out);
  has("\"pipeline\":\"shop\"");
  has("\"version\":\"9007199254740993\"");
  has("\"reason\":\"a \\\"quoted\\\" reason\"");
  has("\"name\":\"orders\",\"target\":\"orders_v2\"");
  has("\"rows_in\":10,\"rows_out\":7,\"rows_filtered\":2,\"rows_dlq\":1");
  has("\"lookups\":[{\"name\":\"customers\",\"keys\":500,\"bytes\":4096}]}");
}

static void test_text(void **state) {
  (void)state;
  st.http_port = 8123;
  st.sink_down_ms = 2500;
  pe_status_render_text(&st, &out);
  has("shop: streaming\n");
  has("bin.000003:42 (version 9007199254740993)");
  has("has not answered for 2.5 s");
  has("http://127.0.0.1:8123/");
  has("orders");
}

static void test_reload(void **state) {
  (void)state;
  struct pe_reload_result r = {
      .code = PE_ESCRIPT, .from = "a", .to = "b", .text = "kept: x.lua:1: oops"};
  pe_reload_render_json(&r, &out);
  has("\"swapped\":false,\"error\":\"script\"");
  has("\"text\":\"kept: x.lua:1: oops\"");
  pe_buf_clear(&out);
  r.code = 0;
  r.epoch = 9;
  pe_reload_render_json(&r, &out);
  has("\"swapped\":true,\"error\":\"\"");
  has("\"epoch\":9");
}

static void test_count_text(void **state) {
  (void)state;
  char b[32];
  assert_string_equal(pe_count_text(0, b), "0");
  assert_string_equal(pe_count_text(999, b), "999");
  assert_string_equal(pe_count_text(1000, b), "1,000");
  assert_string_equal(pe_count_text(UINT64_MAX, b), "18,446,744,073,709,551,615");
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(test_metrics),
      T(test_metrics_are_typed),
      T(test_conservation_shows_a_loss),
      T(test_starting),
      T(test_ready),
      T(test_json),
      T(test_text),
      T(test_reload),
      T(test_count_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
