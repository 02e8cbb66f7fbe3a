/* Errors: a code, a class that decides what happens next, and a chain of messages for a person.
 *
 * A function that can fail returns 0 or a negative PE_E* and fills *err. The innermost function
 * says what happened (pe_err_set); callers prepend what they were doing (pe_err_wrap), so the text
 * reads "outer: inner: what to do next". An error is logged once, where it is handled, never where
 * it is raised. No secret and no row value may be put into a message.
 */
#ifndef PE_BASE_ERR_H
#define PE_BASE_ERR_H

#include <stddef.h>

enum pe_code {
  PE_OK = 0,
  PE_EINTERNAL = -1,       /* a bug here; exit 70 */
  PE_ENOMEM = -2,          /* exit 71 */
  PE_EUSAGE = -3,          /* command line; exit 64 */
  PE_ECONFIG = -4,         /* pipeline file, unknown key, bad value; exit 78 */
  PE_ESCRIPT = -5,         /* Lua syntax, not a function, failed load; exit 65 */
  PE_ESOURCE_DOWN = -6,    /* MySQL unreachable or connection lost; exit 69 */
  PE_ESOURCE_AUTH = -7,    /* wrong user or password; exit 77 */
  PE_ESOURCE_GRANT = -8,   /* a missing grant; exit 77 */
  PE_ESOURCE_SETTING = -9, /* log_bin off, format not ROW, image not FULL; exit 78 */
  PE_ESOURCE_ID = -10,     /* server_id already in use; exit 69 */
  PE_ESOURCE_KEY = -11,    /* a captured table without primary key; exit 65 */
  PE_ESOURCE_PURGED = -12, /* the position is no longer in the binlog; exit 66 */
  PE_ESOURCE_PROTO = -13,  /* an event that makes no sense; exit 76 */
  PE_ESOURCE_SCHEMA = -14, /* table missing or not the known version; exit 65 */
  PE_ESINK_DOWN = -15,     /* ClickHouse unreachable; exit 69 */
  PE_ESINK_AUTH = -16,     /* ClickHouse refused the user; exit 77 */
  PE_ESINK_SCHEMA = -17,   /* target table or column missing or too narrow; exit 78 */
  PE_ESINK_REFUSED = -18,  /* ClickHouse refused a statement or block; exit 65 */
  PE_ESTATE = -19,         /* state store unreadable or disk full; exit 74 */
  PE_ELOCKED = -20,        /* another engine uses this state store; exit 75 */
  PE_EIO = -21,            /* file or socket; exit 74 */
  PE_EDATA = -22,          /* a value or file that is malformed; exit 65 */
  PE_ETIMEOUT = -23,       /* exit 75 */
  PE_ESTOPPED = -24,       /* asked to stop; exit 0 */
  PE_ESOURCE_OTHER = -25,  /* the source is another server or another history; exit 65 */
};

enum pe_class {
  PE_CLASS_FATAL,  /* stop, a person is needed */
  PE_CLASS_RETRY,  /* back off and try again */
  PE_CLASS_POISON, /* this row goes to the DLQ, the stream goes on */
};

enum { PE_ERR_TEXT_MAX = 2048 };

struct pe_err {
  int code;
  enum pe_class cls;
  char text[PE_ERR_TEXT_MAX]; /* always NUL-terminated; cut with "..." when longer */
};

#define PE_ERR_INIT      \
  {                      \
    0, PE_CLASS_FATAL, { \
      0                  \
    }                    \
  }

/* Sets code, class and text; returns code. err may be NULL. */
int pe_err_set(struct pe_err *err, int code, enum pe_class cls, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Prepends "<fmt>: " to the text; code and class stay. Returns err->code. */
int pe_err_wrap(struct pe_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The process exit code (sysexits.h) for a pe_code. */
int pe_err_exit_code(int code);
/* A short stable word for a pe_code ("source_purged"), for logs and metrics. */
const char *pe_err_name(int code);

#endif
