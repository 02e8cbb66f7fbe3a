/* The choice of a conversion for one column. */
#ifndef PE_SINK_BLOCK_CHOOSE_H
#define PE_SINK_BLOCK_CHOOSE_H

#include "sink/block_plan.h"

enum pe_verdict {
  PE_FITS,       /* exact, or checked per value */
  PE_TOO_NARROW, /* could be checked per value, but the options don't allow that */
  PE_IMPOSSIBLE  /* no conversion is exact */
};

/* Sets the functions and limits of v; not col, offset, from, nulls, members, head. */
enum pe_verdict pe_conv_choose(const struct pe_column *c, const struct pe_chcolumn *to,
                               const struct pe_plan_opts *o, bool wide_dates, struct pe_conv *v);

#endif
