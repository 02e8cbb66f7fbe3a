-- What transforms can do, end to end, and that it stays right when a row moves across a border.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"

local HEAD = 'local pipe = require "pipe"\n'

local function project(o)
  return e2e.project(e2e.server(o.family or "mariadb"), o)
end

describe("a transform", function()
  after_each(e2e.cleanup)

  it("that filters takes away rows that move out, and brings those that move in", function()
    local p = project { create = "CREATE TABLE t (id INT PRIMARY KEY, x INT); INSERT INTO t VALUES (1, 3), (2, 7), (3, 4)",
      tables = 't = { transform = "transforms.small" },', transforms = { small = "return function(row) if row.x < 5 then return row end end\n" } }
    e2e.run(p)
    local live = "SELECT groupArray((id, x)) FROM (SELECT * FROM t FINAL ORDER BY id)"
    e2e.expect(p, live, "[(1,3),(3,4)]")
    p.db:exec "UPDATE t SET x = 7 WHERE id = 1"
    e2e.expect(p, live, "[(3,4)]")
    p.db:exec "UPDATE t SET x = 1 WHERE id = 2"
    e2e.expect(p, live, "[(2,1),(3,4)]")
    p.db:exec "DELETE FROM t WHERE id = 3; UPDATE t SET x = 8 WHERE id = 2; UPDATE t SET x = 2 WHERE id = 2; UPDATE t SET x = 6 WHERE id = 1"
    e2e.expect(p, live, "[(2,2)]")
  end)

  it("that routes moves a row from one table to another", function()
    local target = "CREATE TABLE IF NOT EXISTS %s (id Int32, kind String, v Nullable(Int32), _version UInt64, _deleted UInt8)\n" ..
      "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS non_replicated_deduplication_window = 100;\n"
    local p = project { create = "CREATE TABLE t (id INT PRIMARY KEY, kind VARCHAR(10) NOT NULL, v INT NULL); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
      schema = { ["1.sql"] = target:format "t" .. target:format "other" },
      tables = 't = { transform = "transforms.route", routes = { "other" } },',
      transforms = { route = HEAD .. 'return function(row)\n  if row.kind == "b" then return pipe.route(row, "other") end\n  return row\nend\n' } }
    e2e.run(p)
    e2e.expect(p, "SELECT (SELECT groupArray(id) FROM t FINAL), (SELECT groupArray(id) FROM other FINAL)", "[1]\t[2]")
    p.db:exec "UPDATE t SET kind = 'b' WHERE id = 1; UPDATE t SET kind = 'a' WHERE id = 2"
    e2e.expect(p, "SELECT (SELECT groupArray(id) FROM t FINAL), (SELECT groupArray(id) FROM other FINAL)", "[2]\t[1]")
    p.db:exec "DELETE FROM t"
    e2e.expect(p, "SELECT (SELECT count() FROM t FINAL), (SELECT count() FROM other FINAL)", "0\t0")
  end)

  it("that fails sends that row to the DLQ, with where it failed, and the stream goes on", function()
    local p = project { create = "CREATE TABLE t (id INT PRIMARY KEY, v INT NULL); INSERT INTO t VALUES (1, 1)",
      tables = 't = { transform = "transforms.f" },', transforms = { f = "return function(row)\n  if row.v == 13 then error('thirteen') end\n  return row\nend\n" } }
    e2e.run(p)
    p.db:exec "INSERT INTO t VALUES (2, 13), (3, 3); UPDATE t SET v = 13 WHERE id = 1"
    e2e.expect(p, "SELECT groupArray((id, v)) FROM (SELECT * FROM t FINAL ORDER BY id)", "[(1,1),(3,3)]") -- 1: its last good version
    e2e.expect(p, "SELECT count(), countIf(traceback LIKE '%transforms/f.lua:2%'), uniq(script_hash), countIf(position = '') FROM t_dlq FINAL", "2\t2\t1\t0")
    p.db:exec "UPDATE t SET v = 14 WHERE id IN (1, 2)"
    e2e.expect(p, "SELECT groupArray((id, v)) FROM (SELECT * FROM t FINAL ORDER BY id)", "[(1,14),(2,14),(3,3)]")
    p.db:exec "UPDATE t SET v = 13 WHERE id = 1; DELETE FROM t WHERE id = 1"
    e2e.expect(p, "SELECT groupArray(id) FROM (SELECT id FROM t FINAL ORDER BY id)", "[2,3]")
  end)

  it("that quarantines leaves the last good version, and a key change after it leaves nothing behind", function()
    local p = project { create = "CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL, v INT NULL); INSERT INTO t VALUES (1, 1, 1)",
      schema = { ["1.sql"] = "CREATE TABLE IF NOT EXISTS t (id Int32, k Int32, v Nullable(Int32), _version UInt64, _deleted UInt8)\n" ..
        "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY (k, id) SETTINGS non_replicated_deduplication_window = 100;\n" },
      tables = 't = { transform = "transforms.q" },',
      transforms = { q = HEAD .. 'return function(row)\n  if row.v == 0 then return pipe.dlq("zero", "v") end\n  return row\nend\n' } }
    local e = e2e.run(p)
    local live = "SELECT groupArray((id, k, v)) FROM (SELECT * FROM t FINAL ORDER BY id)"
    e2e.expect(p, live, "[(1,1,1)]")
    p.db:exec "UPDATE t SET v = 0, k = 2 WHERE id = 1"
    e2e.expect(p, "SELECT count(), any(reason), any(column) FROM t_dlq FINAL", "1\tzero\tv")
    e2e.expect(p, live, "[(1,1,1)]")
    e:kill()
    e2e.run(p)
    p.db:exec "UPDATE t SET v = 5 WHERE id = 1" -- the row in the target stands under k = 1 still
    e2e.expect(p, live, "[(1,2,5)]")
    p.db:exec "UPDATE t SET v = 0, k = 3 WHERE id = 1; DELETE FROM t WHERE id = 1"
    e2e.expect(p, live, "[]")
  end)

  it("gets no io, os.execute, ffi or debug", function()
    local p = project { create = "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(50) NULL); INSERT INTO t (id) VALUES (1)",
      tables = 't = { transform = "transforms.l" },',
      transforms = { l = [[
local function reach(name, field)
  local ok, v = pcall(function() return field and _G[name][field] or _G[name] end)
  return ok and v ~= nil and name or "-"
end
return function(row)
  row.s = reach "io" .. reach "debug" .. reach("os", "execute") .. reach "ffi" .. (pcall(require, "ffi") and "ffi" or "-")
  return row
end
]] } }
    e2e.run(p)
    e2e.expect(p, "SELECT s FROM t FINAL", "-----")
  end)
end)

for _, family in ipairs(e2e.families) do
  describe("a lookup kept from " .. family .. " #" .. family, function()
    after_each(e2e.cleanup)

    local FACTS = [[
CREATE TABLE IF NOT EXISTS fact (tenant UInt16, id Int32, usr Int32, v Nullable(Int32), _version UInt64, _deleted UInt8)
ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY (tenant, usr, id) SETTINGS non_replicated_deduplication_window = 100;
]]
    local LOOK = HEAD .. [[
local users = pipe.lookup { table = "usr", key = "id", values = { "tenant" } }
return function(row)
  local user = users[row.usr]
  if not user then return pipe.dlq "unknown user" end
  row.tenant = user.tenant
  return row
end
]]
    local function lookup_project()
      return project { family = family,
        create = [[CREATE TABLE usr (id INT PRIMARY KEY, tenant SMALLINT UNSIGNED NOT NULL); CREATE TABLE fact (id INT PRIMARY KEY, usr INT NOT NULL, v INT NULL);
          INSERT INTO usr VALUES (1, 10), (2, 20); INSERT INTO fact VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3), (4, 9, 4)]],
        schema = { ["1.sql"] = FACTS }, tables = 'usr = {}, fact = { transform = "transforms.fact" },', transforms = { fact = LOOK } }
    end
    local live = "SELECT groupArray((id, tenant, usr, v)) FROM (SELECT * FROM fact FINAL ORDER BY id, tenant)"

    it("names the tenant a row was written with when it takes it away", function()
      local p = lookup_project()
      e2e.run(p)
      e2e.expect(p, live, "[(1,10,1,1),(2,10,1,2),(3,20,2,3)]")
      p.db:exec "UPDATE usr SET tenant = 11 WHERE id = 1; UPDATE fact SET v = 5 WHERE id = 1"
      e2e.expect(p, live, "[(1,11,1,5),(2,10,1,2),(3,20,2,3)]")
      p.db:exec "DELETE FROM fact WHERE id = 2" -- was written under 10
      e2e.expect(p, live, "[(1,11,1,5),(3,20,2,3)]")
      p.db:exec "UPDATE usr SET tenant = 12 WHERE id = 1; UPDATE usr SET tenant = 13 WHERE id = 1; UPDATE fact SET usr = 2 WHERE id = 1"
      e2e.expect(p, live, "[(1,20,2,5),(3,20,2,3)]")
    end)

    it("knows all that right after a restart", function()
      local p = lookup_project()
      local e = e2e.run(p)
      e2e.expect(p, live, "[(1,10,1,1),(2,10,1,2),(3,20,2,3)]")
      p.db:exec "UPDATE usr SET tenant = 11 WHERE id = 1; INSERT INTO usr VALUES (3, 30)"
      e2e.expect(p, "SELECT count() FROM usr FINAL", 3)
      e:kill()
      p.db:exec "DELETE FROM fact WHERE id = 2; INSERT INTO fact VALUES (5, 1, 5), (6, 3, 6); UPDATE usr SET tenant = 31 WHERE id = 3; INSERT INTO fact VALUES (7, 3, 7)"
      e = e2e.run(p)
      e2e.expect(p, live, "[(1,10,1,1),(3,20,2,3),(5,11,1,5),(6,30,3,6),(7,31,3,7)]")
      e:stop()
      p.db:exec "UPDATE fact SET v = 0 WHERE id IN (1, 6)"
      e2e.run(p)
      e2e.expect(p, live, "[(1,11,1,0),(3,20,2,3),(5,11,1,5),(6,31,3,0),(7,31,3,7)]")
    end)

    it("quarantines a row of nobody, and brings it once it is somebody's", function()
      local p = lookup_project()
      e2e.run(p)
      e2e.expect(p, "SELECT count(), any(reason) FROM fact_dlq FINAL", "1\tunknown user")
      p.db:exec "INSERT INTO usr VALUES (9, 90); UPDATE fact SET v = 44 WHERE id = 4"
      e2e.expect(p, live, "[(1,10,1,1),(2,10,1,2),(3,20,2,3),(4,90,9,44)]")
    end)
  end)
end

describe("a block that ClickHouse refuses", function()
  after_each(e2e.cleanup)

  it("is cut down to the bad rows, which go to the DLQ with the reason; the good ones go in", function()
    local p = project { create = "CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL)",
      schema = { ["1.sql"] = "CREATE TABLE IF NOT EXISTS t (id Int32, v Int32, _version UInt64, _deleted UInt8, CONSTRAINT small CHECK v < 100)\n" ..
        "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS non_replicated_deduplication_window = 1000;\n" },
      tables = "t = {}," }
    local e = e2e.run(p)
    local rows = {}
    for i = 1, 500 do rows[i] = ("(%d, %d)"):format(i, i % 100 == 50 and 1000 or i % 90) end
    p.db:exec("INSERT INTO t VALUES " .. table.concat(rows, ","))
    e2e.expect(p, "SELECT count() FROM t FINAL", 495, 40)
    e2e.expect(p, "SELECT count(), countIf(reason = '') FROM t_dlq FINAL", "5\t0")
    p.db:exec "UPDATE t SET v = 1 WHERE v = 1000"
    e2e.expect(p, "SELECT count(), max(v) FROM t FINAL", "500\t89", 40)
    assert.is_nil(e:ended())
  end)
end)
