/* Listening sockets for admin. The control socket belongs to whoever has bound it last: a file that
 * nobody answers on is left over from a killed engine and is taken over. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/internal.h"

enum { BACKLOG = 32 };

/* mkdir -p */
static int make_dirs(const char *dir) {
  char path[4096];
  int n = snprintf(path, sizeof(path), "%s", dir);
  if (n < 0 || (size_t)n >= sizeof(path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  for (char *p = path + 1; *p; p++) {
    if (*p == '/') {
      *p = 0;
      if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return -1;
      }
      *p = '/';
    }
  }
  return mkdir(path, 0700) != 0 && errno != EEXIST ? -1 : 0;
}

int pe_control_dir(const struct pe_config *cfg, struct pe_err *err) {
  if (make_dirs(cfg->state_dir) != 0) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL,
                      "can't make the state folder %s: %s; make it writable, or set state_dir",
                      cfg->state_dir, strerror(errno));
  }
  return 0;
}

int pe_control_open(const struct pe_config *cfg, struct pe_control *c, struct pe_err *err) {
  c->dirfd = -1;
  int n = snprintf(c->path, sizeof(c->path), "%s/%s.sock", cfg->state_dir, cfg->name);
  if (n > 0 && (size_t)n < sizeof(c->path)) {
    return 0;
  }
  c->dirfd = open(cfg->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (c->dirfd < 0) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s: %s", cfg->state_dir, strerror(errno));
  }
  n = snprintf(c->path, sizeof(c->path), "/proc/self/fd/%d/%s.sock", c->dirfd, cfg->name);
  return n > 0 && (size_t)n < sizeof(c->path)
             ? 0
             : pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "name is too long for a socket's name");
}

void pe_control_close(struct pe_control *c) {
  if (c->dirfd >= 0) {
    close(c->dirfd);
  }
  c->dirfd = -1;
}

/* Does somebody listen there? */
static bool answers(const struct sockaddr_un *sa) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return false;
  }
  int rc = connect(fd, (const struct sockaddr *)sa, sizeof(*sa));
  bool alive = rc == 0 || errno == EAGAIN || errno == EINPROGRESS; /* EAGAIN: its backlog is full */
  close(fd);
  return alive;
}

int pe_control_listen(const struct pe_config *cfg, const struct pe_control *c, int *fd,
                      struct pe_err *err) {
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  memcpy(sa.sun_path, c->path, sizeof(sa.sun_path));
  struct stat st;
  if (lstat(c->path, &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) {
      return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "%s/%s.sock is not a socket; move it away",
                        cfg->state_dir, cfg->name);
    }
    if (answers(&sa)) {
      return pe_err_set(
          err, PE_ELOCKED, PE_CLASS_FATAL,
          "another pipe-engine runs this pipeline (it answers on %s/%s.sock); stop it "
          "with: pipe-engine stop %s",
          cfg->state_dir, cfg->name, cfg->file);
    }
    unlink(c->path);
  }
  int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  /* Linux gives the file the mode of the socket, so it is never open to others, not even briefly.
   */
  if (s < 0 || fchmod(s, 0600) != 0 || bind(s, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
      chmod(c->path, 0600) != 0 || listen(s, BACKLOG) != 0) {
    int rc = pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "control socket %s/%s.sock: %s",
                        cfg->state_dir, cfg->name, strerror(errno));
    if (s >= 0) {
      close(s);
    }
    return rc;
  }
  *fd = s;
  return 0;
}

/* "[::1]:9464" -> "::1", "9464"; nothing before the colon means loopback. */
static int split(const char *listen_at, char *host, size_t n, const char **port) {
  const char *colon = strrchr(listen_at, ':');
  if (!colon) {
    return -1;
  }
  const char *from = listen_at, *to = colon;
  if (*from == '[' && to > from && to[-1] == ']') {
    from++;
    to--;
  }
  size_t len = (size_t)(to - from);
  if (len >= n) {
    return -1;
  }
  memcpy(host, from, len);
  host[len] = 0;
  if (len == 0) {
    snprintf(host, n, "127.0.0.1");
  }
  *port = colon + 1;
  return 0;
}

static int bind_one(const struct addrinfo *ai) {
  int s = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  if (s < 0) {
    return -1;
  }
  if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(s, ai->ai_addr, ai->ai_addrlen) != 0 || listen(s, BACKLOG) != 0) {
    int saved = errno;
    close(s);
    errno = saved;
    return -1;
  }
  return s;
}

int pe_tcp_listen(const char *listen_at, int *fd, unsigned *port, struct pe_err *err) {
  char host[256];
  const char *service;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
  if (split(listen_at, host, sizeof(host), &service) != 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "admin.listen: %s is not ADDRESS:PORT",
                      listen_at);
  }
  int gai = getaddrinfo(host, service, &hints, &list);
  if (gai != 0) {
    return pe_err_set(err, PE_ECONFIG, PE_CLASS_FATAL, "admin.listen: %s: %s", listen_at,
                      gai_strerror(gai));
  }
  int s = bind_one(list);
  int saved = errno;
  freeaddrinfo(list);
  if (s < 0) {
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "admin.listen: %s: %s%s", listen_at,
                      strerror(saved),
                      saved == EADDRINUSE ? "; set another port, or \"none\" for no metrics" : "");
  }
  struct sockaddr_storage sa;
  socklen_t len = sizeof(sa);
  *port = 0;
  if (getsockname(s, (struct sockaddr *)&sa, &len) == 0) {
    *port = sa.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&sa)->sin6_port)
                                     : ntohs(((struct sockaddr_in *)&sa)->sin_port);
  }
  *fd = s;
  return 0;
}
