/* Binlog files of real servers (MariaDB 10.11, MySQL 9.7) as test input, and a stream that is fed
 * with their events. The statements behind them stand in source_binlog_stream_test.c. */
#ifndef PE_TEST_SOURCE_BINLOG_SUPPORT_H
#define PE_TEST_SOURCE_BINLOG_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "source/binlog_stream.h"

enum { LOG_BYTES_MAX = 8192, EVENTS_MAX = 128, LINES_MAX = 256, LINE_BYTES = 512 };

struct log { /* a binlog file, cut into events */
  uint8_t bytes[LOG_BYTES_MAX];
  size_t n;
  unsigned nevents;
  size_t at[EVENTS_MAX + 1];
};

static inline uint32_t get32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

static inline void put32(uint8_t *p, uint32_t v) {
  memcpy(p, &v, 4);
}

static inline void log_read(struct log *l, const char *name) {
  char path[512];
  snprintf(path, sizeof(path), "%s/tests/unit/%s", PE_SOURCE_DIR, name);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  memset(l, 0, sizeof(*l));
  l->n = fread(l->bytes, 1, sizeof(l->bytes), f);
  fclose(f);
  assert_in_range(l->n, 100, sizeof(l->bytes) - 1);
  size_t at = 4;
  while (at < l->n) {
    l->at[l->nevents++] = at;
    at += get32(l->bytes + at + 9);
    assert_true(l->nevents < EVENTS_MAX);
  }
  assert_int_equal(at, l->n);
  l->at[l->nevents] = at;
}

static inline uint8_t log_type(const struct log *l, unsigned i) {
  return l->bytes[l->at[i] + 4];
}

/* Events start on exact allocations, so that a sanitizer sees every byte read too much. */
static inline int feed_bytes(struct pe_stream *s, const uint8_t *p, size_t n, struct pe_err *err) {
  uint8_t *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  memcpy(copy, p, n);
  int rc = pe_stream_event(s, copy, n, err);
  free(copy);
  return rc;
}

static inline int feed_event(struct pe_stream *s, const struct log *l, unsigned i,
                             struct pe_err *err) {
  return feed_bytes(s, l->bytes + l->at[i], l->at[i + 1] - l->at[i], err);
}

/* The FORMAT_DESCRIPTION as a server sends it when the dump starts in the middle of a file. */
static inline int feed_format(struct pe_stream *s, const struct log *l, struct pe_err *err) {
  uint8_t fde[512];
  size_t n = l->at[1] - l->at[0];
  assert_true(n <= sizeof(fde));
  memcpy(fde, l->bytes + l->at[0], n);
  put32(fde + 13, 0);
  return feed_bytes(s, fde, n, err);
}

static inline struct pe_column *col(struct pe_table *t, const char *name, enum pe_ctype ctype,
                                    const char *type_text) {
  struct pe_column *c = pe_table_add(t, name);
  assert_non_null(c);
  c->ctype = ctype;
  c->type_text = pe_arena_strndup(&t->arena, type_text, strlen(type_text));
  c->nullable = true;
  return c;
}

static inline void set_pk(struct pe_table *t) {
  t->columns[0].pk_ordinal = 1;
  t->columns[0].nullable = false;
}

static inline void finish(struct pe_table *t) {
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_table_finish(t, &err), 0);
}

static inline void members(struct pe_table *t, struct pe_column *c, const char *const *words,
                           uint32_t n) {
  c->members = pe_arena_alloc(&t->arena, n * sizeof(char *), 8);
  for (uint32_t i = 0; i < n; i++) {
    c->members[i] = pe_arena_strndup(&t->arena, words[i], strlen(words[i]));
  }
  c->nmembers = n;
}

/* item as first created, or with the column that ALTER TABLE added */
static inline struct pe_table *item_table(bool altered) {
  static const char *const sizes[] = {"s", "m", "l"};
  struct pe_table *t = pe_table_create("shop", "item");
  assert_non_null(t);
  col(t, "id", PE_C_U32, "int unsigned");
  col(t, "name", PE_C_STR, "varchar(20)")->collation = 45;
  if (altered) {
    col(t, "extra", PE_C_I32, "int");
  }
  struct pe_column *price = col(t, "price", PE_C_DEC64, "decimal(10,2)");
  price->precision = 10;
  price->scale = 2;
  col(t, "at", PE_C_DATETIME, "datetime(3)")->scale = 3;
  col(t, "note", PE_C_STR, "text")->collation = 8;
  struct pe_column *size = col(t, "size", PE_C_ENUM, "enum('s','m','l')");
  size->nullable = false;
  members(t, size, sizes, 3);
  set_pk(t);
  finish(t);
  return t;
}

static inline struct pe_table *other_table(void) {
  struct pe_table *t = pe_table_create("shop", "other");
  assert_non_null(t);
  col(t, "id", PE_C_I32, "int");
  col(t, "x", PE_C_I32, "int");
  set_pk(t);
  finish(t);
  return t;
}

static inline struct pe_table *kinds_table(void) {
  struct pe_table *t = pe_table_create("shop", "kinds");
  static const char *const flags[] = {"x", "y", "z"};
  assert_non_null(t);
  col(t, "id", PE_C_I32, "int");
  col(t, "ti", PE_C_I8, "tinyint");
  col(t, "su", PE_C_U16, "smallint unsigned");
  col(t, "mi", PE_C_I32, "mediumint");
  col(t, "bu", PE_C_U64, "bigint unsigned");
  col(t, "f", PE_C_F32, "float");
  col(t, "d", PE_C_F64, "double");
  struct pe_column *c = col(t, "big", PE_C_DEC256, "decimal(40,10)");
  c->precision = 40;
  c->scale = 10;
  c = col(t, "huge", PE_C_DEC256, "decimal(65,30)");
  c->precision = 65;
  c->scale = 30;
  col(t, "y", PE_C_YEAR, "year");
  col(t, "da", PE_C_DATE, "date");
  col(t, "t", PE_C_TIME, "time(2)")->scale = 2;
  col(t, "dt", PE_C_DATETIME, "datetime(6)")->scale = 6;
  col(t, "ts", PE_C_DATETIME, "timestamp(3)")->scale = 3;
  col(t, "b", PE_C_BIT, "bit(9)");
  members(t, col(t, "s", PE_C_SET, "set('x','y','z')"), flags, 3);
  col(t, "c", PE_C_STR, "char(5)")->collation = 45;
  col(t, "bn", PE_C_BYTES, "binary(4)")->collation = 63;
  col(t, "vb", PE_C_BYTES, "varbinary(20)")->collation = 63;
  col(t, "bl", PE_C_BYTES, "blob")->collation = 63;
  col(t, "l1", PE_C_STR, "varchar(20)")->collation = 8;
  col(t, "sj", PE_C_STR, "varchar(20)")->collation = 13;
  col(t, "u2", PE_C_STR, "varchar(20)")->collation = 35;
  set_pk(t);
  finish(t);
  return t;
}

struct seen { /* what came out: a line a change, and the ends of batches */
  unsigned nlines, nbatches;
  char lines[LINES_MAX][LINE_BYTES];
  uint64_t versions[LINES_MAX]; /* of the change's last image */
  struct pe_position ends[LINES_MAX];
  unsigned lines_at[LINES_MAX]; /* lines seen when the batch ended */
  bool boundary[LINES_MAX];
  uint64_t last_version;
  unsigned loads;
  bool no_table;   /* load_table answers that there is none */
  bool other_file; /* log_end answers that the source writes to another file */
  unsigned asked;  /* log_end */
};

static inline void image_text(const struct pe_table *t, const uint8_t *row, struct pe_buf *b) {
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    pe_buf_puts(b, i ? "|" : "");
    if (pe_row_null(row, i)) {
      pe_buf_puts(b, "NULL");
    } else {
      pe_value_text(&t->columns[i], row, b);
    }
  }
}

static inline void see_segment(struct seen *o, const struct pe_segment *s) {
  unsigned step = s->op == PE_OP_UPDATE ? 2 : 1;
  for (uint32_t i = 0; i < s->nimages; i += step) {
    struct pe_buf b;
    pe_buf_init(&b);
    pe_buf_printf(&b, "%s %s ",
                  s->op == PE_OP_INSERT   ? "+"
                  : s->op == PE_OP_DELETE ? "-"
                                          : "~",
                  s->table->name);
    for (unsigned k = 0; k < step; k++) {
      pe_buf_puts(&b, k ? " -> " : "");
      image_text(s->table, s->rows + (size_t)(i + k) * s->table->row_bytes, &b);
      assert_true(s->meta[i + k].version > o->last_version);
      o->last_version = s->meta[i + k].version;
    }
    assert_true(o->nlines < LINES_MAX);
    o->versions[o->nlines] = o->last_version;
    snprintf(o->lines[o->nlines++], LINE_BYTES, "%s", pe_buf_cstr(&b));
    pe_buf_close(&b);
  }
}

static inline int see_push(void *arg, struct pe_batch *b) {
  struct seen *o = arg;
  for (struct pe_segment *s = b->first; s; s = s->next) {
    see_segment(o, s);
  }
  if (b->event != PE_EV_NONE) {
    assert_true(o->nlines < LINES_MAX);
    o->versions[o->nlines] = b->end.version;
    snprintf(o->lines[o->nlines++], LINE_BYTES, "%s %s",
             b->event == PE_EV_TRUNCATE        ? "truncate"
             : b->event == PE_EV_TABLE_CHANGED ? "changed"
                                               : "fatal",
             b->new_table ? b->new_table->name : "");
  }
  assert_true(b->end.version >= b->end.base_version);
  assert_true(b->end.version >= o->last_version);
  o->last_version = b->end.version;
  o->lines_at[o->nbatches] = o->nlines;
  o->boundary[o->nbatches] = b->end_is_boundary;
  o->ends[o->nbatches++] = b->end;
  pe_batch_destroy(b);
  return 0;
}

static inline int see_load(void *arg, const char *db, const char *name, struct pe_table **out,
                           struct pe_err *err) {
  struct seen *o = arg;
  o->loads++;
  assert_string_equal(db, "shop");
  if (o->no_table || strcmp(name, "item") != 0) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL, "no table");
  }
  *out = item_table(true);
  return 0;
}

static inline int see_log_end(void *arg, char file[PE_BINLOG_FILE_MAX], uint64_t *pos,
                              struct pe_err *err) {
  struct seen *o = arg;
  (void)err;
  o->asked++;
  strcpy(file, o->other_file ? "bin.000004" : "bin.000003");
  *pos = LOG_BYTES_MAX;
  return 0;
}

struct fixture {
  struct pe_stream s;
  struct seen seen;
  struct pe_table *item, *other, *kinds;
};

struct setup {
  struct pe_position start;
  uint32_t batch_rows;
  uint64_t item_from;
  bool item_altered;
};

static inline struct fixture *fixture_open(const struct setup *u) {
  struct fixture *f = calloc(1, sizeof(*f));
  struct pe_err err = PE_ERR_INIT;
  assert_non_null(f);
  f->item = item_table(u->item_altered);
  f->other = other_table();
  f->kinds = kinds_table();
  struct pe_reader_table tables[] = {{f->item, u->item_from}, {f->other, 0}, {f->kinds, 0}};
  struct pe_reader_opts o = {
      .start = u->start, .tables = tables, .ntables = 3, .batch_rows = u->batch_rows};
  if (!o.start.file[0]) {
    strcpy(o.start.file, "bin.000003");
    o.start.pos = 4;
    o.start.generation = 1;
  }
  struct pe_stream_calls calls = {
      .arg = &f->seen, .push = see_push, .load_table = see_load, .log_end = see_log_end};
  assert_int_equal(pe_stream_init(&f->s, &o, &calls, &err), 0);
  uint32_t pos;
  pe_stream_restart(&f->s, &pos);
  f->seen.last_version = o.start.version;
  return f;
}

static inline void fixture_close(struct fixture *f) {
  pe_stream_close(&f->s);
  pe_table_unref(f->item);
  pe_table_unref(f->other);
  pe_table_unref(f->kinds);
  free(f);
}

/* Events from the one that starts at `pos` on, and what was left open pushed. */
static inline int feed_from(struct fixture *f, const struct log *l, uint64_t pos,
                            struct pe_err *err) {
  int rc = pos > 4 ? feed_format(&f->s, l, err) : 0;
  for (unsigned i = 0; !rc && i < l->nevents; i++) {
    if (l->at[i] >= pos) {
      rc = feed_event(&f->s, l, i, err);
    }
  }
  return rc ? rc : pe_stream_push(&f->s);
}

#endif
