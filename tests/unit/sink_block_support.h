/* Layouts, targets and rows for the tests of blocks, from short descriptions. */
#ifndef SINK_BLOCK_SUPPORT_H
#define SINK_BLOCK_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "sink/block.h"
#include "sink/target_parse.h"

struct fx_column {
  const char *name;
  enum pe_ctype ctype;
  bool nullable;
  uint8_t precision, scale;
  const char *type_text;
  const char *const *members; /* NULL-ended */
  bool extra, excluded;
};

struct fx {
  struct pe_table *layout;
  struct pe_target *target;
  struct pe_dest dest;
  struct pe_plan *plan;
  struct pe_arena arena; /* of rows */
  struct pe_out *outs;
  size_t nouts, cap;
};

static inline struct pe_table *fx_layout(const struct fx_column *cols, size_t n) {
  struct pe_table *t = pe_table_create("src", "t");
  assert_non_null(t);
  for (size_t i = 0; i < n; i++) {
    struct pe_column *c =
        cols[i].extra ? pe_table_add_extra(t, cols[i].name) : pe_table_add(t, cols[i].name);
    assert_non_null(c);
    c->ctype = cols[i].ctype;
    c->nullable = cols[i].nullable;
    c->precision = cols[i].precision;
    c->scale = cols[i].scale;
    c->excluded = cols[i].excluded;
    if (cols[i].type_text) {
      c->type_text = pe_arena_strndup(&t->arena, cols[i].type_text, strlen(cols[i].type_text));
    }
    uint32_t members = 0;
    while (cols[i].members && cols[i].members[members]) {
      members++;
    }
    c->nmembers = members;
    c->members = pe_arena_zalloc(&t->arena, (members + 1) * sizeof(char *), 8);
    for (uint32_t k = 0; k < members; k++) {
      c->members[k] = pe_arena_strndup(&t->arena, cols[i].members[k], strlen(cols[i].members[k]));
    }
  }
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_table_finish(t, &err), 0);
  return t;
}

/* columns: lines as system.columns gives them. */
static inline struct pe_target *fx_target(const char *columns, const char *partition) {
  struct pe_target *t = calloc(1, sizeof(*t));
  struct pe_err err = PE_ERR_INIT;
  pe_arena_init(&t->arena, 4096);
  t->db = pe_arena_strndup(&t->arena, "dst", 3);
  t->name = pe_arena_strndup(&t->arena, "t", 1);
  t->server_utc = t->wide_dates = true;
  char *tsv = strdup(columns);
  assert_int_equal(pe_target_parse_columns(t, tsv, &err), 0);
  free(tsv);
  pe_target_parse_partition(t, partition);
  return t;
}

static inline void fx_open(struct fx *f, const struct fx_column *cols, size_t n,
                           const char *columns, const char *partition,
                           const struct pe_plan_opts *o) {
  static const struct pe_plan_opts none = {0};
  memset(f, 0, sizeof(*f));
  pe_arena_init(&f->arena, 0);
  f->layout = fx_layout(cols, n);
  f->target = fx_target(columns, partition);
  f->dest.name = f->target->name;
  f->dest.layout = f->layout;
  struct pe_err err = PE_ERR_INIT;
  if (pe_plan_create(&f->dest, f->target, o ? o : &none, &f->plan, &err)) {
    fail_msg("%s", err.text);
  }
}

static inline void fx_close(struct fx *f) {
  pe_plan_destroy(f->plan);
  pe_target_destroy(f->target);
  pe_table_unref(f->layout);
  pe_arena_close(&f->arena);
  free(f->outs);
}

/* A row of zeros, without a NULL, with the next version. */
static inline uint8_t *fx_row(struct fx *f) {
  if (f->nouts == f->cap) {
    f->cap = f->cap ? f->cap * 2 : 16;
    f->outs = realloc(f->outs, f->cap * sizeof(*f->outs));
    assert_non_null(f->outs);
  }
  uint8_t *row = pe_arena_zalloc(&f->arena, f->layout->row_bytes, 16);
  assert_non_null(row);
  f->outs[f->nouts] = (struct pe_out){.row = row, .dest = &f->dest, .version = f->nouts + 1};
  f->nouts++;
  return row;
}

static inline void fx_set(struct fx *f, uint8_t *row, uint32_t col, const void *p, size_t n) {
  memcpy(row + f->layout->columns[col].offset, p, n);
}

#define FX_SET(f, row, col, type, value)      \
  do {                                        \
    type fx_v = (value);                      \
    fx_set(f, row, col, &fx_v, sizeof(fx_v)); \
  } while (0)

static inline void fx_str(struct fx *f, uint8_t *row, uint32_t col, const void *p, size_t n) {
  struct pe_str s = {.len = (uint32_t)n};
  s.p = pe_arena_strndup(&f->arena, p, n);
  fx_set(f, row, col, &s, sizeof(s));
}

static inline struct pe_block *fx_block(struct fx *f) {
  struct pe_block *b = pe_block_create(f->plan);
  uint32_t *idx = malloc((f->nouts + 1) * sizeof(*idx));
  assert_non_null(b);
  for (size_t i = 0; i < f->nouts; i++) {
    idx[i] = (uint32_t)i;
  }
  assert_int_equal(pe_block_append(b, f->outs, idx, f->nouts), 0);
  free(idx);
  return b;
}

/* All pieces in a row. */
static inline void fx_bytes(struct pe_block *b, struct pe_buf *out) {
  const struct pe_iov *iov;
  size_t n;
  pe_buf_init(out);
  assert_int_equal(pe_block_iov(b, &iov, &n), 0);
  for (size_t i = 0; i < n; i++) {
    pe_buf_put(out, iov[i].p, iov[i].n);
  }
  assert_true(pe_buf_ok(out));
  assert_int_equal(out->len, pe_block_bytes(b));
}

#define FX_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
