/* Keys that verify signatures of tokens, and the verification. A key is made once per key set and only read afterwards, so shards may
 * use it at the same time: OpenSSL counts references atomically and each verification has a context of its own. */
#include "CCrypto.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

struct crypto_key {
    EVP_PKEY *public_key; /* NULL for a secret */
    uint8_t *secret;
    size_t secret_count;
    int kind;
    int bits;
    int small_exponent;
};

/* RFC 7518 section 3.3 asks for 2048 bits at least; above 8192 a verification costs more than a millisecond. */
enum { RSA_BITS_MINIMUM = 2048, RSA_BITS_MAXIMUM = 8192, EXPONENT_BITS_MAXIMUM = 64, EXPONENT_RECOMMENDED = 65537 };

static const char *const group_names[] = {
    [CRYPTO_KEY_P256] = "prime256v1", [CRYPTO_KEY_P384] = "secp384r1", [CRYPTO_KEY_P521] = "secp521r1",
};

static crypto_key *refuse(int reason, int *problem) {
    *problem = reason;
    ERR_clear_error();
    return NULL;
}

static crypto_key *adopt(EVP_PKEY *public_key, int kind, int *problem) {
    crypto_key *key = calloc(1, sizeof *key);
    if (!key) {
        EVP_PKEY_free(public_key);
        return refuse(CRYPTO_PROBLEM_UNREADABLE, problem);
    }
    key->public_key = public_key;
    key->kind = kind;
    key->bits = EVP_PKEY_get_bits(public_key);
    *problem = CRYPTO_PROBLEM_NONE;
    ERR_clear_error();
    return key;
}

static int rsa_problem(const BIGNUM *modulus, const BIGNUM *exponent) {
    int bits = BN_num_bits(modulus);
    if (bits < RSA_BITS_MINIMUM || bits > RSA_BITS_MAXIMUM || !BN_is_odd(modulus)) return CRYPTO_PROBLEM_SIZE;
    int is_sound = BN_is_odd(exponent) && !BN_is_one(exponent) && BN_num_bits(exponent) <= EXPONENT_BITS_MAXIMUM;
    return is_sound ? CRYPTO_PROBLEM_NONE : CRYPTO_PROBLEM_EXPONENT;
}

static EVP_PKEY *from_parameters(const char *type, OSSL_PARAM *parameters) {
    EVP_PKEY *public_key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (context && EVP_PKEY_fromdata_init(context) == 1
        && EVP_PKEY_fromdata(context, &public_key, EVP_PKEY_PUBLIC_KEY, parameters) != 1) {
        EVP_PKEY_free(public_key);
        public_key = NULL;
    }
    EVP_PKEY_CTX_free(context);
    return public_key;
}

crypto_key *crypto_key_rsa(const uint8_t *modulus, size_t modulus_count, const uint8_t *exponent, size_t exponent_count, int *problem) {
    /* Two spare bytes for leading zeros, which some issuers send. */
    if (modulus_count > RSA_BITS_MAXIMUM / 8 + 2 || exponent_count > EXPONENT_BITS_MAXIMUM / 8 + 2)
        return refuse(modulus_count > RSA_BITS_MAXIMUM / 8 + 2 ? CRYPTO_PROBLEM_SIZE : CRYPTO_PROBLEM_EXPONENT, problem);
    BIGNUM *n = BN_bin2bn(modulus, (int)modulus_count, NULL);
    BIGNUM *e = BN_bin2bn(exponent, (int)exponent_count, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *parameters = NULL;
    EVP_PKEY *public_key = NULL;
    int reason = n && e && builder ? rsa_problem(n, e) : CRYPTO_PROBLEM_UNREADABLE;
    int is_small = e && BN_num_bits(e) < 17;
    if (reason == CRYPTO_PROBLEM_NONE && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1
        && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1 && (parameters = OSSL_PARAM_BLD_to_param(builder)))
        public_key = from_parameters("RSA", parameters);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    if (!public_key) return refuse(reason ? reason : CRYPTO_PROBLEM_UNREADABLE, problem);
    crypto_key *key = adopt(public_key, CRYPTO_KEY_RSA, problem);
    if (key) key->small_exponent = is_small;
    return key;
}

crypto_key *crypto_key_ec(int kind, const uint8_t *x, const uint8_t *y, size_t coordinate_count, int *problem) {
    uint8_t point[1 + 2 * CRYPTO_COORDINATE_BYTES_MAXIMUM];
    size_t wanted = kind == CRYPTO_KEY_P256 ? 32 : kind == CRYPTO_KEY_P384 ? 48 : kind == CRYPTO_KEY_P521 ? 66 : 0;
    if (wanted == 0) return refuse(CRYPTO_PROBLEM_KIND, problem);
    if (coordinate_count != wanted) return refuse(CRYPTO_PROBLEM_POINT, problem);
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x, wanted);
    memcpy(point + 1 + wanted, y, wanted);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)group_names[kind], 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * wanted),
        OSSL_PARAM_construct_end(),
    };
    /* Importing a point checks that it is on the curve; with cofactor 1 that is all there is to check. */
    EVP_PKEY *public_key = from_parameters("EC", parameters);
    if (!public_key) return refuse(CRYPTO_PROBLEM_POINT, problem);
    return adopt(public_key, kind, problem);
}

crypto_key *crypto_key_ed25519(const uint8_t *x, size_t count, int *problem) {
    if (count != CRYPTO_ED25519_BYTES) return refuse(CRYPTO_PROBLEM_POINT, problem);
    EVP_PKEY *public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, count);
    if (!public_key) return refuse(CRYPTO_PROBLEM_POINT, problem);
    return adopt(public_key, CRYPTO_KEY_ED25519, problem);
}

crypto_key *crypto_key_secret(const uint8_t *secret, size_t count, int *problem) {
    crypto_key *key = calloc(1, sizeof *key);
    uint8_t *copy = OPENSSL_malloc(count ? count : 1);
    if (!key || !copy || count > INT32_MAX) {
        free(key);
        OPENSSL_free(copy);
        return refuse(CRYPTO_PROBLEM_UNREADABLE, problem);
    }
    if (count) memcpy(copy, secret, count);
    key->secret = copy;
    key->secret_count = count;
    key->kind = CRYPTO_KEY_SECRET;
    key->bits = count > INT32_MAX / 8 ? INT32_MAX : (int)count * 8;
    *problem = CRYPTO_PROBLEM_NONE;
    return key;
}

/* The kind of a key that was read from text; sets the problem when it is of no use. */
static int judge(EVP_PKEY *public_key, int *is_small, int *problem) {
    int kind = 0;
    if (EVP_PKEY_is_a(public_key, "RSA")) {
        BIGNUM *n = NULL, *e = NULL;
        int readable = EVP_PKEY_get_bn_param(public_key, OSSL_PKEY_PARAM_RSA_N, &n) == 1
            && EVP_PKEY_get_bn_param(public_key, OSSL_PKEY_PARAM_RSA_E, &e) == 1;
        *problem = readable ? rsa_problem(n, e) : CRYPTO_PROBLEM_UNREADABLE;
        *is_small = readable && BN_num_bits(e) < 17;
        BN_free(n);
        BN_free(e);
        return CRYPTO_KEY_RSA;
    }
    if (EVP_PKEY_is_a(public_key, "ED25519")) kind = CRYPTO_KEY_ED25519;
    if (EVP_PKEY_is_a(public_key, "EC")) {
        char name[64];
        size_t length = 0;
        if (EVP_PKEY_get_group_name(public_key, name, sizeof name, &length) == 1)
            for (int curve = CRYPTO_KEY_P256; curve <= CRYPTO_KEY_P521; curve++)
                if (strcmp(name, group_names[curve]) == 0) kind = curve;
    }
    *problem = kind ? CRYPTO_PROBLEM_NONE : CRYPTO_PROBLEM_KIND;
    return kind;
}

crypto_key *crypto_key_pem(const void *text, size_t count, int *problem) {
    if (count == 0 || count > CRYPTO_PEM_BYTES_MAXIMUM) return refuse(CRYPTO_PROBLEM_UNREADABLE, problem);
    BIO *bio = BIO_new_mem_buf(text, (int)count);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long length = 0;
    EVP_PKEY *public_key = NULL;
    int is_small = 0, kind = 0;
    *problem = CRYPTO_PROBLEM_UNREADABLE;
    if (bio && PEM_read_bio(bio, &name, &header, &data, &length) == 1) {
        const unsigned char *place = data;
        if (strstr(name, "PRIVATE")) *problem = CRYPTO_PROBLEM_PRIVATE;
        else if (strcmp(name, PEM_STRING_PUBLIC) != 0) *problem = CRYPTO_PROBLEM_KIND;
        else public_key = d2i_PUBKEY(NULL, &place, length);
        if (public_key && place != data + length) {
            EVP_PKEY_free(public_key);
            public_key = NULL;
        }
        if (public_key) kind = judge(public_key, &is_small, problem);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, length > 0 ? (size_t)length : 0);
    BIO_free(bio);
    if (*problem != CRYPTO_PROBLEM_NONE) {
        EVP_PKEY_free(public_key);
        return refuse(*problem, problem);
    }
    crypto_key *key = adopt(public_key, kind, problem);
    if (key) key->small_exponent = is_small;
    return key;
}

void crypto_key_free(crypto_key *key) {
    if (!key) return;
    EVP_PKEY_free(key->public_key);
    OPENSSL_clear_free(key->secret, key->secret_count);
    free(key);
}

int crypto_key_kind(const crypto_key *key) { return key->kind; }
int crypto_key_bits(const crypto_key *key) { return key->bits; }
int crypto_key_has_small_exponent(const crypto_key *key) { return key->small_exponent; }

int crypto_key_thumbprint(const crypto_key *key, uint8_t digest[CRYPTO_SHA256_BYTES]) {
    if (!key->public_key) return crypto_hmac_sha256(key->secret, key->secret_count, "thumbprint", 10, digest);
    unsigned char *encoded = NULL;
    int length = i2d_PUBKEY(key->public_key, &encoded);
    int done = length > 0 && crypto_sha256(encoded, (size_t)length, digest);
    OPENSSL_free(encoded);
    if (!done) ERR_clear_error();
    return done;
}

/* ---- verification ----------------------------------------------------------------------------------------------------------- */

static const EVP_MD *hash_of(int algorithm) {
    switch (algorithm & CRYPTO_HASH_MASK) {
    case CRYPTO_HASH_256: return EVP_sha256();
    case CRYPTO_HASH_384: return EVP_sha384();
    case CRYPTO_HASH_512: return EVP_sha512();
    default: return NULL;
    }
}

static int verify_secret(const crypto_key *key, const EVP_MD *hash, const void *data, size_t count, const uint8_t *signature,
                         size_t signature_count) {
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    int done = HMAC(hash, key->secret, (int)key->secret_count, count ? data : "", count, mac, &length) != NULL
        && length == signature_count && CRYPTO_memcmp(mac, signature, length) == 0;
    OPENSSL_cleanse(mac, sizeof mac);
    return done;
}

/* RFC 7518 section 3.4 sends r and s side by side at the width of the order; the library reads DER. Zero is refused here, and values
 * that reach the order by the library. Returns the length of the DER form, 0 when there is none. */
static size_t ecdsa_der(const uint8_t *signature, size_t count, uint8_t *der, size_t capacity) {
    size_t half = count / 2;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, (int)half, NULL), *s = BN_bin2bn(signature + half, (int)half, NULL);
    size_t length = 0;
    if (!pair || !r || !s || BN_is_zero(r) || BN_is_zero(s) || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else {
        int needed = i2d_ECDSA_SIG(pair, NULL);
        if (needed > 0 && (size_t)needed <= capacity) {
            i2d_ECDSA_SIG(pair, &der);
            length = (size_t)needed;
        }
    }
    ECDSA_SIG_free(pair);
    return length;
}

static int set_up_pss(EVP_PKEY_CTX *context, const EVP_MD *hash) {
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash) == 1
        && EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static int verify_public(const crypto_key *key, int scheme, const EVP_MD *hash, const void *data, size_t count,
                         const uint8_t *signature, size_t signature_count) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *details = NULL;
    int good = context && EVP_DigestVerifyInit(context, &details, hash, NULL, key->public_key) == 1
        && (scheme != CRYPTO_SCHEME_PSS || set_up_pss(details, hash))
        && EVP_DigestVerify(context, signature, signature_count, data, count) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

int crypto_verify(const crypto_key *key, int algorithm, const void *data, size_t count, const uint8_t *signature,
                  size_t signature_count) {
    int scheme = algorithm & CRYPTO_SCHEME_MASK;
    const EVP_MD *hash = hash_of(algorithm);
    uint8_t der[2 * CRYPTO_COORDINATE_BYTES_MAXIMUM + 16];
    if (signature_count == 0) return 0;
    switch (scheme) {
    case CRYPTO_SCHEME_HMAC:
        return key->kind == CRYPTO_KEY_SECRET && hash && verify_secret(key, hash, data, count, signature, signature_count);
    case CRYPTO_SCHEME_PKCS1:
    case CRYPTO_SCHEME_PSS:
        return key->kind == CRYPTO_KEY_RSA && hash && signature_count == (size_t)(key->bits + 7) / 8
            && verify_public(key, scheme, hash, data, count, signature, signature_count);
    case CRYPTO_SCHEME_ECDSA: {
        int kind = 0;
        size_t wanted = 0;
        switch (algorithm & CRYPTO_HASH_MASK) {
        case CRYPTO_HASH_256: kind = CRYPTO_KEY_P256, wanted = 64; break;
        case CRYPTO_HASH_384: kind = CRYPTO_KEY_P384, wanted = 96; break;
        case CRYPTO_HASH_512: kind = CRYPTO_KEY_P521, wanted = 132; break;
        }
        if (!hash || key->kind != kind || signature_count != wanted) return 0;
        size_t length = ecdsa_der(signature, signature_count, der, sizeof der);
        return length && verify_public(key, scheme, hash, data, count, der, length);
    }
    case CRYPTO_SCHEME_ED25519:
        return key->kind == CRYPTO_KEY_ED25519 && signature_count == 64
            && verify_public(key, scheme, NULL, data, count, signature, signature_count);
    default: return 0;
    }
}
