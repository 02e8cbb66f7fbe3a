/* Rows whose last change went to the DLQ while older rows of them stand in the target.
 *
 * The target keeps the last good version of such a row, and the before image of its next change is
 * not what that version was made from. So the image it was made from is kept here by primary key,
 * and given to the scripts in the place of the before image until a change of the row is delivered
 * again. Kept in the state store with the checkpoint. owner: script thread. Small by nature: one
 * entry per quarantined row that was good once.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/seal.h"
#include "base/sha256.h"
#include "pipeline/internal.h"

struct entry {
  struct entry *next;
  uint32_t table;
  uint64_t hash;
  uint32_t nkey, nvalue;
  uint8_t data[]; /* key, packed image */
};

struct pe_quarantine {
  struct entry **buckets;
  uint32_t nbuckets, count;
  uint32_t *per_table; /* entries of each table: 0 means no look-up at all */
  uint32_t ntables;
  struct pe_buf key;
};

static const char SPACE[] = "quarantine";

struct pe_quarantine *pe_quarantine_create(void) {
  struct pe_quarantine *q = calloc(1, sizeof(*q));
  if (!q)
    return NULL;
  q->nbuckets = 1024;
  q->buckets = calloc(q->nbuckets, sizeof(*q->buckets));
  q->ntables = PE_TABLES_MAX;
  q->per_table = calloc(q->ntables, sizeof(*q->per_table));
  pe_buf_init(&q->key);
  if (!q->buckets || !q->per_table) {
    pe_quarantine_destroy(q);
    return NULL;
  }
  return q;
}

void pe_quarantine_destroy(struct pe_quarantine *q) {
  if (!q)
    return;
  for (uint32_t i = 0; q->buckets && i < q->nbuckets; i++)
    while (q->buckets[i]) {
      struct entry *n = q->buckets[i]->next;
      free(q->buckets[i]);
      q->buckets[i] = n;
    }
  free(q->buckets);
  free(q->per_table);
  pe_buf_close(&q->key);
  free(q);
}

static uint64_t hash_bytes(const uint8_t *p, size_t n) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++)
    h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

/* Key in the store: table name, NUL, HMAC of the row's key; so that it outlives a change in the
 * pipeline's list of tables. */
static void make_key(struct pe_engine *e, uint32_t table, const uint8_t *row) {
  struct pe_buf *k = &e->quarantine->key, bytes;
  uint8_t sum[32];
  pe_buf_init(&bytes);
  pe_buf_clear(k);
  pe_buf_put(k, e->tables[table].full, strlen(e->tables[table].full) + 1);
  pe_row_key(e->tables[table].layout, row, &bytes);
  pe_hmac_sha256(e->seal_key, sizeof(e->seal_key), bytes.data, bytes.len, sum);
  pe_buf_put(k, sum, sizeof(sum)); /* not the key itself: it may be personal too */
  k->failed |= bytes.failed;
  pe_buf_close(&bytes);
}

static struct entry **find(struct pe_quarantine *q, uint32_t table, const uint8_t *key, size_t n) {
  uint64_t h = hash_bytes(key, n);
  struct entry **at = &q->buckets[h % q->nbuckets];
  while (*at && !((*at)->table == table && (*at)->hash == h && (*at)->nkey == n &&
                  memcmp((*at)->data, key, n) == 0))
    at = &(*at)->next;
  return at;
}

static int put(struct pe_quarantine *q, uint32_t table, const uint8_t *key, size_t nkey,
               const uint8_t *value, size_t nvalue) {
  struct entry **at = find(q, table, key, nkey);
  struct entry *n = malloc(sizeof(*n) + nkey + nvalue);
  if (!n)
    return PE_ENOMEM;
  n->next = *at ? (*at)->next : NULL;
  if (*at) {
    free(*at);
  } else {
    q->per_table[table]++;
    q->count++;
  }
  n->table = table;
  n->hash = hash_bytes(key, nkey);
  n->nkey = (uint32_t)nkey;
  n->nvalue = (uint32_t)nvalue;
  memcpy(n->data, key, nkey);
  memcpy(n->data + nkey, value, nvalue);
  *at = n;
  return 0;
}

static void drop(struct pe_engine *e, uint32_t table) {
  struct pe_quarantine *q = e->quarantine;
  struct entry **at = find(q, table, q->key.data, q->key.len);
  if (!*at)
    return;
  struct entry *gone = *at;
  *at = gone->next;
  free(gone);
  q->per_table[table]--;
  q->count--;
  pe_epoch_delta(e->building, SPACE, q->key.data, q->key.len, "", 0);
}

static const uint8_t *last_good(void *arg, struct pe_table *t, const uint8_t *before,
                                struct pe_arena *scratch) {
  struct pe_engine *e = arg;
  struct pe_quarantine *q = e->quarantine;
  if (!q->per_table[t->id])
    return NULL;
  make_key(e, t->id, before);
  struct entry **at = find(q, t->id, q->key.data, q->key.len);
  uint8_t *row = NULL;
  struct pe_err err = PE_ERR_INIT;
  if (!*at)
    return NULL;
  if (pe_row_unpack(t, (*at)->data + (*at)->nkey, (*at)->nvalue, scratch, &row, &err)) {
    pe_warn("pipeline",
            "%s: the kept image of a quarantined row is of another table version; "
            "`pipe-engine resync` makes the target right",
            e->tables[t->id].full);
    return NULL;
  }
  /* whatever comes of this change, the entry is settled: it is put back if the change is dead too
   */
  drop(e, t->id);
  return row;
}

static void put_sealed(struct pe_engine *e, const struct pe_buf *image) {
  struct pe_buf sealed;
  pe_buf_init(&sealed);
  if (!pe_seal(e->seal_key, image->data, image->len, &sealed))
    pe_epoch_delta(e->building, SPACE, e->quarantine->key.data, e->quarantine->key.len, sealed.data,
                   sealed.len);
  pe_buf_close(&sealed);
}

static void dead(void *arg, const struct pe_dead *d, const uint8_t *after) {
  struct pe_engine *e = arg;
  if (!d->last_good || !after)
    return;
  struct pe_buf image;
  pe_buf_init(&image);
  pe_row_pack(d->table, d->last_good, &image);
  make_key(e, d->table->id, after);
  struct pe_quarantine *q = e->quarantine;
  if (pe_buf_ok(&image) && pe_buf_ok(&q->key) &&
      !put(q, d->table->id, q->key.data, q->key.len, image.data, image.len))
    put_sealed(e, &image);
  pe_buf_close(&image);
}

/* A table is read anew: what its target rows were made from is no longer of use. Inside a state
 * transaction. */
int pe_quarantine_forget(struct pe_engine *e, uint32_t table, struct pe_err *err) {
  struct pe_quarantine *q = e->quarantine;
  int rc = 0;
  for (uint32_t i = 0; q->per_table[table] && i < q->nbuckets; i++)
    for (struct entry **at = &q->buckets[i]; *at;) {
      struct entry *x = *at;
      if (x->table != table) {
        at = &x->next;
        continue;
      }
      if (!rc)
        rc = pe_state_kv_put(e->state, SPACE, x->data, x->nkey, "", 0, err);
      *at = x->next;
      free(x);
      q->per_table[table]--;
      q->count--;
    }
  return rc;
}

uint32_t pe_quarantine_count(const struct pe_engine *e, uint32_t table) {
  return e->quarantine->per_table[table];
}

void pe_quarantine_clear(struct pe_engine *e, uint32_t table) {
  struct pe_quarantine *q = e->quarantine;
  for (uint32_t i = 0; q->per_table[table] && i < q->nbuckets; i++)
    for (struct entry **at = &q->buckets[i]; *at;) {
      struct entry *x = *at;
      if (x->table != table) {
        at = &x->next;
        continue;
      }
      pe_epoch_delta(e->building, SPACE, x->data, x->nkey, "", 0);
      *at = x->next;
      free(x);
      q->per_table[table]--;
      q->count--;
    }
}

void pe_quarantine_hooks(struct pe_engine *e, struct pe_run_hooks *h, uint32_t table) {
  (void)table;
  *h = (struct pe_run_hooks){.dead = dead, .last_good = last_good, .arg = e};
}

static int load_cb(void *arg, const void *key, size_t nkey, const void *value, size_t nvalue) {
  struct pe_engine *e = arg;
  for (uint32_t i = 0; i < e->ntables; i++) {
    size_t n = strlen(e->tables[i].full) + 1;
    if (nkey <= n || memcmp(key, e->tables[i].full, n) != 0)
      continue;
    struct pe_buf image;
    pe_buf_init(&image);
    int rc = pe_unseal(e->seal_key, value, nvalue, &image);
    if (!rc)
      rc = put(e->quarantine, i, key, nkey, image.data, image.len);
    else
      pe_warn("pipeline",
              "%s: the kept image of a quarantined row can't be opened; `pipe-engine "
              "resync` makes the target right",
              e->tables[i].full);
    pe_buf_close(&image);
    return rc == PE_ENOMEM ? rc : 0;
  }
  return 0; /* of a table that is no longer captured */
}

int pe_quarantine_load(struct pe_engine *e, struct pe_err *err) {
  e->quarantine = pe_quarantine_create();
  if (!e->quarantine)
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the quarantine");
  struct pe_buf path;
  pe_buf_init(&path);
  pe_buf_printf(&path, "%s/%s.key", e->cfg->state_dir, e->cfg->name);
  int rc = pe_seal_key(pe_buf_cstr(&path), e->seal_key, err);
  pe_buf_close(&path);
  if (rc)
    return rc;
  return pe_state_kv_each(e->state, SPACE, load_cb, e, err);
}
