/* Making a plan: which layout column goes to which target column, and every problem of a table in
 * one message, each with the statement that mends it. */
#include "sink/block_choose.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sink/chtype.h"

struct making {
  struct pe_plan *p;
  const struct pe_target *target;
  const struct pe_plan_opts *opts;
  const struct pe_table *layout;
  struct pe_buf problems;
  struct pe_buf columns; /* of the INSERT statement */
  uint32_t nproblems;
  bool null_is_default; /* some column takes its DEFAULT for a NULL */
};

static void problem(struct making *m, const char *column, const char *what) {
  pe_buf_printf(&m->problems, "%scolumn %s %s", m->nproblems++ ? "; " : "", column, what);
}

static void mend(struct making *m, const char *verb, const char *column) {
  pe_buf_puts(&m->problems, ": ALTER TABLE ");
  pe_buf_put_ident_ch(&m->problems, m->target->db);
  pe_buf_puts(&m->problems, ".");
  pe_buf_put_ident_ch(&m->problems, m->target->name);
  pe_buf_printf(&m->problems, " %s ", verb);
  pe_buf_put_ident_ch(&m->problems, column);
  pe_buf_puts(&m->problems, " ");
}

/* The type that takes every value of a source column. */
static void mend_type(struct making *m, const struct pe_column *c, bool nullable) {
  struct pe_column copy = *c;
  copy.nullable = nullable;
  pe_target_type(&copy, &m->problems);
}

static const char *type_name(const struct pe_column *c) {
  return c->type_text ? c->type_text : pe_ctype_name(c->ctype);
}

static int target_find(const struct pe_target *t, const char *name) {
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    if (strcmp(t->columns[i].name, name) == 0) {
      return (int)i;
    }
  }
  return -1;
}

static bool make_head(struct making *m, const char *name, const char *type, bool as_nullable,
                      struct pe_encoded *out) {
  size_t name_n = strlen(name), type_n = strlen(type) + (as_nullable ? 10 : 0);
  out->p = pe_arena_alloc(&m->p->arena, name_n + type_n + (size_t)2 * PE_VARINT_MAX, 1);
  if (!out->p) {
    return false;
  }
  size_t at = pe_varint_put(out->p, name_n);
  memcpy(out->p + at, name, name_n);
  at += name_n;
  at += pe_varint_put(out->p + at, type_n);
  if (as_nullable) {
    memcpy(out->p + at, "Nullable(", 9);
    at += 9;
  }
  memcpy(out->p + at, type, strlen(type));
  at += strlen(type);
  if (as_nullable) {
    out->p[at++] = ')';
  }
  out->n = at;
  m->p->heads_bytes += at;
  m->p->ncolumns++;
  pe_buf_puts(&m->columns, m->columns.len ? "," : "(");
  pe_buf_put_ident_ch(&m->columns, name);
  return true;
}

static bool make_members(struct making *m, const struct pe_column *c, struct pe_conv *v) {
  v->members =
      pe_arena_alloc(&m->p->arena, (c->nmembers + 1) * sizeof(*v->members), sizeof(void *));
  for (uint32_t i = 0; v->members && i <= c->nmembers; i++) {
    const char *text = i ? c->members[i - 1] : "";
    size_t n = strlen(text);
    uint8_t *p = pe_arena_alloc(&m->p->arena, n + PE_VARINT_MAX, 1);
    if (!p) {
      return false;
    }
    size_t head = pe_varint_put(p, n);
    memcpy(p + head, text, n);
    v->members[i] = (struct pe_encoded){p, head + n};
  }
  return v->members;
}

static void refuse(struct making *m, const struct pe_column *c, const struct pe_chcolumn *to,
                   enum pe_verdict verdict) {
  char what[512];
  snprintf(what, sizeof(what), "(%.200s) %s %.200s", type_name(c),
           verdict == PE_TOO_NARROW ? "has values that do not fit" : "can't be converted to",
           to->type_text);
  problem(m, c->name, what);
  mend(m, "MODIFY COLUMN", c->name);
  mend_type(m, c, c->nullable && !to->is_key);
  if (to->is_key || to->is_partition) {
    pe_buf_puts(&m->problems,
                " (it is part of a key: where ClickHouse refuses that, make the table anew)");
  }
}

/* 0, or PE_ENOMEM. */
static int add_column(struct making *m, uint32_t col, const struct pe_chcolumn *to) {
  const struct pe_column *c = &m->layout->columns[col];
  struct pe_conv *v = &m->p->convs[m->p->nconvs];
  *v = (struct pe_conv){.col = col, .offset = c->offset, .from = c};
  enum pe_verdict verdict = pe_conv_choose(c, to, m->opts, m->target->wide_dates, v);
  if (verdict != PE_FITS) {
    refuse(m, c, to, verdict);
    return 0;
  }
  PE_ASSERT((v->fixed != NULL) != (v->string != NULL));
  /* A NULL makes ClickHouse take the column's DEFAULT, which is what an extra column that no script
   * fills shall have; a NULL of the source must not become anything else. */
  bool null_is_default = c->is_extra && to->has_default && !to->nullable;
  v->nulls = to->nullable || null_is_default;
  m->null_is_default |= null_is_default;
  if (c->ctype == PE_C_ENUM && v->string && !make_members(m, c, v)) {
    return PE_ENOMEM;
  }
  if (!make_head(m, to->name, to->wire_type, null_is_default, &v->head)) {
    return PE_ENOMEM;
  }
  if (!v->nulls) {
    m->p->required[col / 64] |= UINT64_C(1) << (col % 64);
  }
  if (v->check) {
    m->p->checked[m->p->nchecked++] = m->p->nconvs;
  }
  m->p->nconvs++;
  return 0;
}

/* A target column that no layout column goes to. */
static void unfilled(struct making *m, const struct pe_chcolumn *to) {
  if (to->is_materialized || to->has_default || to->nullable) {
    return;
  }
  problem(m, to->name, "of the target has no DEFAULT and nothing fills it");
  mend(m, "MODIFY COLUMN", to->name);
  pe_buf_printf(&m->problems, "%s DEFAULT defaultValueOfTypeName('", to->type_text);
  for (const char *s = to->type_text; *s; s++) {
    pe_buf_printf(&m->problems, "%s%c", *s == '\'' || *s == '\\' ? "\\" : "", *s);
  }
  pe_buf_puts(&m->problems, "')");
}

static int add_meta(struct making *m, const struct pe_chcolumn *to, bool is_version) {
  bool fits = is_version
                  ? to->kind == PE_CH_UINT && to->width_bytes == 8
                  : (to->kind == PE_CH_UINT || to->kind == PE_CH_INT) && to->width_bytes == 1;
  if (!fits || to->nullable || to->is_materialized) {
    char what[300];
    snprintf(what, sizeof(what), "must be %s, not %.200s: make the table anew",
             is_version ? "UInt64" : "UInt8", to->type_text);
    problem(m, to->name, what);
    return 0;
  }
  int at = pe_table_find(m->layout, to->name);
  if (at >= 0 && !m->layout->columns[at].is_extra && !m->layout->columns[at].excluded) {
    problem(m, to->name, "of the source has a name that the engine needs: exclude it");
    return 0;
  }
  return make_head(m, to->name, to->wire_type, false,
                   is_version ? &m->p->version_head : &m->p->deleted_head)
             ? 0
             : PE_ENOMEM;
}

static int match_target(struct making *m) {
  const struct pe_target *t = m->target;
  for (uint32_t i = 0; i < t->ncolumns; i++) {
    const struct pe_chcolumn *to = &t->columns[i];
    int rc = 0;
    if ((int32_t)i == t->version_col || (int32_t)i == t->deleted_col) {
      continue;
    }
    int col = pe_table_find(m->layout, to->name);
    if (col < 0 || m->layout->columns[col].excluded) {
      unfilled(m, to);
    } else if (to->is_materialized) {
      if (!m->layout->columns[col].is_extra) {
        problem(m, to->name,
                "of the target is computed by ClickHouse and can't be written: exclude it, or make "
                "it an ordinary column");
      }
    } else {
      rc = add_column(m, (uint32_t)col, to);
    }
    if (rc) {
      return rc;
    }
  }
  int rc = 0;
  if (t->version_col >= 0) {
    rc = add_meta(m, &t->columns[t->version_col], true);
  }
  if (!rc && t->deleted_col >= 0) {
    rc = add_meta(m, &t->columns[t->deleted_col], false);
  }
  return rc;
}

static void missing(struct making *m) {
  for (uint32_t i = 0; i < m->layout->ncolumns; i++) {
    const struct pe_column *c = &m->layout->columns[i];
    if (c->excluded || target_find(m->target, c->name) >= 0) {
      continue;
    }
    problem(m, c->name, "is not in the target");
    mend(m, "ADD COLUMN", c->name);
    mend_type(m, c, true);
  }
}

static uint32_t part_conv(const struct pe_plan *p, const struct pe_target *t, uint32_t column) {
  if ((int32_t)column == t->version_col) {
    return PE_PART_VERSION;
  }
  if ((int32_t)column == t->deleted_col) {
    return PE_PART_DELETED;
  }
  for (uint32_t i = 0; i < p->nconvs; i++) {
    if (strcmp(p->convs[i].from->name, t->columns[column].name) == 0) {
      return i;
    }
  }
  return PE_PART_UNSENT;
}

static void add_parts(struct making *m) {
  for (uint32_t i = 0; i < m->target->nparts; i++) {
    const struct pe_partition_part *part = &m->target->parts[i];
    if (part->kind == PE_PART_NONE) {
      continue;
    }
    struct pe_plan_part *to = &m->p->parts[m->p->nparts++];
    to->kind = part->kind;
    to->n = part->n;
    to->conv = PE_PART_UNSENT;
    if (part->kind != PE_PART_OPAQUE) {
      to->conv = part_conv(m->p, m->target, part->column);
    }
  }
}

static int build(struct making *m) {
  struct pe_plan *p = m->p;
  const struct pe_table *l = m->layout;
  p->nrequired = (l->null_bytes + 7) / 8;
  p->convs = pe_arena_zalloc(&p->arena, (l->ncolumns + 1) * sizeof(*p->convs), 8);
  p->checked = pe_arena_zalloc(&p->arena, (l->ncolumns + 1) * sizeof(*p->checked), 8);
  p->required = pe_arena_zalloc(&p->arena, (p->nrequired + 1) * sizeof(*p->required), 8);
  if (!p->convs || !p->checked || !p->required) {
    return PE_ENOMEM;
  }
  int rc = match_target(m);
  if (rc) {
    return rc;
  }
  missing(m);
  add_parts(m);
  pe_buf_puts(&m->columns, ")");
  if (m->null_is_default) {
    pe_buf_puts(&m->columns, " SETTINGS input_format_null_as_default = 1");
  }
  if (!pe_buf_ok(&m->columns) || !pe_buf_ok(&m->problems)) {
    return PE_ENOMEM;
  }
  p->insert_columns = pe_arena_strndup(&p->arena, (char *)m->columns.data, m->columns.len);
  return p->insert_columns ? 0 : PE_ENOMEM;
}

int pe_plan_create(const struct pe_dest *dest, const struct pe_target *target,
                   const struct pe_plan_opts *o, struct pe_plan **out, struct pe_err *err) {
  struct making m = {.target = target, .opts = o, .layout = dest->layout};
  /* the NULL bitmap is read by words */
  PE_ASSERT(dest->layout->row_bytes >= (dest->layout->null_bytes + 7) / 8 * 8);
  m.p = calloc(1, sizeof(*m.p));
  int rc = PE_ENOMEM;
  if (m.p) {
    pe_arena_init(&m.p->arena, 4096);
    m.p->layout = pe_table_ref(dest->layout);
    rc = build(&m);
  }
  if (rc) {
    pe_err_set(err, rc, PE_CLASS_FATAL, "out of memory for the plan of %s", target->name);
  } else if (m.nproblems || !m.p->ncolumns) {
    rc = pe_err_set(err, PE_ESINK_SCHEMA, PE_CLASS_FATAL,
                    "%s.%s does not take the rows of %s (%" PRIu32 " problem%s): %s", target->db,
                    target->name, dest->layout->name, m.nproblems, m.nproblems == 1 ? "" : "s",
                    m.nproblems ? pe_buf_cstr(&m.problems) : "they have no column in common");
  }
  pe_buf_close(&m.problems);
  pe_buf_close(&m.columns);
  if (rc) {
    pe_plan_destroy(m.p);
    return rc;
  }
  *out = m.p;
  return 0;
}

void pe_plan_destroy(struct pe_plan *p) {
  if (!p) {
    return;
  }
  pe_table_unref(p->layout);
  pe_arena_close(&p->arena);
  free(p);
}

const char *pe_plan_insert_columns(const struct pe_plan *p) {
  return p->insert_columns;
}
