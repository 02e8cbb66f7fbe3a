/* The commands' side of the control socket: one HTTP request through libcurl. That no engine runs
 * is an ordinary answer, not an error. */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "admin/internal.h"

enum { ANSWER_BYTES_MAX = 4 * 1024 * 1024 };

static size_t take(char *p, size_t size, size_t n, void *arg) {
  struct pe_buf *b = arg;
  if (b->len + size * n > ANSWER_BYTES_MAX) {
    return 0;
  }
  pe_buf_put(b, p, size * n);
  return pe_buf_ok(b) ? size * n : 0;
}

static int verdict(CURLcode rc, const char *why, struct pe_err *err) {
  switch (rc) {
    case CURLE_OK:
      return 0;
    case CURLE_COULDNT_CONNECT:
      return 1;
    case CURLE_OPERATION_TIMEDOUT:
      return pe_err_set(err, PE_ETIMEOUT, PE_CLASS_FATAL,
                        "the engine did not answer in time on its control socket");
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return pe_err_set(err, PE_EIO, PE_CLASS_FATAL,
                        "the engine ended while it was being asked (%s)", curl_easy_strerror(rc));
    default:
      return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "control socket: %s",
                        why[0] ? why : curl_easy_strerror(rc));
  }
}

int pe_admin_call(const struct pe_config *cfg, const char *method, const char *path,
                  unsigned timeout_ms, long *status, struct pe_buf *body, struct pe_err *err) {
  struct stat st;
  struct pe_control control;
  char url[256], why[CURL_ERROR_SIZE] = "";
  if (stat(cfg->state_dir, &st) != 0) {
    return 1; /* never started */
  }
  int rc = pe_control_open(cfg, &control, err);
  if (rc != 0) {
    return rc;
  }
  snprintf(url, sizeof(url), "http://pipe-engine%s", path);
  CURL *h = curl_easy_init();
  if (!h) {
    pe_control_close(&control);
    return pe_err_set(err, PE_ENOMEM, PE_CLASS_FATAL, "out of memory");
  }
  curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, control.path);
  curl_easy_setopt(h, CURLOPT_URL, url);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, body);
  curl_easy_setopt(h, CURLOPT_PROXY, "");
  if (strcmp(method, "POST") == 0) {
    curl_easy_setopt(h, CURLOPT_POST, 1L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, "");
  }
  rc = verdict(curl_easy_perform(h), why, err);
  *status = 0;
  curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, status);
  curl_easy_cleanup(h);
  pe_control_close(&control);
  return rc;
}
