-- What is around the engine goes away and comes back: it waits with bounded memory, tells, and goes on.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"
local proc = e2e.proc

local CREATE = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT NULL, s VARCHAR(200) NULL); INSERT INTO t (v) VALUES (1), (2), (3), (4), (5)"
local DIGITS = e2e.DIGITS

local function project(family, o)
  o = o or {}
  o.create, o.tables = o.create or CREATE, o.tables or "t = {},"
  return e2e.project(e2e.server(family), o)
end

describe("ClickHouse away", function()
  after_each(e2e.cleanup)

  it("killed: the embedded one is started again, and nothing is lost or doubled", function()
    local p = project "mariadb"
    local e = e2e.run(p)
    for round = 1, 4 do
      p.db:exec "INSERT INTO t (v) SELECT v FROM t"
      local pid = e2e.eventually("a child", function() return e:clickhouse_pid() end)
      proc.kill(pid, proc.KILL)
      p.db:exec("UPDATE t SET v = v + " .. round .. " WHERE id % 2 = 0; DELETE FROM t WHERE id % 7 = 0")
    end
    e2e.expect_equal(p, "t", nil, 40)
    assert.is_nil(e:ended())
  end)

  it("not answering: back-pressure in bounded memory, not ready with the reason, then it goes on by itself", function()
    local p = project "mariadb"
    local e = e2e.run(p)
    e2e.expect_equal(p, "t")
    local child = e:clickhouse_pid()
    local before = e:rss_kb()
    proc.kill(child, proc.STOP)
    for _ = 1, 4 do
      p.db:exec(("INSERT INTO t (v, s) SELECT a.d, repeat('x', 180) FROM %s a, %s b, %s c, %s d, %s e"):format(DIGITS, DIGITS, DIGITS, DIGITS, DIGITS))
    end
    proc.sleep(3)
    local held = e:rss_kb()
    assert.is_true(held - before < 150 * 1024, ("%d -> %d KB"):format(before, held))
    proc.kill(child, proc.CONT)
    e2e.expect_equal(p, "t", nil, 60)
    assert.is_nil(e:ended())
  end)

  it("a remote one that is away for a while: retried with back-off, /ready says why, then all is there", function()
    local port = e2e.next_port()
    local s = e2e.clickhouse_server("remote-ch", port)
    finally(function() s.kill() end)
    local p = project("mariadb", { clickhouse_url = s.url, clickhouse_http = s.url, schema = false, tables = "t = { target = 'remote_t' }," })
    local e = e2e.run(p)
    e2e.expect_equal(p, "t", { target = "remote_t" })
    s.kill()
    p.db:exec "INSERT INTO t (v) VALUES (77); UPDATE t SET v = 0 WHERE id = 1"
    e2e.eventually("/ready fails and says why", function()
      return not e:ready() and p:http("/ready"):lower():find "clickhouse"
    end, 30)
    assert.is_nil(e:ended())
    s = e2e.clickhouse_server("remote-ch", port)
    e2e.expect_equal(p, "t", { target = "remote_t" }, 40)
    e2e.eventually("/ready is well again", function() return e:ready() end, 20)
    assert.equal(0, e:stop())
  end)

  it("a graceful stop while it is away does not hang", function()
    local p = project "mariadb"
    local e = e2e.run(p)
    e2e.expect_equal(p, "t")
    local child = e:clickhouse_pid()
    proc.kill(child, proc.STOP)
    p.db:exec "INSERT INTO t (v) VALUES (1000)"
    proc.sleep(0.5)
    proc.kill(e.pid, proc.TERM)
    proc.sleep(1)
    proc.kill(child, proc.CONT)
    assert.is_truthy(e:wait(40))
    e2e.run(p)
    e2e.expect_equal(p, "t", nil, 30)
  end)
end)

for _, family in ipairs(e2e.families) do
  describe(family .. " away #" .. family, function()
    after_each(e2e.cleanup)

    it("killed connections: reconnects and goes on", function()
      local p = project(family)
      e2e.run(p)
      e2e.expect_equal(p, "t")
      for round = 1, 3 do
        for _, r in ipairs(p.server.db:query "SELECT id FROM information_schema.processlist WHERE user = 'pipe'") do
          p.server.db:try("KILL " .. r[1])
        end
        p.db:exec("INSERT INTO t (v) VALUES (" .. 100 + round .. ")")
        e2e.expect_equal(p, "t", nil, 30)
      end
    end)

    it("restarted and killed: reconnects, also behind a rotated log", function()
      local p = project(family)
      local e = e2e.run(p)
      e2e.expect_equal(p, "t")
      p.db:exec "UPDATE t SET v = 50 WHERE id = 1"
      p.server:run "kill"
      proc.sleep(1.5)
      assert.is_nil(e:ended())
      p.server:up()
      p.db = e2e.mysql.connect { socket = p.server.socket, database = p.database }
      p.db:exec "FLUSH BINARY LOGS; UPDATE t SET v = 60 WHERE id = 2; DELETE FROM t WHERE id = 3"
      e2e.expect_equal(p, "t", nil, 40)
      p.server:run "down"
      p.server:up()
      p.db = e2e.mysql.connect { socket = p.server.socket, database = p.database }
      p.db:exec "UPDATE t SET v = 70 WHERE id = 2"
      e2e.expect_equal(p, "t", nil, 40)
      assert.is_nil(e:ended())
    end)

    it("the position purged: stops with the command that repairs it, which repairs it", function()
      local p = project(family)
      local e = e2e.run(p)
      e2e.expect_equal(p, "t")
      assert.equal(0, e:stop())
      p.db:exec "DELETE FROM t WHERE id IN (2, 3); UPDATE t SET v = 500 WHERE id = 1; INSERT INTO t (v) VALUES (600)"
      p.server.db:exec "FLUSH BINARY LOGS; FLUSH BINARY LOGS"
      local last = p.server.db:query(family == "mysql" and "SHOW BINARY LOG STATUS" or "SHOW MASTER STATUS")[1][1]
      proc.sleep(0.3)
      e2e.eventually("the logs are purged", function()
        p.server.db:exec("PURGE BINARY LOGS TO '" .. last .. "'")
        return #p.server.db:query "SHOW BINARY LOGS" == 1
      end)
      local text = e2e.refuses(p, 66, "pipe%-engine resync")
      e2e.refuses(p, 66) -- it stays so: nothing is skipped
      assert.is_truthy(text)
      local code, out, err = p:cli("resync", "@")
      assert.equal(0, code, out .. err)
      e2e.run(p)
      e2e.expect_equal(p, "t", nil, 30)
      e2e.expect(p, "SELECT count() FROM t FINAL WHERE id IN (2, 3)", 0)
      p.db:exec "UPDATE t SET v = 501 WHERE id = 1; DELETE FROM t WHERE id = 4"
      e2e.expect_equal(p, "t")
    end)

    it("a history that began anew (RESET): stops, and after the resync its lower log positions win", function()
      local server = e2e.server(family, "reset", "server-id=998")
      local p = e2e.project(server, { create = CREATE, tables = "t = {}," })
      for _ = 1, 5 do server.db:exec "FLUSH BINARY LOGS" end
      local e = e2e.run(p)
      p.db:exec "UPDATE t SET v = 10 WHERE id < 4"
      e2e.expect_equal(p, "t")
      assert.equal(0, e:stop())
      server.db:exec(family == "mysql" and "RESET BINARY LOGS AND GTIDS" or "RESET MASTER")
      p.db:exec "UPDATE t SET v = 20 WHERE id = 1; DELETE FROM t WHERE id = 2"
      local code, out, err = p:cli "@"
      assert.is_true(code == 65 or code == 66, tostring(code) .. out .. err)
      assert.is_truthy((out .. err):find("pipe-engine resync", 1, true), out .. err)
      assert.equal(0, (p:cli("resync", "@")))
      e2e.run(p)
      e2e.expect_equal(p, "t", nil, 30)
      p.db:exec "UPDATE t SET v = 30 WHERE id = 1; DELETE FROM t WHERE id = 3"
      e2e.expect_equal(p, "t")
      e2e.expect(p, "SELECT groupArray((id, v)) FROM (SELECT id, v FROM t FINAL WHERE id < 4 ORDER BY id)", "[(1,30)]")
    end)

    it("another server behind the same address: refuses to go on", function()
      local p = project(family)
      local e = e2e.run(p)
      e2e.expect_equal(p, "t")
      assert.equal(0, e:stop())
      local other = e2e.server(family, "other", "server-id=999")
      other.db:exec(("DROP DATABASE IF EXISTS %s; CREATE DATABASE %s; GRANT SELECT ON %s.* TO 'pipe'@'127.0.0.1'"):format(p.database, p.database, p.database))
      other:connect(p.database):exec(CREATE)
      other:connect()
      p.env.MYSQL_URL = other:url(p.database)
      local code, out, err = p:cli "@"
      assert.is_true(code == 65 or code == 66, tostring(code) .. out .. err)
      assert.is_truthy((out .. err):find("resync", 1, true), out .. err)
    end)
  end)
end

describe("a snapshot that is cut short", function()
  after_each(e2e.cleanup)

  it("goes on in the middle, under changes, and ends equal", function()
    local p = project("mariadb", { more = "snapshot = { chunk_rows = 2000, workers = 2 }, epoch = { rows = 2000, block_rows = 500 }," })
    p.db:exec(("INSERT INTO t (v, s) SELECT a.d, repeat('x', 50) FROM %s a, %s b, %s c, %s d, %s e"):format(DIGITS, DIGITS, DIGITS, DIGITS, DIGITS))
    for round = 1, 5 do
      local e = e2e.start(p)
      proc.sleep(0.5 + round * 0.15)
      p.db:exec(("UPDATE t SET v = %d WHERE id %% 97 = %d; DELETE FROM t WHERE id %% 89 = %d; INSERT INTO t (v) VALUES (%d)"):format(round, round, round, round))
      e:kill()
    end
    e2e.run(p)
    e2e.expect_equal(p, "t", nil, 60)
  end)
end)
