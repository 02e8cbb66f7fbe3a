/* Reading one chunk: prepare and execute by the library, then row packets straight from the
 * connection into batches. owner: the worker thread. A lost connection is mended here; the read
 * goes on behind the last key pushed. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "source/snapshot_internal.h"
#include "source/snapshot_row.h"
#include "source/snapshot_run.h"

/* Exported by the library, in none of its headers. */
unsigned long mysql_net_read_packet(MYSQL *m);

enum { PACKET_EOF = 0xFE, EOF_BYTES_MAX = 9 };

struct reading {
  struct pe_snap_conn *c;
  struct pe_snap_table *t;
  const struct pe_snap_job *job;
  struct pe_wire wire;
  struct pe_batch *batch;
  struct pe_buf resume; /* literal of the last key pushed; empty: none yet */
  int64_t ts_us;
  uint64_t bytes; /* of the packets in the batch */
};

static struct pe_batch *new_batch(struct reading *r) {
  struct pe_batch *b = pe_batch_create();
  if (b) {
    b->snapshot = true;
    b->chunk_id = r->job->id;
  }
  return b;
}

static int push_batch(struct reading *r, enum pe_batch_event event, struct pe_err *err) {
  struct pe_batch *b = r->batch;
  const struct pe_key *key = &r->t->key;
  struct pe_segment *last = b->last;
  if (key->resumable && last && last->nimages) {
    size_t at = (size_t)(last->nimages - 1) * r->t->table->row_bytes;
    pe_buf_clear(&r->resume);
    pe_key_put_row(key, r->t->table, last->rows + at, &r->resume);
    if (!pe_buf_ok(&r->resume)) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    }
  }
  uint64_t rows = b->nimages;
  b->event = event;
  b->new_table = pe_table_ref(r->t->table);
  r->batch = NULL;
  /* Where the read cannot go on behind the last key, letting go would read all of it again. */
  int rc = pe_snap_push(r->c->s, b, key->resumable ? r->c : NULL);
  if (rc) {
    return pe_err_set(err, rc, PE_CLASS_FATAL, "stopped");
  }
  __atomic_fetch_add(&r->t->stats.rows, rows, __ATOMIC_RELAXED);
  __atomic_fetch_add(&r->t->stats.bytes, r->bytes, __ATOMIC_RELAXED);
  r->bytes = 0;
  return 0;
}

static int add_row(struct reading *r, const uint8_t *packet, size_t n, struct pe_err *err) {
  const struct pe_snapshot_opts *o = &r->c->s->opts;
  if (!r->batch && !(r->batch = new_batch(r))) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  uint8_t *row;
  struct pe_image_meta *meta;
  if (pe_batch_extend(r->batch, r->t->table, PE_OP_SNAPSHOT, 1, &row, &meta)) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  meta->version = r->t->version;
  meta->ts_us = r->ts_us;
  int rc = pe_wire_decode(&r->wire, packet, n, row, &r->batch->arena, err);
  if (rc) {
    return rc;
  }
  r->bytes += n;
  if (r->batch->nimages >= o->batch_rows || r->batch->arena.bytes >= o->batch_bytes) {
    return push_batch(r, PE_EV_NONE, err);
  }
  return 0;
}

/* Rows until the end of the result. On return the connection is at the end, or broken, or gone: a
 * push that took long has let go of it. */
static int take_rows(struct reading *r, struct pe_err *err) {
  MYSQL *m = r->c->m;
  for (;;) {
    unsigned long n = mysql_net_read_packet(m);
    if (n == packet_error) {
      return pe_source_error(m, err);
    }
    const uint8_t *p = m->net.read_pos;
    if (n > 0 && p[0] == PACKET_EOF && n <= EOF_BYTES_MAX) {
      /* The rows did not pass through the library: tell it that the result is over. */
      m->status = MYSQL_STATUS_READY;
      return 0;
    }
    int rc = add_row(r, p, n, err);
    if (rc) {
      return rc;
    }
    if (!r->c->m) {
      return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "let go");
    }
  }
}

static int put_sql(struct reading *r, struct pe_buf *sql, struct pe_err *err) {
  const struct pe_table *t = r->t->table;
  const struct pe_key *key = &r->t->key;
  const char *lo = r->resume.len ? pe_buf_cstr(&r->resume) : r->job->lo;
  pe_buf_puts(sql, "SELECT ");
  pe_wire_put_select(t, sql);
  pe_buf_puts(sql, " FROM ");
  pe_buf_put_ident(sql, t->db);
  pe_buf_puts(sql, ".");
  pe_buf_put_ident(sql, t->name);
  pe_buf_printf(sql, " FORCE INDEX (%s) WHERE ", key->index);
  int rc = pe_key_put_range(key, lo, r->job->hi, sql, err);
  pe_buf_puts(sql, " ORDER BY ");
  pe_key_put_order(key, sql);
  if (!rc && !pe_buf_ok(sql)) {
    rc = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  return rc;
}

static int stmt_error(MYSQL_STMT *stmt, MYSQL *m, struct pe_err *err) {
  if (!mysql_errno(m)) {
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "MySQL: statement failed (error %u)",
                      mysql_stmt_errno(stmt));
  }
  return pe_source_error(m, err);
}

static int start_statement(struct reading *r, MYSQL_STMT *stmt, struct pe_err *err) {
  MYSQL *m = r->c->m;
  struct pe_buf sql;
  pe_buf_init(&sql);
  int rc = put_sql(r, &sql, err);
  if (!rc && mysql_stmt_prepare(stmt, (const char *)sql.data, sql.len)) {
    rc = stmt_error(stmt, m, err);
  }
  pe_buf_close(&sql);
  if (!rc && mysql_stmt_execute(stmt)) {
    rc = stmt_error(stmt, m, err);
  }
  if (rc) {
    return rc;
  }
  MYSQL_RES *meta = mysql_stmt_result_metadata(stmt);
  if (!meta) {
    return stmt_error(stmt, m, err);
  }
  rc = pe_wire_init(&r->wire, r->t->table, mysql_fetch_fields(meta), mysql_num_fields(meta), err);
  mysql_free_result(meta);
  return rc;
}

/* One attempt on a live connection. After a failure the connection is closed: rows may be in it. */
static int attempt(struct reading *r, bool *let_go, struct pe_err *err) {
  MYSQL_STMT *stmt = mysql_stmt_init(r->c->m);
  if (!stmt) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  r->ts_us = pe_clock_wall_us();
  int rc = start_statement(r, stmt, err);
  if (!rc) {
    rc = take_rows(r, err);
  }
  *let_go = rc == PE_ESOURCE_DOWN && !r->c->m;
  pe_wire_close(&r->wire);
  if (rc) {
    pe_snap_disconnect(r->c);
  }
  mysql_stmt_close(stmt);
  return rc;
}

static int finish_chunk(struct reading *r, struct pe_err *err) {
  if (!r->batch && !(r->batch = new_batch(r))) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  /* Before the push: whoever sees the batch sees the chunk counted. */
  __atomic_fetch_add(&r->t->stats.chunks_done, 1, __ATOMIC_RELAXED);
  return push_batch(r, PE_EV_CHUNK_DONE, err);
}

int pe_snap_read_chunk(struct pe_snap_conn *c, const struct pe_snap_job *job, struct pe_err *err) {
  struct reading r = {.c = c, .t = &c->s->tables[job->table], .job = job};
  pe_buf_init(&r.resume);
  int rc;
  for (;;) {
    rc = pe_snap_connect(c, err);
    if (!rc) {
      bool let_go = false;
      rc = attempt(&r, &let_go, err);
      if (!rc) {
        c->backoff_ms = 0;
        rc = finish_chunk(&r, err);
        break;
      }
      /* What was not pushed is read again: the next attempt begins behind the last key pushed. */
      pe_batch_destroy(r.batch);
      r.batch = NULL;
      r.bytes = 0;
      rc = let_go ? 0 : pe_snap_retry(c, "reading a chunk", err);
    }
    if (rc) {
      break;
    }
  }
  pe_batch_destroy(r.batch);
  pe_buf_close(&r.resume);
  if (rc && rc != PE_ESTOPPED) {
    pe_err_wrap(err, "snapshot of %s.%s", r.t->table->db, r.t->table->name);
  }
  return rc;
}
