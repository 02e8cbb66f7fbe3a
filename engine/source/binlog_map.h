/* TABLE_MAP events: what the row events behind them look like. With binlog_row_metadata=FULL they
 * also name columns, signedness, character sets and members.
 * Format: libbinlogevents/include/rows_event.h, class Table_map_event. owner: reader. */
#ifndef PE_SOURCE_BINLOG_MAP_H
#define PE_SOURCE_BINLOG_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* MYSQL_TYPE_* as events carry them */
enum {
  PE_MT_DECIMAL = 0,
  PE_MT_TINY = 1,
  PE_MT_SHORT = 2,
  PE_MT_LONG = 3,
  PE_MT_FLOAT = 4,
  PE_MT_DOUBLE = 5,
  PE_MT_NULL = 6,
  PE_MT_TIMESTAMP = 7,
  PE_MT_LONGLONG = 8,
  PE_MT_INT24 = 9,
  PE_MT_DATE = 10,
  PE_MT_TIME = 11,
  PE_MT_DATETIME = 12,
  PE_MT_YEAR = 13,
  PE_MT_NEWDATE = 14,
  PE_MT_VARCHAR = 15,
  PE_MT_BIT = 16,
  PE_MT_TIMESTAMP2 = 17,
  PE_MT_DATETIME2 = 18,
  PE_MT_TIME2 = 19,
  PE_MT_MARIA_BLOB_COMPRESSED = 140,
  PE_MT_MARIA_VARCHAR_COMPRESSED = 141,
  PE_MT_VECTOR = 242,
  PE_MT_JSON = 245,
  PE_MT_NEWDECIMAL = 246,
  PE_MT_ENUM = 247,
  PE_MT_SET = 248,
  PE_MT_TINY_BLOB = 249,
  PE_MT_MEDIUM_BLOB = 250,
  PE_MT_LONG_BLOB = 251,
  PE_MT_BLOB = 252,
  PE_MT_VAR_STRING = 253,
  PE_MT_STRING = 254,
  PE_MT_GEOMETRY = 255
};

struct pe_map_column {
  uint8_t type;    /* ENUM and SET instead of the STRING they travel as */
  uint16_t meta;   /* as in the event (temporal: digits; DECIMAL: precision << 8 | scale) */
  uint32_t length; /* STRING: its bytes; ENUM, SET: packed bytes; BIT: bits */
  bool nullable;
  bool is_unsigned;    /* with has_signedness */
  uint16_t collation;  /* 0 unknown */
  struct pe_str name;  /* len 0 unknown */
  uint32_t pk_ordinal; /* 1.. in the primary key, where full metadata tells one */
  uint32_t nmembers;   /* ENUM, SET with metadata; 0 unknown */
  struct pe_str *members;
};

struct pe_binlog_map {
  uint64_t table_id;
  struct pe_str db, table;
  uint32_t ncolumns;
  struct pe_map_column *columns;
  bool has_signedness, has_names;
};

/* Only the id and the names: enough to see whether anyone wants the table. They point into body. */
bool pe_binlog_map_head(const uint8_t *body, size_t n, size_t post_len, struct pe_binlog_map *m);
/* The whole event; columns lie in the arena, names and members point into body. maria: the log is a
 * MariaDB server's, which counts GEOMETRY among the columns with a character set.
 * PE_ESOURCE_PROTO. */
int pe_binlog_map_read(const uint8_t *body, size_t n, size_t post_len, bool maria,
                       struct pe_arena *a, struct pe_binlog_map *m, struct pe_err *err);

#endif
