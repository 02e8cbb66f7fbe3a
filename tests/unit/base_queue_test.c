/* The bounded queue, alone and between threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/queue.h"

static struct pe_queue q;
static int items[PE_QUEUE_SLOTS + 10];

static void keeps_order_and_counts(void **state) {
  (void)state;
  assert_int_equal(pe_queue_init(&q, 100, 1000), 0);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(pe_queue_push(&q, &items[i], 10, 100), 0);
  }
  assert_int_equal(q.rows, 50);
  assert_int_equal(q.bytes, 500);
  for (int i = 0; i < 5; i++) {
    assert_ptr_equal(pe_queue_pop(&q, 0), &items[i]);
  }
  assert_int_equal(q.rows, 0);
  assert_int_equal(q.bytes, 0);
  assert_null(pe_queue_pop(&q, 0));
  int64_t before = pe_clock_us();
  assert_null(pe_queue_pop(&q, 30));
  int64_t took = pe_clock_us() - before;
  assert_true(took >= 29000 && took < 5000000);
  pe_queue_close(&q);
}

static void an_item_larger_than_the_bounds_goes_alone(void **state) {
  (void)state;
  assert_int_equal(pe_queue_init(&q, 10, 10), 0);
  assert_int_equal(pe_queue_push(&q, &items[0], 1000, SIZE_MAX / 2), 0);
  assert_ptr_equal(pe_queue_pop(&q, -1), &items[0]);
  pe_queue_close(&q);
}

static void shutdown_drains(void **state) {
  (void)state;
  assert_int_equal(pe_queue_init(&q, 10, 10), 0);
  assert_int_equal(pe_queue_push(&q, &items[0], 1, 1), 0);
  pe_queue_shutdown(&q);
  assert_int_equal(pe_queue_push(&q, &items[1], 1, 1), PE_ESTOPPED);
  assert_ptr_equal(pe_queue_pop(&q, -1), &items[0]);
  assert_null(pe_queue_pop(&q, -1));
  pe_queue_close(&q);
}

struct pusher {
  size_t rows, bytes, n;
  _Atomic size_t pushed;
  int rc;
};

static void *push_many(void *arg) {
  struct pusher *p = arg;
  for (size_t i = 0; i < p->n; i++) {
    p->rc = pe_queue_push(&q, (void *)(uintptr_t)(i + 1), p->rows, p->bytes);
    if (p->rc) {
      break;
    }
    atomic_fetch_add(&p->pushed, 1);
  }
  return NULL;
}

/* The pusher stops exactly at the bound, goes on after a pop, and is woken by a shutdown. */
static void check_bound(size_t rows_max, size_t bytes_max, size_t rows, size_t bytes, size_t want) {
  assert_int_equal(pe_queue_init(&q, rows_max, bytes_max), 0);
  struct pusher p = {.rows = rows, .bytes = bytes, .n = want + 50};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, push_many, &p), 0);
  for (int i = 0; i < 2000 && atomic_load(&p.pushed) < want; i++) {
    pe_sleep_ms(1);
  }
  pe_sleep_ms(20);
  assert_int_equal(atomic_load(&p.pushed), want);
  assert_non_null(pe_queue_pop(&q, -1));
  for (int i = 0; i < 2000 && atomic_load(&p.pushed) < want + 1; i++) {
    pe_sleep_ms(1);
  }
  pe_sleep_ms(20);
  assert_int_equal(atomic_load(&p.pushed), want + 1);
  pe_queue_shutdown(&q);
  pthread_join(thread, NULL);
  assert_int_equal(p.rc, PE_ESTOPPED);
  size_t left = 0;
  while (pe_queue_pop(&q, -1)) {
    left++;
  }
  assert_int_equal(left, want);
  pe_queue_close(&q);
}

static void bounds_block(void **state) {
  (void)state;
  check_bound(100, 1000000, 10, 1, 10);
  check_bound(105, 1000000, 10, 1, 10);
  check_bound(1000000, 1000, 1, 100, 10);
  check_bound(1000000, 1099, 1, 100, 10);
  check_bound(SIZE_MAX, SIZE_MAX, 1, 1, PE_QUEUE_SLOTS);
}

static void *pop_many(void *arg) {
  uint64_t sum = 0;
  uintptr_t v;
  while ((v = (uintptr_t)pe_queue_pop(&q, -1))) {
    sum += v;
  }
  *(uint64_t *)arg = sum;
  return NULL;
}

static void many_threads_lose_nothing(void **state) {
  (void)state;
  assert_int_equal(pe_queue_init(&q, 7, 1000), 0);
  struct pusher pushers[3] = {{.rows = 1, .bytes = 1, .n = 20000},
                              {.rows = 3, .bytes = 300, .n = 20000},
                              {.rows = 9, .bytes = 2000, .n = 20000}};
  uint64_t sums[2];
  pthread_t threads[5];
  for (int i = 0; i < 3; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
  }
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_create(&threads[3 + i], NULL, pop_many, &sums[i]), 0);
  }
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  pe_queue_shutdown(&q);
  pthread_join(threads[3], NULL);
  pthread_join(threads[4], NULL);
  assert_int_equal(sums[0] + sums[1], UINT64_C(3) * 20000 * 20001 / 2);
  assert_int_equal(q.rows, 0);
  assert_int_equal(q.bytes, 0);
  pe_queue_close(&q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_order_and_counts),
      cmocka_unit_test(an_item_larger_than_the_bounds_goes_alone),
      cmocka_unit_test(shutdown_drains),
      cmocka_unit_test(bounds_block),
      cmocka_unit_test(many_threads_lose_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
