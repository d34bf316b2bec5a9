/* What the two halves of the shim share. */
#ifndef CTLS_PRIVATE_H
#define CTLS_PRIVATE_H

#include "CTLS.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

/* Certificates of one context; names are looked through one by one. */
enum { TLS_CERTIFICATES_MAXIMUM = 64, TLS_NAMES_PER_CERTIFICATE = 128 };

struct tls_certificate {
    SSL_CTX *raw;
    char **names; /* lower case; `*.` in front of a wildcard */
    unsigned name_count;
};

struct tls_context {
    atomic_uint references;
    tls_ticket_keys *keys;
    uint32_t ticket_seconds;
    unsigned count;
    struct tls_certificate certificates[TLS_CERTIFICATES_MAXIMUM]; /* a client's context: one, without names */
};

void tls_error_line(const char *what, char *error, size_t capacity);
/* Makes the keys serve this context's tickets. */
void tls_ticket_keys_install(tls_ticket_keys *keys, SSL_CTX *raw);
void tls_ticket_keys_retain(tls_ticket_keys *keys);

#endif
