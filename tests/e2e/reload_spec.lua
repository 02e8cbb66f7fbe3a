-- Script sets are swapped while rows flow: checked first, at an epoch boundary, and never at the price of a row.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"
local proc = e2e.proc

local CREATE = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT NULL, label VARCHAR(20) NULL); INSERT INTO t (v) VALUES (1), (2), (3)"
local function labels(text) return ('return function(row)\n  row.label = "%s"\n  return row\nend\n'):format(text) end

describe("reload", function()
  after_each(e2e.cleanup)

  local function project()
    return e2e.project(e2e.server "mariadb", { create = CREATE, tables = 't = { transform = "transforms.t" },', transforms = { t = labels "old" } })
  end

  it("takes new scripts for the rows that follow", function()
    local p = project()
    e2e.run(p)
    e2e.expect(p, "SELECT DISTINCT label FROM t FINAL", "old")
    p:transform("t", labels "new")
    local code, out, err = p:cli("reload", "--wait", "@")
    assert.equal(0, code, out .. err)
    assert.is_truthy((out .. err):find "reloaded", out .. err)
    p.db:exec "INSERT INTO t (v) VALUES (4)"
    e2e.expect(p, "SELECT groupArray(label) FROM (SELECT label FROM t FINAL ORDER BY id)", "['old','old','old','new']")
  end)

  it("takes them at SIGHUP, and says so in the log and the metrics", function()
    local p = project()
    local e = e2e.run(p)
    p:transform("t", labels "hup")
    proc.kill(e.pid, proc.HUP)
    e2e.eventually("the log tells", function() return p:log_text():find "reloaded transforms" end)
    p.db:exec "INSERT INTO t (v) VALUES (4)"
    e2e.expect(p, "SELECT label FROM t FINAL WHERE id = 4", "hup")
    assert.is_truthy(p:http("/metrics"):find "reload")
  end)

  for name, bad in pairs {
    ["a syntax error"] = "return function(row) row.label = = 1 end\n",
    ["not a function"] = "return 42\n",
    ["an error at load"] = "error('broken at load')\n",
    ["a column that is not there"] = "return function(row)\n  row.nonsense = 1\n  return row\nend\n",
  } do
    it("keeps the old ones where the new have " .. name, function()
      local p = project()
      local e = e2e.run(p)
      p.db:exec "INSERT INTO t (v) VALUES (4)"
      e2e.expect(p, "SELECT count() FROM t FINAL", 4)
      p:transform("t", bad)
      local code, out, err = p:cli("reload", "--wait", "@")
      assert.is_true(code ~= 0, out .. err)
      assert.is_truthy((out .. err):find("transforms/t.lua", 1, true) or (out .. err):find("transforms.t", 1, true), out .. err)
      p.db:exec "INSERT INTO t (v) VALUES (5)"
      e2e.expect(p, "SELECT label FROM t FINAL WHERE id = 5", "old")
      assert.is_nil(e:ended())
    end)
  end

  it("loses, doubles and mixes nothing under load", function()
    local p = project()
    e2e.run(p)
    local root_db = p.db
    root_db:exec "DELETE FROM t"
    local n = 0
    for round = 1, 12 do
      p:transform("t", labels("v" .. round))
      for _ = 1, 5 do
        local rows = {}
        for _ = 1, 500 do n = n + 1; rows[#rows + 1] = "(" .. n .. ")" end
        root_db:exec("INSERT INTO t (v) VALUES " .. table.concat(rows, ","))
      end
      local code, out, err = p:cli("reload", "--wait", "@")
      assert.equal(0, code, out .. err)
    end
    e2e.expect(p, "SELECT count(), uniqExact(v), max(v) FROM t FINAL", ("%d\t%d\t%d"):format(n, n, n), 40)
    -- Along the stream the label changes at most once a reload: no epoch is half and half.
    e2e.expect(p, [[SELECT countIf(label != previous AND previous != '') <= 12 FROM (SELECT ifNull(label, '') AS label,
      lagInFrame(ifNull(label, ''), 1, '') OVER (ORDER BY _version) AS previous FROM t FINAL)]], 1)
  end)
end)
