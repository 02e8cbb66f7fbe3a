local testing = require "pipe.testing"

describe("route_orders", function()
  local run = testing.transform("transforms.examples.route_orders", {
    table = "orders", routes = { "large_orders" }, key = { "id" },
  })

  it("sends each order to its table", function()
    assert.same({ "orders" }, run:insert({ id = 1, quantity = 5 }).targets)
    assert.same({ "large_orders" }, run:insert({ id = 1, quantity = 1000 }).targets)
    assert.is_true(run:insert({ id = 1, is_test = 1 }).dropped)
  end)

  it("takes an order away where it was", function()
    local change = run:update({ id = 1, quantity = 5 }, { id = 1, quantity = 2000 })
    assert.same({ "large_orders" }, change.targets)
    assert.same({ "orders" }, change.tombstone_targets)
  end)
end)
