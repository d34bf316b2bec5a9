// Sessions: libssl on memory of the caller's, through a BIO that reads from one span and writes to another.
#include "CTLS_private.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD_HEADER = 5, HANDSHAKE_RECORD = 22 };

struct tls_session {
    SSL *ssl;
    tls_context *context; /* its name table is used until the handshake is over */
    tls_input *input;
    uint8_t *output;
    size_t output_capacity, output_count;
    uint8_t *spill;
    size_t spill_start, spill_count, spill_capacity;
    uint8_t header[RECORD_HEADER]; /* of the record being read */
    uint8_t header_count;
    uint8_t speaks_tls; /* 0: nothing came yet, 1: it begins like TLS, 2: it does not */
    uint32_t body_left;
    uint32_t messages_left; /* beside the handshake's */
    uint8_t is_flooded;
    unsigned long error;
    long verdict; /* X509_V_… */
};

/* --- The BIO --- */

/* libssl asks for a record's header, then for exactly its body; so this knows where records begin. */
static void follow_records(tls_session *session, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        if (session->body_left > 0) {
            size_t part = count < session->body_left ? count : session->body_left;
            session->body_left -= (uint32_t)part;
            bytes += part, count -= part;
            if (session->body_left == 0) session->header_count = 0;
            continue;
        }
        session->header[session->header_count++] = *bytes;
        bytes++, count--;
        if (session->header_count < RECORD_HEADER) continue;
        session->body_left = (uint32_t)session->header[3] << 8 | session->header[4];
        if (session->body_left == 0) session->header_count = 0;
    }
}

static int bio_read(BIO *bio, char *into, size_t wanted, size_t *got) {
    tls_session *session = BIO_get_data(bio);
    tls_input *input = session->input;
    BIO_clear_retry_flags(bio);
    size_t left = input != NULL ? input->count - input->read : 0;
    if (session->is_flooded) {
        /* Without a retry this is an error, and the last that libssl reads. */
        *got = 0;
        return 0;
    }
    if (left == 0) {
        BIO_set_retry_read(bio);
        *got = 0;
        return 0;
    }
    size_t part = wanted < left ? wanted : left;
    memcpy(into, input->base + input->read, part);
    follow_records(session, input->base + input->read, part);
    input->read += (uint32_t)part;
    *got = part;
    return 1;
}

static int keep(tls_session *session, const char *bytes, size_t count) {
    if (session->spill_start + session->spill_count + count > session->spill_capacity) {
        size_t capacity = session->spill_start + session->spill_count + count + 4096;
        uint8_t *larger = realloc(session->spill, capacity);
        if (larger == NULL) return 0;
        session->spill = larger;
        session->spill_capacity = capacity;
    }
    memcpy(session->spill + session->spill_start + session->spill_count, bytes, count);
    session->spill_count += count;
    return 1;
}

static int bio_write(BIO *bio, const char *bytes, size_t count, size_t *taken) {
    tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *taken = count;
    if (session->spill_count > 0 || session->output_capacity - session->output_count < count) return keep(session, bytes, count);
    memcpy(session->output + session->output_count, bytes, count);
    session->output_count += count;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "span");
    if (method == NULL) return;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
}

/* --- Sessions --- */

static tls_session *create(tls_context *context) {
    pthread_once(&method_once, make_method);
    if (method == NULL || context->count == 0) return NULL;
    tls_session *session = calloc(1, sizeof *session);
    BIO *bio = BIO_new(method);
    SSL *ssl = SSL_new(context->certificates[0].raw);
    if (session == NULL || bio == NULL || ssl == NULL) {
        free(session);
        BIO_free(bio);
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    session->ssl = ssl;
    session->context = context;
    session->messages_left = UINT32_MAX;
    tls_context_retain(context);
    return session;
}

tls_session *tls_session_create_server(tls_context *context) {
    tls_session *session = create(context);
    if (session != NULL) SSL_set_accept_state(session->ssl);
    return session;
}

tls_session *tls_session_create_client(tls_context *context, const char *name) {
    tls_session *session = create(context);
    if (session == NULL) return NULL;
    SSL_set_connect_state(session->ssl);
    X509_VERIFY_PARAM *rules = SSL_get0_param(session->ssl);
    int named = X509_VERIFY_PARAM_set1_ip_asc(rules, name) == 1;
    if (!named) {
        ERR_clear_error();
        SSL_set_hostflags(session->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        named = name[0] != 0 && SSL_set1_host(session->ssl, name) == 1 && SSL_set_tlsext_host_name(session->ssl, name) == 1;
    }
    if (named) return session;
    tls_session_free(session);
    ERR_clear_error();
    return NULL;
}

void tls_session_free(tls_session *session) {
    if (session == NULL) return;
    SSL_free(session->ssl);
    tls_context_release(session->context);
    free(session->spill);
    free(session);
}

void tls_session_output(tls_session *session, void *bytes, size_t capacity) {
    session->output = bytes;
    session->output_capacity = capacity;
    session->output_count = 0;
}

size_t tls_session_written(const tls_session *session) { return session->output_count; }

int tls_session_has_spill(const tls_session *session) { return session->spill_count > 0; }

size_t tls_session_spill(tls_session *session, void *bytes, size_t capacity) {
    size_t part = session->spill_count < capacity ? session->spill_count : capacity;
    if (part > 0) memcpy(bytes, session->spill + session->spill_start, part);
    session->spill_start += part;
    session->spill_count -= part;
    if (session->spill_count == 0) {
        free(session->spill);
        session->spill = NULL;
        session->spill_start = session->spill_capacity = 0;
    }
    return part;
}

void tls_session_drop_spill(tls_session *session) {
    free(session->spill);
    session->spill = NULL;
    session->spill_start = session->spill_count = session->spill_capacity = 0;
}

/* What libssl says of every message: those beside the handshake's cost far more work than bytes. */
static void count_message(int written, int version, int type, const void *bytes, size_t count, SSL *ssl, void *argument) {
    (void)written, (void)version, (void)bytes, (void)count, (void)ssl;
    tls_session *session = argument;
    if (type != SSL3_RT_HANDSHAKE && type != SSL3_RT_ALERT) return;
    if (session->messages_left > 0) session->messages_left--;
    else session->is_flooded = 1;
}

void tls_session_allow(tls_session *session, uint32_t messages, uint32_t maximum) {
    uint32_t left = session->messages_left < maximum ? session->messages_left : maximum;
    session->messages_left = messages < maximum - left ? left + messages : maximum;
}

/* SSL_get_error looks at what lies in the thread's queue of errors, whoever left it there. */
static void forget_errors(void) {
    if (ERR_peek_error() != 0) ERR_clear_error();
}

/* What a call of libssl that did not succeed means. */
static int outcome(tls_session *session, int result) {
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_WANT_READ: return TLS_MORE;
    case SSL_ERROR_ZERO_RETURN: return TLS_CLOSED;
    default: break;
    }
    session->error = ERR_peek_error();
    session->verdict = SSL_get_verify_result(session->ssl);
    ERR_clear_error();
    return TLS_FAILED;
}

int tls_session_handshake(tls_session *session, tls_input *input) {
    if (session->speaks_tls == 0 && input->count > input->read) session->speaks_tls = input->base[input->read] == HANDSHAKE_RECORD ? 1 : 2;
    session->input = input;
    int result = SSL_do_handshake(session->ssl);
    session->input = NULL;
    if (result == 1) {
        SSL_set_msg_callback(session->ssl, count_message);
        SSL_set_msg_callback_arg(session->ssl, session);
        return TLS_DONE;
    }
    int what = outcome(session, result);
    if (what == TLS_CLOSED) what = TLS_FAILED;
    if (what == TLS_FAILED && session->speaks_tls == 2) {
        /* Whoever does not speak TLS gets no alert either: its bytes mean nothing to it. */
        session->output_count = 0;
        tls_session_drop_spill(session);
    }
    return what;
}

/* Room for the next read such that its plaintext ends before what is still to be read: the body of the next record, when it lies
 * here whole; 0 when that cannot be told without reading it. */
static size_t sure_room(const tls_session *session, const tls_input *input) {
    if (session->header_count > 0 || input->count - input->read < RECORD_HEADER) return 0;
    const uint8_t *header = input->base + input->read;
    size_t body = (size_t)header[3] << 8 | header[4];
    return input->count - input->read - RECORD_HEADER >= body ? body : 0;
}

static int decrypt(tls_session *session, tls_input *input) {
    for (;;) {
        size_t waiting = (size_t)SSL_pending(session->ssl);
        size_t room = waiting > 0 ? input->read - input->written : sure_room(session, input);
        int result;
        if (waiting > 0) {
            if (room < waiting) return TLS_ROOM;
            result = SSL_read(session->ssl, input->base + input->written, (int)waiting);
        } else if (room > 0) {
            result = SSL_read(session->ssl, input->base + input->written, (int)room);
        } else {
            char byte;
            result = SSL_peek(session->ssl, &byte, 1);
            if (result > 0) continue;
        }
        if (result <= 0) return outcome(session, result);
        input->written += (uint32_t)result;
        if (input->read == input->count && SSL_pending(session->ssl) == 0 && session->header_count == 0) return TLS_MORE;
    }
}

int tls_session_decrypt(tls_session *session, tls_input *input) {
    session->input = input;
    forget_errors();
    int result = decrypt(session, input);
    session->input = NULL;
    return result;
}

size_t tls_session_pending(const tls_session *session) { return (size_t)SSL_pending(session->ssl); }

size_t tls_session_take(tls_session *session, void *bytes, size_t capacity) {
    int result = SSL_read(session->ssl, bytes, (int)capacity);
    return result > 0 ? (size_t)result : 0;
}

int tls_session_encrypt(tls_session *session, const void *bytes, size_t count) {
    forget_errors();
    int result = SSL_write(session->ssl, bytes, (int)count);
    if (result == (int)count) return TLS_DONE;
    outcome(session, result);
    return TLS_FAILED;
}

void tls_session_close_notify(tls_session *session) {
    if (!SSL_in_init(session->ssl)) SSL_shutdown(session->ssl);
    ERR_clear_error();
}

int tls_session_update_keys(tls_session *session) {
    forget_errors();
    return SSL_key_update(session->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(session->ssl) == 1;
}

int tls_session_version(const tls_session *session) { return SSL_version(session->ssl); }

int tls_session_resumed(const tls_session *session) { return SSL_session_reused(session->ssl); }

void tls_session_error(const tls_session *session, char *text, size_t capacity) {
    if (session->verdict != X509_V_OK) {
        snprintf(text, capacity, "certificate: %s", X509_verify_cert_error_string(session->verdict));
        return;
    }
    if (session->is_flooded) {
        snprintf(text, capacity, "too many messages beside data");
        return;
    }
    const char *reason = ERR_reason_error_string(session->error);
    snprintf(text, capacity, "%s", reason != NULL ? reason : "TLS failed");
}

int tls_session_is_rejected(const tls_session *session) { return session->verdict != X509_V_OK; }
