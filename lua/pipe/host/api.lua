-- `pipe` as transforms see it inside the engine. The same functions for tests without the engine are
-- in pipe/testing.lua; what they mean is written down in pipe/init.lua.
local ffi = require "ffi"

local api = {}

function api.new(host, C, ctl, R, current)
  local F = R.F
  local u8, genF = "u8" .. F, "gen" .. F
  local i64, u64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
  local fail = R.fail
  local pipe = {}
  local A = { pipe = pipe, marks = {} }

  function A.describe(v)
    if v == nil then return "nil" end
    local t = type(v)
    if t == "cdata" then
      return (ffi.istype(i64, v) or ffi.istype(u64, v)) and "a 64-bit integer" or "a row of something else"
    end
    return (t == "userdata" and "an object") or ("a " .. t)
  end

  local function table_now()
    local t = current.table
    if not t then fail("this works while a row is being transformed, not while modules load", 3) end
    return t
  end

  -- ---- quarantine ----
  local marks = A.marks
  local by_reason, nmarks = {}, 0
  local NONE = {}
  local function new_mark(reason, column)
    if type(reason) ~= "string" or reason == "" then fail("pipe.dlq takes the reason as a string", 3) end
    if column ~= nil and type(column) ~= "string" then fail("pipe.dlq takes the column's name as a string", 3) end
    local id = host.mark(reason, column)
    if not id then fail("out of memory for a reason", 3) end
    local m = setmetatable({}, { __metatable = false, __newindex = function() end })
    marks[m] = id
    return m
  end
  function pipe.dlq(reason, column)
    local of = by_reason[reason]
    local m = of and of[column == nil and NONE or column]
    if m then return m end
    m = new_mark(reason, column)
    if nmarks < host.marks_max then
      nmarks = nmarks + 1
      of = of or {}
      of[column == nil and NONE or column] = m
      by_reason[reason] = of
    end
    return m
  end

  -- ---- rows ----
  local function row_of(x, what)
    local t = table_now()
    local d = t.of(x)
    if not d then fail(what .. " takes a row, not " .. A.describe(x), 3) end
    return t, d
  end
  function pipe.copy(row)
    local t, d = row_of(row, "pipe.copy")
    return t.take(d, C.copy_row(ctl, row[u8], d.layout.row_bytes))
  end

  local function dest_of(t, name, what)
    local d = t.dests[name]
    if d then return d end
    if type(name) ~= "string" then fail(what .. " takes the name of a target table", 3) end
    local names = {}
    for n in pairs(t.dests) do names[#names + 1] = n end
    table.sort(names)
    local near = host.nearest(name, names)
    fail(what .. ": '" .. name .. "' is no target of " .. t.name .. "; name it in tables." .. t.name .. ".routes"
      .. (near and " (did you mean \"" .. near .. "\"?)" or ""), 3)
  end
  function pipe.route(row, name)
    local t, from = row_of(row, "pipe.route")
    local to = dest_of(t, name, "pipe.route")
    if to == from then return t.take(to, C.copy_row(ctl, row[u8], to.layout.row_bytes)) end
    local plan = t.plan(from, to)
    local mem = C.new_row(ctl, to.layout.row_bytes, to.layout.null_bytes)
    local r = t.take(to, mem)
    C.copy_columns(plan.plan, plan.n, row[u8], mem)
    local values = plan.values
    for i = 1, #values do
      local name_i = values[i]
      r[name_i] = row[name_i]
    end
    return r
  end
  function pipe.row(name, values)
    local t = table_now()
    local to = dest_of(t, name, "pipe.row")
    local r = t.take(to, C.new_row(ctl, to.layout.row_bytes, to.layout.null_bytes))
    if values ~= nil then
      if type(values) ~= "table" then fail("pipe.row takes the values as a table { column = value }", 2) end
      for k, v in pairs(values) do r[k] = v end
    end
    return r
  end
  function pipe.epoch_us(row, name)
    local t = table_now()
    local d = t.of(row)
    local us = d and d.acc.us[name]
    if not us and not d and ffi.istype(t.before, row) then us = t.own.acc.us[name] end
    if not us then
      if not d and not ffi.istype(t.before, row) then fail("pipe.epoch_us takes a row and a column of it", 2) end
      fail("pipe.epoch_us: '" .. tostring(name) .. "' is no date or time column of this row", 2)
    end
    return us(row)
  end

  -- ---- lookups ----
  local function list(v, what)
    if type(v) == "string" then return { v } end
    if type(v) ~= "table" or #v == 0 then fail("pipe.lookup: " .. what .. " is a column's name or a list of them", 3) end
    for i = 1, #v do
      if type(v[i]) ~= "string" then fail("pipe.lookup: " .. what .. " holds something that is no column's name", 3) end
    end
    return v
  end
  local function key_part(v)
    local t = type(v)
    if t == "number" then return C.key_num(ctl, v)
    elseif t == "string" then return C.key_str(ctl, v, #v)
    elseif t == "cdata" and ffi.istype(i64, v) then return C.key_int(ctl, v)
    elseif t == "cdata" and ffi.istype(u64, v) then return C.key_uint(ctl, v)
    end
    return -1
  end
  local LOOKUP_KEYS = { table = true, key = true, values = true }
  function pipe.lookup(spec)
    if current.table then fail("pipe.lookup belongs at the top of a module: it is made once", 2) end
    if type(spec) ~= "table" then fail("pipe.lookup takes { table =, key =, values = }", 2) end
    for k in pairs(spec) do
      if not LOOKUP_KEYS[k] then
        local near = host.nearest(tostring(k), { "table", "key", "values" })
        fail("pipe.lookup: unknown setting '" .. tostring(k) .. "'" .. (near and "; did you mean \"" .. near .. "\"?" or ""), 2)
      end
    end
    if type(spec.table) ~= "string" then fail("pipe.lookup: table is the name of a captured table", 2) end
    local keys, values = list(spec.key, "key"), list(spec.values, "values")
    local found, why = host.lookup(spec.table, keys, values)
    if not found then fail(why, 2) end
    local l = ffi.cast("const void *", found.lookup)
    local int_key, one = found.int_key, #keys == 1
    local E = R.entry_type(R.accessors(found.layout))
    local type, istype = type, ffi.istype
    local function entry(p)
      if p == nil then return nil end
      local e = E()
      e[u8] = p
      e[genF] = ctl.gen
      return e
    end
    local function get1(k)
      local t = type(k)
      if t == "number" then return entry(C.get_num(ctl, l, k)) end
      if t == "string" then return entry(C.get_str(ctl, l, k, #k)) end
      if t == "cdata" and istype(i64, k) then return entry(C.get_int(ctl, l, k)) end
      if t == "cdata" and istype(u64, k) then return entry(C.get_uint(ctl, l, k)) end
      if k == nil then return nil end
      fail("lookup " .. spec.table .. ": a key is a number, a 64-bit integer or a string, not " .. A.describe(k), 3)
    end
    local function get(_, ...)
      local n = select("#", ...)
      if n ~= #keys then fail("lookup " .. spec.table .. ": get takes " .. #keys .. " key values, not " .. n, 2) end
      if one then return get1((...)) end
      C.key_begin(ctl, l)
      for i = 1, n do
        local v = select(i, ...)
        if v == nil then return nil end
        if key_part(v) ~= 0 then
          fail("lookup " .. spec.table .. ": a key is a number, a 64-bit integer or a string, not " .. A.describe(v), 2)
        end
      end
      return entry(C.get_key(ctl))
    end
    local L = ffi.typeof("struct { uint8_t unused" .. F .. "; }")
    local mt = { __metatable = false }
    if one and int_key then
      function mt.__index(_, k)
        if k == "get" then return get end
        if type(k) == "number" then
          local p = C.get_num(ctl, l, k)
          if p == nil then return nil end
          local e = E()
          e[u8] = p
          e[genF] = ctl.gen
          return e
        end
        return get1(k)
      end
    elseif one then
      function mt.__index(_, k)
        if k == "get" then return get end
        return get1(k)
      end
    else
      function mt.__index(_, k)
        if k == "get" then return get end
        fail("lookup " .. spec.table .. " has " .. #keys .. " key columns: use :get(a, b)", 2)
      end
    end
    function mt.__newindex() fail("a lookup can only be read", 2) end
    function mt.__tostring() return "lookup " .. spec.table end
    return ffi.metatype(L, mt)()
  end

  -- ---- secrets and tokens ----
  local secrets = {}
  function pipe.secret(name)
    if type(name) ~= "string" or name == "" then fail("pipe.secret takes the name of an environment variable", 2) end
    local s = setmetatable({}, { __metatable = false, __tostring = function() return "secret " .. name end,
      __newindex = function() end })
    secrets[s] = name
    return s
  end
  local out = ffi.new("char[64]")
  local function text_of(v)
    local t = type(v)
    if t == "string" then return v end
    if t == "number" then
      if v == math.floor(v) and v >= -R.TWO53 and v <= R.TWO53 then return ("%d"):format(v) end
      return ("%.17g"):format(v)
    end
    if t == "cdata" and (ffi.istype(i64, v) or ffi.istype(u64, v)) then return (tostring(v):gsub("U?LL$", "")) end
    fail("a token is made of a string or a number, not of " .. A.describe(v), 3)
  end
  local function token_key(key, id)
    local name = secrets[key]
    if not name then fail("pipe.token: key is a pipe.secret \"NAME\", so that the key itself stands in no file", 3) end
    id = tostring(id == nil and 1 or id)
    if not id:find("^%w+$") or #id > 16 then fail("pipe.token: id is up to 16 letters and digits", 3) end
    local t, why = host.token(name, id)
    if not t then fail(why, 3) end
    return ffi.cast("const void *", t), id
  end
  local function maker(t)
    return function(v)
      if v == nil then return nil end
      if type(v) ~= "string" then v = text_of(v) end
      return ffi.string(out, C.token(t, v, #v, out))
    end
  end
  function pipe.token(spec)
    if current.table then fail("pipe.token belongs at the top of a module: it is made once", 2) end
    if type(spec) ~= "table" then fail("pipe.token takes { key = pipe.secret \"NAME\" }", 2) end
    local t, id = token_key(spec.key, spec.id)
    local make = maker(t)
    local older = { [id] = make }
    for _, p in ipairs(spec.previous or {}) do
      local pt, pid = token_key(p.key, p.id)
      if older[pid] then fail("pipe.token: the id of every key has to be its own", 2) end
      older[pid] = maker(pt)
    end
    local T = {}
    function T.email(_, v)
      if v == nil then return nil end
      if type(v) ~= "string" then fail("token:email takes a string", 2) end
      local at
      for i = #v, 1, -1 do
        if v:byte(i) == 64 then
          at = i
          break
        end
      end
      if not at then return make(v) end
      return make(v:sub(1, at - 1)) .. v:sub(at)
    end
    function T.with(_, wanted, v)
      local m = older[tostring(wanted)]
      if not m then fail("token:with: there is no key of that id", 2) end
      return m(v)
    end
    return setmetatable({}, { __index = T, __call = function(_, v) return make(v) end, __metatable = false,
      __newindex = function() end, __tostring = function() return "token" end })
  end

  -- ---- counters and log ----
  local Counter = {}
  Counter.__index = Counter
  local cells = setmetatable({}, { __mode = "k" })
  function Counter:add(n)
    local c = cells[self]
    c[0] = c[0] + (n or 1)
  end
  function Counter:set(v) cells[self][0] = v end
  Counter.__metatable = false
  function pipe.counter(name)
    if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
      fail("pipe.counter takes a name of letters, digits and _", 2)
    end
    local p = host.counter(name)
    if not p then fail("pipe.counter: too many counters", 2) end
    local c = setmetatable({}, Counter)
    cells[c] = ffi.cast("double *", p)
    return c
  end
  local LEVELS = { debug = 0, info = 1, warn = 2, error = 3 }
  function pipe.log(level, text)
    local n = LEVELS[level]
    if not n then fail("pipe.log takes \"debug\", \"info\", \"warn\" or \"error\" first", 2) end
    if type(text) ~= "string" then fail("pipe.log takes a text, and no rows or values", 2) end
    C.log(ctl, n, text, #text)
  end

  for _, name in ipairs { "pipeline", "mysql", "clickhouse", "kafka", "env", "file", "reference" } do
    pipe[name] = function() fail("pipe." .. name .. " belongs into the pipeline file, not into a transform", 2) end
  end
  local frozen = setmetatable({}, {
    __index = function(_, k)
      local v = pipe[k]
      if v ~= nil then return v end
      local names = {}
      for n in pairs(pipe) do names[#names + 1] = n end
      table.sort(names)
      local near = host.nearest(tostring(k), names)
      fail("pipe has no function '" .. tostring(k) .. "'" .. (near and "; did you mean \"" .. near .. "\"?" or ""), 2)
    end,
    __newindex = function() fail("pipe can't be changed", 2) end,
    __metatable = false,
  })
  A.pipe = frozen
  return A
end

return api
