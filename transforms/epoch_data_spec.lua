local testing = require "pipe.testing"

describe("epoch_data", function()
  local columns = {
    id = "bigint unsigned", end_user_id = "int unsigned", data_type_id = "int unsigned",
    data_source_id = "smallint unsigned", start_ts = "datetime(3)", end_ts = "datetime(3)", created_at = "datetime(3)",
    double_value = "double", long_value = "bigint", boolean_value = "tinyint", string_value = "varchar(255)",
    trustworthiness_id = "tinyint unsigned", app_id = "UInt16",
  }
  local run

  before_each(function()
    run = testing.transform("transforms.epoch_data", {
      columns = columns,
      lookups = { end_user = { [42] = { app_id = 7 }, [43] = { app_id = 8 } } },
      key = { "app_id", "end_user_id", "data_type_id", "start_ts", "id" },
    })
  end)

  it("copies the tenant onto the row", function()
    assert.equal(7, run:insert({ end_user_id = 42 }).app_id)
  end)

  it("quarantines a row whose user is unknown", function()
    local change = run:insert({ end_user_id = 9 })
    assert.equal("unknown end_user", change.dlq.reason)
    assert.equal("end_user_id", change.dlq.column)
  end)

  it("quarantines heart rates that no heart has", function()
    for bpm, good in pairs { [19] = false, [20] = true, [250] = true, [251] = false, [-1] = false } do
      local change = run:insert({ end_user_id = 42, data_type_id = 3001, long_value = bpm })
      if good then
        assert.is_nil(change.dlq)
        assert.equal(1, #change.rows)
      else
        assert.equal("implausible heart rate", change.dlq.reason)
        assert.equal("long_value", change.dlq.column)
      end
    end
  end)

  it("takes large values of other types, and heart rates that are not measured", function()
    assert.is_nil(run:insert({ end_user_id = 42, data_type_id = 3000, long_value = 9007199254740993LL }).dlq)
    assert.is_nil(run:insert({ end_user_id = 42, data_type_id = 3001 }).dlq)
  end)

  it("replaces in place what keeps its key", function()
    local change = run:update({ id = 1, end_user_id = 42, long_value = 60 }, { id = 1, end_user_id = 42, long_value = 61 })
    assert.equal(1, #change.rows)
    assert.equal(0, #change.tombstones)
  end)

  it("takes the row away from the tenant that it leaves", function()
    local change = run:update({ id = 1, end_user_id = 42 }, { id = 1, end_user_id = 43 })
    assert.equal(8, change.app_id)
    assert.equal(1, #change.tombstones)
    assert.equal(7, change.tombstones[1].app_id)
  end)

  it("keeps the last good row where the new one is quarantined", function()
    local before = { id = 1, end_user_id = 42, data_type_id = 3001, long_value = 60 }
    local change = run:update(before, { id = 1, end_user_id = 42, data_type_id = 3001, long_value = 900 })
    assert.equal("implausible heart rate", change.dlq.reason)
    assert.equal(0, #change.tombstones)
  end)

  it("deletes under every tenant that the user has had", function()
    run:set_lookup("end_user", 42, { app_id = 9 })
    local change = run:delete({ id = 1, end_user_id = 42 })
    assert.equal(2, #change.tombstones)
    assert.equal(9, change.tombstones[1].app_id)
    assert.equal(7, change.tombstones[2].app_id)
  end)
end)
