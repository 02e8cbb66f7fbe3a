/* Captured tables and the TABLE_MAPs that name them. A TABLE_MAP is looked at in full once per
 * table id; the servers give a table a new id with every new version of it. owner: reader. Fails
 * with PE_ESOURCE_SCHEMA when the log holds a version that the source no longer has. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "source/binlog_schema.h"
#include "source/binlog_stream.h"

enum {
  MAPS_FIRST = 256,
  MAPS_MAX = 65536, /* then all are forgotten, between transactions: each statement names its own */
  SLOT_NONE = -1,
  SLOT_FREE = -2
};

int pe_stream_tables_init(struct pe_stream *s, const struct pe_reader_opts *o, struct pe_err *err) {
  s->slots = calloc(o->ntables ? o->ntables : 1, sizeof(*s->slots));
  s->maps = malloc(MAPS_FIRST * sizeof(*s->maps));
  if (!s->slots || !s->maps) {
    return pe_stream_out_of_memory(err);
  }
  s->maps_cap = MAPS_FIRST;
  pe_stream_maps_clear(s);
  for (uint32_t i = 0; i < o->ntables; i++) {
    s->slots[i].table = pe_table_ref(o->tables[i].table);
    s->slots[i].from_version = o->tables[i].from_version;
  }
  s->nslots = o->ntables;
  return 0;
}

void pe_stream_tables_close(struct pe_stream *s) {
  for (uint32_t i = 0; i < s->nslots; i++) {
    pe_decode_plan_destroy(s->slots[i].plan);
    pe_table_unref(s->slots[i].table);
  }
  free(s->slots);
  free(s->maps);
  s->slots = NULL;
  s->maps = NULL;
  s->nslots = 0;
}

void pe_stream_maps_clear(struct pe_stream *s) {
  for (uint32_t i = 0; i < s->maps_cap; i++) {
    s->maps[i].slot = SLOT_FREE;
  }
  s->maps_used = 0;
}

static struct pe_stream_map_entry *entry_of(struct pe_stream *s, uint64_t table_id) {
  uint32_t mask = s->maps_cap - 1;
  uint32_t i = (uint32_t)(table_id * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
  while (s->maps[i].slot != SLOT_FREE && s->maps[i].table_id != table_id) {
    i = (i + 1) & mask;
  }
  return &s->maps[i];
}

static bool grow_maps(struct pe_stream *s) {
  struct pe_stream_map_entry *old = s->maps;
  uint32_t old_cap = s->maps_cap;
  struct pe_stream_map_entry *more = malloc((size_t)old_cap * 2 * sizeof(*more));
  if (!more) {
    return false;
  }
  s->maps = more;
  s->maps_cap = old_cap * 2;
  pe_stream_maps_clear(s);
  for (uint32_t i = 0; i < old_cap; i++) {
    if (old[i].slot != SLOT_FREE) {
      *entry_of(s, old[i].table_id) = old[i];
      s->maps_used++;
    }
  }
  free(old);
  return true;
}

static bool remember(struct pe_stream *s, uint64_t table_id, int32_t slot) {
  if (s->maps_used >= MAPS_MAX && !s->group_rows) {
    pe_stream_maps_clear(s);
  }
  if (s->maps_used >= s->maps_cap / 2 && !grow_maps(s)) {
    return false;
  }
  struct pe_stream_map_entry *e = entry_of(s, table_id);
  s->maps_used += e->slot == SLOT_FREE;
  e->table_id = table_id;
  e->slot = slot;
  return true;
}

bool pe_stream_slot_of(struct pe_stream *s, uint64_t table_id, struct pe_stream_slot **slot) {
  struct pe_stream_map_entry *e = entry_of(s, table_id);
  *slot = e->slot >= 0 ? &s->slots[e->slot] : NULL;
  return e->slot != SLOT_FREE;
}

static bool same_name(const char *known, const char *p, size_t n, bool fold) {
  return strlen(known) == n && (fold ? strncasecmp(known, p, n) == 0 : memcmp(known, p, n) == 0);
}

struct pe_stream_slot *pe_stream_slot_named(struct pe_stream *s, const char *db, size_t db_len,
                                            const char *name, size_t name_len) {
  for (uint32_t i = 0; i < s->nslots; i++) {
    const struct pe_table *t = s->slots[i].table;
    if (same_name(t->name, name, name_len, s->names_fold) &&
        same_name(t->db, db, db_len, s->names_fold)) {
      return &s->slots[i];
    }
  }
  return NULL;
}

/* known: how the version at hand differs, NULL where that is not the matter. */
static int no_version_fits(const struct pe_stream *s, const struct pe_table *t, const char *known,
                           struct pe_err *err) {
  if (err->code != PE_ESOURCE_SCHEMA || !known) {
    return pe_err_wrap(err, "table %s.%s at %s:%llu", t->db, t->name, s->file,
                       (unsigned long long)s->pos);
  }
  char now[PE_ERR_TEXT_MAX];
  memcpy(now, err->text, sizeof(now));
  return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                    "table %s.%s at %s:%llu: its rows are of a version that neither the pipeline "
                    "knows (%.600s) nor the source has now (%.600s): the table was altered more "
                    "than once since; run `pipe-engine resync <pipeline>` to load it again",
                    t->db, t->name, s->file, (unsigned long long)s->pos, known, now);
}

/* The source's version of now, if it is the one in the log. */
static int next_version(struct pe_stream *s, struct pe_stream_slot *slot,
                        const struct pe_binlog_map *m, const char *known, struct pe_err *err) {
  struct pe_table *old = slot->table, *loaded = NULL, *logged = NULL;
  int rc = s->calls.load_table(s->calls.arg, old->db, old->name, &loaded, err);
  if (rc && err->cls == PE_CLASS_RETRY) {
    return rc;
  }
  rc = rc ? rc : pe_binlog_schema_check(loaded, m, err);
  if (rc) { /* the source is further on; full metadata may do */
    struct pe_err ignored = PE_ERR_INIT;
    rc = pe_binlog_schema_from_map(old, loaded, m, &logged, &ignored) ? rc : 0;
  }
  struct pe_table *adopted = rc ? NULL : pe_binlog_schema_adopt(old, logged ? logged : loaded, err);
  pe_table_unref(loaded);
  pe_table_unref(logged);
  if (!adopted) {
    return no_version_fits(s, old, known, err);
  }
  pe_info("source", "table %s.%s has a new version from %s:%llu on: %u columns, %u before", old->db,
          old->name, s->file, (unsigned long long)s->pos, adopted->nsource, old->nsource);
  slot->table = adopted;
  pe_table_unref(old);
  rc = pe_stream_push_event(s, PE_EV_TABLE_CHANGED, adopted, NULL);
  return rc ? pe_err_set(err, rc, PE_CLASS_FATAL, "cannot pass on a new table version") : 0;
}

static int plan_slot(struct pe_stream *s, struct pe_stream_slot *slot,
                     const struct pe_binlog_map *m, struct pe_err *err) {
  pe_decode_plan_destroy(slot->plan);
  slot->plan = NULL;
  struct pe_err why = PE_ERR_INIT;
  int rc = pe_binlog_schema_check(slot->table, m, &why);
  if (rc == PE_ESOURCE_SCHEMA) {
    bool may = true; /* the change of the table goes out behind the rows that are there */
    rc = s->group_rows ? pe_stream_split(s, &may, err) : 0;
    if (rc || !may) {
      return rc;
    }
    pe_info("source", "table %s.%s at %s:%llu: %s; reading its definition again", slot->table->db,
            slot->table->name, s->file, (unsigned long long)s->pos, why.text);
    rc = next_version(s, slot, m, why.text, err);
  } else if (rc) {
    *err = why;
    return no_version_fits(s, slot->table, NULL, err);
  }
  if (rc) {
    return rc;
  }
  rc = pe_decode_plan_create(slot->table, m, &slot->plan, err);
  if (rc) {
    return pe_err_wrap(err, "table %s.%s at %s:%llu", slot->table->db, slot->table->name, s->file,
                       (unsigned long long)s->pos);
  }
  slot->plan_id = m->table_id;
  return 0;
}

int pe_stream_table_map(struct pe_stream *s, const uint8_t *body, size_t n, struct pe_err *err) {
  struct pe_binlog_map m;
  uint8_t post_len = s->fde.post_len[PE_BL_TABLE_MAP];
  if (!pe_binlog_map_head(body, n, post_len, &m)) {
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL, "malformed TABLE_MAP event at %s:%llu",
                      s->file, (unsigned long long)s->pos);
  }
  struct pe_stream_slot *slot;
  if (pe_stream_slot_of(s, m.table_id, &slot) &&
      (!slot || (slot->plan && slot->plan_id == m.table_id))) {
    return 0;
  }
  slot = pe_stream_slot_named(s, m.db.p, m.db.len, m.table.p, m.table.len);
  if (slot) {
    struct pe_arena arena;
    pe_arena_init(&arena, 0);
    bool maria = s->fde.post_len[PE_BL_MARIA_GTID] != 0; /* only such a server knows that event */
    int rc = pe_binlog_map_read(body, n, post_len, maria, &arena, &m, err);
    rc = rc ? pe_err_wrap(err, "at %s:%llu", s->file, (unsigned long long)s->pos)
            : plan_slot(s, slot, &m, err);
    pe_arena_close(&arena);
    if (rc) {
      return rc;
    }
  }
  return remember(s, m.table_id, slot ? (int32_t)(slot - s->slots) : SLOT_NONE)
             ? 0
             : pe_stream_out_of_memory(err);
}
