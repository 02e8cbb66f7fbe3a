-- To a ClickHouse that you run, over TLS, with passwords in files, columns left out, and limits of
-- your own: a place to copy settings from. `pipe-engine help pipeline` lists all of them.
local pipe = require "pipe"

return pipe.pipeline {
  name = "remote",
  source = pipe.mysql {
    url = pipe.env("MYSQL_URL", "mysql://pipe@mysql.example:3306/shop"),
    password = pipe.file(pipe.env("MYSQL_PASSWORD_FILE", "/run/secrets/mysql_password")),
    tls = "verify",
  },
  sink = pipe.clickhouse {
    url = pipe.env("CLICKHOUSE_URL", "https://pipe@clickhouse.example:8443/shop"),
    password = pipe.file(pipe.env("CLICKHOUSE_PASSWORD_FILE", "/run/secrets/clickhouse_password")),
    connections = 4,
  },
  tables = {
    orders = { target = "orders_v2", zero_date = "null" },
    customers = { exclude = { "password_hash" }, pii = { "email" } },
    countries = pipe.reference {},
  },
  epoch = { flush_ms = "500ms", bytes = "32MiB" },
  snapshot = { workers = 4 },
  admin = { listen = "127.0.0.1:9465", ready_lag_ms = "2m" },
  log = { format = "json" },
}
