/* A growable byte buffer. On allocation failure the buffer is marked `failed`, keeps what it holds
 * and ignores later appends, so a caller checks once at the end (pe_buf_ok). */
#ifndef PE_BASE_BUF_H
#define PE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct pe_buf {
  uint8_t *data;
  size_t len, cap;
  bool failed;
};

void pe_buf_init(struct pe_buf *b);
void pe_buf_close(struct pe_buf *b);
bool pe_buf_reserve(struct pe_buf *b, size_t more); /* room for `more` bytes behind len */
void pe_buf_put(struct pe_buf *b, const void *p, size_t n);
void pe_buf_puts(struct pe_buf *b, const char *s);
void pe_buf_printf(struct pe_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pe_buf_put_json(struct pe_buf *b, const char *s,
                     size_t n); /* "quoted and escaped"; bad UTF-8 as \ufffd */
void pe_buf_put_sql(
    struct pe_buf *b, const char *s,
    size_t n); /* 'quoted' for ClickHouse and MySQL (without NO_BACKSLASH_ESCAPES) */
/* `quoted` identifier. MySQL takes a backslash in it as it is, ClickHouse as an escape: hence two.
 */
void pe_buf_put_ident(struct pe_buf *b, const char *s);    /* for MySQL; for ClickHouse when s has
                                                              no backslash */
void pe_buf_put_ident_ch(struct pe_buf *b, const char *s); /* for ClickHouse, any s */
const char *pe_buf_cstr(struct pe_buf *b);                 /* NUL behind the data, not counted */
static inline bool pe_buf_ok(const struct pe_buf *b) {
  return !b->failed;
}
static inline void pe_buf_clear(struct pe_buf *b) {
  b->len = 0;
  b->failed = false;
}

#endif
