/* A thin shim over OpenSSL 3's libcrypto and libssl: digests, message authentication, randomness, comparison, and a check of
 * a certificate with its key. No OpenSSL header is included here, so importing this module imports nothing else. */
#ifndef CCrypto_H
#define CCrypto_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CRYPTO_SHA1_BYTES = 20, CRYPTO_SHA256_BYTES = 32 };

/* Each returns 1, or 0 when the library refused (it has no such algorithm, or no memory); then the output is undefined. Any
 * input pointer may be NULL when its count is 0. */
int crypto_sha1(const void *data, size_t count, uint8_t digest[CRYPTO_SHA1_BYTES]);
int crypto_sha256(const void *data, size_t count, uint8_t digest[CRYPTO_SHA256_BYTES]);
int crypto_hmac_sha256(const void *key, size_t key_count, const void *data, size_t count,
                       uint8_t mac[CRYPTO_SHA256_BYTES]);
int crypto_hmac_sha1(const void *key, size_t key_count, const void *data, size_t count, uint8_t mac[CRYPTO_SHA1_BYTES]);

/* Fills `bytes` with output of the library's seeded generator. Returns 1, or 0 when there is no entropy. */
int crypto_random(void *bytes, size_t count);

/* 1 when the two areas are equal, in time that depends on `count` only. */
int crypto_equal(const void *left, const void *right, size_t count);

/* Loads a PEM certificate chain (leaf first) and a PEM private key and checks that they belong together and that the leaf is valid at
 * `now` (seconds since 1970; 0 skips the check of the dates). Returns 1, or 0 with one line of text in `error`, which is always
 * terminated. */
int crypto_check_pair(const char *certificate_path, const char *key_path, int64_t now, char *error, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
