// io_uring for Swift: liburing sets the ring up; the functions here submit, reap and recycle, each a few stores.
//
// Theory of operation
//   A `struct ring` owns one io_uring, or stands on memory that a simulated kernel serves (`ring.kernel` set).
//   Every system call that the engine makes on behalf of a connection passes through this file, so that a seeded
//   fake kernel can take the place of Linux at the system call boundary: the code above is the very machine code
//   that ships, in both cases.
//
//   submission:  ring_entry() -> fill with one ring_prepare_…() -> … -> ring_enter() publishes all of them at once
//   completion:  ring_next() reads one at a time; ring_consumed() hands all read entries back at once
//
// The headers before liburing.h keep clang modules consistent: liburing.h sets _XOPEN_SOURCE, which would change
// fd_set against the Glibc module.
#ifndef CRING_H
#define CRING_H

#include <features.h>
#include <sys/types.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <liburing.h>

// netinet/udp.h needs feature macros that this header must not define (values from include/uapi/linux/udp.h).
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

// Constants newer than Debian 12's headers (values from the kernel's include/uapi/linux/io_uring.h).
#define RING_FEATURE_MIN_TIMEOUT (1U << 15)
#define RING_FEATURE_NO_IOWAIT (1U << 17)
#define RING_ENTER_NO_IOWAIT (1U << 7)

struct ring;

// A datagram socket as the engine wants it.
struct ring_datagram_socket {
    struct sockaddr_in6 local; // where it is bound; its family is the socket's
    struct sockaddr_in6 peer;  // family 0: not connected
    int receive_buffer_bytes;  // 0: the system's default
    bool shares_port;          // SO_REUSEPORT
};

// What a simulated kernel answers. Return values are those of the system calls, errors as -errno.
struct ring_kernel {
    void *context;
    int (*enter)(void *context, struct ring *ring, unsigned wait, uint64_t timeout_nanoseconds);
    int (*register_buffers)(void *context, int group, struct io_uring_buf_ring *ring, unsigned entries);
    int (*open_stream_socket)(void *context, int family);
    int (*peer_address)(void *context, int descriptor, struct sockaddr_in6 *address);
    uint64_t (*now_nanoseconds)(void *context);
    void (*close_descriptor)(void *context, int descriptor);
    void (*finish_sending)(void *context, int descriptor);
    int (*open_datagram_socket)(void *context, const struct ring_datagram_socket *wanted);
    int (*coalesce_datagrams)(void *context, int descriptor);
    int (*local_address)(void *context, int descriptor, struct sockaddr_in6 *address);
    uint32_t (*datagrams_lost)(void *context, int descriptor);
};

struct ring {
    struct io_uring uring;
    const struct ring_kernel *kernel; // NULL: Linux
    unsigned head;                    // completions read so far, published by ring_consumed()
    unsigned enter_flags;
    bool registered;                  // the ring's own descriptor is registered: enter skips fget
};

struct ring_completion {
    uint64_t token;
    int32_t result;
    uint32_t flags;
};

// Set-up (CRing.c). All return 0 or -errno.
int ring_create(struct ring *ring, unsigned entries, unsigned completions, unsigned setup_flags);
void ring_destroy(struct ring *ring);
int ring_register_buffers(struct ring *ring, int group, struct io_uring_buf_ring *buffers, unsigned entries);
// Opcode support as the kernel reports it; answers false when the kernel cannot be asked.
bool ring_supports(struct ring *ring, int opcode);
// Builds a ring on plain memory for a simulated kernel.
int ring_create_simulated(struct ring *ring, unsigned entries, unsigned completions, const struct ring_kernel *kernel);
// Tries io_uring_setup with the flags and closes it again.
int ring_try_setup(unsigned entries, unsigned setup_flags, unsigned *features);

// Publishes what was prepared, waits for `wait` completions at most `timeout_nanoseconds` (UINT64_MAX: for ever;
// 0: not at all). Returns what the kernel consumed, or -errno; -ETIME is an ordinary answer.
int ring_enter(struct ring *ring, unsigned wait, uint64_t timeout_nanoseconds);

// The calls the engine makes outside the ring.
// With `speaks_first` the connection's last ACK leaves with the first bytes that are sent: a packet less, and a peer that accepts finds
// them there. Of a socket on which nothing is sent at once it would leave 200 ms late.
int ring_open_stream_socket(struct ring *ring, int family, bool speaks_first);
int ring_peer_address(struct ring *ring, int descriptor, struct sockaddr_in6 *address);
uint64_t ring_now_nanoseconds(struct ring *ring);
void ring_close_descriptor(struct ring *ring, int descriptor);
// Sends FIN on a connected socket behind what was sent; without effect on one whose peer is gone.
void ring_finish_sending(struct ring *ring, int descriptor);
// A descriptor, or -errno. An IPv6 socket never carries IPv4.
int ring_open_datagram_socket(struct ring *ring, const struct ring_datagram_socket *wanted);
// From now on the kernel may join datagrams of one sender and size (UDP_GRO).
int ring_coalesce_datagrams(struct ring *ring, int descriptor);
int ring_local_address(struct ring *ring, int descriptor, struct sockaddr_in6 *address);
// Datagrams the kernel dropped at this socket because its buffer was full, since it was opened.
uint32_t ring_datagrams_lost(struct ring *ring, int descriptor);

static inline unsigned ring_prepared(struct ring *ring) { return ring->uring.sq.sqe_tail - *ring->uring.sq.ktail; }

// NULL when the submission queue is full: enter, then ask again.
static inline struct io_uring_sqe *ring_entry(struct ring *ring) {
    struct io_uring_sq *sq = &ring->uring.sq;
    unsigned head = __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
    if (sq->sqe_tail - head >= sq->ring_entries) return NULL;
    struct io_uring_sqe *entry = &sq->sqes[sq->sqe_tail & sq->ring_mask];
    sq->sqe_tail++;
    memset(entry, 0, sizeof *entry);
    return entry;
}

static inline bool ring_next(struct ring *ring, struct ring_completion *completion) {
    struct io_uring_cq *cq = &ring->uring.cq;
    if (ring->head == __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE)) return false;
    const struct io_uring_cqe *entry = &cq->cqes[ring->head & cq->ring_mask];
    completion->token = entry->user_data;
    completion->result = entry->res;
    completion->flags = entry->flags;
    ring->head++;
    return true;
}

static inline void ring_consumed(struct ring *ring) {
    __atomic_store_n(ring->uring.cq.khead, ring->head, __ATOMIC_RELEASE);
}

static inline bool ring_overflowed(struct ring *ring) {
    return (__atomic_load_n(ring->uring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW) != 0;
}

static inline uint32_t ring_overflow_count(struct ring *ring) {
    return __atomic_load_n(ring->uring.cq.koverflow, __ATOMIC_RELAXED);
}

static inline void ring_prepare_accept(struct io_uring_sqe *entry, int descriptor, uint64_t token) {
    entry->opcode = IORING_OP_ACCEPT;
    entry->fd = descriptor;
    entry->ioprio = IORING_ACCEPT_MULTISHOT;
    entry->accept_flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    entry->user_data = token;
}

// The address must stay where it is until the entry has been submitted.
static inline void ring_prepare_connect(struct io_uring_sqe *entry, int descriptor, const struct sockaddr *address,
                                        unsigned address_bytes, uint64_t token) {
    entry->opcode = IORING_OP_CONNECT;
    entry->fd = descriptor;
    entry->addr = (uint64_t)(uintptr_t)address;
    entry->off = address_bytes;
    entry->user_data = token;
}

static inline void ring_prepare_receive(struct io_uring_sqe *entry, int descriptor, uint16_t group, bool multishot,
                                        bool poll_first, uint64_t token) {
    entry->opcode = IORING_OP_RECV;
    entry->fd = descriptor;
    entry->flags = IOSQE_BUFFER_SELECT;
    entry->buf_group = group;
    entry->ioprio = (uint16_t)((multishot ? IORING_RECV_MULTISHOT : 0) | (poll_first ? IORING_RECVSEND_POLL_FIRST : 0));
    entry->user_data = token;
}

static inline void ring_prepare_send(struct io_uring_sqe *entry, int descriptor, const void *bytes, uint32_t count,
                                     int flags, uint64_t token) {
    entry->opcode = IORING_OP_SEND;
    entry->fd = descriptor;
    entry->addr = (uint64_t)(uintptr_t)bytes;
    entry->len = count;
    entry->msg_flags = (uint32_t)flags;
    entry->user_data = token;
}

// The header and its vector must stay where they are until the entry has been submitted (IORING_FEAT_SUBMIT_STABLE).
static inline void ring_prepare_send_vector(struct io_uring_sqe *entry, int descriptor, const struct msghdr *header,
                                            int flags, uint64_t token) {
    entry->opcode = IORING_OP_SENDMSG;
    entry->fd = descriptor;
    entry->addr = (uint64_t)(uintptr_t)header;
    entry->len = 1;
    entry->msg_flags = (uint32_t)flags;
    entry->user_data = token;
}

// Many datagrams, each in a buffer of the group behind what recvmsg(2) says about it (see ring_datagram_layout); the
// header gives the room for name and control data and is read before ring_enter() returns. With MSG_TRUNC the kernel
// tells the length of what it had to cut. Nothing is tried before the socket is readable.
static inline void ring_prepare_receive_datagrams(struct io_uring_sqe *entry, int descriptor, const struct msghdr *header,
                                                  uint16_t group, uint64_t token) {
    entry->opcode = IORING_OP_RECVMSG;
    entry->fd = descriptor;
    entry->flags = IOSQE_BUFFER_SELECT;
    entry->addr = (uint64_t)(uintptr_t)header;
    entry->len = 1;
    entry->buf_group = group;
    entry->ioprio = IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST;
    entry->msg_flags = MSG_TRUNC;
    entry->user_data = token;
}

// What precedes a datagram in its buffer, in bytes from the buffer's start: struct io_uring_recvmsg_out, the peer's
// address, one control message of four bytes, the payload.
enum ring_datagram_layout {
    RING_DATAGRAM_CONTROL_COUNT = 4,
    RING_DATAGRAM_FULL_COUNT = 8,
    RING_DATAGRAM_FLAGS = 12,
    RING_DATAGRAM_NAME = 16,
    RING_DATAGRAM_NAME_BYTES = 32,
    RING_DATAGRAM_CONTROL = RING_DATAGRAM_NAME + RING_DATAGRAM_NAME_BYTES,
    RING_DATAGRAM_CONTROL_BYTES = CMSG_SPACE(sizeof(int)),
    RING_DATAGRAM_PAYLOAD = RING_DATAGRAM_CONTROL + RING_DATAGRAM_CONTROL_BYTES,
};

// Size of the segments of a received train, or 0 when the kernel joined nothing.
static inline uint32_t ring_segment_bytes(const void *buffer) {
    const char *start = (const char *)buffer;
    uint32_t control_count;
    memcpy(&control_count, start + RING_DATAGRAM_CONTROL_COUNT, sizeof control_count);
    if (control_count < CMSG_LEN(sizeof(int))) return 0;
    struct cmsghdr control;
    memcpy(&control, start + RING_DATAGRAM_CONTROL, sizeof control);
    if (control.cmsg_level != SOL_UDP || control.cmsg_type != UDP_GRO) return 0;
    int segment;
    memcpy(&segment, start + RING_DATAGRAM_CONTROL + CMSG_LEN(0), sizeof segment);
    return segment > 0 ? (uint32_t)segment : 0;
}

// Datagrams of one size to one address that leave as one request: while they are gathered and until their fate is known.
struct ring_train {
    struct msghdr header;
    struct sockaddr_in6 destination; // family 0: the socket is connected
    uint32_t slot;
    uint64_t control[3];             // UDP_SEGMENT
    uint32_t previous;               // the socket's train before this one
    uint32_t bytes;                  // of all payloads
    int32_t result;
    uint16_t segment_bytes;          // of every datagram but the last, which may be shorter
    uint16_t segments;
    uint16_t parts;
    uint16_t sequence;
    bool sealed;                     // takes no more
};

// One sendmsg(2) of `parts`; with more than one segment the kernel cuts them apart (UDP_SEGMENT). The train and its
// parts stay where they are until the request has ended.
static inline void ring_prepare_train(struct io_uring_sqe *entry, int descriptor, struct ring_train *train,
                                      struct iovec *parts, unsigned count, bool segmented, int flags, uint64_t token) {
    struct msghdr *header = &train->header;
    memset(header, 0, sizeof *header);
    if (train->destination.sin6_family != 0) {
        header->msg_name = &train->destination;
        header->msg_namelen = train->destination.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof train->destination;
    }
    header->msg_iov = parts;
    header->msg_iovlen = count;
    if (segmented) {
        struct cmsghdr *control = (struct cmsghdr *)train->control;
        control->cmsg_level = SOL_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        memcpy(CMSG_DATA(control), &train->segment_bytes, sizeof(uint16_t));
        header->msg_control = train->control;
        header->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
    }
    ring_prepare_send_vector(entry, descriptor, header, flags, token);
}

// Whether two destinations of one socket are the same.
static inline bool ring_same_address(const struct sockaddr_in6 *one, const struct sockaddr_in6 *other) {
    if (one->sin6_family != other->sin6_family || one->sin6_port != other->sin6_port) return false;
    if (one->sin6_family == AF_INET) {
        return ((const struct sockaddr_in *)one)->sin_addr.s_addr == ((const struct sockaddr_in *)other)->sin_addr.s_addr;
    }
    return memcmp(&one->sin6_addr, &other->sin6_addr, sizeof one->sin6_addr) == 0 && one->sin6_scope_id == other->sin6_scope_id;
}

// No completion unless the request fails or falls short: for requests that are known to end while they are submitted.
static inline void ring_silence_success(struct io_uring_sqe *entry) { entry->flags |= IOSQE_CQE_SKIP_SUCCESS; }

// Entries that the kernel has not taken yet, after ring_enter().
static inline unsigned ring_unsubmitted(struct ring *ring) {
    return *ring->uring.sq.ktail - __atomic_load_n(ring->uring.sq.khead, __ATOMIC_ACQUIRE);
}

// Completions that are waiting to be read; token and result of the one `index` places ahead.
static inline unsigned ring_waiting(struct ring *ring) {
    return __atomic_load_n(ring->uring.cq.ktail, __ATOMIC_ACQUIRE) - ring->head;
}
static inline uint64_t ring_waiting_token(struct ring *ring, unsigned index) {
    return ring->uring.cq.cqes[(ring->head + index) & ring->uring.cq.ring_mask].user_data;
}
static inline int32_t ring_waiting_result(struct ring *ring, unsigned index) {
    return ring->uring.cq.cqes[(ring->head + index) & ring->uring.cq.ring_mask].res;
}

static inline void ring_prepare_close(struct io_uring_sqe *entry, int descriptor, uint64_t token) {
    entry->opcode = IORING_OP_CLOSE;
    entry->fd = descriptor;
    entry->user_data = token;
}

// Cancels the one request that carries `target`.
static inline void ring_prepare_cancel(struct io_uring_sqe *entry, uint64_t target, uint64_t token) {
    entry->opcode = IORING_OP_ASYNC_CANCEL;
    entry->fd = -1;
    entry->addr = target;
    entry->user_data = token;
}

// Cancels every request on the descriptor.
static inline void ring_prepare_cancel_descriptor(struct io_uring_sqe *entry, int descriptor, uint64_t token) {
    entry->opcode = IORING_OP_ASYNC_CANCEL;
    entry->fd = descriptor;
    entry->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
    entry->user_data = token;
}

static inline void ring_prepare_poll(struct io_uring_sqe *entry, int descriptor, uint32_t events, bool multishot,
                                     uint64_t token) {
    entry->opcode = IORING_OP_POLL_ADD;
    entry->fd = descriptor;
    entry->poll32_events = events;
    entry->len = multishot ? IORING_POLL_ADD_MULTI : 0;
    entry->user_data = token;
}

// Puts buffer `identifier` into a provided-buffer ring; visible to the kernel after ring_buffers_publish().
static inline void ring_buffers_put(struct io_uring_buf_ring *buffers, void *address, uint32_t bytes,
                                    uint16_t identifier, unsigned mask, unsigned offset) {
    struct io_uring_buf *buffer = &buffers->bufs[(buffers->tail + offset) & mask];
    buffer->addr = (uint64_t)(uintptr_t)address;
    buffer->len = bytes;
    buffer->bid = identifier;
}

static inline void ring_buffers_publish(struct io_uring_buf_ring *buffers, unsigned count) {
    __atomic_store_n(&buffers->tail, (uint16_t)(buffers->tail + count), __ATOMIC_RELEASE);
}

// Counters that one shard writes and any thread reads.
static inline void counter_add(uint64_t *counter, uint64_t amount) {
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + amount, __ATOMIC_RELAXED);
}
static inline void counter_set(uint64_t *counter, uint64_t value) { __atomic_store_n(counter, value, __ATOMIC_RELAXED); }
static inline uint64_t counter_read(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

// Simulated kernel's side of the queues: take one submission, post one completion (false: the queue is full).
const struct io_uring_sqe *ring_simulated_take(struct ring *ring);
bool ring_simulated_post(struct ring *ring, uint64_t token, int32_t result, uint32_t flags);

#endif
