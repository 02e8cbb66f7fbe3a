/* What the files of the ClickHouse client share. Only engine/sink/clickhouse*.c include it. */
#ifndef PE_SINK_CLICKHOUSE_INTERNAL_H
#define PE_SINK_CLICKHOUSE_INTERNAL_H

#include <curl/curl.h>

#include "sink/block.h"
#include "sink/clickhouse.h"

enum {
  PE_CH_REPLY_INSERT_MAX = 64 * 1024,        /* an insert answers with nothing or an exception */
  PE_CH_REPLY_EXEC_MAX = 1024 * 1024 * 1024, /* a SELECT of keys for a comparison can be large */
  PE_CH_UPLOAD_BUFFER = 512 * 1024,          /* curl's read size; its default is 64 KB */
  PE_CH_COMPRESSED_KEEP = 16 * 1024 * 1024,  /* a larger buffer is not kept between requests */
  PE_CH_CONNECTIONS_MAX = 64,
};

/* A request body out of pieces that somebody else owns. */
struct pe_ch_body {
  const struct pe_iov *iov;
  size_t niov, at, offset;
};
void pe_ch_body_init(struct pe_ch_body *b, const struct pe_iov *iov, size_t niov);
size_t pe_ch_body_bytes(const struct pe_iov *iov, size_t niov);
size_t pe_ch_body_read(char *to, size_t size, size_t count, void *body); /* CURLOPT_READFUNCTION */
/* The pieces as one LZ4 frame into out (cleared first). Thread-safe. PE_ENOMEM. */
int pe_ch_body_lz4(const struct pe_iov *iov, size_t niov, struct pe_buf *out);

/* What came back. body is where the answer goes: the caller's or `own`. */
struct pe_ch_reply {
  struct pe_buf *body;
  size_t body_max;
  bool too_long;
  int exception_code; /* X-ClickHouse-Exception-Code */
  uint64_t written_rows;
};

/* One request on one easy handle; reused, so the connection is. */
struct pe_ch_call {
  CURL *easy;
  struct curl_slist *headers, *headers_lz4;
  char curl_error[CURL_ERROR_SIZE];
  struct pe_ch_body body;
  struct pe_ch_reply reply;
};

int pe_ch_call_init(struct pe_ch_call *c, const struct pe_ch_opts *o, struct pe_err *err);
void pe_ch_call_close(struct pe_ch_call *c);
/* Sets the handle up for one POST of iov. query: NULL when the body is the statement itself. */
int pe_ch_call_prepare(struct pe_ch_call *c, const struct pe_ch_opts *o, const char *query,
                       const char *token, const char *settings, const struct pe_iov *iov,
                       size_t niov, bool is_lz4, struct pe_err *err);
/* After the transfer: 0, or err by what came back. */
int pe_ch_call_result(struct pe_ch_call *c, const struct pe_ch_opts *o, CURLcode result,
                      struct pe_err *err);

const struct pe_ch_opts *pe_ch_options(const struct pe_ch *ch);

/* clickhouse_error.c */
struct pe_ch_verdict {
  enum pe_class cls;
  int code;
};
struct pe_ch_verdict pe_ch_classify(int exception_code);
/* The exception text (an answer's body) without row values, for a person. Returns its code, 0 when
 * there is none. */
int pe_ch_exception_text(const char *body, size_t n, int header_code, char *out, size_t out_size);
int pe_ch_exception_error(struct pe_err *err, const char *body, size_t n, int header_code,
                          long http_status);
int pe_ch_transfer_error(struct pe_err *err, CURLcode result, const char *detail,
                         const struct pe_ch_opts *o);

/* clickhouse_async.c */
struct pe_ch_async;
int pe_ch_async_create(uv_loop_t *loop, const struct pe_ch_opts *o, bool compress,
                       struct pe_ch_async **out, struct pe_err *err);
void pe_ch_async_destroy(struct pe_ch_async *a);
int pe_ch_async_insert(struct pe_ch_async *a, struct pe_ch_insert *req, struct pe_err *err);
unsigned pe_ch_async_inflight(const struct pe_ch_async *a);

#endif
