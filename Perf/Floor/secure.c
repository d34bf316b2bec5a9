// TLS of the floor's clients: one server context of the shim the gateway uses, without tickets.
#include "floor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "CTLS.h"

enum { fileBytesMost = 65536 };

static tls_context *context;

static size_t contents(const char *path, char *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path, errno);
    size_t count = fread(bytes, 1, fileBytesMost, file);
    fclose(file);
    return count;
}

void secureSetUp(const struct options *options) {
    static char chain[fileBytesMost], key[fileBytesMost];
    char error[256];
    tls_keep_memory();
    size_t chainCount = contents(options->certificate, chain), keyCount = contents(options->key, key);
    context = tls_server_context_create(NULL, 0);
    if (context == NULL) fail("TLS", ENOMEM);
    if (!tls_server_context_add(context, chain, chainCount, key, keyCount, error, sizeof error)) {
        fprintf(stderr, "sluice-floor: %s: %s\n", options->certificate, error);
        exit(2);
    }
}

struct tls_session *secureOpen(void) {
    tls_session *session = tls_session_create_server(context);
    if (session == NULL) fail("TLS session", ENOMEM);
    return session;
}
