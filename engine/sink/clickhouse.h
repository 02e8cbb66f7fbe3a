/* ClickHouse over HTTP (libcurl). Two forms: blocking calls for start, checks and commands, and
 * asynchronous inserts on the loop (curl multi + libuv) for the stream. Keep-alive connections,
 * async_insert=0, LZ4 request bodies (Content-Encoding: lz4) where the server is remote.
 *
 * Errors carry ClickHouse's own code and the first line of its text, with the values it quotes cut
 * out (an exception text can hold row values). RETRY: no connection, time-out, 5xx without an
 * exception code, and the codes for memory, too many parts, too many queries, read-only and
 * shutting down. POISON: the block itself was refused (type, range, constraint). FATAL: unknown
 * table, unknown column, access denied.
 */
#ifndef PE_SINK_CLICKHOUSE_H
#define PE_SINK_CLICKHOUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

struct pe_iov;

struct pe_ch_opts {
  char url[512]; /* http://host:8123 or https://...; user and password taken out of it */
  char user[128];
  char password[512]; /* secret; sent as a header, never in a URL */
  char database[128]; /* "default" */
  bool tls_verify;    /* default true */
  char tls_ca[512];
  unsigned connect_timeout_ms; /* 5000 */
  unsigned timeout_ms;         /* a request, 120,000 */
  unsigned connections;        /* parallel inserts, 2 */
  int compress;                /* -1: where remote, 0 never, 1 always */
};

/* http(s)://user:password@host:port/database?verify=0&ca=FILE ; PE_ECONFIG. embedded: URLs are not
 * for here. */
int pe_ch_parse_url(const char *url, struct pe_ch_opts *o, struct pe_err *err);

struct pe_ch; /* owner: the loop thread for async, any one thread at a time for blocking calls */
/* loop may be NULL: then only blocking calls. */
int pe_ch_create(uv_loop_t *loop, const struct pe_ch_opts *o, struct pe_ch **out,
                 struct pe_err *err);
/* Call-backs of running and waiting requests get PE_ESTOPPED before this returns (also when it is
 * called out of a call-back); memory that libuv owns is freed in the loop's next round. */
void pe_ch_destroy(struct pe_ch *ch);

/* Blocking. out gets the answer's body (may be NULL). settings: "a=1&b=2" or NULL. */
int pe_ch_exec(struct pe_ch *ch, const char *sql, const char *settings, struct pe_buf *out,
               struct pe_err *err);
/* One value; 1 found, 0 no row. */
int pe_ch_value(struct pe_ch *ch, const char *sql, char *out, size_t n, struct pe_err *err);
/* Blocking insert of raw FORMAT data. */
int pe_ch_insert_body(struct pe_ch *ch, const char *sql, const char *settings, const void *body,
                      size_t n, struct pe_err *err);

struct pe_ch_insert {
  const char *sql;          /* INSERT INTO t (cols) FORMAT Native */
  const char *token;        /* insert_deduplication_token */
  const char *settings;     /* more settings or NULL */
  const struct pe_iov *iov; /* body; the caller keeps it until the call-back */
  size_t niov;
  void (*cb)(struct pe_ch_insert *req, int code, const struct pe_err *err); /* on the loop */
  void *arg;
  int ch_code; /* ClickHouse's exception code, 0 none */
  /* X-ClickHouse-Summary: rows written, views included. ClickHouse 26 counts a block that it knew
   * already as written, so this doesn't tell whether the token was known. */
  uint64_t written_rows;
  struct pe_ch_insert *next_; /* pe_ch's own, while it waits */
};
/* Asynchronous. At most opts.connections run at once, the rest waits in order. The request is the
 * caller's until cb. */
int pe_ch_insert(struct pe_ch *ch, struct pe_ch_insert *req, struct pe_err *err);
unsigned pe_ch_inflight(const struct pe_ch *ch);

/* Applies every *.sql of a folder in name order, statement by statement (a statement ends with ";"
 * at a line's end). Statements must be idempotent (CREATE ... IF NOT EXISTS). ${name} in a text is
 * replaced from vars (pairs, NULL-ended); ${user} and ${password}, as quoted SQL texts, are always
 * there (a dictionary's source needs them). An error names file, line and first words. */
int pe_ch_apply_dir(struct pe_ch *ch, const char *dir, const char *const *vars, struct pe_err *err);

#endif
