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

/* The same for one column; full metadata of m counts. */
int pe_binlog_schema_check_column(const struct pe_column *c, const struct pe_map_column *mc,
                                  const struct pe_binlog_map *m, struct pe_err *err);
/* What to call a type in messages: "BIGINT". */
const char *pe_binlog_type_word(uint8_t type);

/* A version (source columns only, finished) out of a TABLE_MAP with full metadata: for rows of a
 * version that the source has left behind already. Columns that old or loaded (may be NULL) know
 * are taken from there. PE_ESOURCE_SCHEMA when the metadata don't suffice. */
int pe_binlog_schema_from_map(const struct pe_table *old, const struct pe_table *loaded,
                              const struct pe_binlog_map *m, struct pe_table **out,
                              struct pe_err *err);

/* `loaded` (source columns only) with the id, extras, pii and excluded flags of `old`: a finished
 * table, or NULL with err. */
struct pe_table *pe_binlog_schema_adopt(const struct pe_table *old, const struct pe_table *loaded,
                                        struct pe_err *err);

#endif
