/* What the files of this room share.
 *
 * script.c      create, destroy, the tables a script set is run for
 * set.c         script sets: texts, hash
 * host.c        the Lua state: allocator, loading of modules, what Lua asks of C while it loads
 * bridge.c      the functions that running scripts reach through the FFI
 * convert.c     text and numbers into column values, exactly or not at all
 * pass.c        one image after the other through a transform
 * run.c         both images of a change: outs, tombstones, the DLQ
 * explore.c     a before image with every value its lookups have had
 * cut.c         values out of messages
 * owner: the script thread, once the script runs. */
#ifndef PE_SCRIPT_INTERNAL_H
#define PE_SCRIPT_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/sha256.h"
#include "script/lookup_internal.h"
#include "script/script.h"

enum {
  PE_SCRIPT_MEMORY_DEFAULT = 256 * 1024 * 1024,
  PE_SCRIPT_OUTS_MAX = 10000,  /* rows out of one row in */
  PE_SCRIPT_VARIANTS_MAX = 64, /* combinations of past lookup values tried for one before image */
  PE_SCRIPT_CHOICES_MAX = 16,  /* lookup keys with a past that one run may read */
  PE_SCRIPT_MARKS_MAX = 1024,  /* different DLQ reasons kept; later ones share one */
  PE_SCRIPT_REASON_MAX = 512,
  PE_SCRIPT_COUNTERS_MAX = 256,
  PE_SCRIPT_TOKENS_MAX = 256,
  PE_SCRIPT_LOGS_PER_S = 10,
  PE_SCRIPT_MODULES_MAX = 1024,
  PE_SCRIPT_FILE_BYTES_MAX = 4 * 1024 * 1024,
};

/* Set entry that says which table uses which transform, one "table=module" a line. */
#define PE_SCRIPT_TABLES_MODULE "=tables"

enum pe_kind { PE_K_DROP, PE_K_SELF, PE_K_MANY, PE_K_DLQ, PE_K_ERROR };

struct pe_extra {
  uint8_t *row;
  uint32_t dest; /* 0: the table's own, i: its route i-1 */
};
struct pe_fail {
  const char *reason, *column, *traceback; /* in the scratch arena, or static */
};

/* What a pass gave, by image of the pass. */
struct pe_results {
  uint8_t *kind;   /* enum pe_kind */
  uint8_t *noted;  /* bit 0: it read a lookup key with a past; bit 1: a get found nothing */
  uint32_t *aux;   /* DLQ mark, first extra, or failure */
  uint32_t *count; /* extras */
  uint32_t cap;
  struct pe_extra *extras;
  uint32_t nextras, extras_cap;
  struct pe_fail *fails;
  uint32_t nfails, fails_cap;
};

enum pe_track {
  PE_TRACK_NONE,
  PE_TRACK_NOTE,   /* note images that read a key with a past */
  PE_TRACK_EXPLORE /* answer with the value that the path says */
};

struct pe_choice {
  const struct pe_lookup *lookup;
  const struct pe_entry *entry;
  uint32_t option, noptions; /* 0 is today's value */
};

/* Shared with Lua (lua/pipe/host/boot.lua declares the part above the line the same way). */
struct pe_ctl {
  uint8_t *base;
  const uint8_t *before; /* pristine before images, NULL: the change has none */
  const struct pe_image_meta *meta;
  uint8_t *kind;
  uint32_t stride, before_stride, meta_step;
  uint32_t n, i;
  uint32_t op, is_before;
  uint32_t gen;      /* of the run: entries of lookups from an earlier one are refused */
  uint32_t text_len; /* of the last text given to Lua */
  uint32_t unused;
  /* ---- C only ---- */
  struct pe_script *script;
  struct pe_results *res;
  struct pe_arena *scratch;
  enum pe_track track;
  struct pe_choice choices[PE_SCRIPT_CHOICES_MAX];
  uint32_t nchoices, path_len;
  uint32_t path[PE_SCRIPT_CHOICES_MAX];
  bool too_many;
  struct pe_buf text;
  struct pe_buf key;
  const struct pe_lookup *key_lookup;
};

struct pe_rtable { /* one version of a table with a transform */
  struct pe_rtable *next;
  struct pe_table *table; /* a reference */
  int run_ref;            /* the loop over its images, in the Lua registry */
  int park_ref;           /* takes its boxes off the rows when a run ends */
};

struct pe_stable { /* a table of the pipeline */
  char *db, *name;
  char *transform; /* NULL: identity */
  struct pe_dest *dest;
  struct pe_dest **routes;
  uint32_t nroutes;
  struct pe_table *table; /* newest version, a reference */
  struct pe_rtable *versions;
};

struct pe_mark {
  char *reason, *column;
};
struct pe_counter {
  double value;
  char *name;
};
struct pe_token;

struct pe_script {
  struct pe_script_env env; /* pointers inside are copies */
  char *root, *lua_dir;
  struct pe_stable *tables;
  uint32_t ntables;
  struct pe_script_set *set;
  lua_State *L;
  size_t memory, memory_max;
  struct pe_ctl ctl;
  struct pe_results after, before, single;
  uint8_t *pristine;
  size_t pristine_cap;
  struct pe_mark *marks;
  uint32_t nmarks, marks_cap;
  struct pe_counter *counters[PE_SCRIPT_COUNTERS_MAX];
  uint32_t ncounters;
  struct pe_token *tokens[PE_SCRIPT_TOKENS_MAX];
  uint32_t ntokens;
  /* texts loaded while the set is being made */
  struct pe_script_file *files;
  uint32_t nfiles, files_cap;
  struct pe_err load_err; /* why a module can't be had, with its code */
  /* the last failure, filled by the message handler */
  char fail_reason[PE_SCRIPT_REASON_MAX];
  struct pe_buf fail_traceback;
  int64_t log_second;
  uint32_t log_count;
};

/* set.c */
int pe_script_set_from(struct pe_script_file *files, uint32_t n, struct pe_script_set **out,
                       struct pe_err *err);
const struct pe_script_file *pe_script_set_file(const struct pe_script_set *s, const char *module);

/* host.c */
int pe_host_open(struct pe_script *s, struct pe_err *err); /* state, modules, all table versions */
void pe_host_close(struct pe_script *s);
int pe_host_bind(struct pe_script *s, struct pe_stable *t, struct pe_rtable *v, struct pe_err *err);
int pe_host_message(lua_State *L); /* lua_pcall's handler: fills fail_* */

/* module.c */
/* The text of a module, from the set (a replay) or from its file, which then joins the set. */
int pe_module_text(struct pe_script *s, const char *module, const struct pe_script_file **out,
                   struct pe_err *err);
int pe_module_add(struct pe_script *s, const char *module, const char *path, char *text, size_t len,
                  struct pe_err *err);

/* bridge.c */
void pe_bridge_push(lua_State *L); /* a table name -> address of what the FFI calls */

/* cut.c */
/* `text` as far as it is written in the scripts themselves: what a script built out of values at
 * run time is cut off. */
void pe_script_cut(const struct pe_script *s, const char *text, size_t n, char *out, size_t cap);
/* The same for an error message: what the Lua machine says passes. */
void pe_script_cut_error(const struct pe_script *s, const char *text, size_t n, bool ours,
                         char *out, size_t cap);

/* pass.c */
int pe_results_reserve(struct pe_results *r, uint32_t n);
void pe_results_close(struct pe_results *r);
struct pe_pass {
  uint8_t *base;
  const uint8_t *before;
  const struct pe_image_meta *meta;
  uint32_t stride, before_stride, meta_step, n;
  enum pe_op op;
  bool is_before;
};
/* PE_ENOMEM only. */
int pe_pass_run(struct pe_script *s, const struct pe_rtable *v, const struct pe_pass *p,
                enum pe_track track, struct pe_results *r, struct pe_err *err);

/* script.c: the table that a segment's rows belong to, and its transform for that version (bound
 * now if it is a new one; NULL: identity) */
int pe_script_find(struct pe_script *s, struct pe_table *t, struct pe_stable **table,
                   struct pe_rtable **version, struct pe_err *err);

/* run.c, explore.c */
struct pe_run {
  struct pe_script *script;
  struct pe_stable *table;
  struct pe_rtable *version; /* NULL: identity */
  struct pe_segment *seg;
  uint32_t from, n;
  const struct pe_run_hooks *hooks;
  struct pe_outputs *out;
  const uint8_t *pristine; /* images of changes [from, from+n) as they came; NULL: identity */
};
struct pe_dest *pe_run_dest(const struct pe_run *r, uint32_t dest);
/* Adds a tombstone unless the change has given (dest, key) already: since outs[first]. */
int pe_run_tombstone(struct pe_run *r, size_t first, const uint8_t *row, struct pe_dest *dest,
                     uint64_t version, uint32_t change);
/* T of a pristine before image with every combination of what its lookups have been; tombstones of
 * all. fail->reason is set when the change has to go to the DLQ. */
int pe_explore(struct pe_run *r, const uint8_t *image, uint32_t change, size_t first,
               struct pe_fail *fail, struct pe_err *err);

#endif
