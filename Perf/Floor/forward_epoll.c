// The second reference: what the same forwarding costs with epoll, recv and send.
//
// Level-triggered, one shared receive buffer. A received run is sent at once; what the peer does not
// take is kept in the peer's own memory and the sender is not read again until it has left.
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { eventsPerTurn = 256 };

struct side {
    int descriptor;
    bool ended;          // no more bytes will come from this descriptor
    uint32_t interest;   // what epoll reports at present
    uint8_t *pending;    // bytes this descriptor did not take yet
    uint32_t pendingBytes, pendingOffset;
    struct side *peer;
};

struct pair {
    struct side sides[2];
    bool dead;
    struct pair *nextDead;  // freed after the turn, because later events of it may still name it
};

static int poller;
static struct pair *deadPairs;

static struct pair *pairOf(struct side *side) {
    return (struct pair *)(side < side->peer ? side : side->peer);
}

static void setInterest(struct side *side) {
    uint32_t wanted = 0;
    if (!side->ended && side->peer->pendingBytes == 0) wanted |= EPOLLIN;
    if (side->pendingBytes) wanted |= EPOLLOUT;
    if (wanted == side->interest) return;
    // A hang-up is reported whether asked for or not, and would be seen again and again while the bytes before it
    // still wait to be read: a side without interest leaves the set.
    int operation = wanted == 0 ? EPOLL_CTL_DEL : side->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    side->interest = wanted;
    struct epoll_event event = {.events = wanted, .data.ptr = side};
    epoll_ctl(poller, operation, side->descriptor, &event);
}

static void endPair(struct pair *pair) {
    if (pair->dead) return;
    pair->dead = true;
    for (int which = 0; which < 2; which++) {
        close(pair->sides[which].descriptor);
        free(pair->sides[which].pending);
    }
    pair->nextDead = deadPairs;
    deadPairs = pair;
}

static void watch(struct side *side) {
    side->interest = EPOLLIN;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = side};
    epoll_ctl(poller, EPOLL_CTL_ADD, side->descriptor, &event);
}

static void acceptOne(int listener, const struct options *options) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (upstream < 0) {
        close(client);
        return;
    }
    setNoDelay(upstream);
    // On loopback the kernel completes the handshake by itself: a blocking connect does not wait for the target.
    if (connect(upstream, (const struct sockaddr *)&options->target, sizeof options->target) < 0) {
        close(client);
        close(upstream);
        return;
    }
    fcntl(upstream, F_SETFL, O_NONBLOCK);
    struct pair *pair = calloc(1, sizeof *pair);
    if (!pair) fail("calloc", ENOMEM);
    pair->sides[0] = (struct side){.descriptor = client, .peer = &pair->sides[1]};
    pair->sides[1] = (struct side){.descriptor = upstream, .peer = &pair->sides[0]};
    watch(&pair->sides[0]);
    watch(&pair->sides[1]);
}

// Passes an end of stream on once everything before it has left; ends the pair when both sides ended.
static void passEnd(struct side *side) {
    if (!side->ended || side->peer->pendingBytes) return;
    shutdown(side->peer->descriptor, SHUT_WR);
    if (side->peer->ended && side->pendingBytes == 0) endPair(pairOf(side));
}

static void readable(struct side *side, uint8_t *buffer, uint32_t bufferBytes) {
    ssize_t count = recv(side->descriptor, buffer, bufferBytes, 0);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR) endPair(pairOf(side));
        return;
    }
    if (count == 0) {
        side->ended = true;
        passEnd(side);
        if (!pairOf(side)->dead) setInterest(side);
        return;
    }
    struct side *peer = side->peer;
    ssize_t sent = send(peer->descriptor, buffer, (size_t)count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            endPair(pairOf(side));
            return;
        }
        sent = 0;
    }
    if (sent == count) return;
    if (!peer->pending && !(peer->pending = malloc(bufferBytes))) fail("malloc", ENOMEM);
    memcpy(peer->pending, buffer + sent, (size_t)(count - sent));
    peer->pendingOffset = 0;
    peer->pendingBytes = (uint32_t)(count - sent);
    setInterest(side);
    setInterest(peer);
}

static void writable(struct side *side) {
    ssize_t sent = send(side->descriptor, side->pending + side->pendingOffset, side->pendingBytes,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) endPair(pairOf(side));
        return;
    }
    side->pendingOffset += (uint32_t)sent;
    side->pendingBytes -= (uint32_t)sent;
    if (side->pendingBytes) return;
    passEnd(side->peer);
    if (pairOf(side)->dead) return;
    setInterest(side);
    setInterest(side->peer);
}

_Noreturn void runEpoll(const struct options *options) {
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) fail("epoll_create1", errno);
    int listener = openListener(options);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    uint8_t *buffer = aligned_alloc(4096, (options->bufferBytes + 4095u) & ~4095u);
    if (!buffer) fail("aligned_alloc", ENOMEM);
    struct epoll_event events[eventsPerTurn];
    for (;;) {
        int count = epoll_wait(poller, events, eventsPerTurn, -1);
        for (int index = 0; index < count; index++) {
            struct side *side = events[index].data.ptr;
            if (!side) {
                acceptOne(listener, options);
                continue;
            }
            struct pair *pair = pairOf(side);
            if (pair->dead) continue;
            if (events[index].events & EPOLLOUT) writable(side);
            if (pair->dead) continue;
            if (events[index].events & EPOLLERR) {
                endPair(pair);
            } else if ((events[index].events & (EPOLLIN | EPOLLHUP)) && (side->interest & EPOLLIN)) {
                readable(side, buffer, options->bufferBytes);
            }
        }
        while (deadPairs) {
            struct pair *pair = deadPairs;
            deadPairs = pair->nextDead;
            free(pair);
        }
    }
}
