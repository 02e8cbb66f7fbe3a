/* Row events into the open batch. owner: reader.
 *
 * The rows area is copied into the batch's arena once and decoded there, so strings need no copy of
 * their own. An area larger than WINDOW_BYTES is taken in whole rows of about that much at a time,
 * so that a full batch can go out between them and no batch holds bytes of rows that it hasn't.
 *
 * Numbering: a row image's _version is its own offset in the file, or the last number plus one
 * where that is not more. Rows that are skipped take part in it. */
#include <string.h>

#include "source/binlog_stream.h"
#include "source/binlog_wire.h"

enum {
  WINDOW_BYTES = 256 * 1024,
  DUMMY_TABLE_ID = 0xFFFFFF /* "this statement ends here", no rows */
};

struct rows {
  struct pe_stream_slot *slot;
  enum pe_op op;
  unsigned images;        /* of a change: 2 for an update */
  const uint8_t *p, *end; /* what is left of the area, in the packet */
  const uint8_t *event;   /* offset 0 of the event */
  uint64_t version_base;  /* of offset 0 */
  uint64_t skip_to;       /* changes up to this version are not given out */
};

static int malformed(const struct pe_stream *s, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                    "malformed row event at %s:%llu; check the source's binlog there with "
                    "mysqlbinlog, or run `pipe-engine resync <pipeline>` to start behind it",
                    s->file, (unsigned long long)s->pos);
}

static enum pe_op op_of(uint8_t type) {
  switch (type) {
    case PE_BL_WRITE_ROWS_V1:
    case PE_BL_WRITE_ROWS:
      return PE_OP_INSERT;
    case PE_BL_UPDATE_ROWS_V1:
    case PE_BL_UPDATE_ROWS:
      return PE_OP_UPDATE;
    default:
      return PE_OP_DELETE;
  }
}

static bool all_present(const uint8_t *bits, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    if (!(bits[i >> 3] >> (i & 7) & 1)) {
      return false;
    }
  }
  return true;
}

/* The event's own header, up to its rows. */
static int read_header(struct pe_stream *s, const struct pe_binlog_header *h, const uint8_t *body,
                       size_t n, struct rows *r, struct pe_err *err) {
  struct pe_cursor c = pe_cursor(body, n);
  size_t post_len = s->fde.post_len[h->type];
  size_t id_len = post_len == 6 ? 4 : 6;
  uint64_t table_id = pe_cursor_le(&c, (unsigned)id_len);
  pe_cursor_bytes(&c, 2); /* flags */
  if (h->type >= PE_BL_WRITE_ROWS) {
    uint64_t extra = pe_cursor_le(&c, 2);
    pe_cursor_bytes(&c, extra >= 2 ? (size_t)extra - 2 : n + 1);
  }
  if (c.bad) {
    return malformed(s, err);
  }
  if (!pe_stream_slot_of(s, table_id, &r->slot)) {
    return table_id == DUMMY_TABLE_ID ? 0 : malformed(s, err);
  }
  if (!r->slot) {
    return 0;
  }
  uint64_t ncolumns = pe_cursor_lenenc(&c);
  uint32_t expected = r->slot->table->nsource;
  if (c.bad || !r->slot->plan || ncolumns != expected) {
    return malformed(s, err);
  }
  r->op = op_of(h->type);
  r->images = r->op == PE_OP_UPDATE ? 2 : 1;
  for (unsigned i = 0; i < r->images; i++) {
    const uint8_t *present = pe_cursor_bytes(&c, (expected + 7) / 8);
    if (!present) {
      return malformed(s, err);
    }
    if (!all_present(present, expected)) {
      return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                        "table %s.%s at %s:%llu: a row image without all columns: SET GLOBAL "
                        "binlog_row_image = FULL (new sessions only: end the old ones), then "
                        "`pipe-engine resync <pipeline>`",
                        r->slot->table->db, r->slot->table->name, s->file,
                        (unsigned long long)s->pos);
    }
  }
  r->p = c.p;
  r->end = c.end;
  return 0;
}

static const uint8_t *skip_change(const struct rows *r, const uint8_t *p, const uint8_t *end) {
  for (unsigned i = 0; p && i < r->images; i++) {
    p = pe_decode_skip(r->slot->plan, p, end);
  }
  return p;
}

/* Where a run of whole changes of about WINDOW_BYTES ends; NULL: malformed. */
static const uint8_t *window_end(const struct rows *r) {
  if ((size_t)(r->end - r->p) <= WINDOW_BYTES) {
    return r->end;
  }
  const uint8_t *p = skip_change(r, r->p, r->end);
  while (p && p < r->end && p - r->p < WINDOW_BYTES) {
    const uint8_t *more = skip_change(r, p, r->end);
    if (more && more - r->p > WINDOW_BYTES) {
      return p;
    }
    p = more;
  }
  return p;
}

static inline uint64_t number(uint64_t last, uint64_t wanted) {
  return wanted > last ? wanted : last + 1;
}

/* Decodes changes from [p, end), which lies in the batch's arena; *p is left where it stopped: at
 * the end or because the batch is full. delta: the packet's address less the copy's. */
static int decode_window(struct pe_stream *s, const struct rows *r, const uint8_t **pp,
                         const uint8_t *end, uint64_t offset) {
  struct pe_decode_plan *plan = r->slot->plan;
  struct pe_batch *b = s->batch;
  const uint8_t *p = *pp, *begin = p;
  uint64_t base = r->version_base + offset, last = s->last_version;
  size_t row_bytes = r->slot->table->row_bytes;
  int rc = 0;
  while (p < end && b->nimages < s->batch_rows && b->bytes < s->batch_bytes) {
    uint8_t *rows;
    struct pe_image_meta *meta;
    if (pe_batch_extend(b, r->slot->table, r->op, r->images, &rows, &meta)) {
      rc = PE_ENOMEM;
      break;
    }
    uint64_t v = last;
    for (unsigned i = 0; !rc && i < r->images; i++) {
      v = number(v, base + (uint64_t)(p - begin));
      meta[i].version = v;
      meta[i].ts_us = s->group_ts_us;
      rc = pe_decode_row(plan, &p, end, rows + i * row_bytes, &b->arena);
    }
    if (__builtin_expect(rc, 0)) {
      pe_batch_retract(b, r->images);
      break;
    }
    last = v;
  }
  s->last_version = last;
  *pp = p;
  return rc;
}

/* Reads over changes that were given out before; NULL: malformed. */
static const uint8_t *skip_known(struct pe_stream *s, const struct rows *r) {
  const uint8_t *p = r->p;
  while (p < r->end && s->last_version < r->skip_to) {
    uint64_t v = s->last_version;
    const uint8_t *q = p;
    for (unsigned i = 0; q && i < r->images; i++) {
      v = number(v, r->version_base + (uint64_t)(q - r->event));
      q = pe_decode_skip(r->slot->plan, q, r->end);
    }
    if (!q) {
      return NULL;
    }
    if (v > r->skip_to) {
      break;
    }
    s->last_version = v;
    p = q;
  }
  return p;
}

static int failed(const struct pe_stream *s, int rc, struct pe_err *err) {
  return rc == PE_ENOMEM     ? pe_stream_out_of_memory(err)
         : rc == PE_ESTOPPED ? pe_err_set(err, rc, PE_CLASS_FATAL, "stopped")
                             : malformed(s, err);
}

static int decode_area(struct pe_stream *s, struct rows *r, struct pe_err *err) {
  int rc = 0;
  while (!rc && r->p < r->end) {
    const uint8_t *until = window_end(r);
    struct pe_batch *b = pe_stream_batch(s);
    if (!until) {
      return malformed(s, err);
    }
    size_t n = (size_t)(until - r->p), pad = r->slot->plan->pad_bytes;
    uint8_t *copy = b ? pe_arena_alloc(&b->arena, n + pad, 8) : NULL;
    if (!copy) {
      return pe_stream_out_of_memory(err);
    }
    memcpy(copy, r->p, n);
    memset(copy + n, 0, pad);
    const uint8_t *at = copy;
    uint64_t images_before = b->nchanges;
    rc = decode_window(s, r, &at, copy + n, (uint64_t)(r->p - r->event));
    PE_STAT_ADD(s->stats.rows, b->nchanges - images_before);
    if (b->nchanges != images_before) {
      s->group_rows = true;
      s->ts_us = s->group_ts_us;
    }
    r->p += at - copy;
    if (!rc && pe_stream_batch_full(s)) {
      bool may;
      int split = pe_stream_split(s, &may, err);
      if (split || !may) {
        return split;
      }
      rc = pe_stream_push(s);
    }
  }
  return rc ? failed(s, rc, err) : 0;
}

int pe_stream_rows(struct pe_stream *s, const struct pe_binlog_header *h, const uint8_t *event,
                   const uint8_t *body, size_t n, uint64_t start, uint64_t end,
                   struct pe_err *err) {
  struct rows r = {.event = event};
  int rc = s->group_ignored ? 0 : read_header(s, h, body, n, &r, err);
  if (rc || !r.slot) {
    return rc;
  }
  uint64_t last;
  if ((rc = pe_version_make(s->generation, s->file_number, start, &r.version_base, err)) ||
      (rc = pe_version_make(s->generation, s->file_number, end, &last, err))) {
    return pe_err_wrap(err, "%s:%llu", s->file, (unsigned long long)start);
  }
  r.skip_to = s->skip_version > r.slot->from_version ? s->skip_version : r.slot->from_version;
  if (s->last_version < r.skip_to) {
    r.p = skip_known(s, &r);
    if (!r.p) {
      return malformed(s, err);
    }
  }
  return decode_area(s, &r, err);
}
