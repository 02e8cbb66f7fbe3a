/* The embedded ClickHouse: a child process (pe-clickhouse, a launcher around libchdb.so) with HTTP
 * on loopback. The child ends when its standard input ends, so it never outlives the engine, not
 * even one that was killed. Supervised: a child that dies is started again with back-off (0.1 s to
 * 5 s). Start waits until a former child has given the folder free. owner: the loop thread (start,
 * stop); state may be read from any thread. */
#ifndef PE_SINK_EMBEDDED_H
#define PE_SINK_EMBEDDED_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"

struct pe_embedded_opts {
  char dir[512];      /* data folder, made when missing */
  unsigned port;      /* 0: 8123, or the next free one; the choice is kept in dir/http_port */
  char launcher[512]; /* path of pe-clickhouse; "": beside the engine's own executable */
  char library[512];  /* libchdb.so; "": $PIPE_ENGINE_CHDB, beside the launcher,
                         ~/.cache/pipe-engine, /usr/local/lib/pipe-engine */
  unsigned ready_timeout_ms; /* 60,000 */
};

/* embedded:DIR?port=N&library=PATH */
int pe_embedded_parse_url(const char *url, struct pe_embedded_opts *o, struct pe_err *err);

struct pe_embedded;
/* Blocks until /ping answers or fails with what the child printed. The supervisor then runs on
 * `loop`. */
int pe_embedded_start(uv_loop_t *loop, const struct pe_embedded_opts *o, struct pe_embedded **out,
                      struct pe_err *err);
unsigned pe_embedded_port(const struct pe_embedded *e);
int pe_embedded_pid(const struct pe_embedded *e); /* of the running child, 0 none */
unsigned pe_embedded_restarts(const struct pe_embedded *e);
/* Closes the child's standard input, waits for it to end (30 s, then SIGKILL), frees. */
void pe_embedded_stop(struct pe_embedded *e);

#endif
