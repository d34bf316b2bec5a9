// The floor for datagrams: frames of one size on TCP, each the payload of a datagram to the target, and back.
//
// One thread, one ring, one pool of provided buffers, as in forward_uring.c. Every connection has one unconnected UDP
// socket. A turn collects what a socket has to send: one sendmsg for each datagram, or, with segmentation, one for as many
// datagrams as a train takes (UDP_SEGMENT). Their vectors point into the very buffers that TCP received into. What comes
// back, coalesced with segmentation (UDP_GRO), leaves on TCP from where it was received. Nothing looks at a byte.
#define _GNU_SOURCE
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    submissionEntries = 4096,
    completionEntries = 32768,
    relayLimit = 256,          // connections
    requestsPerRelay = 64,     // sends of datagrams under way for one connection
    vectorsPerSend = 16,       // buffers that one datagram or one train may lie in
    trainDatagrams = 64,       // what every kernel with UDP_SEGMENT takes
    trainBytes = 65000,        // below the largest datagram
    socketBytes = 4 << 20,     // of a UDP socket's queue: a burst must wait somewhere
    bufferGroup = 0,
    udpSegment = 103,          // of <linux/udp.h>
    udpCoalesce = 104,
};

enum operation { opAccept = 1, opStream, opDatagram, opSendDatagram, opSendStream, opCancel };

static const uint32_t none = UINT32_MAX;

struct queue {
    uint32_t head, tail, bytes, headOffset;
};

struct request {
    struct iovec vectors[vectorsPerSend];
    struct msghdr message;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control;
};

struct relay {
    int stream, datagrams;
    struct queue out, in;         // towards the target, towards the client
    uint32_t sendingOut;          // datagram sends under way
    uint32_t sendingOutBytes;     // and the bytes they cover, from the head of `out`
    uint32_t sendingInBytes;
    uint32_t inFlight;
    uint32_t next;
    bool used, closing, receivingStream, receivingDatagrams, listed;
    struct msghdr shape;          // of receives: how much room address and control data get
    struct iovec inVectors[vectorsPerSend];
    struct msghdr inMessage;
    struct request requests[requestsPerRelay];
};

struct buffer {
    uint32_t next, start, bytes;
};

static struct io_uring ring;
static struct io_uring_buf_ring *offered;
static const struct options *options;
static struct relay *relays;
static uint32_t freeRelay;
static int listener;

static uint8_t *memory;
static struct buffer *buffers;
static uint32_t *freeBuffers, freeCount, offeredCount;
static uint32_t list[relayLimit], listCount;

static struct io_uring_sqe *entry(void) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    while (!sqe) {
        int result = io_uring_submit(&ring);
        if (result < 0 && result != -EBUSY && result != -EAGAIN) fail("io_uring_submit", -result);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum operation operation, const struct relay *relay) {
    sqe->user_data = (uint64_t)operation << 32 | (relay ? (uint32_t)(relay - relays) : 0);
}

static void look(struct relay *relay) {
    if (relay->listed) return;
    relay->listed = true;
    list[listCount++] = (uint32_t)(relay - relays);
}

static void giveBack(uint32_t identifier) { freeBuffers[freeCount++] = identifier; }

static void topUp(void) {
    uint32_t added = 0, mask = options->ringBuffers - 1;
    while (offeredCount < options->ringBuffers && freeCount) {
        uint32_t identifier = freeBuffers[--freeCount];
        io_uring_buf_ring_add(offered, memory + (size_t)identifier * options->bufferBytes, options->bufferBytes,
                              (uint16_t)identifier, (int)mask, (int)added++);
        offeredCount++;
    }
    if (added) io_uring_buf_ring_advance(offered, (int)added);
}

static void append(struct queue *queue, uint32_t identifier, uint32_t start, uint32_t bytes) {
    buffers[identifier] = (struct buffer){.next = none, .start = start, .bytes = bytes};
    if (queue->head == none) queue->head = identifier; else buffers[queue->tail].next = identifier;
    queue->tail = identifier;
    queue->bytes += bytes;
}

static void drop(struct queue *queue, uint32_t count) {
    queue->bytes -= count;
    count += queue->headOffset;
    while (queue->head != none && count >= buffers[queue->head].bytes) {
        uint32_t identifier = queue->head;
        count -= buffers[identifier].bytes;
        queue->head = buffers[identifier].next;
        giveBack(identifier);
    }
    queue->headOffset = count;
}

// A place in a queue from which vectors are taken.
struct cursor {
    uint32_t identifier, offset;
};

// Lets vectors cover `wanted` bytes from the cursor, which moves on; fewer when the vectors run out.
static uint32_t cover(struct cursor *cursor, struct iovec *vectors, uint32_t wanted, uint32_t *bytes) {
    uint32_t count = 0, total = 0;
    while (total < wanted && cursor->identifier != none && count < vectorsPerSend) {
        struct buffer *buffer = &buffers[cursor->identifier];
        uint32_t run = buffer->bytes - cursor->offset;
        if (run > wanted - total) run = wanted - total;
        vectors[count].iov_base = memory + (size_t)cursor->identifier * options->bufferBytes + buffer->start + cursor->offset;
        vectors[count++].iov_len = run;
        total += run;
        cursor->offset += run;
        if (cursor->offset == buffer->bytes) *cursor = (struct cursor){buffer->next, 0};
    }
    *bytes = total;
    return count;
}

static void reap(struct relay *relay) {
    if (!relay->closing || relay->inFlight) return;
    drop(&relay->out, relay->out.bytes);
    drop(&relay->in, relay->in.bytes);
    close(relay->stream);
    close(relay->datagrams);
    relay->used = false;
    relay->next = freeRelay;
    freeRelay = (uint32_t)(relay - relays);
}

static void abandon(struct relay *relay) {
    if (relay->closing) return;
    relay->closing = true;
    shutdown(relay->stream, SHUT_RDWR);
    if (!relay->receivingDatagrams) return;
    // A shutdown does not end the receive of a socket that is not connected.
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_cancel64(sqe, (uint64_t)opDatagram << 32 | (uint32_t)(relay - relays), 0);
    tag(sqe, opCancel, relay);
    relay->inFlight++;
}

static void start(int stream) {
    int datagrams = freeRelay == none ? -1 : socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (datagrams < 0) {
        close(stream);
        return;
    }
    int size = socketBytes, one = 1;
    setsockopt(datagrams, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(datagrams, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    if (options->segments) setsockopt(datagrams, IPPROTO_UDP, udpCoalesce, &one, sizeof one);
    struct relay *relay = &relays[freeRelay];
    freeRelay = relay->next;
    bool listed = relay->listed;
    memset(relay, 0, offsetof(struct relay, requests));
    relay->listed = listed;
    relay->used = true;
    relay->stream = stream;
    relay->datagrams = datagrams;
    relay->out.head = relay->in.head = none;
    relay->shape.msg_namelen = sizeof(struct sockaddr_in);
    relay->shape.msg_controllen = options->segments ? CMSG_SPACE(sizeof(int)) : 0;
    look(relay);
}

static void receive(struct relay *relay) {
    if (!relay->receivingStream && relay->out.bytes < options->highBytes) {
        struct io_uring_sqe *sqe = entry();
        if (options->oneshot) {
            // One buffer at a time: it comes filled with many frames.
            io_uring_prep_recv(sqe, relay->stream, NULL, 0, 0);
            sqe->len = options->bufferBytes;
        } else {
            io_uring_prep_recv_multishot(sqe, relay->stream, NULL, 0, 0);
            sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        }
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = bufferGroup;
        tag(sqe, opStream, relay);
        relay->receivingStream = true;
        relay->inFlight++;
    }
    if (!relay->receivingDatagrams) {
        struct io_uring_sqe *sqe = entry();
        io_uring_prep_recvmsg_multishot(sqe, relay->datagrams, &relay->shape, 0);
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = bufferGroup;
        tag(sqe, opDatagram, relay);
        relay->receivingDatagrams = true;
        relay->inFlight++;
    }
}

static void sendDatagrams(struct relay *relay) {
    if (relay->sendingOut) return;
    struct cursor cursor = {relay->out.head, relay->out.headOffset};
    uint32_t frame = options->frameBytes, left = relay->out.bytes / frame * frame;
    uint32_t most = options->segments ? (trainBytes / frame < trainDatagrams ? trainBytes / frame : trainDatagrams) * frame : frame;
    relay->sendingOutBytes = 0;
    while (left && relay->sendingOut < requestsPerRelay) {
        struct request *request = &relay->requests[relay->sendingOut];
        struct cursor before = cursor;
        uint32_t bytes, wanted = left < most ? left : most;
        uint32_t count = cover(&cursor, request->vectors, wanted, &bytes);
        if (bytes % frame) {
            // Too many small buffers for one send: as many whole frames as they hold.
            cursor = before;
            if (bytes < frame) break;
            count = cover(&cursor, request->vectors, bytes / frame * frame, &bytes);
        }
        request->message = (struct msghdr){.msg_name = (void *)&options->target, .msg_namelen = sizeof options->target,
                                           .msg_iov = request->vectors, .msg_iovlen = count};
        if (bytes > frame) {
            uint16_t size = (uint16_t)frame;
            request->control.header =
                (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof size), .cmsg_level = IPPROTO_UDP, .cmsg_type = udpSegment};
            memcpy(CMSG_DATA(&request->control.header), &size, sizeof size);
            request->message.msg_control = &request->control;
            request->message.msg_controllen = sizeof request->control.bytes;
        }
        struct io_uring_sqe *sqe = entry();
        io_uring_prep_sendmsg(sqe, relay->datagrams, &request->message, MSG_NOSIGNAL);
        tag(sqe, opSendDatagram, relay);
        relay->sendingOut++;
        relay->sendingOutBytes += bytes;
        relay->inFlight++;
        left -= bytes;
    }
}

static void sendStream(struct relay *relay) {
    if (relay->sendingInBytes || !relay->in.bytes) return;
    struct cursor cursor = {relay->in.head, relay->in.headOffset};
    uint32_t count = cover(&cursor, relay->inVectors, UINT32_MAX, &relay->sendingInBytes);
    struct io_uring_sqe *sqe = entry();
    if (count == 1) {
        io_uring_prep_send(sqe, relay->stream, relay->inVectors[0].iov_base, relay->inVectors[0].iov_len, MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        relay->inMessage = (struct msghdr){.msg_iov = relay->inVectors, .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, relay->stream, &relay->inMessage, MSG_NOSIGNAL | MSG_WAITALL);
    }
    tag(sqe, opSendStream, relay);
    relay->inFlight++;
}

static void streamReceived(struct relay *relay, int result, uint32_t flags) {
    if (!(flags & IORING_CQE_F_MORE)) {
        relay->receivingStream = false;
        relay->inFlight--;
    }
    if (flags & IORING_CQE_F_BUFFER) {
        offeredCount--;
        if (result > 0 && !relay->closing) append(&relay->out, flags >> IORING_CQE_BUFFER_SHIFT, 0, (uint32_t)result);
        else giveBack(flags >> IORING_CQE_BUFFER_SHIFT);
    }
    if (result <= 0 && result != -ENOBUFS) abandon(relay);
}

static void datagramReceived(struct relay *relay, int result, uint32_t flags) {
    if (flags & IORING_CQE_F_BUFFER) {
        uint32_t identifier = flags >> IORING_CQE_BUFFER_SHIFT;
        offeredCount--;
        struct io_uring_recvmsg_out *received =
            io_uring_recvmsg_validate(memory + (size_t)identifier * options->bufferBytes, result, &relay->shape);
        uint32_t bytes = received ? io_uring_recvmsg_payload_length(received, result, &relay->shape) : 0;
        // A client that does not read loses the newest.
        if (bytes && !relay->closing && relay->in.bytes < options->highBytes) {
            uint8_t *payload = io_uring_recvmsg_payload(received, &relay->shape);
            append(&relay->in, identifier, (uint32_t)(payload - (memory + (size_t)identifier * options->bufferBytes)), bytes);
        } else {
            giveBack(identifier);
        }
    }
    if (!(flags & IORING_CQE_F_MORE)) {
        relay->receivingDatagrams = false;
        relay->inFlight--;
    }
}

static void dispatch(const struct io_uring_cqe *completion) {
    struct relay *relay = &relays[(uint32_t)completion->user_data];
    switch ((enum operation)(completion->user_data >> 32)) {
    case opAccept:
        if (completion->res >= 0) start(completion->res);
        if (!(completion->flags & IORING_CQE_F_MORE)) {
            struct io_uring_sqe *sqe = entry();
            io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
            tag(sqe, opAccept, NULL);
        }
        return;
    case opStream: streamReceived(relay, completion->res, completion->flags); break;
    case opDatagram: datagramReceived(relay, completion->res, completion->flags); break;
    case opSendDatagram:
        relay->inFlight--;
        // A datagram that could not leave is lost, as datagrams are.
        if (--relay->sendingOut == 0) drop(&relay->out, relay->sendingOutBytes);
        break;
    case opCancel: relay->inFlight--; break;
    case opSendStream:
        relay->inFlight--;
        if (completion->res < 0) abandon(relay);
        else drop(&relay->in, (uint32_t)completion->res);
        relay->sendingInBytes = 0;
        break;
    }
    look(relay);
}

static void endOfTurn(void) {
    topUp();
    for (uint32_t position = 0; position < listCount; position++) {
        struct relay *relay = &relays[list[position]];
        relay->listed = false;
        if (!relay->used) continue;
        if (relay->closing) {
            reap(relay);
            continue;
        }
        sendDatagrams(relay);
        sendStream(relay);
        receive(relay);
    }
    listCount = 0;
}

static void setUp(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = completionEntries};
    int result = io_uring_queue_init_params(submissionEntries, &ring, &parameters);
    if (result < 0) fail("io_uring_setup", -result);
    io_uring_register_ring_fd(&ring);
    relays = calloc(relayLimit, sizeof *relays);
    buffers = calloc(options->poolBuffers, sizeof *buffers);
    freeBuffers = calloc(options->poolBuffers, sizeof *freeBuffers);
    memory = mmap(NULL, (size_t)options->poolBuffers * options->bufferBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    offered = mmap(NULL, options->ringBuffers * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!relays || !buffers || !freeBuffers || memory == MAP_FAILED || offered == MAP_FAILED) fail("memory", ENOMEM);
    io_uring_buf_ring_init(offered);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)offered,
                                            .ring_entries = options->ringBuffers,
                                            .bgid = bufferGroup};
    result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0) fail("io_uring_register_buf_ring", -result);
    for (uint32_t identifier = options->poolBuffers; identifier-- > 0;) giveBack(identifier);
    topUp();
    freeRelay = none;
    for (uint32_t index = relayLimit; index-- > 0;) {
        relays[index].next = freeRelay;
        freeRelay = index;
    }
}

_Noreturn void runDatagrams(const struct options *given) {
    options = given;
    setUp();
    listener = openListener(options);
    struct io_uring_sqe *sqe = entry();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    tag(sqe, opAccept, NULL);
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
