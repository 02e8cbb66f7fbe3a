/* `pipe-engine doctor FILE`: both servers, asked for what the engine needs of them. Every finding
 * comes with its mend; the exit code is that of the first fatal one. Changes nothing, but that an
 * embedded server that is not running is started and stopped again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <uv.h>

#include "app/app.h"
#include "sink/target.h"

enum {
  FINDINGS_MAX = 64,
  ASK_MS = 10 * 1000,
  DISK_LOW_PERCENT = 10,
};

struct doctor {
  const struct pe_config *cfg;
  int first_fatal; /* code of the first fatal finding, 0 none */
  unsigned fatal, notes;
};

static void finding(struct doctor *d, bool fatal, int code, const char *what, const char *mend) {
  printf("%s %s\n", fatal ? "[!!]" : "[ !]", what);
  if (mend[0]) {
    printf("     mend: %s\n", mend);
  }
  if (fatal && d->first_fatal == 0) {
    d->first_fatal = code;
  }
  if (fatal) {
    d->fatal++;
  } else {
    d->notes++;
  }
}

static void failed(struct doctor *d, const struct pe_err *err) {
  finding(d, true, err->code, err->text, "");
}

static void source_findings(struct doctor *d, MYSQL *m) {
  const struct pe_config *c = d->cfg;
  struct pe_err err = PE_ERR_INIT;
  const char **names = calloc(c->ntables, sizeof(*names));
  struct pe_finding *f = calloc(FINDINGS_MAX, sizeof(*f));
  if (names && f) {
    for (uint32_t i = 0; i < c->ntables; i++) {
      names[i] = c->tables[i].name;
    }
    int n = pe_source_check(m, &c->source, c->source.database, names, c->ntables, f, FINDINGS_MAX,
                            &err);
    for (int i = 0; i < n; i++) {
      finding(d, f[i].fatal, f[i].code, f[i].what, f[i].mend);
    }
    if (n < 0) {
      failed(d, &err);
    } else if (n == 0) {
      printf("[ok] settings, grants and %u table(s) are as they must be\n", c->ntables);
    }
  }
  free(names);
  free(f);
}

static void source(struct doctor *d) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_server_info info;
  memset(&info, 0, sizeof(info));
  puts("source");
  MYSQL *m = pe_source_connect(&d->cfg->source, &err);
  if (!m || pe_source_info(m, &info, &err) != 0) {
    failed(d, &err);
  } else {
    printf("[ok] %s %s answers as %s\n", info.mariadb ? "MariaDB" : "MySQL", info.version_text,
           d->cfg->source.user);
    source_findings(d, m);
  }
  if (m) {
    mysql_close(m);
  }
}

static void disk(struct doctor *d, const char *what, double free_bytes, double total_bytes) {
  char text[256];
  snprintf(text, sizeof(text), "%s: %.1f GB of %.1f GB free", what, free_bytes / 1e9,
           total_bytes / 1e9);
  if (total_bytes > 0 && free_bytes * 100 < total_bytes * DISK_LOW_PERCENT) {
    finding(d, false, PE_EIO, text, "make room, or move it to a larger disk");
  } else {
    printf("[ok] %s\n", text);
  }
}

static void target_disks(struct doctor *d, struct pe_ch *ch) {
  char space[128];
  struct pe_err err = PE_ERR_INIT;
  if (pe_ch_value(ch,
                  "SELECT concat(toString(min(free_space)), ' ', toString(min(total_space))) FROM "
                  "system.disks",
                  space, sizeof(space), &err) == 1) {
    char *end;
    double free_bytes = strtod(space, &end);
    disk(d, "ClickHouse's disk", free_bytes, strtod(end, NULL));
  }
}

static void target_table(struct doctor *d, struct pe_ch *ch, const char *table) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_target *t = NULL;
  char what[512], mend[512];
  int rc = pe_target_load(ch, d->cfg->sink.database, table, &t, &err);
  if (rc < 0) {
    failed(d, &err);
  } else if (rc == 0) {
    printf("[ok] table %s does not exist yet: it is made at the start\n", table);
  } else if (t->dedup_window == 0) {
    snprintf(what, sizeof(what),
             "table %s has no deduplication window: a block sent again would count twice", table);
    snprintf(
        mend, sizeof(mend), "ALTER TABLE `%s` MODIFY SETTING %s = 10000", table,
        t->replicated ? "replicated_deduplication_window" : "non_replicated_deduplication_window");
    finding(d, true, PE_ESINK_SCHEMA, what, mend);
  } else {
    printf("[ok] table %s: %s, deduplication window %llu\n", table, t->engine,
           (unsigned long long)t->dedup_window);
  }
  if (t) {
    pe_target_destroy(t);
  }
}

static void target_server(struct doctor *d, const struct pe_ch_opts *o) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_ch *ch = NULL;
  char version[64] = "";
  if (pe_ch_create(NULL, o, &ch, &err) != 0 ||
      pe_ch_value(ch, "SELECT version()", version, sizeof(version), &err) < 0) {
    failed(d, &err);
  } else {
    printf("[ok] ClickHouse %s answers\n", version);
    target_disks(d, ch);
    for (uint32_t i = 0; i < d->cfg->ntables; i++) {
      target_table(d, ch, d->cfg->tables[i].target);
    }
  }
  if (ch) {
    pe_ch_destroy(ch);
  }
}

/* The port of the embedded server of an engine that runs this pipeline, 0 none. */
static unsigned running_port(const struct pe_config *cfg) {
  struct pe_buf body;
  struct pe_err err = PE_ERR_INIT;
  long status = 0;
  unsigned port = 0;
  pe_buf_init(&body);
  if (pe_admin_call(cfg, "GET", "/status", ASK_MS, &status, &body, &err) == 0) {
    const char *at = strstr(pe_buf_cstr(&body), "\"http_port\":");
    port = at ? (unsigned)strtoul(at + strlen("\"http_port\":"), NULL, 10) : 0;
  }
  pe_buf_close(&body);
  return port;
}

static void target_embedded(struct doctor *d) {
  struct pe_ch_opts o = d->cfg->sink;
  struct pe_err err = PE_ERR_INIT;
  struct pe_embedded *server = NULL;
  uv_loop_t loop;
  unsigned port = running_port(d->cfg);
  if (port) {
    snprintf(o.url, sizeof(o.url), "http://127.0.0.1:%u", port);
    target_server(d, &o);
    return;
  }
  uv_loop_init(&loop);
  if (pe_embedded_start(&loop, &d->cfg->embedded, &server, &err) != 0) {
    failed(d, &err);
  } else {
    snprintf(o.url, sizeof(o.url), "http://127.0.0.1:%u", pe_embedded_port(server));
    target_server(d, &o);
    pe_embedded_stop(server);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
}

static void state(struct doctor *d) {
  struct statvfs v;
  puts("state");
  if (statvfs(d->cfg->state_dir, &v) == 0 || statvfs(d->cfg->root, &v) == 0) {
    disk(d, "the state store's disk", (double)v.f_bavail * (double)v.f_frsize,
         (double)v.f_blocks * (double)v.f_frsize);
  }
}

int pe_cmd_doctor(const struct pe_args *a, struct pe_err *err) {
  char lua_dir[PE_LUA_DIR_MAX];
  struct pe_config *cfg = NULL;
  int rc = pe_args_config(a, lua_dir, &cfg, err);
  if (rc != 0) {
    return rc;
  }
  struct doctor d = {.cfg = cfg};
  source(&d);
  puts("target");
  if (cfg->sink_embedded) {
    target_embedded(&d);
  } else {
    target_server(&d, &cfg->sink);
  }
  state(&d);
  printf("%s: %u fatal, %u to note\n", d.fatal ? "not ready" : "ready", d.fatal, d.notes);
  pe_config_destroy(cfg);
  return pe_err_exit_code(d.first_fatal);
}
