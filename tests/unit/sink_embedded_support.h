/* A real embedded ClickHouse for the sink's tests: skipped where libchdb.so or the launcher is not
 * there. Every server has a folder of its own, which goes with it. */
#ifndef PE_TESTS_SINK_EMBEDDED_SUPPORT_H
#define PE_TESTS_SINK_EMBEDDED_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/block.h"
#include "sink/clickhouse.h"
#include "sink/embedded.h"

struct server {
  char dir[256];
  unsigned port;
  uv_loop_t loop;
  struct pe_embedded *embedded;
  struct pe_ch *ch;
};

static inline void quiet(const char *line, void *arg) {
  (void)line;
  (void)arg;
}

static inline void temp_folder(char *out, size_t size) {
  const char *base = getenv("TMPDIR");
  snprintf(out, size, "%s/client-test.XXXXXX", base && base[0] ? base : "/tmp");
  assert_non_null(mkdtemp(out));
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st;
  (void)flag;
  (void)ftw;
  return remove(path);
}
static inline void remove_folder(const char *dir) {
  nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A port that is free now, so that tests can run side by side. */
static inline unsigned free_port(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t n = sizeof a;
  assert_int_equal(0, bind(fd, (struct sockaddr *)&a, sizeof a));
  assert_int_equal(0, getsockname(fd, (struct sockaddr *)&a, &n));
  close(fd);
  return ntohs(a.sin_port);
}

static inline void options(struct pe_embedded_opts *o, const char *dir, unsigned port) {
  struct pe_err err = PE_ERR_INIT;
  char url[300];
  snprintf(url, sizeof url, "embedded:%s", dir);
  assert_int_equal(0, pe_embedded_parse_url(url, o, &err));
  o->port = port;
}

/* Whether the server can run at all here; asked by a start in a scratch folder. */
static inline bool have_server(void) {
  const char *chdb = getenv("PIPE_ENGINE_CHDB"), *cache = getenv("PIPE_ENGINE_CACHE"),
             *home = getenv("HOME");
  char path[512];
  if (chdb && access(chdb, R_OK) == 0) {
    return true;
  }
  snprintf(path, sizeof path, "%s/libchdb.so", cache ? cache : "");
  if (cache && access(path, R_OK) == 0) {
    return true;
  }
  snprintf(path, sizeof path, "%s/.cache/pipe-engine/libchdb.so", home ? home : "");
  if (access(path, R_OK) == 0) {
    return true;
  }
  return access("/usr/local/lib/pipe-engine/libchdb.so", R_OK) == 0;
}

static inline struct pe_ch *client(uv_loop_t *loop, unsigned port, const char *query) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  char url[200];
  snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, query);
  assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
  struct pe_ch *ch = NULL;
  assert_int_equal(0, pe_ch_create(loop, &o, &ch, &err));
  return ch;
}

static inline void server_start(struct server *s, unsigned port) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded_opts o;
  options(&o, s->dir, port);
  int code = pe_embedded_start(&s->loop, &o, &s->embedded, &err);
  if (code < 0) {
    print_error("%s\n", err.text);
  }
  assert_int_equal(0, code);
  s->ch = client(&s->loop, pe_embedded_port(s->embedded), "");
}

static inline int server_setup(void **state) {
  if (!getenv("VERBOSE")) {
    pe_log_hook(quiet, NULL);
  }
  struct server *s = calloc(1, sizeof *s);
  *state = s;
  temp_folder(s->dir, sizeof s->dir);
  uv_loop_init(&s->loop);
  if (have_server()) {
    s->port = free_port();
    server_start(s, s->port);
  }
  return 0;
}

static inline int server_teardown(void **state) {
  struct server *s = *state;
  pe_ch_destroy(s->ch);
  pe_embedded_stop(s->embedded);
  uv_run(&s->loop, UV_RUN_DEFAULT);
  assert_int_equal(0, uv_loop_close(&s->loop));
  remove_folder(s->dir);
  free(s);
  return 0;
}

static inline struct server *need(void **state) {
  struct server *s = *state;
  if (!s->embedded) {
    skip();
  }
  return s;
}

static inline void run_until(uv_loop_t *loop, bool (*done)(void *), void *arg, int timeout_ms) {
  const int64_t deadline = pe_clock_us() + (int64_t)timeout_ms * 1000;
  while (!done(arg)) {
    assert_true(pe_clock_us() < deadline);
    uv_run(loop, UV_RUN_NOWAIT);
    pe_sleep_ms(1);
  }
}

static inline void exec_ok(struct pe_ch *ch, const char *sql) {
  struct pe_err err = PE_ERR_INIT;
  int code = pe_ch_exec(ch, sql, NULL, NULL, &err);
  if (code < 0) {
    print_error("%s: %s\n", sql, err.text);
  }
  assert_int_equal(0, code);
}

static inline void assert_value(struct pe_ch *ch, const char *sql, const char *expected) {
  struct pe_err err = PE_ERR_INIT;
  char value[512];
  int code = pe_ch_value(ch, sql, value, sizeof value, &err);
  if (code != 1) {
    print_error("%s: %s\n", sql, err.text);
  }
  assert_int_equal(1, code);
  assert_string_equal(expected, value);
}

/* A Native block `a` UInt64 (from, from+1, ...), optionally with a String column beside. */
static inline void put_varint(struct pe_buf *b, uint64_t v) {
  for (; v >= 0x80; v >>= 7) {
    uint8_t byte = (uint8_t)(v | 0x80);
    pe_buf_put(b, &byte, 1);
  }
  uint8_t last = (uint8_t)v;
  pe_buf_put(b, &last, 1);
}
static inline void put_text(struct pe_buf *b, const char *s) {
  put_varint(b, strlen(s));
  pe_buf_puts(b, s);
}
static inline void native_block(struct pe_buf *b, const char *column, uint64_t from,
                                uint64_t rows) {
  put_varint(b, 1);
  put_varint(b, rows);
  put_text(b, column);
  put_text(b, "UInt64");
  for (uint64_t v = from; v < from + rows; v++) {
    pe_buf_put(b, &v, sizeof v);
  }
}

#endif
