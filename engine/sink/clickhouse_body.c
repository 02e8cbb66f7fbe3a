/* Request bodies: read from the block's own pieces without a copy, or compressed into one LZ4 frame
 * (a frame, not ClickHouse's own block format: HTTP's Content-Encoding). Owns nothing but what it
 * is given; fails only when out of memory. */
#include <lz4frame.h>

#include "sink/clickhouse_internal.h"

void pe_ch_body_init(struct pe_ch_body *b, const struct pe_iov *iov, size_t niov) {
  *b = (struct pe_ch_body){.iov = iov, .niov = niov};
}

size_t pe_ch_body_bytes(const struct pe_iov *iov, size_t niov) {
  size_t bytes = 0;
  for (size_t i = 0; i < niov; i++) {
    bytes += iov[i].n;
  }
  return bytes;
}

size_t pe_ch_body_read(char *to, size_t size, size_t count, void *body) {
  struct pe_ch_body *b = body;
  size_t room = size * count, done = 0;
  while (room > 0 && b->at < b->niov) {
    const struct pe_iov *piece = &b->iov[b->at];
    size_t n = piece->n - b->offset;
    if (n > room) {
      n = room;
    }
    if (n > 0) {
      memcpy(to + done, (const char *)piece->p + b->offset, n);
    }
    done += n;
    room -= n;
    b->offset += n;
    if (b->offset == piece->n) {
      b->at++;
      b->offset = 0;
    }
  }
  return done;
}

static int append_frame_part(struct pe_buf *out, size_t produced) {
  if (LZ4F_isError(produced)) {
    return PE_ENOMEM;
  }
  out->len += produced;
  return 0;
}

int pe_ch_body_lz4(const struct pe_iov *iov, size_t niov, struct pe_buf *out) {
  /* Blocks of 256 KB, each for itself: the server's decoder then needs no window, and a bound on
   * the whole is the sum of the pieces' bounds. */
  const LZ4F_preferences_t prefs = {
      .frameInfo = {.blockSizeID = LZ4F_max256KB, .blockMode = LZ4F_blockIndependent},
      .autoFlush = 0};
  pe_buf_clear(out);
  LZ4F_cctx *lz4 = NULL;
  if (LZ4F_isError(LZ4F_createCompressionContext(&lz4, LZ4F_VERSION))) {
    return PE_ENOMEM;
  }
  int code = PE_ENOMEM;
  if (!pe_buf_reserve(out, LZ4F_HEADER_SIZE_MAX)) {
    goto out;
  }
  if (append_frame_part(out, LZ4F_compressBegin(lz4, out->data, out->cap, &prefs)) < 0) {
    goto out;
  }
  for (size_t i = 0; i < niov; i++) {
    if (iov[i].n == 0) {
      continue;
    }
    if (!pe_buf_reserve(out, LZ4F_compressBound(iov[i].n, &prefs))) {
      goto out;
    }
    if (append_frame_part(out, LZ4F_compressUpdate(lz4, out->data + out->len, out->cap - out->len,
                                                   iov[i].p, iov[i].n, NULL)) < 0) {
      goto out;
    }
  }
  if (!pe_buf_reserve(out, LZ4F_compressBound(0, &prefs))) {
    goto out;
  }
  code = append_frame_part(out,
                           LZ4F_compressEnd(lz4, out->data + out->len, out->cap - out->len, NULL));
out:
  LZ4F_freeCompressionContext(lz4);
  return code;
}
