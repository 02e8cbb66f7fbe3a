-- The environment of the user's scripts: the language and its pure libraries, `require` for modules
-- of the project, and nothing that a replay could see differently (time, random numbers, files,
-- processes) or that reaches memory (ffi, debug, bytecode). It guards against accidents; it is no
-- security boundary.
local sandbox = {}

local ALLOWED = {
  "assert", "error", "ipairs", "next", "pairs", "pcall", "xpcall", "rawequal", "rawget", "rawset", "select",
  "tonumber", "tostring", "type", "unpack", "setmetatable",
}
local WITHOUT = {
  io = "files are out of reach", os = "time and processes are out of reach", debug = "it is not for transforms",
  ffi = "it is not for transforms", jit = "it is not for transforms", package = "use require",
  load = "code comes from modules: use require", loadstring = "code comes from modules: use require",
  dofile = "code comes from modules: use require", loadfile = "code comes from modules: use require",
  print = "use pipe.log", coroutine = "it is not for transforms", collectgarbage = "the engine does that",
  getfenv = "it is not for transforms", setfenv = "it is not for transforms", module = "return a table instead",
  newproxy = "it is not for transforms", getmetatable = "it is not for transforms",
}
local NO_FIELD = {
  random = "math.random is not there: the same row must give the same result on every replay",
  randomseed = "math.randomseed is not there: the same row must give the same result on every replay",
  dump = "string.dump is not there: modules are text",
}

local function copy(lib, without)
  local t = {}
  for k, v in pairs(lib) do
    if not without or not without[k] then t[k] = v end
  end
  return t
end

function sandbox.new(host, pipe, fail)
  if host.own_state then string.dump = nil end -- reachable from any string otherwise
  local base = {}
  for _, name in ipairs(ALLOWED) do base[name] = _G[name] end
  local function library(name, lib, without)
    return setmetatable(copy(lib, without), {
      __index = function(_, k)
        fail(NO_FIELD[k] or (name .. " has no function '" .. tostring(k) .. "'"), 2)
      end,
      __newindex = function() fail("the library " .. name .. " can't be changed", 2) end,
      __metatable = false,
    })
  end
  base.string = library("string", string, { dump = true })
  base.table = library("table", table)
  base.math = library("math", math, { random = true, randomseed = true })
  base.bit = library("bit", bit)
  base._VERSION = _VERSION
  -- metatables with finalizers would run at times of the collector's choosing
  base.setmetatable = function(t, mt)
    if mt ~= nil and rawget(mt, "__gc") ~= nil then fail("__gc is not for transforms", 2) end
    return setmetatable(t, mt)
  end

  local loaded, loading = { pipe = pipe }, {}
  local S = {}

  local function environment(path)
    return setmetatable({}, {
      __index = function(_, k)
        local v = base[k]
        if v ~= nil then return v end
        if WITHOUT[k] then fail("'" .. k .. "' is not there: " .. WITHOUT[k], 2) end
        local names = {}
        for name in pairs(base) do names[#names + 1] = name end
        table.sort(names)
        local near = host.nearest(tostring(k), names)
        fail("there is no global '" .. tostring(k) .. "'" .. (near and "; did you mean \"" .. near .. "\"?" or ""), 2)
      end,
      __newindex = function(_, k)
        fail("global '" .. tostring(k) .. "' is assigned in " .. path .. ": make it local (a transform keeps no state)", 2)
      end,
      __metatable = false,
    })
  end

  function S.require(name)
    if type(name) ~= "string" then fail("require takes the name of a module", 2) end
    local m = loaded[name]
    if m ~= nil then return m end
    if loading[name] then fail("module '" .. name .. "' requires itself, by way of others", 2) end
    if name:sub(1, 5) == "pipe." then fail("module '" .. name .. "' is not for transforms: require 'pipe'", 2) end
    local text, path = host.module(name)
    if not text then error(path, 0) end
    if text:byte(1) == 27 then error(path .. ": this is bytecode; modules are text", 0) end
    local chunk, why = loadstring(text, "@" .. path, "t")
    if not chunk then error(why, 0) end
    setfenv(chunk, environment(path))
    loading[name] = true
    m = chunk(name)
    loading[name] = nil
    if m == nil then m = true end
    loaded[name] = m
    return m
  end
  base.require = S.require
  return S
end

return sandbox
