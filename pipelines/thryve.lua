-- The shipped example: measurements of wearables, from MySQL or MariaDB into ClickHouse.
--   MYSQL_URL=mysql://user:password@host:3306/thryve PII_KEY=... pipe-engine pipelines/thryve.lua
-- PII_KEY (or PII_KEY_FILE) is the key of the tokens that transforms/end_user.lua makes.
local pipe = require "pipe"

return pipe.pipeline {
  name = "thryve",
  source = pipe.mysql { url = pipe.env "MYSQL_URL", database = "thryve" },
  kafka = pipe.kafka { brokers = pipe.env("KAFKA_BROKERS", nil), prefix = "cdc.thryve" }, -- nil: direct
  sink = pipe.clickhouse { url = pipe.env("CLICKHOUSE_URL", "embedded:./data"), schema = "sql/clickhouse" },
  tables = {
    epoch_data = { transform = "transforms.epoch_data", partitions = 24, dlq = "epoch_data_dlq" },
    end_user = { transform = "transforms.end_user", pii = { "email", "access_token" } },
    app = {},
    epoch_data_type = {},
    data_source = {},

    -- Small and static: loaded at every start, then their dictionaries are reloaded.
    generation_type = pipe.reference { dictionaries = { "generation_type_dict" } },
    generation_device = pipe.reference { dictionaries = { "generation_device_dict" } },
    trustworthiness = pipe.reference { dictionaries = { "trustworthiness_dict" } },
  },
  state_dir = pipe.env("STATE_DIR", "state"),
  admin = { listen = pipe.env("ADMIN_LISTEN", "127.0.0.1:9464") }, -- "none": no HTTP
}
