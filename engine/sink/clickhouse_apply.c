/* Applies a folder of SQL files, statement by statement. A statement ends with ";" at a line's end
 * outside quotes and comments. Blocking; fails with the file, the line and the statement's first
 * words, and leaves what was applied before as it is (statements are idempotent). */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sink/clickhouse_internal.h"

enum {
  FILE_BYTES_MAX = 4 * 1024 * 1024,
  FIRST_WORDS = 6,
  FIRST_WORDS_BYTES = 80,
};

/* --- one file's text -------------------------------------------------------------------------- */

struct sql_text {
  const char *at, *end;
  unsigned line; /* of `at`, from 1 */
};

struct sql_statement {
  const char *p;
  size_t n;
  unsigned line;
};

/* Behind a comment or quoted run that begins at s; s itself where none begins. */
static const char *skip_opaque(const char *s, const char *end) {
  if (s + 1 < end && s[0] == '-' && s[1] == '-') {
    const char *newline = memchr(s, '\n', (size_t)(end - s));
    return newline ? newline : end;
  }
  if (s + 1 < end && s[0] == '/' && s[1] == '*') {
    const char *close = memmem(s + 2, (size_t)(end - s - 2), "*/", 2);
    return close ? close + 2 : end;
  }
  if (*s == '\'' || *s == '"' || *s == '`') {
    char quote = *s;
    for (s++; s < end && *s != quote; s++) {
      if (*s == '\\' && s + 1 < end) {
        s++;
      }
    }
    return s < end ? s + 1 : end;
  }
  return s;
}

/* Whether only blanks or a comment stand between s and the end of its line. */
static bool ends_line(const char *s, const char *end) {
  while (s < end && (*s == ' ' || *s == '\t' || *s == '\r')) {
    s++;
  }
  return s == end || *s == '\n' || (s + 1 < end && s[0] == '-' && s[1] == '-');
}

static void count_lines(struct sql_text *t, const char *to) {
  for (; t->at < to; t->at++) {
    t->line += *t->at == '\n';
  }
}

/* The next statement without its semicolon; false at the end. Blanks and comments before a
 * statement are not part of it. */
static bool next_statement(struct sql_text *t, struct sql_statement *st) {
  for (;;) {
    const char *s = t->at;
    while (s < t->end && isspace((unsigned char)*s)) {
      s++;
    }
    const char *behind = s < t->end && (*s == '-' || *s == '/') ? skip_opaque(s, t->end) : s;
    bool done = behind == s;
    count_lines(t, behind);
    if (done) {
      break;
    }
  }
  if (t->at == t->end) {
    return false;
  }
  st->p = t->at;
  st->line = t->line;
  const char *s = t->at;
  while (s < t->end && !(*s == ';' && ends_line(s + 1, t->end))) {
    const char *behind = skip_opaque(s, t->end);
    s = behind > s ? behind : s + 1;
  }
  st->n = (size_t)(s - st->p);
  count_lines(t, s < t->end ? s + 1 : s);
  return true;
}

static void first_words(const struct sql_statement *st, char *out, size_t size) {
  size_t n = 0;
  unsigned words = 0;
  bool blank = true;
  for (size_t i = 0; i < st->n && n + 1 < size; i++) {
    char c = st->p[i];
    if (c == '(' || c == '\'' || c == '"') {
      break; /* names only, no values */
    }
    if (isspace((unsigned char)c)) {
      blank = true;
      continue;
    }
    if (blank && words++ == FIRST_WORDS) {
      break;
    }
    if (blank && n > 0 && n + 2 < size) {
      out[n++] = ' ';
    }
    blank = false;
    out[n++] = c;
  }
  out[n] = 0;
}

/* --- variables -------------------------------------------------------------------------------- */

struct variables {
  const char *const *given; /* pairs, NULL-ended */
  struct pe_buf user, password;
};

static const char *variable(struct variables *v, const char *name, size_t n) {
  for (const char *const *pair = v->given; pair && pair[0]; pair += 2) {
    if (strlen(pair[0]) == n && memcmp(pair[0], name, n) == 0) {
      return pair[1];
    }
  }
  if (n == 4 && memcmp(name, "user", n) == 0) {
    return pe_buf_cstr(&v->user);
  }
  if (n == 8 && memcmp(name, "password", n) == 0) {
    return pe_buf_cstr(&v->password);
  }
  return NULL;
}

static int expand(const struct sql_statement *st, struct variables *vars, struct pe_buf *out,
                  struct pe_err *err) {
  pe_buf_clear(out);
  const char *end = st->p + st->n;
  for (const char *s = st->p; s < end;) {
    const char *open = memmem(s, (size_t)(end - s), "${", 2);
    const char *close = open ? memchr(open, '}', (size_t)(end - open)) : NULL;
    if (!close) {
      pe_buf_put(out, s, (size_t)(end - s));
      break;
    }
    const char *value = variable(vars, open + 2, (size_t)(close - open - 2));
    if (!value) {
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "%.*s has no value here",
                        (int)(close - open + 1 > 64 ? 64 : close - open + 1), open);
    }
    pe_buf_put(out, s, (size_t)(open - s));
    pe_buf_puts(out, value);
    s = close + 1;
  }
  pe_buf_cstr(out);
  return pe_buf_ok(out) ? 0 : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
}

/* --- files ------------------------------------------------------------------------------------ */

static int read_file(const char *path, struct pe_buf *out, struct pe_err *err) {
  FILE *f = fopen(path, "re");
  if (!f) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "can't be opened: %s", strerror(errno));
  }
  int code = 0;
  char chunk[16 * 1024];
  size_t n;
  while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && out->len <= FILE_BYTES_MAX) {
    pe_buf_put(out, chunk, n);
  }
  if (ferror(f)) {
    code = pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "can't be read: %s", strerror(errno));
  } else if (out->len > FILE_BYTES_MAX) {
    code = pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "is longer than %d bytes", FILE_BYTES_MAX);
  } else if (!pe_buf_ok(out)) {
    code = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  fclose(f);
  return code;
}

static int apply_file(struct pe_ch *ch, const char *path, struct variables *vars,
                      struct pe_err *err) {
  struct pe_buf text, sql;
  pe_buf_init(&text);
  pe_buf_init(&sql);
  int code = read_file(path, &text, err);
  if (code < 0) {
    pe_err_wrap(err, "%s", path);
    goto out;
  }
  struct sql_text t = {(const char *)text.data, (const char *)text.data + text.len, 1};
  struct sql_statement st;
  while (code == 0 && text.len > 0 && next_statement(&t, &st)) {
    code = expand(&st, vars, &sql, err);
    if (code == 0 && sql.len > 0) {
      code = pe_ch_exec(ch, (const char *)sql.data, NULL, NULL, err);
    }
    if (code < 0) {
      char words[FIRST_WORDS_BYTES];
      first_words(&st, words, sizeof words);
      pe_err_wrap(err, "%s:%u: %s", path, st.line, words);
    }
  }
out:
  if (sql.data) {
    explicit_bzero(sql.data, sql.cap); /* it may hold the password */
  }
  pe_buf_close(&text);
  pe_buf_close(&sql);
  return code;
}

static int is_sql(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return e->d_name[0] != '.' && n > 4 && strcmp(e->d_name + n - 4, ".sql") == 0;
}
static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name); /* not by locale: the order is the same everywhere */
}

int pe_ch_apply_dir(struct pe_ch *ch, const char *dir, const char *const *vars,
                    struct pe_err *err) {
  struct dirent **entries = NULL;
  int n = scandir(dir, &entries, is_sql, by_name);
  if (n < 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "the folder of SQL files %s: %s", dir,
                      strerror(errno));
  }
  const struct pe_ch_opts *o = pe_ch_options(ch);
  const char *user = o->user[0] ? o->user : "default";
  struct variables v = {.given = vars};
  pe_buf_put_sql(&v.user, user, strlen(user));
  pe_buf_put_sql(&v.password, o->password, strlen(o->password));
  int code = 0;
  for (int i = 0; i < n; i++) {
    char path[4096];
    if (code == 0) {
      int len = snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
      code = len < (int)sizeof path
                 ? apply_file(ch, path, &v, err)
                 : pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "%s: the path is too long", dir);
    }
    free(entries[i]);
  }
  free(entries);
  if (v.password.data) {
    explicit_bzero(v.password.data, v.password.len);
  }
  pe_buf_close(&v.user);
  pe_buf_close(&v.password);
  return code;
}
