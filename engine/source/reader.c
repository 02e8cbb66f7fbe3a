/* The reader's thread: connects as a replica, feeds binlog_stream.c with packets, decides when a
 * batch goes out, reconnects. States:
 *
 *   connect -> dump -> read packets -> (lost) -> back off -> connect ...
 *                          |                                    ^
 *                          +-- can't be mended: PE_EV_FATAL, end |
 *                          +-- the file ends torn: next file ----+
 *
 * owner: struct pe_reader belongs to the reader's thread but for `stop`, `fd` (under `lock`) and
 * the statistics. Errors of class RETRY are logged here and waited out; all others go downstream.
 */
#include "source/reader.h"

#include <errmsg.h>
#include <inttypes.h>
#include <ma_pvio.h>
#include <mysqld_error.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "source/binlog_stream.h"

unsigned long mysql_net_read_packet(MYSQL *m); /* exported, in no header of the library */

static const unsigned int PACKET_ERROR = UINT32_MAX; /* as the library has it, 32 bits wide */

enum {
  IDLE_PUSH_MS_DEFAULT = 1000,
  HEARTBEAT_MS_DEFAULT = 10000,
  HEARTBEATS_MISSED_MAX = 3,
  BACKOFF_MS_MIN = 100,
  BACKOFF_MS_MAX = 10000,
  SESSION_GOOD_MS = 5000, /* a connection that held this long, or got on, resets the back-off */
  ROOM_WAIT_MS_MAX = 20,
  ASK_MS_MAX = 5000, /* per step, for where the log ends: a stop has to wait for it */
  SLEEP_STEP_MS = 20,
  COMMAND_BYTES = 10,
  EOF_PACKET_BYTES_MAX = 8,
  PACKET_KEPT_MAX = 8 * 1024 * 1024, /* the library never shrinks its buffer: after a larger packet
                                        the connection is made anew, between transactions */
  KILLS_SUSPECT = 3, /* so many kills in a row within SESSION_GOOD_MS each: another replica */
  ER_SAME_ID = 4052, /* MariaDB's ER_SLAVE_SAME_ID */
  ER_KILLED = 1927   /* MariaDB's ER_CONNECTION_KILLED */
};

struct pe_reader {
  struct pe_stream stream;
  struct pe_source_opts source;
  struct pe_queue *out;
  unsigned idle_push_ms, heartbeat_ms;
  pthread_t thread;
  pthread_mutex_t lock; /* fd */
  int fd;               /* of the dump connection, -1 none */
  bool stop;            /* atomic */
  bool connected;       /* atomic */
  MYSQL *mysql;
  unsigned kills; /* in a row */
  bool shed;      /* the connection ends only to give its buffer back */
};

static bool stopping(const struct pe_reader *r) {
  return __atomic_load_n(&r->stop, __ATOMIC_RELAXED);
}

/* ---- the queue ---- */

/* pe_queue_push can't be interrupted but by ending the queue, which is not the reader's to end. */
static bool has_room(struct pe_queue *q, size_t rows, size_t bytes) {
  pthread_mutex_lock(&q->lock);
  bool room = q->closed || q->count == 0 ||
              (q->count < PE_QUEUE_SLOTS && q->rows + rows <= q->rows_max &&
               q->bytes + bytes <= q->bytes_max);
  pthread_mutex_unlock(&q->lock);
  return room;
}

static int push(void *arg, struct pe_batch *b) {
  struct pe_reader *r = arg;
  unsigned wait_ms = 1;
  while (!stopping(r) && !has_room(r->out, b->nimages, b->bytes)) {
    pe_sleep_ms(wait_ms);
    wait_ms = wait_ms * 2 < ROOM_WAIT_MS_MAX ? wait_ms * 2 : ROOM_WAIT_MS_MAX;
  }
  int rc = stopping(r) ? PE_ESTOPPED : pe_queue_push(r->out, b, b->nimages, b->bytes);
  if (rc) {
    pe_batch_destroy(b);
  }
  return rc;
}

static int stopped(struct pe_err *err) {
  return pe_err_set(err, PE_ESTOPPED, PE_CLASS_FATAL, "stopped");
}

/* ---- the connection ---- */

static int load_table(void *arg, const char *db, const char *name, struct pe_table **out,
                      struct pe_err *err) {
  struct pe_reader *r = arg;
  struct pe_source_opts o = r->source;
  o.read_timeout_ms = 0;
  MYSQL *m = pe_source_connect(&o, err);
  if (!m) {
    err->cls = PE_CLASS_RETRY;
    return err->code;
  }
  int rc = pe_source_load_table(m, db, name, out, err);
  mysql_close(m);
  return rc;
}

static int log_end(void *arg, char file[PE_BINLOG_FILE_MAX], uint64_t *pos, struct pe_err *err) {
  struct pe_reader *r = arg;
  struct pe_source_opts o = r->source;
  struct pe_position end = {0};
  o.connect_timeout_ms = o.read_timeout_ms = ASK_MS_MAX;
  MYSQL *m = pe_source_connect(&o, err);
  if (!m) {
    err->cls = PE_CLASS_RETRY;
    return err->code;
  }
  int rc = pe_source_position(m, &end, err);
  mysql_close(m);
  memcpy(file, end.file, PE_BINLOG_FILE_MAX);
  *pos = end.pos;
  return rc;
}

static void publish_fd(struct pe_reader *r, int fd) {
  pthread_mutex_lock(&r->lock);
  r->fd = fd;
  if (fd >= 0 && stopping(r)) {
    shutdown(fd, SHUT_RDWR);
  }
  pthread_mutex_unlock(&r->lock);
}

static void disconnect(struct pe_reader *r) {
  __atomic_store_n(&r->connected, false, __ATOMIC_RELAXED);
  publish_fd(r, -1);
  if (r->mysql) {
    mysql_close(r->mysql);
    r->mysql = NULL;
  }
}

static int fold_cb(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  (void)lengths;
  *(bool *)arg = ncols == 1 && cells[0] && strcmp(cells[0], "0") != 0;
  return 0;
}

static int run(MYSQL *m, const char *sql, struct pe_err *err) {
  if (mysql_query(m, sql)) {
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "MySQL: %s (error %u)", mysql_error(m),
                      mysql_errno(m));
  }
  return 0;
}

/* Naming a checksum tells the server that its own are understood: it sends events as they are in
 * the file. Heartbeats tell a quiet log from a dead connection. With capability 4 MariaDB sends its
 * GTIDs and no stand-ins for events that old replicas don't know. */
static int prepare_dump(struct pe_reader *r, struct pe_err *err) {
  char sql[256];
  snprintf(sql, sizeof(sql),
           "SET @master_binlog_checksum='NONE', @source_binlog_checksum='NONE', "
           "@master_heartbeat_period=%" PRIu64 ", @source_heartbeat_period=%" PRIu64
           ", @mariadb_slave_capability=4",
           (uint64_t)r->heartbeat_ms * 1000000, (uint64_t)r->heartbeat_ms * 1000000);
  int rc = run(r->mysql, sql, err);
  return rc ? rc
            : pe_source_query(r->mysql, "SELECT @@lower_case_table_names", fold_cb,
                              &r->stream.names_fold, err);
}

/* COM_BINLOG_DUMP: position, flags, server id, file. A dump by GTID set (COM_BINLOG_DUMP_GTID, or
 * MariaDB's @slave_connect_state) would be another function in this place. */
static int send_dump(struct pe_reader *r, uint32_t pos, struct pe_err *err) {
  uint8_t command[COMMAND_BYTES + PE_BINLOG_FILE_MAX];
  const char *file = r->stream.pushed.file;
  uint16_t flags = 0;
  memcpy(command, &pos, 4);
  memcpy(command + 4, &flags, 2);
  memcpy(command + 6, &r->source.server_id, 4);
  memcpy(command + COMMAND_BYTES, file, strlen(file));
  if (r->mysql->methods->db_command(r->mysql, COM_BINLOG_DUMP, (const char *)command,
                                    COMMAND_BYTES + strlen(file), 1, NULL)) {
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "asking for the binlog: %s",
                      mysql_error(r->mysql));
  }
  return 0;
}

static int connect_dump(struct pe_reader *r, struct pe_err *err) {
  uint32_t pos;
  pe_stream_restart(&r->stream, &pos);
  struct pe_source_opts o = r->source;
  o.read_timeout_ms = r->heartbeat_ms * HEARTBEATS_MISSED_MAX;
  r->mysql = pe_source_connect(&o, err);
  if (!r->mysql) {
    err->cls = PE_CLASS_RETRY; /* a password being changed ends, too */
    return err->code;
  }
  publish_fd(r, (int)mysql_get_socket(r->mysql));
  int rc = prepare_dump(r, err);
  rc = rc ? rc : send_dump(r, pos, err);
  if (!rc) {
    char text[PE_BINLOG_FILE_MAX + 32];
    pe_info("source", "reading the binlog from %s",
            pe_position_text(&r->stream.pushed, text, sizeof(text)));
  }
  return rc;
}

/* ---- errors of the server ---- */

static int purged(const struct pe_reader *r, const char *text, struct pe_err *err) {
  char place[PE_BINLOG_FILE_MAX + 32];
  return pe_err_set(
      err, PE_ESOURCE_PURGED, PE_CLASS_FATAL,
      "the binlog position %s is no longer on the source, so changes behind it are "
      "missing (the server says: %.300s): run `pipe-engine resync <pipeline>` to load "
      "the tables again, and keep the source's binlogs longer "
      "(binlog_expire_logs_seconds)",
      pe_position_text(&r->stream.pushed, place, sizeof(place)), text);
}

static int id_in_use(const struct pe_reader *r, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_ID, PE_CLASS_FATAL,
                    "another replica with server_id %u connected to the source and took this "
                    "stream's place: give each pipeline and each replica a server_id of its own, "
                    "and run each pipeline once",
                    r->source.server_id);
}

static bool says(const char *text, const char *what) {
  return strcasestr(text, what) != NULL;
}

static int dump_refused(const struct pe_reader *r, const char *text, struct pe_err *err) {
  if (says(text, "same server_uuid") || says(text, "same server_id")) {
    return id_in_use(r, err);
  }
  if (says(text, "could not find") || says(text, "purged") || says(text, "impossible position") ||
      says(text, "file size") || says(text, "missing")) {
    return purged(r, text, err);
  }
  if (says(text, "bogus data") || says(text, "max_allowed_packet")) {
    char place[PE_BINLOG_FILE_MAX + 32];
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                      "the source can't read its binlog at or behind %s (it says: %.300s): is it "
                      "the log that the pipeline began with? run `pipe-engine resync <pipeline>`",
                      pe_position_text(&r->stream.pushed, place, sizeof(place)), text);
  }
  return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "the source ended the binlog stream: %s",
                    text);
}

static int next_file_cb(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  (void)lengths;
  struct {
    const char *now;
    char next[PE_BINLOG_FILE_MAX];
    bool found;
  } *w = arg;
  if (!ncols || !cells[0] || strlen(cells[0]) >= PE_BINLOG_FILE_MAX) {
    return 0;
  }
  if (w->found) {
    strcpy(w->next, cells[0]);
    return 1;
  }
  w->found = strcmp(cells[0], w->now) == 0;
  return 0;
}

/* A server that crashed while it wrote a transaction leaves a torn event at the end of a file that
 * it never writes to again. That transaction was not committed; what follows is in the next file.
 */
static int file_torn(struct pe_reader *r, const char *text, struct pe_err *err) {
  struct {
    const char *now;
    char next[PE_BINLOG_FILE_MAX];
    bool found;
  } w = {.now = r->stream.file};
  struct pe_source_opts o = r->source;
  MYSQL *m = pe_source_connect(&o, err);
  if (!m) {
    err->cls = PE_CLASS_RETRY;
    return err->code;
  }
  int rc = pe_source_query(m, "SHOW BINARY LOGS", next_file_cb, &w, err);
  mysql_close(m);
  if (rc) {
    return rc;
  }
  if (!w.next[0]) {
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "the source's binlog ends torn: %s",
                      text);
  }
  char torn[PE_BINLOG_FILE_MAX];
  strcpy(torn, r->stream.file);
  rc = pe_stream_file_torn(&r->stream, w.next, err);
  if (rc) {
    return rc;
  }
  pe_warn("source", "binlog file %s ends within an event, as after a crash; going on in %s", torn,
          w.next);
  return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                    "the source's binlog file ended within an event");
}

static int read_failed(struct pe_reader *r, struct pe_err *err) {
  unsigned code = mysql_errno(r->mysql);
  const char *text = mysql_error(r->mysql);
  if (stopping(r)) {
    return stopped(err);
  }
  switch (code) {
    case ER_MASTER_FATAL_ERROR_READING_BINLOG:
      return says(text, "truncated in the middle") ? file_torn(r, text, err)
                                                   : dump_refused(r, text, err);
    case ER_SAME_ID:
      return id_in_use(r, err);
    case ER_SPECIFIC_ACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_ERROR:
      return pe_err_set(err, PE_ESOURCE_GRANT, PE_CLASS_FATAL,
                        "user '%s' may not read the binlog: GRANT REPLICATION SLAVE ON *.* TO that "
                        "account",
                        r->source.user);
    case ER_KILLED:
      r->kills++;
      break;
    default:
      break;
  }
  return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                    "the binlog stream broke off: %s (error %u)", text, code);
}

/* ---- when a batch goes out ---- */

static bool cached(const MYSQL *m) {
  const struct st_ma_pvio *p = m->net.pvio;
  return (p->cache && p->cache_pos < p->cache + p->cache_size) ||
         (m->net.compress && m->net.remain_in_buf);
}

/* 1 readable, 0 not within the time, -1 error (a read will tell) */
static int readable(const struct pe_reader *r, int timeout_ms) {
  struct pollfd p = {.fd = (int)mysql_get_socket(r->mysql), .events = POLLIN};
  return poll(&p, 1, timeout_ms);
}

static bool due(const struct pe_reader *r, int64_t now_us, int64_t *left_us) {
  *left_us = r->stream.last_push_us + (int64_t)r->idle_push_ms * 1000 - now_us;
  return *left_us <= 0;
}

/* More is waiting: batches go out when they are full or old. */
static int pass_on_busy(struct pe_reader *r) {
  struct pe_stream *s = &r->stream;
  if (s->in_group || !(pe_stream_has_rows(s) || pe_stream_moved(s))) {
    return 0;
  }
  int64_t now = pe_clock_us(), left;
  bool push_now = pe_stream_has_rows(s) ? s->batch->nimages >= s->batch_rows - s->batch_rows / 4 ||
                                              now - s->batch->created_us >= s->batch_age_us_max
                                        : due(r, now, &left);
  return push_now ? pe_stream_push(s) : 0;
}

/* How far this connection got, beside where the log ends, tells a dead connection from a server
 * that does not go on. */
static int silent(struct pe_reader *r, int dead_ms, struct pe_err *err) {
  const struct pe_stream *s = &r->stream;
  struct pe_err why = PE_ERR_INIT;
  char file[PE_BINLOG_FILE_MAX];
  uint64_t pos;
  bool known = !log_end(r, file, &pos, &why);
  pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
             "nothing from the source for %d ms, not even a heartbeat, behind %s:%llu%s", dead_ms,
             s->file, (unsigned long long)s->pos, s->in_group ? " (within a transaction)" : "");
  char text[PE_ERR_TEXT_MAX];
  memcpy(text, err->text, sizeof(text));
  return known ? pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "%.400s; its log ends at %s:%llu",
                            text, file, (unsigned long long)pos)
               : pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                            "%.400s; where its log ends: %.300s", text, why.text);
}

/* Nothing is waiting. Rows of a transaction whose end has not come yet stay: it is on its way, and
 * until then it may still turn out to be the torn tail of a crashed server's log. */
static int wait_idle(struct pe_reader *r, struct pe_err *err) {
  struct pe_stream *s = &r->stream;
  int dead_ms = (int)(r->heartbeat_ms * HEARTBEATS_MISSED_MAX);
  if (pe_stream_has_rows(s) && !s->group_rows) {
    int rc = pe_stream_push(s);
    if (rc) {
      return stopped(err);
    }
  }
  int64_t left = 0;
  bool moved = !pe_stream_has_rows(s) && pe_stream_moved(s);
  bool push_now = moved && due(r, pe_clock_us(), &left);
  if (!push_now && r->mysql->net.pvio->ctls) {
    return 0; /* TLS may hold bytes that the socket no longer has: only a read can tell */
  }
  if (!push_now) {
    int rc = readable(r, moved ? (int)(left / 1000) + 1 : dead_ms);
    if (rc != 0) {
      return 0;
    }
    if (!moved) {
      return silent(r, dead_ms, err);
    }
  }
  return pe_stream_push(s) ? stopped(err) : 0;
}

static int pass_on(struct pe_reader *r, struct pe_err *err) {
  for (;;) {
    if (stopping(r)) {
      return stopped(err);
    }
    if (cached(r->mysql)) {
      return pass_on_busy(r) ? stopped(err) : 0;
    }
    if (!pe_stream_has_rows(&r->stream) && !pe_stream_moved(&r->stream) &&
        r->mysql->net.pvio->ctls) {
      return 0;
    }
    if (readable(r, 0) != 0) {
      return pass_on_busy(r) ? stopped(err) : 0;
    }
    uint64_t pos = r->stream.pushed.pos, version = r->stream.pushed.version;
    int rc = wait_idle(r, err);
    bool pushed = pos != r->stream.pushed.pos || version != r->stream.pushed.version;
    if (rc || !pushed) {
      return rc;
    }
  }
}

/* ---- the thread ---- */

static int read_packets(struct pe_reader *r, struct pe_err *err) {
  for (;;) {
    int rc = pass_on(r, err);
    if (rc) {
      return rc;
    }
    unsigned long n = mysql_net_read_packet(r->mysql);
    const uint8_t *p = r->mysql->net.read_pos;
    if ((unsigned int)n == PACKET_ERROR) {
      return read_failed(r, err);
    }
    if (n == 0 || (p[0] == 0xFE && n < EOF_PACKET_BYTES_MAX)) {
      return stopping(r) ? stopped(err)
                         : pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                                      "the source ended the binlog stream");
    }
    PE_STAT_SET(r->stream.stats.last_event_us, pe_clock_wall_us());
    __atomic_store_n(&r->connected, true, __ATOMIC_RELAXED);
    rc = pe_stream_event(&r->stream, p + 1, n - 1, err);
    if (rc) {
      return stopping(r) ? stopped(err) : rc;
    }
    r->shed = r->shed || n > PACKET_KEPT_MAX;
    if (r->shed && !r->stream.in_group) {
      return pe_stream_push(&r->stream)
                 ? stopped(err)
                 : pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "giving back a large buffer");
    }
  }
}

static void back_off(struct pe_reader *r, unsigned ms) {
  for (unsigned slept = 0; slept < ms && !stopping(r); slept += SLEEP_STEP_MS) {
    pe_sleep_ms(SLEEP_STEP_MS);
  }
}

/* Rows of a transaction whose end is not known stay here; what is left names the last place. */
static void drop_unfinished(struct pe_reader *r) {
  uint32_t pos;
  if (r->stream.group_rows && !r->stream.group_pushed) {
    pe_stream_restart(&r->stream, &pos);
  }
}

static void *reader_main(void *arg) {
  struct pe_reader *r = arg;
  unsigned wait_ms = BACKOFF_MS_MIN;
  struct pe_err err = PE_ERR_INIT;
  pthread_setname_np(pthread_self(), "pe-reader");
  while (!stopping(r)) {
    int64_t began = pe_clock_us();
    unsigned kills = r->kills;
    uint64_t was_at = r->stream.pushed.pos;
    r->shed = false;
    int rc = connect_dump(r, &err);
    rc = rc ? rc : read_packets(r, &err);
    disconnect(r);
    bool held = pe_clock_us() - began >= (int64_t)SESSION_GOOD_MS * 1000;
    r->kills = held || r->kills == kills ? 0 : r->kills;
    if (r->kills >= KILLS_SUSPECT) {
      id_in_use(r, &err);
    }
    if (stopping(r) || rc == PE_ESTOPPED) {
      break;
    }
    if (err.cls != PE_CLASS_RETRY) {
      drop_unfinished(r);
      pe_stream_push_event(&r->stream, PE_EV_FATAL, NULL, &err);
      break;
    }
    wait_ms = held || r->stream.pushed.pos != was_at ? BACKOFF_MS_MIN : wait_ms;
    if (r->stream.again || (r->shed && !r->stream.in_group)) {
      pe_debug("source", "%s", err.text);
      continue;
    }
    pe_warn("source", "%s; trying again in %u ms", err.text, wait_ms);
    back_off(r, wait_ms);
    wait_ms = wait_ms * 2 < BACKOFF_MS_MAX ? wait_ms * 2 : BACKOFF_MS_MAX;
    PE_STAT_ADD(r->stream.stats.reconnects, 1u);
  }
  mysql_thread_end();
  return NULL;
}

static void reader_free(struct pe_reader *r) {
  pe_stream_close(&r->stream);
  pthread_mutex_destroy(&r->lock);
  explicit_bzero(r->source.password, sizeof(r->source.password));
  free(r);
}

int pe_reader_start(const struct pe_reader_opts *o, struct pe_queue *out, struct pe_reader **reader,
                    struct pe_err *err) {
  if (!o->start.file[0]) {
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "the reader was given no binlog position");
  }
  struct pe_reader *r = calloc(1, sizeof(*r));
  if (!r) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  r->source = o->source;
  r->out = out;
  r->idle_push_ms = o->idle_push_ms ? o->idle_push_ms : IDLE_PUSH_MS_DEFAULT;
  r->heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : HEARTBEAT_MS_DEFAULT;
  r->fd = -1;
  pthread_mutex_init(&r->lock, NULL);
  struct pe_stream_calls calls = {
      .arg = r, .push = push, .load_table = load_table, .log_end = log_end};
  int rc = pe_stream_init(&r->stream, o, &calls, err);
  if (!rc && pthread_create(&r->thread, NULL, reader_main, r)) {
    rc = pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "cannot start the reader's thread");
  }
  if (rc) {
    reader_free(r);
    return rc;
  }
  *reader = r;
  return 0;
}

void pe_reader_stats(const struct pe_reader *r, struct pe_reader_stats *to) {
  const struct pe_reader_stats *from = &r->stream.stats;
  to->events = __atomic_load_n(&from->events, __ATOMIC_RELAXED);
  to->bytes = __atomic_load_n(&from->bytes, __ATOMIC_RELAXED);
  to->rows = __atomic_load_n(&from->rows, __ATOMIC_RELAXED);
  to->transactions = __atomic_load_n(&from->transactions, __ATOMIC_RELAXED);
  to->reconnects = __atomic_load_n(&from->reconnects, __ATOMIC_RELAXED);
  to->last_event_us = __atomic_load_n(&from->last_event_us, __ATOMIC_RELAXED);
  to->source_ts_us = __atomic_load_n(&from->source_ts_us, __ATOMIC_RELAXED);
  to->connected = __atomic_load_n(&r->connected, __ATOMIC_RELAXED);
}

void pe_reader_stop(struct pe_reader *r) {
  if (!r) {
    return;
  }
  __atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
  pthread_mutex_lock(&r->lock);
  if (r->fd >= 0) {
    shutdown(r->fd, SHUT_RDWR);
  }
  pthread_mutex_unlock(&r->lock);
  pthread_join(r->thread, NULL);
  reader_free(r);
}
