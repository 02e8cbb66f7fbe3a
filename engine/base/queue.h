/* The bounded queue that threads meet in: pointers with a cost in rows and bytes. A push blocks
 * while the queue is over either bound (one item always fits, however large); a pop blocks while it
 * is empty. */
#ifndef PE_BASE_QUEUE_H
#define PE_BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PE_QUEUE_SLOTS = 1024 }; /* a third bound: items, whatever their size */

struct pe_queue_slot {
  void *item;
  size_t rows, bytes;
};

struct pe_queue {
  pthread_mutex_t lock;
  pthread_cond_t can_push, can_pop;
  struct pe_queue_slot slots[PE_QUEUE_SLOTS];
  size_t head, count;
  size_t rows, bytes;         /* inside now */
  size_t rows_max, bytes_max; /* bounds */
  bool closed;
};

int pe_queue_init(struct pe_queue *q, size_t rows_max, size_t bytes_max);
void pe_queue_close(struct pe_queue *q); /* frees the queue itself; items are the caller's */
/* 0, or PE_ESTOPPED when the queue was shut down (the item stays the caller's). */
int pe_queue_push(struct pe_queue *q, void *item, size_t rows, size_t bytes);
/* The item; NULL when shut down and empty, or after timeout_ms (-1: no timeout, 0: no wait). */
void *pe_queue_pop(struct pe_queue *q, int timeout_ms);
/* Wakes everyone; pushes fail from now on, pops drain what is left. */
void pe_queue_shutdown(struct pe_queue *q);

#endif
