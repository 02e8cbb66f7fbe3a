-- Transforms under plain `busted`, without the engine and without any C of it:
--
--   local testing = require "pipe.testing"
--   local run = testing.transform("transforms.orders", {
--     lookups = { customers = { [42] = { region = 7 } } },
--     secrets = { TOKEN_KEY = "a key for tests" },
--     key = { "region", "id" },
--   })
--   assert.equal(7, run:insert({ id = 1, customer_id = 42 }).region)
--
-- The rules are the engine's: the transform is applied to both images of a change, a failure or
-- pipe.dlq quarantines the change, what an update no longer gives becomes a tombstone, and a lookup
-- key that has had other values is tried with each of them. pipe/README.md says what the options are.
local ffi = require "ffi"
local sha256 = require "pipe.sha256"

local testing = {}
local i64, u64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local VARIANTS_MAX = 64

-- ---- names ----

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local same = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + same)
      diagonal = above
    end
  end
  return row[#b]
end

local function nearest(word, words)
  local best, best_d
  for _, w in ipairs(words) do
    local d = distance(word, w)
    if not best_d or d < best_d then best, best_d = w, d end
  end
  if best and best_d <= math.max(1, math.floor(#word / 3)) then return best end
end

local function sorted_keys(t)
  local names = {}
  for k in pairs(t) do names[#names + 1] = tostring(k) end
  table.sort(names)
  return names
end

local function suggest(word, t)
  local near = nearest(word, sorted_keys(t))
  return near and "; did you mean \"" .. near .. "\"?" or ""
end

-- ---- values ----

local RANGES = {
  tinyint = { -128, 127 }, smallint = { -32768, 32767 }, mediumint = { -8388608, 8388607 },
  int = { -2147483648, 2147483647 }, integer = { -2147483648, 2147483647 }, bigint = "signed",
  ["tinyint unsigned"] = { 0, 255 }, ["smallint unsigned"] = { 0, 65535 }, ["mediumint unsigned"] = { 0, 16777215 },
  ["int unsigned"] = { 0, 4294967295 }, ["integer unsigned"] = { 0, 4294967295 }, ["bigint unsigned"] = "unsigned",
  int8 = { -128, 127 }, int16 = { -32768, 32767 }, int32 = { -2147483648, 2147483647 }, int64 = "signed",
  uint8 = { 0, 255 }, uint16 = { 0, 65535 }, uint32 = { 0, 4294967295 }, uint64 = "unsigned",
}
local TEXTS = { varchar = true, char = true, text = true, string = true }

local function type_of(name)
  local plain = name:lower():gsub("%b()", ""):gsub("%s+", " "):gsub("%s+$", "")
  return RANGES[plain], TEXTS[plain]
end

local function is64(v)
  return type(v) == "cdata" and (ffi.istype(i64, v) or ffi.istype(u64, v))
end

-- A value as the engine would take it for a column of that type; nil and a complaint otherwise.
local function accept(kind, is_text, v)
  if v == nil then return true, nil end
  if is_text then return type(v) == "string", v end
  if not kind then return true, v end
  if type(v) == "number" then
    if v ~= math.floor(v) then return false end
    if kind == "signed" then return math.abs(v) <= 2 ^ 53, i64(v) end
    if kind == "unsigned" then return v >= 0 and v <= 2 ^ 53, u64(v) end
    return v >= kind[1] and v <= kind[2], v
  end
  if not is64(v) then return false end
  if kind == "signed" then return ffi.istype(i64, v) or v <= 9223372036854775807ULL, i64(v) end
  if kind == "unsigned" then return ffi.istype(u64, v) or v >= 0, u64(v) end
  if ffi.istype(u64, v) then return v <= u64(kind[2]), tonumber(v) end
  return v >= i64(kind[1]) and v <= i64(kind[2]), tonumber(v)
end

-- Equal values, equal text: 42, 42LL and 42ULL are one key.
local function key_text(v)
  if v == nil then return "\0nil" end
  if is64(v) then return (tostring(v):gsub("U?LL$", "")) end
  if type(v) == "number" and v == math.floor(v) and math.abs(v) <= 2 ^ 53 then return ("%d"):format(v) end
  if type(v) == "string" then return "\0s" .. v end
  return tostring(v)
end

local function token_text(v, level)
  if type(v) == "string" then return v end
  if is64(v) then return key_text(v) end
  if type(v) ~= "number" then error("a token is made of a string or a number, not of a " .. type(v), level + 1) end
  if v == math.floor(v) and math.abs(v) <= 2 ^ 53 then return ("%d"):format(v) end
  return ("%.17g"):format(v)
end

-- ---- rows ----

local data_of = setmetatable({}, { __mode = "k" })   -- row -> its values
local target_of = setmetatable({}, { __mode = "k" })  -- row -> its target

local function new_row(run, values, target, read_only)
  local data = {}
  local columns = target == run.target and run.columns or nil
  local row = setmetatable({}, {
    __metatable = false,
    __index = function(_, k)
      if columns and not columns[k] then
        error(target .. " has no column '" .. tostring(k) .. "'" .. suggest(tostring(k), columns), 2)
      end
      return data[k]
    end,
    __newindex = function(_, k, v)
      if read_only then error(target .. ": event.before can only be read", 2) end
      if type(k) ~= "string" then error(target .. ": a column is named by a string", 2) end
      if columns then
        local c = columns[k]
        if not c then error(target .. " has no column '" .. k .. "'" .. suggest(k, columns), 2) end
        local ok, value = accept(c.kind, c.text, v)
        if not ok then error(target .. "." .. k .. " (" .. c.name .. ") can't take this value exactly", 2) end
        v = value
      elseif type(v) == "table" or type(v) == "function" or type(v) == "boolean" then
        error(target .. "." .. k .. " can't take this value exactly: it is a " .. type(v), 2)
      end
      data[k] = v
    end,
  })
  for k, v in pairs(values) do
    if columns then
      local c = columns[k]
      if not c then
        error("the test gives a column '" .. tostring(k) .. "' that columns doesn't name" .. suggest(tostring(k), columns), 3)
      end
      local ok, value = accept(c.kind, c.text, v)
      if not ok then error("the test gives a value that " .. k .. " (" .. c.name .. ") can't hold", 3) end
      v = value
    end
    data[k] = v
  end
  data_of[row] = data
  target_of[row] = target
  return row
end

local function plain(row)
  local t = {}
  for k, v in pairs(data_of[row]) do t[k] = v end
  return t
end

-- ---- pipe, as a transform sees it ----

local function lookup_of(run, spec)
  if type(spec) ~= "table" then error("pipe.lookup takes { table =, key =, values = }", 3) end
  for k in pairs(spec) do
    if k ~= "table" and k ~= "key" and k ~= "values" then
      error("pipe.lookup: unknown setting '" .. tostring(k) .. "'" .. suggest(tostring(k), { table = 1, key = 1, values = 1 }), 3)
    end
  end
  local keys = type(spec.key) == "table" and spec.key or { spec.key }
  local values = {}
  for _, v in ipairs(type(spec.values) == "table" and spec.values or { spec.values }) do values[v] = true end
  if type(spec.table) ~= "string" or #keys == 0 or not next(values) then
    error("pipe.lookup takes { table =, key =, values = }", 3)
  end
  local function entry(value)
    if value == nil then return nil end
    return setmetatable({}, {
      __metatable = false,
      __index = function(_, k)
        if not values[k] then error(spec.table .. " has no column '" .. tostring(k) .. "'" .. suggest(tostring(k), values), 2) end
        return value[k]
      end,
      __newindex = function() error(spec.table .. ": a lookup's answer can only be read", 2) end,
    })
  end
  local function get(...)
    local parts = {}
    for i = 1, #keys do
      local v = select(i, ...)
      if v == nil then return nil end
      parts[i] = key_text(v)
    end
    return entry(run:answer(spec.table, table.concat(parts, "\1")))
  end
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, k)
      if k == "get" then
        return function(_, ...)
          if select("#", ...) ~= #keys then
            error("lookup " .. spec.table .. ": get takes " .. #keys .. " key values, not " .. select("#", ...), 2)
          end
          return get(...)
        end
      end
      if #keys > 1 then error("lookup " .. spec.table .. " has " .. #keys .. " key columns: use :get(a, b)", 2) end
      return get(k)
    end,
    __newindex = function() error("a lookup can only be read", 2) end,
  })
end

local function token_of(run, secrets, spec)
  local function maker(key, id)
    local name = secrets[key]
    if not name then error("pipe.token: key is a pipe.secret \"NAME\", so that the key itself stands in no file", 4) end
    local value = run.secrets[name]
    if not value or value == "" then
      error("secret " .. name .. " is not set: give it in the environment variable " .. name
        .. " (in this test: secrets = { " .. name .. " = ... })", 4)
    end
    id = tostring(id == nil and 1 or id)
    if not id:find("^%w+$") or #id > 16 then error("pipe.token: id is up to 16 letters and digits", 4) end
    return function(v)
      if v == nil then return nil end
      return "tok_" .. id .. "_" .. sha256.base64url(sha256.hmac(value, token_text(v, 2)):sub(1, 18))
    end, id
  end
  if type(spec) ~= "table" then error("pipe.token takes { key = pipe.secret \"NAME\" }", 3) end
  local make, id = maker(spec.key, spec.id)
  local all = { [id] = make }
  for _, p in ipairs(spec.previous or {}) do
    local m, mid = maker(p.key, p.id)
    all[mid] = m
  end
  local T = {}
  function T.email(_, v)
    if v == nil then return nil end
    if type(v) ~= "string" then error("token:email takes a string", 2) end
    local name, domain = v:match("^(.*)(@[^@]*)$")
    if not name then return make(v) end
    return make(name) .. domain
  end
  function T.with(_, wanted, v)
    local m = all[tostring(wanted)] or error("token:with: there is no key of that id", 2)
    return m(v)
  end
  return setmetatable({}, { __index = T, __call = function(_, v) return make(v) end, __metatable = false })
end

local function days_from_civil(y, m, d)
  if m <= 2 then y = y - 1 end
  local era = math.floor(y / 400)
  local yoe = y - era * 400
  local doy = math.floor((153 * (m > 2 and m - 3 or m + 9) + 2) / 5) + d - 1
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end

local function epoch_us(text)
  if text == nil then return nil end
  local y, m, d, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if not y then error("pipe.epoch_us: this column holds no date", 3) end
  if tonumber(y) == 0 or tonumber(m) == 0 or tonumber(d) == 0 then return nil end
  local hour, min, sec, fraction = rest:match("^[ T](%d%d):(%d%d):(%d%d)%.?(%d*)$")
  local us = i64(days_from_civil(tonumber(y), tonumber(m), tonumber(d))) * 86400000000LL
  if hour then
    local part = tonumber((fraction .. "000000"):sub(1, 6))
    us = us + (i64(hour * 3600 + min * 60) + i64(tonumber(sec))) * 1000000LL + i64(part)
  end
  return us
end

local function make_pipe(run)
  local pipe, secrets = {}, {}
  function pipe.lookup(spec) return lookup_of(run, spec) end
  function pipe.secret(name)
    local s = setmetatable({}, { __metatable = false, __tostring = function() return "secret " .. name end })
    secrets[s] = name
    return s
  end
  function pipe.token(spec) return token_of(run, secrets, spec) end
  function pipe.counter(name)
    run.counters[name] = run.counters[name] or 0
    return {
      add = function(_, n) run.counters[name] = run.counters[name] + (n or 1) end,
      set = function(_, v) run.counters[name] = v end,
    }
  end
  function pipe.log(level, text)
    if level ~= "debug" and level ~= "info" and level ~= "warn" and level ~= "error" then
      error("pipe.log takes \"debug\", \"info\", \"warn\" or \"error\" first", 2)
    end
    if type(text) ~= "string" then error("pipe.log takes a text, and no rows or values", 2) end
    run.logs[#run.logs + 1] = { level = level, text = text }
  end
  function pipe.dlq(reason, column)
    if type(reason) ~= "string" or reason == "" then error("pipe.dlq takes the reason as a string", 2) end
    local mark = setmetatable({}, { __metatable = false })
    run.marks[mark] = { reason = reason, column = column }
    return mark
  end
  function pipe.copy(row)
    if not data_of[row] then error("pipe.copy takes a row, not a " .. type(row), 2) end
    return new_row(run, data_of[row], target_of[row])
  end
  local function check_target(name, what)
    if name == run.target or run.routes[name] then return end
    error(what .. ": '" .. tostring(name) .. "' is no target of " .. run.table .. "; name it in tables." .. run.table
      .. ".routes (in this test: routes = { ... })", 3)
  end
  function pipe.route(row, name)
    if not data_of[row] then error("pipe.route takes a row, not a " .. type(row), 2) end
    check_target(name, "pipe.route")
    return new_row(run, data_of[row], name)
  end
  function pipe.row(name, values)
    check_target(name, "pipe.row")
    return new_row(run, values or {}, name)
  end
  function pipe.epoch_us(row, column)
    if not data_of[row] then error("pipe.epoch_us takes a row and a column of it", 2) end
    return epoch_us(row[column])
  end
  return setmetatable({}, {
    __index = function(_, k)
      if pipe[k] then return pipe[k] end
      error("pipe has no function '" .. tostring(k) .. "' for transforms" .. suggest(tostring(k), pipe), 2)
    end,
    __newindex = function() error("pipe can't be changed", 2) end,
    __metatable = false,
  })
end

-- ---- running ----

local Run = {}
Run.__index = Run

-- What a lookup answers: today's value, or, while a before image is tried, what the path says.
function Run:answer(name, key)
  local of = self.lookups[name]
  local e = of and of[key]
  local today = e and e.today
  local path = self.path
  if not e or not path or #e.past == 0 then return today end
  for _, c in ipairs(path) do
    if c.entry == e then return c.options[c.at] end
  end
  local c = { entry = e, options = {}, at = 1, n = 1 }
  c.options[1] = today
  for _, value in ipairs(e.past) do
    c.n = c.n + 1
    c.options[c.n] = value
  end
  if e.had_none and today then c.n = c.n + 1 end
  path[#path + 1] = c
  return today
end

local function failure(message)
  return { reason = tostring(message), error = true }
end

-- One image through the transform: a list of rows, or nil and what quarantines it.
function Run:apply(values, event)
  local row = new_row(self, values, self.target)
  local ok, r = xpcall(function() return self.transform(row, event) end, function(m)
    return { m, debug.traceback("", 2) }
  end)
  if not ok then
    local f = failure(r[1])
    f.traceback = r[2]
    return nil, f
  end
  if not r then return {} end
  if r == row then return { row } end
  if self.marks[r] then return nil, self.marks[r] end
  if data_of[r] then return { r } end
  if type(r) ~= "table" then
    return nil, failure("a transform returned a " .. type(r) .. "; it returns the row, nil, pipe.dlq or a list of rows")
  end
  for _, x in ipairs(r) do
    if self.marks[x] then return nil, failure("pipe.dlq can't be one of several rows: return it alone") end
    if not data_of[x] then return nil, failure("a transform returned a " .. type(x) .. " among its rows") end
  end
  return r
end

function Run:event(op, image, before)
  self.version = self.version + 1ULL
  local fields = { op = op, table = self.table, version = self.version, time_us = 1700000000000000LL, image = image,
    before = before and new_row(self, before, self.target, true) }
  local known = { op = 1, table = 1, version = 1, time_us = 1, image = 1, before = 1 }
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, k)
      if not known[k] then error("event has no field '" .. tostring(k) .. "'" .. suggest(tostring(k), known), 2) end
      return fields[k]
    end,
    __newindex = function() error("event can only be read", 2) end,
  })
end

-- Target and key of a row, as text: what a replacement has to match.
function Run:identity(row)
  local data, parts = data_of[row], { target_of[row] }
  for _, k in ipairs(self.key or sorted_keys(data)) do
    parts[#parts + 1] = self.key and key_text(data[k]) or k .. "=" .. key_text(data[k])
  end
  return table.concat(parts, "\1")
end

-- T(before) with every combination of past lookup values: all rows that may have been written.
function Run:before_rows(values, op)
  local rows, first_failure, good = {}, nil, false
  local path, runs = {}, 0
  repeat
    runs = runs + 1
    if runs > VARIANTS_MAX then
      return nil, failure("the lookups of this row have had too many values: more than 64 combinations may have been written")
    end
    self.path = path
    local out, dead = self:apply(values, self:event(op, "before", values))
    self.path = nil
    if out then
      good = true
      for _, row in ipairs(out) do rows[#rows + 1] = row end
    elseif dead.error then
      first_failure = first_failure or dead
    else
      good = true -- quarantined then: nothing of it is in the target
    end
    while #path > 0 and path[#path].at >= path[#path].n do path[#path] = nil end
    if #path > 0 then path[#path].at = path[#path].at + 1 end
  until #path == 0
  if not good then return nil, first_failure end
  return rows
end

local FIELDS = { rows = true, targets = true, tombstones = true, tombstone_targets = true, dlq = true, dropped = true }
local Change = {}
function Change.__index(change, k)
  if FIELDS[k] or type(k) == "number" then return nil end
  local rows = rawget(change, "rows")
  if #rows == 1 then return rows[1][k] end
  return nil
end

function Run:settle(op, before, after)
  local change = setmetatable({ rows = {}, targets = {}, tombstones = {}, tombstone_targets = {} }, Change)
  local there = {}
  local outs, dead = {}, nil
  if after then
    outs, dead = self:apply(after, self:event(op, "after", before))
  end
  local past = {}
  if not dead and before then
    past, dead = self:before_rows(before, op)
  end
  if dead then
    change.dlq = dead
    return change
  end
  for i, row in ipairs(outs) do
    there[self:identity(row)] = true
    change.rows[i] = plain(row)
    change.targets[i] = target_of[row]
    change[i] = change.rows[i]
  end
  for _, row in ipairs(past) do
    local id = self:identity(row)
    if not there[id] then
      there[id] = true
      change.tombstones[#change.tombstones + 1] = plain(row)
      change.tombstone_targets[#change.tombstones] = target_of[row]
    end
  end
  if #change.rows + #change.tombstones == 0 then change.dropped = true end
  return change
end

--- The change that an INSERT gives.
function Run:insert(row) return self:settle("insert", nil, row) end
--- The change that a row of the first snapshot gives.
function Run:snapshot(row) return self:settle("snapshot", nil, row) end
--- The change that an UPDATE gives.
function Run:update(before, after) return self:settle("update", before, after) end
--- The change that a DELETE gives.
function Run:delete(before) return self:settle("delete", before, nil) end

--- A change of a lookup's table: `value` is today's from now on (nil: the key is gone); what it was
--- is remembered, as the engine does. `key` is a value, or a list of them for several key columns.
function Run:set_lookup(name, key, value)
  local parts = {}
  for i, k in ipairs(type(key) == "table" and key or { key }) do parts[i] = key_text(k) end
  local id = table.concat(parts, "\1")
  self.lookups[name] = self.lookups[name] or {}
  local e = self.lookups[name][id]
  if not e then
    e = { past = {} }
    self.lookups[name][id] = e
  elseif e.today then
    table.insert(e.past, e.today)
  end
  if value == nil then e.had_none = true end
  e.today = value
end

local function fill_lookup(run, name, entries, nested)
  for key, value in pairs(entries) do
    local parts = { unpack(nested or {}) }
    parts[#parts + 1] = key
    local deeper = type(value) == "table" and type(select(2, next(value))) == "table"
    if deeper then fill_lookup(run, name, value, parts) else run:set_lookup(name, parts, value) end
  end
end

-- ---- modules ----

local function module_finder(root)
  return function(name)
    local tried = {}
    for _, pattern in ipairs { "?.lua", "lua/?.lua" } do
      local path = pattern:gsub("%?", (name:gsub("%.", "/")))
      local f = io.open(root .. "/" .. path, "rb")
      if f then
        local text = f:read("*a")
        f:close()
        return text, path
      end
      tried[#tried + 1] = path
    end
    return nil, "there is no module \"" .. name .. "\": looked for " .. table.concat(tried, " and ")
  end
end

local OPTIONS = { lookups = true, secrets = true, columns = true, key = true, routes = true, table = true, target = true,
  path = true }

--- A transform, ready to be run by a test.
function testing.transform(module, options)
  options = options or {}
  for k in pairs(options) do
    if not OPTIONS[k] then
      error("testing.transform: unknown option '" .. tostring(k) .. "'" .. suggest(tostring(k), OPTIONS), 2)
    end
  end
  local run = setmetatable({}, Run)
  run.table = options.table or module:match("([^.]+)$")
  run.target = options.target or run.table
  run.key = options.key
  run.secrets = options.secrets or {}
  run.counters, run.logs, run.marks = {}, {}, setmetatable({}, { __mode = "k" })
  run.version = 0ULL
  run.lookups, run.routes = {}, {}
  for _, name in ipairs(options.routes or {}) do run.routes[name] = true end
  if options.columns then
    run.columns = {}
    for name, type_name in pairs(options.columns) do
      local kind, text = type_of(type_name)
      run.columns[name] = { name = type_name, kind = kind, text = text }
    end
  end
  for name, entries in pairs(options.lookups or {}) do fill_lookup(run, name, entries) end
  local host = { module = module_finder(options.path or "."), nearest = nearest }
  local sandbox = require("pipe.host.sandbox").new(host, make_pipe(run), function(text, level)
    error(text, (level or 1) + 1)
  end)
  local f = sandbox.require(module)
  if type(f) ~= "function" then
    error(module .. " must return a function(row, event), it returns " .. (f == nil and "nothing" or "a " .. type(f)), 2)
  end
  run.transform = f
  return run
end

return testing
