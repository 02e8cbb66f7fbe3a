/* The stream over binlog files that real servers wrote. The statements, after the tables were made:
 *
 *  set timestamp=1700000000.25; insert into item values (1,'one',1.50,...),(2,'two',...),
 *    (4294967295,'',...);
 *  begin; update item ... where id=1; insert into other values (1,1); delete from item where id=2;
 *  commit; insert into other values (2,2); insert into kinds ...;
 *  truncate table `item`; insert into item values (7,...);
 *  alter table item add column extra int null after name; insert into item (id,name,extra) ...; */
#include "source_binlog_support.h"

static const char *const files[] = {"source_binlog_maria.bin", "source_binlog_mysql.bin"};
enum { NFILES = 2 };

static const char *const expected[] = {
    "+ item 1|one|1.50|2024-02-29 12:34:56.789|naïve €|s",
    "+ item 2|two|-0.05|NULL|NULL|m",
    "+ item 4294967295||99999999.99|0000-00-00 00:00:00.000||l",
    "~ item 1|one|1.50|2024-02-29 12:34:56.789|naïve €|s -> "
    "1|uno|2.50|2024-02-29 12:34:56.789|naïve €|s",
    "+ other 1|1",
    "- item 2|two|-0.05|NULL|NULL|m",
    "+ other 2|2",
    "+ kinds 1|-128|65535|-8388608|18446744073709551615|1.5|-22500000000|"
    "-12345678901234567890.0123456789|"
    "99999999999999999999999999999999999.999999999999999999999999999999|2155|1000-01-01|"
    "-12:34:56.78|9999-12-31 23:59:59.999999|2001-09-09 01:46:40.123|257|x,z|ab|01000000|00ff00|"
    "626c6f62|€ÿ|日本|日本",
    "+ kinds 2|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|"
    "NULL|NULL|NULL|NULL|NULL|NULL",
    "+ kinds 3|1|0|-1|0|-0.5|0|-0.0000000001|0.000000000000000000000000000000|0000|2024-00-17|"
    "-00:00:00.50|2024-02-31 10:00:00.000000|0000-00-00 00:00:00.000|0|||00000000||||| ",
    "truncate item",
    "+ item 7|seven|7.00|1969-12-31 23:59:59.999|x|m",
    "changed item",
    "+ item 8|eight|88|NULL|NULL|NULL|m",
};
enum { NEXPECTED = sizeof(expected) / sizeof(expected[0]) };

static void same_lines(const struct seen *o, unsigned from) {
  assert_int_equal(o->nlines + from, NEXPECTED);
  for (unsigned i = 0; i < o->nlines; i++) {
    char want[LINE_BYTES];
    snprintf(want, sizeof(want), "%s", expected[i + from]);
    size_t n = strlen(want);
    if (want[n - 1] == ' ') { /* the table above marks an empty last column with a blank */
      want[n - 1] = 0;
    }
    assert_string_equal(o->lines[i], want);
  }
}

static void every_row_comes_out_exactly(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {0};
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    same_lines(&f->seen, 0);
    const struct pe_position *end = &f->seen.ends[f->seen.nbatches - 1];
    assert_true(f->seen.boundary[f->seen.nbatches - 1]);
    assert_int_equal(f->seen.loads, 1);
    assert_int_equal(end->version, end->base_version);
    /* The file ends with a ROTATE to the next one. */
    assert_int_equal(log_type(&l, l.nevents - 1), PE_BL_ROTATE);
    assert_int_equal(end->pos, 4);
    fixture_close(f);
  }
}

/* An image's number is where it lies: the byte after the NULL bitmap holds the row's id. */
static void versions_are_offsets(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {0};
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    static const struct {
      unsigned line, id;
    } at[] = {{0, 1}, {1, 2}, {3, 1}, {5, 2}, {6, 2}, {11, 7}, {13, 8}};
    for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
      uint32_t generation, file;
      uint64_t offset;
      pe_version_split(f->seen.versions[at[i].line], &generation, &file, &offset);
      assert_int_equal(generation, 1);
      assert_int_equal(file, 3);
      assert_true(offset + 2 < l.n);
      assert_int_equal(l.bytes[offset + 1], at[i].id);
    }
    fixture_close(f);
  }
}

/* From the end of any batch on, also one in the middle of a transaction, another reader gives the
 * same changes with the same numbers: none twice, none missing. */
static void every_batch_end_is_a_place_to_go_on(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {.batch_rows = 1};
    struct pe_err err = PE_ERR_INIT;
    bool inside = false;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    same_lines(&f->seen, 0);
    for (unsigned i = 0; i < f->seen.nbatches; i++) {
      const struct pe_position *end = &f->seen.ends[i];
      unsigned from = f->seen.lines_at[i];
      if (strcmp(end->file, "bin.000003") != 0) {
        continue;
      }
      inside = inside || !f->seen.boundary[i];
      struct setup again = {.start = *end, .batch_rows = 1, .item_altered = from >= 13};
      struct fixture *g = fixture_open(&again);
      assert_int_equal(feed_from(g, &l, end->pos, &err), 0);
      same_lines(&g->seen, from);
      for (unsigned j = 0; j < g->seen.nlines; j++) {
        assert_int_equal(g->seen.versions[j], f->seen.versions[j + from]);
      }
      fixture_close(g);
    }
    assert_true(inside);
    fixture_close(f);
  }
}

/* The connection breaks behind every single event in turn. */
static void lost_connections_lose_and_double_nothing(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    for (uint32_t batch_rows = 1; batch_rows <= 4; batch_rows += 3) {
      struct setup u = {.batch_rows = batch_rows};
      struct fixture *f = fixture_open(&u);
      for (unsigned i = 0; i + 1 < l.nevents; i++) {
        uint32_t pos;
        pe_stream_restart(&f->s, &pos);
        assert_int_equal(feed_format(&f->s, &l, &err), 0);
        for (unsigned j = 0; j <= i; j++) {
          if (l.at[j] >= pos && log_type(&l, j) != PE_BL_FORMAT_DESCRIPTION) {
            assert_int_equal(feed_event(&f->s, &l, j, &err), 0);
          }
        }
      }
      assert_int_equal(pe_stream_push(&f->s), 0);
      same_lines(&f->seen, 0);
      fixture_close(f);
    }
  }
}

static void a_snapshot_covers_what_lies_before_it(void **state) {
  (void)state;
  struct log l;
  struct setup u = {0};
  struct pe_err err = PE_ERR_INIT;
  log_read(&l, files[0]);
  struct fixture *f = fixture_open(&u);
  assert_int_equal(feed_from(f, &l, 4, &err), 0);
  u.item_from = f->seen.versions[3]; /* up to the update */
  struct fixture *g = fixture_open(&u);
  assert_int_equal(feed_from(g, &l, 4, &err), 0);
  assert_int_equal(g->seen.nlines, NEXPECTED - 4);
  assert_string_equal(g->seen.lines[0], expected[4]);
  assert_string_equal(g->seen.lines[1], expected[5]);
  assert_int_equal(g->seen.versions[1], f->seen.versions[5]);
  fixture_close(g);
  u.item_from = f->seen.versions[11]; /* behind the TRUNCATE */
  g = fixture_open(&u);
  assert_int_equal(feed_from(g, &l, 4, &err), 0);
  assert_int_equal(g->seen.nlines, 7); /* other, kinds, and item from the ALTER on */
  fixture_close(g);
  fixture_close(f);
}

/* MariaDB from 11.4 on writes no end position into events inside transactions. */
static void events_without_a_position_are_counted(void **state) {
  (void)state;
  struct log l;
  struct setup u = {0};
  struct pe_err err = PE_ERR_INIT;
  log_read(&l, files[0]);
  struct fixture *f = fixture_open(&u);
  assert_int_equal(feed_from(f, &l, 4, &err), 0);
  for (unsigned i = 0; i < l.nevents; i++) {
    uint8_t type = log_type(&l, i);
    if (type == PE_BL_TABLE_MAP || (type >= PE_BL_WRITE_ROWS_V1 && type <= PE_BL_DELETE_ROWS_V1)) {
      put32(l.bytes + l.at[i] + 13, 0);
    }
  }
  struct fixture *g = fixture_open(&u);
  assert_int_equal(feed_from(g, &l, 4, &err), 0);
  same_lines(&g->seen, 0);
  for (unsigned i = 0; i < NEXPECTED; i++) {
    assert_int_equal(g->seen.versions[i], f->seen.versions[i]);
  }
  fixture_close(g);
  fixture_close(f);
}

static void commit_times_are_known(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {.batch_rows = 3};
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    /* MariaDB: the session's clock (set timestamp); MySQL: the true commit time, in microseconds.
     */
    int64_t ts = f->seen.ends[0].ts_us;
    if (k == 0) {
      assert_int_equal(ts, INT64_C(1700000000000000));
    } else {
      assert_true(ts > INT64_C(1700000000000000) && ts % 1000000 != 0);
    }
    assert_int_equal(f->s.stats.source_ts_us > 0, 1);
    fixture_close(f);
  }
}

static unsigned first_of(const struct log *l, unsigned from, uint8_t type) {
  while (from < l->nevents && log_type(l, from) != type) {
    from++;
  }
  assert_true(from < l->nevents);
  return from;
}

static size_t made_rotate(uint8_t *to, const char *file) {
  size_t n = 19 + 8 + strlen(file);
  memset(to, 0, n);
  to[4] = PE_BL_ROTATE;
  put32(to + 9, (uint32_t)n);
  to[17] = PE_BL_FLAG_ARTIFICIAL;
  to[19] = 4;
  memcpy(to + 27, file, strlen(file));
  return n;
}

/* A server that crashed while writing: the file ends inside a transaction. */
static void a_transaction_without_an_end_is_left_out(void **state) {
  (void)state;
  struct log l;
  struct setup u = {0};
  struct pe_err err = PE_ERR_INIT;
  uint8_t rotate[64];
  uint32_t pos;
  log_read(&l, files[0]);
  size_t n = made_rotate(rotate, "bin.000004");
  unsigned xid = first_of(&l, 0, PE_BL_XID);
  unsigned second = first_of(&l, xid + 1, PE_BL_XID);
  struct fixture *f = fixture_open(&u);
  for (unsigned i = 0; i < second; i++) {
    assert_int_equal(feed_event(&f->s, &l, i, &err), 0);
  }
  assert_int_equal(feed_bytes(&f->s, rotate, n, &err), PE_ESOURCE_DOWN);
  assert_int_equal(err.cls, PE_CLASS_RETRY);
  pe_stream_restart(&f->s, &pos);
  for (unsigned i = 0; i < second; i++) {
    assert_int_equal(feed_event(&f->s, &l, i, &err), 0);
  }
  assert_int_equal(feed_bytes(&f->s, rotate, n, &err), 0);
  assert_int_equal(f->seen.nlines, 3); /* the first transaction */
  assert_string_equal(f->seen.ends[f->seen.nbatches - 1].file, "bin.000004");
  fixture_close(f);
}

/* Reads l up to `end`, then a ROTATE to the next file if asked; again and again as the reader does.
 */
static int read_until_done(struct fixture *f, const struct log *l, unsigned end, bool rotated,
                           struct pe_err *err, unsigned *readings) {
  uint8_t rotate[64];
  size_t n = made_rotate(rotate, "bin.000004");
  for (*readings = 1; *readings < 20; (*readings)++) {
    uint32_t pos;
    pe_stream_restart(&f->s, &pos);
    int rc = feed_format(&f->s, l, err);
    for (unsigned i = 1; !rc && i < end; i++) {
      rc = l->at[i] >= pos ? feed_event(&f->s, l, i, err) : 0;
      if (!rc && !pe_stream_has_rows(&f->s) && pe_stream_moved(&f->s)) {
        rc = pe_stream_push(&f->s); /* as when nothing more is waiting for a while */
      }
    }
    rc = !rc && rotated ? feed_bytes(&f->s, rotate, n, err) : rc;
    if (!rc) {
      return pe_stream_push(&f->s);
    }
    if (!f->s.again) {
      return rc;
    }
    assert_int_equal(err->cls, PE_CLASS_RETRY);
  }
  return PE_EINTERNAL;
}

/* In an older file the end of a transaction is seen before a part of it goes out: then it is read
 * again, and all comes out once. */
static void large_transactions_of_older_files_are_seen_whole_first(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {.batch_rows = 1};
    struct pe_err err = PE_ERR_INIT;
    unsigned readings;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    f->seen.other_file = true;
    assert_int_equal(read_until_done(f, &l, l.nevents, false, &err, &readings), 0);
    same_lines(&f->seen, 0);
    assert_in_range(readings, 4, 10);
    fixture_close(f);
    f = fixture_open(&u);
    assert_int_equal(read_until_done(f, &l, l.nevents, false, &err, &readings), 0);
    same_lines(&f->seen, 0);
    assert_int_equal(readings, 1);
    assert_int_equal(f->seen.asked, 1); /* the file is known whole from then on */
    fixture_close(f);
  }
}

/* ... and where there is none, nothing of it goes out, however small the batches. */
static void no_part_of_a_torn_transaction_goes_out(void **state) {
  (void)state;
  for (uint32_t batch_rows = 1; batch_rows < 5; batch_rows++) {
    struct log l;
    struct setup u = {.batch_rows = batch_rows};
    struct pe_err err = PE_ERR_INIT;
    unsigned readings;
    log_read(&l, files[0]);
    unsigned second = first_of(&l, first_of(&l, 0, PE_BL_XID) + 1, PE_BL_XID);
    struct fixture *f = fixture_open(&u);
    f->seen.other_file = true;
    assert_int_equal(read_until_done(f, &l, second, true, &err, &readings), 0);
    assert_int_equal(f->seen.nlines, 3);
    assert_string_equal(f->seen.ends[f->seen.nbatches - 1].file, "bin.000004");
    fixture_close(f);
  }
}

/* Where the source said that the file was whole, and it was not. */
static void a_torn_transaction_that_went_out_stops_the_stream(void **state) {
  (void)state;
  struct log l;
  struct setup u = {.batch_rows = 1};
  struct pe_err err = PE_ERR_INIT;
  uint8_t rotate[64];
  log_read(&l, files[0]);
  unsigned xid = first_of(&l, first_of(&l, 0, PE_BL_XID) + 1, PE_BL_XID);
  struct fixture *f = fixture_open(&u);
  for (unsigned i = 0; i < xid; i++) {
    assert_int_equal(feed_event(&f->s, &l, i, &err), 0);
  }
  assert_int_equal(feed_bytes(&f->s, rotate, made_rotate(rotate, "bin.000004"), &err),
                   PE_ESOURCE_PROTO);
  assert_int_equal(err.cls, PE_CLASS_FATAL);
  assert_non_null(strstr(err.text, "resync"));
  fixture_close(f);
}

static void a_torn_file_is_believed_only_behind_whole_events(void **state) {
  (void)state;
  struct log l;
  struct setup u = {0};
  struct pe_err err = PE_ERR_INIT;
  uint32_t pos;
  log_read(&l, files[0]);
  unsigned xid = first_of(&l, 0, PE_BL_XID);
  strcpy(u.start.file, "bin.000003");
  u.start.pos = l.at[xid + 1];
  struct fixture *f = fixture_open(&u);
  assert_int_equal(pe_stream_file_torn(&f->s, "bin.000004", &err), PE_ESOURCE_DOWN);
  pe_stream_restart(&f->s, &pos);
  assert_int_equal(pos, 4);
  for (unsigned i = 0; i <= xid; i++) {
    assert_int_equal(feed_event(&f->s, &l, i, &err), 0);
  }
  assert_int_equal(pe_stream_file_torn(&f->s, "bin.000004", &err), 0);
  assert_int_equal(f->seen.nlines, 0); /* they lie before the start */
  assert_string_equal(f->s.pushed.file, "bin.000004");
  fixture_close(f);

  u.start.pos = l.at[xid] + 5; /* no event starts there */
  f = fixture_open(&u);
  assert_int_equal(pe_stream_file_torn(&f->s, "bin.000004", &err), PE_ESOURCE_DOWN);
  pe_stream_restart(&f->s, &pos);
  for (unsigned i = 0; i < xid; i++) {
    assert_int_equal(feed_event(&f->s, &l, i, &err), 0);
  }
  assert_int_equal(feed_event(&f->s, &l, xid, &err), PE_ESOURCE_PROTO);
  assert_non_null(strstr(err.text, "between two events"));
  fixture_close(f);
}

/* As with binlog_row_metadata=MINIMAL or NO_LOG: a TABLE_MAP without what stands behind the types.
 * Its length in the header stays, so that places do too. */
static int feed_minimal(struct fixture *f, const struct log *l, struct pe_err *err) {
  int rc = 0;
  for (unsigned i = 0; !rc && i < l->nevents; i++) {
    uint8_t copy[LOG_BYTES_MAX];
    size_t n = l->at[i + 1] - l->at[i];
    memcpy(copy, l->bytes + l->at[i], n);
    if (log_type(l, i) == PE_BL_TABLE_MAP) {
      uint8_t *p = copy + 19 + 8;
      p += *p + 2; /* database */
      p += *p + 2; /* table */
      unsigned ncolumns = *p;
      p += 1 + ncolumns;
      p += 1 + *p; /* metadata of the types */
      p += (ncolumns + 7) / 8;
      n = (size_t)(p - copy) + 4;
    }
    rc = feed_bytes(&f->s, copy, n, err);
  }
  return rc ? rc : pe_stream_push(&f->s);
}

static void minimal_metadata_do_with_the_source(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {0};
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    assert_int_equal(feed_minimal(f, &l, &err), 0);
    same_lines(&f->seen, 0);
    assert_int_equal(f->seen.loads, 1);
    fixture_close(f);
  }
}

static void a_version_that_nobody_has_stops_with_the_mend(void **state) {
  (void)state;
  struct log l;
  struct setup u = {0};
  struct pe_err err = PE_ERR_INIT;
  log_read(&l, files[0]);
  struct fixture *f = fixture_open(&u);
  f->seen.no_table = true;
  assert_int_equal(feed_minimal(f, &l, &err), PE_ESOURCE_SCHEMA);
  assert_non_null(strstr(err.text, "shop.item"));
  assert_non_null(strstr(err.text, "bin.000003:"));
  assert_non_null(strstr(err.text, "6 columns are known, the log has 7"));
  assert_non_null(strstr(err.text, "resync"));
  assert_int_equal(pe_stream_push_event(&f->s, PE_EV_FATAL, NULL, &err), 0);
  assert_int_equal(f->seen.nlines, NEXPECTED - 1); /* all up to there, then the error */
  assert_string_equal(f->seen.lines[f->seen.nlines - 1], "fatal ");
  fixture_close(f);
}

/* The source has altered or dropped the table since: full metadata describe the version. */
static void full_metadata_do_without_the_source(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {0};
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    f->seen.no_table = true;
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    same_lines(&f->seen, 0);
    const struct pe_table *t = f->s.slots[0].table;
    assert_string_equal(t->columns[2].name, "extra");
    assert_string_equal(t->columns[2].type_text, "int");
    assert_string_equal(t->columns[3].type_text, "decimal(10,2)"); /* the known one's own words */
    assert_int_equal(t->npk, 1);
    assert_int_equal(t->pk[0], 0);
    fixture_close(f);
  }
}

/* Everything from the log alone: the known version has nothing in common with it. */
static void a_version_can_be_read_off_the_log(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct setup u = {0};
    struct pe_err err = PE_ERR_INIT;
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    f->seen.no_table = true;
    for (uint32_t i = 0; i < f->kinds->ncolumns; i++) {
      f->kinds->columns[i].name[0] = 'Z';
    }
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    assert_int_equal(f->seen.nlines, NEXPECTED + 1);
    assert_string_equal(f->seen.lines[7], "changed kinds");
    for (unsigned i = 8; i < 11; i++) {
      size_t n = strcspn(expected[i - 1], "\n");
      n -= expected[i - 1][n - 1] == ' ';
      assert_memory_equal(f->seen.lines[i], expected[i - 1], n);
    }
    fixture_close(f);
  }
}

static void columns_that_changed_places_are_noticed(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    struct pe_err err = PE_ERR_INIT;
    struct setup u = {0};
    log_read(&l, files[k]);
    struct fixture *f = fixture_open(&u);
    struct pe_column *c = f->other->columns;
    char *first = c[0].name;
    c[0].name = c[1].name;
    c[1].name = first;
    assert_int_equal(feed_from(f, &l, 4, &err), 0);
    assert_string_equal(f->seen.lines[4], "changed other");
    assert_string_equal(f->s.slots[1].table->columns[0].name, "id");
    fixture_close(f);
  }
}

/* Every event cut at every length, and every byte of it changed: an error or other rows, never a
 * read outside of the event (the sanitizers watch). */
static void mangled(const struct log *l, unsigned i, const uint8_t *p, size_t n) {
  struct setup u = {.item_altered = i > l->nevents - 6};
  struct pe_err err = PE_ERR_INIT;
  struct fixture *f = fixture_open(&u);
  f->seen.no_table = true;
  int rc = feed_format(&f->s, l, &err);
  for (unsigned j = i > 3 ? i - 3 : 1; !rc && j < i; j++) {
    rc = feed_event(&f->s, l, j, &err);
  }
  if (!rc) {
    f->seen.last_version = 0;
    feed_bytes(&f->s, p, n, &err);
  }
  fixture_close(f);
}

static void malformed_events_are_refused(void **state) {
  (void)state;
  for (int k = 0; k < NFILES; k++) {
    struct log l;
    log_read(&l, files[k]);
    for (unsigned i = 1; i < l.nevents; i++) {
      size_t n = l.at[i + 1] - l.at[i];
      uint8_t copy[LOG_BYTES_MAX];
      memcpy(copy, l.bytes + l.at[i], n);
      for (size_t cut = 0; cut < n; cut++) {
        mangled(&l, i, copy, cut);
      }
      for (size_t at = 19; at < n; at++) {
        static const uint8_t flips[] = {0xFF, 0x80, 0x01};
        for (unsigned x = 0; x < sizeof(flips); x++) {
          copy[at] ^= flips[x];
          mangled(&l, i, copy, n);
          copy[at] ^= flips[x];
        }
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_comes_out_exactly),
      cmocka_unit_test(versions_are_offsets),
      cmocka_unit_test(every_batch_end_is_a_place_to_go_on),
      cmocka_unit_test(lost_connections_lose_and_double_nothing),
      cmocka_unit_test(a_snapshot_covers_what_lies_before_it),
      cmocka_unit_test(events_without_a_position_are_counted),
      cmocka_unit_test(commit_times_are_known),
      cmocka_unit_test(a_transaction_without_an_end_is_left_out),
      cmocka_unit_test(large_transactions_of_older_files_are_seen_whole_first),
      cmocka_unit_test(no_part_of_a_torn_transaction_goes_out),
      cmocka_unit_test(a_torn_transaction_that_went_out_stops_the_stream),
      cmocka_unit_test(a_torn_file_is_believed_only_behind_whole_events),
      cmocka_unit_test(minimal_metadata_do_with_the_source),
      cmocka_unit_test(full_metadata_do_without_the_source),
      cmocka_unit_test(a_version_can_be_read_off_the_log),
      cmocka_unit_test(a_version_that_nobody_has_stops_with_the_mend),
      cmocka_unit_test(columns_that_changed_places_are_noticed),
      cmocka_unit_test(malformed_events_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
