/* Makes decode plans. owner: reader. Fails with PE_ESOURCE_SCHEMA where a character set is not
 * known here, PE_ESOURCE_SETTING, PE_ENOMEM. */
#include "source/decode_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "source/binlog_schema.h"
#include "source/decode_temporal.h"

static int add_charset(const struct pe_column *c, const struct pe_map_column *mc,
                       struct pe_decode_step *s, struct pe_err *err) {
  bool text = c->ctype == PE_C_STR || c->ctype == PE_C_JSON;
  bool plain = s->op >= PE_OP_STR1 && s->op <= PE_OP_STR4;
  uint16_t collation = mc->collation ? mc->collation : c->collation;
  if (!text || !plain || pe_charset_passes(collation)) {
    return 0;
  }
  s->cs = pe_charset_open(collation);
  if (!s->cs) {
    return pe_err_set(err, PE_ESOURCE_SCHEMA, PE_CLASS_FATAL,
                      "column `%s` has a character set (collation id %u) that can't be converted "
                      "to UTF-8 here: change the column to utf8mb4 or leave the table out",
                      c->name, collation);
  }
  s->op = PE_OP_TEXT;
  return 0;
}

static void mark_extras(struct pe_decode_plan *p) {
  for (uint32_t i = p->table->nsource; i < p->table->ncolumns; i++) {
    pe_row_set_null(p->extra_nulls, i);
  }
}

int pe_decode_plan_create(struct pe_table *t, const struct pe_binlog_map *m,
                          struct pe_decode_plan **out, struct pe_err *err) {
  PE_ASSERT(t->nsource == m->ncolumns);
  pe_calendar_init();
  uint32_t n = t->nsource;
  struct pe_decode_plan *p = calloc(1, sizeof(*p) + n * sizeof(p->steps[0]));
  if (!p) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  p->table = pe_table_ref(t);
  pe_buf_init(&p->scratch);
  p->nsteps = n;
  p->null_bytes = (n + 7) / 8;
  p->last_mask = (uint8_t)(n % 8 ? (1u << n % 8) - 1 : 0xFF);
  p->pad_bytes = p->null_bytes + 8; /* wide loads of a narrow value */
  p->extra_nulls = calloc(1, t->null_bytes);
  int rc = p->extra_nulls ? 0 : pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  for (uint32_t i = 0; !rc && i < n; i++) {
    rc = pe_binlog_schema_step(&t->columns[i], &m->columns[i], &p->steps[i], err);
    rc = rc ? rc : add_charset(&t->columns[i], &m->columns[i], &p->steps[i], err);
    p->pad_bytes += p->steps[i].width;
  }
  if (rc) {
    pe_decode_plan_destroy(p);
    return rc;
  }
  mark_extras(p);
  *out = p;
  return 0;
}

void pe_decode_plan_destroy(struct pe_decode_plan *p) {
  if (!p) {
    return;
  }
  for (uint32_t i = 0; i < p->nsteps; i++) {
    pe_charset_close(p->steps[i].cs);
  }
  pe_buf_close(&p->scratch);
  free(p->extra_nulls);
  pe_table_unref(p->table);
  free(p);
}
