/* One engine per state store: flock on a file beside it that holds the pid. The kernel drops the
 * lock with the process, so a killed engine leaves nothing to clean up; the file itself stays
 * (removing it would let two engines lock two files of one name). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "state/internal.h"

static long read_pid(int fd) {
  char text[32];
  ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
  if (n <= 0) {
    return 0;
  }
  text[n] = 0;
  return strtol(text, NULL, 10);
}

static int held(int fd, const char *db_path, struct pe_err *err) {
  long pid = read_pid(fd);
  char who[48] = "";
  if (pid > 0) {
    snprintf(who, sizeof(who), " (process %ld)", pid);
  }
  return pe_err_set(err, PE_ELOCKED, PE_CLASS_FATAL,
                    "the state store %s is in use by another engine%s: stop that one, or give "
                    "this one a state directory of its own",
                    db_path, who);
}

int pe_state_lock(const char *lock_path, const char *db_path, int *out, struct pe_err *err) {
  int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                      "cannot open %s: %s; make the state directory writable for this user",
                      lock_path, strerror(errno));
  }
  int rc;
  do {
    rc = flock(fd, LOCK_EX | LOCK_NB);
  } while (rc < 0 && errno == EINTR);
  if (rc < 0) {
    int why = errno;
    int code = why == EWOULDBLOCK
                   ? held(fd, db_path, err)
                   : pe_err_set(err, PE_ESTATE, PE_CLASS_FATAL,
                                "cannot lock %s: %s; the state directory needs a file system with "
                                "file locks",
                                lock_path, strerror(why));
    close(fd);
    return code;
  }
  /* The pid is only for the message above: where it cannot be written, the lock still holds. */
  char text[32];
  int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
    (void)ftruncate(fd, 0);
  }
  *out = fd;
  return 0;
}
