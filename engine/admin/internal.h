/* What the files of admin share. */
#ifndef PE_ADMIN_INTERNAL_H
#define PE_ADMIN_INTERNAL_H

#include <pthread.h>
#include <sys/un.h>

#include "admin/admin.h"

struct MHD_Daemon;

/* socket.c: an address for <state_dir>/<name>.sock that fits, whatever the length of state_dir. It
 * stays usable until pe_control_close. */
struct pe_control {
  char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* the path itself, or by way of dirfd */
  int dirfd;                                              /* -1 none */
};
int pe_control_dir(const struct pe_config *cfg, struct pe_err *err); /* makes the folder */
int pe_control_open(const struct pe_config *cfg, struct pe_control *c, struct pe_err *err);
void pe_control_close(struct pe_control *c);
/* Listening sockets: 0600 on the path, taking over a file that nobody answers on; "ADDRESS:PORT".
 */
int pe_control_listen(const struct pe_config *cfg, const struct pe_control *c, int *fd,
                      struct pe_err *err);
int pe_tcp_listen(const char *listen_at, int *fd, unsigned *port, struct pe_err *err);

/* The engine as requests see it. Whoever uses it holds the lock for reading all the while, so
 * taking it away waits for those in flight. */
struct pe_admin_engine {
  pthread_rwlock_t lock;
  struct pe_engine *engine; /* NULL: `without` says why */
  const char *without;      /* "starting", "stopping" */
};

/* reloader.c: a thread that does the reloads nobody waits for. owner: itself; wanted and stopping
 * under lock. */
struct pe_reloader {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, wanted, stopping;
  struct pe_admin_engine *engine;
};
int pe_reloader_start(struct pe_reloader *r, struct pe_admin_engine *engine, struct pe_err *err);
void pe_reloader_want(struct pe_reloader *r);
void pe_reloader_stop(struct pe_reloader *r);

struct pe_admin {
  unsigned ready_lag_ms;
  struct pe_admin_engine engine;
  struct pe_control control;
  struct MHD_Daemon *tcp, *unix_;
  unsigned port;
  struct pe_reloader reloader;
};

#endif
