-- What "the target equals the source" means for the demo database: the comparison of every table, with
-- what the shipped transforms do to a row said a second time, independently of them.
local ffi = require "ffi"
local compare = require "support.compare"

ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *md, const void *key, int nkey, const unsigned char *d, size_t n,
                    unsigned char *out, unsigned *nout);
]]
local thryve = {}

thryve.tables = { "app", "end_user", "epoch_data_type", "data_source", "generation_type", "generation_device",
  "trustworthiness", "epoch_data" }
thryve.HEART_RATE = 3001

local crypto
-- tok_1_ and the first 18 bytes of HMAC-SHA256 in base64url.
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local function token(key, text)
  crypto = crypto or ffi.load "libcrypto.so.3"
  local out = ffi.new "unsigned char[32]"
  crypto.HMAC(crypto.EVP_sha256(), key, #key, text, #text, out, nil)
  local t = {}
  for i = 0, 17, 3 do
    local v = out[i] * 65536 + out[i + 1] * 256 + out[i + 2]
    for shift = 3, 0, -1 do
      local d = math.floor(v / 64 ^ shift) % 64
      t[#t + 1] = ALPHABET:sub(d + 1, d + 1)
    end
  end
  return "tok_1_" .. table.concat(t)
end

local function number(p)
  local v = 0ULL
  for i = 1, #p do v = v * 10 + (p:byte(i) - 48) end
  return v
end

-- Implausible, or nobody's: the transform quarantines it. Implausible ones get into `implausible`.
local function dead_fact(users, implausible)
  return function(get)
    if get "data_type_id" == "3001" then
      local bpm = tonumber(get "long_value")
      if bpm and (bpm < 20 or bpm > 250) then
        implausible[get "id"] = true
        return true
      end
    end
    return users[get "end_user_id"] == nil
  end
end

-- Every quarantined row must have told why: how many have not, and one of them.
local function untold(ch, implausible)
  local told = {}
  for _, r in ipairs(ch:query [[SELECT DISTINCT replaceAll(JSONExtractRaw(row, 'id'), '"', '') FROM epoch_data_dlq]]) do
    told[r[1]] = true
  end
  local n, one = 0, nil
  for id in pairs(implausible) do
    if not told[id] then n, one = n + 1, id end
  end
  return n, one
end

-- app_id of a fact row: where the row is newer than its user's last change, today's; before that, any
-- that the user has had, as far as `history` (id -> { app_id = true }) tells, else any that exists.
local function tenant(db, ch, users, history)
  local apps, versions = {}, {}
  for _, r in ipairs(db:query "SELECT id FROM thryve.app") do apps[r[1]] = true end
  for _, r in ipairs(ch:query "SELECT id, _version FROM end_user FINAL WHERE _deleted = 0") do
    versions[r[1]] = number(r[2])
  end
  return function(get, values)
    local user = get "end_user_id"
    local app = values[1]
    if users[user] == app then return true end
    if versions[user] and number(values[2]) > versions[user] then return false, "app_id" end
    local known = history and history[user] or not history and apps
    return known and known[app] == true, "app_id"
  end
end

--[[ thryve.compare { db =, ch =, pii_key =, tables = { names }, history = bool }
     history: the source has audit.end_user_app (user, app) with every pair that ever was.
   -> results, true when all is equal ]]
function thryve.compare(o)
  local db, ch = o.db, o.ch
  local results, good = {}, true
  local users, history = {}, nil
  for _, r in ipairs(db:query "SELECT id, app_id FROM thryve.end_user") do users[r[1]] = r[2] end
  if o.history then
    history = {}
    for _, r in ipairs(db:query "SELECT user, app FROM audit.end_user_app") do
      history[r[1]] = history[r[1]] or {}
      history[r[1]][r[2]] = true
    end
  end
  for _, name in ipairs(o.tables or thryve.tables) do
    local c = { db = db, ch = ch, database = "thryve", table = name }
    local implausible
    if name == "epoch_data" then
      implausible = {}
      c.dead = dead_fact(users, implausible)
      c.extra = { columns = { "app_id", "_version" }, check = tenant(db, ch, users, history) }
    elseif name == "end_user" then
      c.tokens = thryve.tokens(o.pii_key)
    end
    local r = compare.table(c)
    if name == "epoch_data" then
      r.passed = ch:number(("SELECT count() FROM epoch_data FINAL WHERE _deleted = 0 AND data_type_id = %d " ..
        "AND (long_value < 20 OR long_value > 250)"):format(thryve.HEART_RATE))
      if r.passed > 0 then
        r.wrong = r.wrong + r.passed
        r.first[#r.first + 1] = ("epoch_data: %d implausible rows reached the target"):format(r.passed)
      end
      local n, one = untold(ch, implausible)
      if n > 0 then
        r.wrong = r.wrong + n
        r.first[#r.first + 1] = ("epoch_data: %d implausible rows are not in the DLQ, among them %s"):format(n, one)
      end
    end
    results[#results + 1] = r
    good = good and r.wrong == 0
  end
  return results, good
end

-- How the shipped transform of persons tokenises, said again; without the key: that it isn't the clear text.
function thryve.tokens(key)
  local function different(text, got)
    return got ~= "" and not got:find(text, 1, true) and got or "not a token"
  end
  if not key then return { email = different, access_token = different } end
  return {
    access_token = function(text) return token(key, text) end,
    email = function(text)
      local person, host = text:match "^(.*)(@[^@]*)$"
      return person and token(key, person) .. host or token(key, text)
    end,
  }
end

return thryve
