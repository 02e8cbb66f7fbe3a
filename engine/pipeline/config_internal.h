/* What the files of config share. A Lua state lives only for one call of pe_config_*; it belongs to
 * the calling thread. */
#ifndef PE_PIPELINE_CONFIG_INTERNAL_H
#define PE_PIPELINE_CONFIG_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>

#include "pipeline/config.h"

/* A state with lua_dir's pipe.pipeline module on top of its stack. */
int pe_config_lua_open(const char *lua_dir, lua_State **out, struct pe_err *err);
/* Fills c (name, source, sink, tables, ...) from the normalized description at stack index idx;
 * c->root and c->file are set. */
int pe_config_fill(struct pe_config *c, lua_State *L, int idx, struct pe_err *err);
/* dir/path, or path when it is absolute; "." and a leading "./" are taken away. */
char *pe_config_join(const char *dir, const char *path);

#endif
