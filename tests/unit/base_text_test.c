/* Errors, buffers, words, hashes and log lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/str.h"

static void err_chain_reads_from_outside_in(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_err_set(&err, PE_EIO, PE_CLASS_RETRY, "cannot read %s", "a.txt"), PE_EIO);
  assert_int_equal(pe_err_wrap(&err, "loading pipeline %d", 7), PE_EIO);
  assert_string_equal(err.text, "loading pipeline 7: cannot read a.txt");
  assert_int_equal(err.cls, PE_CLASS_RETRY);
  pe_err_set(&err, PE_EDATA, PE_CLASS_FATAL, "then <%s>", err.text);
  assert_string_equal(err.text, "then <loading pipeline 7: cannot read a.txt>");
  assert_int_equal(pe_err_set(NULL, PE_EIO, PE_CLASS_FATAL, "x"), PE_EIO);
}

static void err_cuts_long_texts(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  char *big = malloc(5001);
  memset(big, 'a', 5000);
  big[5000] = 0;
  pe_err_set(&err, PE_EIO, PE_CLASS_FATAL, "%s", big);
  assert_int_equal(strlen(err.text), PE_ERR_TEXT_MAX - 1);
  assert_string_equal(err.text + PE_ERR_TEXT_MAX - 4, "...");
  pe_err_set(&err, PE_EIO, PE_CLASS_FATAL, "%.*s", PE_ERR_TEXT_MAX - 6, big);
  pe_err_wrap(&err, "outer");
  assert_int_equal(strlen(err.text), PE_ERR_TEXT_MAX - 1);
  assert_memory_equal(err.text, "outer: aaa", 10);
  assert_string_equal(err.text + PE_ERR_TEXT_MAX - 4, "...");
  pe_err_set(&err, PE_EIO, PE_CLASS_FATAL, "%.*s", PE_ERR_TEXT_MAX - 6, big);
  pe_err_wrap(&err, "abc"); /* exactly full: nothing is cut */
  assert_int_equal(strlen(err.text), PE_ERR_TEXT_MAX - 1);
  assert_string_equal(err.text + PE_ERR_TEXT_MAX - 4, "aaa");
  pe_err_set(&err, PE_EIO, PE_CLASS_FATAL, "%.*s", PE_ERR_TEXT_MAX - 6, big);
  pe_err_wrap(&err, "abcd"); /* one too many */
  assert_string_equal(err.text + PE_ERR_TEXT_MAX - 4, "...");
  pe_err_set(&err, PE_EIO, PE_CLASS_FATAL, "x");
  pe_err_wrap(&err, "%s", big);
  assert_string_equal(err.text + PE_ERR_TEXT_MAX - 4, "...");
  free(big);
}

static void err_codes_have_names_and_exit_codes(void **state) {
  (void)state;
  assert_string_equal(pe_err_name(PE_ESOURCE_PURGED), "source_purged");
  assert_int_equal(pe_err_exit_code(PE_ESOURCE_PURGED), 66);
  assert_int_equal(pe_err_exit_code(PE_OK), 0);
  assert_int_equal(pe_err_exit_code(PE_ESTOPPED), 0);
  assert_int_equal(pe_err_exit_code(-999), 70);
  for (int code = PE_OK; code >= PE_ESOURCE_OTHER; code--) {
    for (int other = code - 1; other >= PE_ESOURCE_OTHER; other--) {
      assert_string_not_equal(pe_err_name(code), pe_err_name(other));
    }
  }
}

static void buf_grows_and_formats(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  assert_string_equal(pe_buf_cstr(&b), "");
  for (int i = 0; i < 1000; i++) {
    pe_buf_printf(&b, "%d,", i);
  }
  assert_true(pe_buf_ok(&b));
  assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
  assert_memory_equal(pe_buf_cstr(&b), "0,1,2,", 6);
  assert_string_equal(pe_buf_cstr(&b) + b.len - 8, "998,999,");
  pe_buf_close(&b);
}

static void buf_out_of_memory_is_kept(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  pe_buf_puts(&b, "kept");
  assert_false(pe_buf_reserve(&b, SIZE_MAX / 2));
  pe_buf_puts(&b, "ignored");
  pe_buf_printf(&b, "%s", "ignored");
  assert_false(pe_buf_ok(&b));
  assert_string_equal(pe_buf_cstr(&b), "kept");
  pe_buf_clear(&b);
  assert_true(pe_buf_ok(&b));
  pe_buf_close(&b);
}

static void check_json(const char *in, size_t n, const char *want) {
  struct pe_buf b;
  pe_buf_init(&b);
  pe_buf_put_json(&b, in, n);
  assert_string_equal(pe_buf_cstr(&b), want);
  pe_buf_close(&b);
}

static void buf_json(void **state) {
  (void)state;
  check_json("a\"b\\c\n\x01", 7, "\"a\\\"b\\\\c\\n\\u0001\"");
  check_json("\xc3\xa4\xf0\x9f\x98\x80", 6, "\"\xc3\xa4\xf0\x9f\x98\x80\"");
  check_json("a\xff", 2, "\"a\\ufffd\"");
  check_json("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");                       /* overlong */
  check_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");            /* a surrogate */
  check_json("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* beyond U+10FFFF */
  check_json("x\xe2\x82", 3, "\"x\\ufffd\\ufffd\"");                     /* cut */
  check_json("a\0b", 3, "\"a\\u0000b\"");
  check_json(NULL, 0, "\"\"");
}

static void buf_sql(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  pe_buf_put_sql(&b, "it's \\ a\0\n", 10);
  assert_string_equal(pe_buf_cstr(&b), "'it\\'s \\\\ a\\0\\n'");
  pe_buf_clear(&b);
  pe_buf_put_ident(&b, "a`b\\");
  pe_buf_puts(&b, " ");
  pe_buf_put_ident_ch(&b, "a`b\\");
  assert_string_equal(pe_buf_cstr(&b), "`a``b\\` `a``b\\\\`");
  pe_buf_close(&b);
}

static void nearest_word(void **state) {
  (void)state;
  const char *const words[] = {"transform", "partitions", "pii", "dlq"};
  assert_string_equal(pe_str_nearest("transfrom", words, 4), "transform");
  assert_string_equal(pe_str_nearest("partition", words, 4), "partitions");
  assert_string_equal(pe_str_nearest("ppi", words, 4), "pii");
  assert_null(pe_str_nearest("colour", words, 4));
  assert_null(pe_str_nearest("", words, 4));
  char big[1000];
  memset(big, 'x', sizeof(big) - 1);
  big[sizeof(big) - 1] = 0;
  assert_null(pe_str_nearest(big, words, 4));
}

static void hashes(void **state) {
  (void)state;
  char hex[65];
  pe_sha256_hex("abc", 3, hex);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  pe_sha256_hex(NULL, 0, hex);
  assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  /* RFC 4231, test case 2 */
  uint8_t mac[32];
  pe_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
  static const uint8_t want[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e};
  assert_memory_equal(mac, want, sizeof(want));
  uint8_t empty[32];
  pe_hmac_sha256(NULL, 0, "x", 1, empty); /* not the key of the call before */
  assert_memory_not_equal(mac, empty, 32);
}

static char lines[4][8192];
static int nlines;
static void keep_line(const char *line, void *arg) {
  assert_ptr_equal(arg, &nlines);
  snprintf(lines[nlines++ & 3], sizeof(lines[0]), "%s", line);
}

static void log_lines(void **state) {
  (void)state;
  pe_log_hook(keep_line, &nlines);
  pe_log_setup(PE_LOG_INFO, false);
  pe_debug("source", "not this");
  pe_info("source", "read %d rows\nand more", 5);
  assert_int_equal(nlines, 1);
  assert_int_equal(lines[0][10], 'T');
  assert_int_equal(lines[0][19], '.');
  assert_string_equal(lines[0] + 23, "Z info  source   read 5 rows and more");
  pe_log_setup(PE_LOG_DEBUG, true);
  pe_warn("sink", "a \"quoted\" word");
  assert_int_equal(nlines, 2);
  assert_memory_equal(lines[1], "{\"ts\":\"20", 9);
  assert_non_null(strstr(
      lines[1], "Z\",\"level\":\"warn\",\"module\":\"sink\",\"msg\":\"a \\\"quoted\\\" word\"}"));
  char *big = malloc(20001);
  memset(big, 'y', 20000);
  big[20000] = 0;
  pe_log_setup(PE_LOG_INFO, false);
  pe_error("sink", "%s", big);
  assert_true(strlen(lines[2]) < 5000);
  assert_string_equal(lines[2] + strlen(lines[2]) - 4, "y...");
  free(big);
  pe_log_hook(NULL, NULL);
}

static void log_writes_one_line(void **state) {
  (void)state;
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  int keep = dup(STDERR_FILENO);
  dup2(fds[1], STDERR_FILENO);
  pe_info("app", "hello");
  dup2(keep, STDERR_FILENO);
  close(keep);
  close(fds[1]);
  char text[256] = {0};
  ssize_t n = read(fds[0], text, sizeof(text) - 1);
  close(fds[0]);
  assert_true(n > 0);
  assert_string_equal(text + n - 6, "hello\n");
}

static void assertion_says_where_and_aborts(void **state) {
  (void)state;
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  if (pid == 0) {
    signal(SIGABRT, SIG_DFL);
    dup2(fds[1], STDERR_FILENO);
    PE_ASSERT(1 == 1);
    PE_ASSERT(pid == 7);
    _exit(0);
  }
  close(fds[1]);
  char text[512] = {0};
  assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
  close(fds[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_non_null(strstr(text, "base_text_test.c:"));
  assert_non_null(strstr(text, "pid == 7"));
}

static void clocks(void **state) {
  (void)state;
  int64_t a = pe_clock_us();
  pe_sleep_ms(15);
  int64_t b = pe_clock_us();
  assert_true(b - a >= 15000 && b - a < 5000000);
  assert_true(pe_clock_wall_us() > INT64_C(1577836800000000)); /* 2020 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(err_chain_reads_from_outside_in),
      cmocka_unit_test(err_cuts_long_texts),
      cmocka_unit_test(err_codes_have_names_and_exit_codes),
      cmocka_unit_test(buf_grows_and_formats),
      cmocka_unit_test(buf_out_of_memory_is_kept),
      cmocka_unit_test(buf_json),
      cmocka_unit_test(buf_sql),
      cmocka_unit_test(nearest_word),
      cmocka_unit_test(hashes),
      cmocka_unit_test(log_lines),
      cmocka_unit_test(log_writes_one_line),
      cmocka_unit_test(assertion_says_where_and_aborts),
      cmocka_unit_test(clocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
