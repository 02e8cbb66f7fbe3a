/* A string of bytes that somebody else owns (usually a batch's arena). Not NUL-terminated. */
#ifndef PE_BASE_STR_H
#define PE_BASE_STR_H

#include <stddef.h>
#include <stdint.h>

struct pe_str {
  const char *p;
  uint32_t len;
  uint32_t
      pad_; /* 0, so that rows compare and hash by their bytes only where no string is inside */
};

/* The word of `words` (count n) nearest to `s` by edit distance, or NULL if none is within 1/3 of
 * its length. */
const char *pe_str_nearest(const char *s, const char *const *words, size_t n);

#endif
