/* The HTTP server: one handler behind two listeners (libmicrohttpd). TCP has one polling thread and
 * only reads; the Unix socket has a thread per connection, for a reload may take its time, and may
 * change things. An answer is made whole in memory; a failed allocation is a 500. */
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/internal.h"
#include "admin/render.h"
#include "base/log.h"

struct request {
  struct pe_admin *admin;
  struct pe_engine *engine; /* NULL: starting or stopping */
  bool control;             /* through the Unix socket */
  bool wait, text;          /* query arguments */
  struct pe_buf *out;
  const char *type;
};

static const char TEXT[] = "text/plain; charset=utf-8";
static const char JSON[] = "application/json";
static const char PROMETHEUS[] = "text/plain; version=0.0.4; charset=utf-8";

/* A copy of the status on the heap; NULL: out of memory. The engine is there. */
static struct pe_engine_status *status_of(struct request *r) {
  struct pe_engine_status *st = calloc(1, sizeof(*st));
  if (st) {
    pe_engine_status(r->engine, st);
  }
  return st;
}

static unsigned get_metrics(struct request *r) {
  r->type = PROMETHEUS;
  if (!r->engine) {
    pe_metrics_render_starting(r->out);
    return MHD_HTTP_OK;
  }
  struct pe_engine_status *st = status_of(r);
  if (!st) {
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
  }
  struct pe_latency lat;
  memset(&lat, 0, sizeof(lat));
  pe_engine_latency(r->engine, lat.counts, &lat.sum_ms);
  pe_metrics_render(st, &lat, r->out);
  pe_engine_script_metrics(r->engine, r->out);
  free(st);
  return MHD_HTTP_OK;
}

static unsigned get_live(struct request *r) {
  pe_buf_puts(r->out, "live\n");
  return MHD_HTTP_OK;
}

static unsigned get_ready(struct request *r) {
  if (!r->engine) {
    pe_buf_printf(r->out, "not ready: %s\n", r->admin->engine.without);
    return MHD_HTTP_SERVICE_UNAVAILABLE;
  }
  struct pe_engine_status *st = status_of(r);
  if (!st) {
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
  }
  bool ready = pe_ready_render(st, r->admin->ready_lag_ms, r->out);
  free(st);
  return ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned get_status(struct request *r) {
  if (!r->engine) {
    const char *word = r->admin->engine.without;
    if (r->text) {
      pe_buf_printf(r->out, "%s\n", word);
    } else {
      r->type = JSON;
      pe_buf_printf(r->out, "{\"state\":\"%s\",\"ready\":false,\"reason\":\"%s\"}\n", word, word);
    }
    return MHD_HTTP_OK;
  }
  struct pe_engine_status *st = status_of(r);
  if (!st) {
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
  }
  if (r->text) {
    pe_status_render_text(st, r->out);
  } else {
    r->type = JSON;
    pe_status_render_json(st, r->out);
  }
  free(st);
  return MHD_HTTP_OK;
}

static unsigned get_index(struct request *r) {
  pe_buf_puts(r->out, "pipe-engine " PE_VERSION "\n/metrics  /live  /ready  /status\n");
  return MHD_HTTP_OK;
}

static unsigned post_reload(struct request *r) {
  if (!r->engine) {
    pe_buf_printf(r->out, "not reloaded: the engine is %s\n", r->admin->engine.without);
    return MHD_HTTP_SERVICE_UNAVAILABLE;
  }
  if (!r->wait) {
    pe_reloader_want(&r->admin->reloader);
    pe_buf_puts(r->out, "reload asked for; its result is logged\n");
    return MHD_HTTP_ACCEPTED;
  }
  struct pe_reload_result res;
  memset(&res, 0, sizeof(res));
  res.code = pe_engine_reload(r->engine, PE_ADMIN_RELOAD_MS, &res);
  if (r->text) {
    pe_buf_printf(r->out, "%s\n", res.text);
  } else {
    r->type = JSON;
    pe_reload_render_json(&res, r->out);
  }
  return res.code == 0 ? MHD_HTTP_OK : MHD_HTTP_CONFLICT;
}

static unsigned post_stop(struct request *r) {
  if (!r->engine && strcmp(r->admin->engine.without, "starting") == 0) {
    pe_buf_puts(r->out, "not asked to stop: the engine is still starting; SIGTERM ends it\n");
    return MHD_HTTP_SERVICE_UNAVAILABLE;
  }
  if (!r->engine) {
    pe_buf_puts(r->out, "stopping\n");
    return MHD_HTTP_ACCEPTED;
  }
  pe_info("admin", "stop asked for");
  pe_engine_stop(r->engine);
  pe_buf_puts(r->out, "stopping\n");
  return MHD_HTTP_ACCEPTED;
}

/* To add a page: one line here, its function above, a line in the help on metrics, a test. */
static const struct route {
  const char *method, *path;
  unsigned (*fn)(struct request *r);
} routes[] = {
    {"GET", "/", get_index},        {"GET", "/metrics", get_metrics},
    {"GET", "/live", get_live},     {"GET", "/ready", get_ready},
    {"GET", "/status", get_status}, {"POST", "/reload", post_reload},
    {"POST", "/stop", post_stop},
};

static unsigned dispatch(struct request *r, const char *method, const char *path) {
  bool known = false;
  for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
    if (strcmp(routes[i].path, path) != 0) {
      continue;
    }
    known = true;
    if (strcmp(routes[i].method, method) != 0) {
      continue;
    }
    if (strcmp(method, "GET") != 0 && !r->control) {
      pe_buf_puts(r->out, "only through the control socket: use the command\n");
      return MHD_HTTP_FORBIDDEN;
    }
    return routes[i].fn(r);
  }
  pe_buf_puts(r->out, known ? "wrong method\n" : "no such page: /metrics /live /ready /status\n");
  return known ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND;
}

static enum MHD_Result answer(struct MHD_Connection *conn, unsigned code, struct request *r) {
  if (!pe_buf_ok(r->out)) {
    return MHD_NO; /* out of memory: closes the connection */
  }
  struct MHD_Response *res =
      MHD_create_response_from_buffer(r->out->len, r->out->data, MHD_RESPMEM_MUST_COPY);
  if (!res) {
    return MHD_NO;
  }
  MHD_add_response_header(res, MHD_HTTP_HEADER_CONTENT_TYPE, r->type);
  MHD_add_response_header(res, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  enum MHD_Result rc = MHD_queue_response(conn, code, res);
  MHD_destroy_response(res);
  return rc;
}

/* A body means more than one call; there is no use for one, so it is refused at the first byte. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *conn, const char *url,
                              const char *method, const char *version, const char *upload_data,
                              size_t *upload_size, void **state) {
  (void)version;
  (void)upload_data;
  static int seen;
  if (!*state) {
    *state = &seen; /* headers only so far; libmicrohttpd wants the answer in a later call */
    return MHD_YES;
  }
  if (*upload_size > 0) {
    return MHD_NO;
  }
  struct pe_admin *a = cls;
  struct pe_buf out;
  pe_buf_init(&out);
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_DAEMON);
  const char *wait = MHD_lookup_connection_value(conn, MHD_GET_ARGUMENT_KIND, "wait");
  const char *format = MHD_lookup_connection_value(conn, MHD_GET_ARGUMENT_KIND, "format");
  pthread_rwlock_rdlock(&a->engine.lock);
  struct request r = {
      .admin = a,
      .engine = a->engine.engine,
      .control = info && info->daemon == a->unix_,
      .wait = !wait || strcmp(wait, "0") != 0,
      .text = format && strcmp(format, "text") == 0,
      .out = &out,
      .type = TEXT,
  };
  unsigned code = dispatch(&r, method, url);
  pthread_rwlock_unlock(&a->engine.lock);
  enum MHD_Result rc = answer(conn, code, &r);
  pe_buf_close(&out);
  return rc;
}

static struct MHD_Daemon *serve(struct pe_admin *a, int fd, bool thread_per_connection,
                                unsigned connections) {
  unsigned flags = thread_per_connection
                       ? MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD
                       : MHD_USE_INTERNAL_POLLING_THREAD;
  return MHD_start_daemon(flags | MHD_USE_POLL, 0, NULL, NULL, handle, a, MHD_OPTION_LISTEN_SOCKET,
                          fd, MHD_OPTION_CONNECTION_LIMIT, connections,
                          MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)PE_ADMIN_CONNECTION_BYTES,
                          MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)PE_ADMIN_IDLE_S, MHD_OPTION_END);
}

int pe_admin_start(const struct pe_config *cfg, struct pe_admin **out, struct pe_err *err) {
  struct pe_admin *a = calloc(1, sizeof(*a));
  if (!a) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  a->ready_lag_ms = cfg->ready_lag_ms;
  pthread_rwlock_init(&a->engine.lock, NULL);
  a->engine.without = "starting";
  int control = -1, tcp = -1, rc;
  bool bound = false;
  if ((rc = pe_control_dir(cfg, err)) != 0 || (rc = pe_control_open(cfg, &a->control, err)) != 0) {
    pthread_rwlock_destroy(&a->engine.lock);
    free(a);
    return rc;
  }
  rc = pe_control_listen(cfg, &a->control, &control, err);
  bound = rc == 0;
  if (rc == 0 && cfg->admin_listen && cfg->admin_listen[0]) {
    rc = pe_tcp_listen(cfg->admin_listen, &tcp, &a->port, err);
  }
  if (rc == 0) {
    rc = pe_reloader_start(&a->reloader, &a->engine, err);
  }
  if (rc == 0 && !(a->unix_ = serve(a, control, true, PE_ADMIN_UNIX_CONNECTIONS))) {
    rc = pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "the control socket's server does not start");
  }
  if (rc == 0 && tcp >= 0 && !(a->tcp = serve(a, tcp, false, PE_ADMIN_TCP_CONNECTIONS))) {
    rc = pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "the admin server does not start");
  }
  if (rc == 0) {
    *out = a;
    return 0;
  }
  /* A daemon owns its socket from its start on. */
  if (control >= 0 && !a->unix_) {
    close(control);
  }
  if (tcp >= 0 && !a->tcp) {
    close(tcp);
  }
  if (!bound) {
    a->control.path[0] = 0; /* somebody else's: not ours to remove */
  }
  pe_admin_stop(a);
  return rc;
}

void pe_admin_attach(struct pe_admin *a, struct pe_engine *e) {
  pthread_rwlock_wrlock(&a->engine.lock);
  a->engine.without = e ? "" : "stopping";
  a->engine.engine = e;
  pthread_rwlock_unlock(&a->engine.lock);
}

void pe_admin_reload(struct pe_admin *a) {
  pe_reloader_want(&a->reloader);
}

unsigned pe_admin_port(const struct pe_admin *a) {
  return a->port;
}

void pe_admin_stop(struct pe_admin *a) {
  if (!a) {
    return;
  }
  if (a->control.path[0]) {
    unlink(a->control.path); /* first: from now on commands see that no engine runs */
  }
  if (a->tcp) {
    MHD_stop_daemon(a->tcp);
  }
  if (a->unix_) {
    MHD_stop_daemon(a->unix_);
  }
  pe_reloader_stop(&a->reloader);
  pe_control_close(&a->control);
  pthread_rwlock_destroy(&a->engine.lock);
  free(a);
}
