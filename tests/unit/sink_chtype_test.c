/* ClickHouse type texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "sink/chtype.h"

struct expected {
  const char *text;
  enum pe_chkind kind;
  uint32_t width, scale, precision;
  bool nullable;
  const char *wire; /* NULL: as the text */
  const char *zone;
};

static const struct expected all[] = {
    {"Int8", PE_CH_INT, 1, 0, 0, false, NULL, NULL},
    {"Int16", PE_CH_INT, 2, 0, 0, false, NULL, NULL},
    {"Int32", PE_CH_INT, 4, 0, 0, false, NULL, NULL},
    {"Int64", PE_CH_INT, 8, 0, 0, false, NULL, NULL},
    {"Int128", PE_CH_INT, 16, 0, 0, false, NULL, NULL},
    {"Int256", PE_CH_INT, 32, 0, 0, false, NULL, NULL},
    {"UInt8", PE_CH_UINT, 1, 0, 0, false, NULL, NULL},
    {"UInt64", PE_CH_UINT, 8, 0, 0, false, NULL, NULL},
    {"UInt256", PE_CH_UINT, 32, 0, 0, false, NULL, NULL},
    {"Bool", PE_CH_UINT, 1, 0, 0, false, NULL, NULL},
    {"Float32", PE_CH_FLOAT, 4, 0, 0, false, NULL, NULL},
    {"Nullable(Float64)", PE_CH_FLOAT, 8, 0, 0, true, NULL, NULL},
    {"Decimal(9, 2)", PE_CH_DECIMAL, 4, 2, 9, false, NULL, NULL},
    {"Decimal(10, 2)", PE_CH_DECIMAL, 8, 2, 10, false, NULL, NULL},
    {"Decimal(38, 38)", PE_CH_DECIMAL, 16, 38, 38, false, NULL, NULL},
    {"Nullable(Decimal(76, 30))", PE_CH_DECIMAL, 32, 30, 76, true, NULL, NULL},
    {"Decimal64(4)", PE_CH_DECIMAL, 8, 4, 18, false, NULL, NULL},
    {"Decimal(77, 2)", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"Date", PE_CH_DATE, 2, 0, 0, false, NULL, NULL},
    {"Nullable(Date32)", PE_CH_DATE32, 4, 0, 0, true, NULL, NULL},
    {"DateTime", PE_CH_DATETIME, 4, 0, 0, false, NULL, NULL},
    {"DateTime('Asia/Tokyo')", PE_CH_DATETIME, 4, 0, 0, false, NULL, "Asia/Tokyo"},
    {"DateTime64(3)", PE_CH_DATETIME64, 8, 3, 0, false, NULL, NULL},
    {"Nullable(DateTime64(6, 'UTC'))", PE_CH_DATETIME64, 8, 6, 0, true, NULL, "UTC"},
    {"String", PE_CH_STRING, 0, 0, 0, false, NULL, NULL},
    {"LowCardinality(String)", PE_CH_STRING, 0, 0, 0, false, "String", NULL},
    {"LowCardinality(Nullable(String))", PE_CH_STRING, 0, 0, 0, true, "Nullable(String)", NULL},
    {"LowCardinality(UInt16)", PE_CH_UINT, 2, 0, 0, false, "UInt16", NULL},
    {"FixedString(16)", PE_CH_FIXEDSTRING, 16, 0, 0, false, NULL, NULL},
    {"UUID", PE_CH_UUID, 16, 0, 0, false, NULL, NULL},
    {"Enum8('a' = 1, 'b)' = 2)", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"Nullable(Enum16('a' = 1))", PE_CH_OTHER, 0, 0, 0, true, "Nullable(String)", NULL},
    {"Array(Nullable(String))", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"JSON", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"IPv4", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"DateTime64(x)", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
    {"FixedString(0)", PE_CH_OTHER, 0, 0, 0, false, "String", NULL},
};

static void every_type(void **state) {
  (void)state;
  struct pe_arena a;
  pe_arena_init(&a, 0);
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    const struct expected *e = &all[i];
    struct pe_chcolumn c = {0};
    assert_int_equal(pe_chtype_parse(e->text, &a, &c), 0);
    assert_string_equal(c.type_text, e->text);
    assert_string_equal(c.wire_type, e->wire ? e->wire : e->text);
    assert_int_equal(c.kind, e->kind);
    assert_int_equal(c.width_bytes, e->width);
    assert_int_equal(c.scale, e->scale);
    assert_int_equal(c.precision, e->precision);
    assert_int_equal(c.nullable, e->nullable);
    assert_int_equal(c.is_bool, strcmp(e->text, "Bool") == 0);
    if (e->zone) {
      assert_string_equal(c.timezone, e->zone);
    } else {
      assert_null(c.timezone);
    }
  }
  pe_arena_close(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_type)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
