/* A table in ClickHouse as the engine needs to know it, and the DDL for one that does not exist.
 * Blocking calls. */
#ifndef PE_SINK_TARGET_H
#define PE_SINK_TARGET_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/table.h"
#include "sink/clickhouse.h"

enum pe_chkind {
  PE_CH_INT,
  PE_CH_UINT,    /* width_bytes 1,2,4,8,16,32 (Bool is UINT 1) */
  PE_CH_FLOAT,   /* 4, 8 */
  PE_CH_DECIMAL, /* width_bytes 4,8,16,32 ; scale */
  PE_CH_DATE,
  PE_CH_DATE32,     /* uint16 / int32 days */
  PE_CH_DATETIME,   /* uint32 s */
  PE_CH_DATETIME64, /* int64, scale */
  PE_CH_STRING,
  PE_CH_FIXEDSTRING, /* width_bytes */
  PE_CH_UUID,
  PE_CH_OTHER, /* sent as String, ClickHouse converts (Enum, IPv4, JSON, ...) */
};

struct pe_chcolumn {
  char *name;
  char *type_text; /* as in system.columns */
  char *wire_type; /* what the Native block declares (LowCardinality taken off; Enum and OTHER:
                      String) */
  enum pe_chkind kind;
  uint32_t width_bytes, scale, precision;
  bool nullable, has_default, is_key /* in sorting key */, is_partition,
      is_materialized /* or ALIAS: never sent */;
  bool is_bool;   /* UINT 1 that takes 0 and 1 only */
  char *timezone; /* of a DateTime or DateTime64; NULL: the server's */
};

enum pe_partition_kind {
  PE_PART_NONE, /* no PARTITION BY: one partition */
  PE_PART_YYYYMM,
  PE_PART_YYYYMMDD,
  PE_PART_DATE /* toDate, toStartOfDay */,
  PE_PART_MONDAY,
  PE_PART_YEAR,
  PE_PART_VALUE, /* the column itself */
  PE_PART_MOD,
  PE_PART_INTDIV,
  PE_PART_OPAQUE, /* an expression not known here: asked of ClickHouse is not possible per row, so
                     one row's block may span partitions; the engine says so at start */
};
struct pe_partition_part {
  enum pe_partition_kind kind;
  uint32_t column;
  uint64_t n;
};

struct pe_target {
  char *db, *name, *engine;
  struct pe_chcolumn *columns;
  uint32_t ncolumns;
  struct pe_partition_part parts[4]; /* a tuple of up to four */
  uint32_t nparts;
  int32_t version_col, deleted_col; /* _version, _deleted; -1 when there are none */
  uint64_t dedup_window;            /* non_replicated_deduplication_window or the replicated one */
  bool replicated;
  bool empty;
  bool server_utc; /* the server's time zone is UTC */
  bool wide_dates; /* Date32 and DateTime64 hold years 0000 to 9999 (ClickHouse 26); else 1900 to
                      2299 */
  struct pe_arena arena; /* holds all of the above */
};

/* 1 loaded, 0 no such table. */
int pe_target_load(struct pe_ch *ch, const char *db, const char *name, struct pe_target **out,
                   struct pe_err *err);
void pe_target_destroy(struct pe_target *t);
/* Fills c (ctype, scale, precision, nullable) for a column that only the target has, so that a
 * script can write it. */
int pe_target_extra(const struct pe_chcolumn *cc, struct pe_column *c, struct pe_err *err);
/* The CREATE TABLE for a source table that has no DDL: ReplacingMergeTree(_version, _deleted) ORDER
 * BY the primary key, a deduplication window, the default type for every column (the table of types
 * stands in engine/sink/README.md). */
int pe_target_ddl(const struct pe_table *t, const char *db, const char *name, struct pe_buf *sql,
                  struct pe_err *err);
/* The ClickHouse type for one column, e.g. "Nullable(DateTime64(3, 'UTC'))". */
int pe_target_type(const struct pe_column *c, struct pe_buf *out);

#endif
