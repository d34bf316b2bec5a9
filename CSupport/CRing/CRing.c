#define _GNU_SOURCE
#include "CRing.h"
#include <limits.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

// Our own copies of the argument of io_uring_enter with IORING_ENTER_EXT_ARG; the fourth field is the minimal wait
// since 6.12 and was padding before.
struct enter_argument {
    uint64_t signal_mask;
    uint32_t signal_mask_bytes;
    uint32_t minimal_wait_microseconds;
    uint64_t timeout;
};

static void map_entries_to_slots(struct io_uring_sq *sq) {
    for (unsigned index = 0; index < sq->ring_entries; index++) sq->array[index] = index;
}

int ring_create(struct ring *ring, unsigned entries, unsigned completions, unsigned setup_flags) {
    memset(ring, 0, sizeof *ring);
    struct io_uring_params parameters;
    memset(&parameters, 0, sizeof parameters);
    parameters.flags = setup_flags;
    if (setup_flags & IORING_SETUP_CQSIZE) parameters.cq_entries = completions;
    int result = io_uring_queue_init_params(entries, &ring->uring, &parameters);
    if (result < 0) return result;
    map_entries_to_slots(&ring->uring.sq);
    ring->registered = io_uring_register_ring_fd(&ring->uring) == 1;
    ring->enter_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if (ring->registered) ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
    if (ring->uring.features & RING_FEATURE_NO_IOWAIT) ring->enter_flags |= RING_ENTER_NO_IOWAIT;
    return 0;
}

void ring_destroy(struct ring *ring) {
    if (!ring->kernel) {
        io_uring_queue_exit(&ring->uring);
        return;
    }
    free(ring->uring.sq.sqes);
    free(ring->uring.sq.khead);
    free(ring->uring.cq.cqes);
}

int ring_register_buffers(struct ring *ring, int group, struct io_uring_buf_ring *buffers, unsigned entries) {
    if (ring->kernel) return ring->kernel->register_buffers(ring->kernel->context, group, buffers, entries);
    struct io_uring_buf_reg registration;
    memset(&registration, 0, sizeof registration);
    registration.ring_addr = (uint64_t)(uintptr_t)buffers;
    registration.ring_entries = entries;
    registration.bgid = (uint16_t)group;
    return io_uring_register_buf_ring(&ring->uring, &registration, 0);
}

bool ring_supports(struct ring *ring, int opcode) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->uring);
    if (!probe) return false;
    bool supported = io_uring_opcode_supported(probe, opcode);
    io_uring_free_probe(probe);
    return supported;
}

int ring_try_setup(unsigned entries, unsigned setup_flags, unsigned *features) {
    struct io_uring_params parameters;
    memset(&parameters, 0, sizeof parameters);
    parameters.flags = setup_flags;
    if (setup_flags & IORING_SETUP_CQSIZE) parameters.cq_entries = entries * 2;
    int descriptor = io_uring_setup(entries, &parameters);
    if (descriptor < 0) return descriptor;
    if (features) *features = parameters.features;
    close(descriptor);
    return 0;
}

static int enter_linux(struct ring *ring, unsigned count, unsigned wait, uint64_t timeout_nanoseconds) {
    struct timespec timeout = {.tv_sec = (time_t)(timeout_nanoseconds / 1000000000u),
                               .tv_nsec = (long)(timeout_nanoseconds % 1000000000u)};
    struct enter_argument argument = {0};
    if (wait > 0 && timeout_nanoseconds != UINT64_MAX) argument.timeout = (uint64_t)(uintptr_t)&timeout;
    int descriptor = ring->registered ? ring->uring.enter_ring_fd : ring->uring.ring_fd;
    return io_uring_enter2((unsigned)descriptor, count, wait, ring->enter_flags, (sigset_t *)&argument, sizeof argument);
}

int ring_enter(struct ring *ring, unsigned wait, uint64_t timeout_nanoseconds) {
    struct io_uring_sq *sq = &ring->uring.sq;
    __atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
    sq->sqe_head = sq->sqe_tail;
    if (timeout_nanoseconds == 0) wait = 0;
    if (ring->kernel) return ring->kernel->enter(ring->kernel->context, ring, wait, timeout_nanoseconds);
    unsigned count = sq->sqe_tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
    return enter_linux(ring, count, wait, timeout_nanoseconds);
}

int ring_open_stream_socket(struct ring *ring, int family, bool speaks_first) {
    if (ring->kernel) return ring->kernel->open_stream_socket(ring->kernel->context, family);
    int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -errno;
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int off = 0;
    if (speaks_first) setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
    return descriptor;
}

int ring_peer_address(struct ring *ring, int descriptor, struct sockaddr_in6 *address) {
    if (ring->kernel) return ring->kernel->peer_address(ring->kernel->context, descriptor, address);
    socklen_t bytes = sizeof *address;
    return getpeername(descriptor, (struct sockaddr *)address, &bytes) == 0 ? 0 : -errno;
}

uint64_t ring_now_nanoseconds(struct ring *ring) {
    if (ring->kernel) return ring->kernel->now_nanoseconds(ring->kernel->context);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void ring_close_descriptor(struct ring *ring, int descriptor) {
    if (ring->kernel) ring->kernel->close_descriptor(ring->kernel->context, descriptor);
    else close(descriptor);
}

void ring_finish_sending(struct ring *ring, int descriptor) {
    if (ring->kernel) ring->kernel->finish_sending(ring->kernel->context, descriptor);
    else shutdown(descriptor, SHUT_WR);
}

static int datagram_options(int descriptor, const struct ring_datagram_socket *wanted) {
    int on = 1;
    int family = wanted->local.sin6_family;
    if (wanted->shares_port && setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) return -errno;
    if (family == AF_INET6 && setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) return -errno;
    // The system caps it (net.core.rmem_max); less than wanted is no error.
    int bytes = wanted->receive_buffer_bytes;
    if (bytes > 0) setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof wanted->local;
    if (bind(descriptor, (const struct sockaddr *)&wanted->local, length) < 0) return -errno;
    if (wanted->peer.sin6_family == 0) return 0;
    return connect(descriptor, (const struct sockaddr *)&wanted->peer, length) < 0 ? -errno : 0;
}

int ring_open_datagram_socket(struct ring *ring, const struct ring_datagram_socket *wanted) {
    if (ring->kernel) return ring->kernel->open_datagram_socket(ring->kernel->context, wanted);
    int descriptor = socket(wanted->local.sin6_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -errno;
    int result = datagram_options(descriptor, wanted);
    if (result < 0) {
        close(descriptor);
        return result;
    }
    return descriptor;
}

int ring_coalesce_datagrams(struct ring *ring, int descriptor) {
    if (ring->kernel) return ring->kernel->coalesce_datagrams(ring->kernel->context, descriptor);
    int on = 1;
    return setsockopt(descriptor, SOL_UDP, UDP_GRO, &on, sizeof on) < 0 ? -errno : 0;
}

int ring_local_address(struct ring *ring, int descriptor, struct sockaddr_in6 *address) {
    if (ring->kernel) return ring->kernel->local_address(ring->kernel->context, descriptor, address);
    socklen_t bytes = sizeof *address;
    return getsockname(descriptor, (struct sockaddr *)address, &bytes) == 0 ? 0 : -errno;
}

uint32_t ring_datagrams_lost(struct ring *ring, int descriptor) {
    if (ring->kernel) return ring->kernel->datagrams_lost(ring->kernel->context, descriptor);
    uint32_t values[SK_MEMINFO_VARS] = {0};
    socklen_t bytes = sizeof values;
    if (getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, values, &bytes) < 0) return 0;
    return values[SK_MEMINFO_DROPS];
}

// --- the ring on plain memory ---

int ring_create_simulated(struct ring *ring, unsigned entries, unsigned completions, const struct ring_kernel *kernel) {
    memset(ring, 0, sizeof *ring);
    ring->kernel = kernel;
    // One block for the words that both sides share: head, tail, flags, dropped, then the index array.
    unsigned *shared = calloc(8 + (size_t)entries, sizeof *shared);
    struct io_uring_sqe *sqes = calloc(entries, sizeof *sqes);
    struct io_uring_cqe *cqes = calloc(completions, sizeof *cqes);
    if (!shared || !sqes || !cqes) {
        free(shared);
        free(sqes);
        free(cqes);
        return -ENOMEM;
    }
    struct io_uring_sq *sq = &ring->uring.sq;
    sq->khead = &shared[0];
    sq->ktail = &shared[1];
    sq->kflags = &shared[2];
    sq->kdropped = &shared[3];
    sq->array = &shared[8];
    sq->sqes = sqes;
    sq->ring_entries = entries;
    sq->ring_mask = entries - 1;
    map_entries_to_slots(sq);
    struct io_uring_cq *cq = &ring->uring.cq;
    cq->khead = &shared[4];
    cq->ktail = &shared[5];
    cq->koverflow = &shared[6];
    cq->cqes = cqes;
    cq->ring_entries = completions;
    cq->ring_mask = completions - 1;
    return 0;
}

const struct io_uring_sqe *ring_simulated_take(struct ring *ring) {
    struct io_uring_sq *sq = &ring->uring.sq;
    if (*sq->khead == *sq->ktail) return NULL;
    const struct io_uring_sqe *entry = &sq->sqes[*sq->khead & sq->ring_mask];
    (*sq->khead)++;
    return entry;
}

bool ring_simulated_post(struct ring *ring, uint64_t token, int32_t result, uint32_t flags) {
    struct io_uring_cq *cq = &ring->uring.cq;
    if (*cq->ktail - *cq->khead >= cq->ring_entries) return false;
    struct io_uring_cqe *entry = &cq->cqes[*cq->ktail & cq->ring_mask];
    entry->user_data = token;
    entry->res = result;
    entry->flags = flags;
    (*cq->ktail)++;
    return true;
}
