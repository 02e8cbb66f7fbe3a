/* Tokens against vectors made elsewhere, which the pure Lua implementation is held to as well. */
#include <lauxlib.h>
#include <lualib.h>

#include "script/token.h"
#include "script_support.h"

static const char *field(lua_State *L, const char *name, size_t *n) {
  lua_getfield(L, -1, name);
  const char *s = lua_tolstring(L, -1, n);
  lua_pop(L, 1); /* the table keeps it */
  assert_non_null(s);
  return s;
}

static void vectors(void **state) {
  (void)state;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_dofile(L, PE_SOURCE_DIR "/tests/lua/token_vectors.lua")) {
    fail_msg("%s", lua_tostring(L, -1));
  }
  size_t n = lua_objlen(L, -1);
  assert_true(n >= 10);
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, (int)i);
    size_t nkey, nvalue, ntoken;
    const char *key = field(L, "key", &nkey), *value = field(L, "value", &nvalue);
    const char *token = field(L, "token", &ntoken);
    struct pe_token *t = pe_token_create(key, nkey, field(L, "id", &(size_t){0}));
    assert_non_null(t);
    char out[PE_TOKEN_TEXT_MAX];
    assert_int_equal(pe_token_make(t, value, nvalue, out), ntoken);
    assert_memory_equal(out, token, ntoken);
    assert_int_equal(pe_token_make(t, value, nvalue, out), ntoken); /* the key schedule is kept */
    assert_memory_equal(out, token, ntoken);
    pe_token_destroy(t);
    lua_pop(L, 1);
  }
  lua_close(L);
}

static void long_ids_fit(void **state) {
  (void)state;
  struct pe_token *t = pe_token_create("k", 1, "abcdefghijklmnopqrstuvwxyz");
  char out[PE_TOKEN_TEXT_MAX];
  assert_int_equal(pe_token_make(t, "v", 1, out), 4 + PE_TOKEN_ID_MAX + 1 + PE_TOKEN_CHARS);
  assert_memory_equal(out, "tok_abcdefghijklmnop_", 21);
  pe_token_destroy(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(long_ids_fit)};
  (void)make_table, (void)make_dest, (void)free_dest, (void)set_null, (void)set_int, (void)set_f64;
  (void)set_str, (void)text_of, (void)make_root, (void)write_module, (void)remove_root,
      (void)lua_dir;
  (void)out_at;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
