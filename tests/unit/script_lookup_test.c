/* Lookups: changes in commit order, the past of a key, the way to the state store and back. */
#include "script/lookup_internal.h"
#include "script_support.h"

static const struct col customer_cols[] = {
    {.name = "id", .ctype = PE_C_I32, .type_text = "int", .pk = 1},
    {.name = "region", .ctype = PE_C_U16, .type_text = "smallint unsigned"},
    {.name = "name", .ctype = PE_C_STR, .type_text = "varchar(50)"},
    {.name = "mail", .ctype = PE_C_STR, .type_text = "varchar(50)"},
};

static struct pe_table *customers;
static struct pe_lookups *lookups;
static struct pe_lookup *by_id, *by_name;
static struct pe_batch *batch;
static struct pe_segment *seg;

static struct pe_lookup *define(struct pe_lookups *ls, struct pe_table *t, const char *key,
                                const char *value, const char *value2) {
  struct pe_lookup *l;
  struct pe_err err = PE_ERR_INIT;
  const char *values[] = {value, value2};
  if (pe_lookup_define(ls, t, &key, 1, values, value2 ? 2 : 1, &l, &err)) {
    fail_msg("%s", err.text);
  }
  return l;
}

static int setup(void **state) {
  (void)state;
  customers = make_table("customers", customer_cols, COUNT(customer_cols));
  customers->columns[3].pii = true;
  lookups = pe_lookups_create();
  by_id = define(lookups, customers, "id", "region", "name");
  by_name = define(lookups, customers, "name", "region", NULL);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  pe_lookups_destroy(lookups);
  if (batch) {
    pe_batch_destroy(batch);
  }
  batch = NULL;
  pe_table_unref(customers);
  return 0;
}

static void begin(enum pe_op op, uint32_t n, uint64_t version) {
  if (batch) {
    pe_batch_destroy(batch);
  }
  batch = pe_batch_create();
  uint8_t *rows;
  struct pe_image_meta *meta;
  assert_int_equal(pe_batch_extend(batch, customers, op, n, &rows, &meta), 0);
  seg = batch->first;
  for (uint32_t i = 0; i < n; i++) {
    memset(rows + (size_t)i * customers->row_bytes, 0xFF, customers->null_bytes);
    meta[i].version = version;
  }
}

static void row(uint32_t i, int id, uint64_t region, const char *name) {
  uint8_t *r = seg->rows + (size_t)i * customers->row_bytes;
  set_int(customers, r, "id", (uint64_t)(int64_t)id);
  set_int(customers, r, "region", region);
  if (name) {
    set_str(customers, r, "name", name);
  }
}

static void apply(void) {
  uint32_t n = seg->op == PE_OP_UPDATE ? seg->nimages / 2 : seg->nimages;
  assert_int_equal(pe_lookups_apply(lookups, seg, 0, n), 0);
}

static struct pe_entry *entry(const struct pe_lookup *l, int id) {
  return pe_lookup_find_int(l, (uint64_t)(int64_t)id);
}

static const char *today(const struct pe_lookup *l, int id, const char *column) {
  struct pe_entry *e = entry(l, id);
  assert_non_null(e);
  return e->flags & PE_ENTRY_TODAY ? text_of(l->values, pe_entry_value(l, e), column) : "none";
}

static uint32_t past(const struct pe_lookup *l, int id) {
  uint32_t n = 0;
  for (const struct pe_past *p = entry(l, id)->past; p; p = p->next) {
    n++;
  }
  return n;
}

static void defining(void **state) {
  (void)state;
  assert_string_equal(pe_lookup_name(by_id), "customers(id):region,name");
  assert_ptr_equal(define(lookups, customers, "id", "region", "name"), by_id);
  assert_ptr_equal(pe_lookup_find(lookups, "customers(name):region"), by_name);
  assert_null(pe_lookup_find(lookups, "customers(id):name"));
  assert_int_equal(pe_lookups_count(lookups), 2);
  assert_true(pe_lookups_uses(lookups, customers));
  struct pe_err err = PE_ERR_INIT;
  struct pe_lookup *l;
  const char *key = "id", *wrong = "regon", *pii = "mail";
  assert_int_equal(pe_lookup_define(lookups, customers, &key, 1, &wrong, 1, &l, &err), PE_ECONFIG);
  assert_non_null(strstr(err.text, "did you mean \"region\"?"));
  assert_int_equal(pe_lookup_define(lookups, customers, &key, 1, &pii, 1, &l, &err), PE_ECONFIG);
  assert_non_null(strstr(err.text, "pii"));
  assert_int_equal(pe_lookup_define(lookups, customers, &key, 0, &key, 1, &l, &err), PE_ECONFIG);
  assert_false(pe_lookup_filled(by_id));
  pe_lookup_set_filled(by_id, true);
  assert_true(pe_lookup_filled(by_id));
}

static void changes_in_order(void **state) {
  (void)state;
  begin(PE_OP_SNAPSHOT, 2, 10);
  row(0, 1, 7, "ann");
  row(1, -2, 8, "bob");
  apply();
  assert_int_equal(pe_lookup_keys(by_id), 2);
  assert_string_equal(today(by_id, 1, "region"), "7");
  assert_string_equal(today(by_id, -2, "name"), "bob");
  assert_int_equal(past(by_id, 1), 0);

  begin(PE_OP_UPDATE, 2, 20);
  row(0, 1, 7, "ann"), row(1, 1, 9, "ann");
  apply();
  assert_string_equal(today(by_id, 1, "region"), "9");
  assert_int_equal(past(by_id, 1), 1);
  begin(PE_OP_UPDATE, 2, 21); /* and back: no value twice */
  row(0, 1, 9, "ann"), row(1, 1, 7, "ann");
  apply();
  begin(PE_OP_UPDATE, 2, 22);
  row(0, 1, 7, "ann"), row(1, 1, 9, "ann");
  apply();
  assert_int_equal(past(by_id, 1), 2);

  begin(PE_OP_UPDATE, 2, 30); /* the key changes */
  row(0, 1, 9, "ann"), row(1, 5, 9, "ann");
  apply();
  assert_string_equal(today(by_id, 1, "region"), "none");
  assert_string_equal(today(by_id, 5, "region"), "9");
  assert_int_equal(pe_lookup_keys(by_id), 2);

  begin(PE_OP_DELETE, 1, 40);
  row(0, -2, 8, "bob");
  apply();
  assert_string_equal(today(by_id, -2, "region"), "none");
  assert_int_equal(past(by_id, -2), 1);
  assert_int_equal(pe_lookup_keys(by_id), 1);
  assert_int_equal(pe_lookup_keys(by_name), 1);
}

static void an_older_snapshot_row_is_only_past(void **state) {
  (void)state;
  begin(PE_OP_UPDATE, 2, 50);
  row(0, 1, 7, "ann"), row(1, 1, 9, "ann");
  apply();
  begin(PE_OP_SNAPSHOT, 1, 10);
  row(0, 1, 6, "ann");
  apply();
  assert_string_equal(today(by_id, 1, "region"), "9");
  assert_int_equal(past(by_id, 1), 2);
  begin(PE_OP_DELETE, 1, 60);
  row(0, 1, 9, "ann");
  apply();
  begin(PE_OP_SNAPSHOT, 1, 10);
  row(0, 1, 7, "ann");
  apply();
  assert_string_equal(today(by_id, 1, "region"), "none");
}

static void a_key_that_is_null_is_in_no_lookup(void **state) {
  (void)state;
  begin(PE_OP_INSERT, 1, 10);
  row(0, 1, 7, NULL);
  apply();
  assert_int_equal(pe_lookup_keys(by_id), 1);
  assert_int_equal(pe_lookup_keys(by_name), 0);
  assert_string_equal(today(by_id, 1, "name"), "NULL");
}

static void many_keys(void **state) {
  (void)state;
  enum { N = 8000, ROUNDS = 5 };
  static char names[N * ROUNDS][8];
  for (int r = 0; r < ROUNDS; r++) {
    begin(PE_OP_SNAPSHOT, N, 10);
    for (int i = 0; i < N; i++) {
      int id = r * N + i;
      snprintf(names[id], sizeof(names[id]), "n%d", id);
      row((uint32_t)i, id, (uint64_t)(id % 60000), names[id]);
    }
    apply();
  }
  assert_int_equal(pe_lookup_keys(by_id), N * ROUNDS);
  assert_string_equal(today(by_id, 33333, "region"), "33333");
  assert_string_equal(today(by_id, 12345, "name"), "n12345");
  assert_null(entry(by_id, N * ROUNDS));
  assert_null(entry(by_id, -1));
  struct pe_buf b;
  pe_buf_init(&b);
  pe_lookup_key_text(&b, "n39999", 6);
  assert_non_null(pe_lookup_find_bytes(by_name, b.data, b.len));
  pe_buf_clear(&b);
  pe_lookup_key_text(&b, "n40000", 6);
  assert_null(pe_lookup_find_bytes(by_name, b.data, b.len));
  pe_buf_close(&b);
  assert_true(pe_lookup_bytes(by_id) < 16u << 20);
}

/* ---- deltas ---- */

struct stored {
  uint8_t key[16][64], value[16][1024];
  size_t nkey[16], nvalue[16];
  int n, fail_at;
};

static int store(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue) {
  struct stored *s = arg;
  if (s->n == s->fail_at) {
    return PE_EIO;
  }
  assert_true(nkey <= 64 && nvalue <= 1024 && nvalue > 0 && s->n < 16);
  memcpy(s->key[s->n], key, nkey);
  memcpy(s->value[s->n], value, nvalue);
  s->nkey[s->n] = nkey;
  s->nvalue[s->n++] = nvalue;
  return 0;
}

static void load_all(struct pe_lookup *l, const struct stored *s) {
  struct pe_err err = PE_ERR_INIT;
  for (int i = 0; i < s->n; i++) {
    if (pe_lookup_load(l, s->key[i], s->nkey[i], s->value[i], s->nvalue[i], &err)) {
      fail_msg("%s", err.text);
    }
  }
}

static void to_the_store_and_back(void **state) {
  (void)state;
  begin(PE_OP_SNAPSHOT, 2, 10);
  row(0, 1, 7, "ann");
  row(1, 2, 8, "bob");
  apply();
  begin(PE_OP_UPDATE, 2, 20);
  row(0, 1, 7, "ann"), row(1, 1, 9, "eve");
  apply();
  begin(PE_OP_DELETE, 1, 30);
  row(0, 2, 8, "bob");
  apply();
  by_id->miss_emitted = by_id->miss_dirty = true;
  static struct stored s;
  memset(&s, 0, sizeof(s));
  s.fail_at = 2;
  assert_int_equal(pe_lookup_take_deltas(by_id, store, &s), PE_EIO);
  s.fail_at = -1; /* the rest is still there */
  assert_int_equal(pe_lookup_take_deltas(by_id, store, &s), 0);
  assert_int_equal(s.n, 3);
  int before = s.n;
  assert_int_equal(pe_lookup_take_deltas(by_id, store, &s), 0);
  assert_int_equal(s.n, before);

  struct pe_lookups *other = pe_lookups_create();
  struct pe_lookup *l = define(other, customers, "id", "region", "name");
  load_all(l, &s);
  assert_int_equal(pe_lookup_keys(l), 1);
  assert_string_equal(today(l, 1, "region"), "9");
  assert_string_equal(today(l, 1, "name"), "eve");
  assert_int_equal(past(l, 1), 1);
  assert_string_equal(text_of(l->values, entry(l, 1)->past->value, "name"), "ann");
  assert_string_equal(today(l, 2, "region"), "none");
  assert_int_equal(past(l, 2), 1);
  assert_int_equal(entry(l, 2)->version, 30);
  assert_true(l->miss_emitted);
  static struct stored again;
  memset(&again, 0, sizeof(again));
  again.fail_at = -1;
  assert_int_equal(pe_lookup_take_deltas(l, store, &again), 0);
  assert_int_equal(again.n, 0); /* what was loaded is no delta */

  /* what is damaged is told, whatever byte it is */
  struct pe_err err = PE_ERR_INIT;
  for (size_t cut = 0; cut < s.nvalue[1]; cut++) {
    assert_int_equal(pe_lookup_load(l, s.key[1], 8, s.value[1], cut, &err), PE_EDATA);
  }
  assert_int_equal(pe_lookup_load(l, s.key[1], 7, s.value[1], s.nvalue[1], &err), PE_EDATA);
  pe_lookups_destroy(other);

  static struct stored names;
  memset(&names, 0, sizeof(names));
  names.fail_at = -1;
  assert_int_equal(pe_lookup_take_deltas(by_name, store, &names), 0);
  other = pe_lookups_create();
  l = define(other, customers, "name", "region", NULL);
  load_all(l, &names);
  assert_int_equal(pe_lookup_keys(l), pe_lookup_keys(by_name));
  pe_lookups_destroy(other);
}

static struct pe_lookup *load_as(struct pe_lookups *ls, enum pe_ctype region, enum pe_ctype at,
                                 uint8_t scale, const struct stored *s, int *rc,
                                 struct pe_err *err) {
  struct col cols[] = {{.name = "id", .ctype = PE_C_I64, .type_text = "bigint", .pk = 1},
                       {.name = "region", .ctype = region, .type_text = "narrow"},
                       {.name = "at", .ctype = at, .type_text = "other", .scale = scale},
                       {.name = "rate", .ctype = PE_C_F64, .type_text = "double"}};
  struct pe_table *t = make_table("customers", cols, COUNT(cols));
  const char *key = "id", *values[] = {"region", "at", "rate"};
  struct pe_lookup *l;
  assert_int_equal(pe_lookup_define(ls, t, &key, 1, values, 3, &l, err), 0);
  pe_table_unref(t);
  for (int i = 0; i < s->n && !(*rc = pe_lookup_load(l, s->key[i], s->nkey[i], s->value[i],
                                                     s->nvalue[i], err));) {
    i++;
  }
  return l;
}

static void stored_values_follow_their_columns_types(void **state) {
  (void)state;
  struct col cols[] = {
      {.name = "id", .ctype = PE_C_I32, .type_text = "int", .pk = 1},
      {.name = "region", .ctype = PE_C_I16, .type_text = "smallint"},
      {.name = "at", .ctype = PE_C_DATETIME, .type_text = "datetime(3)", .scale = 3},
      {.name = "rate", .ctype = PE_C_F32, .type_text = "float"}};
  struct pe_table *t = make_table("customers", cols, COUNT(cols));
  struct pe_lookups *ls = pe_lookups_create();
  const char *key = "id", *values[] = {"region", "at", "rate"};
  struct pe_lookup *l;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_lookup_define(ls, t, &key, 1, values, 3, &l, &err), 0);
  struct pe_batch *b = pe_batch_create();
  uint8_t *r;
  struct pe_image_meta *meta;
  assert_int_equal(pe_batch_extend(b, t, PE_OP_SNAPSHOT, 1, &r, &meta), 0);
  meta->version = 1;
  set_int(t, r, "id", (uint64_t)-5);
  set_int(t, r, "region", (uint64_t)-7);
  set_int(t, r, "at", 1704067200123000);
  float rate = 0.1f;
  memcpy(r + t->columns[3].offset, &rate, sizeof(rate));
  assert_int_equal(pe_lookups_apply(ls, b->first, 0, 1), 0);
  static struct stored s;
  memset(&s, 0, sizeof(s));
  s.fail_at = -1;
  assert_int_equal(pe_lookup_take_deltas(l, store, &s), 0);

  int rc;
  struct pe_lookups *wider = pe_lookups_create();
  l = load_as(wider, PE_C_I64, PE_C_DATETIME, 6, &s, &rc, &err);
  assert_int_equal(rc, 0);
  assert_string_equal(today(l, -5, "region"), "-7");
  assert_string_equal(today(l, -5, "at"), "2024-01-01 00:00:00.123000");
  assert_string_equal(today(l, -5, "rate"), "0.10000000149011612");
  pe_lookups_destroy(wider);
  struct pe_lookups *other = pe_lookups_create();
  load_as(other, PE_C_U64, PE_C_DATETIME, 3, &s, &rc, &err); /* -7 has no place there */
  assert_int_equal(rc, PE_EDATA);
  assert_non_null(strstr(err.text, "resync customers"));
  pe_lookups_destroy(other);
  other = pe_lookups_create();
  load_as(other, PE_C_I16, PE_C_DATETIME, 0, &s, &rc, &err); /* .123 would be lost */
  assert_int_equal(rc, PE_EDATA);
  pe_lookups_destroy(other);
  pe_lookups_destroy(ls);
  pe_batch_destroy(b);
  pe_table_unref(t);
}

static void another_version_of_the_table(void **state) {
  (void)state;
  begin(PE_OP_SNAPSHOT, 1, 10);
  row(0, 1, 7, "ann");
  apply();
  struct pe_err err = PE_ERR_INIT;
  struct col cols[] = {{.name = "added", .ctype = PE_C_I64, .type_text = "bigint"},
                       customer_cols[0],
                       customer_cols[1],
                       customer_cols[2]};
  struct pe_table *v2 = make_table("customers", cols, COUNT(cols));
  assert_int_equal(pe_lookups_table_changed(lookups, v2, &err), 0);
  assert_ptr_equal(pe_lookup_table(by_id), v2);
  assert_string_equal(today(by_id, 1, "region"), "7");

  cols[2].ctype = PE_C_U32;
  cols[2].type_text = "int unsigned";
  struct pe_table *v3 = make_table("customers", cols, COUNT(cols));
  assert_int_equal(pe_lookups_table_changed(lookups, v3, &err), PE_ECONFIG);
  assert_non_null(strstr(err.text, "start the engine again"));
  struct pe_table *v4 = make_table("customers", cols, 2);
  assert_int_equal(pe_lookups_table_changed(lookups, v4, &err), PE_ECONFIG);
  assert_non_null(strstr(err.text, "is gone"));
  pe_table_unref(v2);
  pe_table_unref(v3);
  pe_table_unref(v4);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(defining),
      T(changes_in_order),
      T(an_older_snapshot_row_is_only_past),
      T(a_key_that_is_null_is_in_no_lookup),
      T(many_keys),
      T(to_the_store_and_back),
      T(stored_values_follow_their_columns_types),
      T(another_version_of_the_table),
  };
  (void)set_null, (void)set_f64, (void)make_dest, (void)free_dest, (void)make_root,
      (void)write_module;
  (void)remove_root, (void)lua_dir, (void)out_at;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
