// Ticket keys shared by the contexts of a process (RFC 5077 section 4, RFC 8446 section 4.6.1).
#include "CTLS_private.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct ticket_key {
    uint8_t name[16];
    uint8_t cipher[32];
    uint8_t mac[32];
};

struct tls_ticket_keys {
    atomic_uint references;
    pthread_mutex_t mutex; /* held while a key is copied or the keys move on; never while one is used */
    EVP_CIPHER *algorithm; /* fetched once: a fetch takes a lock of the library's */
    unsigned accepted;
    unsigned count;
    struct ticket_key keys[TLS_TICKET_KEYS_MAXIMUM]; /* newest first */
};

static int fresh_key(struct ticket_key *key) { return RAND_bytes((unsigned char *)key, sizeof *key) == 1; }

tls_ticket_keys *tls_ticket_keys_create(unsigned accepted) {
    tls_ticket_keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL) return NULL;
    keys->algorithm = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (keys->algorithm == NULL || !fresh_key(&keys->keys[0])) {
        EVP_CIPHER_free(keys->algorithm);
        free(keys);
        return NULL;
    }
    atomic_init(&keys->references, 1);
    pthread_mutex_init(&keys->mutex, NULL);
    keys->accepted = accepted < TLS_TICKET_KEYS_MAXIMUM ? accepted : TLS_TICKET_KEYS_MAXIMUM - 1;
    keys->count = 1;
    return keys;
}

void tls_ticket_keys_retain(tls_ticket_keys *keys) { atomic_fetch_add(&keys->references, 1); }

void tls_ticket_keys_release(tls_ticket_keys *keys) {
    if (keys == NULL || atomic_fetch_sub(&keys->references, 1) != 1) return;
    EVP_CIPHER_free(keys->algorithm);
    pthread_mutex_destroy(&keys->mutex);
    OPENSSL_cleanse(keys->keys, sizeof keys->keys);
    free(keys);
}

int tls_ticket_keys_rotate(tls_ticket_keys *keys) {
    struct ticket_key key;
    if (!fresh_key(&key)) return 0;
    pthread_mutex_lock(&keys->mutex);
    unsigned kept = keys->count < keys->accepted ? keys->count : keys->accepted;
    memmove(&keys->keys[1], &keys->keys[0], kept * sizeof key);
    keys->keys[0] = key;
    keys->count = kept + 1;
    OPENSSL_cleanse(&keys->keys[keys->count], (TLS_TICKET_KEYS_MAXIMUM - keys->count) * sizeof key);
    pthread_mutex_unlock(&keys->mutex);
    OPENSSL_cleanse(&key, sizeof key);
    return 1;
}

/* Copies the newest key, or the one with this name; its age in rotations, or -1. */
static int find_key(tls_ticket_keys *keys, const unsigned char *name, struct ticket_key *found) {
    int age = -1;
    pthread_mutex_lock(&keys->mutex);
    for (unsigned index = 0; index < keys->count; index++) {
        if (name != NULL && CRYPTO_memcmp(keys->keys[index].name, name, sizeof found->name) != 0) continue;
        *found = keys->keys[index];
        age = (int)index;
        break;
    }
    pthread_mutex_unlock(&keys->mutex);
    return age;
}

static int ticket_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts) {
    tls_ticket_keys *keys = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    int age = find_key(keys, encrypts ? NULL : name, &key);
    if (age < 0) return 0; /* a key that is gone, or never was: a full handshake follows */
    if (encrypts) {
        memcpy(name, key.name, sizeof key.name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(keys->algorithm)) != 1) return -1;
    }
    OSSL_PARAM parameters[3] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    int ready = EVP_MAC_CTX_set_params(mac, parameters) == 1 &&
                EVP_CipherInit_ex(cipher, keys->algorithm, NULL, key.cipher, iv, encrypts) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!ready) return -1;
    return !encrypts && age > 0 ? 2 : 1; /* 2: accepted, and to be replaced */
}

void tls_ticket_keys_install(tls_ticket_keys *keys, SSL_CTX *raw) {
    SSL_CTX_set_app_data(raw, keys);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(raw, ticket_callback);
}
