/* Table versions against TABLE_MAP events. owner: reader. Fails with PE_ESOURCE_SCHEMA and the
 * first difference found; names of columns stand in messages, values never do. */
#include "source/binlog_schema.h"

#include <string.h>

enum { ENUM_ONE_BYTE_MAX = 255 };

const char *pe_binlog_type_word(uint8_t type) {
  switch (type) {
    case PE_MT_TINY:
      return "TINYINT";
    case PE_MT_SHORT:
      return "SMALLINT";
    case PE_MT_INT24:
      return "MEDIUMINT";
    case PE_MT_LONG:
      return "INT";
    case PE_MT_LONGLONG:
      return "BIGINT";
    case PE_MT_FLOAT:
      return "FLOAT";
    case PE_MT_DOUBLE:
      return "DOUBLE";
    case PE_MT_NEWDECIMAL:
      return "DECIMAL";
    case PE_MT_TIMESTAMP:
    case PE_MT_TIMESTAMP2:
      return "TIMESTAMP";
    case PE_MT_DATETIME:
    case PE_MT_DATETIME2:
      return "DATETIME";
    case PE_MT_TIME:
    case PE_MT_TIME2:
      return "TIME";
    case PE_MT_DATE:
    case PE_MT_NEWDATE:
      return "DATE";
    case PE_MT_YEAR:
      return "YEAR";
    case PE_MT_BIT:
      return "BIT";
    case PE_MT_ENUM:
      return "ENUM";
    case PE_MT_SET:
      return "SET";
    case PE_MT_JSON:
      return "JSON";
    case PE_MT_VARCHAR:
    case PE_MT_VAR_STRING:
      return "VARCHAR or VARBINARY";
    case PE_MT_STRING:
      return "CHAR or BINARY";
    case PE_MT_TINY_BLOB:
    case PE_MT_MEDIUM_BLOB:
    case PE_MT_LONG_BLOB:
    case PE_MT_BLOB:
      return "BLOB or TEXT";
    case PE_MT_GEOMETRY:
      return "GEOMETRY";
    default:
      return "another type";
  }
}

/* Types that differ only in how old the table is, or in a length that the metadata carries. */
static uint8_t family(uint8_t type) {
  switch (type) {
    case PE_MT_TIMESTAMP:
      return PE_MT_TIMESTAMP2;
    case PE_MT_TIME:
      return PE_MT_TIME2;
    case PE_MT_DATETIME:
      return PE_MT_DATETIME2;
    case PE_MT_NEWDATE:
      return PE_MT_DATE;
    case PE_MT_TINY_BLOB:
    case PE_MT_MEDIUM_BLOB:
    case PE_MT_LONG_BLOB:
      return PE_MT_BLOB;
    case PE_MT_VAR_STRING:
      return PE_MT_VARCHAR;
    default:
      return type;
  }
}

static int differs(const struct pe_column *c, const struct pe_map_column *mc, struct pe_err *err) {
  return pe_err_set(
      err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL, "column `%s` is known as %s, the log has %s%s",
      c->name, c->type_text ? c->type_text : pe_ctype_name(c->ctype), pe_binlog_type_word(mc->type),
      family(mc->type) == family(c->mysql_type) ? " of another size" : "");
}

static bool fixed(struct pe_decode_step *s, bool fits, enum pe_decode_op op, unsigned width) {
  s->op = (uint8_t)op;
  s->width = (uint8_t)width;
  return fits;
}

static bool is_either(const struct pe_column *c, enum pe_ctype a, enum pe_ctype b) {
  return c->ctype == a || c->ctype == b;
}

static bool temporal_step(const struct pe_column *c, const struct pe_map_column *mc,
                          struct pe_decode_step *s) {
  unsigned digits = mc->meta, frac = (digits + 1) / 2;
  if (digits > 6) {
    return false;
  }
  switch (mc->type) {
    case PE_MT_DATE:
    case PE_MT_NEWDATE:
      return fixed(s, c->ctype == PE_C_DATE, PE_OP_DATE, 3);
    case PE_MT_YEAR:
      return fixed(s, c->ctype == PE_C_YEAR, PE_OP_YEAR, 1);
    case PE_MT_TIME:
      return fixed(s, c->ctype == PE_C_TIME && c->scale == 0, PE_OP_TIME_OLD, 3);
    case PE_MT_DATETIME:
      return fixed(s, c->ctype == PE_C_DATETIME && c->scale == 0, PE_OP_DATETIME_OLD, 8);
    case PE_MT_TIMESTAMP:
      return fixed(s, c->ctype == PE_C_DATETIME && c->scale == 0, PE_OP_TIMESTAMP_OLD, 4);
    case PE_MT_TIME2:
      return fixed(s, c->ctype == PE_C_TIME && c->scale == digits, PE_OP_TIME2, 3 + frac);
    case PE_MT_TIMESTAMP2:
      return fixed(s, c->ctype == PE_C_DATETIME && c->scale == digits, PE_OP_TIMESTAMP2, 4 + frac);
    default: /* DATETIME2 */
      return fixed(s, c->ctype == PE_C_DATETIME && c->scale == digits,
                   (enum pe_decode_op)(PE_OP_DATETIME2_F0 + frac), 5 + frac);
  }
}

static bool decimal_step(const struct pe_column *c, const struct pe_map_column *mc,
                         struct pe_decode_step *s) {
  unsigned precision = mc->meta >> 8, scale = mc->meta & 0xFF;
  if (precision != c->precision || scale != c->scale || precision == 0 || precision > 65 ||
      scale > precision) {
    return false;
  }
  s->precision = (uint8_t)precision;
  s->scale = (uint8_t)scale;
  unsigned width = pe_decimal_bytes(precision, scale);
  switch (c->ctype) {
    case PE_C_DEC64:
      return fixed(s, precision <= 18, PE_OP_DEC64, width);
    case PE_C_DEC128:
      return fixed(s, precision <= 38, PE_OP_DEC128, width);
    case PE_C_DEC256:
      return fixed(s, true, PE_OP_DEC256, width);
    default:
      return false;
  }
}

/* MariaDB's UUID, INET4 and INET6 travel as BINARY, but a SELECT gives text. */
static bool is_fixed_text(const struct pe_column *c, struct pe_decode_step *s) {
  if ((c->ctype != PE_C_STR && c->ctype != PE_C_BYTES) || !c->type_text) {
    return false;
  }
  if (strcasecmp(c->type_text, "uuid") == 0) {
    s->op = PE_OP_UUID;
    s->length = 16;
  } else if (strcasecmp(c->type_text, "inet6") == 0) {
    s->op = PE_OP_INET;
    s->length = 16;
  } else if (strcasecmp(c->type_text, "inet4") == 0) {
    s->op = PE_OP_INET;
    s->length = 4;
  } else {
    return false;
  }
  return true;
}

/* Bytes or text? Known only from the table's version or from full metadata. */
static bool string_step(const struct pe_column *c, const struct pe_map_column *mc, unsigned prefix,
                        struct pe_decode_step *s) {
  enum { COLLATION_BINARY = 63 };
  s->width = (uint8_t)prefix;
  s->op = (uint8_t)(PE_OP_STR1 + prefix - 1);
  if (mc->type == PE_MT_STRING && is_fixed_text(c, s)) {
    return true;
  }
  if (c->ctype == PE_C_BYTES) {
    if (mc->type == PE_MT_STRING) {
      s->op = PE_OP_BINARY;
      s->length = mc->length;
    }
    return mc->collation == 0 || mc->collation == COLLATION_BINARY;
  }
  if (!is_either(c, PE_C_STR, PE_C_JSON)) {
    return false;
  }
  return mc->collation != COLLATION_BINARY;
}

static bool blob_prefix(const struct pe_map_column *mc, unsigned *prefix) {
  *prefix = mc->meta;
  return mc->meta >= 1 && mc->meta <= 4;
}

static bool step_of(const struct pe_column *c, const struct pe_map_column *mc,
                    struct pe_decode_step *s) {
  unsigned prefix;
  switch (mc->type) {
    case PE_MT_TINY:
      return fixed(s, is_either(c, PE_C_I8, PE_C_U8), PE_OP_BYTES1, 1);
    case PE_MT_SHORT:
      return fixed(s, is_either(c, PE_C_I16, PE_C_U16), PE_OP_BYTES2, 2);
    case PE_MT_INT24:
      return fixed(s, is_either(c, PE_C_I32, PE_C_U32),
                   c->ctype == PE_C_U32 ? PE_OP_INT24_UNSIGNED : PE_OP_INT24_SIGNED, 3);
    case PE_MT_LONG:
      return fixed(s, is_either(c, PE_C_I32, PE_C_U32), PE_OP_BYTES4, 4);
    case PE_MT_LONGLONG:
      return fixed(s, is_either(c, PE_C_I64, PE_C_U64), PE_OP_BYTES8, 8);
    case PE_MT_FLOAT:
      return fixed(s, c->ctype == PE_C_F32, PE_OP_BYTES4, 4);
    case PE_MT_DOUBLE:
      return fixed(s, c->ctype == PE_C_F64, PE_OP_BYTES8, 8);
    case PE_MT_NEWDECIMAL:
      return decimal_step(c, mc, s);
    case PE_MT_YEAR:
    case PE_MT_DATE:
    case PE_MT_NEWDATE:
    case PE_MT_TIME:
    case PE_MT_TIME2:
    case PE_MT_DATETIME:
    case PE_MT_DATETIME2:
    case PE_MT_TIMESTAMP:
    case PE_MT_TIMESTAMP2:
      return temporal_step(c, mc, s);
    case PE_MT_BIT:
      return fixed(s, c->ctype == PE_C_BIT && mc->length >= 1 && mc->length <= 64, PE_OP_BIT,
                   (mc->length + 7) / 8);
    case PE_MT_ENUM:
      return fixed(s,
                   c->ctype == PE_C_ENUM && (mc->length == 1 || mc->length == 2) &&
                       (c->nmembers == 0 || (c->nmembers > ENUM_ONE_BYTE_MAX) == (mc->length == 2)),
                   mc->length == 1 ? PE_OP_ENUM1 : PE_OP_ENUM2, mc->length);
    case PE_MT_SET:
      return fixed(s, c->ctype == PE_C_SET && mc->length >= 1 && mc->length <= 8, PE_OP_SET,
                   mc->length);
    case PE_MT_VARCHAR:
    case PE_MT_VAR_STRING:
    case PE_MT_STRING:
      return string_step(c, mc, mc->length > 255 ? 2 : 1, s);
    case PE_MT_TINY_BLOB:
    case PE_MT_MEDIUM_BLOB:
    case PE_MT_LONG_BLOB:
    case PE_MT_BLOB:
      return blob_prefix(mc, &prefix) && string_step(c, mc, prefix, s);
    case PE_MT_GEOMETRY:
    case PE_MT_VECTOR:
      return blob_prefix(mc, &prefix) && c->ctype == PE_C_BYTES &&
             fixed(s, true, (enum pe_decode_op)(PE_OP_STR1 + prefix - 1), prefix);
    case PE_MT_JSON:
      return blob_prefix(mc, &prefix) && fixed(s, c->ctype == PE_C_JSON, PE_OP_JSON, prefix);
    default:
      return false;
  }
}

/* ENUM and SET are known as the STRING that they travel as, or as what they are. */
static bool same_family(const struct pe_column *c, const struct pe_map_column *mc) {
  uint8_t known = family(c->mysql_type), logged = family(mc->type);
  bool members = mc->type == PE_MT_ENUM || mc->type == PE_MT_SET;
  return !c->mysql_type || known == logged || (members && known == PE_MT_STRING);
}

int pe_binlog_schema_step(const struct pe_column *c, const struct pe_map_column *mc,
                          struct pe_decode_step *step, struct pe_err *err) {
  memset(step, 0, sizeof(*step));
  step->dst = c->offset;
  if (mc->type == PE_MT_MARIA_BLOB_COMPRESSED || mc->type == PE_MT_MARIA_VARCHAR_COMPRESSED) {
    return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                      "column `%s` is a COMPRESSED column, which the engine does not read: ALTER "
                      "TABLE ... MODIFY it without COMPRESSED",
                      c->name);
  }
  if (!same_family(c, mc) || !step_of(c, mc, step)) {
    return differs(c, mc, err);
  }
  return 0;
}

static bool members_differ(const struct pe_column *c, const struct pe_map_column *mc) {
  if (!mc->members || !c->nmembers) {
    return false;
  }
  if (mc->nmembers != c->nmembers) {
    return true;
  }
  bool comparable = mc->collation == 0 || pe_charset_passes(mc->collation);
  for (uint32_t i = 0; comparable && i < c->nmembers; i++) {
    if (strlen(c->members[i]) != mc->members[i].len ||
        memcmp(c->members[i], mc->members[i].p, mc->members[i].len) != 0) {
      return true;
    }
  }
  return false;
}

static bool is_signed_int(enum pe_ctype t) {
  return t == PE_C_I8 || t == PE_C_I16 || t == PE_C_I32 || t == PE_C_I64;
}
static bool is_unsigned_int(enum pe_ctype t) {
  return t == PE_C_U8 || t == PE_C_U16 || t == PE_C_U32 || t == PE_C_U64;
}

/* What full metadata adds. NULL: nothing differs. */
static const char *metadata_difference(const struct pe_column *c, const struct pe_map_column *mc,
                                       const struct pe_binlog_map *m) {
  if (m->has_signedness && ((mc->is_unsigned && is_signed_int(c->ctype)) ||
                            (!mc->is_unsigned && is_unsigned_int(c->ctype)))) {
    return "signedness";
  }
  if (members_differ(c, mc)) {
    return "members";
  }
  bool text = c->ctype == PE_C_STR || c->ctype == PE_C_JSON;
  const char *known = pe_charset_of_collation(c->collation);
  const char *logged = pe_charset_of_collation(mc->collation);
  if (text && known && logged && strcmp(known, logged) != 0) {
    return "character set";
  }
  return NULL;
}

int pe_binlog_schema_check_column(const struct pe_column *c, const struct pe_map_column *mc,
                                  const struct pe_binlog_map *m, struct pe_err *err) {
  if (m->has_names &&
      (strlen(c->name) != mc->name.len || memcmp(c->name, mc->name.p, mc->name.len) != 0)) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                      "where column `%s` was, the log has `%.*s`", c->name, (int)mc->name.len,
                      mc->name.p);
  }
  struct pe_decode_step step;
  int rc = pe_binlog_schema_step(c, mc, &step, err);
  if (rc) {
    return rc;
  }
  if (c->nullable != mc->nullable) {
    return pe_err_set(
        err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL, "column `%s` is known as %s, in the log it is %s",
        c->name, c->nullable ? "nullable" : "NOT NULL", mc->nullable ? "nullable" : "NOT NULL");
  }
  if (c->mysql_meta && c->mysql_type == mc->type && c->mysql_meta != mc->meta) {
    return differs(c, mc, err);
  }
  const char *what = metadata_difference(c, mc, m);
  if (what) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                      "column `%s` has another %s in the log than the known %s", c->name, what,
                      c->type_text ? c->type_text : pe_ctype_name(c->ctype));
  }
  return 0;
}

int pe_binlog_schema_check(const struct pe_table *t, const struct pe_binlog_map *m,
                           struct pe_err *err) {
  if (t->nsource != m->ncolumns) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                      "%u columns are known, the log has %u", t->nsource, m->ncolumns);
  }
  for (uint32_t i = 0; i < t->nsource; i++) {
    int rc = pe_binlog_schema_check_column(&t->columns[i], &m->columns[i], m, err);
    if (rc) {
      return rc;
    }
  }
  return 0;
}
