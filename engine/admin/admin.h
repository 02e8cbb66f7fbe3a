/* The admin room's door: HTTP for monitors (loopback TCP, reading only) and for the commands (a
 * Unix socket, <state_dir>/<name>.sock, mode 0600: reading, reload, stop).
 *
 * It answers from before the engine is up (then /ready says "starting") until pe_admin_stop. The
 * engine is attached once it runs, and detached before it is destroyed. Requests run on threads of
 * libmicrohttpd and call only what engine.h says is for any thread. Bounds: connections, their
 * memory and their idle time; request bodies are refused.
 */
#ifndef PE_ADMIN_ADMIN_H
#define PE_ADMIN_ADMIN_H

#include "base/buf.h"
#include "base/err.h"
#include "pipeline/config.h"
#include "pipeline/engine.h"

enum {
  PE_ADMIN_RELOAD_MS = 120 * 1000, /* a reload that takes longer is refused */
  PE_ADMIN_TCP_CONNECTIONS = 32,
  PE_ADMIN_UNIX_CONNECTIONS = 16,
  PE_ADMIN_CONNECTION_BYTES = 32 * 1024,
  PE_ADMIN_IDLE_S = 30,
};

struct pe_admin; /* owner: the main thread */

/* PE_ELOCKED: another engine answers on the socket. PE_EIO: the port is in use, the folder can't be
 * written. Block the signals before: threads are started. */
int pe_admin_start(const struct pe_config *cfg, struct pe_admin **out, struct pe_err *err);
/* From now on requests reach this engine. NULL, before it is destroyed: waits for those in flight;
 * later ones hear "stopping". */
void pe_admin_attach(struct pe_admin *a, struct pe_engine *e);
/* Asks for a reload without waiting; its result is logged. Any thread. */
void pe_admin_reload(struct pe_admin *a);
/* Ends the listeners and running requests, removes the socket. */
void pe_admin_stop(struct pe_admin *a);
unsigned pe_admin_port(const struct pe_admin *a); /* TCP, 0 none */

/* ---- the commands' side ---- */

/* Asks the engine of this pipeline. status gets the HTTP status, body the answer. Returns 0; 1 when
 * no engine runs for it; PE_ETIMEOUT; PE_EIO. */
int pe_admin_call(const struct pe_config *cfg, const char *method, const char *path,
                  unsigned timeout_ms, long *status, struct pe_buf *body, struct pe_err *err);

#endif
