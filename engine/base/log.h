/* Log lines on standard error, one per event, as text or JSON. Thread-safe: a line is one write().
 * Lines carry names, counts and positions; never a secret, never a row value. */
#ifndef PE_BASE_LOG_H
#define PE_BASE_LOG_H

#include <stdbool.h>

enum pe_log_level { PE_LOG_DEBUG, PE_LOG_INFO, PE_LOG_WARN, PE_LOG_ERROR };

void pe_log_setup(enum pe_log_level min, bool json);
/* module: "source", "sink", ... A message is one sentence without a newline. */
void pe_log(enum pe_log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Where set, called instead of writing to stderr (the progress display, tests). */
void pe_log_hook(void (*hook)(const char *line, void *arg), void *arg);

#define pe_debug(...) pe_log(PE_LOG_DEBUG, __VA_ARGS__)
#define pe_info(...) pe_log(PE_LOG_INFO, __VA_ARGS__)
#define pe_warn(...) pe_log(PE_LOG_WARN, __VA_ARGS__)
#define pe_error(...) pe_log(PE_LOG_ERROR, __VA_ARGS__)

#endif
