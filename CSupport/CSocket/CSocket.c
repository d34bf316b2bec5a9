#define _GNU_SOURCE
#include "CSocket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int socket_parse_address(const char *text, uint16_t port, struct sockaddr_in6 *address) {
    memset(address, 0, sizeof *address);
    struct sockaddr_in *four = (struct sockaddr_in *)address;
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return sizeof *four;
    }
    if (inet_pton(AF_INET6, text, &address->sin6_addr) == 1) {
        address->sin6_family = AF_INET6;
        address->sin6_port = htons(port);
        return sizeof *address;
    }
    return -EINVAL;
}

int socket_format_address(const struct sockaddr_in6 *address, char *text, size_t capacity) {
    const void *source = &address->sin6_addr;
    if (address->sin6_family == AF_INET) source = &((const struct sockaddr_in *)address)->sin_addr;
    if (!inet_ntop(address->sin6_family, source, text, (socklen_t)capacity)) return -errno;
    return (int)strlen(text);
}

static int failed(int descriptor) {
    int error = errno;
    close(descriptor);
    return -error;
}

int socket_listen(const struct sockaddr_in6 *address, unsigned address_bytes, int backlog, bool reuse_port) {
    int descriptor = socket(address->sin6_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -errno;
    int on = 1;
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) return failed(descriptor);
    if (reuse_port && setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) return failed(descriptor);
    if (setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) return failed(descriptor);
    if (bind(descriptor, (const struct sockaddr *)address, address_bytes) < 0) return failed(descriptor);
    if (listen(descriptor, backlog) < 0) return failed(descriptor);
    return descriptor;
}

int socket_connect(const struct sockaddr_in6 *address, unsigned address_bytes) {
    int descriptor = socket(address->sin6_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    if (connect(descriptor, (const struct sockaddr *)address, address_bytes) < 0) return failed(descriptor);
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return descriptor;
}

int socket_local_port(int descriptor) {
    struct sockaddr_in6 address;
    socklen_t bytes = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &bytes) < 0) return -errno;
    return ntohs(address.sin6_port); // sin_port and sin6_port share their place
}

int wake_open(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

int wake_signal(int descriptor) {
    uint64_t one = 1;
    return write(descriptor, &one, sizeof one) < 0 ? -errno : 0;
}

int wake_clear(int descriptor) {
    uint64_t value;
    return read(descriptor, &value, sizeof value) < 0 ? -errno : 0;
}

struct start {
    void (*body)(void *);
    void *argument;
};

static void *run(void *opaque) {
    struct start start = *(struct start *)opaque;
    free(opaque);
    start.body(start.argument);
    return NULL;
}

int thread_start(void (*body)(void *), void *argument, uint64_t *thread) {
    struct start *start = malloc(sizeof *start);
    if (!start) return -ENOMEM;
    *start = (struct start){body, argument};
    pthread_t identifier;
    int error = pthread_create(&identifier, NULL, run, start);
    if (error) {
        free(start);
        return -error;
    }
    *thread = (uint64_t)identifier;
    return 0;
}

int thread_join(uint64_t thread) { return -pthread_join((pthread_t)thread, NULL); }

int thread_pin(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

int thread_name(const char *name) { return -pthread_setname_np(pthread_self(), name); }

int processor_allowed(int index) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return -errno;
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (CPU_ISSET(processor, &set) && index-- == 0) return processor;
    }
    return -EINVAL;
}

static void chosen_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
}

int signals_block(void) {
    sigset_t set;
    chosen_signals(&set);
    signal(SIGPIPE, SIG_IGN);
    return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int process_conceal(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0; }

int signals_wait(int timeout_milliseconds) {
    sigset_t set;
    chosen_signals(&set);
    struct timespec timeout = {timeout_milliseconds / 1000, (timeout_milliseconds % 1000) * 1000000L};
    int number = sigtimedwait(&set, NULL, &timeout);
    if (number >= 0) return number;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

int64_t descriptors_limit(bool raise) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    if (raise && limit.rlim_cur < limit.rlim_max) {
        struct rlimit wanted = {limit.rlim_max, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) limit = wanted;
    }
    return (int64_t)limit.rlim_cur;
}

void *memory_map(size_t bytes) {
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

void memory_unmap(void *address, size_t bytes) { munmap(address, bytes); }

void memory_release(void *address, size_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)address + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)address + bytes) & ~(page - 1);
    if (first < end) madvise((void *)first, end - first, MADV_DONTNEED);
}

void descriptor_close(int descriptor) { close(descriptor); }

size_t memory_heap_bytes(void) {
    struct mallinfo2 information = mallinfo2();
    return information.uordblks + information.hblkhd;
}

void socket_keep_alive(int descriptor, int idle_seconds, int interval_seconds, int count, unsigned unacknowledged_milliseconds) {
    int on = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_milliseconds, sizeof unacknowledged_milliseconds);
}
