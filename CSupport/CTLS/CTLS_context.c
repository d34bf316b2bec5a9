// Server and client contexts: versions, suites, certificates by name.
#include "CTLS_private.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* TLS 1.2: forward secrecy and authenticated encryption only. The shorter key first: it is as strong as P-256, and faster. */
static const char suites_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char suites_13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups[] = "X25519:P-256:P-384";
static const unsigned char protocols[] = "\x08http/1.1";

void tls_error_line(const char *what, char *error, size_t capacity) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (capacity > 0) snprintf(error, capacity, "%s%s%s", what, reason != NULL ? ": " : "", reason != NULL ? reason : "");
    ERR_clear_error();
}

static SSL_CTX *raw_context(const SSL_METHOD *method) {
    SSL_CTX *raw = SSL_CTX_new(method);
    if (raw == NULL) return NULL;
    SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION);
    SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_cipher_list(raw, suites_12) == 1 && SSL_CTX_set_ciphersuites(raw, suites_13) == 1 &&
        SSL_CTX_set1_groups_list(raw, groups) == 1)
        return raw;
    SSL_CTX_free(raw);
    return NULL;
}

void tls_context_retain(tls_context *context) { atomic_fetch_add(&context->references, 1); }

static void free_certificate(struct tls_certificate *certificate) {
    for (unsigned index = 0; index < certificate->name_count; index++) free(certificate->names[index]);
    free(certificate->names);
    SSL_CTX_free(certificate->raw);
}

void tls_context_release(tls_context *context) {
    if (context == NULL || atomic_fetch_sub(&context->references, 1) != 1) return;
    for (unsigned index = 0; index < context->count; index++) free_certificate(&context->certificates[index]);
    tls_ticket_keys_release(context->keys);
    free(context);
}

tls_context *tls_server_context_create(tls_ticket_keys *keys, uint32_t ticket_seconds) {
    tls_context *context = calloc(1, sizeof *context);
    if (context == NULL) return NULL;
    atomic_init(&context->references, 1);
    context->keys = keys;
    context->ticket_seconds = ticket_seconds;
    if (keys != NULL) tls_ticket_keys_retain(keys);
    return context;
}

/* --- Names --- */

static int matches(const char *pattern, const char *name) {
    if (pattern[0] != '*') return strcasecmp(pattern, name) == 0;
    const char *rest = strchr(name, '.');
    return rest != NULL && rest != name && strcasecmp(pattern + 1, rest) == 0;
}

static SSL_CTX *find(const tls_context *context, const char *name) {
    SSL_CTX *wildcard = NULL;
    for (unsigned index = 0; index < context->count; index++) {
        const struct tls_certificate *certificate = &context->certificates[index];
        for (unsigned number = 0; number < certificate->name_count; number++) {
            if (!matches(certificate->names[number], name)) continue;
            if (certificate->names[number][0] != '*') return certificate->raw;
            if (wildcard == NULL) wildcard = certificate->raw;
        }
    }
    return wildcard;
}

static int name_callback(SSL *ssl, int *alert, void *argument) {
    (void)alert;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL) return SSL_TLSEXT_ERR_NOACK;
    SSL_CTX *raw = find(argument, name);
    if (raw == NULL) return SSL_TLSEXT_ERR_NOACK;
    SSL_set_SSL_CTX(ssl, raw);
    return SSL_TLSEXT_ERR_OK;
}

static int protocol_callback(SSL *ssl, const unsigned char **selected, unsigned char *selected_count, const unsigned char *offered,
                             unsigned offered_count, void *argument) {
    (void)ssl, (void)argument;
    unsigned char *chosen = NULL;
    int result = SSL_select_next_proto(&chosen, selected_count, protocols, sizeof protocols - 1, offered, offered_count);
    *selected = chosen;
    /* A client that offers only other protocols would not understand the answers (RFC 7301 section 3.2). */
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int read_names(struct tls_certificate *certificate, X509 *leaf) {
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    if (names == NULL) return 1;
    int count = sk_GENERAL_NAME_num(names);
    certificate->names = calloc((size_t)count + 1, sizeof *certificate->names);
    for (int index = 0; certificate->names != NULL && index < count; index++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
        if (name->type != GEN_DNS || certificate->name_count == TLS_NAMES_PER_CERTIFICATE) continue;
        const char *text = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        size_t length = (size_t)ASN1_STRING_length(name->d.dNSName);
        if (memchr(text, 0, length) != NULL) continue;
        char *copy = strndup(text, length);
        if (copy != NULL) certificate->names[certificate->name_count++] = copy;
    }
    GENERAL_NAMES_free(names);
    return certificate->names != NULL;
}

/* --- Certificates --- */

static int no_pass_phrase(char *buffer, int size, int writes, void *argument) {
    (void)buffer, (void)size, (void)writes, (void)argument;
    return -1; /* never ask at a terminal */
}

static int load_chain(SSL_CTX *raw, struct tls_certificate *certificate, BIO *source) {
    X509 *leaf = PEM_read_bio_X509_AUX(source, NULL, no_pass_phrase, NULL);
    if (leaf == NULL) return 0;
    int loaded = SSL_CTX_use_certificate(raw, leaf) == 1 && read_names(certificate, leaf);
    X509_free(leaf);
    while (loaded) {
        X509 *next = PEM_read_bio_X509(source, NULL, no_pass_phrase, NULL);
        if (next == NULL) break;
        if (SSL_CTX_add0_chain_cert(raw, next) == 1) continue;
        X509_free(next);
        return 0;
    }
    /* The end of the file shows as "no start line"; anything else is a broken certificate. */
    int clean = ERR_peek_last_error() == 0 || ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (loaded && clean) ERR_clear_error();
    return loaded && clean;
}

static int load_key(SSL_CTX *raw, BIO *source) {
    EVP_PKEY *key = PEM_read_bio_PrivateKey(source, NULL, no_pass_phrase, NULL);
    int loaded = key != NULL && SSL_CTX_use_PrivateKey(raw, key) == 1 && SSL_CTX_check_private_key(raw) == 1;
    EVP_PKEY_free(key);
    return loaded;
}

/* Loads a pair into a certificate's context; what is wrong with it, or NULL. */
static const char *load_pair(struct tls_certificate *certificate, const void *chain, size_t chain_count, const void *key,
                             size_t key_count) {
    BIO *chain_source = BIO_new_mem_buf(chain, (int)chain_count), *key_source = BIO_new_mem_buf(key, (int)key_count);
    const char *fault = NULL;
    if (certificate->raw == NULL || chain_source == NULL || key_source == NULL) fault = "no memory for a context";
    else if (!load_chain(certificate->raw, certificate, chain_source)) fault = "the certificate chain cannot be used";
    else if (!load_key(certificate->raw, key_source)) fault = "the private key cannot be used";
    BIO_free(chain_source);
    BIO_free(key_source);
    return fault;
}

int tls_server_context_add(tls_context *context, const void *chain, size_t chain_count, const void *key, size_t key_count,
                           char *error, size_t capacity) {
    static const unsigned char identity[] = "sluice";
    struct tls_certificate certificate = {0};
    if (capacity > 0) error[0] = 0;
    if (context->count == TLS_CERTIFICATES_MAXIMUM) return tls_error_line("too many certificates", error, capacity), 0;
    SSL_CTX *raw = certificate.raw = raw_context(TLS_server_method());
    const char *fault = load_pair(&certificate, chain, chain_count, key, key_count);
    if (fault != NULL) {
        tls_error_line(fault, error, capacity);
        free_certificate(&certificate);
        return 0;
    }
    SSL_CTX_set_session_id_context(raw, identity, sizeof identity - 1);
    SSL_CTX_set_timeout(raw, context->ticket_seconds);
    SSL_CTX_set_num_tickets(raw, 1);
    SSL_CTX_set_tlsext_servername_callback(raw, name_callback);
    SSL_CTX_set_tlsext_servername_arg(raw, context);
    SSL_CTX_set_alpn_select_cb(raw, protocol_callback, NULL);
    if (context->keys != NULL) tls_ticket_keys_install(context->keys, raw);
    else SSL_CTX_set_options(raw, SSL_OP_NO_TICKET);
    context->certificates[context->count++] = certificate;
    return 1;
}

tls_context *tls_client_context_create(const char *authorities_path, char *error, size_t capacity) {
    if (capacity > 0) error[0] = 0;
    tls_context *context = tls_server_context_create(NULL, 0);
    SSL_CTX *raw = context != NULL ? raw_context(TLS_client_method()) : NULL;
    if (raw == NULL) {
        tls_context_release(context);
        return tls_error_line("no memory for a context", error, capacity), NULL;
    }
    context->certificates[context->count++].raw = raw;
    int loaded = authorities_path != NULL ? SSL_CTX_load_verify_file(raw, authorities_path) : SSL_CTX_set_default_verify_paths(raw);
    if (loaded != 1) {
        tls_error_line("the certificate authorities cannot be used", error, capacity);
        tls_context_release(context);
        return NULL;
    }
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_alpn_protos(raw, protocols, sizeof protocols - 1);
    return context;
}

int tls_client_context_add(tls_context *context, const void *chain, size_t chain_count, const void *key, size_t key_count,
                           char *error, size_t capacity) {
    if (capacity > 0) error[0] = 0;
    const char *fault = load_pair(&context->certificates[0], chain, chain_count, key, key_count);
    if (fault != NULL) tls_error_line(fault, error, capacity);
    return fault == NULL;
}

void tls_client_context_require_13(tls_context *context) {
    SSL_CTX_set_min_proto_version(context->certificates[0].raw, TLS1_3_VERSION);
}
