/* Text of the source's character sets into UTF-8. UTF-8, ASCII and binary pass as they are; latin1
 * (which is cp1252 in MySQL) goes by a table; all else through iconv. A character that iconv does
 * not know becomes the byte 0xFF: never valid UTF-8, so nobody downstream takes it for a value.
 * owner: whoever holds the converter. */
#ifndef PE_SOURCE_CHARSET_H
#define PE_SOURCE_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/* A short stable name ("latin1", "utf8", "sjis") of the character set of a MySQL or MariaDB
 * collation id; NULL for an unknown id. utf8mb3, utf8mb4, ascii and binary all give "utf8". */
const char *pe_charset_of_collation(uint16_t collation);

struct pe_charset; /* a converter */
/* NULL when the collation is unknown or iconv lacks its character set, or out of memory. */
struct pe_charset *pe_charset_open(uint16_t collation);
void pe_charset_close(struct pe_charset *c);
bool pe_charset_passes(uint16_t collation); /* needs no converter */
/* The text as UTF-8: `in` itself where nothing changes, else in the arena. PE_ENOMEM. */
int pe_charset_convert(struct pe_charset *c, struct pe_str in, struct pe_arena *a,
                       struct pe_str *out);

#endif
