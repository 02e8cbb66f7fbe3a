/* Connections to the source and small questions to it. Blocking; owner: the calling thread.
 * Fails with PE_ESOURCE_*: what waiting can mend has class RETRY, all else FATAL. Texts of the
 * server are passed on only where they cannot hold a value of a row. */
#include "source/server.h"

#include <arpa/inet.h>
#include <errmsg.h>
#include <mysqld_error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "source/snapshot_internal.h"

enum {
  CONNECT_TIMEOUT_MS_DEFAULT = 10000,
  READ_TIMEOUT_MS_DEFAULT = 60000,
  WRITE_TIMEOUT_S = 60,
  /* What the server waits for us: a target that is away must not cost the connection at once. */
  SERVER_WAIT_S = 3600,
  COMMIT_WAIT_MS = 1000,
  COMMIT_POLL_MS = 2,
  COMMIT_POLLS_MAX = 5000
};
static const unsigned long PACKET_BYTES_MAX = 1ul << 30;

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void library_init(void) {
  mysql_server_init(0, NULL, NULL);
}

static bool is_local(const struct pe_source_opts *o) {
  uint8_t v4[4]; /* parsed, because "127.0.0.1.example.com" is somewhere else */
  return o->socket[0] || strcmp(o->host, "::1") == 0 || strcmp(o->host, "localhost") == 0 ||
         (inet_pton(AF_INET, o->host, v4) == 1 && v4[0] == 127);
}

static enum pe_tls tls_mode(const struct pe_source_opts *o) {
  if (o->tls != PE_TLS_DEFAULT) {
    return o->tls;
  }
  return is_local(o) ? PE_TLS_OFF : PE_TLS_VERIFY;
}

static void set_options(MYSQL *m, const struct pe_source_opts *o) {
  unsigned connect_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS_DEFAULT;
  unsigned read_ms = o->read_timeout_ms ? o->read_timeout_ms : READ_TIMEOUT_MS_DEFAULT;
  unsigned connect_s = (connect_ms + 999) / 1000;
  unsigned read_s = (read_ms + 999) / 1000;
  unsigned write_s = WRITE_TIMEOUT_S;
  unsigned off = 0;
  my_bool yes = 1;
  mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
  mysql_options(m, MYSQL_OPT_READ_TIMEOUT, &read_s);
  mysql_options(m, MYSQL_OPT_WRITE_TIMEOUT, &write_s);
  mysql_options(m, MYSQL_OPT_LOCAL_INFILE, &off);
  mysql_options(m, MYSQL_SET_CHARSET_NAME, "utf8mb4");
  mysql_options(m, MYSQL_OPT_MAX_ALLOWED_PACKET, &PACKET_BYTES_MAX);
  mysql_options4(m, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "pipe-engine");
  if (o->compress) {
    mysql_options(m, MYSQL_OPT_COMPRESS, NULL);
  }
  enum pe_tls tls = tls_mode(o);
  if (tls == PE_TLS_REQUIRED || tls == PE_TLS_VERIFY) {
    mysql_options(m, MYSQL_OPT_SSL_ENFORCE, &yes);
    if (o->tls_ca[0]) {
      mysql_options(m, MYSQL_OPT_SSL_CA, o->tls_ca);
    }
  }
  if (tls == PE_TLS_VERIFY) {
    mysql_options(m, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
  }
}

static void where_text(const struct pe_source_opts *o, char *buf, size_t n) {
  if (o->socket[0]) {
    snprintf(buf, n, "socket %s", o->socket);
  } else if (strchr(o->host, ':')) {
    snprintf(buf, n, "[%s]:%u", o->host, o->port);
  } else {
    snprintf(buf, n, "%s:%u", o->host, o->port);
  }
}

/* A certificate that is not trusted stays so; a handshake cut short can be tried again. */
static int tls_error(const struct pe_source_opts *o, const char *where, const char *text,
                     struct pe_err *err) {
  bool refused = strcasestr(text, "certif") || strcasestr(text, "verif") ||
                 strcasestr(text, "not support") || strcasestr(text, "required") ||
                 strcasestr(text, "no such file");
  if (!refused) {
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "MySQL at %s: TLS: %s", where, text);
  }
  return pe_err_set(
      err, PE_ESOURCE_AUTH, PE_CLASS_FATAL, "MySQL at %s: TLS: %s; %s", where, text,
      tls_mode(o) == PE_TLS_VERIFY
          ? "name the server's CA in the source url (?tls=verify&ca=FILE), or, where the network "
            "is trusted, say ?tls=required (encrypted, certificate unchecked) or ?tls=off"
          : "give the server a certificate (ssl_cert, ssl_key), or say ?tls=off in the source url "
            "where the network is trusted");
}

static int connect_error(MYSQL *m, const struct pe_source_opts *o, struct pe_err *err) {
  char where[300];
  where_text(o, where, sizeof(where));
  unsigned code = mysql_errno(m);
  const char *text = mysql_error(m);
  switch (code) {
    case CR_UNKNOWN_HOST:
      return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                        "MySQL at %s: the host name is not known; is it right in the source url?",
                        where);
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_LOST:
    case CR_SERVER_HANDSHAKE_ERR:
      return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                        "MySQL at %s cannot be reached: %s; is the server running and does it "
                        "listen there?",
                        where, text);
    case CR_SSL_CONNECTION_ERROR:
      return tls_error(o, where, text, err);
    case ER_ACCESS_DENIED_ERROR:
    case 1698: /* ER_ACCESS_DENIED_NO_PASSWORD_ERROR */
      return pe_err_set(err, PE_ESOURCE_AUTH, PE_CLASS_FATAL,
                        "MySQL at %s refused user '%s' (%s password given); check user and "
                        "password in the source url, and the host part of the account",
                        where, o->user, o->password[0] ? "a" : "no");
    case ER_DBACCESS_DENIED_ERROR:
      return pe_err_set(err, PE_ESOURCE_AUTH, PE_CLASS_FATAL,
                        "MySQL at %s: user '%s' may not use database '%s'; it needs GRANT SELECT "
                        "ON `%s`.* and GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.*",
                        where, o->user, o->database, o->database);
    case ER_BAD_DB_ERROR:
      return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                        "MySQL at %s has no database '%s'; check the source url", where,
                        o->database);
    case ER_HOST_NOT_PRIVILEGED:
    case ER_HOST_IS_BLOCKED:
    case ER_NOT_SUPPORTED_AUTH_MODE:
    case 1862: /* ER_MUST_CHANGE_PASSWORD_LOGIN */
    case 3118: /* ER_ACCOUNT_HAS_BEEN_LOCKED */
    case 4151: /* the same in MariaDB */
    case CR_AUTH_PLUGIN_CANNOT_LOAD:
    case CR_AUTH_PLUGIN_ERR:
      return pe_err_set(err, PE_ESOURCE_AUTH, PE_CLASS_FATAL, "MySQL at %s refused user '%s': %s",
                        where, o->user, text);
    default:
      return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "MySQL at %s: %s (error %u)", where,
                        text, code);
  }
}

static bool lost_or_busy(unsigned code) {
  switch (code) {
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_LOST:
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case CR_SSL_CONNECTION_ERROR:
    case ER_CON_COUNT_ERROR:
    case ER_OUT_OF_RESOURCES:
    case ER_OUTOFMEMORY:
    case ER_SERVER_SHUTDOWN:
    case ER_NORMAL_SHUTDOWN:
    case ER_NET_PACKETS_OUT_OF_ORDER:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_LOCK_DEADLOCK:
    case ER_USER_LIMIT_REACHED:
    case ER_QUERY_INTERRUPTED:
    case ER_TABLE_DEF_CHANGED:
    case ER_CANT_CREATE_THREAD:
    case 1615: /* ER_NEED_REPREPARE */
    case 1927: /* ER_CONNECTION_KILLED, MariaDB */
    case 1969: /* ER_STATEMENT_TIMEOUT, MariaDB */
    case 3024: /* ER_QUERY_TIMEOUT, MySQL */
    case 3032: /* ER_SERVER_OFFLINE_MODE */
    case 3169: /* ER_SESSION_WAS_KILLED */
    case 4031: /* ER_CLIENT_INTERACTION_TIMEOUT */
      return true;
    default:
      return false;
  }
}

int pe_source_error(MYSQL *m, struct pe_err *err) {
  unsigned code = mysql_errno(m);
  const char *text = mysql_error(m);
  if (lost_or_busy(code)) {
    return pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY, "MySQL: %s (error %u)", text, code);
  }
  switch (code) {
    case ER_DBACCESS_DENIED_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
    case ER_COLUMNACCESS_DENIED_ERROR:
    case ER_SPECIFIC_ACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_ERROR:
      return pe_err_set(err, PE_ESOURCE_GRANT, PE_CLASS_FATAL,
                        "MySQL: %s; `pipe-engine doctor` prints the GRANT to give", text);
    case ER_BAD_DB_ERROR:
    case ER_NO_SUCH_TABLE:
    case ER_BAD_FIELD_ERROR:
      return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL, "MySQL: %s", text);
    case CR_OUT_OF_MEMORY:
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory in the MySQL client");
    case ER_PARSE_ERROR:
    case ER_TRUNCATED_WRONG_VALUE:
    case 1366: /* ER_TRUNCATED_WRONG_VALUE_FOR_FIELD */
    case 1525: /* ER_WRONG_VALUE */
      return pe_err_set(
          err, PE_ESOURCE_PROTO, PE_CLASS_FATAL,
          "MySQL refused a query (error %u; its text is left out, it may hold values)", code);
    default:
      return pe_err_set(err, PE_ESOURCE_PROTO, PE_CLASS_FATAL, "MySQL: %s (error %u)", text, code);
  }
}

static int set_session(MYSQL *m, struct pe_err *err) {
  char sql[512];
  /* An empty sql_mode: backslashes and backticks mean what they usually do, zero dates compare. */
  snprintf(sql, sizeof(sql),
           "SET SESSION time_zone = '+00:00', sql_mode = '', net_write_timeout = %d, "
           "net_read_timeout = %d, wait_timeout = 28800, sql_select_limit = DEFAULT, %s",
           SERVER_WAIT_S, SERVER_WAIT_S,
           mariadb_connection(m) ? "max_statement_time = 0" : "max_execution_time = 0");
  if (mysql_query(m, sql)) {
    return pe_source_error(m, err);
  }
  return 0;
}

MYSQL *pe_source_connect(const struct pe_source_opts *o, struct pe_err *err) {
  pthread_once(&library_once, library_init);
  MYSQL *m = mysql_init(NULL);
  if (!m) {
    pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
    return NULL;
  }
  set_options(m, o);
  bool socket = o->socket[0] != 0;
  /* The library takes "localhost" for the socket's name; a TCP port was asked for. */
  const char *host = strcmp(o->host, "localhost") == 0 ? "127.0.0.1" : o->host;
  if (!mysql_real_connect(m, socket ? NULL : host, o->user, o->password,
                          o->database[0] ? o->database : NULL, o->port, socket ? o->socket : NULL,
                          0)) {
    connect_error(m, o, err);
    mysql_close(m);
    return NULL;
  }
  enum pe_tls tls = tls_mode(o);
  if ((tls == PE_TLS_REQUIRED || tls == PE_TLS_VERIFY) && !mysql_get_ssl_cipher(m)) {
    char where[300];
    where_text(o, where, sizeof(where));
    tls_error(o, where, "the server does not support it", err);
    mysql_close(m);
    return NULL;
  }
  if (set_session(m, err)) {
    pe_err_wrap(err, "set up the connection");
    mysql_close(m);
    return NULL;
  }
  return m;
}

int pe_source_query(MYSQL *m, const char *sql,
                    int (*cb)(void *arg, unsigned ncols, char **cells, unsigned long *lengths),
                    void *arg, struct pe_err *err) {
  if (mysql_query(m, sql)) {
    return pe_source_error(m, err);
  }
  MYSQL_RES *res = mysql_store_result(m);
  if (!res) {
    return mysql_field_count(m) ? pe_source_error(m, err) : 0;
  }
  unsigned ncols = mysql_num_fields(res);
  MYSQL_ROW row;
  while ((row = mysql_fetch_row(res)) != NULL) {
    if (cb && cb(arg, ncols, row, mysql_fetch_lengths(res))) {
      break;
    }
  }
  mysql_free_result(res);
  return 0;
}

struct one_value {
  char *out;
  size_t n;
  unsigned col;
  bool found;
};

static int take_one(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct one_value *v = arg;
  (void)lengths;
  if (v->col < ncols && cells[v->col]) {
    snprintf(v->out, v->n, "%s", cells[v->col]);
    v->found = true;
  }
  return 1;
}

int pe_source_variable(MYSQL *m, const char *name, char *out, size_t n, struct pe_err *err) {
  char sql[160];
  snprintf(sql, sizeof(sql), "SHOW GLOBAL VARIABLES LIKE '%s'", name);
  out[0] = 0;
  struct one_value v = {out, n, 1, false};
  int rc = pe_source_query(m, sql, take_one, &v, err);
  return rc ? pe_err_wrap(err, "read %s", name) : v.found;
}

int pe_source_scalar(MYSQL *m, const char *sql, char *out, size_t n, struct pe_err *err) {
  out[0] = 0;
  struct one_value v = {out, n, 0, false};
  int rc = pe_source_query(m, sql, take_one, &v, err);
  return rc ? rc : v.found;
}

static bool is_on(const char *v) {
  return strcmp(v, "ON") == 0 || strcmp(v, "1") == 0;
}

static int read_identity(MYSQL *m, struct pe_server_info *info, struct pe_err *err) {
  char host[256], port[16];
  int rc;
  if (!info->mariadb) {
    rc = pe_source_variable(m, "server_uuid", info->identity, sizeof(info->identity), err);
    return rc < 0 ? rc : 0;
  }
  rc = pe_source_variable(m, "hostname", host, sizeof(host), err);
  if (rc >= 0) {
    rc = pe_source_variable(m, "port", port, sizeof(port), err);
  }
  if (rc < 0) {
    return rc;
  }
  snprintf(info->identity, sizeof(info->identity), "server_id:%u@%.90s:%s", info->server_id, host,
           port);
  return 0;
}

int pe_source_info(MYSQL *m, struct pe_server_info *info, struct pe_err *err) {
  memset(info, 0, sizeof(*info));
  info->mariadb = mariadb_connection(m) != 0;
  info->version = (unsigned)mysql_get_server_version(m);
  snprintf(info->version_text, sizeof(info->version_text), "%s", mysql_get_server_info(m));
  static const char *const names[] = {"server_id",        "log_bin",   "binlog_format",
                                      "binlog_row_image", "gtid_mode", "binlog_row_metadata"};
  enum { SERVER_ID, LOG_BIN, FORMAT, IMAGE, GTID, METADATA, COUNT };
  char v[COUNT][64];
  int found[COUNT];
  for (int i = 0; i < COUNT; i++) {
    found[i] = pe_source_variable(m, names[i], v[i], sizeof(v[i]), err);
    if (found[i] < 0) {
      return found[i];
    }
  }
  info->server_id = (uint32_t)strtoul(v[SERVER_ID], NULL, 10);
  info->log_bin = is_on(v[LOG_BIN]);
  /* A server without the variable knows no other way. */
  info->row_format = !found[FORMAT] || strcmp(v[FORMAT], "ROW") == 0;
  info->full_image = !found[IMAGE] || strcmp(v[IMAGE], "FULL") == 0;
  info->full_metadata = strcmp(v[METADATA], "FULL") == 0;
  info->gtid = info->mariadb || strcmp(v[GTID], "ON") == 0;
  return read_identity(m, info, err);
}

static int take_position(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct pe_position *pos = arg;
  (void)lengths;
  if (ncols >= 2 && cells[0] && cells[1]) {
    snprintf(pos->file, sizeof(pos->file), "%s", cells[0]);
    pos->pos = strtoull(cells[1], NULL, 10);
  }
  return 1;
}

static int take_status(void *arg, unsigned ncols, char **cells, unsigned long *lengths) {
  struct pe_position *pos = arg;
  (void)ncols;
  (void)lengths;
  if (strcasecmp(cells[0], "binlog_snapshot_file") == 0) {
    snprintf(pos->file, sizeof(pos->file), "%s", cells[1]);
  } else {
    pos->pos = strtoull(cells[1], NULL, 10);
  }
  return 0;
}

/* Are all transactions that were underway in `before` gone from `now`? Both read "uuid:7#12:9#31";
 * what is between two '#' or commas names a transaction and its thread. */
static bool owned_gone(const char *before, const char *now) {
  char token[96];
  for (const char *p = before; *p;) {
    size_t n = strcspn(p, "#");
    const char *number = p + n;
    while (number > p && number[-1] != ':') {
      number--;
    }
    size_t end = n + strcspn(p + n, ":,\n");
    size_t len = (size_t)(p + end - number);
    if (len && len < sizeof(token) - 2) {
      memcpy(token, number, len);
      token[len] = 0;
      if (strstr(now, token)) {
        return false;
      }
    }
    p += end + (p[end] != 0);
  }
  return true;
}

/* The end of MySQL's log may lie behind transactions that are written there and not yet to be seen
 * by a SELECT. Rows read now would lack them, and the log read from there too: so wait until they
 * are through. */
static int wait_for_commits(MYSQL *m, struct pe_err *err) {
  char before[4096], now[4096];
  int rc = pe_source_scalar(m, "SELECT @@GLOBAL.gtid_mode", now, sizeof(now), err);
  if (rc < 0) {
    return rc;
  }
  if (strncmp(now, "ON", 2) != 0) {
    pe_sleep_ms(COMMIT_WAIT_MS); /* without GTIDs nothing tells; a commit takes far less */
    return 0;
  }
  rc = pe_source_scalar(m, "SELECT @@GLOBAL.gtid_owned", before, sizeof(before), err);
  for (int i = 0; rc >= 0 && i < COMMIT_POLLS_MAX; i++) {
    if (!before[0]) {
      return 0;
    }
    rc = pe_source_scalar(m, "SELECT @@GLOBAL.gtid_owned", now, sizeof(now), err);
    if (rc >= 0 && owned_gone(before, now)) {
      return 0;
    }
    pe_sleep_ms(COMMIT_POLL_MS);
  }
  return rc < 0 ? rc
                : pe_err_set(err, PE_ESOURCE_DOWN, PE_CLASS_RETRY,
                             "transactions at the end of the binlog do not finish to commit; is "
                             "the server's disk full, or does it wait for a replica?");
}

static int position_refused(MYSQL *m, struct pe_err *err) {
  char account[256];
  pe_source_account(m, account, sizeof(account));
  return pe_err_set(err, PE_ESOURCE_GRANT, PE_CLASS_FATAL,
                    "asking where the binlog ends was refused: GRANT REPLICATION SLAVE, "
                    "REPLICATION CLIENT ON *.* TO %s",
                    account);
}

int pe_source_position(MYSQL *m, struct pe_position *pos, struct pe_err *err) {
  bool mariadb = mariadb_connection(m) != 0;
  bool renamed = !mariadb && mysql_get_server_version(m) >= 80400;
  int rc = 0;
  pos->file[0] = 0;
  pos->pos = 0;
  if (mariadb) {
    /* The end of the last transaction that a SELECT sees; SHOW MASTER STATUS is ahead of it. */
    rc = pe_source_query(m, "SHOW GLOBAL STATUS LIKE 'binlog_snapshot_%'", take_status, pos, err);
  }
  if (!rc && !pos->file[0]) {
    rc = pe_source_query(m, renamed ? "SHOW BINARY LOG STATUS" : "SHOW MASTER STATUS",
                         take_position, pos, err);
  }
  if (rc == PE_ESOURCE_GRANT) {
    return position_refused(m, err);
  }
  if (!rc && !mariadb && pos->file[0]) {
    rc = wait_for_commits(m, err);
  }
  if (rc < 0) {
    return pe_err_wrap(err, "ask where the binlog ends");
  }
  if (!pos->file[0]) {
    return pe_err_set(err, PE_ESOURCE_SETTING, PE_CLASS_FATAL,
                      "the server writes no binlog: set log_bin (and a server_id) in my.cnf under "
                      "[mysqld] and restart it");
  }
  return 0;
}

void pe_source_account(MYSQL *m, char *out, size_t n) {
  char user[200];
  struct pe_err ignored = PE_ERR_INIT;
  if (pe_source_scalar(m, "SELECT CURRENT_USER()", user, sizeof(user), &ignored) <= 0) {
    snprintf(out, n, "that account");
    return;
  }
  char *at = strrchr(user, '@');
  if (!at) {
    snprintf(out, n, "'%s'", user);
    return;
  }
  *at = 0;
  snprintf(out, n, "'%s'@'%s'", user, at + 1);
}
