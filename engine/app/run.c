/* `pipe-engine [run] FILE`: starts admin, signals, the engine and the progress display, runs, and
 * takes all down in the reverse order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "base/log.h"

static void setup_log(const struct pe_args *a, const struct pe_config *cfg) {
  const char *level = a->log_level ? a->log_level : cfg->log_level;
  const char *format = a->log_format ? a->log_format : cfg->log_format;
  static const char *const names[] = {"debug", "info", "warn", "error"};
  enum pe_log_level min = PE_LOG_INFO;
  for (int i = 0; i < 4; i++) {
    if (strcmp(level, names[i]) == 0) {
      min = (enum pe_log_level)i;
    }
  }
  pe_log_setup(min, strcmp(format, "json") == 0);
}

static int dump(const struct pe_config *cfg, struct pe_err *err) {
  struct pe_buf b;
  pe_buf_init(&b);
  int rc = pe_config_dump(cfg, &b, err);
  if (rc == 0) {
    fwrite(b.data, 1, b.len, stdout);
  }
  pe_buf_close(&b);
  return rc;
}

/* What runs, in the order of its start. */
struct running {
  struct pe_admin *admin;
  struct pe_signals *signals;
  struct pe_engine *engine;
  struct pe_ticker *ticker;
};

static int start(struct running *r, struct pe_config *cfg, const struct pe_args *a,
                 const char *lua_dir, struct pe_err *err) {
  enum pe_progress_mode mode;
  int rc = pe_progress_mode_parse(a->progress, &mode, err);
  if (rc == 0) {
    rc = pe_admin_start(cfg, &r->admin, err);
  }
  if (rc == 0) {
    rc = pe_signals_start(r->admin, &r->signals, err);
  }
  if (rc != 0) {
    return rc;
  }
  if (pe_admin_port(r->admin)) {
    pe_debug("app", "metrics on http://%s/metrics", cfg->admin_listen);
  }
  struct pe_engine_opts opts = {
      .lua_dir = lua_dir, .once = (a->given & PE_OPT_ONCE) != 0, .allow_resync = true};
  rc = pe_engine_start(cfg, &opts, &r->engine, err);
  if (rc != 0) {
    return rc;
  }
  pe_admin_attach(r->admin, r->engine);
  pe_signals_attach(r->signals, r->engine);
  pe_notify("READY=1\nSTATUS=running");
  return pe_ticker_start(r->engine, mode, &r->ticker, err);
}

/* The socket goes last: when it is gone, the engine has ended. Signals are taken until the engine
 * is destroyed, for the embedded server may take its time to end. */
static void stop(struct running *r) {
  pe_ticker_stop(r->ticker);
  if (r->engine) {
    pe_signals_attach(r->signals, NULL);
    pe_admin_attach(r->admin, NULL);
    pe_engine_destroy(r->engine);
  }
  pe_signals_stop(r->signals);
  pe_admin_stop(r->admin);
}

int pe_cmd_run(const struct pe_args *a, struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_config *cfg = NULL;
  struct running r = {0};
  pe_signals_block();
  int rc = pe_args_config(a, lua_dir, &cfg, err);
  if (rc != 0) {
    return rc;
  }
  if (a->given & PE_OPT_CONFIG_DUMP) {
    rc = dump(cfg, err);
    pe_config_destroy(cfg);
    return rc;
  }
  setup_log(a, cfg);
  rc = start(&r, cfg, a, lua_dir, err);
  if (rc == 0) {
    rc = pe_engine_run(r.engine, err);
    pe_notify("STOPPING=1");
  }
  stop(&r);
  pe_config_destroy(cfg);
  return rc;
}
