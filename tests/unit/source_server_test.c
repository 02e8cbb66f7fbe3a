/* Connecting to what is no working server: nobody there, one that hangs up, one that says nothing,
 * one that talks nonsense. Each is PE_ESOURCE_DOWN to try again, and none blocks for long. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "source/server.h"

static int listen_somewhere(unsigned *port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof(a);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
  assert_int_equal(listen(fd, 4), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
  *port = ntohs(a.sin_port);
  return fd;
}

static struct pe_source_opts to_port(unsigned port) {
  struct pe_source_opts o;
  struct pe_err err = PE_ERR_INIT;
  char url[128];
  snprintf(url, sizeof(url), "mysql://u:geheim@127.0.0.1:%u/d", port);
  assert_int_equal(pe_source_parse_url(url, &o, &err), 0);
  o.connect_timeout_ms = 1000;
  o.read_timeout_ms = 1000;
  return o;
}

static struct pe_err refused(const struct pe_source_opts *o) {
  struct pe_err err = PE_ERR_INIT;
  int64_t before = pe_clock_us();
  assert_null(pe_source_connect(o, &err));
  assert_true(pe_clock_us() - before < 10000000);
  assert_null(strstr(err.text, "geheim"));
  return err;
}

static void nobody_there(void **state) {
  (void)state;
  unsigned port;
  close(listen_somewhere(&port));
  struct pe_source_opts o = to_port(port);
  struct pe_err err = refused(&o);
  assert_int_equal(err.code, PE_ESOURCE_DOWN);
  assert_int_equal(err.cls, PE_CLASS_RETRY);
  char where[64];
  snprintf(where, sizeof(where), "127.0.0.1:%u", port);
  assert_non_null(strstr(err.text, where));
  assert_non_null(strstr(err.text, "is the server running"));
}

static void no_such_socket(void **state) {
  (void)state;
  struct pe_source_opts o = to_port(1);
  snprintf(o.socket, sizeof(o.socket), "/nowhere/mysqld.sock");
  struct pe_err err = refused(&o);
  assert_int_equal(err.code, PE_ESOURCE_DOWN);
  assert_int_equal(err.cls, PE_CLASS_RETRY);
  assert_non_null(strstr(err.text, "/nowhere/mysqld.sock"));
}

struct peer {
  int fd;
  const char *says; /* NULL: hangs up at once */
};

static void *answer(void *arg) {
  struct peer *p = arg;
  int c = accept(p->fd, NULL, NULL);
  if (c >= 0) {
    if (p->says) {
      ssize_t sent = write(c, p->says, strlen(p->says));
      (void)sent;
      char buf[64];
      while (read(c, buf, sizeof(buf)) > 0) {
      }
    }
    close(c);
  }
  return NULL;
}

static void strange_server(const char *says) {
  unsigned port;
  struct peer p = {listen_somewhere(&port), says};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, answer, &p), 0);
  struct pe_source_opts o = to_port(port);
  struct pe_err err = refused(&o);
  assert_int_equal(err.code, PE_ESOURCE_DOWN);
  assert_int_equal(err.cls, PE_CLASS_RETRY);
  pthread_join(thread, NULL);
  close(p.fd);
}

static void strange_servers(void **state) {
  (void)state;
  strange_server(NULL);
  strange_server("");
  strange_server("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_there),
                                     cmocka_unit_test(no_such_socket),
                                     cmocka_unit_test(strange_servers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
