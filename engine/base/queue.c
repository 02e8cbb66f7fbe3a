/* The bounded queue between threads: a ring under one mutex with two conditions. owner: shared, by
 * its lock. Fails only at init. */
#include "base/queue.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/err.h"

int pe_queue_init(struct pe_queue *q, size_t rows_max, size_t bytes_max) {
  memset(q, 0, sizeof(*q));
  q->rows_max = rows_max;
  q->bytes_max = bytes_max;
  if (pthread_mutex_init(&q->lock, NULL)) {
    return PE_ENOMEM;
  }
  pthread_condattr_t attr;
  if (pthread_condattr_init(&attr)) {
    goto fail_lock;
  }
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  if (pthread_cond_init(&q->can_push, &attr)) {
    goto fail_attr;
  }
  if (pthread_cond_init(&q->can_pop, &attr)) {
    goto fail_push;
  }
  pthread_condattr_destroy(&attr);
  return 0;
fail_push:
  pthread_cond_destroy(&q->can_push);
fail_attr:
  pthread_condattr_destroy(&attr);
fail_lock:
  pthread_mutex_destroy(&q->lock);
  return PE_ENOMEM;
}

void pe_queue_close(struct pe_queue *q) {
  pthread_cond_destroy(&q->can_pop);
  pthread_cond_destroy(&q->can_push);
  pthread_mutex_destroy(&q->lock);
}

static bool fits(const struct pe_queue *q, size_t rows, size_t bytes) {
  if (q->count == 0) {
    return true;
  }
  if (q->count == PE_QUEUE_SLOTS || q->rows >= q->rows_max || q->bytes >= q->bytes_max) {
    return false;
  }
  return rows <= q->rows_max - q->rows && bytes <= q->bytes_max - q->bytes;
}

int pe_queue_push(struct pe_queue *q, void *item, size_t rows, size_t bytes) {
  PE_ASSERT(item);
  pthread_mutex_lock(&q->lock);
  while (!q->closed && !fits(q, rows, bytes)) {
    pthread_cond_wait(&q->can_push, &q->lock);
  }
  if (q->closed) {
    pthread_mutex_unlock(&q->lock);
    return PE_ESTOPPED;
  }
  struct pe_queue_slot *s = &q->slots[(q->head + q->count) % PE_QUEUE_SLOTS];
  *s = (struct pe_queue_slot){.item = item, .rows = rows, .bytes = bytes};
  q->count++;
  q->rows += rows;
  q->bytes += bytes;
  pthread_cond_signal(&q->can_pop);
  pthread_mutex_unlock(&q->lock);
  return 0;
}

static struct timespec deadline(int timeout_ms) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  ts.tv_sec += timeout_ms / 1000;
  ts.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
  if (ts.tv_nsec >= 1000000000) {
    ts.tv_sec++;
    ts.tv_nsec -= 1000000000;
  }
  return ts;
}

void *pe_queue_pop(struct pe_queue *q, int timeout_ms) {
  struct timespec until = {0};
  if (timeout_ms > 0) {
    until = deadline(timeout_ms);
  }
  pthread_mutex_lock(&q->lock);
  while (q->count == 0 && !q->closed && timeout_ms != 0) {
    if (timeout_ms < 0) {
      pthread_cond_wait(&q->can_pop, &q->lock);
    } else if (pthread_cond_timedwait(&q->can_pop, &q->lock, &until) == ETIMEDOUT) {
      break;
    }
  }
  void *item = NULL;
  if (q->count) {
    struct pe_queue_slot *s = &q->slots[q->head];
    item = s->item;
    q->rows -= s->rows;
    q->bytes -= s->bytes;
    s->item = NULL;
    q->head = (q->head + 1) % PE_QUEUE_SLOTS;
    q->count--;
    /* Broadcast: the one woken may hold an item that still does not fit while another's does. */
    pthread_cond_broadcast(&q->can_push);
  }
  pthread_mutex_unlock(&q->lock);
  return item;
}

void pe_queue_shutdown(struct pe_queue *q) {
  pthread_mutex_lock(&q->lock);
  q->closed = true;
  pthread_cond_broadcast(&q->can_push);
  pthread_cond_broadcast(&q->can_pop);
  pthread_mutex_unlock(&q->lock);
}
