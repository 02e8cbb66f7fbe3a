-- Processes, time and files for the tests: what LuaJIT's io library lacks, through the FFI.
-- Every child dies with the test (PR_SET_PDEATHSIG) unless `detached` is asked for.
local ffi = require "ffi"
local bit = require "bit"

ffi.cdef [[
typedef int pid_t;
struct pe_timespec { long tv_sec; long tv_nsec; };
pid_t fork(void);
int execvp(const char *file, char *const argv[]);
pid_t waitpid(pid_t pid, int *status, int options);
int kill(pid_t pid, int sig);
int clock_gettime(int clock, struct pe_timespec *ts);
int poll(void *fds, unsigned long n, int timeout);
int open(const char *path, int flags, ...);
int dup2(int from, int to);
int close(int fd);
int chdir(const char *path);
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
pid_t setsid(void);
pid_t getpid(void);
void _exit(int status);
char *getcwd(char *buf, size_t n);
int pipe(int fds[2]);
struct pe_sockaddr_in { uint16_t family; uint8_t port[2]; uint8_t addr[4]; char zero[8]; };
int socket(int domain, int type, int protocol);
int bind(int fd, const void *addr, unsigned len);
int setsockopt(int fd, int level, int name, const void *value, unsigned len);
]]
local C = ffi.C

local proc = {
  HUP = 1, INT = 2, KILL = 9, USR1 = 10, TERM = 15, CONT = 18, STOP = 19,
}

local ts = ffi.new "struct pe_timespec"
-- Seconds, monotonic.
function proc.now()
  C.clock_gettime(1, ts)
  return tonumber(ts.tv_sec) + tonumber(ts.tv_nsec) / 1e9
end

-- Seconds since 1970.
function proc.time()
  C.clock_gettime(0, ts)
  return tonumber(ts.tv_sec) + tonumber(ts.tv_nsec) / 1e9
end

function proc.pid() return C.getpid() end

function proc.sleep(seconds)
  C.poll(nil, 0, math.floor(seconds * 1000 + 0.5))
end

function proc.cwd()
  local buf = ffi.new("char[4096]")
  return ffi.string(C.getcwd(buf, 4096))
end

local O_WRONLY, O_CREAT, O_APPEND = 1, 0x40, 0x400

-- spawn { "program", "arg", ..., cwd =, env = { NAME = value | false }, out = file, err = file,
-- detached = bool, input = bool } -> pid. `err` is `out` when only that is given; both are appended to.
-- With `input` its standard input is a pipe that ends when this process does.
function proc.spawn(o)
  local input
  if o.input then
    input = ffi.new "int[2]"
    assert(C.pipe(input) == 0, "pipe failed")
  end
  local n = #o
  local argv = ffi.new("const char *[?]", n + 1)
  for i = 1, n do argv[i - 1] = o[i] end
  argv[n] = nil
  local args = ffi.cast("char *const *", argv)
  io.stdout:flush()
  io.stderr:flush()
  local pid = C.fork()
  assert(pid >= 0, "fork failed")
  if pid > 0 then
    if input then C.close(input[0]) end
    return pid
  end
  if o.detached then C.setsid() else C.prctl(1, 9, 0, 0, 0) end
  if o.cwd and C.chdir(o.cwd) ~= 0 then C._exit(126) end
  for k, v in pairs(o.env or {}) do
    if v then C.setenv(k, tostring(v), 1) else C.unsetenv(k) end
  end
  local null = C.open("/dev/null", 0)
  C.dup2(input and input[0] or null, 0)
  local function redirect(path, fd)
    local f = C.open(path, bit.bor(O_WRONLY, O_CREAT, O_APPEND), ffi.cast("int", 420))
    if f < 0 then C._exit(126) end
    C.dup2(f, fd)
    C.close(f)
  end
  if o.out then redirect(o.out, 1) end
  if o.err or o.out then redirect(o.err or o.out, 2) end
  for fd = 3, 63 do C.close(fd) end
  C.execvp(o[1], args)
  C._exit(127)
end

local status = ffi.new "int[1]"
local ended = {} -- pid -> exit code, for children that were waited for already

-- The exit code (128 + signal for a killed one) once the child has ended, or nil.
function proc.poll(pid)
  if ended[pid] then return ended[pid] end
  local r = C.waitpid(pid, status, 1)
  if r == 0 then return nil end
  if r < 0 then return 255 end
  local s = status[0]
  local sig = bit.band(s, 0x7f)
  local code = sig ~= 0 and 128 + sig or bit.band(bit.rshift(s, 8), 0xff)
  ended[pid] = code
  return code
end

-- Waits up to `seconds`; nil when the child still runs then.
function proc.wait(pid, seconds)
  local deadline = proc.now() + (seconds or 30)
  local pause = 0.002
  while true do
    local code = proc.poll(pid)
    if code then return code end
    if proc.now() > deadline then return nil end
    proc.sleep(pause)
    pause = math.min(pause * 1.5, 0.05)
  end
end

function proc.kill(pid, sig)
  return C.kill(pid, sig or proc.TERM) == 0
end

-- Runs a command to its end: exit code, standard output, standard error.
function proc.run(o)
  local base = os.tmpname()
  local out, err = base .. ".out", base .. ".err"
  o.out, o.err = out, err
  local pid = proc.spawn(o)
  local code = proc.wait(pid, o.timeout or 60)
  if not code then
    proc.kill(pid, proc.KILL)
    proc.wait(pid, 10)
  end
  local so, se = proc.read(out) or "", proc.read(err) or ""
  os.remove(base)
  os.remove(out)
  os.remove(err)
  return code, so, se .. (code and "" or "\n(killed: it did not end in time)")
end

function proc.read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local s = f:read "*a"
  f:close()
  return s
end

function proc.write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

-- Can a server listen on this port of 127.0.0.1?
function proc.port_free(port)
  local a = ffi.new "struct pe_sockaddr_in"
  a.family = 2
  a.port[0], a.port[1] = math.floor(port / 256), port % 256
  a.addr[0], a.addr[3] = 127, 1
  local fd = C.socket(2, 1, 0)
  C.setsockopt(fd, 1, 2, ffi.new("int[1]", 1), 4) -- SO_REUSEADDR, as servers do
  local free = C.bind(fd, a, ffi.sizeof(a)) == 0
  C.close(fd)
  return free
end

-- For a word in a shell command.
function proc.quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

function proc.sh(command)
  local r = os.execute(command)
  assert(r == 0 or r == true, "failed: " .. command)
end

-- Every running process whose parent is `pid`.
function proc.children(pid)
  local list = {}
  local p = io.popen("cat /proc/" .. pid .. "/task/*/children 2>/dev/null")
  for child in p:read("*a"):gmatch "%d+" do list[#list + 1] = tonumber(child) end
  p:close()
  return list
end

-- Runs a Lua function in a process of its own; its error ends that process with 1 and stands in `log`.
function proc.fork(fn, log)
  io.stdout:flush()
  io.stderr:flush()
  local pid = C.fork()
  assert(pid >= 0, "fork failed")
  if pid > 0 then return pid end
  C.prctl(1, 9, 0, 0, 0)
  local ok, err = pcall(fn)
  if not ok then
    local f = io.open(log, "a")
    if f then
      f:write(tostring(err), "\n")
      f:close()
    end
  end
  C._exit(ok and 0 or 1)
end

-- When this process has ended, however it did, run a shell command: for servers that would outlive it.
function proc.guard(command)
  proc.spawn { "/bin/sh", "-c", ("while kill -0 %d 2>/dev/null; do sleep 0.5; done; %s"):format(C.getpid(), command),
    detached = true, out = "/dev/null" }
end

-- True while a process that may not be ours is there (a zombie isn't).
function proc.alive(pid)
  local stat = proc.read("/proc/" .. pid .. "/stat")
  return stat ~= nil and not stat:match "^%d+ %b() Z"
end

return proc
