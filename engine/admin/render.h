/* What an engine tells of itself, as text: Prometheus metrics, JSON, one line on readiness. Pure
 * functions of a status; nothing here knows HTTP or a running engine. */
#ifndef PE_ADMIN_RENDER_H
#define PE_ADMIN_RENDER_H

#include "base/buf.h"
#include "pipeline/engine.h"

enum { PE_LATENCY_BOUNDS = 12 };
struct pe_latency {
  uint64_t counts[PE_LATENCY_BOUNDS]; /* cumulative, as pe_engine_latency */
  double sum_ms;
};

/* /metrics, but for the scripts' own counters, which the caller appends. */
void pe_metrics_render(const struct pe_engine_status *st, const struct pe_latency *lat,
                       struct pe_buf *out);
/* /metrics while no engine is attached yet. */
void pe_metrics_render_starting(struct pe_buf *out);
/* Is it ready? Puts one line that says why (not). ready_lag_ms: as in the configuration. */
bool pe_ready_render(const struct pe_engine_status *st, unsigned ready_lag_ms, struct pe_buf *out);
void pe_status_render_json(const struct pe_engine_status *st, struct pe_buf *out);
/* `pipe-engine status`: for a person. */
void pe_status_render_text(const struct pe_engine_status *st, struct pe_buf *out);
void pe_reload_render_json(const struct pe_reload_result *r, struct pe_buf *out);
/* "1,234,567" */
const char *pe_count_text(uint64_t n, char buf[32]);

#endif
