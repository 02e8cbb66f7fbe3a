-- Tenants, users and reference data that the stream keeps up to date. Small: FINAL costs nothing here.

CREATE TABLE IF NOT EXISTS app
(
    id         UInt16,
    name       String,
    plan       String,
    created_at DateTime64(3, 'UTC'),
    _version   UInt64,
    _deleted   UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

-- email and access_token hold tokens: the transform replaces them before they leave the engine.
CREATE TABLE IF NOT EXISTS end_user
(
    id           UInt32,
    app_id       UInt16,
    email        String,
    access_token String,
    country      Nullable(String),
    created_at   DateTime64(3, 'UTC'),
    _version     UInt64,
    _deleted     UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS epoch_data_type
(
    id       UInt32,
    name     String,
    unit     Nullable(String),
    _version UInt64,
    _deleted UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS data_source
(
    id       UInt16,
    name     String,
    vendor   Nullable(String),
    _version UInt64,
    _deleted UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS app_current AS
SELECT * EXCEPT (_version, _deleted) FROM app FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS end_user_current AS
SELECT * EXCEPT (_version, _deleted) FROM end_user FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS epoch_data_type_current AS
SELECT * EXCEPT (_version, _deleted) FROM epoch_data_type FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS data_source_current AS
SELECT * EXCEPT (_version, _deleted) FROM data_source FINAL WHERE _deleted = 0;
