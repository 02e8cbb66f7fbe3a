-- Tokens made with another implementation (Python's hmac), that Lua and C are both held to:
-- tests/lua/sha256_spec.lua and tests/unit/script_token_test.c.
return {
  { key = "0123456789abcdef", id = "1", value = "", token = "tok_1_SW3JP6LSbq5QDsC8N6EicGuI" },
  { key = "k", id = "1", value = "ann@example.com", token = "tok_1_gSteZSg5mOR7SVKO9TGupuCp" },
  { key = "0123456789abcdef", id = "2024a", value = "42", token = "tok_2024a_jSSipSbV9VZGnbi2KA46e4d6" },
  { key = ("x"):rep(64), id = "1", value = "exactly one block as a key", token = "tok_1_ffzB-4Z3UMuuwulOMb2xYfB_" },
  { key = ("y"):rep(65), id = "1", value = "a key longer than a block", token = "tok_1_ccQvhC8ssUBUCqVQcxpR7420" },
  { key = "k", id = "1", value = ("z"):rep(55), token = "tok_1__XpuNxFv64IVnPMO51LZZvR6" },
  { key = "k", id = "1", value = ("z"):rep(56), token = "tok_1_LtnOI50cBpqQK5xgGBraRKMF" },
  { key = "k", id = "1", value = ("z"):rep(64), token = "tok_1_1G0Cig7bq-c9LYAhytbPR1w6" },
  { key = "k", id = "1", value = ("z"):rep(1000), token = "tok_1_pgXUapLwdLHtNExewOL9U3uH" },
  { key = "k", id = "b", value = "Jürgen ☃", token = "tok_b_K7Opx4GIDwPYzYRqxOBZcJjF" },
}
