/* Start: everything that can be wrong is found here, before a row moves, and said with what to do.
 * Blocking; runs on the thread that calls pe_engine_start, before any other exists. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

enum {
  COLUMNS_TRIES_MAX = 50,
  COLUMNS_WAIT_MS = 100,
  START_TRIES_MAX = 3 /* of the embedded server, which somebody may kill while it starts */
};

static const char *nearest_column(const struct pe_table *t, const char *name) {
  const char **names = calloc(t->ncolumns, sizeof(*names));
  const char *found = NULL;
  if (names) {
    for (uint32_t i = 0; i < t->ncolumns; i++)
      names[i] = t->columns[i].name;
    found = pe_str_nearest(name, names, t->ncolumns);
  }
  free(names);
  return found;
}

/* ---- the source's side of a table ---- */

static int flag_columns(struct pe_engine *e, struct pe_etable *t, struct pe_table *b,
                        struct pe_err *err) {
  for (int what = 0; what < 2; what++) {
    char **list = what ? t->cfg->exclude : t->cfg->pii;
    uint32_t n = what ? t->cfg->nexclude : t->cfg->npii;
    for (uint32_t i = 0; i < n; i++) {
      int c = pe_table_find(b, list[i]);
      if (c < 0) {
        const char *near = nearest_column(b, list[i]);
        return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                          "%s: tables.%s.%s names the column \"%s\", which %s has not%s%s%s",
                          e->cfg->file, t->cfg->name, what ? "exclude" : "pii", list[i], t->full,
                          near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
      }
      if (what)
        b->columns[c].excluded = true;
      else
        b->columns[c].pii = true;
    }
  }
  return 0;
}

static int check_source(struct pe_engine *e, MYSQL *m, struct pe_err *err) {
  struct pe_finding *f = calloc(64, sizeof(*f));
  const char **names = calloc(e->ntables + 1, sizeof(*names));
  int rc = 0;
  if (!f || !names) {
    free(f);
    free(names);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  for (uint32_t i = 0; i < e->ntables; i++)
    names[i] = e->tables[i].cfg->name;
  int n =
      pe_source_check(m, &e->cfg->source, e->cfg->source.database, names, e->ntables, f, 64, err);
  if (n < 0)
    rc = n;
  for (int i = 0; i < n; i++) {
    if (f[i].fatal && !rc)
      rc = pe_err_set(err, f[i].code, PE_CLASS_FATAL, "%s; to mend it: %s", f[i].what, f[i].mend);
    else if (!f[i].fatal)
      pe_warn("source", "%s; to mend it: %s", f[i].what, f[i].mend);
  }
  free(f);
  free(names);
  return rc;
}

/* ---- targets ---- */

int pe_dest_sql(struct pe_engine *e, struct pe_edest *d, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql, "INSERT INTO ");
  pe_buf_put_ident_ch(&sql, e->db);
  pe_buf_puts(&sql, ".");
  pe_buf_put_ident_ch(&sql, d->dest.name);
  pe_buf_printf(&sql, " %s FORMAT Native", pe_plan_insert_columns(d->plan));
  free(d->insert_sql);
  d->insert_sql = pe_buf_ok(&sql) ? strdup(pe_buf_cstr(&sql)) : NULL;
  pe_buf_close(&sql);
  return d->insert_sql ? 0 : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
}

/* The columns that a replacement must have in common with the row it replaces. */
int pe_dest_keys(struct pe_edest *d, struct pe_err *err) {
  uint32_t *key = calloc(d->target->ncolumns + 1, sizeof(*key));
  uint32_t n = 0;
  if (!key)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  for (uint32_t i = 0; i < d->target->ncolumns; i++) {
    const struct pe_chcolumn *c = &d->target->columns[i];
    int col = c->is_key || c->is_partition ? pe_table_find(d->dest.layout, c->name) : -1;
    if (col >= 0)
      key[n++] = (uint32_t)col;
  }
  free(d->dest.key);
  d->dest.key = key;
  d->dest.nkey = n;
  return 0;
}

static int check_target(struct pe_engine *e, const struct pe_target *t, struct pe_err *err) {
  if (t->dedup_window == 0)
    return pe_err_set(
        err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
        "%s keeps no deduplication window, so a block that is sent again would count twice; run: "
        "ALTER TABLE `%s`.`%s` MODIFY SETTING %s = 10000",
        t->name, t->db, t->name,
        t->replicated ? "replicated_deduplication_window" : "non_replicated_deduplication_window");
  for (uint32_t i = 0; i < t->nparts; i++)
    if (t->parts[i].kind == PE_PART_OPAQUE)
      pe_warn("sink",
              "the engine can't compute the PARTITION BY of %s, so a block of it may span "
              "partitions; a kill of ClickHouse in that moment can tear it. PARTITION BY "
              "toYYYYMM(column) or a plain column is safe",
              t->name);
  (void)e;
  return 0;
}

static int new_dest(struct pe_engine *e, const char *name, struct pe_table *layout,
                    struct pe_target *target, const struct pe_plan_opts *po, struct pe_edest **out,
                    struct pe_err *err) {
  for (uint32_t i = 0; i < e->ndests; i++)
    if (strcmp(e->dests[i]->dest.name, name) == 0) {
      pe_target_destroy(target);
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                        "%s: two tables lead to the target %s; give each its own `target`, or let "
                        "the transform of one route its rows",
                        e->cfg->file, name);
    }
  struct pe_edest **all = realloc(e->dests, (e->ndests + 1) * sizeof(*all));
  struct pe_edest *d = calloc(1, sizeof(*d));
  if (all)
    e->dests = all;
  if (!all || !d) {
    free(d);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  d->dest.id = e->ndests;
  d->dest.name = strdup(name);
  d->dest.layout = pe_table_ref(layout);
  d->target = target;
  d->plan_opts = *po;
  e->dests[e->ndests++] = d; /* owned by the engine from here on */
  int rc = check_target(e, target, err);
  if (!rc)
    rc = pe_plan_create(&d->dest, target, po, &d->plan, err);
  if (!rc)
    rc = pe_dest_keys(d, err);
  if (!rc)
    rc = pe_dest_sql(e, d, err);
  *out = d;
  return rc;
}

/* Columns of the target that the source has not get a place in the rows, for a transform to fill.
 */
static int add_extras(struct pe_table *b, const struct pe_target *target, struct pe_err *err) {
  for (uint32_t i = 0; i < target->ncolumns; i++) {
    const struct pe_chcolumn *cc = &target->columns[i];
    if (cc->is_materialized || (int32_t)i == target->version_col ||
        (int32_t)i == target->deleted_col || pe_table_find(b, cc->name) >= 0)
      continue;
    struct pe_column *c = pe_table_add_extra(b, cc->name);
    int rc = c ? pe_target_extra(cc, c, err) : PE_ENOMEM;
    if (rc)
      return pe_err_wrap(err, "column %s of %s", cc->name, target->name);
  }
  return 0;
}

/* A server that has just been started may name a table before it knows its columns. */
static int load_target(struct pe_engine *e, const char *name, struct pe_target **target,
                       struct pe_err *err) {
  for (int tries = 0;; tries++) {
    int rc = pe_target_load(e->ch_work, e->db, name, target, err);
    if (rc != 1 || (*target)->ncolumns || tries == COLUMNS_TRIES_MAX)
      return rc;
    pe_target_destroy(*target);
    *target = NULL;
    pe_sleep_ms(COLUMNS_WAIT_MS);
  }
}

static int create_target(struct pe_engine *e, const struct pe_table *source, const char *name,
                         struct pe_target **target, struct pe_err *err) {
  struct pe_buf sql;
  pe_buf_init(&sql);
  struct pe_table *whole = pe_table_clone(source);
  int rc = whole ? pe_table_finish(whole, err) : PE_ENOMEM;
  if (!rc)
    rc = pe_target_ddl(whole, e->db, name, &sql, err);
  if (whole)
    pe_table_unref(whole);
  if (!rc)
    rc = pe_ch_exec(e->ch_work, pe_buf_cstr(&sql), NULL, NULL, err);
  pe_buf_close(&sql);
  if (rc)
    return pe_err_wrap(err, "creating the target table %s", name);
  pe_info("sink", "created the table %s.%s for %s.%s", e->db, name, source->db, source->name);
  rc = load_target(e, name, target, err);
  return rc == 1  ? 0
         : rc < 0 ? rc
                  : pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                               "%s is not there although it was just created", name);
}

static int start_table(struct pe_engine *e, MYSQL *m, struct pe_etable *t, struct pe_err *err) {
  struct pe_table *source = NULL;
  struct pe_target *target = NULL;
  int rc = pe_source_load_table(m, e->cfg->source.database, t->cfg->name, &source, err);
  if (rc)
    return rc;
  struct pe_table *b = pe_table_clone(source);
  rc = b ? flag_columns(e, t, b, err) : PE_ENOMEM;
  if (!rc) {
    rc = load_target(e, t->cfg->target, &target, err);
    if (rc == 0)
      rc = create_target(e, b, t->cfg->target, &target, err);
    else if (rc == 1)
      rc = 0;
  }
  if (!rc)
    rc = add_extras(b, target, err);
  if (!rc) {
    b->id = (uint32_t)(t - e->tables);
    rc = pe_table_finish(b, err);
  }
  pe_table_unref(source);
  if (rc) {
    if (b)
      pe_table_unref(b);
    pe_target_destroy(target);
    return rc;
  }
  t->layout = b;
  struct pe_plan_opts po = {.zero_date = t->cfg->zero_date, .narrow_ok = t->cfg->narrow_ok};
  return new_dest(e, t->cfg->target, b, target, &po, &t->dest, err);
}

/* A table that only routes lead to: its rows have the layout of the target. */
static int start_route(struct pe_engine *e, const char *name, struct pe_dest **out,
                       struct pe_err *err) {
  for (uint32_t i = 0; i < e->ndests; i++)
    if (strcmp(e->dests[i]->dest.name, name) == 0) {
      *out = &e->dests[i]->dest;
      return 0;
    }
  struct pe_target *target = NULL;
  struct pe_edest *d = NULL;
  int rc = load_target(e, name, &target, err);
  if (rc == 0)
    return pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                      "%s: a route leads to the table %s.%s, which ClickHouse has not; create it, "
                      "or put its CREATE TABLE into the schema folder",
                      e->cfg->file, e->db, name);
  if (rc < 0)
    return rc;
  struct pe_table *layout = pe_table_create("", name);
  rc = layout ? add_extras(layout, target, err) : PE_ENOMEM;
  if (!rc) {
    layout->id = UINT32_MAX;
    rc = pe_table_finish(layout, err);
  }
  if (rc) {
    if (layout)
      pe_table_unref(layout);
    pe_target_destroy(target);
    return rc;
  }
  struct pe_plan_opts po = {.narrow_ok = true};
  rc = new_dest(e, name, layout, target, &po, &d, err);
  pe_table_unref(layout);
  *out = d ? &d->dest : NULL;
  return rc;
}

int pe_start_tables(struct pe_engine *e, MYSQL *m, struct pe_err *err) {
  e->ntables = e->cfg->ntables;
  if (e->ntables > PE_TABLES_MAX)
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "%s names %u tables; %d is the most",
                      e->cfg->file, e->ntables, PE_TABLES_MAX);
  e->tables = calloc(e->ntables + 1, sizeof(*e->tables));
  if (!e->tables)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  for (uint32_t i = 0; i < e->ntables; i++) {
    struct pe_etable *t = &e->tables[i];
    t->cfg = &e->cfg->tables[i];
    t->dlq = t->cfg->dlq;
    t->snapshot_index = -1;
    snprintf(t->full, sizeof(t->full), "%.90s.%.100s", e->cfg->source.database, t->cfg->name);
  }
  int rc = check_source(e, m, err);
  for (uint32_t i = 0; i < e->ntables && !rc; i++) {
    rc = start_table(e, m, &e->tables[i], err);
    if (rc)
      pe_err_wrap(err, "table %s", e->tables[i].full);
  }
  for (uint32_t i = 0; i < e->ntables && !rc; i++) {
    struct pe_etable *t = &e->tables[i];
    t->routes = calloc(t->cfg->nroutes + 1, sizeof(struct pe_dest *));
    for (uint32_t k = 0; k < t->cfg->nroutes && !rc; k++)
      rc = start_route(e, t->cfg->routes[k], &t->routes[t->nroutes++], err);
    if (!rc)
      rc = pe_dlq_ensure(e, t, err);
  }
  return rc;
}

/* ---- sink ---- */

int pe_start_sink(struct pe_engine *e, struct pe_err *err) {
  struct pe_ch_opts o = e->cfg->sink;
  if (e->cfg->sink_embedded) {
    int rc = PE_ESINK_DOWN;
    for (int tries = 0; rc == PE_ESINK_DOWN && tries < START_TRIES_MAX; tries++) {
      if (tries)
        pe_warn("sink", "%s; starting it again", err->text);
      rc = pe_embedded_start(&e->loop, &e->cfg->embedded, &e->embedded, err);
    }
    if (rc)
      return pe_err_wrap(err, "embedded ClickHouse");
    snprintf(o.url, sizeof(o.url), "http://127.0.0.1:%u", pe_embedded_port(e->embedded));
  }
  if (!o.database[0])
    snprintf(o.database, sizeof(o.database), "default");
  snprintf(e->db, sizeof(e->db), "%s", o.database);
  int rc = pe_ch_create(&e->loop, &o, &e->ch, err);
  if (!rc)
    rc = pe_ch_create(NULL, &o, &e->ch_work, err);
  if (!rc)
    rc = pe_ch_create(NULL, &o, &e->ch_script, err);
  char text[64];
  if (!rc && pe_ch_value(e->ch_work, "SELECT version()", text, sizeof(text), err) < 0)
    rc = err->code;
  if (!rc && e->cfg->schema_dir) {
    const char *vars[] = {"database", e->db, NULL};
    rc = pe_ch_apply_dir(e->ch_work, e->cfg->schema_dir, vars, err);
  }
  return rc;
}

/* ---- scripts and lookups ---- */

struct pe_script_env pe_script_env_of(struct pe_engine *e) {
  return (struct pe_script_env){.root = e->cfg->root,
                                .lua_dir = e->lua_dir,
                                .tables = e->script_tables,
                                .ntables = e->ntables,
                                .lookups = e->lookups,
                                .declare_only = e->declare_lookups,
                                .secret = pe_config_secret,
                                .secret_arg = e->cfg};
}

int pe_scripts_record(struct pe_engine *e, const struct pe_script_set *set, struct pe_err *err) {
  pthread_mutex_lock(&e->state_lock);
  int rc = pe_state_begin(e->state, err);
  for (uint32_t i = 0; i < set->nfiles && !rc; i++)
    rc = pe_state_script_put(e->state, set->hash, set->files[i].module, set->files[i].path,
                             set->files[i].text, set->files[i].len, err);
  if (!rc)
    rc = pe_state_script_prune(e->state, 16, err);
  if (!rc)
    rc = pe_state_commit(e->state, err);
  if (rc)
    pe_state_rollback(e->state);
  pthread_mutex_unlock(&e->state_lock);
  return rc;
}

struct files {
  struct pe_script_file *files;
  uint32_t n;
};

static int file_cb(void *arg, const char *module, const char *path, const char *text, size_t len) {
  struct files *f = arg;
  struct pe_script_file *all = realloc(f->files, (f->n + 1) * sizeof(*all));
  if (!all)
    return PE_ENOMEM;
  f->files = all;
  char *copy = malloc(len + 1);
  if (!copy)
    return PE_ENOMEM;
  memcpy(copy, text, len);
  copy[len] = 0;
  all[f->n++] = (struct pe_script_file){strdup(module), strdup(path), copy, len};
  return 0;
}

/* The set that the pending epoch was made with, out of the state store. */
static int load_replay(struct pe_engine *e, struct pe_err *err) {
  int rc = pe_state_epoch_get(e->state, &e->replay, err);
  if (rc <= 0)
    return rc;
  e->replaying = true;
  e->next_epoch = e->replay.id;
  if (strcmp(e->replay.script_hash, pe_script_set_of(e->script)->hash) == 0)
    return 0;
  struct files f = {0};
  struct pe_script_set *set = NULL;
  rc = pe_state_script_each(e->state, e->replay.script_hash, file_cb, &f, err);
  if (rc >= 0)
    rc = pe_script_set_build(f.files, f.n, &set, err);
  for (uint32_t i = 0; i < f.n; i++) {
    free(f.files[i].module);
    free(f.files[i].path);
    free(f.files[i].text);
  }
  free(f.files);
  if (!rc) {
    struct pe_script_env env = pe_script_env_of(e);
    rc = pe_script_create(&env, set, &e->replay_script, err);
    pe_script_set_unref(set);
  }
  return rc ? pe_err_wrap(err, "the scripts %.12s that the pending epoch was made with",
                          e->replay.script_hash)
            : 0;
}

struct load_ctx {
  struct pe_lookup *lookup;
  struct pe_err *err;
};

static int load_cb(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue) {
  struct load_ctx *c = arg;
  return pe_lookup_load(c->lookup, key, nkey, value, nvalue, c->err);
}

/* What is stored no longer fits the column (it was changed in the source): the table is read again.
 */
static int forget_lookup(struct pe_engine *e, struct pe_lookup *l, const char *key,
                         struct pe_err *err) {
  pe_warn("script", "lookup %s: %s; its table is read again", pe_lookup_name(l), err->text);
  int rc = pe_state_begin(e->state, err);
  if (!rc)
    rc = pe_state_kv_clear(e->state, pe_lookup_name(l), err);
  if (!rc)
    rc = pe_state_meta_set(e->state, key, "", err);
  if (!rc)
    rc = pe_state_commit(e->state, err);
  if (rc)
    pe_state_rollback(e->state);
  return rc;
}

static int load_lookups(struct pe_engine *e, struct pe_err *err) {
  for (uint32_t i = 0; i < pe_lookups_count(e->lookups); i++) {
    struct pe_lookup *l = pe_lookups_at(e->lookups, i);
    struct load_ctx c = {l, err};
    char key[256], value[8] = "";
    int rc = pe_state_kv_each(e->state, pe_lookup_name(l), load_cb, &c, err);
    snprintf(key, sizeof(key), "lookup_filled:%.200s", pe_lookup_name(l));
    if (rc == PE_EDATA)
      rc = forget_lookup(e, l, key, err);
    if (rc < 0)
      return pe_err_wrap(err, "lookup %s", pe_lookup_name(l));
    rc = pe_state_meta_get(e->state, key, value, sizeof(value), err);
    if (rc < 0)
      return rc;
    for (uint32_t k = 0; k < e->ntables; k++)
      if (strcmp(e->tables[k].cfg->name, pe_lookup_table(l)->name) == 0) {
        e->tables[k].for_lookup = true;
        e->tables[k].lookup_unfilled |= !value[0];
      }
    pe_lookup_set_filled(l, value[0] != 0);
  }
  return 0;
}

int pe_start_scripts(struct pe_engine *e, struct pe_err *err) {
  e->lookups = pe_lookups_create();
  e->script_tables = calloc(e->ntables + 1, sizeof(*e->script_tables));
  if (!e->lookups || !e->script_tables)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  for (uint32_t i = 0; i < e->ntables; i++) {
    struct pe_etable *t = &e->tables[i];
    e->script_tables[i] = (struct pe_script_table){.table = t->layout,
                                                   .dest = &t->dest->dest,
                                                   .transform = t->cfg->transform,
                                                   .routes = t->routes,
                                                   .nroutes = t->nroutes};
  }
  e->declare_lookups = true;
  struct pe_script_env env = pe_script_env_of(e);
  int rc = pe_script_create(&env, NULL, &e->script, err);
  e->declare_lookups = false;
  if (rc)
    return rc;
  snprintf(e->script_hash, sizeof(e->script_hash), "%s", pe_script_set_of(e->script)->hash);
  if (!e->state)
    return 0; /* check: nothing is kept */
  rc = pe_scripts_record(e, pe_script_set_of(e->script), err);
  if (!rc)
    rc = load_replay(e, err);
  if (!rc)
    rc = load_lookups(e, err);
  if (!rc)
    rc = pe_quarantine_load(e, err);
  return rc < 0 ? rc : 0;
}
