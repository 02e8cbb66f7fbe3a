/* The next version of a table: as the source has it now, or, where that is a later one already, as
 * full metadata in the log describe it. owner: reader. Fails with PE_ESOURCE_SCHEMA, PE_ENOMEM. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "source/binlog_schema.h"

enum { COLLATION_BINARY = 63, TYPE_TEXT_MAX = 64, DEC64_DIGITS = 18, DEC128_DIGITS = 38 };

static char *copy_text(struct pe_table *t, const char *s, bool *ok) {
  char *copy = s ? pe_arena_strndup(&t->arena, s, strlen(s)) : NULL;
  *ok = *ok && (!s || copy);
  return copy;
}

/* Everything of `from` but its name and its place in the key. */
static bool take_column(struct pe_table *t, struct pe_column *c, const struct pe_column *from) {
  char *name = c->name;
  bool ok = true;
  *c = *from;
  c->name = name;
  c->offset = 0;
  c->pk_ordinal = 0;
  c->type_text = copy_text(t, from->type_text, &ok);
  if (from->nmembers) {
    c->members = pe_arena_alloc(&t->arena, from->nmembers * sizeof(char *), _Alignof(char *));
    ok = ok && c->members;
    for (uint32_t i = 0; ok && i < from->nmembers; i++) {
      c->members[i] = copy_text(t, from->members[i], &ok);
    }
  }
  return ok;
}

static enum pe_ctype int_type(const struct pe_map_column *mc, enum pe_ctype is_signed,
                              enum pe_ctype is_unsigned) {
  return mc->is_unsigned ? is_unsigned : is_signed;
}

/* PE_C_COUNT: none */
static enum pe_ctype ctype_of(const struct pe_map_column *mc) {
  switch (mc->type) {
    case PE_MT_TINY:
      return int_type(mc, PE_C_I8, PE_C_U8);
    case PE_MT_SHORT:
      return int_type(mc, PE_C_I16, PE_C_U16);
    case PE_MT_INT24:
    case PE_MT_LONG:
      return int_type(mc, PE_C_I32, PE_C_U32);
    case PE_MT_LONGLONG:
      return int_type(mc, PE_C_I64, PE_C_U64);
    case PE_MT_FLOAT:
      return PE_C_F32;
    case PE_MT_DOUBLE:
      return PE_C_F64;
    case PE_MT_NEWDECIMAL:
      return mc->meta >> 8 <= DEC64_DIGITS    ? PE_C_DEC64
             : mc->meta >> 8 <= DEC128_DIGITS ? PE_C_DEC128
                                              : PE_C_DEC256;
    case PE_MT_DATE:
    case PE_MT_NEWDATE:
      return PE_C_DATE;
    case PE_MT_YEAR:
      return PE_C_YEAR;
    case PE_MT_TIME:
    case PE_MT_TIME2:
      return PE_C_TIME;
    case PE_MT_DATETIME:
    case PE_MT_DATETIME2:
    case PE_MT_TIMESTAMP:
    case PE_MT_TIMESTAMP2:
      return PE_C_DATETIME;
    case PE_MT_BIT:
      return PE_C_BIT;
    case PE_MT_ENUM:
      return PE_C_ENUM;
    case PE_MT_SET:
      return PE_C_SET;
    case PE_MT_JSON:
      return PE_C_JSON;
    case PE_MT_GEOMETRY:
    case PE_MT_VECTOR:
      return PE_C_BYTES;
    case PE_MT_VARCHAR:
    case PE_MT_VAR_STRING:
    case PE_MT_STRING:
    case PE_MT_TINY_BLOB:
    case PE_MT_MEDIUM_BLOB:
    case PE_MT_LONG_BLOB:
    case PE_MT_BLOB:
      return mc->collation == 0                  ? PE_C_COUNT
             : mc->collation == COLLATION_BINARY ? PE_C_BYTES
                                                 : PE_C_STR;
    default:
      return PE_C_COUNT;
  }
}

/* In the words that information_schema would use, near enough for a person. */
static void type_text(const struct pe_column *c, const struct pe_map_column *mc, char *out) {
  char word[TYPE_TEXT_MAX / 2];
  bool bytes = c->ctype == PE_C_BYTES, text = c->ctype == PE_C_STR;
  const char *name = pe_binlog_type_word(mc->type);
  if (mc->type == PE_MT_VARCHAR || mc->type == PE_MT_VAR_STRING) {
    name = bytes ? "varbinary" : "varchar";
  } else if (mc->type == PE_MT_STRING) {
    name = bytes ? "binary" : "char";
  } else if (text) {
    name = "text";
  } else if (bytes && mc->type == PE_MT_BLOB) {
    name = "blob";
  }
  snprintf(word, sizeof(word), "%s", name);
  for (char *p = word; *p; p++) {
    *p = (char)tolower((unsigned char)*p);
  }
  const char *is_unsigned = mc->is_unsigned ? " unsigned" : "";
  if (mc->type == PE_MT_NEWDECIMAL) {
    snprintf(out, TYPE_TEXT_MAX, "%s(%u,%u)%s", word, c->precision, c->scale, is_unsigned);
  } else if (c->scale) {
    snprintf(out, TYPE_TEXT_MAX, "%s(%u)", word, c->scale);
  } else if (bytes && mc->length) {
    snprintf(out, TYPE_TEXT_MAX, "%s(%u)", word, mc->length);
  } else {
    snprintf(out, TYPE_TEXT_MAX, "%s%s", word, is_unsigned);
  }
}

static bool take_members(struct pe_table *t, struct pe_column *c, const struct pe_map_column *mc) {
  c->members = pe_arena_alloc(&t->arena, (mc->nmembers + 1) * sizeof(char *), _Alignof(char *));
  struct pe_charset *cs = pe_charset_open(mc->collation ? mc->collation : COLLATION_BINARY);
  bool ok = c->members && cs;
  for (uint32_t i = 0; ok && i < mc->nmembers; i++) {
    struct pe_str utf8;
    ok = pe_charset_convert(cs, mc->members[i], &t->arena, &utf8) == 0 &&
         (c->members[i] = pe_arena_strndup(&t->arena, utf8.p, utf8.len));
  }
  c->nmembers = mc->nmembers;
  pe_charset_close(cs);
  return ok;
}

static bool make_column(struct pe_table *t, struct pe_column *c, const struct pe_map_column *mc) {
  char text[TYPE_TEXT_MAX];
  c->ctype = ctype_of(mc);
  c->mysql_type = mc->type;
  c->mysql_meta = mc->meta;
  c->nullable = mc->nullable;
  c->collation = mc->collation;
  if (c->ctype == PE_C_COUNT || ((c->ctype == PE_C_ENUM || c->ctype == PE_C_SET) && !mc->members)) {
    return false;
  }
  if (mc->type == PE_MT_NEWDECIMAL) {
    c->precision = (uint8_t)(mc->meta >> 8);
    c->scale = (uint8_t)mc->meta;
  } else if (c->ctype == PE_C_TIME || c->ctype == PE_C_DATETIME) {
    c->scale = (uint8_t)mc->meta;
  } else if (c->ctype == PE_C_BYTES || c->ctype == PE_C_BIT) {
    c->length_max = mc->length;
  }
  type_text(c, mc, text);
  c->type_text = pe_arena_strndup(&t->arena, text, strlen(text));
  return c->type_text && (!mc->members || take_members(t, c, mc));
}

static bool fits(const struct pe_table *t, const struct pe_map_column *mc,
                 const struct pe_binlog_map *m, const char *name, const struct pe_column **found) {
  struct pe_err ignored = PE_ERR_INIT;
  int at = t ? pe_table_find(t, name) : -1;
  if (at < 0 || (uint32_t)at >= t->nsource ||
      pe_binlog_schema_check_column(&t->columns[at], mc, m, &ignored)) {
    return false;
  }
  *found = &t->columns[at];
  return true;
}

/* Full metadata name a primary key; a unique key that stands in for one they don't. */
static void take_key(struct pe_table *t, const struct pe_table *old,
                     const struct pe_binlog_map *m) {
  bool named = false;
  for (uint32_t i = 0; i < m->ncolumns; i++) {
    t->columns[i].pk_ordinal = (uint16_t)m->columns[i].pk_ordinal;
    named = named || m->columns[i].pk_ordinal;
  }
  for (uint32_t i = 0; !named && i < old->npk; i++) {
    int at = pe_table_find(t, old->columns[old->pk[i]].name);
    if (at >= 0) {
      t->columns[at].pk_ordinal = (uint16_t)(i + 1);
    }
  }
}

int pe_binlog_schema_from_map(const struct pe_table *old, const struct pe_table *loaded,
                              const struct pe_binlog_map *m, struct pe_table **out,
                              struct pe_err *err) {
  struct pe_table *t = m->has_names ? pe_table_create(old->db, old->name) : NULL;
  bool ok = t != NULL;
  for (uint32_t i = 0; ok && i < m->ncolumns; i++) {
    const struct pe_map_column *mc = &m->columns[i];
    const struct pe_column *known;
    char *name = pe_arena_strndup(&t->arena, mc->name.p, mc->name.len);
    struct pe_column *c = name ? pe_table_add(t, name) : NULL;
    ok = c && (fits(old, mc, m, name, &known) || fits(loaded, mc, m, name, &known)
                   ? take_column(t, c, known)
                   : make_column(t, c, mc));
  }
  if (ok) {
    take_key(t, old, m);
    ok = pe_table_finish(t, err) == 0 && t->npk > 0 && pe_binlog_schema_check(t, m, err) == 0;
  }
  if (!ok) {
    pe_table_unref(t);
    return pe_err_set(
        err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
        "the log itself does not describe it in full (binlog_row_metadata=FULL does)");
  }
  *out = t;
  return 0;
}

static bool add_extra(struct pe_table *to, const struct pe_column *from) {
  struct pe_column *c = pe_table_add_extra(to, from->name);
  return c && take_column(to, c, from);
}

struct pe_table *pe_binlog_schema_adopt(const struct pe_table *old, const struct pe_table *loaded,
                                        struct pe_err *err) {
  struct pe_table *t = pe_table_clone(loaded);
  if (!t) {
    goto out_of_memory;
  }
  t->id = old->id;
  for (uint32_t i = 0; i < old->ncolumns; i++) {
    const struct pe_column *c = &old->columns[i];
    int at = pe_table_find(t, c->name);
    if (at >= 0) {
      t->columns[at].pii = c->pii;
      t->columns[at].excluded = c->excluded;
    } else if (c->is_extra && !add_extra(t, c)) {
      goto out_of_memory;
    }
  }
  if (pe_table_finish(t, err)) {
    pe_table_unref(t);
    return NULL;
  }
  return t;
out_of_memory:
  pe_table_unref(t);
  pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  return NULL;
}
