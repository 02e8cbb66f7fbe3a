-- The engine's side of a script state. C calls this file once with `host` (what C offers) and keeps
-- the table it returns: load a transform, bind it to a version of a table. Nothing here is in reach
-- of the user's scripts, which see `pipe` (api.lua) and the environment made in sandbox.lua.
local host = ...
local ffi = require "ffi"

require("jit.opt").start("maxtrace=8000", "maxrecord=16000", "minstitch=3", "maxmcode=40960")

ffi.cdef [[
struct pe_image_meta { uint64_t version; int64_t ts_us; };
struct pe_ctl {
  uint8_t *base; const uint8_t *before; const struct pe_image_meta *meta; uint8_t *kind;
  uint32_t stride, before_stride, meta_step, n, i, op, is_before, gen, text_len, unused;
};
struct pe_plan_column { uint32_t from, to, from_at, to_at, bytes; };
]]

local TYPES = {
  dup = "const char *(*)(struct pe_ctl *, const char *, uint32_t)",
  new_row = "uint8_t *(*)(struct pe_ctl *, uint32_t, uint32_t)",
  copy_row = "uint8_t *(*)(struct pe_ctl *, const uint8_t *, uint32_t)",
  copy_columns = "void (*)(const struct pe_plan_column *, uint32_t, const uint8_t *, uint8_t *)",
  emit = "int (*)(struct pe_ctl *, uint8_t *, uint32_t)",
  mark = "void (*)(struct pe_ctl *, uint32_t)",
  begin_many = "void (*)(struct pe_ctl *)",
  text = "const char *(*)(struct pe_ctl *, const void *, const uint8_t *)",
  set_text = "int (*)(const void *, uint8_t *, const char *, uint32_t)",
  set_int = "int (*)(const void *, uint8_t *, int64_t)",
  set_num = "int (*)(const void *, uint8_t *, double)",
  epoch_us = "int (*)(const void *, const uint8_t *, int64_t *)",
  get_num = "uint8_t *(*)(struct pe_ctl *, const void *, double)",
  get_int = "uint8_t *(*)(struct pe_ctl *, const void *, int64_t)",
  get_uint = "uint8_t *(*)(struct pe_ctl *, const void *, uint64_t)",
  get_str = "uint8_t *(*)(struct pe_ctl *, const void *, const char *, uint32_t)",
  key_begin = "void (*)(struct pe_ctl *, const void *)",
  key_num = "int (*)(struct pe_ctl *, double)",
  key_int = "int (*)(struct pe_ctl *, int64_t)",
  key_uint = "int (*)(struct pe_ctl *, uint64_t)",
  key_str = "int (*)(struct pe_ctl *, const char *, uint32_t)",
  get_key = "uint8_t *(*)(struct pe_ctl *)",
  token = "uint32_t (*)(const void *, const char *, uint32_t, char *)",
  log = "void (*)(struct pe_ctl *, int, const char *, uint32_t)",
}
local C = {}
for name, ctype in pairs(TYPES) do C[name] = ffi.cast(ctype, assert(host.functions[name], name)) end
local ctl = ffi.cast("struct pe_ctl *", host.ctl)

host.ours = {}
host.own_state = true
local R = require("pipe.host.rows").new(host, C, ctl)
local current = {} -- the table whose images are being run
local api = require("pipe.host.api").new(host, C, ctl, R, current)
local sandbox = require("pipe.host.sandbox").new(host, api.pipe, R.fail)
local bind = require("pipe.host.bind").new(host, C, ctl, R, current, api)

return {
  ours = host.ours,
  load = function(module)
    local f = sandbox.require(module)
    if type(f) ~= "function" then
      error(module .. " must return a function(row, event), it returns " .. (f == nil and "nothing" or "a " .. type(f)), 0)
    end
    return f
  end,
  bind = bind,
}
