-- Rows as scripts see them: for every version of a table a box type with generated accessors, one
-- small function a column, so that LuaJIT folds `row.total` to a test of the NULL bit and a load.
--
-- A box holds the address of the row it stands for; the engine moves it from row to row. The fields
-- that hold the address have names nobody can guess, and nothing else reaches memory. A box that a
-- script keeps beyond its row is parked on an empty row: reading it gives nil, never stale memory.
local ffi = require "ffi"

local rows = {}

local function new(host, C, ctl)
  local F = host.suffix
  local i64, u64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
  local R = { F = F }

  -- one shape for all boxes; each typeof of it is a type of its own, with its own metatype
  local BOX = ([[struct {
    union { uint8_t *u8@; int8_t *i8@; uint16_t *u16@; int16_t *i16@; uint32_t *u32@; int32_t *i32@;
            uint64_t *u64@; int64_t *i64@; float *f32@; double *f64@; const char **pc@; };
    uint32_t gen@; uint32_t dest@; }]]):gsub("@", F)

  -- Errors of ours are remembered, so that the engine knows that their text holds no value.
  local function fail(text, level)
    host.ours.text = text
    error(text, (level or 1) + 1)
  end
  R.fail = fail

  local INT = {
    i8 = { "i8", 1, "-128", "127" }, u8 = { "u8", 1, "0", "255" },
    i16 = { "i16", 2, "-32768", "32767" }, u16 = { "u16", 2, "0", "65535" },
    i32 = { "i32", 4, "-2147483648", "2147483647" }, u32 = { "u32", 4, "0", "4294967295" },
    year = { "u16", 2, "0", "2155" },
  }

  local function describe(v)
    local t = type(v)
    if t == "cdata" then
      if ffi.istype(i64, v) or ffi.istype(u64, v) then return "a 64-bit integer" end
      return "no plain value"
    end
    return t == "string" and "a string" or t == "number" and "a number" or "a " .. t
  end

  -- level 4: bad_value <- setter <- __newindex <- the script
  local function bad_value(layout, col, v, hint)
    local kind = col.type_text or col.ctype
    local text = layout.name .. "." .. col.name .. " (" .. kind .. ") can't take this value exactly: it is "
      .. describe(v)
    if hint then text = text .. "; " .. hint end
    fail(text, 4)
  end

  local function nearest(name, layout)
    local names = {}
    for i, c in ipairs(layout.columns) do names[i] = c.name end
    return host.nearest(name, names)
  end

  -- level 3: no_column <- __index <- the script
  local function no_column(layout, name)
    if type(name) ~= "string" then fail(layout.name .. ": a column is named by a string", 3) end
    local near = nearest(name, layout)
    fail(layout.name .. " has no column '" .. name .. "'" .. (near and "; did you mean \"" .. near .. "\"?" or ""), 3)
  end

  -- A 64-bit value within [lo, hi] as a number, or nil. lo and hi are within 53 bits.
  local function small(v, lo, hi)
    if ffi.istype(i64, v) then
      if v >= i64(lo) and v <= i64(hi) then return tonumber(v) end
    elseif ffi.istype(u64, v) then
      if v <= u64(hi) then return tonumber(v) end
    end
  end

  local TWO53 = 9007199254740992

  local function int_setter(k, spec, at, null)
    return ([[
  set[%q] = function(r, v)
    if type(v) == "number" then
      if not (v >= LO and v <= HI and v == floor(v)) then bad_value(layout, cols[K], v) end
      r.VIEW[IDX] = v
    elseif v == nil then
      SETNULL return
    else
      local x = small(v, LO, HI)
      if not x then bad_value(layout, cols[K], v) end
      r.VIEW[IDX] = x
    end
    CLEARNULL
  end
]]):gsub("%u+%d*", { LO = spec[3], HI = spec[4], VIEW = spec[1] .. F, IDX = at / spec[2], K = k,
      SETNULL = null.set, CLEARNULL = null.clear })
  end

  local function wide_setter(k, view, at, null)
    local signed = view == "i64"
    return ([[
  set[%q] = function(r, v)
    if type(v) == "number" then
      if not (v >= LO and v <= 9007199254740992 and v == floor(v)) then
        bad_value(layout, cols[K], v, "beyond 2^53 numbers lose digits: use 64-bit integers (123LL)")
      end
      r.VIEW[IDX] = v
    elseif v == nil then
      SETNULL return
    elseif type(v) == "cdata" and istype(i64, v) then
      CHECKI
      r.VIEW[IDX] = v
    elseif type(v) == "cdata" and istype(u64, v) then
      CHECKU
      r.VIEW[IDX] = v
    else
      bad_value(layout, cols[K], v)
    end
    CLEARNULL
  end
]]):gsub("%u+%d*", { LO = signed and "-9007199254740992" or "0", VIEW = view .. F, IDX = at / 8, K = k,
      CHECKI = signed and "" or "if v < 0 then bad_value(layout, cols[" .. k .. "], v) end",
      CHECKU = signed and "if v > 9223372036854775807ULL then bad_value(layout, cols[" .. k .. "], v) end" or "",
      LL = "LL", ULL = "ULL", SETNULL = null.set, CLEARNULL = null.clear })
  end

  local FLOAT_MAX = "3.4028234663852886e38"
  local function float_setter(k, view, at, bytes, null)
    local check = view == "f32"
        and "if v == v and (v > " .. FLOAT_MAX .. " or v < -" .. FLOAT_MAX .. ") then bad_value(layout, cols[" .. k
        .. "], v) end" or ""
    return ([[
  set[%q] = function(r, v)
    if v == nil then
      SETNULL return
    elseif type(v) ~= "number" then
      v = small(v, -9007199254740992, 9007199254740992) or bad_value(layout, cols[K], v)
    end
    CHECK
    r.VIEW[IDX] = v
    CLEARNULL
  end
]]):gsub("%u+%d*", { VIEW = view .. F, IDX = at / bytes, K = k, CHECK = check, SETNULL = null.set,
      CLEARNULL = null.clear })
  end

  local function str_setter(k, at, null)
    return ([[
  set[%q] = function(r, v)
    if type(v) == "string" then
      local n = #v
      local p = C.dup(ctl, v, n)
      if p == nil then no_memory() end
      r.PC[AT8] = p
      r.U32[LEN] = n
      r.U32[PAD] = 0
      CLEARNULL
    elseif v == nil then
      SETNULL
    else
      bad_value(layout, cols[K], v, "it takes strings: tostring() makes one")
    end
  end
]]):gsub("%u+%d*", { PC = "pc" .. F, AT8 = at / 8, U32 = "u32" .. F, LEN = at / 4 + 2, PAD = at / 4 + 3, K = k, C = "C",
      SETNULL = null.set, CLEARNULL = null.clear })
  end

  -- DECIMAL, dates, times, ENUM, SET: their text is parsed in C
  local function text_setter(k, null)
    return ([[
  set[%q] = function(r, v)
    local rc
    if type(v) == "string" then
      rc = C.set_text(ptrs[K], r.U8, v, #v)
    elseif v == nil then
      SETNULL return
    elseif type(v) == "number" then
      rc = C.set_num(ptrs[K], r.U8, v)
    elseif type(v) == "cdata" and istype(i64, v) then
      rc = C.set_int(ptrs[K], r.U8, v)
    else
      rc = -1
    end
    if rc ~= 0 then bad_value(layout, cols[K], v) end
    CLEARNULL
  end
]]):gsub("%u+%d*", { U8 = "u8" .. F, K = k, C = "C", SETNULL = null.set, CLEARNULL = null.clear })
  end

  local function getter(k, c, body, null)
    return ("  get[%q] = function(r)\n    if %s then return nil end\n    %s\n  end\n"):format(c.name, null.test,
      (body:gsub("@", F):gsub("%$", tostring(k))))
  end

  local function column_source(k, c)
    local byte, bit_no = math.floor((k - 1) / 8), (k - 1) % 8
    local mask = 2 ^ bit_no
    local null = {
      test = ("band(r.u8%s[%d], %d) ~= 0"):format(F, byte, mask),
      set = ("r.u8%s[%d] = bor(r.u8%s[%d], %d)"):format(F, byte, F, byte, mask),
      clear = ("r.u8%s[%d] = band(r.u8%s[%d], %d)"):format(F, byte, F, byte, 255 - mask),
    }
    local at = c.offset
    local get, set
    local int = INT[c.ctype]
    if int then
      get = ("return r.%s@[%d]"):format(int[1], at / int[2])
      set = int_setter(k, int, at, null)
    elseif c.ctype == "i64" or c.ctype == "u64" or c.ctype == "bit" then
      local view = c.ctype == "i64" and "i64" or "u64"
      get = ("return r.%s@[%d]"):format(view, at / 8)
      set = wide_setter(k, view, at, null)
    elseif c.ctype == "f32" or c.ctype == "f64" then
      local bytes = c.ctype == "f32" and 4 or 8
      get = ("return r.%s@[%d]"):format(c.ctype, at / bytes)
      set = float_setter(k, c.ctype, at, bytes, null)
    elseif c.ctype == "str" or c.ctype == "bytes" or c.ctype == "json" then
      get = ("return str(r.pc@[%d], r.u32@[%d])"):format(at / 8, at / 4 + 2)
      set = str_setter(k, at, null)
    elseif c.ctype == "enum" then
      get = ("return members[$][r.u16@[%d]] or text(ptrs[$], r.u8@)"):format(at / 2)
      set = text_setter(k, null)
    else
      get = "return text(ptrs[$], r.u8@)"
      set = text_setter(k, null)
    end
    local us = ""
    if c.ctype == "date" or c.ctype == "datetime" or c.ctype == "time" then
      us = ("  us[%q] = function(r)\n    if %s then return nil end\n    return epoch_us(ptrs[%d], r.u8%s)\n  end\n")
        :format(c.name, null.test, k, F)
    end
    return getter(k, c, get, null) .. set:format(c.name) .. us
  end

  local function text(ptr, p)
    local s = C.text(ctl, ptr, p)
    if s == nil then fail("out of memory for a text", 3) end
    return ffi.string(s, ctl.text_len)
  end
  local us_out = ffi.new("int64_t[1]")
  local function epoch_us(ptr, p)
    if C.epoch_us(ptr, p, us_out) ~= 0 then return nil end
    return us_out[0]
  end
  local function no_memory() fail("out of memory for a string", 4) end

  local PROLOGUE = [[
local C, ctl, ffi, bit, layout, cols, ptrs, members, get, set, us, bad_value, small, text, epoch_us, no_memory, i64, u64 = ...
local band, bor, floor, istype, str, type = bit.band, bit.bor, math.floor, ffi.istype, ffi.string, type
]]
  local PER_CHUNK = 100 -- functions of so many columns a chunk: far from what one chunk may hold

  --- What a layout (columns as C describes them) means for scripts: getters, setters, epoch_us.
  function R.accessors(layout)
    local get, set, us, ptrs, members = {}, {}, {}, {}, {}
    local cols = layout.columns
    for k, c in ipairs(cols) do
      ptrs[k] = ffi.cast("const void *", c.ptr)
      if c.members then
        members[k] = { [0] = "" }
        for i, m in ipairs(c.members) do members[k][i] = m end
      end
    end
    for first = 1, #cols, PER_CHUNK do
      local source = { PROLOGUE }
      for k = first, math.min(first + PER_CHUNK - 1, #cols) do source[#source + 1] = column_source(k, cols[k]) end
      local chunk = assert(loadstring(table.concat(source), "=columns of " .. layout.name))
      chunk(C, ctl, ffi, bit, layout, cols, ptrs, members, get, set, us, bad_value, small, text, epoch_us, no_memory,
        i64, u64)
    end
    return { get = get, set = set, us = us, layout = layout }
  end

  local function type_of(acc, kind)
    local get, set, layout = acc.get, acc.set, acc.layout
    local T = ffi.typeof(BOX)
    local mt = { __metatable = false }
    function mt.__tostring() return layout.name .. " row" end
    if kind == "entry" then
      local gen = "gen" .. F
      function mt.__index(r, k)
        if r[gen] ~= ctl.gen then fail(layout.name .. ": a lookup's answer was kept beyond its row", 2) end
        local g = get[k]
        if g then return g(r) end
        no_column(layout, k)
      end
    else
      function mt.__index(r, k)
        local g = get[k]
        if g then return g(r) end
        no_column(layout, k)
      end
    end
    if kind == "row" then
      function mt.__newindex(r, k, v)
        local s = set[k]
        if s then
          s(r, v)
          return
        end
        no_column(layout, k)
      end
    else
      local what = kind == "entry" and "a lookup's answer" or "event.before"
      function mt.__newindex() fail(layout.name .. ": " .. what .. " can only be read", 2) end
    end
    return ffi.metatype(T, mt)
  end

  function R.row_type(acc) return type_of(acc, "row") end
  function R.before_type(acc) return type_of(acc, "before") end
  function R.entry_type(acc) return type_of(acc, "entry") end

  -- An empty row (all NULL) to park boxes on.
  function R.parking(layout)
    local mem = ffi.new("uint64_t[?]", math.ceil(layout.row_bytes / 8) + 1)
    ffi.fill(mem, layout.null_bytes, 255)
    return mem, ffi.cast("uint8_t *", mem)
  end

  R.TWO53 = TWO53
  return R
end

rows.new = new
return rows
