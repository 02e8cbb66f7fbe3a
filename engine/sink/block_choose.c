/* Which conversion takes a source column to a target column, and whether it is exact by
 * construction, checked per value, or none at all. The table of types in README.md says the same
 * for people. Pure. */
#include "sink/block_choose.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const int64_t date32_lo = -25567, date32_hi = 120529;             /* 1900 to 2299 */
static const int64_t date32_wide_lo = -719528, date32_wide_hi = 2932896; /* 0000 to 9999 */
static const int64_t day_us = INT64_C(86400000000);

struct range {
  bool is_signed;
  uint32_t bytes;
  uint64_t max;    /* the largest value */
  uint32_t digits; /* of the value furthest from 0 */
};

static uint32_t bit_width(const struct pe_column *c) {
  unsigned bits = 0;
  if (c->type_text && (sscanf(c->type_text, "bit(%u)", &bits) == 1 ||
                       sscanf(c->type_text, "BIT(%u)", &bits) == 1)) {
    return bits >= 1 && bits <= 64 ? bits : 64;
  }
  return 64;
}

/* Integers and what lies in a row like one. */
static bool int_range(const struct pe_column *c, struct range *r) {
  uint32_t bits;
  r->bytes = pe_ctype_bytes(c->ctype);
  r->is_signed = false;
  switch (c->ctype) {
    case PE_C_I8:
    case PE_C_I16:
    case PE_C_I32:
    case PE_C_I64:
      r->is_signed = true;
      bits = r->bytes * 8 - 1;
      break;
    case PE_C_U8:
    case PE_C_U16:
    case PE_C_U32:
    case PE_C_U64:
    case PE_C_YEAR:
      bits = r->bytes * 8;
      break;
    case PE_C_BIT:
      bits = bit_width(c);
      break;
    default:
      return false;
  }
  r->max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
  r->digits = 0;
  for (uint64_t v = r->max; v; v /= 10) {
    r->digits++;
  }
  return true;
}

static void wide_bits(struct pe_wide *v, uint32_t bits) { /* 2^bits - 1 */
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t have = bits > i * 64 ? bits - i * 64 : 0;
    v->w[i] = have >= 64 ? UINT64_MAX : (UINT64_C(1) << have) - 1;
  }
}

static void by_wide(struct pe_conv *v, const struct pe_chcolumn *to, uint32_t src_scale) {
  v->fixed = pe_conv_wide();
  v->check = pe_check_wide();
  v->shift = (int)to->scale - (int)src_scale;
  if (to->kind == PE_CH_DECIMAL) {
    PE_ASSERT(pe_wide_pow10(to->precision, &v->hi_w));
    for (int i = 0; i < 4 && v->hi_w.w[i]-- == 0; i++) { /* minus one */
    }
    v->lo_w = v->hi_w;
    pe_wide_negate(&v->lo_w);
  } else {
    uint32_t bits = to->width_bytes * 8 - (to->kind == PE_CH_INT);
    wide_bits(&v->hi_w, bits > 255 ? 255 : bits);
    memset(&v->lo_w, 0, sizeof(v->lo_w));
    if (to->kind == PE_CH_INT) {
      v->lo_w = v->hi_w; /* -max - 1 is its complement */
      for (int i = 0; i < 4; i++) {
        v->lo_w.w[i] = ~v->lo_w.w[i];
      }
    }
  }
}

static enum pe_verdict int_to_int(const struct range *r, const struct pe_chcolumn *to,
                                  const struct pe_plan_opts *o, struct pe_conv *v) {
  v->fixed = pe_conv_int(r->bytes, r->is_signed, to->width_bytes);
  uint32_t bits = to->width_bytes * 8 - (to->kind == PE_CH_INT);
  uint64_t max = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
  if (to->is_bool) {
    max = 1;
  }
  bool loses_sign = r->is_signed && to->kind == PE_CH_UINT;
  if (r->max <= max && !loses_sign) {
    return PE_FITS;
  }
  if (r->is_signed) {
    v->hi = max > INT64_MAX ? INT64_MAX : (int64_t)max;
    v->lo = to->kind == PE_CH_UINT ? 0 : -v->hi - 1;
  }
  v->max = max;
  v->check = pe_check_int(r->bytes, r->is_signed);
  bool by_value = r->max <= max || (to->is_bool && (r->bytes == 1 || r->max == 1));
  return by_value || o->narrow_ok ? PE_FITS : PE_TOO_NARROW;
}

static enum pe_verdict from_int(const struct pe_column *c, const struct range *r,
                                const struct pe_chcolumn *to, const struct pe_plan_opts *o,
                                struct pe_conv *v) {
  (void)c;
  if (to->kind == PE_CH_INT || to->kind == PE_CH_UINT) {
    return int_to_int(r, to, o, v);
  }
  if (to->kind != PE_CH_DECIMAL) {
    return PE_IMPOSSIBLE;
  }
  by_wide(v, to, 0);
  return r->digits <= to->precision - to->scale || o->narrow_ok ? PE_FITS : PE_TOO_NARROW;
}

static enum pe_verdict from_float(const struct pe_column *c, const struct pe_chcolumn *to,
                                  const struct pe_plan_opts *o, struct pe_conv *v) {
  if (to->kind != PE_CH_FLOAT) {
    return PE_IMPOSSIBLE;
  }
  uint32_t bytes = pe_ctype_bytes(c->ctype);
  if (bytes == to->width_bytes) {
    v->fixed = pe_conv_copy(bytes);
    return PE_FITS;
  }
  if (bytes == 4) {
    v->fixed = pe_conv_f32_to_f64();
    return PE_FITS;
  }
  v->fixed = pe_conv_f64_to_f32();
  v->check = pe_check_f64_to_f32();
  return o->narrow_ok ? PE_FITS : PE_TOO_NARROW;
}

/* Decimal digits that an integer of this many bytes holds whatever they are. */
static uint32_t int_digits(const struct pe_chcolumn *to) {
  switch (to->width_bytes) {
    case 1:
      return 2;
    case 2:
      return 4;
    case 4:
      return 9;
    case 8:
      return to->kind == PE_CH_UINT ? 19 : 18;
    case 16:
      return 38;
    default:
      return 76;
  }
}

static enum pe_verdict from_decimal(const struct pe_column *c, const struct pe_chcolumn *to,
                                    const struct pe_plan_opts *o, struct pe_conv *v) {
  if (to->kind != PE_CH_DECIMAL && to->kind != PE_CH_INT && to->kind != PE_CH_UINT) {
    return PE_IMPOSSIBLE;
  }
  uint32_t src_bytes = pe_ctype_bytes(c->ctype);
  if (to->kind == PE_CH_DECIMAL && to->scale == c->scale && to->precision >= c->precision) {
    v->fixed = pe_conv_int(src_bytes, true, to->width_bytes);
    return PE_FITS;
  }
  by_wide(v, to, c->scale);
  uint32_t digits = to->kind == PE_CH_DECIMAL ? to->precision - to->scale : int_digits(to);
  bool wide_enough = c->scale <= to->scale && (uint32_t)(c->precision - c->scale) <= digits;
  return wide_enough || o->narrow_ok ? PE_FITS : PE_TOO_NARROW;
}

static enum pe_verdict from_date(const struct pe_chcolumn *to, bool wide_dates, struct pe_conv *v) {
  if (to->kind != PE_CH_DATE && to->kind != PE_CH_DATE32) {
    return PE_IMPOSSIBLE;
  }
  v->lo = to->kind == PE_CH_DATE ? 0 : wide_dates ? date32_wide_lo : date32_lo;
  v->hi = to->kind == PE_CH_DATE ? UINT16_MAX : wide_dates ? date32_wide_hi : date32_hi;
  v->fixed = pe_conv_date(to->width_bytes);
  v->check = pe_check_date();
  return PE_FITS;
}

static enum pe_verdict from_datetime(const struct pe_chcolumn *to, bool wide_dates,
                                     struct pe_conv *v) {
  if (to->kind != PE_CH_DATETIME && to->kind != PE_CH_DATETIME64) {
    return PE_IMPOSSIBLE;
  }
  v->fixed = pe_conv_datetime(v, to->scale, to->width_bytes);
  v->check = pe_check_datetime(to->scale < 6 ? v->factor : 1);
  if (to->kind == PE_CH_DATETIME) {
    v->lo = 0;
    v->hi = (int64_t)UINT32_MAX * 1000000 + 999999;
    return PE_FITS;
  }
  v->lo = (wide_dates ? date32_wide_lo : date32_lo) * day_us;
  v->hi = (wide_dates ? date32_wide_hi + 1 : date32_hi + 1) * day_us - 1;
  if (to->scale > 6) {
    int64_t f = (int64_t)v->factor;
    v->lo = v->lo < INT64_MIN / f ? INT64_MIN / f : v->lo;
    v->hi = v->hi > INT64_MAX / f ? INT64_MAX / f : v->hi;
  }
  return PE_FITS;
}

static enum pe_verdict to_fixed_or_uuid(const struct pe_column *c, const struct pe_chcolumn *to,
                                        struct pe_conv *v) {
  if (c->ctype != PE_C_STR && c->ctype != PE_C_BYTES) {
    return PE_IMPOSSIBLE;
  }
  if (to->kind == PE_CH_FIXEDSTRING) {
    v->fixed = pe_conv_fixed_string();
    v->check = pe_check_fixed_string();
  } else if (c->ctype == PE_C_BYTES) {
    v->fixed = pe_conv_uuid_bytes();
    v->check = pe_check_uuid_bytes();
  } else {
    v->fixed = pe_conv_uuid_text();
    v->check = pe_check_uuid_text();
  }
  return PE_FITS;
}

static enum pe_verdict to_string(const struct pe_column *c, struct pe_conv *v) {
  v->out_bytes = 0;
  if (pe_ctype_is_str(c->ctype)) {
    v->string = pe_conv_bytes();
  } else if (c->ctype == PE_C_ENUM) {
    v->string = pe_conv_enum();
    v->max = c->nmembers;
    v->check = pe_check_member(v->src_bytes);
  } else {
    v->string = pe_conv_text();
    if (c->ctype == PE_C_SET) {
      v->max = c->nmembers >= 64 ? UINT64_MAX : (UINT64_C(1) << c->nmembers) - 1;
      v->check = pe_check_member(v->src_bytes);
    }
  }
  return PE_FITS;
}

enum pe_verdict pe_conv_choose(const struct pe_column *c, const struct pe_chcolumn *to,
                               const struct pe_plan_opts *o, bool wide_dates, struct pe_conv *v) {
  struct range r = {0};
  bool is_int = int_range(c, &r);
  v->src_bytes = pe_ctype_bytes(c->ctype);
  v->src_signed = is_int
                      ? r.is_signed
                      : !pe_ctype_is_str(c->ctype) && c->ctype != PE_C_ENUM && c->ctype != PE_C_SET;
  v->out_bytes = to->width_bytes;
  v->zero = PE_ZERO_DLQ;
  if (to->kind == PE_CH_STRING || to->kind == PE_CH_OTHER) {
    return to_string(c, v);
  }
  if (to->kind == PE_CH_FIXEDSTRING || to->kind == PE_CH_UUID) {
    return to_fixed_or_uuid(c, to, v);
  }
  if (is_int) {
    return from_int(c, &r, to, o, v);
  }
  switch (c->ctype) {
    case PE_C_F32:
    case PE_C_F64:
      return from_float(c, to, o, v);
    case PE_C_DEC64:
    case PE_C_DEC128:
    case PE_C_DEC256:
      return from_decimal(c, to, o, v);
    case PE_C_DATE:
      v->zero = o->zero_date;
      return from_date(to, wide_dates, v);
    case PE_C_DATETIME:
      v->zero = o->zero_date;
      return from_datetime(to, wide_dates, v);
    case PE_C_TIME: /* microseconds */
      v->fixed = pe_conv_copy(8);
      return to->kind == PE_CH_INT && to->width_bytes == 8 ? PE_FITS : PE_IMPOSSIBLE;
    default:
      return PE_IMPOSSIBLE;
  }
}
