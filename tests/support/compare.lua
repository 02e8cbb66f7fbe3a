-- Compares a table of the source with its target row by row: two streams ordered by the primary key,
-- merged, in constant memory. Values are compared as text first and only then by meaning (floating
-- point), so a million rows take seconds. No value but the key ever gets into a message.
local ffi = require "ffi"
local mysql = require "support.mysql"

ffi.cdef [[
int memcmp(const void *a, const void *b, size_t n);
]]
local C = ffi.C

local compare = {}

local FLOATS = { float = true, double = true }
local INTS = { tinyint = true, smallint = true, mediumint = true, int = true, bigint = true }
local BINARY = { binary = true, varbinary = true, tinyblob = true, blob = true, mediumblob = true, longblob = true, bit = true }

local function quote_id(name) return "`" .. name:gsub("`", "``") .. "`" end

-- Columns and key of a source table.
local function describe(db, database, name)
  local columns, key = {}, {}
  for _, r in ipairs(db:query(([[SELECT column_name, data_type, column_key = 'PRI' FROM information_schema.columns
      WHERE table_schema = '%s' AND table_name = '%s' ORDER BY ordinal_position]]):format(database, name))) do
    columns[#columns + 1] = { name = r[1], type = r[2]:lower() }
    if r[3] == "1" then key[#key + 1] = #columns end
  end
  assert(#columns > 0, "no table " .. name .. " in the source")
  assert(#key == 1 and INTS[columns[key[1]].type], "only tables with one integer as primary key can be compared: " .. name)
  return columns, key[1]
end

local function digits(p, n)
  local v, i, neg = 0, 0, false
  if n > 0 and p[0] == 45 then neg, i = true, 1 end
  while i < n do
    v = v * 10 + (p[i] - 48)
    i = i + 1
  end
  return neg and -v or v
end

-- A TSV field as the text it stands for.
local escapes = { b = "\b", f = "\f", r = "\r", n = "\n", t = "\t", ["0"] = "\0", ["'"] = "'", ["\\"] = "\\" }
local function unescape(s)
  return (s:gsub("\\(.)", function(c) return escapes[c] or c end))
end

--[[ compare.table {
       db =, ch =, database =, table =,     connections and the source table
       target = name,                       default: the table's name
       where = "..."                        only these rows of the source
       exclude = { column = true },         source columns that the target has not
       tokens = { column = function(text, token) return the token it must be end },
       dead = function(get) -> bool,        rows that belong in the DLQ; get(column) is the text or nil
       extra = { columns = { "app_id" }, check = function(get, values) -> bool }
     }
   -> { source =, target =, dead =, kept =, missing =, unexpected =, doubled =, different =, first = { texts } }
   kept: quarantined rows of which an earlier good version stands in the target. ]]
function compare.table(o)
  local columns, keycol = describe(o.db, o.database, o.table)
  local exclude, tokens = o.exclude or {}, o.tokens or {}
  local selects, targets, checks = {}, {}, {}
  local index, pos = {}, 0
  for i, c in ipairs(columns) do
    if not exclude[c.name] then
      local id = quote_id(c.name)
      selects[#selects + 1] = FLOATS[c.type] and id .. " + 0e0" or BINARY[c.type] and "HEX(" .. id .. ")" or id
      targets[#targets + 1] = BINARY[c.type] and "hex(" .. id .. ")" or id
      checks[#checks + 1] = { name = c.name, float = FLOATS[c.type], token = tokens[c.name], number = c.type == "decimal" }
      index[c.name] = pos
      if i == keycol then keycol = pos end
      pos = pos + 1
    end
  end
  local n = #checks
  local extra = o.extra and o.extra.columns or {}
  for _, name in ipairs(extra) do targets[#targets + 1] = quote_id(name) end
  local keyname = quote_id(checks[keycol + 1].name)

  local source = o.db:stream(("SELECT %s FROM %s.%s %s ORDER BY %s"):format(table.concat(selects, ", "),
    quote_id(o.database), quote_id(o.table), o.where and "WHERE " .. o.where or "", keyname))
  local target = o.ch:stream(("SELECT %s FROM %s FINAL WHERE _deleted = 0 ORDER BY %s FORMAT TSV " ..
    "SETTINGS output_format_decimal_trailing_zeros = 1"):format(table.concat(targets, ", "),
    quote_id(o.target or o.table), keyname))

  local r = { table = o.table, source = 0, target = 0, dead = 0, kept = 0, missing = 0, unexpected = 0, doubled = 0,
    different = 0, first = {} }
  local function note(what, key, ...)
    r[what] = r[what] + 1
    if #r.first < 10 then
      r.first[#r.first + 1] = ("%s %s: %s %s"):format(o.table, tostring(key), what, table.concat({ ... }, " "))
    end
  end

  local row, lengths = source()
  local line, len = target()
  local nfields = n + #extra
  local starts, sizes = ffi.new("const char *[?]", nfields), ffi.new("int[?]", nfields)
  local function split()
    local from, f = 0, 0
    for i = 0, len - 1 do
      if line[i] == 9 then
        assert(f < nfields, "too many fields in the answer of ClickHouse")
        starts[f], sizes[f] = line + from, i - from
        f, from = f + 1, i + 1
      end
    end
    starts[f], sizes[f] = line + from, len - from
    assert(f == nfields - 1, "a line of ClickHouse with another number of fields")
  end

  -- For callbacks: a source value by column name.
  local function get(name)
    local i = index[name]
    return row[i] ~= nil and ffi.string(row[i], lengths[i]) or nil
  end

  local function differ(c, i)
    local p, size = starts[i], sizes[i]
    local null = size == 2 and p[0] == 92 and p[1] == 78
    if row[i] == nil then return not null end
    if null then return true end
    local ln = tonumber(lengths[i])
    if not c.token and ln == size and C.memcmp(row[i], p, size) == 0 then return false end
    local a, b = ffi.string(row[i], ln), ffi.string(p, size)
    if c.float or c.number then return tonumber(a) ~= tonumber(b) end
    if c.token then local token = unescape(b)
      return c.token(a, token) ~= token end
    return a ~= unescape(b)
  end

  local last_target
  while row or line do
    local sk, tk
    if row then sk = digits(row[keycol], tonumber(lengths[keycol])) end
    if line then
      split()
      tk = digits(starts[keycol], sizes[keycol])
    end
    if tk and tk == last_target then
      r.target = r.target + 1
      note("doubled", tk)
      line, len = target()
    elseif sk and (not tk or sk < tk) then
      r.source = r.source + 1
      if o.dead and o.dead(get) then
        r.dead = r.dead + 1
        if o.on_dead then o.on_dead(sk) end
      else
        note("missing", sk)
      end
      row, lengths = source()
    elseif tk and (not sk or tk < sk) then
      r.target = r.target + 1
      note("unexpected", tk)
      last_target = tk
      line, len = target()
    else
      r.source, r.target = r.source + 1, r.target + 1
      if o.dead and o.dead(get) then
        r.dead, r.kept = r.dead + 1, r.kept + 1
        if o.on_dead then o.on_dead(sk) end
      else
        local wrong
        for i = 0, n - 1 do
          if differ(checks[i + 1], i) then
            wrong = wrong or {}
            wrong[#wrong + 1] = checks[i + 1].name
          end
        end
        if #extra > 0 then
          local values = {}
          for i = 1, #extra do values[i] = ffi.string(starts[n + i - 1], sizes[n + i - 1]) end
          local ok, name = o.extra.check(get, values)
          if not ok then
            wrong = wrong or {}
            wrong[#wrong + 1] = name
          end
        end
        if wrong then note("different", sk, "in", table.concat(wrong, ", ")) end
      end
      last_target = tk
      row, lengths = source()
      line, len = target()
    end
  end
  r.wrong = r.missing + r.unexpected + r.doubled + r.different
  return r
end

local function thousands(v)
  local s = tostring(v)
  while true do
    local k
    s, k = s:gsub("^(-?%d+)(%d%d%d)", "%1,%2")
    if k == 0 then return s end
  end
end
compare.thousands = thousands

function compare.text(r)
  local t = ("%-18s %12s in source %12s in target %8s quarantined %6s missing %6s unexpected %6s different"):format(
    r.table, thousands(r.source), thousands(r.target), thousands(r.dead), thousands(r.missing),
    thousands(r.unexpected + r.doubled), thousands(r.different))
  if r.doubled > 0 then t = t .. " (" .. thousands(r.doubled) .. " doubled)" end
  return t
end

compare.NULL = mysql.NULL
return compare
