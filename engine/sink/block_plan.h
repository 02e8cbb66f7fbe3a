/* What a plan is inside: shared by the block*.c files only. owner: whoever created the plan;
 * immutable from then on, so any thread may use it. */
#ifndef PE_SINK_BLOCK_PLAN_H
#define PE_SINK_BLOCK_PLAN_H

#include "sink/block.h"

enum {
  PE_BLOCK_GROUP = 256, /* rows gone through column by column at a time, so that they stay in L1 */
  PE_VARINT_MAX = 10
};

/* A block larger than that is refused (the pipeline cuts blocks long before). */
#define PE_BLOCK_BYTES_MAX (((size_t)4 << 30) - 1)

struct pe_wide { /* 256 bits, two's complement, least significant first */
  uint64_t w[4];
};

struct pe_conv;
/* rows[i] is a row; nulls[i] is 1 where a NULL goes out (the value is then 0), nulls may be NULL.
 * n <= PE_BLOCK_GROUP. */
typedef void (*pe_fixed_fn)(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                            const uint8_t *nulls, uint8_t *dst);
/* Appends strings, each behind its length. A failed allocation is left in dst->failed. */
typedef void (*pe_string_fn)(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                             const uint8_t *nulls, struct pe_buf *dst);
/* Sets bad[i] and reasons[i] where bad[i] is still 0 and the value doesn't fit. */
typedef void (*pe_check_fn)(const struct pe_conv *c, const uint8_t *const *rows, size_t n,
                            uint32_t *bad, const char **reasons);

struct pe_encoded { /* a string behind its length, ready to be copied */
  uint8_t *p;
  size_t n;
};

struct pe_conv {
  uint32_t col;    /* in the layout */
  uint32_t offset; /* in a row */
  uint32_t src_bytes;
  bool src_signed;
  uint32_t out_bytes; /* of a value; 0: strings */
  bool nulls;         /* a NULL map is sent */
  enum pe_zero_date zero;
  pe_fixed_fn fixed; /* one of these two */
  pe_string_fn string;
  pe_check_fn check;            /* NULL: exact whatever the value is */
  int64_t lo, hi;               /* what fits, in the source's unit; for unsigned sources ... */
  uint64_t max;                 /* ... this */
  uint64_t factor;              /* DATETIME: what it is divided by or multiplied with */
  struct pe_wide lo_w, hi_w;    /* decimals: what fits behind the shift */
  int shift;                    /* decimals: digits more (or less) behind the point */
  struct pe_encoded *members;   /* ENUM: by member number, nmembers + 1 of them */
  const struct pe_column *from; /* in the layout that the plan holds a reference to */
  struct pe_encoded head;       /* name and type as they stand in a block */
};

struct pe_plan_part { /* of the partition key */
  enum pe_partition_kind kind;
  uint32_t conv; /* index in convs, or PE_PART_VERSION / PE_PART_DELETED / PE_PART_UNSENT */
  uint64_t n;
};
enum {
  PE_PART_UNSENT = UINT32_MAX, /* a column that the engine doesn't send */
  PE_PART_VERSION = UINT32_MAX - 1,
  PE_PART_DELETED = UINT32_MAX - 2
};

struct pe_plan {
  struct pe_arena arena;
  struct pe_table *layout; /* a reference */
  struct pe_conv *convs;
  uint32_t nconvs;
  uint32_t *checked; /* convs that have a check */
  uint32_t nchecked;
  uint64_t *required; /* bits of the NULL bitmap that must be clear, as 64-bit words */
  uint32_t nrequired;
  struct pe_encoded version_head, deleted_head; /* n 0: the target has no such column */
  uint32_t ncolumns;                            /* sent: convs, and those two */
  size_t heads_bytes;                           /* of all heads */
  struct pe_plan_part parts[4];
  uint32_t nparts;
  char *insert_columns;
};

/* block_fixed.c, block_string.c, block_wide.c, block_check.c: which loop does it. NULL: none
 * does. */
pe_fixed_fn pe_conv_copy(uint32_t bytes);
pe_fixed_fn pe_conv_int(uint32_t src_bytes, bool src_signed, uint32_t out_bytes);
pe_fixed_fn pe_conv_f32_to_f64(void);
pe_fixed_fn pe_conv_f64_to_f32(void);
pe_fixed_fn pe_conv_date(uint32_t out_bytes);
/* scale of the target; sets c->factor */
pe_fixed_fn pe_conv_datetime(struct pe_conv *c, uint32_t scale, uint32_t out_bytes);
pe_fixed_fn pe_conv_fixed_string(void);
pe_fixed_fn pe_conv_uuid_text(void);
pe_fixed_fn pe_conv_uuid_bytes(void);
pe_fixed_fn pe_conv_wide(void);
pe_string_fn pe_conv_bytes(void); /* a struct pe_str as it is */
pe_string_fn pe_conv_enum(void);
pe_string_fn pe_conv_text(void); /* pe_value_text */

pe_check_fn pe_check_int(uint32_t src_bytes, bool src_signed); /* lo..hi, or max */
pe_check_fn pe_check_f64_to_f32(void);
pe_check_fn pe_check_date(void);                 /* lo..hi, zero */
pe_check_fn pe_check_datetime(uint64_t divisor); /* lo..hi, zero, factor */
pe_check_fn pe_check_fixed_string(void);
pe_check_fn pe_check_uuid_text(void);
pe_check_fn pe_check_uuid_bytes(void);
pe_check_fn pe_check_wide(void);
pe_check_fn pe_check_member(uint32_t src_bytes); /* ENUM and SET: max */

bool pe_uuid_parse(const char *p, size_t n, uint8_t out[16]); /* as ClickHouse stores it */
/* 10^digits; false when it has no place in 255 bits. */
bool pe_wide_pow10(uint32_t digits, struct pe_wide *out);
void pe_wide_negate(struct pe_wide *v);
/* The value of a row behind the shift; false when it isn't exact or doesn't fit lo_w..hi_w. */
bool pe_wide_value(const struct pe_conv *c, const uint8_t *row, struct pe_wide *out);

/* A varint as Native has it; returns its length. */
static inline size_t pe_varint_put(uint8_t *p, uint64_t v) {
  size_t n = 0;
  while (v >= 0x80) {
    p[n++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  p[n++] = (uint8_t)v;
  return n;
}

#endif
