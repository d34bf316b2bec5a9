// Command line of the floor. See floor.h for what it is, forward_uring.c, forward_udp.c and forward_epoll.c for how.
#define _GNU_SOURCE
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char usage[] =
    "usage: sluice-floor [udp] --port PORT --target HOST:PORT [options]\n"
    "  udp                frames of --frame BYTES on TCP are datagrams to the target, whose answers go back as they come\n"
    "  --frame BYTES      with udp: payload of a datagram\n"
    "  --segments         with udp: trains of datagrams (UDP_SEGMENT, UDP_GRO) instead of single ones\n"
    "  --epoll            forward with epoll, recv and send instead of io_uring\n"
    "  --mode MODE        multishot (small messages, default) or oneshot (bulk)\n"
    "  --buffer BYTES     receive buffer (4096; 65536 for oneshot and epoll)\n"
    "  --ring COUNT       buffers offered to the kernel at a time, power of two (256; 4 for oneshot)\n"
    "  --pool COUNT       buffers in total (4096; 64 for oneshot)\n"
    "  --high BYTES       stop receiving when the peer's queue holds more (2 buffers, at least 64 KiB)\n"
    "  --certificate FILE clients speak TLS with this chain and --key FILE, both PEM (io_uring, multishot)\n"
    "  --cpu N            pin to core N\n";

_Noreturn void fail(const char *what, int error) {
    fprintf(stderr, "sluice-floor: %s: %s\n", what, strerror(error));
    exit(1);
}

void setNoDelay(int descriptor) {
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int openListener(const struct options *options) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket", errno);
    int one = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setNoDelay(descriptor);  // accepted sockets inherit it
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) fail("bind", errno);
    if (listen(descriptor, 4096) < 0) fail("listen", errno);
    socklen_t length = sizeof address;
    getsockname(descriptor, (struct sockaddr *)&address, &length);
    printf("listening %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return descriptor;
}

static uint32_t number(const char *text, uint32_t low, uint32_t high) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == 0 || *end != 0 || value < low || value > high) {
        fprintf(stderr, "sluice-floor: %s is not a number from %u to %u\n", text, low, high);
        exit(2);
    }
    return (uint32_t)value;
}

static void parseTarget(const char *text, struct sockaddr_in *target) {
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : sizeof host;
    if (length >= sizeof host) {
        fprintf(stderr, "sluice-floor: target %s is not ADDRESS:PORT\n", text);
        exit(2);
    }
    memcpy(host, text, length);
    host[length] = 0;
    target->sin_family = AF_INET;
    target->sin_port = htons((uint16_t)number(colon + 1, 1, 65535));
    if (inet_pton(AF_INET, host, &target->sin_addr) != 1) {
        fprintf(stderr, "sluice-floor: %s is not an IPv4 address\n", host);
        exit(2);
    }
}

static void parse(int argc, char **argv, struct options *options) {
    static const struct option known[] = {
        {"port", required_argument, 0, 'p'},   {"target", required_argument, 0, 't'},
        {"epoll", no_argument, 0, 'e'},        {"mode", required_argument, 0, 'm'},
        {"buffer", required_argument, 0, 'b'}, {"ring", required_argument, 0, 'r'},
        {"pool", required_argument, 0, 'P'},   {"high", required_argument, 0, 'h'},
        {"cpu", required_argument, 0, 'c'},    {"frame", required_argument, 0, 'f'},
        {"segments", no_argument, 0, 's'},     {"certificate", required_argument, 0, 'C'},
        {"key", required_argument, 0, 'K'},
        {0, 0, 0, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'p': options->port = (uint16_t)number(optarg, 0, 65535); break;
        case 't': parseTarget(optarg, &options->target); break;
        case 'e': options->epoll = true; break;
        case 'm': options->oneshot = strcmp(optarg, "oneshot") == 0; break;
        case 'b': options->bufferBytes = number(optarg, 64, 1 << 24); break;
        case 'r': options->ringBuffers = number(optarg, 1, 32768); break;
        case 'P': options->poolBuffers = number(optarg, 1, 65535); break;
        case 'h': options->highBytes = number(optarg, 1, 1 << 30); break;
        case 'c': options->cpu = (int)number(optarg, 0, CPU_SETSIZE - 1); break;
        case 'f': options->frameBytes = number(optarg, 1, 65000); break;
        case 's': options->segments = true; break;
        case 'C': options->certificate = optarg; break;
        case 'K': options->key = optarg; break;
        default: fputs(usage, stderr); exit(2);
        }
    }
    bool datagrams = optind < argc && strcmp(argv[optind], "udp") == 0;
    if (options->target.sin_port == 0 || optind + datagrams != argc || datagrams != (options->frameBytes > 0) ||
        (options->segments && !datagrams) || !options->certificate != !options->key ||
        (options->certificate && (datagrams || options->epoll || options->oneshot))) {
        fputs(usage, stderr);
        exit(2);
    }
}

static void complete(struct options *options) {
    if (options->frameBytes && !options->bufferBytes) {
        // A train of the largest size with its address and control data fits.
        options->bufferBytes = options->segments ? 69632 : 4096;
        options->ringBuffers = options->ringBuffers ? options->ringBuffers : options->segments ? 16 : 256;
        options->poolBuffers = options->poolBuffers ? options->poolBuffers : options->segments ? 256 : 4096;
    }
    bool bulk = options->oneshot || options->epoll;
    if (options->certificate && options->bufferBytes > secureBytesMost) {
        fprintf(stderr, "sluice-floor: with TLS a buffer is one record: --buffer is %d at most\n", secureBytesMost);
        exit(2);
    }
    if (!options->bufferBytes) options->bufferBytes = bulk ? 65536 : 4096;
    if (!options->ringBuffers) options->ringBuffers = bulk ? 4 : 256;
    if (!options->poolBuffers) options->poolBuffers = bulk ? 64 : 4096;
    if (options->poolBuffers < options->ringBuffers) options->poolBuffers = options->ringBuffers;
    if (options->ringBuffers & (options->ringBuffers - 1)) {
        fprintf(stderr, "sluice-floor: --ring must be a power of two\n");
        exit(2);
    }
    if (!options->highBytes) {
        options->highBytes = 2 * options->bufferBytes < 65536 ? 65536 : 2 * options->bufferBytes;
    }
    options->lowBytes = options->highBytes / 4;
}

int main(int argc, char **argv) {
    struct options options = {.cpu = -1};
    parse(argc, argv, &options);
    complete(&options);
    signal(SIGPIPE, SIG_IGN);
    if (options.cpu >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(options.cpu, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores) < 0) fail("sched_setaffinity", errno);
    }
    if (options.frameBytes) runDatagrams(&options);
    if (options.epoll) runEpoll(&options);
    runUring(&options);
}
