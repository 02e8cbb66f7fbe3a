/* Asynchronous inserts: curl's multi interface driven by libuv. owner: loop.
 *
 * A request waits in FIFO order for one of `connections` lanes, then
 *
 *   FREE -> COMPRESSING (worker, only with LZ4) -> SENDING -> FREE, call-back
 *
 * A lane keeps its easy handle, the multi handle keeps the connections. The request and its pieces
 * are the caller's until the call-back; a call-back may insert again or destroy the client.
 *
 * Destroying delivers PE_ESTOPPED to everyone at once; the memory stays until libuv has closed its
 * handles and a worker that was still compressing has reported back (`refs`).
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "sink/clickhouse_internal.h"

enum lane_state { LANE_FREE, LANE_COMPRESSING, LANE_SENDING };

struct lane {
  struct pe_ch_async *owner;
  enum lane_state state;
  struct pe_ch_call call;
  struct pe_buf answer;
  struct pe_ch_insert *req;
  struct pe_buf lz4; /* the compressed body */
  struct pe_iov lz4_iov;
  int lz4_code;
  uv_work_t work;
  uv_sem_t work_done; /* posted by the worker, so that destroy can wait for it */
};

/* One socket that curl has given us to watch. */
struct watch {
  uv_poll_t poll;
  curl_socket_t fd;
  struct pe_ch_async *owner;
  struct watch *next, **link;
};

struct pe_ch_async {
  struct pe_ch_opts opts;
  bool compress, closing;
  uv_loop_t *loop;
  CURLM *multi;
  uv_timer_t timer;
  struct watch *watches;
  struct lane *lanes;
  unsigned nlanes, running, waiting;
  struct pe_ch_insert *first, **last;
  unsigned refs; /* libuv handles and workers that still point here */
};

static void start_waiting(struct pe_ch_async *a);

static void unref(struct pe_ch_async *a) {
  if (--a->refs > 0 || !a->closing) {
    return;
  }
  for (unsigned i = 0; i < a->nlanes; i++) {
    struct lane *lane = &a->lanes[i];
    pe_ch_call_close(&lane->call);
    pe_buf_close(&lane->answer);
    pe_buf_close(&lane->lz4);
    uv_sem_destroy(&lane->work_done);
  }
  free(a->lanes);
  explicit_bzero(&a->opts, sizeof a->opts);
  free(a);
}

/* --- ends of requests ------------------------------------------------------------------------ */

static void release_lane(struct lane *lane) {
  lane->state = LANE_FREE;
  lane->req = NULL;
  lane->owner->running--;
  pe_buf_clear(&lane->answer);
  if (lane->lz4.cap > PE_CH_COMPRESSED_KEEP) {
    pe_buf_close(&lane->lz4);
  }
}

static void finish(struct lane *lane, int code, const struct pe_err *err) {
  struct pe_ch_insert *req = lane->req;
  req->ch_code = lane->call.reply.exception_code;
  req->written_rows = code == 0 ? lane->call.reply.written_rows : 0;
  release_lane(lane);
  req->cb(req, code, code == 0 ? NULL : err);
}

static void finish_transfer(struct lane *lane, CURLcode result) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch_async *a = lane->owner;
  curl_multi_remove_handle(a->multi, lane->call.easy);
  int code = pe_ch_call_result(&lane->call, &a->opts, result, &err);
  finish(lane, code, &err);
}

/* Takes finished transfers one by one: a call-back may have changed everything since the last. */
static void check_finished(struct pe_ch_async *a) {
  CURLMsg *msg;
  int left;
  while (!a->closing && (msg = curl_multi_info_read(a->multi, &left)) != NULL) {
    if (msg->msg != CURLMSG_DONE) {
      continue;
    }
    CURLcode result = msg->data.result;
    struct lane *lane = NULL;
    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &lane);
    finish_transfer(lane, result);
  }
  if (!a->closing) {
    start_waiting(a);
  }
}

/* --- curl and libuv -------------------------------------------------------------------------- */

static void socket_action(struct pe_ch_async *a, curl_socket_t fd, int events) {
  int running = 0;
  a->refs++;
  curl_multi_socket_action(a->multi, fd, events, &running);
  check_finished(a);
  unref(a);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  const struct watch *w = poll->data;
  int flags = 0;
  if (status < 0) {
    flags = CURL_CSELECT_ERR;
  }
  if (events & UV_READABLE) {
    flags |= CURL_CSELECT_IN;
  }
  if (events & UV_WRITABLE) {
    flags |= CURL_CSELECT_OUT;
  }
  socket_action(w->owner, w->fd, flags);
}

static void on_timer(uv_timer_t *timer) {
  socket_action(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_watch_closed(uv_handle_t *handle) {
  struct watch *w = handle->data;
  struct pe_ch_async *a = w->owner;
  free(w);
  unref(a);
}

static void watch_close(struct watch *w) {
  *w->link = w->next;
  if (w->next) {
    w->next->link = w->link;
  }
  uv_poll_stop(&w->poll);
  uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static struct watch *watch_open(struct pe_ch_async *a, curl_socket_t fd) {
  struct watch *w = calloc(1, sizeof *w);
  if (!w) {
    return NULL;
  }
  w->fd = fd;
  w->owner = a;
  w->poll.data = w;
  if (uv_poll_init_socket(a->loop, &w->poll, fd) != 0) {
    free(w);
    return NULL;
  }
  w->next = a->watches;
  w->link = &a->watches;
  if (w->next) {
    w->next->link = &w->next;
  }
  a->watches = w;
  a->refs++;
  return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg) {
  (void)easy;
  struct pe_ch_async *a = arg;
  struct watch *w = socket_arg;
  if (a->closing) {
    return 0;
  }
  if (what == CURL_POLL_REMOVE) {
    if (w) {
      curl_multi_assign(a->multi, fd, NULL);
      watch_close(w);
    }
    return 0;
  }
  if (!w) {
    w = watch_open(a, fd);
    if (!w) {
      return -1;
    }
    curl_multi_assign(a->multi, fd, w);
  }
  int events = 0;
  if (what != CURL_POLL_OUT) {
    events |= UV_READABLE;
  }
  if (what != CURL_POLL_IN) {
    events |= UV_WRITABLE;
  }
  return uv_poll_start(&w->poll, events, on_poll) == 0 ? 0 : -1;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg) {
  (void)multi;
  struct pe_ch_async *a = arg;
  if (a->closing) {
    return 0;
  }
  if (timeout_ms < 0) {
    uv_timer_stop(&a->timer);
  } else {
    uv_timer_start(&a->timer, on_timer, (uint64_t)timeout_ms, 0);
  }
  return 0;
}

/* --- starts of requests ---------------------------------------------------------------------- */

static void send_request(struct lane *lane) {
  struct pe_ch_async *a = lane->owner;
  struct pe_ch_insert *req = lane->req;
  struct pe_err err = PE_ERR_INIT;
  const struct pe_iov *iov = req->iov;
  size_t niov = req->niov;
  if (a->compress) {
    lane->lz4_iov = (struct pe_iov){lane->lz4.data, lane->lz4.len};
    iov = &lane->lz4_iov;
    niov = 1;
  }
  int code = pe_ch_call_prepare(&lane->call, &a->opts, req->sql, req->token, req->settings, iov,
                                niov, a->compress, &err);
  if (code == 0) {
    CURLMcode added = curl_multi_add_handle(a->multi, lane->call.easy);
    if (added == CURLM_OK) {
      lane->state = LANE_SENDING;
      return;
    }
    code = pe_err_set(&err, PE_EINTERNAL, PE_CLASS_FATAL, "curl refused a request: %s",
                      curl_multi_strerror(added));
  }
  finish(lane, code, &err);
}

static void on_compress(uv_work_t *work) { /* worker thread */
  struct lane *lane = work->data;
  lane->lz4_code = pe_ch_body_lz4(lane->req->iov, lane->req->niov, &lane->lz4);
  uv_sem_post(&lane->work_done);
}

static void on_compressed(uv_work_t *work, int status) {
  (void)status;
  struct lane *lane = work->data;
  struct pe_ch_async *a = lane->owner;
  if (!a->closing) {
    uv_sem_wait(&lane->work_done);
    if (lane->lz4_code < 0) {
      struct pe_err err = PE_ERR_INIT;
      pe_err_set(&err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory while compressing a block");
      finish(lane, PE_ENOMEM, &err);
    } else {
      send_request(lane);
    }
    if (!a->closing) {
      start_waiting(a);
    }
  }
  unref(a);
}

static void start_on(struct lane *lane, struct pe_ch_insert *req) {
  struct pe_ch_async *a = lane->owner;
  lane->req = req;
  lane->call.reply.exception_code = 0;
  a->running++;
  if (!a->compress) {
    send_request(lane);
    return;
  }
  lane->state = LANE_COMPRESSING;
  lane->work.data = lane;
  a->refs++;
  int queued = uv_queue_work(a->loop, &lane->work, on_compress, on_compressed);
  PE_ASSERT(queued == 0); /* fails only without a work function */
}

static struct lane *free_lane(struct pe_ch_async *a) {
  for (unsigned i = 0; i < a->nlanes; i++) {
    if (a->lanes[i].state == LANE_FREE && !a->lanes[i].req) {
      return &a->lanes[i];
    }
  }
  return NULL;
}

static void start_waiting(struct pe_ch_async *a) {
  struct lane *lane;
  while (!a->closing && a->first && (lane = free_lane(a)) != NULL) {
    struct pe_ch_insert *req = a->first;
    a->first = req->next_;
    if (!a->first) {
      a->last = &a->first;
    }
    req->next_ = NULL;
    a->waiting--;
    start_on(lane, req);
  }
}

int pe_ch_async_insert(struct pe_ch_async *a, struct pe_ch_insert *req, struct pe_err *err) {
  if (a->closing) {
    return pe_err_set(err, PE_ESTOPPED, PE_CLASS_FATAL, "the ClickHouse client is closing");
  }
  req->next_ = NULL;
  req->ch_code = 0;
  req->written_rows = 0;
  *a->last = req;
  a->last = &req->next_;
  a->waiting++;
  /* From the timer, so that no call-back runs before this has returned. */
  uv_timer_start(&a->timer, on_timer, 0, 0);
  return 0;
}

unsigned pe_ch_async_inflight(const struct pe_ch_async *a) {
  return a->running + a->waiting;
}

/* --- life ------------------------------------------------------------------------------------ */

static void on_timer_closed(uv_handle_t *handle) {
  unref(handle->data);
}

static int lane_init(struct lane *lane, struct pe_ch_async *a, struct pe_err *err) {
  lane->owner = a;
  pe_buf_init(&lane->answer);
  pe_buf_init(&lane->lz4);
  int code = pe_ch_call_init(&lane->call, &a->opts, err);
  if (code < 0) {
    return code;
  }
  if (uv_sem_init(&lane->work_done, 0) != 0) {
    pe_ch_call_close(&lane->call);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  lane->call.reply.body = &lane->answer;
  lane->call.reply.body_max = PE_CH_REPLY_INSERT_MAX;
  curl_easy_setopt(lane->call.easy, CURLOPT_PRIVATE, lane);
  return 0;
}

int pe_ch_async_create(uv_loop_t *loop, const struct pe_ch_opts *o, bool compress,
                       struct pe_ch_async **out, struct pe_err *err) {
  struct pe_ch_async *a = calloc(1, sizeof *a);
  if (!a) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  a->opts = *o;
  a->compress = compress;
  a->loop = loop;
  a->last = &a->first;
  unsigned n = o->connections ? o->connections : 1;
  n = n > PE_CH_CONNECTIONS_MAX ? PE_CH_CONNECTIONS_MAX : n;
  a->lanes = calloc(n, sizeof *a->lanes);
  a->multi = curl_multi_init();
  int code = 0;
  if (!a->lanes || !a->multi) {
    code = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  while (code == 0 && a->nlanes < n) {
    code = lane_init(&a->lanes[a->nlanes], a, err);
    a->nlanes += code == 0;
  }
  if (code < 0) {
    curl_multi_cleanup(a->multi);
    a->closing = true;
    a->refs = 1;
    unref(a);
    return code;
  }
  curl_multi_setopt(a->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(a->multi, CURLMOPT_SOCKETDATA, a);
  curl_multi_setopt(a->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
  curl_multi_setopt(a->multi, CURLMOPT_TIMERDATA, a);
  curl_multi_setopt(a->multi, CURLMOPT_MAXCONNECTS, (long)n);
  uv_timer_init(loop, &a->timer);
  a->timer.data = a;
  a->refs = 1;
  *out = a;
  return 0;
}

void pe_ch_async_destroy(struct pe_ch_async *a) {
  struct pe_err err = PE_ERR_INIT;
  pe_err_set(&err, PE_ESTOPPED, PE_CLASS_FATAL, "the ClickHouse client is closing");
  a->closing = true;
  a->refs++;
  while (a->watches) {
    watch_close(a->watches);
  }
  for (unsigned i = 0; i < a->nlanes; i++) {
    struct lane *lane = &a->lanes[i];
    if (lane->state == LANE_SENDING) {
      curl_multi_remove_handle(a->multi, lane->call.easy);
    } else if (lane->state == LANE_COMPRESSING) {
      /* Not begun: uv_cancel takes it back. Else it reads the caller's pieces: wait. Either way
       * on_compressed still comes and gives the last reference up. */
      if (uv_cancel((uv_req_t *)&lane->work) != 0) {
        uv_sem_wait(&lane->work_done);
      }
    }
  }
  curl_multi_cleanup(a->multi);
  a->multi = NULL;
  uv_close((uv_handle_t *)&a->timer, on_timer_closed);
  for (unsigned i = 0; i < a->nlanes; i++) {
    if (a->lanes[i].req) {
      finish(&a->lanes[i], PE_ESTOPPED, &err);
    }
  }
  while (a->first) {
    struct pe_ch_insert *req = a->first;
    a->first = req->next_;
    a->waiting--;
    req->cb(req, PE_ESTOPPED, &err);
  }
  unref(a);
}
