/* Snapshot: tables read in chunks by primary key, in parallel, without locks.
 *
 * A planner walks the key of a table (ORDER BY pk LIMIT 1 OFFSET chunk_rows, index only) and names
 * chunks (lo exclusive, hi inclusive); workers read them over connections of their own, by the
 * binary protocol, in READ COMMITTED, and push batches with snapshot = true and op PE_OP_SNAPSHOT;
 * the last batch of a chunk carries PE_EV_CHUNK_DONE. All rows of a table carry `version` (the low
 * watermark taken before anything of it was read). Tables are read in the order given, one after
 * the other (a lookup's table comes before the tables that use it). A lost connection is retried
 * with back-off; a chunk that was begun is read again from its start only if nothing of it was
 * pushed yet, otherwise behind the last key pushed.
 */
#ifndef PE_SOURCE_SNAPSHOT_H
#define PE_SOURCE_SNAPSHOT_H

#include "base/queue.h"
#include "model/batch.h"
#include "source/server.h"

struct pe_chunk {
  uint64_t id;    /* number in its table, from 0 */
  const char *lo; /* SQL row literal "(12,'a')" of the last key before it; NULL: from the start */
  const char *hi; /* the last key inside; NULL: to the end */
  bool done;
};

struct pe_snapshot_table {
  struct pe_table *table; /* version with extras */
  uint64_t version;       /* every row's _version */
  const struct pe_chunk
      *chunks; /* known from an earlier run, in order; done ones are not read again */
  uint32_t nchunks;
  bool planned;           /* `chunks` is complete */
  uint64_t rows_estimate; /* filled by start from information_schema, for progress */
};

struct pe_snapshot_opts {
  struct pe_source_opts source;
  struct pe_snapshot_table *tables;
  uint32_t ntables;
  unsigned workers;    /* 2 */
  uint32_t chunk_rows; /* 50,000 */
  uint32_t batch_rows;
  size_t batch_bytes;
  /* Called from the planner's thread for every chunk before it is handed out, so that it can be
   * recorded durably; and with chunk = NULL when the table is planned to its end. Non-zero stops
   * the snapshot with that error. */
  int (*plan_cb)(void *arg, const struct pe_table *t, const struct pe_chunk *chunk,
                 struct pe_err *err);
  void *arg;
};

struct pe_snapshot_stats {
  uint64_t rows, bytes, chunks_done, chunks_planned;
};

struct pe_snapshot;
int pe_snapshot_start(const struct pe_snapshot_opts *o, struct pe_queue *out,
                      struct pe_snapshot **s, struct pe_err *err);
/* table: index into opts.tables */
void pe_snapshot_stats(const struct pe_snapshot *s, uint32_t table, struct pe_snapshot_stats *st);
bool pe_snapshot_finished(const struct pe_snapshot *s); /* all rows pushed */
void pe_snapshot_stop(struct pe_snapshot *s);

#endif
