-- What the end-to-end specs share: database servers (one of each family for a whole run, a database of its
-- own for every test), projects with an engine on them, waiting with a bound, and cleaning up.
local proc = require "support.proc"
local mysql = require "support.mysql"
local engine = require "support.engine"
local compare = require "support.compare"
local clickhouse = require "support.clickhouse"

local e2e = { proc = proc, mysql = mysql, engine = engine, clickhouse = clickhouse, root = engine.root }

e2e.dir = os.getenv "PIPE_TEST_DIR" or ("/tmp/pipe-engine-e2e-%d"):format(proc.pid())
e2e.port = tonumber(os.getenv "PIPE_TEST_PORT" or 21630)
e2e.password = "s3cret-of-the-capture-account"
proc.sh("mkdir -p " .. proc.quote(e2e.dir))
if not os.getenv "PIPE_TEST_KEEP" then proc.guard("sleep 3; rm -rf " .. proc.quote(e2e.dir)) end

local SERVERS = {
  mariadb = { command = engine.root .. "/examples/support/mariadb", offset = 0 },
  mysql = { command = engine.root .. "/tests/support/mysql", offset = 1 },
}
e2e.families = {}
for name in (os.getenv "PIPE_TEST_FAMILIES" or "mariadb mysql"):gmatch "%w+" do e2e.families[#e2e.families + 1] = name end

local Server = {}
Server.__index = Server
local servers = {}

-- A port that nobody listens on, from e2e.port + 2 on, round and round: spec files share the counter
-- through a file, and what is left over from the test before has time to go.
local PORTS = 33
function e2e.next_port()
  local file = e2e.dir .. "/ports"
  local n = tonumber(proc.read(file) or 1)
  for _ = 1, PORTS do
    n = n % PORTS + 1
    if proc.port_free(e2e.port + 1 + n) then
      proc.write(file, tostring(n))
      return e2e.port + 1 + n
    end
  end
  error("no free port from " .. e2e.port .. " on")
end

-- A database server, started on first use. `variant` and options: one of its own with other settings.
function e2e.server(family, variant, ...)
  local key = family .. (variant and "-" .. variant or "")
  local s = servers[key]
  if not s then
    s = setmetatable({ family = family, command = SERVERS[family].command, dir = e2e.dir .. "/" .. key }, Server)
    s.port = e2e.port + SERVERS[family].offset
    s.options = { ... }
    -- Another spec file of this run may have started it: busted gives every file modules of its own.
    local conf = proc.read(s.dir .. "/my.cnf")
    if conf then
      s.port = tonumber(conf:match "\nport=(%d+)")
    else
      if variant then s.port = e2e.next_port() end
      proc.guard(proc.quote(s.command) .. " kill " .. proc.quote(s.dir) .. "; rm -rf " .. proc.quote(s.dir))
    end
    s:up()
    servers[key] = s
  end
  return s
end

function Server:run(command, ...)
  local argv = { self.command, command, self.dir, ... }
  argv.timeout = 90
  local code, out, err = proc.run(argv)
  assert(code == 0, ("%s %s: %s"):format(self.family, command, err))
  return out
end

function Server:up()
  self:run("up", tostring(self.port), unpack(self.options))
  self.socket = self:run "status":match "socket (%S+)"
  self:connect()
  self.db:exec(("CREATE USER IF NOT EXISTS 'pipe'@'127.0.0.1' IDENTIFIED BY '%s'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'pipe'@'127.0.0.1'")
    :format(e2e.password))
end

function Server:connect(database)
  self.db = assert(mysql.connect { socket = self.socket, database = database })
  return self.db
end

function Server:url(database, user, password, query)
  return ("mysql://%s:%s@127.0.0.1:%d/%s%s"):format(user or "pipe", password or e2e.password, self.port, database, query or "")
end

local engines, projects, count = {}, {}, 0

--[[ A project on a database of its own in `server`: engine.project's options, and
       create = SQL run in the new database before anything else
     The project then has db (a connection with that database as its default) and database (its name). ]]
function e2e.project(server, o)
  count = count + 1
  o.database = o.database or ("t%d_%d"):format(proc.pid(), count)
  server.db:exec(("DROP DATABASE IF EXISTS %s; CREATE DATABASE %s CHARACTER SET utf8mb4; GRANT SELECT ON %s.* TO 'pipe'@'127.0.0.1'"):format(
    o.database, o.database, o.database))
  local db = assert(mysql.connect { socket = server.socket, database = o.database })
  if o.create then db:exec(o.create) end
  o.dir = ("%s/p%d"):format(e2e.dir, count)
  proc.sh("rm -rf " .. proc.quote(o.dir))
  o.name = o.name or "p" .. count
  o.mysql_url = o.mysql_url or server:url(o.database)
  o.http_port = o.http_port or e2e.next_port()
  o.admin_port = o.admin_port or e2e.next_port()
  local p = engine.project(o)
  p.db, p.server = db, server
  projects[#projects + 1] = p
  return p
end

-- Starts an engine that the end of the test stops for certain.
function e2e.start(p, ...)
  local e = p:start(...)
  engines[#engines + 1] = e
  return e
end

function e2e.run(p) return e2e.start(p):wait_ready() end

-- For after_each.
function e2e.cleanup()
  for _, e in ipairs(engines) do
    local child = not e:ended() and e:clickhouse_pid()
    if child then proc.kill(child, proc.CONT) end
    e:kill()
  end
  for _, p in ipairs(projects) do
    if p.db then p.db:close() end
    if not os.getenv "PIPE_TEST_KEEP" then proc.sh("rm -rf " .. proc.quote(p.dir)) end
  end
  engines, projects = {}, {}
end

-- A table expression of the ten digits with one column d, for any server.
e2e.DIGITS = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 " ..
  "UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"

-- Asks until fn() is true (its value is given back) or the time is over; then fails with what it said last.
function e2e.eventually(what, fn, seconds)
  local deadline = proc.now() + (seconds or 20)
  local pause = 0.02
  while true do
    local ok, v, detail = pcall(fn)
    if ok and v then return v end
    if proc.now() > deadline then
      error(("%s: not within %d s (%s)"):format(what, seconds or 20, tostring(ok and (detail or v) or v)), 2)
    end
    proc.sleep(pause)
    pause = math.min(pause * 1.3, 0.25)
  end
end

-- Waits until a query of the target gives this text (rows by newline, columns by tab).
function e2e.expect(p, sql, want, seconds)
  want = tostring(want)
  local deadline = proc.now() + (seconds or 20)
  local got
  repeat
    local text, err = p.ch:try(sql, 20)
    got = text and text:gsub("\n$", "") or err
    if got == want then return end
    proc.sleep(0.05)
  until proc.now() > deadline
  error(("%s\n  gives    %s\n  expected %s\n%s"):format(sql, got, want, p:log_tail(6)), 2)
end

-- Waits until a table of the source and its target are equal, row by row.
function e2e.expect_equal(p, table_name, o, seconds)
  o = o or {}
  o.db, o.ch, o.database, o.table = p.db, p.ch, p.database, table_name
  local deadline = proc.now() + (seconds or 20)
  local ok, r
  repeat
    ok, r = pcall(compare.table, o)
    if ok and r.wrong == 0 then return r end
    if not ok then
      p.db:close()
      p.db = assert(mysql.connect { socket = p.server.socket, database = p.database })
      o.db = p.db
    end
    proc.sleep(0.1)
  until proc.now() > deadline
  error((ok and compare.text(r) .. "\n  " .. table.concat(r.first, "\n  ") or tostring(r)) .. "\n" .. p:log_tail(6), 2)
end

-- An engine that must not start: the exit code, and what it says (Lua patterns, all of them; "" in case).
function e2e.refuses(p, code, ...)
  local got, out, err = p:cli "@"
  local text = out .. err
  if got ~= code then error(("exit code %s, expected %d:\n%s"):format(tostring(got), code, text), 2) end
  for _, pattern in ipairs { ... } do
    if not text:lower():find(pattern:lower()) then error(("the message has no '%s':\n%s"):format(pattern, text), 2) end
  end
  return text
end

-- A ClickHouse that no engine owns, on loopback: { port, pid, ch, url, kill() }.
function e2e.clickhouse_server(name, port)
  local dir = e2e.dir .. "/" .. name
  proc.sh("mkdir -p " .. proc.quote(dir))
  local library = os.getenv "PIPE_ENGINE_CHDB" or
    (os.getenv "PIPE_ENGINE_CACHE" or os.getenv "HOME" .. "/.cache/pipe-engine") .. "/libchdb.so"
  proc.write(dir .. ".xml", "<clickhouse></clickhouse>\n")
  local pid = proc.spawn { engine.build .. "/pe-clickhouse", "--library", library, "--path", dir, "--port", tostring(port),
    "--config", dir .. ".xml", out = dir .. ".log", input = true }
  local s = { pid = pid, port = port, url = ("http://127.0.0.1:%d"):format(port), dir = dir }
  s.ch = clickhouse.connect(s.url)
  e2e.eventually("ClickHouse answers", function() return s.ch:ping() end, 30)
  function s.kill()
    proc.kill(pid, proc.KILL)
    proc.wait(pid, 10)
  end
  return s
end

return e2e
