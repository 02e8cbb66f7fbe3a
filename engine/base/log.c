/* Log lines: made in one buffer on the stack, written with one write(2), so lines of several
 * threads never mix. A line that is too long is cut; a failed write is ignored (there is nowhere
 * to say so). */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { LINE_MAX_BYTES = 4096 };

static _Atomic int log_min = PE_LOG_INFO;
static _Atomic bool log_json;
static pthread_mutex_t hook_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*hook_fn)(const char *line, void *arg); /* both under hook_lock */
static void *hook_arg;

void pe_log_setup(enum pe_log_level min, bool json) {
  atomic_store(&log_min, (int)min);
  atomic_store(&log_json, json);
}

void pe_log_hook(void (*hook)(const char *line, void *arg), void *arg) {
  pthread_mutex_lock(&hook_lock);
  hook_fn = hook;
  hook_arg = arg;
  pthread_mutex_unlock(&hook_lock);
}

static const char *level_name(enum pe_log_level level) {
  static const char *const names[] = {"debug", "info", "warn", "error"};
  return names[level];
}

/* The line must end with a newline; the hook sees it without. */
static void emit(char *line, size_t n) {
  pthread_mutex_lock(&hook_lock);
  if (hook_fn) {
    line[n - 1] = 0;
    hook_fn(line, hook_arg);
    pthread_mutex_unlock(&hook_lock);
    return;
  }
  pthread_mutex_unlock(&hook_lock);
  ssize_t done;
  do {
    done = write(STDERR_FILENO, line, n);
  } while (done < 0 && errno == EINTR);
}

static void write_text(enum pe_log_level level, const char *ts, const char *module, char *msg) {
  char line[LINE_MAX_BYTES + 128];
  for (char *p = msg; *p; p++) {
    if ((unsigned char)*p < 0x20 || *p == 0x7F) {
      *p = ' ';
    }
  }
  int n = snprintf(line, sizeof(line), "%s %-5s %-8s %s\n", ts, level_name(level), module, msg);
  if (n > 0) {
    if ((size_t)n >= sizeof(line)) {
      n = (int)sizeof(line) - 1;
      line[n - 1] = '\n';
    }
    emit(line, (size_t)n);
  }
}

static void write_json(enum pe_log_level level, const char *ts, const char *module,
                       const char *msg) {
  struct pe_buf b;
  pe_buf_init(&b);
  pe_buf_printf(&b, "{\"ts\":\"%s\",\"level\":\"%s\",\"module\":", ts, level_name(level));
  pe_buf_put_json(&b, module, strlen(module));
  pe_buf_puts(&b, ",\"msg\":");
  pe_buf_put_json(&b, msg, strlen(msg));
  pe_buf_puts(&b, "}\n");
  if (pe_buf_ok(&b)) {
    emit((char *)b.data, b.len);
  }
  pe_buf_close(&b);
}

void pe_log(enum pe_log_level level, const char *module, const char *fmt, ...) {
  if ((int)level < atomic_load_explicit(&log_min, memory_order_relaxed)) {
    return;
  }
  char msg[LINE_MAX_BYTES];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(msg, sizeof(msg), fmt, ap);
  va_end(ap);
  if (n < 0) {
    return;
  }
  if ((size_t)n >= sizeof(msg)) {
    memcpy(msg + sizeof(msg) - 4, "...", 4);
  }
  int64_t us = pe_clock_wall_us();
  time_t sec = (time_t)(us / 1000000);
  struct tm tm;
  gmtime_r(&sec, &tm);
  char ts[64];
  snprintf(ts, sizeof(ts), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
           tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us / 1000 % 1000));
  if (atomic_load_explicit(&log_json, memory_order_relaxed)) {
    write_json(level, ts, module, msg);
  } else {
    write_text(level, ts, module, msg);
  }
}
