/* pe-clickhouse: a ClickHouse server out of libchdb.so, as a process of its own.
 *
 *   pe-clickhouse --library LIBCHDB.SO --path DIR --port N --config FILE
 *
 * It listens on 127.0.0.1:N (HTTP) and lives until its standard input ends: the engine holds the
 * other end of that pipe, so the server never outlives the engine, however that ended. Requests
 * that are running then still finish. Signals that a terminal or a service manager sends to the
 * whole group are ignored for the same reason: the engine decides when its store goes.
 *
 * Readiness shows on /ping only: the library prints start errors on standard error and may still
 * return success. Nothing of the engine is linked in; owner: engine/sink/embedded.c.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_USAGE = 64, EXIT_SERVER = 70, EXIT_LIBRARY = 72, EXIT_CPU = 78 };
enum { ARG_BYTES = 1024 };

/* libchdb's C interface as far as it is used here (chdb.h of the package). */
struct local_result_v2 {
  char *buf;
  size_t len;
  void *vec;
  double elapsed;
  uint64_t rows_read, bytes_read;
  char *error_message;
};
typedef struct local_result_v2 *(*query_fn)(int argc, char **argv);
typedef void (*set_signals_fn)(int enabled);

struct args {
  const char *library, *path, *port, *config;
};

static int parse_args(int argc, char **argv, struct args *a) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const char **slot = NULL;
    if (!strcmp(argv[i], "--library")) {
      slot = &a->library;
    } else if (!strcmp(argv[i], "--path")) {
      slot = &a->path;
    } else if (!strcmp(argv[i], "--port")) {
      slot = &a->port;
    } else if (!strcmp(argv[i], "--config")) {
      slot = &a->config;
    }
    if (!slot) {
      return -1;
    }
    *slot = argv[i + 1];
  }
  return a->library && a->path && a->port && a->config && argc % 2 == 1 ? 0 : -1;
}

static void signals_before(void) {
  const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
    signal(ignored[i], SIG_IGN);
  }
}

/* Loading the library blocks SIGPIPE. */
static void signals_after(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static void raise_file_limit(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
}

int main(int argc, char **argv) {
  struct args a = {0};
  if (parse_args(argc, argv, &a) < 0) {
    fprintf(stderr, "usage: pe-clickhouse --library FILE --path DIR --port N --config FILE\n");
    return EXIT_USAGE;
  }
  if (!__builtin_cpu_supports("avx2")) {
    fprintf(stderr, "this processor has no AVX2, which the embedded ClickHouse needs\n");
    return EXIT_CPU;
  }
  signals_before();
  raise_file_limit();

  void *library = dlopen(a.library, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "the library can't be loaded: %s\n", dlerror());
    return EXIT_LIBRARY;
  }
  /* ISO C has no cast from a data to a function pointer; POSIX promises that the copy works. */
  set_signals_fn set_signals;
  query_fn query;
  *(void **)&set_signals = dlsym(library, "chdb_set_signal_handlers_enabled");
  *(void **)&query = dlsym(library, "query_stable_v2");
  if (!query || !set_signals) {
    fprintf(stderr, "the library is no libchdb of version 26.7 or later\n");
    return EXIT_LIBRARY;
  }
  set_signals(0);
  signals_after();

  char path[ARG_BYTES], port[64], config[ARG_BYTES];
  snprintf(path, sizeof path, "--path=%s", a.path);
  snprintf(port, sizeof port, "--http_port=%s", a.port);
  snprintf(config, sizeof config, "--config-file=%s", a.config);
  /* The second statement reads standard input to its end: that is what keeps the server up. */
  char *server_argv[] = {"clickhouse-local",
                         path,
                         "--listen_host=127.0.0.1",
                         port,
                         config,
                         "--query=SYSTEM START LISTEN HTTP; SELECT count() FROM "
                         "file('/proc/self/fd/0', 'LineAsString', 'line String') FORMAT Null",
                         NULL};
  const struct local_result_v2 *result =
      query((int)(sizeof server_argv / sizeof *server_argv) - 1, server_argv);
  if (result && result->error_message) {
    fprintf(stderr, "%s\n", result->error_message);
    return EXIT_SERVER;
  }
  return 0;
}
