/* Scripts: from an environment to a Lua state with every table's transform bound, and the set of
 * texts it was made of. owner: whoever creates it, then the script thread. */
#include "script/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "script/internal.h"

static int no_memory(struct pe_err *err) {
  return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a script");
}

/* ---- which table uses which transform ---- */

static int add_tables_module(struct pe_script *s, struct pe_err *err) {
  struct pe_buf b;
  pe_buf_init(&b);
  for (uint32_t i = 0; i < s->ntables; i++) {
    pe_buf_printf(&b, "%s.%s=%s\n", s->tables[i].db, s->tables[i].name,
                  s->tables[i].transform ? s->tables[i].transform : "");
  }
  const char *text = pe_buf_cstr(&b);
  char *copy = text && pe_buf_ok(&b) ? strdup(text) : NULL;
  size_t len = b.len;
  pe_buf_close(&b);
  return copy ? pe_module_add(s, PE_SCRIPT_TABLES_MODULE, "", copy, len, err) : no_memory(err);
}

/* The transform a stored set gives a table; *known false: the set does not name the table. */
static char *stored_transform(const struct pe_script_set *set, const struct pe_table *t,
                              bool *known) {
  const struct pe_script_file *f = pe_script_set_file(set, PE_SCRIPT_TABLES_MODULE);
  char key[1024];
  int n = snprintf(key, sizeof(key), "%s.%s=", t->db, t->name);
  *known = false;
  for (const char *p = f && n > 0 && (size_t)n < sizeof(key) ? f->text : NULL; p && *p;) {
    const char *end = strchr(p, '\n');
    size_t len = end ? (size_t)(end - p) : strlen(p);
    if (len >= (size_t)n && memcmp(p, key, (size_t)n) == 0) {
      *known = true;
      return len > (size_t)n ? strndup(p + n, len - (size_t)n) : NULL;
    }
    p = end ? end + 1 : NULL;
  }
  return NULL;
}

/* ---- tables ---- */

static void free_versions(struct pe_script *s, struct pe_stable *t) {
  while (t->versions) {
    struct pe_rtable *v = t->versions;
    t->versions = v->next;
    if (s->L) {
      luaL_unref(s->L, LUA_REGISTRYINDEX, v->run_ref);
      luaL_unref(s->L, LUA_REGISTRYINDEX, v->park_ref);
    }
    pe_table_unref(v->table);
    free(v);
  }
}

static struct pe_rtable *add_version(struct pe_stable *t, struct pe_table *table) {
  struct pe_rtable *v = calloc(1, sizeof(*v));
  if (v) {
    v->table = pe_table_ref(table);
    v->run_ref = v->park_ref = LUA_NOREF;
    v->next = t->versions;
    t->versions = v;
  }
  return v;
}

static bool set_routes(struct pe_stable *t, const struct pe_script_table *from) {
  struct pe_dest **routes = NULL;
  if (from->nroutes) {
    routes = malloc(from->nroutes * sizeof(struct pe_dest *));
    if (!routes) {
      return false;
    }
    memcpy(routes, from->routes, from->nroutes * sizeof(struct pe_dest *));
  }
  free(t->routes);
  t->routes = routes;
  t->nroutes = from->nroutes;
  t->dest = from->dest;
  return true;
}

static int init_table(struct pe_script *s, struct pe_stable *t, const struct pe_script_table *from,
                      struct pe_err *err) {
  t->table = pe_table_ref(from->table);
  t->db = strdup(from->table->db);
  t->name = strdup(from->table->name);
  if (!t->db || !t->name || !set_routes(t, from)) {
    return no_memory(err);
  }
  if (s->set) {
    bool known;
    t->transform = stored_transform(s->set, from->table, &known);
  } else if (from->transform) {
    t->transform = strdup(from->transform);
    if (!t->transform) {
      return no_memory(err);
    }
  }
  if (t->transform && !add_version(t, from->table)) {
    return no_memory(err);
  }
  return 0;
}

static void close_table(struct pe_script *s, struct pe_stable *t) {
  free_versions(s, t);
  pe_table_unref(t->table);
  free(t->db);
  free(t->name);
  free(t->transform);
  free(t->routes);
}

/* ---- create, destroy ---- */

static int fill_in(struct pe_script *s, const struct pe_script_env *env, struct pe_err *err) {
  s->root = strdup(env->root ? env->root : ".");
  s->lua_dir = strdup(env->lua_dir ? env->lua_dir : "lua");
  s->tables = calloc(env->ntables ? env->ntables : 1, sizeof(*s->tables));
  if (!s->root || !s->lua_dir || !s->tables) {
    return no_memory(err);
  }
  for (uint32_t i = 0; i < env->ntables; i++) {
    s->ntables = i + 1;
    int rc = init_table(s, &s->tables[i], &env->tables[i], err);
    if (rc) {
      return rc;
    }
  }
  s->env.tables = NULL; /* the copies are used from here on */
  s->env.root = s->root;
  s->env.lua_dir = s->lua_dir;
  return 0;
}

static int open_and_collect(struct pe_script *s, struct pe_err *err) {
  int rc = pe_host_open(s, err);
  if (rc || s->set) {
    return rc;
  }
  rc = add_tables_module(s, err);
  if (rc) {
    return rc;
  }
  struct pe_script_file *files = s->files;
  uint32_t n = s->nfiles;
  s->files = NULL;
  s->nfiles = s->files_cap = 0;
  return pe_script_set_from(files, n, &s->set, err);
}

int pe_script_create(const struct pe_script_env *env, struct pe_script_set *set,
                     struct pe_script **out, struct pe_err *err) {
  struct pe_script *s = calloc(1, sizeof(*s));
  if (!s) {
    return no_memory(err);
  }
  s->env = *env;
  s->memory_max = env->memory_max ? env->memory_max : PE_SCRIPT_MEMORY_DEFAULT;
  s->set = set ? pe_script_set_ref(set) : NULL;
  s->ctl.script = s;
  s->ctl.gen = 1;
  pe_buf_init(&s->ctl.text);
  pe_buf_init(&s->ctl.key);
  pe_buf_init(&s->fail_traceback);
  int rc = fill_in(s, env, err);
  if (!rc) {
    rc = open_and_collect(s, err);
  }
  if (rc) {
    pe_script_destroy(s);
    return rc;
  }
  *out = s;
  return 0;
}

void pe_script_destroy(struct pe_script *s) {
  if (!s) {
    return;
  }
  for (uint32_t i = 0; i < s->ntables; i++) {
    close_table(s, &s->tables[i]);
  }
  pe_host_close(s);
  free(s->tables);
  for (uint32_t i = 0; i < s->nfiles; i++) {
    free(s->files[i].module);
    free(s->files[i].path);
    free(s->files[i].text);
  }
  free(s->files);
  pe_script_set_unref(s->set);
  pe_results_close(&s->after);
  pe_results_close(&s->before);
  pe_results_close(&s->single);
  for (uint32_t i = 0; i < s->nmarks; i++) {
    free(s->marks[i].reason);
    free(s->marks[i].column);
  }
  free(s->marks);
  for (uint32_t i = 0; i < s->ncounters; i++) {
    free(s->counters[i]->name);
    free(s->counters[i]);
  }
  pe_buf_close(&s->ctl.text);
  pe_buf_close(&s->ctl.key);
  pe_buf_close(&s->fail_traceback);
  free(s->pristine);
  free(s->root);
  free(s->lua_dir);
  free(s);
}

struct pe_script_set *pe_script_set_of(const struct pe_script *s) {
  return s->set;
}

/* ---- table versions ---- */

static struct pe_stable *stable_of(const struct pe_script *s, const struct pe_table *t) {
  for (uint32_t i = 0; i < s->ntables; i++) {
    struct pe_stable *st = &s->tables[i];
    if (st->table == t || (strcmp(st->name, t->name) == 0 && strcmp(st->db, t->db) == 0)) {
      return st;
    }
  }
  return NULL;
}

int pe_script_find(struct pe_script *s, struct pe_table *t, struct pe_stable **table,
                   struct pe_rtable **version, struct pe_err *err) {
  *table = stable_of(s, t);
  if (!*table) {
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL,
                      "rows of table %s.%s came in, which the script was not made for", t->db,
                      t->name);
  }
  *version = NULL;
  if (!(*table)->transform) {
    return 0;
  }
  for (struct pe_rtable *v = (*table)->versions; v; v = v->next) {
    if (v->table == t) {
      *version = v;
      return 0;
    }
  }
  struct pe_rtable *v = add_version(*table, t);
  if (!v) {
    return no_memory(err);
  }
  *version = v;
  return pe_host_bind(s, *table, v, err);
}

static int rebind(struct pe_script *s, struct pe_stable *t, struct pe_err *err) {
  free_versions(s, t);
  if (!t->transform) {
    return 0;
  }
  struct pe_rtable *v = add_version(t, t->table);
  return v ? pe_host_bind(s, t, v, err) : no_memory(err);
}

int pe_script_table_changed(struct pe_script *s, const struct pe_script_table *t,
                            struct pe_err *err) {
  struct pe_stable *st = stable_of(s, t->table);
  if (!st) {
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "table %s.%s is not one of the script's",
                      t->table->db, t->table->name);
  }
  struct pe_dest *was = st->dest;
  if (!set_routes(st, t)) {
    return no_memory(err);
  }
  pe_table_ref(t->table);
  pe_table_unref(st->table);
  st->table = t->table;
  int rc = rebind(s, st, err);
  /* others that route to it have rows in its layout */
  for (uint32_t i = 0; i < s->ntables && !rc; i++) {
    struct pe_stable *o = &s->tables[i];
    bool routes_here = false;
    for (uint32_t k = 0; k < o->nroutes; k++) {
      if (o != st && (o->routes[k] == was || o->routes[k] == st->dest)) {
        o->routes[k] = st->dest;
        routes_here = true;
      }
    }
    rc = routes_here ? rebind(s, o, err) : 0;
  }
  return rc;
}

void pe_script_each_counter(const struct pe_script *s,
                            void (*cb)(void *arg, const char *name, double value), void *arg) {
  for (uint32_t i = 0; i < s->ncounters; i++) {
    cb(arg, s->counters[i]->name, s->counters[i]->value);
  }
}
