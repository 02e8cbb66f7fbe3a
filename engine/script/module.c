/* The texts of user modules: from files below the project root while a set is made, from the set
 * when it is replayed. A module "a.b" is root/a/b.lua or root/lua/a/b.lua. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

enum { PATH_BYTES = 4096 };

static bool good_name(const char *m) {
  if (!*m || strstr(m, "..") || *m == '.') {
    return false;
  }
  for (; *m; m++) {
    if (!isalnum((unsigned char)*m) && *m != '_' && *m != '-' && *m != '.') {
      return false;
    }
  }
  return true;
}

static int read_file(const char *path, char **text, size_t *len, struct pe_err *err) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    return 1;
  }
  char *p = malloc(PE_SCRIPT_FILE_BYTES_MAX + 1);
  int rc = 0;
  if (!p) {
    rc = pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for %s", path);
  } else {
    *len = fread(p, 1, PE_SCRIPT_FILE_BYTES_MAX + 1, f);
    if (ferror(f)) {
      rc = pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL, "can't read %s: %s", path, strerror(errno));
    } else if (*len > PE_SCRIPT_FILE_BYTES_MAX) {
      rc = pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL, "%s is larger than %d bytes", path,
                      (int)PE_SCRIPT_FILE_BYTES_MAX);
    }
  }
  fclose(f);
  if (rc) {
    free(p);
    return rc;
  }
  p[*len] = 0;
  char *fit = realloc(p, *len + 1);
  *text = fit ? fit : p;
  return 0;
}

int pe_module_add(struct pe_script *s, const char *module, const char *path, char *text, size_t len,
                  struct pe_err *err) {
  if (s->nfiles == PE_SCRIPT_MODULES_MAX) {
    free(text);
    return pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL, "more than %d modules",
                      (int)PE_SCRIPT_MODULES_MAX);
  }
  if (s->nfiles == s->files_cap) {
    uint32_t cap = s->files_cap ? s->files_cap * 2 : 16;
    struct pe_script_file *p = realloc(s->files, cap * sizeof(*p));
    if (!p) {
      free(text);
      return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a module");
    }
    s->files = p;
    s->files_cap = cap;
  }
  struct pe_script_file f = {
      .module = strdup(module), .path = strdup(path), .text = text, .len = len};
  if (!f.module || !f.path) {
    free(f.module);
    free(f.path);
    free(text);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory for a module");
  }
  s->files[s->nfiles++] = f;
  return 0;
}

static int find_file(struct pe_script *s, const char *module, struct pe_err *err) {
  static const char *const folders[] = {"", "lua/"};
  for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
    char path[PATH_BYTES], full[PATH_BYTES];
    size_t skip = strlen(folders[i]);
    int n = snprintf(path, sizeof(path), "%s%s.lua", folders[i], module);
    if (n < 0 || (size_t)n >= sizeof(path)) {
      break;
    }
    size_t end = (size_t)n - 4;
    for (size_t k = skip; k < end; k++) {
      path[k] = path[k] == '.' ? '/' : path[k];
    }
    n = snprintf(full, sizeof(full), "%s/%s", s->root, path);
    if (n < 0 || (size_t)n >= sizeof(full)) {
      break;
    }
    char *text = NULL;
    size_t len = 0;
    int rc = read_file(full, &text, &len, err);
    if (rc < 0) {
      return rc;
    }
    if (rc == 0) {
      return pe_module_add(s, module, path, text, len, err);
    }
  }
  return pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL,
                    "there is no module \"%s\": looked for %s.lua in %s and %s/lua (dots are "
                    "folders)",
                    module, module, s->root, s->root);
}

static const struct pe_script_file *loaded(const struct pe_script *s, const char *module) {
  for (uint32_t i = 0; i < s->nfiles; i++) {
    if (strcmp(s->files[i].module, module) == 0) {
      return &s->files[i];
    }
  }
  return NULL;
}

int pe_module_text(struct pe_script *s, const char *module, const struct pe_script_file **out,
                   struct pe_err *err) {
  if (!good_name(module)) {
    return pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL,
                      "\"%s\" is no name of a module: letters, digits, _ and dots between folders",
                      module);
  }
  if (s->set) {
    *out = pe_script_set_file(s->set, module);
    return *out ? 0
                : pe_err_set(err, PE_ESCRIPT, PE_CLASS_FATAL,
                             "module \"%s\" is not in the stored script set %.12s", module,
                             s->set->hash);
  }
  *out = loaded(s, module);
  if (*out) {
    return 0;
  }
  int rc = find_file(s, module, err);
  *out = rc ? NULL : loaded(s, module);
  return rc;
}
