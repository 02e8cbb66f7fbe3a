/* Integers as they lie in binlog events, and a cursor that never reads behind its end. Inline: this
 * is the innermost loop of the decoder. Pure. */
#ifndef PE_SOURCE_BINLOG_WIRE_H
#define PE_SOURCE_BINLOG_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t pe_le16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, 2);
  return v;
}
static inline uint32_t pe_le24(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}
static inline uint32_t pe_le32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}
static inline uint64_t pe_le48(const uint8_t *p) {
  return pe_le32(p) | (uint64_t)pe_le16(p + 4) << 32;
}
static inline uint64_t pe_le56(const uint8_t *p) {
  return pe_le32(p) | (uint64_t)pe_le24(p + 4) << 32;
}
static inline uint64_t pe_le64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}
static inline uint32_t pe_be16(const uint8_t *p) {
  return (uint32_t)p[0] << 8 | p[1];
}
static inline uint32_t pe_be24(const uint8_t *p) {
  return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}
static inline uint32_t pe_be32(const uint8_t *p) {
  return __builtin_bswap32(pe_le32(p));
}
static inline uint64_t pe_be40(const uint8_t *p) {
  return (uint64_t)pe_be32(p) << 8 | p[4];
}
static inline uint64_t pe_be48(const uint8_t *p) {
  return (uint64_t)pe_be32(p) << 16 | pe_be16(p + 4);
}
/* n = 0..8 bytes, big-endian */
static inline uint64_t pe_be_n(const uint8_t *p, unsigned n) {
  uint64_t v = 0;
  for (unsigned i = 0; i < n; i++) {
    v = v << 8 | p[i];
  }
  return v;
}
static inline uint64_t pe_le_n(const uint8_t *p, unsigned n) {
  uint64_t v = 0;
  for (unsigned i = 0; i < n; i++) {
    v |= (uint64_t)p[i] << (8 * i);
  }
  return v;
}

/* A cursor: a read behind the end gives zero, moves nothing and marks it bad. */
struct pe_cursor {
  const uint8_t *p, *end;
  bool bad;
};

static inline struct pe_cursor pe_cursor(const void *p, size_t n) {
  return (struct pe_cursor){.p = p, .end = (const uint8_t *)p + n, .bad = false};
}
static inline size_t pe_cursor_left(const struct pe_cursor *c) {
  return (size_t)(c->end - c->p);
}
/* NULL when there are fewer than n bytes left. */
static inline const uint8_t *pe_cursor_bytes(struct pe_cursor *c, size_t n) {
  if (c->bad || pe_cursor_left(c) < n) {
    c->bad = true;
    return NULL;
  }
  const uint8_t *at = c->p;
  c->p += n;
  return at;
}
static inline uint64_t pe_cursor_le(struct pe_cursor *c, unsigned n) {
  const uint8_t *at = pe_cursor_bytes(c, n);
  return at ? pe_le_n(at, n) : 0;
}
static inline uint8_t pe_cursor_u8(struct pe_cursor *c) {
  const uint8_t *at = pe_cursor_bytes(c, 1);
  return at ? *at : 0;
}
/* MySQL's length-encoded integer; 0xFB (NULL) and 0xFF make no sense here. */
static inline uint64_t pe_cursor_lenenc(struct pe_cursor *c) {
  uint8_t b = pe_cursor_u8(c);
  if (b < 0xFB) {
    return b;
  }
  switch (b) {
    case 0xFC:
      return pe_cursor_le(c, 2);
    case 0xFD:
      return pe_cursor_le(c, 3);
    case 0xFE:
      return pe_cursor_le(c, 8);
    default:
      c->bad = true;
      return 0;
  }
}

#endif
