/* Tab-separated answers and partition expressions. An expression that isn't known exactly is
 * opaque, never guessed. owner: the caller; fails for want of memory or on an answer that makes no
 * sense. */
#include "sink/target_parse.h"

#include <stdlib.h>
#include <string.h>

#include "sink/chtype.h"

/* Unescapes [from, to) in place. */
static void unescape(char *from, char *to) {
  char *out = from;
  while (from < to) {
    if (*from != '\\' || from + 1 == to) {
      *out++ = *from++;
      continue;
    }
    char c = from[1];
    *out++ = c == 'n'   ? '\n'
             : c == 't' ? '\t'
             : c == 'r' ? '\r'
             : c == 'b' ? '\b'
             : c == 'f' ? '\f'
             : c == '0' ? '\0'
                        : c;
    from += 2;
  }
  *out = 0;
}

int pe_tsv_next(char **line, char **fields, int max) {
  char *p = *line;
  if (!*p) {
    return 0;
  }
  int n = 0;
  for (;;) {
    char *end = p + strcspn(p, "\t\n");
    char stop = *end;
    if (n == max) {
      return -1;
    }
    *end = 0;
    if (strcmp(p, "\\N") == 0) {
      fields[n++] = NULL;
    } else {
      unescape(p, end);
      fields[n++] = p;
    }
    p = stop ? end + 1 : end;
    if (stop != '\t') {
      break;
    }
  }
  *line = p;
  return n;
}

enum { COLUMN_FIELDS = 5 };

static bool take_column(struct pe_target *t, char **f, struct pe_chcolumn *c) {
  c->name = pe_arena_strndup(&t->arena, f[0], strlen(f[0]));
  const char *kind = f[2] ? f[2] : "";
  c->has_default = strcmp(kind, "DEFAULT") == 0;
  c->is_materialized = *kind && !c->has_default;
  c->is_key = f[3] && strcmp(f[3], "1") == 0;
  c->is_partition = f[4] && strcmp(f[4], "1") == 0;
  return c->name && pe_chtype_parse(f[1], &t->arena, c) == 0;
}

int pe_target_parse_columns(struct pe_target *t, char *tsv, struct pe_err *err) {
  uint32_t lines = 0;
  for (const char *p = tsv; *p; p++) {
    lines += *p == '\n';
  }
  t->version_col = t->deleted_col = -1;
  t->columns = pe_arena_zalloc(&t->arena, (lines + 1) * sizeof(*t->columns), 8);
  if (!t->columns) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  char *f[COLUMN_FIELDS];
  int n;
  while (t->ncolumns <= lines && (n = pe_tsv_next(&tsv, f, COLUMN_FIELDS)) != 0) {
    if (n != COLUMN_FIELDS || !f[0] || !f[1]) {
      return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL, "an answer that can't be read");
    }
    struct pe_chcolumn *c = &t->columns[t->ncolumns];
    if (!take_column(t, f, c)) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    }
    if (strcmp(c->name, "_version") == 0) {
      t->version_col = (int32_t)t->ncolumns;
    } else if (strcmp(c->name, "_deleted") == 0) {
      t->deleted_col = (int32_t)t->ncolumns;
    }
    t->ncolumns++;
  }
  return 0;
}

bool pe_target_setting(const char *engine_full, const char *name, uint64_t *value) {
  const char *p = strstr(engine_full, " SETTINGS ");
  size_t n = strlen(name);
  while (p && (p = strstr(p, name)) != NULL) {
    bool whole = p[-1] == ' ' && strncmp(p + n, " = ", 3) == 0;
    p += n;
    if (whole) {
      *value = strtoull(p + 3, NULL, 10);
      return true;
    }
  }
  return false;
}

struct text {
  const char *p;
  size_t n;
};

static void trim(struct text *t) {
  while (t->n && *t->p == ' ') {
    t->p++;
    t->n--;
  }
  while (t->n && t->p[t->n - 1] == ' ') {
    t->n--;
  }
}

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The column that the whole text names, bare or in backquotes; -1. */
static int column_of(const struct pe_target *t, struct text e) {
  trim(&e);
  char name[512];
  size_t n = 0;
  if (e.n >= 2 && e.p[0] == '`' && e.p[e.n - 1] == '`') {
    for (size_t i = 1; i + 1 < e.n && n + 1 < sizeof(name); i++) {
      if (e.p[i] == '`') {
        return -1; /* more than one name */
      }
      if (e.p[i] == '\\' && i + 2 < e.n) {
        i++;
      }
      name[n++] = e.p[i];
    }
  } else {
    for (size_t i = 0; i < e.n && n + 1 < sizeof(name); i++) {
      if (!is_word(e.p[i])) {
        return -1;
      }
      name[n++] = e.p[i];
    }
  }
  name[n] = 0;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    if (strcmp(t->columns[i].name, name) == 0) {
      return (int)i;
    }
  }
  return -1;
}

/* A positive number that is the whole text; 0: it isn't one. */
static uint64_t number_of(struct text e) {
  trim(&e);
  uint64_t v = 0;
  if (!e.n || e.n > 18) {
    return 0;
  }
  for (size_t i = 0; i < e.n; i++) {
    if (e.p[i] < '0' || e.p[i] > '9') {
      return 0;
    }
    v = v * 10 + (uint64_t)(e.p[i] - '0');
  }
  return v;
}

/* Where `sep` stands outside of brackets and quotes; n: nowhere. */
static size_t find_outside(struct text e, char sep) {
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < e.n; i++) {
    char c = e.p[i];
    if (quote) {
      if (c == '\\') {
        i++;
      } else if (c == quote) {
        quote = 0;
      }
    } else if (c == '\'' || c == '`' || c == '"') {
      quote = c;
    } else if (c == sep && !depth) {
      return i;
    } else if (c == '(' || c == '[') {
      depth++;
    } else if (c == ')' || c == ']') {
      depth--;
    }
  }
  return e.n;
}

static bool split(struct text e, char sep, struct text *a, struct text *b) {
  size_t at = find_outside(e, sep);
  if (at == e.n) {
    return false;
  }
  *a = (struct text){e.p, at};
  *b = (struct text){e.p + at + 1, e.n - at - 1};
  return true;
}

/* Are days of this column the same here and on the server? */
static bool has_days(const struct pe_target *t, const struct pe_chcolumn *c) {
  if (c->kind == PE_CH_DATE || c->kind == PE_CH_DATE32) {
    return true;
  }
  if (c->kind != PE_CH_DATETIME && c->kind != PE_CH_DATETIME64) {
    return false;
  }
  return c->timezone ? strcmp(c->timezone, "UTC") == 0 || strcmp(c->timezone, "Etc/UTC") == 0
                     : t->server_utc;
}

static bool day_part(const struct pe_target *t, struct text e, struct pe_partition_part *out) {
  static const struct {
    const char *name;
    enum pe_partition_kind kind;
  } all[] = {{"toYYYYMM", PE_PART_YYYYMM},     {"toStartOfMonth", PE_PART_YYYYMM},
             {"toYYYYMMDD", PE_PART_YYYYMMDD}, {"toDate", PE_PART_DATE},
             {"toDate32", PE_PART_DATE},       {"toStartOfDay", PE_PART_DATE},
             {"toMonday", PE_PART_MONDAY},     {"toYear", PE_PART_YEAR},
             {"toStartOfYear", PE_PART_YEAR}};
  struct text in;
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    if (pe_chtype_call(e.p, e.n, all[i].name, &in.p, &in.n)) {
      int col = column_of(t, in);
      if (col < 0 || !has_days(t, &t->columns[col])) {
        return false;
      }
      out->kind = all[i].kind;
      out->column = (uint32_t)col;
      return true;
    }
  }
  return false;
}

static bool division_part(const struct pe_target *t, struct text e, struct pe_partition_part *out) {
  struct text in, a, b;
  if (pe_chtype_call(e.p, e.n, "intDiv", &in.p, &in.n) && split(in, ',', &a, &b)) {
    out->kind = PE_PART_INTDIV;
  } else if ((pe_chtype_call(e.p, e.n, "modulo", &in.p, &in.n) ||
              pe_chtype_call(e.p, e.n, "moduloLegacy", &in.p, &in.n)) &&
             split(in, ',', &a, &b)) {
    out->kind = PE_PART_MOD;
  } else if (split(e, '%', &a, &b)) {
    out->kind = PE_PART_MOD;
  } else {
    return false;
  }
  int col = column_of(t, a);
  out->n = number_of(b);
  if (col < 0 || !out->n) {
    return false;
  }
  out->column = (uint32_t)col;
  const struct pe_chcolumn *c = &t->columns[col];
  return (c->kind == PE_CH_INT || c->kind == PE_CH_UINT) && c->width_bytes <= 8;
}

static void one_part(struct pe_target *t, struct text e) {
  struct pe_partition_part part = {.kind = PE_PART_OPAQUE};
  trim(&e);
  int col = column_of(t, e);
  if (col >= 0) {
    part.kind = PE_PART_VALUE;
    part.column = (uint32_t)col;
  } else if (!day_part(t, e, &part) && !division_part(t, e, &part)) {
    part = (struct pe_partition_part){.kind = PE_PART_OPAQUE};
  }
  t->parts[t->nparts++] = part;
}

void pe_target_parse_partition(struct pe_target *t, const char *expr) {
  enum { PARTS_MAX = sizeof(t->parts) / sizeof(t->parts[0]) };
  struct text e = {expr, strlen(expr)}, item;
  t->nparts = 0;
  trim(&e);
  if (!e.n || (e.n == 7 && memcmp(e.p, "tuple()", 7) == 0)) {
    return;
  }
  if (!pe_chtype_call(e.p, e.n, "tuple", &e.p, &e.n)) {
    pe_chtype_call(e.p, e.n, "", &e.p, &e.n);
  }
  while (split(e, ',', &item, &e)) {
    if (t->nparts == PARTS_MAX) {
      t->parts[PARTS_MAX - 1] = (struct pe_partition_part){.kind = PE_PART_OPAQUE};
      return;
    }
    one_part(t, item);
  }
  if (t->nparts == PARTS_MAX) {
    t->parts[PARTS_MAX - 1] = (struct pe_partition_part){.kind = PE_PART_OPAQUE};
    return;
  }
  one_part(t, e);
}
