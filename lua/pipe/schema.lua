--- What may stand in a pipeline file. This one table validates it (pipe.validate), fills in its
--- defaults, and is its documentation: `pipe-engine help pipeline` and the reference are made of it.
---
--- A field: key, type, doc, and where they apply required, default, min, max, values, pattern, secret,
--- was (what the same thing is called in a Debezium connector), example. Types:
---   string   text                        int       a whole number, or text holding one
---   bool     true, false, or such text   enum      one of `values`
---   size     bytes, or "24MiB"           duration  milliseconds, or "200ms", "5s", "2m"
---   url      text with a password in it  list      an array of strings
---   group    a table of `fields`         map       a table of name = `fields`
---
--- To add a setting: one line here, one line in engine/pipeline/config.c that reads it, one test.

local MiB = 1024 * 1024

local mysql = {
  { key = "url", type = "url", required = true, example = '"mysql://user:password@host:3306/shop"',
    missing = 'set it to mysql://user:password@host:3306/database (or set the environment variable it comes from)',
    doc = "The server: `mysql://user:password@host:port/database`, percent-encoded; MariaDB too. `?socket=PATH` for a Unix socket.",
    was = "database.hostname, database.port" },
  { key = "database", type = "string", doc = "The database that is captured. Default: the one in the URL.", was = "database.include.list" },
  { key = "user", type = "string", doc = "Instead of the one in the URL.", was = "database.user" },
  { key = "password", type = "string", secret = true, doc = 'Instead of the one in the URL, for example `pipe.file "/run/secrets/mysql"`.',
    was = "database.password" },
  { key = "server_id", type = "int", min = 1, max = 4294967295, was = "database.server.id",
    doc = "The engine's own number as a replica; no other replica of this server may have it. Default: derived from the pipeline's name and folder and this machine's name, between 1,000,000,000 and 2,147,483,647." },
  { key = "tls", type = "enum", values = { "off", "required", "verify" }, was = "database.ssl.mode",
    doc = "`verify` checks the server's certificate, `required` only encrypts. Default: verify for remote hosts, off for loopback and sockets." },
  { key = "ca", type = "string", doc = "A file with the certificate authority that signed the server's certificate. Default: the system's." },
  { key = "compress", type = "bool", doc = "Compress the connection. Worth it across a slow network only. Default: as the URL says, else no." },
  { key = "connect_timeout_ms", type = "duration", min = 100, max = 600000, default = 10000, was = "connect.timeout.ms",
    doc = "How long a connection attempt may take." },
}

local clickhouse = {
  { key = "url", type = "url", required = true, example = '"embedded:./data"',
    missing = 'set it to "embedded:./data" or http://user:password@host:8123/database',
    doc = "`embedded:DIR` starts a private ClickHouse on loopback that keeps its data in DIR (relative to the project root; `?port=N` for a fixed port, `?library=PATH` for another libchdb.so); `http://` or `https://user:password@host:port/database` is a server that you run." },
  { key = "database", type = "string", doc = 'The target database. Default: the one in the URL, else "default".' },
  { key = "user", type = "string", doc = "Instead of the one in the URL." },
  { key = "password", type = "string", secret = true, doc = "Instead of the one in the URL." },
  { key = "schema", type = "string", doc = "A folder (relative to the project root) of .sql files that are applied at every start, in the order of their names. They must be idempotent (CREATE ... IF NOT EXISTS). Tables that it does not make are created from the source's own definitions." },
  { key = "tls", type = "group", doc = "For https:// URLs.", fields = {
    { key = "verify", type = "bool", doc = "Check the server's certificate. Default: yes, unless the URL says `?verify=0`." },
    { key = "ca", type = "string", doc = "A file with the certificate authority. Default: the system's." },
  } },
  { key = "connections", type = "int", min = 1, max = 64, default = 4, doc = "Inserts in flight at once.", was = "tasks.max" },
  { key = "compress", type = "bool", doc = "LZ4 for what is sent. Default: yes to a remote server, no on this machine." },
  { key = "connect_timeout_ms", type = "duration", min = 100, max = 600000, default = 5000, doc = "How long a connection attempt may take." },
  { key = "timeout_ms", type = "duration", min = 1000, max = 3600000, default = 120000, doc = "How long one request may take." },
}

local kafka = {
  { key = "brokers", type = "string", was = "bootstrap.servers",
    doc = 'Leave it nil to go direct. This version has no Kafka in it and refuses any other value; `pipe.env("KAFKA_BROKERS", nil)` keeps a file ready for both.' },
  { key = "prefix", type = "string", doc = "The beginning of topic names. Unused when going direct.", was = "topic.prefix" },
}

local column_lists = {
  { key = "pii", type = "list", was = "column.mask",
    doc = "Columns that hold personal data: they read `<pii>` in the DLQ and never stand in logs or errors. What becomes of them in the target is the transform's work; `exclude` keeps them out of it." },
  { key = "exclude", type = "list", doc = "Source columns that are left out of the target.", was = "column.exclude.list" },
}

local table_common = {
  { key = "target", type = "string", pattern = "name", doc = "The ClickHouse table. Default: the source table's name." },
  { key = "transform", type = "string", pattern = "module", example = '"transforms.orders"',
    doc = 'The Lua module with this table\'s transform: "transforms.orders" is transforms/orders.lua below the project root. Default: rows pass as they are.',
    was = "transforms" },
  { key = "dlq", type = "string", pattern = "name", doc = "The ClickHouse table for rows that could not be delivered, with the reason. Default: `<name>_dlq`.",
    was = "errors.deadletterqueue.topic.name" },
  column_lists[1], column_lists[2],
  { key = "zero_date", type = "enum", values = { "dlq", "null", "epoch" }, default = "dlq",
    doc = "What becomes of dates that do not exist ('0000-00-00'): the row goes to the DLQ, the value becomes NULL (the target column must be Nullable), or 1970-01-01." },
  { key = "on_overflow", type = "enum", values = { "error", "dlq" }, default = "error",
    doc = "A target column narrower than the source's type: refuse to start, or start and send the rows whose values do not fit to the DLQ." },
}

local function with(common, ...)
  local out = {}
  for _, f in ipairs(common) do out[#out + 1] = f end
  for _, f in ipairs { ... } do out[#out + 1] = f end
  return out
end

local stream_table = with(table_common,
  { key = "routes", type = "list", doc = "Other ClickHouse tables that the transform may emit rows to." },
  { key = "snapshot", type = "bool", default = true, was = "snapshot.mode",
    doc = "false: no initial copy, only changes from the first start on." },
  { key = "partitions", type = "int", min = 1, max = 100000, doc = "Kafka only: partitions of the table's topic. Accepted and unused when going direct." })

local reference_table = with(table_common,
  { key = "dictionaries", type = "list", doc = "ClickHouse dictionaries that are reloaded after the table was loaded." })

local pipeline = {
  { key = "name", type = "string", required = true, pattern = "file", example = '"shop"', was = "name",
    doc = "Names the state store and the deduplication tokens; it must stay the same over the pipeline's life. Letters, digits, `_`, `-` and `.`." },
  { key = "source", type = "group", required = true, kind = "mysql", fields = mysql, doc = "Where changes come from." },
  { key = "sink", type = "group", required = true, kind = "clickhouse", fields = clickhouse, doc = "Where rows go." },
  { key = "kafka", type = "group", kind = "kafka", fields = kafka, doc = "Optional." },
  { key = "tables", type = "map", required = true, fields = stream_table, other = { reference = reference_table },
    max = 128, was = "table.include.list",
    doc = "The captured tables by name: `orders = {}` is enough. `pipe.reference {}` makes it a reference table: loaded and compared at every start, not streamed." },
  { key = "state_dir", type = "string", default = "state", was = "offset.storage.file.filename",
    doc = "The folder of the state store (`<name>.db`) and of the control socket (`<name>.sock`), relative to the project root." },
  { key = "epoch", type = "group", doc = "An epoch is what is delivered and checkpointed as one; it is closed by whichever bound is reached first.", fields = {
    { key = "rows", type = "int", min = 1000, max = 10000000, default = 131072, doc = "Rows." },
    { key = "bytes", type = "size", min = MiB, max = 1024 * MiB, default = 12 * MiB, doc = "Encoded bytes." },
    { key = "flush_ms", type = "duration", min = 1, max = 600000, default = 200, was = "poll.interval.ms, linger.ms",
      doc = "Age. It grows by itself while ClickHouse has too many parts." },
    { key = "block_rows", type = "int", min = 100, max = 1000000, default = 65536, doc = "Rows of one INSERT." },
  } },
  { key = "queue", type = "group", doc = "Between reading and transforming. A full queue makes the reader wait, and the server send later.", fields = {
    { key = "rows", type = "int", min = 1000, max = 10000000, default = 32768, doc = "Rows held.", was = "max.queue.size" },
    { key = "bytes", type = "size", min = MiB, max = 4096 * MiB, default = 8 * MiB, doc = "Bytes held.", was = "max.queue.size.in.bytes" },
    { key = "batch_rows", type = "int", min = 1, max = 1000000, default = 8192, doc = "Rows handed over at once.", was = "max.batch.size" },
    { key = "batch_bytes", type = "size", min = 65536, max = 256 * MiB, default = 2 * MiB, doc = "Bytes handed over at once." },
  } },
  { key = "snapshot", type = "group", doc = "The initial copy.", fields = {
    { key = "workers", type = "int", min = 1, max = 32, default = 2, doc = "Connections that read chunks at once.", was = "snapshot.max.threads" },
    { key = "chunk_rows", type = "int", min = 100, max = 10000000, default = 50000, doc = "Rows of a chunk; what a restart may have to read again.",
      was = "incremental.snapshot.chunk.size" },
  } },
  { key = "admin", type = "group", doc = "Metrics and health over HTTP.", fields = {
    { key = "listen", type = "string", pattern = "listen", default = "127.0.0.1:9464",
      doc = 'ADDRESS:PORT of /metrics, /live, /ready and /status (reading only); "none" or "" for none. Keep it on loopback unless your network protects it.' },
    { key = "ready_lag_ms", type = "duration", min = 1, max = 86400000, default = 300000, doc = "/ready fails while the pipeline lags more than this." },
  } },
  { key = "log", type = "group", doc = "Lines on standard error.", fields = {
    { key = "format", type = "enum", values = { "text", "json" }, default = "text", doc = "How a line looks." },
    { key = "level", type = "enum", values = { "debug", "info", "warn", "error" }, default = "info", doc = "The least that is logged." },
  } },
}

--- Names of settings that a Debezium user may type, beyond the `was` of fields above, and what to say.
local elsewhere = {
  ["topic.creation.default.partitions"] = "tables.<name>.partitions (Kafka only)",
  ["tombstones.on.delete"] = "nothing: deletes always arrive",
  ["snapshot.locking.mode"] = "nothing: snapshots take no locks",
  ["key.converter"] = "nothing: rows go to ClickHouse in its own format",
  ["value.converter"] = "nothing: rows go to ClickHouse in its own format",
}

return {
  pipeline = pipeline,
  mysql = mysql,
  clickhouse = clickhouse,
  kafka = kafka,
  stream_table = stream_table,
  reference_table = reference_table,
  elsewhere = elsewhere,
  --- Shapes of strings, by name: a Lua pattern, the longest, and how a message calls it.
  patterns = {
    name = { "^[%w_$.%-]+$", 128, "a table name" },
    module = { "^[%w_%-]+[%w_.%-]*$", 200, 'a module name such as "transforms.orders"' },
    file = { "^[%w_][%w_.%-]*$", 64, "letters, digits, `_`, `-` and `.` (at most 64)" },
    listen = { "^%[?[%w.:%-]*%]?:%d+$", 200, 'ADDRESS:PORT such as "127.0.0.1:9464", or "none"', empty = true, also = "none" },
  },
}
