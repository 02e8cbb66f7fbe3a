/* See seal.h. owner: any thread; nothing is shared. Fails closed: a tag that doesn't match gives no
 * bytes. */
#include "base/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>
#include <unistd.h>

enum { NONCE_BYTES = 12, TAG_BYTES = 16 };

static int make_key(const char *path, uint8_t *key, struct pe_err *err) {
  if (RAND_bytes(key, PE_SEAL_KEY_BYTES) != 1)
    return pe_err_set(err, PE_EINTERNAL, PE_CLASS_FATAL, "no random bytes for a key");
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  ssize_t n = fd < 0 ? -1 : write(fd, key, PE_SEAL_KEY_BYTES);
  if (fd >= 0 && (n != PE_SEAL_KEY_BYTES || fsync(fd))) {
    close(fd);
    unlink(path);
    fd = -1;
  }
  if (fd < 0)
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "can't write the key file %s: %s", path,
                      strerror(errno));
  close(fd);
  return 0;
}

int pe_seal_key(const char *path, uint8_t key[PE_SEAL_KEY_BYTES], struct pe_err *err) {
  uint8_t more;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT)
    return make_key(path, key, err);
  if (fd < 0)
    return pe_err_set(err, PE_EIO, PE_CLASS_FATAL, "can't read the key file %s: %s", path,
                      strerror(errno));
  ssize_t n = read(fd, key, PE_SEAL_KEY_BYTES), rest = read(fd, &more, 1);
  close(fd);
  if (n != PE_SEAL_KEY_BYTES || rest != 0)
    return pe_err_set(err, PE_EDATA, PE_CLASS_FATAL,
                      "%s is not a key file of %d bytes; put the right one back, or remove it and "
                      "run `pipe-engine resync`",
                      path, PE_SEAL_KEY_BYTES);
  return 0;
}

int pe_seal(const uint8_t key[PE_SEAL_KEY_BYTES], const void *p, size_t n, struct pe_buf *out) {
  if (!pe_buf_reserve(out, n + PE_SEAL_MORE_BYTES))
    return PE_ENOMEM;
  uint8_t *nonce = out->data + out->len, *tag = nonce + NONCE_BYTES, *to = tag + TAG_BYTES;
  int len = 0;
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  bool ok = c && RAND_bytes(nonce, NONCE_BYTES) == 1 &&
            EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
            EVP_EncryptUpdate(c, to, &len, p, (int)n) == 1 &&
            EVP_EncryptFinal_ex(c, to + len, &len) == 1 &&
            EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1;
  EVP_CIPHER_CTX_free(c);
  if (!ok)
    return PE_EINTERNAL;
  out->len += n + PE_SEAL_MORE_BYTES;
  return 0;
}

int pe_unseal(const uint8_t key[PE_SEAL_KEY_BYTES], const void *p, size_t n, struct pe_buf *out) {
  uint8_t tag[TAG_BYTES];
  int len = 0;
  if (n < PE_SEAL_MORE_BYTES)
    return PE_EDATA;
  size_t plain = n - PE_SEAL_MORE_BYTES;
  if (!pe_buf_reserve(out, plain + TAG_BYTES))
    return PE_ENOMEM;
  const uint8_t *nonce = p, *from = nonce + PE_SEAL_MORE_BYTES;
  memcpy(tag, nonce + NONCE_BYTES, TAG_BYTES);
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  bool ok = c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
            EVP_DecryptUpdate(c, out->data + out->len, &len, from, (int)plain) == 1 &&
            EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1 &&
            EVP_DecryptFinal_ex(c, out->data + out->len + len, &len) == 1;
  EVP_CIPHER_CTX_free(c);
  if (!ok)
    return PE_EDATA;
  out->len += plain;
  return 0;
}
