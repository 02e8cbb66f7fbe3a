std = "luajit"
max_line_length = 180
include_files = { "lua/**/*.lua", "transforms/*.lua", "tests/**/*.lua", "pipelines/*.lua", "examples/**/*.lua" }
files["**/*_spec.lua"] = { std = "+busted" }
files["lua/pipe/schema.lua"] = { max_line_length = false } -- sentences of the reference, one a line
files["lua/pipe/validate.lua"] = { max_line_length = false }
files["lua/pipe/types.lua"] = { unused_args = false } -- annotations, never loaded
files["lua/pipe/host/sandbox.lua"] = { globals = { "string.dump" } }
