/* Row values out of messages. A text that stands in a script as it is holds no value; one that the
 * script built at run time is kept as far as it stands there ("unknown status " .. row.status keeps
 * "unknown status "). What the Lua machine itself says names variables, never values; quoted names
 * in it must stand in a script all the same. Only on the path of errors, so a plain search is fast
 * enough. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "script/internal.h"

static const char cut_mark[] = "[cut]";

static bool in_scripts(const struct pe_script *s, const char *p, size_t n) {
  const struct pe_script_set *set = s->set;
  const struct pe_script_file *files = set ? set->files : s->files;
  uint32_t nfiles = set ? set->nfiles : s->nfiles;
  for (uint32_t i = 0; i < nfiles; i++) {
    if (memmem(files[i].text, files[i].len, p, n)) {
      return true;
    }
  }
  return false;
}

static void copy(char *out, size_t cap, const char *p, size_t n, const char *tail) {
  size_t room = cap - 1 - strlen(tail);
  snprintf(out, cap, "%.*s%s", (int)(n < room ? n : room), p, tail);
}

void pe_script_cut(const struct pe_script *s, const char *text, size_t n, char *out, size_t cap) {
  if (n >= cap) {
    n = cap - 1;
  }
  if (in_scripts(s, text, n)) {
    copy(out, cap, text, n, "");
    return;
  }
  size_t lo = 0, hi = n; /* the longest beginning that stands in a script: monotone */
  while (lo < hi) {
    size_t mid = (lo + hi + 1) / 2;
    if (in_scripts(s, text, mid)) {
      lo = mid;
    } else {
      hi = mid - 1;
    }
  }
  /* a few letters stand in any text: only whole words count */
  while (lo > 0 && isalnum((unsigned char)text[lo - 1]) && lo < n &&
         isalnum((unsigned char)text[lo])) {
    lo--;
  }
  copy(out, cap, text, lo, cut_mark);
}

static bool starts(const char *p, size_t n, const char *word) {
  size_t len = strlen(word);
  return n >= len && memcmp(p, word, len) == 0;
}

static bool machine_says(const char *p, size_t n) {
  static const char *const words[] = {"attempt to ",
                                      "bad argument #",
                                      "not enough memory",
                                      "stack overflow",
                                      "C stack overflow",
                                      "string length overflow",
                                      "table overflow",
                                      "wrong number of arguments",
                                      "cannot ",
                                      "invalid ",
                                      "'for' ",
                                      "too many ",
                                      "malformed pattern",
                                      "error in error handling"};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (starts(p, n, words[i])) {
      return true;
    }
  }
  return false;
}

/* Copies a message of the machine or of ours; what is quoted in it must stand in a script. */
static void copy_quoted(const struct pe_script *s, const char *p, size_t n, char *out, size_t cap) {
  size_t to = 0;
  for (size_t i = 0; i < n && to + 8 < cap;) {
    const char *end = p[i] == '\'' ? memchr(p + i + 1, '\'', n - i - 1) : NULL;
    if (!end) {
      out[to++] = p[i++];
      continue;
    }
    size_t len = (size_t)(end - (p + i + 1));
    bool known = len == 1 || in_scripts(s, p + i + 1, len);
    int k = snprintf(out + to, cap - to, "'%.*s'", known ? (int)len : 3, known ? p + i + 1 : "...");
    if (k < 0 || (size_t)k >= cap - to) {
      break;
    }
    to += (size_t)k;
    i += len + 2;
  }
  out[to] = 0;
}

/* "path:12: " in front, as the machine puts it. */
static size_t position_len(const char *p, size_t n) {
  for (size_t i = 0; i < n && p[i] != '\n'; i++) {
    if (p[i] != ':') {
      continue;
    }
    size_t j = i + 1;
    while (j < n && isdigit((unsigned char)p[j])) {
      j++;
    }
    if (j > i + 1 && j + 1 < n && p[j] == ':' && p[j + 1] == ' ') {
      return j + 2;
    }
  }
  return 0;
}

static bool known_path(const struct pe_script *s, const char *p, size_t n) {
  const struct pe_script_set *set = s->set;
  const struct pe_script_file *files = set ? set->files : s->files;
  uint32_t nfiles = set ? set->nfiles : s->nfiles;
  for (uint32_t i = 0; i < nfiles; i++) {
    size_t len = strlen(files[i].path);
    if (len && n > len && memcmp(files[i].path, p, len) == 0 && p[len] == ':') {
      return true;
    }
  }
  return false;
}

void pe_script_cut_error(const struct pe_script *s, const char *text, size_t n, bool ours,
                         char *out, size_t cap) {
  size_t at = position_len(text, n);
  if (at && !known_path(s, text, at)) {
    text += at; /* a place in the engine's own Lua says nothing to the author of a script */
    n -= at;
    at = 0;
  }
  if (at >= cap) {
    at = cap - 1;
  }
  memcpy(out, text, at);
  if (ours || machine_says(text + at, n - at)) {
    copy_quoted(s, text + at, n - at, out + at, cap - at);
  } else {
    pe_script_cut(s, text + at, n - at, out + at, cap - at);
  }
}
