/* Shared by the files of the server and snapshot half of this room; nobody else includes it. */
#ifndef PE_SOURCE_SNAPSHOT_INTERNAL_H
#define PE_SOURCE_SNAPSHOT_INTERNAL_H

#include <mysql.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

/* The error of the last call on m as a pe_err. */
int pe_source_error(MYSQL *m, struct pe_err *err);
/* 1 found (text in out), 0 not there, negative on error. */
int pe_source_variable(MYSQL *m, const char *name, char *out, size_t n, struct pe_err *err);
int pe_source_scalar(MYSQL *m, const char *sql, char *out, size_t n, struct pe_err *err);
/* 'user'@'host' as a GRANT names it. */
void pe_source_account(MYSQL *m, char *out, size_t n);
/* The member texts of "enum('a','b')"; they lie in the arena. PE_EDATA, PE_ENOMEM. */
int pe_source_parse_members(const char *type_text, struct pe_arena *a, char ***members,
                            uint32_t *n);
/* The index whose columns are the table's key: PRIMARY, else a unique one of NOT NULL columns.
 * PE_ESOURCE_KEY. */
int pe_source_key_index(MYSQL *m, const char *db, const char *table, char *name, size_t n,
                        struct pe_err *err);
/* The name in db that looks most like this one; "" when none does. */
void pe_source_nearest_table(MYSQL *m, const char *db, const char *table, char *out, size_t n);

#endif
