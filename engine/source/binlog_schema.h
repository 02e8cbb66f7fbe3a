/* Does the known version of a table fit what a TABLE_MAP says? And the next version of it: the
 * source's new columns with what the pipeline had put on the old ones. No SQL is parsed for that.
 * owner: reader. */
#ifndef PE_SOURCE_BINLOG_SCHEMA_H
#define PE_SOURCE_BINLOG_SCHEMA_H

#include "model/table.h"
#include "source/binlog_map.h"
#include "source/decode_plan.h"

/* 0, or PE_ESOURCE_SCHEMA with the first difference as the text (no table, no position: the caller
 * wraps it), or PE_ESOURCE_SETTING for a column that can't be read as it is logged. */
int pe_binlog_schema_check(const struct pe_table *t, const struct pe_binlog_map *m,
                           struct pe_err *err);

/* The decode step of one column, 0 or as above. step->cs stays NULL. */
int pe_binlog_schema_step(const struct pe_column *c, const struct pe_map_column *mc,
                          struct pe_decode_step *step, struct pe_err *err);

/* `loaded` (source columns only) with the id, extras, pii and excluded flags of `old`: a finished
 * table, or NULL with err. */
struct pe_table *pe_binlog_schema_adopt(const struct pe_table *old, const struct pe_table *loaded,
                                        struct pe_err *err);

#endif
