/* What transforms give: rows for target tables, and rows for the DLQ. */
#ifndef PE_MODEL_OUTPUT_H
#define PE_MODEL_OUTPUT_H

#include "model/batch.h"

/* A target table as scripts and epochs see it. One layout belongs to one dest: rows of a captured
 * table go to its own dest in the captured layout (source columns + extras), a routed or created
 * row has the layout of the dest. */
struct pe_dest {
  uint32_t id; /* index in the pipeline's list of dests */
  char *name;  /* table name in ClickHouse */
  struct pe_table *layout;
  uint32_t *key; /* column indexes (in layout) of ORDER BY and PARTITION BY: what a replacement must
                    match */
  uint32_t nkey;
};

struct pe_out {
  const uint8_t
      *row; /* in dest->layout; lives as long as the batch and the scratch arena of the run */
  struct pe_dest *dest;
  uint64_t version;
  bool deleted;    /* a tombstone */
  uint32_t change; /* index of the change in its segment */
};

struct pe_dead { /* for the DLQ */
  struct pe_table *table;
  const uint8_t *row; /* the image as it came from the source, before any script touched it */
  enum pe_op op;
  struct pe_image_meta meta;
  const char *reason;    /* short, from the script or the engine; no values */
  const char *column;    /* may be NULL */
  const char *traceback; /* may be NULL; values cut out */
  const uint8_t
      *last_good;  /* UPDATE only: the before image whose rows stay in the target, or NULL */
  uint32_t change; /* index of the change in its segment */
};

/* Results of one run over (part of) a segment. Arrays grow and are reused; nothing is freed per
 * row. */
struct pe_outputs {
  struct pe_out *outs;
  size_t nouts, outs_cap;
  struct pe_dead *dead;
  size_t ndead, dead_cap;
  struct pe_arena scratch; /* rows and strings made by scripts */
  /* dispositions of the changes run: in = out + filtered + dlq */
  uint64_t changes_in, changes_out, changes_filtered, changes_dlq;
};

void pe_outputs_init(struct pe_outputs *o);
void pe_outputs_close(struct pe_outputs *o);
void pe_outputs_clear(struct pe_outputs *o);                            /* keeps memory */
int pe_outputs_add(struct pe_outputs *o, const struct pe_out *out);     /* PE_ENOMEM */
int pe_outputs_add_dead(struct pe_outputs *o, const struct pe_dead *d); /* PE_ENOMEM */

#endif
