/* Where in the change stream something is, and the `_version` a row change gets from it.
 *
 * _version = generation (7 bits) | number of the binlog file (22 bits) | byte offset of the row
 * image in that file (35 bits). A row image takes at least one byte of the file, so every image of
 * every change has its own number; it rises strictly with the log, is the same on every replay,
 * survives a rotation, and `pipe-engine position VERSION` can take it apart. The generation rises
 * when the history of the source is another one (fail-over, RESET, restore), so that lower file
 * numbers never lose against older rows. Where rows have no offset of their own (inside a
 * compressed transaction) the reader numbers them max(offset, last + 1), starting from
 * `base_version`, which makes that the same on every replay too.
 */
#ifndef PE_MODEL_POSITION_H
#define PE_MODEL_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum {
  PE_BINLOG_FILE_MAX = 256,
  PE_VERSION_OFFSET_BITS = 35,
  PE_VERSION_FILE_BITS = 22,
  PE_VERSION_GEN_BITS = 7
};

/* A place to go on from. Reading starts at `pos` (always a boundary between transactions) of
 * `file`; rows whose version is <= `version` have been dealt with and are skipped, which is how a
 * place in the middle of a large transaction is named. */
struct pe_position {
  char file[PE_BINLOG_FILE_MAX]; /* "" : nowhere yet */
  uint64_t pos;
  uint32_t generation;
  uint64_t base_version; /* last version given out before `pos` */
  uint64_t version;      /* last version dealt with; >= base_version */
  int64_t ts_us; /* commit time of the last change dealt with, wall microseconds; 0 unknown */
};

/* The digits behind the last dot of a binlog file name; -1 when there are none. */
int64_t pe_binlog_file_number(const char *file);
/* PE_EDATA when a part does not fit its bits. */
int pe_version_make(uint32_t generation, int64_t file_number, uint64_t offset, uint64_t *version,
                    struct pe_err *err);
void pe_version_split(uint64_t version, uint32_t *generation, uint32_t *file_number,
                      uint64_t *offset);
/* "file:pos" for logs. */
const char *pe_position_text(const struct pe_position *p, char *buf, size_t n);

#endif
