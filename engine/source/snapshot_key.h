/* The key of a table as SQL: reading it, writing it as a row literal, comparing with it.
 *
 * A row literal is "(12,_latin1 X'6B31')": one literal a key column, in key order, safe for any
 * bytes. Numbers are bare, text is hex in the column's own character set (so the server compares in
 * the column's collation and can use its index), times and addresses are quoted. */
#ifndef PE_SOURCE_SNAPSHOT_KEY_H
#define PE_SOURCE_SNAPSHOT_KEY_H

#include <mysql.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/table.h"

enum pe_key_kind {
  PE_KEY_NUMBER,  /* integers, DECIMAL, BIT, ENUM by its number */
  PE_KEY_SET,     /* by its bits; no index can help */
  PE_KEY_REAL,    /* FLOAT and DOUBLE, as a double with 17 digits */
  PE_KEY_QUOTED,  /* dates and times */
  PE_KEY_ADDRESS, /* UUID, INET4, INET6: quoted in their text form */
  PE_KEY_TEXT,
  PE_KEY_BYTES
};

struct pe_key_column {
  char name[260]; /* with its backticks */
  enum pe_key_kind kind;
  bool numbered; /* the number is asked for with +0: ENUM and BIT */
  char charset[64];
  uint32_t column; /* index in the table */
};

enum { PE_KEY_COLUMNS_MAX = 32 }; /* the servers' own limit for an index (MariaDB 32, MySQL 16) */

struct pe_key {
  struct pe_key_column cols[PE_KEY_COLUMNS_MAX];
  uint32_t n;
  char index[300]; /* with its backticks */
  bool resumable;  /* a literal can be made from a row in memory */
};

/* Kinds and names; charset stays "utf8mb4". PE_EDATA when there are too many columns. */
int pe_key_init(struct pe_key *k, const struct pe_table *t, struct pe_err *err);
/* Index name and character sets from the server. Blocking. */
int pe_key_load(struct pe_key *k, const struct pe_table *t, MYSQL *m, struct pe_err *err);

/* "HEX(`a`),`b`": what pe_key_put_cells expects as text cells. */
void pe_key_put_select(const struct pe_key *k, struct pe_buf *b);
void pe_key_put_order(const struct pe_key *k, struct pe_buf *b);
/* A row literal from a text-protocol row; PE_EDATA for cells that are no key. */
int pe_key_put_cells(const struct pe_key *k, char **cells, const unsigned long *lengths,
                     struct pe_buf *b, struct pe_err *err);
/* A row literal from a row in memory; only where k->resumable. */
void pe_key_put_row(const struct pe_key *k, const struct pe_table *t, const uint8_t *row,
                    struct pe_buf *b);
/* The condition "behind lo, up to hi" (either may be NULL), "TRUE" for neither. PE_EDATA when a
 * literal does not fit the key. */
int pe_key_put_range(const struct pe_key *k, const char *lo, const char *hi, struct pe_buf *b,
                     struct pe_err *err);

#endif
