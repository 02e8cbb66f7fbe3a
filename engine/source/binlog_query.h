/* What a QUERY event means to a reader of rows. Not a parser: the first words, no more.
 * Comments are skipped, versioned ones count as text, backquotes and double quotes name things. */
#ifndef PE_SOURCE_BINLOG_QUERY_H
#define PE_SOURCE_BINLOG_QUERY_H

#include <stddef.h>

enum pe_query_kind {
  PE_Q_OTHER, /* DDL and what does not change rows */
  PE_Q_BEGIN,
  PE_Q_COMMIT,
  PE_Q_ROLLBACK,           /* the whole transaction */
  PE_Q_ROLLBACK_SAVEPOINT, /* a part of it */
  PE_Q_XA_BEGIN,           /* XA START */
  PE_Q_XA_COMMIT,
  PE_Q_XA_ROLLBACK,
  PE_Q_IN_TRANSACTION, /* SAVEPOINT, XA END: neither begins nor ends anything */
  PE_Q_TRUNCATE,       /* names db and table */
  PE_Q_DML,  /* INSERT, UPDATE ...: rows that are not in the log; names its target if it can */
  PE_Q_CLEAR /* DELETE FROM t without a condition: also what the server writes for a
                MEMORY table after a restart; names db and table */
};

enum { PE_QUERY_NAME_MAX = 260 };

struct pe_query_info {
  enum pe_query_kind kind;
  char db[PE_QUERY_NAME_MAX]; /* "": the event's own database */
  char table[PE_QUERY_NAME_MAX];
};

void pe_binlog_query_classify(const char *sql, size_t n, struct pe_query_info *q);

#endif
