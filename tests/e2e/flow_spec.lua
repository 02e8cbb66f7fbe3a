-- The stream itself: snapshot, changes, keys that change, versions across log rotation, restarts.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"

local ORDERS = [[
CREATE TABLE orders (id INT UNSIGNED PRIMARY KEY, customer INT NOT NULL, placed DATETIME(3) NOT NULL, total DECIMAL(12,2) NULL, note VARCHAR(100) NULL);
INSERT INTO orders VALUES (1, 10, '2026-01-05 10:00:00.001', 12.50, 'first'), (2, 20, '2026-02-05 10:00:00', NULL, NULL), (3, 10, '2026-02-06', -3, 'äöü');
]]
-- A sorting key and partitions of which the source's key is only the last part, as fact tables have it.
local BY_CUSTOMER = { ["10_orders.sql"] = [[
CREATE TABLE IF NOT EXISTS orders (
  id UInt32, customer Int32, placed DateTime64(3, 'UTC'), total Nullable(Decimal(12, 2)), note Nullable(String),
  _version UInt64, _deleted UInt8
) ENGINE = ReplacingMergeTree(_version, _deleted) PARTITION BY toYYYYMM(placed) ORDER BY (customer, placed, id)
SETTINGS non_replicated_deduplication_window = 1000;
]] }

for _, family in ipairs(e2e.families) do
  describe("the stream from " .. family .. " #" .. family, function()
    after_each(e2e.cleanup)

    local function project(o)
      o = o or {}
      o.create, o.tables = o.create or ORDERS, o.tables or "orders = {},"
      if o.schema == nil then o.schema = BY_CUSTOMER end
      return e2e.project(e2e.server(family), o)
    end

    it("copies what is there, then follows", function()
      local p = project()
      e2e.run(p)
      e2e.expect_equal(p, "orders")
      p.db:exec "INSERT INTO orders VALUES (4, 30, '2026-03-01', 1.10, 'new'); UPDATE orders SET note = 'changed' WHERE id = 1; DELETE FROM orders WHERE id = 2"
      e2e.expect_equal(p, "orders")
      e2e.expect(p, "SELECT groupArray((id, note)) FROM (SELECT * FROM orders FINAL ORDER BY id)", "[(1,'changed'),(3,'äöü'),(4,'new')]")
    end)

    it("makes the target out of the source's definition where there is no DDL", function()
      local p = project { schema = false }
      e2e.run(p)
      e2e.expect_equal(p, "orders")
      p.db:exec "UPDATE orders SET id = 33 WHERE id = 3"
      e2e.expect_equal(p, "orders")
    end)

    it("leaves nothing under the old key when a key column changes", function()
      local p = project()
      e2e.run(p)
      e2e.expect_equal(p, "orders")
      p.db:exec "UPDATE orders SET placed = '2026-05-01' WHERE id = 1"
      p.db:exec "UPDATE orders SET customer = 99 WHERE id = 2"
      p.db:exec "UPDATE orders SET id = 7 WHERE id = 3"
      e2e.expect_equal(p, "orders")
      p.db:exec "UPDATE orders SET placed = '2026-01-05 10:00:00.001' WHERE id = 1; UPDATE orders SET customer = 20 WHERE id = 2"
      e2e.expect_equal(p, "orders")
      p.db:exec "DELETE FROM orders"
      e2e.expect(p, "SELECT count() FROM orders FINAL", 0)
    end)

    it("keeps the last of several updates of one transaction", function()
      local p = project()
      e2e.run(p)
      p.db:exec [[BEGIN; UPDATE orders SET total = 1 WHERE id = 1; UPDATE orders SET total = 2, placed = '2026-04-04' WHERE id = 1;
        UPDATE orders SET total = 3 WHERE id = 1; DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (2, 20, '2026-02-05 10:00:00', 9, 'again');
        UPDATE orders SET total = 10 WHERE id = 2; COMMIT]]
      e2e.expect_equal(p, "orders")
      e2e.expect(p, "SELECT groupArray(total) FROM (SELECT * FROM orders FINAL WHERE id < 3 ORDER BY id)", "[3,10]")
    end)

    it("lets later changes win across a rotation of the log", function()
      local p = project()
      p.db:exec "UPDATE orders SET note = repeat('x', 90)" -- some bytes, so that the next file's offsets are lower
      for i = 1, 30 do p.db:exec("UPDATE orders SET total = " .. i) end
      e2e.run(p)
      p.db:exec "UPDATE orders SET total = 100"
      e2e.expect_equal(p, "orders")
      p.server.db:exec "FLUSH BINARY LOGS"
      p.db:exec "UPDATE orders SET total = 200 WHERE id = 1"
      e2e.expect_equal(p, "orders")
      p.server.db:exec "FLUSH BINARY LOGS; FLUSH BINARY LOGS"
      p.db:exec "DELETE FROM orders WHERE id = 1; UPDATE orders SET total = 300 WHERE id = 2"
      e2e.expect_equal(p, "orders")
      e2e.expect(p, "SELECT groupArray((id, total)) FROM (SELECT * FROM orders FINAL ORDER BY id)", "[(2,300),(3,100)]")
    end)

    it("goes on where it stopped, after SIGTERM and after kill -9", function()
      local p = project()
      local e = e2e.run(p)
      p.db:exec "INSERT INTO orders VALUES (4, 1, '2026-03-01', 1, 'a')"
      e2e.expect_equal(p, "orders")
      assert.equal(0, e:stop())
      p.db:exec "INSERT INTO orders VALUES (5, 1, '2026-03-01', 1, 'b'); DELETE FROM orders WHERE id = 4"
      e = e2e.run(p)
      e2e.expect_equal(p, "orders")
      e:kill()
      p.server.db:exec "FLUSH BINARY LOGS"
      p.db:exec "INSERT INTO orders VALUES (6, 1, '2026-03-01', 1, 'c'); UPDATE orders SET customer = 5 WHERE id = 5"
      e2e.run(p)
      e2e.expect_equal(p, "orders")
      local log = p:log_text()
      assert.is_nil(log:lower():find("error", 1, true), log)
    end)

    it("does not apply what was rolled back", function()
      local p = project()
      e2e.run(p)
      p.db:exec "BEGIN; INSERT INTO orders VALUES (8, 1, '2026-03-01', 1, 'no'); UPDATE orders SET total = 77; ROLLBACK"
      p.db:exec "BEGIN; INSERT INTO orders VALUES (9, 1, '2026-03-01', 1, 'yes'); SAVEPOINT a; DELETE FROM orders WHERE id = 1; ROLLBACK TO SAVEPOINT a; COMMIT"
      e2e.expect(p, "SELECT groupArray(id) FROM (SELECT id FROM orders FINAL ORDER BY id)", "[1,2,3,9]")
      e2e.expect_equal(p, "orders")
    end)

    it("empties the target when the source's table is truncated", function()
      local p = project()
      e2e.run(p)
      e2e.expect_equal(p, "orders")
      p.db:exec "TRUNCATE TABLE orders; INSERT INTO orders VALUES (1, 10, '2026-01-05 10:00:00.001', 1, 'after')"
      e2e.expect_equal(p, "orders")
      e2e.expect(p, "SELECT groupArray(note) FROM orders FINAL", "['after']")
    end)

    it("passes a large transaction, and everything around it, in order", function()
      local p = project()
      e2e.run(p)
      local d = e2e.DIGITS
      p.db:exec(([[INSERT INTO orders SELECT 1000 + a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d, a.d,
        '2026-01-01' + INTERVAL b.d MONTH, a.d + 0.5, NULL FROM %s a, %s b, %s c, %s e, %s f]]):format(d, d, d, d, d))
      p.db:exec "UPDATE orders SET customer = customer + 1, total = total * 2 WHERE id >= 1000; DELETE FROM orders WHERE id % 3 = 0"
      e2e.expect_equal(p, "orders", nil, 60)
    end)

    it("passes 5 million rows of one transaction in bounded memory #slow", function()
      local p = project()
      local e = e2e.run(p)
      local rows = family == "mariadb" and "seq_1_to_5000000" or
        "(WITH RECURSIVE s (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < 5000000) SELECT seq FROM s) s"
      if family == "mysql" then p.db:exec "SET cte_max_recursion_depth = 6000000" end
      local log = p.dir .. "/load.log"
      local work = e2e.proc.fork(function()
        local db = assert(e2e.mysql.connect { socket = p.server.socket, database = p.database, timeout = 600 })
        if family == "mysql" then db:exec "SET cte_max_recursion_depth = 6000000" end
        db:exec("INSERT INTO orders SELECT 1000 + seq, seq % 1000, '2026-01-01' + INTERVAL seq SECOND, seq / 100, 'a note of some length' FROM " .. rows)
      end, log)
      local most = 0
      while not e2e.proc.poll(work) do
        most = math.max(most, e:rss_kb())
        e2e.proc.sleep(0.1)
      end
      assert.equal(0, e2e.proc.poll(work), e2e.proc.read(log))
      local deadline = e2e.proc.now() + 120
      repeat
        most = math.max(most, e:rss_kb())
        e2e.proc.sleep(0.1)
      until p.ch:try "SELECT count() FROM orders" == "5000003\n" or e2e.proc.now() > deadline
      e2e.expect_equal(p, "orders", nil, 60)
      print(("5 M rows in one transaction: at most %d MB resident"):format(most / 1024))
      assert.is_true(most < 100 * 1024, ("%d KB resident"):format(most))
    end)

    it("counts each row once: in = out + filtered + quarantined", function()
      local p = project()
      local e = e2e.run(p)
      p.db:exec "UPDATE orders SET total = 5; DELETE FROM orders WHERE id = 3"
      e2e.expect_equal(p, "orders")
      local _, text = e:metric "none"
      local sum = {}
      for name, v in text:gmatch 'pipe_engine_rows_(%l+)_total{[^}]*table="orders"[^}]*} (%d+)' do sum[name] = tonumber(v) end
      assert.is_truthy(sum["in"] and sum["in"] >= 7, text) -- 3 copied, 3 updated, 1 deleted
      assert.equal(sum["in"], sum.out + sum.filtered + sum.dlq)
    end)
  end)
end
