/* Lookups: small tables by key, kept from the stream itself, that transforms read.
 *
 * Filled by the snapshot of their table and updated in commit order, they are at every row what the
 * source was at that row's place. A key keeps every different value it has had (oldest first, the
 * last is today's, a deleted key has none today): a tombstone has to name what a row was written
 * with. Deltas are taken out per epoch and kept in the state store with the checkpoint, so a replay
 * starts from the lookups as they were. owner: the script thread. Memory: one flat hash table and
 * value arena per lookup.
 */
#ifndef PE_SCRIPT_LOOKUP_H
#define PE_SCRIPT_LOOKUP_H

#include "base/buf.h"
#include "base/err.h"
#include "model/batch.h"
#include "model/table.h"

struct pe_lookup;
struct pe_lookups;

struct pe_lookups *pe_lookups_create(void);
void pe_lookups_destroy(struct pe_lookups *ls);
/* Names: columns of `table`. Asking again for the same definition gives the same lookup. PE_ECONFIG
 * with the nearest name for an unknown table or column; a value column marked pii is refused.
 * `name` is "table(key):value,value". */
int pe_lookup_define(struct pe_lookups *ls, struct pe_table *table, const char *const *keys,
                     uint32_t nkeys, const char *const *values, uint32_t nvalues,
                     struct pe_lookup **out, struct pe_err *err);
/* The lookup of that name ("table(key):value,value"), NULL: nobody has defined it. */
struct pe_lookup *pe_lookup_find(const struct pe_lookups *ls, const char *name);
uint32_t pe_lookups_count(const struct pe_lookups *ls);
struct pe_lookup *pe_lookups_at(const struct pe_lookups *ls, uint32_t i);
const char *pe_lookup_name(const struct pe_lookup *l);
const struct pe_table *pe_lookup_table(const struct pe_lookup *l);
uint64_t pe_lookup_keys(const struct pe_lookup *l);
uint64_t pe_lookup_bytes(const struct pe_lookup *l);
bool pe_lookup_filled(
    const struct pe_lookup *l); /* its table was read to the end, or it was loaded */
void pe_lookup_set_filled(struct pe_lookup *l, bool filled);

/* Before the transforms run: what images [from, from+n) changes of a segment mean for every lookup
 * on its table. A snapshot row that an already known newer value contradicts only adds history.
 * PE_ENOMEM. */
int pe_lookups_apply(struct pe_lookups *ls, const struct pe_segment *seg, uint32_t from,
                     uint32_t n);
int pe_lookups_table_changed(struct pe_lookups *ls, struct pe_table *t, struct pe_err *err);
bool pe_lookups_uses(const struct pe_lookups *ls, const struct pe_table *t); /* by db and name */

/* Entries changed since the last take, each as key bytes and value bytes (history included; nvalue
 * 0 never happens). */
int pe_lookup_take_deltas(struct pe_lookup *l,
                          int (*cb)(void *arg, const void *key, size_t nkey, const void *value,
                                    size_t nvalue),
                          void *arg);
/* Back from the state store. PE_EDATA. */
int pe_lookup_load(struct pe_lookup *l, const void *key, size_t nkey, const void *value,
                   size_t nvalue, struct pe_err *err);

#endif
