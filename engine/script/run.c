/* Both images of every change: what is sent, what is taken away, what goes to the DLQ. The rules
 * stand in script.h. The images of a run go through the transform in one or two passes; then the
 * changes are settled one after the other, in order, because a change in the DLQ decides what a
 * later one of the same row takes away. owner: the script thread. Fails with PE_ENOMEM only, and
 * with the error of a transform that a new table version can't be bound to. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "script/internal.h"

enum { ROW_ALIGN = 16 };

static int no_memory(struct pe_err *err) {
  return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the rows of a script");
}

static uint32_t images_per_change(const struct pe_run *r) {
  return r->seg->op == PE_OP_UPDATE ? 2 : 1;
}

static const uint8_t *pristine_of(const struct pe_run *r, uint32_t change, uint32_t image) {
  size_t row_bytes = r->seg->table->row_bytes;
  uint32_t per = images_per_change(r);
  if (r->pristine) {
    return r->pristine + ((size_t)(change - r->from) * per + image) * row_bytes;
  }
  return r->seg->rows + ((size_t)change * per + image) * row_bytes;
}

static uint8_t *image_of(const struct pe_run *r, uint32_t change, uint32_t image) {
  return r->seg->rows + ((size_t)change * images_per_change(r) + image) * r->seg->table->row_bytes;
}

struct pe_dest *pe_run_dest(const struct pe_run *r, uint32_t dest) {
  PE_ASSERT(dest <= r->table->nroutes);
  return dest ? r->table->routes[dest - 1] : r->table->dest;
}

static int add_row(struct pe_run *r, const uint8_t *row, struct pe_dest *dest, uint32_t change,
                   uint64_t version, bool deleted) {
  struct pe_out o = {
      .row = row, .dest = dest, .version = version, .deleted = deleted, .change = change};
  return pe_outputs_add(r->out, &o);
}

int pe_run_tombstone(struct pe_run *r, size_t first, const uint8_t *row, struct pe_dest *dest,
                     uint64_t version, uint32_t change) {
  for (size_t i = first; i < r->out->nouts; i++) {
    const struct pe_out *o = &r->out->outs[i];
    if (o->dest == dest && pe_rows_equal(dest->layout, o->row, row, dest->key, dest->nkey)) {
      return 0;
    }
  }
  return add_row(r, row, dest, change, version, true);
}

/* ---- the DLQ ---- */

static const uint8_t *keep_row(struct pe_run *r, const uint8_t *row) {
  size_t n = r->seg->table->row_bytes;
  uint8_t *to = pe_arena_alloc(&r->out->scratch, n, ROW_ALIGN);
  if (to) {
    memcpy(to, row, n);
  }
  return to;
}

static int add_dead(struct pe_run *r, uint32_t change, const struct pe_fail *f,
                    const uint8_t *last_good, struct pe_err *err) {
  uint32_t per = images_per_change(r);
  struct pe_dead d = {.table = r->seg->table,
                      .row = keep_row(r, pristine_of(r, change, per - 1)),
                      .op = r->seg->op,
                      .meta = r->seg->meta[(size_t)change * per + per - 1],
                      .reason = f->reason,
                      .column = f->column,
                      .traceback = f->traceback,
                      .change = change};
  if (per == 2) {
    d.last_good = last_good ? last_good : keep_row(r, pristine_of(r, change, 0));
  }
  if (!d.row || (per == 2 && !d.last_good) || pe_outputs_add_dead(r->out, &d)) {
    return no_memory(err);
  }
  r->out->changes_dlq++;
  if (r->hooks && r->hooks->dead) {
    r->hooks->dead(r->hooks->arg, &d, r->seg->op == PE_OP_DELETE ? NULL : d.row);
  }
  return 0;
}

static struct pe_fail fail_of(const struct pe_run *r, const struct pe_results *res, uint32_t i) {
  if (res->kind[i] == PE_K_ERROR) {
    return res->fails[res->aux[i]];
  }
  const struct pe_mark *m = &r->script->marks[res->aux[i]];
  struct pe_arena *a = &r->out->scratch;
  struct pe_fail f = {.reason = pe_arena_strndup(a, m->reason, strlen(m->reason))};
  f.column = m->column ? pe_arena_strndup(a, m->column, strlen(m->column)) : NULL;
  if (!f.reason) {
    f.reason = "quarantined by the transform";
  }
  return f;
}

static bool is_dead(uint8_t kind) {
  return kind == PE_K_DLQ || kind == PE_K_ERROR;
}

/* ---- settling ---- */

static void count(struct pe_run *r, size_t first) {
  if (r->out->nouts > first) {
    r->out->changes_out++;
  } else {
    r->out->changes_filtered++;
  }
}

static int add_after(struct pe_run *r, const struct pe_results *res, uint32_t i, uint32_t change,
                     const uint8_t *row, uint64_t version) {
  if (res->kind[i] == PE_K_SELF) {
    return add_row(r, row, r->table->dest, change, version, false);
  }
  if (res->kind[i] != PE_K_MANY) {
    return 0;
  }
  for (uint32_t j = 0; j < res->count[i]; j++) {
    const struct pe_extra *x = &res->extras[res->aux[i] + j];
    if (add_row(r, x->row, pe_run_dest(r, x->dest), change, version, false)) {
      return PE_ENOMEM;
    }
  }
  return 0;
}

static int add_before(struct pe_run *r, const struct pe_results *res, uint32_t i, uint32_t change,
                      size_t first, const uint8_t *row, uint64_t version) {
  if (res->kind[i] == PE_K_SELF) {
    return pe_run_tombstone(r, first, row, r->table->dest, version, change);
  }
  if (res->kind[i] != PE_K_MANY) {
    return 0;
  }
  for (uint32_t j = 0; j < res->count[i]; j++) {
    const struct pe_extra *x = &res->extras[res->aux[i] + j];
    if (pe_run_tombstone(r, first, x->row, pe_run_dest(r, x->dest), version, change)) {
      return PE_ENOMEM;
    }
  }
  return 0;
}

static const uint8_t *last_good_of(struct pe_run *r, uint32_t change) {
  if (!r->hooks || !r->hooks->last_good) {
    return NULL;
  }
  return r->hooks->last_good(r->hooks->arg, r->seg->table, pristine_of(r, change, 0),
                             &r->out->scratch);
}

/* Takes away what the rows of this change were written as. Adds to outs[first..]; sets *fail when
 * the change has to go to the DLQ instead. res: T(before) of the pass, NULL for an identity. */
static int take_away(struct pe_run *r, const struct pe_results *res, uint32_t change, size_t first,
                     const uint8_t *last_good, struct pe_fail *fail, struct pe_err *err) {
  uint32_t i = change - r->from;
  uint64_t version = r->seg->meta[(size_t)change * images_per_change(r)].version;
  fail->reason = NULL;
  if (!res) {
    const uint8_t *row = last_good ? last_good : image_of(r, change, 0);
    return pe_run_tombstone(r, first, row, r->table->dest, version, change) ? no_memory(err) : 0;
  }
  if (last_good || (res->noted[i] & 1)) {
    return pe_explore(r, last_good ? last_good : pristine_of(r, change, 0), change, first, fail,
                      err);
  }
  if (res->kind[i] == PE_K_ERROR) {
    *fail = fail_of(r, res, i);
    return 0;
  }
  uint8_t *row = image_of(r, change, 0);
  return add_before(r, res, i, change, first, row, version) ? no_memory(err) : 0;
}

static int settle_inserts(struct pe_run *r, const struct pe_results *after, struct pe_err *err) {
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t change = r->from + i;
    if (after && is_dead(after->kind[i])) {
      struct pe_fail f = fail_of(r, after, i);
      int rc = add_dead(r, change, &f, NULL, err);
      if (rc) {
        return rc;
      }
      continue;
    }
    size_t first = r->out->nouts;
    const uint8_t *row = image_of(r, change, 0);
    uint64_t version = r->seg->meta[change].version;
    int rc = after ? add_after(r, after, i, change, row, version)
                   : add_row(r, row, r->table->dest, change, version, false);
    if (rc) {
      return no_memory(err);
    }
    count(r, first);
  }
  return 0;
}

static int settle_update(struct pe_run *r, const struct pe_results *after,
                         const struct pe_results *before, uint32_t i, struct pe_err *err) {
  uint32_t change = r->from + i;
  size_t first = r->out->nouts;
  const uint8_t *last_good = last_good_of(r, change);
  if (after && is_dead(after->kind[i])) {
    struct pe_fail f = fail_of(r, after, i);
    return add_dead(r, change, &f, last_good, err);
  }
  const uint8_t *row = image_of(r, change, 1);
  uint64_t version = r->seg->meta[(size_t)change * 2 + 1].version;
  int rc = after ? add_after(r, after, i, change, row, version)
                 : add_row(r, row, r->table->dest, change, version, false);
  if (rc) {
    return no_memory(err);
  }
  struct pe_fail fail;
  rc = take_away(r, before, change, first, last_good, &fail, err);
  if (rc) {
    return rc;
  }
  /* T(before) in error: such a row went to the DLQ when it came, so nothing of it is in the target;
   * and the change that mends it has to arrive. */
  count(r, first);
  return 0;
}

static int settle_deletes(struct pe_run *r, const struct pe_results *before, struct pe_err *err) {
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t change = r->from + i;
    size_t first = r->out->nouts;
    struct pe_fail fail;
    const uint8_t *last_good = last_good_of(r, change);
    int rc = take_away(r, before, change, first, last_good, &fail, err);
    if (!rc && fail.reason) {
      r->out->nouts = first;
      rc = add_dead(r, change, &fail, last_good, err);
    } else {
      count(r, first);
    }
    if (rc) {
      return rc;
    }
  }
  return 0;
}

static int settle(struct pe_run *r, const struct pe_results *after, const struct pe_results *before,
                  struct pe_err *err) {
  switch (r->seg->op) {
    case PE_OP_INSERT:
    case PE_OP_SNAPSHOT:
      return settle_inserts(r, after, err);
    case PE_OP_DELETE:
      return settle_deletes(r, before, err);
    case PE_OP_UPDATE:
      break;
  }
  for (uint32_t i = 0; i < r->n; i++) {
    int rc = settle_update(r, after, before, i, err);
    if (rc) {
      return rc;
    }
  }
  return 0;
}

/* ---- passes ---- */

static int copy_pristine(struct pe_run *r, struct pe_err *err) {
  struct pe_script *s = r->script;
  size_t n = (size_t)r->n * images_per_change(r) * r->seg->table->row_bytes;
  if (n > s->pristine_cap) {
    free(s->pristine);
    s->pristine = malloc(n);
    s->pristine_cap = s->pristine ? n : 0;
    if (!s->pristine) {
      return no_memory(err);
    }
  }
  memcpy(s->pristine, image_of(r, r->from, 0), n);
  r->pristine = s->pristine;
  return 0;
}

static int pass(struct pe_run *r, bool before, struct pe_results *res, struct pe_err *err) {
  uint32_t per = images_per_change(r);
  uint32_t row_bytes = r->seg->table->row_bytes;
  uint32_t image = before ? 0 : per - 1;
  bool has_before = r->seg->op == PE_OP_UPDATE || r->seg->op == PE_OP_DELETE;
  struct pe_pass p = {.base = image_of(r, r->from, image),
                      .stride = per * row_bytes,
                      .before = has_before ? r->pristine : NULL,
                      .before_stride = per * row_bytes,
                      .meta = r->seg->meta + (size_t)r->from * per + image,
                      .meta_step = per,
                      .n = r->n,
                      .op = r->seg->op,
                      .is_before = before};
  return pe_pass_run(r->script, r->version, &p, before ? PE_TRACK_NOTE : PE_TRACK_NONE, res, err);
}

/* Rows were written although a lookup had nothing to say: from now on "nothing" is one of the
 * values that a past row may have been written with. */
static void note_misses(struct pe_run *r, const struct pe_results *after) {
  struct pe_lookups *ls = r->script->env.lookups;
  bool any = false;
  for (uint32_t i = 0; i < r->n && ls; i++) {
    any = any || ((after->noted[i] & 2) && !is_dead(after->kind[i]) && after->kind[i] != PE_K_DROP);
  }
  for (uint32_t i = 0; ls && i < ls->n; i++) {
    struct pe_lookup *l = ls->items[i];
    if (any && l->missed_now) {
      l->miss_emitted = l->miss_dirty = true;
    }
    l->missed_now = false;
  }
}

static int run_transform(struct pe_run *r, struct pe_err *err) {
  struct pe_script *s = r->script;
  int rc = copy_pristine(r, err);
  bool has_after = r->seg->op != PE_OP_DELETE;
  bool has_before = r->seg->op == PE_OP_UPDATE || r->seg->op == PE_OP_DELETE;
  if (!rc && has_after) {
    rc = pass(r, false, &s->after, err);
    if (!rc) {
      note_misses(r, &s->after);
    }
  }
  if (!rc && has_before) {
    rc = pass(r, true, &s->before, err);
  }
  return rc ? rc : settle(r, has_after ? &s->after : NULL, has_before ? &s->before : NULL, err);
}

int pe_script_run(struct pe_script *s, struct pe_segment *seg, uint32_t from, uint32_t n,
                  const struct pe_run_hooks *hooks, struct pe_outputs *out, struct pe_err *err) {
  struct pe_run r = {.script = s, .seg = seg, .from = from, .n = n, .hooks = hooks, .out = out};
  if (!n) {
    return 0;
  }
  int rc = pe_script_find(s, seg->table, &r.table, &r.version, err);
  if (rc) {
    return rc;
  }
  out->changes_in += n;
  s->ctl.scratch = &out->scratch;
  return r.version ? run_transform(&r, err) : settle(&r, NULL, NULL, err);
}
