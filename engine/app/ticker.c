/* The thread that shows progress and tells systemd's watchdog that the engine still answers. On a
 * terminal the frame is drawn in place and log lines scroll above it (it holds pe_log's hook);
 * otherwise lines go to the log. What can't be drawn is left out: nothing here stops a pipeline. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin/progress.h"
#include "admin/render.h"
#include "app/app.h"
#include "base/clock.h"
#include "base/log.h"

enum { SCREEN_MS = 500, LINES_MS = 5000, IDLE_LINES_MS = 60000, STEP_MS = 100 };

struct pe_ticker {
  pthread_t thread;
  struct pe_engine *engine;
  enum pe_progress_mode mode;
  unsigned watchdog_ms;
  pthread_mutex_t lock; /* stopping, frame, frame_lines and the terminal */
  pthread_cond_t wake;
  bool stopping;
  struct pe_buf frame;
  unsigned frame_lines;
  struct pe_progress progress;    /* owner: the thread */
  uint64_t lines_sum;             /* what the last lines showed, to leave out repetitions; thread */
  int64_t lines_us;               /* when they were printed; thread */
  struct pe_engine_status status; /* owner: the thread */
};

int pe_progress_mode_parse(const char *word, enum pe_progress_mode *mode, struct pe_err *err) {
  const char *term = getenv("TERM");
  bool screen = isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
  if (!word || strcmp(word, "auto") == 0) {
    *mode = screen ? PE_PROGRESS_SCREEN : PE_PROGRESS_PLAIN;
  } else if (strcmp(word, "plain") == 0) {
    *mode = PE_PROGRESS_PLAIN;
  } else if (strcmp(word, "json") == 0) {
    *mode = PE_PROGRESS_JSON;
  } else if (strcmp(word, "none") == 0) {
    *mode = PE_PROGRESS_NONE;
  } else {
    return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "--progress takes auto, plain, json or none");
  }
  return 0;
}

static void put(const struct pe_buf *b) {
  size_t done = 0;
  while (done < b->len) {
    ssize_t n = write(STDERR_FILENO, b->data + done, b->len - done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return;
    }
    done += (size_t)n;
  }
}

/* Erases the frame on screen: up to its first line, then all below. */
static void put_erase(const struct pe_ticker *t, struct pe_buf *out) {
  if (t->frame_lines) {
    pe_buf_printf(out, "\r\x1b[%uA\x1b[J", t->frame_lines);
  }
}

/* pe_log's hook: the line above, the frame again below it. Any thread. */
static void log_line(const char *line, void *arg) {
  struct pe_ticker *t = arg;
  struct pe_buf out;
  pe_buf_init(&out);
  pthread_mutex_lock(&t->lock);
  put_erase(t, &out);
  pe_buf_puts(&out, line);
  pe_buf_puts(&out, "\n");
  pe_buf_put(&out, t->frame.data, t->frame.len);
  put(&out);
  pthread_mutex_unlock(&t->lock);
  pe_buf_close(&out);
}

static void draw(struct pe_ticker *t) {
  struct winsize ws = {0};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) != 0 || ws.ws_col == 0 || ws.ws_row == 0) {
    ws.ws_col = 100;
    ws.ws_row = 30;
  }
  struct pe_buf out;
  pe_buf_init(&out);
  pthread_mutex_lock(&t->lock);
  put_erase(t, &out);
  pe_buf_clear(&t->frame);
  t->frame_lines =
      pe_progress_frame(&t->progress, &t->status, ws.ws_col - 1u, ws.ws_row - 1u, &t->frame);
  if (!pe_buf_ok(&t->frame)) {
    pe_buf_clear(&t->frame);
    t->frame_lines = 0;
  }
  pe_buf_put(&out, t->frame.data, t->frame.len);
  put(&out);
  pthread_mutex_unlock(&t->lock);
  pe_buf_close(&out);
}

/* Has anything moved since the last lines? A quiet pipeline says so once a minute. */
static bool worth_a_line(struct pe_ticker *t, int64_t now_us) {
  const struct pe_engine_status *st = &t->status;
  uint64_t sum = st->version + (uint64_t)st->state[0] + (uint64_t)st->reason[0];
  for (uint32_t i = 0; i < st->ntables; i++) {
    sum += st->tables[i].changes_in + st->tables[i].snapshot_rows + st->tables[i].rows_written;
  }
  if (sum == t->lines_sum && now_us - t->lines_us < (int64_t)IDLE_LINES_MS * 1000) {
    return false;
  }
  t->lines_sum = sum;
  t->lines_us = now_us;
  return true;
}

static void print_lines(struct pe_ticker *t) {
  struct pe_buf b;
  pe_buf_init(&b);
  if (t->mode == PE_PROGRESS_JSON) {
    pe_status_render_json(&t->status, &b);
    put(&b);
  } else {
    pe_progress_lines(&t->progress, &t->status, &b);
    char *text = (char *)(uintptr_t)pe_buf_cstr(&b), *save = NULL;
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
      pe_info("progress", "%s", line);
    }
  }
  pe_buf_close(&b);
}

/* Waits; true: stop. */
static bool pause_ms(struct pe_ticker *t, unsigned ms) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += (long)ms * 1000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  pthread_mutex_lock(&t->lock);
  if (!t->stopping) {
    pthread_cond_timedwait(&t->wake, &t->lock, &until);
  }
  bool stop = t->stopping;
  pthread_mutex_unlock(&t->lock);
  return stop;
}

static void *ticker_main(void *arg) {
  struct pe_ticker *t = arg;
  unsigned every = t->mode == PE_PROGRESS_SCREEN ? SCREEN_MS : LINES_MS;
  int64_t next_show = pe_clock_us(), next_watchdog = next_show;
  if (t->mode != PE_PROGRESS_SCREEN) {
    next_show += (int64_t)every * 1000;
  }
  do {
    int64_t now = pe_clock_us();
    bool show = t->mode != PE_PROGRESS_NONE && now >= next_show;
    bool watchdog = t->watchdog_ms && now >= next_watchdog;
    if (show || watchdog) {
      pe_engine_status(t->engine, &t->status); /* takes the engine's locks: it is alive */
      pe_progress_observe(&t->progress, &t->status, now);
    }
    if (show) {
      next_show = now + (int64_t)every * 1000;
      if (t->mode == PE_PROGRESS_SCREEN) {
        draw(t);
      } else if (worth_a_line(t, now)) {
        print_lines(t);
      }
    }
    if (watchdog) {
      next_watchdog = now + (int64_t)t->watchdog_ms * 1000;
      pe_notify("WATCHDOG=1");
    }
  } while (!pause_ms(t, STEP_MS));
  return NULL;
}

int pe_ticker_start(struct pe_engine *e, enum pe_progress_mode mode, struct pe_ticker **out,
                    struct pe_err *err) {
  unsigned watchdog_ms = pe_notify_watchdog_ms();
  *out = NULL;
  if (mode == PE_PROGRESS_NONE && !watchdog_ms) {
    return 0;
  }
  struct pe_ticker *t = calloc(1, sizeof(*t));
  if (!t) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  t->engine = e;
  t->mode = mode;
  t->watchdog_ms = watchdog_ms;
  pe_buf_init(&t->frame);
  pthread_mutex_init(&t->lock, NULL);
  pthread_cond_init(&t->wake, NULL);
  if (mode == PE_PROGRESS_SCREEN) {
    pe_log_hook(log_line, t);
  }
  int rc = pthread_create(&t->thread, NULL, ticker_main, t);
  if (rc != 0) {
    pe_log_hook(NULL, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "can't start a thread: %s", strerror(rc));
  }
  *out = t;
  return 0;
}

void pe_ticker_stop(struct pe_ticker *t) {
  if (!t) {
    return;
  }
  pthread_mutex_lock(&t->lock);
  t->stopping = true;
  pthread_cond_signal(&t->wake);
  pthread_mutex_unlock(&t->lock);
  pthread_join(t->thread, NULL);
  if (t->mode != PE_PROGRESS_NONE) { /* how it ended: a short run would show nothing else */
    pe_engine_status(t->engine, &t->status);
    pe_progress_observe(&t->progress, &t->status, pe_clock_us());
    if (t->mode == PE_PROGRESS_SCREEN) {
      draw(t);
    } else {
      print_lines(t);
    }
  }
  if (t->mode == PE_PROGRESS_SCREEN) {
    pe_log_hook(NULL, NULL); /* the last frame stays on screen */
  }
  pe_buf_close(&t->frame);
  pthread_cond_destroy(&t->wake);
  pthread_mutex_destroy(&t->lock);
  free(t);
}
