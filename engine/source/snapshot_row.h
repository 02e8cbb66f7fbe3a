/* Rows of the binary protocol (MySQL Internals, "Binary Protocol Resultset Row") decoded straight
 * into the layout of a table. */
#ifndef PE_SOURCE_SNAPSHOT_ROW_H
#define PE_SOURCE_SNAPSHOT_ROW_H

#include <mysql.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/table.h"

struct pe_wire_column;

struct pe_wire {
  const struct pe_table *t;
  struct pe_wire_column *cols;
  uint32_t n;
  uint8_t *nulls; /* the bitmap of a row without NULLs: extras only */
};

/* The columns as they are selected: "`a`,CAST(`e` AS UNSIGNED)". */
void pe_wire_put_select(const struct pe_table *t, struct pe_buf *b);
/* Plans the decoding of a result with these columns. PE_ESOURCE_SCHEMA when the result's types are
 * not those of the table version. */
int pe_wire_init(struct pe_wire *w, const struct pe_table *t, const MYSQL_FIELD *fields,
                 unsigned nfields, struct pe_err *err);
void pe_wire_close(struct pe_wire *w);
/* One row packet into a zeroed row; strings go into the arena. PE_ESOURCE_PROTO for bytes that make
 * no sense, PE_ENOMEM. */
int pe_wire_decode(const struct pe_wire *w, const uint8_t *packet, size_t n, uint8_t *row,
                   struct pe_arena *a, struct pe_err *err);

/* "-12.50" with `scale` digits behind the point, as bytes (8, 16 or 32) of two's complement. False
 * when it is not such a number or too large. */
bool pe_decimal_parse(const char *s, size_t n, uint8_t scale, void *out, uint32_t bytes);

#endif
