/* Sealing bytes that hold personal data before they are written to disk: AES-256-GCM (libcrypto),
 * with a random key that stands in a file of its own, readable by its owner only. Without that file
 * what was sealed is lost. Format: 12 bytes nonce, 16 bytes tag, the ciphertext. */
#ifndef PE_BASE_SEAL_H
#define PE_BASE_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { PE_SEAL_KEY_BYTES = 32, PE_SEAL_MORE_BYTES = 28 };

/* Reads the key file, or makes it (mode 0600). PE_EIO; PE_EDATA when the file is not such a key. */
int pe_seal_key(const char *path, uint8_t key[PE_SEAL_KEY_BYTES], struct pe_err *err);
/* Appends the sealed bytes to out. PE_EINTERNAL, PE_ENOMEM. */
int pe_seal(const uint8_t key[PE_SEAL_KEY_BYTES], const void *p, size_t n, struct pe_buf *out);
/* Appends the opened bytes to out. PE_EDATA: sealed with another key, or damaged. */
int pe_unseal(const uint8_t key[PE_SEAL_KEY_BYTES], const void *p, size_t n, struct pe_buf *out);

#endif
