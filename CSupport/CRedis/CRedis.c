#include "CRedis.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

struct credis_reader {
    redisReader *reader;
    redisReplyObjectFunctions functions;
    void *(*create_array)(const redisReadTask *, int);
    size_t bytes_max;
    int elements_max;
    int elements; // of the reply being read
};

// hiredis would allocate whatever number of elements the peer announces.
static void *limited_array(const redisReadTask *task, int elements) {
    struct credis_reader *reader = task->privdata;
    if (elements < 0 || elements > reader->elements_max - reader->elements) return NULL;
    reader->elements += elements;
    return reader->create_array(task, elements);
}

struct credis_reader *credis_reader_open(size_t bytes_max, int elements_max) {
    struct credis_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    reader->reader = redisReaderCreate();
    if (!reader->reader) {
        free(reader);
        return NULL;
    }
    reader->functions = *reader->reader->fn;
    reader->create_array = reader->functions.createArray;
    reader->functions.createArray = limited_array;
    reader->reader->fn = &reader->functions;
    reader->reader->privdata = reader;
    reader->bytes_max = bytes_max;
    reader->elements_max = elements_max;
    return reader;
}

void credis_reader_close(struct credis_reader *reader) {
    if (!reader) return;
    redisReaderFree(reader->reader);
    free(reader);
}

int credis_reader_feed(struct credis_reader *reader, const void *bytes, size_t count) {
    if (count > reader->bytes_max || reader->reader->len - reader->reader->pos > reader->bytes_max - count) return -1;
    return redisReaderFeed(reader->reader, bytes, count) == REDIS_OK ? 0 : -1;
}

int credis_reader_next(struct credis_reader *reader, struct credis_reply **reply) {
    void *value = NULL;
    if (redisReaderGetReply(reader->reader, &value) != REDIS_OK) {
        if (value) freeReplyObject(value);
        return -1;
    }
    if (!value) return 0;
    reader->elements = 0;
    *reply = value;
    return 1;
}

void credis_reply_free(struct credis_reply *reply) { freeReplyObject(reply); }

int credis_reply_kind(const struct credis_reply *reply) { return ((const redisReply *)reply)->type; }

long long credis_reply_integer(const struct credis_reply *reply) { return ((const redisReply *)reply)->integer; }

const char *credis_reply_bytes(const struct credis_reply *reply, size_t *count) {
    *count = ((const redisReply *)reply)->len;
    return ((const redisReply *)reply)->str;
}

size_t credis_reply_count(const struct credis_reply *reply) { return ((const redisReply *)reply)->elements; }

const struct credis_reply *credis_reply_element(const struct credis_reply *reply, size_t index) {
    return (const struct credis_reply *)((const redisReply *)reply)->element[index];
}

long long credis_command(char **text, int count, const char *const *arguments, const size_t *lengths) {
    return redisFormatCommandArgv(text, count, (const char **)arguments, lengths);
}

void credis_command_free(char *text) { redisFreeCommand(text); }
