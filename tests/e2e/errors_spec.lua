-- Everything that can be wrong at start: its exit code (sysexits.h) and a message that tells what to do.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"
local proc = e2e.proc

local T = "CREATE TABLE t (id INT PRIMARY KEY, v INT NULL); INSERT INTO t VALUES (1, 1)"

local function project(family, o)
  o.create, o.tables = o.create or T, o.tables or "t = {},"
  return e2e.project(e2e.server(family), o)
end

describe("a start that can't work", function()
  after_each(e2e.cleanup)

  describe("because of the pipeline file", function()
    it("names an unknown key and the nearest known one", function()
      local p = project("mariadb", { more = "epok = { rows = 5000 }," })
      e2e.refuses(p, 78, "epok", "epoch")
      p.more = ""
      p.tables = 't = { trnsform = "transforms.t" },'
      p:write_pipeline()
      e2e.refuses(p, 78, "tables%.t", "trnsform", "transform")
    end)
    it("names a value out of range and where it stands", function()
      e2e.refuses(project("mariadb", { more = "epoch = { rows = -1 }," }), 78, "epoch%.rows")
    end)
    it("points at a syntax error in it", function()
      local p = project("mariadb", {})
      proc.write(p.file, "return {\n  name = \n}\n")
      local code, out, err = p:cli "@"
      assert.is_true(code == 65 or code == 78, out .. err)
      assert.is_truthy((out .. err):find("p%d*%.lua:3"), out .. err)
    end)
    it("says that there is no such file", function()
      local p = project("mariadb", {})
      local code, out, err = p:cli "pipelines/nothing.lua"
      assert.is_true(code == 66 or code == 74 or code == 78, out .. err)
      assert.is_truthy((out .. err):find("nothing.lua", 1, true))
    end)
    it("says which environment variable is missing", function()
      local p = project("mariadb", {})
      p.env.MYSQL_URL = false
      e2e.refuses(p, 78, "MYSQL_URL")
    end)
    it("refuses an unknown command and option with the usage", function()
      local p = project("mariadb", {})
      local code = p:cli("--nonsense", "@")
      assert.equal(64, code)
    end)
  end)

  describe("because of a script", function()
    it("points at the line of a syntax error", function()
      local p = project("mariadb", { tables = 't = { transform = "transforms.bad" },', transforms = { bad = "local x =\nreturn functio(row) end\n" } })
      e2e.refuses(p, 65, "transforms/bad.lua:%d")
    end)
    it("says that a transform is not a function", function()
      local p = project("mariadb", { tables = 't = { transform = "transforms.bad" },', transforms = { bad = "return { v = 1 }\n" } })
      e2e.refuses(p, 65, "transforms.bad", "function", "table")
    end)
    it("says that a transform's file is missing", function()
      local p = project("mariadb", { tables = 't = { transform = "transforms.nowhere" },' })
      local code, out, err = p:cli "@"
      assert.is_true(code == 65 or code == 78, out .. err)
      assert.is_truthy((out .. err):find("nowhere", 1, true), out .. err)
    end)
    it("says which secret a script misses", function()
      local p = project("mariadb", {
        tables = 't = { transform = "transforms.s" },',
        transforms = { s = 'local pipe = require "pipe"\nlocal token = pipe.token { key = pipe.secret "NOT_SET_KEY" }\nreturn function(row) return row end\n' },
      })
      local code, out, err = p:cli "@"
      assert.is_true(code == 65 or code == 78, out .. err)
      assert.is_truthy((out .. err):find("NOT_SET_KEY", 1, true), out .. err)
    end)
  end)

  for _, family in ipairs(e2e.families) do
    describe("because of the source, " .. family .. " #" .. family, function()
      it("unreachable server", function()
        e2e.refuses(project(family, { mysql_url = "mysql://pipe:x@127.0.0.1:1/t" }), 69, "127%.0%.0%.1:1")
      end)
      it("wrong password", function()
        local p = project(family, {})
        p.env.MYSQL_URL = p.server:url(p.database, "pipe", "wrong-password-canary")
        local text = e2e.refuses(p, 77, "pipe")
        assert.is_nil(text:find("wrong-password-canary", 1, true))
      end)
      it("missing grants", function()
        local p = project(family, {})
        p.server.db:exec(("CREATE USER IF NOT EXISTS 'poor'@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON %s.* TO 'poor'@'127.0.0.1'"):format(p.database))
        p.env.MYSQL_URL = p.server:url(p.database, "poor", "x")
        e2e.refuses(p, 77, "REPLICATION", "GRANT")
      end)
      it("no right to read a table", function()
        local p = project(family, {})
        p.server.db:exec "CREATE USER IF NOT EXISTS 'blind'@'127.0.0.1' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'blind'@'127.0.0.1'"
        p.env.MYSQL_URL = p.server:url(p.database, "blind", "x")
        local code, out, err = p:cli "@"
        assert.is_true(code == 77 or code == 65, out .. err)
        assert.is_truthy((out .. err):find "SELECT" or (out .. err):find "denied", out .. err)
      end)
      it("no such table", function()
        e2e.refuses(project(family, { tables = "t = {}, missing = {}," }), 65, "missing")
      end)
      it("no primary key", function()
        e2e.refuses(project(family, { create = "CREATE TABLE t (a INT, b INT)" }), 65, "primary key", "t")
      end)
      it("binlog_row_image is not FULL", function()
        local p = project(family, {})
        p.server.db:exec "SET GLOBAL binlog_row_image = MINIMAL"
        finally(function() p.server.db:exec "SET GLOBAL binlog_row_image = FULL" end)
        e2e.refuses(p, 78, "binlog_row_image", "FULL")
      end)
      it("binlog_format is not ROW", function()
        local p = project(family, {})
        p.server.db:exec "SET GLOBAL binlog_format = STATEMENT"
        finally(function() p.server.db:exec "SET GLOBAL binlog_format = ROW" end)
        e2e.refuses(p, 78, "binlog_format", "ROW")
      end)
      it("no binlog", function()
        local p = e2e.project(e2e.server(family, "nolog", "skip-log-bin"), { create = T, tables = "t = {}," })
        e2e.refuses(p, 78, "log.bin")
      end)
      it("a server_id that is in use", function()
        local p = project(family, { source = "server_id = 4711," })
        local first = e2e.run(p)
        local q = project(family, { source = "server_id = 4711," })
        local second = e2e.start(q)
        -- A server throws the older one off, so it may be either that learns of it.
        local code = e2e.eventually("one of them ends", function() return first:ended() or second:ended() end, 30)
        local log = (first:ended() and p or q):log_tail(8)
        assert.equal(69, code, log)
        assert.is_truthy(log:find("4711", 1, true), log)
        assert.is_truthy(log:find("server_id", 1, true), log)
      end)
    end)
  end

  describe("because of the target", function()
    it("unreachable", function()
      e2e.refuses(project("mariadb", { clickhouse_url = "http://127.0.0.1:1" }), 69, "127%.0%.0%.1:1")
    end)
    it("a column is missing", function()
      local p = project("mariadb", { schema = { ["1.sql"] = "CREATE TABLE IF NOT EXISTS t (id Int32, _version UInt64, _deleted UInt8)\n" ..
        "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS non_replicated_deduplication_window = 100;\n" } })
      e2e.refuses(p, 78, "`?v`?", "ALTER TABLE")
    end)
    it("a column is too narrow", function()
      local p = project("mariadb", { schema = { ["1.sql"] = "CREATE TABLE IF NOT EXISTS t (id Int32, v Nullable(Int8), _version UInt64, _deleted UInt8)\n" ..
        "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS non_replicated_deduplication_window = 100;\n" } })
      e2e.refuses(p, 78, "Int8", "ALTER TABLE")
    end)
    it("a statement of the schema folder fails", function()
      local p = project("mariadb", { schema = { ["1.sql"] = "CREATE TABLE IF NOT EXISTS t (id Int32;\n" } })
      local code, out, err = p:cli "@"
      assert.is_true(code == 65 or code == 78, tostring(code) .. out .. err)
      assert.is_truthy((out .. err):find("1.sql", 1, true), out .. err)
    end)
    it("no deduplication window: exactly-once is not claimed", function()
      local p = project("mariadb", { schema = { ["1.sql"] = "CREATE TABLE IF NOT EXISTS t (id Int32, v Nullable(Int32), _version UInt64, _deleted UInt8)\n" ..
        "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id;\n" } })
      local e = e2e.start(p)
      local code
      e2e.eventually("a word about the window", function()
        code = e:ended()
        return p:log_text():find("deduplication_window", 1, true)
      end)
      assert.is_true(code == nil or code == 78)
    end)
  end)

  describe("because of the state", function()
    it("two engines on one state store", function()
      local p = project("mariadb", {})
      local e = e2e.run(p)
      e2e.refuses(p, 75, "another pipe%-engine")
      assert.is_nil(e:ended())
    end)
    it("a disk that is full under it", function()
      if os.execute "[ $(id -u) = 0 ]" ~= 0 then pending "needs root to mount a small disk" return end
      local p = project("mariadb", { create = "CREATE TABLE t (id INT PRIMARY KEY, v INT NULL)" })
      local small = p.dir .. "/state"
      proc.sh("mkdir -p " .. small)
      if os.execute("mount -t tmpfs -o size=400k none " .. small .. " 2>/dev/null") ~= 0 then pending "no right to mount" return end
      finally(function() os.execute("umount -l " .. small) end)
      local e = e2e.start(p)
      os.execute("sleep 1; dd if=/dev/zero of=" .. small .. "/filler bs=4k 2>/dev/null")
      for i = 1, 200 do
        if e:ended() then break end
        p.db:exec(("INSERT INTO t VALUES (%d, 1)"):format(i))
        proc.sleep(0.05)
      end
      local code = e:wait(20)
      assert.equal(74, code, p:log_tail(8))
      assert.is_truthy(p:log_text():lower():find("disk", 1, true) or p:log_text():lower():find("full", 1, true), p:log_tail(8))
      os.execute("rm " .. small .. "/filler; mount -o remount,size=50m " .. small)
      e2e.run(p)
      e2e.expect_equal(p, "t")
    end)
  end)

  describe("check and doctor", function()
    it("check passes what can run, and says so offline too", function()
      local p = project("mariadb", {})
      local code, out, err = p:cli("check", "@")
      assert.equal(0, code, out .. err)
      assert.is_truthy((out .. err):find "1 table", out .. err)
    end)
    it("check fails with the code of what is wrong", function()
      local p = project("mariadb", { tables = 't = { transform = "transforms.bad" },', transforms = { bad = "return 1\n" } })
      assert.equal(65, (p:cli("check", "@")))
    end)
    it("doctor names a setting and its mend", function()
      local p = project("mariadb", {})
      p.server.db:exec "SET GLOBAL binlog_row_image = MINIMAL"
      finally(function() p.server.db:exec "SET GLOBAL binlog_row_image = FULL" end)
      local code, out, err = p:cli("doctor", "@")
      assert.is_true(code ~= 0)
      assert.is_truthy((out .. err):find("SET GLOBAL binlog_row_image = FULL", 1, true), out .. err)
    end)
    it("doctor finds foreign-key cascades that the server does not log", function()
      local p = project("mariadb", {
        create = "CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE child (id INT PRIMARY KEY, t INT, CONSTRAINT to_t FOREIGN KEY (t) REFERENCES t (id) ON DELETE CASCADE)",
        tables = "t = {}, child = {},",
      })
      local _, out, err = p:cli("doctor", "@")
      assert.is_truthy((out .. err):find("child", 1, true), out .. err)
      assert.is_truthy((out .. err):upper():find("CASCADE", 1, true), out .. err)
    end)
    it("version and help", function()
      local p = project("mariadb", {})
      local code, out = p:cli "version"
      assert.equal(0, code)
      assert.is_truthy(out:find "%d+%.%d+%.%d+")
      code, out = p:cli "help"
      assert.equal(0, code)
      for _, command in ipairs { "check", "doctor", "status", "reload", "stop", "version" } do
        assert.is_truthy(out:find(command, 1, true), command)
      end
    end)
  end)
end)
