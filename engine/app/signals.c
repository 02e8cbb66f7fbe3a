/* Signals: all are blocked in every thread but waited for by one. HUP reloads; INT and TERM stop, a
 * second one ends the process at once (every commit point is durable, so that loses nothing); while
 * the engine is still starting the first one does. USR2 only wakes the thread to end it. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "base/log.h"

/* owner: the signal thread, but for what is under lock */
struct pe_signals {
  pthread_t thread;
  struct pe_admin *admin;
  atomic_bool ending;
  pthread_mutex_t lock;
  struct pe_engine *engine; /* NULL: starting, or ending */
  bool was_running;
  bool stopping;
};

static void the_set(sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGHUP);
  sigaddset(set, SIGINT);
  sigaddset(set, SIGTERM);
  sigaddset(set, SIGUSR2);
}

void pe_signals_block(void) {
  sigset_t set;
  the_set(&set);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* INT or TERM. Under the lock, so that the engine is not taken down in the middle. */
static void on_stop(struct pe_signals *s, int sig) {
  const char *name = sig == SIGINT ? "SIGINT" : "SIGTERM";
  pthread_mutex_lock(&s->lock);
  if (!s->was_running) {
    pe_warn("app", "%s: ending at once, the engine was still starting", name);
    _exit(0);
  }
  if (s->stopping || !s->engine) {
    pe_warn("app", "%s again: ending at once", name);
    _exit(128 + sig);
  }
  pe_info("app", "%s: finishing the epoch in flight; once more to end at once", name);
  s->stopping = true;
  pe_engine_stop(s->engine);
  pthread_mutex_unlock(&s->lock);
}

static void *signals_main(void *arg) {
  struct pe_signals *s = arg;
  sigset_t set;
  the_set(&set);
  while (!atomic_load(&s->ending)) {
    int sig = 0;
    if (sigwait(&set, &sig) != 0 || sig == SIGUSR2) {
      continue;
    }
    if (sig == SIGHUP) {
      pe_info("app", "SIGHUP: reloading the transforms");
      pe_admin_reload(s->admin);
    } else {
      on_stop(s, sig);
    }
  }
  return NULL;
}

int pe_signals_start(struct pe_admin *admin, struct pe_signals **out, struct pe_err *err) {
  struct pe_signals *s = calloc(1, sizeof(*s));
  int rc = s ? 0 : -1;
  if (s) {
    s->admin = admin;
    pthread_mutex_init(&s->lock, NULL);
    rc = pthread_create(&s->thread, NULL, signals_main, s);
  }
  if (rc != 0) {
    free(s);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "can't start a thread for signals");
  }
  *out = s;
  return 0;
}

void pe_signals_attach(struct pe_signals *s, struct pe_engine *e) {
  pthread_mutex_lock(&s->lock);
  s->engine = e;
  s->was_running |= e != NULL;
  pthread_mutex_unlock(&s->lock);
}

void pe_signals_stop(struct pe_signals *s) {
  if (!s) {
    return;
  }
  atomic_store(&s->ending, true);
  pthread_kill(s->thread, SIGUSR2);
  pthread_join(s->thread, NULL);
  pthread_mutex_destroy(&s->lock);
  free(s);
}
