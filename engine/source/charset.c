/* Character sets into UTF-8. Collation ids are those of MySQL 8/9 and MariaDB 10/11
 * (information_schema.COLLATIONS). owner: whoever holds the converter; fails with PE_ENOMEM only.
 */
#include "source/charset.h"

#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum {
  NOPAD_BIT = 1024, /* MariaDB: the same collation with NO PAD, below MARIA_UCA_FIRST */
  MARIA_UCA_FIRST = 2048,
  OUT_PER_BYTE_MAX = 3, /* UTF-8 bytes that one byte of any set below can become */
  BAD_CHARACTER = 0xFF
};

struct charset_def {
  const char *name;
  const char *iconv_name; /* NULL: passes as it is; "": latin1's own table */
  bool ascii;             /* bytes below 0x80 are ASCII */
  uint8_t unit;           /* bytes to step over behind a bad character */
};

enum charset_id {
  CS_NONE,
  CS_UTF8,
  CS_LATIN1,
  CS_LATIN2,
  CS_LATIN5,
  CS_LATIN7,
  CS_CP1250,
  CS_CP1251,
  CS_CP1256,
  CS_CP1257,
  CS_CP850,
  CS_CP852,
  CS_CP866,
  CS_GREEK,
  CS_HEBREW,
  CS_KOI8R,
  CS_KOI8U,
  CS_TIS620,
  CS_MACROMAN,
  CS_MACCE,
  CS_ARMSCII8,
  CS_DEC8,
  CS_HP8,
  CS_SJIS,
  CS_CP932,
  CS_UJIS,
  CS_EUCJPMS,
  CS_EUCKR,
  CS_GBK,
  CS_GB2312,
  CS_GB18030,
  CS_BIG5,
  CS_UCS2,
  CS_UTF16,
  CS_UTF16LE,
  CS_UTF32
};

static const struct charset_def defs[] = {
    [CS_NONE] = {NULL, NULL, false, 1},
    [CS_UTF8] = {"utf8", NULL, true, 1},
    [CS_LATIN1] = {"latin1", "", true, 1},
    [CS_LATIN2] = {"latin2", "ISO-8859-2", true, 1},
    [CS_LATIN5] = {"latin5", "ISO-8859-9", true, 1},
    [CS_LATIN7] = {"latin7", "ISO-8859-13", true, 1},
    [CS_CP1250] = {"cp1250", "CP1250", true, 1},
    [CS_CP1251] = {"cp1251", "CP1251", true, 1},
    [CS_CP1256] = {"cp1256", "CP1256", true, 1},
    [CS_CP1257] = {"cp1257", "CP1257", true, 1},
    [CS_CP850] = {"cp850", "CP850", true, 1},
    [CS_CP852] = {"cp852", "CP852", true, 1},
    [CS_CP866] = {"cp866", "CP866", true, 1},
    [CS_GREEK] = {"greek", "ISO-8859-7", true, 1},
    [CS_HEBREW] = {"hebrew", "ISO-8859-8", true, 1},
    [CS_KOI8R] = {"koi8r", "KOI8-R", true, 1},
    [CS_KOI8U] = {"koi8u", "KOI8-U", true, 1},
    [CS_TIS620] = {"tis620", "TIS-620", true, 1},
    [CS_MACROMAN] = {"macroman", "MACINTOSH", true, 1},
    [CS_MACCE] = {"macce", "MAC-CENTRALEUROPE", true, 1},
    [CS_ARMSCII8] = {"armscii8", "ARMSCII-8", true, 1},
    [CS_DEC8] = {"dec8", "DEC-MCS", true, 1},
    [CS_HP8] = {"hp8", "HP-ROMAN8", true, 1},
    [CS_SJIS] = {"sjis", "SJIS", true, 1},
    [CS_CP932] = {"cp932", "CP932", true, 1},
    [CS_UJIS] = {"ujis", "EUC-JP", true, 1},
    [CS_EUCJPMS] = {"eucjpms", "EUC-JP-MS", true, 1},
    [CS_EUCKR] = {"euckr", "UHC", true, 1},
    [CS_GBK] = {"gbk", "GBK", true, 1},
    [CS_GB2312] = {"gb2312", "GB2312", true, 1},
    [CS_GB18030] = {"gb18030", "GB18030", true, 1},
    [CS_BIG5] = {"big5", "BIG5", true, 1},
    [CS_UCS2] = {"ucs2", "UCS-2BE", false, 2},
    [CS_UTF16] = {"utf16", "UTF-16BE", false, 2},
    [CS_UTF16LE] = {"utf16le", "UTF-16LE", false, 2},
    [CS_UTF32] = {"utf32", "UTF-32BE", false, 4},
};

struct id_range {
  uint16_t first, last;
  uint8_t cs;
};

static const struct id_range ranges[] = {
    {1, 1, CS_BIG5},       {2, 2, CS_LATIN2},      {3, 3, CS_DEC8},        {4, 4, CS_CP850},
    {5, 5, CS_LATIN1},     {6, 6, CS_HP8},         {7, 7, CS_KOI8R},       {8, 8, CS_LATIN1},
    {9, 9, CS_LATIN2},     {11, 11, CS_UTF8},      {12, 12, CS_UJIS},      {13, 13, CS_SJIS},
    {14, 14, CS_CP1251},   {15, 15, CS_LATIN1},    {16, 16, CS_HEBREW},    {18, 18, CS_TIS620},
    {19, 19, CS_EUCKR},    {20, 20, CS_LATIN7},    {21, 21, CS_LATIN2},    {22, 22, CS_KOI8U},
    {23, 23, CS_CP1251},   {24, 24, CS_GB2312},    {25, 25, CS_GREEK},     {26, 26, CS_CP1250},
    {27, 27, CS_LATIN2},   {28, 28, CS_GBK},       {29, 29, CS_CP1257},    {30, 30, CS_LATIN5},
    {31, 31, CS_LATIN1},   {32, 32, CS_ARMSCII8},  {33, 33, CS_UTF8},      {34, 34, CS_CP1250},
    {35, 35, CS_UCS2},     {36, 36, CS_CP866},     {38, 38, CS_MACCE},     {39, 39, CS_MACROMAN},
    {40, 40, CS_CP852},    {41, 42, CS_LATIN7},    {43, 43, CS_MACCE},     {44, 44, CS_CP1250},
    {45, 46, CS_UTF8},     {47, 49, CS_LATIN1},    {50, 52, CS_CP1251},    {53, 53, CS_MACROMAN},
    {54, 55, CS_UTF16},    {56, 56, CS_UTF16LE},   {57, 57, CS_CP1256},    {58, 59, CS_CP1257},
    {60, 61, CS_UTF32},    {62, 62, CS_UTF16LE},   {63, 63, CS_UTF8},      {64, 64, CS_ARMSCII8},
    {65, 65, CS_UTF8},     {66, 66, CS_CP1250},    {67, 67, CS_CP1256},    {68, 68, CS_CP866},
    {69, 69, CS_DEC8},     {70, 70, CS_GREEK},     {71, 71, CS_HEBREW},    {72, 72, CS_HP8},
    {74, 74, CS_KOI8R},    {75, 75, CS_KOI8U},     {76, 76, CS_UTF8},      {77, 77, CS_LATIN2},
    {78, 78, CS_LATIN5},   {79, 79, CS_LATIN7},    {80, 80, CS_CP850},     {81, 81, CS_CP852},
    {83, 83, CS_UTF8},     {84, 84, CS_BIG5},      {85, 85, CS_EUCKR},     {86, 86, CS_GB2312},
    {87, 87, CS_GBK},      {88, 88, CS_SJIS},      {89, 89, CS_TIS620},    {90, 90, CS_UCS2},
    {91, 91, CS_UJIS},     {94, 94, CS_LATIN1},    {95, 96, CS_CP932},     {97, 98, CS_EUCJPMS},
    {99, 99, CS_CP1250},   {101, 124, CS_UTF16},   {128, 159, CS_UCS2},    {160, 183, CS_UTF32},
    {192, 247, CS_UTF8},   {248, 250, CS_GB18030}, {255, 323, CS_UTF8},    {576, 578, CS_UTF8},
    {608, 610, CS_UTF8},   {640, 642, CS_UCS2},    {672, 674, CS_UTF16},   {736, 738, CS_UTF32},
    {2048, 2559, CS_UTF8}, {2560, 2815, CS_UCS2},  {2816, 3071, CS_UTF16}, {3072, 3327, CS_UTF32},
};

static enum charset_id charset_id(uint16_t collation) {
  if (collation >= NOPAD_BIT && collation < MARIA_UCA_FIRST) {
    collation = (uint16_t)(collation - NOPAD_BIT);
  }
  for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
    if (collation >= ranges[i].first && collation <= ranges[i].last) {
      return (enum charset_id)ranges[i].cs;
    }
  }
  return CS_NONE;
}

const char *pe_charset_of_collation(uint16_t collation) {
  return defs[charset_id(collation)].name;
}

bool pe_charset_passes(uint16_t collation) {
  return charset_id(collation) == CS_UTF8;
}

/* cp1252's 0x80..0x9F; its five holes are the C1 controls in MySQL. */
static const uint16_t latin1_high[32] = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};

struct pe_charset {
  const struct charset_def *def;
  iconv_t cd; /* (iconv_t)-1 where the table does it */
};

struct pe_charset *pe_charset_open(uint16_t collation) {
  enum charset_id id = charset_id(collation);
  if (id == CS_NONE) {
    return NULL;
  }
  struct pe_charset *c = calloc(1, sizeof(*c));
  if (!c) {
    return NULL;
  }
  c->def = &defs[id];
  c->cd = (iconv_t)-1;
  if (c->def->iconv_name && c->def->iconv_name[0]) {
    c->cd = iconv_open("UTF-8", c->def->iconv_name);
    if (c->cd == (iconv_t)-1) {
      free(c);
      return NULL;
    }
  }
  return c;
}

void pe_charset_close(struct pe_charset *c) {
  if (!c) {
    return;
  }
  if (c->cd != (iconv_t)-1) {
    iconv_close(c->cd);
  }
  free(c);
}

static bool all_ascii(const char *p, size_t n) {
  uint64_t seen = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t v;
    memcpy(&v, p + i, 8);
    seen |= v;
  }
  uint8_t rest = 0;
  for (; i < n; i++) {
    rest |= (uint8_t)p[i];
  }
  return !((seen & UINT64_C(0x8080808080808080)) || (rest & 0x80));
}

static size_t latin1_to_utf8(struct pe_str in, char *out) {
  char *o = out;
  for (uint32_t i = 0; i < in.len; i++) {
    uint32_t u = (uint8_t)in.p[i];
    if (u >= 0x80 && u < 0xA0) {
      u = latin1_high[u - 0x80];
    }
    if (u < 0x80) {
      *o++ = (char)u;
    } else if (u < 0x800) {
      *o++ = (char)(0xC0 | u >> 6);
      *o++ = (char)(0x80 | (u & 0x3F));
    } else {
      *o++ = (char)(0xE0 | u >> 12);
      *o++ = (char)(0x80 | (u >> 6 & 0x3F));
      *o++ = (char)(0x80 | (u & 0x3F));
    }
  }
  return (size_t)(o - out);
}

static size_t iconv_to_utf8(struct pe_charset *c, struct pe_str in, char *out, size_t room) {
  char *src = (char *)(uintptr_t)in.p, *dst = out;
  size_t left = in.len;
  iconv(c->cd, NULL, NULL, NULL, NULL);
  while (left) {
    if (iconv(c->cd, &src, &left, &dst, &room) != (size_t)-1 || errno == E2BIG || !room) {
      break;
    }
    size_t step = left < c->def->unit ? left : c->def->unit;
    *dst++ = (char)BAD_CHARACTER;
    room--;
    src += step;
    left -= step;
    iconv(c->cd, NULL, NULL, NULL, NULL);
  }
  return (size_t)(dst - out);
}

int pe_charset_convert(struct pe_charset *c, struct pe_str in, struct pe_arena *a,
                       struct pe_str *out) {
  *out = in;
  if (!c->def->iconv_name || in.len == 0 || (c->def->ascii && all_ascii(in.p, in.len))) {
    return 0;
  }
  size_t room = (size_t)in.len * OUT_PER_BYTE_MAX + 4;
  if (room > UINT32_MAX) {
    return PE_ENOMEM;
  }
  char *to = pe_arena_alloc(a, room, 1);
  if (!to) {
    return PE_ENOMEM;
  }
  size_t n = c->cd == (iconv_t)-1 ? latin1_to_utf8(in, to) : iconv_to_utf8(c, in, to, room);
  if ((uint8_t *)to + room == a->at) {
    a->at = (uint8_t *)to + n; /* gives the rest back */
  }
  out->p = to;
  out->len = (uint32_t)n;
  return 0;
}
