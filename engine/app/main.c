/* pipe-engine: the command line. Prints an error as one line on standard error and ends with the
 * exit code of its kind (sysexits.h; `pipe-engine help exit-codes`). */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "app/app.h"
#include "base/log.h"

static void setup_log(const struct pe_args *a) {
  enum pe_log_level level = PE_LOG_INFO;
  if (a->log_level) {
    level = strcmp(a->log_level, "debug") == 0   ? PE_LOG_DEBUG
            : strcmp(a->log_level, "warn") == 0  ? PE_LOG_WARN
            : strcmp(a->log_level, "error") == 0 ? PE_LOG_ERROR
                                                 : PE_LOG_INFO;
  }
  pe_log_setup(level, a->log_format && strcmp(a->log_format, "json") == 0);
}

int main(int argc, char **argv) {
  const struct pe_command *cmd;
  struct pe_args args;
  struct pe_err err = PE_ERR_INIT;
  signal(SIGPIPE, SIG_IGN);
  /* Blocks and batches come and go: large ones are mapped, so that what is freed goes back. */
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 512 * 1024);
  mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
  int rc = pe_args_parse(argc, argv, &cmd, &args, &err);
  if (rc == 0) {
    setup_log(&args);
    curl_global_init(CURL_GLOBAL_DEFAULT); /* before any thread */
    rc = cmd->run(&args, &err);
  }
  if (rc < 0 && rc != PE_ESTOPPED) {
    fflush(stdout);
    fprintf(stderr, "pipe-engine: %s\n", err.text[0] ? err.text : pe_err_name(rc));
  }
  if (fflush(stdout) != 0 && rc == 0) {
    perror("pipe-engine: standard output");
    rc = PE_EIO;
  }
  return rc > 0 ? rc : pe_err_exit_code(rc);
}
