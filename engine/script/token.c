/* Keyed tokens. The inner and outer SHA-256 states behind the padded key are computed once a token
 * and copied per value, which halves the work of a short value. Pure but for the key it holds,
 * which is wiped when the token goes. */
#include "script/token.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* the one-shot API can't keep a state \
                                                            */

enum { BLOCK = 64, USED_BYTES = PE_TOKEN_CHARS / 4 * 3 };

struct pe_token {
  SHA256_CTX inner, outer;
  char prefix[PE_TOKEN_ID_MAX + 8];
  uint32_t prefix_len;
};

static void begin(SHA256_CTX *c, const uint8_t key[BLOCK], uint8_t pad) {
  uint8_t block[BLOCK];
  for (int i = 0; i < BLOCK; i++) {
    block[i] = key[i] ^ pad;
  }
  SHA256_Init(c);
  SHA256_Update(c, block, sizeof(block));
  OPENSSL_cleanse(block, sizeof(block));
}

struct pe_token *pe_token_create(const void *key, size_t n, const char *id) {
  struct pe_token *t = calloc(1, sizeof(*t));
  if (!t) {
    return NULL;
  }
  uint8_t block[BLOCK] = {0};
  if (n > BLOCK) {
    pe_sha256(key, n, block);
  } else {
    memcpy(block, key, n);
  }
  begin(&t->inner, block, 0x36);
  begin(&t->outer, block, 0x5c);
  OPENSSL_cleanse(block, sizeof(block));
  t->prefix_len =
      (uint32_t)snprintf(t->prefix, sizeof(t->prefix), "tok_%.*s_", (int)PE_TOKEN_ID_MAX, id);
  return t;
}

void pe_token_destroy(struct pe_token *t) {
  if (t) {
    OPENSSL_cleanse(t, sizeof(*t));
    free(t);
  }
}

uint32_t pe_token_make(const struct pe_token *t, const void *p, size_t n, char *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  uint8_t sum[32];
  SHA256_CTX c = t->inner;
  SHA256_Update(&c, p, n);
  SHA256_Final(sum, &c);
  c = t->outer;
  SHA256_Update(&c, sum, sizeof(sum));
  SHA256_Final(sum, &c);
  memcpy(out, t->prefix, t->prefix_len);
  char *to = out + t->prefix_len;
  for (int i = 0; i < USED_BYTES; i += 3) {
    uint32_t v = (uint32_t)sum[i] << 16 | (uint32_t)sum[i + 1] << 8 | sum[i + 2];
    *to++ = digits[v >> 18];
    *to++ = digits[v >> 12 & 63];
    *to++ = digits[v >> 6 & 63];
    *to++ = digits[v & 63];
  }
  return t->prefix_len + PE_TOKEN_CHARS;
}
