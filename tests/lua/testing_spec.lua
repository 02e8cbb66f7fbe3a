-- The harness itself, with transforms written here.
local testing = require "pipe.testing"

local folder

local function transform(text, options)
  local f = assert(io.open(folder .. "/orders.lua", "w"))
  f:write(text)
  f:close()
  options = options or {}
  options.path = folder
  return testing.transform("orders", options)
end

describe("pipe.testing", function()
  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
  end)
  teardown(function() os.execute("rm -rf " .. folder) end)

  it("runs inserts, drops and quarantines", function()
    local run = transform [[
      local pipe = require "pipe"
      return function(row)
        if row.qty == 0 then return nil end
        if row.qty < 0 then return pipe.dlq("negative", "qty") end
        row.total = row.qty * 2
        return row
      end]]
    local change = run:insert { qty = 3 }
    assert.equal(6, change.total)
    assert.equal("orders", change.targets[1])
    assert.same({ qty = 3, total = 6 }, change.rows[1])
    assert.is_true(run:insert({ qty = 0 }).dropped)
    assert.same({ reason = "negative", column = "qty" }, run:insert({ qty = -1 }).dlq)
  end)

  it("tells a failure as the engine does", function()
    local change = transform("return function(row) return row.x.y end"):insert { id = 1 }
    assert.is_true(change.dlq.error)
    assert.truthy(change.dlq.reason:find("^orders.lua:1: attempt to index"))
  end)

  it("applies a filter to both images", function()
    local run = transform("return function(row) if row.x < 5 then return row end end", { key = { "id" } })
    local out = run:update({ id = 1, x = 3 }, { id = 1, x = 7 })
    assert.equal(0, #out.rows)
    assert.equal(1, #out.tombstones)
    assert.equal(0, #run:update({ id = 1, x = 3 }, { id = 1, x = 4 }).tombstones)
    assert.is_true(run:update({ id = 1, x = 8 }, { id = 1, x = 9 }).dropped)
    assert.equal(1, #run:update({ id = 1, x = 8 }, { id = 1, x = 1 }).rows)
    assert.equal(1, #run:delete({ id = 1, x = 3 }).tombstones)
    assert.is_true(run:delete({ id = 1, x = 7 }).dropped)
  end)

  it("fans out, routes and copies", function()
    local run = transform([[
      local pipe = require "pipe"
      return function(row)
        local copy = pipe.copy(row)
        copy.part = 2
        row.part = 1
        return { row, copy, pipe.route(row, "big_orders"), pipe.row("big_orders", { id = 9 }) }
      end]], { routes = { "big_orders" }, key = { "id", "part" } })
    local out = run:insert { id = 1 }
    assert.same({ "orders", "orders", "big_orders", "big_orders" }, out.targets)
    assert.equal(2, out[2].part)
    assert.equal(9, out[4].id)
    assert.is_nil(out.part) -- several rows: none of them is the row
    local wrong = transform('local pipe = require "pipe" return function(row) return pipe.route(row, "x") end')
    assert.truthy(wrong:insert({ id = 1 }).dlq.reason:find("tables.orders.routes", 1, true))
  end)

  it("tries what a lookup has been", function()
    local run = transform([[
      local pipe = require "pipe"
      local customers = pipe.lookup { table = "customers", key = "id", values = "region" }
      return function(row)
        local c = customers[row.customer_id]
        row.region = c and c.region or 0
        return row
      end]], { lookups = { customers = { [42] = { region = 7 } } }, key = { "id", "region" } })
    assert.equal(7, run:insert({ id = 1, customer_id = 42LL }).region)
    assert.equal(0, run:insert({ id = 1, customer_id = 43 }).region)
    run:set_lookup("customers", 42, { region = 9 })
    local change = run:update({ id = 1, customer_id = 42 }, { id = 1, customer_id = 42 })
    assert.equal(9, change.region)
    assert.equal(1, #change.tombstones)
    assert.equal(7, change.tombstones[1].region)
    run:set_lookup("customers", 42, nil)
    assert.equal(3, #run:delete({ id = 1, customer_id = 42 }).tombstones) -- nothing, 7, 9
    for region = 10, 100 do run:set_lookup("customers", 42, { region = region }) end
    assert.truthy(run:delete({ id = 1, customer_id = 42 }).dlq.reason:find("64 combinations"))
  end)

  it("finds lookups by several keys", function()
    local run = transform([[
      local pipe = require "pipe"
      local prices = pipe.lookup { table = "prices", key = { "item", "country" }, values = { "price" } }
      return function(row) row.price = prices:get(row.item, row.country).price return row end]],
      { lookups = { prices = { [1] = { DE = { price = 5 }, FR = { price = 6 } } } } })
    assert.equal(6, run:insert({ item = 1, country = "FR" }).price)
  end)

  it("holds rows to the columns it is told", function()
    local options = { columns = { id = "bigint unsigned", qty = "smallint(6)", note = "varchar(20)" } }
    local function try(body)
      return transform("return function(row) " .. body .. " return row end", options):insert { id = 1, qty = 5 }
    end
    assert.equal(18446744073709551615ULL, try("row.id = 18446744073709551615ULL").id)
    assert.truthy(try("row.qty = 32768").dlq.reason:find("orders.qty (smallint(6)) can't take this value", 1, true))
    assert.truthy(try("row.qty = 1.5").dlq)
    assert.truthy(try("row.id = -1").dlq)
    assert.truthy(try("row.note = 7").dlq)
    assert.truthy(try("row.qtty = 1").dlq.reason:find('did you mean "qty"?', 1, true))
    assert.truthy(try("local x = row.qtty").dlq.reason:find('did you mean "qty"?', 1, true))
    assert.truthy(try("assert(row.note == nil) row.qty = nil").rows)
  end)

  it("gives the event", function()
    local run = transform([[
      return function(row, event)
        row.note = event.op .. " " .. event.image .. " " .. event.table .. " " .. tostring(event.before and event.before.id)
        return row
      end]], { key = { "id" } })
    assert.equal("insert after orders nil", run:insert({ id = 1 }).note)
    local change = run:update({ id = 1 }, { id = 2 })
    assert.equal("update after orders 1", change.note)
    assert.equal("update before orders 1", change.tombstones[1].note)
    assert.truthy(transform("return function(r, e) e.before.id = 2 return r end"):delete({ id = 1 }).dlq.reason
      :find("only be read"))
  end)

  it("counts and logs", function()
    local run = transform [[
      local pipe = require "pipe"
      local seen = pipe.counter "seen"
      return function(row) seen:add(2) pipe.log("info", "a row") return row end]]
    run:insert { id = 1 }
    assert.equal(2, run.counters.seen)
    assert.same({ { level = "info", text = "a row" } }, run.logs)
  end)

  it("reads dates as microseconds", function()
    local run = transform [[
      local pipe = require "pipe"
      return function(row) row.us = pipe.epoch_us(row, "at") return row end]]
    assert.equal(1704067200000000LL, run:insert({ at = "2024-01-01 00:00:00" }).us)
    assert.equal(1709175845678000LL, run:insert({ at = "2024-02-29 03:04:05.678" }).us)
    assert.equal(-1000LL, run:insert({ at = "1969-12-31 23:59:59.999" }).us)
    assert.is_nil(run:insert({ at = "0000-00-00 00:00:00" }).us)
  end)

  it("keeps the engine's rules of what a module may do", function()
    for text, part in pairs {
      ["x = 1 return function(r) return r end"] = "global 'x' is assigned",
      ["local t = os.time() return function(r) return r end"] = "'os' is not there",
      ["local t = math.random() return function(r) return r end"] = "math.random",
      ["return 7"] = "must return a function",
      ["return function("] = "orders.lua:1:",
      ["local p = require 'pipe' p.lokup {}"] = 'did you mean "lookup"?',
      ["local p = require 'pipe' p.token { key = p.secret 'TOKEN_KEY' }"] = "TOKEN_KEY is not set",
    } do
      local ok, why = pcall(transform, text)
      assert.is_false(ok)
      assert.truthy(tostring(why):find(part, 1, true), tostring(why))
    end
    local ok, why = pcall(testing.transform, "orders", { lookup = {} })
    assert.is_false(ok)
    assert.truthy(why:find('did you mean "lookups"?', 1, true))
  end)

  it("says outside of a transform where pipe's functions work", function()
    local pipe = require "pipe"
    local ok, why = pcall(pipe.lookup, {})
    assert.is_false(ok)
    assert.truthy(why:find("works in a transform", 1, true))
  end)
end)
