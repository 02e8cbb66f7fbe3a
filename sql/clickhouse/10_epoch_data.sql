-- The fact table. The engine applies this folder at every start, in name order, so every statement is idempotent.
--
-- Differences to a plain mirror of the source:
--   app_id          copied onto every row by the transform, so that a tenant's rows lie together
--   _version        rises with every row change; the highest of a key is the row as it is now
--   trustworthiness_id  Nullable, because the source's column may be NULL: 0 would be a value of its own
--   _deleted        1: a tombstone; the key has no row any more
--   boolean_value   Int8, not UInt8: the source's TINYINT(1) is signed, and a negative value must arrive as it is
--   non_replicated_deduplication_window   a block that is sent twice (after a crash) goes in once; 0 would mean twice
-- The TTL removes rows two years after start_ts, whenever ClickHouse merges: older rows of the source are not here.
CREATE TABLE IF NOT EXISTS epoch_data
(
    id                 UInt64,
    end_user_id        UInt32,
    app_id             UInt16,
    data_type_id       UInt32,
    data_source_id     UInt16,
    start_ts           DateTime64(3, 'UTC'),
    end_ts             Nullable(DateTime64(3, 'UTC')),
    created_at         DateTime64(3, 'UTC'),
    double_value       Nullable(Float64),
    long_value         Nullable(Int64),
    boolean_value      Nullable(Int8),
    string_value       Nullable(String),
    trustworthiness_id Nullable(UInt8),
    _version           UInt64,
    _deleted           UInt8
)
ENGINE = ReplacingMergeTree(_version)
PARTITION BY toYYYYMM(start_ts)
ORDER BY (app_id, end_user_id, data_type_id, start_ts, id)
TTL toDate(start_ts) + INTERVAL 2 YEAR DELETE
SETTINGS non_replicated_deduplication_window = 10000;

-- The rows as they are now, without FINAL. One argMax over a tuple: argMax alone skips NULLs and would show an older
-- value where the newest is NULL. Grouped by the sorting key and nothing else: grouped by more, an update of those
-- columns would show the old row beside the new one.
CREATE VIEW IF NOT EXISTS epoch_data_current AS
SELECT
    id,
    end_user_id,
    app_id,
    data_type_id,
    latest.1 AS data_source_id,
    start_ts,
    latest.2 AS end_ts,
    latest.3 AS created_at,
    latest.4 AS double_value,
    latest.5 AS long_value,
    latest.6 AS boolean_value,
    latest.7 AS string_value,
    latest.8 AS trustworthiness_id,
    latest.9 AS is_deleted
FROM
(
    SELECT
        app_id,
        end_user_id,
        data_type_id,
        start_ts,
        id,
        argMax(tuple(data_source_id, end_ts, created_at, double_value, long_value, boolean_value, string_value,
                     trustworthiness_id, _deleted), _version) AS latest
    FROM epoch_data
    GROUP BY app_id, end_user_id, data_type_id, start_ts, id
)
WHERE is_deleted = 0;
