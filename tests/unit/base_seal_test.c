/* seal.c: what is sealed can be opened with its key only, and shows nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/seal.h"

static const char SECRET[] = "somebody@mail.example";

static void test_round_trip(void **state) {
  uint8_t key[PE_SEAL_KEY_BYTES] = {1, 2, 3};
  struct pe_buf a, b, plain;
  (void)state;
  pe_buf_init(&a);
  pe_buf_init(&b);
  pe_buf_init(&plain);
  assert_int_equal(pe_seal(key, SECRET, sizeof(SECRET), &a), 0);
  assert_int_equal(pe_seal(key, SECRET, sizeof(SECRET), &b), 0);
  assert_int_equal(a.len, sizeof(SECRET) + PE_SEAL_MORE_BYTES);
  assert_memory_not_equal(a.data, b.data, a.len); /* another nonce each time */
  assert_null(memmem(a.data, a.len, "somebody", 8));
  assert_int_equal(pe_unseal(key, a.data, a.len, &plain), 0);
  assert_int_equal(plain.len, sizeof(SECRET));
  assert_memory_equal(plain.data, SECRET, sizeof(SECRET));
  pe_buf_clear(&plain);
  assert_int_equal(pe_seal(key, "", 0, &plain), 0);
  pe_buf_clear(&b);
  assert_int_equal(pe_unseal(key, plain.data, plain.len, &b), 0);
  assert_int_equal(b.len, 0);
  pe_buf_close(&a);
  pe_buf_close(&b);
  pe_buf_close(&plain);
}

static void test_refuses(void **state) {
  uint8_t key[PE_SEAL_KEY_BYTES] = {1}, other[PE_SEAL_KEY_BYTES] = {2};
  struct pe_buf a, plain;
  (void)state;
  pe_buf_init(&a);
  pe_buf_init(&plain);
  assert_int_equal(pe_seal(key, SECRET, sizeof(SECRET), &a), 0);
  assert_int_equal(pe_unseal(other, a.data, a.len, &plain), PE_EDATA);
  for (size_t i = 0; i < a.len; i++) {
    a.data[i] ^= 1;
    assert_int_equal(pe_unseal(key, a.data, a.len, &plain), PE_EDATA);
    a.data[i] ^= 1;
  }
  for (size_t n = 0; n < a.len; n++)
    assert_int_equal(pe_unseal(key, a.data, n, &plain), PE_EDATA);
  assert_int_equal(plain.len, 0);
  pe_buf_close(&a);
  pe_buf_close(&plain);
}

static void test_key_file(void **state) {
  char dir[] = "/tmp/pe-seal.XXXXXX", path[64];
  uint8_t a[PE_SEAL_KEY_BYTES], b[PE_SEAL_KEY_BYTES];
  struct pe_err err = PE_ERR_INIT;
  struct stat st;
  (void)state;
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof(path), "%s/k", dir);
  assert_int_equal(pe_seal_key(path, a, &err), 0);
  assert_int_equal(pe_seal_key(path, b, &err), 0);
  assert_memory_equal(a, b, sizeof(a));
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(truncate(path, 5), 0);
  assert_int_equal(pe_seal_key(path, b, &err), PE_EDATA);
  assert_int_equal(pe_seal_key("/nowhere/at/all", b, &err), PE_EIO);
  unlink(path);
  rmdir(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                     cmocka_unit_test(test_refuses),
                                     cmocka_unit_test(test_key_file)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
