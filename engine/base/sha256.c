/* SHA-256 and HMAC by libcrypto. A failure there (no memory, a provider without the algorithm)
 * would make wrong tokens and hashes, so it aborts. Thread-safe. */
#include "base/sha256.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/assert.h"

void pe_sha256(const void *p, size_t n, uint8_t out[32]) {
  unsigned len = 0;
  int ok = EVP_Digest(p, n, out, &len, EVP_sha256(), NULL);
  PE_ASSERT(ok == 1 && len == 32);
}

void pe_sha256_hex(const void *p, size_t n, char hex[65]) {
  static const char digits[] = "0123456789abcdef";
  uint8_t out[32];
  pe_sha256(p, n, out);
  for (int i = 0; i < 32; i++) {
    hex[2 * i] = digits[out[i] >> 4];
    hex[2 * i + 1] = digits[out[i] & 15];
  }
  hex[64] = 0;
}

void pe_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, uint8_t out[32]) {
  PE_ASSERT(key_len <= INT_MAX);
  unsigned len = 0;
  /* An empty key must not be NULL: that means "the key of the last call" to some versions. */
  const uint8_t *ok = HMAC(EVP_sha256(), key_len ? key : "", (int)key_len, p, n, out, &len);
  PE_ASSERT(ok && len == 32);
}
