/* Binlog events other than rows: the header and the bodies the reader needs.
 * Format: MySQL Internals, "Binlog Event" (libbinlogevents/include/binlog_event.h), and MariaDB's
 * knowledge base, "Replication Protocol". Pure functions of bytes; a malformed body is false, never
 * an over-read. */
#ifndef PE_SOURCE_BINLOG_EVENT_H
#define PE_SOURCE_BINLOG_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/position.h"

enum pe_binlog_type {
  PE_BL_START_V3 = 1,
  PE_BL_QUERY = 2,
  PE_BL_STOP = 3,
  PE_BL_ROTATE = 4,
  PE_BL_INTVAR = 5,
  PE_BL_LOAD = 6,
  PE_BL_SLAVE = 7,
  PE_BL_CREATE_FILE = 8,
  PE_BL_APPEND_BLOCK = 9,
  PE_BL_EXEC_LOAD = 10,
  PE_BL_DELETE_FILE = 11,
  PE_BL_NEW_LOAD = 12,
  PE_BL_RAND = 13,
  PE_BL_USER_VAR = 14,
  PE_BL_FORMAT_DESCRIPTION = 15,
  PE_BL_XID = 16,
  PE_BL_BEGIN_LOAD_QUERY = 17,
  PE_BL_EXECUTE_LOAD_QUERY = 18,
  PE_BL_TABLE_MAP = 19,
  PE_BL_WRITE_ROWS_V1 = 23,
  PE_BL_UPDATE_ROWS_V1 = 24,
  PE_BL_DELETE_ROWS_V1 = 25,
  PE_BL_INCIDENT = 26,
  PE_BL_HEARTBEAT = 27,
  PE_BL_IGNORABLE = 28,
  PE_BL_ROWS_QUERY = 29,
  PE_BL_WRITE_ROWS = 30,
  PE_BL_UPDATE_ROWS = 31,
  PE_BL_DELETE_ROWS = 32,
  PE_BL_GTID = 33,
  PE_BL_ANONYMOUS_GTID = 34,
  PE_BL_PREVIOUS_GTIDS = 35,
  PE_BL_TRANSACTION_CONTEXT = 36,
  PE_BL_VIEW_CHANGE = 37,
  PE_BL_XA_PREPARE = 38,
  PE_BL_PARTIAL_UPDATE_ROWS = 39,
  PE_BL_TRANSACTION_PAYLOAD = 40,
  PE_BL_HEARTBEAT_V2 = 41,
  PE_BL_GTID_TAGGED = 42,
  PE_BL_MARIA_ANNOTATE_ROWS = 160,
  PE_BL_MARIA_BINLOG_CHECKPOINT = 161,
  PE_BL_MARIA_GTID = 162,
  PE_BL_MARIA_GTID_LIST = 163,
  PE_BL_MARIA_START_ENCRYPTION = 164,
  PE_BL_MARIA_QUERY_COMPRESSED = 165,
  PE_BL_MARIA_ROWS_COMPRESSED_FIRST = 166, /* v1 write, update, delete, then v2 */
  PE_BL_MARIA_ROWS_COMPRESSED_LAST = 171
};

enum {
  PE_BL_HEADER_BYTES = 19,
  PE_BL_CHECKSUM_BYTES = 4,
  PE_BL_FLAG_ARTIFICIAL = 0x20,
  PE_BL_FLAG_IGNORABLE = 0x80,
  PE_BL_MARIA_GTID_STANDALONE = 1,
  PE_BL_ROWS_FLAG_STMT_END = 1
};

struct pe_binlog_header {
  uint32_t timestamp; /* seconds since 1970 */
  uint8_t type;
  uint32_t server_id;
  uint32_t event_len; /* of the whole event, as the server wrote it */
  uint32_t log_pos;   /* low 32 bits of the end of the event in its file; 0 = none of its own */
  uint16_t flags;
};

bool pe_binlog_header_read(const uint8_t *p, size_t n, struct pe_binlog_header *h);

struct pe_binlog_fde {
  uint8_t header_len;
  bool has_checksum;
  uint8_t post_len[256]; /* 0 where the server names none */
};
/* body: behind the event header */
bool pe_binlog_fde_read(const uint8_t *body, size_t n, struct pe_binlog_fde *f);

/* The name is copied, cut to PE_BINLOG_FILE_MAX - 1; false when it would not fit. */
bool pe_binlog_rotate_read(const uint8_t *body, size_t n, uint64_t *pos,
                           char file[PE_BINLOG_FILE_MAX]);

struct pe_binlog_query {
  const char *db, *sql; /* not NUL-terminated */
  size_t db_len, sql_len;
};
bool pe_binlog_query_read(const uint8_t *body, size_t n, struct pe_binlog_query *q);

/* Commit time in microseconds from a GTID event (33, 34, 42); 0 when the server tells none. */
int64_t pe_binlog_gtid_time(uint8_t type, const uint8_t *body, size_t n);

/* "WRITE_ROWS" and so on, for messages. */
const char *pe_binlog_type_name(uint8_t type);

#endif
