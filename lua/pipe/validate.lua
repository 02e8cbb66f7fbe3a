--- Holds a description to pipe.schema: unknown keys (with the nearest known one), types, ranges,
--- required keys, defaults. Values that come from secrets or the environment are never quoted in a message.
local schema = require "pipe.schema"

local V = {}

--- Edit distance, as pe_str_nearest in engine/base/str.h.
local function distance(a, b)
  local prev, cur = {}, {}
  for j = 0, #b do prev[j] = j end
  for i = 1, #a do
    cur[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      cur[j] = math.min(prev[j] + 1, cur[j - 1] + 1, prev[j - 1] + cost)
    end
    prev, cur = cur, prev
  end
  return prev[#b]
end

--- The word nearest to `s`, or nil when none is within a third of its length (at least 1).
function V.nearest(s, words)
  local best, best_d
  for _, w in ipairs(words) do
    local d = distance(s:lower(), w:lower())
    if d <= math.max(1, math.floor(math.max(#s, #w) / 3)) and (not best_d or d < best_d) then best, best_d = w, d end
  end
  return best
end

local function keys_of(fields)
  local list, by = {}, {}
  for i, f in ipairs(fields) do list[i], by[f.key] = f.key, f end
  return list, by
end

--- The path of the field that has `key` somewhere else in the schema, or that a Debezium connector calls so.
local function find_elsewhere(key, fields, path)
  for _, f in ipairs(fields) do
    local here = path == "" and f.key or path .. "." .. f.key
    if f.key == key then return here end
    for was in (f.was or ""):gmatch("[^, ]+") do
      if was == key and was:find(".", 1, true) then return here end
    end
    if f.fields then
      local found = find_elsewhere(key, f.fields, f.type == "map" and here .. ".<name>" or here)
      if found then return found end
    end
  end
end

local units = {
  size = { [""] = 1, b = 1, k = 1024, kib = 1024, kb = 1000, m = 1024 ^ 2, mib = 1024 ^ 2, mb = 1e6, g = 1024 ^ 3, gib = 1024 ^ 3, gb = 1e9 },
  duration = { [""] = 1, ms = 1, s = 1000, m = 60000, min = 60000, h = 3600000 },
}
local wants = {
  string = "text", int = "a whole number", bool = "true or false", list = "a list of names", group = "a table", map = "a table",
  size = 'bytes, or text such as "24MiB"', duration = 'milliseconds, or text such as "200ms" or "5s"', url = "text",
}

local function shown(ctx, v, f)
  if f.secret or f.type == "url" then return "a " .. type(v) end
  if ctx.origin[v] then return ctx.origin[v] end
  if type(v) == "string" then return #v <= 60 and ("%q"):format(v) or "a string of " .. #v .. " bytes" end
  if type(v) == "number" or type(v) == "boolean" then return tostring(v) end
  return "a " .. type(v)
end

local function problem(ctx, path, fmt, ...)
  ctx.problems[#ctx.problems + 1] = { path = path, text = fmt:format(...) }
end

--- A number without exponent.
function V.plain(n)
  return (("%.0f"):format(n))
end
local plain = V.plain

local function in_range(ctx, path, f, n, v)
  if (f.min and n < f.min) or (f.max and n > f.max) then
    local unit = f.type == "duration" and " ms" or f.type == "size" and " bytes" or ""
    problem(ctx, path, "must be between %s and %s%s, not %s", plain(f.min), plain(f.max), unit, shown(ctx, v, f))
    return nil
  end
  return n
end

local check = {}

local function mistyped(ctx, path, f, v)
  problem(ctx, path, "must be %s, not %s", wants[f.type], shown(ctx, v, f))
end

function check.string(ctx, path, f, v)
  if type(v) ~= "string" then return mistyped(ctx, path, f, v) end
  if v:find("%z") then return problem(ctx, path, "holds a zero byte") end
  local p = f.pattern and schema.patterns[f.pattern]
  if p and p.also and v == p.also then return "" end
  if p and not (p.empty and v == "") and (not v:find(p[1]) or #v > p[2]) then
    return problem(ctx, path, "must be %s, not %s", p[3], shown(ctx, v, f))
  end
  if v == "" and not (p and p.empty) then return problem(ctx, path, "is empty; leave it out for its default") end
  return v
end
check.url = check.string

function check.int(ctx, path, f, v)
  local n = type(v) == "string" and v:find("^%d+$") and tonumber(v) or v
  if type(n) ~= "number" or n ~= math.floor(n) then return mistyped(ctx, path, f, v) end
  return in_range(ctx, path, f, n, v)
end

local function with_unit(ctx, path, f, v)
  local n = v
  if type(v) == "string" then
    local digits, unit = v:match("^%s*([%d.]+)%s*(%a*)%s*$")
    local factor = unit and units[f.type][unit:lower()]
    n = factor and tonumber(digits) and tonumber(digits) * factor
  end
  if type(n) ~= "number" or n ~= n then return mistyped(ctx, path, f, v) end
  return in_range(ctx, path, f, math.floor(n + 0.5), v)
end
check.size, check.duration = with_unit, with_unit

local bools = { ["true"] = true, ["1"] = true, yes = true, ["false"] = false, ["0"] = false, no = false }
function check.bool(ctx, path, f, v)
  if type(v) == "boolean" then return v end
  if type(v) == "string" and bools[v:lower()] ~= nil then return bools[v:lower()] end
  return mistyped(ctx, path, f, v)
end

function check.enum(ctx, path, f, v)
  for _, w in ipairs(f.values) do
    if v == w then return v end
  end
  local quoted = {}
  for i, w in ipairs(f.values) do quoted[i] = ("%q"):format(w) end
  local near = type(v) == "string" and V.nearest(v, f.values)
  problem(ctx, path, "must be one of %s, not %s%s", table.concat(quoted, ", "), shown(ctx, v, f),
    near and (" (did you mean %q?)"):format(near) or "")
end

function check.list(ctx, path, f, v)
  if type(v) ~= "table" then return mistyped(ctx, path, f, v) end
  local out, n = {}, 0
  for _ in pairs(v) do n = n + 1 end
  for i, item in ipairs(v) do
    if type(item) ~= "string" or item == "" then
      return problem(ctx, path .. "[" .. i .. "]", "must be a name, not %s", shown(ctx, item, f))
    end
    out[i] = item
  end
  if n ~= #out then return problem(ctx, path, 'must be a plain list such as { "a", "b" }') end
  return out
end

V.made_by = { mysql = "pipe.mysql", clickhouse = "pipe.clickhouse", kafka = "pipe.kafka", reference = "pipe.reference" }

function check.group(ctx, path, f, v)
  if type(v) ~= "table" then
    return problem(ctx, path, "must be %s, not %s", f.kind and V.made_by[f.kind] .. " { ... }" or "a table", shown(ctx, v, f))
  end
  local kind = ctx.kind[v]
  if f.kind and kind ~= f.kind then
    return problem(ctx, path, "must be made by %s { ... }%s", V.made_by[f.kind], kind and ", not by " .. V.made_by[kind] or "")
  end
  return V.fields(ctx, path, f.fields, v)
end

function check.map(ctx, path, f, v)
  if type(v) ~= "table" then return mistyped(ctx, path, f, v) end
  local names, out = {}, {}
  for name in pairs(v) do
    if type(name) ~= "string" then
      problem(ctx, path, "must be { name = { ... } }, not a list: write orders = {} instead of \"orders\"")
      return nil
    end
    names[#names + 1] = name
  end
  table.sort(names)
  if #names == 0 then return problem(ctx, path, "names no table; at least one is needed, such as orders = {}") end
  if #names > f.max then return problem(ctx, path, "names %d tables; at most %d fit in one pipeline", #names, f.max) end
  for _, name in ipairs(names) do
    local item, here = v[name], path .. "." .. name
    local kind = type(item) == "table" and ctx.kind[item]
    if type(item) ~= "table" then
      problem(ctx, here, "must be a table such as {}, not %s", shown(ctx, item, f))
    elseif kind and not f.other[kind] then
      problem(ctx, here, "can't be made by %s", V.made_by[kind])
    else
      local t = V.fields(ctx, here, kind and f.other[kind] or f.fields, item)
      t.reference = kind == "reference"
      t.name = name
      out[#out + 1] = t
    end
  end
  return out
end

--- Checks one table of keys; returns a new table with the defaults filled in.
function V.fields(ctx, path, fields, v)
  local known, by = keys_of(fields)
  local given, out = {}, {}
  for k in pairs(v) do given[#given + 1] = k end
  table.sort(given, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(given) do
    local here = path == "" and tostring(k) or path .. "." .. tostring(k)
    local f = by[k]
    if not f then
      local near = type(k) == "string" and V.nearest(k, known)
      local hint = near and ("; did you mean %s?"):format(near)
      if not hint and type(k) == "string" then
        local other = schema.elsewhere[k] or find_elsewhere(k, schema.pipeline, "")
        hint = other and ("; that is %s here"):format(other)
      end
      problem(ctx, here, "unknown key%s", hint or "; known here: " .. table.concat(known, ", "))
    else
      out[f.key] = check[f.type](ctx, here, f, v[k])
    end
  end
  for _, f in ipairs(fields) do
    if v[f.key] == nil then
      local here = path == "" and f.key or path .. "." .. f.key
      if f.required then
        ctx.missing[here] = true
        problem(ctx, here, "is missing; %s", f.missing or ("add %s = %s"):format(f.key, f.example or "..."))
      elseif f.type == "group" and not f.kind then
        out[f.key] = V.fields(ctx, here, f.fields, {})
      else
        out[f.key] = f.default
      end
    end
  end
  return out
end

--- Rules that concern more than one key.
local function across(ctx, cfg)
  if cfg.kafka and cfg.kafka.brokers then
    problem(ctx, "kafka.brokers", "Kafka is not built into this version; unset KAFKA_BROKERS to go direct")
  end
  local targets = {}
  for _, t in ipairs(cfg.tables or {}) do
    t.target = t.target or t.name
    t.dlq = t.dlq or t.name .. "_dlq"
    if t.snapshot == nil then t.snapshot = true end
    local other = targets[t.target]
    if other then
      problem(ctx, "tables." .. t.name, "writes to %s, as tables.%s does; a target belongs to one table", t.target, other)
    end
    targets[t.target] = t.name
    if t.dlq == t.target then
      problem(ctx, "tables." .. t.name .. ".dlq", "is the table's own target; name another one")
    end
  end
  local url = cfg.sink and cfg.sink.url
  if url and url:find("^embedded:") then
    for _, k in ipairs { "user", "password" } do
      if cfg.sink[k] then problem(ctx, "sink." .. k, "is of no use with embedded:, which needs none; remove it") end
    end
  end
end

--- ctx: kind[table] = "mysql"..., origin[value] = "the value of $NAME". Returns the normalized
--- description, or nil and the problems in the order of their paths.
function V.pipeline(ctx, description)
  ctx.problems, ctx.missing = {}, {}
  local cfg = V.fields(ctx, "", schema.pipeline, description)
  across(ctx, cfg)
  if #ctx.problems > 0 then return nil, ctx.problems end
  return cfg
end

return V
