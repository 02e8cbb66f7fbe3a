/* From the normalized description (a plain Lua table that lua/pipe/validate.lua made: types, ranges
 * and defaults hold) into struct pe_config. What is left to go wrong is in the URLs and in texts
 * that are longer than their fields: PE_ECONFIG with the path of the key. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sha256.h"
#include "pipeline/config_internal.h"

/* A cursor: one table of the description, and what is known so far. */
struct fill {
  lua_State *L;
  int at; /* stack index of the table being read */
  const char *path;
  struct pe_err *err;
  int rc; /* the first failure; later reads do nothing */
};

static void no_memory(struct fill *f) {
  if (f->rc == 0) {
    f->rc = pe_err_set(f->err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
}

/* A copy of a text, or NULL when the key is not there. */
static char *text(struct fill *f, const char *key) {
  char *copy = NULL;
  lua_getfield(f->L, f->at, key);
  if (lua_type(f->L, -1) == LUA_TSTRING) {
    copy = strdup(lua_tostring(f->L, -1));
    if (!copy) {
      no_memory(f);
    }
  }
  lua_pop(f->L, 1);
  return copy;
}

/* Into a fixed field; leaves it alone when the key is not there. */
static void text_into(struct fill *f, const char *key, char *out, size_t n) {
  lua_getfield(f->L, f->at, key);
  if (f->rc == 0 && lua_type(f->L, -1) == LUA_TSTRING) {
    size_t len;
    const char *s = lua_tolstring(f->L, -1, &len);
    if (len >= n) {
      f->rc =
          pe_err_set(f->err, PE_ECONFIG, PE_CLASS_FATAL,
                     "%s.%s is longer than the %zu bytes there is room for", f->path, key, n - 1);
    } else {
      memcpy(out, s, len + 1);
    }
  }
  lua_pop(f->L, 1);
}

/* The same for a path, made absolute below the project root. */
static void path_into(struct fill *f, const struct pe_config *c, const char *key, char *out,
                      size_t n) {
  char *given = text(f, key);
  char *path = given ? pe_config_join(c->root, given) : NULL;
  if (given && !path) {
    no_memory(f);
  } else if (path && strlen(path) >= n) {
    f->rc = pe_err_set(f->err, PE_ECONFIG, PE_CLASS_FATAL,
                       "%s.%s is a path longer than the %zu bytes there is room for", f->path, key,
                       n - 1);
  } else if (path) {
    memcpy(out, path, strlen(path) + 1);
  }
  free(path);
  free(given);
}

static double number(struct fill *f, const char *key, double otherwise) {
  lua_getfield(f->L, f->at, key);
  double v = lua_type(f->L, -1) == LUA_TNUMBER ? lua_tonumber(f->L, -1) : otherwise;
  lua_pop(f->L, 1);
  return v;
}

static uint32_t u32(struct fill *f, const char *key, uint32_t otherwise) {
  return (uint32_t)number(f, key, otherwise);
}

/* 1, 0, or -1 when the key is not there. */
static int boolean(struct fill *f, const char *key) {
  lua_getfield(f->L, f->at, key);
  int v = lua_type(f->L, -1) == LUA_TBOOLEAN ? lua_toboolean(f->L, -1) : -1;
  lua_pop(f->L, 1);
  return v;
}

static bool is(struct fill *f, const char *key, const char *word) {
  lua_getfield(f->L, f->at, key);
  const char *s = lua_tostring(f->L, -1);
  bool same = s && strcmp(s, word) == 0;
  lua_pop(f->L, 1);
  return same;
}

static char **list(struct fill *f, const char *key, uint32_t *n) {
  char **out = NULL;
  *n = 0;
  lua_getfield(f->L, f->at, key);
  size_t len = lua_type(f->L, -1) == LUA_TTABLE ? lua_objlen(f->L, -1) : 0;
  if (len > 0 && !(out = calloc(len, sizeof(*out)))) {
    no_memory(f);
    len = 0;
  }
  for (size_t i = 0; i < len; i++) {
    lua_rawgeti(f->L, -1, (int)(i + 1));
    out[i] = strdup(lua_tostring(f->L, -1));
    if (!out[i]) {
      no_memory(f);
    }
    lua_pop(f->L, 1);
    *n = (uint32_t)(i + 1);
  }
  lua_pop(f->L, 1);
  return out;
}

/* Goes into a table inside; leave() comes back. false: it is not there. */
static bool enter(struct fill *f, const char *key, struct fill *outer) {
  *outer = *f;
  lua_getfield(f->L, f->at, key);
  if (lua_type(f->L, -1) != LUA_TTABLE) {
    lua_pop(f->L, 1);
    return false;
  }
  f->at = lua_gettop(f->L);
  f->path = key;
  return true;
}

static void leave(struct fill *f, const struct fill *outer) {
  lua_pop(f->L, 1);
  f->at = outer->at;
  f->path = outer->path;
}

/* The same on every start of this pipeline on this machine, and unlike any other's: 1e9 .. 2^31-1.
 */
static uint32_t derive_server_id(const struct pe_config *c) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  char seed[PATH_MAX + 512];
  int n = snprintf(seed, sizeof(seed), "%s|%s|%s", c->name, host, c->root);
  uint8_t h[32];
  pe_sha256(seed, n > 0 ? (size_t)n : 0, h);
  uint32_t x = (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
  return 1000000000u + x % (2147483647u - 1000000000u + 1);
}

static void fill_source(struct fill *f, struct pe_config *c) {
  struct pe_source_opts *s = &c->source;
  struct fill outer;
  if (!enter(f, "source", &outer)) {
    return;
  }
  char *url = text(f, "url");
  if (url && f->rc == 0) {
    f->rc = pe_source_parse_url(url, s, f->err);
    if (f->rc != 0) {
      pe_err_wrap(f->err, "source.url");
    }
  }
  free(url);
  text_into(f, "database", s->database, sizeof(s->database));
  text_into(f, "user", s->user, sizeof(s->user));
  text_into(f, "password", s->password, sizeof(s->password));
  if (f->rc == 0 && !s->database[0]) {
    f->rc =
        pe_err_set(f->err, PE_ECONFIG, PE_CLASS_FATAL,
                   "source.database is missing; add database = \"NAME\", or end the URL in /NAME");
  }
  if (is(f, "tls", "off")) {
    s->tls = PE_TLS_OFF;
  } else if (is(f, "tls", "required")) {
    s->tls = PE_TLS_REQUIRED;
  } else if (is(f, "tls", "verify")) {
    s->tls = PE_TLS_VERIFY;
  }
  path_into(f, c, "ca", s->tls_ca, sizeof(s->tls_ca));
  if (boolean(f, "compress") >= 0) {
    s->compress = boolean(f, "compress") == 1;
  }
  s->connect_timeout_ms = u32(f, "connect_timeout_ms", 10000);
  s->server_id = u32(f, "server_id", s->server_id);
  if (s->server_id == 0) {
    s->server_id = derive_server_id(c);
  }
  leave(f, &outer);
}

static void fill_embedded(struct fill *f, struct pe_config *c, const char *url) {
  c->sink_embedded = true;
  f->rc = pe_embedded_parse_url(url, &c->embedded, f->err);
  if (f->rc != 0) {
    pe_err_wrap(f->err, "sink.url");
    return;
  }
  char *dir = pe_config_join(c->root, c->embedded.dir);
  if (!dir) {
    no_memory(f);
  } else if (strlen(dir) >= sizeof(c->embedded.dir)) {
    f->rc =
        pe_err_set(f->err, PE_ECONFIG, PE_CLASS_FATAL,
                   "sink.url: the embedded server's folder is a path of %zu bytes; at most %zu fit",
                   strlen(dir), sizeof(c->embedded.dir) - 1);
  } else {
    memcpy(c->embedded.dir, dir, strlen(dir) + 1);
  }
  free(dir);
}

static void fill_sink_tls(struct fill *f, struct pe_config *c) {
  struct fill outer;
  if (!enter(f, "tls", &outer)) {
    return;
  }
  if (boolean(f, "verify") >= 0) {
    c->sink.tls_verify = boolean(f, "verify") == 1;
  }
  path_into(f, c, "ca", c->sink.tls_ca, sizeof(c->sink.tls_ca));
  leave(f, &outer);
}

static void fill_sink(struct fill *f, struct pe_config *c) {
  struct pe_ch_opts *s = &c->sink;
  struct fill outer;
  if (!enter(f, "sink", &outer)) {
    return;
  }
  s->tls_verify = true;
  s->compress = -1;
  char *url = text(f, "url");
  if (url && f->rc == 0) {
    if (strncmp(url, "embedded:", strlen("embedded:")) == 0) {
      fill_embedded(f, c, url);
    } else if ((f->rc = pe_ch_parse_url(url, s, f->err)) != 0) {
      pe_err_wrap(f->err, "sink.url");
    }
  }
  free(url);
  text_into(f, "database", s->database, sizeof(s->database));
  text_into(f, "user", s->user, sizeof(s->user));
  text_into(f, "password", s->password, sizeof(s->password));
  if (!s->database[0]) {
    memcpy(s->database, "default", sizeof("default"));
  }
  fill_sink_tls(f, c);
  s->connections = u32(f, "connections", 2);
  if (boolean(f, "compress") >= 0) {
    s->compress = boolean(f, "compress");
  }
  s->connect_timeout_ms = u32(f, "connect_timeout_ms", 5000);
  s->timeout_ms = u32(f, "timeout_ms", 120000);
  char *schema = text(f, "schema");
  if (schema && !(c->schema_dir = pe_config_join(c->root, schema))) {
    no_memory(f);
  }
  free(schema);
  leave(f, &outer);
}

static void fill_table(struct fill *f, struct pe_config_table *t) {
  t->name = text(f, "name");
  t->target = text(f, "target");
  t->transform = text(f, "transform");
  t->dlq = text(f, "dlq");
  t->pii = list(f, "pii", &t->npii);
  t->exclude = list(f, "exclude", &t->nexclude);
  t->routes = list(f, "routes", &t->nroutes);
  t->dictionaries = list(f, "dictionaries", &t->ndictionaries);
  t->stream = boolean(f, "reference") != 1;
  t->snapshot = boolean(f, "snapshot") != 0;
  t->zero_date = is(f, "zero_date", "null")    ? PE_ZERO_NULL
                 : is(f, "zero_date", "epoch") ? PE_ZERO_EPOCH
                                               : PE_ZERO_DLQ;
  t->narrow_ok = is(f, "on_overflow", "dlq");
}

static void fill_tables(struct fill *f, struct pe_config *c) {
  struct fill outer;
  if (!enter(f, "tables", &outer)) {
    return;
  }
  size_t n = lua_objlen(f->L, f->at);
  c->tables = calloc(n, sizeof(*c->tables));
  if (!c->tables) {
    no_memory(f);
    n = 0;
  }
  int tables_at = f->at;
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(f->L, tables_at, (int)(i + 1));
    f->at = lua_gettop(f->L);
    c->ntables = (uint32_t)(i + 1);
    fill_table(f, &c->tables[i]);
    lua_pop(f->L, 1);
  }
  leave(f, &outer);
}

static void fill_limits(struct fill *f, struct pe_config *c) {
  struct fill outer;
  if (enter(f, "epoch", &outer)) {
    c->epoch_rows = u32(f, "rows", 0);
    c->epoch_bytes = (size_t)number(f, "bytes", 0);
    c->flush_ms = u32(f, "flush_ms", 0);
    c->block_rows = u32(f, "block_rows", 0);
    leave(f, &outer);
  }
  if (enter(f, "queue", &outer)) {
    c->queue_rows = u32(f, "rows", 0);
    c->queue_bytes = (size_t)number(f, "bytes", 0);
    c->batch_rows = u32(f, "batch_rows", 0);
    c->batch_bytes = (size_t)number(f, "batch_bytes", 0);
    leave(f, &outer);
  }
  if (enter(f, "snapshot", &outer)) {
    c->snapshot_workers = u32(f, "workers", 0);
    c->chunk_rows = u32(f, "chunk_rows", 0);
    leave(f, &outer);
  }
  if (enter(f, "admin", &outer)) {
    c->admin_listen = text(f, "listen");
    c->ready_lag_ms = u32(f, "ready_lag_ms", 0);
    leave(f, &outer);
  }
  if (enter(f, "log", &outer)) {
    c->log_format = text(f, "format");
    c->log_level = text(f, "level");
    leave(f, &outer);
  }
}

int pe_config_fill(struct pe_config *c, lua_State *L, int idx, struct pe_err *err) {
  struct fill f = {.L = L, .at = idx, .path = "", .err = err};
  c->name = text(&f, "name");
  PE_ASSERT(c->name || f.rc != 0); /* validate.lua lets no description through without one */
  if (f.rc == 0) {
    fill_source(&f, c);
    fill_sink(&f, c);
    fill_tables(&f, c);
    fill_limits(&f, c);
    char *state = text(&f, "state_dir");
    c->state_dir = state ? pe_config_join(c->root, state) : NULL;
    free(state);
    if (!c->state_dir) {
      no_memory(&f);
    }
  }
  return f.rc;
}
