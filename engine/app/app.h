/* What the files of the command line share. A command gets the words behind its name and the
 * options; it prints its result on standard output and returns 0 or a PE_E* with err filled, which
 * main prints as one line and turns into the exit code. */
#ifndef PE_APP_APP_H
#define PE_APP_APP_H

#include <stdbool.h>

#include "admin/admin.h"
#include "base/err.h"
#include "pipeline/engine.h"

enum { PE_ARGS_WORDS_MAX = 256, PE_LUA_DIR_MAX = 4096 };

/* Options as bits, so that a command can say which it takes. */
enum pe_option {
  PE_OPT_ONCE = 1 << 0,
  PE_OPT_CONFIG_DUMP = 1 << 1,
  PE_OPT_LOG_FORMAT = 1 << 2,
  PE_OPT_LOG_LEVEL = 1 << 3,
  PE_OPT_PROGRESS = 1 << 4,
  PE_OPT_OFFLINE = 1 << 5,
  PE_OPT_JSON = 1 << 6,
  PE_OPT_WAIT = 1 << 7,
  PE_OPT_HELP = 1 << 8,
  PE_OPT_VERSION = 1 << 9,
};

struct pe_args {
  unsigned given; /* of enum pe_option */
  const char *log_format, *log_level, *progress;
  const char *words[PE_ARGS_WORDS_MAX]; /* behind the command */
  unsigned nwords;
};

struct pe_command {
  const char *name;
  const char *usage;   /* "check FILE [--offline]" */
  const char *summary; /* one line */
  const char *help;    /* more, for `help <command>` */
  unsigned options;    /* it takes these */
  unsigned words_min, words_max;
  int (*run)(const struct pe_args *a, struct pe_err *err);
};

/* args.c */
extern const struct pe_command pe_commands[];
extern const unsigned pe_ncommands;
/* Which command, and its arguments. PE_EUSAGE with the nearest known word. */
int pe_args_parse(int argc, char **argv, const struct pe_command **cmd, struct pe_args *a,
                  struct pe_err *err);
/* The pipeline file that is words[0], read. lua_dir holds PE_LUA_DIR_MAX bytes. */
int pe_args_config(const struct pe_args *a, char *lua_dir, struct pe_config **cfg,
                   struct pe_err *err);

/* One function a command. A positive return is an exit code: nothing more is printed. */
int pe_cmd_run(const struct pe_args *a, struct pe_err *err);      /* run.c */
int pe_cmd_check(const struct pe_args *a, struct pe_err *err);    /* control.c */
int pe_cmd_doctor(const struct pe_args *a, struct pe_err *err);   /* doctor.c */
int pe_cmd_status(const struct pe_args *a, struct pe_err *err);   /* control.c */
int pe_cmd_reload(const struct pe_args *a, struct pe_err *err);   /* control.c */
int pe_cmd_stop(const struct pe_args *a, struct pe_err *err);     /* control.c */
int pe_cmd_resync(const struct pe_args *a, struct pe_err *err);   /* control.c */
int pe_cmd_position(const struct pe_args *a, struct pe_err *err); /* control.c */
int pe_cmd_version(const struct pe_args *a, struct pe_err *err);  /* help.c */
int pe_cmd_help(const struct pe_args *a, struct pe_err *err);     /* help.c */

/* Says that no engine runs for this pipeline; returns the exit code. */
int pe_no_engine(const struct pe_config *cfg);

/* signals.c: a thread that waits for signals. */
struct pe_signals;
/* Blocks them in this thread and all that it starts; call before the first thread. */
void pe_signals_block(void);
int pe_signals_start(struct pe_admin *admin, struct pe_signals **out, struct pe_err *err);
/* From now on INT and TERM stop the engine (before: they end the process at once). NULL: it is
 * going to be destroyed; they end the process at once again. */
void pe_signals_attach(struct pe_signals *s, struct pe_engine *e);
void pe_signals_stop(struct pe_signals *s);

/* ticker.c: a thread that shows progress and keeps systemd's watchdog content. */
enum pe_progress_mode { PE_PROGRESS_NONE, PE_PROGRESS_PLAIN, PE_PROGRESS_JSON, PE_PROGRESS_SCREEN };
struct pe_ticker;
int pe_progress_mode_parse(const char *word, enum pe_progress_mode *mode, struct pe_err *err);
int pe_ticker_start(struct pe_engine *e, enum pe_progress_mode mode, struct pe_ticker **out,
                    struct pe_err *err);
void pe_ticker_stop(struct pe_ticker *t);

/* notify.c: systemd's protocol (sd_notify(3)), a datagram to $NOTIFY_SOCKET; nothing without it. */
void pe_notify(const char *text);
unsigned pe_notify_watchdog_ms(void); /* how often to send WATCHDOG=1, 0 never */

#endif
