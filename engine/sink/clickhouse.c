/* The ClickHouse client: its options and the blocking calls (start, checks, commands, DDL). The
 * asynchronous inserts are in clickhouse_async.c, the request itself in clickhouse_call.c.
 * owner: the loop thread, or any one thread at a time where only blocking calls are made. */
#include "sink/clickhouse.h"

#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <unistd.h>

#include "base/assert.h"
#include "sink/clickhouse_internal.h"

enum {
  CONNECT_TIMEOUT_MS = 5000,
  REQUEST_TIMEOUT_MS = 120000,
  CONNECTIONS = 2,
};

struct pe_ch {
  struct pe_ch_opts opts;
  struct pe_ch_call call; /* the blocking calls' own connection */
  struct pe_ch_async *async;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void curl_setup(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void defaults(struct pe_ch_opts *o) {
  memset(o, 0, sizeof *o);
  o->tls_verify = true;
  o->connect_timeout_ms = CONNECT_TIMEOUT_MS;
  o->timeout_ms = REQUEST_TIMEOUT_MS;
  o->connections = CONNECTIONS;
  o->compress = -1;
  snprintf(o->database, sizeof o->database, "default");
}

/* A part of the URL into out, decoded; 0 when it isn't there, negative when it doesn't fit or
 * decodes into control characters. */
static int url_part(CURLU *u, CURLUPart part, char *out, size_t n, unsigned flags) {
  char *value = NULL;
  CURLUcode code = curl_url_get(u, part, &value, flags);
  if (code == CURLUE_NO_USER || code == CURLUE_NO_PASSWORD || code == CURLUE_NO_HOST ||
      code == CURLUE_NO_PORT || code == CURLUE_NO_QUERY) {
    return 0;
  }
  if (code != CURLUE_OK || !value) {
    return -1;
  }
  int fits = strlen(value) < n ? 1 : -1;
  if (fits > 0) {
    memcpy(out, value, strlen(value) + 1);
  }
  explicit_bzero(value, strlen(value));
  curl_free(value);
  return fits;
}

static int parse_query(char *query, struct pe_ch_opts *o, struct pe_err *err) {
  char *rest = NULL;
  for (char *word = strtok_r(query, "&", &rest); word; word = strtok_r(NULL, "&", &rest)) {
    char *value = strchr(word, '=');
    if (value) {
      *value++ = 0;
    }
    bool is_flag = value && (!strcmp(value, "0") || !strcmp(value, "1"));
    if (!strcmp(word, "verify") && is_flag) {
      o->tls_verify = value[0] == '1';
    } else if (!strcmp(word, "compress") && is_flag) {
      o->compress = value[0] - '0';
    } else if (!strcmp(word, "ca") && value && value[0]) {
      int n = 0;
      char *decoded = curl_easy_unescape(NULL, value, 0, &n);
      bool ok =
          decoded && snprintf(o->tls_ca, sizeof o->tls_ca, "%s", decoded) < (int)sizeof o->tls_ca;
      curl_free(decoded);
      if (!ok) {
        return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "ClickHouse URL: ca is too long");
      }
    } else {
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                        "ClickHouse URL: unknown or bad parameter \"%.32s\" (known: verify=0|1, "
                        "compress=0|1, ca=FILE)",
                        word);
    }
  }
  return 0;
}

static int parse_url_parts(CURLU *u, struct pe_ch_opts *o, struct pe_err *err) {
  char scheme[16] = "", host[256] = "", port[8] = "", path[256] = "", query[1024] = "";
  if (url_part(u, CURLUPART_SCHEME, scheme, sizeof scheme, 0) < 0 ||
      (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "ClickHouse URL: must begin with http:// or https://");
  }
  if (url_part(u, CURLUPART_HOST, host, sizeof host, 0) <= 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "ClickHouse URL: no host, or a too long one");
  }
  if (url_part(u, CURLUPART_PORT, port, sizeof port, 0) <= 0) {
    snprintf(port, sizeof port, "%s", strcmp(scheme, "https") == 0 ? "8443" : "8123");
  }
  if (url_part(u, CURLUPART_USER, o->user, sizeof o->user, CURLU_URLDECODE) < 0 ||
      url_part(u, CURLUPART_PASSWORD, o->password, sizeof o->password, CURLU_URLDECODE) < 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "ClickHouse URL: user or password is too long or wrongly encoded");
  }
  int has_path = url_part(u, CURLUPART_PATH, path, sizeof path, CURLU_URLDECODE);
  const char *database = path[0] == '/' ? path + 1 : path;
  if (has_path < 0 || strchr(database, '/') || strlen(database) >= sizeof o->database) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "ClickHouse URL: the path is the database's name, without a further slash");
  }
  if (database[0]) {
    memcpy(o->database, database, strlen(database) + 1);
  }
  snprintf(o->url, sizeof o->url, "%s://%s:%s", scheme, host, port);
  if (url_part(u, CURLUPART_QUERY, query, sizeof query, 0) < 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "ClickHouse URL: too many parameters");
  }
  return parse_query(query, o, err);
}

int pe_ch_parse_url(const char *url, struct pe_ch_opts *o, struct pe_err *err) {
  defaults(o);
  CURLU *u = curl_url();
  if (!u) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  int code;
  CURLUcode parsed = curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
  if (parsed != CURLUE_OK) {
    /* The URL may hold a password: it isn't quoted. */
    code = pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                      "ClickHouse URL can't be read (%s): http://user:password@host:8123/database",
                      curl_url_strerror(parsed));
  } else {
    code = parse_url_parts(u, o, err);
  }
  curl_url_cleanup(u);
  return code;
}

static bool wants_lz4(const struct pe_ch_opts *o) {
  if (o->compress >= 0) {
    return o->compress != 0;
  }
  return !strstr(o->url, "://127.") && !strstr(o->url, "://localhost") &&
         !strstr(o->url, "://[::1]");
}

int pe_ch_create(uv_loop_t *loop, const struct pe_ch_opts *o, struct pe_ch **out,
                 struct pe_err *err) {
  pthread_once(&curl_once, curl_setup);
  struct pe_ch *ch = calloc(1, sizeof *ch);
  if (!ch) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  ch->opts = *o;
  if (strpbrk(o->user, "\r\n") || strpbrk(o->password, "\r\n")) {
    free(ch);
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "ClickHouse user or password has a newline");
  }
  int code = pe_ch_call_init(&ch->call, o, err);
  if (code == 0 && loop) {
    code = pe_ch_async_create(loop, o, wants_lz4(o), &ch->async, err);
  }
  if (code < 0) {
    pe_ch_call_close(&ch->call);
    free(ch);
    return code;
  }
  *out = ch;
  return 0;
}

const struct pe_ch_opts *pe_ch_options(const struct pe_ch *ch) {
  return &ch->opts;
}

void pe_ch_destroy(struct pe_ch *ch) {
  if (!ch) {
    return;
  }
  if (ch->async) {
    pe_ch_async_destroy(ch->async); /* call-backs run in here and may still use ch */
  }
  pe_ch_call_close(&ch->call);
  explicit_bzero(&ch->opts, sizeof ch->opts);
  free(ch);
}

static int perform(struct pe_ch *ch, struct pe_buf *answer, const char *query, const char *settings,
                   const struct pe_iov *iov, struct pe_err *err) {
  struct pe_ch_call *c = &ch->call;
  c->reply.body = answer;
  c->reply.body_max = answer->len + PE_CH_REPLY_EXEC_MAX;
  int code = pe_ch_call_prepare(c, &ch->opts, query, NULL, settings, iov, 1, false, err);
  if (code < 0) {
    return code;
  }
  return pe_ch_call_result(c, &ch->opts, curl_easy_perform(c->easy), err);
}

int pe_ch_exec(struct pe_ch *ch, const char *sql, const char *settings, struct pe_buf *out,
               struct pe_err *err) {
  struct pe_err own = PE_ERR_INIT;
  err = err ? err : &own;
  struct pe_buf answer;
  pe_buf_init(&answer);
  const struct pe_iov body = {sql, strlen(sql)};
  int code = perform(ch, &answer, NULL, settings, &body, err);
  if (code == 0 && out) {
    if (out->len == 0) { /* the usual case: hand it over instead of copying it */
      struct pe_buf old = *out;
      *out = answer;
      answer = old;
    } else {
      pe_buf_put(out, answer.data, answer.len);
    }
    if (!pe_buf_ok(out)) {
      code = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the answer");
    }
  }
  if (code < 0 && err->cls == PE_CLASS_POISON) {
    err->cls = PE_CLASS_FATAL; /* a statement has no row that could go to the DLQ */
  }
  pe_buf_close(&answer);
  return code;
}

int pe_ch_value(struct pe_ch *ch, const char *sql, char *out, size_t n, struct pe_err *err) {
  PE_ASSERT(n > 0);
  out[0] = 0;
  struct pe_buf answer;
  pe_buf_init(&answer);
  int code = pe_ch_exec(ch, sql, "default_format=TabSeparatedRaw", &answer, err);
  if (code == 0 && answer.len > 0) {
    size_t len = answer.data[answer.len - 1] == '\n' ? answer.len - 1 : answer.len;
    if (len >= n) {
      code = pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "an answer of %zu bytes where %zu fit", len,
                        n - 1);
    } else {
      memcpy(out, answer.data, len);
      out[len] = 0;
      code = 1;
    }
  }
  pe_buf_close(&answer);
  return code;
}

int pe_ch_insert_body(struct pe_ch *ch, const char *sql, const char *settings, const void *body,
                      size_t n, struct pe_err *err) {
  struct pe_buf answer;
  pe_buf_init(&answer);
  const struct pe_iov piece = {body, n};
  int code = perform(ch, &answer, sql, settings, &piece, err);
  pe_buf_close(&answer);
  return code;
}

int pe_ch_insert(struct pe_ch *ch, struct pe_ch_insert *req, struct pe_err *err) {
  PE_ASSERT(ch->async);
  return pe_ch_async_insert(ch->async, req, err);
}

unsigned pe_ch_inflight(const struct pe_ch *ch) {
  return ch->async ? pe_ch_async_inflight(ch->async) : 0;
}
