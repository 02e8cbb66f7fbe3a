/* The stream of binlog events as a state machine without a connection: events go in, batches come
 * out. What it needs from outside are two callbacks, so all of it can be tested on bytes.
 *
 *   binlog_stream.c  events: positions, transactions, what to skip and what to refuse
 *   binlog_tables.c  captured tables: which TABLE_MAP is whose, new versions
 *   binlog_rows.c    row events into the batch
 *   binlog_batch.c   the open batch: when it goes out and what place it names
 *
 * Positions: `pos` is where the next event of the file starts. `safe` is the last boundary between
 * transactions, `pushed` the end of the last batch that went out: after a lost connection the
 * stream goes back to `pushed`, drops the open batch and skips by version what had been given out
 * of an open transaction. owner: reader. */
#ifndef PE_SOURCE_BINLOG_STREAM_H
#define PE_SOURCE_BINLOG_STREAM_H

#include "model/batch.h"
#include "source/binlog_event.h"
#include "source/binlog_map.h"
#include "source/decode_plan.h"
#include "source/reader.h"

struct pe_stream_calls {
  void *arg;
  /* Takes the batch. 0, or PE_ESTOPPED (then the batch is destroyed by the callee). */
  int (*push)(void *arg, struct pe_batch *b);
  /* The table as the source has it now (source columns only). */
  int (*load_table)(void *arg, const char *db, const char *name, struct pe_table **out,
                    struct pe_err *err);
  /* The file that the source writes to now, and where it ends: all before that are whole
   * transactions. */
  int (*log_end)(void *arg, char file[PE_BINLOG_FILE_MAX], uint64_t *pos, struct pe_err *err);
};

struct pe_stream_slot { /* a captured table */
  struct pe_table *table;
  uint64_t from_version;
  struct pe_decode_plan *plan; /* for the TABLE_MAP plan_id; NULL: none yet */
  uint64_t plan_id;
};

struct pe_stream_map_entry {
  uint64_t table_id;
  int32_t slot; /* -1: nobody's; -2: the entry is free */
};

struct pe_stream_place { /* a boundary between transactions */
  char file[PE_BINLOG_FILE_MAX];
  uint64_t pos;
  uint64_t base_version; /* last version given out before it */
};

struct pe_stream {
  struct pe_stream_calls calls;
  uint32_t batch_rows;
  size_t batch_bytes;
  int64_t batch_age_us_max;

  struct pe_stream_slot *slots;
  uint32_t nslots;
  struct pe_stream_map_entry *maps; /* open addressing; size is a power of two */
  uint32_t maps_cap, maps_used;
  bool names_fold; /* the server compares table names without case */

  struct pe_binlog_fde fde;
  bool have_fde;
  char file[PE_BINLOG_FILE_MAX];
  int64_t file_number;
  uint64_t pos;        /* where the next event starts */
  uint64_t wanted_pos; /* events before it are read over (positions over 4 GB can't be asked for) */
  char wanted_file[PE_BINLOG_FILE_MAX];
  bool
      from_first; /* read the file from its beginning, to see that wanted_pos lies between events */
  bool any_event; /* a real event was read since the restart */

  struct pe_stream_place safe;
  struct pe_position pushed;
  uint32_t generation;
  uint64_t last_version; /* given out last, in this reading */
  uint64_t skip_version; /* rows up to here have been given out before */
  int64_t ts_us;         /* of the last change */

  bool in_group;      /* behind a GTID or BEGIN */
  bool in_trx;        /* ... that XID or COMMIT ends */
  bool group_ignored; /* a transaction that has no end in the log: none of it is given out */
  bool group_rows;    /* rows of it were read */
  bool group_pushed;  /* ... and went out already */
  int64_t group_ts_us;
  struct pe_stream_place dead; /* where such a transaction starts; file "" none */

  /* A transaction larger than a batch is passed on in part only when it is known to have an end. */
  char whole_file[PE_BINLOG_FILE_MAX]; /* up to whole_pos nothing of it is torn */
  uint64_t whole_pos;
  struct pe_stream_place verified; /* where a transaction starts whose end was seen */
  bool looking_ahead;              /* for the end of this one; its rows are read again later */
  bool again;                      /* a RETRY that is only to read again: no reason to wait */

  struct pe_batch *batch; /* NULL: none open */
  uint64_t bytes_read;    /* of the log, for the open batch */
  int64_t last_push_us;
  struct pe_reader_stats stats; /* written here only, read by others with relaxed loads */
};

#define PE_STAT_SET(field, v) __atomic_store_n(&(field), (v), __ATOMIC_RELAXED)
#define PE_STAT_ADD(field, v) __atomic_store_n(&(field), (field) + (v), __ATOMIC_RELAXED)

int pe_stream_init(struct pe_stream *s, const struct pe_reader_opts *o,
                   const struct pe_stream_calls *calls, struct pe_err *err);
void pe_stream_close(struct pe_stream *s);

/* A new connection: forgets what belonged to the old one, drops the open batch. *dump_pos is what
 * to ask the server for in s->pushed.file. */
void pe_stream_restart(struct pe_stream *s, uint32_t *dump_pos);
/* One event, without the protocol's leading OK byte. */
int pe_stream_event(struct pe_stream *s, const uint8_t *p, size_t n, struct pe_err *err);
/* The server says that the file ends within an event, and `next` is the file behind it: goes on
 * there. 0 or PE_ESOURCE_PROTO when rows of the torn transaction went out already. */
int pe_stream_file_torn(struct pe_stream *s, const char *next, struct pe_err *err);

/* binlog_tables.c */
int pe_stream_tables_init(struct pe_stream *s, const struct pe_reader_opts *o, struct pe_err *err);
void pe_stream_tables_close(struct pe_stream *s);
void pe_stream_maps_clear(struct pe_stream *s);
int pe_stream_table_map(struct pe_stream *s, const uint8_t *body, size_t n, struct pe_err *err);
/* false: no TABLE_MAP named this id. *slot NULL: nobody's table. */
bool pe_stream_slot_of(struct pe_stream *s, uint64_t table_id, struct pe_stream_slot **slot);
struct pe_stream_slot *pe_stream_slot_named(struct pe_stream *s, const char *db, size_t db_len,
                                            const char *name, size_t name_len);

/* binlog_rows.c */
int pe_stream_rows(struct pe_stream *s, const struct pe_binlog_header *h, const uint8_t *event,
                   const uint8_t *body, size_t n, uint64_t start, uint64_t end, struct pe_err *err);

/* binlog_batch.c */
/* Rows of the open transaction are about to go out before its end was seen. *may false: they must
 * not yet; the open batch is dropped, and the rest of the transaction is only read over. */
int pe_stream_split(struct pe_stream *s, bool *may, struct pe_err *err);
struct pe_batch *pe_stream_batch(struct pe_stream *s); /* the open one; NULL: out of memory */
bool pe_stream_batch_full(const struct pe_stream *s);
/* Sends the open batch if it holds anything or the place moved. */
int pe_stream_push(struct pe_stream *s);
int pe_stream_push_event(struct pe_stream *s, enum pe_batch_event event, struct pe_table *table,
                         const struct pe_err *error);
bool pe_stream_has_rows(const struct pe_stream *s);
bool pe_stream_moved(const struct pe_stream *s); /* `end` would be another than at the last push */
void pe_stream_drop(struct pe_stream *s);
int pe_stream_out_of_memory(struct pe_err *err);

#endif
