// Counts what a process asks of its allocator.
//
// Theory of operation. Loaded with LD_PRELOAD, these definitions stand in front of the C library's. Each call adds one
// to a counter in the file that SLUICE_ALLOCATION_COUNTER names, shared with whoever reads it, and goes on to the C
// library by its own second names (__libc_malloc and so on), so that nothing has to be looked up while the process is
// still being loaded.
//
// Layout of the file, words of 64 bits, written with atomic additions:
//   0 malloc   1 calloc   2 realloc   3 aligned_alloc, memalign, posix_memalign   4 mmap   5 free   6, 7 unused
//
//   cc -shared -fPIC -O2 -o count.so count.c

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { kind_malloc, kind_calloc, kind_realloc, kind_aligned, kind_mmap, kind_free };
enum { words_total = 8 };

// Until the file is mapped, and without one, counts go where nobody looks.
static uint64_t unread[words_total];
static uint64_t *words = unread;

static void *map(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    return (void *)syscall(SYS_mmap, address, length, protection, flags, descriptor, offset);
}

__attribute__((constructor)) static void open_counter(void)
{
    const char *path = getenv("SLUICE_ALLOCATION_COUNTER");
    if (!path)
        return;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    if (ftruncate(descriptor, sizeof unread) == 0) {
        void *shared = map(NULL, sizeof unread, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        if (shared != MAP_FAILED)
            words = shared;
    }
    close(descriptor);
}

static inline void count(int kind)
{
    __atomic_fetch_add(&words[kind], 1, __ATOMIC_RELAXED);
}

void *malloc(size_t bytes)
{
    count(kind_malloc);
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    count(kind_calloc);
    return __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count(kind_realloc);
    return __libc_realloc(memory, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    count(kind_aligned);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(kind_aligned);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **result, size_t alignment, size_t bytes)
{
    count(kind_aligned);
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    void *memory = __libc_memalign(alignment, bytes);
    if (!memory)
        return ENOMEM;
    *result = memory;
    return 0;
}

void free(void *memory)
{
    count(kind_free);
    __libc_free(memory);
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    count(kind_mmap);
    return map(address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    count(kind_mmap);
    return map(address, length, protection, flags, descriptor, offset);
}
