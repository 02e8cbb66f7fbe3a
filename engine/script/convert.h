/* Text and numbers into column values: exactly, or not at all. Pure. */
#ifndef PE_SCRIPT_CONVERT_H
#define PE_SCRIPT_CONVERT_H

#include "model/table.h"

/* Writes the value of column c into the row. 0, or -1: it is no value of that type, or not exactly
 * one. For DECIMAL, DATE, DATETIME, TIME, ENUM and SET. */
int pe_convert_text(const struct pe_column *c, uint8_t *row, const char *s, size_t n);
/* DECIMAL: the number itself; DATE, DATETIME, TIME: microseconds; ENUM: the member's number. */
int pe_convert_int(const struct pe_column *c, uint8_t *row, int64_t v);
int pe_convert_double(const struct pe_column *c, uint8_t *row, double v);
/* DATE and DATETIME as microseconds since 1970. -1: a zero or partial date. */
int pe_convert_epoch_us(const struct pe_column *c, const uint8_t *row, int64_t *us);

#endif
