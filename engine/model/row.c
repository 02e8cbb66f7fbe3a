/* Rows as a whole: comparing, JSON for the DLQ, and the key bytes that name a row in maps. Pure but
 * for the buffers written to. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/table.h"

static bool values_equal(const struct pe_column *c, const uint8_t *a, const uint8_t *b) {
  const uint8_t *pa = a + c->offset;
  const uint8_t *pb = b + c->offset;
  if (!pe_ctype_is_str(c->ctype)) {
    return memcmp(pa, pb, pe_ctype_bytes(c->ctype)) == 0;
  }
  struct pe_str sa, sb;
  memcpy(&sa, pa, sizeof(sa));
  memcpy(&sb, pb, sizeof(sb));
  return sa.len == sb.len && (sa.len == 0 || memcmp(sa.p, sb.p, sa.len) == 0);
}

bool pe_rows_equal(const struct pe_table *t, const uint8_t *a, const uint8_t *b,
                   const uint32_t *cols, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    uint32_t col = cols[i];
    bool na = pe_row_null(a, col);
    if (na != pe_row_null(b, col) || (!na && !values_equal(&t->columns[col], a, b))) {
      return false;
    }
  }
  return true;
}

static bool fits_double(const struct pe_column *c, const uint8_t *row) {
  const int64_t max = INT64_C(1) << 53;
  if (c->ctype == PE_C_I64) {
    int64_t v;
    memcpy(&v, row + c->offset, sizeof(v));
    return v >= -max && v <= max;
  }
  uint64_t v;
  memcpy(&v, row + c->offset, sizeof(v));
  return v <= (uint64_t)max;
}

static bool is_finite(const struct pe_column *c, const uint8_t *row) {
  if (c->ctype == PE_C_F32) {
    float v;
    memcpy(&v, row + c->offset, sizeof(v));
    return isfinite(v);
  }
  double v;
  memcpy(&v, row + c->offset, sizeof(v));
  return isfinite(v);
}

static bool bare_in_json(const struct pe_column *c, const uint8_t *row) {
  switch (c->ctype) {
    case PE_C_I8:
    case PE_C_U8:
    case PE_C_I16:
    case PE_C_U16:
    case PE_C_I32:
    case PE_C_U32:
      return true;
    case PE_C_YEAR:
      return false; /* 0000 is no JSON number */
    case PE_C_I64:
    case PE_C_U64:
    case PE_C_BIT:
      return fits_double(c, row);
    case PE_C_F32:
    case PE_C_F64:
      return is_finite(c, row);
    default:
      return false;
  }
}

static void put_json_value(const struct pe_column *c, const uint8_t *row, struct pe_buf *out) {
  if (c->pii) {
    pe_buf_puts(out, "\"<pii>\"");
    return;
  }
  if (bare_in_json(c, row)) {
    pe_value_text(c, row, out);
    return;
  }
  if (c->ctype == PE_C_STR || c->ctype == PE_C_JSON) {
    struct pe_str s;
    memcpy(&s, row + c->offset, sizeof(s));
    pe_buf_put_json(out, s.p, s.len);
    return;
  }
  struct pe_buf text;
  pe_buf_init(&text);
  pe_value_text(c, row, &text);
  if (pe_buf_ok(&text)) {
    pe_buf_put_json(out, (const char *)text.data, text.len);
  } else {
    out->failed = true;
  }
  pe_buf_close(&text);
}

void pe_row_json(const struct pe_table *t, const uint8_t *row, struct pe_buf *out) {
  pe_buf_puts(out, "{");
  for (uint32_t i = 0; i < t->nsource; i++) {
    const struct pe_column *c = &t->columns[i];
    if (i) {
      pe_buf_puts(out, ",");
    }
    pe_buf_put_json(out, c->name, strlen(c->name));
    pe_buf_puts(out, ":");
    if (pe_row_null(row, i)) {
      pe_buf_puts(out, "null");
    } else {
      put_json_value(c, row, out);
    }
  }
  pe_buf_puts(out, "}");
}

void pe_row_key(const struct pe_table *t, const uint8_t *row, struct pe_buf *out) {
  for (uint32_t i = 0; i < t->npk; i++) {
    const struct pe_column *c = &t->columns[t->pk[i]];
    uint8_t head[5] = {(uint8_t)c->ctype};
    if (pe_row_null(row, t->pk[i])) {
      head[0] = 0xFF;
      pe_buf_put(out, head, 1);
      continue;
    }
    if (!pe_ctype_is_str(c->ctype)) {
      pe_buf_put(out, head, 1);
      pe_buf_put(out, row + c->offset, pe_ctype_bytes(c->ctype));
      continue;
    }
    struct pe_str s;
    memcpy(&s, row + c->offset, sizeof(s));
    memcpy(head + 1, &s.len, sizeof(s.len));
    pe_buf_put(out, head, sizeof(head));
    pe_buf_put(out, s.p, s.len);
  }
}
