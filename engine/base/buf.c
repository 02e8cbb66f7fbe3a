/* Growable bytes and the three ways of quoting that texts for people and servers need. owner: the
 * caller. Out of memory marks the buffer as failed. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_MIN = 64 };

void pe_buf_init(struct pe_buf *b) {
  memset(b, 0, sizeof(*b));
}

void pe_buf_close(struct pe_buf *b) {
  free(b->data);
  memset(b, 0, sizeof(*b));
}

bool pe_buf_reserve(struct pe_buf *b, size_t more) {
  if (b->failed) {
    return false;
  }
  if (b->cap - b->len >= more) {
    return true;
  }
  size_t cap = b->cap ? b->cap : BUF_MIN;
  if (more > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) {
    b->failed = true;
    return false;
  }
  while (cap - b->len < more) {
    cap *= 2;
  }
  uint8_t *data = realloc(b->data, cap);
  if (!data) {
    b->failed = true;
    return false;
  }
  b->data = data;
  b->cap = cap;
  return true;
}

void pe_buf_put(struct pe_buf *b, const void *p, size_t n) {
  if (n && pe_buf_reserve(b, n)) {
    memcpy(b->data + b->len, p, n);
    b->len += n;
  }
}

void pe_buf_puts(struct pe_buf *b, const char *s) {
  pe_buf_put(b, s, strlen(s));
}

void pe_buf_printf(struct pe_buf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  va_list again;
  va_copy(again, ap);
  size_t room = b->cap - b->len;
  int n = vsnprintf(room ? (char *)b->data + b->len : NULL, room, fmt, ap);
  va_end(ap);
  if (n < 0) {
    b->failed = true;
  } else if ((size_t)n < room && !b->failed) {
    b->len += (size_t)n;
  } else if (pe_buf_reserve(b, (size_t)n + 1)) {
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
}

/* Length of the valid UTF-8 sequence at s, 0 when there is none (overlong, surrogate, cut). */
static size_t utf8_len(const uint8_t *s, size_t n) {
  uint8_t c = s[0];
  if (c < 0x80) {
    return 1;
  }
  if (c < 0xC2 || c > 0xF4) {
    return 0;
  }
  size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  if (len > n) {
    return 0;
  }
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  if ((c == 0xE0 && s[1] < 0xA0) || (c == 0xED && s[1] > 0x9F) || (c == 0xF0 && s[1] < 0x90) ||
      (c == 0xF4 && s[1] > 0x8F)) {
    return 0;
  }
  return len;
}

static void put_json_special(struct pe_buf *b, uint8_t c) {
  switch (c) {
    case '"':
      pe_buf_put(b, "\\\"", 2);
      return;
    case '\\':
      pe_buf_put(b, "\\\\", 2);
      return;
    case '\n':
      pe_buf_put(b, "\\n", 2);
      return;
    case '\r':
      pe_buf_put(b, "\\r", 2);
      return;
    case '\t':
      pe_buf_put(b, "\\t", 2);
      return;
    default:
      pe_buf_printf(b, "\\u%04x", c);
  }
}

void pe_buf_put_json(struct pe_buf *b, const char *s, size_t n) {
  const uint8_t *p = (const uint8_t *)(n ? s : "");
  pe_buf_put(b, "\"", 1);
  size_t from = 0, i = 0;
  while (i < n) {
    uint8_t c = p[i];
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7F) {
      i++;
      continue;
    }
    size_t len = utf8_len(p + i, n - i);
    if (len > 1) {
      i += len;
      continue;
    }
    pe_buf_put(b, p + from, i - from);
    if (len == 0) {
      pe_buf_puts(b, "\\ufffd");
    } else {
      put_json_special(b, c);
    }
    from = ++i;
  }
  pe_buf_put(b, p + from, n - from);
  pe_buf_put(b, "\"", 1);
}

void pe_buf_put_sql(struct pe_buf *b, const char *s, size_t n) {
  pe_buf_put(b, "'", 1);
  if (!n) {
    s = "";
  }
  size_t from = 0;
  for (size_t i = 0; i < n; i++) {
    char c = s[i];
    const char *with = c == '\''   ? "\\'"
                       : c == '\\' ? "\\\\"
                       : c == '\0' ? "\\0"
                       : c == '\n' ? "\\n"
                       : c == '\r' ? "\\r"
                                   : NULL;
    if (with) {
      pe_buf_put(b, s + from, i - from);
      pe_buf_put(b, with, 2);
      from = i + 1;
    }
  }
  pe_buf_put(b, s + from, n - from);
  pe_buf_put(b, "'", 1);
}

static void put_ident(struct pe_buf *b, const char *s, bool backslash_escapes) {
  pe_buf_put(b, "`", 1);
  for (; *s; s++) {
    if (*s == '`' || (backslash_escapes && *s == '\\')) {
      pe_buf_put(b, s, 1);
    }
    pe_buf_put(b, s, 1);
  }
  pe_buf_put(b, "`", 1);
}

void pe_buf_put_ident(struct pe_buf *b, const char *s) {
  put_ident(b, s, false);
}

void pe_buf_put_ident_ch(struct pe_buf *b, const char *s) {
  put_ident(b, s, true);
}

const char *pe_buf_cstr(struct pe_buf *b) {
  bool failed = b->failed;
  if (b->cap == b->len) {
    b->failed = false;
    bool room = pe_buf_reserve(b, 1);
    b->failed = failed || !room;
    if (!room) {
      return "";
    }
  }
  b->data[b->len] = 0;
  return (const char *)b->data;
}
