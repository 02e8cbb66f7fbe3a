-- Every type of the source, at its borders, by snapshot and by stream, against the source's own text of it.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"

-- column, definition, ClickHouse expression for its text (with %s), SQL expression for its text (with %s), values
local COLUMNS = {
  { "ti", "TINYINT NULL", nil, nil, { "-128", "127", "NULL" } },
  { "tu", "TINYINT UNSIGNED NULL", nil, nil, { "0", "255", "NULL" } },
  { "si", "SMALLINT NULL", nil, nil, { "-32768", "32767", "NULL" } },
  { "mi", "MEDIUMINT NULL", nil, nil, { "-8388608", "8388607", "NULL" } },
  { "mu", "MEDIUMINT UNSIGNED NULL", nil, nil, { "0", "16777215", "1" } },
  { "iu", "INT UNSIGNED NULL", nil, nil, { "0", "4294967295", "NULL" } },
  { "bi", "BIGINT NULL", nil, nil, { "-9223372036854775808", "9223372036854775807", "NULL" } },
  { "bu", "BIGINT UNSIGNED NULL", nil, nil, { "0", "18446744073709551615", "9007199254740993" } },
  { "de", "DECIMAL(30,10) NULL", "toString(%s)", nil, { "-12345678901234567890.0123456789", "0.0000000001", "NULL" } },
  { "d9", "DECIMAL(9,2) UNSIGNED NULL", "toString(%s)", nil, { "0", "9999999.99", "1.50" } },
  { "da", "DATE NULL", nil, nil, { "'1970-01-01'", "'2149-06-06'", "'2024-02-29'" } },
  { "d3", "DATETIME(3) NULL", nil, nil, { "'1970-01-01 00:00:00.001'", "'2261-12-31 23:59:59.999'", "NULL" } },
  { "d6", "DATETIME(6) NULL", nil, nil, { "'1999-12-31 23:59:59.999999'", "'2024-01-01 00:00:00.000001'", "'1900-01-01 00:00:00'" } },
  { "ts", "TIMESTAMP(6) NULL", nil, nil, { "'1970-01-02 00:00:01.5'", "'2038-01-18 03:14:07.999999'", "NULL" } },
  { "vc", "VARCHAR(200) NULL", nil, nil, { "''", "'ä 雪 🚲 \"x\"'", "NULL" } },
  { "l1", "VARCHAR(50) CHARACTER SET latin1 NULL", nil, nil, { "'Äpple'", "'plain'", "''" } },
  { "ch", "CHAR(5) NULL", nil, nil, { "'a'", "'abcde'", "''" } },
  { "tx", "MEDIUMTEXT NULL", nil, nil, { "repeat('long ', 20000)", "''", "NULL" } },
  { "en", "ENUM('small','large','') NULL", "toString(%s)", nil, { "'small'", "'large'", "NULL" } },
  { "se", "SET('a','b','c') NULL", nil, nil, { "'a,c'", "''", "NULL" } },
  { "bo", "BOOLEAN NULL", nil, nil, { "0", "1", "NULL" } },
  { "ye", "YEAR NULL", nil, nil, { "1970", "2155", "NULL" } },
  { "bn", "BINARY(4) NULL", "hex(%s)", "HEX(%s)", { "x'01020000'", "x'00000000'", "x'ff'" } },
  { "vb", "VARBINARY(20) NULL", "hex(%s)", "HEX(%s)", { "x'00ff00'", "x''", "NULL" } },
  { "bl", "BLOB NULL", "hex(%s)", "HEX(%s)", { "x'0a0a0d09'", "x''", "NULL" } },
  { "fl", "DOUBLE NULL", "reinterpretAsUInt64(%s)", nil, { "0.1", "-1.7976931348623157e308", "5e-324" } },
}
local DOUBLES = { "4591870180066957722", "18442240474082181119", "1" } -- their bits

for _, family in ipairs(e2e.families) do
  describe("types of " .. family .. " #" .. family, function()
    after_each(e2e.cleanup)

    it("arrive exactly, from the snapshot and from the stream", function()
      local defs, rows = { "id INT PRIMARY KEY" }, { { "%d" }, { "%d" }, { "%d" } }
      for _, c in ipairs(COLUMNS) do
        defs[#defs + 1] = c[1] .. " " .. c[2]
        for i = 1, 3 do table.insert(rows[i], c[5][i]) end
      end
      local function insert(base)
        local t = {}
        for i = 1, 3 do t[i] = "(" .. table.concat(rows[i], ", "):gsub("%%d", base + i, 1) .. ")" end
        return "INSERT INTO wide VALUES " .. table.concat(t, ", ")
      end
      local p = e2e.project(e2e.server(family), {
        create = "SET NAMES utf8mb4; CREATE TABLE wide (" .. table.concat(defs, ", ") .. "); " .. insert(0), tables = "wide = {},",
      })
      e2e.run(p)
      e2e.expect(p, "SELECT count() FROM wide FINAL", 3)
      p.db:exec(insert(10))
      p.db:exec "INSERT INTO wide (id) VALUES (20)"
      p.db:exec(insert(30))
      p.db:exec "UPDATE wide SET ti = 1 WHERE id BETWEEN 31 AND 33"
      e2e.expect(p, "SELECT count() FROM wide FINAL", 10)
      e2e.expect(p, "SELECT count() FROM wide FINAL WHERE ti = 1", 3)
      local wrong = {}
      for _, c in ipairs(COLUMNS) do
        local want, got
        if c[1] == "fl" then
          want = {}
          for _, base in ipairs { 0, 10, 30 } do
            for i = 1, 3 do want[#want + 1] = ("%d:%s"):format(base + i, DOUBLES[i]) end
          end
          table.insert(want, 7, "20:NULL")
        else
          want = {}
          for _, r in ipairs(p.db:query(("SELECT id, IFNULL(%s, 'NULL') FROM wide ORDER BY id"):format((c[4] or "%s"):format(c[1])))) do
            want[#want + 1] = r[1] .. ":" .. r[2]
          end
        end
        got = {}
        for _, r in ipairs(p.ch:query(("SELECT id, ifNull(toString(%s), 'NULL') FROM wide FINAL ORDER BY id " ..
          "SETTINGS output_format_decimal_trailing_zeros = 1"):format((c[3] or "%s"):format(c[1])))) do
          got[#got + 1] = r[1] .. ":" .. r[2]
        end
        for i = 1, #want do
          local w, g = want[i], got[i]
          if w ~= g then
            -- Decimals are printed with and without trailing zeros.
            local function trim(s) return s:find("%.") and (s:gsub("0+$", ""):gsub("%.$", "")) or s end
            if not (c[2]:find "^DECIMAL" and trim(w) == trim(g)) then
              wrong[#wrong + 1] = ("%s (%s): %s, should be %s"):format(c[1], c[2], tostring(g):sub(1, 80), w:sub(1, 80))
            end
          end
        end
      end
      assert.equal("", table.concat(wrong, "\n"))
    end)

    it("takes 500 columns and a row of 16 MB", function()
      local defs = { "id INT PRIMARY KEY", "big LONGTEXT" }
      for i = 1, 498 do defs[#defs + 1] = ("c%d %s"):format(i, i % 2 == 0 and "INT NULL" or "VARCHAR(4) NULL") end
      local p = e2e.project(e2e.server(family), {
        create = "CREATE TABLE wide (" .. table.concat(defs, ", ") .. "); INSERT INTO wide (id, c1, c498) VALUES (1, 'x', 7)", tables = "wide = {},",
      })
      e2e.run(p)
      p.db:exec "INSERT INTO wide (id, big, c2) VALUES (2, repeat('abcdefgh', 2 * 1024 * 1024), 5); UPDATE wide SET c3 = 'y'"
      e2e.expect(p, "SELECT groupArray((id, length(big), c1, c2, c3, c498)) FROM (SELECT * FROM wide FINAL ORDER BY id)",
        "[(1,NULL,'x',NULL,'y',7),(2,16777216,NULL,5,'y',NULL)]", 40)
    end)

    it("sends what has no exact place to the DLQ, and nothing else", function()
      local p = e2e.project(e2e.server(family), {
        create = "SET sql_mode = ''; CREATE TABLE dates (id INT PRIMARY KEY, d DATETIME(3) NOT NULL, s SMALLINT UNSIGNED NOT NULL)",
        schema = { ["10.sql"] = "CREATE TABLE IF NOT EXISTS dates (id Int32, d DateTime64(3, 'UTC'), s UInt8, _version UInt64, _deleted UInt8)\n" ..
          "ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id SETTINGS non_replicated_deduplication_window = 100;\n" },
        tables = 'dates = { on_overflow = "dlq" },',
      })
      e2e.run(p)
      p.db:exec "INSERT INTO dates VALUES (1, '2024-01-01', 5), (2, '0000-00-00', 5), (3, '2024-01-01', 256), (4, '9999-12-31 23:59:59', 5), (5, '2024-01-02', 255)"
      e2e.expect(p, "SELECT groupArray(id) FROM (SELECT id FROM dates FINAL WHERE id IN (1, 5) ORDER BY id)", "[1,5]")
      e2e.expect(p, "SELECT count() >= 2 AND countIf(reason = '') = 0 FROM dates_dlq FINAL", 1)
      e2e.expect(p, "SELECT count() FROM dates FINAL WHERE id IN (2, 3)", 0)
    end)
  end)
end
