/* The bump allocator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/arena.h"

static void pieces_are_aligned_apart_and_stay(void **state) {
  (void)state;
  struct pe_arena a;
  pe_arena_init(&a, 1024);
  assert_int_equal(a.bytes, 0);
  uint8_t *parts[500];
  for (size_t i = 0; i < 500; i++) {
    size_t align = (size_t)1 << (i % 6);
    size_t n = 1 + i * 7 % 300;
    parts[i] = pe_arena_alloc(&a, n, align);
    assert_non_null(parts[i]);
    assert_int_equal((uintptr_t)parts[i] % align, 0);
    memset(parts[i], (int)(i & 255), n);
  }
  for (size_t i = 0; i < 500; i++) {
    size_t n = 1 + i * 7 % 300;
    for (size_t k = 0; k < n; k++) {
      assert_int_equal(parts[i][k], i & 255);
    }
  }
  pe_arena_close(&a);
  assert_int_equal(a.bytes, 0);
}

static void large_pieces_do_not_waste_the_chunk(void **state) {
  (void)state;
  struct pe_arena a;
  pe_arena_init(&a, 4096);
  uint8_t *small = pe_arena_alloc(&a, 10, 1);
  uint8_t *large = pe_arena_alloc(&a, 1 << 20, 32);
  assert_int_equal((uintptr_t)large % 32, 0);
  memset(large, 1, 1 << 20);
  uint8_t *next = pe_arena_alloc(&a, 10, 1);
  assert_ptr_equal(next, small + 10);
  assert_true(a.bytes >= (1 << 20) + 4096 && a.bytes <= (1 << 20) + 4096 + 65536);
  pe_arena_close(&a);
}

static void reset_keeps_one_chunk(void **state) {
  (void)state;
  struct pe_arena a;
  pe_arena_init(&a, 4096);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 100; i++) {
      assert_non_null(pe_arena_alloc(&a, 1000, 8));
    }
    pe_arena_alloc(&a, 100000, 8);
    assert_true(a.bytes > 200000);
    pe_arena_reset(&a);
    assert_int_equal(a.bytes, 4096);
  }
  pe_arena_close(&a);
  /* A first piece that is large leaves no ordinary chunk to keep. */
  pe_arena_init(&a, 4096);
  assert_non_null(pe_arena_alloc(&a, 100000, 8));
  pe_arena_reset(&a);
  assert_int_equal(a.bytes, 0);
  assert_non_null(pe_arena_alloc(&a, 8, 8));
  pe_arena_close(&a);
}

static void chunks_wait_for_the_next_arena(void **state) {
  (void)state;
  pe_arena_cache_drop();
  assert_int_equal(pe_arena_cache_bytes(), 0);
  struct pe_arena a;
  size_t most = 0;
  for (int round = 0; round < 5; round++) {
    pe_arena_init(&a, 0);
    for (size_t i = 1; i <= 40; i++) {
      uint8_t *p = pe_arena_alloc(&a, i * 10000, 16);
      assert_non_null(p);
      memset(p, 0xEE, i * 10000);
    }
    assert_non_null(pe_arena_alloc(&a, 20 << 20, 16)); /* too large to keep */
    size_t held = a.bytes;
    pe_arena_close(&a);
    size_t kept = pe_arena_cache_bytes();
    assert_true(kept <= held - (20 << 20));
    if (round == 0) {
      most = kept;
    }
    assert_true(kept <= most + most / 4); /* the same chunks again, not more of them */
  }
  pe_arena_init(&a, 0);
  for (int i = 0; i < 1000; i++) { /* 100 MB: the cache has a bound */
    assert_non_null(pe_arena_alloc(&a, 100000, 16));
  }
  pe_arena_close(&a);
  assert_true(pe_arena_cache_bytes() <= 32 << 20);
  pe_arena_cache_drop();
  assert_int_equal(pe_arena_cache_bytes(), 0);
}

static void absurd_sizes_fail(void **state) {
  (void)state;
  struct pe_arena a;
  pe_arena_init(&a, 0);
  assert_null(pe_arena_alloc(&a, SIZE_MAX, 1));
  assert_null(pe_arena_alloc(&a, SIZE_MAX - 100, 32));
  assert_non_null(pe_arena_alloc(&a, 1, 1));
  assert_null(pe_arena_alloc(&a, SIZE_MAX - 7, 1));
  assert_null(pe_arena_zalloc(&a, SIZE_MAX / 2 + 1, 1));
  assert_null(pe_arena_strndup(&a, "x", SIZE_MAX));
  assert_string_equal(pe_arena_strndup(&a, "hello", 4), "hell");
  assert_string_equal(pe_arena_strndup(&a, NULL, 0), "");
  pe_arena_close(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces_are_aligned_apart_and_stay),
      cmocka_unit_test(large_pieces_do_not_waste_the_chunk),
      cmocka_unit_test(reset_keeps_one_chunk),
      cmocka_unit_test(chunks_wait_for_the_next_arena),
      cmocka_unit_test(absurd_sizes_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
