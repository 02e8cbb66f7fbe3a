/* What ClickHouse says about a table, as text, into a struct pe_target. Apart from target.c so that
 * it can be tested without a server. */
#ifndef PE_SINK_TARGET_PARSE_H
#define PE_SINK_TARGET_PARSE_H

#include "sink/target.h"

/* One line of FORMAT TabSeparated, unescaped in place; *line moves behind it. fields[i] are
 * NUL-terminated; "\N" becomes NULL. Returns the number of fields, 0 at the end, -1 when there are
 * more than max. */
int pe_tsv_next(char **line, char **fields, int max);

/* Lines of name, type, default_kind, is_in_sorting_key, is_in_partition_key. */
int pe_target_parse_columns(struct pe_target *t, char *tsv, struct pe_err *err);
/* partition_key of system.tables; columns and server_utc must be there. */
void pe_target_parse_partition(struct pe_target *t, const char *expr);
/* The value of a setting in engine_full; false when it isn't set there. */
bool pe_target_setting(const char *engine_full, const char *name, uint64_t *value);

#endif
