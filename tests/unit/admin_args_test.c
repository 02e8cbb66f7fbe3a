/* The command line's words and options. The program itself is no library, so its file is taken in
 * whole, with commands of this file's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "app/args.c"

#define COMMAND(name)                                            \
  int pe_cmd_##name(const struct pe_args *a, struct pe_err *e) { \
    (void)a;                                                     \
    (void)e;                                                     \
    return 0;                                                    \
  }
COMMAND(run)
COMMAND(check)
COMMAND(doctor)
COMMAND(status)
COMMAND(reload)
COMMAND(stop)
COMMAND(resync)
COMMAND(position)
COMMAND(version)
COMMAND(help)

static struct pe_args args;
static struct pe_err err;
static const struct pe_command *cmd;

/* The words, ended by NULL. */
static int parse(const char *first, ...) {
  static char name[] = "pipe-engine";
  char *argv[400] = {name};
  int argc = 1;
  va_list ap;
  va_start(ap, first);
  for (const char *w = first; w; w = va_arg(ap, const char *)) {
    argv[argc++] = (char *)(uintptr_t)w;
  }
  va_end(ap);
  err.text[0] = 0;
  return pe_args_parse(argc, argv, &cmd, &args, &err);
}

static void is(const char *name, unsigned given, unsigned nwords) {
  assert_string_equal(cmd->name, name);
  assert_int_equal(args.given, given);
  assert_int_equal(args.nwords, nwords);
}

static void test_good(void **state) {
  (void)state;
  assert_int_equal(parse("x.lua", NULL), 0);
  is("run", 0, 1);
  assert_int_equal(parse("run", "x.lua", "--once", "--progress", "plain", NULL), 0);
  is("run", PE_OPT_ONCE | PE_OPT_PROGRESS, 1);
  assert_string_equal(args.progress, "plain");
  assert_int_equal(parse("--log-format=json", "--log-level", "debug", "a/b", NULL), 0);
  is("run", PE_OPT_LOG_FORMAT | PE_OPT_LOG_LEVEL, 1);
  assert_string_equal(args.log_format, "json");
  assert_string_equal(args.log_level, "debug");
  assert_int_equal(parse("--wait", "reload", "x.lua", NULL), 0);
  is("reload", PE_OPT_WAIT, 1);
  assert_int_equal(parse("resync", "x.lua", "a", "b", NULL), 0);
  is("resync", 0, 3);
  assert_string_equal(args.words[2], "b");
  assert_int_equal(parse("run", "--", "--once", NULL), 0);
  is("run", 0, 1);
  assert_int_equal(parse(NULL), 0);
  is("help", 0, 0);
  assert_int_equal(parse("check", "--help", NULL), 0);
  is("help", PE_OPT_HELP, 1);
  assert_string_equal(args.words[0], "check");
  assert_int_equal(parse("-V", NULL), 0);
  assert_string_equal(cmd->name, "version");
  assert_int_equal(parse("run", "help", NULL), 0); /* a file of that name */
  is("run", 0, 1);
}

static void test_bad(void **state) {
  (void)state;
  const struct {
    const char *words[4], *part;
  } cases[] = {
      {{"statsu"}, "did you mean status?"},
      {{"qqqqqqqq"}, "neither a command nor a pipeline file;"},
      {{"x.lua", "--onec"}, "unknown option --onec (did you mean --once?)"},
      {{"x.lua", "--wait"}, "--wait is of no use with run; usage: pipe-engine [run] FILE"},
      {{"check"}, "check needs a pipeline file; usage: pipe-engine check FILE"},
      {{"position"}, "position needs a version"},
      {{"status", "x.lua", "y"}, "status got too many words"},
      {{"x.lua", "--log-level"}, "--log-level needs a value"},
      {{"x.lua", "--log-level=loud"}, "takes one of debug, info, warn, error, not loud"},
      {{"x.lua", "--progress", "plian"}, "(did you mean plain?)"},
      {{"x.lua", "--once=1"}, "--once takes no value"},
      {{"--once"}, "which pipeline file?"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int rc = parse(cases[i].words[0], cases[i].words[1], cases[i].words[2], NULL);
    if (rc != PE_EUSAGE || !strstr(err.text, cases[i].part)) {
      fail_msg("wanted \"%s\", got %d: %s", cases[i].part, rc, err.text);
    }
  }
}

static void test_too_many(void **state) {
  (void)state;
  static char name[] = "pipe-engine", resync[] = "resync", word[] = "w";
  char *argv[PE_ARGS_WORDS_MAX + 8] = {name, resync};
  for (int i = 2; i < PE_ARGS_WORDS_MAX + 8; i++) {
    argv[i] = word;
  }
  assert_int_equal(pe_args_parse(PE_ARGS_WORDS_MAX + 8, argv, &cmd, &args, &err), PE_EUSAGE);
}

/* What help and errors are made of. */
static void test_every_command_is_described(void **state) {
  (void)state;
  for (unsigned i = 0; i < pe_ncommands; i++) {
    assert_non_null(strstr(pe_commands[i].usage, pe_commands[i].name));
    assert_true(strlen(pe_commands[i].summary) > 10);
    assert_true(pe_commands[i].words_min <= pe_commands[i].words_max);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good),
      cmocka_unit_test(test_bad),
      cmocka_unit_test(test_too_many),
      cmocka_unit_test(test_every_command_is_described),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
