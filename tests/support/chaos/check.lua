-- What must hold after a trial, beyond "every live row is equal". The journal is a plain MergeTree table
-- that a materialized view fills with every row inserted into the fact table: a row that was doubled or
-- lost on its way shows there, where ReplacingMergeTree would hide it.
local compare = require "support.compare"
local thryve = require "support.thryve"

local check = {}

check.schema = [[
ALTER TABLE epoch_data ADD COLUMN IF NOT EXISTS variant UInt8 DEFAULT 0;
CREATE TABLE IF NOT EXISTS journal (
  app_id UInt16, end_user_id UInt32, data_type_id UInt32, start_ts DateTime64(3, 'UTC'), id UInt64,
  long_value Nullable(Int64), variant UInt8, _version UInt64, _deleted UInt8
) ENGINE = MergeTree ORDER BY (id, _version) SETTINGS non_replicated_deduplication_window = 10000;
CREATE MATERIALIZED VIEW IF NOT EXISTS journal_mv TO journal AS
  SELECT app_id, end_user_id, data_type_id, start_ts, id, long_value, variant, _version, _deleted FROM epoch_data;
]]

local questions = {
  { "rows inserted more than once (key, _version, _deleted)", [[
SELECT count() FROM (SELECT 1 FROM journal
  GROUP BY app_id, end_user_id, data_type_id, start_ts, id, _version, _deleted HAVING count() > 1)]] },
  { "live rows of the target that the journal has not", [[
SELECT count() FROM (SELECT app_id, end_user_id, data_type_id, start_ts, id, _version FROM epoch_data FINAL WHERE _deleted = 0
  EXCEPT SELECT app_id, end_user_id, data_type_id, start_ts, id, _version FROM journal WHERE _deleted = 0)]] },
  { "live rows by the journal that the target has not", [[
SELECT count() FROM (
  SELECT app_id, end_user_id, data_type_id, start_ts, id, max(_version) AS v FROM journal
    GROUP BY app_id, end_user_id, data_type_id, start_ts, id HAVING argMax(_deleted, (_version, _deleted)) = 0
  EXCEPT SELECT app_id, end_user_id, data_type_id, start_ts, id, _version FROM epoch_data FINAL WHERE _deleted = 0)]] },
  { "days of the view that are not a recount of the journal", [[
SELECT count() FROM (
  SELECT app_id, end_user_id, date, sum(samples) AS n, sum(bpm) AS total FROM (
    SELECT app_id, end_user_id, date, toInt64(countMerge(samples)) AS samples,
           ifNull(round(avgMerge(avg_hr), 6), 0) AS bpm
      FROM mv_daily_resting_hr GROUP BY app_id, end_user_id, date
    UNION ALL
    SELECT app_id, end_user_id, toDate(start_ts) AS date, -toInt64(count()) AS samples, -ifNull(round(avg(long_value), 6), 0) AS bpm
      FROM journal WHERE data_type_id = 3001 AND _deleted = 0 GROUP BY app_id, end_user_id, date)
  GROUP BY app_id, end_user_id, date HAVING n != 0 OR abs(total) > 0.00001)]] },
}

-- Rows of the stream, in the order of their versions: how often the script variant changes. (Rows of a
-- snapshot share a version and are left out.)
local switches = [[
SELECT countIf(low != previous AND previous != 0) FROM (
  SELECT low, lagInFrame(low, 1, 0) OVER (ORDER BY _version) AS previous FROM (
    SELECT _version, min(variant) AS low, uniq(id) AS ids FROM journal WHERE variant != 0 GROUP BY _version HAVING ids = 1))]]
local mixed = [[
SELECT count() FROM (SELECT _version FROM journal WHERE variant != 0 GROUP BY _version HAVING uniq(id) = 1 AND min(variant) != max(variant))]]

-- { db =, ch =, pii_key =, variants = how many times the scripts were changed } -> list of what is wrong
function check.all(o)
  local wrong = {}
  local results = thryve.compare { db = o.db, ch = o.ch, pii_key = o.pii_key, history = true }
  for _, r in ipairs(results) do
    if r.wrong > 0 then
      wrong[#wrong + 1] = compare.text(r)
      for i = 1, math.min(4, #r.first) do wrong[#wrong + 1] = "  " .. r.first[i] end
    end
  end
  for _, q in ipairs(questions) do
    local n = o.ch:number(q[2])
    if n ~= 0 then wrong[#wrong + 1] = ("%d %s"):format(n, q[1]) end
  end
  local n = o.ch:number(mixed)
  if n ~= 0 then wrong[#wrong + 1] = n .. " changes made by two script sets" end
  n = o.ch:number(switches)
  if n > o.variants then
    wrong[#wrong + 1] = ("the script set changes %d times along the stream, but was changed %d times"):format(n, o.variants)
  end
  return wrong, results
end

return check
