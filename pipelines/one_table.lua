-- The smallest pipeline: one table, as it is. The target table is made from the source's definition.
--   MYSQL_URL=mysql://user:password@host:3306/shop pipe-engine pipelines/one_table.lua
local pipe = require "pipe"

return pipe.pipeline {
  name = "one_table",
  source = pipe.mysql { url = pipe.env "MYSQL_URL" },
  sink = pipe.clickhouse { url = "embedded:./data" },
  tables = {
    [pipe.env("TABLE", "orders")] = {},
  },
}
