/* The embedded ClickHouse: start, stop, death and restart, locks, ports, messages. */
#include "sink_embedded_support.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

static void test_url(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  assert_int_equal(0, pe_embedded_parse_url("embedded:./data?port=9000&library=/x/y.so", &o, &err));
  assert_string_equal("./data", o.dir);
  assert_int_equal(9000, o.port);
  assert_string_equal("/x/y.so", o.library);
  assert_int_equal(0, pe_embedded_parse_url("embedded:/var/lib/x", &o, &err));
  assert_int_equal(0, o.port);
  assert_int_equal(PE_ECONFIG, pe_embedded_parse_url("embedded:", &o, &err));
  assert_int_equal(PE_ECONFIG, pe_embedded_parse_url("embedded:d?port=70000", &o, &err));
  assert_int_equal(PE_ECONFIG, pe_embedded_parse_url("embedded:d?prot=7000", &o, &err));
  assert_non_null(strstr(err.text, "prot=7000"));
  assert_int_equal(PE_ECONFIG, pe_embedded_parse_url("http://d", &o, &err));
}

static void test_missing_library_names_the_script(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  struct pe_embedded *e = NULL;
  uv_loop_t loop;
  uv_loop_init(&loop);
  options(&o, "/tmp/client-test-none", 0);
  snprintf(o.library, sizeof o.library, "/nonexistent/libchdb.so");
  assert_int_equal(PE_ECONFIG, pe_embedded_start(&loop, &o, &e, &err));
  assert_non_null(strstr(err.text, "examples/support/fetch-chdb"));
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(0, uv_loop_close(&loop));
}

static void test_start_and_stop(void **state) {
  struct server *s = need(state);
  assert_int_equal(s->port, pe_embedded_port(s->embedded));
  assert_true(pe_embedded_pid(s->embedded) > 0);
  assert_value(s->ch, "SELECT 1 + 1", "2");
  exec_ok(s->ch, "CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a");
  exec_ok(s->ch, "INSERT INTO kept SELECT number FROM numbers(1000)");
  int pid = pe_embedded_pid(s->embedded);
  pe_ch_destroy(s->ch);
  pe_embedded_stop(s->embedded);
  s->ch = NULL;
  s->embedded = NULL;
  assert_int_equal(-1, kill(pid, 0)); /* gone, and reaped */
  uv_run(&s->loop, UV_RUN_DEFAULT);

  server_start(s, 0); /* the kept port */
  assert_int_equal(s->port, pe_embedded_port(s->embedded));
  assert_value(s->ch, "SELECT count() FROM kept", "1000");
  exec_ok(s->ch, "DROP TABLE kept");
}

static void test_second_engine_is_refused(void **state) {
  struct server *s = need(state);
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  struct pe_embedded *other = NULL;
  options(&o, s->dir, 0);
  assert_int_equal(PE_ELOCKED, pe_embedded_start(&s->loop, &o, &other, &err));
  char pid[32];
  snprintf(pid, sizeof pid, "process %d)", (int)getpid());
  assert_non_null(strstr(err.text, pid));
}

static bool has_restarted(void *arg) {
  struct server *s = arg;
  struct pe_err err = PE_ERR_INIT;
  char value[8];
  return pe_embedded_restarts(s->embedded) > 0 && pe_embedded_pid(s->embedded) > 0 &&
         pe_ch_value(s->ch, "SELECT 1", value, sizeof value, &err) == 1;
}

static void test_killed_child_comes_back(void **state) {
  struct server *s = need(state);
  exec_ok(s->ch, "CREATE TABLE survives (a UInt64) ENGINE = MergeTree ORDER BY a");
  exec_ok(s->ch, "INSERT INTO survives VALUES (1)");
  int pid = pe_embedded_pid(s->embedded);
  assert_int_equal(0, kill(pid, SIGKILL));
  run_until(&s->loop, has_restarted, s, 30000);
  assert_int_not_equal(pid, pe_embedded_pid(s->embedded));
  assert_value(s->ch, "SELECT count() FROM survives", "1");
  exec_ok(s->ch, "DROP TABLE survives");
}

static void test_signals_of_a_terminal_do_not_end_it(void **state) {
  struct server *s = need(state);
  int pid = pe_embedded_pid(s->embedded);
  kill(pid, SIGINT);
  kill(pid, SIGTERM);
  kill(pid, SIGHUP);
  pe_sleep_ms(200);
  uv_run(&s->loop, UV_RUN_NOWAIT);
  assert_int_equal(pid, pe_embedded_pid(s->embedded));
  assert_value(s->ch, "SELECT 1", "1");
}

static int listen_on(unsigned port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(0, bind(fd, (struct sockaddr *)&a, sizeof a));
  assert_int_equal(0, listen(fd, 4));
  return fd;
}

static void test_taken_port(void **state) {
  need(state);
  char dir[256];
  temp_folder(dir, sizeof dir);
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  struct pe_embedded *e = NULL;
  uv_loop_t loop;
  uv_loop_init(&loop);
  unsigned port = free_port();
  int taken = listen_on(port);

  options(&o, dir, port);
  assert_int_equal(PE_ECONFIG, pe_embedded_start(&loop, &o, &e, &err));
  assert_non_null(strstr(err.text, "is taken"));

  /* The kept port is taken: the next free one from 8123 on, and that one is kept. */
  char path[300];
  snprintf(path, sizeof path, "%s/http_port", dir);
  FILE *f = fopen(path, "w");
  fprintf(f, "%u\n", port);
  fclose(f);
  o.port = 0;
  int code = pe_embedded_start(&loop, &o, &e, &err);
  if (code < 0) {
    print_error("%s\n", err.text);
  }
  assert_int_equal(0, code);
  assert_int_not_equal(port, pe_embedded_port(e));
  pe_embedded_stop(e);
  close(taken);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(0, uv_loop_close(&loop));
  remove_folder(dir);
}

/* A start that fails quotes what the child printed and leaves nothing behind. */
static void test_failing_child_is_quoted(void **state) {
  need(state);
  char dir[256], path[300];
  temp_folder(dir, sizeof dir);
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  struct pe_embedded *e = NULL;
  uv_loop_t loop;
  uv_loop_init(&loop);
  options(&o, dir, free_port());
  snprintf(path, sizeof path, "%s/libnot.so", dir);
  FILE *f = fopen(path, "w");
  fputs("no library\n", f);
  fclose(f);
  snprintf(o.library, sizeof o.library, "%s", path);
  assert_int_equal(PE_ESINK_DOWN, pe_embedded_start(&loop, &o, &e, &err));
  assert_non_null(strstr(err.text, "the library can't be loaded"));
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(0, uv_loop_close(&loop));
  remove_folder(dir);
}

/* A process of that number that runs pe-clickhouse and isn't a zombie waiting for its reaper. */
static bool runs(int pid) {
  char path[64], stat[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *f = fopen(path, "r");
  if (f) {
    if (!fgets(stat, sizeof stat, f)) {
      stat[0] = 0;
    }
    fclose(f);
  }
  return strstr(stat, "(pe-clickhouse)") && !strstr(stat, ") Z");
}

/* An engine that is killed takes its server along, and the next engine waits for that. */
static void test_child_ends_with_a_killed_parent(void **state) {
  need(state);
  char dir[256];
  temp_folder(dir, sizeof dir);
  int fds[2];
  const unsigned port = free_port();
  assert_int_equal(0, pipe(fds));
  pid_t parent = fork();
  if (parent == 0) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct pe_err err = PE_ERR_INIT;
    struct pe_embedded_opts o;
    struct pe_embedded *e = NULL;
    int pid = -1;
    if (pe_embedded_parse_url("embedded:x", &o, &err) == 0) {
      snprintf(o.dir, sizeof o.dir, "%s", dir);
      o.port = port;
      pid = pe_embedded_start(&loop, &o, &e, &err) == 0 ? pe_embedded_pid(e) : -1;
    }
    if (write(fds[1], &pid, sizeof pid) < 0) {
      _exit(1);
    }
    pause();
    _exit(0);
  }
  int server = 0;
  assert_int_equal(sizeof server, read(fds[0], &server, sizeof server));
  assert_true(server > 0);
  kill(parent, SIGKILL);
  waitpid(parent, NULL, 0);

  uv_loop_t loop;
  uv_loop_init(&loop);
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  struct pe_embedded *e = NULL;
  options(&o, dir, 0);
  int code = pe_embedded_start(&loop, &o, &e, &err);
  if (code < 0) {
    print_error("%s\n", err.text);
  }
  assert_int_equal(0, code);
  assert_int_not_equal(server, pe_embedded_pid(e));
  assert_int_equal(port, pe_embedded_port(e));
  assert_false(runs(server));
  pe_embedded_stop(e);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(0, uv_loop_close(&loop));
  close(fds[0]);
  close(fds[1]);
  remove_folder(dir);
}

static void test_no_secret_reaches_the_child(void **state) {
  struct server *s = need(state);
  char path[64], env[16384];
  snprintf(path, sizeof path, "/proc/%d/environ", pe_embedded_pid(s->embedded));
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  ssize_t n = read(fd, env, sizeof env);
  close(fd);
  assert_true(n > 0);
  assert_null(memmem(env, (size_t)n, "CANARY", 6));
}

int main(void) {
  setenv("CANARY_SECRET", "CANARY", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_url),
      cmocka_unit_test(test_missing_library_names_the_script),
      cmocka_unit_test(test_start_and_stop),
      cmocka_unit_test(test_second_engine_is_refused),
      cmocka_unit_test(test_signals_of_a_terminal_do_not_end_it),
      cmocka_unit_test(test_no_secret_reaches_the_child),
      cmocka_unit_test(test_killed_child_comes_back),
      cmocka_unit_test(test_taken_port),
      cmocka_unit_test(test_failing_child_is_quoted),
      cmocka_unit_test(test_child_ends_with_a_killed_parent),
  };
  return cmocka_run_group_tests(tests, server_setup, server_teardown);
}
