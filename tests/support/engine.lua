-- A project folder with a pipeline in it, and pipe-engine processes run on it.
local proc = require "support.proc"
local clickhouse = require "support.clickhouse"

local engine = {}

local here = debug.getinfo(1, "S").source:match "^@(.*)/tests/support/[^/]*$" or "."
engine.root = here:sub(1, 1) == "/" and here or proc.cwd() .. "/" .. here
engine.build = os.getenv "PIPE_ENGINE_BUILD" or engine.root .. "/build/release"
engine.bin = engine.build .. "/pipe-engine"

local Project = {}
Project.__index = Project

--[[ engine.project {
       dir =,                     made; state/ and data/ go below it
       name =, tables =           pipeline name, and the Lua text of its tables
       mysql_url =, http_port =, admin_port =
       more =                     more Lua text of the pipeline (groups such as epoch = {...},)
       source =, sink =           more Lua text inside these
       clickhouse_url =           instead of embedded
       schema =                   a folder with .sql files, or { ["file.sql"] = text }, or nil
       transforms =               { name = text } or a folder to copy
       env =                      more environment } ]]
function engine.project(o)
  local p = setmetatable({}, Project)
  for k, v in pairs(o) do p[k] = v end
  proc.sh("mkdir -p " .. proc.quote(p.dir) .. "/pipelines " .. proc.quote(p.dir) .. "/transforms")
  p.file = p.dir .. "/pipelines/" .. p.name .. ".lua"
  p.log = p.dir .. "/engine.log"
  p.data = p.dir .. "/data"
  p.env = p.env or {}
  p.env.MYSQL_URL = p.mysql_url
  p.env.CLICKHOUSE_URL = p.clickhouse_url or ("embedded:%s?port=%d"):format(p.data, p.http_port)
  p.env.PII_KEY = p.env.PII_KEY or "test-key-of-32-characters-000001"
  if type(p.transforms) == "string" then
    proc.sh(("cp %s/*.lua %s/transforms/"):format(proc.quote(p.transforms), proc.quote(p.dir)))
  else
    for name, text in pairs(p.transforms or {}) do p:transform(name, text) end
  end
  if p.schema then
    proc.sh("rm -rf " .. proc.quote(p.dir) .. "/sql && mkdir -p " .. proc.quote(p.dir) .. "/sql")
    if type(p.schema) == "string" then
      proc.sh(("cp -r %s/. %s/sql/"):format(proc.quote(p.schema), proc.quote(p.dir)))
    else
      for name, text in pairs(p.schema) do proc.write(p.dir .. "/sql/" .. name, text) end
    end
  end
  p:write_pipeline()
  p.ch = clickhouse.connect(p.clickhouse_http or ("http://127.0.0.1:%d"):format(p.http_port))
  return p
end

function Project:write_pipeline()
  proc.write(self.file, ([[
local pipe = require "pipe"
return pipe.pipeline {
  name = %q,
  source = pipe.mysql { url = pipe.env "MYSQL_URL", %s },
  sink = pipe.clickhouse { url = pipe.env "CLICKHOUSE_URL", %s %s },
  admin = { listen = "127.0.0.1:%d" },
  %s
  tables = {
%s
  },
}
]]):format(self.name, self.source or "", self.schema and 'schema = "sql",' or "", self.sink or "", self.admin_port or 0,
    self.more or "", self.tables))
end

function Project:transform(name, text)
  proc.write(self.dir .. "/transforms/" .. name .. ".lua", text)
end

-- pipe-engine with these arguments, to its end: code, stdout, stderr. "@" stands for the pipeline file.
function Project:cli(...)
  local argv = { ... }
  for i, a in ipairs(argv) do if a == "@" then argv[i] = self.file end end
  local o = { engine.bin, cwd = self.dir, env = self.env, timeout = self.timeout or 60 }
  for _, a in ipairs(argv) do o[#o + 1] = a end
  return proc.run(o)
end

local Engine = {}
Engine.__index = Engine

function Project:start(...)
  local o = { engine.bin, cwd = self.dir, env = self.env, out = self.log, ... }
  o[#o + 1] = self.file
  return setmetatable({ project = self, pid = proc.spawn(o), since = proc.now() }, Engine)
end

function Project:log_text() return proc.read(self.log) or "" end

function Project:log_tail(n)
  local lines = {}
  for line in self:log_text():gmatch "[^\n]+" do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - (n or 15) + 1))
end

function Engine:ended() return proc.poll(self.pid) end

local function http(port, path)
  local p = io.popen(("curl -sS --max-time 5 http://127.0.0.1:%d%s 2>/dev/null"):format(port, path))
  local text = p:read "*a"
  p:close()
  return text
end

function Project:http(path) return http(self.admin_port, path) end

function Engine:ready()
  local p = io.popen(("curl -s -o /dev/null --max-time 5 -w '%%{http_code}' http://127.0.0.1:%d/ready 2>/dev/null"):format(
    self.project.admin_port))
  local code = p:read "*a"
  p:close()
  return code == "200"
end

-- Waits until /ready; an error with the log's end when it ends or takes too long.
function Engine:wait_ready(seconds)
  local deadline = proc.now() + (seconds or 60)
  while not self:ready() do
    local code = self:ended()
    if code then error(("the engine ended with %d:\n%s"):format(code, self.project:log_tail()), 2) end
    if proc.now() > deadline then
      error(("the engine was not ready in time: %s\n%s"):format(self.project:http "/ready", self.project:log_tail()), 2)
    end
    proc.sleep(0.05)
  end
  return self
end

-- Its end: the exit code, nil if it still runs then.
function Engine:wait(seconds) return proc.wait(self.pid, seconds or 30) end

function Engine:stop(seconds)
  if self:ended() then return self:ended() end
  proc.kill(self.pid, proc.TERM)
  local code = self:wait(seconds or 40)
  if not code then
    self:kill()
    error("the engine did not stop\n" .. self.project:log_tail(), 2)
  end
  return code
end

function Engine:kill()
  proc.kill(self.pid, proc.KILL)
  proc.wait(self.pid, 10)
end

-- Resident memory of the engine itself.
function Engine:rss_kb()
  return tonumber(((proc.read("/proc/" .. self.pid .. "/status") or ""):match "VmRSS:%s+(%d+)")) or 0
end

-- The embedded ClickHouse: the engine's child.
function Engine:clickhouse_pid()
  for _, pid in ipairs(proc.children(self.pid)) do
    local cmd = proc.read("/proc/" .. pid .. "/cmdline") or ""
    if cmd:find("pe-clickhouse", 1, true) then return pid end
  end
end

function Engine:metric(name)
  local text = self.project:http "/metrics"
  for line in text:gmatch "[^\n]+" do
    local n, v = line:match "^([%w_:]+%b{}) ([^ ]+)"
    if not n then n, v = line:match "^([%w_:]+) ([^ ]+)" end
    if n == name or (n and n:match "^[%w_:]+" == name and not name:find("{", 1, true)) then return tonumber(v), text end
  end
  return nil, text
end

return engine
