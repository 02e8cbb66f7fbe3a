/* Positions, tables, batches and outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "model/batch.h"
#include "model/output.h"
#include "model/position.h"
#include "model/table.h"

static void versions_have_the_bits_promised(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  uint64_t v;
  assert_int_equal(pe_version_make(1, 2, 3, &v, &err), 0);
  assert_int_equal(v, UINT64_C(1) << 57 | UINT64_C(2) << 35 | 3);
  uint32_t gen, file;
  uint64_t offset;
  assert_int_equal(pe_version_make(127, 4194303, 34359738367, &v, &err), 0);
  assert_int_equal(v, UINT64_MAX);
  pe_version_split(v - (UINT64_C(1) << 35), &gen, &file, &offset);
  assert_int_equal(gen, 127);
  assert_int_equal(file, 4194302);
  assert_int_equal(offset, 34359738367);
}

static void versions_refuse_what_does_not_fit(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  uint64_t v = 42;
  assert_int_equal(pe_version_make(128, 2, 3, &v, &err), PE_EDATA);
  assert_non_null(strstr(err.text, "generation 128"));
  assert_int_equal(pe_version_make(1, 4194304, 3, &v, &err), PE_EDATA);
  assert_non_null(strstr(err.text, "file number 4194304"));
  assert_int_equal(pe_version_make(1, -1, 3, &v, &err), PE_EDATA);
  assert_int_equal(pe_version_make(1, 1, 34359738368, &v, &err), PE_EDATA);
  assert_non_null(strstr(err.text, "34359738368"));
  assert_int_equal(v, 42);
}

static void file_numbers(void **state) {
  (void)state;
  assert_int_equal(pe_binlog_file_number("binlog.000042"), 42);
  assert_int_equal(pe_binlog_file_number("a.b-bin.1000000"), 1000000);
  assert_int_equal(pe_binlog_file_number("binlog"), -1);
  assert_int_equal(pe_binlog_file_number("binlog."), -1);
  assert_int_equal(pe_binlog_file_number("binlog.0x1"), -1);
  assert_int_equal(pe_binlog_file_number("binlog.99999999999999999999999"), -1);
  assert_int_equal(pe_binlog_file_number(""), -1);
  struct pe_position p = {.file = "binlog.000003", .pos = 4};
  char text[64];
  assert_string_equal(pe_position_text(&p, text, sizeof(text)), "binlog.000003:4");
  assert_string_equal(pe_position_text(&(struct pe_position){0}, text, sizeof(text)), "(nowhere)");
}

static struct pe_table *sample(void) {
  struct pe_table *t = pe_table_create("shop", "orders");
  struct pe_column *c = pe_table_add(t, "flag");
  c->ctype = PE_C_I8;
  c->type_text = "tinyint(1)";
  c->nullable = true;
  c = pe_table_add(t, "id");
  c->ctype = PE_C_U64;
  c->type_text = "bigint(20) unsigned";
  c->pk_ordinal = 2;
  c = pe_table_add(t, "shop");
  c->ctype = PE_C_STR;
  c->type_text = "varchar(10)";
  c->collation = 45;
  c->pk_ordinal = 1;
  c = pe_table_add(t, "state");
  c->ctype = PE_C_ENUM;
  c->type_text = "enum('new','paid')";
  static char *members[] = {"new", "paid"};
  c->members = members;
  c->nmembers = 2;
  c = pe_table_add(t, "total");
  c->ctype = PE_C_DEC128;
  c->type_text = "decimal(30,4)";
  c->precision = 30;
  c->scale = 4;
  return t;
}

static void layout_is_aligned_and_does_not_overlap(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = pe_table_create("d", "t");
  for (int i = 0; i < 500; i++) {
    char name[16];
    snprintf(name, sizeof(name), "c%d", i);
    struct pe_column *c = i < 450 ? pe_table_add(t, name) : pe_table_add_extra(t, name);
    c->ctype = (enum pe_ctype)(i * 7 % PE_C_COUNT);
  }
  assert_int_equal(pe_table_finish(t, &err), 0);
  assert_int_equal(t->ncolumns, 500);
  assert_int_equal(t->nsource, 450);
  assert_int_equal(t->null_bytes, 63);
  assert_int_equal(t->row_bytes % 16, 0);
  static uint8_t used[65536];
  memset(used, 0, sizeof(used));
  memset(used, 1, t->null_bytes);
  uint32_t sum = t->null_bytes;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    const struct pe_column *c = &t->columns[i];
    uint32_t n = pe_ctype_bytes(c->ctype);
    assert_int_equal(c->offset % pe_ctype_align(c->ctype), 0);
    assert_true(c->offset + n <= t->row_bytes);
    for (uint32_t k = 0; k < n; k++) {
      assert_int_equal(used[c->offset + k], 0);
      used[c->offset + k] = 1;
    }
    sum += n;
    assert_string_not_equal(pe_ctype_name(c->ctype), "");
  }
  assert_true(t->row_bytes - sum < 32); /* padding only behind the bitmap and at the end */
  assert_int_equal(pe_table_find(t, "c499"), 499);
  assert_int_equal(pe_table_find(t, "C499"), -1);
  assert_true(t->columns[499].is_extra && t->columns[499].nullable);
  pe_table_unref(t);
}

static void keys_follow_their_ordinals(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample();
  assert_int_equal(pe_table_finish(t, &err), 0);
  assert_int_equal(t->npk, 2);
  assert_int_equal(t->pk[0], 2);
  assert_int_equal(t->pk[1], 1);
  pe_table_unref(t);
  t = sample();
  t->columns[1].pk_ordinal = 1;
  assert_int_equal(pe_table_finish(t, &err), PE_EDATA);
  pe_table_unref(t);
  t = sample();
  t->columns[1].pk_ordinal = 7;
  assert_int_equal(pe_table_finish(t, &err), PE_EDATA);
  assert_non_null(strstr(err.text, "shop.orders"));
  pe_table_unref(t);
  t = pe_table_create("d", "none");
  assert_int_equal(pe_table_finish(t, &err), PE_EDATA);
  pe_table_unref(t);
}

static void clone_is_deep_and_hash_is_of_the_source(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample();
  t->id = 9;
  t->columns[2].pii = true;
  t->columns[3].excluded = true;
  assert_int_equal(pe_table_finish(t, &err), 0);
  uint64_t hash = t->schema_hash;
  struct pe_table *copy = pe_table_clone(t);
  pe_table_unref(t);
  pe_table_add_extra(copy, "app")->ctype = PE_C_U32;
  assert_int_equal(pe_table_finish(copy, &err), 0);
  assert_int_equal(copy->schema_hash, hash);
  assert_int_equal(copy->id, 9);
  assert_int_equal(copy->ncolumns, 6);
  assert_int_equal(copy->nsource, 5);
  assert_true(copy->columns[2].pii && copy->columns[3].excluded);
  assert_string_equal(copy->columns[3].members[1], "paid");
  assert_string_equal(copy->columns[1].type_text, "bigint(20) unsigned");
  assert_int_equal(copy->columns[4].scale, 4);
  pe_table_unref(copy);
}

static void each_part_of_the_schema_is_hashed(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  uint64_t seen[8];
  static char *other[] = {"new", "void"};
  for (int i = 0; i < 8; i++) {
    struct pe_table *t = sample();
    struct pe_column *c = t->columns;
    switch (i) {
      case 1:
        c[0].name = "flags";
        break;
      case 2:
        c[0].type_text = "tinyint(4)";
        break;
      case 3:
        c[0].ctype = PE_C_U8;
        break;
      case 4:
        c[0].nullable = false;
        break;
      case 5:
        c[1].pk_ordinal = 1;
        c[2].pk_ordinal = 2;
        break;
      case 6:
        c[2].collation = 46;
        break;
      case 7:
        c[3].members = other;
        break;
      default:
        break;
    }
    assert_int_equal(pe_table_finish(t, &err), 0);
    seen[i] = t->schema_hash;
    for (int k = 0; k < i; k++) {
      assert_int_not_equal(seen[k], seen[i]);
    }
    pe_table_unref(t);
  }
}

static void segments_keep_the_order(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample(), *u = sample();
  assert_int_equal(pe_table_finish(t, &err), 0);
  assert_int_equal(pe_table_finish(u, &err), 0);
  struct pe_batch *b = pe_batch_create();
  uint8_t *rows;
  struct pe_image_meta *meta;
  assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, 1, &rows, &meta), 0);
  assert_int_equal(pe_batch_extend(b, t, PE_OP_UPDATE, 2, &rows, &meta), 0);
  assert_int_equal(pe_batch_extend(b, t, PE_OP_UPDATE, 2, &rows, &meta), 0);
  assert_int_equal(pe_batch_extend(b, u, PE_OP_UPDATE, 2, &rows, &meta), 0);
  assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, 3, &rows, &meta), 0);
  assert_int_equal(b->nimages, 10);
  assert_int_equal(b->nchanges, 7);
  static const uint32_t want[] = {1, 4, 2, 3};
  int i = 0;
  for (struct pe_segment *s = b->first; s; s = s->next) {
    assert_int_equal(s->nimages, want[i++]);
  }
  assert_int_equal(i, 4);
  assert_int_equal(t->refs, 4);
  assert_int_equal(u->refs, 2);
  b->new_table = pe_table_ref(u);
  pe_batch_destroy(b);
  assert_int_equal(t->refs, 1);
  assert_int_equal(u->refs, 1);
  pe_table_unref(t);
  pe_table_unref(u);
  pe_batch_destroy(NULL);
}

static void rows_are_zeroed_kept_and_given_back(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample();
  assert_int_equal(pe_table_finish(t, &err), 0);
  struct pe_batch *b = pe_batch_create();
  static const uint8_t zeros[256];
  const uint32_t total = 20000;
  for (uint32_t i = 0; i < total; i++) {
    uint8_t *row;
    struct pe_image_meta *meta;
    assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, 1, &row, &meta), 0);
    assert_int_equal((uintptr_t)row % 16, 0);
    assert_memory_equal(row, zeros, t->row_bytes);
    memset(row, 0xAB, t->row_bytes);
    memcpy(row, &i, sizeof(i));
    meta->version = i;
    if (i % 100 == 0) { /* one too many, given back and dirty */
      assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, 1, &row, &meta), 0);
      memset(row, 0xCD, t->row_bytes);
      pe_batch_retract(b, 1);
    }
  }
  assert_int_equal(b->nimages, total);
  assert_int_equal(b->nchanges, total);
  uint32_t i = 0;
  for (struct pe_segment *s = b->first; s; s = s->next) {
    assert_true(s->nimages <= 8192);
    for (uint32_t k = 0; k < s->nimages; k++, i++) {
      assert_memory_equal(s->rows + k * t->row_bytes, &i, sizeof(i));
      assert_int_equal(s->meta[k].version, i);
    }
  }
  assert_int_equal(i, total);
  size_t payload = total * (t->row_bytes + sizeof(struct pe_image_meta));
  assert_true(b->bytes >= payload && b->bytes < payload * 5 / 2 + 1000000);
  pe_batch_destroy(b);
  pe_table_unref(t);
}

static void one_extend_may_be_large(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = sample();
  assert_int_equal(pe_table_finish(t, &err), 0);
  struct pe_batch *b = pe_batch_create();
  uint8_t *rows;
  struct pe_image_meta *meta;
  assert_int_equal(pe_batch_extend(b, t, PE_OP_DELETE, 5, &rows, &meta), 0);
  assert_int_equal(pe_batch_extend(b, t, PE_OP_DELETE, 30000, &rows, &meta), 0);
  memset(rows, 1, 30000ul * t->row_bytes);
  memset(meta, 1, 30000ul * sizeof(*meta));
  assert_int_equal(pe_batch_extend(b, t, PE_OP_DELETE, 8192, &rows, &meta), 0);
  memset(rows, 1, 8192ul * t->row_bytes);
  assert_int_equal(b->nimages, 5 + 30000 + 8192);
  pe_batch_destroy(b);
  pe_table_unref(t);
}

/* Lets the sanitizers' allocators fail as the ordinary one does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
  return "allocator_may_return_null=1";
}

static struct pe_table *wide(void) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_table *t = pe_table_create("d", "wide");
  for (int i = 0; i < 4000; i++) {
    char name[16];
    snprintf(name, sizeof(name), "c%d", i);
    pe_table_add(t, name)->ctype = PE_C_DEC256;
  }
  assert_int_equal(pe_table_finish(t, &err), 0);
  assert_true(t->row_bytes > 128000);
  return t;
}

static void wide_rows_make_short_segments(void **state) {
  (void)state;
  struct pe_table *t = wide();
  struct pe_batch *b = pe_batch_create();
  uint8_t *rows;
  struct pe_image_meta *meta;
  for (int i = 0; i < 100; i++) {
    assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, 1, &rows, &meta), 0);
    memset(rows, 1, t->row_bytes);
  }
  for (struct pe_segment *s = b->first; s; s = s->next) {
    assert_true(s->nimages <= 16);
  }
  assert_true(b->bytes < 16000000);
  pe_batch_destroy(b);
  pe_table_unref(t);
}

static void out_of_memory_leaves_the_batch_as_it_was(void **state) {
  (void)state;
  struct pe_table *t = wide();
  struct pe_batch *b = pe_batch_create();
  uint8_t *rows;
  struct pe_image_meta *meta;
  for (int i = 0; i < 2; i++) { /* in a first and in a later segment */
    /* 550 TB: more than there are addresses */
    assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, UINT32_MAX, &rows, &meta), PE_ENOMEM);
    assert_int_equal(b->nimages, i);
    assert_int_equal(pe_batch_extend(b, t, PE_OP_INSERT, 1, &rows, &meta), 0);
  }
  assert_int_equal(t->refs, 2);
  assert_ptr_equal(b->first, b->last);
  pe_batch_destroy(b);
  assert_int_equal(t->refs, 1);
  pe_table_unref(t);
}

static void outputs_grow_and_are_used_again(void **state) {
  (void)state;
  struct pe_outputs o;
  pe_outputs_init(&o);
  for (int round = 0; round < 2; round++) {
    for (uint64_t i = 0; i < 5000; i++) {
      assert_int_equal(pe_outputs_add(&o, &(struct pe_out){.version = i}), 0);
      assert_int_equal(pe_outputs_add_dead(&o, &(struct pe_dead){.meta.version = i}), 0);
    }
    assert_non_null(pe_arena_alloc(&o.scratch, 100000, 8));
    o.changes_in = 7;
    for (uint64_t i = 0; i < 5000; i++) {
      assert_int_equal(o.outs[i].version, i);
      assert_int_equal(o.dead[i].meta.version, i);
    }
    size_t cap = o.outs_cap;
    pe_outputs_clear(&o);
    assert_int_equal(o.nouts + o.ndead + o.changes_in, 0);
    assert_int_equal(o.outs_cap, cap);
  }
  pe_outputs_close(&o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(versions_have_the_bits_promised),
      cmocka_unit_test(versions_refuse_what_does_not_fit),
      cmocka_unit_test(file_numbers),
      cmocka_unit_test(layout_is_aligned_and_does_not_overlap),
      cmocka_unit_test(keys_follow_their_ordinals),
      cmocka_unit_test(clone_is_deep_and_hash_is_of_the_source),
      cmocka_unit_test(each_part_of_the_schema_is_hashed),
      cmocka_unit_test(segments_keep_the_order),
      cmocka_unit_test(rows_are_zeroed_kept_and_given_back),
      cmocka_unit_test(one_extend_may_be_large),
      cmocka_unit_test(wide_rows_make_short_segments),
      cmocka_unit_test(out_of_memory_leaves_the_batch_as_it_was),
      cmocka_unit_test(outputs_grow_and_are_used_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
