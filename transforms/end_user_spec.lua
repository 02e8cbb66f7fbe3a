local testing = require "pipe.testing"

describe("end_user", function()
  local run = testing.transform("transforms.end_user", {
    secrets = { PII_KEY = "a key that only tests use" },
    key = { "id" },
  })
  local person = { id = 1, app_id = 7, email = "jo.doe@example.com", access_token = "abc123", country = "DE" }

  it("hides token and address, and keeps the domain", function()
    local change = run:insert(person)
    assert.truthy(change.access_token:find("^tok_1_[%w_-]+$"))
    assert.truthy(change.email:find("^tok_1_[%w_-]+@example%.com$"))
    assert.falsy(change.email:find("doe"))
    assert.equal("DE", change.country)
  end)

  it("gives the same token for the same input", function()
    assert.equal(run:insert(person).email, run:insert(person).email)
    assert.not_equal(run:insert(person).access_token, run:insert({ id = 1, access_token = "abc124" }).access_token)
  end)

  it("depends on the key", function()
    local other = testing.transform("transforms.end_user", { secrets = { PII_KEY = "another key" } })
    assert.not_equal(run:insert(person).email, other:insert(person).email)
  end)

  it("leaves NULL as it is", function()
    assert.is_nil(run:insert({ id = 1 }).email)
  end)

  it("does not load without its key", function()
    local ok, why = pcall(testing.transform, "transforms.end_user", {})
    assert.is_false(ok)
    assert.truthy(why:find("PII_KEY", 1, true))
  end)

  it("deletes by the tokens that were written", function()
    local change = run:delete(person)
    assert.equal(1, #change.tombstones)
    assert.equal(run:insert(person).email, change.tombstones[1].email)
  end)
end)
