/* The embedded server's folder: what lies in it and where its parts come from. Only
 * engine/sink/embedded*.c include it.
 *
 *   DIR/server/        ClickHouse's own files (--path)
 *   DIR/http_port      the port, so that it stays the same from start to start
 *   DIR/config.xml     written anew before every start of the child
 *   DIR/clickhouse.log what the child printed
 *   DIR/engine.lock    held by the engine as long as it lives
 *   DIR/server.lock    held by the child (inherited), so that a child that still finishes is seen
 */
#ifndef PE_SINK_EMBEDDED_INTERNAL_H
#define PE_SINK_EMBEDDED_INTERNAL_H

#include <stddef.h>
#include <sys/types.h>

#include "sink/embedded.h"

enum {
  PE_EMBEDDED_PATH_BYTES = 1024,
  PE_EMBEDDED_MARK_BYTES = 64,
  PE_EMBEDDED_LOG_BYTES_MAX = 16 * 1024 * 1024,
  PE_EMBEDDED_TAIL_BYTES = 700,
  PE_EMBEDDED_LOCK_WAIT_MS = 60000,
};

/* Fills o->dir (absolute, made), o->launcher, o->library. */
int pe_embedded_locate(struct pe_embedded_opts *o, struct pe_err *err);
/* Takes DIR/engine.lock; the descriptor, or PE_ELOCKED. */
int pe_embedded_lock_engine(const char *dir, struct pe_err *err);
/* Takes DIR/server.lock, waits for a former child up to wait_ms; the descriptor, or PE_ELOCKED. */
int pe_embedded_lock_server(const char *dir, int wait_ms, struct pe_err *err);
/* The port to use: `wanted`, else the kept one, else from `from` on the first free one. */
int pe_embedded_choose_port(const char *dir, unsigned wanted, unsigned from, unsigned *port,
                            struct pe_err *err);
int pe_embedded_keep_port(const char *dir, unsigned port, struct pe_err *err);
/* mark: what getMacro('pe_instance') answers, to tell this child from a stranger. */
int pe_embedded_write_config(const char *dir, const char *mark, struct pe_err *err);
/* DIR/clickhouse.log for appending; `size` is where the new child's lines begin. */
int pe_embedded_open_log(const char *dir, off_t *size, struct pe_err *err);
/* The end of what was logged since `from`, as one line. */
void pe_embedded_log_tail(const char *dir, off_t from, char *out, size_t size);

#endif
