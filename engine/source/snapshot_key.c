/* Keys as SQL. Pure but for pe_key_load, which asks the server. Fails with PE_EDATA for a literal
 * that is none, PE_ENOMEM by the buffer. A literal is a row value: it never enters a message. */
#include "source/snapshot_key.h"

#include <stdio.h>
#include <string.h>

#include "source/server.h"
#include "source/snapshot_internal.h"

static bool type_is(const struct pe_column *c, const char *name) {
  return strcmp(c->type_text, name) == 0;
}

static enum pe_key_kind kind_of(const struct pe_column *c) {
  if (type_is(c, "uuid") || type_is(c, "inet6") || type_is(c, "inet4")) {
    return PE_KEY_ADDRESS;
  }
  switch (c->ctype) {
    case PE_C_F32:
    case PE_C_F64:
      return PE_KEY_REAL;
    case PE_C_DATE:
    case PE_C_DATETIME:
    case PE_C_TIME:
    case PE_C_YEAR:
      return PE_KEY_QUOTED;
    case PE_C_SET:
      return PE_KEY_SET;
    case PE_C_STR:
    case PE_C_JSON:
      return PE_KEY_TEXT;
    case PE_C_BYTES:
      return PE_KEY_BYTES;
    default:
      return PE_KEY_NUMBER;
  }
}

/* Backticks around a name of at most 64 characters, doubled inside. */
static void quote_name(const char *name, char *out, size_t n) {
  size_t at = 0;
  out[at++] = '`';
  for (const char *p = name; *p && at + 4 < n; p++) {
    if (*p == '`') {
      out[at++] = '`';
    }
    out[at++] = *p;
  }
  out[at++] = '`';
  out[at] = 0;
}

int pe_key_init(struct pe_key *k, const struct pe_table *t, struct pe_err *err) {
  memset(k, 0, sizeof(*k));
  if (t->npk == 0 || t->npk > PE_KEY_COLUMNS_MAX) {
    return pe_err_set(err, PE_ESOURCE_KEY, PE_CLASS_FATAL,
                      "table %s.%s: a key of %u columns cannot be read in chunks", t->db, t->name,
                      t->npk);
  }
  k->n = t->npk;
  k->resumable = true;
  for (uint32_t i = 0; i < t->npk; i++) {
    const struct pe_column *c = &t->columns[t->pk[i]];
    struct pe_key_column *col = &k->cols[i];
    quote_name(c->name, col->name, sizeof(col->name));
    col->kind = kind_of(c);
    col->numbered = c->ctype == PE_C_ENUM || c->ctype == PE_C_BIT;
    col->column = t->pk[i];
    snprintf(col->charset, sizeof(col->charset), "utf8mb4");
  }
  return 0;
}

struct charset_walk {
  struct pe_key *k;
  const struct pe_table *t;
};

static int take_charset(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct charset_walk *w = arg;
  (void)ncols;
  (void)lengths;
  for (uint32_t i = 0; i < w->k->n; i++) {
    struct pe_key_column *col = &w->k->cols[i];
    if (cells[1] && strcmp(w->t->columns[col->column].name, cells[0]) == 0) {
      snprintf(col->charset, sizeof(col->charset), "%s", cells[1]);
    }
  }
  return 0;
}

/* From utf8mb4 into these every text that was read out of them goes back unchanged. */
static bool goes_back(const char *charset) {
  static const char *const names[] = {"utf8mb4", "utf8mb3", "utf8", "ascii", "latin1"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strcmp(charset, names[i]) == 0) {
      return true;
    }
  }
  return false;
}

int pe_key_load(struct pe_key *k, const struct pe_table *t, MYSQL *m, struct pe_err *err) {
  int rc = pe_key_init(k, t, err);
  char index[256];
  if (!rc) {
    rc = pe_source_key_index(m, t->db, t->name, index, sizeof(index), err);
  }
  if (rc) {
    return rc;
  }
  quote_name(index, k->index, sizeof(k->index));
  struct pe_buf sql;
  pe_buf_init(&sql);
  pe_buf_puts(&sql,
              "SELECT COLUMN_NAME, CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE "
              "TABLE_SCHEMA = ");
  pe_buf_put_sql(&sql, t->db, strlen(t->db));
  pe_buf_puts(&sql, " AND TABLE_NAME = ");
  pe_buf_put_sql(&sql, t->name, strlen(t->name));
  struct charset_walk w = {k, t};
  rc = pe_buf_ok(&sql) ? pe_source_query(m, pe_buf_cstr(&sql), take_charset, &w, err)
                       : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  pe_buf_close(&sql);
  for (uint32_t i = 0; i < k->n; i++) {
    if (k->cols[i].kind == PE_KEY_TEXT && !goes_back(k->cols[i].charset)) {
      k->resumable = false;
    }
  }
  return rc;
}

void pe_key_put_select(const struct pe_key *k, struct pe_buf *b) {
  for (uint32_t i = 0; i < k->n; i++) {
    const struct pe_key_column *c = &k->cols[i];
    const char *before = "", *behind = "";
    if (c->kind == PE_KEY_TEXT || c->kind == PE_KEY_BYTES) {
      before = "HEX(";
      behind = ")";
    } else if (c->kind == PE_KEY_SET) {
      before = "CAST(";
      behind = " AS UNSIGNED)";
    } else if (c->kind == PE_KEY_REAL) {
      behind = "+0e0"; /* a FLOAT would be printed with six digits only */
    } else if (c->numbered) {
      behind = "+0";
    }
    pe_buf_printf(b, "%s%s%s%s", i ? "," : "", before, c->name, behind);
  }
}

void pe_key_put_order(const struct pe_key *k, struct pe_buf *b) {
  for (uint32_t i = 0; i < k->n; i++) {
    pe_buf_printf(b, "%s%s", i ? "," : "", k->cols[i].name);
  }
}

static bool all_of(const char *s, unsigned long n, const char *allowed) {
  for (unsigned long i = 0; i < n; i++) {
    if (!s[i] || !strchr(allowed, s[i])) {
      return false;
    }
  }
  return true;
}

static bool put_cell(const struct pe_key_column *c, const char *s, unsigned long n,
                     struct pe_buf *b) {
  switch (c->kind) {
    case PE_KEY_NUMBER:
    case PE_KEY_SET:
      pe_buf_put(b, s, n);
      return n > 0 && all_of(s, n, "+-.0123456789");
    case PE_KEY_REAL:
      pe_buf_put(b, s, n);
      if (!memchr(s, 'e', n)) {
        pe_buf_puts(b, "e0");
      }
      return n > 0 && all_of(s, n, "+-.e0123456789");
    case PE_KEY_QUOTED:
      pe_buf_put(b, "'", 1);
      pe_buf_put(b, s, n);
      pe_buf_put(b, "'", 1);
      return n > 0 && all_of(s, n, "-:. 0123456789");
    case PE_KEY_ADDRESS:
      pe_buf_put(b, "'", 1);
      pe_buf_put(b, s, n);
      pe_buf_put(b, "'", 1);
      return n > 0 && all_of(s, n, "-:.0123456789abcdefABCDEF");
    case PE_KEY_TEXT:
      pe_buf_printf(b, "_%s ", c->charset);
      /* fall through */
    case PE_KEY_BYTES:
      pe_buf_puts(b, "X'");
      pe_buf_put(b, s, n);
      pe_buf_puts(b, "'");
      return all_of(s, n, "0123456789ABCDEFabcdef");
  }
  return false;
}

int pe_key_put_cells(const struct pe_key *k, char **cells, const unsigned long *lengths,
                     struct pe_buf *b, struct pe_err *err) {
  pe_buf_put(b, "(", 1);
  for (uint32_t i = 0; i < k->n; i++) {
    if (i) {
      pe_buf_put(b, ",", 1);
    }
    if (!cells[i] || !put_cell(&k->cols[i], cells[i], lengths[i], b)) {
      return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "the key column %s came in a strange form",
                        k->cols[i].name);
    }
  }
  pe_buf_put(b, ")", 1);
  return pe_buf_ok(b) ? 0 : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
}

static void put_hex(const uint8_t *row, uint32_t offset, struct pe_buf *b) {
  static const char digits[] = "0123456789ABCDEF";
  struct pe_str s;
  memcpy(&s, row + offset, sizeof(s));
  pe_buf_puts(b, "X'");
  for (uint32_t i = 0; i < s.len; i++) {
    uint8_t byte = (uint8_t)s.p[i];
    char pair[2] = {digits[byte >> 4], digits[byte & 15]};
    pe_buf_put(b, pair, 2);
  }
  pe_buf_puts(b, "'");
}

static void put_value(const struct pe_key_column *k, const struct pe_column *c, const uint8_t *row,
                      struct pe_buf *b) {
  const uint8_t *p = row + c->offset;
  switch (k->kind) {
    case PE_KEY_REAL: {
      float f = 0;
      double d = 0;
      if (c->ctype == PE_C_F32) {
        memcpy(&f, p, sizeof(f));
        d = (double)f;
      } else {
        memcpy(&d, p, sizeof(d));
      }
      pe_buf_printf(b, "%.16e", d);
      return;
    }
    case PE_KEY_SET: {
      uint64_t v;
      memcpy(&v, p, sizeof(v));
      pe_buf_printf(b, "%llu", (unsigned long long)v);
      return;
    }
    case PE_KEY_NUMBER:
      if (c->ctype == PE_C_ENUM) {
        uint16_t v;
        memcpy(&v, p, sizeof(v));
        pe_buf_printf(b, "%u", v);
        return;
      }
      pe_value_text(c, row, b);
      return;
    case PE_KEY_QUOTED:
    case PE_KEY_ADDRESS:
      pe_buf_put(b, "'", 1);
      pe_value_text(c, row, b);
      pe_buf_put(b, "'", 1);
      return;
    case PE_KEY_TEXT:
      pe_buf_puts(b, "_utf8mb4 ");
      put_hex(row, c->offset, b);
      return;
    case PE_KEY_BYTES:
      put_hex(row, c->offset, b);
      return;
  }
}

void pe_key_put_row(const struct pe_key *k, const struct pe_table *t, const uint8_t *row,
                    struct pe_buf *b) {
  pe_buf_put(b, "(", 1);
  for (uint32_t i = 0; i < k->n; i++) {
    if (i) {
      pe_buf_put(b, ",", 1);
    }
    put_value(&k->cols[i], &t->columns[k->cols[i].column], row, b);
  }
  pe_buf_put(b, ")", 1);
}

struct part {
  const char *p;
  size_t n;
};

/* Splits "(a,b)" at the commas outside quotes. */
static bool split(const char *literal, uint32_t n, struct part *parts) {
  size_t len = strlen(literal);
  if (len < 3 || literal[0] != '(' || literal[len - 1] != ')') {
    return false;
  }
  const char *at = literal + 1, *end = literal + len - 1;
  uint32_t count = 0;
  bool quoted = false;
  const char *from = at;
  for (; at <= end; at++) {
    if (at == end || (*at == ',' && !quoted)) {
      if (count == n || at == from) {
        return false;
      }
      parts[count++] = (struct part){from, (size_t)(at - from)};
      from = at + 1;
    } else if (*at == '\'') {
      quoted = !quoted;
    }
  }
  return count == n && !quoted;
}

static void put_compare(const struct pe_key_column *c, const char *op, const struct part *v,
                        struct pe_buf *b) {
  if (c->kind == PE_KEY_SET) {
    pe_buf_printf(b, "CAST(%s AS UNSIGNED) %s ", c->name, op);
  } else {
    pe_buf_printf(b, "%s %s ", c->name, op);
  }
  pe_buf_put(b, v->p, v->n);
}

/* "(a > 1 OR (a = 1 AND b > 2))", from column `from` on: the optimizer makes ranges of it, which it
 * does not for a comparison of rows. */
static void put_bound(const struct pe_key *k, uint32_t from, const struct part *v, const char *op,
                      const char *op_last, struct pe_buf *b) {
  pe_buf_put(b, "(", 1);
  for (uint32_t i = from; i < k->n; i++) {
    pe_buf_puts(b, i > from ? " OR (" : "(");
    for (uint32_t j = from; j < i; j++) {
      put_compare(&k->cols[j], "=", &v[j], b);
      pe_buf_puts(b, " AND ");
    }
    put_compare(&k->cols[i], i + 1 == k->n ? op_last : op, &v[i], b);
    pe_buf_put(b, ")", 1);
  }
  pe_buf_put(b, ")", 1);
}

int pe_key_put_range(const struct pe_key *k, const char *lo, const char *hi, struct pe_buf *b,
                     struct pe_err *err) {
  struct part lows[PE_KEY_COLUMNS_MAX], highs[PE_KEY_COLUMNS_MAX];
  if ((lo && !split(lo, k->n, lows)) || (hi && !split(hi, k->n, highs))) {
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                      "a recorded chunk does not fit the table's key of %u columns: the key was "
                      "changed since; start the table's snapshot anew",
                      k->n);
  }
  if (!lo && !hi) {
    pe_buf_puts(b, "TRUE");
    return 0;
  }
  uint32_t from = 0;
  while (lo && hi && from + 1 < k->n && lows[from].n == highs[from].n &&
         memcmp(lows[from].p, highs[from].p, lows[from].n) == 0) {
    put_compare(&k->cols[from], "=", &lows[from], b);
    pe_buf_puts(b, " AND ");
    from++;
  }
  if (lo) {
    put_bound(k, from, lows, ">", ">", b);
  }
  if (lo && hi) {
    pe_buf_puts(b, " AND ");
  }
  if (hi) {
    put_bound(k, from, highs, "<", "<=", b);
  }
  return 0;
}
