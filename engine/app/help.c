/* `help` and `version`. Texts for people who see this for the first time; what can be generated is:
 * commands from their table, the pipeline reference from its schema. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "base/str.h"

static const char first_steps[] =
    "\n"
    "First steps\n"
    "  1. A pipeline file says where changes come from, where rows go, and which tables:\n"
    "       -- shop.lua\n"
    "       local pipe = require \"pipe\"\n"
    "       return pipe.pipeline {\n"
    "         name   = \"shop\",\n"
    "         source = pipe.mysql { url = pipe.env \"MYSQL_URL\" },\n"
    "         sink   = pipe.clickhouse { url = \"embedded:./data\" },\n"
    "         tables = { orders = {} },\n"
    "       }\n"
    "  2. export MYSQL_URL=mysql://user:password@host:3306/shop\n"
    "  3. pipe-engine doctor shop.lua     is the server ready for capture?\n"
    "  4. pipe-engine shop.lua            copies the tables, then follows every change\n"
    "  5. pipe-engine status shop.lua     in another terminal; it also says how to query\n"
    "\n"
    "Then give a table a transform, transforms/orders.lua beside the file,\n"
    "       return function(row)\n"
    "         if row.status == \"test\" then return nil end   -- drops the row\n"
    "         row.country = row.country or \"??\"             -- nil is SQL NULL\n"
    "         return row\n"
    "       end\n"
    "  name it, orders = { transform = \"transforms.orders\" }, and run: pipe-engine reload "
    "shop.lua --wait\n";

static const char transforms[] =
    "A transform is a function from a row to rows. The engine applies it to both images of a "
    "change,\n"
    "so what no longer belongs in the target goes away by itself; it must depend on nothing but "
    "the\n"
    "row, lookups and settings (clocks and random numbers are not in reach).\n"
    "  return row                       send it, changed in place or not\n"
    "  return nil                       drop it\n"
    "  return pipe.dlq(\"reason\", \"column\")   quarantine it, with the reason\n"
    "  return { row, pipe.copy(row) }   several rows; change the copy first\n"
    "  pipe.route(row, \"other\")        the row for another target (tables.<name>.routes)\n"
    "  pipe.row(\"other\", { a = 1 })    a row made from nothing for such a target\n"
    "At the top of a module, made once:\n"
    "  local customers = pipe.lookup { table = \"customers\", key = \"id\", values = { \"country\" "
    "} }\n"
    "                                   kept from the stream; customers[row.customer_id].country\n"
    "  local token = pipe.token { key = pipe.secret \"PII_KEY\" }\n"
    "                                   token(row.name), token:email(row.email): keyed, so joins "
    "work\n"
    "  local seen = pipe.counter \"seen\"   a counter of your own in /metrics\n"
    "Columns: nil is SQL NULL, 64-bit integers are exact (cdata), DECIMAL is a string, a column "
    "that the\n"
    "target has and the source has not may be written. A second argument, event, has op, table, "
    "version,\n"
    "time_us, image and before. An error sends the row to the DLQ; it never passes untransformed.\n"
    "Tests: busted, with pipe.testing; no server is needed.\n";

static const char exit_codes[] =
    "Exit codes (as in sysexits.h)\n"
    "   0  done, stopped as asked, or swapped (reload)\n"
    "  64  usage: unknown command, option or table\n"
    "  65  data: a script fails, a reload was refused, a table without a primary key, another "
    "server\n"
    "      than before, ClickHouse refused a statement\n"
    "  66  the binlog position is purged: see pipe-engine help trouble\n"
    "  69  unavailable: MySQL or ClickHouse unreachable, server_id in use, no engine runs "
    "(status,\n"
    "      reload, stop)\n"
    "  70  a bug in pipe-engine\n"
    "  71  out of memory\n"
    "  74  input or output: state store, disk full, socket, port in use, file unreadable\n"
    "  75  try again: another engine runs this pipeline, or a time-out\n"
    "  76  the server sent what makes no sense\n"
    "  77  permission: wrong user or password, missing grant\n"
    "  78  configuration: the pipeline file, a server setting (binlog off, not ROW, image not "
    "FULL),\n"
    "      a target table or column missing or too narrow\n"
    " 130, 143  a second SIGINT or SIGTERM\n";

static const char metrics[] =
    "Over HTTP at admin.listen (127.0.0.1:9464 if not set), reading only:\n"
    "  /metrics  Prometheus text     /live   200 while the process answers\n"
    "  /status   JSON                /ready  200, or 503 and the reason\n"
    "\n"
    "What to watch\n"
    "  pipe_engine_lag_seconds                     alert when over 300 for some minutes\n"
    "  pipe_engine_ready                           0: /ready says why\n"
    "  pipe_engine_rows_dlq_total{table}           rises: rows in the DLQ table, with the reason\n"
    "  pipe_engine_sink_down_seconds               ClickHouse does not answer\n"
    "  pipe_engine_source_connected                0: MySQL does not answer\n"
    "  pipe_engine_reloads_failed_total            the old transforms stayed\n"
    "  pipe_engine_conservation_difference{table}  rows in - out - filtered - DLQ: always 0\n"
    "  pipe_engine_commit_to_queryable_seconds     histogram, from commit to queryable\n"
    "  pipe_engine_rows_{in,out,filtered,dlq,written}_total{table}, "
    "pipe_engine_tombstones_total{table}\n"
    "  pipe_engine_blocks_refused_total, _block_retries_total, _dedup_hits_total, _epochs_total\n"
    "  pipe_engine_queue_rows, _queue_bytes, _reader_*_total, _lookup_keys, _lookup_bytes,\n"
    "  _resident_memory_bytes, _script_info{hash}, _build_info{version}; counters of the scripts\n";

static const char signals[] =
    "SIGHUP           reload the transforms, as `pipe-engine reload`; the result is logged\n"
    "SIGINT, SIGTERM  finish the epoch in flight, write the checkpoint, end; a second one ends at "
    "once\n"
    "SIGKILL          loses nothing: the next start takes up at the checkpoint and sends the same\n"
    "                 blocks under the same tokens, and ClickHouse drops those it has\n"
    "Under systemd: Type=notify and WatchdogSec= work; MemoryDenyWriteExecute=yes does not "
    "(LuaJIT).\n";

static const char secrets[] =
    "No password belongs in a pipeline file. It can come from\n"
    "  pipe.env \"NAME\"      the environment, also as part of a URL: "
    "mysql://user:password@host/db\n"
    "  pipe.file \"path\"     a file's content, e.g. password = pipe.file \"/run/secrets/mysql\"\n"
    "  pipe.secret \"NAME\"   the environment variable NAME, or the file that NAME_FILE names\n"
    "pipe.secret also works in transforms, for keys of tokens. --config-dump, logs and errors "
    "never\n"
    "show these values, nor the passwords inside URLs. In URLs percent-encode @ : / ? % (%40 is "
    "@).\n";

static const char trouble[] =
    "The position is purged (exit 66)\n"
    "  The server has thrown away binlog files that were not read yet. pipe-engine resync FILE, "
    "then\n"
    "  start: every table is compared with the source and made equal, and the stream goes on from "
    "the\n"
    "  log's end. Raise binlog_expire_logs_seconds so that it does not happen again.\n"
    "Rows in the DLQ\n"
    "  SELECT reason, count() FROM <table>_dlq GROUP BY reason. The target keeps the last good "
    "version\n"
    "  of such a row. Mend the transform or the target, then: pipe-engine resync FILE TABLE\n"
    "A reload was refused\n"
    "  The old transforms go on. pipe-engine check FILE says what is wrong with the new ones.\n"
    "Another engine runs this pipeline (exit 75)\n"
    "  One engine per state folder: pipe-engine status FILE shows it, pipe-engine stop FILE ends "
    "it.\n"
    "Changes made by foreign keys (ON DELETE CASCADE, ...) are missing\n"
    "  The server does not log them; pipe-engine doctor FILE names such keys.\n"
    "The lag grows\n"
    "  pipe-engine status FILE: is ClickHouse answering, does one table write most, do transforms "
    "slow\n"
    "  it down? See pipe-engine help metrics.\n";

static const struct topic {
  const char *name, *text;
} topics[] = {
    {"transforms", transforms}, {"exit-codes", exit_codes}, {"metrics", metrics},
    {"signals", signals},       {"secrets", secrets},       {"trouble", trouble},
};
enum { NTOPICS = sizeof(topics) / sizeof(topics[0]) };

static void print_commands(void) {
  puts("pipe-engine " PE_VERSION
       ": a running MySQL or MariaDB into ClickHouse, its rules in Lua\n");
  puts("usage: pipe-engine FILE            run the pipeline that FILE describes");
  puts("       pipe-engine COMMAND ...\n");
  for (unsigned i = 0; i < pe_ncommands; i++) {
    printf("  %-10s %s\n", pe_commands[i].name, pe_commands[i].summary);
  }
  puts(
      "\nrun, check and doctor also take --log-level debug|info|warn|error and --log-format "
      "text|json.\n"
      "More on a command: pipe-engine help COMMAND.");
}

static int print_reference(struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_buf b;
  pe_buf_init(&b);
  int rc = pe_config_lua_dir(lua_dir, sizeof(lua_dir), err);
  if (rc == 0) {
    /* Into a file or pipe: Markdown, for documents. */
    rc = isatty(STDOUT_FILENO) ? pe_config_reference_text(lua_dir, &b, err)
                               : pe_config_reference(lua_dir, &b, err);
  }
  if (rc == 0) {
    fwrite(b.data, 1, b.len, stdout);
  }
  pe_buf_close(&b);
  return rc;
}

static int unknown_topic(const char *word, struct pe_err *err) {
  const char *names[NTOPICS + 32];
  size_t n = 0;
  names[n++] = "pipeline";
  names[n++] = "commands";
  for (size_t i = 0; i < NTOPICS; i++) {
    names[n++] = topics[i].name;
  }
  for (unsigned i = 0; i < pe_ncommands && n < NTOPICS + 32; i++) {
    names[n++] = pe_commands[i].name;
  }
  const char *near = pe_str_nearest(word, names, n);
  return pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL,
                    "no help on %s%s%s%s; topics: pipeline, transforms, commands, exit-codes, "
                    "metrics, signals, secrets, trouble, and every command",
                    word, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

int pe_cmd_help(const struct pe_args *a, struct pe_err *err) {
  const char *word = a->nwords ? a->words[0] : NULL;
  if (!word) {
    print_commands();
    fputs(first_steps, stdout);
    puts(
        "\nMore: pipe-engine help pipeline | transforms | exit-codes | metrics | signals | secrets "
        "| trouble");
    return 0;
  }
  if (strcmp(word, "commands") == 0) {
    print_commands();
    return 0;
  }
  if (strcmp(word, "pipeline") == 0) {
    return print_reference(err);
  }
  for (size_t i = 0; i < NTOPICS; i++) {
    if (strcmp(topics[i].name, word) == 0) {
      fputs(topics[i].text, stdout);
      return 0;
    }
  }
  for (unsigned i = 0; i < pe_ncommands; i++) {
    if (strcmp(pe_commands[i].name, word) == 0) {
      printf("usage: pipe-engine %s\n\n%s%s%s", pe_commands[i].usage, pe_commands[i].summary,
             pe_commands[i].help[0] ? "\n\n" : "\n", pe_commands[i].help);
      return 0;
    }
  }
  return unknown_topic(word, err);
}

int pe_cmd_version(const struct pe_args *a, struct pe_err *err) {
  (void)a;
  (void)err;
  puts("pipe-engine " PE_VERSION);
  return 0;
}
