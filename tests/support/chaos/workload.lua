-- A seeded, mixed workload on the demo database: tiny and large transactions, updates of key columns,
-- users that move between apps, deletes, values that belong in the DLQ, roll-backs, log rotations.
-- Two rules keep the comparison exact: a user is there before the rows that name it, and the number of a
-- user that was deleted is not given out again.
local mysql = require "support.mysql"
local proc = require "support.proc"

local workload = {}
local random = math.random

local function pick(t) return t[random(#t)] end
local function chance(p) return random() < p end

local DIGITS = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 " ..
  "UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
local function numbers(n)
  return ("(SELECT a.d + 10*b.d + 100*c.d + 1000*d.d + 10000*e.d AS n FROM %s a, %s b, %s c, %s d, %s e ORDER BY n LIMIT %d) seq"):format(
    DIGITS, DIGITS, DIGITS, DIGITS, DIGITS, n)
end

local COLUMNS = "(end_user_id, data_type_id, data_source_id, start_ts, end_ts, created_at, double_value, " ..
  "long_value, boolean_value, string_value, trustworthiness_id)"
local TYPES = { 3001, 3001, 3001, 1000, 1001, 2000, 4000, 5000 }
local STRINGS = { "''", "'walking'", "'Bluetooth: Äpple Watch'", "'tab\\there'", "'line\\nbreak'", "'back\\\\slash'",
  "'quote '' and \"'", "'\\\\N'", "'雪'", "'🚲 ride'", "'" .. ("x"):rep(255) .. "'", "'trailing space '" }
local DOUBLES = { "0.1", "-0.5", "1e-300", "1.7976931348623157e308", "5e-324", "123456789.123456789", "0.30000000000000004",
  "-1e15", "1e22", "3" }
local LONGS = { "0", "-1", "9223372036854775807", "-9223372036854775808", "42", "65536", "1000000" }

local function moment()
  local days, ms = random(0, 94), random(0, 86399999)
  return ("(@t0 - INTERVAL %d DAY - INTERVAL %d MICROSECOND)"):format(days, ms * 1000)
end

local function row(user)
  local type = pick(TYPES)
  local double, long, bool, text = "NULL", "NULL", "NULL", "NULL"
  if type == 3001 then
    long = chance(0.97) and tostring(random(40, 100)) or pick { "0", "19", "251", "400", "NULL" }
  elseif chance(0.4) then
    double = chance(0.5) and pick(DOUBLES) or ("%.17g"):format(random() * 250)
  elseif chance(0.5) then
    long = pick(LONGS)
  elseif chance(0.5) then
    bool = tostring(random(0, 1))
  else
    text = pick(STRINGS)
  end
  return ("(%s, %d, %d, %s, %s, %s, %s, %s, %s, %s, %s)"):format(user, type, random(1, 50), moment(),
    chance(0.6) and moment() or "NULL", moment(), double, long, bool, text, random(0, 4))
end

-- n rows of random users by one statement; `users` is an expression that may use n.
local function many(n, users)
  return (([[INSERT INTO epoch_data COLUMNS
SELECT u, IF(r1 < 0.3, 3001, 1000 + FLOOR(r1 * 40)), 1 + FLOOR(r2 * 50),
  @t0 - INTERVAL FLOOR(r3 * 94 * 86400000) * 1000 MICROSECOND,
  IF(r2 < 0.5, @t0 - INTERVAL FLOOR(r2 * 86400000) * 1000 MICROSECOND, NULL), @t0,
  IF(r1 < 0.3, NULL, r4 * 1000), IF(r1 < 0.3, 20 + FLOOR(r4 * 230), NULL), IF(r4 < 0.1, r4 < 0.05, NULL),
  IF(r4 > 0.9, CONCAT('s', n), NULL), FLOOR(r2 * 5)
FROM (SELECT n, USER AS u, RAND(S1) r1, RAND(S2) r2, RAND(S3) r3, RAND(S4) r4 FROM NUMBERS LIMIT COUNT) drawn]]):gsub("%u+%d?", {
    COLUMNS = COLUMNS, USER = users, S1 = random(1e6), S2 = random(1e6), S3 = random(1e6), S4 = random(1e6),
    NUMBERS = numbers(n), COUNT = n,
  }))
end

-- An expression that gives one of some users that are there, by n.
local function users_by_n(s)
  local list = {}
  for i = 1, 16 do list[i] = s:user() end
  return "ELT(1 + n % 16, " .. table.concat(list, ", ") .. ")"
end

local function range(s, width)
  local from = random(1, math.max(1, s.last))
  return ("id BETWEEN %d AND %d"):format(from, from + width)
end

local ops = {
  { 12, "one", function(s) return { "INSERT INTO epoch_data " .. COLUMNS .. " VALUES " .. row(s:user()) } end },
  { 10, "several", function(s)
    local rows = {}
    for i = 1, random(2, 300) do rows[i] = row(s:user()) end
    return { "INSERT INTO epoch_data " .. COLUMNS .. " VALUES " .. table.concat(rows, ",") }
  end },
  { 3, "burst", function(s) return { many(random(500, 8000), users_by_n(s)) } end },
  { 1, "large transaction", function(s)
    local t = { "BEGIN" }
    for _ = 1, random(1, 3) do t[#t + 1] = many(random(5000, 25000), users_by_n(s)) end
    t[#t + 1] = "UPDATE epoch_data SET long_value = 77 WHERE data_type_id = 3001 AND " .. range(s, 3000)
    t[#t + 1] = "COMMIT"
    return t
  end },
  { 8, "values", function(s)
    return { "UPDATE epoch_data SET double_value = double_value + 0.5, string_value = 'changed', end_ts = " .. moment() ..
      " WHERE data_type_id <> 3001 AND " .. range(s, random(0, 200)) }
  end },
  { 8, "keys", function(s)
    local set = pick { "start_ts = start_ts - INTERVAL 1 MINUTE", "start_ts = " .. moment(), "end_user_id = " .. s:user(),
      "data_type_id = IF(data_type_id = 3001, 1001, 1002)", "start_ts = start_ts - INTERVAL 31 DAY, end_user_id = " .. s:user() }
    if set:find "31 DAY" then set = set:gsub("start_ts %- INTERVAL 31 DAY", "GREATEST(@t0 - INTERVAL 120 DAY, start_ts - INTERVAL 31 DAY)") end
    return { "UPDATE epoch_data SET " .. set .. " WHERE " .. range(s, random(0, 60)) }
  end },
  { 1, "many keys", function(s)
    return { "UPDATE epoch_data SET start_ts = start_ts - INTERVAL 5 SECOND WHERE " .. range(s, random(1000, 8000)) }
  end },
  { 5, "one row, many times", function(s)
    local id = random(1, math.max(1, s.last))
    local t = { "BEGIN" }
    for _ = 1, random(2, 6) do
      t[#t + 1] = "UPDATE epoch_data SET " .. pick { "start_ts = start_ts + INTERVAL 1 SECOND", "start_ts = start_ts - INTERVAL 1 SECOND",
        "end_user_id = " .. s:user(), "trustworthiness_id = (IFNULL(trustworthiness_id, 0) + 1) % 5" } .. " WHERE id = " .. id
    end
    if chance(0.4) then
      t[#t + 1] = "DELETE FROM epoch_data WHERE id = " .. id
      if chance(0.6) then
        t[#t + 1] = ("INSERT INTO epoch_data (id, %s VALUES (%d, %s"):format(COLUMNS:sub(2), id, row(s:user()):sub(2))
      end
    end
    t[#t + 1] = "COMMIT"
    return t
  end },
  { 5, "delete", function(s) return { "DELETE FROM epoch_data WHERE " .. range(s, random(0, 150)) } end },
  { 1, "delete many", function(s) return { "DELETE FROM epoch_data WHERE " .. range(s, random(1000, 6000)) } end },
  { 3, "replace", function(s)
    local id = random(1, math.max(1, s.last))
    return { ("REPLACE INTO epoch_data (id, %s VALUES (%d, %s"):format(COLUMNS:sub(2), id, row(s:user()):sub(2)) }
  end },
  { 3, "upsert", function(s)
    local id = random(1, math.max(1, s.last))
    return { ("INSERT INTO epoch_data (id, %s VALUES (%d, %s ON DUPLICATE KEY UPDATE start_ts = start_ts + INTERVAL 1 HOUR"):format(
      COLUMNS:sub(2), id, row(s:user()):sub(2)) }
  end },
  { 5, "account opened", function(s)
    s.max_user = s.max_user + 1
    local id = s.max_user
    s.users[#s.users + 1] = id
    return { "BEGIN",
      ("INSERT INTO end_user VALUES (%d, %d, 'p%d@mail.example', SHA2('%d', 256), %s, @t0)"):format(id, random(1, 20), id, id,
        pick { "'DE'", "NULL", "'FR'" }),
      "INSERT INTO epoch_data " .. COLUMNS .. " VALUES " .. row(id) .. "," .. row(id), "COMMIT" }
  end },
  { 5, "user moves", function(s)
    return { ("UPDATE end_user SET app_id = %d WHERE id IN (%s, %s)"):format(random(1, 20), s:user(), s:user()) }
  end },
  { 3, "user moves, its rows change", function(s)
    local u = s:user()
    return { "BEGIN", ("UPDATE end_user SET app_id = %d WHERE id = %s"):format(random(1, 20), u),
      "UPDATE epoch_data SET trustworthiness_id = 3 WHERE end_user_id = " .. u .. " AND " .. range(s, 5000),
      "DELETE FROM epoch_data WHERE end_user_id = " .. u .. " AND " .. range(s, 1000), "COMMIT" }
  end },
  { 1, "account closed", function(s)
    if #s.users < 10 then return {} end
    local i = random(#s.users)
    local u = table.remove(s.users, i)
    local t = { "BEGIN", "DELETE FROM end_user WHERE id = " .. u, "COMMIT" }
    if chance(0.7) then table.insert(t, 2, "DELETE FROM epoch_data WHERE end_user_id = " .. u) end
    return t
  end },
  { 2, "person", function(s)
    local u = s:user()
    return { ("UPDATE end_user SET email = 'q%d@mail.example', access_token = SHA2('%d', 256), country = NULL WHERE id = %s"):format(
      random(1e6), random(1e6), u) }
  end },
  { 3, "implausible", function(s)
    return { "UPDATE epoch_data SET long_value = " .. pick { "0", "19", "251", "999" } .. " WHERE data_type_id = 3001 AND " ..
      range(s, random(0, 40)) }
  end },
  { 3, "mended", function(s)
    return { "UPDATE epoch_data SET long_value = 60 WHERE data_type_id = 3001 AND (long_value < 20 OR long_value > 250) AND " ..
      range(s, 4000) }
  end },
  { 2, "app", function() return { ("UPDATE app SET name = 'App %d', plan = 'p%d' WHERE id = %d"):format(random(1e6), random(9), random(1, 20)) } end },
  { 3, "small tables", function()
    local id = random(100, 160)
    return { pick { ("REPLACE INTO data_source VALUES (%d, 'S %d', NULL)"):format(id, random(1e6)),
      ("DELETE FROM data_source WHERE id = %d"):format(id),
      ("REPLACE INTO epoch_data_type VALUES (%d, 'T %d', 'u')"):format(id, random(1e6)),
      ("UPDATE epoch_data_type SET id = id + 1000 WHERE id = %d AND id + 1000 NOT IN (SELECT * FROM (SELECT id FROM epoch_data_type) x)"):format(id) } }
  end },
  { 2, "rolled back", function(s)
    return { "BEGIN", "INSERT INTO epoch_data " .. COLUMNS .. " VALUES " .. row(s:user()), "UPDATE epoch_data SET end_user_id = 1 WHERE " .. range(s, 50),
      "ROLLBACK" }
  end },
  { 1, "savepoint", function(s)
    return { "BEGIN", "INSERT INTO epoch_data " .. COLUMNS .. " VALUES " .. row(s:user()), "SAVEPOINT a", "DELETE FROM epoch_data WHERE " .. range(s, 9),
      "ROLLBACK TO SAVEPOINT a", "COMMIT" }
  end },
  { 1, "rotation", function() return { "FLUSH BINARY LOGS" } end },
}
local total = 0
for _, op in ipairs(ops) do total = total + op[1] end

local State = {}
State.__index = State
function State:user() return self.users[random(#self.users)] end

function State:refresh(db)
  self.users = {}
  for _, r in ipairs(db:query "SELECT id FROM thryve.end_user ORDER BY id") do self.users[#self.users + 1] = r[1] end
  self.last = tonumber(tostring(db:value "SELECT MAX(id) FROM thryve.epoch_data")) or 0
end

-- The demo database anew: schema, small tables, `users` users and `rows` facts, and the history of who
-- was in which app (kept by triggers, in a database that is not captured).
function workload.create(db, schema, users, rows)
  db:exec "DROP DATABASE IF EXISTS thryve; DROP DATABASE IF EXISTS audit"
  db:exec(schema)
  db:exec [[CREATE DATABASE audit; CREATE TABLE audit.end_user_app (user INT UNSIGNED, app INT UNSIGNED, PRIMARY KEY (user, app));
    CREATE TRIGGER thryve.opened AFTER INSERT ON thryve.end_user FOR EACH ROW INSERT IGNORE INTO audit.end_user_app VALUES (NEW.id, NEW.app_id);
    CREATE TRIGGER thryve.moved AFTER UPDATE ON thryve.end_user FOR EACH ROW INSERT IGNORE INTO audit.end_user_app VALUES (NEW.id, NEW.app_id)]]
  db:exec "USE thryve; SET @t0 = NOW(3)"
  db:exec("INSERT INTO app SELECT n + 1, CONCAT('App ', n), 'free', @t0 FROM " .. numbers(20))
  db:exec(("INSERT INTO end_user SELECT n + 1, 1 + n %% 20, CONCAT('p', n, '@mail.example'), SHA2(n, 256), IF(n %% 3, 'DE', NULL), @t0 FROM %s"):format(numbers(users)))
  db:exec("INSERT INTO epoch_data_type VALUES (3001, 'HeartRateResting', 'bpm'), (1000, 'Steps', NULL)")
  db:exec("INSERT INTO data_source SELECT n + 1, CONCAT('S', n), NULL FROM " .. numbers(50))
  for _, t in ipairs { "generation_type", "generation_device", "trustworthiness" } do
    db:exec(("INSERT INTO %s VALUES (1, 'one', NULL), (2, 'two', 'second')"):format(t))
  end
  if rows > 0 then db:exec(many(rows, "1 + FLOOR(RAND(5) * " .. users .. ")")) end
end

-- Runs until `deadline` (proc.now), reconnecting while the server is away. For a process of its own.
function workload.run(socket, seed, deadline, pace)
  math.randomseed(seed)
  local s = setmetatable({ max_user = 0 }, State)
  local db, since
  while proc.now() < deadline do
    if not db then
      db = mysql.connect { socket = socket, timeout = 20 }
      if not db then
        proc.sleep(0.05)
      else
        since = 0
        local ok = pcall(function()
          db:exec "USE thryve; SET @t0 = NOW(3)"
          s:refresh(db)
          s.max_user = math.max(s.max_user, tonumber(db:value "SELECT MAX(user) FROM audit.end_user_app"))
        end)
        if not ok then db:close(); db = nil end
      end
    else
      local n = random(total)
      for _, op in ipairs(ops) do
        n = n - op[1]
        if n <= 0 then
          for _, sql in ipairs(op[3](s)) do
            local ok, err, code = db:try(sql)
            if not ok then
              -- A duplicate key or a lock wait is part of life; a lost connection is mended; the rest is a bug here.
              if code >= 2000 and code < 3000 or code == 1053 or code == 1927 then
                db:close()
                db = nil
                break
              elseif code ~= 1062 and code ~= 1213 and code ~= 1205 then
                error(("%s (%d) in %s: %s"):format(err, code, op[2], sql:sub(1, 400)))
              end
            end
          end
          if db then db:try "ROLLBACK" end
          break
        end
      end
      since = since + 1
      if db and since % 20 == 0 and not pcall(s.refresh, s, db) then db:close(); db = nil end
      if pace > 0 then proc.sleep(pace * random()) end
    end
  end
end

return workload
