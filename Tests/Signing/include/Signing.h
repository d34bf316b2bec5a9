/* Makes keys and signs with them: the issuer's side, which the product itself does not have. */
#ifndef Signing_H
#define Signing_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct evp_pkey_st signing_key;

/* `type` is RSA, EC or ED25519; `curve` names the group of an EC key. NULL on failure. */
signing_key *signing_key_make(const char *type, int bits, const char *curve);
void signing_key_free(signing_key *key);

/* Schemes and hashes are numbered as in CCrypto.h. Each function returns the bytes written, 0 on failure. */
enum { SIGNING_SALT_AS_HASH = -1 };
/* ECDSA gives r and s side by side, `width` bytes each; 0 leaves DER. A PSS salt has the hash's length or the given one. */
size_t signing_sign(signing_key *key, int algorithm, int salt, size_t width, const void *data, size_t count, uint8_t *output,
                    size_t capacity);
size_t signing_mac(int algorithm, const void *secret, size_t secret_count, const void *data, size_t count, uint8_t *output);
/* SubjectPublicKeyInfo. */
size_t signing_public_der(signing_key *key, uint8_t *output, size_t capacity);
/* PEM of the private key (PKCS 8). */
size_t signing_private_pem(signing_key *key, uint8_t *output, size_t capacity);
/* A named number or octet string: n, e, pub. */
size_t signing_parameter(signing_key *key, const char *name, uint8_t *output, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
