/* Keyed tokens: HMAC-SHA256 with the key schedule made once. */
#ifndef PE_SCRIPT_TOKEN_H
#define PE_SCRIPT_TOKEN_H

#include <stddef.h>
#include <stdint.h>

enum { PE_TOKEN_ID_MAX = 16, PE_TOKEN_TEXT_MAX = 64, PE_TOKEN_CHARS = 24 };

struct pe_token;
/* id: letters and digits, at most PE_TOKEN_ID_MAX. NULL: out of memory. */
struct pe_token *pe_token_create(const void *key, size_t n, const char *id);
void pe_token_destroy(struct pe_token *t);
/* "tok_<id>_<24 characters base64url>" into out (PE_TOKEN_TEXT_MAX bytes); returns its length. */
uint32_t pe_token_make(const struct pe_token *t, const void *p, size_t n, char *out);

#endif
