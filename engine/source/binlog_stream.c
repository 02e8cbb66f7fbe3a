/* Events: where they lie, how transactions begin and end, what is skipped and what is refused.
 * owner: reader. Fails with PE_ESOURCE_PROTO (malformed, or a transaction without an end whose rows
 * are out already), PE_ESOURCE_SETTING (changes that the log does not hold as rows), and with class
 * RETRY where reading again from the last batch's end is the mend. */
#include "source/binlog_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "source/binlog_query.h"
#include "source/binlog_wire.h"

enum { BATCH_ROWS_DEFAULT = 8192, BATCH_BYTES_DEFAULT = 4 * 1024 * 1024 };
static const int64_t batch_age_us_default = 20000;
static const uint64_t dump_pos_max = UINT32_MAX; /* the command has 32 bits for it */
static const uint64_t first_pos = 4;             /* behind the magic number */

struct event {
  struct pe_binlog_header h;
  const uint8_t *p, *body;
  size_t n;       /* of the body */
  size_t whole_n; /* with the checksum, if there is one */
  uint64_t start, end;
  bool artificial; /* made for this connection, not in the file */
};

int pe_stream_init(struct pe_stream *s, const struct pe_reader_opts *o,
                   const struct pe_stream_calls *calls, struct pe_err *err) {
  memset(s, 0, sizeof(*s));
  s->calls = *calls;
  s->batch_rows = o->batch_rows ? o->batch_rows : BATCH_ROWS_DEFAULT;
  s->batch_bytes = o->batch_bytes ? o->batch_bytes : BATCH_BYTES_DEFAULT;
  s->batch_age_us_max = batch_age_us_default;
  s->pushed = o->start;
  s->generation = o->start.generation;
  s->ts_us = o->start.ts_us;
  s->last_push_us = pe_clock_us();
  return pe_stream_tables_init(s, o, err);
}

void pe_stream_close(struct pe_stream *s) {
  pe_stream_drop(s);
  pe_stream_tables_close(s);
}

static void group_end(struct pe_stream *s) {
  s->in_group = s->in_trx = s->group_ignored = s->group_rows = s->group_pushed = false;
}

static void set_file(struct pe_stream *s, const char *file, uint64_t pos) {
  if (file != s->file) {
    strcpy(s->file, file);
  }
  s->file_number = pe_binlog_file_number(file);
  s->pos = pos;
}

static void boundary(struct pe_stream *s, const char *file, uint64_t pos) {
  strcpy(s->safe.file, file);
  s->safe.pos = pos;
  s->safe.base_version = s->last_version;
}

void pe_stream_restart(struct pe_stream *s, uint32_t *dump_pos) {
  pe_stream_drop(s);
  pe_stream_maps_clear(s);
  s->have_fde = false;
  group_end(s);
  if (s->pushed.pos < first_pos) {
    s->pushed.pos = first_pos;
  }
  s->last_version = s->pushed.base_version;
  s->skip_version = s->pushed.version;
  s->ts_us = s->pushed.ts_us;
  boundary(s, s->pushed.file, s->pushed.pos);
  s->wanted_pos = s->pushed.pos;
  strcpy(s->wanted_file, s->pushed.file);
  s->any_event = s->looking_ahead = s->again = false;
  bool whole_file = s->from_first || s->pushed.pos > dump_pos_max;
  *dump_pos = (uint32_t)(whole_file ? first_pos : s->pushed.pos);
  set_file(s, s->pushed.file, *dump_pos);
}

static bool group_is_dead(const struct pe_stream *s) {
  return s->dead.file[0] && s->dead.pos == s->safe.pos && strcmp(s->dead.file, s->safe.file) == 0;
}

static void group_begin(struct pe_stream *s, int64_t ts_us) {
  if (!s->in_group) {
    s->in_group = true;
    s->group_ignored = group_is_dead(s);
  }
  if (ts_us) {
    s->group_ts_us = ts_us;
  }
}

static void transaction_end(struct pe_stream *s, uint64_t end) {
  if (s->in_group) {
    PE_STAT_ADD(s->stats.transactions, 1u);
    PE_STAT_SET(s->stats.source_ts_us, s->group_ts_us);
  }
  group_end(s);
  boundary(s, s->file, end);
}

/* The open transaction never was committed. Its rows are dropped if they are still here. */
static int transaction_dead(struct pe_stream *s, const char *why, struct pe_err *err) {
  if (!s->group_rows) {
    return 0;
  }
  if (s->group_pushed) {
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                      "the transaction at %s:%llu was passed on in part, and then it turned out "
                      "that the source never committed it (%s): run `pipe-engine resync "
                      "<pipeline>` to make the target equal again",
                      s->safe.file, (unsigned long long)s->safe.pos, why);
  }
  s->dead = s->safe;
  s->again = true;
  return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                    "the transaction at %s:%llu was never committed (%s); reading again without it",
                    s->safe.file, (unsigned long long)s->safe.pos, why);
}

static int to_file(struct pe_stream *s, const char *file, uint64_t pos, const char *why,
                   struct pe_err *err) {
  int rc = transaction_dead(s, why, err);
  if (rc) {
    return rc;
  }
  group_end(s);
  set_file(s, file, pos);
  boundary(s, file, pos);
  if (s->file_number < 0) {
    return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                      "the binlog file %s does not end in a number: set log_bin to a name that the "
                      "server numbers itself",
                      file);
  }
  return 0;
}

int pe_stream_file_torn(struct pe_stream *s, const char *next, struct pe_err *err) {
  if (!s->any_event && !s->from_first) {
    s->from_first = true;
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                      "no whole event at %s:%llu; reading the file from its beginning to see why",
                      s->file, (unsigned long long)s->pos);
  }
  s->from_first = false;
  int rc = to_file(s, next, first_pos, "its file ends within it, as after a crash", err);
  if (!rc) {
    rc = pe_stream_push(s);
  }
  return rc;
}

/* A made-up ROTATE comes with or without a checksum whatever the other events of the connection do
 * (MariaDB: as asked for; MySQL: as the file has it), so its name tells. */
static bool read_artificial_rotate(const struct pe_stream *s, const struct event *e, uint64_t *pos,
                                   char file[PE_BINLOG_FILE_MAX]) {
  size_t whole = e->whole_n;
  char with[PE_BINLOG_FILE_MAX], without[PE_BINLOG_FILE_MAX];
  bool longer = pe_binlog_rotate_read(e->body, whole, pos, with);
  bool shorter = whole > PE_BL_CHECKSUM_BYTES &&
                 pe_binlog_rotate_read(e->body, whole - PE_BL_CHECKSUM_BYTES, pos, without);
  if (shorter && !(longer && strcmp(with, s->file) == 0) &&
      (!longer || strcmp(without, s->file) == 0 || pe_binlog_file_number(with) < 0)) {
    strcpy(file, without);
    return true;
  }
  if (longer) {
    strcpy(file, with);
  }
  return longer;
}

static int on_rotate(struct pe_stream *s, const struct event *e, struct pe_err *err) {
  char file[PE_BINLOG_FILE_MAX];
  uint64_t pos;
  bool ok = e->artificial ? read_artificial_rotate(s, e, &pos, file)
                          : pe_binlog_rotate_read(e->body, e->n, &pos, file);
  if (!ok) {
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL, "malformed ROTATE event at %s:%llu",
                      s->file, (unsigned long long)s->pos);
  }
  if (e->artificial && strcmp(file, s->file) == 0) {
    s->pos = pos;
    return s->file_number < 0 ? to_file(s, file, pos, "", err) : 0;
  }
  pe_debug("source", "binlog goes on in %s", file);
  return to_file(s, file, pos, "the next file begins", err);
}

static int on_format(struct pe_stream *s, const struct event *e, struct pe_err *err) {
  if (!pe_binlog_fde_read(e->body, e->n, &s->fde)) {
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                      "a binlog format that the engine does not know at %s:%llu; servers from "
                      "MySQL 5.6 and MariaDB 10.2 on work",
                      s->file, (unsigned long long)s->pos);
  }
  s->have_fde = true;
  pe_stream_maps_clear(s);
  return 0;
}

static bool is_system_db(const char *db, size_t n) {
  static const char *const names[] = {"mysql", "sys", "performance_schema", "information_schema"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strlen(names[i]) == n && memcmp(names[i], db, n) == 0) {
      return true;
    }
  }
  return false;
}

static struct pe_stream_slot *target_of(struct pe_stream *s, const struct pe_binlog_query *q,
                                        const struct pe_query_info *info, bool *system) {
  const char *db = info->db[0] ? info->db : q->db;
  size_t db_len = info->db[0] ? strlen(info->db) : q->db_len;
  *system = is_system_db(db, db_len);
  return pe_stream_slot_named(s, db, db_len, info->table, strlen(info->table));
}

static int statement_refused(const struct pe_stream *s, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                    "statement-based change at %s:%llu: its rows are not in the binlog, so going "
                    "on would lose them; SET GLOBAL binlog_format = ROW (sessions keep theirs: end "
                    "the old ones), then `pipe-engine resync <pipeline>`",
                    s->file, (unsigned long long)s->pos);
}

static int on_truncate(struct pe_stream *s, const struct event *e, struct pe_stream_slot *slot,
                       struct pe_err *err) {
  uint64_t version;
  int rc = pe_version_make(s->generation, s->file_number, e->start, &version, err);
  if (rc) {
    return pe_err_wrap(err, "%s:%llu", s->file, (unsigned long long)e->start);
  }
  version = version > s->last_version ? version : s->last_version + 1;
  bool known = version <= s->skip_version || version <= slot->from_version;
  s->last_version = version;
  s->ts_us = s->group_ts_us;
  transaction_end(s, e->end);
  if (known) {
    return 0;
  }
  pe_info("source", "TRUNCATE of %s.%s at %s:%llu", slot->table->db, slot->table->name, s->file,
          (unsigned long long)e->start);
  rc = pe_stream_push_event(s, PE_EV_TRUNCATE, slot->table, NULL);
  return rc ? pe_err_set(err, rc, PE_CLASS_FATAL, "cannot pass on a TRUNCATE") : 0;
}

static int on_xa_rollback(const struct pe_stream *s, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                    "XA ROLLBACK of a prepared transaction at %s:%llu: its rows came with the "
                    "PREPARE and may have been passed on; run `pipe-engine resync <pipeline>`",
                    s->file, (unsigned long long)s->pos);
}

/* Servers log this only where a table without transactions was changed in the meantime; which of
 * the rows before it stand is not to be told from the log. */
static int on_partial_rollback(const struct pe_stream *s, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                    "ROLLBACK TO a savepoint stands in the log at %s:%llu, after a change of a "
                    "table without transactions: the rows that it takes back are not marked; run "
                    "`pipe-engine resync <pipeline>`, and use InnoDB tables in such transactions",
                    s->file, (unsigned long long)s->pos);
}

static int on_query(struct pe_stream *s, const struct event *e, struct pe_err *err) {
  struct pe_binlog_query q;
  struct pe_query_info info;
  if (!pe_binlog_query_read(e->body, e->n, &q)) {
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL, "malformed QUERY event at %s:%llu",
                      s->file, (unsigned long long)s->pos);
  }
  pe_binlog_query_classify(q.sql, q.sql_len, &info);
  bool system = false;
  struct pe_stream_slot *target = info.table[0] ? target_of(s, &q, &info, &system) : NULL;
  int64_t ts_us = (int64_t)e->h.timestamp * 1000000;
  if (!s->in_group) {
    s->group_ts_us = ts_us;
  }
  switch (info.kind) {
    case PE_Q_BEGIN:
    case PE_Q_XA_BEGIN:
      group_begin(s, s->in_group ? 0 : ts_us);
      s->in_trx = true;
      return 0;
    case PE_Q_IN_TRANSACTION:
      return 0;
    case PE_Q_ROLLBACK_SAVEPOINT:
      return on_partial_rollback(s, err);
    case PE_Q_ROLLBACK: {
      int rc = transaction_dead(s, "it ends in a ROLLBACK", err);
      if (!rc) {
        transaction_end(s, e->end);
      }
      return rc;
    }
    case PE_Q_XA_ROLLBACK:
      return on_xa_rollback(s, err);
    case PE_Q_COMMIT:
    case PE_Q_XA_COMMIT:
      transaction_end(s, e->end);
      return 0;
    case PE_Q_TRUNCATE:
      if (target) {
        return on_truncate(s, e, target, err);
      }
      break;
    case PE_Q_CLEAR:
    case PE_Q_DML:
      if (!system && (target || info.kind == PE_Q_DML)) {
        return statement_refused(s, err);
      }
      return 0;
    case PE_Q_OTHER:
      break;
  }
  if (!s->in_trx) {
    transaction_end(s, e->end);
  }
  return 0;
}

static void on_gtid(struct pe_stream *s, const struct event *e) {
  int64_t us = 0;
  bool transaction = false;
  if (e->h.type == PE_BL_MARIA_GTID) {
    enum { FLAGS_AT = 12 };
    transaction = e->n > FLAGS_AT && !(e->body[FLAGS_AT] & PE_BL_MARIA_GTID_STANDALONE);
  } else {
    us = pe_binlog_gtid_time(e->h.type, e->body, e->n);
  }
  group_begin(s, us ? us : (int64_t)e->h.timestamp * 1000000);
  s->in_trx = s->in_trx || transaction;
}

static int refused(const struct pe_stream *s, int code, struct pe_err *err, const char *what) {
  return pe_err_set(err, code, PE_CLASS_FATAL, "%s:%llu: %s", s->file, (unsigned long long)s->pos,
                    what);
}

static int on_other(struct pe_stream *s, const struct event *e, struct pe_err *err) {
  if (e->h.type >= PE_BL_MARIA_ROWS_COMPRESSED_FIRST &&
      e->h.type <= PE_BL_MARIA_ROWS_COMPRESSED_LAST) {
    return refused(s, PE_ESOURCE_SETTING, err,
                   "compressed row events, which the engine does not read: SET GLOBAL "
                   "log_bin_compress = OFF, then `pipe-engine resync <pipeline>`");
  }
  switch (e->h.type) {
    case PE_BL_MARIA_QUERY_COMPRESSED:
      return refused(s, PE_ESOURCE_SETTING, err,
                     "a compressed statement, which the engine does not read: SET GLOBAL "
                     "log_bin_compress = OFF, then `pipe-engine resync <pipeline>`");
    case PE_BL_TRANSACTION_PAYLOAD:
      return refused(s, PE_ESOURCE_SETTING, err,
                     "a compressed transaction, which the engine does not read: SET GLOBAL "
                     "binlog_transaction_compression = OFF (and in the sessions that set it), then "
                     "`pipe-engine resync <pipeline>`");
    case PE_BL_PARTIAL_UPDATE_ROWS:
      return refused(s, PE_ESOURCE_SETTING, err,
                     "a partial JSON update: SET GLOBAL binlog_row_value_options = '' (sessions "
                     "keep theirs: end the old ones), then `pipe-engine resync <pipeline>`");
    case PE_BL_INCIDENT:
      return refused(s, PE_ESOURCE_PROTO, err,
                     "the source says that it lost events here (INCIDENT): run `pipe-engine resync "
                     "<pipeline>` to make the target equal again");
    case PE_BL_EXECUTE_LOAD_QUERY:
    case PE_BL_LOAD:
    case PE_BL_NEW_LOAD:
    case PE_BL_EXEC_LOAD:
      return statement_refused(s, err);
    case PE_BL_INTVAR:
    case PE_BL_RAND:
    case PE_BL_USER_VAR:
    case PE_BL_BEGIN_LOAD_QUERY:
    case PE_BL_APPEND_BLOCK:
    case PE_BL_DELETE_FILE:
    case PE_BL_CREATE_FILE:
    case PE_BL_IGNORABLE:
    case PE_BL_ROWS_QUERY:
    case PE_BL_MARIA_ANNOTATE_ROWS:
    case PE_BL_TRANSACTION_CONTEXT:
    case PE_BL_HEARTBEAT:
    case PE_BL_HEARTBEAT_V2:
      return 0;
    case PE_BL_STOP:
    case PE_BL_PREVIOUS_GTIDS:
    case PE_BL_VIEW_CHANGE:
    case PE_BL_MARIA_BINLOG_CHECKPOINT:
    case PE_BL_MARIA_GTID_LIST:
    case PE_BL_MARIA_START_ENCRYPTION:
      if (!s->in_group && !e->artificial) {
        boundary(s, s->file, e->end);
      }
      return 0;
    default:
      if (e->h.flags & PE_BL_FLAG_IGNORABLE) {
        return 0;
      }
      return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                        "%s:%llu: event type %u, which the engine does not know; a newer "
                        "pipe-engine may",
                        s->file, (unsigned long long)s->pos, e->h.type);
  }
}

static int dispatch(struct pe_stream *s, const struct event *e, struct pe_err *err) {
  switch (e->h.type) {
    case PE_BL_WRITE_ROWS_V1:
    case PE_BL_UPDATE_ROWS_V1:
    case PE_BL_DELETE_ROWS_V1:
    case PE_BL_WRITE_ROWS:
    case PE_BL_UPDATE_ROWS:
    case PE_BL_DELETE_ROWS:
      return pe_stream_rows(s, &e->h, e->p, e->body, e->n, e->start, e->end, err);
    case PE_BL_TABLE_MAP:
      group_begin(s, s->in_group ? 0 : (int64_t)e->h.timestamp * 1000000);
      s->in_trx = true;
      return s->group_ignored ? 0 : pe_stream_table_map(s, e->body, e->n, err);
    case PE_BL_XID:
    case PE_BL_XA_PREPARE:
      transaction_end(s, e->end);
      return 0;
    case PE_BL_GTID:
    case PE_BL_ANONYMOUS_GTID:
    case PE_BL_GTID_TAGGED:
    case PE_BL_MARIA_GTID:
      on_gtid(s, e);
      return 0;
    case PE_BL_QUERY:
      return on_query(s, e, err);
    default:
      return on_other(s, e, err);
  }
}

/* Events that a server makes up for a connection carry no place of their own. (MariaDB from 11.4 on
 * writes real events without one, too: those inside transactions.) */
static bool is_artificial(const struct pe_binlog_header *h) {
  if (h->flags & PE_BL_FLAG_ARTIFICIAL) {
    return true;
  }
  switch (h->type) {
    case PE_BL_HEARTBEAT:
    case PE_BL_HEARTBEAT_V2:
      return true;
    case PE_BL_ROTATE:
    case PE_BL_FORMAT_DESCRIPTION:
    case PE_BL_MARIA_GTID_LIST:
    case PE_BL_MARIA_START_ENCRYPTION:
      return h->log_pos == 0;
    default:
      return false;
  }
}

/* Start and end of a real event in its file, in 64 bits. */
static void place(const struct pe_stream *s, struct event *e) {
  uint64_t len = e->h.event_len;
  e->start = s->pos;
  e->end = s->pos + len;
  if (e->h.log_pos && (uint32_t)e->end != e->h.log_pos) {
    uint64_t end = (s->pos & ~(uint64_t)UINT32_MAX) | e->h.log_pos;
    e->end = end < s->pos ? end + UINT32_MAX + 1 : end;
    e->start = e->end - s->pos >= len ? e->end - len : s->pos;
  }
}

static int read_event(struct pe_stream *s, const uint8_t *p, size_t n, struct event *e,
                      struct pe_err *err) {
  if (!pe_binlog_header_read(p, n, &e->h) || e->h.event_len < PE_BL_HEADER_BYTES) {
    return refused(s, PE_ESOURCE_PROTO, err, "an event without a header");
  }
  e->p = p;
  e->body = p + PE_BL_HEADER_BYTES;
  e->n = e->whole_n = n - PE_BL_HEADER_BYTES;
  e->artificial = is_artificial(&e->h);
  bool checksum = s->have_fde && s->fde.has_checksum && e->h.type != PE_BL_FORMAT_DESCRIPTION;
  if (checksum) {
    if (e->n < PE_BL_CHECKSUM_BYTES) {
      return refused(s, PE_ESOURCE_PROTO, err, "an event shorter than its checksum");
    }
    e->n -= PE_BL_CHECKSUM_BYTES;
  }
  place(s, e);
  return 0;
}

/* The end of the transaction that was looked for. */
static int seen_whole(struct pe_stream *s, const struct pe_stream_place *place,
                      struct pe_err *err) {
  s->verified = *place;
  s->again = true;
  return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                    "the transaction at %s:%llu is whole; reading it again", place->file,
                    (unsigned long long)place->pos);
}

/* A place behind the ignored transaction goes out at once, so that it is never read again. */
static int past_dead(struct pe_stream *s, struct pe_err *err) {
  int rc = pe_stream_push(s);
  return rc ? pe_err_set(err, rc, PE_CLASS_FATAL, "cannot pass on a batch") : 0;
}

static int not_between_events(const struct pe_stream *s, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                    "the position %s:%llu does not lie between two events: this is not the binlog "
                    "that the pipeline began with; run `pipe-engine resync <pipeline>`",
                    s->wanted_file, (unsigned long long)s->wanted_pos);
}

int pe_stream_event(struct pe_stream *s, const uint8_t *p, size_t n, struct pe_err *err) {
  struct event e;
  int rc = read_event(s, p, n, &e, err);
  if (rc) {
    return rc;
  }
  PE_STAT_ADD(s->stats.events, 1u);
  PE_STAT_ADD(s->stats.bytes, n);
  s->bytes_read += n;
  if (e.h.type == PE_BL_ROTATE) {
    bool dead_before = s->group_ignored;
    rc = on_rotate(s, &e, err);
    return !rc && dead_before && !s->in_group ? past_dead(s, err) : rc;
  }
  if (e.h.type == PE_BL_FORMAT_DESCRIPTION) {
    rc = on_format(s, &e, err);
    if (!rc && !e.artificial) {
      s->pos = e.end;
    }
    return rc;
  }
  if (!s->have_fde && !e.artificial) {
    return refused(s, PE_ESOURCE_PROTO, err, "an event before any FORMAT_DESCRIPTION");
  }
  bool was_ignored = s->group_ignored;
  bool in_wanted = strcmp(s->file, s->wanted_file) == 0;
  if (in_wanted && !e.artificial && e.start < s->wanted_pos && e.end > s->wanted_pos) {
    return not_between_events(s, err);
  }
  s->any_event = s->any_event || !e.artificial;
  bool read_over = in_wanted && e.end <= s->wanted_pos;
  struct pe_stream_place group_at = s->safe;
  bool looking = s->looking_ahead;
  if (!read_over || e.artificial) {
    rc = dispatch(s, &e, err);
  }
  if (!rc && looking && !s->in_group) {
    return seen_whole(s, &group_at, err);
  }
  if (!rc && !e.artificial) {
    s->pos = e.end;
  }
  if (!rc && was_ignored && !s->in_group) {
    rc = past_dead(s, err);
  }
  return rc;
}
