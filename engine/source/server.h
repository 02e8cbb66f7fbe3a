/* A connection to a MySQL or MariaDB server, what it is, and whether it is set up for capture.
 * Everything here blocks: call it from a thread of your own, never from the loop. */
#ifndef PE_SOURCE_SERVER_H
#define PE_SOURCE_SERVER_H

#include <mysql.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "model/position.h"
#include "model/table.h"

enum pe_tls {
  PE_TLS_DEFAULT /* verify for remote hosts, off for loopback and sockets */,
  PE_TLS_OFF,
  PE_TLS_REQUIRED /* encrypted, certificate not checked */,
  PE_TLS_VERIFY
};

struct pe_source_opts {
  char host[256];
  unsigned port;
  char socket[256]; /* unix socket path, "" for TCP */
  char user[128];
  char password[512]; /* secret */
  char database[128]; /* default database of unqualified tables */
  enum pe_tls tls;
  char tls_ca[512];
  unsigned connect_timeout_ms; /* 0: 10,000 */
  unsigned read_timeout_ms;    /* without a byte from the server; 0: 60,000 */
  uint32_t server_id;          /* as a replica; 0: derived from the pipeline name by the caller */
  bool compress;               /* protocol compression */
};

/* mysql://user:password@host:port/db?tls=off|required|verify&ca=FILE&socket=PATH&compress=1 ;
 * percent-decoded. PE_ECONFIG; the message never holds the password. */
int pe_source_parse_url(const char *url, struct pe_source_opts *o, struct pe_err *err);

struct pe_server_info {
  bool mariadb;
  unsigned version; /* 101119 for 10.11.19 */
  char version_text[128];
  char identity[128]; /* server_uuid, or for MariaDB "server_id:<id>@<hostname>:<port>" */
  uint32_t server_id;
  bool log_bin, row_format, full_image, full_metadata;
  bool gtid;
};

/* connect: sets utf8mb4, time_zone +00:00, a read time-out. Codes: PE_ESOURCE_DOWN (RETRY),
 * PE_ESOURCE_AUTH. */
MYSQL *pe_source_connect(const struct pe_source_opts *o, struct pe_err *err);
int pe_source_info(MYSQL *m, struct pe_server_info *info, struct pe_err *err);
/* Where the log ends now (SHOW MASTER STATUS / SHOW BINARY LOG STATUS); generation etc. are left as
 * they are. */
int pe_source_position(MYSQL *m, struct pe_position *pos, struct pe_err *err);
/* A query whose result is small; rows through the callback (NULL cells are NULL). cb returns
 * non-zero to stop. */
int pe_source_query(MYSQL *m, const char *sql,
                    int (*cb)(void *arg, unsigned ncols, char **cells, unsigned long *lengths),
                    void *arg, struct pe_err *err);
/* A table version (source columns only, finished) from information_schema.
 * PE_ESOURCE_SCHEMA when there is no such table, PE_ESOURCE_KEY when it has no primary (or unique,
 * not-null) key. */
int pe_source_load_table(MYSQL *m, const char *db, const char *table, struct pe_table **out,
                         struct pe_err *err);

/* What doctor prints and what run refuses to start on. */
struct pe_finding {
  bool fatal;     /* the engine can't be exact with this */
  int code;       /* PE_ESOURCE_* */
  char what[512]; /* "binlog_row_image is MINIMAL" */
  char mend[512]; /* "SET GLOBAL binlog_row_image = FULL; and in my.cnf: ..." */
};
/* Settings, grants, retention, keyless tables, foreign-key cascades that the server does not log,
 * server_id clash. tables: names in `db`. Returns the number of findings written (at most max), or
 * a negative code. */
int pe_source_check(MYSQL *m, const struct pe_source_opts *o, const char *db,
                    const char *const *tables, unsigned ntables, struct pe_finding *findings,
                    unsigned max, struct pe_err *err);

#endif
