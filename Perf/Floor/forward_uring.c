// The bound: a forwarder on io_uring that parses nothing.
//
// Theory of operation. One thread, one ring, one io_uring_enter a turn: it submits what the last turn
// prepared and waits for the next completion. Accept is multishot. Receives take buffers from one
// provided ring, multishot for small messages, one at a time for bulk. Received buffers are linked into
// the peer's queue; at the end of the turn each touched queue leaves as one send (one buffer) or one
// sendmsg (several), never two at a time on a socket. When the send has completed its buffers go back to
// a stack, and the provided ring is topped up from it: few buffers offered, the last used first, so that
// they stay in the cache. A queue above the high watermark stops the receive that feeds it.
//
// A pair of sockets lives until nothing of it is in flight: end of stream on one side becomes shutdown of
// the other once the queue has left; an error resets both and waits for what is still in the kernel.
//
// With TLS towards clients each buffer is opened or sealed where it lies when it was received: what OpenSSL costs, and nothing else.
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <liburing.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "CTLS.h"

enum {
    submissionEntries = 4096,
    completionEntries = 32768,
    pairLimit = 32768,       // two descriptors each
    vectorsPerSend = 16,     // as many buffers as one sendmsg takes
    bufferGroup = 0,
};

enum operation { opAccept = 1, opConnect, opReceive, opSend, opCancel };

static const uint32_t none = UINT32_MAX;

struct side {
    int descriptor;
    uint32_t index;               // 2 * pair + which; the token's argument
    uint32_t head, tail;          // queue towards this descriptor, linked through `buffers`
    uint32_t queuedBytes;
    uint32_t headOffset;          // bytes of the head buffer that have left already
    uint32_t sendBytes;           // bytes of the send in flight; 0 when none is
    bool receiving, cancelling, starved, ended, ending;
    bool moreWaiting;             // the last receive left bytes in the socket
    bool inFlushList, inReceiveList;
    struct tls_session *session;  // of a client that speaks TLS
    bool shaken;                  // and its handshake is over
    struct iovec vectors[vectorsPerSend];
    struct msghdr message;
};

struct pair {
    struct side sides[2];
    uint32_t inFlight;            // requests the kernel still holds
    uint32_t nextFree;
    bool used, connected, closing;
};

struct buffer {
    uint32_t next, bytes;
};

static struct io_uring ring;
static struct io_uring_buf_ring *offered;
static const struct options *options;
static struct pair *pairs;
static uint32_t freePair;
static int listener;

static uint8_t *memory;
static struct buffer *buffers;
static uint32_t *freeBuffers, freeCount;  // a stack
static uint32_t offeredCount;             // buffers the kernel may take at present

static uint32_t flushList[2 * pairLimit], flushCount;
static uint32_t receiveList[2 * pairLimit], receiveCount;
static uint32_t starvedList[2 * pairLimit], starvedCount;

static struct pair *pairOf(struct side *side) { return &pairs[side->index >> 1]; }
static struct side *peerOf(struct side *side) { return &pairOf(side)->sides[(side->index & 1) ^ 1]; }

static struct io_uring_sqe *entry(enum operation operation, uint32_t argument) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    while (!sqe) {
        int result = io_uring_submit(&ring);
        if (result < 0 && result != -EBUSY && result != -EAGAIN) fail("io_uring_submit", -result);
        sqe = io_uring_get_sqe(&ring);
    }
    sqe->user_data = (uint64_t)operation << 32 | argument;
    return sqe;
}

// The preparing functions of liburing clear user_data, so it is set after them.
static void tag(struct io_uring_sqe *sqe, enum operation operation, uint32_t argument) {
    sqe->user_data = (uint64_t)operation << 32 | argument;
}

static void queueFlush(struct side *side) {
    if (side->inFlushList) return;
    side->inFlushList = true;
    flushList[flushCount++] = side->index;
}

static void queueReceive(struct side *side) {
    if (side->inReceiveList) return;
    side->inReceiveList = true;
    receiveList[receiveCount++] = side->index;
}

static void armAccept(void) {
    struct io_uring_sqe *sqe = entry(opAccept, 0);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    tag(sqe, opAccept, 0);
}

static void giveBack(uint32_t identifier) { freeBuffers[freeCount++] = identifier; }

static void topUp(void) {
    uint32_t added = 0, mask = options->ringBuffers - 1;
    while (offeredCount < options->ringBuffers && freeCount) {
        uint32_t identifier = freeBuffers[--freeCount];
        io_uring_buf_ring_add(offered, memory + (size_t)identifier * options->bufferBytes,
                              options->bufferBytes - (options->certificate ? secureRoom : 0),
                              (uint16_t)identifier, (int)mask, (int)added++);
        offeredCount++;
    }
    if (added) io_uring_buf_ring_advance(offered, (int)added);
}

// Closes what nothing in the kernel refers to any more.
static void reap(struct pair *pair) {
    if (pair->inFlight) return;
    if (!pair->closing) {
        for (int which = 0; which < 2; which++) {
            struct side *side = &pair->sides[which];
            if (!side->ended || side->head != none) return;
        }
    }
    for (int which = 0; which < 2; which++) {
        struct side *side = &pair->sides[which];
        for (uint32_t identifier = side->head; identifier != none; identifier = buffers[identifier].next) {
            giveBack(identifier);
        }
        tls_session_free(side->session);
        close(side->descriptor);
    }
    pair->used = false;
    pair->nextFree = freePair;
    freePair = (uint32_t)(pair - pairs);
}

static void pauseReceive(struct side *side);

// An error on one side: what waits is dropped and both are reset, which is cheaper than two orderly ends.
static void abandon(struct pair *pair) {
    if (pair->closing) return;
    pair->closing = true;
    struct linger immediately = {.l_onoff = 1};
    for (int which = 0; which < 2; which++) {
        struct side *side = &pair->sides[which];
        setsockopt(side->descriptor, SOL_SOCKET, SO_LINGER, &immediately, sizeof immediately);
        // A close takes effect when nothing in the kernel holds the socket any more.
        if (side->sendBytes || options->oneshot) shutdown(side->descriptor, SHUT_RDWR); else pauseReceive(side);
    }
}

static void startPair(int client) {
    if (freePair == none) {
        close(client);
        return;
    }
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (upstream < 0) {
        close(client);
        return;
    }
    setNoDelay(upstream);
    // The client speaks first: the last packet of the handshake goes with its data.
    int off = 0;
    setsockopt(upstream, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
    uint32_t index = freePair;
    struct pair *pair = &pairs[index];
    freePair = pair->nextFree;
    pair->used = true;
    pair->connected = pair->closing = false;
    pair->inFlight = 1;
    for (uint32_t which = 0; which < 2; which++) {
        struct side *side = &pair->sides[which];
        // The list flags survive: an old entry of this side in a list of this turn only looks once more.
        bool flushing = side->inFlushList, receiving = side->inReceiveList;
        memset(side, 0, offsetof(struct side, vectors));
        side->inFlushList = flushing;
        side->inReceiveList = receiving;
        side->index = 2 * index + which;
        side->head = side->tail = none;
        side->descriptor = which ? upstream : client;
    }
    if (options->certificate) pair->sides[0].session = secureOpen();
    struct io_uring_sqe *sqe = entry(opConnect, 2 * index + 1);
    io_uring_prep_connect(sqe, upstream, (const struct sockaddr *)&options->target, sizeof options->target);
    tag(sqe, opConnect, 2 * index + 1);
}

static void armReceive(struct side *side) {
    struct pair *pair = pairOf(side);
    if (!pair->used || !pair->connected || pair->closing || side->receiving || side->ended || side->starved) return;
    if (peerOf(side)->queuedBytes >= options->highBytes) return;
    struct io_uring_sqe *sqe = entry(opReceive, side->index);
    if (options->oneshot) {
        io_uring_prep_recv(sqe, side->descriptor, NULL, 0, 0);
        sqe->len = options->bufferBytes;
    } else {
        io_uring_prep_recv_multishot(sqe, side->descriptor, NULL, 0, 0);
    }
    // Without bytes waiting, the attempt that would fail is skipped.
    if (!side->moreWaiting) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = bufferGroup;
    tag(sqe, opReceive, side->index);
    side->receiving = true;
    pair->inFlight++;
}

static void flush(struct side *side) {
    struct pair *pair = pairOf(side);
    if (!pair->used || pair->closing || side->sendBytes || side->head == none) return;
    int flags = MSG_NOSIGNAL | MSG_WAITALL;
    uint32_t count = 0, total = 0, offset = side->headOffset;
    for (uint32_t identifier = side->head; identifier != none && count < vectorsPerSend;
         identifier = buffers[identifier].next) {
        side->vectors[count].iov_base = memory + (size_t)identifier * options->bufferBytes + offset;
        side->vectors[count].iov_len = buffers[identifier].bytes - offset;
        total += buffers[identifier].bytes - offset;
        offset = 0;
        count++;
    }
    struct io_uring_sqe *sqe = entry(opSend, side->index);
    if (count == 1) {
        io_uring_prep_send(sqe, side->descriptor, side->vectors[0].iov_base, side->vectors[0].iov_len, flags);
    } else {
        side->message = (struct msghdr){.msg_iov = side->vectors, .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, side->descriptor, &side->message, (unsigned)flags);
    }
    tag(sqe, opSend, side->index);
    side->sendBytes = total;
    pair->inFlight++;
}

// Passes the end of the peer's stream on, once everything before it has left.
static void passEnd(struct side *side) {
    if (side->head != none || side->ending || !peerOf(side)->ended || pairOf(side)->closing) return;
    side->ending = true;
    shutdown(side->descriptor, SHUT_WR);
}

static void pauseReceive(struct side *side) {
    if (!side->receiving || side->cancelling || options->oneshot) return;
    side->cancelling = true;
    struct io_uring_sqe *sqe = entry(opCancel, side->index);
    io_uring_prep_cancel64(sqe, (uint64_t)opReceive << 32 | side->index, 0);
    tag(sqe, opCancel, side->index);
    pairOf(side)->inFlight++;
}

static uint8_t *bytesOf(uint32_t identifier) { return memory + (size_t)identifier * options->bufferBytes; }

static void enqueue(struct side *side, uint32_t identifier, uint32_t bytes) {
    if (bytes == 0) {
        giveBack(identifier);
        return;
    }
    buffers[identifier] = (struct buffer){.next = none, .bytes = bytes};
    if (side->head == none) side->head = identifier; else buffers[side->tail].next = identifier;
    side->tail = identifier;
    side->queuedBytes += bytes;
    queueFlush(side);
}

// A buffer for what does not fit where it came in; the pool is larger than what queues may hold.
static uint32_t spare(void) {
    if (freeCount == 0) fail("buffers", ENOBUFS);
    return freeBuffers[--freeCount];
}

// Goes on with a client's handshake; true when it is over.
static bool shakeHands(struct side *side, tls_input *input) {
    uint32_t answer = spare();
    tls_session_output(side->session, bytesOf(answer), options->bufferBytes);
    int outcome = tls_session_handshake(side->session, input);
    enqueue(side, answer, (uint32_t)tls_session_written(side->session));
    if (outcome == TLS_FAILED || tls_session_has_spill(side->session)) abandon(pairOf(side));
    side->shaken = outcome == TLS_DONE;
    return side->shaken && !pairOf(side)->closing;
}

// Opens what came from a client: its plaintext lies at the front of the buffer, that of a record that began earlier in others.
static uint32_t opened(struct side *side, uint32_t identifier, uint32_t count) {
    tls_input input = {.base = bytesOf(identifier), .count = count};
    if (!side->shaken && !shakeHands(side, &input)) return 0;
    if (input.read == input.count) return 0;
    tls_session_output(side->session, NULL, 0);
    int outcome;
    while ((outcome = tls_session_decrypt(side->session, &input)) == TLS_ROOM) {
        uint32_t other = spare();
        enqueue(peerOf(side), other, (uint32_t)tls_session_take(side->session, bytesOf(other), options->bufferBytes - secureRoom));
    }
    if (outcome == TLS_FAILED) abandon(pairOf(side));
    return input.written;
}

// Seals what goes to a client, in one record.
static uint32_t sealed(struct side *side, uint32_t identifier, uint32_t count) {
    tls_session_output(side->session, bytesOf(identifier), options->bufferBytes);
    if (side->shaken && tls_session_encrypt(side->session, bytesOf(identifier), count) == TLS_DONE) {
        return (uint32_t)tls_session_written(side->session);
    }
    abandon(pairOf(side));
    return 0;
}

static void received(struct side *side, int result, uint32_t flags) {
    struct pair *pair = pairOf(side);
    struct side *peer = peerOf(side);
    if (flags & IORING_CQE_F_BUFFER) {
        uint32_t identifier = flags >> IORING_CQE_BUFFER_SHIFT;
        offeredCount--;
        if (result > 0 && !pair->closing) {
            uint32_t count = (uint32_t)result;
            if (side->session) count = opened(side, identifier, count);
            if (peer->session) count = sealed(peer, identifier, count);
            enqueue(peer, identifier, count);
            if (peer->queuedBytes >= options->highBytes) pauseReceive(side);
        } else {
            giveBack(identifier);
        }
    }
    side->moreWaiting = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
    if (!(flags & IORING_CQE_F_MORE)) {
        side->receiving = false;
        pair->inFlight--;
        queueReceive(side);
    }
    if (result == 0) {
        side->ended = true;
        passEnd(peer);
    } else if (result == -ENOBUFS) {
        side->moreWaiting = true;
        if (!side->starved) {
            side->starved = true;
            starvedList[starvedCount++] = side->index;
        }
    } else if (result < 0 && result != -ECANCELED) {
        abandon(pair);
    }
    reap(pair);
}

static void sent(struct side *side, int result) {
    struct pair *pair = pairOf(side);
    side->sendBytes = 0;
    pair->inFlight--;
    if (result < 0) {
        abandon(pair);
        reap(pair);
        return;
    }
    uint32_t left = (uint32_t)result + side->headOffset;
    side->queuedBytes -= (uint32_t)result;
    while (side->head != none && left >= buffers[side->head].bytes) {
        uint32_t identifier = side->head;
        left -= buffers[identifier].bytes;
        side->head = buffers[identifier].next;
        giveBack(identifier);
    }
    side->headOffset = left;
    if (side->head != none) {
        queueFlush(side);
    } else {
        passEnd(side);
    }
    if (side->queuedBytes <= options->lowBytes) queueReceive(peerOf(side));
    reap(pair);
}

static void connected(struct side *side, int result) {
    struct pair *pair = pairOf(side);
    pair->inFlight--;
    if (result < 0) {
        abandon(pair);
        reap(pair);
        return;
    }
    pair->connected = true;
    queueReceive(&pair->sides[0]);
    queueReceive(&pair->sides[1]);
}

static void dispatch(const struct io_uring_cqe *completion) {
    uint32_t argument = (uint32_t)completion->user_data;
    struct side *side = &pairs[argument >> 1].sides[argument & 1];
    switch ((enum operation)(completion->user_data >> 32)) {
    case opReceive: received(side, completion->res, completion->flags); break;
    case opSend: sent(side, completion->res); break;
    case opConnect: connected(side, completion->res); break;
    case opCancel:
        side->cancelling = false;
        pairOf(side)->inFlight--;
        reap(pairOf(side));
        break;
    case opAccept:
        if (completion->res >= 0) startPair(completion->res);
        if (!(completion->flags & IORING_CQE_F_MORE)) armAccept();
        break;
    }
}

static void endOfTurn(void) {
    for (uint32_t position = 0; position < flushCount; position++) {
        struct side *side = &pairs[flushList[position] >> 1].sides[flushList[position] & 1];
        side->inFlushList = false;
        flush(side);
    }
    flushCount = 0;
    topUp();
    if (starvedCount && offeredCount) {
        for (uint32_t position = 0; position < starvedCount; position++) {
            struct side *side = &pairs[starvedList[position] >> 1].sides[starvedList[position] & 1];
            side->starved = false;
            queueReceive(side);
        }
        starvedCount = 0;
    }
    for (uint32_t position = 0; position < receiveCount; position++) {
        struct side *side = &pairs[receiveList[position] >> 1].sides[receiveList[position] & 1];
        side->inReceiveList = false;
        armReceive(side);
    }
    receiveCount = 0;
}

static void setUp(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = completionEntries};
    int result = io_uring_queue_init_params(submissionEntries, &ring, &parameters);
    if (result < 0) fail("io_uring_setup", -result);
    io_uring_register_ring_fd(&ring);

    pairs = calloc(pairLimit, sizeof *pairs);
    buffers = calloc(options->poolBuffers, sizeof *buffers);
    freeBuffers = calloc(options->poolBuffers, sizeof *freeBuffers);
    memory = mmap(NULL, (size_t)options->poolBuffers * options->bufferBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t ringBytes = options->ringBuffers * sizeof(struct io_uring_buf);
    offered = mmap(NULL, ringBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!pairs || !buffers || !freeBuffers || memory == MAP_FAILED || offered == MAP_FAILED) fail("memory", ENOMEM);
    io_uring_buf_ring_init(offered);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)offered,
                                            .ring_entries = options->ringBuffers,
                                            .bgid = bufferGroup};
    result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0) fail("io_uring_register_buf_ring", -result);
    for (uint32_t identifier = options->poolBuffers; identifier-- > 0;) giveBack(identifier);
    topUp();
    freePair = none;
    for (uint32_t index = pairLimit; index-- > 0;) {
        pairs[index].nextFree = freePair;
        freePair = index;
    }
}

_Noreturn void runUring(const struct options *given) {
    options = given;
    setUp();
    if (options->certificate) secureSetUp(options);
    listener = openListener(options);
    armAccept();
    for (;;) {
        int result = io_uring_submit_and_wait(&ring, 1);
        if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN && result != -ETIME) {
            fail("io_uring_enter", -result);
        }
        unsigned head, count = 0;
        struct io_uring_cqe *completion;
        io_uring_for_each_cqe(&ring, head, completion) {
            dispatch(completion);
            count++;
        }
        io_uring_cq_advance(&ring, count);
        endOfTurn();
    }
}
