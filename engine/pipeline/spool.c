/* The spool: a snapshot epoch as it is about to be sent, in a file beside the state store.
 *
 * A range of the log can be read again and gives the same blocks; a chunk of a table can't, for the
 * table changes. So what a snapshot epoch holds (blocks with their tokens, DLQ rows, lookup
 * changes, chunks done) is written down before the first block leaves, and after a crash is sent
 * again as it was: ClickHouse drops the blocks that it has. Two files take turns, and the state
 * store names the one that counts, so there is never a moment without a whole one. Not synced: it
 * has to survive a killed process, and after a power cut a broken file only means that the chunk is
 * read again. Runs on work items, and at start. Fails with PE_ESTATE (disk full): nothing is lost,
 * the chunk is not done. Format: records of a type byte and fields, a field is its length (8 bytes)
 * and bytes; the last record is 'E'.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

enum { FIELDS_MAX = 6, SEND_TRIES_MAX = 60, SEND_WAIT_MS = 500 };
static const char MAGIC[] = "pipe-engine spool 2\n";

static void path_of(const struct pe_engine *e, uint64_t id, char *path, size_t n) {
  snprintf(path, n, "%s/%s.spool%d", e->cfg->state_dir, e->cfg->name, (int)(id % 2));
}

static void put_size(FILE *f, uint64_t n) {
  fwrite(&n, sizeof(n), 1, f);
}

static void put_field(FILE *f, const void *p, size_t n) {
  put_size(f, n);
  fwrite(p, 1, n, f);
}

static void put_text(FILE *f, const char *s) {
  put_field(f, s, strlen(s));
}

/* B: statement, token, body, how to look for it, table (empty: a stage), columns */
static void put_block(FILE *f, struct pe_engine *e, struct pe_eblock *b) {
  const struct pe_iov *iov;
  size_t n, bytes = 0;
  const char *sql = b->staged ? b->dest->stage_sql : b->dest->insert_sql;
  pe_block_iov(b->block, &iov, &n);
  for (size_t i = 0; i < n; i++)
    bytes += iov[i].n;
  fputc('B', f);
  put_field(f, sql, strlen(sql));
  put_field(f, b->full_token, strlen(b->full_token));
  put_size(f, bytes);
  for (size_t i = 0; i < n; i++)
    fwrite(iov[i].p, 1, iov[i].n, f);
  struct pe_buf verify;
  pe_buf_init(&verify);
  bool can = pe_verify_sql(e, b, &verify);
  put_field(f, verify.data, can ? verify.len : 0);
  put_text(f, b->staged ? "" : b->dest->dest.name);
  put_text(f, pe_plan_insert_columns(b->dest->plan));
  pe_buf_close(&verify);
}

static void put_rest(FILE *f, int fields) {
  while (fields++ < FIELDS_MAX)
    put_size(f, 0);
}

static void put_epoch(FILE *f, struct pe_engine *e, const struct pe_epoch *ep) {
  fwrite(MAGIC, 1, sizeof(MAGIC), f);
  for (uint32_t i = 0; i < ep->nblocks; i++)
    put_block(f, e, ep->blocks[i]);
  for (uint32_t i = 0; i < ep->ndead; i++) {
    fputc('D', f);
    put_field(f, ep->dead[i]->sql, strlen(ep->dead[i]->sql));
    put_field(f, "", 0);
    put_field(f, ep->dead[i]->body.data, ep->dead[i]->body.len);
    put_rest(f, 3);
  }
  for (uint32_t i = 0; i < ep->ndeltas; i++) {
    const struct pe_edelta *d = &ep->deltas[i];
    fputc('L', f);
    put_field(f, d->space, strlen(d->space));
    put_field(f, ep->deltas_data.data + d->at, d->nkey);
    put_field(f, ep->deltas_data.data + d->at + d->nkey, d->nvalue);
    put_rest(f, 3);
  }
  for (uint32_t i = 0; i < ep->nchunks; i++) {
    const char *table = e->tables[ep->chunks[i].table].full;
    fputc('C', f);
    put_field(f, table, strlen(table));
    put_field(f, &ep->chunks[i].id, sizeof(ep->chunks[i].id));
    put_rest(f, 2);
  }
  for (uint32_t i = 0; i < e->ntables; i++) {
    if (!ep->counts[i].snapshot_rows)
      continue;
    fputc('R', f);
    put_field(f, e->tables[i].full, strlen(e->tables[i].full));
    put_field(f, &ep->counts[i].snapshot_rows, sizeof(ep->counts[i].snapshot_rows));
    put_rest(f, 2);
  }
  fputc('E', f);
}

int pe_spool_write(struct pe_engine *e, const struct pe_epoch *ep, struct pe_err *err) {
  char path[1200];
  path_of(e, ep->id, path, sizeof(path));
  FILE *f = fopen(path, "wbe");
  if (f)
    put_epoch(f, e, ep);
  bool bad = !f || ferror(f);
  if (f && fclose(f))
    bad = true;
  if (bad)
    return pe_err_set(
        err, PE_ESTATE, PE_CLASS_FATAL,
        "can't write %s: %s; free space on that disk and start again, nothing is lost", path,
        strerror(errno));
  return 0;
}

/* ---- after a crash ---- */

struct record {
  int type;
  struct pe_str field[FIELDS_MAX];
};

static bool next_record(const struct pe_buf *b, size_t *at, struct record *r) {
  if (*at >= b->len)
    return false;
  r->type = b->data[(*at)++];
  for (int i = 0; i < FIELDS_MAX && r->type != 'E'; i++) {
    uint64_t n;
    if (b->len - *at < sizeof(n))
      return false;
    memcpy(&n, b->data + *at, sizeof(n));
    *at += sizeof(n);
    if (n > b->len - *at || n > UINT32_MAX)
      return false;
    r->field[i] = (struct pe_str){.p = (const char *)b->data + *at, .len = (uint32_t)n};
    *at += n;
  }
  return true;
}

static bool read_file(const char *path, struct pe_buf *b) {
  FILE *f = fopen(path, "rbe");
  size_t n = 1;
  while (f && n && pe_buf_reserve(b, 1 << 20)) {
    n = fread(b->data + b->len, 1, 1 << 20, f);
    b->len += n;
  }
  if (f)
    fclose(f);
  return f && pe_buf_ok(b) && b->len > sizeof(MAGIC) && memcmp(b->data, MAGIC, sizeof(MAGIC)) == 0;
}

static bool whole(const struct pe_buf *b) {
  struct record r = {.type = 0};
  size_t at = sizeof(MAGIC);
  while (next_record(b, &at, &r) && r.type != 'E') {
  }
  return r.type == 'E';
}

static int send_again(struct pe_engine *e, const struct record *r, struct pe_err *err) {
  char sql[65536], settings[200];
  int rc = 0;
  snprintf(sql, sizeof(sql), "%.*s", (int)r->field[0].len, r->field[0].p);
  snprintf(settings, sizeof(settings), "%s%.*s",
           r->field[1].len ? "insert_deduplication_token=" : "", (int)r->field[1].len,
           r->field[1].p);
  for (int tries = 0; tries < SEND_TRIES_MAX; tries++) {
    rc = pe_ch_insert_body(e->ch_work, sql, settings[0] ? settings : NULL, r->field[2].p,
                           r->field[2].len, err);
    if (!rc || err->cls != PE_CLASS_RETRY)
      break;
    pe_sleep_ms(SEND_WAIT_MS);
  }
  return rc;
}

/* The killed server may have lost what it answers for: see verify.c. */
static int verify(struct pe_engine *e, const struct record *r, struct pe_err *err) {
  struct pe_buf text;
  char count[32] = "1", table[300], columns[65536], sql[65536];
  if (!r->field[3].len)
    return 0;
  pe_buf_init(&text);
  pe_buf_put(&text, r->field[3].p, r->field[3].len);
  int rc = pe_ch_value(e->ch_work, pe_buf_cstr(&text), count, sizeof(count), err);
  pe_buf_close(&text);
  if (rc < 0 || strcmp(count, "0") != 0)
    return rc < 0 ? rc : 0;
  snprintf(table, sizeof(table), "%.*s", (int)r->field[4].len, r->field[4].p);
  snprintf(columns, sizeof(columns), "%.*s", (int)r->field[5].len, r->field[5].p);
  snprintf(sql, sizeof(sql), "%.*s", (int)r->field[0].len, r->field[0].p);
  return table[0] ? pe_rescue(e, table, columns, r->field[2].p, r->field[2].len, err)
                  : pe_ch_insert_body(e->ch_work, sql, NULL, r->field[2].p, r->field[2].len, err);
}

static int record(struct pe_engine *e, const struct record *r, struct pe_err *err) {
  char name[300];
  uint64_t n = 0;
  snprintf(name, sizeof(name), "%.*s", (int)r->field[0].len, r->field[0].p);
  if (r->type == 'L')
    return pe_state_kv_put(e->state, name, r->field[1].p, r->field[1].len, r->field[2].p,
                           r->field[2].len, err);
  if (r->field[1].len == sizeof(n))
    memcpy(&n, r->field[1].p, sizeof(n));
  if (r->type == 'C')
    return pe_state_chunk_done(e->state, name, n, err);
  struct pe_table_state t;
  int rc = pe_state_table_get(e->state, name, &t, err);
  if (rc == 1) {
    t.rows += n;
    rc = pe_state_table_set(e->state, &t, err);
  }
  return rc < 0 ? rc : 0;
}

static int play(struct pe_engine *e, const struct pe_buf *b, struct pe_err *err) {
  struct record r;
  int rc = 0;
  size_t at = sizeof(MAGIC);
  while (!rc && next_record(b, &at, &r) && r.type != 'E')
    if (r.type == 'B' || r.type == 'D')
      rc = send_again(e, &r, err);
  at = sizeof(MAGIC);
  while (!rc && next_record(b, &at, &r) && r.type != 'E')
    if (r.type == 'B')
      rc = verify(e, &r, err);
  if (!rc)
    rc = pe_state_begin(e->state, err);
  at = sizeof(MAGIC);
  while (!rc && next_record(b, &at, &r) && r.type != 'E')
    if (r.type != 'B' && r.type != 'D')
      rc = record(e, &r, err);
  if (!rc)
    rc = pe_state_meta_set(e->state, "spool", "", err);
  if (!rc)
    rc = pe_state_commit(e->state, err);
  if (rc)
    pe_state_rollback(e->state);
  return rc;
}

/* At start, before anything is read from the state store: what a killed engine was sending is sent
 * again. */
int pe_spool_replay(struct pe_engine *e, struct pe_err *err) {
  char id[32] = "", path[1200];
  int rc = pe_state_meta_get(e->state, "spool", id, sizeof(id), err);
  if (rc < 0 || !id[0])
    return rc < 0 ? rc : 0;
  path_of(e, strtoull(id, NULL, 10), path, sizeof(path));
  struct pe_buf b;
  pe_buf_init(&b);
  if (!read_file(path, &b) || !whole(&b)) {
    pe_warn("pipeline", "%s is not whole (a power cut?): its chunks are read again", path);
    rc = 0;
  } else {
    rc = play(e, &b, err);
    if (rc && err->cls == PE_CLASS_POISON) {
      pe_warn("pipeline", "%s: %s; its chunks are read again", path, err->text);
      rc = 0;
    } else if (!rc) {
      pe_info("pipeline", "sent the snapshot rows again that were on their way");
    }
  }
  pe_buf_close(&b);
  return rc;
}
