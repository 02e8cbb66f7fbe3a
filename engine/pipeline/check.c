/* Commands that need no running engine: check, and the note that a resync leaves for the next
 * start. */
#include <stdlib.h>

#include "base/log.h"
#include "pipeline/internal.h"

int pe_engine_resync_request(struct pe_config *cfg, const char *const *tables, uint32_t n,
                             struct pe_err *err) {
  struct pe_state *s = NULL;
  struct pe_buf list;
  pe_buf_init(&list);
  for (uint32_t i = 0; i < n; i++) {
    const char **names = calloc(cfg->ntables + 1, sizeof(*names));
    bool known = false;
    for (uint32_t k = 0; names && k < cfg->ntables; k++) {
      names[k] = cfg->tables[k].name;
      known |= strcmp(names[k], tables[i]) == 0;
    }
    const char *near = names && !known ? pe_str_nearest(tables[i], names, cfg->ntables) : NULL;
    if (!known)
      pe_err_set(err, PE_EUSAGE, PE_CLASS_FATAL, "%s has no table \"%s\"%s%s%s", cfg->file,
                 tables[i], near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    free(names);
    if (!known) {
      pe_buf_close(&list);
      return PE_EUSAGE;
    }
    pe_buf_printf(&list, "%s%s", i ? "," : "", tables[i]);
  }
  if (!n)
    pe_buf_puts(&list, "*");
  int rc = pe_state_open(cfg->state_dir, cfg->name, false, &s, err);
  if (!rc)
    rc = pe_state_begin(s, err);
  if (!rc)
    rc = pe_state_meta_set(s, "resync", pe_buf_cstr(&list), err);
  if (!rc)
    rc = pe_state_commit(s, err);
  if (s)
    pe_state_close(s);
  pe_buf_close(&list);
  return rc;
}

static void describe(struct pe_engine *e, struct pe_buf *out) {
  uint32_t transforms = 0;
  for (uint32_t i = 0; i < e->ntables; i++)
    transforms += e->tables[i].cfg->transform != NULL;
  uint32_t lookups = pe_lookups_count(e->lookups);
  pe_buf_printf(out, "ok: %u table%s, %u transform%s, %u lookup%s\n", e->ntables,
                e->ntables == 1 ? "" : "s", transforms, transforms == 1 ? "" : "s", lookups,
                lookups == 1 ? "" : "s");
}

/* Builds everything that a start would, without threads and without writing a state store. */
int pe_engine_check(struct pe_config *cfg, const char *lua_dir, bool offline, struct pe_buf *out,
                    struct pe_err *err) {
  if (offline) {
    pe_buf_printf(out, "ok: %s is a valid pipeline with %u tables (servers not asked)\n", cfg->file,
                  cfg->ntables);
    return 0;
  }
  struct pe_engine *e = calloc(1, sizeof(*e));
  if (!e)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  e->cfg = cfg;
  e->lua_dir = strdup(lua_dir);
  int rc = pe_engine_check_start(e, err);
  if (!rc)
    describe(e, out);
  pe_engine_destroy(e);
  return rc;
}
