// The floor: the least a user-space forwarder can cost. It accepts, dials one fixed target and moves
// bytes both ways; it parses nothing. What a gateway costs above it is the gateway's own doing.
#ifndef FLOOR_H
#define FLOOR_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>

struct options {
    struct sockaddr_in target;   // where every connection is forwarded to
    uint16_t port;               // where to listen on 127.0.0.1; 0 lets the kernel choose
    int cpu;                     // core to pin to; -1 leaves it to the scheduler
    bool epoll;                  // the epoll forwarder instead of the io_uring one
    bool oneshot;                // one receive per request (bulk) instead of multishot
    uint32_t frameBytes;         // payload of a datagram; 0 forwards streams
    bool segments;               // datagrams travel in trains
    const char *certificate;     // PEM files: clients speak TLS; NULL: they do not
    const char *key;
    uint32_t bufferBytes;        // size of one receive buffer
    uint32_t ringBuffers;        // buffers offered to the kernel at a time; power of two
    uint32_t poolBuffers;        // buffers in total
    uint32_t highBytes;          // a peer's queue above this stops receiving
    uint32_t lowBytes;           // and below this receives again
};

// Opens the listener, prints "listening PORT" and returns the descriptor. Ends the process on failure.
int openListener(const struct options *options);
void setNoDelay(int descriptor);
_Noreturn void fail(const char *what, int error);

// TLS of clients, for the io_uring forwarder: records are opened and sealed in the buffers they lie in.
struct tls_session;
enum { secureRoom = 64, secureBytesMost = 16384 };  // what sealing adds to a buffer, at most; and what one record holds
void secureSetUp(const struct options *options);
struct tls_session *secureOpen(void);

_Noreturn void runUring(const struct options *options);
_Noreturn void runDatagrams(const struct options *options);
_Noreturn void runEpoll(const struct options *options);

#endif
