-- TLS to the source: verified against a private authority, refused when it is an unknown one.
package.path = "tests/?.lua;" .. package.path
local e2e = require "support.e2e"
local proc = e2e.proc

describe("TLS to the source", function()
  after_each(e2e.cleanup)

  local function authority(name)
    local d = e2e.dir .. "/tls-" .. name
    proc.sh(([[mkdir -p %s && cd %s && [ -f server.pem ] || {
      openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=%s" -keyout ca.key -out ca.pem &&
      openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" -keyout server.key -out server.csr &&
      printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > ext &&
      openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem &&
      chmod 755 . && chmod 644 *.key; } > openssl.log 2>&1]]):format(d, d, name))
    return d
  end

  local function project(server, query)
    return e2e.project(server, { create = "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)", tables = "t = {},",
      query = query })
  end

  local function tls_server()
    local d = authority "good"
    proc.sh("chmod 755 " .. e2e.dir)
    return e2e.server("mariadb", "tls", "ssl-ca=" .. d .. "/ca.pem", "ssl-cert=" .. d .. "/server.pem", "ssl-key=" .. d .. "/server.key"), d
  end

  it("is verified with the authority it names", function()
    local server, d = tls_server()
    local p = project(server)
    p.env.MYSQL_URL = server:url(p.database, nil, nil, "?tls=verify&ca=" .. d .. "/ca.pem")
    e2e.run(p)
    p.db:exec "INSERT INTO t VALUES (2)"
    e2e.expect(p, "SELECT count() FROM t FINAL", 2)
  end)

  it("fails for an unknown authority, and says that it is the certificate", function()
    local server = tls_server()
    local other = authority "other"
    local p = project(server)
    p.env.MYSQL_URL = server:url(p.database, nil, nil, "?tls=verify&ca=" .. other .. "/ca.pem")
    local code, out, err = p:cli "@"
    assert.is_true(code == 69 or code == 77, tostring(code) .. out .. err)
    assert.is_truthy((out .. err):lower():find "certificate" or (out .. err):find "TLS" or (out .. err):find "SSL", out .. err)
  end)

  it("fails where it is required and the server has none", function()
    local p = project(e2e.server("mariadb", "plain", "skip-ssl"))
    p.env.MYSQL_URL = p.server:url(p.database, nil, nil, "?tls=required")
    local code, out, err = p:cli "@"
    assert.is_true(code == 69 or code == 77, tostring(code) .. out .. err)
  end)

  it("is encrypted where required", function()
    local server = tls_server()
    server.db:exec(("CREATE USER IF NOT EXISTS 'tlsonly'@'127.0.0.1' IDENTIFIED BY '%s' REQUIRE SSL; " ..
      "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'tlsonly'@'127.0.0.1'"):format(e2e.password))
    local p = project(server)
    p.env.MYSQL_URL = server:url(p.database, "tlsonly", nil, "?tls=required")
    e2e.run(p)
    e2e.expect(p, "SELECT count() FROM t FINAL", 1)
    p.env.MYSQL_URL = server:url(p.database, "tlsonly", nil, "?tls=off")
  end)
end)

describe("TLS to the target", function()
  after_each(e2e.cleanup)

  it("fails for a certificate of an unknown authority, and says that it is the certificate", function()
    local d = e2e.dir .. "/tls-target"
    proc.sh(("mkdir -p %s && cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 " ..
      "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>openssl.log"):format(d, d))
    local port = e2e.next_port()
    local pid = proc.spawn { "openssl", "s_server", "-accept", "127.0.0.1:" .. port, "-cert", d .. "/cert.pem", "-key", d .. "/key.pem", "-www",
      out = d .. "/server.log" }
    finally(function() proc.kill(pid, proc.KILL) end)
    local p = e2e.project(e2e.server "mariadb", { create = "CREATE TABLE t (id INT PRIMARY KEY)", tables = "t = {},",
      clickhouse_url = "https://127.0.0.1:" .. port })
    local code, out, err = p:cli "@"
    assert.is_true(code == 69 or code == 77 or code == 78, tostring(code) .. out .. err)
    assert.is_truthy((out .. err):lower():find "certificate" or (out .. err):find "SSL" or (out .. err):find "TLS", out .. err)
  end)
end)
