#include "LoadTLS.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;

load_tls *load_tls_open(int descriptor, const char *suites) {
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
        if (context == NULL) return NULL;
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_read_ahead(context, 1); /* one recv for several records: the load must not be what limits */
        SSL_CTX_set_default_read_buffer_len(context, 262144);
        SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
        if (suites != NULL) SSL_CTX_set_ciphersuites(context, suites);
    }
    SSL *ssl = SSL_new(context);
    if (ssl == NULL || SSL_set_fd(ssl, descriptor) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return (load_tls *)ssl;
}

/* What a call came to, in the words of recv(2). */
static ssize_t outcome(SSL *ssl, int result) {
    if (result > 0) return result;
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: if (errno == 0) errno = ECONNRESET; break;
    default: errno = EPROTO;
    }
    ERR_clear_error();
    return -1;
}

int load_tls_handshake(load_tls *tls) {
    ssize_t result = outcome((SSL *)tls, SSL_do_handshake((SSL *)tls));
    return result > 0 ? 1 : result < 0 && errno == EAGAIN ? 0 : -1;
}

ssize_t load_tls_send(load_tls *tls, const void *bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
        size_t part = count - done < 16384 ? count - done : 16384;
        ssize_t result = outcome((SSL *)tls, SSL_write((SSL *)tls, (const char *)bytes + done, (int)part));
        if (result <= 0) return done > 0 ? (ssize_t)done : result;
        done += (size_t)result;
    }
    return (ssize_t)done;
}

ssize_t load_tls_receive(load_tls *tls, void *bytes, size_t capacity) {
    size_t done = 0;
    while (done < capacity) {
        ssize_t result = outcome((SSL *)tls, SSL_read((SSL *)tls, (char *)bytes + done, (int)(capacity - done)));
        if (result <= 0) return done > 0 ? (ssize_t)done : result;
        done += (size_t)result;
        if (!SSL_has_pending((SSL *)tls)) break;
    }
    return (ssize_t)done;
}

ssize_t load_tls_peek(load_tls *tls, void *bytes, size_t capacity) {
    return outcome((SSL *)tls, SSL_peek((SSL *)tls, bytes, (int)capacity));
}

int load_tls_has_pending(const load_tls *tls) { return SSL_has_pending((const SSL *)tls); }

void load_tls_free(load_tls *tls) { SSL_free((SSL *)tls); }
