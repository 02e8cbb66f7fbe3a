/* The open batch and the place it names. owner: reader. Fails with PE_ENOMEM, and with PE_ESTOPPED
 * when the queue behind it is shut down. */
#include <string.h>

#include "base/clock.h"
#include "source/binlog_stream.h"

int pe_stream_out_of_memory(struct pe_err *err) {
  return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
}

struct pe_batch *pe_stream_batch(struct pe_stream *s) {
  if (!s->batch) {
    s->batch = pe_batch_create();
  }
  return s->batch;
}

bool pe_stream_has_rows(const struct pe_stream *s) {
  return s->batch && s->batch->nimages;
}

bool pe_stream_batch_full(const struct pe_stream *s) {
  return s->batch && (s->batch->nimages >= s->batch_rows || s->batch->bytes >= s->batch_bytes);
}

static uint64_t version_done(const struct pe_stream *s) {
  return s->last_version > s->skip_version ? s->last_version : s->skip_version;
}

/* While looking ahead nothing is named: the rows before `safe` were dropped and are read again. */
bool pe_stream_moved(const struct pe_stream *s) {
  if (s->looking_ahead) {
    return false;
  }
  return s->safe.pos != s->pushed.pos || strcmp(s->safe.file, s->pushed.file) != 0 ||
         version_done(s) != s->pushed.version;
}

static void name_the_place(struct pe_stream *s, struct pe_position *end) {
  memset(end, 0, sizeof(*end));
  memcpy(end->file, s->safe.file, sizeof(end->file));
  end->pos = s->safe.pos;
  end->generation = s->generation;
  end->base_version = s->safe.base_version;
  end->version = version_done(s);
  end->ts_us = s->ts_us;
}

static int send(struct pe_stream *s) {
  struct pe_batch *b = s->batch;
  name_the_place(s, &b->end);
  b->end_is_boundary = !s->in_group;
  b->binlog_bytes = s->bytes_read;
  s->bytes_read = 0;
  s->batch = NULL;
  s->pushed = b->end;
  s->group_pushed = s->group_pushed || s->group_rows;
  s->last_push_us = pe_clock_us();
  return s->calls.push(s->calls.arg, b);
}

int pe_stream_push(struct pe_stream *s) {
  if (!pe_stream_has_rows(s) && !pe_stream_moved(s)) {
    return 0;
  }
  return pe_stream_batch(s) ? send(s) : PE_ENOMEM;
}

int pe_stream_push_event(struct pe_stream *s, enum pe_batch_event event, struct pe_table *table,
                         const struct pe_err *error) {
  struct pe_batch *b = pe_stream_batch(s);
  if (!b) {
    return PE_ENOMEM;
  }
  b->event = event;
  b->new_table = table ? pe_table_ref(table) : NULL;
  if (error) {
    b->error = pe_arena_alloc(&b->arena, sizeof(*error), _Alignof(struct pe_err));
    if (!b->error) {
      return PE_ENOMEM;
    }
    *b->error = *error;
  }
  return send(s);
}

void pe_stream_drop(struct pe_stream *s) {
  pe_batch_destroy(s->batch);
  s->batch = NULL;
  s->bytes_read = 0;
}

static bool same_place(const struct pe_stream_place *a, const struct pe_stream_place *b) {
  return a->pos == b->pos && strcmp(a->file, b->file) == 0;
}

static bool known_whole(const struct pe_stream *s) {
  return s->group_pushed || same_place(&s->verified, &s->safe) ||
         (s->pos < s->whole_pos && strcmp(s->whole_file, s->file) == 0);
}

/* A server that crashed may have left the first part of a transaction at the end of a file, never
 * to be committed. It goes on in a new file; so in the file that is being written all is whole, and
 * in an older one the end of the transaction must be seen first. */
int pe_stream_split(struct pe_stream *s, bool *may, struct pe_err *err) {
  *may = true;
  if (known_whole(s)) {
    return 0;
  }
  int rc = s->calls.log_end(s->calls.arg, s->whole_file, &s->whole_pos, err);
  if (rc) {
    s->whole_file[0] = 0;
    return rc;
  }
  if (!known_whole(s)) {
    *may = false;
    s->looking_ahead = s->group_ignored = true;
    pe_stream_drop(s);
  }
  return 0;
}
