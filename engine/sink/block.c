/* A block under construction: one growing buffer a column (and one for its NULL map), rows taken in
 * groups small enough to stay in the cache while all their columns are read. The Native format
 * as the HTTP interface has it (client revision 0): counts of columns and rows, then for each
 * column its name, its type, the NULL map of a Nullable, the values.
 * https://clickhouse.com/docs/interfaces/formats/Native
 *
 * owner: any one thread at a time. Fails for want of memory, or when a block would pass
 * PE_BLOCK_BYTES_MAX; a failed append leaves the block as it was. */
#include "base/assert.h"
#include "base/sha256.h"
#include "sink/block_plan.h"

#include <stdlib.h>

/* What a cleared block keeps for the next one. */
static const size_t keep_bytes_max = (size_t)8 << 20;

struct column {
  struct pe_buf nulls, values;
};

struct pe_block {
  const struct pe_plan *plan;
  struct column *columns; /* plan->nconvs of them, */
  struct pe_buf versions, deleted;
  uint32_t rows;
  size_t bytes; /* in all of these buffers */
  uint8_t head[2 * PE_VARINT_MAX];
  struct pe_iov *iov; /* 1 + 3 a column + 4 */
};

struct pe_block *pe_block_create(const struct pe_plan *p) {
  struct pe_block *b = calloc(1, sizeof(*b));
  if (!b) {
    return NULL;
  }
  b->plan = p;
  b->columns = calloc(p->nconvs + 1, sizeof(*b->columns));
  b->iov = calloc(5 + 3 * (size_t)p->nconvs, sizeof(*b->iov));
  if (!b->columns || !b->iov) {
    pe_block_destroy(b);
    return NULL;
  }
  return b;
}

void pe_block_destroy(struct pe_block *b) {
  if (!b) {
    return;
  }
  for (uint32_t i = 0; b->columns && i < b->plan->nconvs; i++) {
    pe_buf_close(&b->columns[i].nulls);
    pe_buf_close(&b->columns[i].values);
  }
  pe_buf_close(&b->versions);
  pe_buf_close(&b->deleted);
  free(b->columns);
  free(b->iov);
  free(b);
}

void pe_block_clear(struct pe_block *b) {
  bool keep = pe_block_memory(b) <= keep_bytes_max;
  void (*empty)(struct pe_buf *) = keep ? pe_buf_clear : pe_buf_close;
  for (uint32_t i = 0; i < b->plan->nconvs; i++) {
    empty(&b->columns[i].nulls);
    empty(&b->columns[i].values);
  }
  empty(&b->versions);
  empty(&b->deleted);
  b->rows = 0;
  b->bytes = 0;
}

static void fill_nulls(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                       uint8_t *nulls) {
  uint32_t byte = c->col >> 3, bit = c->col & 7;
  for (size_t i = 0; i < n; i++) {
    nulls[i] = (uint8_t)(rows[i][byte] >> bit & 1);
  }
  if (c->zero != PE_ZERO_NULL) {
    return;
  }
  for (size_t i = 0; i < n; i++) { /* dates only, and only under this policy */
    int64_t us;
    int32_t days;
    memcpy(&days, rows[i] + c->offset, sizeof(days));
    if (c->from->ctype == PE_C_DATETIME) {
      memcpy(&us, rows[i] + c->offset, sizeof(us));
      nulls[i] |= pe_datetime_is_special(us);
    } else {
      nulls[i] |= pe_date_is_special(days);
    }
  }
}

static bool append_column(const struct pe_conv *c, struct column *to, const uint8_t *const *rows,
                          size_t n) {
  const uint8_t *nulls = NULL;
  if (c->nulls) {
    if (!pe_buf_reserve(&to->nulls, n)) {
      return false;
    }
    uint8_t *at = to->nulls.data + to->nulls.len;
    fill_nulls(c, rows, n, at);
    to->nulls.len += n;
    nulls = at;
  }
  if (c->string) {
    c->string(c, rows, n, nulls, &to->values);
    return !to->values.failed;
  }
  size_t bytes = n * c->out_bytes;
  if (!pe_buf_reserve(&to->values, bytes)) {
    return false;
  }
  c->fixed(c, rows, n, nulls, to->values.data + to->values.len);
  to->values.len += bytes;
  return true;
}

static bool append_group(struct pe_block *b, const struct pe_out *outs, const uint32_t *idx,
                         size_t n) {
  const uint8_t *rows[PE_BLOCK_GROUP];
  if (!pe_buf_reserve(&b->versions, n * sizeof(uint64_t)) || !pe_buf_reserve(&b->deleted, n)) {
    return false;
  }
  uint8_t *versions = b->versions.data + b->versions.len, *deleted = b->deleted.data + b->rows;
  for (size_t i = 0; i < n; i++) {
    const struct pe_out *o = &outs[idx[i]];
    rows[i] = o->row;
    memcpy(versions + i * sizeof(uint64_t), &o->version, sizeof(uint64_t));
    deleted[i] = o->deleted;
  }
  b->versions.len += n * sizeof(uint64_t);
  b->deleted.len += n;
  size_t before = b->bytes;
  for (uint32_t k = 0; k < b->plan->nconvs; k++) {
    struct column *to = &b->columns[k];
    size_t had = to->nulls.len + to->values.len;
    if (!append_column(&b->plan->convs[k], to, rows, n)) {
      b->bytes = before;
      return false;
    }
    b->bytes += to->nulls.len + to->values.len - had;
  }
  b->bytes += n * (sizeof(uint64_t) + 1);
  b->rows += (uint32_t)n;
  return true;
}

/* Where the strings of `rows` rows end. */
static size_t strings_end(const struct pe_buf *values, size_t at, uint32_t rows) {
  for (uint32_t i = 0; i < rows; i++) {
    uint64_t len = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
      byte = values->data[at++];
      len |= (uint64_t)(byte & 0x7F) << shift;
      shift += 7;
    } while (byte & 0x80);
    at += len;
  }
  return at;
}

/* Takes back what an append that failed has put behind the first `rows` rows. */
static void cut(struct pe_block *b, uint32_t rows) {
  b->bytes = rows * (sizeof(uint64_t) + 1);
  for (uint32_t k = 0; k < b->plan->nconvs; k++) {
    const struct pe_conv *c = &b->plan->convs[k];
    struct column *to = &b->columns[k];
    to->nulls.failed = to->values.failed = false;
    to->nulls.len = c->nulls ? rows : 0;
    to->values.len = c->string ? strings_end(&to->values, 0, rows) : rows * (size_t)c->out_bytes;
    b->bytes += to->nulls.len + to->values.len;
  }
  b->versions.failed = b->deleted.failed = false;
  b->versions.len = rows * sizeof(uint64_t);
  b->deleted.len = rows;
  b->rows = rows;
}

int pe_block_append(struct pe_block *b, const struct pe_out *outs, const uint32_t *idx, size_t n) {
  uint32_t before = b->rows;
  PE_ASSERT(n <= UINT32_MAX - before);
  for (size_t at = 0; at < n; at += PE_BLOCK_GROUP) {
    size_t m = n - at < PE_BLOCK_GROUP ? n - at : PE_BLOCK_GROUP;
    if (!append_group(b, outs, idx + at, m) || b->bytes > PE_BLOCK_BYTES_MAX) {
      cut(b, before);
      return PE_ENOMEM;
    }
  }
  return 0;
}

uint32_t pe_block_rows(const struct pe_block *b) {
  return b->rows;
}

size_t pe_block_bytes(const struct pe_block *b) {
  const struct pe_plan *p = b->plan;
  uint8_t scratch[PE_VARINT_MAX];
  size_t n = b->bytes + p->heads_bytes + pe_varint_put(scratch, p->ncolumns) +
             pe_varint_put(scratch, b->rows);
  if (!p->version_head.n) {
    n -= b->rows * sizeof(uint64_t);
  }
  if (!p->deleted_head.n) {
    n -= b->rows;
  }
  return n;
}

size_t pe_block_memory(const struct pe_block *b) {
  const struct pe_plan *p = b->plan;
  size_t n = sizeof(*b) + p->nconvs * (sizeof(struct column) + 3 * sizeof(struct pe_iov)) +
             b->versions.cap + b->deleted.cap;
  for (uint32_t k = 0; k < p->nconvs; k++) {
    n += b->columns[k].nulls.cap + b->columns[k].values.cap;
  }
  return n;
}

static void piece(struct pe_block *b, size_t *n, const void *p, size_t len) {
  if (len) {
    b->iov[(*n)++] = (struct pe_iov){p, len};
  }
}

int pe_block_iov(struct pe_block *b, const struct pe_iov **iov, size_t *n) {
  const struct pe_plan *p = b->plan;
  size_t head = pe_varint_put(b->head, p->ncolumns);
  head += pe_varint_put(b->head + head, b->rows);
  *n = 0;
  piece(b, n, b->head, head);
  for (uint32_t k = 0; k < p->nconvs; k++) {
    const struct column *c = &b->columns[k];
    piece(b, n, p->convs[k].head.p, p->convs[k].head.n);
    piece(b, n, c->nulls.data, c->nulls.len);
    piece(b, n, c->values.data, c->values.len);
  }
  if (p->version_head.n) {
    piece(b, n, p->version_head.p, p->version_head.n);
    piece(b, n, b->versions.data, b->versions.len);
  }
  if (p->deleted_head.n) {
    piece(b, n, p->deleted_head.p, p->deleted_head.n);
    piece(b, n, b->deleted.data, b->deleted.len);
  }
  *iov = b->iov;
  return 0;
}

int pe_block_slice(const struct pe_block *b, uint32_t from, uint32_t n, struct pe_block **out) {
  PE_ASSERT(from <= b->rows && n <= b->rows - from);
  struct pe_block *s = pe_block_create(b->plan);
  if (!s) {
    return PE_ENOMEM;
  }
  bool ok = true;
  for (uint32_t k = 0; k < b->plan->nconvs; k++) {
    const struct pe_conv *c = &b->plan->convs[k];
    const struct column *src = &b->columns[k];
    struct column *to = &s->columns[k];
    if (c->nulls) {
      pe_buf_put(&to->nulls, src->nulls.data + from, n);
    }
    size_t start = c->string ? strings_end(&src->values, 0, from) : from * (size_t)c->out_bytes;
    size_t end = c->string ? strings_end(&src->values, start, n) : start + n * (size_t)c->out_bytes;
    pe_buf_put(&to->values, src->values.data + start, end - start);
    ok = ok && pe_buf_ok(&to->nulls) && pe_buf_ok(&to->values);
    s->bytes += to->nulls.len + to->values.len;
  }
  pe_buf_put(&s->versions, b->versions.data + from * sizeof(uint64_t), n * sizeof(uint64_t));
  pe_buf_put(&s->deleted, b->deleted.data + from, n);
  s->rows = n;
  s->bytes += n * (sizeof(uint64_t) + 1);
  if (!ok || !pe_buf_ok(&s->versions) || !pe_buf_ok(&s->deleted)) {
    pe_block_destroy(s);
    return PE_ENOMEM;
  }
  *out = s;
  return 0;
}

uint64_t pe_block_version(const struct pe_block *b, uint32_t row) {
  PE_ASSERT(row < b->rows);
  uint64_t v;
  memcpy(&v, b->versions.data + row * sizeof(v), sizeof(v));
  return v;
}

bool pe_block_deleted(const struct pe_block *b, uint32_t row) {
  PE_ASSERT(row < b->rows);
  return b->deleted.data[row];
}

void pe_block_hash(struct pe_block *b, char hex[65]) {
  const struct pe_iov *iov;
  size_t n;
  uint8_t sum[2][32] = {{0}}; /* of what went before, of the next piece */
  pe_block_iov(b, &iov, &n);
  for (size_t i = 0; i < n; i++) {
    pe_sha256(iov[i].p, iov[i].n, sum[1]);
    pe_sha256(sum, sizeof(sum), sum[0]);
  }
  pe_sha256_hex(sum[0], sizeof(sum[0]), hex);
}

static void whole_number(const struct pe_conv *c, const uint8_t *p, struct pe_buf *out) {
  uint64_t u = 0;
  memcpy(&u, p, c->out_bytes);
  unsigned unused = 64 - 8 * c->out_bytes;
  if (c->src_signed) {
    pe_buf_printf(out, "%lld", (long long)((int64_t)(u << unused) >> unused));
  } else {
    pe_buf_printf(out, "%llu", (unsigned long long)u);
  }
}

static void put_fixed(const struct pe_conv *c, const uint8_t *p, struct pe_buf *out) {
  const struct pe_column *from = c->from;
  if (from->ctype == PE_C_F64 && c->out_bytes == sizeof(double)) {
    double d;
    memcpy(&d, p, sizeof(d));
    pe_buf_printf(out, "\"%.17g\"", d);
  } else if (from->ctype <= PE_C_U64 && c->out_bytes <= sizeof(uint64_t)) {
    pe_buf_puts(out, "\"");
    whole_number(c, p, out);
    pe_buf_puts(out, "\"");
  } else { /* as it was sent */
    pe_buf_puts(out, "\"0x");
    for (uint32_t i = c->out_bytes; i-- > 0;) {
      pe_buf_printf(out, "%02x", p[i]);
    }
    pe_buf_puts(out, "\"");
  }
}

bool pe_block_sql_value(const struct pe_block *b, const char *column, uint32_t row,
                        struct pe_buf *out) {
  PE_ASSERT(row < b->rows);
  for (uint32_t k = 0; k < b->plan->nconvs; k++) {
    const struct pe_conv *c = &b->plan->convs[k];
    const struct column *col = &b->columns[k];
    if (strcmp(c->from->name, column) != 0) {
      continue;
    }
    if (c->nulls && col->nulls.data[row]) {
      return false;
    }
    if (!c->string && c->from->ctype <= PE_C_U64 && c->out_bytes <= sizeof(uint64_t)) {
      whole_number(c, col->values.data + row * (size_t)c->out_bytes, out);
      return true;
    }
    if (c->string && c->from->ctype == PE_C_STR) {
      size_t start = strings_end(&col->values, 0, row), end = strings_end(&col->values, start, 1);
      while (col->values.data[start++] & 0x80) {
      }
      pe_buf_put_sql(out, (const char *)col->values.data + start, end - start);
      return true;
    }
    return false;
  }
  return false;
}

void pe_block_row_json(const struct pe_block *b, uint32_t row, struct pe_buf *out) {
  PE_ASSERT(row < b->rows);
  pe_buf_puts(out, "{");
  for (uint32_t k = 0; k < b->plan->nconvs; k++) {
    const struct pe_conv *c = &b->plan->convs[k];
    const struct column *col = &b->columns[k];
    pe_buf_puts(out, k ? "," : "");
    pe_buf_put_json(out, c->from->name, strlen(c->from->name));
    pe_buf_puts(out, ":");
    if (c->nulls && col->nulls.data[row]) {
      pe_buf_puts(out, "null");
    } else if (c->from->pii) {
      pe_buf_puts(out, "\"<pii>\"");
    } else if (c->string) {
      size_t start = strings_end(&col->values, 0, row), end = strings_end(&col->values, start, 1);
      while (col->values.data[start++] & 0x80) {
      }
      pe_buf_put_json(out, (const char *)col->values.data + start, end - start);
    } else {
      put_fixed(c, col->values.data + row * (size_t)c->out_bytes, out);
    }
  }
  pe_buf_puts(out, "}");
}
