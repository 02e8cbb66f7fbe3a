/* Rows into ClickHouse Native blocks, column by column.
 *
 * A plan maps a row layout onto a target once; every column has a conversion that is either exact
 * by construction or `checked`. pe_plan_check marks the rows of a batch that can't be converted
 * exactly (a value out of the target's range, a zero date without a policy): they go to the DLQ,
 * nothing is clamped. pe_block_append then only appends checked rows.
 */
#ifndef PE_SINK_BLOCK_H
#define PE_SINK_BLOCK_H

#include "base/buf.h"
#include "model/output.h"
#include "sink/target.h"

enum pe_zero_date {
  PE_ZERO_DLQ,
  PE_ZERO_NULL /* nullable target columns */,
  PE_ZERO_EPOCH /* 1970-01-01 */
};

struct pe_plan_opts {
  enum pe_zero_date zero_date;
  bool narrow_ok; /* a target column narrower than the source's type is allowed (checked per value)
                     instead of an error */
};

struct pe_plan;
/* PE_ESINK_SCHEMA: a source column that the target has not (and the pipeline doesn't exclude), a
 * target column without default that nothing fills, a type that can't be converted or is too
 * narrow; the message has the ALTER that mends it. */
int pe_plan_create(const struct pe_dest *dest, const struct pe_target *target,
                   const struct pe_plan_opts *o, struct pe_plan **out, struct pe_err *err);
void pe_plan_destroy(struct pe_plan *p);
/* "(`a`,`b`)" for the INSERT statement, to stand before FORMAT; where an extra column may take its
 * DEFAULT, a SETTINGS clause follows the bracket. */
const char *pe_plan_insert_columns(const struct pe_plan *p);

/* For outs[i] of this plan's dest: bad[i] = 0, or 1 + the layout column that does not fit;
 * reasons[i] a static text. Returns the number of bad rows. Cheap when no column is checked. */
size_t pe_plan_check(const struct pe_plan *p, const struct pe_out *outs, size_t n, uint32_t *bad,
                     const char **reasons);
/* Partition of each row as 64 bits: equal numbers = the same partition (a hash where the key is a
 * tuple or string). */
void pe_plan_partition(const struct pe_plan *p, const struct pe_out *outs, size_t n,
                       uint64_t *partition);

struct pe_block;
struct pe_block *pe_block_create(const struct pe_plan *p);
void pe_block_destroy(struct pe_block *b);
void pe_block_clear(struct pe_block *b); /* keeps memory, up to a bound */
/* Appends outs[idx[0..n)]. PE_ENOMEM (also where the block would pass 4 GB); the block is then as
 * it was. */
int pe_block_append(struct pe_block *b, const struct pe_out *outs, const uint32_t *idx, size_t n);
uint32_t pe_block_rows(const struct pe_block *b);
size_t pe_block_bytes(const struct pe_block *b);  /* encoded size */
size_t pe_block_memory(const struct pe_block *b); /* held */
/* The block as pieces in Native order (header, then columns); they point into the block and live
 * until it changes. */
struct pe_iov {
  const void *p;
  size_t n;
};
int pe_block_iov(struct pe_block *b, const struct pe_iov **iov, size_t *n);
/* Rows [from, from+n) as a block of its own, for bisection. */
int pe_block_slice(const struct pe_block *b, uint32_t from, uint32_t n, struct pe_block **out);
uint64_t pe_block_version(const struct pe_block *b,
                          uint32_t row); /* its _version; and whether it is a tombstone: */
bool pe_block_deleted(const struct pe_block *b, uint32_t row);
/* A value as an SQL literal, for whole numbers and texts that are sent as they are; false for other
 * columns and NULL (nothing is appended then). */
bool pe_block_sql_value(const struct pe_block *b, const char *column, uint32_t row,
                        struct pe_buf *out);
/* SHA-256 of the encoded block, in hex: equal blocks have equal hashes. */
void pe_block_hash(struct pe_block *b, char hex[65]);
/* One row as JSON for the DLQ: texts and whole numbers readable, other values as the bytes that
 * were sent; columns marked pii read "<pii>". */
void pe_block_row_json(const struct pe_block *b, uint32_t row, struct pe_buf *out);

#endif
