-- A MySQL or MariaDB connection for the tests, through libmariadb: text protocol, values as strings,
-- SQL NULL as mysql.NULL in query() and as a nil pointer in stream().
local ffi = require "ffi"

ffi.cdef [[
typedef struct st_mysql MYSQL;
typedef struct st_mysql_res MYSQL_RES;
MYSQL *mysql_init(MYSQL *m);
MYSQL *mysql_real_connect(MYSQL *m, const char *host, const char *user, const char *password, const char *db,
                          unsigned port, const char *socket, unsigned long flags);
int mysql_options(MYSQL *m, int option, const void *arg);
void mysql_close(MYSQL *m);
const char *mysql_error(MYSQL *m);
unsigned mysql_errno(MYSQL *m);
int mysql_real_query(MYSQL *m, const char *q, unsigned long n);
MYSQL_RES *mysql_store_result(MYSQL *m);
MYSQL_RES *mysql_use_result(MYSQL *m);
unsigned mysql_num_fields(MYSQL_RES *r);
unsigned mysql_field_count(MYSQL *m);
char **mysql_fetch_row(MYSQL_RES *r);
unsigned long *mysql_fetch_lengths(MYSQL_RES *r);
void mysql_free_result(MYSQL_RES *r);
int mysql_next_result(MYSQL *m);
unsigned long mysql_thread_id(MYSQL *m);
unsigned long long mysql_affected_rows(MYSQL *m);
]]
local lib = ffi.load "libmariadb.so.3"
local CLIENT_MULTI_STATEMENTS, CONNECT_TIMEOUT, READ_TIMEOUT, CHARSET = 0x10000, 0, 11, 7

local mysql = { NULL = setmetatable({}, { __tostring = function() return "NULL" end }) }
local conn = {}
conn.__index = conn

-- { socket =, host =, port =, user =, password =, database = } -> connection, or nil and the error.
function mysql.connect(o)
  local m = lib.mysql_init(nil)
  lib.mysql_options(m, CONNECT_TIMEOUT, ffi.new("unsigned[1]", 10))
  lib.mysql_options(m, READ_TIMEOUT, ffi.new("unsigned[1]", o.timeout or 120))
  lib.mysql_options(m, CHARSET, "utf8mb4")
  local ok = lib.mysql_real_connect(m, o.host, o.user or "root", o.password, o.database, o.port or 0, o.socket,
    CLIENT_MULTI_STATEMENTS)
  if ok == nil then
    local err = ffi.string(lib.mysql_error(m))
    lib.mysql_close(m)
    return nil, err
  end
  local self = setmetatable({ m = m }, conn)
  self:exec "SET time_zone = '+00:00'"
  return self
end

function conn:failed()
  return nil, ffi.string(lib.mysql_error(self.m)), tonumber(lib.mysql_errno(self.m))
end

-- Statements without results that matter; several may be in one text. true, or nil, message, number.
function conn:try(sql)
  if lib.mysql_real_query(self.m, sql, #sql) ~= 0 then return self:failed() end
  while true do
    local r = lib.mysql_store_result(self.m)
    if r ~= nil then
      lib.mysql_free_result(r)
    elseif lib.mysql_field_count(self.m) ~= 0 then
      return self:failed()
    end
    local more = lib.mysql_next_result(self.m)
    if more > 0 then return self:failed() end
    if more < 0 then return true end
  end
end

function conn:exec(sql)
  local ok, err = self:try(sql)
  if not ok then error(err .. " in: " .. sql:sub(1, 300), 2) end
  return self
end

-- All rows, each an array of strings or mysql.NULL.
function conn:query(sql)
  if lib.mysql_real_query(self.m, sql, #sql) ~= 0 then error(ffi.string(lib.mysql_error(self.m)) .. " in: " .. sql, 2) end
  local r = lib.mysql_store_result(self.m)
  if r == nil then error(ffi.string(lib.mysql_error(self.m)), 2) end
  local n, rows = lib.mysql_num_fields(r), {}
  while true do
    local row = lib.mysql_fetch_row(r)
    if row == nil then break end
    local lengths, t = lib.mysql_fetch_lengths(r), {}
    for i = 0, n - 1 do t[i + 1] = row[i] == nil and mysql.NULL or ffi.string(row[i], lengths[i]) end
    rows[#rows + 1] = t
  end
  lib.mysql_free_result(r)
  return rows
end

function conn:value(sql)
  local rows = self:query(sql)
  return rows[1] and rows[1][1]
end

-- An iterator over a result that is not held in memory: gives row and lengths as C arrays.
function conn:stream(sql)
  if lib.mysql_real_query(self.m, sql, #sql) ~= 0 then error(ffi.string(lib.mysql_error(self.m)) .. " in: " .. sql, 2) end
  local r = lib.mysql_use_result(self.m)
  if r == nil then error(ffi.string(lib.mysql_error(self.m)), 2) end
  local m = self.m
  return function()
    local row = lib.mysql_fetch_row(r)
    if row == nil then
      local failed = lib.mysql_errno(m) ~= 0 and ffi.string(lib.mysql_error(m))
      lib.mysql_free_result(r)
      if failed then error(failed, 2) end
      return nil
    end
    return row, lib.mysql_fetch_lengths(r)
  end
end

function conn:id() return tonumber(lib.mysql_thread_id(self.m)) end

function conn:affected() return tonumber(lib.mysql_affected_rows(self.m)) end

function conn:close()
  if self.m then lib.mysql_close(self.m) end
  self.m = nil
end

return mysql
