/* Starts, supervises and stops the embedded ClickHouse. owner: loop, except where atomics are.
 *
 *   start:  lock the folder -> choose a port -> spawn -> wait until our child answers
 *   run:    child ends -> back-off -> spawn -> a worker waits until it answers, only to report it
 *   stop:   close its standard input -> wait -> SIGKILL after 30 s
 *
 * The child gets a real pipe as standard input (not libuv's socket pair: the server opens it again
 * through /proc, which works for pipes only) whose other end no program started from here inherits.
 * That the one who answers on the port is our child and not a stranger shows in a mark which is new
 * for every child. Start and stop block; libuv's handles are freed in the loop's next rounds.
 */
#include "sink/embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "sink/clickhouse.h"
#include "sink/embedded_internal.h"

enum {
  FIRST_PORT = 8123,
  START_ATTEMPTS = 3, /* another program can take the chosen port before the child does */
  READY_TIMEOUT_MS = 60000,
  READY_POLL_MS = 20,
  PING_TIMEOUT_MS = 2000,
  BACKOFF_MIN_MS = 100,
  BACKOFF_MAX_MS = 5000,
  STABLE_MS = 3000, /* a child that lived so long starts the back-off anew */
  STOP_WAIT_MS = 30000,
  STOP_POLL_MS = 10,
  ENV_MAX = 8,
};

struct pe_embedded {
  struct pe_embedded_opts opts;
  uv_loop_t *loop;
  uv_process_t *process; /* heap: freed when libuv has closed it */
  uv_timer_t timer;      /* back-off */
  uv_work_t ready_work;  /* waits for a restarted child */
  bool ready_work_runs;
  unsigned port, refs;
  int engine_lock, stdin_fd;
  off_t log_from;
  unsigned backoff_ms;
  int64_t spawned_us;
  char mark[PE_EMBEDDED_MARK_BYTES];
  atomic_int pid;
  atomic_uint restarts;
  atomic_bool stopping;
};

/* --- URL -------------------------------------------------------------------------------------- */

int pe_embedded_parse_url(const char *url, struct pe_embedded_opts *o, struct pe_err *err) {
  memset(o, 0, sizeof *o);
  o->ready_timeout_ms = READY_TIMEOUT_MS;
  static const char scheme[] = "embedded:";
  if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "an embedded ClickHouse is embedded:DIR");
  }
  const char *dir = url + sizeof scheme - 1;
  size_t n = strcspn(dir, "?");
  if (n == 0 || n >= sizeof o->dir) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "embedded:DIR needs a folder of at most %zu bytes", sizeof o->dir - 1);
  }
  memcpy(o->dir, dir, n);
  char words[1024];
  if (snprintf(words, sizeof words, "%s", dir[n] ? dir + n + 1 : "") >= (int)sizeof words) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "embedded:DIR: too many parameters");
  }
  char *rest = NULL;
  for (char *word = strtok_r(words, "&", &rest); word; word = strtok_r(NULL, "&", &rest)) {
    char *end = NULL;
    unsigned long port = strncmp(word, "port=", 5) == 0 ? strtoul(word + 5, &end, 10) : 0;
    if (end && *end == 0 && port > 0 && port < 65536) {
      o->port = (unsigned)port;
    } else if (!end && strncmp(word, "library=", 8) == 0 && word[8] &&
               strlen(word + 8) < sizeof o->library) {
      memcpy(o->library, word + 8, strlen(word + 8) + 1);
    } else {
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                        "embedded:DIR: unknown or bad parameter \"%.64s\" (known: port=N, "
                        "library=PATH)",
                        word);
    }
  }
  return 0;
}

/* --- readiness -------------------------------------------------------------------------------- */

/* 1 our child answers, 0 not yet, negative: somebody else does. */
static int ask_mark(struct pe_ch *ch, const char *mark, struct pe_err *err) {
  char answer[PE_EMBEDDED_MARK_BYTES];
  int code = pe_ch_value(ch, "SELECT getMacro('pe_instance')", answer, sizeof answer, err);
  if (code < 0) {
    return err->cls == PE_CLASS_RETRY ? 0 : code;
  }
  if (code == 1 && strcmp(answer, mark) == 0) {
    return 1;
  }
  return pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_FATAL,
                    "another embedded ClickHouse answers there");
}

static bool child_has_ended(int pid) {
  siginfo_t info = {0};
  /* WNOWAIT: libuv is the one to reap it. */
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == pid;
}

/* Blocks. 0 ready; PE_ESTOPPED; else why not. */
static int wait_ready(const struct pe_embedded *e, int pid, struct pe_err *err) {
  struct pe_ch_opts o;
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%u", e->port);
  int code = pe_ch_parse_url(url, &o, err);
  PE_ASSERT(code == 0);
  o.connect_timeout_ms = o.timeout_ms = PING_TIMEOUT_MS;
  struct pe_ch *ch = NULL;
  code = pe_ch_create(NULL, &o, &ch, err);
  if (code < 0) {
    return code;
  }
  const int64_t deadline = pe_clock_us() + (int64_t)e->opts.ready_timeout_ms * 1000;
  for (code = 0; code == 0;) {
    if (atomic_load(&e->stopping)) {
      code = pe_err_set(err, PE_ESTOPPED, PE_CLASS_FATAL, "stopping");
    } else if (child_has_ended(pid)) {
      char tail[PE_EMBEDDED_TAIL_BYTES + 1];
      pe_embedded_log_tail(e->opts.dir, e->log_from, tail, sizeof tail);
      code = pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_FATAL,
                        "the embedded ClickHouse ended while starting: %s", tail);
    } else if ((code = ask_mark(ch, e->mark, err)) < 0) {
      pe_err_wrap(err, "port %u is answered by something else than the embedded ClickHouse",
                  e->port);
    } else if (code == 0 && pe_clock_us() > deadline) {
      char tail[PE_EMBEDDED_TAIL_BYTES + 1];
      pe_embedded_log_tail(e->opts.dir, e->log_from, tail, sizeof tail);
      code = pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_FATAL,
                        "the embedded ClickHouse did not answer within %u s: %s",
                        e->opts.ready_timeout_ms / 1000, tail);
    } else if (code == 0) {
      pe_sleep_ms(READY_POLL_MS);
    }
  }
  pe_ch_destroy(ch);
  return code == 1 ? 0 : code;
}

/* --- the child -------------------------------------------------------------------------------- */

static void unref(struct pe_embedded *e) {
  PE_ASSERT(e->refs > 0);
  if (--e->refs == 0) {
    free(e);
  }
}

static void on_process_closed(uv_handle_t *handle) {
  struct pe_embedded *e = handle->data;
  free(handle);
  unref(e);
}

static void close_process(struct pe_embedded *e) {
  if (e->process) {
    uv_close((uv_handle_t *)e->process, on_process_closed);
    e->process = NULL;
  }
  atomic_store(&e->pid, 0);
  if (e->stdin_fd >= 0) {
    close(e->stdin_fd);
    e->stdin_fd = -1;
  }
}

static void on_child_exit(uv_process_t *process, int64_t status, int signal);

/* Only what the server may need: the engine's environment can hold secrets. */
static size_t child_environment(char *storage, size_t size, char **env) {
  static const char *const names[] = {"PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH"};
  size_t n = 0, used = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names && n + 1 < ENV_MAX; i++) {
    const char *value = getenv(names[i]);
    size_t need = value ? strlen(names[i]) + strlen(value) + 2 : 0;
    if (value && used + need <= size) {
      snprintf(storage + used, need, "%s=%s", names[i], value);
      env[n++] = storage + used;
      used += need;
    }
  }
  env[n] = NULL;
  return n;
}

static int spawn_with(struct pe_embedded *e, int stdin_read, int log_fd, int lock_fd,
                      struct pe_err *err) {
  char server[PE_EMBEDDED_PATH_BYTES], config[PE_EMBEDDED_PATH_BYTES], port[16];
  snprintf(server, sizeof server, "%s/server", e->opts.dir);
  snprintf(config, sizeof config, "%s/config.xml", e->opts.dir);
  snprintf(port, sizeof port, "%u", e->port);
  char *args[] = {e->opts.launcher, "--library", e->opts.library, "--path", server,
                  "--port",         port,        "--config",      config,   NULL};
  char storage[8192], *env[ENV_MAX];
  child_environment(storage, sizeof storage, env);
  uv_stdio_container_t stdio[4];
  const int fds[4] = {stdin_read, log_fd, log_fd, lock_fd};
  for (int i = 0; i < 4; i++) {
    stdio[i].flags = UV_INHERIT_FD;
    stdio[i].data.fd = fds[i];
  }
  const uv_process_options_t options = {
      .exit_cb = on_child_exit,
      .file = e->opts.launcher,
      .args = args,
      .env = env,
      .cwd = e->opts.dir,
      .flags = UV_PROCESS_DETACHED, /* a terminal's Ctrl-C is the engine's alone */
      .stdio_count = 4,
      .stdio = stdio,
  };
  uv_process_t *process = calloc(1, sizeof *process);
  if (!process) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  process->data = e;
  e->refs++;
  e->process = process;
  int code = uv_spawn(e->loop, process, &options);
  if (code < 0) {
    close_process(e);
    return pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_FATAL, "%s can't be started: %s",
                      e->opts.launcher, uv_strerror(code));
  }
  atomic_store(&e->pid, process->pid);
  e->spawned_us = pe_clock_us();
  return 0;
}

/* Takes lock_fd (DIR/server.lock) over, whatever comes of it. */
static int spawn(struct pe_embedded *e, int lock_fd, struct pe_err *err) {
  static atomic_uint count;
  snprintf(e->mark, sizeof e->mark, "%d-%u-%lld", (int)getpid(), atomic_fetch_add(&count, 1),
           (long long)pe_clock_wall_us());
  int log_fd = -1, pipe_fds[2] = {-1, -1};
  int code = pe_embedded_write_config(e->opts.dir, e->mark, err);
  if (code == 0) {
    log_fd = pe_embedded_open_log(e->opts.dir, &e->log_from, err);
    code = log_fd < 0 ? log_fd : 0;
  }
  if (code == 0 && pipe2(pipe_fds, O_CLOEXEC) < 0) {
    code = pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "no pipe: %s", strerror(errno));
  }
  if (code == 0) {
    e->stdin_fd = pipe_fds[1];
    pipe_fds[1] = -1;
    code = spawn_with(e, pipe_fds[0], log_fd, lock_fd, err);
  }
  const int mine[] = {pipe_fds[0], pipe_fds[1], log_fd, lock_fd};
  for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) {
    if (mine[i] >= 0) {
      close(mine[i]);
    }
  }
  return code;
}

/* --- supervision ------------------------------------------------------------------------------ */

static void on_backoff(uv_timer_t *timer);

static void restart_later(struct pe_embedded *e) {
  uv_timer_start(&e->timer, on_backoff, e->backoff_ms, 0);
  e->backoff_ms = e->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : e->backoff_ms * 2;
}

static void on_child_exit(uv_process_t *process, int64_t status, int signal) {
  struct pe_embedded *e = process->data;
  if (atomic_load(&e->stopping)) {
    return; /* stop() looks after it */
  }
  char tail[PE_EMBEDDED_TAIL_BYTES + 1];
  pe_embedded_log_tail(e->opts.dir, e->log_from, tail, sizeof tail);
  close_process(e);
  if (pe_clock_us() - e->spawned_us > (int64_t)STABLE_MS * 1000) {
    e->backoff_ms = BACKOFF_MIN_MS;
  }
  if (signal) {
    pe_warn("sink", "the embedded ClickHouse was ended by signal %d; starting it again in %u ms",
            signal, e->backoff_ms);
  } else {
    pe_warn("sink",
            "the embedded ClickHouse ended (exit code %lld: %s); starting it again in %u ms",
            (long long)status, tail, e->backoff_ms);
  }
  restart_later(e);
}

static void on_ready_work(uv_work_t *work) { /* worker thread */
  const struct pe_embedded *e = work->data;
  struct pe_err err = PE_ERR_INIT;
  const int pid = atomic_load(&e->pid);
  int code = pid ? wait_ready(e, pid, &err) : PE_ESTOPPED;
  if (code == 0) {
    pe_info("sink", "the embedded ClickHouse answers again on port %u", e->port);
  } else if (code != PE_ESTOPPED && !child_has_ended(pid)) {
    pe_error("sink", "%s", err.text);
  }
}

static void on_ready_done(uv_work_t *work, int status) {
  (void)status;
  struct pe_embedded *e = work->data;
  e->ready_work_runs = false;
  unref(e);
}

static void on_backoff(uv_timer_t *timer) {
  struct pe_embedded *e = timer->data;
  if (e->ready_work_runs) { /* the worker still looks at the former child: it ends within a ping */
    uv_timer_start(&e->timer, on_backoff, BACKOFF_MIN_MS, 0);
    return;
  }
  struct pe_err err = PE_ERR_INIT;
  /* A child that has just ended has given its lock back; a longer wait would block the loop. */
  int lock_fd = pe_embedded_lock_server(e->opts.dir, 0, &err);
  if (lock_fd < 0 || spawn(e, lock_fd, &err) < 0) {
    pe_error("sink", "the embedded ClickHouse can't be started again: %s", err.text);
    restart_later(e);
    return;
  }
  atomic_fetch_add(&e->restarts, 1);
  e->ready_work.data = e;
  e->ready_work_runs = true;
  e->refs++;
  if (uv_queue_work(e->loop, &e->ready_work, on_ready_work, on_ready_done) < 0) {
    e->ready_work_runs = false;
    e->refs--;
  }
}

/* --- start and stop --------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle) {
  unref(handle->data);
}

/* Closes the child's standard input and waits; the process is reaped here, not by libuv. */
static void end_child(struct pe_embedded *e) {
  const int pid = atomic_load(&e->pid);
  close_process(e);
  if (pid == 0) {
    return;
  }
  int status;
  const int64_t deadline = pe_clock_us() + (int64_t)STOP_WAIT_MS * 1000;
  bool killed = false;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (!killed && pe_clock_us() > deadline) {
      pe_warn("sink", "the embedded ClickHouse did not end within %d s: killed",
              STOP_WAIT_MS / 1000);
      kill(pid, SIGKILL);
      killed = true;
    }
    pe_sleep_ms(STOP_POLL_MS);
  }
}

static void release(struct pe_embedded *e) {
  atomic_store(&e->stopping, true);
  uv_timer_stop(&e->timer);
  end_child(e);
  if (e->engine_lock >= 0) {
    close(e->engine_lock);
    e->engine_lock = -1;
  }
  uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

static int start_child(struct pe_embedded *e, struct pe_err *err) {
  unsigned from = FIRST_PORT;
  int code = 0;
  for (int attempt = 0; attempt < START_ATTEMPTS; attempt++) {
    /* The lock first: a former child that still finishes also has the port. */
    int lock_fd = pe_embedded_lock_server(e->opts.dir, PE_EMBEDDED_LOCK_WAIT_MS, err);
    if (lock_fd < 0) {
      return lock_fd;
    }
    code = pe_embedded_choose_port(e->opts.dir, e->opts.port, from, &e->port, err);
    if (code < 0) {
      close(lock_fd);
      return code;
    }
    code = spawn(e, lock_fd, err);
    if (code < 0) {
      return code;
    }
    code = wait_ready(e, atomic_load(&e->pid), err);
    if (code == 0) {
      return pe_embedded_keep_port(e->opts.dir, e->port, err);
    }
    end_child(e);
    if (e->opts.port || (!strstr(err->text, "Address already in use") &&
                         !strstr(err->text, "is answered by something else"))) {
      return code;
    }
    from = e->port + 1;
  }
  return code;
}

int pe_embedded_start(uv_loop_t *loop, const struct pe_embedded_opts *o, struct pe_embedded **out,
                      struct pe_err *err) {
  struct pe_embedded *e = calloc(1, sizeof *e);
  if (!e) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  e->opts = *o;
  e->loop = loop;
  e->stdin_fd = -1;
  e->backoff_ms = BACKOFF_MIN_MS;
  if (e->opts.ready_timeout_ms == 0) {
    e->opts.ready_timeout_ms = READY_TIMEOUT_MS;
  }
  int code = pe_embedded_locate(&e->opts, err);
  if (code == 0) {
    e->engine_lock = code = pe_embedded_lock_engine(e->opts.dir, err);
  }
  if (code < 0) {
    free(e);
    return code;
  }
  uv_timer_init(loop, &e->timer);
  e->timer.data = e;
  e->refs = 1;
  code = start_child(e, err);
  if (code < 0) {
    release(e);
    return code;
  }
  *out = e;
  return 0;
}

unsigned pe_embedded_port(const struct pe_embedded *e) {
  return e->port;
}

int pe_embedded_pid(const struct pe_embedded *e) {
  return atomic_load(&e->pid);
}

unsigned pe_embedded_restarts(const struct pe_embedded *e) {
  return atomic_load(&e->restarts);
}

void pe_embedded_stop(struct pe_embedded *e) {
  if (e) {
    release(e);
  }
}
