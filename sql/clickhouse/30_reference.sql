-- The three static tables, and a dictionary over each for look-ups without a join:
--   SELECT dictGet('trustworthiness_dict', 'name', trustworthiness_id) FROM epoch_data_current ...
-- LIFETIME(0): a dictionary is loaded when it is first asked and again on SYSTEM RELOAD DICTIONARY, which the engine
-- sends when it has loaded the table. ${user} and ${password} are the engine's own; ClickHouse hides the password when
-- it shows the dictionary. After a change of that password, DROP DICTIONARY once and start the engine again.

CREATE TABLE IF NOT EXISTS generation_type
(
    id          UInt8,
    name        String,
    description Nullable(String),
    _version    UInt64,
    _deleted    UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS generation_device
(
    id          UInt8,
    name        String,
    description Nullable(String),
    _version    UInt64,
    _deleted    UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS trustworthiness
(
    id          UInt8,
    name        String,
    description Nullable(String),
    _version    UInt64,
    _deleted    UInt8
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS generation_type_current AS
SELECT * EXCEPT (_version, _deleted) FROM generation_type FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS generation_device_current AS
SELECT * EXCEPT (_version, _deleted) FROM generation_device FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS trustworthiness_current AS
SELECT * EXCEPT (_version, _deleted) FROM trustworthiness FINAL WHERE _deleted = 0;

CREATE DICTIONARY IF NOT EXISTS generation_type_dict
(
    id          UInt64,
    name        String,
    description Nullable(String)
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(TABLE 'generation_type_current' USER ${user} PASSWORD ${password}))
LAYOUT(FLAT())
LIFETIME(0);

CREATE DICTIONARY IF NOT EXISTS generation_device_dict
(
    id          UInt64,
    name        String,
    description Nullable(String)
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(TABLE 'generation_device_current' USER ${user} PASSWORD ${password}))
LAYOUT(FLAT())
LIFETIME(0);

CREATE DICTIONARY IF NOT EXISTS trustworthiness_dict
(
    id          UInt64,
    name        String,
    description Nullable(String)
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(TABLE 'trustworthiness_current' USER ${user} PASSWORD ${password}))
LAYOUT(FLAT())
LIFETIME(0);
