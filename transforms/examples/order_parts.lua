-- One row into several: an order with a list of parcels ("12,15,9" grams) becomes a row a parcel. The
-- target's key has to hold `parcel`; when an update shortens the list, the parcels that are gone go away.
local pipe = require "pipe"

return function(row)
  local weights = row.parcels
  if not weights or weights == "" then return nil end
  local rows, at = {}, 1
  while at do
    local comma = weights:find(",", at, true)
    local grams = tonumber(weights:sub(at, comma and comma - 1))
    if not grams then return pipe.dlq("a parcel's weight is no number", "parcels") end
    local part = pipe.copy(row)
    part.parcel = #rows + 1
    part.grams = grams
    rows[#rows + 1] = part
    at = comma and comma + 1
  end
  return rows
end
