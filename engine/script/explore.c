/* T(before) with every value that its lookups have had. A run of the transform is a path through
 * choices: at the first read of a lookup key with a past it takes today's value, or what the path
 * says. After a run the last choice with something left to try is moved on; those behind it are
 * made anew, since another value may lead the script elsewhere. This is depth-first search, so
 * every combination that the script can tell apart is run once. owner: the script thread. */
#include <string.h>

#include "script/internal.h"

enum { ROW_ALIGN = 16 };

static int no_memory(struct pe_err *err) {
  return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a row's past");
}

/* The next path into ctl->path; false: all have been walked. */
static bool next_path(struct pe_ctl *c) {
  uint32_t n = c->nchoices;
  while (n > 0 && c->choices[n - 1].option + 1 >= c->choices[n - 1].noptions) {
    n--;
  }
  if (!n) {
    return false;
  }
  for (uint32_t i = 0; i < n; i++) {
    c->path[i] = c->choices[i].option;
  }
  c->path[n - 1]++;
  c->path_len = n;
  return true;
}

static int take_results(struct pe_run *r, const uint8_t *row, uint32_t change, size_t first,
                        uint64_t version) {
  const struct pe_results *res = &r->script->single;
  if (res->kind[0] == PE_K_SELF) {
    return pe_run_tombstone(r, first, row, r->table->dest, version, change);
  }
  for (uint32_t j = 0; res->kind[0] == PE_K_MANY && j < res->count[0]; j++) {
    const struct pe_extra *x = &res->extras[res->aux[0] + j];
    if (pe_run_tombstone(r, first, x->row, pe_run_dest(r, x->dest), version, change)) {
      return PE_ENOMEM;
    }
  }
  return 0;
}

int pe_explore(struct pe_run *r, const uint8_t *image, uint32_t change, size_t first,
               struct pe_fail *fail, struct pe_err *err) {
  struct pe_script *s = r->script;
  struct pe_ctl *c = &s->ctl;
  size_t row_bytes = r->seg->table->row_bytes;
  size_t at = (size_t)change * (r->seg->op == PE_OP_UPDATE ? 2 : 1);
  uint64_t version = r->seg->meta[at].version;
  struct pe_fail first_fail = {0};
  uint32_t good = 0, runs = 0;
  c->path_len = 0;
  do {
    if (runs++ == PE_SCRIPT_VARIANTS_MAX) {
      *fail = (struct pe_fail){.reason =
                                   "the lookups of this row have had too many values: more "
                                   "than 64 combinations may have been written"};
      return 0;
    }
    uint8_t *row = pe_arena_alloc(&r->out->scratch, row_bytes, ROW_ALIGN);
    if (!row) {
      return no_memory(err);
    }
    memcpy(row, image, row_bytes);
    c->nchoices = 0;
    c->too_many = false;
    struct pe_pass p = {.base = row,
                        .stride = (uint32_t)row_bytes,
                        .before = image,
                        .before_stride = (uint32_t)row_bytes,
                        .meta = r->seg->meta + at,
                        .n = 1,
                        .op = r->seg->op,
                        .is_before = true};
    int rc = pe_pass_run(s, r->version, &p, PE_TRACK_EXPLORE, &s->single, err);
    if (rc) {
      return rc;
    }
    if (c->too_many) {
      *fail = (struct pe_fail){.reason =
                                   "the transform read too many lookup keys that have had "
                                   "other values"};
      return 0;
    }
    if (s->single.kind[0] != PE_K_ERROR) {
      good++;
    } else if (!first_fail.reason) {
      first_fail = s->single.fails[s->single.aux[0]];
    }
    if (take_results(r, row, change, first, version)) {
      return no_memory(err);
    }
  } while (next_path(c));
  /* A value with which the script fails is one that no row in the target was written with; only
   * where it fails with all of them the change can't be understood. */
  if (!good) {
    *fail = first_fail;
  }
  return 0;
}
