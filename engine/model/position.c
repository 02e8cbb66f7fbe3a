/* Positions and the 64-bit _version made of them. Pure; a part that does not fit its bits is
 * PE_EDATA with what to do. */
#include "model/position.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t offset_max = (UINT64_C(1) << PE_VERSION_OFFSET_BITS) - 1;
static const uint64_t file_max = (UINT64_C(1) << PE_VERSION_FILE_BITS) - 1;
static const uint64_t gen_max = (UINT64_C(1) << PE_VERSION_GEN_BITS) - 1;

int64_t pe_binlog_file_number(const char *file) {
  const char *dot = strrchr(file, '.');
  if (!dot || !dot[1]) {
    return -1;
  }
  int64_t n = 0;
  for (const char *p = dot + 1; *p; p++) {
    if (*p < '0' || *p > '9' || n > INT64_MAX / 10 - 10) {
      return -1;
    }
    n = n * 10 + (*p - '0');
  }
  return n;
}

int pe_version_make(uint32_t generation, int64_t file_number, uint64_t offset, uint64_t *version,
                    struct pe_err *err) {
  if (generation > gen_max) {
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                      "generation %" PRIu32 " does not fit _version (at most %" PRIu64
                      "): the source's history changed too often; start a new pipeline with new "
                      "target tables",
                      generation, gen_max);
  }
  if (file_number < 0) {
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                      "the binlog file name does not end in a number, so _version cannot be made");
  }
  if ((uint64_t)file_number > file_max) {
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                      "binlog file number %" PRId64 " does not fit _version (at most %" PRIu64
                      "): reset the source's binary log numbering, which starts a new generation",
                      file_number, file_max);
  }
  if (offset > offset_max) {
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                      "offset %" PRIu64 " in binlog file number %" PRId64
                      " does not fit _version (at most %" PRIu64
                      "): split large transactions on the source so that its binlog files rotate",
                      offset, file_number, offset_max);
  }
  *version = (uint64_t)generation << (PE_VERSION_FILE_BITS + PE_VERSION_OFFSET_BITS) |
             (uint64_t)file_number << PE_VERSION_OFFSET_BITS | offset;
  return 0;
}

void pe_version_split(uint64_t version, uint32_t *generation, uint32_t *file_number,
                      uint64_t *offset) {
  *generation = (uint32_t)(version >> (PE_VERSION_FILE_BITS + PE_VERSION_OFFSET_BITS));
  *file_number = (uint32_t)(version >> PE_VERSION_OFFSET_BITS & file_max);
  *offset = version & offset_max;
}

const char *pe_position_text(const struct pe_position *p, char *buf, size_t n) {
  if (!p->file[0]) {
    snprintf(buf, n, "(nowhere)");
  } else {
    snprintf(buf, n, "%s:%" PRIu64, p->file, p->pos);
  }
  return buf;
}
