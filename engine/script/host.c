/* The Lua state of a script: a counting allocator, the engine's own Lua (lua/pipe/host), what that
 * asks of C while modules load, and the table versions bound to their transforms. owner: whoever
 * creates the script, then the script thread. Fails with PE_ESCRIPT (file:line) or the code of what
 * a module asked for in vain. After an out-of-memory in Lua the state is thrown away and opened
 * again from the same texts. */
#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "script/internal.h"
#include "script/token.h"

enum { PATH_BYTES = 4096, TRACEBACK_LINES = 12 };

static char state_key; /* registry key: the pe_script of a state */
static char host_key;  /* registry key: what boot.lua returned */

static struct pe_script *script_of(lua_State *L) {
  lua_pushlightuserdata(L, &state_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  struct pe_script *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return s;
}

static void *allocate(void *arg, void *p, size_t was, size_t n) {
  struct pe_script *s = arg;
  if (n == 0) {
    free(p);
    s->memory -= was;
    return NULL;
  }
  if (n > was && s->memory + (n - was) > s->memory_max) {
    return NULL;
  }
  void *to = realloc(p, n);
  if (to) {
    s->memory = s->memory - was + n;
  }
  return to;
}

/* ---- what the engine's Lua asks of C ---- */

static int host_module(lua_State *L) {
  struct pe_script *s = script_of(L);
  const struct pe_script_file *f;
  struct pe_err err = PE_ERR_INIT;
  if (pe_module_text(s, luaL_checkstring(L, 1), &f, &err)) {
    lua_pushnil(L);
    lua_pushstring(L, err.text);
    return 2;
  }
  lua_pushlstring(L, f->text, f->len);
  lua_pushstring(L, f->path);
  return 2;
}

static int host_nearest(lua_State *L) {
  enum { WORDS_MAX = 1024 };
  const char *words[WORDS_MAX];
  size_t n = lua_objlen(L, 2);
  n = n > WORDS_MAX ? WORDS_MAX : n;
  luaL_checkstack(L, (int)n + 2, "too many names");
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    words[i] = lua_tostring(L, -1);
  }
  const char *near = pe_str_nearest(luaL_checkstring(L, 1), words, n);
  if (!near) {
    return 0;
  }
  lua_pushstring(L, near);
  return 1;
}

static void push_columns(lua_State *L, const struct pe_table *t) {
  lua_createtable(L, (int)t->ncolumns, 0);
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    const struct pe_column *c = &t->columns[i];
    lua_createtable(L, 0, 8);
    lua_pushstring(L, c->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, pe_ctype_name(c->ctype));
    lua_setfield(L, -2, "ctype");
    lua_pushstring(L, c->type_text ? c->type_text : pe_ctype_name(c->ctype));
    lua_setfield(L, -2, "type_text");
    lua_pushinteger(L, (lua_Integer)c->offset);
    lua_setfield(L, -2, "offset");
    lua_pushinteger(L, (lua_Integer)pe_ctype_bytes(c->ctype));
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, c->scale);
    lua_setfield(L, -2, "scale");
    lua_pushinteger(L, c->precision);
    lua_setfield(L, -2, "precision");
    lua_pushlightuserdata(L, (void *)(uintptr_t)c);
    lua_setfield(L, -2, "ptr");
    if (c->nmembers) {
      lua_createtable(L, (int)c->nmembers, 0);
      for (uint32_t m = 0; m < c->nmembers; m++) {
        lua_pushstring(L, c->members[m]);
        lua_rawseti(L, -2, (int)m + 1);
      }
      lua_setfield(L, -2, "members");
    }
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static void push_layout(lua_State *L, const struct pe_table *t) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, t->name);
  lua_setfield(L, -2, "name");
  lua_pushinteger(L, (lua_Integer)t->row_bytes);
  lua_setfield(L, -2, "row_bytes");
  lua_pushinteger(L, (lua_Integer)t->null_bytes);
  lua_setfield(L, -2, "null_bytes");
  push_columns(L, t);
  lua_setfield(L, -2, "columns");
}

static uint32_t take_names(lua_State *L, int at, const char **names, uint32_t max) {
  size_t n = lua_objlen(L, at);
  n = n > max ? max : n;
  luaL_checkstack(L, (int)n + 8, "too many names");
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, at, (int)i + 1);
    names[i] = lua_tostring(L, -1);
  }
  return (uint32_t)n;
}

static struct pe_stable *table_named(const struct pe_script *s, const char *name) {
  for (uint32_t i = 0; i < s->ntables; i++) {
    if (strcmp(s->tables[i].name, name) == 0) {
      return &s->tables[i];
    }
  }
  return NULL;
}

static int unknown_table(const struct pe_script *s, const char *name, struct pe_err *err) {
  const char **names = calloc(s->ntables + 1, sizeof(*names));
  for (uint32_t i = 0; i < s->ntables && names; i++) {
    names[i] = s->tables[i].name;
  }
  const char *near = names ? pe_str_nearest(name, names, s->ntables) : NULL;
  free(names);
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                    "pipe.lookup: table \"%s\" is not captured by this pipeline%s%s%s", name,
                    near ? "; did you mean \"" : ": add it to tables", near ? near : "",
                    near ? "\"?" : "");
}

static int find_lookup(struct pe_script *s, struct pe_table *t, const char *const *keys,
                       uint32_t nkeys, const char *const *values, uint32_t nvalues,
                       struct pe_lookup **out, struct pe_err *err) {
  if (s->env.declare_only) {
    return pe_lookup_define(s->env.lookups, t, keys, nkeys, values, nvalues, out, err);
  }
  /* defined beside the real ones, only to check it and to get its name */
  struct pe_lookups *probe = pe_lookups_create();
  if (!probe) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a lookup");
  }
  struct pe_lookup *l;
  int rc = pe_lookup_define(probe, t, keys, nkeys, values, nvalues, &l, err);
  *out = rc ? NULL : pe_lookup_find(s->env.lookups, pe_lookup_name(l));
  if (!rc && !*out) {
    rc = pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL,
                    "lookup %s is new: it has to be filled from its table first; restart the "
                    "engine, which does that",
                    pe_lookup_name(l));
  }
  pe_lookups_destroy(probe);
  return rc;
}

static int host_lookup(lua_State *L) {
  struct pe_script *s = script_of(L);
  const char *keys[PE_LOOKUP_KEYS_MAX + 1] = {0}, *values[PE_LOOKUP_VALUES_MAX + 1] = {0};
  const char *name = luaL_checkstring(L, 1);
  uint32_t nkeys = take_names(L, 2, keys, PE_LOOKUP_KEYS_MAX + 1);
  uint32_t nvalues = take_names(L, 3, values, PE_LOOKUP_VALUES_MAX + 1);
  struct pe_err err = PE_ERR_INIT;
  struct pe_lookup *l = NULL;
  struct pe_stable *t = table_named(s, name);
  int rc = !s->env.lookups ? pe_err_set(&err, PE_ECONFIG, PE_CLASS_FATAL, "no lookups here")
           : t             ? find_lookup(s, t->table, keys, nkeys, values, nvalues, &l, &err)
                           : unknown_table(s, name, &err);
  if (rc) {
    s->load_err = err;
    lua_pushnil(L);
    lua_pushstring(L, err.text);
    return 2;
  }
  lua_createtable(L, 0, 4);
  lua_pushlightuserdata(L, l);
  lua_setfield(L, -2, "lookup");
  lua_pushboolean(L, l->int_key);
  lua_setfield(L, -2, "int_key");
  push_layout(L, l->values);
  lua_setfield(L, -2, "layout");
  return 1;
}

static int host_token(lua_State *L) {
  struct pe_script *s = script_of(L);
  const char *name = luaL_checkstring(L, 1);
  const char *key = s->env.secret ? s->env.secret(s->env.secret_arg, name) : NULL;
  if (!key || !*key) {
    pe_err_set(&s->load_err, PE_ECONFIG, PE_CLASS_FATAL,
               "secret %s is not set: give it in the environment variable %s, or in a file named "
               "by %s_FILE",
               name, name, name);
    lua_pushnil(L);
    lua_pushstring(L, s->load_err.text);
    return 2;
  }
  struct pe_token *t = s->ntokens < PE_SCRIPT_TOKENS_MAX
                           ? pe_token_create(key, strlen(key), luaL_checkstring(L, 2))
                           : NULL;
  if (!t) {
    lua_pushnil(L);
    lua_pushstring(L, "too many tokens, or out of memory for one");
    return 2;
  }
  s->tokens[s->ntokens++] = t;
  lua_pushlightuserdata(L, t);
  return 1;
}

static int host_counter(lua_State *L) {
  struct pe_script *s = script_of(L);
  const char *name = luaL_checkstring(L, 1);
  uint32_t i = 0;
  while (i < s->ncounters && strcmp(s->counters[i]->name, name) != 0) {
    i++;
  }
  if (i == s->ncounters) {
    struct pe_counter *c = i < PE_SCRIPT_COUNTERS_MAX ? calloc(1, sizeof(*c)) : NULL;
    char *copy = c ? strdup(name) : NULL;
    if (!copy) {
      free(c);
      return 0;
    }
    c->name = copy;
    s->counters[s->ncounters++] = c;
  }
  lua_pushlightuserdata(L, &s->counters[i]->value);
  return 1;
}

static bool same_text(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static int host_mark(lua_State *L) {
  struct pe_script *s = script_of(L);
  size_t n, ncolumn = 0;
  const char *text = luaL_checklstring(L, 1, &n);
  const char *column = luaL_optlstring(L, 2, NULL, &ncolumn);
  char reason[PE_SCRIPT_REASON_MAX], name[PE_SCRIPT_REASON_MAX];
  pe_script_cut(s, text, n, reason, sizeof(reason));
  if (column) {
    pe_script_cut(s, column, ncolumn, name, sizeof(name));
    column = name;
  }
  uint32_t i = 0;
  while (i < s->nmarks &&
         !(strcmp(s->marks[i].reason, reason) == 0 && same_text(s->marks[i].column, column))) {
    i++;
  }
  if (i == s->nmarks && i >= PE_SCRIPT_MARKS_MAX) {
    i = 0; /* more reasons than a person would read: they share the first */
  }
  if (i == s->nmarks) {
    if (s->nmarks == s->marks_cap) {
      uint32_t cap = s->marks_cap ? s->marks_cap * 2 : 16;
      struct pe_mark *p = realloc(s->marks, cap * sizeof(*p));
      if (!p) {
        return 0;
      }
      s->marks = p;
      s->marks_cap = cap;
    }
    struct pe_mark m = {strdup(reason), column ? strdup(column) : NULL};
    if (!m.reason || (column && !m.column)) {
      free(m.reason);
      free(m.column);
      return 0;
    }
    s->marks[s->nmarks++] = m;
  }
  lua_pushinteger(L, (lua_Integer)i);
  return 1;
}

/* ---- failures ---- */

static bool is_ours(lua_State *L, const char *text, size_t n) {
  lua_pushlightuserdata(L, &host_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  bool ours = false;
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "ours");
    lua_getfield(L, -1, "text");
    size_t len;
    const char *said = lua_tolstring(L, -1, &len);
    ours = said && len <= n && memcmp(text + n - len, said, len) == 0;
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  return ours;
}

/* Only the frames of scripts: "[C]" and the engine's own Lua say nothing to their author. */
static void keep_script_frames(struct pe_buf *out, const char *p) {
  unsigned lines = 0;
  while (*p && lines < TRACEBACK_LINES) {
    const char *end = strchr(p, '\n');
    size_t n = end ? (size_t)(end - p) : strlen(p);
    bool engine = memmem(p, n, "[C]", 3) || memmem(p, n, "loop of ", 8) ||
                  memmem(p, n, "columns of ", 11) || memmem(p, n, "pipe/host/", 10) ||
                  memmem(p, n, "stack traceback", 15);
    if (!engine && n) {
      if (out->len) {
        pe_buf_put(out, "\n", 1);
      }
      while (n && (*p == '\t' || *p == ' ')) {
        p++;
        n--;
      }
      pe_buf_put(out, p, n);
      lines++;
    }
    p = end ? end + 1 : p + n;
  }
}

int pe_host_message(lua_State *L) {
  struct pe_script *s = script_of(L);
  size_t n;
  const char *text = lua_tolstring(L, 1, &n);
  if (text) {
    pe_script_cut_error(s, text, n, is_ours(L, text, n), s->fail_reason, sizeof(s->fail_reason));
  } else {
    snprintf(s->fail_reason, sizeof(s->fail_reason), "the script raised a %s as an error",
             luaL_typename(L, 1));
  }
  pe_buf_clear(&s->fail_traceback);
  luaL_traceback(L, L, NULL, 1);
  keep_script_frames(&s->fail_traceback, lua_tostring(L, -1));
  lua_pop(L, 1);
  return 1;
}

/* An error while modules load may be shown as it is: no row has been seen. */
static int load_failed(struct pe_script *s, const char *what, struct pe_err *err) {
  const char *text = lua_tostring(s->L, -1);
  int code = s->load_err.code ? s->load_err.code : PE_ESCRIPT;
  pe_err_set(err, code, PE_CLASS_FATAL, "%s", text ? text : "the script raised an error value");
  if (what) {
    pe_err_wrap(err, "%s", what);
  }
  return code;
}

/* ---- opening ---- */

static const struct luaL_Reg host_functions[] = {{"module", host_module},
                                                 {"nearest", host_nearest},
                                                 {"lookup", host_lookup},
                                                 {"token", host_token},
                                                 {"counter", host_counter},
                                                 {"mark", host_mark},
                                                 {NULL, NULL}};

static int push_suffix(lua_State *L) {
  uint8_t random[12];
  char text[2 * sizeof(random) + 2] = "_";
  if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
    return -1;
  }
  for (size_t i = 0; i < sizeof(random); i++) {
    snprintf(text + 1 + 2 * i, 3, "%02x", random[i]);
  }
  lua_pushstring(L, text);
  return 0;
}

/* Runs protected: lua_cpcall's argument is the script. */
static int open_protected(lua_State *L) {
  struct pe_script *s = lua_touserdata(L, 1);
  luaL_openlibs(L);
  lua_pushlightuserdata(L, &state_key);
  lua_pushlightuserdata(L, s);
  lua_rawset(L, LUA_REGISTRYINDEX);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", s->lua_dir, s->lua_dir, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
  lua_pushfstring(L, "%s/pipe/host/boot.lua", s->lua_dir);
  if (luaL_loadfile(L, lua_tostring(L, -1))) {
    return lua_error(L);
  }
  lua_createtable(L, 0, 12);
  for (const struct luaL_Reg *f = host_functions; f->name; f++) {
    lua_pushcfunction(L, f->func);
    lua_setfield(L, -2, f->name);
  }
  pe_bridge_push(L);
  lua_setfield(L, -2, "functions");
  lua_pushlightuserdata(L, &s->ctl);
  lua_setfield(L, -2, "ctl");
  lua_pushinteger(L, PE_SCRIPT_MARKS_MAX);
  lua_setfield(L, -2, "marks_max");
  if (push_suffix(L)) {
    return luaL_error(L, "the system gives no random numbers");
  }
  lua_setfield(L, -2, "suffix");
  lua_call(L, 1, 1);
  lua_pushlightuserdata(L, &host_key);
  lua_insert(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
  return 0;
}

struct bind_job {
  struct pe_script *script;
  struct pe_stable *table;
  struct pe_rtable *version;
};

static int bind_protected(lua_State *L) {
  struct bind_job *j = lua_touserdata(L, 1);
  struct pe_stable *t = j->table;
  lua_pushlightuserdata(L, &host_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  int host = lua_gettop(L);
  lua_getfield(L, host, "bind");
  lua_createtable(L, 0, 4);
  lua_getfield(L, host, "load");
  lua_pushstring(L, t->transform);
  lua_call(L, 1, 1);
  lua_setfield(L, -2, "transform");
  push_layout(L, j->version->table);
  lua_setfield(L, -2, "layout");
  lua_pushstring(L, t->dest ? t->dest->name : t->name);
  lua_setfield(L, -2, "dest_name");
  lua_createtable(L, (int)t->nroutes, 0);
  for (uint32_t i = 0; i < t->nroutes; i++) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, t->routes[i]->name);
    lua_setfield(L, -2, "name");
    push_layout(L, t->routes[i]->layout);
    lua_setfield(L, -2, "layout");
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "routes");
  lua_call(L, 1, 2);
  j->version->park_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  j->version->run_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

int pe_host_bind(struct pe_script *s, struct pe_stable *t, struct pe_rtable *v,
                 struct pe_err *err) {
  struct bind_job j = {s, t, v};
  s->load_err = (struct pe_err)PE_ERR_INIT;
  int rc = lua_cpcall(s->L, bind_protected, &j);
  if (rc) {
    char what[512];
    snprintf(what, sizeof(what), "transform of table %.200s", t->name);
    rc = load_failed(s, what, err);
    lua_settop(s->L, 0);
  }
  return rc;
}

int pe_host_open(struct pe_script *s, struct pe_err *err) {
  s->memory = 0;
  s->L = lua_newstate(allocate, s);
  if (!s->L) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a Lua state");
  }
  s->load_err = (struct pe_err)PE_ERR_INIT;
  if (lua_cpcall(s->L, open_protected, s)) {
    int rc = load_failed(s, "the engine's Lua does not start", err);
    pe_host_close(s);
    return rc;
  }
  for (uint32_t i = 0; i < s->ntables; i++) {
    struct pe_stable *t = &s->tables[i];
    for (struct pe_rtable *v = t->transform ? t->versions : NULL; v; v = v->next) {
      int rc = pe_host_bind(s, t, v, err);
      if (rc) {
        pe_host_close(s);
        return rc;
      }
    }
  }
  return 0;
}

void pe_host_close(struct pe_script *s) {
  if (s->L) {
    lua_close(s->L);
    s->L = NULL;
  }
  for (uint32_t i = 0; i < s->ntokens; i++) {
    pe_token_destroy(s->tokens[i]);
  }
  s->ntokens = 0;
}
