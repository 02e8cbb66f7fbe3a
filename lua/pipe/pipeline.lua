--- What a pipeline file may call: pipe.pipeline, pipe.mysql, pipe.clickhouse, pipe.kafka,
--- pipe.reference, pipe.env, pipe.file, pipe.secret; and how the engine reads such a file.
---
--- The file runs in an environment of its own: plain Lua without io, os, debug, ffi or bytecode, and
--- `require` for "pipe" and for modules below the project root. That guards against accidents; it is
--- no security boundary.
local validate = require "pipe.validate"
local describe = require "pipe.describe"

---@class pipe.pipeline
local P = {}

-- What is known of tables and values that a file made, by identity: weak where it can be.
local kind, line = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })
local origin, secret = {}, {}   -- value -> "the value of $NAME"; value -> true

local FILE_BYTES_MAX = 1024 * 1024
local root = "."                -- for pipe.file, while a file is loaded
local getenv, open = os and os.getenv, io and io.open

local function caller_line(level)
  local info = debug and debug.getinfo(level + 1, "l")
  return info and info.currentline or 0
end

local function constructor(what)
  return function(description)
    if type(description) ~= "table" then
      error(("pipe.%s takes a table: pipe.%s { ... }, not a %s"):format(what, what, type(description)), 2)
    end
    kind[description], line[description] = what, caller_line(2)
    return description
  end
end

---@param description table see `pipe-engine help pipeline`
P.pipeline = constructor "pipeline"
P.mysql = constructor "mysql"
P.clickhouse = constructor "clickhouse"
P.kafka = constructor "kafka"
P.reference = constructor "reference"

local function check_name(what, name)
  if type(name) ~= "string" or name == "" then
    error(("pipe.%s takes a name: pipe.%s \"NAME\""):format(what, what), 3)
  end
end

--- The environment variable, or the default. One that is set to nothing counts as unset.
---@param name string
---@return string?
function P.env(name, ...)
  check_name("env", name)
  local v = getenv and getenv(name)
  if v and v ~= "" then
    origin[v] = "the value of $" .. name
    return v
  end
  if select("#", ...) == 0 then
    error(("the environment variable %s is not set; set it, or give a default: pipe.env(%q, default)"):format(name, name), 2)
  end
  return (...)
end

local function read(path)
  local f, why = open(path, "rb")
  if not f then return nil, why end
  local text = f:read(FILE_BYTES_MAX + 1)
  f:close()
  if text == nil then return nil, path .. ": empty or not a file" end
  if #text > FILE_BYTES_MAX then return nil, ("%s: larger than %d bytes"):format(path, FILE_BYTES_MAX) end
  return text
end

local function strip(text)
  return (text:gsub("\r?\n$", ""))
end

local function below_root(path)
  return path:find("^/") and path or root .. "/" .. path
end

--- The content of a file (relative to the project root) without its last newline.
---@param path string
---@return string
function P.file(path)
  check_name("file", path)
  if not open then error("pipe.file works in a pipeline file only", 2) end
  local text, why = read(below_root(path))
  if not text then error("pipe.file: " .. why, 2) end
  text = strip(text)
  origin[text], secret[text] = "the content of " .. path, true
  return text
end

--- The environment variable `name`, or the content of the file named by `name`_FILE.
---@param name string
---@return string
function P.secret(name)
  check_name("secret", name)
  local v, path = getenv and getenv(name), getenv and getenv(name .. "_FILE")
  if (not v or v == "") and path and path ~= "" then
    local text, why = read(path)
    if not text then error(("the secret %s: %s_FILE names a file that can't be read: %s"):format(name, name, why), 2) end
    v = strip(text)
  end
  if not v or v == "" then
    error(("the secret %s is not set; set the environment variable %s, or %s_FILE to a file that holds it"):format(name, name, name), 2)
  end
  origin[v], secret[v] = "the secret " .. name, true
  return v
end

-- ---- reading a file ---------------------------------------------------------------------------

local public = { "pipeline", "mysql", "clickhouse", "kafka", "reference", "env", "file", "secret" }
local in_transforms = { lookup = true, token = true, dlq = true, counter = true, log = true, route = true, copy = true, row = true,
  epoch_us = true }

local function pipe_for_files()
  local pipe = {}
  for _, k in ipairs(public) do pipe[k] = P[k] end
  return setmetatable(pipe, {
    __index = function(_, k)
      if in_transforms[k] then
        error(("pipe.%s belongs in a transform (a module that tables.<name>.transform names), not in a pipeline file"):format(k), 2)
      end
      local near = type(k) == "string" and validate.nearest(k, public)
      error(("there is no pipe.%s%s"):format(tostring(k),
        near and "; did you mean pipe." .. near .. "?" or "; a pipeline file has pipe." .. table.concat(public, ", pipe.")), 2)
    end,
  })
end

local function copy(t)
  local c = {}
  for k, v in pairs(t) do c[k] = v end
  return c
end

local function sandbox()
  local env = {}
  for _, k in ipairs { "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack" } do
    env[k] = _G[k]
  end
  env.string, env.table, env.math = copy(string), copy(table), copy(math)
  env.string.dump = nil
  env._G = env
  local pipe, loaded = pipe_for_files(), {}
  function env.require(name)
    if name == "pipe" then return pipe end
    if type(name) ~= "string" or name:find("[^%w_.%-]") or name:find("..", 1, true) then
      error("require takes a module name such as \"pipelines.common\"", 2)
    end
    if loaded[name] == nil then
      local path = root .. "/" .. name:gsub("%.", "/") .. ".lua"
      local text, why = read(path)
      if not text then error(("no module %q below the project root: %s"):format(name, why), 2) end
      local chunk, syntax = loadstring(text, "@" .. path)
      if not chunk or text:sub(1, 1) == "\27" then error(syntax or path .. ": is bytecode", 0) end
      local v = setfenv(chunk, env)()
      loaded[name] = v == nil and true or v
    end
    return loaded[name]
  end
  local hints = { os = 'use pipe.env "NAME"', io = 'use pipe.file "path"' }
  setmetatable(env, {
    __index = function(_, k)
      if hints[k] then error(("%s is not in reach of a pipeline file; %s"):format(k, hints[k]), 2) end
      return nil
    end,
  })
  return env
end

--- The line where the last key of `path` is written in the file, as well as plain text shows it.
local function line_of(text, path, from_line)
  local at, found = 1, nil
  for _ = 2, from_line do at = (text:find("\n", at, true) or #text) + 1 end
  for part in path:gsub("%[%d+%]", ""):gmatch("[^.]+") do
    local quoted = part:gsub("%p", "%%%0")
    local s, e = text:find("%f[%w_]" .. quoted .. "%f[^%w_][\"']?%]?%s*=%f[^=]", at)
    if not s then break end
    found, at = s, e
  end
  if not found then return from_line end
  local n = 1
  for _ in text:sub(1, found):gmatch("\n") do n = n + 1 end
  return n
end

--- Reads a pipeline file. Returns the normalized description and its text with secrets redacted, or
--- nil and one line that says what is wrong where; then true when the file could not be read at all.
function P.load(path, project_root)
  origin, secret, root = {}, {}, project_root
  local text, why = read(path)
  if not text then return nil, why, true end
  if text:sub(1, 1) == "\27" then return nil, path .. ": is bytecode, not Lua text" end
  local chunk, syntax = loadstring(text:gsub("^#[^\n]*", ""), "@" .. path)
  if not chunk then return nil, syntax end
  setfenv(chunk, sandbox())
  local ok, result = pcall(chunk)
  if not ok then return nil, type(result) == "string" and result or path .. ": failed with a " .. type(result) end
  if type(result) ~= "table" or kind[result] ~= "pipeline" then
    return nil, path .. ": must end with: return pipe.pipeline { ... }"
  end
  local ctx = { kind = kind, origin = origin, secret = secret }
  local cfg, problems = validate.pipeline(ctx, result)
  if not cfg then
    local p = problems[1]
    local written = ctx.missing[p.path] and (p.path:match("^(.*)%.[^.]*$") or "") or p.path
    return nil, ("%s:%d: %s %s%s"):format(path, line_of(text, written, line[result] or 1), p.path, p.text,
      #problems > 1 and (" (and %d more)"):format(#problems - 1) or "")
  end
  return cfg, describe.dump(ctx, cfg)
end

--- The reference, in Markdown or for a terminal.
function P.markdown()
  return describe.reference()
end
function P.plain()
  return describe.reference_text()
end

return P
