/* What an error of ClickHouse or of the way to it means: which class, and a text for a person.
 *
 * Exception texts can quote row values ("Cannot parse string 'x' as UInt8", "Column values: a =
 * 3"), so a text passes through a filter: where the code speaks of names (unknown table, column,
 * user) quoted names stay, everywhere else what stands in quotes goes, and where a block was
 * refused bare numbers go too. Codes whose texts carry values without quotes keep their name only,
 * plus the `columns` they mention. Pure functions, no state.
 *
 * Codes: ClickHouse, src/Common/ErrorCodes.cpp. One that isn't listed is FATAL: a person looks at
 * it, no row is lost.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "sink/clickhouse_internal.h"

enum { NAME_MAX_BYTES = 128 };

/* I/O, memory, load, time, shutting down, read-only, replication and Keeper: it passes. */
static const int retry_codes[] = {
    23,  24,  40,  74,  75,  76,  77,  95,  96,  159, 160, 164, 173, 198, 201, 202,  203,  204, 209,
    210, 216, 225, 236, 241, 242, 243, 244, 252, 254, 265, 271, 279, 285, 286, 289,  294,  297, 319,
    341, 354, 364, 369, 373, 384, 394, 410, 411, 412, 416, 425, 439, 473, 499, 500,  510,  519, 529,
    568, 573, 574, 618, 649, 655, 659, 660, 667, 677, 692, 693, 696, 700, 707, 710,  722,  733, 734,
    735, 737, 745, 749, 762, 763, 771, 776, 777, 778, 900, 901, 903, 904, 999, 1000, 1001, 1002};
/* Something that is named isn't there, or isn't as it must be. */
static const int schema_codes[] = {7,   8,   10,  15,  16,  20,  46,  47,  50,  51,  52,  56,
                                   57,  60,  63,  80,  81,  82,  90,  115, 122, 218, 336, 359,
                                   370, 524, 549, 701, 705, 712, 724, 725, 727, 746, 772, 774};
static const int auth_codes[] = {192, 193, 194, 195, 291, 481, 482, 492, 497, 516, 673, 720, 767};
/* The block itself: a value that can't be parsed, converted or stored, or a view's own throwIf. */
static const int poison_codes[] = {3,   6,   9,   19,  25,  26,  27,  32,  33,  38,  41,  53,
                                   69,  70,  72,  117, 120, 128, 130, 131, 153, 158, 169, 190,
                                   248, 307, 321, 349, 366, 376, 395, 396, 407, 441, 467, 469,
                                   490, 563, 565, 621, 632, 645, 675, 676, 691, 760};
/* Their texts carry the value bare. */
static const int bare_value_codes[] = {38, 41, 376, 441, 467, 490, 563, 632, 675, 676, 691};
enum { CODE_SYNTAX_ERROR = 62 };

#define IS_IN(code, list) is_in(code, list, sizeof list / sizeof *list)
static bool is_in(int code, const int *list, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (list[i] == code) {
      return true;
    }
  }
  return false;
}

struct pe_ch_verdict pe_ch_classify(int code) {
  if (IS_IN(code, retry_codes)) {
    return (struct pe_ch_verdict){PE_CLASS_RETRY, PE_ESINK_DOWN};
  }
  if (IS_IN(code, schema_codes)) {
    return (struct pe_ch_verdict){PE_CLASS_FATAL, PE_ESINK_SCHEMA};
  }
  if (IS_IN(code, auth_codes)) {
    return (struct pe_ch_verdict){PE_CLASS_FATAL, PE_ESINK_AUTH};
  }
  if (IS_IN(code, poison_codes)) {
    return (struct pe_ch_verdict){PE_CLASS_POISON, PE_ESINK_REFUSED};
  }
  return (struct pe_ch_verdict){PE_CLASS_FATAL, PE_ESINK_REFUSED};
}

/* A growing text with an end. */
struct text {
  char *p;
  size_t n, size;
};
static void put(struct text *t, const char *s, size_t n) {
  for (size_t i = 0; i < n && t->n + 1 < t->size; i++) {
    t->p[t->n++] = isprint((unsigned char)s[i]) || (unsigned char)s[i] >= 0x80 ? s[i] : ' ';
  }
  t->p[t->n] = 0;
}
static void puts_(struct text *t, const char *s) {
  put(t, s, strlen(s));
}

static const char *find(const char *s, const char *end, const char *word) {
  return s < end ? memmem(s, (size_t)(end - s), word, strlen(word)) : NULL;
}
static bool is_word(char c) {
  return isalnum((unsigned char)c) || c == '_';
}

/* "(UNKNOWN_TABLE)" at the end or before " (version 26.7.2.1)". */
static void error_name(const char *s, const char *end, char *name, size_t size) {
  name[0] = 0;
  const char *version = NULL;
  for (const char *at = s; (at = find(at, end, " (version ")) != NULL; at++) {
    version = at;
  }
  const char *close = version ? version : end;
  while (close > s && isspace((unsigned char)close[-1])) {
    close--;
  }
  if (close == s || close[-1] != ')') {
    return;
  }
  const char *open = close - 1;
  while (open > s && (isupper((unsigned char)open[-1]) || isdigit((unsigned char)open[-1]) ||
                      open[-1] == '_')) {
    open--;
  }
  size_t n = (size_t)(close - 1 - open);
  if (open > s && open[-1] == '(' && n > 2 && n < size) {
    memcpy(name, open, n);
    name[n] = 0;
  }
}

static const char *quoted_end(const char *s, const char *end, char quote) {
  for (; s < end && *s != quote; s++) {
    if (*s == '\\' && s + 1 < end) {
      s++;
    }
  }
  return s;
}

static bool is_name(const char *s, size_t n) {
  if (n == 0 || n > NAME_MAX_BYTES) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (!is_word(s[i]) && s[i] != '.' && s[i] != '-' && s[i] != ' ' && s[i] != '(' && s[i] != ')') {
      return false;
    }
  }
  return true;
}

struct filter {
  bool keep_names;  /* quoted names stay */
  bool cut_numbers; /* bare numbers go */
};

/* Copies one quoted run, or its place; returns what follows it. */
static const char *copy_quoted(struct text *t, const char *s, const char *end,
                               const struct filter *f) {
  char quote = *s;
  const char *close = quoted_end(s + 1, end, quote);
  size_t n = (size_t)(close - s - 1);
  if (quote == '`' || (f->keep_names && is_name(s + 1, n))) {
    put(t, s, (size_t)(close - s) + (close < end));
  } else {
    put(t, &quote, 1);
    puts_(t, "...");
    put(t, &quote, 1);
  }
  return close < end ? close + 1 : end;
}

/* A number that is part of a type (UInt8, DateTime64(3)) or counts rows or columns stays. */
static bool number_is_harmless(const char *line, const char *s) {
  if (s > line && is_word(s[-1])) {
    return true;
  }
  if (s - line >= 2 && s[-1] == '(' && is_word(s[-2])) {
    return true;
  }
  return s - line >= 4 &&
         (!memcmp(s - 4, "row ", 4) || !memcmp(s - 4, "Row ", 4) || !memcmp(s - 4, "umn ", 4));
}

static void copy_line(struct text *t, const char *line, const char *end, const struct filter *f) {
  for (const char *s = line; s < end;) {
    bool is_quote = *s == '"' || *s == '`' || (*s == '\'' && (s == line || !is_word(s[-1])));
    if (is_quote) {
      s = copy_quoted(t, s, end, f);
      continue;
    }
    if (isdigit((unsigned char)*s)) {
      const char *start = s;
      while (s < end && (is_word(*s) || *s == '.' || *s == '-' || *s == ':')) {
        s++;
      }
      if (f->cut_numbers && !number_is_harmless(line, start)) {
        puts_(t, "?");
      } else {
        put(t, start, (size_t)(s - start));
      }
      continue;
    }
    put(t, s, 1);
    s++;
  }
}

/* The part of the text that speaks about the error: what follows is the statement or the row. */
static const char *line_end(const char *line, const char *end, int code) {
  static const char *const stops[] = {
      "\n",        " in scope ",        ": In scope ", "Column values:", "parsed text:",
      " before: ", ". Expected one of", " (version ",  " Stack trace:",  " near "};
  for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
    const char *at = find(line, end, stops[i]);
    if (at) {
      end = at;
    }
  }
  if (code == CODE_SYNTAX_ERROR) {
    const char *position = find(line, end, "position ");
    const char *at = position ? find(position, end, " (") : line;
    if (at) {
      end = at;
    }
  }
  return end;
}

static void copy_columns(struct text *t, const char *line, const char *end) {
  for (const char *s = line; s < end; s++) {
    if (*s == '`') {
      const char *close = quoted_end(s + 1, end, '`');
      puts_(t, " ");
      put(t, s, (size_t)(close - s) + (close < end));
      s = close;
    }
  }
}

int pe_ch_exception_text(const char *body, size_t n, int header_code, char *out, size_t out_size) {
  const char *end = body + n;
  const char *at = find(body, end, "Code: ");
  int code = header_code;
  const char *line = body;
  if (at && (size_t)(end - at) > 6 && isdigit((unsigned char)at[6])) {
    int in_text = 0;
    for (at += 6; at < end && isdigit((unsigned char)*at) && in_text < 100000; at++) {
      in_text = in_text * 10 + (*at - '0');
    }
    code = code ? code : in_text;
    const char *word = find(at, end, "DB::Exception: ");
    line = word ? word + strlen("DB::Exception: ") : at;
  }
  struct text t = {.p = out, .size = out_size};
  if (code == 0) {
    snprintf(out, out_size, "no exception text");
    return 0;
  }
  char name[64];
  error_name(line, end, name, sizeof name);
  t.n = (size_t)snprintf(out, out_size, "ClickHouse error %d%s%s", code, name[0] ? " " : "", name);

  const struct pe_ch_verdict v = pe_ch_classify(code);
  const char *stop = line_end(line, end, code);
  char tail[80];
  int tail_n = snprintf(tail, sizeof tail, " (%s)", name);
  if (name[0] && stop - line > tail_n && !memcmp(stop - tail_n, tail, (size_t)tail_n)) {
    stop -= tail_n;
  }
  puts_(&t, ":");
  if (IS_IN(code, bare_value_codes)) {
    copy_columns(&t, line, stop);
    puts_(&t, " the value is left out");
    return code;
  }
  puts_(&t, " ");
  const struct filter f = {
      .keep_names = v.code == PE_ESINK_SCHEMA || v.code == PE_ESINK_AUTH,
      .cut_numbers = v.cls == PE_CLASS_POISON,
  };
  copy_line(&t, line, stop, &f);
  return code;
}

int pe_ch_exception_error(struct pe_err *err, const char *body, size_t n, int header_code,
                          long http_status) {
  char text[1024];
  int code = pe_ch_exception_text(body, n, header_code, text, sizeof text);
  if (code != 0) {
    const struct pe_ch_verdict v = pe_ch_classify(code);
    return pe_err_set(err, v.code, v.cls, "%s", text);
  }
  if (http_status == 401 || http_status == 403) {
    return pe_err_set(err, PE_ESINK_AUTH, PE_CLASS_FATAL,
                      "HTTP %ld: user or password refused (by a proxy in front of ClickHouse?)",
                      http_status);
  }
  if (http_status == 413) {
    return pe_err_set(err, PE_ESINK_REFUSED, PE_CLASS_POISON,
                      "HTTP 413: a proxy in front of ClickHouse takes no body of this size");
  }
  if (http_status >= 500 || http_status == 408 || http_status == 425 || http_status == 429) {
    return pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_RETRY, "HTTP %ld without a ClickHouse exception",
                      http_status);
  }
  return pe_err_set(err, PE_ESINK_REFUSED, PE_CLASS_FATAL,
                    "HTTP %ld without a ClickHouse exception: is this ClickHouse's HTTP port?",
                    http_status);
}

int pe_ch_transfer_error(struct pe_err *err, CURLcode result, const char *detail,
                         const struct pe_ch_opts *o) {
  const char *why = detail && detail[0] ? detail : curl_easy_strerror(result);
  switch (result) {
    case CURLE_OUT_OF_MEMORY:
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    case CURLE_PEER_FAILED_VERIFICATION:
      return pe_err_set(
          err, PE_ESINK_AUTH, PE_CLASS_FATAL,
          "the certificate of %s isn't trusted (%s): name its authority with ?ca=FILE", o->url,
          why);
    case CURLE_SSL_CACERT_BADFILE:
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "the ca file can't be used: %s", why);
    case CURLE_URL_MALFORMAT:
      return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "%s is no usable address: %s", o->url,
                        why);
    case CURLE_OPERATION_TIMEDOUT:
      return pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_RETRY, "ClickHouse at %s timed out: %s",
                        o->url, why);
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
      return pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_RETRY, "ClickHouse at %s can't be reached: %s",
                        o->url, why);
    default:
      return pe_err_set(err, PE_ESINK_DOWN, PE_CLASS_RETRY,
                        "the connection to ClickHouse at %s failed: %s", o->url, why);
  }
}
