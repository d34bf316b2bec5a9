// The Redis protocol (RESP 2) through hiredis: commands into bytes, bytes into replies. No I/O happens here.
//
// hiredis' own header does not appear: its asynchronous half and its macros are of no use to Swift.
#ifndef SLUICE_CREDIS_H
#define SLUICE_CREDIS_H

#include <stddef.h>

enum credis_kind {
    CREDIS_STRING = 1,
    CREDIS_ARRAY = 2,
    CREDIS_INTEGER = 3,
    CREDIS_NIL = 4,
    CREDIS_STATUS = 5,
    CREDIS_ERROR = 6
};

struct credis_reader;
struct credis_reply;

// A reader of replies. One that is longer than `bytes_max` or has more than `elements_max` elements, nested ones included,
// is refused: the peer decides how long replies are. NULL without memory.
struct credis_reader *credis_reader_open(size_t bytes_max, int elements_max);
void credis_reader_close(struct credis_reader *reader);

// Adds received bytes. 0, or -1 when the stream is broken; a broken reader stays broken.
int credis_reader_feed(struct credis_reader *reader, const void *bytes, size_t count);

// The next whole reply: 1 with `reply` set, which the caller frees, 0 when more bytes are needed, -1 when the stream is broken.
int credis_reader_next(struct credis_reader *reader, struct credis_reply **reply);
void credis_reply_free(struct credis_reply *reply);

// enum credis_kind.
int credis_reply_kind(const struct credis_reply *reply);
long long credis_reply_integer(const struct credis_reply *reply);
// Bytes of a string, status or error; valid as long as the reply.
const char *credis_reply_bytes(const struct credis_reply *reply, size_t *count);
size_t credis_reply_count(const struct credis_reply *reply);
const struct credis_reply *credis_reply_element(const struct credis_reply *reply, size_t index);

// A command of `count` arguments as RESP; its length, or -1 without memory. The caller frees `*text` with `credis_command_free`.
long long credis_command(char **text, int count, const char *const *arguments, const size_t *lengths);
void credis_command_free(char *text);

#endif
