local sha256 = require "pipe.sha256"

describe("sha256", function()
  it("gives the digests of FIPS 180-4", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", sha256.hex(""))
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sha256.hex("abc"))
    assert.equal("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      sha256.hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))
    assert.equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", sha256.hex(("a"):rep(1000000)))
  end)

  it("makes the tokens that the engine makes", function()
    for _, v in ipairs(dofile "tests/lua/token_vectors.lua") do
      assert.equal(v.token, "tok_" .. v.id .. "_" .. sha256.base64url(sha256.hmac(v.key, v.value):sub(1, 18)))
    end
  end)
end)
