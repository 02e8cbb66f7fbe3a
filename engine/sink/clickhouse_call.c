/* One HTTP request to ClickHouse on one curl handle: its address, headers, body, answer and
 * verdict. The blocking client and the asynchronous one differ only in who drives the handle.
 *
 * No body is ever rewound: curl would otherwise send a request again by itself when a kept
 * connection breaks, and whether a block may be sent again after a restart of the server is for the
 * engine to find out. owner: whoever owns the call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "sink/clickhouse_internal.h"

/* What every insert carries. One Native block stays one part: it is neither cut nor gathered. A
 * NULL or a column that the table hasn't is an error, not a default. */
#define INSERT_SETTINGS                                                         \
  "&async_insert=0&insert_deduplicate=1"                                        \
  "&deduplicate_blocks_in_dependent_materialized_views=1&max_insert_threads=1"  \
  "&max_insert_block_size=1000000000&min_insert_block_size_rows=0"              \
  "&min_insert_block_size_bytes=0&input_format_native_allow_types_conversion=1" \
  "&input_format_null_as_default=0&input_format_skip_unknown_fields=0"

static size_t on_body(char *p, size_t size, size_t count, void *arg) {
  struct pe_ch_reply *r = arg;
  size_t n = size * count;
  if (r->body->len + n > r->body_max) {
    r->too_long = true;
    /* An exception at the head of the answer is enough; the rest is not worth the memory. */
    return r->exception_code ? n : 0;
  }
  pe_buf_put(r->body, p, n);
  return pe_buf_ok(r->body) ? n : 0;
}

static uint64_t summary_number(const char *json, size_t n, const char *key) {
  const char *at = memmem(json, n, key, strlen(key));
  if (!at) {
    return 0;
  }
  at += strlen(key);
  const char *end = json + n;
  while (at < end && (*at == '"' || *at == ':' || *at == ' ')) {
    at++;
  }
  uint64_t v = 0;
  for (; at < end && *at >= '0' && *at <= '9'; at++) {
    v = v * 10 + (uint64_t)(*at - '0');
  }
  return v;
}

static bool header_is(const char *line, size_t n, const char *name) {
  size_t m = strlen(name);
  return n > m && strncasecmp(line, name, m) == 0 && line[m] == ':';
}

static size_t on_header(char *line, size_t size, size_t count, void *arg) {
  struct pe_ch_reply *r = arg;
  size_t n = size * count;
  if (header_is(line, n, "X-ClickHouse-Summary")) {
    r->written_rows = summary_number(line, n, "\"written_rows\"");
  } else if (header_is(line, n, "X-ClickHouse-Exception-Code")) {
    for (size_t i = strlen("X-ClickHouse-Exception-Code:"); i < n && r->exception_code < 100000;
         i++) {
      if (line[i] >= '0' && line[i] <= '9') {
        r->exception_code = r->exception_code * 10 + (line[i] - '0');
      }
    }
  }
  return n;
}

static bool add_header(struct curl_slist **list, const char *name, const char *value) {
  struct pe_buf line;
  pe_buf_init(&line);
  pe_buf_puts(&line, name);
  pe_buf_puts(&line, ":");
  if (value) {
    pe_buf_puts(&line, " ");
    pe_buf_puts(&line, value);
  }
  struct curl_slist *more = curl_slist_append(*list, pe_buf_cstr(&line));
  bool ok = pe_buf_ok(&line) && more;
  if (line.data) {
    explicit_bzero(line.data, line.len);
  }
  pe_buf_close(&line);
  if (more) {
    *list = more;
  }
  return ok;
}

static struct curl_slist *make_headers(const struct pe_ch_opts *o, bool is_lz4) {
  struct curl_slist *list = NULL;
  bool ok = add_header(&list, "Expect", NULL) &&
            add_header(&list, "Content-Type", "application/octet-stream");
  if (o->user[0]) {
    ok = ok && add_header(&list, "X-ClickHouse-User", o->user);
  }
  if (o->password[0]) {
    ok = ok && add_header(&list, "X-ClickHouse-Key", o->password);
  }
  if (is_lz4) {
    ok = ok && add_header(&list, "Content-Encoding", "lz4");
  }
  if (!ok) {
    curl_slist_free_all(list);
    return NULL;
  }
  return list;
}

static bool is_loopback(const char *url) {
  const char *host = strstr(url, "://");
  host = host ? host + 3 : url;
  return !strncmp(host, "127.", 4) || !strncmp(host, "localhost", 9) || !strncmp(host, "[::1]", 5);
}

int pe_ch_call_init(struct pe_ch_call *c, const struct pe_ch_opts *o, struct pe_err *err) {
  memset(c, 0, sizeof *c);
  c->easy = curl_easy_init();
  c->headers = make_headers(o, false);
  c->headers_lz4 = make_headers(o, true);
  if (!c->easy || !c->headers || !c->headers_lz4) {
    pe_ch_call_close(c);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  CURL *e = c->easy;
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_POST, 1L);
  curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(e, CURLOPT_READFUNCTION, pe_ch_body_read);
  curl_easy_setopt(e, CURLOPT_READDATA, &c->body);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &c->reply);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, &c->reply);
  curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->curl_error);
  curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)PE_CH_UPLOAD_BUFFER);
  curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms);
  curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms);
  curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, o->tls_verify ? 1L : 0L);
  curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, o->tls_verify ? 2L : 0L);
  if (o->tls_ca[0]) {
    curl_easy_setopt(e, CURLOPT_CAINFO, o->tls_ca);
  }
  if (is_loopback(o->url)) {
    curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
  }
  return 0;
}

void pe_ch_call_close(struct pe_ch_call *c) {
  curl_easy_cleanup(c->easy);
  for (struct curl_slist *h = c->headers; h; h = h->next) {
    explicit_bzero(h->data, strlen(h->data));
  }
  for (struct curl_slist *h = c->headers_lz4; h; h = h->next) {
    explicit_bzero(h->data, strlen(h->data));
  }
  curl_slist_free_all(c->headers);
  curl_slist_free_all(c->headers_lz4);
  memset(c, 0, sizeof *c);
}

static void put_parameter(struct pe_buf *url, CURL *easy, const char *name, const char *value) {
  char *escaped = curl_easy_escape(easy, value, (int)strlen(value));
  if (!escaped) {
    url->failed = true;
    return;
  }
  pe_buf_puts(url, name);
  pe_buf_puts(url, escaped);
  curl_free(escaped);
}

int pe_ch_call_prepare(struct pe_ch_call *c, const struct pe_ch_opts *o, const char *query,
                       const char *token, const char *settings, const struct pe_iov *iov,
                       size_t niov, bool is_lz4, struct pe_err *err) {
  PE_ASSERT(c->reply.body);
  struct pe_buf url;
  pe_buf_init(&url);
  pe_buf_puts(&url, o->url);
  put_parameter(&url, c->easy, "/?wait_end_of_query=1&database=", o->database);
  if (query) {
    pe_buf_puts(&url, INSERT_SETTINGS);
    put_parameter(&url, c->easy, "&query=", query);
  }
  if (token && token[0]) {
    put_parameter(&url, c->easy, "&insert_deduplication_token=", token);
  }
  if (settings && settings[0]) {
    pe_buf_puts(&url, "&");
    pe_buf_puts(&url, settings);
  }
  CURLcode code = CURLE_OUT_OF_MEMORY;
  const char *text = pe_buf_cstr(&url);
  if (pe_buf_ok(&url)) {
    code = curl_easy_setopt(c->easy, CURLOPT_URL, text);
  }
  pe_buf_close(&url);
  if (code != CURLE_OK) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  pe_ch_body_init(&c->body, iov, niov);
  curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)pe_ch_body_bytes(iov, niov));
  curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, is_lz4 ? c->headers_lz4 : c->headers);
  c->curl_error[0] = 0;
  c->reply.too_long = false;
  c->reply.exception_code = 0;
  c->reply.written_rows = 0;
  return 0;
}

int pe_ch_call_result(struct pe_ch_call *c, const struct pe_ch_opts *o, CURLcode result,
                      struct pe_err *err) {
  long status = 0;
  curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
  const struct pe_ch_reply *r = &c->reply;
  if (result != CURLE_OK) {
    if (!pe_buf_ok(r->body)) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the answer");
    }
    if (r->too_long && result == CURLE_WRITE_ERROR) {
      return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "the answer is longer than %zu bytes",
                        r->body_max);
    }
    /* ClickHouse may answer and hang up before it has read the whole body. */
    if (status < 400 || r->exception_code == 0) {
      return pe_ch_transfer_error(err, result, c->curl_error, o);
    }
  }
  if (status == 200 && r->exception_code == 0) {
    return 0;
  }
  return pe_ch_exception_error(err, (const char *)r->body->data, r->body->len, r->exception_code,
                               status);
}
