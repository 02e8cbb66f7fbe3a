/* Row images into rows. A plan is made once for a table version and the TABLE_MAP that goes with
 * it: one step a column, each with its operation and the place in the row. The columns' widths are
 * those of the event, so a plan can never disagree with the bytes.
 *
 * Strings are not copied by the decoder: pe_str points into the image, so the caller puts the rows
 * area of an event into the batch's arena first, with `pad_bytes` readable bytes behind it; that
 * also spares a bounds check for every fixed-width value. owner: reader. */
#ifndef PE_SOURCE_DECODE_PLAN_H
#define PE_SOURCE_DECODE_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/table.h"
#include "source/binlog_map.h"
#include "source/charset.h"

enum pe_decode_op {
  PE_OP_BYTES1,
  PE_OP_BYTES2,
  PE_OP_BYTES4,
  PE_OP_BYTES8,
  PE_OP_INT24_SIGNED,
  PE_OP_INT24_UNSIGNED,
  PE_OP_YEAR,
  PE_OP_DATE,
  PE_OP_TIME_OLD,
  PE_OP_DATETIME_OLD,
  PE_OP_TIMESTAMP_OLD,
  PE_OP_TIME2,
  PE_OP_DATETIME2_F0, /* without, with 1, 2, 3 bytes of fraction */
  PE_OP_DATETIME2_F1,
  PE_OP_DATETIME2_F2,
  PE_OP_DATETIME2_F3,
  PE_OP_TIMESTAMP2,
  PE_OP_DEC64,
  PE_OP_DEC128,
  PE_OP_DEC256,
  PE_OP_BIT,
  PE_OP_ENUM1,
  PE_OP_ENUM2,
  PE_OP_SET,
  PE_OP_STR1, /* prefix bytes */
  PE_OP_STR2,
  PE_OP_STR3,
  PE_OP_STR4,
  PE_OP_TEXT,   /* STRn, then into UTF-8 */
  PE_OP_BINARY, /* STRn, then the trailing zeros come back */
  PE_OP_UUID,   /* MariaDB's UUID, INET4, INET6: fixed bytes into text */
  PE_OP_INET,
  PE_OP_JSON
};

struct pe_decode_step {
  uint8_t op;
  uint8_t width; /* fixed bytes in the image; of a string: its prefix */
  uint8_t precision, scale;
  uint32_t dst;          /* offset in the row */
  uint32_t length;       /* PE_OP_BINARY, PE_OP_UUID, PE_OP_INET: bytes of the full value */
  struct pe_charset *cs; /* PE_OP_TEXT */
};

struct pe_decode_plan {
  struct pe_table *table; /* holds a reference */
  uint32_t nsteps;
  uint32_t null_bytes;  /* of the image */
  uint32_t pad_bytes;   /* what a row may read behind the end of its area */
  uint8_t last_mask;    /* valid bits of the image's last bitmap byte */
  uint8_t *extra_nulls; /* table->null_bytes bytes: the extras' bits */
  struct pe_buf scratch;
  struct pe_decode_step steps[];
};

/* The map has been found to fit the table. PE_ESOURCE_SCHEMA for a column that can't be read
 * (character set unknown to iconv), PE_ESOURCE_SETTING for compressed columns, PE_ENOMEM. */
int pe_decode_plan_create(struct pe_table *t, const struct pe_binlog_map *m,
                          struct pe_decode_plan **out, struct pe_err *err);
void pe_decode_plan_destroy(struct pe_decode_plan *p);

/* Decodes the image at *p into `row` (zeroed) and moves *p behind it. `end` ends the rows area;
 * pad_bytes behind it are readable. 0, PE_ESOURCE_PROTO, PE_ENOMEM. */
int pe_decode_row(struct pe_decode_plan *plan, const uint8_t **p, const uint8_t *end, uint8_t *row,
                  struct pe_arena *a);
/* Where the image at p ends, without reading it; reads nothing behind `end`. NULL: malformed. */
const uint8_t *pe_decode_skip(const struct pe_decode_plan *plan, const uint8_t *p,
                              const uint8_t *end);

/* Parts, for tests and for JSON's opaque values. */
/* DECIMAL in MySQL's binary form. out: little-endian two's complement limbs, 4 of them. Returns the
 * bytes read, 0 when a digit group is out of range. */
unsigned pe_decode_decimal(const uint8_t *p, unsigned precision, unsigned scale, uint64_t out[4]);
unsigned pe_decimal_bytes(unsigned precision, unsigned scale);
int pe_decode_json(const uint8_t *p, size_t n, struct pe_buf *out);

#endif
