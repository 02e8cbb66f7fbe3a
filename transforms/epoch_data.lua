-- The measurements of people's wearables. Every row carries the tenant (app) of its user, taken from a
-- lookup kept from the stream itself; values that no heart can have go to the DLQ.
local pipe = require "pipe"

local users = pipe.lookup { table = "end_user", key = "id", values = { "app_id" } }

local HEART_RATE = 3001 -- data_type_id
local BPM_MIN, BPM_MAX = 20, 250

return function(row)
  local user = users[row.end_user_id]
  if not user then return pipe.dlq("unknown end_user", "end_user_id") end
  row.app_id = user.app_id

  if row.data_type_id == HEART_RATE then
    local bpm = row.long_value -- a 64-bit integer; nil is SQL NULL
    if bpm and (bpm < BPM_MIN or bpm > BPM_MAX) then
      return pipe.dlq("implausible heart rate", "long_value")
    end
  end
  return row
end
