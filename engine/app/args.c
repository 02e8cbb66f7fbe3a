/* The command line: the table of commands, the table of options, and the reading of both. Fails
 * with PE_EUSAGE, one line that names the nearest known word. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "base/str.h"

#define LOGGING (PE_OPT_LOG_FORMAT | PE_OPT_LOG_LEVEL)

/* To add a command: one line here, its function, a line in pe_cmd_* of app.h. */
const struct pe_command pe_commands[] = {
    {"run", "[run] FILE [--once] [--config-dump] [--progress auto|plain|json|none]",
     "run a pipeline: initial snapshot, then changes, until stopped",
     "Takes up where the last run stopped. --once ends when the snapshot is done and the stream "
     "has\n"
     "reached the log's end as of the start. --config-dump prints the settings in effect, secrets\n"
     "redacted, and ends. SIGHUP reloads the transforms; SIGINT or SIGTERM finishes the epoch in\n"
     "flight and ends, a second one ends at once (nothing is lost by that either).\n",
     PE_OPT_ONCE | PE_OPT_CONFIG_DUMP | PE_OPT_PROGRESS | LOGGING, 1, 1, pe_cmd_run},
    {"check", "check FILE [--offline]",
     "could this pipeline run? files, transforms, tables, targets",
     "Reads the pipeline file and the transforms, holds them to the source's and the target's "
     "tables,\n"
     "and prints what it finds. --offline looks at files only. Changes nothing.\n",
     PE_OPT_OFFLINE | LOGGING, 1, 1, pe_cmd_check},
    {"doctor", "doctor FILE", "is the source set up for capture, the target for exact delivery?",
     "Asks both servers for their settings, grants and tables, and prints for each thing that is "
     "not\n"
     "as it must be the statement that mends it. The exit code is that of the first fatal "
     "finding.\n",
     LOGGING, 1, 1, pe_cmd_doctor},
    {"status", "status FILE [--json]", "what the running engine is doing",
     "Asks the engine that runs this pipeline on this machine. Exit code 69: none runs.\n",
     PE_OPT_JSON, 1, 1, pe_cmd_status},
    {"reload", "reload FILE [--wait]", "swap in changed transforms, without a stop",
     "The new transforms are read, checked, tried on the last rows, and swapped in between two "
     "epochs;\n"
     "whatever fails keeps the old ones. With --wait: exit code 0 swapped, 65 refused, and one "
     "line\n"
     "that says what happened. Without: the result is in the engine's log.\n",
     PE_OPT_WAIT, 1, 1, pe_cmd_reload},
    {"stop", "stop FILE [--wait]", "finish the epoch in flight and end",
     "With --wait: comes back when the engine has ended.\n", PE_OPT_WAIT, 1, 1, pe_cmd_stop},
    {"resync", "resync FILE [TABLE...]", "compare tables with the source anew at the next start",
     "Records that these tables (none: all) are read again at the next start and that the target "
     "is\n"
     "made equal to them: what differs is rewritten, what is gone is taken away. It is also the "
     "mend\n"
     "after a purged binlog position: the stream then goes on from the log's end as of that "
     "start.\n",
     0, 1, PE_ARGS_WORDS_MAX, pe_cmd_resync},
    {"position", "position VERSION", "take a _version apart: generation, binlog file, offset",
     "Every row in the target carries the _version of the change that made it.\n", 0, 1, 1,
     pe_cmd_position},
    {"version", "version", "the engine's version", "", 0, 0, 0, pe_cmd_version},
    {"help", "help [TOPIC]",
     "these commands; a command; pipeline, transforms, exit-codes, metrics, signals, ...", "", 0, 0,
     1, pe_cmd_help},
};
const unsigned pe_ncommands = sizeof(pe_commands) / sizeof(pe_commands[0]);

static const struct option {
  const char *name;
  enum pe_option bit;
  bool takes_value;
} options[] = {
    {"--once", PE_OPT_ONCE, false},
    {"--config-dump", PE_OPT_CONFIG_DUMP, false},
    {"--log-format", PE_OPT_LOG_FORMAT, true},
    {"--log-level", PE_OPT_LOG_LEVEL, true},
    {"--progress", PE_OPT_PROGRESS, true},
    {"--offline", PE_OPT_OFFLINE, false},
    {"--json", PE_OPT_JSON, false},
    {"--wait", PE_OPT_WAIT, false},
    {"--help", PE_OPT_HELP, false},
    {"-h", PE_OPT_HELP, false},
    {"--version", PE_OPT_VERSION, false},
    {"-V", PE_OPT_VERSION, false},
};
enum { NOPTIONS = sizeof(options) / sizeof(options[0]) };

static int unknown_option(const char *word, struct pe_err *err) {
  const char *names[NOPTIONS];
  for (size_t i = 0; i < NOPTIONS; i++) {
    names[i] = options[i].name;
  }
  const char *near = pe_str_nearest(word, names, NOPTIONS);
  return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL,
                    "unknown option %s%s%s%s; see: pipe-engine help", word,
                    near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* One of a few words. */
static int one_of(const char *option, const char *value, const char *const *words, size_t n,
                  struct pe_err *err) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(value, words[i]) == 0) {
      return 0;
    }
  }
  const char *near = pe_str_nearest(value, words, n);
  char list[128] = "";
  for (size_t i = 0; i < n; i++) {
    size_t used = strlen(list);
    snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", words[i]);
  }
  return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "%s takes one of %s, not %s%s%s%s", option,
                    list, value, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

static int set_value(struct pe_args *a, const struct option *o, const char *value,
                     struct pe_err *err) {
  static const char *const formats[] = {"text", "json"};
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  static const char *const modes[] = {"auto", "plain", "json", "none"};
  switch (o->bit) {
    case PE_OPT_LOG_FORMAT:
      a->log_format = value;
      return one_of(o->name, value, formats, 2, err);
    case PE_OPT_LOG_LEVEL:
      a->log_level = value;
      return one_of(o->name, value, levels, 4, err);
    default:
      a->progress = value;
      return one_of(o->name, value, modes, 4, err);
  }
}

/* argv[*i] begins with a dash. */
static int read_option(int argc, char **argv, int *i, struct pe_args *a, struct pe_err *err) {
  const char *word = argv[*i];
  const char *equals = strchr(word, '=');
  size_t len = equals ? (size_t)(equals - word) : strlen(word);
  const struct option *o = NULL;
  for (size_t k = 0; k < NOPTIONS && !o; k++) {
    if (strlen(options[k].name) == len && strncmp(options[k].name, word, len) == 0) {
      o = &options[k];
    }
  }
  if (!o) {
    return unknown_option(word, err);
  }
  a->given |= o->bit;
  if (!o->takes_value) {
    return equals ? pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "%s takes no value", o->name) : 0;
  }
  const char *value = equals ? equals + 1 : ++*i < argc ? argv[*i] : NULL;
  if (!value) {
    return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "%s needs a value", o->name);
  }
  return set_value(a, o, value, err);
}

static const struct pe_command *find(const char *name) {
  for (unsigned i = 0; i < pe_ncommands; i++) {
    if (strcmp(pe_commands[i].name, name) == 0) {
      return &pe_commands[i];
    }
  }
  return NULL;
}

static bool looks_like_file(const char *word) {
  size_t n = strlen(word);
  return strchr(word, '/') || (n > 4 && strcmp(word + n - 4, ".lua") == 0) ||
         access(word, F_OK) == 0;
}

static int unknown_command(const char *word, struct pe_err *err) {
  const char *names[sizeof(pe_commands) / sizeof(pe_commands[0])];
  for (unsigned i = 0; i < pe_ncommands; i++) {
    names[i] = pe_commands[i].name;
  }
  const char *near = pe_str_nearest(word, names, pe_ncommands);
  return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL,
                    "%s is neither a command nor a pipeline file%s%s%s; see: pipe-engine help",
                    word, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

static int check_options(const struct pe_command *cmd, const struct pe_args *a,
                         struct pe_err *err) {
  for (size_t i = 0; i < NOPTIONS; i++) {
    if ((a->given & options[i].bit) && !(cmd->options & options[i].bit)) {
      return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL,
                        "%s is of no use with %s; usage: pipe-engine %s", options[i].name,
                        cmd->name, cmd->usage);
    }
  }
  if (a->nwords < cmd->words_min || a->nwords > cmd->words_max) {
    return pe_err_set(
        err, PE_EUSAGE, PE_CLASS_FATAL, "%s %s; usage: pipe-engine %s", cmd->name,
        a->nwords < cmd->words_min
            ? (strcmp(cmd->name, "position") == 0 ? "needs a version" : "needs a pipeline file")
            : "got too many words",
        cmd->usage);
  }
  return 0;
}

int pe_args_parse(int argc, char **argv, const struct pe_command **cmd, struct pe_args *a,
                  struct pe_err *err) {
  memset(a, 0, sizeof(*a));
  *cmd = NULL;
  bool only_words = false;
  for (int i = 1; i < argc; i++) {
    if (!only_words && strcmp(argv[i], "--") == 0) {
      only_words = true;
    } else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
      int rc = read_option(argc, argv, &i, a, err);
      if (rc != 0) {
        return rc;
      }
    } else if (!*cmd && (*cmd = find(argv[i])) != NULL) {
      continue;
    } else if (!*cmd && !looks_like_file(argv[i])) {
      return unknown_command(argv[i], err);
    } else if (a->nwords == PE_ARGS_WORDS_MAX) {
      return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "too many words (at most %d)",
                        PE_ARGS_WORDS_MAX);
    } else {
      *cmd = *cmd ? *cmd : find("run");
      a->words[a->nwords++] = argv[i];
    }
  }
  if (a->given & PE_OPT_VERSION) {
    *cmd = find("version");
    return 0;
  }
  if ((a->given & PE_OPT_HELP) || !*cmd) {
    a->nwords = 0;
    if (*cmd && strcmp((*cmd)->name, "help") != 0) {
      a->words[a->nwords++] = (*cmd)->name;
    }
    bool asked = (a->given & PE_OPT_HELP) != 0;
    *cmd = find("help");
    return asked || argc <= 1 ? 0
                              : pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL,
                                           "which pipeline file? see: pipe-engine help");
  }
  return check_options(*cmd, a, err);
}

int pe_args_config(const struct pe_args *a, char *lua_dir, struct pe_config **cfg,
                   struct pe_err *err) {
  int rc = pe_config_lua_dir(lua_dir, PE_LUA_DIR_MAX, err);
  return rc != 0 ? rc : pe_config_load(a->words[0], lua_dir, cfg, err);
}
