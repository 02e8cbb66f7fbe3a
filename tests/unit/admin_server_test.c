/* The HTTP side against an engine of this file's own: what each page says, who may POST, sockets in
 * use, left over and too long, and that detaching waits for a request in flight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "admin/admin.h"
#include "base/clock.h"

/* ---- the engine, as far as admin uses it ---- */
struct pe_engine {
  atomic_int stops, reloads, reload_ms;
  int reload_code;
  bool ready;
};
static struct pe_engine fake;

void pe_engine_status(struct pe_engine *e, struct pe_engine_status *s) {
  memset(s, 0, sizeof(*s));
  s->state = "streaming";
  s->ready = e->ready;
  snprintf(s->reason, sizeof(s->reason), "%s", e->ready ? "" : "ClickHouse does not answer");
  snprintf(s->pipeline, sizeof(s->pipeline), "shop");
}
void pe_engine_latency(struct pe_engine *e, uint64_t counts[12], double *sum_ms) {
  (void)e;
  memset(counts, 0, 12 * sizeof(*counts));
  *sum_ms = 0;
}
void pe_engine_script_metrics(struct pe_engine *e, struct pe_buf *out) {
  (void)e;
  pe_buf_puts(out, "pipe_engine_script_seen_total 5\n");
}
void pe_engine_stop(struct pe_engine *e) {
  atomic_fetch_add(&e->stops, 1);
}
int pe_engine_reload(struct pe_engine *e, unsigned timeout_ms, struct pe_reload_result *r) {
  (void)timeout_ms;
  pe_sleep_ms((unsigned)atomic_load(&e->reload_ms));
  atomic_fetch_add(&e->reloads, 1);
  r->code = e->reload_code;
  snprintf(r->text, sizeof(r->text), "%s", r->code ? "kept" : "swapped");
  return r->code;
}

/* ---- */
static char dir[] = "/tmp/pe-admin-XXXXXX";
static struct pe_config cfg;
static struct pe_admin *admin;

static int group_setup(void **state) {
  (void)state;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  return mkdtemp(dir) ? 0 : -1;
}

static int group_teardown(void **state) {
  (void)state;
  char cmd[64];
  snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
  return system(cmd);
}

static int setup(void **state) {
  (void)state;
  static char name[] = "shop", file[] = "shop.lua", listen_at[] = "127.0.0.1:0";
  struct pe_err err = PE_ERR_INIT;
  memset(&fake, 0, sizeof(fake));
  fake.ready = true;
  cfg = (struct pe_config){.name = name,
                           .file = file,
                           .state_dir = dir,
                           .admin_listen = listen_at,
                           .ready_lag_ms = 1000};
  if (pe_admin_start(&cfg, &admin, &err) != 0) {
    print_error("%s\n", err.text);
    return -1;
  }
  pe_admin_attach(admin, &fake);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  pe_admin_stop(admin);
  admin = NULL;
  return 0;
}

static size_t take(char *p, size_t size, size_t n, void *arg) {
  pe_buf_put(arg, p, size * n);
  return size * n;
}

/* Over TCP; the HTTP status. */
static long tcp(const char *method, const char *path, const char *body, struct pe_buf *out) {
  char url[128];
  long code = 0;
  snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", pe_admin_port(admin), path);
  CURL *h = curl_easy_init();
  curl_easy_setopt(h, CURLOPT_URL, url);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, 10000L);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, out);
  if (body) {
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, body);
  }
  curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
  CURLcode rc = curl_easy_perform(h);
  curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &code);
  curl_easy_cleanup(h);
  return rc == CURLE_OK ? code : -(long)rc;
}

static long unix_call(const char *method, const char *path, struct pe_buf *out) {
  long status = 0;
  struct pe_err err = PE_ERR_INIT;
  int rc = pe_admin_call(&cfg, method, path, 10000, &status, out, &err);
  return rc == 0 ? status : -(long)rc;
}

static void page(long got, long code, struct pe_buf *b, const char *part) {
  if (got != code || !strstr(pe_buf_cstr(b), part)) {
    fail_msg("wanted %ld with \"%s\", got %ld: %s", code, part, got, pe_buf_cstr(b));
  }
  pe_buf_clear(b);
}

static void test_pages(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  page(tcp("GET", "/live", NULL, &b), 200, &b, "live");
  page(tcp("GET", "/", NULL, &b), 200, &b, "/metrics");
  page(tcp("GET", "/metrics", NULL, &b), 200, &b, "pipe_engine_script_seen_total 5");
  page(tcp("GET", "/ready", NULL, &b), 200, &b, "ready: streaming");
  page(tcp("GET", "/status", NULL, &b), 200, &b, "\"pipeline\":\"shop\"");
  page(tcp("GET", "/status?format=text", NULL, &b), 200, &b, "shop: streaming");
  page(tcp("GET", "/nothing", NULL, &b), 404, &b, "no such page");
  page(tcp("DELETE", "/metrics", NULL, &b), 405, &b, "wrong method");
  fake.ready = false;
  page(tcp("GET", "/ready", NULL, &b), 503, &b, "not ready: ClickHouse does not answer");
  page(unix_call("GET", "/ready", &b), 503, &b, "not ready: ClickHouse does not answer");
  pe_buf_close(&b);
}

static void test_post_only_through_the_socket(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  page(tcp("POST", "/stop", "", &b), 403, &b, "only through the control socket");
  page(tcp("POST", "/reload", "", &b), 403, &b, "only through the control socket");
  assert_int_equal(atomic_load(&fake.stops), 0);
  assert_int_equal(atomic_load(&fake.reloads), 0);
  page(unix_call("POST", "/stop", &b), 202, &b, "stopping");
  assert_int_equal(atomic_load(&fake.stops), 1);
  page(unix_call("POST", "/reload", &b), 200, &b, "\"swapped\":true");
  page(unix_call("POST", "/reload?format=text", &b), 200, &b, "swapped\n");
  fake.reload_code = PE_ESCRIPT;
  page(unix_call("POST", "/reload?format=text", &b), 409, &b, "kept\n");
  assert_int_equal(atomic_load(&fake.reloads), 3);
  assert_true(tcp("POST", "/stop", "a body that nobody asked for", &b) < 0);
  pe_buf_close(&b);
}

static void test_reload_without_waiting(void **state) {
  (void)state;
  struct pe_buf b;
  pe_buf_init(&b);
  atomic_store(&fake.reload_ms, 200);
  int64_t began = pe_clock_us();
  page(unix_call("POST", "/reload?wait=0", &b), 202, &b, "asked for");
  assert_true(pe_clock_us() - began < 150000);
  for (int i = 0; i < 100 && atomic_load(&fake.reloads) == 0; i++) {
    pe_sleep_ms(20);
  }
  assert_int_equal(atomic_load(&fake.reloads), 1);
  pe_buf_close(&b);
}

static void test_before_and_after(void **state) {
  (void)state;
  struct pe_buf b;
  struct pe_err err = PE_ERR_INIT;
  pe_buf_init(&b);
  pe_admin_stop(admin);
  assert_int_equal(pe_admin_start(&cfg, &admin, &err), 0);
  page(tcp("GET", "/ready", NULL, &b), 503, &b, "not ready: starting");
  page(tcp("GET", "/metrics", NULL, &b), 200, &b, "pipe_engine_ready 0");
  page(unix_call("GET", "/status", &b), 200, &b, "\"state\":\"starting\"");
  page(unix_call("POST", "/stop", &b), 503, &b, "still starting");
  page(unix_call("POST", "/reload", &b), 503, &b, "starting");
  pe_admin_attach(admin, &fake);
  page(unix_call("GET", "/ready", &b), 200, &b, "ready");
  pe_admin_attach(admin, NULL);
  page(unix_call("GET", "/ready", &b), 503, &b, "stopping");
  page(unix_call("POST", "/stop", &b), 202, &b, "stopping");
  assert_int_equal(atomic_load(&fake.stops), 0);
  pe_buf_close(&b);
}

static void *slow_reload(void *arg) {
  struct pe_buf b;
  pe_buf_init(&b);
  *(long *)arg = unix_call("POST", "/reload", &b);
  pe_buf_close(&b);
  return NULL;
}

static void test_detach_waits(void **state) {
  (void)state;
  long status = 0;
  pthread_t thread;
  atomic_store(&fake.reload_ms, 400);
  assert_int_equal(pthread_create(&thread, NULL, slow_reload, &status), 0);
  pe_sleep_ms(150);
  pe_admin_attach(admin, NULL);
  assert_int_equal(atomic_load(&fake.reloads), 1); /* it was in flight, and is over now */
  pthread_join(thread, NULL);
  assert_int_equal(status, 200);
}

static void test_socket_file(void **state) {
  (void)state;
  char path[100];
  struct stat s;
  struct pe_err err = PE_ERR_INIT;
  struct pe_admin *second = NULL;
  snprintf(path, sizeof(path), "%s/shop.sock", dir);
  assert_int_equal(stat(path, &s), 0);
  assert_int_equal(s.st_mode & 0777, 0600);
  assert_int_equal(pe_admin_start(&cfg, &second, &err), PE_ELOCKED);
  assert_non_null(strstr(err.text, "pipe-engine stop shop.lua"));
  assert_int_equal(stat(path, &s), 0); /* the refused one has not taken it away */

  pe_admin_stop(admin);
  assert_int_not_equal(stat(path, &s), 0);
  struct pe_buf b;
  pe_buf_init(&b);
  assert_int_equal(unix_call("GET", "/live", &b), -1); /* nobody there */

  int fd = socket(AF_UNIX, SOCK_STREAM, 0); /* left over by one that was killed */
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
  assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
  close(fd);
  assert_int_equal(unix_call("GET", "/live", &b), -1);
  assert_int_equal(pe_admin_start(&cfg, &admin, &err), 0);
  page(unix_call("GET", "/live", &b), 200, &b, "live");
  pe_admin_stop(admin);

  FILE *f = fopen(path, "w"); /* something else entirely: never removed */
  fclose(f);
  assert_int_equal(pe_admin_start(&cfg, &admin, &err), PE_EIO);
  assert_non_null(strstr(err.text, "not a socket"));
  assert_int_equal(unlink(path), 0);
  assert_int_equal(pe_admin_start(&cfg, &admin, &err), 0);
  pe_buf_close(&b);
}

static void test_refused_starts(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_admin *second = NULL;
  struct pe_config other = cfg;
  char name[] = "other", listen_at[64], nowhere[] = "/proc/nowhere";
  other.name = name;
  snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%u", pe_admin_port(admin));
  other.admin_listen = listen_at;
  assert_int_equal(pe_admin_start(&other, &second, &err), PE_EIO);
  assert_non_null(strstr(err.text, "in use"));
  assert_non_null(strstr(err.text, "set another port"));
  char path[128];
  snprintf(path, sizeof(path), "%s/other.sock", dir);
  assert_int_not_equal(access(path, F_OK), 0); /* taken down again */
  other.state_dir = nowhere;
  assert_int_equal(pe_admin_start(&other, &second, &err), PE_EIO);
  assert_non_null(strstr(err.text, "/proc/nowhere"));
}

/* A socket's path has room for 107 bytes; a state folder may be deeper. */
static void test_long_path(void **state) {
  (void)state;
  char deep[512];
  struct pe_err err = PE_ERR_INIT;
  struct pe_buf b;
  pe_buf_init(&b);
  pe_admin_stop(admin);
  snprintf(deep, sizeof(deep), "%s/%0100d/%0100d", dir, 1, 2);
  cfg.state_dir = deep;
  if (pe_admin_start(&cfg, &admin, &err) != 0) {
    fail_msg("%s", err.text);
  }
  pe_admin_attach(admin, &fake);
  page(unix_call("GET", "/ready", &b), 200, &b, "ready");
  pe_buf_close(&b);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(test_pages),
      T(test_post_only_through_the_socket),
      T(test_reload_without_waiting),
      T(test_before_and_after),
      T(test_detach_waits),
      T(test_socket_file),
      T(test_refused_starts),
      T(test_long_path),
  };
  return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
