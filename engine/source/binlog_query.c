/* Tokens of a statement, as far as needed to see what it is. Pure; cannot fail: what it does not
 * know is PE_Q_OTHER. */
#include "source/binlog_query.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct scan {
  const char *p, *end;
};

enum token_kind { T_END, T_WORD, T_NAME, T_CHAR };

struct token {
  enum token_kind kind;
  char text[PE_QUERY_NAME_MAX]; /* cut when longer */
};

static bool at(const struct scan *s, const char *what) {
  size_t n = strlen(what);
  return (size_t)(s->end - s->p) >= n && memcmp(s->p, what, n) == 0;
}

static void skip_line(struct scan *s) {
  while (s->p < s->end && *s->p != '\n') {
    s->p++;
  }
}

static void skip_comment(struct scan *s) {
  s->p += 2;
  while (s->p < s->end && !at(s, "*/")) {
    s->p++;
  }
  s->p = (size_t)(s->end - s->p) >= 2 ? s->p + 2 : s->end;
}

static bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' ||
         (c & 0x80);
}

static void skip_blank(struct scan *s) {
  while (s->p < s->end) {
    if (is_space(*s->p)) {
      s->p++;
    } else if (*s->p == '#' || at(s, "-- ") || at(s, "--\n") || at(s, "--\t")) {
      skip_line(s);
    } else if (at(s, "/*!") || at(s, "/*M!")) {
      s->p += at(s, "/*!") ? 3 : 4;
      while (s->p < s->end && is_digit(*s->p)) {
        s->p++;
      }
    } else if (at(s, "*/")) { /* the end of a versioned comment */
      s->p += 2;
    } else if (at(s, "/*")) {
      skip_comment(s);
    } else {
      return;
    }
  }
}

static void next(struct scan *s, struct token *t) {
  size_t n = 0;
  skip_blank(s);
  t->kind = T_END;
  if (s->p < s->end && (*s->p == '`' || *s->p == '"')) {
    char quote = *s->p++;
    t->kind = T_NAME;
    while (s->p < s->end) {
      if (*s->p == quote) {
        s->p++;
        if (s->p == s->end || *s->p != quote) {
          break;
        }
      }
      if (n < sizeof(t->text) - 1) {
        t->text[n++] = *s->p;
      }
      s->p++;
    }
  } else if (s->p < s->end && is_word(*s->p)) {
    t->kind = T_WORD;
    while (s->p < s->end && is_word(*s->p)) {
      if (n < sizeof(t->text) - 1) {
        t->text[n++] = *s->p;
      }
      s->p++;
    }
  } else if (s->p < s->end) {
    t->kind = T_CHAR;
    t->text[n++] = *s->p++;
  }
  t->text[n] = 0;
}

static bool is(const struct token *t, const char *word) {
  return t->kind == T_WORD && strcasecmp(t->text, word) == 0;
}

static bool is_char(const struct token *t, char c) {
  return t->kind == T_CHAR && t->text[0] == c;
}

static bool is_any(const struct token *t, const char *const *words) {
  for (; *words; words++) {
    if (is(t, *words)) {
      return true;
    }
  }
  return false;
}

/* [db.]table with *t at its first token; leaves *t behind it. */
static void take_name(struct scan *s, struct token *t, struct pe_query_info *q) {
  if (t->kind != T_WORD && t->kind != T_NAME) {
    return;
  }
  strcpy(q->table, t->text);
  next(s, t);
  if (is_char(t, '.')) {
    next(s, t);
    strcpy(q->db, q->table);
    strcpy(q->table, t->text);
    next(s, t);
  }
}

static void take_truncate(struct scan *s, struct token *t, struct pe_query_info *q) {
  q->kind = PE_Q_TRUNCATE;
  next(s, t);
  if (is(t, "TABLE")) {
    next(s, t);
  }
  take_name(s, t, q);
}

static void take_dml(struct scan *s, struct token *t, struct pe_query_info *q) {
  static const char *const fillers[] = {"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK",
                                        "IGNORE",       "INTO",          "FROM",    NULL};
  bool may_clear = is(t, "DELETE"), named = !is(t, "LOAD") && !is(t, "WITH");
  q->kind = PE_Q_DML;
  if (!named) {
    return;
  }
  next(s, t);
  while (is_any(t, fillers)) {
    next(s, t);
  }
  take_name(s, t, q);
  if (may_clear && (t->kind == T_END || is_char(t, ';'))) {
    q->kind = PE_Q_CLEAR;
  }
}

static void take_rollback(struct scan *s, struct token *t, struct pe_query_info *q) {
  q->kind = PE_Q_ROLLBACK;
  next(s, t);
  if (is(t, "WORK")) {
    next(s, t);
  }
  if (is(t, "TO")) {
    q->kind = PE_Q_ROLLBACK_SAVEPOINT;
  }
}

static void take_xa(struct scan *s, struct token *t, struct pe_query_info *q) {
  next(s, t);
  if (is(t, "START") || is(t, "BEGIN")) {
    q->kind = PE_Q_XA_BEGIN;
  } else if (is(t, "COMMIT")) {
    q->kind = PE_Q_XA_COMMIT;
  } else if (is(t, "ROLLBACK")) {
    q->kind = PE_Q_XA_ROLLBACK;
  } else {
    q->kind = PE_Q_IN_TRANSACTION;
  }
}

void pe_binlog_query_classify(const char *sql, size_t n, struct pe_query_info *q) {
  static const char *const dml[] = {"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", NULL};
  static const char *const inside[] = {"SAVEPOINT", "RELEASE", NULL};
  struct scan s = {.p = sql, .end = sql + n};
  struct token t;
  q->kind = PE_Q_OTHER;
  q->db[0] = q->table[0] = 0;
  next(&s, &t);
  if (is(&t, "BEGIN")) {
    q->kind = PE_Q_BEGIN;
  } else if (is(&t, "COMMIT")) {
    q->kind = PE_Q_COMMIT;
  } else if (is(&t, "ROLLBACK")) {
    take_rollback(&s, &t, q);
  } else if (is(&t, "XA")) {
    take_xa(&s, &t, q);
  } else if (is(&t, "TRUNCATE")) {
    take_truncate(&s, &t, q);
  } else if (is_any(&t, inside)) {
    q->kind = PE_Q_IN_TRANSACTION;
  } else if (is_any(&t, dml)) {
    take_dml(&s, &t, q);
  }
}
