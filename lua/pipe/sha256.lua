-- SHA-256 and HMAC-SHA256 in plain Lua, for tests without the engine: the engine has them in C.
-- FIPS 180-4 and RFC 2104. Shared vectors hold both to the same results.
local bit = require "bit"
local band, bnot, bxor, ror, rshift, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit

local sha256 = {}

local K = {}
local H0 = {}
do -- fractional parts of the cube and square roots of the first primes
  local function fraction(x) return tobit(math.floor((x - math.floor(x)) * 2 ^ 32)) end
  local n, found = 2, 0
  while found < 64 do
    local prime = true
    for d = 2, math.floor(math.sqrt(n)) do
      if n % d == 0 then
        prime = false
        break
      end
    end
    if prime then
      found = found + 1
      if found <= 8 then H0[found] = fraction(math.sqrt(n)) end
      K[found] = fraction(n ^ (1 / 3))
    end
    n = n + 1
  end
end

local function block(h, s, at)
  local w = {}
  for i = 1, 16 do
    local a, b, c, d = s:byte(at + i * 4 - 4, at + i * 4 - 1)
    w[i] = tobit(a * 2 ^ 24 + b * 2 ^ 16 + c * 2 ^ 8 + d)
  end
  for i = 17, 64 do
    local x, y = w[i - 15], w[i - 2]
    local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
  end
  local a, b, c, d, e, f, g, hh = h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
  for i = 1, 64 do
    local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
    local ch = bxor(band(e, f), band(bnot(e), g))
    local t1 = tobit(hh + s1 + ch + K[i] + w[i])
    local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
    local maj = bxor(band(a, b), band(a, c), band(b, c))
    hh, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + s0 + maj)
  end
  h[1], h[2], h[3], h[4] = tobit(h[1] + a), tobit(h[2] + b), tobit(h[3] + c), tobit(h[4] + d)
  h[5], h[6], h[7], h[8] = tobit(h[5] + e), tobit(h[6] + f), tobit(h[7] + g), tobit(h[8] + hh)
end

local function be32(v)
  return string.char(band(rshift(v, 24), 255), band(rshift(v, 16), 255), band(rshift(v, 8), 255), band(v, 255))
end

--- The 32 bytes of the digest of a string.
function sha256.digest(s)
  local bits = #s * 8
  local padded = s .. "\128" .. ("\0"):rep((55 - #s) % 64) .. be32(math.floor(bits / 2 ^ 32)) .. be32(tobit(bits % 2 ^ 32))
  local h = { unpack(H0) }
  for at = 1, #padded, 64 do block(h, padded, at) end
  local out = {}
  for i = 1, 8 do out[i] = be32(h[i]) end
  return table.concat(out)
end

local function xored(key, pad)
  return (key:gsub(".", function(c) return string.char(bxor(c:byte(), pad)) end))
end

function sha256.hmac(key, s)
  if #key > 64 then key = sha256.digest(key) end
  key = key .. ("\0"):rep(64 - #key)
  return sha256.digest(xored(key, 0x5c) .. sha256.digest(xored(key, 0x36) .. s))
end

function sha256.hex(s)
  return (sha256.digest(s):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

--- base64url without padding; the length is a multiple of 3.
function sha256.base64url(s)
  return (s:gsub("...", function(three)
    local a, b, c = three:byte(1, 3)
    local v = a * 65536 + b * 256 + c
    local out = {}
    for i = 3, 0, -1 do
      local d = math.floor(v / 64 ^ i) % 64 + 1
      out[#out + 1] = DIGITS:sub(d, d)
    end
    return table.concat(out)
  end))
end

return sha256
