/* TLS of the load generator: a client on a socket, with libssl's own socket BIO and no check of the certificate. It shares no code with
 * what it measures. */
#ifndef LOAD_TLS_H
#define LOAD_TLS_H

#include <stddef.h>
#include <sys/types.h>

typedef struct load_tls load_tls;

/* A client on a connected socket. `suites` names the TLS 1.3 suites, NULL for libssl's choice. NULL without memory. */
load_tls *load_tls_open(int descriptor, const char *suites);
/* Goes on with the handshake: 1 done, 0 more to come, -1 failed. */
int load_tls_handshake(load_tls *tls);
/* As send(2), recv(2) and recv(2) with MSG_PEEK on a socket that does not wait: -1 with EAGAIN when it would. */
ssize_t load_tls_send(load_tls *tls, const void *bytes, size_t count);
ssize_t load_tls_receive(load_tls *tls, void *bytes, size_t capacity);
ssize_t load_tls_peek(load_tls *tls, void *bytes, size_t capacity);
/* Whether decrypted bytes wait that the socket does not tell of. */
int load_tls_has_pending(const load_tls *tls);
void load_tls_free(load_tls *tls);

#endif
