/* Error values and what their codes mean to the shell (exit codes) and to logs (names). Pure
 * functions over memory of the caller; nothing here can fail. */
#include "base/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void mark_cut(char *text) {
  memcpy(text + PE_ERR_TEXT_MAX - 4, "...", 4);
}

int pe_err_set(struct pe_err *err, int code, enum pe_class cls, const char *fmt, ...) {
  if (!err) {
    return code;
  }
  /* By way of a copy: an argument may be the error's own former text. */
  char text[PE_ERR_TEXT_MAX];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  if (n < 0) {
    text[0] = 0;
  } else if (n >= PE_ERR_TEXT_MAX) {
    mark_cut(text);
  }
  err->code = code;
  err->cls = cls;
  memcpy(err->text, text, strlen(text) + 1);
  return code;
}

int pe_err_wrap(struct pe_err *err, const char *fmt, ...) {
  if (!err) {
    return PE_EINTERNAL;
  }
  char text[PE_ERR_TEXT_MAX];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  if (n < 0) {
    return err->code;
  }
  size_t used = strlen(text);
  size_t inner = strlen(err->text);
  bool cut = n >= PE_ERR_TEXT_MAX;
  if (!cut) {
    int m = snprintf(text + used, sizeof(text) - used, ": %s", err->text);
    cut = m < 0 || used + 2 + inner >= sizeof(text);
  }
  if (cut) {
    mark_cut(text);
  }
  memcpy(err->text, text, strlen(text) + 1);
  return err->code;
}

struct code_row {
  int code, exit_code;
  const char *name;
};

static const struct code_row codes[] = {
    {PE_OK, 0, "ok"},
    {PE_EINTERNAL, 70, "internal"},
    {PE_ENOMEM, 71, "no_memory"},
    {PE_EUSAGE, 64, "usage"},
    {PE_ECONFIG, 78, "config"},
    {PE_ESCRIPT, 65, "script"},
    {PE_ESOURCE_DOWN, 69, "source_down"},
    {PE_ESOURCE_AUTH, 77, "source_auth"},
    {PE_ESOURCE_GRANT, 77, "source_grant"},
    {PE_ESOURCE_SETTING, 78, "source_setting"},
    {PE_ESOURCE_ID, 69, "source_id"},
    {PE_ESOURCE_KEY, 65, "source_key"},
    {PE_ESOURCE_PURGED, 66, "source_purged"},
    {PE_ESOURCE_PROTO, 76, "source_protocol"},
    {PE_ESOURCE_SCHEMA, 65, "source_schema"},
    {PE_ESINK_DOWN, 69, "sink_down"},
    {PE_ESINK_AUTH, 77, "sink_auth"},
    {PE_ESINK_SCHEMA, 78, "sink_schema"},
    {PE_ESINK_REFUSED, 65, "sink_refused"},
    {PE_ESTATE, 74, "state"},
    {PE_ELOCKED, 75, "locked"},
    {PE_EIO, 74, "io"},
    {PE_EDATA, 65, "data"},
    {PE_ETIMEOUT, 75, "timeout"},
    {PE_ESTOPPED, 0, "stopped"},
    {PE_ESOURCE_OTHER, 65, "source_other"},
};

static const struct code_row *find_code(int code) {
  for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
    if (codes[i].code == code) {
      return &codes[i];
    }
  }
  return &codes[1];
}

int pe_err_exit_code(int code) {
  return find_code(code)->exit_code;
}

const char *pe_err_name(int code) {
  return find_code(code)->name;
}
