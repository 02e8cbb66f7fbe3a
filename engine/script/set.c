/* Script sets: the texts of all modules that a pipeline's transforms loaded, with their hash.
 * Shared between threads by reference counts; immutable once made. Fails with PE_ENOMEM. */
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

static int by_module(const void *a, const void *b) {
  const struct pe_script_file *fa = a, *fb = b;
  return strcmp(fa->module, fb->module);
}

static void put_part(struct pe_buf *b, const void *p, size_t n) {
  uint64_t len = n;
  pe_buf_put(b, &len, sizeof(len));
  pe_buf_put(b, p, n);
}

static void free_files(struct pe_script_file *files, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    free(files[i].module);
    free(files[i].path);
    free(files[i].text);
  }
  free(files);
}

/* Takes the files over, also when it fails. */
int pe_script_set_from(struct pe_script_file *files, uint32_t n, struct pe_script_set **out,
                       struct pe_err *err) {
  struct pe_script_set *s = calloc(1, sizeof(*s));
  struct pe_buf b;
  pe_buf_init(&b);
  if (n) {
    qsort(files, n, sizeof(*files), by_module);
  }
  for (uint32_t i = 0; i < n; i++) {
    put_part(&b, files[i].module, strlen(files[i].module));
    put_part(&b, files[i].text, files[i].len);
  }
  if (!s || !pe_buf_ok(&b)) {
    free(s);
    free_files(files, n);
    pe_buf_close(&b);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a script set");
  }
  s->files = files;
  s->nfiles = n;
  s->refs = 1;
  pe_sha256_hex(b.data ? (const char *)b.data : "", b.len, s->hash);
  pe_buf_close(&b);
  *out = s;
  return 0;
}

int pe_script_set_build(const struct pe_script_file *files, uint32_t n, struct pe_script_set **out,
                        struct pe_err *err) {
  struct pe_script_file *copy = calloc(n ? n : 1, sizeof(*copy));
  bool ok = copy != NULL;
  for (uint32_t i = 0; i < n && ok; i++) {
    copy[i].module = strdup(files[i].module);
    copy[i].path = strdup(files[i].path ? files[i].path : "");
    copy[i].text = malloc(files[i].len + 1);
    copy[i].len = files[i].len;
    ok = copy[i].module && copy[i].path && copy[i].text;
    if (ok) {
      memcpy(copy[i].text, files[i].text, files[i].len);
      copy[i].text[files[i].len] = 0;
    }
  }
  if (!ok) {
    if (copy) {
      free_files(copy, n);
    }
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a script set");
  }
  return pe_script_set_from(copy, n, out, err);
}

struct pe_script_set *pe_script_set_ref(struct pe_script_set *s) {
  __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
  return s;
}

void pe_script_set_unref(struct pe_script_set *s) {
  if (!s || __atomic_fetch_sub(&s->refs, 1, __ATOMIC_ACQ_REL) != 1) {
    return;
  }
  free_files(s->files, s->nfiles);
  free(s);
}

const struct pe_script_file *pe_script_set_file(const struct pe_script_set *s, const char *module) {
  for (uint32_t i = 0; i < s->nfiles; i++) {
    if (strcmp(s->files[i].module, module) == 0) {
      return &s->files[i];
    }
  }
  return NULL;
}
