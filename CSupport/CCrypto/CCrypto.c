#include "CCrypto.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* Fetched once, for the process: EVP_sha1() and its like have the provider looked up by name with every digest (0.33 us instead of
 * 0.15 us for 60 bytes). */
static EVP_MD *sha1, *sha256;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void) {
    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static int digest(EVP_MD *const *algorithm, const void *data, size_t count, uint8_t *output) {
    unsigned int length = 0;
    pthread_once(&fetched, fetch);
    int done = *algorithm && EVP_Digest(count ? data : "", count, output, &length, *algorithm, NULL) == 1;
    if (!done) ERR_clear_error();
    return done;
}

int crypto_sha1(const void *data, size_t count, uint8_t output[CRYPTO_SHA1_BYTES]) {
    return digest(&sha1, data, count, output);
}

int crypto_sha256(const void *data, size_t count, uint8_t output[CRYPTO_SHA256_BYTES]) {
    return digest(&sha256, data, count, output);
}

static int authenticate(const EVP_MD *algorithm, unsigned int mac_count, const void *key, size_t key_count, const void *data,
                        size_t count, uint8_t *mac) {
    unsigned int length = 0;
    if (key_count > INT32_MAX) return 0;
    /* A NULL key means "keep the previous key" to OpenSSL, an empty one is a key. */
    const void *some_key = key_count ? key : "";
    const void *some_data = count ? data : "";
    int done = HMAC(algorithm, some_key, (int)key_count, some_data, count, mac, &length) != NULL && length == mac_count;
    if (!done) ERR_clear_error();
    return done;
}

int crypto_hmac_sha256(const void *key, size_t key_count, const void *data, size_t count,
                       uint8_t mac[CRYPTO_SHA256_BYTES]) {
    return authenticate(EVP_sha256(), CRYPTO_SHA256_BYTES, key, key_count, data, count, mac);
}

int crypto_hmac_sha1(const void *key, size_t key_count, const void *data, size_t count, uint8_t mac[CRYPTO_SHA1_BYTES]) {
    return authenticate(EVP_sha1(), CRYPTO_SHA1_BYTES, key, key_count, data, count, mac);
}

int crypto_random(void *bytes, size_t count) {
    if (count == 0) return 1;
    if (count > INT32_MAX) return 0;
    int done = RAND_bytes(bytes, (int)count) == 1;
    if (!done) ERR_clear_error();
    return done;
}

int crypto_equal(const void *left, const void *right, size_t count) {
    return count == 0 || CRYPTO_memcmp(left, right, count) == 0;
}

/* ---- certificate and key ---------------------------------------------------------------------------------------------------- */

static int say(char *error, size_t capacity, const char *format, ...) {
    if (capacity > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error, capacity, format, arguments);
        va_end(arguments);
    }
    ERR_clear_error();
    return 0;
}

/* An encrypted key must not make OpenSSL ask on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *asked) {
    (void)buffer;
    (void)size;
    (void)writing;
    *(int *)asked = 1;
    return 0;
}

static X509 *read_leaf(const char *path, char *error, size_t capacity) {
    FILE *file = fopen(path, "r");
    if (!file) {
        say(error, capacity, "certificate %s: %s", path, strerror(errno));
        return NULL;
    }
    X509 *leaf = PEM_read_X509(file, NULL, NULL, NULL);
    if (!leaf) {
        /* A directory opens, but reading it fails. */
        int failure = ferror(file) ? errno : 0;
        fclose(file);
        if (failure) say(error, capacity, "certificate %s: %s", path, strerror(failure));
        else say(error, capacity, "certificate %s: holds no PEM certificate", path);
        return NULL;
    }
    /* The rest of the chain must be readable too; the end of the file shows as "no start line". */
    for (;;) {
        X509 *issuer = PEM_read_X509(file, NULL, NULL, NULL);
        if (!issuer) break;
        X509_free(issuer);
    }
    int at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    fclose(file);
    if (at_end) return leaf;
    X509_free(leaf);
    say(error, capacity, "certificate %s: a certificate after the first is not readable", path);
    return NULL;
}

static EVP_PKEY *read_key(const char *path, char *error, size_t capacity) {
    FILE *file = fopen(path, "r");
    if (!file) {
        say(error, capacity, "key %s: %s", path, strerror(errno));
        return NULL;
    }
    int asked = 0;
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, no_passphrase, &asked);
    int failure = !key && ferror(file) ? errno : 0;
    fclose(file);
    if (key) return key;
    if (asked) say(error, capacity, "key %s: is protected by a passphrase; store it without one", path);
    else if (failure) say(error, capacity, "key %s: %s", path, strerror(failure));
    else say(error, capacity, "key %s: holds no PEM private key", path);
    return NULL;
}

static void date_text(const ASN1_TIME *when, char text[32]) {
    struct tm parts;
    int readable = ASN1_TIME_to_tm(when, &parts) == 1 && strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) > 0;
    if (!readable) strcpy(text, "an unreadable date");
}

static int check_dates(const X509 *leaf, const char *path, int64_t now, char *error, size_t capacity) {
    if (now == 0) return 1;
    time_t moment = (time_t)now;
    char text[32];
    if (X509_cmp_time(X509_get0_notAfter(leaf), &moment) <= 0) {
        date_text(X509_get0_notAfter(leaf), text);
        return say(error, capacity, "certificate %s: expired at %s", path, text);
    }
    if (X509_cmp_time(X509_get0_notBefore(leaf), &moment) > 0) {
        date_text(X509_get0_notBefore(leaf), text);
        return say(error, capacity, "certificate %s: is not valid before %s", path, text);
    }
    return 1;
}

/* What a server context refuses although the pair matches: keys too small for the security level, for example. */
static int check_usable(const char *certificate_path, const char *key_path, char *error, size_t capacity) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) return say(error, capacity, "TLS library cannot make a server context");
    int usable = SSL_CTX_use_certificate_chain_file(context, certificate_path) == 1
        && SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM) == 1;
    if (!usable) {
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());
        if (!reason) reason = "no reason given";
        say(error, capacity, "certificate %s: the TLS library refuses it: %s", certificate_path, reason);
    }
    SSL_CTX_free(context);
    return usable;
}

int crypto_check_pair(const char *certificate_path, const char *key_path, int64_t now, char *error, size_t capacity) {
    if (capacity > 0) error[0] = 0;
    X509 *leaf = read_leaf(certificate_path, error, capacity);
    if (!leaf) return 0;
    EVP_PKEY *key = read_key(key_path, error, capacity);
    int good = key != NULL;
    if (good && X509_check_private_key(leaf, key) != 1)
        good = say(error, capacity, "key %s does not belong to certificate %s", key_path, certificate_path);
    if (good) good = check_dates(leaf, certificate_path, now, error, capacity);
    if (good) good = check_usable(certificate_path, key_path, error, capacity);
    EVP_PKEY_free(key);
    X509_free(leaf);
    return good;
}
