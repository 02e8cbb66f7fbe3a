-- `require "pipe"`: in a pipeline file it describes a pipeline, in a transform it is the engine.
--
-- The functions of the first kind live in pipe/pipeline.lua and are loaded at their first use. Those
-- of the second kind are put in this table's place by whoever runs transforms: the engine
-- (pipe/host/api.lua) or a test (pipe/testing.lua). Here they only say so. What everything means to
-- its callers is annotated in pipe/types.lua.
local pipe = {}

for _, name in ipairs { "pipeline", "mysql", "clickhouse", "kafka", "env", "file", "reference" } do
  pipe[name] = function(...)
    local f = require("pipe.pipeline")[name]
    if not f then error("pipe." .. name .. " is not there in this version", 2) end
    return f(...)
  end
end

for _, name in ipairs { "lookup", "token", "counter", "log", "dlq", "copy", "route", "row", "epoch_us" } do
  pipe[name] = function()
    error("pipe." .. name .. " works in a transform: the engine runs it, or a test through pipe.testing", 2)
  end
end

-- In a pipeline file a secret is a setting, in a transform a key for tokens.
function pipe.secret(...)
  local f = require("pipe.pipeline").secret
  if not f then error("pipe.secret works in a transform; in a pipeline file use pipe.env or pipe.file", 2) end
  return f(...)
end

return pipe
