/* The ClickHouse client without a server: URLs, error classes, the filter over exception texts,
 * bodies, and a server that refuses or breaks connections. */
#include "sink_embedded_support.h"

#include <lz4frame.h>
#include <pthread.h>
#include <sys/wait.h>

#include "sink/clickhouse_internal.h"

static void test_url(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  assert_int_equal(0, pe_ch_parse_url("http://127.0.0.1", &o, &err));
  assert_string_equal("http://127.0.0.1:8123", o.url);
  assert_string_equal("default", o.database);
  assert_true(o.tls_verify);
  assert_int_equal(-1, o.compress);
  assert_int_equal(
      0, pe_ch_parse_url("https://me:p%40ss%2Fw@ch.example.org/shop?verify=0&ca=/a%20b.pem", &o,
                         &err));
  assert_string_equal("https://ch.example.org:8443", o.url);
  assert_string_equal("me", o.user);
  assert_string_equal("p@ss/w", o.password);
  assert_string_equal("shop", o.database);
  assert_string_equal("/a b.pem", o.tls_ca);
  assert_false(o.tls_verify);
  const char *const bad[] = {"",
                             "ftp://x/",
                             "embedded:./data",
                             "http://",
                             "http://x/a/b",
                             "http://x?verfy=0",
                             "http://x:99999/",
                             "http://x?verify=2"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(PE_ECONFIG, pe_ch_parse_url(bad[i], &o, &err));
  }
  assert_int_equal(PE_ECONFIG, pe_ch_parse_url("http://u:canary@x:1:2/", &o, &err));
  assert_null(strstr(err.text, "canary"));
}

static void check_class(int ch_code, enum pe_class cls, int code) {
  struct pe_ch_verdict v = pe_ch_classify(ch_code);
  assert_int_equal(cls, v.cls);
  assert_int_equal(code, v.code);
}

static void test_classes(void **state) {
  (void)state;
  const int retry[] = {241, 252, 202, 159, 209, 210, 164, 242, 236, 999, 243, 425, 1001};
  for (size_t i = 0; i < sizeof retry / sizeof *retry; i++) {
    check_class(retry[i], PE_CLASS_RETRY, PE_ESINK_DOWN);
  }
  const int schema[] = {60, 81, 16, 47, 10};
  for (size_t i = 0; i < sizeof schema / sizeof *schema; i++) {
    check_class(schema[i], PE_CLASS_FATAL, PE_ESINK_SCHEMA);
  }
  check_class(497, PE_CLASS_FATAL, PE_ESINK_AUTH);
  check_class(516, PE_CLASS_FATAL, PE_ESINK_AUTH);
  const int poison[] = {6, 27, 33, 41, 53, 70, 117, 321, 349, 469, 691};
  for (size_t i = 0; i < sizeof poison / sizeof *poison; i++) {
    check_class(poison[i], PE_CLASS_POISON, PE_ESINK_REFUSED);
  }
  check_class(62, PE_CLASS_FATAL, PE_ESINK_REFUSED);
  check_class(4711, PE_CLASS_FATAL, PE_ESINK_REFUSED); /* unknown: nothing is thrown away for it */
}

static void check_text(const char *body, int code, const char *expected) {
  char text[512];
  assert_int_equal(code, pe_ch_exception_text(body, strlen(body), 0, text, sizeof text));
  assert_string_equal(expected, text);
}

/* Bodies as ClickHouse 26.7 sent them. */
static void test_values_leave_the_text(void **state) {
  (void)state;
  check_text(
      "Code: 60. DB::Exception: Table default.nonexist does not exist. (UNKNOWN_TABLE) "
      "(version 26.7.2.1)\n",
      60, "ClickHouse error 60 UNKNOWN_TABLE: Table default.nonexist does not exist.");
  check_text(
      "Code: 47. DB::Exception: Unknown expression identifier `foo` in scope SELECT foo, 'jane' "
      "FROM t1. (UNKNOWN_IDENTIFIER) (version 26.7.2.1)",
      47, "ClickHouse error 47 UNKNOWN_IDENTIFIER: Unknown expression identifier `foo`");
  check_text(
      "Code: 469. DB::Exception: Constraint `c` for table default.t1 (546e) is violated at row 17. "
      "Expression: (a < 100). Column values: a = 150. (VIOLATED_CONSTRAINT) (version 26.7.2.1)",
      469,
      "ClickHouse error 469 VIOLATED_CONSTRAINT: Constraint `c` for table default.t1 (?) is "
      "violated "
      "at row 17. Expression: (a < ?). ");
  check_text(
      "Code: 27. DB::Exception: Cannot parse input: expected '\\t' before: 'jane\\tx': (at row 1)\n"
      ": While executing X. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.7.2.1)",
      27,
      "ClickHouse error 27 CANNOT_PARSE_INPUT_ASSERTION_FAILED: Cannot parse input: expected "
      "'...'");
  check_text(
      "Code: 6. DB::Exception: Cannot parse string 'it\\'s jane' as UInt8: value 4711 of "
      "DateTime64(3): In scope SELECT toUInt8('jane'). (CANNOT_PARSE_TEXT) (version 26.7.2.1)",
      6,
      "ClickHouse error 6 CANNOT_PARSE_TEXT: Cannot parse string '...' as UInt8: value ? of "
      "DateTime64(3)");
  check_text(
      "Code: 62. DB::Exception: Syntax error: failed at position 9 (secret): secret x. Expected "
      "one "
      "of: token. (SYNTAX_ERROR) (version 26.7.2.1)",
      62, "ClickHouse error 62 SYNTAX_ERROR: Syntax error: failed at position 9");
  check_text(
      "Code: 376. DB::Exception: Cannot parse uuid jane-doe: while converting column `u`. "
      "(CANNOT_PARSE_UUID) (version 26.7.2.1)",
      376, "ClickHouse error 376 CANNOT_PARSE_UUID: `u` the value is left out");
  check_text(
      "Code: 241. DB::Exception: (total) memory limit exceeded: would use 1.50 GiB. "
      "(MEMORY_LIMIT_EXCEEDED) (version 26.7.2.1)",
      241,
      "ClickHouse error 241 MEMORY_LIMIT_EXCEEDED: (total) memory limit exceeded: would use 1.50 "
      "GiB.");
}

static void test_text_of_nonsense(void **state) {
  (void)state;
  char text[64];
  const char *const odd[] = {"",
                             "Code: ",
                             "Code: 99999999999999. x",
                             "Code: 6. 'unclosed",
                             "Code: 6. `",
                             "\xff\xfe",
                             "Code: 60. DB::Exception: ( (version "};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    pe_ch_exception_text(odd[i], strlen(odd[i]), 0, text, sizeof text);
    pe_ch_exception_text(odd[i], strlen(odd[i]), 6, text, sizeof text);
    assert_true(strlen(text) < sizeof text);
  }
  assert_int_equal(0, pe_ch_exception_text("hello", 5, 0, text, sizeof text));
}

static void test_http_without_exception(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  pe_ch_exception_error(&err, "busy", 4, 0, 503);
  assert_int_equal(PE_CLASS_RETRY, err.cls);
  pe_ch_exception_error(&err, "", 0, 0, 401);
  assert_int_equal(PE_ESINK_AUTH, err.code);
  pe_ch_exception_error(&err, "", 0, 0, 413);
  assert_int_equal(PE_CLASS_POISON, err.cls);
  pe_ch_exception_error(&err, "<html>", 6, 0, 404);
  assert_int_equal(PE_CLASS_FATAL, err.cls);
}

static void fill(uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    p[i] = (uint8_t)(i * i >> 3);
  }
}

static void test_body_reads_all_pieces(void **state) {
  (void)state;
  uint8_t data[1000], got[1000];
  fill(data, sizeof data);
  const struct pe_iov iov[] = {{data, 1}, {NULL, 0}, {data + 1, 600}, {data + 601, 399}, {NULL, 0}};
  assert_int_equal(1000, pe_ch_body_bytes(iov, 5));
  const size_t steps[] = {1, 7, 400, 1000, 5000};
  for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
    struct pe_ch_body body;
    pe_ch_body_init(&body, iov, 5);
    char chunk[5000];
    size_t n, at = 0;
    while ((n = pe_ch_body_read(chunk, 1, steps[s], &body)) > 0) {
      assert_true(at + n <= sizeof got);
      memcpy(got + at, chunk, n);
      at += n;
    }
    assert_int_equal(sizeof data, at);
    assert_memory_equal(data, got, sizeof data);
  }
}

static void test_lz4_frame(void **state) {
  (void)state;
  enum { N = 700 * 1024 };
  uint8_t *data = malloc(N), *back = malloc(N);
  fill(data, N);
  const struct pe_iov iov[] = {{data, 10}, {NULL, 0}, {data + 10, 300}, {data + 310, N - 310}};
  struct pe_buf out;
  pe_buf_init(&out);
  assert_int_equal(0, pe_ch_body_lz4(iov, 4, &out));
  assert_int_equal(0, pe_ch_body_lz4(iov, 4, &out)); /* again into the same buffer */
  LZ4F_dctx *d = NULL;
  LZ4F_createDecompressionContext(&d, LZ4F_VERSION);
  size_t at = 0, from = 0;
  while (from < out.len) {
    size_t room = N - at, have = out.len - from;
    size_t left = LZ4F_decompress(d, back + at, &room, out.data + from, &have, NULL);
    assert_false(LZ4F_isError(left));
    at += room;
    from += have;
  }
  assert_int_equal(N, at);
  assert_memory_equal(data, back, N);
  LZ4F_freeDecompressionContext(d);
  pe_buf_close(&out);
  free(data);
  free(back);
}

/* --- a server that is none ------------------------------------------------------------------- */

struct fake {
  int fd;
  unsigned port;
  const char *answer; /* NULL: hang up at once */
  pthread_t thread;
};

static void *fake_run(void *arg) {
  struct fake *f = arg;
  for (;;) {
    int c = accept(f->fd, NULL, NULL);
    if (c < 0) {
      return NULL;
    }
    char request[4096];
    ssize_t n = recv(c, request, sizeof request, 0);
    if (n > 0 && f->answer) {
      send(c, f->answer, strlen(f->answer), MSG_NOSIGNAL);
    }
    close(c);
  }
}

static void fake_start(struct fake *f, const char *answer) {
  f->answer = answer;
  f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t n = sizeof a;
  assert_int_equal(0, bind(f->fd, (struct sockaddr *)&a, sizeof a));
  assert_int_equal(0, listen(f->fd, 8));
  getsockname(f->fd, (struct sockaddr *)&a, &n);
  f->port = ntohs(a.sin_port);
  assert_int_equal(0, pthread_create(&f->thread, NULL, fake_run, f));
}

static void fake_stop(struct fake *f) {
  shutdown(f->fd, SHUT_RDWR);
  pthread_join(f->thread, NULL);
  close(f->fd);
}

static void test_not_listening(void **state) {
  (void)state;
  struct fake f;
  fake_start(&f, NULL); /* to have a port that is free afterwards */
  fake_stop(&f);
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch *ch = client(NULL, f.port, "");
  assert_int_equal(PE_ESINK_DOWN, pe_ch_exec(ch, "SELECT 1", NULL, NULL, &err));
  assert_int_equal(PE_CLASS_RETRY, err.cls);
  pe_ch_destroy(ch);
}

static void test_broken_connections(void **state) {
  (void)state;
  const char *const answers[] = {
      NULL,
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut",
      "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
      "nonsense",
  };
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
    struct fake f;
    fake_start(&f, answers[i]);
    struct pe_err err = PE_ERR_INIT;
    struct pe_ch *ch = client(NULL, f.port, "");
    assert_int_equal(PE_ESINK_DOWN, pe_ch_exec(ch, "SELECT 1", NULL, NULL, &err));
    assert_int_equal(PE_CLASS_RETRY, err.cls);
    pe_ch_destroy(ch);
    fake_stop(&f);
  }
}

static void test_answer_before_the_body_was_read(void **state) {
  (void)state;
  struct fake f;
  fake_start(&f,
             "HTTP/1.1 404 Not Found\r\nX-ClickHouse-Exception-Code: 60\r\nContent-Length: 46\r\n"
             "Connection: close\r\n\r\nCode: 60. DB::Exception: No. (UNKNOWN_TABLE) \n\n");
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch *ch = client(NULL, f.port, "");
  enum { N = 8 * 1024 * 1024 };
  char *body = calloc(1, N);
  int code = pe_ch_insert_body(ch, "INSERT INTO t FORMAT Native", NULL, body, N, &err);
  /* Either the answer was read (the verdict is known) or the connection broke first (retry). */
  assert_true(code == PE_ESINK_SCHEMA || (code == PE_ESINK_DOWN && err.cls == PE_CLASS_RETRY));
  free(body);
  pe_ch_destroy(ch);
  fake_stop(&f);
}

static void test_tls_to_a_plain_server(void **state) {
  (void)state;
  struct fake f;
  fake_start(&f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  char url[64];
  snprintf(url, sizeof url, "https://127.0.0.1:%u", f.port);
  assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
  struct pe_ch *ch = NULL;
  assert_int_equal(0, pe_ch_create(NULL, &o, &ch, &err));
  assert_true(pe_ch_exec(ch, "SELECT 1", NULL, NULL, &err) < 0);
  pe_ch_destroy(ch);
  fake_stop(&f);
}

/* A real TLS server with a certificate of its own, where the openssl command is at hand. */
static void test_certificates(void **state) {
  (void)state;
  char dir[256], command[900], url[400];
  temp_folder(dir, sizeof dir);
  snprintf(command, sizeof command,
           "openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/k.pem -out %s/c.pem -days 2 -subj "
           "/CN=localhost -addext subjectAltName=IP:127.0.0.1 >/dev/null 2>&1",
           dir, dir);
  if (system(command) != 0) {
    remove_folder(dir);
    skip();
  }
  const unsigned port = free_port();
  pid_t server = fork();
  if (server == 0) {
    char accept_at[32], cert[300], key[300];
    snprintf(accept_at, sizeof accept_at, "127.0.0.1:%u", port);
    snprintf(cert, sizeof cert, "%s/c.pem", dir);
    snprintf(key, sizeof key, "%s/k.pem", dir);
    execlp("openssl", "openssl", "s_server", "-quiet", "-accept", accept_at, "-cert", cert, "-key",
           key, "-www", (char *)NULL);
    _exit(127);
  }
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  struct pe_ch *ch = NULL;
  snprintf(url, sizeof url, "https://127.0.0.1:%u", port);
  assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
  assert_int_equal(0, pe_ch_create(NULL, &o, &ch, &err));
  int code = PE_ESINK_DOWN; /* until it listens */
  for (int n = 0; n < 200 && code == PE_ESINK_DOWN; n++) {
    code = pe_ch_exec(ch, "SELECT 1", NULL, NULL, &err);
    pe_sleep_ms(20);
  }
  pe_ch_destroy(ch);
  assert_int_equal(PE_ESINK_AUTH, code);
  assert_int_equal(PE_CLASS_FATAL, err.cls);
  assert_non_null(strstr(err.text, "ca=FILE"));

  /* With its authority named, or without verification, whatever fails now isn't the trust. */
  for (int n = 0; n < 2; n++) {
    char query[300];
    if (n == 0) {
      snprintf(query, sizeof query, "?ca=%s/c.pem", dir);
    } else {
      snprintf(query, sizeof query, "?verify=0");
    }
    snprintf(url, sizeof url, "https://127.0.0.1:%u%s", port, query);
    assert_int_equal(0, pe_ch_parse_url(url, &o, &err));
    o.timeout_ms = 500;
    assert_int_equal(0, pe_ch_create(NULL, &o, &ch, &err));
    assert_int_not_equal(PE_ESINK_AUTH, pe_ch_exec(ch, "SELECT 1", NULL, NULL, &err));
    pe_ch_destroy(ch);
  }
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
  remove_folder(dir);
}

static void test_newline_in_password(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_opts o;
  assert_int_equal(PE_ECONFIG, pe_ch_parse_url("http://u:a%0Ab@127.0.0.1", &o, &err));
  assert_int_equal(0, pe_ch_parse_url("http://u@127.0.0.1", &o, &err));
  snprintf(o.password, sizeof o.password, "a\nX-Other: b");
  struct pe_ch *ch = NULL;
  assert_int_equal(PE_ECONFIG, pe_ch_create(NULL, &o, &ch, &err));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_url),
      cmocka_unit_test(test_classes),
      cmocka_unit_test(test_values_leave_the_text),
      cmocka_unit_test(test_text_of_nonsense),
      cmocka_unit_test(test_http_without_exception),
      cmocka_unit_test(test_body_reads_all_pieces),
      cmocka_unit_test(test_lz4_frame),
      cmocka_unit_test(test_not_listening),
      cmocka_unit_test(test_broken_connections),
      cmocka_unit_test(test_answer_before_the_body_was_read),
      cmocka_unit_test(test_tls_to_a_plain_server),
      cmocka_unit_test(test_certificates),
      cmocka_unit_test(test_newline_in_password),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
