/* Decoding of binary-protocol rows. Pure; bytes come from the network and are checked, never
 * asserted. */
#include "source/snapshot_row.h"

#include <stdlib.h>
#include <string.h>

#include "source/decode_temporal.h"
#include "source/snapshot_internal.h"

enum wire_op {
  OP_COPY,   /* fixed bytes, as they are */
  OP_NARROW, /* an integer of `wire_bytes` into fewer bytes */
  OP_DATE,
  OP_DATETIME,
  OP_TIME,
  OP_DECIMAL,
  OP_BIT,
  OP_STRING
};

struct pe_wire_column {
  uint8_t op;
  uint8_t wire_bytes; /* OP_COPY, OP_NARROW */
  uint8_t bytes;      /* in the row */
  uint8_t scale;
  uint32_t offset;
};

enum { BIT_BYTES_MAX = 8, DAY_SECONDS = 86400, NULL_BIT_FIRST = 2 };

void pe_wire_put_select(const struct pe_table *t, struct pe_buf *b) {
  for (uint32_t i = 0; i < t->nsource; i++) {
    const struct pe_column *c = &t->columns[i];
    bool number = c->ctype == PE_C_ENUM || c->ctype == PE_C_SET;
    pe_buf_puts(b, i ? "," : "");
    if (number) {
      pe_buf_puts(b, "CAST(");
    }
    pe_buf_put_ident(b, c->name);
    if (number) {
      pe_buf_puts(b, " AS UNSIGNED)");
    }
  }
}

static bool wire_is_string(unsigned type) {
  switch (type) {
    case MYSQL_TYPE_VARCHAR:
    case MYSQL_TYPE_VAR_STRING:
    case MYSQL_TYPE_STRING:
    case MYSQL_TYPE_TINY_BLOB:
    case MYSQL_TYPE_MEDIUM_BLOB:
    case MYSQL_TYPE_LONG_BLOB:
    case MYSQL_TYPE_BLOB:
    case MYSQL_TYPE_JSON:
    case MYSQL_TYPE_GEOMETRY:
    case 242: /* MYSQL_TYPE_VECTOR */
      return true;
    default:
      return false;
  }
}

static uint8_t wire_int_bytes(unsigned type) {
  switch (type) {
    case MYSQL_TYPE_TINY:
      return 1;
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_YEAR:
      return 2;
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_INT24:
      return 4;
    case MYSQL_TYPE_LONGLONG:
      return 8;
    default:
      return 0;
  }
}

static bool plan_int(struct pe_wire_column *w, const struct pe_column *c, const MYSQL_FIELD *f) {
  w->wire_bytes = wire_int_bytes(f->type);
  if (c->ctype == PE_C_ENUM || c->ctype == PE_C_SET) {
    w->op = OP_NARROW;
    return w->wire_bytes != 0;
  }
  bool is_signed =
      c->ctype == PE_C_I8 || c->ctype == PE_C_I16 || c->ctype == PE_C_I32 || c->ctype == PE_C_I64;
  bool sign_fits = c->ctype == PE_C_YEAR || is_signed == !(f->flags & UNSIGNED_FLAG);
  w->op = OP_COPY;
  return sign_fits && w->wire_bytes == w->bytes;
}

static bool plan_column(struct pe_wire_column *w, const struct pe_column *c, const MYSQL_FIELD *f) {
  unsigned type = f->type;
  w->offset = c->offset;
  w->bytes = (uint8_t)pe_ctype_bytes(c->ctype);
  w->scale = c->scale;
  w->wire_bytes = w->bytes;
  switch (c->ctype) {
    case PE_C_F32:
      w->op = OP_COPY;
      return type == MYSQL_TYPE_FLOAT;
    case PE_C_F64:
      w->op = OP_COPY;
      return type == MYSQL_TYPE_DOUBLE;
    case PE_C_DEC64:
    case PE_C_DEC128:
    case PE_C_DEC256:
      w->op = OP_DECIMAL;
      return type == MYSQL_TYPE_NEWDECIMAL || type == MYSQL_TYPE_DECIMAL;
    case PE_C_DATE:
      w->op = OP_DATE;
      return type == MYSQL_TYPE_DATE || type == MYSQL_TYPE_NEWDATE;
    case PE_C_DATETIME:
      w->op = OP_DATETIME;
      return type == MYSQL_TYPE_DATETIME || type == MYSQL_TYPE_TIMESTAMP;
    case PE_C_TIME:
      w->op = OP_TIME;
      return type == MYSQL_TYPE_TIME;
    case PE_C_BIT:
      w->op = OP_BIT;
      return type == MYSQL_TYPE_BIT;
    case PE_C_STR:
    case PE_C_BYTES:
    case PE_C_JSON:
      w->op = OP_STRING;
      return wire_is_string(type);
    default:
      return plan_int(w, c, f);
  }
}

int pe_wire_init(struct pe_wire *w, const struct pe_table *t, const MYSQL_FIELD *fields,
                 unsigned nfields, struct pe_err *err) {
  memset(w, 0, sizeof(*w));
  if (nfields != t->nsource) {
    return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                      "%u columns were asked for and %u came", t->nsource, nfields);
  }
  pe_calendar_init();
  w->t = t;
  w->n = nfields;
  w->cols = calloc(nfields, sizeof(*w->cols));
  w->nulls = calloc(t->null_bytes, 1);
  if (!w->cols || !w->nulls) {
    pe_wire_close(w);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  for (uint32_t i = t->nsource; i < t->ncolumns; i++) {
    pe_row_set_null(w->nulls, i);
  }
  for (unsigned i = 0; i < nfields; i++) {
    const struct pe_column *c = &t->columns[i];
    if (!plan_column(&w->cols[i], c, &fields[i])) {
      pe_wire_close(w);
      return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                        "column '%s' is not %s any more: the table was changed while its snapshot "
                        "ran; start the pipeline again",
                        c->name, c->type_text ? c->type_text : pe_ctype_name(c->ctype));
    }
  }
  return 0;
}

void pe_wire_close(struct pe_wire *w) {
  free(w->cols);
  free(w->nulls);
  memset(w, 0, sizeof(*w));
}

static uint32_t le16(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t le32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof(v));
  return v;
}

/* p[0..n): year 2, month 1, day 1, then time of day; left out where all of the rest is zero. */
static bool put_date(const uint8_t *p, size_t n, uint8_t *to) {
  uint32_t y = 0, m = 0, d = 0;
  if (n >= 4) {
    y = le16(p);
    m = p[2];
    d = p[3];
  }
  if ((n != 0 && n != 4 && n != 7 && n != 11) || y > 9999 || m > 12 || d > 31) {
    return false;
  }
  int32_t v = pe_temporal_date(y, m, d);
  memcpy(to, &v, sizeof(v));
  return true;
}

static bool put_datetime(const uint8_t *p, size_t n, uint8_t *to) {
  uint32_t y = 0, m = 0, d = 0, h = 0, min = 0, s = 0, us = 0;
  if (n != 0 && n != 4 && n != 7 && n != 11) {
    return false;
  }
  if (n >= 4) {
    y = le16(p);
    m = p[2];
    d = p[3];
  }
  if (n >= 7) {
    h = p[4];
    min = p[5];
    s = p[6];
  }
  if (n == 11) {
    us = le32(p + 7);
  }
  if (y > 9999 || m > 12 || d > 31 || h > 23 || min > 59 || s > 59 || us > 999999) {
    return false;
  }
  int64_t v = pe_temporal_datetime(y * PE_CAL_MONTHS + m, d, h, min, s, us);
  memcpy(to, &v, sizeof(v));
  return true;
}

static bool put_time(const uint8_t *p, size_t n, uint8_t *to) {
  int64_t v = 0;
  if (n != 0 && n != 8 && n != 12) {
    return false;
  }
  if (n >= 8) {
    uint32_t days = le32(p + 1);
    if (p[0] > 1 || days > 34 || p[5] > 23 || p[6] > 59 || p[7] > 59) {
      return false;
    }
    v = ((int64_t)days * DAY_SECONDS + p[5] * 3600 + p[6] * 60 + p[7]) * 1000000;
    if (n == 12) {
      uint32_t us = le32(p + 8);
      if (us > 999999) {
        return false;
      }
      v += us;
    }
    v = p[0] ? -v : v;
  }
  memcpy(to, &v, sizeof(v));
  return true;
}

enum { LIMBS = 4, DIGITS_A_STEP = 18 };

/* limbs = limbs * mul + add, little-endian; false when it runs over. */
static bool mul_add(uint64_t limbs[LIMBS], uint64_t mul, uint64_t add) {
  unsigned __int128 carry = add;
  for (int i = 0; i < LIMBS; i++) {
    carry += (unsigned __int128)limbs[i] * mul;
    limbs[i] = (uint64_t)carry;
    carry >>= 64;
  }
  return carry == 0;
}

bool pe_decimal_parse(const char *s, size_t n, uint8_t scale, void *out, uint32_t bytes) {
  const char *p = s, *end = s + n, *point = NULL;
  bool negative = false;
  if (p < end && (*p == '-' || *p == '+')) {
    negative = *p++ == '-';
  }
  uint64_t limbs[LIMBS] = {0};
  uint64_t part = 0, mul = 1;
  unsigned steps = 0;
  size_t digits = 0;
  for (; p < end; p++) {
    if (*p == '.' && !point) {
      point = p;
      continue;
    }
    if (*p < '0' || *p > '9') {
      return false;
    }
    part = part * 10 + (uint64_t)(*p - '0');
    mul *= 10;
    digits++;
    if (++steps == DIGITS_A_STEP) {
      if (!mul_add(limbs, mul, part)) {
        return false;
      }
      part = steps = 0;
      mul = 1;
    }
  }
  size_t fraction = point ? (size_t)(end - point - 1) : 0;
  if (!digits || fraction != scale || (steps && !mul_add(limbs, mul, part))) {
    return false;
  }
  /* The magnitude has to leave the sign bit free, and nothing above it. */
  uint32_t used = bytes / 8;
  for (uint32_t i = used; i < LIMBS; i++) {
    if (limbs[i]) {
      return false;
    }
  }
  if (limbs[used - 1] >> 63) {
    return false;
  }
  if (negative) {
    uint64_t carry = 1;
    for (int i = 0; i < LIMBS; i++) {
      limbs[i] = ~limbs[i] + carry;
      carry = carry && limbs[i] == 0;
    }
  }
  memcpy(out, limbs, bytes);
  return true;
}

/* A length-encoded string at *at; NULL when it does not lie inside. */
static const uint8_t *take_string(const uint8_t **at, const uint8_t *end, size_t *n) {
  const uint8_t *p = *at;
  if (p >= end) {
    return NULL;
  }
  uint64_t len = *p++;
  unsigned more = len < 0xFB ? 0 : len == 0xFC ? 2 : len == 0xFD ? 3 : len == 0xFE ? 8 : 9;
  if (more == 9 || (size_t)(end - p) < more) {
    return NULL;
  }
  if (more) {
    len = 0;
    memcpy(&len, p, more);
    p += more;
  }
  if (len > (size_t)(end - p) || len > UINT32_MAX) {
    return NULL;
  }
  *n = (size_t)len;
  *at = p + len;
  return p;
}

static bool put_bit(const uint8_t *p, size_t n, uint8_t *to) {
  if (n > BIT_BYTES_MAX) {
    return false;
  }
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) {
    v = v << 8 | p[i];
  }
  memcpy(to, &v, sizeof(v));
  return true;
}

static int put_string(const uint8_t *p, size_t n, uint8_t *to, struct pe_arena *a) {
  char *copy = pe_arena_alloc(a, n, 1);
  if (!copy) {
    return PE_ENOMEM;
  }
  memcpy(copy, p, n);
  struct pe_str s = {copy, (uint32_t)n, 0};
  memcpy(to, &s, sizeof(s));
  return 0;
}

static bool narrow(const struct pe_wire_column *c, const uint8_t *p, uint8_t *to) {
  uint64_t v = 0;
  memcpy(&v, p, c->wire_bytes);
  memcpy(to, &v, c->bytes);
  return c->bytes == 8 || v >> (c->bytes * 8) == 0;
}

/* One value of variable length. 0, PE_ENOMEM, or PE_EDATA. */
static int put_variable(const struct pe_wire_column *c, const uint8_t *p, size_t n, uint8_t *to,
                        struct pe_arena *a) {
  bool ok = false;
  switch (c->op) {
    case OP_STRING:
      return put_string(p, n, to, a);
    case OP_DATE:
      ok = put_date(p, n, to);
      break;
    case OP_DATETIME:
      ok = put_datetime(p, n, to);
      break;
    case OP_TIME:
      ok = put_time(p, n, to);
      break;
    case OP_DECIMAL:
      ok = pe_decimal_parse((const char *)p, n, c->scale, to, c->bytes);
      break;
    case OP_BIT:
      ok = put_bit(p, n, to);
      break;
    default:
      break;
  }
  return ok ? 0 : PE_EDATA;
}

static int malformed(const struct pe_wire *w, uint32_t col, struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
                    "a row of %s.%s came in a strange form at column '%s'", w->t->db, w->t->name,
                    w->t->columns[col].name);
}

int pe_wire_decode(const struct pe_wire *w, const uint8_t *packet, size_t n, uint8_t *row,
                   struct pe_arena *a, struct pe_err *err) {
  size_t null_bytes = (w->n + NULL_BIT_FIRST + 7) / 8;
  if (n < 1 + null_bytes || packet[0] != 0) {
    return malformed(w, 0, err);
  }
  const uint8_t *nulls = packet + 1;
  const uint8_t *at = nulls + null_bytes, *end = packet + n;
  memcpy(row, w->nulls, w->t->null_bytes);
  for (uint32_t i = 0; i < w->n; i++) {
    const struct pe_wire_column *c = &w->cols[i];
    uint32_t bit = i + NULL_BIT_FIRST;
    if (nulls[bit >> 3] >> (bit & 7) & 1) {
      pe_row_set_null(row, i);
      continue;
    }
    if (c->op <= OP_NARROW) {
      if ((size_t)(end - at) < c->wire_bytes) {
        return malformed(w, i, err);
      }
      if (c->op == OP_NARROW) {
        if (!narrow(c, at, row + c->offset)) {
          return malformed(w, i, err);
        }
      } else {
        memcpy(row + c->offset, at, c->wire_bytes);
      }
      at += c->wire_bytes;
      continue;
    }
    size_t len = 0;
    const uint8_t *value = take_string(&at, end, &len);
    int rc = value ? put_variable(c, value, len, row + c->offset, a) : PE_EDATA;
    if (rc == PE_ENOMEM) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    }
    if (rc) {
      return malformed(w, i, err);
    }
  }
  return at == end ? 0 : malformed(w, w->n - 1, err);
}
