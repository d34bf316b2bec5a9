/* Memory of OpenSSL, kept by the thread that gave it back.
 *
 * A handshake takes and returns several hundred blocks, the large ones (a record's buffer) each time anew; the C library merges and
 * splits them again and again. Here a block keeps its size class, four to a doubling, and goes to its thread's list of that
 * class, which holds a bounded number; what is above goes to the C library. Blocks are wiped where OpenSSL wipes them: it does so
 * before it frees.
 *
 *   header (16 bytes): class │ block …
 */
#include "include/CTLS.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALLEST_BYTES = 32,
    CLASSES_PER_DOUBLING = 4,
    DOUBLINGS = 10, /* up to 32 KiB: a record and what libssl adds to it */
    CLASSES = CLASSES_PER_DOUBLING * DOUBLINGS,
    NO_CLASS = CLASSES,
    HEADER_BYTES = 16,
    /* Bytes a thread keeps of one class, and blocks at least: about 5 MiB of all classes together at most. */
    KEPT_BYTES = 128 * 1024,
    KEPT_BLOCKS_LEAST = 4,
};

struct block {
    size_t class;
    size_t unused;
};

struct kept {
    void *head;
    unsigned count;
};

static __thread struct kept lists[CLASSES];

static size_t class_bytes(size_t class)
{
    size_t base = (size_t)SMALLEST_BYTES << (class / CLASSES_PER_DOUBLING);
    return base + base / CLASSES_PER_DOUBLING * (class % CLASSES_PER_DOUBLING);
}

static size_t class_of(size_t count)
{
    if (count <= SMALLEST_BYTES) return 0;
    size_t doubling = (size_t)(63 - __builtin_clzl((unsigned long)(count - 1))) - 5;
    if (doubling >= DOUBLINGS) return NO_CLASS;
    size_t step = ((size_t)SMALLEST_BYTES << doubling) / CLASSES_PER_DOUBLING;
    size_t above = count - ((size_t)SMALLEST_BYTES << doubling);
    size_t class = doubling * CLASSES_PER_DOUBLING + (above + step - 1) / step;
    return class < CLASSES ? class : NO_CLASS;
}

static void *take(size_t count, const char *file, int line)
{
    (void)file;
    (void)line;
    if (count == 0 || count > SIZE_MAX - HEADER_BYTES) return NULL;
    size_t class = class_of(count);
    struct block *block;
    if (class != NO_CLASS && lists[class].head) {
        block = lists[class].head;
        memcpy(&lists[class].head, (char *)block + HEADER_BYTES, sizeof(void *));
        lists[class].count--;
    } else {
        block = malloc(HEADER_BYTES + (class == NO_CLASS ? count : class_bytes(class)));
        if (!block) return NULL;
    }
    block->class = class;
    return (char *)block + HEADER_BYTES;
}

static void give(void *pointer, const char *file, int line)
{
    (void)file;
    (void)line;
    if (!pointer) return;
    struct block *block = (struct block *)((char *)pointer - HEADER_BYTES);
    size_t class = block->class;
    if (class != NO_CLASS) {
        size_t most = KEPT_BYTES / class_bytes(class);
        if (lists[class].count < (most > KEPT_BLOCKS_LEAST ? most : KEPT_BLOCKS_LEAST)) {
            memcpy(pointer, &lists[class].head, sizeof(void *));
            lists[class].head = block;
            lists[class].count++;
            return;
        }
    }
    free(block);
}

static void *resize(void *pointer, size_t count, const char *file, int line)
{
    if (!pointer) return take(count, file, line);
    if (count == 0) {
        give(pointer, file, line);
        return NULL;
    }
    struct block *block = (struct block *)((char *)pointer - HEADER_BYTES);
    if (block->class == NO_CLASS) {
        /* Above every class: stays there, whatever it shrinks to. */
        if (count > SIZE_MAX - HEADER_BYTES) return NULL;
        block = realloc(block, HEADER_BYTES + count);
        return block ? (char *)block + HEADER_BYTES : NULL;
    }
    size_t held = class_bytes(block->class);
    if (count <= held) return pointer;
    void *fresh = take(count, file, line);
    if (!fresh) return NULL;
    memcpy(fresh, pointer, held);
    give(pointer, file, line);
    return fresh;
}

int tls_keep_memory(void) { return CRYPTO_set_mem_functions(take, resize, give); }
