/* Assertions for programmer errors, on in release builds too. Never on bytes from a network, a disk
 * or a script: those get a pe_err. */
#ifndef PE_BASE_ASSERT_H
#define PE_BASE_ASSERT_H

_Noreturn void pe_assert_failed(const char *file, int line, const char *cond);

#define PE_ASSERT(cond)                            \
  do {                                             \
    if (__builtin_expect(!(cond), 0)) {            \
      pe_assert_failed(__FILE__, __LINE__, #cond); \
    }                                              \
  } while (0)

#endif
