/* What the tests of scripts share: small tables (orders, customers), segments of rows, and a
 * project folder with transforms written by the test. */
#ifndef SCRIPT_SUPPORT_H
#define SCRIPT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "script/script.h"

struct col {
  const char *name;
  enum pe_ctype ctype;
  const char *type_text;
  bool extra;
  uint8_t precision, scale;
  uint16_t pk;
  const char *const *members;
  uint32_t nmembers;
};

static struct pe_table *make_table(const char *name, const struct col *cols, uint32_t n) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = pe_table_create("shop", name);
  for (uint32_t i = 0; i < n; i++) {
    struct pe_column *c =
        cols[i].extra ? pe_table_add_extra(t, cols[i].name) : pe_table_add(t, cols[i].name);
    c->ctype = cols[i].ctype;
    c->precision = cols[i].precision;
    c->scale = cols[i].scale;
    c->pk_ordinal = cols[i].pk;
    c->nullable = true;
    c->type_text = (char *)(uintptr_t)cols[i].type_text;
    c->members = (char **)(uintptr_t)cols[i].members;
    c->nmembers = cols[i].nmembers;
  }
  if (pe_table_finish(t, &err)) {
    fail_msg("%s", err.text);
  }
  return t;
}

static void make_dest(struct pe_dest *d, struct pe_table *t, const char *name, const char *key) {
  memset(d, 0, sizeof(*d));
  d->name = strdup(name);
  d->layout = t;
  d->key = calloc(8, sizeof(uint32_t));
  char *copy = strdup(key), *save = NULL;
  for (char *k = strtok_r(copy, ",", &save); k; k = strtok_r(NULL, ",", &save)) {
    int i = pe_table_find(t, k);
    assert_true(i >= 0);
    d->key[d->nkey++] = (uint32_t)i;
  }
  free(copy);
}

static void free_dest(struct pe_dest *d) {
  free(d->name);
  free(d->key);
}

/* ---- rows ---- */

static void set_null(const struct pe_table *t, uint8_t *row, const char *name) {
  pe_row_set_null(row, (uint32_t)pe_table_find(t, name));
}

static void set_int(const struct pe_table *t, uint8_t *row, const char *name, uint64_t v) {
  int i = pe_table_find(t, name);
  assert_true(i >= 0);
  memcpy(row + t->columns[i].offset, &v, pe_ctype_bytes(t->columns[i].ctype));
  pe_row_clear_null(row, (uint32_t)i);
}

static void set_f64(const struct pe_table *t, uint8_t *row, const char *name, double v) {
  int i = pe_table_find(t, name);
  memcpy(row + t->columns[i].offset, &v, sizeof(v));
  pe_row_clear_null(row, (uint32_t)i);
}

static void set_str(const struct pe_table *t, uint8_t *row, const char *name, const char *s) {
  int i = pe_table_find(t, name);
  struct pe_str str = {.p = s, .len = (uint32_t)strlen(s)};
  memcpy(row + t->columns[i].offset, &str, sizeof(str));
  pe_row_clear_null(row, (uint32_t)i);
}

/* "NULL" or the text of a value. */
static const char *text_of(const struct pe_table *t, const uint8_t *row, const char *name) {
  static struct pe_buf bufs[8];
  static int at;
  int i = pe_table_find(t, name);
  assert_true(i >= 0);
  if (pe_row_null(row, (uint32_t)i)) {
    return "NULL";
  }
  struct pe_buf *b = &bufs[at++ % 8];
  pe_buf_clear(b);
  pe_value_text(&t->columns[i], row, b);
  return pe_buf_cstr(b);
}

/* ---- a project folder ---- */

static char root[64];

static void make_root(void) {
  strcpy(root, "/tmp/pe_script_test_XXXXXX");
  assert_non_null(mkdtemp(root));
  char path[128];
  snprintf(path, sizeof(path), "%s/transforms", root);
  mkdir(path, 0755);
}

static void write_module(const char *name, const char *text) {
  char path[160];
  snprintf(path, sizeof(path), "%s/transforms/%s.lua", root, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void remove_root(void) {
  char cmd[128];
  snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
  if (system(cmd)) {
    fail_msg("can't remove %s", root);
  }
}

static const char *lua_dir(void) {
  return PE_SOURCE_DIR "/lua";
}

/* ---- outputs ---- */

static const struct pe_out *out_at(const struct pe_outputs *o, size_t i) {
  assert_true(i < o->nouts);
  return &o->outs[i];
}

#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))

#endif
