/* The commands that ask a running engine (status, reload, stop), and those that need none running
 * (check, resync, position). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/str.h"
#include "model/position.h"

enum {
  ASK_MS = 10 * 1000,
  STOP_WAIT_MS = 10 * 60 * 1000,
  POLL_MS = 50,
  EXIT_UNAVAILABLE = 69, /* EX_UNAVAILABLE */
};

int pe_no_engine(const struct pe_config *cfg) {
  fprintf(stderr,
          "pipe-engine: no engine runs %s here (nobody answers on %s/%s.sock); start one: "
          "pipe-engine %s\n",
          cfg->name, cfg->state_dir, cfg->name, cfg->file);
  return EXIT_UNAVAILABLE;
}

/* One question to the engine of words[0]; prints the answer. Returns 0, a PE_E*, or an exit code.
 */
static int ask(const struct pe_args *a, const char *method, const char *path, unsigned timeout_ms,
               long *status, struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_config *cfg = NULL;
  struct pe_buf body;
  pe_buf_init(&body);
  int rc = pe_args_config(a, lua_dir, &cfg, err);
  if (rc == 0) {
    rc = pe_admin_call(cfg, method, path, timeout_ms, status, &body, err);
    if (rc == 1) {
      rc = pe_no_engine(cfg);
    } else if (rc == 0) {
      fwrite(body.data, 1, body.len, stdout);
    }
  }
  pe_buf_close(&body);
  pe_config_destroy(cfg);
  return rc;
}

int pe_cmd_status(const struct pe_args *a, struct pe_err *err) {
  long status;
  return ask(a, "GET", a->given & PE_OPT_JSON ? "/status" : "/status?format=text", ASK_MS, &status,
             err);
}

int pe_cmd_reload(const struct pe_args *a, struct pe_err *err) {
  long status = 0;
  bool wait = (a->given & PE_OPT_WAIT) != 0;
  int rc = ask(a, "POST", wait ? "/reload?format=text" : "/reload?wait=0",
               wait ? PE_ADMIN_RELOAD_MS + ASK_MS : ASK_MS, &status, err);
  if (rc != 0) {
    return rc;
  }
  if (status == 503) {
    return EXIT_UNAVAILABLE;
  }
  return status >= 200 && status < 300 ? 0 : pe_err_exit_code(PE_ESCRIPT);
}

/* Until nobody answers any more. */
static int wait_for_end(const struct pe_args *a, struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_config *cfg = NULL;
  int rc = pe_args_config(a, lua_dir, &cfg, err);
  int64_t until = pe_clock_us() + (int64_t)STOP_WAIT_MS * 1000;
  while (rc == 0) {
    struct pe_buf body;
    struct pe_err ignored = PE_ERR_INIT;
    long status;
    pe_buf_init(&body);
    int asked = pe_admin_call(cfg, "GET", "/live", ASK_MS, &status, &body, &ignored);
    pe_buf_close(&body);
    if (asked == 1) {
      break;
    }
    if (pe_clock_us() > until) {
      rc = pe_err_set(err, PE_ETIMEOUT, PE_CLASS_FATAL, "the engine has not ended within %d s",
                      STOP_WAIT_MS / 1000);
    }
    pe_sleep_ms(POLL_MS);
  }
  pe_config_destroy(cfg);
  return rc;
}

int pe_cmd_stop(const struct pe_args *a, struct pe_err *err) {
  long status = 0;
  int rc = ask(a, "POST", "/stop", ASK_MS, &status, err);
  if (rc == 0 && status == 503) {
    return EXIT_UNAVAILABLE;
  }
  if (rc == 0 && (a->given & PE_OPT_WAIT)) {
    rc = wait_for_end(a, err);
    if (rc == 0) {
      puts("stopped");
    }
  }
  return rc;
}

int pe_cmd_check(const struct pe_args *a, struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_config *cfg = NULL;
  struct pe_buf out;
  pe_buf_init(&out);
  int rc = pe_args_config(a, lua_dir, &cfg, err);
  if (rc == 0) {
    rc = pe_engine_check(cfg, lua_dir, (a->given & PE_OPT_OFFLINE) != 0, &out, err);
    fwrite(out.data, 1, out.len, stdout);
  }
  pe_buf_close(&out);
  pe_config_destroy(cfg);
  return rc;
}

static int known_tables(const struct pe_config *cfg, const struct pe_args *a, struct pe_err *err) {
  const char **names = calloc(cfg->ntables, sizeof(*names));
  int rc = names ? 0 : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  for (uint32_t i = 0; rc == 0 && i < cfg->ntables; i++) {
    names[i] = cfg->tables[i].name;
  }
  for (unsigned w = 1; rc == 0 && w < a->nwords; w++) {
    bool known = false;
    for (uint32_t i = 0; i < cfg->ntables; i++) {
      known |= strcmp(names[i], a->words[w]) == 0;
    }
    if (!known) {
      const char *near = pe_str_nearest(a->words[w], names, cfg->ntables);
      rc = pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "%s is no table of %s%s%s%s", a->words[w],
                      cfg->name, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
    }
  }
  free(names);
  return rc;
}

int pe_cmd_resync(const struct pe_args *a, struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_config *cfg = NULL;
  int rc = pe_args_config(a, lua_dir, &cfg, err);
  if (rc == 0) {
    rc = known_tables(cfg, a, err);
  }
  if (rc == 0) {
    rc = pe_engine_resync_request(cfg, &a->words[1], a->nwords - 1, err);
  }
  if (rc == 0) {
    if (a->nwords > 1) {
      printf("recorded: %u table(s) will be compared with the source at the next start\n",
             a->nwords - 1);
    } else {
      printf("recorded: all %u tables will be compared with the source at the next start\n",
             cfg->ntables);
    }
  }
  pe_config_destroy(cfg);
  return rc;
}

int pe_cmd_position(const struct pe_args *a, struct pe_err *err) {
  const char *word = a->words[0];
  char *end = NULL;
  errno = 0;
  unsigned long long v = strtoull(word, &end, 0);
  if (!word[0] || word[0] == '-' || *end || errno == ERANGE) {
    return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL,
                      "%s is not a _version: a number of up to 64 bits", word);
  }
  uint32_t generation, file;
  uint64_t offset;
  pe_version_split(v, &generation, &file, &offset);
  printf("generation %u, binlog file number %06u, byte %" PRIu64 "\n", generation, file, offset);
  return 0;
}
