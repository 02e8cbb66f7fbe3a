/* Pipeline files: what is read, every way to be refused, what a dump shows and hides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipeline/config.h"

static char dir[] = "/tmp/pe-config-XXXXXX";
static char file[128];

static void put(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
  (void)state;
  char sub[128];
  if (!mkdtemp(dir)) {
    return -1;
  }
  snprintf(sub, sizeof(sub), "%s/pipelines", dir);
  snprintf(file, sizeof(file), "%s/pipelines/t.lua", dir);
  return mkdir(sub, 0700);
}

static int teardown(void **state) {
  (void)state;
  char cmd[160];
  snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
  return system(cmd);
}

static int load_text(const char *text, struct pe_config **c, struct pe_err *err) {
  put(file, text);
  return pe_config_load(file, PE_SOURCE_DIR "/lua", c, err);
}

/* A whole file around the keys given. */
#define FILE_OF(SOURCE, SINK, TABLES, MORE)                                                       \
  "local pipe = require 'pipe'\nreturn pipe.pipeline {\n  name = 'shop',\n  source = pipe.mysql " \
  "{" SOURCE "},\n  sink = pipe.clickhouse {" SINK "},\n  tables = {" TABLES "},\n" MORE "\n}\n"
#define SOURCE "url = 'mysql://joe:s3cr%40t@127.0.0.1:3307/shop'"
#define SINK "url = 'embedded:./data'"
#define TABLES "orders = {}"

static void refused(const char *text, int code, const char *part) {
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  int rc = load_text(text, &c, &err);
  if (rc != code || !strstr(err.text, part) || strchr(err.text, '\n')) {
    fail_msg("wanted %d with \"%s\", got %d: %s", code, part, rc, err.text);
  }
  assert_null(c);
}

static void test_defaults(void **state) {
  (void)state;
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  int rc =
      load_text(FILE_OF(SOURCE, SINK,
                        "b = {}, a = {}, kinds = pipe.reference { dictionaries = { 'd' } }", ""),
                &c, &err);
  if (rc != 0) {
    fail_msg("%s", err.text);
  }
  char path[160];
  assert_string_equal(c->name, "shop");
  assert_string_equal(c->root, dir);
  assert_string_equal(c->source.host, "127.0.0.1");
  assert_int_equal(c->source.port, 3307);
  assert_string_equal(c->source.password, "s3cr@t");
  assert_string_equal(c->source.database, "shop");
  assert_in_range(c->source.server_id, 1000000000, 2147483647);
  assert_true(c->sink_embedded);
  snprintf(path, sizeof(path), "%s/data", dir);
  assert_string_equal(c->embedded.dir, path);
  snprintf(path, sizeof(path), "%s/state", dir);
  assert_string_equal(c->state_dir, path);
  assert_string_equal(c->sink.database, "default");
  assert_int_equal(c->sink.connections, 4);
  assert_int_equal(c->sink.compress, -1);
  assert_true(c->sink.tls_verify);
  assert_null(c->schema_dir);
  assert_int_equal(c->ntables, 3);
  assert_string_equal(c->tables[0].name, "a");
  assert_string_equal(c->tables[1].name, "b");
  assert_string_equal(c->tables[0].target, "a");
  assert_string_equal(c->tables[0].dlq, "a_dlq");
  assert_null(c->tables[0].transform);
  assert_true(c->tables[0].stream);
  assert_true(c->tables[0].snapshot);
  assert_int_equal(c->tables[0].zero_date, PE_ZERO_DLQ);
  assert_false(c->tables[0].narrow_ok);
  assert_false(c->tables[2].stream);
  assert_true(c->tables[2].snapshot);
  assert_int_equal(c->tables[2].ndictionaries, 1);
  assert_int_equal(c->epoch_rows, 131072);
  assert_int_equal(c->epoch_bytes, 12u << 20);
  assert_int_equal(c->flush_ms, 200);
  assert_int_equal(c->block_rows, 65536);
  assert_int_equal(c->queue_rows, 32768);
  assert_int_equal(c->queue_bytes, 8u << 20);
  assert_int_equal(c->batch_rows, 8192);
  assert_int_equal(c->batch_bytes, 2u << 20);
  assert_int_equal(c->snapshot_workers, 2);
  assert_int_equal(c->chunk_rows, 50000);
  assert_string_equal(c->admin_listen, "127.0.0.1:9464");
  assert_int_equal(c->ready_lag_ms, 300000);
  assert_string_equal(c->log_format, "text");
  assert_string_equal(c->log_level, "info");
  pe_config_destroy(c);
}

static void test_settings(void **state) {
  (void)state;
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  int rc = load_text(
      FILE_OF(
          SOURCE ", database = 'other', server_id = 77, tls = 'required', ca = 'ca.pem'",
          "url = 'https://u:p@ch.example:8443/db', schema = './sql', tls = { verify = false }, "
          "connections = 4, compress = true",
          "orders = { target = 'o', transform = 'transforms.orders', dlq = 'bad', pii = { 'email' "
          "}, "
          "exclude = { 'note' }, routes = { 'x', 'y' }, snapshot = false, zero_date = 'null', "
          "on_overflow = 'dlq', partitions = 24 }",
          "epoch = { rows = '5000', bytes = '32MiB', flush_ms = '1.5s' }, admin = { listen = '' }, "
          "log = { format = 'json', level = 'debug' }, state_dir = '/var/lib/x'"),
      &c, &err);
  if (rc != 0) {
    fail_msg("%s", err.text);
  }
  char path[160];
  assert_string_equal(c->source.database, "other");
  assert_int_equal(c->source.server_id, 77);
  assert_int_equal(c->source.tls, PE_TLS_REQUIRED);
  snprintf(path, sizeof(path), "%s/ca.pem", dir);
  assert_string_equal(c->source.tls_ca, path);
  assert_false(c->sink_embedded);
  assert_string_equal(c->sink.user, "u");
  assert_string_equal(c->sink.password, "p");
  assert_string_equal(c->sink.database, "db");
  assert_false(c->sink.tls_verify);
  assert_int_equal(c->sink.connections, 4);
  assert_int_equal(c->sink.compress, 1);
  snprintf(path, sizeof(path), "%s/sql", dir);
  assert_string_equal(c->schema_dir, path);
  const struct pe_config_table *t = &c->tables[0];
  assert_string_equal(t->target, "o");
  assert_string_equal(t->transform, "transforms.orders");
  assert_string_equal(t->dlq, "bad");
  assert_int_equal(t->npii, 1);
  assert_string_equal(t->pii[0], "email");
  assert_int_equal(t->nexclude, 1);
  assert_int_equal(t->nroutes, 2);
  assert_string_equal(t->routes[1], "y");
  assert_false(t->snapshot);
  assert_int_equal(t->zero_date, PE_ZERO_NULL);
  assert_true(t->narrow_ok);
  assert_int_equal(c->epoch_rows, 5000);
  assert_int_equal(c->epoch_bytes, 32u << 20);
  assert_int_equal(c->flush_ms, 1500);
  assert_string_equal(c->admin_listen, "");
  assert_string_equal(c->state_dir, "/var/lib/x");
  assert_string_equal(c->log_format, "json");
  pe_config_destroy(c);
}

static void test_refusals(void **state) {
  (void)state;
  const struct {
    const char *text, *part;
  } cases[] = {
      {FILE_OF(SOURCE, SINK, TABLES, "flush_ms = 3"),
       "t.lua:7: flush_ms unknown key; that is epoch.flush_ms here"},
      {FILE_OF(SOURCE, SINK, "orders = { dlqq = 'x' }", ""),
       "t.lua:6: tables.orders.dlqq unknown key; did you mean dlq?"},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = { flush_msec = 3 }"),
       "epoch.flush_msec unknown key; did you mean flush_ms?"},
      {FILE_OF(SOURCE, SINK, TABLES, "['max.batch.size'] = 3"), "that is queue.batch_rows here"},
      {FILE_OF(SOURCE, SINK, TABLES, "['tombstones.on.delete'] = true"), "deletes always arrive"},
      {FILE_OF(SOURCE, SINK, TABLES, "zzzzzzzzzz = 3"), "unknown key; known here: name, source"},
      {FILE_OF("", SINK, TABLES, ""), "t.lua:4: source.url is missing; set it to mysql://"},
      {FILE_OF(SOURCE, "", TABLES, ""), "sink.url is missing; set it to \"embedded:./data\""},
      {FILE_OF("url = 'mysql://joe@127.0.0.1'", SINK, TABLES, ""), "source.database is missing"},
      {FILE_OF("url = 'postgres://joe:hush@h/x'", SINK, TABLES, ""), "source.url"},
      {FILE_OF(SOURCE, "url = 'ftp://joe:hush@h/x'", TABLES, ""), "sink.url"},
      {FILE_OF(SOURCE, SINK, "", ""), "tables names no table"},
      {FILE_OF(SOURCE, SINK, "'orders'", ""), "not a list"},
      {FILE_OF(SOURCE, SINK, "orders = true", ""),
       "tables.orders must be a table such as {}, not true"},
      {FILE_OF(SOURCE, SINK, "orders = pipe.mysql {}", ""), "can't be made by pipe.mysql"},
      {FILE_OF(SOURCE, SINK, "a = {}, b = { target = 'a' }", ""),
       "tables.b writes to a, as tables.a does"},
      {FILE_OF(SOURCE, SINK, "a = { dlq = 'a' }", ""), "tables.a.dlq is the table's own target"},
      {FILE_OF(SOURCE, SINK, "a = { zero_date = 'nul' }", ""),
       "must be one of \"dlq\", \"null\", \"epoch\", not \"nul\" (did you mean \"null\"?)"},
      {FILE_OF(SOURCE, SINK, "a = { pii = 'email' }", ""), "tables.a.pii must be a list of names"},
      {FILE_OF(SOURCE, SINK, "a = { pii = { 1 } }", ""), "tables.a.pii[1] must be a name"},
      {FILE_OF(SOURCE, SINK, "a = { pii = { x = 'email' } }", ""), "plain list"},
      {FILE_OF(SOURCE, SINK, "a = { snapshot = 3 }", ""), "must be true or false, not 3"},
      {FILE_OF(SOURCE, SINK, "a = { transform = 'a b' }", ""), "a module name"},
      {FILE_OF(SOURCE, SINK, "a = { transform = function() end }", ""),
       "must be text, not a function"},
      {FILE_OF(SOURCE, SINK, "a = { target = '' }", ""), "tables.a.target must be a table name"},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = { rows = 5 }"),
       "epoch.rows must be between 1000 and 10000000, not 5"},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = { rows = 5000.5 }"), "must be a whole number"},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = { bytes = '3 potatoes' }"),
       "epoch.bytes must be bytes, or text such as \"24MiB\""},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = { bytes = '1KiB' }"),
       "between 1048576 and 1073741824 bytes"},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = { flush_ms = '1 year' }"),
       "epoch.flush_ms must be milliseconds"},
      {FILE_OF(SOURCE, SINK, TABLES, "epoch = 3"), "epoch must be a table, not 3"},
      {FILE_OF(SOURCE, SINK, TABLES, "admin = { listen = 'nowhere' }"), "ADDRESS:PORT"},
      {FILE_OF(SOURCE, SINK, TABLES, "kafka = pipe.kafka { brokers = 'k:9092' }"),
       "Kafka is not built into this version; unset KAFKA_BROKERS to go direct"},
      {FILE_OF(SOURCE, SINK, TABLES, "kafka = { prefix = 'x' }"),
       "kafka must be made by pipe.kafka"},
      {FILE_OF(SOURCE, SINK, TABLES, "name = 'a/b'"), "name must be letters, digits"},
      {FILE_OF(SOURCE, SINK ", user = 'x'", TABLES, ""), "sink.user is of no use with embedded:"},
      {FILE_OF(SOURCE, "url = pipe.env 'PE_TEST_UNSET'", TABLES, ""),
       "t.lua:5: the environment variable PE_TEST_UNSET is not set"},
      {FILE_OF(SOURCE, "url = pipe.secret 'PE_TEST_UNSET'", TABLES, ""),
       "the secret PE_TEST_UNSET is not set"},
      {FILE_OF(SOURCE, "url = pipe.file '/nowhere/at/all'", TABLES, ""),
       "/nowhere/at/all: No such file"},
      {FILE_OF(SOURCE, SINK, TABLES, "x = pipe.lookup {}"), "pipe.lookup belongs in a transform"},
      {FILE_OF(SOURCE, SINK, TABLES, "x = pipe.secrt 'A'"),
       "there is no pipe.secrt; did you mean pipe.secret?"},
      {FILE_OF(SOURCE, SINK, TABLES, "x = os.getenv 'A'"),
       "os is not in reach of a pipeline file; use pipe.env"},
      {"return {}", "must end with: return pipe.pipeline"},
      {"local pipe = require 'pipe'\nreturn pipe.pipeline {", "t.lua:2:"},
      {"require 'no.such'", "no module \"no.such\" below the project root"},
      {"require('pipe').pipeline('x')", "pipe.pipeline takes a table"},
      {"\x1bLJ", "is bytecode"},
      {"error({})", "failed with a table"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    refused(cases[i].text, PE_ECONFIG, cases[i].part);
  }
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_config_load("/nowhere/x.lua", PE_SOURCE_DIR "/lua", &c, &err), PE_EIO);
  put(file, FILE_OF(SOURCE, SINK, TABLES, ""));
  assert_int_equal(pe_config_load(file, "/nowhere", &c, &err), PE_EIO);
  assert_non_null(strstr(err.text, "/nowhere"));
  assert_null(c);
}

/* A file says more than one thing wrong: the first is told whole, the rest counted. */
static void test_counts_problems(void **state) {
  (void)state;
  refused(FILE_OF(SOURCE, SINK, "a = { x1 = 1, x2 = 2 }", "zz = 3"), PE_ECONFIG, "(and 2 more)");
}

static char *dump_of(const char *text) {
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  struct pe_buf b;
  pe_buf_init(&b);
  if (load_text(text, &c, &err) != 0) {
    fail_msg("%s", err.text);
  }
  assert_int_equal(pe_config_dump(c, &b, &err), 0);
  char *out = strdup(pe_buf_cstr(&b));
  pe_buf_close(&b);
  pe_config_destroy(c);
  return out;
}

static void test_dump(void **state) {
  (void)state;
  char secret[128];
  snprintf(secret, sizeof(secret), "%s/secret", dir);
  put(secret, "canary-in-file\n");
  setenv("PE_TEST_SECRET_FILE", secret, 1);
  setenv("PE_TEST_SECRET2", "canary-in-env", 1);
  char text[2048];
  snprintf(
      text, sizeof(text),
      FILE_OF("url = 'mysql://joe:canary/@in?url@h:1/shop?tls=off', password = pipe.file 'secret'",
              "url = 'http://u:canary@h:1/d?token=canary', user = pipe.secret 'PE_TEST_SECRET2', "
              "password = pipe.secret 'PE_TEST_SECRET'",
              "orders = { transform = 'transforms.orders', pii = { 'email' } }, ['end'] = "
              "pipe.reference {}",
              "state_dir = pipe.env('PE_TEST_UNSET', 'elsewhere')"));
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  /* Whether that first URL is one at all is for pe_source_parse_url; its password must not show. */
  if (load_text(text, &c, &err) == 0) {
    assert_null(strstr(c->dump, "canary"));
    assert_non_null(strstr(c->dump, "<redacted>"));
    pe_config_destroy(c);
  }
  assert_null(strstr(err.text, "canary"));

  snprintf(text, sizeof(text),
           FILE_OF("url = 'mysql://joe:canary@h:1/shop?tls=off', password = pipe.file 'secret'",
                   "url = 'http://u:canary@h:1/d', user = pipe.secret 'PE_TEST_SECRET2', "
                   "password = pipe.secret 'PE_TEST_SECRET'",
                   "orders = { transform = 'transforms.orders', pii = { 'email' } }, ['end'] = "
                   "pipe.reference {}",
                   "state_dir = pipe.env('PE_TEST_UNSET', 'elsewhere')"));
  char *first = dump_of(text);
  assert_null(strstr(first, "canary"));
  assert_non_null(strstr(first, "mysql://joe:<redacted>@h:1/shop?tls=off"));
  assert_non_null(strstr(first, "user = \"<redacted>\""));
  assert_non_null(strstr(first, "state_dir = \"elsewhere\""));
  assert_non_null(strstr(first, "[\"end\"] = pipe.reference {"));
  char *second = dump_of(first);
  assert_string_equal(first, second);
  free(first);
  free(second);
  unsetenv("PE_TEST_SECRET_FILE");
  unsetenv("PE_TEST_SECRET2");
}

/* What a message quotes is never a secret, nor a value out of the environment. */
static void test_messages_hide(void **state) {
  (void)state;
  setenv("PE_TEST_HIDDEN", "canary-value", 1);
  refused(FILE_OF(SOURCE, SINK, TABLES, "epoch = { rows = pipe.env 'PE_TEST_HIDDEN' }"), PE_ECONFIG,
          "not the value of $PE_TEST_HIDDEN");
  refused(FILE_OF(SOURCE, SINK, TABLES, "log = { level = pipe.secret 'PE_TEST_HIDDEN' }"),
          PE_ECONFIG, "not the secret PE_TEST_HIDDEN");
  unsetenv("PE_TEST_HIDDEN");
}

static void test_secrets(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof(path), "%s/key", dir);
  put(path, "from a file\n");
  struct pe_config *c = NULL;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(load_text(FILE_OF(SOURCE, SINK, TABLES, ""), &c, &err), 0);
  assert_null(pe_config_secret(c, "PE_TEST_KEY"));
  setenv("PE_TEST_KEY_FILE", path, 1);
  const char *v = pe_config_secret(c, "PE_TEST_KEY");
  assert_string_equal(v, "from a file");
  setenv("PE_TEST_KEY", "later", 1);
  assert_ptr_equal(pe_config_secret(c, "PE_TEST_KEY"), v);
  setenv("PE_TEST_KEY2", "from the environment", 1);
  assert_string_equal(pe_config_secret(c, "PE_TEST_KEY2"), "from the environment");
  setenv("PE_TEST_KEY3_FILE", "/nowhere", 1);
  assert_null(pe_config_secret(c, "PE_TEST_KEY3"));
  pe_config_destroy(c);
}

static void test_reference(void **state) {
  (void)state;
  struct pe_buf b;
  struct pe_err err = PE_ERR_INIT;
  pe_buf_init(&b);
  assert_int_equal(pe_config_reference(PE_SOURCE_DIR "/lua", &b, &err), 0);
  const char *text = pe_buf_cstr(&b);
  static const char *const keys[] = {
      "name",      "source",       "sink",        "kafka",        "tables",  "state_dir",
      "epoch",     "queue",        "snapshot",    "admin",        "log",     "url",
      "database",  "user",         "password",    "server_id",    "tls",     "ca",
      "compress",  "schema",       "connections", "verify",       "brokers", "prefix",
      "target",    "transform",    "dlq",         "pii",          "exclude", "routes",
      "zero_date", "on_overflow",  "partitions",  "dictionaries", "rows",    "bytes",
      "flush_ms",  "block_rows",   "batch_rows",  "batch_bytes",  "workers", "chunk_rows",
      "listen",    "ready_lag_ms", "format",      "level"};
  for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
    char cell[64];
    snprintf(cell, sizeof(cell), "| `%s` |", keys[i]);
    if (!strstr(text, cell)) {
      fail_msg("the reference does not mention %s", keys[i]);
    }
  }
  assert_non_null(strstr(text, "max.batch.size"));
  pe_buf_clear(&b);
  assert_int_equal(pe_config_reference_text(PE_SOURCE_DIR "/lua", &b, &err), 0);
  text = pe_buf_cstr(&b);
  for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
    char line[64], section[64];
    snprintf(line, sizeof(line), "\n  %s ", keys[i]);
    snprintf(section, sizeof(section), "\n%s = {", keys[i]);
    if (!strstr(text, line) && !strstr(text, section)) {
      fail_msg("the reference does not mention %s", keys[i]);
    }
  }
  pe_buf_close(&b);
}

static void test_lua_dir(void **state) {
  (void)state;
  char out[512];
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_config_lua_dir(out, sizeof(out), &err), 0);
  setenv("PIPE_ENGINE_LUA", "/nowhere", 1);
  assert_int_equal(pe_config_lua_dir(out, sizeof(out), &err), PE_EIO);
  assert_non_null(strstr(err.text, "/nowhere"));
  unsetenv("PIPE_ENGINE_LUA");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults), cmocka_unit_test(test_settings),
      cmocka_unit_test(test_refusals), cmocka_unit_test(test_counts_problems),
      cmocka_unit_test(test_dump),     cmocka_unit_test(test_messages_hide),
      cmocka_unit_test(test_secrets),  cmocka_unit_test(test_reference),
      cmocka_unit_test(test_lua_dir),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
