-- Secrets and personal data never leave in clear: unique strings go in everywhere, and are looked for in
-- everything the engine writes: state, target (files, and by SELECT), logs, output, the configuration dump.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"
local proc = e2e.proc

local CANARY = "CANARY7f3a"

local function grep(dir)
  local p = io.popen("grep -raoE '" .. CANARY .. "[A-Za-z]*' " .. proc.quote(dir) .. " 2>/dev/null | head -5")
  local text = p:read "*a"
  p:close()
  return text
end

local TOKENS = [[
local pipe = require "pipe"
local token = pipe.token { key = pipe.secret "PII_KEY" }
return function(row)
  if row.boom == 1 then error("failed with " .. tostring(row.email)) end
  if row.boom == 2 then return pipe.dlq "not wanted" end
  if row.boom == 3 then local x = row.email .. nil end
  row.email = token:email(row.email)
  row.secret = token(row.secret)
  return row
end
]]

for _, family in ipairs(e2e.families) do
  describe("personal data from " .. family .. " #" .. family, function()
    after_each(e2e.cleanup)

    it("is nowhere in clear", function()
      local server = e2e.server(family)
      server.db:exec(("CREATE USER IF NOT EXISTS 'canary'@'127.0.0.1' IDENTIFIED BY '%sPassword'; " ..
        "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'canary'@'127.0.0.1'"):format(CANARY))
      local p = e2e.project(server, {
        create = ([[CREATE TABLE person (id INT PRIMARY KEY, email VARCHAR(255) NULL, secret VARCHAR(255) NULL, boom INT NOT NULL DEFAULT 0, n TINYINT UNSIGNED NOT NULL DEFAULT 1);
          INSERT INTO person VALUES (1, '%sMail@host.example', '%sToken', 0, 1), (2, '%sBoom@host.example', '%sTokenBoom', 1, 1),
            (3, '%sDlq@host.example', '%sTokenDlq', 2, 1), (4, NULL, NULL, 0, 1)]])
          :gsub("%%s", CANARY),
        tables = 'person = { transform = "transforms.person", pii = { "email", "secret" } },',
        transforms = { person = TOKENS },
        env = { PII_KEY = CANARY .. "KeyKeyKeyKeyKeyKeyKeyKeyKeyKey" },
        more = 'log = { level = "debug" },',
      })
      p.env.MYSQL_URL = server:url(p.database, "canary", CANARY .. "Password")
      local e = e2e.run(p)
      e2e.expect(p, "SELECT count() FROM person FINAL", 2)
      p.db:exec(("INSERT INTO person VALUES (11, '%sStreamed@host.example', '%sStreamedToken', 0, 1), " ..
        "(12, '%sStreamedBoom', '%sx', 3, 1), (13, '%sStreamedDlq', NULL, 2, 1)"):gsub("%%s", CANARY))
      p.db:exec(("UPDATE person SET email = '%sUpdated@host.example' WHERE id = 1; UPDATE person SET boom = 1 WHERE id = 11; DELETE FROM person WHERE id = 2"):gsub("%%s", CANARY))
      e2e.expect(p, "SELECT count() >= 5 FROM person_dlq", 1)
      e2e.expect(p, "SELECT count() FROM person FINAL", 3)
      -- Tokens: the same in, the same out; the domain stays; nothing of the person.
      e2e.expect(p, "SELECT countIf(email LIKE '%@host.example') FROM person FINAL WHERE id IN (1, 11)", 2)
      local seen = {}
      for _, sql in ipairs { "SELECT * FROM person", "SELECT * FROM person_dlq", "SELECT * FROM system.processes" } do
        seen[#seen + 1] = p.ch:exec(sql .. " FORMAT TSV")
      end
      assert.is_nil(table.concat(seen):find(CANARY, 1, true))
      for _, command in ipairs { { "--config-dump", "@" }, { "status", "@" }, { "check", "@" }, { "doctor", "@" } } do
        local _, out, err = p:cli(unpack(command))
        assert.is_nil((out .. err):find(CANARY, 1, true), table.concat(command, " "))
      end
      for _, path in ipairs { "/metrics", "/status", "/ready" } do assert.is_nil(p:http(path):find(CANARY, 1, true), path) end
      -- A refused start and a failed reload say nothing either.
      p:transform("person", TOKENS:gsub("return row", "return row("))
      local _, out, err = p:cli("reload", "--wait", "@")
      assert.is_nil((out .. err):find(CANARY, 1, true))
      assert.equal(0, e:stop())
      assert.equal("", grep(p.dir .. "/state"))
      assert.equal("", grep(p.dir .. "/data"))
      assert.equal("", grep(p.log))
      -- The command line and the environment are the user's; the embedded server's are ours.
      assert.is_truthy(grep(p.dir .. "/transforms") == "")
    end)

    it("joins: the same value has the same token in two tables and after a restart", function()
      local p = e2e.project(e2e.server(family), {
        create = [[CREATE TABLE a (id INT PRIMARY KEY, email VARCHAR(99)); CREATE TABLE b (id INT PRIMARY KEY, email VARCHAR(99));
          INSERT INTO a VALUES (1, 'x@y.example'), (2, 'X@y.example'); INSERT INTO b VALUES (7, 'x@y.example')]],
        tables = 'a = { transform = "transforms.t", pii = { "email" } }, b = { transform = "transforms.t", pii = { "email" } },',
        transforms = { t = [[
local pipe = require "pipe"
local token = pipe.token { key = pipe.secret "PII_KEY" }
return function(row) row.email = token:email(row.email) return row end
]] },
      })
      local e = e2e.run(p)
      e2e.expect(p, "SELECT count() FROM b FINAL", 1)
      e:stop()
      p.db:exec "INSERT INTO b VALUES (8, 'x@y.example')"
      e2e.run(p)
      e2e.expect(p, "SELECT count() FROM a FINAL INNER JOIN (SELECT * FROM b FINAL) AS b ON a.email = b.email WHERE a.id = 1", 2)
    end)
  end)
end
