/* A pipeline file into a struct pe_config: finds the project root, lets lua/pipe/pipeline.lua read
 * and validate the file in a Lua state of its own, and keeps the redacted text for --config-dump.
 * owner: whoever loads it; read-only afterwards, but for the secrets, which have a lock.
 * Fails with PE_ECONFIG (one line: file, line, path, mend), or PE_EIO when a file can't be read. */
#include "pipeline/config_internal.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_BYTES_MAX = 64 * 1024 };

struct pe_config_secret {
  char *name, *value;
  struct pe_config_secret *next;
};
static pthread_mutex_t secrets_lock = PTHREAD_MUTEX_INITIALIZER;

int pe_config_lua_open(const char *lua_dir, lua_State **out, struct pe_err *err) {
  lua_State *L = luaL_newstate();
  if (!L) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for Lua");
  }
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushfstring(L, "%s/?.lua", lua_dir);
  lua_setfield(L, -2, "path");
  lua_pushliteral(L, "");
  lua_setfield(L, -2, "cpath");
  lua_pop(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "pipe.pipeline");
  if (lua_pcall(L, 1, 1, 0) != 0) {
    const char *text = lua_tostring(L, -1);
    int rc = pe_err_set(err, PE_EIO, PE_CLASS_FATAL,
                        "can't load the engine's own Lua from %s (PIPE_ENGINE_LUA names it): %s",
                        lua_dir, text ? text : "unknown error");
    lua_close(L);
    return rc;
  }
  *out = L;
  return 0;
}

char *pe_config_join(const char *dir, const char *path) {
  while (path[0] == '.' && path[1] == '/') {
    path += 2;
  }
  char *out = NULL;
  int n;
  if (path[0] == '/') {
    n = asprintf(&out, "%s", path);
  } else if (strcmp(path, ".") == 0 || !path[0]) {
    n = asprintf(&out, "%s", dir);
  } else {
    n = asprintf(&out, "%s/%s", dir, path);
  }
  return n < 0 ? NULL : out;
}

/* The folder above pipelines/, or the file's own folder; absolute. */
static int find_root(const char *file, char **root, struct pe_err *err) {
  char real[PATH_MAX];
  if (!realpath(file, real)) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s: %s", file, strerror(errno));
  }
  char *dir = dirname(real);
  const char *last = strrchr(dir, '/');
  if (last && strcmp(last + 1, "pipelines") == 0) {
    dir = dirname(dir);
  }
  *root = strdup(dir);
  if (!*root) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  return 0;
}

/* Stack: the module. Leaves the normalized description at index 2, its dump at 3. */
static int run_load(lua_State *L, const struct pe_config *c, struct pe_err *err) {
  lua_getfield(L, 1, "load");
  lua_pushstring(L, c->file);
  lua_pushstring(L, c->root);
  if (lua_pcall(L, 2, 3, 0) != 0) {
    const char *text = lua_tostring(L, -1);
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "%s: %s", c->file,
                      text ? text : "failed without a message");
  }
  if (lua_type(L, 2) == LUA_TTABLE) {
    return 0;
  }
  const char *text = lua_tostring(L, 3);
  return pe_err_set(err, lua_toboolean(L, 4) ? PE_EIO : PE_ECONFIG, PE_CLASS_FATAL, "%s",
                    text ? text : "the file could not be read");
}

int pe_config_load(const char *file, const char *lua_dir, struct pe_config **out,
                   struct pe_err *err) {
  lua_State *L = NULL;
  struct pe_config *c = calloc(1, sizeof(*c));
  if (!c || !(c->file = strdup(file))) {
    free(c);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  int rc = find_root(file, &c->root, err);
  if (rc == 0) {
    rc = pe_config_lua_open(lua_dir, &L, err);
  }
  if (rc == 0) {
    rc = run_load(L, c, err);
  }
  if (rc == 0) {
    rc = pe_config_fill(c, L, 2, err);
    if (rc != 0) {
      pe_err_wrap(err, "%s", file);
    }
  }
  if (rc == 0) {
    c->dump = strdup(lua_tostring(L, 3));
    if (!c->dump) {
      rc = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    }
  }
  if (L) {
    lua_close(L);
  }
  if (rc != 0) {
    pe_config_destroy(c);
    return rc;
  }
  *out = c;
  return 0;
}

static void free_list(char **list, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    free(list[i]);
  }
  free(list);
}

static void wipe(char *p, size_t n) {
  explicit_bzero(p, n);
}

void pe_config_destroy(struct pe_config *c) {
  if (!c) {
    return;
  }
  for (uint32_t i = 0; i < c->ntables; i++) {
    struct pe_config_table *t = &c->tables[i];
    free(t->name);
    free(t->target);
    free(t->transform);
    free(t->dlq);
    free_list(t->pii, t->npii);
    free_list(t->exclude, t->nexclude);
    free_list(t->routes, t->nroutes);
    free_list(t->dictionaries, t->ndictionaries);
  }
  while (c->secrets) {
    struct pe_config_secret *s = c->secrets;
    c->secrets = s->next;
    wipe(s->value, strlen(s->value));
    free(s->value);
    free(s->name);
    free(s);
  }
  wipe(c->source.password, sizeof(c->source.password));
  wipe(c->sink.password, sizeof(c->sink.password));
  free(c->tables);
  free(c->file);
  free(c->root);
  free(c->name);
  free(c->schema_dir);
  free(c->state_dir);
  free(c->admin_listen);
  free(c->log_format);
  free(c->log_level);
  free(c->dump);
  free(c);
}

/* malloc'ed, without the last newline; NULL when it is absent, empty or too long. */
static char *read_secret_file(const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) {
    return NULL;
  }
  char *value = malloc(SECRET_BYTES_MAX + 1);
  size_t n = value ? fread(value, 1, SECRET_BYTES_MAX + 1, f) : 0;
  fclose(f);
  if (value && n > SECRET_BYTES_MAX) {
    n = 0;
  }
  if (n > 0 && value[n - 1] == '\n') {
    n--;
  }
  if (n > 0 && value[n - 1] == '\r') {
    n--;
  }
  if (n == 0) {
    free(value);
    return NULL;
  }
  value[n] = 0;
  return value;
}

static char *find_secret(const char *name) {
  const char *v = getenv(name);
  if (v && *v) {
    return strdup(v);
  }
  char file_name[256];
  int n = snprintf(file_name, sizeof(file_name), "%s_FILE", name);
  const char *path = n > 0 && (size_t)n < sizeof(file_name) ? getenv(file_name) : NULL;
  return path && *path ? read_secret_file(path) : NULL;
}

const char *pe_config_secret(void *config, const char *name) {
  struct pe_config *c = config;
  char *found = NULL;
  pthread_mutex_lock(&secrets_lock);
  struct pe_config_secret *s = c->secrets;
  while (s && strcmp(s->name, name) != 0) {
    s = s->next;
  }
  if (!s && (found = find_secret(name)) != NULL) {
    s = calloc(1, sizeof(*s));
    char *copy = strdup(name);
    if (s && copy) {
      *s = (struct pe_config_secret){copy, found, c->secrets};
      c->secrets = s;
    } else {
      free(s);
      free(copy);
      free(found);
      s = NULL;
    }
  }
  pthread_mutex_unlock(&secrets_lock);
  return s ? s->value : NULL;
}

int pe_config_dump(const struct pe_config *c, struct pe_buf *out, struct pe_err *err) {
  pe_buf_puts(out, c->dump);
  if (!pe_buf_ok(out)) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  return 0;
}

static int reference(const char *lua_dir, const char *function, struct pe_buf *out,
                     struct pe_err *err) {
  lua_State *L = NULL;
  int rc = pe_config_lua_open(lua_dir, &L, err);
  if (rc != 0) {
    return rc;
  }
  lua_getfield(L, 1, function);
  if (lua_pcall(L, 0, 1, 0) != 0 || !lua_isstring(L, -1)) {
    const char *text = lua_tostring(L, -1);
    rc = pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "the reference: %s",
                    text ? text : "nothing came");
  } else {
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    pe_buf_put(out, text, n);
    rc = pe_buf_ok(out) ? 0 : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  lua_close(L);
  return rc;
}

int pe_config_reference(const char *lua_dir, struct pe_buf *out, struct pe_err *err) {
  return reference(lua_dir, "markdown", out, err);
}

int pe_config_reference_text(const char *lua_dir, struct pe_buf *out, struct pe_err *err) {
  return reference(lua_dir, "plain", out, err);
}

static bool has_lua(const char *dir) {
  char path[PATH_MAX];
  int n = snprintf(path, sizeof(path), "%s/pipe/schema.lua", dir);
  return n > 0 && (size_t)n < sizeof(path) && access(path, R_OK) == 0;
}

int pe_config_lua_dir(char *out, size_t n, struct pe_err *err) {
  const char *given = getenv("PIPE_ENGINE_LUA");
  if (given && *given) {
    if (!has_lua(given) || strlen(given) >= n) {
      return pe_err_set(err, PE_EIO, PE_CLASS_FATAL,
                        "PIPE_ENGINE_LUA is %s, but there is no pipe/schema.lua in it", given);
    }
    memcpy(out, given, strlen(given) + 1);
    return 0;
  }
  char exe[PATH_MAX];
  ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
  exe[len > 0 ? len : 0] = 0;
  const char *dir = dirname(exe);
  static const char *const beside[] = {"/../lua", "/../share/pipe-engine/lua"};
  for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
    int m = snprintf(out, n, "%s%s", dir, beside[i]);
    if (m > 0 && (size_t)m < n && has_lua(out)) {
      return 0;
    }
  }
  int m = snprintf(out, n, "%s", PE_SOURCE_DIR "/lua");
  if (m > 0 && (size_t)m < n && has_lua(out)) {
    return 0;
  }
  return pe_err_set(
      err, PE_EIO, PE_CLASS_FATAL,
      "the engine's Lua files are neither in %s/../lua nor in "
      "%s/../share/pipe-engine/lua; set PIPE_ENGINE_LUA to the folder that holds pipe/",
      dir, dir);
}
