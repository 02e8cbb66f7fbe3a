-- A filter and a route: test orders are left out, large ones go to a table of their own. When an
-- update moves an order across a border, the engine takes it away where it was.
--
--   tables = { orders = { transform = "transforms.examples.route_orders", routes = { "large_orders" } } }
local pipe = require "pipe"

local LARGE = 1000

return function(row)
  if row.is_test == 1 then return nil end
  if row.quantity and row.quantity >= LARGE then return pipe.route(row, "large_orders") end
  return row
end
