/* The user's transforms: a Lua state with a script set loaded, run over segments.
 *
 * A transform is a function from a row to rows; the engine applies it to both images of a change:
 *   INSERT, SNAPSHOT: T(after) is sent.   DELETE: T(before) is sent as tombstones.
 *   UPDATE: T(after) is sent, and of T(before) everything whose (dest, key) is not in T(after) as
 * tombstones. Tombstones carry the version of the before image, rows that of the after image.
 * T(after) in error, or quarantined: the change goes to the DLQ and the target keeps the last good
 * rows (no tombstone). T(after) dropped: T(before) is tombstoned. T(before) dropped or quarantined:
 * nothing to take away. T(before) in error: of an UPDATE, nothing to take away (such a row went to
 * the DLQ when it came); of a DELETE, the change goes to the DLQ. Where T(before) read a lookup
 * whose key has had other values, it is run once for each of them (a tombstone for a row that isn't
 * there is harmless; a row left behind is not): see lookup.h. A table without a transform passes
 * through: T is the identity. owner: the script thread. A failing script never stops the stream;
 * only PE_ENOMEM does.
 */
#ifndef PE_SCRIPT_SCRIPT_H
#define PE_SCRIPT_SCRIPT_H

#include "base/buf.h"
#include "base/err.h"
#include "model/batch.h"
#include "model/output.h"
#include "script/lookup.h"

/* ---- script sets: the text of every module a pipeline's transforms loaded, by which an epoch can
 * be replayed */
struct pe_script_file {
  char *module; /* "transforms.orders" */
  char *path;   /* for messages, relative to the project root */
  char *text;
  size_t len;
};
struct pe_script_set {
  struct pe_script_file *files;
  uint32_t nfiles;
  char hash[65]; /* SHA-256 over the modules, their texts and which table uses which */
  uint32_t refs;
};
struct pe_script_set *pe_script_set_ref(struct pe_script_set *s);
void pe_script_set_unref(struct pe_script_set *s);
/* A set out of stored texts (state store), hash recomputed. */
int pe_script_set_build(const struct pe_script_file *files, uint32_t n, struct pe_script_set **out,
                        struct pe_err *err);

struct pe_script_table {
  struct pe_table *table;  /* captured layout */
  struct pe_dest *dest;    /* its own dest */
  const char *transform;   /* module name, NULL: identity */
  struct pe_dest **routes; /* dests that its transform may emit to beside its own */
  uint32_t nroutes;
};

struct pe_script_env {
  const char *
      root; /* project folder: modules are found below it (root/transforms/x.lua, root/lua/?.lua) */
  const char *lua_dir; /* the engine's own lua/ folder, where pipe/ lives */
  const struct pe_script_table *tables;
  uint32_t ntables;
  struct pe_lookups *lookups; /* shared with the run; a script names the ones it uses */
  bool declare_only; /* check: lookups that a script asks for are created in `lookups` (unfilled) */
  /* A secret by name (pipe.secret "PII_KEY"): NULL when it isn't set. The value never reaches a
   * message. */
  const char *(*secret)(void *arg, const char *name);
  void *secret_arg;
  size_t memory_max; /* bytes for the Lua state; 0: 256 MiB */
};

struct pe_script;
/* set: the texts to run (a replay), or NULL to read the files now. Codes: PE_ESCRIPT with
 * file:line, PE_ECONFIG. */
int pe_script_create(const struct pe_script_env *env, struct pe_script_set *set,
                     struct pe_script **out, struct pe_err *err);
void pe_script_destroy(struct pe_script *s);
struct pe_script_set *pe_script_set_of(const struct pe_script *s); /* borrowed */

/* Runs changes [from, from + n) of a segment (changes, not images). Adds to out. The images are
 * changed in place. `last_good(arg, image)`: for a change whose row is quarantined in the target,
 * the image that its rows in the target were made from (used in place of the before image), else
 * NULL; may itself be NULL. */
struct pe_run_hooks {
  /* Called at once for every change that goes to the DLQ (besides being added to out), so that
   * `last_good` knows of it when a later change of the same run touches the same row. `after`: the
   * pristine after image (NULL for a DELETE). */
  void (*dead)(void *arg, const struct pe_dead *d, const uint8_t *after);
  const uint8_t *(*last_good)(void *arg, struct pe_table *t, const uint8_t *before,
                              struct pe_arena *scratch);
  void *arg;
};
int pe_script_run(struct pe_script *s, struct pe_segment *seg, uint32_t from, uint32_t n,
                  const struct pe_run_hooks *hooks, struct pe_outputs *out, struct pe_err *err);

/* A version of a captured table changed (ALTER in the source): new accessors; PE_ESCRIPT if a
 * transform fails to load. */
int pe_script_table_changed(struct pe_script *s, const struct pe_script_table *t,
                            struct pe_err *err);

/* counters and gauges that scripts set (pipe.counter "name"): "name" -> value. For metrics. */
void pe_script_each_counter(const struct pe_script *s,
                            void (*cb)(void *arg, const char *name, double value), void *arg);

#endif
