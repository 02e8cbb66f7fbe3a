/* The embedded server's folder: places, locks, port, configuration, log. Blocking, small files
 * only. Fails with what to do next; leaves nothing half written that a next start would trip over.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/embedded_internal.h"

enum { PORTS_TRIED = 100, LOCK_POLL_MS = 50, PORT_MAX = 65535 };

static int path_in(char *out, size_t size, const char *dir, const char *name, struct pe_err *err) {
  if (snprintf(out, size, "%s/%s", dir, name) >= (int)size) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "the path %.200s... is too long", dir);
  }
  return 0;
}

/* --- places ----------------------------------------------------------------------------------- */

static bool is_file(const char *path) {
  struct stat st;
  return path[0] && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool take_if_file(char *out, size_t size, const char *dir, const char *rest) {
  char path[PE_EMBEDDED_PATH_BYTES];
  if (!dir || !dir[0] || snprintf(path, sizeof path, "%s%s", dir, rest) >= (int)sizeof path ||
      !is_file(path) || strlen(path) >= size) {
    return false;
  }
  memcpy(out, path, strlen(path) + 1);
  return true;
}

static void own_folder(char *out, size_t size) {
  ssize_t n = readlink("/proc/self/exe", out, size - 1);
  out[n > 0 ? n : 0] = 0;
  char *slash = strrchr(out, '/');
  if (slash) {
    *slash = 0;
  }
}

static int locate_launcher(struct pe_embedded_opts *o, struct pe_err *err) {
  char self[PE_EMBEDDED_PATH_BYTES];
  own_folder(self, sizeof self);
  if (o->launcher[0]) {
    if (access(o->launcher, X_OK) == 0) {
      return 0;
    }
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "the launcher %s: %s", o->launcher,
                      strerror(errno));
  }
  if (take_if_file(o->launcher, sizeof o->launcher, self, "/pe-clickhouse") ||
      take_if_file(o->launcher, sizeof o->launcher, self, "/../pe-clickhouse")) {
    return 0;
  }
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                    "pe-clickhouse, the embedded server's launcher, isn't beside %s: build it "
                    "(ninja pe-clickhouse) or install both together",
                    self);
}

static int locate_library(struct pe_embedded_opts *o, struct pe_err *err) {
  if (o->library[0]) {
    if (is_file(o->library)) {
      return 0;
    }
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "there is no library %s: name libchdb.so, or leave library= out and run "
                      "examples/support/fetch-chdb",
                      o->library);
  }
  char beside[PE_EMBEDDED_PATH_BYTES];
  snprintf(beside, sizeof beside, "%s", o->launcher);
  char *slash = strrchr(beside, '/');
  if (slash) {
    *slash = 0;
  }
  char *out = o->library;
  if (take_if_file(out, sizeof o->library, getenv("PIPE_ENGINE_CHDB"), "") ||
      take_if_file(out, sizeof o->library, slash ? beside : ".", "/libchdb.so") ||
      take_if_file(out, sizeof o->library, getenv("PIPE_ENGINE_CACHE"), "/libchdb.so") ||
      take_if_file(out, sizeof o->library, getenv("HOME"), "/.cache/pipe-engine/libchdb.so") ||
      take_if_file(out, sizeof o->library, "/usr/local/lib/pipe-engine", "/libchdb.so")) {
    return 0;
  }
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                    "libchdb.so, the embedded ClickHouse, isn't on this machine: run "
                    "examples/support/fetch-chdb (or use a server: http://...)");
}

static int make_folders(char *path, struct pe_err *err) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    int made = mkdir(path, 0755);
    int why = errno;
    *slash = '/';
    if (made < 0 && why != EEXIST) {
      return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "the folder %s can't be made: %s", path,
                        strerror(why));
    }
  }
  if (mkdir(path, 0755) < 0 && errno != EEXIST) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "the folder %s can't be made: %s", path,
                      strerror(errno));
  }
  return 0;
}

int pe_embedded_locate(struct pe_embedded_opts *o, struct pe_err *err) {
  if (!__builtin_cpu_supports("avx2")) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "the embedded ClickHouse needs a processor with AVX2: use a server "
                      "(http://...) instead");
  }
  int code = locate_launcher(o, err);
  code = code < 0 ? code : locate_library(o, err);
  code = code < 0 ? code : make_folders(o->dir, err);
  if (code < 0) {
    return code;
  }
  char absolute[PATH_MAX];
  if (!realpath(o->dir, absolute) || strlen(absolute) >= sizeof o->dir) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "the folder %s: no usable path", o->dir);
  }
  memcpy(o->dir, absolute, strlen(absolute) + 1);
  char library[PATH_MAX];
  if (realpath(o->library, library) && strlen(library) < sizeof o->library) {
    memcpy(o->library, library, strlen(library) + 1); /* the child's working folder is another */
  }
  char launcher[PATH_MAX];
  if (realpath(o->launcher, launcher) && strlen(launcher) < sizeof o->launcher) {
    memcpy(o->launcher, launcher, strlen(launcher) + 1);
  }
  return 0;
}

/* --- locks ------------------------------------------------------------------------------------ */

static int open_lock(const char *dir, const char *name, struct pe_err *err) {
  char path[PE_EMBEDDED_PATH_BYTES];
  int code = path_in(path, sizeof path, dir, name, err);
  if (code < 0) {
    return code;
  }
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s: %s", path, strerror(errno));
  }
  return fd;
}

int pe_embedded_lock_engine(const char *dir, struct pe_err *err) {
  int fd = open_lock(dir, "engine.lock", err);
  if (fd < 0) {
    return fd;
  }
  char pid[32] = "";
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = 0;
    pid[strcspn(pid, "\n")] = 0;
    close(fd);
    return pe_err_set(
        err, PE_ELOCKED, PE_CLASS_FATAL,
        "the embedded ClickHouse in %s is in use by another engine (process %s): stop "
        "it, or give this one a folder of its own",
        dir, pid[0] ? pid : "unknown");
  }
  int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
  if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
    int why = errno;
    close(fd);
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s/engine.lock can't be written: %s", dir,
                      strerror(why));
  }
  return fd;
}

int pe_embedded_lock_server(const char *dir, int wait_ms, struct pe_err *err) {
  int fd = open_lock(dir, "server.lock", err);
  if (fd < 0) {
    return fd;
  }
  for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_POLL_MS) {
    if (waited == LOCK_POLL_MS) {
      pe_info("sink", "waiting for a former embedded ClickHouse to finish in %s", dir);
    }
    if (waited >= wait_ms) {
      close(fd);
      return pe_err_set(err, PE_ELOCKED, PE_CLASS_FATAL,
                        "a former embedded ClickHouse (pe-clickhouse --path %s/server) still runs "
                        "after %d s: end it",
                        dir, wait_ms / 1000);
    }
    pe_sleep_ms(LOCK_POLL_MS);
  }
  return fd;
}

/* --- port ------------------------------------------------------------------------------------- */

static bool port_is_free(unsigned port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return false;
  }
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool ok = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0;
  close(fd);
  return ok;
}

static unsigned kept_port(const char *dir) {
  char path[PE_EMBEDDED_PATH_BYTES];
  unsigned port = 0;
  if (path_in(path, sizeof path, dir, "http_port", NULL) < 0) {
    return 0;
  }
  FILE *f = fopen(path, "re");
  if (f) {
    if (fscanf(f, "%u", &port) != 1 || port > PORT_MAX) {
      port = 0;
    }
    fclose(f);
  }
  return port;
}

int pe_embedded_choose_port(const char *dir, unsigned wanted, unsigned from, unsigned *port,
                            struct pe_err *err) {
  if (wanted) {
    *port = wanted;
    return port_is_free(wanted)
               ? 0
               : pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                            "port %u on 127.0.0.1 is taken: give the embedded ClickHouse another "
                            "one (?port=N), or none to let it choose",
                            wanted);
  }
  unsigned kept = kept_port(dir);
  if (kept && port_is_free(kept)) {
    *port = kept;
    return 0;
  }
  for (unsigned p = from; p < from + PORTS_TRIED && p <= PORT_MAX; p++) {
    if (port_is_free(p)) {
      if (kept) {
        pe_warn("sink", "port %u is taken by another program: the embedded ClickHouse uses %u now",
                kept, p);
      }
      *port = p;
      return 0;
    }
  }
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "no free port from %u on for ClickHouse",
                    from);
}

static int write_whole(const char *dir, const char *name, const char *text, struct pe_err *err) {
  char path[PE_EMBEDDED_PATH_BYTES], tmp[PE_EMBEDDED_PATH_BYTES + 8];
  int code = path_in(path, sizeof path, dir, name, err);
  if (code < 0) {
    return code;
  }
  snprintf(tmp, sizeof tmp, "%s.tmp", path);
  FILE *f = fopen(tmp, "we");
  bool ok = f && fputs(text, f) >= 0;
  ok = (f ? fclose(f) == 0 : false) && ok;
  if (!ok || rename(tmp, path) < 0) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s can't be written: %s", path,
                      strerror(errno));
  }
  return 0;
}

int pe_embedded_keep_port(const char *dir, unsigned port, struct pe_err *err) {
  char text[16];
  snprintf(text, sizeof text, "%u\n", port);
  return write_whole(dir, "http_port", text, err);
}

/* --- configuration ---------------------------------------------------------------------------- */

/* Modest, because it lives beside a database and the engine: half of the machine's (or container's)
 * memory at most, small caches, two merges at a time. No query_log or text log: nothing that would
 * keep row values. The three merge_tree values must be below what the small pool has to give. */
static const char config_text[] =
    "<clickhouse>\n"
    "  <!-- Written by the engine at every start; changes here are lost. -->\n"
    "  <timezone>UTC</timezone>\n"
    "  <async_load_databases>false</async_load_databases>\n"
    "  <logger><level>fatal</level><console>1</console></logger>\n"
    "  <macros><pe_instance>%s</pe_instance></macros>\n"
    "  <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>\n"
    "  <mark_cache_size>67108864</mark_cache_size>\n"
    "  <index_mark_cache_size>8388608</index_mark_cache_size>\n"
    "  <uncompressed_cache_size>0</uncompressed_cache_size>\n"
    "  <index_uncompressed_cache_size>0</index_uncompressed_cache_size>\n"
    "  <mmap_cache_size>64</mmap_cache_size>\n"
    "  <primary_index_cache_size>134217728</primary_index_cache_size>\n"
    "  <memory_worker_period_ms>200</memory_worker_period_ms>\n"
    "  <asynchronous_metrics_update_period_s>10</asynchronous_metrics_update_period_s>\n"
    "  <background_pool_size>2</background_pool_size>\n"
    "  <background_merges_mutations_concurrency_ratio>2"
    "</background_merges_mutations_concurrency_ratio>\n"
    "  <background_schedule_pool_size>4</background_schedule_pool_size>\n"
    "  <background_common_pool_size>2</background_common_pool_size>\n"
    "  <background_fetches_pool_size>1</background_fetches_pool_size>\n"
    "  <background_move_pool_size>1</background_move_pool_size>\n"
    "  <max_concurrent_queries>100</max_concurrent_queries>\n"
    "  <keep_alive_timeout>120</keep_alive_timeout>\n"
    "  <merge_tree>\n"
    "    <number_of_free_entries_in_pool_to_execute_mutation>2"
    "</number_of_free_entries_in_pool_to_execute_mutation>\n"
    "    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2"
    "</number_of_free_entries_in_pool_to_lower_max_size_of_merge>\n"
    "    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2"
    "</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>\n"
    "  </merge_tree>\n"
    "</clickhouse>\n";

int pe_embedded_write_config(const char *dir, const char *mark, struct pe_err *err) {
  char text[sizeof config_text + PE_EMBEDDED_MARK_BYTES];
  snprintf(text, sizeof text, config_text, mark);
  return write_whole(dir, "config.xml", text, err);
}

/* --- log -------------------------------------------------------------------------------------- */

int pe_embedded_open_log(const char *dir, off_t *size, struct pe_err *err) {
  char path[PE_EMBEDDED_PATH_BYTES];
  int code = path_in(path, sizeof path, dir, "clickhouse.log", err);
  if (code < 0) {
    return code;
  }
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) < 0 ||
      (st.st_size > PE_EMBEDDED_LOG_BYTES_MAX && ftruncate(fd, 0) < 0)) {
    int why = errno;
    if (fd >= 0) {
      close(fd);
    }
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s: %s", path, strerror(why));
  }
  *size = st.st_size > PE_EMBEDDED_LOG_BYTES_MAX ? 0 : st.st_size;
  return fd;
}

void pe_embedded_log_tail(const char *dir, off_t from, char *out, size_t size) {
  snprintf(out, size, "it printed nothing");
  char path[PE_EMBEDDED_PATH_BYTES];
  if (path_in(path, sizeof path, dir, "clickhouse.log", NULL) < 0) {
    return;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (fd < 0) {
    return;
  }
  if (fstat(fd, &st) == 0 && st.st_size > from) {
    char tail[PE_EMBEDDED_TAIL_BYTES];
    off_t start = st.st_size - from > (off_t)sizeof tail ? st.st_size - (off_t)sizeof tail : from;
    ssize_t n = pread(fd, tail, sizeof tail, start);
    size_t len = 0;
    for (ssize_t i = 0; i < n && len + 1 < size; i++) {
      bool blank = tail[i] == '\n' || tail[i] == '\t' || tail[i] == '\r';
      out[len++] = blank ? ' ' : tail[i];
    }
    while (len > 0 && out[len - 1] == ' ') {
      len--;
    }
    out[len] = 0;
  }
  close(fd);
}
