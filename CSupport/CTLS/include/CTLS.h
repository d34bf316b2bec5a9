/* A thin shim over OpenSSL 3's libssl: contexts, ticket keys, and sessions that read and write memory of the caller's. No
 * OpenSSL header is included here, so importing this module imports nothing else.
 *
 * Contexts are counted, and may be retained and released by any thread; everything else of a context or a session belongs to
 * the one thread that uses it. Only TLS 1.2 and 1.3, no renegotiation, no compression, no session cache: resumption is by
 * ticket alone. */
#ifndef CTLS_H
#define CTLS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tls_context tls_context;
typedef struct tls_session tls_session;
typedef struct tls_ticket_keys tls_ticket_keys;

/* Has OpenSSL take its memory from lists that threads keep; a handshake then hardly meets the C library's allocator. To be called
 * before anything of OpenSSL is. 1, or 0 when it was too late: all works, at the ordinary price. Off under test, so that tools that
 * look for faulty memory see every block. */
int tls_keep_memory(void);

/* --- Ticket keys: one set for a process, shared by every server context --- */

/* Builds a set with one fresh key, of which `accepted` older ones stay valid for decryption after rotations, at most
 * TLS_TICKET_KEYS_MAXIMUM - 1. NULL without memory or entropy. Contexts hold a reference; the caller's is given up with release. */
enum { TLS_TICKET_KEYS_MAXIMUM = 16 };
tls_ticket_keys *tls_ticket_keys_create(unsigned accepted);
void tls_ticket_keys_release(tls_ticket_keys *keys);
/* Makes a fresh key the one that encrypts; the oldest beyond those accepted is wiped. 1, or 0 without entropy. Any thread. */
int tls_ticket_keys_rotate(tls_ticket_keys *keys);

/* --- Contexts --- */

/* A server context without a certificate. `ticket_seconds` is how long a ticket is good for; `keys` may be NULL: no tickets.
 * NULL without memory. */
tls_context *tls_server_context_create(tls_ticket_keys *keys, uint32_t ticket_seconds);
/* Adds a certificate chain (PEM, leaf first) with its key (PEM, unencrypted). The first one added answers when no name or an unknown one
 * is asked for; others by the DNS names in their subjectAltName, exact ones first, then `*.` for one label. Returns 1, or 0 with one
 * line in `error`, which is always terminated. */
int tls_server_context_add(tls_context *context, const void *chain, size_t chain_count, const void *key, size_t key_count,
                           char *error, size_t capacity);

/* A client context that verifies chain and name against the system's authorities, or against those of a PEM file. NULL with one
 * line in `error`. */
tls_context *tls_client_context_create(const char *authorities_path, char *error, size_t capacity);

/* Has a client context show a certificate when a server asks for one: a chain and its key, as of tls_server_context_add. */
int tls_client_context_add(tls_context *context, const void *chain, size_t chain_count, const void *key, size_t key_count,
                           char *error, size_t capacity);
/* Has a client context refuse anything older than TLS 1.3. */
void tls_client_context_require_13(tls_context *context);

void tls_context_retain(tls_context *context);
void tls_context_release(tls_context *context);

/* --- Sessions --- */

enum tls_outcome {
    TLS_FAILED = -1, /* broken: see tls_session_error; an alert may have been written */
    TLS_MORE = 0,    /* all input is used up */
    TLS_DONE = 1,    /* the handshake is complete, or the bytes are written */
    TLS_CLOSED = 2,  /* the peer's close_notify came; nothing follows */
    TLS_ROOM = 3,    /* decrypted bytes wait for which the input's place is too short: tls_session_take */
};

/* A session of a server or client context; about 100 bytes beside what libssl takes. `name` (clients) is what the certificate must
 * be for, a DNS name or a numeric address. NULL without memory. */
tls_session *tls_session_create_server(tls_context *context);
tls_session *tls_session_create_client(tls_context *context, const char *name);
void tls_session_free(tls_session *session);

/* Where output of the next calls goes. What does not fit, or comes behind something that did not, is kept and taken with
 * tls_session_spill. tls_session_written returns how much went here since. */
void tls_session_output(tls_session *session, void *bytes, size_t capacity);
size_t tls_session_written(const tls_session *session);
/* Moves at most `capacity` kept bytes to `bytes`; returns how many. */
size_t tls_session_spill(tls_session *session, void *bytes, size_t capacity);
int tls_session_has_spill(const tls_session *session);
/* Forgets what was kept. */
void tls_session_drop_spill(tls_session *session);

/* What a call works on: `count` bytes from `base`, of which those before `read` are used up and the first `written` are plaintext
 * already. written <= read always. */
typedef struct tls_input {
    uint8_t *base;
    uint32_t count;
    uint32_t read;
    uint32_t written;
} tls_input;

/* Goes on with the handshake: TLS_DONE, TLS_MORE or TLS_FAILED. */
int tls_session_handshake(tls_session *session, tls_input *input);
/* Decrypts in place: plaintext is closed up at the front of the input. TLS_MORE, TLS_ROOM, TLS_CLOSED or TLS_FAILED. */
int tls_session_decrypt(tls_session *session, tls_input *input);
/* Decrypted bytes that wait; and takes at most `capacity` of them elsewhere. */
size_t tls_session_pending(const tls_session *session);
size_t tls_session_take(tls_session *session, void *bytes, size_t capacity);
/* Encrypts `count` bytes, 1 to 16384, as one record to the output, which may overlap the bytes up to their end. TLS_DONE or TLS_FAILED. */
int tls_session_encrypt(tls_session *session, const void *bytes, size_t count);
/* Lets an established session read and write so many messages more that are no data (key updates, tickets, refused renegotiations, alerts),
 * `maximum` at most; one above breaks it when it reads on. Without limit until the first call. */
void tls_session_allow(tls_session *session, uint32_t messages, uint32_t maximum);
/* Writes a key update that asks the peer for its own (RFC 8446 section 4.6.3); 1, or 0 when the session has none. */
int tls_session_update_keys(tls_session *session);
/* Writes close_notify. */
void tls_session_close_notify(tls_session *session);

/* Of an established session: 0x0303 or 0x0304; whether a ticket was accepted. */
int tls_session_version(const tls_session *session);
int tls_session_resumed(const tls_session *session);
/* Why a session failed: one line, always terminated; and whether it is because the peer's certificate was not accepted. */
void tls_session_error(const tls_session *session, char *text, size_t capacity);

int tls_session_is_rejected(const tls_session *session);

#ifdef __cplusplus
}
#endif
#endif
