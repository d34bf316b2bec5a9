// Socket options, addresses, threads and wake-ups: calls that Swift cannot spell or that take variadic arguments.
// All functions return a value >= 0, or -errno.
#ifndef CSOCKET_H
#define CSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>

// Parses a numeric IPv4 or IPv6 address. Returns the bytes used of `address`, or -EINVAL.
int socket_parse_address(const char *text, uint16_t port, struct sockaddr_in6 *address);
// Writes the numeric form without the port.
int socket_format_address(const struct sockaddr_in6 *address, char *text, size_t capacity);
// Has the kernel notice a dead peer: keep-alive probes (seconds, how many), and data that nobody acknowledges (milliseconds).
void socket_keep_alive(int descriptor, int idle_seconds, int interval_seconds, int count, unsigned unacknowledged_milliseconds);
// A listening stream socket with SO_REUSEADDR, SO_REUSEPORT (when asked) and TCP_NODELAY, which accepted sockets inherit.
int socket_listen(const struct sockaddr_in6 *address, unsigned address_bytes, int backlog, bool reuse_port);
// A blocking connection; for tests and tools.
int socket_connect(const struct sockaddr_in6 *address, unsigned address_bytes);
int socket_local_port(int descriptor);

int wake_open(void);                  // an eventfd
int wake_signal(int descriptor);
int wake_clear(int descriptor);
void descriptor_close(int descriptor);

int thread_start(void (*body)(void *), void *argument, uint64_t *thread);
int thread_join(uint64_t thread);
int thread_pin(int processor);        // the calling thread
int thread_name(const char *name);    // at most 15 bytes
// The n-th processor this process may run on, or -EINVAL past the end.
int processor_allowed(int index);

int signals_block(void);              // SIGTERM, SIGINT, SIGHUP, SIGUSR1; SIGPIPE ignored
int process_conceal(void);            // no core dump, and nobody of the same user reads its memory (PR_SET_DUMPABLE)
int signals_wait(int timeout_milliseconds);  // the signal's number, or 0 when the time has passed

int64_t descriptors_limit(bool raise);  // RLIMIT_NOFILE's soft limit, raised to the hard limit first when asked
void *memory_map(size_t bytes);         // zeroed, committed on first touch; NULL when refused
void memory_unmap(void *address, size_t bytes);
void memory_release(void *address, size_t bytes);  // whole pages of a mapping go back to the kernel and read as zeros
size_t memory_heap_bytes(void);         // handed out by malloc

#endif
