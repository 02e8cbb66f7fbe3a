/* The binlog reader: a thread that connects as a replica, decodes row events into batches and
 * pushes them into the queue. It reconnects by itself (back-off 0.1 s to 10 s) and goes on behind
 * the last transaction that it pushed whole; rows that it pushed already are skipped by version.
 * What can't be mended by waiting (position purged, a setting, a malformed event) is pushed as a
 * PE_EV_FATAL batch, then the thread ends.
 *
 * A batch is pushed when it is full (rows or bytes), and otherwise as soon as nothing more is
 * waiting on the connection, so a quiet source is passed on at once. An event of a huge transaction
 * is pushed in pieces: memory is bounded by one event plus batch_bytes. An idle log (heartbeats,
 * other tables' events, rotation) still moves `end`: an empty batch is pushed at most every
 * idle_push_ms.
 */
#ifndef PE_SOURCE_READER_H
#define PE_SOURCE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/queue.h"
#include "model/batch.h"
#include "source/server.h"

struct pe_reader_table {
  struct pe_table *table; /* version with extras; the reader takes its own reference */
  uint64_t from_version;  /* changes with version <= this are contained in the snapshot: skipped */
};

struct pe_reader_opts {
  struct pe_source_opts source;
  struct pe_position start;
  const struct pe_reader_table *tables;
  uint32_t ntables;
  uint32_t batch_rows;   /* 8192 */
  size_t batch_bytes;    /* 4 MiB */
  unsigned idle_push_ms; /* 1000 */
  unsigned heartbeat_ms; /* 10,000; the connection counts as dead after three without anything */
};

struct pe_reader_stats { /* read from any thread, relaxed */
  uint64_t events, bytes, rows, transactions, reconnects;
  int64_t last_event_us; /* wall clock at the last event, heartbeats included */
  int64_t source_ts_us;  /* commit time of the last transaction read */
  bool connected;
};

struct pe_reader;
int pe_reader_start(const struct pe_reader_opts *o, struct pe_queue *out, struct pe_reader **r,
                    struct pe_err *err);
void pe_reader_stats(const struct pe_reader *r, struct pe_reader_stats *s);
/* Ends the connection (also out of a blocked read or push) and joins the thread; batches left in
 * the queue stay there. */
void pe_reader_stop(struct pe_reader *r);

#endif
