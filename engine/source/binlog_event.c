/* Bodies of binlog events that are not rows. Pure; fails by returning false. */
#include "source/binlog_event.h"

#include <string.h>

#include "source/binlog_wire.h"

enum {
  FDE_FIXED = 2 + 50 + 4 + 1, /* version, server's own name, created, header length */
  FDE_TAIL = 5,               /* checksum algorithm and the event's own checksum */
  QUERY_FIXED = 13,
  CHECKSUM_CRC32 = 1,
  IMMEDIATE_HAS_ORIGINAL_BIT = 55 /* of the 7-byte commit time */
};

bool pe_binlog_header_read(const uint8_t *p, size_t n, struct pe_binlog_header *h) {
  if (n < PE_BL_HEADER_BYTES) {
    return false;
  }
  h->timestamp = pe_le32(p);
  h->type = p[4];
  h->server_id = pe_le32(p + 5);
  h->event_len = pe_le32(p + 9);
  h->log_pos = pe_le32(p + 13);
  h->flags = pe_le16(p + 17);
  return true;
}

bool pe_binlog_fde_read(const uint8_t *body, size_t n, struct pe_binlog_fde *f) {
  memset(f, 0, sizeof(*f));
  if (n < FDE_FIXED + FDE_TAIL || pe_le16(body) != 4) {
    return false;
  }
  f->header_len = body[FDE_FIXED - 1];
  size_t types = n - FDE_FIXED - FDE_TAIL;
  for (size_t i = 0; i < types && i < 255; i++) {
    f->post_len[i + 1] = body[FDE_FIXED + i];
  }
  f->has_checksum = body[n - FDE_TAIL] == CHECKSUM_CRC32;
  return f->header_len >= PE_BL_HEADER_BYTES;
}

bool pe_binlog_rotate_read(const uint8_t *body, size_t n, uint64_t *pos,
                           char file[PE_BINLOG_FILE_MAX]) {
  if (n < 9 || n - 8 >= PE_BINLOG_FILE_MAX) {
    return false;
  }
  *pos = pe_le64(body);
  memcpy(file, body + 8, n - 8);
  file[n - 8] = 0;
  return true;
}

bool pe_binlog_query_read(const uint8_t *body, size_t n, struct pe_binlog_query *q) {
  if (n < QUERY_FIXED) {
    return false;
  }
  size_t db_len = body[8];
  size_t status_len = pe_le16(body + 11);
  if (n - QUERY_FIXED < status_len || n - QUERY_FIXED - status_len < db_len + 1) {
    return false;
  }
  const char *at = (const char *)body + QUERY_FIXED + status_len;
  q->db = at;
  q->db_len = db_len;
  q->sql = at + db_len + 1;
  q->sql_len = n - QUERY_FIXED - status_len - db_len - 1;
  return true;
}

/* MySQL's serialization library (GTID_TAGGED): an unsigned integer is 1..9 bytes, the number of
 * trailing one bits of the first byte says how many follow. */
static uint64_t tagged_varlen(struct pe_cursor *c) {
  uint8_t first = pe_cursor_u8(c);
  unsigned more = (unsigned)__builtin_ctz(~(unsigned)first);
  if (more >= 8) {
    return pe_cursor_le(c, 8);
  }
  uint64_t rest = pe_cursor_le(c, more);
  return (uint64_t)first >> (more + 1) | (more ? rest << (7 - more) : 0);
}

/* Field ids of Gtid_event in libs/mysql/binlog/event/control_events.h */
enum { TAGGED_FLAGS, TAGGED_UUID, TAGGED_GNO, TAGGED_TAG, TAGGED_LAST, TAGGED_SEQ, TAGGED_TIME };

static int64_t tagged_time(const uint8_t *body, size_t n) {
  struct pe_cursor c = pe_cursor(body, n);
  tagged_varlen(&c); /* version */
  tagged_varlen(&c); /* size */
  tagged_varlen(&c); /* last field that may not be ignored */
  while (!c.bad && pe_cursor_left(&c)) {
    uint64_t field = tagged_varlen(&c);
    switch (field) {
      case TAGGED_FLAGS:
      case TAGGED_GNO:
      case TAGGED_LAST:
      case TAGGED_SEQ:
        tagged_varlen(&c);
        break;
      case TAGGED_UUID:
        for (unsigned i = 0; i < 16; i++) {
          tagged_varlen(&c);
        }
        break;
      case TAGGED_TAG: {
        uint64_t len = tagged_varlen(&c);
        pe_cursor_bytes(&c, len > n ? n + 1 : (size_t)len);
        break;
      }
      case TAGGED_TIME: {
        uint64_t us = tagged_varlen(&c);
        return c.bad || us > INT64_MAX ? 0 : (int64_t)us;
      }
      default:
        return 0;
    }
  }
  return 0;
}

int64_t pe_binlog_gtid_time(uint8_t type, const uint8_t *body, size_t n) {
  if (type == PE_BL_GTID_TAGGED) {
    return tagged_time(body, n);
  }
  enum { LOGICAL_AT = 1 + 16 + 8, TIME_AT = LOGICAL_AT + 1 + 16, LOGICAL = 2 };
  if (n < TIME_AT + 7 || body[LOGICAL_AT] != LOGICAL) {
    return 0;
  }
  uint64_t us = pe_le56(body + TIME_AT);
  return (int64_t)(us & ((UINT64_C(1) << IMMEDIATE_HAS_ORIGINAL_BIT) - 1));
}

const char *pe_binlog_type_name(uint8_t type) {
  switch (type) {
    case PE_BL_QUERY:
      return "QUERY";
    case PE_BL_ROTATE:
      return "ROTATE";
    case PE_BL_FORMAT_DESCRIPTION:
      return "FORMAT_DESCRIPTION";
    case PE_BL_XID:
      return "XID";
    case PE_BL_TABLE_MAP:
      return "TABLE_MAP";
    case PE_BL_WRITE_ROWS_V1:
    case PE_BL_WRITE_ROWS:
      return "WRITE_ROWS";
    case PE_BL_UPDATE_ROWS_V1:
    case PE_BL_UPDATE_ROWS:
      return "UPDATE_ROWS";
    case PE_BL_DELETE_ROWS_V1:
    case PE_BL_DELETE_ROWS:
      return "DELETE_ROWS";
    case PE_BL_INCIDENT:
      return "INCIDENT";
    default:
      return "event";
  }
}
