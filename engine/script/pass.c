/* One pass: the images of a segment, one after the other, through a transform. The loop is Lua; C
 * comes in once a pass, and once for every row that fails: the row gets its failure and the loop
 * goes on behind it. owner: the script thread. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "script/internal.h"

int pe_results_reserve(struct pe_results *r, uint32_t n) {
  if (n > r->cap) {
    pe_results_close(r);
    r->kind = malloc(n);
    r->noted = malloc(n);
    r->aux = malloc(n * sizeof(*r->aux));
    r->count = malloc(n * sizeof(*r->count));
    if (!r->kind || !r->noted || !r->aux || !r->count) {
      pe_results_close(r);
      return PE_ENOMEM;
    }
    r->cap = n;
  }
  memset(r->noted, 0, n);
  r->nextras = r->nfails = 0;
  return 0;
}

void pe_results_close(struct pe_results *r) {
  free(r->kind);
  free(r->noted);
  free(r->aux);
  free(r->count);
  free(r->extras);
  free(r->fails);
  memset(r, 0, sizeof(*r));
}

static int add_fail(struct pe_results *r, uint32_t image, const struct pe_fail *f) {
  if (r->nfails == r->fails_cap) {
    uint32_t cap = r->fails_cap ? r->fails_cap * 2 : 16;
    struct pe_fail *p = realloc(r->fails, cap * sizeof(*p));
    if (!p) {
      return PE_ENOMEM;
    }
    r->fails = p;
    r->fails_cap = cap;
  }
  r->kind[image] = PE_K_ERROR;
  r->aux[image] = r->nfails;
  r->fails[r->nfails++] = *f;
  return 0;
}

static int keep_failure(struct pe_script *s, struct pe_results *r, int lua_rc) {
  struct pe_arena *a = s->ctl.scratch;
  struct pe_fail f = {.reason = "the script ran out of the memory that it may use"};
  if (lua_rc == LUA_ERRERR) {
    f.reason = "the script failed, and telling how failed too";
  } else if (lua_rc == LUA_ERRRUN) {
    f.reason = pe_arena_strndup(a, s->fail_reason, strlen(s->fail_reason));
    f.traceback = s->fail_traceback.len ? pe_arena_strndup(a, (const char *)s->fail_traceback.data,
                                                           s->fail_traceback.len)
                                        : NULL;
  }
  return f.reason ? add_fail(r, s->ctl.i, &f) : PE_ENOMEM;
}

static int reopen(struct pe_script *s, struct pe_err *err) {
  pe_warn("script", "a transform used more than %zu bytes of memory; its Lua state starts anew",
          s->memory_max);
  pe_host_close(s);
  int rc = pe_host_open(s, err);
  return rc ? pe_err_wrap(err, "after a transform ran out of memory") : 0;
}

static void park(struct pe_script *s, const struct pe_rtable *v) {
  lua_rawgeti(s->L, LUA_REGISTRYINDEX, v->park_ref);
  if (lua_pcall(s->L, 0, 0, 0)) {
    lua_settop(s->L, 0); /* can only be out of memory; the boxes are moved before their next use */
  }
}

int pe_pass_run(struct pe_script *s, const struct pe_rtable *v, const struct pe_pass *p,
                enum pe_track track, struct pe_results *r, struct pe_err *err) {
  if (pe_results_reserve(r, p->n)) {
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for the results of a script");
  }
  struct pe_ctl *c = &s->ctl;
  c->base = p->base;
  c->before = p->before;
  c->meta = p->meta;
  c->kind = r->kind;
  c->stride = p->stride;
  c->before_stride = p->before_stride;
  c->meta_step = p->meta_step;
  c->n = p->n;
  c->i = 0;
  c->op = (uint32_t)p->op;
  c->is_before = p->is_before;
  c->res = r;
  c->track = track;
  while (c->i < c->n) {
    lua_pushcfunction(s->L, pe_host_message);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, v->run_ref);
    int rc = lua_pcall(s->L, 0, 0, -2);
    if (!rc) {
      lua_settop(s->L, 0);
      break;
    }
    lua_settop(s->L, 0);
    if (keep_failure(s, r, rc)) {
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a failure");
    }
    if (rc == LUA_ERRMEM || rc == LUA_ERRERR) {
      int opened = reopen(s, err);
      if (opened) {
        return opened;
      }
    }
    c->i++;
  }
  c->track = PE_TRACK_NONE;
  c->gen++;
  park(s, v);
  return 0;
}
