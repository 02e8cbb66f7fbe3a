/* A table version: the columns of a table at one moment and the fixed layout its rows have in
 * memory.
 *
 * A row is `row_bytes` bytes: the NULL bitmap first (bit set = SQL NULL, bit i of byte i/8 for
 * column i), then every column at its own aligned offset. Strings are a struct pe_str that points
 * into the arena of the batch. Behind the source's own columns come `extra` columns: those that a
 * target has and the source has not (a transform fills them); they start out NULL.
 *
 * The same layout is given to LuaJIT (pe_table_cdef), so a script reads the bytes the decoder
 * wrote. owner: whoever built it until it is published; immutable and reference-counted from then
 * on.
 */
#ifndef PE_MODEL_TABLE_H
#define PE_MODEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* How a value lies in a row. All integers are native (little) endian. */
enum pe_ctype {
  PE_C_I8,
  PE_C_U8,
  PE_C_I16,
  PE_C_U16,
  PE_C_I32,
  PE_C_U32,
  PE_C_I64,
  PE_C_U64,
  PE_C_F32,
  PE_C_F64,
  PE_C_DEC64,    /* int64 scaled by 10^scale; precision <= 18 */
  PE_C_DEC128,   /* 16 bytes two's complement, scaled; precision <= 38 */
  PE_C_DEC256,   /* 32 bytes two's complement, scaled; precision <= 76 */
  PE_C_DATE,     /* int32 days since 1970-01-01; specials below */
  PE_C_DATETIME, /* int64 microseconds since 1970-01-01 00:00 as if UTC (DATETIME) or UTC
                    (TIMESTAMP) */
  PE_C_TIME,     /* int64 microseconds, negative allowed, up to 838:59:59.999999 */
  PE_C_YEAR,     /* uint16; 0 is MySQL's 0000 */
  PE_C_BIT,      /* uint64 */
  PE_C_ENUM,     /* uint16 member number from 1; 0 is MySQL's '' for a bad value */
  PE_C_SET,      /* uint64, bit i = member i+1 */
  PE_C_STR,      /* struct pe_str, text in UTF-8 (bytes are passed on even if they are not valid) */
  PE_C_BYTES,    /* struct pe_str, binary */
  PE_C_JSON,     /* struct pe_str, JSON text */
  PE_C_COUNT
};

/* Zero and partial dates ('0000-00-00', '2024-00-17') have no day number. They are kept exactly,
 * outside the range of real values: PE_DATE_SPECIAL_BASE + (year << 9 | month << 5 | day), and
 * PE_DATETIME_SPECIAL_BASE + ((year*13+month) << 42 | day << 37 | hour << 32 | min << 26 | sec <<
 * 20 | usec). */
#define PE_DATE_SPECIAL_BASE INT32_MIN
#define PE_DATE_SPECIAL_END (INT32_MIN + (1 << 24)) /* first value that is not a special */
#define PE_DATETIME_SPECIAL_BASE INT64_MIN
#define PE_DATETIME_SPECIAL_END (INT64_MIN + (INT64_C(1) << 60))
static inline bool pe_date_is_special(int32_t v) {
  return v < PE_DATE_SPECIAL_END;
}
static inline bool pe_datetime_is_special(int64_t v) {
  return v < PE_DATETIME_SPECIAL_END;
}
static inline int32_t pe_date_special(unsigned y, unsigned m, unsigned d) {
  return PE_DATE_SPECIAL_BASE + (int32_t)(y << 9 | m << 5 | d);
}
static inline int64_t pe_datetime_special(unsigned y, unsigned m, unsigned d, unsigned hour,
                                          unsigned min, unsigned sec, unsigned usec) {
  return PE_DATETIME_SPECIAL_BASE + (int64_t)((uint64_t)(y * 13 + m) << 42 | (uint64_t)d << 37 |
                                              (uint64_t)hour << 32 | (uint64_t)min << 26 |
                                              (uint64_t)sec << 20 | usec);
}

struct pe_column {
  char *name;
  char *type_text; /* the source's own words: "int(10) unsigned", for messages and DDL */
  enum pe_ctype ctype;
  uint8_t mysql_type;  /* MYSQL_TYPE_* as in a TABLE_MAP event */
  uint16_t mysql_meta; /* its metadata there, 0 when unknown yet */
  uint8_t precision;   /* DECIMAL */
  uint8_t scale;       /* DECIMAL scale, or fractional digits of a temporal type */
  uint16_t collation;  /* MySQL collation id of a text column, 63 = binary, 0 = unknown */
  uint32_t length_max; /* characters or bytes, 0 = unknown */
  bool nullable;
  bool is_extra;       /* not in the source: filled by a transform */
  bool is_generated;   /* VIRTUAL or STORED in the source (both are in row images) */
  bool pii;            /* never leaves the engine in clear */
  bool excluded;       /* the pipeline leaves it out of the target */
  uint16_t pk_ordinal; /* 1.. in the primary key, 0 = not part of it */
  char **members;      /* ENUM and SET member texts, UTF-8 */
  uint32_t nmembers;
  uint32_t offset; /* in the row */
};

struct pe_table {
  char *db, *name;
  uint32_t id;       /* index of the table in its pipeline; names it in counters and lookups */
  uint32_t ncolumns; /* source columns and extras */
  uint32_t nsource;  /* source columns: columns[0 .. nsource) in the source's order */
  struct pe_column *columns;
  uint32_t npk;
  uint32_t *pk;        /* column indexes in key order */
  uint32_t row_bytes;  /* a multiple of 32 is not promised; offsets are aligned to their type, rows
                          to 16 */
  uint32_t null_bytes; /* (ncolumns + 7) / 8, the bitmap at offset 0 */
  uint64_t
      schema_hash; /* of names, types and keys of the source columns: equal = the same version */
  uint32_t refs;   /* atomic */
  struct pe_arena arena; /* holds all of the above */
};

/* Building: create, add columns in the source's order, add extras, set pk, then finish computes the
 * layout. */
struct pe_table *pe_table_create(const char *db, const char *name);
/* A zeroed column to fill in (name copied). NULL: out of memory. The pointer holds until the next
 * add. */
struct pe_column *pe_table_add(struct pe_table *t, const char *name);
/* As pe_table_add, for a column the source has not. */
struct pe_column *pe_table_add_extra(struct pe_table *t, const char *name);
int pe_table_finish(struct pe_table *t, struct pe_err *err);
/* A building (unfinished) copy of a table, to add extras to. */
struct pe_table *pe_table_clone(const struct pe_table *t);
struct pe_table *pe_table_ref(struct pe_table *t);
void pe_table_unref(struct pe_table *t);

int pe_table_find(const struct pe_table *t, const char *name); /* column index or -1 */
/* Size and alignment of a ctype inside a row. */
uint32_t pe_ctype_bytes(enum pe_ctype c);
uint32_t pe_ctype_align(enum pe_ctype c);
const char *pe_ctype_name(enum pe_ctype c);
static inline bool pe_ctype_is_str(enum pe_ctype c) {
  return c >= PE_C_STR;
}

static inline bool pe_row_null(const uint8_t *row, uint32_t col) {
  return (row[col >> 3] >> (col & 7)) & 1;
}
static inline void pe_row_set_null(uint8_t *row, uint32_t col) {
  row[col >> 3] = (uint8_t)(row[col >> 3] | (1u << (col & 7)));
}
static inline void pe_row_clear_null(uint8_t *row, uint32_t col) {
  row[col >> 3] = (uint8_t)(row[col >> 3] & ~(1u << (col & 7)));
}

/* Are two rows of the same layout equal in the given columns? Strings by content. */
bool pe_rows_equal(const struct pe_table *t, const uint8_t *a, const uint8_t *b,
                   const uint32_t *cols, uint32_t n);

/* Text of one value as a person or JSON would read it (no quotes): "2024-01-02 03:04:05.000",
 * "12.50", "-7". BYTES come as hex. NULL is not handled here. */
void pe_value_text(const struct pe_column *c, const uint8_t *row, struct pe_buf *out);
/* The row as a JSON object of its source columns, integers beyond 2^53 and decimals as strings;
 * columns marked pii read "<pii>". What the DLQ stores. */
void pe_row_json(const struct pe_table *t, const uint8_t *row, struct pe_buf *out);
/* A self-contained copy of a row (fixed part, then string bytes) and back into an arena. */
void pe_row_pack(const struct pe_table *t, const uint8_t *row, struct pe_buf *out);
int pe_row_unpack(const struct pe_table *t, const void *p, size_t n, struct pe_arena *a,
                  uint8_t **row, struct pe_err *err);
/* The primary key of a row as bytes that are equal exactly when the keys are (for maps in the state
 * store). */
void pe_row_key(const struct pe_table *t, const uint8_t *row, struct pe_buf *out);

/* Calendar helpers, proleptic Gregorian. */
int32_t pe_days_from_civil(int y, unsigned m, unsigned d);
void pe_civil_from_days(int32_t days, int *y, unsigned *m, unsigned *d);

#endif
