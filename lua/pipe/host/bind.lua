-- A transform bound to one version of its table: the loop that runs it over the images of a pass.
-- Each version gets a loop of its own out of generated source, so that LuaJIT compiles it for these
-- types alone.
local ffi = require "ffi"

local bind = {}
local POOL_MAX = 256 -- boxes kept from run to run

-- kinds, as enum pe_kind
local LOOP = [[
local ctl, row, transform, event, other, begin, rawequal = ...
return function()
  begin()
  local base, stride, n, kind = ctl.base, ctl.stride, ctl.n, ctl.kind
  for i = ctl.i, n - 1 do
    ctl.i = i
    row.u8@ = base + i * stride
    local r = transform(row, event)
    if rawequal(r, row) then
      kind[i] = 1
    elseif not r then
      kind[i] = 0
    else
      other(r)
    end
  end
end
]]

function bind.new(host, C, ctl, R, current, api)
  local F = R.F
  local u8, destF = "u8" .. F, "dest" .. F
  local OPS = { "insert", "update", "delete", "snapshot" }

  -- rows made while a transform runs (copies, routed rows) come from a pool that starts anew with each row
  local function pool(T, park)
    return { T = T, n = 0, at = ffi.new("int32_t[1]", -1), boxes = {}, park = park }
  end
  local function take(p, mem, dest)
    if p.at[0] ~= ctl.i then
      p.at[0] = ctl.i
      p.n = 0
    end
    local n = p.n + 1
    p.n = n
    local b = p.boxes[n]
    if not b then
      b = p.T()
      p.boxes[n] = b
    end
    b[u8] = mem
    b[destF] = dest
    return b
  end

  local function event_of(table_name, before_box)
    local E = ffi.typeof("struct { uint8_t unused" .. F .. "; }")
    local function read_before()
      if ctl.before == nil then return nil end
      before_box[u8] = ffi.cast("uint8_t *", ctl.before) + ctl.i * ctl.before_stride
      return before_box
    end
    local fields = { "op", "table", "version", "time_us", "before", "image" }
    local mt = { __metatable = false }
    function mt.__index(_, k)
      if k == "op" then return OPS[ctl.op]
      elseif k == "table" then return table_name
      elseif k == "image" then return ctl.is_before ~= 0 and "before" or "after"
      elseif k == "before" then return read_before()
      elseif k == "version" then return ctl.meta[ctl.i * ctl.meta_step].version
      elseif k == "time_us" then return ctl.meta[ctl.i * ctl.meta_step].ts_us
      end
      local near = type(k) == "string" and host.nearest(k, fields)
      R.fail("event has no field '" .. tostring(k) .. "'" .. (near and "; did you mean \"" .. near .. "\"?" or ""), 2)
    end
    function mt.__newindex() R.fail("event can only be read", 2) end
    function mt.__tostring() return "event" end
    return ffi.metatype(E, mt)()
  end

  -- How columns get from one layout to another by name: plain ones by C, others through their values.
  local function route_plan(from, to)
    local raw, values = {}, {}
    local index = {}
    for i, c in ipairs(from.layout.columns) do index[c.name] = i end
    for i, c in ipairs(to.layout.columns) do
      local j = index[c.name]
      if j then
        local s = from.layout.columns[j]
        local same = s.ctype == c.ctype and s.scale == c.scale and not s.members and not c.members
          and (s.precision or 0) <= (c.precision or 0)
        if same then
          raw[#raw + 1] = { j - 1, i - 1, s.offset, c.offset, c.bytes }
        else
          values[#values + 1] = c.name
        end
      end
    end
    local plan = ffi.new("struct pe_plan_column[?]", math.max(#raw, 1))
    for i, p in ipairs(raw) do
      plan[i - 1] = ffi.new("struct pe_plan_column", p)
    end
    return { plan = plan, n = #raw, values = values }
  end

  return function(spec)
    local acc = R.accessors(spec.layout)
    local T, B = R.row_type(acc), R.before_type(acc)
    local park_mem, park = R.parking(spec.layout)
    local row, before = T(), B()
    row[u8] = park
    before[u8] = park
    local own = { name = spec.dest_name, dest = 0, T = T, acc = acc, layout = spec.layout, pool = pool(T, park),
      park = park }
    local t = { name = spec.layout.name, own = own, row = row, before = before, dests = { [spec.dest_name] = own },
      types = { own }, park_mem = { park_mem } }
    for i, route in ipairs(spec.routes) do
      local a = R.accessors(route.layout)
      local RT = R.row_type(a)
      local mem, p = R.parking(route.layout)
      local d = { name = route.name, dest = i, T = RT, acc = a, layout = route.layout, pool = pool(RT, p), park = p }
      t.dests[route.name] = d
      t.types[#t.types + 1] = d
      t.park_mem[#t.park_mem + 1] = mem
    end

    -- The dest a row belongs to, nil when x is no row of this table's run.
    function t.of(x)
      if type(x) ~= "cdata" then return nil end
      local types = t.types
      for k = 1, #types do
        if ffi.istype(types[k].T, x) then return types[k] end
      end
    end
    function t.take(d, mem)
      if mem == nil then R.fail("out of memory for a row", 3) end
      return take(d.pool, mem, d.dest)
    end
    local plans = {}
    function t.plan(from, to)
      local key = from.dest * 65536 + to.dest
      local p = plans[key]
      if not p then
        p = route_plan(from.acc, to.acc)
        plans[key] = p
      end
      return p
    end
    function t.park_all()
      row[u8] = park
      before[u8] = park
      for _, d in ipairs(t.types) do
        d.pool.at[0] = -1
        for _, b in ipairs(d.pool.boxes) do b[u8] = d.park end
        for i = #d.pool.boxes, POOL_MAX + 1, -1 do d.pool.boxes[i] = nil end
      end
    end

    local function emit(x)
      local d = t.of(x)
      if not d then
        if ffi.istype(B, x) then R.fail("event.before can't be returned: pipe.copy(row) makes a row of one's own", 0) end
        R.fail("a transform returned " .. api.describe(x) .. " among its rows; it may return rows, pipe.copy, pipe.route "
          .. "and pipe.row only", 0)
      end
      if C.emit(ctl, x[u8], d.dest) ~= 0 then
        R.fail("a transform gave more rows out of one than work, or memory ran out", 0)
      end
    end
    local marks = api.marks
    local function other(r)
      local id = marks[r]
      if id then
        C.mark(ctl, id)
        return
      end
      local ty = type(r)
      if ty == "table" then
        C.begin_many(ctl)
        for j = 1, #r do
          local x = r[j]
          if marks[x] then R.fail("pipe.dlq can't be one of several rows: return it alone", 0) end
          emit(x)
        end
      elseif ty == "cdata" then
        C.begin_many(ctl)
        emit(r)
      else
        R.fail("a transform returned " .. api.describe(r) .. "; it returns the row, nil, pipe.dlq or a list of rows", 0)
      end
    end
    local function begin() current.table = t end

    local f = spec.transform
    local event = event_of(spec.layout.name, before)
    local run = assert(loadstring((LOOP:gsub("@", F)), "=loop of " .. spec.layout.name))(ctl, row, f, event, other, begin,
      rawequal)
    return run, t.park_all
  end
end

return bind
