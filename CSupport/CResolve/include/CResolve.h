// Name resolution with c-ares, driven from outside: it says which descriptors to watch, the caller says when they are ready.
#ifndef CRESOLVE_H
#define CRESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include <netinet/in.h>

struct resolver;

// The descriptor is to be watched for reading and writing; neither: it is about to be closed.
typedef void (*resolver_watch)(void *context, int descriptor, bool readable, bool writable);
// A look-up ended. status 0: count addresses (port 0), in the order of the system's preference, good for so many seconds (0 of names
// that no server was asked for); else a c-ares status.
typedef void (*resolver_done)(void *context, uint64_t identifier, int status, const struct sockaddr_in6 *addresses, int count,
                              int seconds);

// Reads the system's configuration (resolv.conf, nsswitch, hosts). Returns 0 or a c-ares status.
int resolver_open(struct resolver **resolver, resolver_watch watch, resolver_done done, void *context,
                  int timeout_milliseconds, int attempts);
// Fails what is under way (their done is called) and closes every descriptor.
void resolver_close(struct resolver *resolver);
// May call done at once.
void resolver_lookup(struct resolver *resolver, const char *name, uint64_t identifier);
// Descriptors that are ready, -1 for none; both -1 when only time has passed.
void resolver_process(struct resolver *resolver, int readable, int writable);
// Milliseconds until resolver_process must be called for time's sake; -1: nothing is under way.
int resolver_timeout(struct resolver *resolver);
const char *resolver_error(int status);

#endif
