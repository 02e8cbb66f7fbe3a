local testing = require "pipe.testing"

describe("order_parts", function()
  local run = testing.transform("transforms.examples.order_parts", { key = { "id", "parcel" } })

  it("gives a row a parcel", function()
    local change = run:insert { id = 1, parcels = "12,15,9" }
    assert.equal(3, #change)
    assert.equal(15, change[2].grams)
    assert.is_true(run:insert({ id = 1 }).dropped)
  end)

  it("takes away the parcels that are gone", function()
    local change = run:update({ id = 1, parcels = "12,15,9" }, { id = 1, parcels = "12,14" })
    assert.equal(2, #change.rows)
    assert.equal(1, #change.tombstones)
    assert.equal(3, change.tombstones[1].parcel)
  end)

  it("quarantines what is no weight", function()
    assert.equal("parcels", run:insert({ id = 1, parcels = "12,x" }).dlq.column)
  end)
end)
