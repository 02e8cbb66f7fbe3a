/* The planner: walks the key of each table and names its chunks. owner: the planner thread. */
#include <stdlib.h>
#include <string.h>

#include "source/snapshot_internal.h"
#include "source/snapshot_run.h"

struct planning {
  struct pe_snap_conn *c;
  struct pe_snap_table *t;
  uint32_t index;
  uint64_t next_id;
  char *lo; /* last key of the chunks named so far, owned; NULL: none */
};

struct boundary {
  const struct pe_key *key;
  struct pe_buf literal;
  struct pe_err *err;
  int rc;
};

static int out_of_memory(struct pe_err *err) {
  return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
}

static int take_boundary(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct boundary *b = arg;
  (void)ncols;
  b->rc = pe_key_put_cells(b->key, cells, lengths, &b->literal, b->err);
  return 1;
}

static int put_walk(const struct planning *p, struct pe_buf *sql, struct pe_err *err) {
  const struct pe_table *t = p->t->table;
  const struct pe_key *key = &p->t->key;
  pe_buf_puts(sql, "SELECT ");
  pe_key_put_select(key, sql);
  pe_buf_puts(sql, " FROM ");
  pe_buf_put_ident(sql, t->db);
  pe_buf_puts(sql, ".");
  pe_buf_put_ident(sql, t->name);
  pe_buf_printf(sql, " FORCE INDEX (%s) WHERE ", key->index);
  int rc = pe_key_put_range(key, p->lo, NULL, sql, err);
  pe_buf_puts(sql, " ORDER BY ");
  pe_key_put_order(key, sql);
  pe_buf_printf(sql, " LIMIT 1 OFFSET %u", p->c->s->opts.chunk_rows - 1);
  return !rc && !pe_buf_ok(sql) ? out_of_memory(err) : rc;
}

/* The last key of the next chunk as a new string; NULL when fewer rows than a chunk are left. */
static int next_boundary(struct planning *p, char **hi, struct pe_err *err) {
  struct boundary b = {.key = &p->t->key, .err = err};
  struct pe_buf sql;
  int rc;
  *hi = NULL;
  do {
    rc = pe_snap_connect(p->c, err);
    if (rc) {
      return rc;
    }
    pe_buf_init(&sql);
    pe_buf_init(&b.literal);
    rc = put_walk(p, &sql, err);
    if (!rc) {
      rc = pe_source_query(p->c->m, pe_buf_cstr(&sql), take_boundary, &b, err);
    }
    pe_buf_close(&sql);
    rc = rc ? rc : b.rc;
    if (!rc && b.literal.len && !(*hi = strdup(pe_buf_cstr(&b.literal)))) {
      rc = out_of_memory(err);
    }
    pe_buf_close(&b.literal);
    if (!rc) {
      p->c->backoff_ms = 0;
      return 0;
    }
    pe_snap_disconnect(p->c);
  } while ((rc = pe_snap_retry(p->c, "planning", err)) == 0);
  return rc;
}

static int load_key(struct planning *p, struct pe_err *err) {
  int rc;
  do {
    rc = pe_snap_connect(p->c, err);
    if (rc) {
      return rc;
    }
    rc = pe_key_load(&p->t->key, p->t->table, p->c->m, err);
    if (!rc) {
      return 0;
    }
    pe_snap_disconnect(p->c);
  } while ((rc = pe_snap_retry(p->c, "planning", err)) == 0);
  return rc;
}

static int hand_out(struct planning *p, uint64_t id, const char *lo, const char *hi,
                    struct pe_err *err) {
  struct pe_snap_job job = {.table = p->index, .id = id};
  job.lo = lo ? strdup(lo) : NULL;
  job.hi = hi ? strdup(hi) : NULL;
  if ((lo && !job.lo) || (hi && !job.hi)) {
    free(job.lo);
    free(job.hi);
    return out_of_memory(err);
  }
  return pe_snap_hand_out(p->c->s, job);
}

static int call_back(struct planning *p, const struct pe_chunk *chunk, struct pe_err *err) {
  const struct pe_snapshot_opts *o = &p->c->s->opts;
  return o->plan_cb ? o->plan_cb(o->arg, p->t->table, chunk, err) : 0;
}

/* Chunks of an earlier run: those not done are read again, whole. */
static int hand_out_recorded(struct planning *p, struct pe_err *err) {
  for (uint32_t i = 0; i < p->t->nchunks; i++) {
    const struct pe_chunk *c = &p->t->chunks[i];
    __atomic_fetch_add(&p->t->stats.chunks_planned, 1, __ATOMIC_RELAXED);
    if (c->done) {
      __atomic_fetch_add(&p->t->stats.chunks_done, 1, __ATOMIC_RELAXED);
      continue;
    }
    int rc = hand_out(p, c->id, c->lo, c->hi, err);
    if (rc) {
      return rc;
    }
  }
  return 0;
}

static int plan_rest(struct planning *p, struct pe_err *err) {
  for (;;) {
    char *hi;
    int rc = next_boundary(p, &hi, err);
    if (rc) {
      return rc;
    }
    struct pe_chunk chunk = {.id = p->next_id++, .lo = p->lo, .hi = hi};
    rc = call_back(p, &chunk, err);
    if (!rc) {
      __atomic_fetch_add(&p->t->stats.chunks_planned, 1, __ATOMIC_RELAXED);
      rc = hand_out(p, chunk.id, chunk.lo, chunk.hi, err);
    }
    free(p->lo);
    p->lo = hi;
    if (rc || !hi) {
      return rc;
    }
  }
}

static int plan_table(struct planning *p, struct pe_err *err) {
  int rc = load_key(p, err);
  if (!rc) {
    rc = hand_out_recorded(p, err);
  }
  bool to_the_end = false;
  if (!rc && p->t->nchunks) {
    const struct pe_chunk *last = &p->t->chunks[p->t->nchunks - 1];
    p->next_id = last->id + 1;
    to_the_end = last->hi == NULL;
    p->lo = last->hi ? strdup(last->hi) : NULL;
    if (last->hi && !p->lo) {
      return out_of_memory(err);
    }
  }
  if (!rc && !p->t->planned) {
    rc = to_the_end ? 0 : plan_rest(p, err);
    if (!rc) {
      rc = call_back(p, NULL, err);
    }
  }
  return rc ? rc : pe_snap_settle(p->c->s);
}

int pe_snap_plan(struct pe_snap_conn *c, struct pe_err *err) {
  for (uint32_t i = 0; i < c->s->opts.ntables; i++) {
    struct planning p = {.c = c, .t = &c->s->tables[i], .index = i};
    int rc = plan_table(&p, err);
    free(p.lo);
    if (rc == PE_ESTOPPED) {
      return rc;
    }
    if (rc) {
      return pe_err_wrap(err, "snapshot of %s.%s", p.t->table->db, p.t->table->name);
    }
  }
  return 0;
}
