#include "Signing.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

signing_key *signing_key_make(const char *type, int bits, const char *curve) {
    if (strcmp(type, "RSA") == 0) return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    if (strcmp(type, "EC") == 0) return EVP_PKEY_Q_keygen(NULL, NULL, "EC", (char *)curve);
    return EVP_PKEY_Q_keygen(NULL, NULL, type);
}

void signing_key_free(signing_key *key) { EVP_PKEY_free(key); }

static const EVP_MD *hash_of(int algorithm) {
    const EVP_MD *hashes[] = {NULL, EVP_sha256(), EVP_sha384(), EVP_sha512()};
    return hashes[algorithm & 3];
}

static size_t to_pair(const uint8_t *der, size_t length, size_t width, uint8_t *output) {
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)length);
    if (!pair) return 0;
    int done = BN_bn2binpad(ECDSA_SIG_get0_r(pair), output, (int)width) > 0
        && BN_bn2binpad(ECDSA_SIG_get0_s(pair), output + width, (int)width) > 0;
    ECDSA_SIG_free(pair);
    return done ? 2 * width : 0;
}

size_t signing_sign(signing_key *key, int algorithm, int salt, size_t width, const void *data, size_t count, uint8_t *output,
                    size_t capacity) {
    enum { PSS = 0x20, ED25519 = 0x40, SCHEMES = 0xF0 };
    int scheme = algorithm & SCHEMES;
    const EVP_MD *hash = scheme == ED25519 ? NULL : hash_of(algorithm);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *details = NULL;
    uint8_t signature[1100];
    size_t length = sizeof signature;
    int done = context && EVP_DigestSignInit(context, &details, hash, NULL, key) == 1;
    if (done && scheme == PSS)
        done = EVP_PKEY_CTX_set_rsa_padding(details, RSA_PKCS1_PSS_PADDING) == 1
            && EVP_PKEY_CTX_set_rsa_mgf1_md(details, hash) == 1
            && EVP_PKEY_CTX_set_rsa_pss_saltlen(details, salt == SIGNING_SALT_AS_HASH ? RSA_PSS_SALTLEN_DIGEST : salt) == 1;
    done = done && EVP_DigestSign(context, signature, &length, data, count) == 1 && 2 * width <= capacity && length <= capacity;
    EVP_MD_CTX_free(context);
    if (!done) return 0;
    if (width) return to_pair(signature, length, width, output);
    memcpy(output, signature, length);
    return length;
}

size_t signing_mac(int algorithm, const void *secret, size_t secret_count, const void *data, size_t count, uint8_t *output) {
    unsigned int length = 0;
    return HMAC(hash_of(algorithm), secret_count ? secret : "", (int)secret_count, data, count, output, &length) ? length : 0;
}

size_t signing_public_der(signing_key *key, uint8_t *output, size_t capacity) {
    int length = i2d_PUBKEY(key, NULL);
    if (length <= 0 || (size_t)length > capacity) return 0;
    i2d_PUBKEY(key, &output);
    return (size_t)length;
}

size_t signing_private_pem(signing_key *key, uint8_t *output, size_t capacity) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long length = 0;
    if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) length = BIO_get_mem_data(bio, &text);
    size_t written = length > 0 && (size_t)length <= capacity ? (size_t)length : 0;
    if (written) memcpy(output, text, written);
    BIO_free(bio);
    return written;
}

size_t signing_parameter(signing_key *key, const char *name, uint8_t *output, size_t capacity) {
    size_t length = 0;
    if (EVP_PKEY_get_octet_string_param(key, name, output, capacity, &length) == 1) return length;
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1) return 0;
    int bytes = BN_num_bytes(number);
    if ((size_t)bytes <= capacity) length = (size_t)BN_bn2bin(number, output);
    BN_free(number);
    return length;
}
