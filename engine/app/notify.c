/* systemd's notification protocol, as sd_notify(3) describes it: one datagram to the socket named
 * by NOTIFY_SOCKET ("@" begins an abstract name). Nothing that fails here matters to the pipeline.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/app.h"

void pe_notify(const char *text) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(sa.sun_path)) {
    return;
  }
  size_t len = strlen(path);
  memcpy(sa.sun_path, path, len);
  if (path[0] == '@') {
    sa.sun_path[0] = 0;
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return;
  }
  (void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
  close(fd);
}

unsigned pe_notify_watchdog_ms(void) {
  const char *usec = getenv("WATCHDOG_USEC");
  const char *pid = getenv("WATCHDOG_PID");
  if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid())) {
    return 0;
  }
  unsigned long long us = strtoull(usec, NULL, 10);
  return us >= 2000 && us / 2000 < 3600000 ? (unsigned)(us / 2000) : 0;
}
