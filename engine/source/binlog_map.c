/* Reads TABLE_MAP events, optional metadata included. Pure apart from the arena; fails with
 * PE_ESOURCE_PROTO on a malformed event and PE_ENOMEM. */
#include "source/binlog_map.h"

#include "source/binlog_wire.h"

enum {
  COLUMNS_MAX = 4096, /* the servers' own limit */
  MEMBERS_MAX = 65535,
  META_SIGNEDNESS = 1,
  META_DEFAULT_CHARSET = 2,
  META_COLUMN_CHARSET = 3,
  META_COLUMN_NAME = 4,
  META_SET_STR_VALUE = 5,
  META_ENUM_STR_VALUE = 6,
  META_SIMPLE_PRIMARY_KEY = 8,
  META_PRIMARY_KEY_WITH_PREFIX = 9,
  META_ENUM_AND_SET_DEFAULT_CHARSET = 10,
  META_ENUM_AND_SET_COLUMN_CHARSET = 11
};

static bool read_head(struct pe_cursor *c, size_t post_len, struct pe_binlog_map *m) {
  memset(m, 0, sizeof(*m));
  size_t id_len = post_len == 6 ? 4 : 6;
  m->table_id = pe_cursor_le(c, (unsigned)id_len);
  pe_cursor_bytes(c, (post_len > id_len ? post_len : 8) - id_len);
  struct pe_str *names[] = {&m->db, &m->table};
  for (int i = 0; i < 2; i++) {
    size_t len = (size_t)pe_cursor_lenenc(c);
    names[i]->p = (const char *)pe_cursor_bytes(c, len);
    names[i]->len = (uint32_t)len;
    pe_cursor_bytes(c, 1); /* NUL */
  }
  return !c->bad;
}

bool pe_binlog_map_head(const uint8_t *body, size_t n, size_t post_len, struct pe_binlog_map *m) {
  struct pe_cursor c = pe_cursor(body, n);
  return read_head(&c, post_len, m);
}

static unsigned meta_bytes(uint8_t type) {
  switch (type) {
    case PE_MT_FLOAT:
    case PE_MT_DOUBLE:
    case PE_MT_TIMESTAMP2:
    case PE_MT_DATETIME2:
    case PE_MT_TIME2:
    case PE_MT_JSON:
    case PE_MT_TINY_BLOB:
    case PE_MT_MEDIUM_BLOB:
    case PE_MT_LONG_BLOB:
    case PE_MT_BLOB:
    case PE_MT_GEOMETRY:
    case PE_MT_VECTOR:
    case PE_MT_MARIA_BLOB_COMPRESSED:
      return 1;
    case PE_MT_VARCHAR:
    case PE_MT_MARIA_VARCHAR_COMPRESSED:
    case PE_MT_BIT:
    case PE_MT_NEWDECIMAL:
    case PE_MT_ENUM:
    case PE_MT_SET:
    case PE_MT_VAR_STRING:
    case PE_MT_STRING:
      return 2;
    default:
      return 0;
  }
}

/* CHAR, BINARY, ENUM and SET all travel as STRING; the real type is in the metadata, and for a CHAR
 * of more than 255 bytes two bits of its length are hidden (inverted) in the type byte. */
static void unfold_string(struct pe_map_column *col, uint8_t b0, uint8_t b1) {
  if ((b0 & 0x30) != 0x30) {
    col->length = (uint32_t)b1 | (uint32_t)((b0 & 0x30) ^ 0x30) << 4;
    col->type = b0 | 0x30;
  } else {
    col->length = b1;
    col->type = b0;
  }
}

static void read_column_meta(struct pe_cursor *c, struct pe_map_column *col) {
  const uint8_t *at = pe_cursor_bytes(c, meta_bytes(col->type));
  if (!at) {
    return;
  }
  switch (col->type) {
    case PE_MT_STRING:
    case PE_MT_ENUM:
    case PE_MT_SET:
      col->meta = (uint16_t)pe_be16(at);
      unfold_string(col, at[0], at[1]);
      break;
    case PE_MT_NEWDECIMAL:
      col->meta = (uint16_t)pe_be16(at);
      break;
    case PE_MT_BIT:
      col->meta = pe_le16(at);
      col->length = at[1] * 8u + at[0];
      break;
    case PE_MT_VARCHAR:
    case PE_MT_VAR_STRING:
    case PE_MT_MARIA_VARCHAR_COMPRESSED:
      col->meta = pe_le16(at);
      col->length = col->meta;
      break;
    default:
      col->meta = meta_bytes(col->type) ? at[0] : 0;
  }
}

static bool is_numeric(uint8_t t) {
  switch (t) {
    case PE_MT_TINY:
    case PE_MT_SHORT:
    case PE_MT_INT24:
    case PE_MT_LONG:
    case PE_MT_LONGLONG:
    case PE_MT_NEWDECIMAL:
    case PE_MT_FLOAT:
    case PE_MT_DOUBLE:
    case PE_MT_DECIMAL:
      return true;
    default:
      return false;
  }
}

/* MariaDB counts YEAR among the numeric types here, MySQL too (is_numeric_type). */
static bool has_sign_bit(uint8_t t) {
  return is_numeric(t) || t == PE_MT_YEAR;
}

static bool is_text(uint8_t t) {
  switch (t) {
    case PE_MT_STRING:
    case PE_MT_VAR_STRING:
    case PE_MT_VARCHAR:
    case PE_MT_BLOB:
    case PE_MT_TINY_BLOB:
    case PE_MT_MEDIUM_BLOB:
    case PE_MT_LONG_BLOB:
    case PE_MT_MARIA_BLOB_COMPRESSED:
    case PE_MT_MARIA_VARCHAR_COMPRESSED:
      return true;
    default:
      return false;
  }
}

static bool is_text_maria(uint8_t t) {
  return is_text(t) || t == PE_MT_GEOMETRY;
}

static bool is_enum_or_set(uint8_t t) {
  return t == PE_MT_ENUM || t == PE_MT_SET;
}

static void read_signedness(struct pe_cursor *c, struct pe_binlog_map *m, bool with_year) {
  unsigned bit = 0;
  uint8_t byte = 0;
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    struct pe_map_column *col = &m->columns[i];
    if (with_year ? !has_sign_bit(col->type) : !is_numeric(col->type)) {
      continue;
    }
    if (bit % 8 == 0) {
      byte = pe_cursor_u8(c);
    }
    col->is_unsigned = byte >> (7 - bit % 8) & 1;
    bit++;
  }
}

/* The field is as long as its columns ask; whether YEAR is among them shows in that length or does
 * not matter. */
static void read_signedness_field(struct pe_cursor *c, struct pe_binlog_map *m) {
  uint32_t plain = 0, years = 0;
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    plain += is_numeric(m->columns[i].type);
    years += m->columns[i].type == PE_MT_YEAR;
  }
  size_t left = pe_cursor_left(c);
  bool with_year = left == (plain + years + 7) / 8;
  read_signedness(c, m, with_year);
  m->has_signedness = true;
}

static void read_default_charset(struct pe_cursor *c, struct pe_binlog_map *m,
                                 bool (*wanted)(uint8_t)) {
  uint16_t def = (uint16_t)pe_cursor_lenenc(c);
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    if (wanted(m->columns[i].type)) {
      m->columns[i].collation = def;
    }
  }
  while (!c->bad && pe_cursor_left(c)) {
    uint64_t nth = pe_cursor_lenenc(c);
    uint16_t id = (uint16_t)pe_cursor_lenenc(c);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < m->ncolumns; i++) {
      if (wanted(m->columns[i].type) && seen++ == nth) {
        m->columns[i].collation = id;
        break;
      }
    }
  }
}

static void read_column_charset(struct pe_cursor *c, struct pe_binlog_map *m,
                                bool (*wanted)(uint8_t)) {
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    if (wanted(m->columns[i].type)) {
      m->columns[i].collation = (uint16_t)pe_cursor_lenenc(c);
    }
  }
}

static void read_names(struct pe_cursor *c, struct pe_binlog_map *m) {
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    size_t len = (size_t)pe_cursor_lenenc(c);
    m->columns[i].name.p = (const char *)pe_cursor_bytes(c, len);
    m->columns[i].name.len = m->columns[i].name.p ? (uint32_t)len : 0;
  }
  m->has_names = !c->bad;
}

static void read_key(struct pe_cursor *c, struct pe_binlog_map *m, bool with_prefix) {
  uint32_t ordinal = 0;
  while (!c->bad && pe_cursor_left(c)) {
    uint64_t i = pe_cursor_lenenc(c);
    if (with_prefix) {
      pe_cursor_lenenc(c);
    }
    if (i >= m->ncolumns || m->columns[i].pk_ordinal) {
      c->bad = true;
      return;
    }
    m->columns[i].pk_ordinal = ++ordinal;
  }
}

static bool read_members(struct pe_cursor *c, struct pe_binlog_map *m, uint8_t type,
                         struct pe_arena *a) {
  for (uint32_t i = 0; i < m->ncolumns && pe_cursor_left(c); i++) {
    struct pe_map_column *col = &m->columns[i];
    if (col->type != type) {
      continue;
    }
    uint64_t n = pe_cursor_lenenc(c);
    if (c->bad || n > MEMBERS_MAX || n > pe_cursor_left(c)) {
      c->bad = true;
      return true;
    }
    col->members = pe_arena_alloc(a, (size_t)(n ? n : 1) * sizeof(struct pe_str), 8);
    if (!col->members) {
      return false;
    }
    for (uint64_t k = 0; k < n; k++) {
      size_t len = (size_t)pe_cursor_lenenc(c);
      const uint8_t *p = pe_cursor_bytes(c, len);
      col->members[k] = (struct pe_str){.p = (const char *)p, .len = p ? (uint32_t)len : 0};
    }
    col->nmembers = c->bad ? 0 : (uint32_t)n;
  }
  return true;
}

static bool read_optional(struct pe_cursor *c, bool maria, struct pe_binlog_map *m,
                          struct pe_arena *a) {
  bool (*text)(uint8_t) = maria ? is_text_maria : is_text;
  while (!c->bad && pe_cursor_left(c)) {
    uint8_t kind = pe_cursor_u8(c);
    uint64_t len = pe_cursor_lenenc(c);
    if (len > pe_cursor_left(c)) {
      c->bad = true;
      return true;
    }
    const uint8_t *at = pe_cursor_bytes(c, (size_t)len);
    if (!at) {
      return true;
    }
    struct pe_cursor f = pe_cursor(at, (size_t)len);
    bool ok = true;
    switch (kind) {
      case META_SIGNEDNESS:
        read_signedness_field(&f, m);
        break;
      case META_DEFAULT_CHARSET:
        read_default_charset(&f, m, text);
        break;
      case META_COLUMN_CHARSET:
        read_column_charset(&f, m, text);
        break;
      case META_COLUMN_NAME:
        read_names(&f, m);
        break;
      case META_SET_STR_VALUE:
        ok = read_members(&f, m, PE_MT_SET, a);
        break;
      case META_ENUM_STR_VALUE:
        ok = read_members(&f, m, PE_MT_ENUM, a);
        break;
      case META_SIMPLE_PRIMARY_KEY:
      case META_PRIMARY_KEY_WITH_PREFIX:
        read_key(&f, m, kind == META_PRIMARY_KEY_WITH_PREFIX);
        break;
      case META_ENUM_AND_SET_DEFAULT_CHARSET:
        read_default_charset(&f, m, is_enum_or_set);
        break;
      case META_ENUM_AND_SET_COLUMN_CHARSET:
        read_column_charset(&f, m, is_enum_or_set);
        break;
      default: /* geometry kinds, visibility: not needed to read rows */
        break;
    }
    if (!ok) {
      return false;
    }
    c->bad = c->bad || f.bad;
  }
  return true;
}

static int malformed(struct pe_err *err) {
  return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL, "malformed TABLE_MAP event");
}

int pe_binlog_map_read(const uint8_t *body, size_t n, size_t post_len, bool maria,
                       struct pe_arena *a, struct pe_binlog_map *m, struct pe_err *err) {
  struct pe_cursor c = pe_cursor(body, n);
  if (!read_head(&c, post_len, m)) {
    return malformed(err);
  }
  uint64_t ncolumns = pe_cursor_lenenc(&c);
  if (c.bad || ncolumns == 0 || ncolumns > COLUMNS_MAX) {
    return malformed(err);
  }
  m->ncolumns = (uint32_t)ncolumns;
  m->columns =
      pe_arena_zalloc(a, m->ncolumns * sizeof(*m->columns), _Alignof(struct pe_map_column));
  if (!m->columns) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    m->columns[i].type = pe_cursor_u8(&c);
  }
  size_t meta_len = (size_t)pe_cursor_lenenc(&c);
  const uint8_t *meta = pe_cursor_bytes(&c, meta_len);
  const uint8_t *nullable = pe_cursor_bytes(&c, (m->ncolumns + 7) / 8);
  if (!meta || !nullable) {
    return malformed(err);
  }
  struct pe_cursor mc = pe_cursor(meta, meta_len);
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    read_column_meta(&mc, &m->columns[i]);
    m->columns[i].nullable = nullable[i / 8] >> (i % 8) & 1;
  }
  if (!read_optional(&c, maria, m, a)) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  return c.bad || mc.bad ? malformed(err) : 0;
}
