/* A batch: a slice of the change stream, or of a snapshot chunk, as typed rows.
 *
 * Segments keep the order of the log across tables. A segment is a run of changes of one table and
 * one operation: INSERT and DELETE have one image a change, UPDATE has two (before at 2i, after at
 * 2i+1). Images lie next to each other, `table->row_bytes` apart; meta[i] belongs to image i.
 * owner: the thread that holds it (reader or snapshot worker -> queue -> script).
 */
#ifndef PE_MODEL_BATCH_H
#define PE_MODEL_BATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "model/position.h"
#include "model/table.h"

enum pe_op { PE_OP_INSERT = 1, PE_OP_UPDATE = 2, PE_OP_DELETE = 3, PE_OP_SNAPSHOT = 4 };

struct pe_image_meta {
  uint64_t version;
  int64_t ts_us; /* commit time of the transaction (wall clock, as exact as the server tells) */
};

struct pe_segment {
  struct pe_segment *next;
  struct pe_table *table; /* holds a reference */
  enum pe_op op;
  uint32_t nimages, cap;
  uint8_t *rows;
  struct pe_image_meta *meta;
};

/* What a batch can carry beside rows: something the script thread must do at exactly this place. */
enum pe_batch_event {
  PE_EV_NONE,
  PE_EV_CHUNK_DONE, /* snapshot: all rows of chunk `chunk_id` have been passed on with this batch */
  PE_EV_TABLE_CHANGED, /* stream: `new_table` replaces the version of its table from here on */
  PE_EV_TRUNCATE,      /* stream: TRUNCATE of `new_table` (the table's version), at end.version */
  PE_EV_FATAL,         /* the producer stopped for good; `error` says why */
};

struct pe_batch {
  struct pe_arena arena;
  struct pe_segment *first, *last;
  uint64_t nimages, nchanges;
  size_t bytes;          /* memory held, as of the last extend: struct and arena, for the queue */
  uint64_t binlog_bytes; /* bytes of log read for it */
  bool snapshot;         /* rows of a snapshot chunk; `end` is unset then */
  uint64_t chunk_id;
  struct pe_position end;     /* where the stream stands behind this batch */
  bool end_is_boundary;       /* `end` lies between transactions */
  int64_t created_us;         /* monotonic, when its first event was read */
  enum pe_batch_event event;  /* happens behind the rows */
  struct pe_table *new_table; /* holds a reference */
  struct pe_err *error;       /* in the arena */
};

struct pe_batch *pe_batch_create(void);    /* NULL: out of memory */
void pe_batch_destroy(struct pe_batch *b); /* drops references and memory */
/* Room for n more images (all bytes zero, extras not yet NULL: the decoder writes the whole bitmap)
 * in the last segment if table and op fit, else in a new one. *rows and *meta point to the first of
 * the n. PE_ENOMEM. The pointers hold until the next call. */
static inline int pe_batch_extend(struct pe_batch *b, struct pe_table *t, enum pe_op op, uint32_t n,
                                  uint8_t **rows, struct pe_image_meta **meta);
/* Gives back the last n images of the last extend (a row that could not be decoded). */
void pe_batch_retract(struct pe_batch *b, uint32_t n);
/* A segment can be left with no image by that; whoever walks segments must expect it. */

/* The parts of extend: a decoder calls it once a row, so the case with room left is inline. */
int pe_batch_extend_slow(struct pe_batch *b, struct pe_table *t, enum pe_op op, uint32_t n,
                         uint8_t **rows, struct pe_image_meta **meta);

static inline void pe_batch_take(struct pe_batch *b, uint32_t n, uint8_t **rows,
                                 struct pe_image_meta **meta) {
  struct pe_segment *s = b->last;
  size_t row_bytes = s->table->row_bytes;
  uint8_t *at = s->rows + (size_t)s->nimages * row_bytes;
  memset(at, 0, n * row_bytes);
  *rows = at;
  *meta = s->meta + s->nimages;
  s->nimages += n;
  b->nimages += n;
  b->nchanges += s->op == PE_OP_UPDATE ? n / 2 : n;
  b->bytes = sizeof(*b) + b->arena.bytes;
}

static inline int pe_batch_extend(struct pe_batch *b, struct pe_table *t, enum pe_op op, uint32_t n,
                                  uint8_t **rows, struct pe_image_meta **meta) {
  struct pe_segment *s = b->last;
  if (s && s->table == t && s->op == op && s->cap - s->nimages >= n) {
    pe_batch_take(b, n, rows, meta);
    return 0;
  }
  return pe_batch_extend_slow(b, t, op, n, rows, meta);
}

#endif
