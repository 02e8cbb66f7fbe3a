/* Epochs: rows of a range of the stream, or of whole snapshot chunks, gathered into blocks.
 *
 * A block holds rows of one partition of one target, in stream order, cut at block_rows: facts of
 * ClickHouse make that the unit that is either wholly there or not. Its token is made from where it
 * comes from (state store, target, range or chunk, partition, number), never from chance, so that
 * the same rows sent again are the same block. owner: script thread until handed over, then the
 * loop. Fails only for want of memory.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "pipeline/internal.h"

enum { SPARE_BLOCKS_MAX = 4 };

static void *grow(void *p, uint32_t *cap, uint32_t need, size_t size) {
  if (need <= *cap)
    return p;
  uint32_t n = *cap ? *cap * 2 : 16;
  while (n < need)
    n *= 2;
  void *q = realloc(p, n * size);
  if (q)
    *cap = n;
  return q;
}

struct pe_block *pe_block_take(struct pe_engine *e, struct pe_edest *d) {
  struct pe_block *b = NULL;
  pthread_mutex_lock(&e->lock);
  if (d->nspare)
    b = d->spare[--d->nspare];
  pthread_mutex_unlock(&e->lock);
  return b ? b : pe_block_create(d->plan);
}

void pe_block_give(struct pe_engine *e, struct pe_edest *d, struct pe_block *b) {
  if (!b)
    return;
  pe_block_clear(b);
  pthread_mutex_lock(&e->lock);
  if (!d->spare)
    d->spare = calloc(SPARE_BLOCKS_MAX, sizeof(*d->spare));
  if (d->spare && d->nspare < SPARE_BLOCKS_MAX) {
    d->spare[d->nspare++] = b;
    b = NULL;
  }
  pthread_mutex_unlock(&e->lock);
  if (b)
    pe_block_destroy(b);
}

struct pe_epoch *pe_epoch_open(struct pe_engine *e, bool snapshot) {
  struct pe_epoch *ep = calloc(1, sizeof(*ep));
  if (!ep)
    return NULL;
  ep->engine = e;
  ep->snapshot = snapshot;
  ep->id = e->next_epoch++;
  ep->counts = calloc(e->ntables, sizeof(*ep->counts));
  pe_buf_init(&ep->deltas_data);
  if (!ep->counts) {
    free(ep);
    return NULL;
  }
  return ep;
}

void pe_epoch_destroy(struct pe_epoch *ep) {
  if (!ep)
    return;
  for (uint32_t i = 0; i < ep->nblocks; i++) {
    pe_block_give(ep->engine, ep->blocks[i]->dest, ep->blocks[i]->block);
    free(ep->blocks[i]);
  }
  for (uint32_t i = 0; i < ep->ndead; i++) {
    pe_buf_close(&ep->dead[i]->body);
    free(ep->dead[i]->sql);
    free(ep->dead[i]);
  }
  free(ep->blocks);
  free(ep->dead);
  pe_buf_close(&ep->deltas_data);
  free(ep->deltas);
  free(ep->chunks);
  free(ep->lags);
  free(ep->counts);
  if (ep->truncate)
    pe_table_unref(ep->truncate);
  free(ep);
}

int pe_epoch_delta(struct pe_epoch *ep, const char *space, const void *key, size_t nkey,
                   const void *value, size_t nvalue) {
  struct pe_edelta *d = grow(ep->deltas, &ep->deltas_cap, ep->ndeltas + 1, sizeof(*d));
  if (!d)
    return PE_ENOMEM;
  ep->deltas = d;
  d += ep->ndeltas;
  *d = (struct pe_edelta){.space = space,
                          .at = ep->deltas_data.len,
                          .nkey = (uint32_t)nkey,
                          .nvalue = (uint32_t)nvalue};
  pe_buf_put(&ep->deltas_data, key, nkey);
  pe_buf_put(&ep->deltas_data, value, nvalue);
  if (!pe_buf_ok(&ep->deltas_data))
    return PE_ENOMEM;
  ep->ndeltas++;
  return 0;
}

/* The builder for a key; made when missing. *hint: index of the one used last. */
static struct pe_builder *builder(struct pe_engine *e, struct pe_edest *d, uint64_t partition,
                                  bool snapshot, uint32_t table, uint64_t chunk, uint32_t *hint) {
  if (!snapshot)
    table = 0, chunk = 0;
  for (uint32_t k = 0; k < e->nbuilders; k++) {
    uint32_t i = *hint + k < e->nbuilders ? *hint + k : *hint + k - e->nbuilders;
    struct pe_builder *b = &e->builders[i];
    if (b->dest == d && b->partition == partition && b->table == table && b->chunk == chunk) {
      *hint = i;
      return b;
    }
  }
  struct pe_builder *all =
      grow(e->builders, &e->builders_cap, e->nbuilders + 1, sizeof(struct pe_builder));
  if (!all)
    return NULL;
  e->builders = all;
  struct pe_builder *b = &all[e->nbuilders];
  *b = (struct pe_builder){.dest = d, .partition = partition, .table = table, .chunk = chunk};
  *hint = e->nbuilders++;
  return b;
}

static int take_block(struct pe_engine *e, struct pe_epoch *ep, struct pe_builder *b, bool staged) {
  struct pe_eblock **all =
      grow(ep->blocks, &ep->blocks_cap, ep->nblocks + 1, sizeof(struct pe_eblock *));
  struct pe_eblock *eb = calloc(1, sizeof(*eb));
  if (!all || !eb) {
    if (all)
      ep->blocks = all;
    free(eb);
    return PE_ENOMEM;
  }
  ep->blocks = all;
  eb->dest = b->dest;
  eb->partition = b->partition;
  eb->block = b->block;
  eb->epoch = ep;
  eb->staged = staged && b->dest == e->tables[b->table].dest; /* routed rows have no stage */
  if (ep->snapshot)
    snprintf(eb->token, sizeof(eb->token), "s:%" PRIx64 ":%s:%" PRIu64 ":%" PRIx64 ":%u",
             e->tables[b->table].state.version, e->tables[b->table].cfg->name, b->chunk,
             b->partition, b->seq);
  else
    snprintf(eb->token, sizeof(eb->token), "%" PRIx64 ":%u", b->partition, b->seq);
  ep->blocks[ep->nblocks++] = eb;
  ep->bytes += pe_block_bytes(b->block);
  b->block = NULL;
  b->seq++;
  return 0;
}

static int append(struct pe_engine *e, struct pe_epoch *ep, struct pe_builder *b,
                  const struct pe_out *outs, bool staged) {
  uint32_t at = 0;
  /* A chunk that isn't complete must not be half delivered: its rows stay in one block a partition.
   */
  uint32_t most = ep->snapshot ? UINT32_MAX : e->cfg->block_rows;
  while (at < b->nidx) {
    if (!b->block && !(b->block = pe_block_take(e, b->dest)))
      return PE_ENOMEM;
    uint32_t room = most - pe_block_rows(b->block);
    uint32_t n = b->nidx - at < room ? b->nidx - at : room;
    if (pe_block_append(b->block, outs, b->idx + at, n))
      return PE_ENOMEM;
    at += n;
    if (pe_block_rows(b->block) >= most && take_block(e, ep, b, staged))
      return PE_ENOMEM;
  }
  b->nidx = 0;
  return 0;
}

static int add_run(struct pe_engine *e, struct pe_epoch *ep, const struct pe_out *outs, size_t n,
                   uint32_t table, bool snapshot, uint64_t chunk) {
  struct pe_edest *d = (struct pe_edest *)outs[0].dest;
  pe_plan_partition(d->plan, outs, n, e->part_ids);
  uint32_t hint = 0;
  struct pe_builder *b = NULL;
  for (size_t i = 0; i < n; i++) {
    if (!b || b->partition != e->part_ids[i]) {
      b = builder(e, d, e->part_ids[i], snapshot, table, chunk, &hint);
      if (!b)
        return PE_ENOMEM;
    }
    if (b->nidx == b->idx_cap) {
      uint32_t *idx = grow(b->idx, &b->idx_cap, b->nidx + 1, sizeof(uint32_t));
      if (!idx)
        return PE_ENOMEM;
      b->idx = idx;
    }
    b->idx[b->nidx++] = (uint32_t)i;
  }
  bool staged = snapshot && e->tables[table].state.staged;
  for (uint32_t k = 0; k < e->nbuilders; k++)
    if (e->builders[k].nidx && append(e, ep, &e->builders[k], outs, staged))
      return PE_ENOMEM;
  return 0;
}

/* Adds the rows (checked before) of one run of the scripts, grouped by target as they come. */
int pe_epoch_add(struct pe_engine *e, struct pe_epoch *ep, struct pe_outputs *o,
                 struct pe_etable *t, bool snapshot, uint64_t chunk, struct pe_err *err) {
  uint32_t table = (uint32_t)(t - e->tables);
  if (o->nouts > e->scratch_cap) {
    free(e->part_ids);
    e->scratch_cap = 0;
    e->part_ids = malloc(o->nouts * 2 * sizeof(uint64_t));
    if (!e->part_ids)
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for %zu rows", o->nouts);
    e->scratch_cap = o->nouts * 2;
  }
  for (size_t i = 0; i < o->nouts;) {
    size_t j = i + 1;
    while (j < o->nouts && o->outs[j].dest == o->outs[i].dest)
      j++;
    if (add_run(e, ep, o->outs + i, j - i, table, snapshot, chunk))
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a block of %s",
                        o->outs[i].dest->name);
    i = j;
  }
  struct pe_etable_counts *c = &ep->counts[table];
  c->in += o->changes_in;
  c->out += o->changes_out;
  c->filtered += o->changes_filtered;
  c->dlq += o->changes_dlq;
  PE_ASSERT(c->in == c->out + c->filtered + c->dlq);
  ep->rows += o->nouts + o->ndead;
  return 0;
}

static void drop_builder(struct pe_engine *e, uint32_t i) {
  free(e->builders[i].idx);
  e->builders[i] = e->builders[--e->nbuilders];
}

int pe_epoch_seal(struct pe_engine *e, struct pe_epoch *ep, struct pe_err *err) {
  while (e->nbuilders) {
    struct pe_builder *b = &e->builders[0];
    if (b->block && pe_block_rows(b->block) && take_block(e, ep, b, false))
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for an epoch");
    if (b->block)
      pe_block_give(e, b->dest, b->block);
    drop_builder(e, 0);
  }
  return 0;
}

/* Takes the blocks of one chunk. done: the chunk is complete; else its memory is full and a part of
 * it goes out (the numbers of its blocks go on). */
int pe_epoch_seal_chunk(struct pe_engine *e, struct pe_epoch *ep, uint32_t table, uint64_t chunk,
                        bool done, struct pe_err *err) {
  bool staged = e->tables[table].state.staged;
  for (uint32_t i = 0; i < e->nbuilders;) {
    struct pe_builder *b = &e->builders[i];
    if (b->table != table || b->chunk != chunk) {
      i++;
      continue;
    }
    if (b->block && pe_block_rows(b->block) && take_block(e, ep, b, staged))
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a snapshot chunk");
    if (done) {
      if (b->block)
        pe_block_give(e, b->dest, b->block);
      drop_builder(e, i);
    } else {
      i++;
    }
  }
  if (!done)
    return 0;
  struct pe_echunk *all = grow(ep->chunks, &ep->chunks_cap, ep->nchunks + 1, sizeof(*all));
  if (!all)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a snapshot chunk");
  ep->chunks = all;
  ep->chunks[ep->nchunks++] = (struct pe_echunk){.table = table, .id = chunk};
  return 0;
}
