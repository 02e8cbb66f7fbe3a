/* Transforms over segments: what is sent, taken away and quarantined, for every rule of script.h.
 */
#include "script_support.h"

static const char *const states[] = {"new", "paid", "sent"};

static const struct col order_cols[] = {
    {.name = "id", .ctype = PE_C_U64, .type_text = "bigint unsigned", .pk = 1},
    {.name = "customer_id", .ctype = PE_C_U32, .type_text = "int unsigned"},
    {.name = "qty", .ctype = PE_C_I16, .type_text = "smallint"},
    {.name = "big", .ctype = PE_C_I64, .type_text = "bigint"},
    {.name = "price",
     .ctype = PE_C_DEC64,
     .type_text = "decimal(10,2)",
     .precision = 10,
     .scale = 2},
    {.name = "rate", .ctype = PE_C_F64, .type_text = "double"},
    {.name = "note", .ctype = PE_C_STR, .type_text = "varchar(200)"},
    {.name = "at", .ctype = PE_C_DATETIME, .type_text = "datetime(3)", .scale = 3},
    {.name = "day", .ctype = PE_C_DATE, .type_text = "date"},
    {.name = "state", .ctype = PE_C_ENUM, .type_text = "enum", .members = states, .nmembers = 3},
    {.name = "flags", .ctype = PE_C_SET, .type_text = "set", .members = states, .nmembers = 3},
    {.name = "tiny", .ctype = PE_C_U8, .type_text = "tinyint unsigned"},
    {.name = "region", .ctype = PE_C_U16, .type_text = "UInt16", .extra = true},
};
static const struct col customer_cols[] = {
    {.name = "id", .ctype = PE_C_U32, .type_text = "int unsigned", .pk = 1},
    {.name = "region", .ctype = PE_C_U16, .type_text = "smallint unsigned"},
    {.name = "name", .ctype = PE_C_STR, .type_text = "varchar(50)"},
};
static const struct col big_cols[] = {
    {.name = "id", .ctype = PE_C_U64, .type_text = "UInt64"},
    {.name = "qty", .ctype = PE_C_I32, .type_text = "Int32"},
    {.name = "note", .ctype = PE_C_STR, .type_text = "String"},
    {.name = "label", .ctype = PE_C_STR, .type_text = "String"},
};

static struct pe_table *orders, *customers, *big;
static struct pe_dest orders_dest, customers_dest, big_dest;
static struct pe_dest *routes[] = {&big_dest};
static struct pe_lookups *lookups;
static struct pe_script *script;
static struct pe_outputs outs;
static struct pe_batch *batch;
static struct pe_segment *seg;
static uint64_t version;

static const char *secret(void *arg, const char *name) {
  (void)arg;
  return strcmp(name, "TOKEN_KEY") == 0 ? "0123456789abcdef" : NULL;
}

static int try_load(const char *orders_module, const char *customers_module,
                    struct pe_script_set *set, size_t memory_max, struct pe_script **out,
                    struct pe_err *err) {
  struct pe_script_table tables[] = {
      {.table = orders,
       .dest = &orders_dest,
       .transform = orders_module,
       .routes = routes,
       .nroutes = 1},
      {.table = customers, .dest = &customers_dest, .transform = customers_module},
  };
  struct pe_script_env env = {.root = root,
                              .lua_dir = lua_dir(),
                              .tables = tables,
                              .ntables = 2,
                              .lookups = lookups,
                              .declare_only = true,
                              .secret = secret,
                              .memory_max = memory_max};
  return pe_script_create(&env, set, out, err);
}

/* The transform of orders becomes this text. */
static void load(const char *text) {
  struct pe_err err = PE_ERR_INIT;
  pe_script_destroy(script);
  script = NULL;
  write_module("orders", text);
  if (try_load("transforms.orders", NULL, NULL, 0, &script, &err)) {
    fail_msg("%s", err.text);
  }
}

static int setup(void **state) {
  (void)state;
  make_root();
  orders = make_table("orders", order_cols, COUNT(order_cols));
  customers = make_table("customers", customer_cols, COUNT(customer_cols));
  big = make_table("big_orders", big_cols, COUNT(big_cols));
  make_dest(&orders_dest, orders, "orders", "customer_id,id,region");
  make_dest(&customers_dest, customers, "customers", "id");
  make_dest(&big_dest, big, "big_orders", "id");
  lookups = pe_lookups_create();
  pe_outputs_init(&outs);
  version = 100;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  pe_script_destroy(script);
  script = NULL;
  pe_outputs_close(&outs);
  if (batch) {
    pe_batch_destroy(batch);
  }
  batch = NULL;
  pe_lookups_destroy(lookups);
  free_dest(&orders_dest);
  free_dest(&customers_dest);
  free_dest(&big_dest);
  pe_table_unref(orders);
  pe_table_unref(customers);
  pe_table_unref(big);
  remove_root();
  return 0;
}

/* A new batch with one segment of n images of t; every column NULL. */
static uint8_t *begin(struct pe_table *t, enum pe_op op, uint32_t n) {
  if (batch) {
    pe_batch_destroy(batch);
  }
  batch = pe_batch_create();
  uint8_t *rows;
  struct pe_image_meta *meta;
  assert_int_equal(pe_batch_extend(batch, t, op, n, &rows, &meta), 0);
  for (uint32_t i = 0; i < n; i++) {
    memset(rows + (size_t)i * t->row_bytes, 0xFF, t->null_bytes);
    meta[i].version = ++version;
    meta[i].ts_us = 1700000000000000 + i;
  }
  seg = batch->first;
  return rows;
}

static uint8_t *order(uint32_t i, uint64_t id, uint64_t customer, int qty) {
  uint8_t *row = seg->rows + (size_t)i * orders->row_bytes;
  set_int(orders, row, "id", id);
  set_int(orders, row, "customer_id", customer);
  set_int(orders, row, "qty", (uint64_t)(int64_t)qty);
  return row;
}

static void run_hooks(const struct pe_run_hooks *hooks) {
  struct pe_err err = PE_ERR_INIT;
  pe_outputs_clear(&outs);
  uint32_t n = seg->op == PE_OP_UPDATE ? seg->nimages / 2 : seg->nimages;
  if (pe_script_run(script, seg, 0, n, hooks, &outs, &err)) {
    fail_msg("%s", err.text);
  }
  assert_int_equal(outs.changes_in, outs.changes_out + outs.changes_filtered + outs.changes_dlq);
  assert_int_equal(outs.ndead, outs.changes_dlq);
}

static void run(void) {
  run_hooks(NULL);
}

/* One insert of an order through a transform whose body is `body`. */
static void insert_one(const char *body) {
  char text[4096];
  snprintf(text, sizeof(text),
           "local pipe = require 'pipe'\nreturn function(row, event)\n%s\nend\n", body);
  load(text);
  begin(orders, PE_OP_INSERT, 1);
  order(0, 1, 42, 5);
}

static const char *col(const char *name) {
  return text_of(orders, out_at(&outs, 0)->row, name);
}

static void expect_dead(const char *part) {
  assert_int_equal(outs.ndead, 1);
  assert_int_equal(outs.nouts, 0);
  if (!strstr(outs.dead[0].reason, part)) {
    fail_msg("reason \"%s\" lacks \"%s\"", outs.dead[0].reason, part);
  }
}

/* ---- rows ---- */

static void identity(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(try_load(NULL, NULL, NULL, 0, &script, &err), 0);
  begin(orders, PE_OP_SNAPSHOT, 3);
  order(0, 1, 1, 1);
  order(1, 2, 1, 1);
  order(2, 3, 1, 1);
  run();
  assert_int_equal(outs.nouts, 3);
  assert_ptr_equal(outs.outs[1].row, seg->rows + orders->row_bytes);
  assert_int_equal(outs.outs[2].version, seg->meta[2].version);
  assert_ptr_equal(outs.outs[0].dest, &orders_dest);

  begin(orders, PE_OP_UPDATE, 4);
  order(0, 1, 1, 1);
  order(1, 1, 1, 2); /* the key stays */
  order(2, 2, 1, 1);
  order(3, 2, 9, 1); /* the key changes */
  run();
  assert_int_equal(outs.nouts, 3);
  assert_false(outs.outs[0].deleted);
  assert_false(outs.outs[1].deleted);
  assert_true(outs.outs[2].deleted);
  assert_int_equal(outs.outs[2].version, seg->meta[2].version);
  assert_int_equal(outs.outs[2].change, 1);

  begin(orders, PE_OP_DELETE, 1);
  order(0, 1, 1, 1);
  run();
  assert_int_equal(outs.nouts, 1);
  assert_true(outs.outs[0].deleted);
}

static void in_place(void **state) {
  (void)state;
  insert_one("row.qty = row.qty + 1; row.region = 7; row.note = 'n' .. row.id_ ; return row");
  run();
  expect_dead("did you mean \"id\"?");
  insert_one("row.qty = row.qty + 1; row.region = 7; row.note = 'hello'; return row");
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("qty"), "6");
  assert_string_equal(col("region"), "7");
  assert_string_equal(col("note"), "hello");
  assert_string_equal(col("price"), "NULL");
}

static void nulls(void **state) {
  (void)state;
  insert_one(
      "assert(row.big == nil); assert(row.note == nil); row.qty = nil; row.note = ''; return row");
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("qty"), "NULL");
  assert_string_equal(col("note"), "");
}

static void wide_integers_stay_exact(void **state) {
  (void)state;
  insert_one("row.id = row.id + 1ULL; row.big = -9223372036854775807LL - 1LL; return row");
  set_int(orders, seg->rows, "id", UINT64_MAX - 1);
  run();
  assert_string_equal(col("id"), "18446744073709551615");
  assert_string_equal(col("big"), "-9223372036854775808");
  insert_one("row.big = 2^53 + 2; return row");
  run();
  expect_dead("2^53");
  insert_one("row.big = 9223372036854775808ULL; return row");
  run();
  expect_dead("orders.big (bigint)");
  insert_one("row.id = -1LL; return row");
  run();
  expect_dead("orders.id (bigint unsigned)");
  insert_one("row.qty = 12LL; row.tiny = 255ULL; return row");
  run();
  assert_string_equal(col("qty"), "12");
  assert_string_equal(col("tiny"), "255");
}

static void ranges(void **state) {
  (void)state;
  static const char *const bad[] = {"row.qty = 32768",
                                    "row.qty = -32769",
                                    "row.qty = 1.5",
                                    "row.qty = '7'",
                                    "row.qty = 0/0",
                                    "row.qty = true",
                                    "row.tiny = 256",
                                    "row.tiny = -1",
                                    "row.region = 65536",
                                    "row.qty = 40000LL",
                                    "row.qty = {}",
                                    "row.note = 7",
                                    "row.rate = 'x'",
                                    "row.price = '1.005'",
                                    "row.price = 0.1",
                                    "row.price = '123456789.00'",
                                    "row.price = 'abc'",
                                    "row.price = ''",
                                    "row.state = 'lost'",
                                    "row.state = 4",
                                    "row.flags = 'new,lost'",
                                    "row.day = '2023-02-29'",
                                    "row.day = '2023-1-1'",
                                    "row.at = '2024-01-02 03:04:05.0001'",
                                    "row.at = 5",
                                    "row.at = '2024-01-02 24:00:00'",
                                    "row.at = 1LL",
                                    "row.day = 5LL"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    char body[128];
    snprintf(body, sizeof(body), "%s; return row", bad[i]);
    insert_one(body);
    run();
    if (outs.ndead != 1 || !strstr(outs.dead[0].reason, "can't take this value exactly")) {
      fail_msg("%s: %s", bad[i], outs.ndead ? outs.dead[0].reason : "passed");
    }
  }
}

static void other_types(void **state) {
  (void)state;
  insert_one(
      "row.price = '12.5'; row.at = '2024-02-29 03:04:05.678'; row.day = '2024-02-29';"
      "row.state = 'paid'; row.flags = 'new,sent'; row.rate = 0.5; return row");
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("price"), "12.50");
  assert_string_equal(col("at"), "2024-02-29 03:04:05.678");
  assert_string_equal(col("day"), "2024-02-29");
  assert_string_equal(col("state"), "paid");
  assert_string_equal(col("flags"), "new,sent");
  assert_string_equal(col("rate"), "0.5");
  insert_one(
      "row.price = -3LL; row.at = 1000LL; row.day = -86400000000LL; row.state = 1; row.price = "
      "-0.25; return row");
  run();
  assert_string_equal(col("price"), "-0.25");
  assert_string_equal(col("at"), "1970-01-01 00:00:00.001");
  assert_string_equal(col("day"), "1969-12-31");
  assert_string_equal(col("state"), "new");
  /* read back, and zero dates as they are */
  insert_one(
      "row.at = '0000-00-00 00:00:00.000'; row.day = '2024-00-17'; assert(pipe.epoch_us(row, "
      "'day') == nil)"
      " assert(row.at == '0000-00-00 00:00:00.000') row.note = row.day; row.price = '7.10'"
      " row.note = row.note .. row.price; row.state = 'sent'; row.note = row.note .. row.state "
      "return row");
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("note"), "2024-00-177.10sent");
  assert_string_equal(col("at"), "0000-00-00 00:00:00.000");
  insert_one("row.at = '2024-01-01 00:00:00'; row.big = pipe.epoch_us(row, 'at'); return row");
  run();
  assert_string_equal(col("big"), "1704067200000000");
}

/* ---- what a transform may return ---- */

static void drop_and_dlq(void **state) {
  (void)state;
  insert_one("return nil");
  run();
  assert_int_equal(outs.nouts + outs.ndead, 0);
  assert_int_equal(outs.changes_filtered, 1);
  insert_one("return false");
  run();
  assert_int_equal(outs.changes_filtered, 1);
  insert_one("row.qty = 0; return pipe.dlq('too many', 'qty')");
  run();
  expect_dead("too many");
  assert_string_equal(outs.dead[0].column, "qty");
  assert_null(outs.dead[0].traceback);
  /* the image as it came */
  assert_string_equal(text_of(orders, outs.dead[0].row, "qty"), "5");
  insert_one("return 7");
  run();
  expect_dead("a transform returned a number");
  insert_one("return { pipe.dlq('x') }");
  run();
  expect_dead("pipe.dlq can't be one of several rows");
  insert_one("return event.before or {event}");
  run();
  expect_dead("among its rows");
}

static void several_rows(void **state) {
  (void)state;
  insert_one(
      "local c = pipe.copy(row); c.qty = 1; row.qty = 2; local d = pipe.copy(c); d.qty = 3; return "
      "{ row, c, d }");
  run();
  assert_int_equal(outs.nouts, 3);
  assert_string_equal(text_of(orders, outs.outs[0].row, "qty"), "2");
  assert_string_equal(text_of(orders, outs.outs[1].row, "qty"), "1");
  assert_string_equal(text_of(orders, outs.outs[2].row, "qty"), "3");
  insert_one("return {}");
  run();
  assert_int_equal(outs.changes_filtered, 1);
  insert_one("local t = {} for i = 1, 10001 do t[i] = row end return t");
  run();
  expect_dead("more rows out of one");
}

static void routes_and_new_rows(void **state) {
  (void)state;
  insert_one(
      "row.note = 'abc'; local r = pipe.route(row, 'big_orders'); r.label = 'x'; return { row, r "
      "}");
  run();
  assert_int_equal(outs.nouts, 2);
  assert_ptr_equal(outs.outs[1].dest, &big_dest);
  assert_string_equal(text_of(big, outs.outs[1].row, "id"), "1");
  assert_string_equal(text_of(big, outs.outs[1].row, "qty"), "5");
  assert_string_equal(text_of(big, outs.outs[1].row, "note"), "abc");
  assert_string_equal(text_of(big, outs.outs[1].row, "label"), "x");
  insert_one("return pipe.row('big_orders', { id = 9ULL, label = 'y' })");
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(text_of(big, outs.outs[0].row, "id"), "9");
  assert_string_equal(text_of(big, outs.outs[0].row, "qty"), "NULL");
  insert_one("return pipe.route(row, 'big_order')");
  run();
  expect_dead("tables.orders.routes");
  insert_one("return pipe.row('big_orders', { nme = 1 })");
  run();
  expect_dead("no column");
}

/* ---- both images ---- */

static const char keep_small[] = "return function(row) if row.qty < 5 then return row end end\n";

static void a_filter_is_applied_to_both_images(void **state) {
  (void)state;
  load(keep_small);
  begin(orders, PE_OP_UPDATE, 8);
  order(0, 1, 1, 3), order(1, 1, 1, 7); /* moves out */
  order(2, 2, 1, 7), order(3, 2, 1, 3); /* moves in */
  order(4, 3, 1, 7), order(5, 3, 1, 8); /* stays out */
  order(6, 4, 1, 1), order(7, 4, 1, 2); /* stays in */
  run();
  assert_int_equal(outs.nouts, 3);
  assert_true(outs.outs[0].deleted);
  assert_int_equal(outs.outs[0].change, 0);
  assert_int_equal(outs.outs[0].version, seg->meta[0].version);
  assert_false(outs.outs[1].deleted);
  assert_int_equal(outs.outs[1].version, seg->meta[3].version);
  assert_false(outs.outs[2].deleted);
  assert_int_equal(outs.changes_filtered, 1);
  assert_int_equal(outs.changes_out, 3);
  begin(orders, PE_OP_DELETE, 2);
  order(0, 1, 1, 7);
  order(1, 1, 1, 3);
  run();
  assert_int_equal(outs.nouts, 1);
  assert_int_equal(outs.changes_filtered, 1);
}

static void fan_out_tombstones_what_is_not_replaced(void **state) {
  (void)state;
  /* one row for each piece, told apart by id */
  load(
      "local pipe = require 'pipe'\n"
      "return function(row) local t = {}\n"
      "for i = 1, row.qty do local c = pipe.copy(row); c.id = c.id * 100ULL + i; t[i] = c end "
      "return t end");
  begin(orders, PE_OP_UPDATE, 2);
  order(0, 1, 1, 4), order(1, 1, 1, 2);
  run();
  assert_int_equal(outs.nouts, 4);
  assert_false(outs.outs[1].deleted);
  assert_true(outs.outs[2].deleted);
  assert_string_equal(text_of(orders, outs.outs[2].row, "id"), "103");
  assert_string_equal(text_of(orders, outs.outs[3].row, "id"), "104");
}

static void a_route_is_a_place_too(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "return function(row) if row.qty > 5 then return pipe.route(row, 'big_orders') end return "
      "row end");
  begin(orders, PE_OP_UPDATE, 2);
  order(0, 1, 1, 9), order(1, 1, 1, 2);
  run();
  assert_int_equal(outs.nouts, 2);
  assert_ptr_equal(outs.outs[0].dest, &orders_dest);
  assert_ptr_equal(outs.outs[1].dest, &big_dest);
  assert_true(outs.outs[1].deleted);
}

static void quarantine_keeps_the_last_good_rows(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "return function(row) if row.qty > 5 then return pipe.dlq('too many') end\n"
      "if row.qty < 0 then error('negative ' .. row.note) end return row end");
  begin(orders, PE_OP_UPDATE, 8);
  order(0, 1, 1, 1), order(1, 1, 1, 9); /* after is quarantined */
  order(2, 2, 1, 9), order(3, 2, 2, 1); /* before was: nothing to take away */
  set_str(orders, order(4, 3, 1, -1), "note", "secret text"), order(5, 3, 1, 1); /* before fails */
  order(6, 4, 1, 1), order(7, 4, 2, 2); /* goes on behind the failure */
  run();
  assert_int_equal(outs.ndead, 1);
  assert_int_equal(outs.dead[0].change, 0);
  assert_string_equal(text_of(orders, outs.dead[0].last_good, "qty"), "1");
  assert_string_equal(text_of(orders, outs.dead[0].row, "qty"), "9");
  assert_int_equal(outs.dead[0].meta.version, seg->meta[1].version);
  assert_int_equal(outs.nouts, 4);
  assert_int_equal(outs.outs[0].change, 1);
  assert_false(outs.outs[0].deleted);
  assert_int_equal(outs.outs[1].change, 2); /* the change that mends a row arrives */
  assert_false(outs.outs[1].deleted);
  assert_int_equal(outs.outs[2].change, 3);
  assert_true(outs.outs[3].deleted);
}

static void a_delete_that_fails_is_dead(void **state) {
  (void)state;
  load(
      "return function(row) if row.qty < 0 then error('negative ' .. row.note) end return row end");
  begin(orders, PE_OP_DELETE, 2);
  set_str(orders, order(0, 3, 1, -1), "note", "secret text");
  order(1, 4, 1, 1);
  run();
  assert_int_equal(outs.ndead, 1);
  assert_int_equal(outs.dead[0].change, 0);
  assert_non_null(strstr(outs.dead[0].reason, "transforms/orders.lua:1: negative "));
  assert_null(strstr(outs.dead[0].reason, "secret"));
  assert_non_null(outs.dead[0].traceback);
  assert_null(strstr(outs.dead[0].traceback, "secret"));
  assert_int_equal(outs.nouts, 1);
  assert_true(outs.outs[0].deleted);
}

static uint8_t good[512];
static unsigned dead_calls, good_calls;
static bool quarantined;
static void on_dead(void *arg, const struct pe_dead *d, const uint8_t *after) {
  (void)arg;
  dead_calls++;
  assert_string_equal(text_of(orders, after, "qty"), "9");
  memcpy(good, d->last_good, orders->row_bytes);
  quarantined = true;
}
static const uint8_t *on_last_good(void *arg, struct pe_table *t, const uint8_t *before,
                                   struct pe_arena *scratch) {
  (void)arg, (void)t, (void)before, (void)scratch;
  good_calls++;
  return quarantined ? good : NULL;
}

static void last_good_takes_the_place_of_the_before_image(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "return function(row) if row.qty > 5 then return pipe.dlq('too many') end return row end");
  struct pe_run_hooks hooks = {.dead = on_dead, .last_good = on_last_good};
  quarantined = false;
  begin(orders, PE_OP_UPDATE, 4);
  order(0, 1, 11, 1), order(1, 1, 22, 9); /* quarantined: (1, 11) stays */
  order(2, 1, 22, 9), order(3, 1, 33, 1); /* later in the same run: (1, 11) goes */
  run_hooks(&hooks);
  assert_int_equal(dead_calls, 1);
  assert_int_equal(outs.nouts, 2);
  assert_true(outs.outs[1].deleted);
  assert_string_equal(text_of(orders, outs.outs[1].row, "customer_id"), "11");
  assert_int_equal(outs.outs[1].version, seg->meta[2].version);
}

static void the_event(void **state) {
  (void)state;
  load(
      "return function(row, event)\n"
      "assert(event.table == 'orders') row.note = event.op .. ' ' .. event.image\n"
      "if event.before then row.note = row.note .. ' ' .. event.before.qty end\n"
      "row.big = event.time_us; row.rate = tonumber(event.version) return row end");
  begin(orders, PE_OP_UPDATE, 2);
  order(0, 1, 1, 3), order(1, 1, 2, 4);
  run();
  assert_int_equal(outs.nouts, 2);
  assert_string_equal(text_of(orders, outs.outs[0].row, "note"), "update after 3");
  assert_string_equal(text_of(orders, outs.outs[0].row, "big"), "1700000000000001");
  assert_string_equal(text_of(orders, outs.outs[1].row, "note"), "update before 3");
  insert_one("assert(event.before == nil); row.note = event.op; return row");
  run();
  assert_string_equal(col("note"), "insert");
  insert_one("event.op = 'x'; return row");
  run();
  expect_dead("event can only be read");
  insert_one("return event.tabel");
  run();
  expect_dead("did you mean \"table\"?");
  load("return function(row, event) event.before.qty = 1 return row end");
  begin(orders, PE_OP_DELETE, 1);
  order(0, 1, 1, 3);
  run();
  expect_dead("event.before can only be read");
}

/* ---- failures ---- */

static void one_failure_costs_one_row(void **state) {
  (void)state;
  load("return function(row) if row.qty == 3 then local x = nil; return x.y end return row end");
  begin(orders, PE_OP_INSERT, 100);
  for (uint32_t i = 0; i < 100; i++) {
    order(i, i, 1, (int)(i % 10));
  }
  run();
  assert_int_equal(outs.ndead, 10);
  assert_int_equal(outs.nouts, 90);
  assert_non_null(
      strstr(outs.dead[0].reason, "transforms/orders.lua:1: attempt to index local 'x'"));
  assert_int_equal(outs.dead[3].change, 33);
}

static void values_are_cut_out_of_messages(void **state) {
  (void)state;
  insert_one("error(row.note)");
  set_str(orders, seg->rows, "note", "alice@example.com");
  run();
  expect_dead("[cut]");
  assert_null(strstr(outs.dead[0].reason, "alice"));
  insert_one("return pipe.dlq('bad mail ' .. row.note)");
  set_str(orders, seg->rows, "note", "alice@example.com");
  run();
  expect_dead("bad mail [cut]");
  insert_one("return row[row.note]");
  set_str(orders, seg->rows, "note", "alice@example.com");
  run();
  expect_dead("has no column '...'");
  insert_one("error({})");
  run();
  expect_dead("raised a table");
  insert_one("return pipe.dlq('x', row.note)");
  set_str(orders, seg->rows, "note", "alice@example.com");
  run();
  assert_null(strstr(outs.dead[0].column, "alice"));
}

static void a_memory_bomb_costs_one_row(void **state) {
  (void)state;
  struct pe_err err = PE_ERR_INIT;
  write_module(
      "orders",
      "return function(row) if row.qty == 3 then local t = {} for i = 1, 1e9 do t[i] = {} end end\n"
      "row.note = 'n' return row end");
  assert_int_equal(try_load("transforms.orders", NULL, NULL, 8 << 20, &script, &err), 0);
  char hash[65];
  strcpy(hash, pe_script_set_of(script)->hash);
  begin(orders, PE_OP_INSERT, 10);
  for (uint32_t i = 0; i < 10; i++) {
    order(i, i, 1, (int)i);
  }
  run();
  assert_int_equal(outs.ndead, 1);
  assert_int_equal(outs.dead[0].change, 3);
  assert_non_null(strstr(outs.dead[0].reason, "memory"));
  assert_int_equal(outs.nouts, 9);
  assert_string_equal(hash, pe_script_set_of(script)->hash);
}

static void kept_rows_are_harmless(void **state) {
  (void)state;
  load(
      "local kept = {}\nreturn function(row) if kept.row then row.note = tostring(kept.row.big) "
      "end\n"
      "kept.row = kept.row or row return row end");
  begin(orders, PE_OP_INSERT, 1);
  set_int(orders, order(0, 1, 1, 1), "big", 5);
  run();
  begin(orders, PE_OP_INSERT, 1);
  order(0, 2, 1, 1);
  run();
  assert_int_equal(outs.nouts, 1);
}

static void compiled_code_checks_as_well(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "return function(row)\n"
      "  row.tiny = row.qty\n"
      "  row.big = row.big + 1LL\n"
      "  row.note = row.state\n"
      "  if row.qty == 77 then return pipe.dlq('77', 'qty') end\n"
      "  if row.qty == 78 then return nil end\n"
      "  if row.qty == 79 then return { row, pipe.copy(row) } end\n"
      "  return row\n"
      "end");
  for (int round = 0; round < 3; round++) {
    begin(orders, PE_OP_INSERT, 2000);
    for (uint32_t i = 0; i < 2000; i++) {
      uint8_t *row = order(i, i, 1, i == 1500 ? 256 : i == 1600 ? -1 : (int)(i % 100));
      set_int(orders, row, "big", (uint64_t)INT64_MAX - 5000 + i);
      set_int(orders, row, "state", i % 2 + 1);
    }
    set_null(orders, seg->rows + (size_t)1700 * orders->row_bytes, "qty");
    run();
    assert_int_equal(outs.ndead, 20 + 2);
    assert_int_equal(outs.changes_filtered, 20);
    assert_int_equal(outs.nouts, 2000 - 22 - 20 + 20);
    for (size_t i = 0; i < outs.nouts; i++) {
      const struct pe_out *o = &outs.outs[i];
      char big_text[32];
      snprintf(big_text, sizeof(big_text), "%lld",
               (long long)(INT64_MAX - 5000 + (int64_t)o->change + 1));
      assert_string_equal(text_of(orders, o->row, "big"), big_text);
      assert_string_equal(text_of(orders, o->row, "note"), o->change % 2 ? "paid" : "new");
      assert_string_equal(text_of(orders, o->row, "tiny"), text_of(orders, o->row, "qty"));
    }
  }
}

static void other_failures(void **state) {
  (void)state;
  insert_one("local function f() return 1 + f() end return f()");
  run();
  expect_dead("stack overflow");
  /* through a route, a value that the other table can't hold */
  insert_one("row.note = 'x'; local r = pipe.row('big_orders', { qty = row.id }) return r");
  set_int(orders, seg->rows, "id", UINT64_MAX);
  run();
  expect_dead("big_orders.qty (Int32) can't take this value exactly");
  assert_null(strstr(outs.dead[0].reason, "host/"));
  assert_int_equal(strncmp(outs.dead[0].reason, "big_orders", 10), 0);
  insert_one(
      "local ok, e = pcall(function() row.qty = 1e9 end) assert(not ok) row.note = 'caught' return "
      "row");
  run();
  assert_string_equal(col("note"), "caught");
  insert_one("return row.qty + row.note");
  run();
  expect_dead("transforms/orders.lua:3: attempt to perform arithmetic on field 'note'");
}

static void a_variant_in_error_was_never_written(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "local customers = pipe.lookup { table = 'customers', key = 'id', values = 'region' }\n"
      "return function(row) row.region = customers[row.customer_id].region return row end");
  begin(customers, PE_OP_SNAPSHOT, 1);
  uint8_t *c = seg->rows;
  set_int(customers, c, "id", 42);
  set_int(customers, c, "region", 7);
  assert_int_equal(pe_lookups_apply(lookups, seg, 0, 1), 0);
  begin(customers, PE_OP_DELETE, 1);
  set_int(customers, seg->rows, "id", 42);
  set_int(customers, seg->rows, "region", 7);
  assert_int_equal(pe_lookups_apply(lookups, seg, 0, 1), 0);
  begin(orders, PE_OP_DELETE, 2);
  order(0, 1, 42, 1); /* fails for today's customer, who is gone; written with region 7 */
  order(1, 1, 43, 1); /* fails with every value there is */
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("region"), "7");
  assert_int_equal(outs.ndead, 1);
  assert_int_equal(outs.dead[0].change, 1);
}

static void a_version_nobody_announced_is_bound_at_once(void **state) {
  (void)state;
  load("return function(row) row.note = 'seen' return row end");
  struct pe_table *same = make_table("orders", order_cols, COUNT(order_cols));
  begin(same, PE_OP_INSERT, 1);
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("note"), "seen");
  struct pe_table *stranger = make_table("strangers", order_cols, 2);
  begin(stranger, PE_OP_INSERT, 1);
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_script_run(script, seg, 0, 1, NULL, &outs, &err), PE_EINTERNAL);
  pe_batch_destroy(batch);
  batch = NULL;
  pe_table_unref(stranger);
  pe_table_unref(same);
}

static void part_of_a_segment(void **state) {
  (void)state;
  load("return function(row, event) row.note = event.before and 'b' or 'n' return row end");
  begin(orders, PE_OP_UPDATE, 10);
  for (uint32_t i = 0; i < 10; i++) {
    order(i, i / 2, i, 1);
  }
  struct pe_err err = PE_ERR_INIT;
  pe_outputs_clear(&outs);
  assert_int_equal(pe_script_run(script, seg, 2, 2, NULL, &outs, &err), 0);
  assert_int_equal(outs.changes_in, 2);
  assert_int_equal(outs.nouts, 4);
  assert_int_equal(outs.outs[0].change, 2);
  assert_string_equal(text_of(orders, outs.outs[0].row, "customer_id"), "5");
  assert_string_equal(text_of(orders, outs.outs[3].row, "customer_id"), "6");
  assert_int_equal(outs.outs[3].change, 3);
  assert_int_equal(outs.outs[3].version, seg->meta[6].version);
}

/* ---- the sandbox ---- */

static void loads_that_fail(void **state) {
  (void)state;
  static const struct {
    const char *text, *part;
  } bad[] = {
      {"return function(row", "transforms/orders.lua:1:"},
      {"return 7", "must return a function"},
      {"local x = os.time() return function(r) return r end", "'os' is not there"},
      {"local x = math.random() return function(r) return r end", "math.random"},
      {"x = 1 return function(r) return r end", "global 'x' is assigned"},
      {"local x = strng return function(r) return r end", "did you mean \"string\"?"},
      {"require 'ffi' return function(r) return r end", "there is no module"},
      {"require 'pipe.host.api' return function(r) return r end", "not for transforms"},
      {"require 'transforms.orders' return function(r) return r end", "requires itself"},
      {"local p = require 'pipe' p.lokup{} return function(r) return r end",
       "did you mean \"lookup\"?"},
      {"local p = require 'pipe' p.lookup{table='customer', key='id', values='region'}",
       "did you mean \"customers\"?"},
      {"local p = require 'pipe' p.lookup{table='customers', key='id', values='regoin'}",
       "did you mean \"region\"?"},
      {"local p = require 'pipe' p.token{key = p.secret 'NOT_SET'}",
       "environment variable NOT_SET"},
      {"local p = require 'pipe' p.token{key = 'abc'}", "pipe.secret"},
      {"\033LJ", "bytecode"},
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    struct pe_err err = PE_ERR_INIT;
    write_module("orders", bad[i].text);
    int rc = try_load("transforms.orders", NULL, NULL, 0, &script, &err);
    if (!rc || !strstr(err.text, bad[i].part)) {
      fail_msg("%s: %s", bad[i].text, rc ? err.text : "loads");
    }
    assert_true(rc == PE_ESCRIPT || rc == PE_ECONFIG);
  }
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(try_load("transforms.nothing", NULL, NULL, 0, &script, &err), PE_ESCRIPT);
  assert_non_null(strstr(err.text, "transforms.nothing"));
  assert_int_equal(try_load("../x", NULL, NULL, 0, &script, &err), PE_ESCRIPT);
}

/* ---- sets ---- */

static void sets_name_what_runs(void **state) {
  (void)state;
  write_module("units", "return { factor = 2 }");
  load(
      "local units = require 'transforms.units'\nreturn function(row) row.qty = row.qty * "
      "units.factor return row end");
  struct pe_script_set *first = pe_script_set_ref(pe_script_set_of(script));
  assert_int_equal(first->nfiles, 3);
  assert_string_equal(first->files[1].module, "transforms.orders");
  assert_string_equal(first->files[1].path, "transforms/orders.lua");

  struct pe_err err = PE_ERR_INIT;
  struct pe_script_set *stored;
  assert_int_equal(pe_script_set_build(first->files, first->nfiles, &stored, &err), 0);
  assert_string_equal(stored->hash, first->hash);

  write_module("units", "return { factor = 3 }");
  load(
      "local units = require 'transforms.units'\nreturn function(row) row.qty = row.qty * "
      "units.factor return row end");
  assert_string_not_equal(pe_script_set_of(script)->hash, first->hash);

  /* another use of the same modules is another set */
  struct pe_script *other = NULL;
  assert_int_equal(try_load("transforms.orders", "transforms.orders", NULL, 0, &other, &err), 0);
  assert_string_not_equal(pe_script_set_of(other)->hash, pe_script_set_of(script)->hash);
  pe_script_destroy(other);

  /* the stored set runs as it was, whatever the files say now and the pipeline names */
  struct pe_script *replay = NULL;
  assert_int_equal(try_load(NULL, NULL, stored, 0, &replay, &err), 0);
  assert_string_equal(pe_script_set_of(replay)->hash, first->hash);
  pe_script_destroy(script);
  script = replay;
  begin(orders, PE_OP_INSERT, 1);
  order(0, 1, 1, 5);
  run();
  assert_string_equal(col("qty"), "10");
  pe_script_set_unref(first);
  pe_script_set_unref(stored);
}

static void a_changed_table_gets_new_accessors(void **state) {
  (void)state;
  load("return function(row) if row.qty then row.note = 'v' end return row end");
  struct col cols[COUNT(order_cols) + 1];
  memcpy(cols, order_cols, sizeof(order_cols));
  cols[COUNT(order_cols)] = cols[COUNT(order_cols) - 1];
  cols[COUNT(order_cols) - 1] =
      (struct col){.name = "more", .ctype = PE_C_I64, .type_text = "bigint"};
  struct pe_table *v2 = make_table("orders", cols, COUNT(cols));
  struct pe_dest d2;
  make_dest(&d2, v2, "orders", "id");
  struct pe_script_table st = {.table = v2, .dest = &d2, .transform = "transforms.orders"};
  struct pe_err err = PE_ERR_INIT;
  assert_int_equal(pe_script_table_changed(script, &st, &err), 0);
  begin(v2, PE_OP_INSERT, 1);
  set_int(v2, seg->rows, "qty", 3);
  run();
  assert_int_equal(outs.nouts, 1);
  assert_ptr_equal(outs.outs[0].dest, &d2);
  assert_string_equal(text_of(v2, outs.outs[0].row, "note"), "v");
  pe_script_destroy(script);
  script = NULL;
  free_dest(&d2);
  pe_batch_destroy(batch);
  batch = NULL;
  pe_table_unref(v2);
}

/* ---- lookups ---- */

static const char with_region[] =
    "local pipe = require 'pipe'\n"
    "local customers = pipe.lookup { table = 'customers', key = 'id', values = { 'region', 'name' "
    "} }\n"
    "return function(row)\n"
    "  local c = customers[row.customer_id]\n"
    "  if not c then return pipe.dlq 'unknown customer' end\n"
    "  row.region = c.region\n"
    "  row.note = c.name\n"
    "  return row\n"
    "end\n";

static void customer(uint32_t i, uint64_t id, uint64_t region, const char *name) {
  uint8_t *row = seg->rows + (size_t)i * customers->row_bytes;
  set_int(customers, row, "id", id);
  set_int(customers, row, "region", region);
  set_str(customers, row, "name", name);
}

static void apply(void) {
  uint32_t n = seg->op == PE_OP_UPDATE ? seg->nimages / 2 : seg->nimages;
  assert_int_equal(pe_lookups_apply(lookups, seg, 0, n), 0);
}

static void lookups_answer(void **state) {
  (void)state;
  load(with_region);
  begin(customers, PE_OP_SNAPSHOT, 2);
  customer(0, 42, 7, "ann");
  customer(1, 43, 8, "bob");
  apply();
  begin(orders, PE_OP_INSERT, 2);
  order(0, 1, 42, 1);
  order(1, 2, 99, 1);
  run();
  assert_int_equal(outs.nouts, 1);
  assert_string_equal(col("region"), "7");
  assert_string_equal(col("note"), "ann");
  assert_int_equal(outs.ndead, 1);
  assert_string_equal(outs.dead[0].reason, "unknown customer");
}

static void tombstones_name_what_was_written(void **state) {
  (void)state;
  load(with_region);
  begin(customers, PE_OP_SNAPSHOT, 1);
  customer(0, 42, 7, "ann");
  apply();
  begin(customers, PE_OP_UPDATE, 2);
  customer(0, 42, 7, "ann");
  customer(1, 42, 9, "ann");
  apply();
  /* the order may lie in region 7 or 9 */
  begin(orders, PE_OP_UPDATE, 2);
  order(0, 1, 42, 1), order(1, 1, 42, 2);
  run();
  assert_int_equal(outs.nouts, 2);
  assert_string_equal(text_of(orders, outs.outs[0].row, "region"), "9");
  assert_true(outs.outs[1].deleted);
  assert_string_equal(text_of(orders, outs.outs[1].row, "region"), "7");
  begin(orders, PE_OP_DELETE, 1);
  order(0, 1, 42, 2);
  run();
  assert_int_equal(outs.nouts, 2);
  assert_true(outs.outs[0].deleted && outs.outs[1].deleted);
  /* the customer goes: its orders are still found */
  begin(customers, PE_OP_DELETE, 1);
  customer(0, 42, 9, "ann");
  apply();
  begin(orders, PE_OP_DELETE, 1);
  order(0, 1, 42, 2);
  run();
  assert_int_equal(outs.nouts, 2);
  assert_int_equal(outs.ndead, 0);
  begin(orders, PE_OP_INSERT, 1);
  order(0, 1, 42, 2);
  run();
  expect_dead("unknown customer");
}

static void nothing_is_a_past_value_where_rows_were_written_with_it(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "local customers = pipe.lookup { table = 'customers', key = 'id', values = 'region' }\n"
      "return function(row) local c = customers[row.customer_id]; row.region = c and c.region or 0 "
      "return row end");
  begin(orders, PE_OP_INSERT, 1);
  order(0, 1, 42, 1);
  run();
  assert_string_equal(col("region"), "0");
  begin(customers, PE_OP_INSERT, 1);
  customer(0, 42, 7, "ann");
  apply();
  begin(orders, PE_OP_UPDATE, 2);
  order(0, 1, 42, 1), order(1, 1, 42, 2);
  run();
  assert_int_equal(outs.nouts, 2);
  assert_string_equal(text_of(orders, outs.outs[0].row, "region"), "7");
  assert_true(outs.outs[1].deleted);
  assert_string_equal(text_of(orders, outs.outs[1].row, "region"), "0");
}

static void too_many_past_values_are_told(void **state) {
  (void)state;
  load(with_region);
  begin(customers, PE_OP_SNAPSHOT, 1);
  customer(0, 42, 0, "ann");
  apply();
  for (uint64_t i = 0; i < 70; i++) {
    begin(customers, PE_OP_UPDATE, 2);
    customer(0, 42, i, "ann");
    customer(1, 42, i + 1, "ann");
    apply();
  }
  begin(orders, PE_OP_DELETE, 1);
  order(0, 1, 42, 2);
  run();
  expect_dead("more than 64 combinations");
}

static void keys_of_every_kind(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "local byname = pipe.lookup { table = 'customers', key = 'name', values = { 'id' } }\n"
      "local both = pipe.lookup { table = 'customers', key = { 'id', 'name' }, values = { 'region' "
      "} }\n"
      "local byid = pipe.lookup { table = 'customers', key = 'id', values = { 'region', 'name' } "
      "}\n"
      "return function(row)\n"
      "  assert(byname['bob'].id == 43) assert(byname:get('bob').id == 43) assert(byname['x'] == "
      "nil)\n"
      "  assert(both:get(43, 'bob').region == 8) assert(both:get(43LL, 'bob').region == 8)\n"
      "  assert(both:get(43, 'ann') == nil) assert(both:get(nil, 'ann') == nil)\n"
      "  assert(byid[43LL].region == 8) assert(byid[43ULL].region == 8) assert(byid:get(43).name "
      "== 'bob')\n"
      "  assert(byid[43.5] == nil) assert(byid[-1] == nil) assert(byid[2^60] == nil) "
      "assert(byid['43'] == nil)\n"
      "  local a, b = byid[42], byid[43]\n"
      "  row.note = a.name .. b.name\n"
      "  return row\nend\n");
  begin(customers, PE_OP_SNAPSHOT, 2);
  customer(0, 42, 7, "ann");
  customer(1, 43, 8, "bob");
  apply();
  begin(orders, PE_OP_INSERT, 300);
  for (uint32_t i = 0; i < 300; i++) {
    order(i, i, 42, 1);
  }
  run();
  if (outs.ndead) {
    fail_msg("%s\n%s", outs.dead[0].reason, outs.dead[0].traceback);
  }
  assert_string_equal(text_of(orders, outs.outs[299].row, "note"), "annbob");
  insert_one("kept.x = 1 return row");
  run();
  expect_dead("no global");
}

static void tokens(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\n"
      "local token = pipe.token { key = pipe.secret 'TOKEN_KEY' }\n"
      "return function(row) assert(token(nil) == nil) assert(token(42) == token('42')) "
      "assert(token(42LL) == token(42))\n"
      "row.note = token:email(row.note) return row end");
  begin(orders, PE_OP_INSERT, 2);
  set_str(orders, order(0, 1, 1, 1), "note", "ann@example.com");
  set_str(orders, order(1, 1, 1, 1), "note", "no address");
  run();
  assert_int_equal(outs.nouts, 2);
  const char *mail = col("note");
  assert_int_equal(strncmp(mail, "tok_1_", 6), 0);
  assert_string_equal(strchr(mail, '@'), "@example.com");
  assert_int_equal(strlen(mail), 6 + 24 + strlen("@example.com"));
  assert_int_equal(strlen(text_of(orders, outs.outs[1].row, "note")), 30);
}

static void a_lookup_that_nobody_filled_is_refused(void **state) {
  (void)state;
  struct pe_script_table tables[] = {
      {.table = orders, .dest = &orders_dest, .transform = "transforms.orders"},
      {.table = customers, .dest = &customers_dest},
  };
  struct pe_script_env env = {.root = root,
                              .lua_dir = lua_dir(),
                              .tables = tables,
                              .ntables = 2,
                              .lookups = lookups,
                              .secret = secret};
  struct pe_err err = PE_ERR_INIT;
  write_module("orders", with_region);
  assert_int_equal(pe_script_create(&env, NULL, &script, &err), PE_ESCRIPT);
  assert_non_null(strstr(err.text, "lookup customers(id):region,name is new"));
  assert_int_equal(pe_lookups_count(lookups), 0);
  load(with_region); /* declares it */
  struct pe_script *second = NULL;
  assert_int_equal(pe_script_create(&env, NULL, &second, &err), 0);
  assert_int_equal(pe_lookups_count(lookups), 1);
  pe_script_destroy(second);
}

static void wide_tables(void **state) {
  (void)state;
  enum { WIDE = 500 };
  static struct col cols[WIDE];
  static char names[WIDE][8];
  for (int i = 0; i < WIDE; i++) {
    snprintf(names[i], sizeof(names[i]), "c%d", i);
    cols[i] =
        (struct col){.name = names[i], .ctype = i % 2 ? PE_C_U32 : PE_C_STR, .type_text = "x"};
  }
  pe_table_unref(orders);
  free_dest(&orders_dest);
  orders = make_table("orders", cols, WIDE);
  make_dest(&orders_dest, orders, "orders", "c1");
  load("return function(row) row.c499 = row.c1 row.c498 = row.c0 .. 'x' return row end");
  begin(orders, PE_OP_INSERT, 200);
  for (uint32_t i = 0; i < 200; i++) {
    set_int(orders, seg->rows + (size_t)i * orders->row_bytes, "c1", UINT32_MAX - i);
    set_str(orders, seg->rows + (size_t)i * orders->row_bytes, "c0", "a");
  }
  run();
  assert_int_equal(outs.nouts, 200);
  assert_string_equal(text_of(orders, outs.outs[0].row, "c499"), "4294967295");
  assert_string_equal(text_of(orders, outs.outs[199].row, "c499"), "4294967096");
  assert_string_equal(text_of(orders, outs.outs[199].row, "c498"), "ax");
  assert_string_equal(text_of(orders, outs.outs[199].row, "c497"), "NULL");
}

static double counted;
static void on_counter(void *arg, const char *name, double value) {
  (void)arg;
  assert_string_equal(name, "seen");
  counted = value;
}

static void counters(void **state) {
  (void)state;
  load(
      "local pipe = require 'pipe'\nlocal seen = pipe.counter 'seen'\n"
      "return function(row) seen:add(2) pipe.log('debug', 'a row') return row end");
  begin(orders, PE_OP_INSERT, 3);
  run();
  pe_script_each_counter(script, on_counter, NULL);
  assert_true(counted == 6);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(identity),
      T(in_place),
      T(nulls),
      T(wide_integers_stay_exact),
      T(ranges),
      T(other_types),
      T(drop_and_dlq),
      T(several_rows),
      T(routes_and_new_rows),
      T(a_filter_is_applied_to_both_images),
      T(fan_out_tombstones_what_is_not_replaced),
      T(a_route_is_a_place_too),
      T(quarantine_keeps_the_last_good_rows),
      T(a_delete_that_fails_is_dead),
      T(last_good_takes_the_place_of_the_before_image),
      T(the_event),
      T(one_failure_costs_one_row),
      T(values_are_cut_out_of_messages),
      T(a_memory_bomb_costs_one_row),
      T(kept_rows_are_harmless),
      T(compiled_code_checks_as_well),
      T(other_failures),
      T(a_variant_in_error_was_never_written),
      T(a_version_nobody_announced_is_bound_at_once),
      T(part_of_a_segment),
      T(loads_that_fail),
      T(sets_name_what_runs),
      T(a_changed_table_gets_new_accessors),
      T(lookups_answer),
      T(tombstones_name_what_was_written),
      T(nothing_is_a_past_value_where_rows_were_written_with_it),
      T(too_many_past_values_are_told),
      T(keys_of_every_kind),
      T(a_lookup_that_nobody_filled_is_refused),
      T(wide_tables),
      T(tokens),
      T(counters),
  };
  (void)set_f64;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
