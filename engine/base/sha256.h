/* SHA-256 (libcrypto behind it). hex is 64 characters and a NUL. */
#ifndef PE_BASE_SHA256_H
#define PE_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

void pe_sha256(const void *p, size_t n, uint8_t out[32]);
void pe_sha256_hex(const void *p, size_t n, char hex[65]);
void pe_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, uint8_t out[32]);

#endif
