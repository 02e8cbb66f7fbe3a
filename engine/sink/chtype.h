/* Texts of ClickHouse types, as system.columns has them, taken apart into a struct pe_chcolumn.
 * Pure; strings go into the arena. A type not known here is PE_CH_OTHER, which is sent as String
 * and converted by ClickHouse.
 * https://clickhouse.com/docs/sql-reference/data-types */
#ifndef PE_SINK_CHTYPE_H
#define PE_SINK_CHTYPE_H

#include "base/arena.h"
#include "sink/target.h"

/* Fills type_text, wire_type, kind, width_bytes, scale, precision, nullable, is_bool, timezone.
 * PE_ENOMEM. */
int pe_chtype_parse(const char *text, struct pe_arena *a, struct pe_chcolumn *c);

/* "Name(a, b)": the text inside the outer brackets, when `text` is exactly that call; matched
 * without regard to quotes inside. */
bool pe_chtype_call(const char *text, size_t n, const char *name, const char **inside,
                    size_t *inside_n);

#endif
