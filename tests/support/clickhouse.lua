-- ClickHouse over HTTP for the tests, by the curl program.
local ffi = require "ffi"
local proc = require "support.proc"

ffi.cdef [[
typedef struct pe_FILE FILE;
FILE *popen(const char *command, const char *mode);
int pclose(FILE *f);
size_t fread(void *p, size_t size, size_t n, FILE *f);
void *memchr(const void *p, int c, size_t n);
void *memmove(void *to, const void *from, size_t n);
]]
local C = ffi.C

local clickhouse = {}
local ch = {}
ch.__index = ch

-- url: http://127.0.0.1:8123
function clickhouse.connect(url)
  return setmetatable({ url = url:gsub("/+$", "") .. "/" }, ch)
end

local function command(self, sql, seconds)
  local file = os.tmpname()
  proc.write(file, sql)
  return ("curl -sS --fail-with-body --max-time %d --data-binary @%s %s 2>&1"):format(seconds, file,
    proc.quote(self.url)), file
end

-- The answer's text, or nil and what went wrong.
function ch:try(sql, seconds)
  local cmd, file = command(self, sql, seconds or 120)
  local p = io.popen(cmd .. "; printf '\\n%s' $?")
  local text = p:read "*a"
  p:close()
  os.remove(file)
  local body, code = text:match "^(.*)\n(%d+)$"
  if code ~= "0" then return nil, body end
  return body
end

function ch:exec(sql, seconds)
  local body, err = self:try(sql, seconds)
  if not body then error(("%s in: %s"):format(err, sql:sub(1, 300)), 2) end
  return body
end

function ch:value(sql)
  return (self:exec(sql):gsub("\n$", ""))
end

function ch:number(sql)
  return tonumber(self:value(sql))
end

-- Rows of strings, TSV unescaped is not done: for names and numbers.
function ch:query(sql)
  local rows = {}
  for line in self:exec(sql):gmatch "([^\n]*)\n" do
    local row = {}
    for field in (line .. "\t"):gmatch "([^\t]*)\t" do row[#row + 1] = field end
    rows[#rows + 1] = row
  end
  return rows
end

function ch:ping()
  return self:try("SELECT 1", 2) ~= nil
end

-- An iterator over a TSV answer that is not held in memory: gives a pointer to the line and its
-- length (without the newline), valid until the next call.
function ch:stream(sql)
  local cmd, file = command(self, sql, 600)
  local f = C.popen(cmd, "r")
  assert(f ~= nil, "popen failed")
  local cap = 4 * 1024 * 1024
  local buf = ffi.new("char[?]", cap)
  local from, to, done = 0, 0, false
  return function()
    while true do
      if to > from then
        local nl = C.memchr(buf + from, 10, to - from)
        if nl ~= nil then
          local line, n = buf + from, ffi.cast("char *", nl) - (buf + from)
          from = from + tonumber(n) + 1
          return line, tonumber(n)
        end
      end
      if done then
        assert(from == to, "the answer of ClickHouse ended inside a line")
        return nil
      end
      if from > 0 then
        C.memmove(buf, buf + from, to - from)
        to, from = to - from, 0
      end
      assert(to < cap, "a line over 4 MiB")
      local n = tonumber(C.fread(buf + to, 1, math.min(cap - to, 262144), f))
      to = to + n
      if n == 0 then
        done = true
        local code = C.pclose(f)
        os.remove(file)
        if code ~= 0 then error("ClickHouse: " .. ffi.string(buf, math.min(to, 600)), 2) end
      end
    end
  end
end

return clickhouse
