-- Resting heart rate per user and day, kept up on insert. The view counts every row that is inserted: exact under
-- replay (the same block counts once, here too, hence the window), while an update or delete of a measurement doesn't
-- take back what was counted.
--
--   SELECT date, avgMerge(avg_hr) AS resting_hr FROM mv_daily_resting_hr
--   WHERE app_id = 1 AND end_user_id = 42817 AND date >= today() - 90 GROUP BY date ORDER BY date;
CREATE TABLE IF NOT EXISTS daily_resting_hr
(
    app_id      UInt16,
    end_user_id UInt32,
    date        Date,
    avg_hr      AggregateFunction(avg, Nullable(Int64)),
    samples     AggregateFunction(count)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(date)
ORDER BY (app_id, end_user_id, date)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_daily_resting_hr TO daily_resting_hr AS
SELECT
    app_id,
    end_user_id,
    toDate(start_ts) AS date,
    avgState(long_value) AS avg_hr,
    countState() AS samples
FROM epoch_data
WHERE data_type_id = 3001 AND _deleted = 0
GROUP BY app_id, end_user_id, date;
