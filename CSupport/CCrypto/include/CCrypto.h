/* A thin shim over OpenSSL 3's libcrypto and libssl: digests, message authentication, randomness, comparison, a check of a
 * certificate with its key, and the verification of signatures. No OpenSSL header is included here, so importing this module imports
 * nothing else. */
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

/* ---- keys that verify signatures (CCrypto_keys.c) ---------------------------------------------------------------------------- */

typedef struct crypto_key crypto_key;

enum {
    CRYPTO_KEY_RSA = 1, CRYPTO_KEY_P256 = 2, CRYPTO_KEY_P384 = 3, CRYPTO_KEY_P521 = 4, CRYPTO_KEY_ED25519 = 5, CRYPTO_KEY_SECRET = 6
};
enum { CRYPTO_COORDINATE_BYTES_MAXIMUM = 66, CRYPTO_ED25519_BYTES = 32, CRYPTO_PEM_BYTES_MAXIMUM = 16384 };
/* Why there is no key: its size, its RSA exponent, its point (off the curve, or of the wrong length), its type, it is a private key,
 * or the text cannot be read. */
enum {
    CRYPTO_PROBLEM_NONE = 0, CRYPTO_PROBLEM_SIZE = 1, CRYPTO_PROBLEM_EXPONENT = 2, CRYPTO_PROBLEM_POINT = 3, CRYPTO_PROBLEM_KIND = 4,
    CRYPTO_PROBLEM_PRIVATE = 5, CRYPTO_PROBLEM_UNREADABLE = 6
};
/* An algorithm is a scheme and a hash; Ed25519 has no hash of its own. */
enum {
    CRYPTO_HASH_MASK = 0x0F, CRYPTO_HASH_256 = 1, CRYPTO_HASH_384 = 2, CRYPTO_HASH_512 = 3,
    CRYPTO_SCHEME_MASK = 0xF0, CRYPTO_SCHEME_PKCS1 = 0x10, CRYPTO_SCHEME_PSS = 0x20, CRYPTO_SCHEME_ECDSA = 0x30,
    CRYPTO_SCHEME_ED25519 = 0x40, CRYPTO_SCHEME_HMAC = 0x50
};

/* Each returns a key, to be freed, or NULL with a problem. Numbers and coordinates are big endian; coordinates have the full width of
 * the field. A PEM text is one `PUBLIC KEY` block (RFC 7468 section 13). */
crypto_key *crypto_key_rsa(const uint8_t *modulus, size_t modulus_count, const uint8_t *exponent, size_t exponent_count, int *problem);
crypto_key *crypto_key_ec(int kind, const uint8_t *x, const uint8_t *y, size_t coordinate_count, int *problem);
crypto_key *crypto_key_ed25519(const uint8_t *x, size_t count, int *problem);
crypto_key *crypto_key_secret(const uint8_t *secret, size_t count, int *problem);
crypto_key *crypto_key_pem(const void *text, size_t count, int *problem);
/* Secrets are overwritten first. NULL is allowed. */
void crypto_key_free(crypto_key *key);

int crypto_key_kind(const crypto_key *key);
int crypto_key_bits(const crypto_key *key);
/* 1 for an RSA exponent below 65537. */
int crypto_key_has_small_exponent(const crypto_key *key);
/* A digest that two keys share only when they are the same key; of a secret it tells nothing. Returns 1, or 0 on failure. */
int crypto_key_thumbprint(const crypto_key *key, uint8_t digest[CRYPTO_SHA256_BYTES]);

/* 1 when `signature`, in the form of RFC 7518 section 3, is the key's over the data; 0 for anything else, a key of another kind and a
 * signature of another length included. */
int crypto_verify(const crypto_key *key, int algorithm, const void *data, size_t count, const uint8_t *signature,
                  size_t signature_count);

#ifdef __cplusplus
}
#endif
#endif
