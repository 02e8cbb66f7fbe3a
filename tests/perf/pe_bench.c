/* pe_bench: the engine's stages alone, over a real binlog, for tests/bench.
 *
 *   pe_bench raw|decode|transform|encode  PIPELINE FILE POS ROWS
 *   pe_bench blocks  PIPELINE FILE POS ROWS OUTDIR     the rows as ready-made Native blocks, one
 * file each pe_bench insert  URL SQL DIR CONNECTIONS            a bare client: posts those files,
 * nothing else pe_bench latency PIPELINE URL COUNT_SQL RATE SECONDS  single-row transactions at
 * RATE; when is each of them counted?
 *
 * Prints one line of JSON: rows, seconds, cpu_s (this process), rss_mb, allocations (calls of
 * malloc and its kin while rows moved). raw reads the same log from the server and looks at
 * nothing.
 */
#include <curl/curl.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/internal.h"

static _Atomic uint64_t allocations;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_malloc(n);
}
void *calloc(size_t n, size_t m) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_calloc(n, m);
}
void *realloc(void *p, size_t n) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_realloc(p, n);
}

static double cpu_s(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
         (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static double rss_mb(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)r.ru_maxrss / 1024.0;
}

static void die(const char *what, const struct pe_err *err) {
  fprintf(stderr, "pe_bench: %s: %s\n", what, err->text);
  exit(1);
}

struct mark {
  int64_t us;
  double cpu;
  uint64_t allocs;
};

static struct mark mark_now(void) {
  return (struct mark){pe_clock_us(), cpu_s(), atomic_load(&allocations)};
}

static void report(const char *name, uint64_t rows, uint64_t bytes, struct mark from) {
  struct mark to = mark_now();
  double s = (double)(to.us - from.us) / 1e6;
  printf("{\"name\":\"%s\",\"rows\":%" PRIu64
         ",\"seconds\":%.3f,\"rows_per_s\":%.0f,"
         "\"cpu_s_per_mrow\":%.3f,\"mb_per_s\":%.1f,\"rss_mb\":%.1f,\"allocations\":%" PRIu64 "}\n",
         name, rows, s, (double)rows / s, (to.cpu - from.cpu) * 1e6 / (double)rows,
         (double)bytes / 1e6 / s, rss_mb(), to.allocs - from.allocs);
}

/* ---- raw ---- */
static void run_raw(struct pe_config *cfg, const char *file, uint64_t pos, const char *end_file,
                    uint64_t end_pos) {
  struct pe_err err = PE_ERR_INIT;
  MYSQL *m = pe_source_connect(&cfg->source, &err);
  if (!m)
    die("connect", &err);
  mysql_query(m, "SET @master_binlog_checksum='NONE', @source_binlog_checksum='NONE'");
  mysql_query(m, "SET @mariadb_slave_capability=4");
  unsigned char cmd[300] = {0};
  uint32_t p32 = (uint32_t)pos, id = 777001;
  size_t n = strlen(file);
  memcpy(cmd, &p32, 4);
  cmd[4] = 1; /* BINLOG_DUMP_NON_BLOCK: the server ends the dump at the log's end */
  memcpy(cmd + 6, &id, 4);
  memcpy(cmd + 10, file, n);
  if (m->methods->db_command(m, (enum enum_server_command)18, (char *)cmd, 10 + n, 1, NULL)) {
    fprintf(stderr, "pe_bench: dump: %s\n", mysql_error(m));
    exit(1);
  }
  (void)end_file;
  (void)end_pos;
  struct mark from = mark_now();
  uint64_t bytes = 0, events = 0;
  for (;;) {
    unsigned long len = mysql_net_read_packet(m);
    if (len == (unsigned long)-1 || (len < 9 && m->net.read_pos[0] == 254))
      break;
    bytes += len;
    events++;
  }
  const char *rows = getenv("PE_BENCH_ROWS");
  report("raw", rows ? strtoull(rows, NULL, 10) : events, bytes, from);
  mysql_close(m);
}

/* ---- the engine's stages ---- */
enum stage { STAGE_DECODE, STAGE_TRANSFORM, STAGE_ENCODE, STAGE_BLOCKS };

static uint64_t block_files;
static void write_block(struct pe_block *b, const char *dir) {
  const struct pe_iov *iov;
  size_t n;
  char path[600];
  if (!pe_block_rows(b) || pe_block_iov(b, &iov, &n))
    return;
  snprintf(path, sizeof(path), "%s/%06" PRIu64 ".native", dir, block_files++);
  FILE *f = fopen(path, "wb");
  for (size_t i = 0; f && i < n; i++)
    fwrite(iov[i].p, 1, iov[i].n, f);
  if (f)
    fclose(f);
}

static void drop_epoch(struct pe_engine *e, const char *dir) {
  struct pe_err err = PE_ERR_INIT;
  if (!e->building)
    return;
  if (pe_epoch_seal(e, e->building, &err))
    die("seal", &err);
  for (uint32_t i = 0; dir && i < e->building->nblocks; i++)
    write_block(e->building->blocks[i]->block, dir);
  pe_epoch_destroy(e->building);
  e->building = NULL;
}

static void encode(struct pe_engine *e, struct pe_segment *seg, const char *dir) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_etable *t = &e->tables[seg->table->id];
  if (!e->building && !(e->building = pe_epoch_open(e, false)))
    exit(1);
  if (e->outs.nouts > e->bad_cap) {
    e->bad_cap = e->outs.nouts * 2;
    e->bad = realloc(e->bad, e->bad_cap * sizeof(*e->bad));
    e->bad_why = realloc(e->bad_why, e->bad_cap * sizeof(*e->bad_why));
  }
  if (e->outs.nouts)
    pe_plan_check(((struct pe_edest *)e->outs.outs[0].dest)->plan, e->outs.outs, e->outs.nouts,
                  e->bad, e->bad_why);
  if (pe_epoch_add(e, e->building, &e->outs, t, false, 0, &err))
    die("encode", &err);
  if (e->building->rows >= e->cfg->epoch_rows)
    drop_epoch(e, dir);
}

static void run_stage(struct pe_engine *e, enum stage stage, const char *name, const char *file,
                      uint64_t pos, uint64_t want, const char *dir) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_reader_table *rt = calloc(e->ntables, sizeof(*rt));
  for (uint32_t i = 0; i < e->ntables; i++)
    rt[i].table = e->tables[i].layout;
  struct pe_reader_opts o = {.source = e->cfg->source,
                             .tables = rt,
                             .ntables = e->ntables,
                             .batch_rows = e->cfg->batch_rows,
                             .batch_bytes = e->cfg->batch_bytes,
                             .idle_push_ms = 1000,
                             .heartbeat_ms = 10000};
  snprintf(o.start.file, sizeof(o.start.file), "%s", file);
  o.start.pos = pos;
  struct mark from = mark_now();
  if (pe_reader_start(&o, &e->queue, &e->reader, &err))
    die("reader", &err);
  uint64_t rows = 0, bytes = 0;
  const struct pe_run_hooks hooks = {0};
  while (rows < want) {
    struct pe_batch *b = pe_queue_pop(&e->queue, 5000);
    if (!b) {
      fprintf(stderr, "pe_bench: only %" PRIu64 " rows came\n", rows);
      break;
    }
    if (b->event == PE_EV_FATAL)
      die("reader", b->error);
    for (struct pe_segment *s = b->first; s; s = s->next) {
      uint32_t n = s->op == PE_OP_UPDATE ? s->nimages / 2 : s->nimages;
      rows += n;
      if (stage == STAGE_DECODE)
        continue;
      if (pe_lookups_apply(e->lookups, s, 0, n))
        exit(1);
      for (uint32_t at = 0; at < n; at += PE_RUN_CHANGES) {
        uint32_t k = n - at < PE_RUN_CHANGES ? n - at : PE_RUN_CHANGES;
        pe_outputs_clear(&e->outs);
        if (pe_script_run(e->script, s, at, k, &hooks, &e->outs, &err))
          die("transform", &err);
        if (stage >= STAGE_ENCODE)
          encode(e, s, dir);
      }
    }
    bytes += b->binlog_bytes;
    pe_batch_destroy(b);
  }
  drop_epoch(e, dir);
  report(name, rows, bytes, from);
  pe_queue_shutdown(&e->queue);
  pe_reader_stop(e->reader);
  e->reader = NULL;
  free(rt);
}

/* Lookups are filled from their tables, as a snapshot would. */
static void fill_lookups(struct pe_engine *e) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_snapshot_table *st = calloc(e->ntables, sizeof(*st));
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->ntables; i++)
    if (pe_lookups_uses(e->lookups, e->tables[i].layout))
      st[n++] = (struct pe_snapshot_table){.table = e->tables[i].layout, .version = 1};
  struct pe_snapshot_opts o = {.source = e->cfg->source,
                               .tables = st,
                               .ntables = n,
                               .workers = 1,
                               .chunk_rows = 50000,
                               .batch_rows = 8192,
                               .batch_bytes = 4 << 20};
  struct pe_snapshot *s = NULL;
  if (!n)
    return;
  if (pe_snapshot_start(&o, &e->queue, &s, &err))
    die("lookups", &err);
  for (;;) {
    struct pe_batch *b = pe_queue_pop(&e->queue, 100);
    if (!b && pe_snapshot_finished(s))
      break;
    if (!b)
      continue;
    for (struct pe_segment *g = b->first; g; g = g->next)
      if (pe_lookups_apply(e->lookups, g, 0, g->nimages))
        exit(1);
    pe_batch_destroy(b);
  }
  pe_snapshot_stop(s);
  free(st);
}

/* ---- the bare client ---- */
struct poster {
  char **files;
  size_t nfiles;
  _Atomic size_t *next;
  const char *url, *sql;
  _Atomic uint64_t *bytes;
};

static void *post_main(void *arg) {
  struct poster *p = arg;
  CURL *c = curl_easy_init();
  char *q = curl_easy_escape(c, p->sql, 0);
  char url[4096];
  snprintf(url, sizeof(url), "%s/?async_insert=0&query=%s", p->url, q);
  curl_free(q);
  struct curl_slist *h = curl_slist_append(NULL, "Expect:");
  size_t i;
  while ((i = atomic_fetch_add(p->next, 1)) < p->nfiles) {
    FILE *f = fopen(p->files[i], "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st))
      exit(1);
    char *body = malloc((size_t)st.st_size);
    if (fread(body, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
      exit(1);
    fclose(f);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, h);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)st.st_size);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    long status = 0;
    if (curl_easy_perform(c) || curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status) ||
        status != 200) {
      fprintf(stderr, "pe_bench: insert answered %ld\n", status);
      exit(1);
    }
    atomic_fetch_add(p->bytes, (uint64_t)st.st_size);
    free(body);
  }
  curl_slist_free_all(h);
  curl_easy_cleanup(c);
  return NULL;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run_insert(const char *url, const char *sql, const char *dir, int connections,
                       uint64_t rows) {
  DIR *d = opendir(dir);
  char **files = NULL;
  size_t n = 0;
  for (struct dirent *x; d && (x = readdir(d));)
    if (strstr(x->d_name, ".native")) {
      files = realloc(files, (n + 1) * sizeof(*files));
      if (asprintf(&files[n++], "%s/%s", dir, x->d_name) < 0)
        exit(1);
    }
  if (d)
    closedir(d);
  qsort(files, n, sizeof(*files), by_name);
  _Atomic size_t next = 0;
  _Atomic uint64_t bytes = 0;
  struct poster p = {files, n, &next, url, sql, &bytes};
  pthread_t th[16];
  struct mark from = mark_now();
  for (int i = 0; i < connections && i < 16; i++)
    pthread_create(&th[i], NULL, post_main, &p);
  for (int i = 0; i < connections && i < 16; i++)
    pthread_join(th[i], NULL);
  report("insert", rows, bytes, from);
}

/* ---- latency: commit to queryable ---- */
struct lat {
  const char *url, *sql;
  _Atomic uint64_t visible; /* rows counted, from the start */
  _Atomic int stop;
  int64_t *seen_us;
  uint64_t max;
};

static size_t number_cb(char *p, size_t size, size_t n, void *arg) {
  *(uint64_t *)arg = strtoull(p, NULL, 10);
  return size * n;
}

static void *poll_main(void *arg) {
  struct lat *l = arg;
  CURL *c = curl_easy_init();
  uint64_t count = 0, base = UINT64_MAX, seen = 0;
  curl_easy_setopt(c, CURLOPT_URL, l->url);
  curl_easy_setopt(c, CURLOPT_POSTFIELDS, l->sql);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, number_cb);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &count);
  while (!atomic_load(&l->stop)) {
    if (curl_easy_perform(c))
      break;
    int64_t now = pe_clock_us();
    if (base == UINT64_MAX)
      base = count;
    for (; seen < count - base && seen < l->max; seen++)
      l->seen_us[seen] = now;
    atomic_store(&l->visible, seen);
    pe_sleep_ms(4);
  }
  curl_easy_cleanup(c);
  return NULL;
}

static int by_time(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static void run_latency(struct pe_config *cfg, const char *url, const char *sql, double rate,
                        double seconds) {
  struct pe_err err = PE_ERR_INIT;
  uint64_t max = (uint64_t)(rate * seconds);
  struct lat l = {.url = url, .sql = sql, .seen_us = calloc(max + 1, 8), .max = max};
  int64_t *sent = calloc(max + 1, 8);
  pthread_t th;
  MYSQL *m = pe_source_connect(&cfg->source, &err);
  if (!m)
    die("connect", &err);
  pthread_create(&th, NULL, poll_main, &l);
  pe_sleep_ms(500);
  int64_t t0 = pe_clock_us();
  for (uint64_t i = 0; i < max; i++) {
    int64_t due = t0 + (int64_t)((double)i * 1e6 / rate), now = pe_clock_us();
    if (due > now + 1000)
      pe_sleep_ms((unsigned)((due - now) / 1000));
    if (mysql_query(m,
                    "INSERT INTO epoch_data (end_user_id,data_type_id,data_source_id,start_ts,"
                    "created_at,long_value,trustworthiness_id) VALUES "
                    "(1,3001,1,NOW(3),NOW(3),60,1)")) {
      fprintf(stderr, "pe_bench: %s\n", mysql_error(m));
      exit(1);
    }
    sent[i] = pe_clock_us();
  }
  for (int i = 0; i < 1000 && atomic_load(&l.visible) < max; i++)
    pe_sleep_ms(10);
  atomic_store(&l.stop, 1);
  pthread_join(th, NULL);
  uint64_t got = atomic_load(&l.visible);
  for (uint64_t i = 0; i < got; i++)
    sent[i] = l.seen_us[i] - sent[i];
  qsort(sent, got, sizeof(*sent), by_time);
  printf("{\"name\":\"latency\",\"rows\":%" PRIu64 ",\"seen\":%" PRIu64
         ",\"p50_ms\":%.1f,\"p90_ms\":%.1f,\"p99_ms\":%.1f,\"max_ms\":%.1f}\n",
         max, got, (double)sent[got / 2] / 1e3, (double)sent[got * 9 / 10] / 1e3,
         (double)sent[got * 99 / 100] / 1e3, got ? (double)sent[got - 1] / 1e3 : 0.0);
}

int main(int argc, char **argv) {
  struct pe_err err = PE_ERR_INIT;
  struct pe_config *cfg = NULL;
  char lua_dir[512];
  if (argc < 6) {
    fprintf(stderr, "usage: see the head of tests/perf/pe_bench.c\n");
    return 64;
  }
  pe_log_setup(PE_LOG_ERROR, false);
  if (strcmp(argv[1], "insert") == 0) {
    curl_global_init(CURL_GLOBAL_ALL);
    run_insert(argv[2], argv[3], argv[4], atoi(argv[5]),
               argc > 6 ? strtoull(argv[6], NULL, 10) : 1);
    return 0;
  }
  if (pe_config_lua_dir(lua_dir, sizeof(lua_dir), &err) ||
      pe_config_load(argv[2], lua_dir, &cfg, &err))
    die("pipeline", &err);
  if (strcmp(argv[1], "latency") == 0 && argc > 6) {
    curl_global_init(CURL_GLOBAL_ALL);
    run_latency(cfg, argv[3], argv[4], atof(argv[5]), atof(argv[6]));
    return 0;
  }
  uint64_t pos = strtoull(argv[4], NULL, 10), rows = strtoull(argv[5], NULL, 10);
  if (strcmp(argv[1], "raw") == 0) {
    setenv("PE_BENCH_ROWS", argv[5], 1);
    run_raw(cfg, argv[3], pos, NULL, 0);
    return 0;
  }
  struct pe_engine_opts eo = {.lua_dir = lua_dir};
  struct pe_engine *e = NULL;
  if (pe_engine_start(cfg, &eo, &e, &err))
    die("start", &err);
  fill_lookups(e);
  if (strcmp(argv[1], "decode") == 0)
    run_stage(e, STAGE_DECODE, "decode", argv[3], pos, rows, NULL);
  else if (strcmp(argv[1], "transform") == 0)
    run_stage(e, STAGE_TRANSFORM, "transform", argv[3], pos, rows, NULL);
  else if (strcmp(argv[1], "encode") == 0)
    run_stage(e, STAGE_ENCODE, "encode", argv[3], pos, rows, NULL);
  else
    run_stage(e, STAGE_BLOCKS, "blocks", argv[3], pos, rows, argv[6]);
  fflush(stdout);
  _exit(0);
}
