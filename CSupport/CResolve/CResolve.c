#define _GNU_SOURCE
#include "CResolve.h"
#include <ares.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAXIMUM 16

struct resolver {
    ares_channel channel;
    resolver_watch watch;
    resolver_done done;
    void *context;
};

struct lookup {
    struct resolver *resolver;
    uint64_t identifier;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;
static void library_open(void) { library_status = ares_library_init(ARES_LIB_INIT_ALL); }

static void socket_state(void *data, ares_socket_t descriptor, int readable, int writable) {
    struct resolver *resolver = data;
    resolver->watch(resolver->context, descriptor, readable != 0, writable != 0);
}

int resolver_open(struct resolver **out, resolver_watch watch, resolver_done done, void *context,
                  int timeout_milliseconds, int attempts) {
    pthread_once(&library_once, library_open);
    if (library_status != ARES_SUCCESS) return library_status;
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver) return ARES_ENOMEM;
    resolver->watch = watch;
    resolver->done = done;
    resolver->context = context;
    struct ares_options options;
    memset(&options, 0, sizeof options);
    options.sock_state_cb = socket_state;
    options.sock_state_cb_data = resolver;
    options.timeout = timeout_milliseconds;
    options.tries = attempts;
    int status = ares_init_options(&resolver->channel, &options, ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS) {
        free(resolver);
        return status;
    }
    *out = resolver;
    return 0;
}

void resolver_close(struct resolver *resolver) {
    ares_destroy(resolver->channel);
    free(resolver);
}

static void finished(void *opaque, int status, int timeouts, struct ares_addrinfo *result) {
    (void)timeouts;
    struct lookup *lookup = opaque;
    struct resolver *resolver = lookup->resolver;
    struct sockaddr_in6 addresses[ADDRESSES_MAXIMUM];
    int count = 0, seconds = INT_MAX;
    memset(addresses, 0, sizeof addresses);
    if (status == ARES_SUCCESS) {
        for (struct ares_addrinfo_node *node = result->nodes; node && count < ADDRESSES_MAXIMUM; node = node->ai_next) {
            if (node->ai_family != AF_INET && node->ai_family != AF_INET6) continue;
            size_t bytes = node->ai_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
            memcpy(&addresses[count++], node->ai_addr, bytes);
            if (node->ai_ttl < seconds) seconds = node->ai_ttl;
        }
        if (count == 0) status = ARES_ENODATA;
    }
    if (result) ares_freeaddrinfo(result);
    resolver->done(resolver->context, lookup->identifier, status, addresses, count, count > 0 ? seconds : 0);
    free(lookup);
}

void resolver_lookup(struct resolver *resolver, const char *name, uint64_t identifier) {
    struct lookup *lookup = malloc(sizeof *lookup);
    if (!lookup) {
        resolver->done(resolver->context, identifier, ARES_ENOMEM, NULL, 0, 0);
        return;
    }
    *lookup = (struct lookup){resolver, identifier};
    struct ares_addrinfo_hints hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    ares_getaddrinfo(resolver->channel, name, NULL, &hints, finished, lookup);
}

void resolver_process(struct resolver *resolver, int readable, int writable) {
    ares_process_fd(resolver->channel, readable < 0 ? ARES_SOCKET_BAD : readable, writable < 0 ? ARES_SOCKET_BAD : writable);
}

int resolver_timeout(struct resolver *resolver) {
    struct timeval value;
    if (!ares_timeout(resolver->channel, NULL, &value)) return -1;
    return (int)(value.tv_sec * 1000 + value.tv_usec / 1000 + 1);
}

const char *resolver_error(int status) { return ares_strerror(status); }
