/* What running scripts reach through the FFI: rows and strings in the scratch arena, conversions,
 * lookups, tokens, the log. Every function may be called from compiled code, so none of them raises
 * a Lua error: they return NULL or a code, and the Lua side (lua/pipe/host) says what went wrong.
 * Its declarations stand in lua/pipe/host/boot.lua and have to agree with these. owner: the script
 * thread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "script/convert.h"
#include "script/internal.h"
#include "script/token.h"

enum { ROW_ALIGN = 16, KEY_TEXT_MAX = 32 };
#define TWO63 9223372036854775808.0
#define TWO64 18446744073709551616.0

/* ---- rows and strings ---- */

static const char *bridge_dup(struct pe_ctl *ctl, const char *p, uint32_t n) {
  char *to = pe_arena_alloc(ctl->scratch, n ? n : 1, 1);
  if (to) {
    memcpy(to, p, n);
  }
  return to;
}

static uint8_t *bridge_new_row(struct pe_ctl *ctl, uint32_t bytes, uint32_t null_bytes) {
  uint8_t *row = pe_arena_zalloc(ctl->scratch, bytes, ROW_ALIGN);
  if (row) {
    memset(row, 0xFF, null_bytes);
  }
  return row;
}

static uint8_t *bridge_copy_row(struct pe_ctl *ctl, const uint8_t *from, uint32_t bytes) {
  uint8_t *row = pe_arena_alloc(ctl->scratch, bytes, ROW_ALIGN);
  if (row) {
    memcpy(row, from, bytes);
  }
  return row;
}

struct plan_column { /* as struct pe_plan_column in boot.lua */
  uint32_t from, to, from_at, to_at, bytes;
};

static void bridge_copy_columns(const struct plan_column *plan, uint32_t n, const uint8_t *from,
                                uint8_t *to) {
  for (uint32_t i = 0; i < n; i++) {
    const struct plan_column *c = &plan[i];
    if (pe_row_null(from, c->from)) {
      pe_row_set_null(to, c->to);
    } else {
      memcpy(to + c->to_at, from + c->from_at, c->bytes);
      pe_row_clear_null(to, c->to);
    }
  }
}

static void bridge_begin_many(struct pe_ctl *ctl) {
  ctl->kind[ctl->i] = PE_K_MANY;
  ctl->res->aux[ctl->i] = ctl->res->nextras;
  ctl->res->count[ctl->i] = 0;
}

static int bridge_emit(struct pe_ctl *ctl, uint8_t *row, uint32_t dest) {
  struct pe_results *r = ctl->res;
  if (r->count[ctl->i] >= PE_SCRIPT_OUTS_MAX) {
    return -1;
  }
  if (r->nextras == r->extras_cap) {
    uint32_t cap = r->extras_cap ? r->extras_cap * 2 : 1024;
    struct pe_extra *p = realloc(r->extras, cap * sizeof(*p));
    if (!p) {
      return -1;
    }
    r->extras = p;
    r->extras_cap = cap;
  }
  r->extras[r->nextras++] = (struct pe_extra){.row = row, .dest = dest};
  r->count[ctl->i]++;
  return 0;
}

static void bridge_mark(struct pe_ctl *ctl, uint32_t id) {
  ctl->kind[ctl->i] = PE_K_DLQ;
  ctl->res->aux[ctl->i] = id;
}

/* ---- values ---- */

static const char *bridge_text(struct pe_ctl *ctl, const struct pe_column *c, const uint8_t *row) {
  pe_buf_clear(&ctl->text);
  pe_value_text(c, row, &ctl->text);
  ctl->text_len = (uint32_t)ctl->text.len;
  return pe_buf_cstr(&ctl->text);
}

static int bridge_set_text(const struct pe_column *c, uint8_t *row, const char *s, uint32_t n) {
  return pe_convert_text(c, row, s, n);
}

/* ---- lookups ---- */

static const uint8_t *past_option(const struct pe_entry *e, const struct pe_lookup *l,
                                  uint32_t option) {
  for (const struct pe_past *p = e->past; p; p = p->next) {
    if ((e->flags & PE_ENTRY_TODAY) &&
        pe_lookup_values_equal(l, p->value, (const uint8_t *)e + l->head_bytes)) {
      continue;
    }
    if (--option == 0) {
      return p->value;
    }
  }
  return NULL; /* the option behind the last: the key had no value */
}

static uint32_t count_options(const struct pe_entry *e, const struct pe_lookup *l) {
  uint32_t n = 1;
  for (const struct pe_past *p = e->past; p; p = p->next) {
    n += !((e->flags & PE_ENTRY_TODAY) &&
           pe_lookup_values_equal(l, p->value, (const uint8_t *)e + l->head_bytes));
  }
  bool none = (e->flags & PE_ENTRY_TODAY) && (e->flags & PE_ENTRY_HAD_NONE) && l->miss_emitted;
  return n + none;
}

static const uint8_t *explore_answer(struct pe_ctl *ctl, const struct pe_lookup *l,
                                     const struct pe_entry *e, const uint8_t *today) {
  uint32_t i = 0;
  while (i < ctl->nchoices && ctl->choices[i].entry != e) {
    i++;
  }
  if (i == ctl->nchoices) {
    uint32_t n = count_options(e, l);
    if (n == 1) {
      return today;
    }
    if (i == PE_SCRIPT_CHOICES_MAX) {
      ctl->too_many = true;
      return today;
    }
    ctl->choices[i] = (struct pe_choice){
        .lookup = l, .entry = e, .option = i < ctl->path_len ? ctl->path[i] : 0, .noptions = n};
    ctl->nchoices++;
  }
  uint32_t option = ctl->choices[i].option;
  return option ? past_option(e, l, option) : today;
}

/* What a script is told: today's value, or, for a before image, what its path says. */
static const uint8_t *answer(struct pe_ctl *ctl, const struct pe_lookup *l,
                             const struct pe_entry *e) {
  const uint8_t *today =
      e && (e->flags & PE_ENTRY_TODAY) ? (const uint8_t *)e + l->head_bytes : NULL;
  if (!ctl->track) {
    if (!today && !l->miss_emitted) {
      ctl->res->noted[ctl->i] |= 2;
      ((struct pe_lookup *)(uintptr_t)l)->missed_now = true;
    }
    return today;
  }
  bool had_others = e && (e->past || ((e->flags & PE_ENTRY_HAD_NONE) && today && l->miss_emitted));
  if (!had_others) {
    return today;
  }
  if (ctl->track == PE_TRACK_NOTE) {
    ctl->res->noted[ctl->i] |= 1;
    return today;
  }
  return explore_answer(ctl, l, e, today);
}

static const uint8_t *get_parts(struct pe_ctl *ctl, const struct pe_lookup *l) {
  if (!pe_buf_ok(&ctl->key)) {
    return NULL;
  }
  return answer(ctl, l, pe_lookup_find_bytes(l, ctl->key.data, ctl->key.len));
}

static const uint8_t *bridge_get_int(struct pe_ctl *ctl, const struct pe_lookup *l, int64_t v) {
  if (l->int_key) {
    bool fits = v >= 0 || l->key_signed;
    return fits ? answer(ctl, l, pe_lookup_find_int(l, (uint64_t)v)) : NULL;
  }
  pe_buf_clear(&ctl->key);
  pe_lookup_key_int(&ctl->key, (uint64_t)v);
  return get_parts(ctl, l);
}

static const uint8_t *bridge_get_uint(struct pe_ctl *ctl, const struct pe_lookup *l, uint64_t v) {
  if (l->int_key) {
    bool fits = v <= INT64_MAX || !l->key_signed;
    return fits ? answer(ctl, l, pe_lookup_find_int(l, v)) : NULL;
  }
  pe_buf_clear(&ctl->key);
  pe_lookup_key_int(&ctl->key, v);
  return get_parts(ctl, l);
}

/* An integral double as 64 bits; false: it is no integer that a column can hold. */
static bool integral(double v, uint64_t *out) {
  if (v >= -TWO63 && v < TWO63) {
    int64_t i = (int64_t)v;
    *out = (uint64_t)i;
    return (double)i == v;
  }
  if (v >= 0 && v < TWO64) {
    *out = (uint64_t)v;
    return (double)*out == v;
  }
  return false;
}

static const uint8_t *bridge_get_num(struct pe_ctl *ctl, const struct pe_lookup *l, double v) {
  uint64_t key;
  if (!integral(v, &key)) {
    return NULL;
  }
  return v < 0 ? bridge_get_int(ctl, l, (int64_t)key) : bridge_get_uint(ctl, l, key);
}

static const uint8_t *bridge_get_str(struct pe_ctl *ctl, const struct pe_lookup *l, const char *s,
                                     uint32_t n) {
  if (l->int_key) {
    return NULL;
  }
  pe_buf_clear(&ctl->key);
  pe_lookup_key_text(&ctl->key, s, n);
  return get_parts(ctl, l);
}

static void bridge_key_begin(struct pe_ctl *ctl, const struct pe_lookup *l) {
  pe_buf_clear(&ctl->key);
  ctl->key_lookup = l;
}

static int bridge_key_uint(struct pe_ctl *ctl, uint64_t v) {
  pe_lookup_key_int(&ctl->key, v);
  return 0;
}

static int bridge_key_int(struct pe_ctl *ctl, int64_t v) {
  return bridge_key_uint(ctl, (uint64_t)v);
}

static int bridge_key_num(struct pe_ctl *ctl, double v) {
  uint64_t key = 0;
  if (!integral(v, &key)) {
    /* no integer: a key part that no entry has */
    pe_lookup_key_text(&ctl->key, &v, sizeof(v));
    return 0;
  }
  return bridge_key_uint(ctl, key);
}

static int bridge_key_str(struct pe_ctl *ctl, const char *s, uint32_t n) {
  pe_lookup_key_text(&ctl->key, s, n);
  return 0;
}

static const uint8_t *bridge_get_key(struct pe_ctl *ctl) {
  return get_parts(ctl, ctl->key_lookup);
}

/* ---- the log ---- */

static void bridge_log(struct pe_ctl *ctl, int level, const char *s, uint32_t n) {
  struct pe_script *script = ctl->script;
  int64_t second = pe_clock_us() / 1000000;
  if (second != script->log_second) {
    script->log_second = second;
    script->log_count = 0;
  }
  if (script->log_count++ >= PE_SCRIPT_LOGS_PER_S) {
    return; /* a script that logs every row must not drown the rest */
  }
  char text[PE_SCRIPT_REASON_MAX];
  pe_script_cut(script, s, n, text, sizeof(text));
  pe_log((enum pe_log_level)level, "script", "%s", text);
}

/* ---- how Lua gets hold of them ---- */

typedef void (*any_function)(void);
struct door {
  const char *name;
  any_function function;
};

static const struct door doors[] = {
    {"dup", (any_function)bridge_dup},
    {"new_row", (any_function)bridge_new_row},
    {"copy_row", (any_function)bridge_copy_row},
    {"copy_columns", (any_function)bridge_copy_columns},
    {"begin_many", (any_function)bridge_begin_many},
    {"emit", (any_function)bridge_emit},
    {"mark", (any_function)bridge_mark},
    {"text", (any_function)bridge_text},
    {"set_text", (any_function)bridge_set_text},
    {"set_int", (any_function)pe_convert_int},
    {"set_num", (any_function)pe_convert_double},
    {"epoch_us", (any_function)pe_convert_epoch_us},
    {"get_num", (any_function)bridge_get_num},
    {"get_int", (any_function)bridge_get_int},
    {"get_uint", (any_function)bridge_get_uint},
    {"get_str", (any_function)bridge_get_str},
    {"key_begin", (any_function)bridge_key_begin},
    {"key_num", (any_function)bridge_key_num},
    {"key_int", (any_function)bridge_key_int},
    {"key_uint", (any_function)bridge_key_uint},
    {"key_str", (any_function)bridge_key_str},
    {"get_key", (any_function)bridge_get_key},
    {"token", (any_function)pe_token_make},
    {"log", (any_function)bridge_log},
};

void pe_bridge_push(lua_State *L) {
  lua_createtable(L, 0, sizeof(doors) / sizeof(doors[0]));
  for (size_t i = 0; i < sizeof(doors) / sizeof(doors[0]); i++) {
    void *p;
    _Static_assert(sizeof(p) == sizeof(doors[i].function), "addresses of code and data differ");
    memcpy(&p, &doors[i].function, sizeof(p));
    lua_pushlightuserdata(L, p);
    lua_setfield(L, -2, doors[i].name);
  }
}
