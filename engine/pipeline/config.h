/* A pipeline file, read: Lua that returns a description, validated by lua/pipe/schema.lua (which is
 * also its documentation: `pipe-engine help pipeline` and README's reference are made from it).
 *
 * Unknown keys are refused with the nearest known one; every message names file, path
 * ("tables.orders.dlq") and mend. Secrets come from pipe.env / pipe.file / pipe.secret and are
 * marked so that config-dump redacts them.
 */
#ifndef PE_PIPELINE_CONFIG_H
#define PE_PIPELINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "sink/block.h"
#include "sink/clickhouse.h"
#include "sink/embedded.h"
#include "source/server.h"

struct pe_config_table {
  char *name;      /* source table, in source.database */
  char *target;    /* ClickHouse table; default: name */
  char *transform; /* module or NULL */
  char *dlq;       /* DLQ table in ClickHouse; default "<name>_dlq" */
  char **pii;
  uint32_t npii;
  char **exclude;
  uint32_t nexclude; /* source columns left out of the target */
  char **routes;
  uint32_t nroutes; /* other target tables its transform may emit to */
  bool stream;      /* false: reference table, snapshot only (loaded at each start, compared) */
  bool snapshot;    /* false: no initial snapshot, only changes from now on */
  char **dictionaries;
  uint32_t ndictionaries; /* reloaded after its snapshot */
  enum pe_zero_date zero_date;
  bool narrow_ok; /* on_overflow = "dlq" instead of "error" */
};

struct pe_config {
  char *file; /* as given */
  char *root; /* project root: the folder above pipelines/, or the file's own folder */
  char *name; /* "shop"; names the state store and tokens */
  struct pe_source_opts source;
  bool sink_embedded;
  struct pe_embedded_opts embedded;
  struct pe_ch_opts sink; /* url filled after the embedded server is up */
  char *schema_dir;       /* sql folder applied at start, NULL none (relative to root) */
  struct pe_config_table *tables;
  uint32_t ntables;
  char *state_dir; /* default "<root>/state" */
  /* epochs */
  uint32_t epoch_rows; /* 131,072 */
  size_t epoch_bytes;  /* 12 MiB encoded */
  unsigned flush_ms;   /* 200 */
  uint32_t block_rows; /* 65,536 */
  /* queue */
  uint32_t queue_rows; /* 32,768 */
  size_t queue_bytes;  /* 8 MiB */
  uint32_t batch_rows; /* 8192 */
  size_t batch_bytes;  /* 2 MiB */
  /* snapshot */
  unsigned snapshot_workers; /* 2 */
  uint32_t chunk_rows;       /* 50,000 */
  /* admin */
  char *admin_listen;               /* "127.0.0.1:9464", "" none */
  unsigned ready_lag_ms;            /* /ready fails over this lag; 300,000 */
  char *log_format;                 /* "text" | "json" */
  char *log_level;                  /* "info" */
  char *dump;                       /* what pe_config_dump gives */
  struct pe_config_secret *secrets; /* those asked for so far; under a lock of config.c */
};

/* Reads and validates. lua_dir: where pipe/ lives. PE_ECONFIG, PE_EIO. root, schema_dir, state_dir
 * and embedded.dir come out as absolute paths; tables are sorted by name. */
int pe_config_load(const char *file, const char *lua_dir, struct pe_config **out,
                   struct pe_err *err);
void pe_config_destroy(struct pe_config *c);
/* A secret by name for scripts: environment variable NAME, or the content (without its last
 * newline) of the file named by NAME_FILE. NULL: not set, or the file can't be read. Lives as long
 * as the configuration; any thread. */
const char *pe_config_secret(void *config, const char *name);
/* The whole configuration as in effect, as Lua text with defaults filled in and secrets as
 * "<redacted>". */
int pe_config_dump(const struct pe_config *c, struct pe_buf *out, struct pe_err *err);
/* The reference (Markdown) generated from the schema. */
int pe_config_reference(const char *lua_dir, struct pe_buf *out, struct pe_err *err);
/* The same for a terminal of 100 columns. */
int pe_config_reference_text(const char *lua_dir, struct pe_buf *out, struct pe_err *err);
/* The folder with pipe/: $PIPE_ENGINE_LUA, <exe>/../lua, <exe>/../share/pipe-engine/lua, or the
 * source tree's. */
int pe_config_lua_dir(char *out, size_t n, struct pe_err *err);

#endif
