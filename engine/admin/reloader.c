/* Reloads that nobody waits for (SIGHUP, `reload` without --wait): one thread, one at a time;
 * asking again while one runs gives one more afterwards. The engine logs the result. */
#include <string.h>

#include "admin/internal.h"
#include "base/log.h"

static void reload_once(struct pe_reloader *r) {
  struct pe_reload_result res;
  memset(&res, 0, sizeof(res));
  pthread_rwlock_rdlock(&r->engine->lock);
  if (r->engine->engine) {
    pe_engine_reload(r->engine->engine, PE_ADMIN_RELOAD_MS, &res);
  } else {
    pe_warn("admin", "not reloaded: the engine is %s", r->engine->without);
  }
  pthread_rwlock_unlock(&r->engine->lock);
}

static void *reloader_main(void *arg) {
  struct pe_reloader *r = arg;
  pthread_mutex_lock(&r->lock);
  while (!r->stopping) {
    if (!r->wanted) {
      pthread_cond_wait(&r->wake, &r->lock);
      continue;
    }
    r->wanted = false;
    pthread_mutex_unlock(&r->lock);
    reload_once(r);
    pthread_mutex_lock(&r->lock);
  }
  pthread_mutex_unlock(&r->lock);
  return NULL;
}

int pe_reloader_start(struct pe_reloader *r, struct pe_admin_engine *engine, struct pe_err *err) {
  r->engine = engine;
  pthread_mutex_init(&r->lock, NULL);
  pthread_cond_init(&r->wake, NULL);
  int rc = pthread_create(&r->thread, NULL, reloader_main, r);
  if (rc != 0) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "can't start a thread: %s", strerror(rc));
  }
  r->running = true;
  return 0;
}

void pe_reloader_want(struct pe_reloader *r) {
  pthread_mutex_lock(&r->lock);
  r->wanted = true;
  pthread_cond_signal(&r->wake);
  pthread_mutex_unlock(&r->lock);
}

void pe_reloader_stop(struct pe_reloader *r) {
  if (r->running) {
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->running = false;
  }
  if (r->engine) {
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
  }
}
