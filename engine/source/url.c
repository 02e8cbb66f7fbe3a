/* mysql:// URLs. Pure. Fails with PE_ECONFIG; a message names the part that is wrong, never what
 * stands in it, because the password is somewhere in the text. Where the URL stands is for the
 * caller to say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/server.h"

enum { PORT_DEFAULT = 3306, PORT_MAX = 65535, OPTION_MAX = 512 };

static int bad(struct pe_err *err, const char *what) {
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                    "%s; a URL reads mysql://user:password@host:port/database, with special "
                    "characters written as %%XX",
                    what);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  char lower = (char)(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Percent-decodes [from, end) into out[cap]. */
static int decode(const char *from, const char *end, char *out, size_t cap, const char *part,
                  struct pe_err *err) {
  char what[128];
  size_t n = 0;
  for (const char *p = from; p < end; p++) {
    char c = *p;
    if (c == '%') {
      int hi = end - p > 2 ? hex_digit(p[1]) : -1;
      int lo = end - p > 2 ? hex_digit(p[2]) : -1;
      if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) {
        snprintf(what, sizeof(what), "the %s has a %% that two hexadecimal digits do not follow",
                 part);
        return bad(err, what);
      }
      c = (char)(hi << 4 | lo);
      p += 2;
    }
    if (n + 1 >= cap) {
      snprintf(what, sizeof(what), "the %s is longer than %zu bytes", part, cap - 1);
      return bad(err, what);
    }
    out[n++] = c;
  }
  out[n] = 0;
  return 0;
}

static int parse_port(const char *from, const char *end, struct pe_source_opts *o,
                      struct pe_err *err) {
  if (from == end) {
    return bad(err, "there is no number behind the host's colon");
  }
  unsigned v = 0;
  for (const char *p = from; p < end; p++) {
    if (*p < '0' || *p > '9' || v > PORT_MAX) {
      return bad(err, "the port is not a number from 1 to 65535");
    }
    v = v * 10 + (unsigned)(*p - '0');
  }
  if (v == 0 || v > PORT_MAX) {
    return bad(err, "the port is not a number from 1 to 65535");
  }
  o->port = v;
  return 0;
}

static int parse_host(const char *from, const char *end, struct pe_source_opts *o,
                      struct pe_err *err) {
  const char *host_end = end;
  const char *port = NULL;
  if (from < end && *from == '[') {
    const char *close = memchr(from, ']', (size_t)(end - from));
    if (!close) {
      return bad(err, "the IPv6 address has no closing bracket");
    }
    if (close + 1 < end) {
      if (close[1] != ':') {
        return bad(err, "something other than a port follows the IPv6 address");
      }
      port = close + 2;
    }
    from++;
    host_end = close;
  } else {
    const char *colon = memchr(from, ':', (size_t)(end - from));
    if (colon) {
      host_end = colon;
      port = colon + 1;
    }
  }
  int rc = decode(from, host_end, o->host, sizeof(o->host), "host", err);
  if (!rc && port) {
    rc = parse_port(port, end, o, err);
  }
  return rc;
}

static int set_tls(const char *value, struct pe_source_opts *o, struct pe_err *err) {
  static const char *const names[] = {"off", "required", "verify"};
  static const enum pe_tls modes[] = {PE_TLS_OFF, PE_TLS_REQUIRED, PE_TLS_VERIFY};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strcmp(value, names[i]) == 0) {
      o->tls = modes[i];
      return 0;
    }
  }
  return bad(err, "tls is off, required or verify");
}

static int set_option(const char *key, const char *value, struct pe_source_opts *o,
                      struct pe_err *err) {
  static const char *const known[] = {"tls", "ca", "socket", "compress"};
  if (strcmp(key, "tls") == 0) {
    return set_tls(value, o, err);
  }
  if (strcmp(key, "ca") == 0) {
    snprintf(o->tls_ca, sizeof(o->tls_ca), "%s", value);
    return 0;
  }
  if (strcmp(key, "socket") == 0) {
    if (strlen(value) >= sizeof(o->socket)) {
      return bad(err, "the socket's path is too long");
    }
    memcpy(o->socket, value, strlen(value) + 1);
    return 0;
  }
  if (strcmp(key, "compress") == 0) {
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0) {
      return bad(err, "compress is 0 or 1");
    }
    o->compress = value[0] == '1';
    return 0;
  }
  const char *nearest = pe_str_nearest(key, known, sizeof(known) / sizeof(known[0]));
  return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL,
                    "unknown option behind the '?'%s%s%s; known are tls, ca, socket "
                    "and compress",
                    nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
}

static int parse_options(const char *at, struct pe_source_opts *o, struct pe_err *err) {
  while (*at) {
    const char *end = at + strcspn(at, "&");
    const char *eq = memchr(at, '=', (size_t)(end - at));
    if (!eq) {
      return bad(err, "an option behind the '?' has no value");
    }
    char key[32], value[OPTION_MAX];
    int rc = decode(at, eq, key, sizeof(key), "name of an option", err);
    if (!rc) {
      rc = decode(eq + 1, end, value, sizeof(value), "value of an option", err);
    }
    if (!rc) {
      rc = set_option(key, value, o, err);
    }
    if (rc) {
      return rc;
    }
    at = *end ? end + 1 : end;
  }
  return 0;
}

static int parse_user(const char *from, const char *end, struct pe_source_opts *o,
                      struct pe_err *err) {
  const char *colon = memchr(from, ':', (size_t)(end - from));
  int rc = decode(from, colon ? colon : end, o->user, sizeof(o->user), "user", err);
  if (!rc && colon) {
    rc = decode(colon + 1, end, o->password, sizeof(o->password), "password", err);
  }
  return rc;
}

/* The last '@' of the authority ends the user's part: passwords are pasted with an '@' in them. */
static int parse_authority(const char *from, const char *end, struct pe_source_opts *o,
                           struct pe_err *err) {
  const char *at = memrchr(from, '@', (size_t)(end - from));
  if (!at) {
    return bad(err, "there is no user (user@host)");
  }
  int rc = parse_user(from, at, o, err);
  if (!rc) {
    rc = parse_host(at + 1, end, o, err);
  }
  if (!rc && !o->user[0]) {
    rc = bad(err, "there is no user (user@host)");
  }
  return rc;
}

int pe_source_parse_url(const char *url, struct pe_source_opts *o, struct pe_err *err) {
  memset(o, 0, sizeof(*o));
  o->port = PORT_DEFAULT;
  const char *at = NULL;
  static const char *const schemes[] = {"mysql://", "mariadb://"};
  for (size_t i = 0; i < 2; i++) {
    if (strncmp(url, schemes[i], strlen(schemes[i])) == 0) {
      at = url + strlen(schemes[i]);
    }
  }
  if (!at) {
    return bad(err, "it does not begin with mysql://");
  }
  const char *authority_end = at + strcspn(at, "/?");
  int rc = parse_authority(at, authority_end, o, err);
  if (rc) {
    return rc;
  }
  at = authority_end;
  if (*at == '/') {
    const char *end = at + strcspn(at, "?");
    rc = decode(at + 1, end, o->database, sizeof(o->database), "database", err);
    at = end;
  }
  if (!rc && *at == '?') {
    rc = parse_options(at + 1, o, err);
  }
  if (!rc && !o->host[0] && !o->socket[0]) {
    rc = bad(err, "there is no host");
  }
  return rc;
}
