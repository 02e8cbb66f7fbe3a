--- Writes what pipe.validate made back as Lua text (secrets left out), and pipe.schema as the
--- reference: in Markdown, or for a terminal.
local schema = require "pipe.schema"
local validate = require "pipe.validate"

local plain, made_by = validate.plain, validate.made_by
local D = {}

-- ---- writing it back -------------------------------------------------------------------------

local REDACTED = "<redacted>"

--- A URL without its password; a query's password, token, secret or key goes too. The last @ ends the
--- user and password, also where a password was not percent-encoded as it should be.
function D.redact_url(url)
  local head, rest = url:match("^(%a[%w+.-]*://)(.*)$")
  if head then
    local user, host = rest:match("^([^:@]*):.*@([^@]*)$")
    if user then url = head .. user .. ":" .. REDACTED .. "@" .. host end
  end
  return (url:gsub("([?&][%w_%-]*)=([^&]*)", function(k, v)
    local l = k:lower()
    if l:find("pass") or l:find("secret") or l:find("token") or l:find("key") then return k .. "=" .. REDACTED end
    return k .. "=" .. v
  end))
end

local function literal(ctx, f, v)
  if type(v) == "string" then
    if f.secret or ctx.secret[v] and f.type ~= "url" then return ("%q"):format(REDACTED) end
    if f.type == "url" then v = D.redact_url(v) end
    for secret in pairs(ctx.secret) do
      if #secret >= 4 and v:find(secret, 1, true) then return ("%q"):format(REDACTED) end
    end
    return (("%q"):format(v):gsub("\\\n", "\\n"):gsub("\r", "\\r"))
  end
  if type(v) == "table" then
    local items = {}
    for i, item in ipairs(v) do items[i] = literal(ctx, { type = "string" }, item) end
    return "{ " .. table.concat(items, ", ") .. (#items > 0 and " }" or "}")
  end
  if type(v) == "number" then return plain(v) end
  return tostring(v)
end

local reserved = {}
for w in ("and break do else elseif end false for function goto if in local nil not or repeat return then true until while"):gmatch("%a+") do
  reserved[w] = true
end
local function key_text(k)
  if k:find("^[%a_][%w_]*$") and not reserved[k] then return k end
  return "[" .. ("%q"):format(k) .. "]"
end

local function dump_fields(ctx, out, fields, v, indent)
  for _, f in ipairs(fields) do
    local value = v[f.key]
    if value ~= nil then
      if f.type == "group" then
        out[#out + 1] = ("%s%s = %s{"):format(indent, f.key, f.kind and made_by[f.kind] .. " " or "")
        dump_fields(ctx, out, f.fields, value, indent .. "  ")
        out[#out + 1] = indent .. "},"
      elseif f.type == "map" then
        out[#out + 1] = ("%s%s = {"):format(indent, f.key)
        for _, t in ipairs(value) do
          out[#out + 1] = ("%s  %s = %s{"):format(indent, key_text(t.name), t.reference and "pipe.reference " or "")
          dump_fields(ctx, out, t.reference and f.other.reference or f.fields, t, indent .. "    ")
          out[#out + 1] = indent .. "  },"
        end
        out[#out + 1] = indent .. "},"
      else
        out[#out + 1] = ("%s%s = %s,"):format(indent, f.key, literal(ctx, f, value))
      end
    end
  end
end

--- The normalized description as a pipeline file. ctx.secret: set of values that are secrets.
function D.dump(ctx, cfg)
  local out = { 'local pipe = require "pipe"', "", "return pipe.pipeline {" }
  dump_fields(ctx, out, schema.pipeline, cfg, "  ")
  out[#out + 1] = "}\n"
  return table.concat(out, "\n")
end

-- ---- the reference ---------------------------------------------------------------------------

local function default_text(f)
  if f.required then return "required" end
  if f.default == nil then return "" end
  if type(f.default) == "string" then return ("`%q`"):format(f.default) end
  if f.type == "size" and f.default % (1024 * 1024) == 0 then return "`\"" .. plain(f.default / (1024 * 1024)) .. "MiB\"`" end
  if f.type == "duration" then return "`" .. plain(f.default) .. "` (ms)" end
  if type(f.default) == "number" then return "`" .. plain(f.default) .. "`" end
  return "`" .. tostring(f.default) .. "`"
end

local function type_text(f)
  if f.type == "enum" then
    local q = {}
    for i, w in ipairs(f.values) do q[i] = ("`%q`"):format(w) end
    return table.concat(q, " or ")
  end
  if f.type == "int" then return plain(f.min) .. " to " .. plain(f.max) end
  if f.type == "group" then return f.kind and "`" .. made_by[f.kind] .. " {}`" or "table" end
  return ({ string = "text", url = "URL", bool = "true, false", list = "list of names", map = "table", size = "size", duration = "duration" })[f.type]
end

local function reference_fields(out, fields)
  out[#out + 1] = "| key | value | default | what it does |"
  out[#out + 1] = "|---|---|---|---|"
  for _, f in ipairs(fields) do
    out[#out + 1] = ("| `%s` | %s | %s | %s%s |"):format(f.key, type_text(f), default_text(f), f.doc,
      f.was and " Debezium: `" .. f.was .. "`." or "")
  end
  out[#out + 1] = ""
end

local function wrap(out, text, indent, width)
  local line = indent
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > width and #line > #indent then
      out[#out + 1], line = line, indent
    end
    line = line == indent and line .. word or line .. " " .. word
  end
  out[#out + 1] = line
end

--- The same for a terminal of 100 columns.
function D.reference_text()
  local out = {
    'A pipeline file is Lua that returns pipe.pipeline { ... }; see `pipe-engine help` for a small one.', "",
    'pipe.env "NAME", pipe.env("NAME", default), pipe.file "path" and pipe.secret "NAME" take values from',
    'outside. A size is bytes or "24MiB", a duration milliseconds or "5s". Relative paths begin at the',
    "project root: the folder above `pipelines`, or the file's own.",
  }
  local function section(title, fields)
    out[#out + 1] = ""
    out[#out + 1] = title
    for _, f in ipairs(fields) do
      local default = default_text(f):gsub("`", "")
      out[#out + 1] = ("  %-18s %s%s"):format(f.key, type_text(f):gsub("`", ""),
        default == "" and "" or default == "required" and ", required" or ", default " .. default)
      wrap(out, f.doc .. (f.was and " Debezium: " .. f.was .. "." or ""), "      ", 100)
    end
    for _, f in ipairs(fields) do
      if f.type == "group" and not f.kind then section(title:match("^[^ =]+") .. "." .. f.key .. " = { ... }", f.fields) end
    end
  end
  local top = {}
  for _, f in ipairs(schema.pipeline) do
    if not (f.type == "group" and not f.kind) then top[#top + 1] = f end
  end
  section("pipe.pipeline { ... }", top)
  section("source = pipe.mysql { ... }", schema.mysql)
  section("sink = pipe.clickhouse { ... }", schema.clickhouse)
  section("kafka = pipe.kafka { ... }", schema.kafka)
  section("tables.<name> = { ... }", schema.stream_table)
  section("tables.<name> = pipe.reference { ... }", schema.reference_table)
  for _, f in ipairs(schema.pipeline) do
    if f.type == "group" and not f.kind then section(f.key .. " = { ... }", f.fields) end
  end
  return table.concat(out, "\n") .. "\n"
end

--- Markdown made from the schema.
function D.reference()
  local out = {
    "# A pipeline file", "",
    "Lua that returns a description. Paths in it are relative to the project root: the folder above, when the file lies in a folder named `pipelines`, else its own folder.", "",
    "```lua", 'local pipe = require "pipe"', "return pipe.pipeline {", '  name   = "shop",',
    '  source = pipe.mysql { url = pipe.env "MYSQL_URL", database = "shop" },',
    '  sink   = pipe.clickhouse { url = pipe.env("CLICKHOUSE_URL", "embedded:./data") },',
    '  tables = { customers = { transform = "transforms.customers", pii = { "email" } }, orders = {} },', "}", "```", "",
    "A size is a number of bytes or text: `\"24MiB\"`, `\"64k\"`. A duration is a number of milliseconds or text: `\"200ms\"`, `\"5s\"`, `\"2m\"`.", "",
    "| function | gives |", "|---|---|",
    '| `pipe.env "NAME"` | the environment variable; an error names it when it is unset or empty |',
    '| `pipe.env("NAME", default)` | the same, or the default (which may be nil) |',
    '| `pipe.file "path"` | the content of a file without its last newline: for secrets in files |',
    '| `pipe.secret "NAME"` | the environment variable NAME, or the content of the file that NAME_FILE names |', "",
    "Values of `pipe.file` and `pipe.secret`, passwords, and passwords inside URLs are never shown: `--config-dump` prints `<redacted>`.", "",
    "## pipe.pipeline", "",
  }
  reference_fields(out, schema.pipeline)
  local function section(title, fields)
    out[#out + 1] = "## " .. title
    out[#out + 1] = ""
    reference_fields(out, fields)
    for _, f in ipairs(fields) do
      if f.type == "group" and not f.kind then section(title .. ": " .. f.key, f.fields) end
    end
  end
  section("source: pipe.mysql", schema.mysql)
  section("sink: pipe.clickhouse", schema.clickhouse)
  section("kafka: pipe.kafka", schema.kafka)
  section("tables.<name>", schema.stream_table)
  section("tables.<name>: pipe.reference", schema.reference_table)
  for _, f in ipairs(schema.pipeline) do
    if f.type == "group" and not f.kind then section(f.key, f.fields) end
  end
  return table.concat(out, "\n")
end

return D
