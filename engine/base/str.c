/* "Did you mean": the nearest known word. Pure. */
#include "base/str.h"

#include <string.h>

enum { WORD_MAX = 128 }; /* longer words are never suggested */

static size_t min3(size_t a, size_t b, size_t c) {
  size_t m = a < b ? a : b;
  return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b; both at most WORD_MAX long. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb) {
  size_t rows[3][WORD_MAX + 1];
  size_t *before = rows[0], *last = rows[1], *now = rows[2];
  for (size_t j = 0; j <= nb; j++) {
    last[j] = j;
  }
  for (size_t i = 1; i <= na; i++) {
    now[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      size_t change = last[j - 1] + (a[i - 1] != b[j - 1]);
      now[j] = min3(last[j] + 1, now[j - 1] + 1, change);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          before[j - 2] + 1 < now[j]) {
        now[j] = before[j - 2] + 1;
      }
    }
    size_t *t = before;
    before = last;
    last = now;
    now = t;
  }
  return last[nb];
}

const char *pe_str_nearest(const char *s, const char *const *words, size_t n) {
  size_t len = strlen(s);
  if (len == 0 || len > WORD_MAX) {
    return NULL;
  }
  size_t best_distance = (len + 2) / 3 + 1;
  const char *best = NULL;
  for (size_t i = 0; i < n; i++) {
    size_t wlen = strlen(words[i]);
    if (wlen == 0 || wlen > WORD_MAX) {
      continue;
    }
    size_t d = edit_distance(s, len, words[i], wlen);
    if (d < best_distance) {
      best_distance = d;
      best = words[i];
    }
  }
  return best;
}
