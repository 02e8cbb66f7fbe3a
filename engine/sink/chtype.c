/* Parser of ClickHouse type texts. Fails only for want of memory. */
#include "sink/chtype.h"

#include <stdlib.h>
#include <string.h>

enum { PRECISION_32 = 9, PRECISION_64 = 18, PRECISION_128 = 38, PRECISION_256 = 76 };

bool pe_chtype_call(const char *text, size_t n, const char *name, const char **inside,
                    size_t *inside_n) {
  size_t len = strlen(name);
  if (n < len + 2 || memcmp(text, name, len) != 0 || text[len] != '(' || text[n - 1] != ')') {
    return false;
  }
  *inside = text + len + 1;
  *inside_n = n - len - 2;
  return true;
}

static bool is(const char *text, size_t n, const char *name) {
  return strlen(name) == n && memcmp(text, name, n) == 0;
}

/* A decimal number at *p; moves *p and *n behind it. */
static bool number(const char **p, size_t *n, uint32_t *out) {
  uint32_t v = 0;
  size_t i = 0;
  while (i < *n && i < 6 && (*p)[i] >= '0' && (*p)[i] <= '9') {
    v = v * 10 + (uint32_t)((*p)[i] - '0');
    i++;
  }
  *p += i;
  *n -= i;
  *out = v;
  return i > 0;
}

static bool comma(const char **p, size_t *n) {
  if (*n == 0 || **p != ',') {
    return false;
  }
  do {
    (*p)++;
    (*n)--;
  } while (*n > 0 && **p == ' ');
  return true;
}

static bool parse_int(const char *t, size_t n, struct pe_chcolumn *c) {
  static const struct {
    const char *name;
    enum pe_chkind kind;
    uint32_t bytes;
  } all[] = {
      {"Int8", PE_CH_INT, 1},      {"Int16", PE_CH_INT, 2},     {"Int32", PE_CH_INT, 4},
      {"Int64", PE_CH_INT, 8},     {"Int128", PE_CH_INT, 16},   {"Int256", PE_CH_INT, 32},
      {"UInt8", PE_CH_UINT, 1},    {"UInt16", PE_CH_UINT, 2},   {"UInt32", PE_CH_UINT, 4},
      {"UInt64", PE_CH_UINT, 8},   {"UInt128", PE_CH_UINT, 16}, {"UInt256", PE_CH_UINT, 32},
      {"Float32", PE_CH_FLOAT, 4}, {"Float64", PE_CH_FLOAT, 8}, {"Bool", PE_CH_UINT, 1},
      {"UUID", PE_CH_UUID, 16},    {"String", PE_CH_STRING, 0}, {"Date", PE_CH_DATE, 2},
      {"Date32", PE_CH_DATE32, 4},
  };
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    if (is(t, n, all[i].name)) {
      c->kind = all[i].kind;
      c->width_bytes = all[i].bytes;
      c->is_bool = is(t, n, "Bool");
      return true;
    }
  }
  return false;
}

static bool parse_decimal(const char *t, size_t n, struct pe_chcolumn *c) {
  static const struct {
    const char *name;
    uint32_t precision;
  } fixed[] = {{"Decimal32", PRECISION_32},
               {"Decimal64", PRECISION_64},
               {"Decimal128", PRECISION_128},
               {"Decimal256", PRECISION_256}};
  const char *p;
  size_t m;
  uint32_t precision = 0, scale = 0;
  if (pe_chtype_call(t, n, "Decimal", &p, &m)) {
    if (!number(&p, &m, &precision)) {
      return false;
    }
    if (comma(&p, &m) && !number(&p, &m, &scale)) {
      return false;
    }
  } else {
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]) && !precision; i++) {
      if (pe_chtype_call(t, n, fixed[i].name, &p, &m) && number(&p, &m, &scale)) {
        precision = fixed[i].precision;
      }
    }
  }
  if (!precision || m || precision > PRECISION_256 || scale > precision) {
    return false;
  }
  c->kind = PE_CH_DECIMAL;
  c->precision = precision;
  c->scale = scale;
  c->width_bytes = precision <= PRECISION_32    ? 4
                   : precision <= PRECISION_64  ? 8
                   : precision <= PRECISION_128 ? 16
                                                : 32;
  return true;
}

/* 'Zone/Name' */
static bool zone(const char *p, size_t n, struct pe_arena *a, struct pe_chcolumn *c, bool *nomem) {
  if (n < 2 || p[0] != '\'' || p[n - 1] != '\'') {
    return false;
  }
  c->timezone = pe_arena_strndup(a, p + 1, n - 2);
  *nomem = !c->timezone;
  return true;
}

static bool parse_time(const char *t, size_t n, struct pe_arena *a, struct pe_chcolumn *c,
                       bool *nomem) {
  const char *p;
  size_t m;
  if (is(t, n, "DateTime")) {
    c->kind = PE_CH_DATETIME;
    c->width_bytes = 4;
    return true;
  }
  if (pe_chtype_call(t, n, "DateTime", &p, &m) && zone(p, m, a, c, nomem)) {
    c->kind = PE_CH_DATETIME;
    c->width_bytes = 4;
    return true;
  }
  uint32_t scale;
  if (!pe_chtype_call(t, n, "DateTime64", &p, &m) || !number(&p, &m, &scale) || scale > 9) {
    return false;
  }
  if (m && (!comma(&p, &m) || !zone(p, m, a, c, nomem))) {
    return false;
  }
  c->kind = PE_CH_DATETIME64;
  c->width_bytes = 8;
  c->scale = scale;
  return true;
}

static bool parse_fixed_string(const char *t, size_t n, struct pe_chcolumn *c) {
  const char *p;
  size_t m;
  uint32_t bytes;
  if (!pe_chtype_call(t, n, "FixedString", &p, &m) || !number(&p, &m, &bytes) || m || !bytes) {
    return false;
  }
  c->kind = PE_CH_FIXEDSTRING;
  c->width_bytes = bytes;
  return true;
}

int pe_chtype_parse(const char *text, struct pe_arena *a, struct pe_chcolumn *c) {
  const char *t = text;
  size_t n = strlen(text);
  c->kind = PE_CH_OTHER;
  c->width_bytes = c->scale = c->precision = 0;
  c->nullable = c->is_bool = false;
  c->timezone = NULL;
  pe_chtype_call(t, n, "LowCardinality", &t, &n);
  c->nullable = pe_chtype_call(t, n, "Nullable", &t, &n);
  bool nomem = false;
  bool known = parse_int(t, n, c) || parse_decimal(t, n, c) || parse_time(t, n, a, c, &nomem) ||
               parse_fixed_string(t, n, c);
  if (!known) {
    c->kind = PE_CH_OTHER;
    t = "String";
    n = strlen(t);
  }
  size_t wire_n = n + sizeof("Nullable()");
  char *wire = pe_arena_alloc(a, wire_n, 1);
  c->type_text = pe_arena_strndup(a, text, strlen(text));
  c->wire_type = wire;
  if (nomem || !wire || !c->type_text) {
    return PE_ENOMEM;
  }
  size_t at = 0;
  if (c->nullable) {
    memcpy(wire, "Nullable(", 9);
    at = 9;
  }
  memcpy(wire + at, t, n);
  at += n;
  if (c->nullable) {
    wire[at++] = ')';
  }
  wire[at] = 0;
  return 0;
}
