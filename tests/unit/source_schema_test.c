/* The members of ENUM and SET as the servers print them in COLUMN_TYPE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source/snapshot_internal.h"

static void expect(const char *type_text, const char *const *want, uint32_t nwant) {
  struct pe_arena a;
  pe_arena_init(&a, 0);
  char **members;
  uint32_t n;
  assert_int_equal(pe_source_parse_members(type_text, &a, &members, &n), 0);
  assert_int_equal(n, nwant);
  for (uint32_t i = 0; i < n; i++) {
    assert_string_equal(members[i], want[i]);
  }
  pe_arena_close(&a);
}

static void members(void **state) {
  (void)state;
  expect("enum('a')", (const char *[]){"a"}, 1);
  expect("enum('a','b''c','d,e','f\"g','(',')','')",
         (const char *[]){"a", "b'c", "d,e", "f\"g", "(", ")", ""}, 7);
  expect("set('x\\\\y','n\\nl','\\Z')", (const char *[]){"x\\y", "n\nl", "\x1a"}, 3);
  expect("enum('gr\xc3\xbcn','''')", (const char *[]){"gr\xc3\xbcn", "'"}, 2);
}

static void malformed(void **state) {
  (void)state;
  static const char *const texts[] = {"int(11)",     "enum",       "enum(",      "enum()",
                                      "enum('a",     "enum('a'",   "enum('a',)", "enum('a'x)",
                                      "enum('a''b)", "enum('a\\')"};
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    struct pe_arena a;
    pe_arena_init(&a, 0);
    char **list;
    uint32_t n;
    assert_int_equal(pe_source_parse_members(texts[i], &a, &list, &n), PE_EDATA);
    assert_int_equal(n, 0);
    pe_arena_close(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(members), cmocka_unit_test(malformed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
