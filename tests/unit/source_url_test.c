/* mysql:// URLs: what each part becomes, and messages that never hold the password. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source/server.h"

static struct pe_source_opts parsed(const char *url) {
  struct pe_source_opts o;
  struct pe_err err = PE_ERR_INIT;
  int rc = pe_source_parse_url(url, &o, &err);
  if (rc) {
    fail_msg("%s: %s", url, err.text);
  }
  return o;
}

static void refused(const char *url, const char *part) {
  struct pe_source_opts o;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_source_parse_url(url, &o, &err), PE_ECONFIG);
  assert_int_equal(err.cls, PE_CLASS_FATAL);
  if (!strstr(err.text, part)) {
    fail_msg("'%s' does not say '%s'", err.text, part);
  }
  assert_null(strstr(err.text, "geheim"));
}

static void all_parts(void **state) {
  (void)state;
  struct pe_source_opts o = parsed(
      "mysql://cdc:p%40ss%3a%2F@db.example:3307/shop%20a"
      "?tls=verify&ca=/etc/ca.pem&compress=1");
  assert_string_equal(o.user, "cdc");
  assert_string_equal(o.password, "p@ss:/");
  assert_string_equal(o.host, "db.example");
  assert_int_equal(o.port, 3307);
  assert_string_equal(o.database, "shop a");
  assert_int_equal(o.tls, PE_TLS_VERIFY);
  assert_string_equal(o.tls_ca, "/etc/ca.pem");
  assert_true(o.compress);
}

static void few_parts(void **state) {
  (void)state;
  struct pe_source_opts o = parsed("mysql://root@localhost");
  assert_string_equal(o.user, "root");
  assert_string_equal(o.password, "");
  assert_int_equal(o.port, 3306);
  assert_string_equal(o.database, "");
  assert_int_equal(o.tls, PE_TLS_DEFAULT);
  assert_false(o.compress);
  o = parsed("mariadb://u:p@[2001:db8::1]:3308/d?tls=off");
  assert_string_equal(o.host, "2001:db8::1");
  assert_int_equal(o.port, 3308);
  assert_int_equal(o.tls, PE_TLS_OFF);
  o = parsed("mysql://u:p@[::1]");
  assert_string_equal(o.host, "::1");
  o = parsed("mysql://u:p@/d?socket=/run/my%3Fsqld.sock");
  assert_string_equal(o.socket, "/run/my?sqld.sock");
  assert_string_equal(o.host, "");
  o = parsed("mysql://u:p@x@h/d"); /* a pasted password */
  assert_string_equal(o.password, "p@x");
  assert_string_equal(o.host, "h");
}

static void bad_parts(void **state) {
  (void)state;
  refused("postgres://u:geheim@h/d", "mysql://");
  refused("", "mysql://");
  refused("mysql://host/d", "no user");
  refused("mysql://:geheim@host/d", "no user");
  refused("mysql://u:geheim@/d", "no host");
  refused("mysql://u:geheim%4@h/d", "password");
  refused("mysql://u:geheim%zz@h/d", "password");
  refused("mysql://u:geheim%00@h/d", "password");
  refused("mysql://u:geheim@h:99999/d", "port");
  refused("mysql://u:geheim@h:0/d", "port");
  refused("mysql://u:geheim@h:12x/d", "port");
  refused("mysql://u:geheim@h:/d", "number");
  refused("mysql://u:geheim@[::1/d", "bracket");
  refused("mysql://u:geheim@[::1]x/d", "IPv6");
  refused("mysql://u:geheim@h/d?tls=geheim", "tls is off");
  refused("mysql://u:geheim@h/d?compress=2", "compress");
  refused("mysql://u:geheim@h/d?tls", "no value");
  refused("mysql://u:geheim@h/d?sockett=/x", "did you mean socket");
}

static void too_long(void **state) {
  (void)state;
  char url[1024] = "mysql://u:";
  memset(url + 10, 'x', 600);
  strcpy(url + 610, "@h/d");
  refused(url, "longer than");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_parts), cmocka_unit_test(few_parts),
                                     cmocka_unit_test(bad_parts), cmocka_unit_test(too_long)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
