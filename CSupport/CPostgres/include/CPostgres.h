// PostgreSQL through libpq, never blocking but for the look-up of a host's name. All calls of a connection come from one thread.
//
// libpq's own header does not appear: Swift needs few of its calls, and none of its structures.
#ifndef SLUICE_CPOSTGRES_H
#define SLUICE_CPOSTGRES_H

#include <stddef.h>

struct cpostgres;
struct cpostgres_answer;

// Whether a text names a database, as a URL or as `key=value`. Copies its parts into `text`: host, port, name, service, each behind
// the last with a zero at its end and empty when not given. 0, or -1. Why not is not said: libpq would quote the text.
int cpostgres_parse(const char *source, char *text, size_t size);

enum cpostgres_step { CPOSTGRES_FAILED = -1, CPOSTGRES_DONE = 0, CPOSTGRES_READING = 1, CPOSTGRES_WRITING = 2 };

// Begins a connection; NULL without memory. `cpostgres_connect` goes on with it whenever what it waits for has come.
struct cpostgres *cpostgres_open(const char *source);
enum cpostgres_step cpostgres_connect(struct cpostgres *connection);
void cpostgres_close(struct cpostgres *connection);
// What libpq says of the last failure; valid until the next call.
const char *cpostgres_problem(const struct cpostgres *connection);

// Begins a statement: one with `count` parameters as text or, with -1, one or more without; 0 or -1.
int cpostgres_send(struct cpostgres *connection, const char *statement, int count, const char *const *parameters);
// Sends and reads what can be: DONE when the next answer can be taken, else what to wait for.
enum cpostgres_step cpostgres_exchange(struct cpostgres *connection);
// The next answer, which the caller frees; NULL behind the last of a statement.
struct cpostgres_answer *cpostgres_take(struct cpostgres *connection);
// Reads what came unasked; 0, or -1 when the connection is broken.
int cpostgres_read(struct cpostgres *connection);
// The payload of the next notification, cut to `size`; 1, or 0 when there is none.
int cpostgres_notification(struct cpostgres *connection, char *payload, size_t size);

// The five letters of an error (SQLSTATE); NULL when it is none.
const char *cpostgres_answer_error(const struct cpostgres_answer *answer);
int cpostgres_answer_rows(const struct cpostgres_answer *answer);
int cpostgres_answer_columns(const struct cpostgres_answer *answer);
// NULL for NULL.
const char *cpostgres_answer_text(const struct cpostgres_answer *answer, int row, int column);
void cpostgres_answer_free(struct cpostgres_answer *answer);

enum cpostgres_event { CPOSTGRES_SOCKET = 1, CPOSTGRES_WOKEN = 2 };

// Waits for a connection, which may be NULL, or for `wake`, a descriptor of `cpostgres_wake_open`; at most so long. Bits of
// enum cpostgres_event, 0 when the time is over.
int cpostgres_wait(const struct cpostgres *connection, enum cpostgres_step step, int wake, int milliseconds);
int cpostgres_wake_open(void);
void cpostgres_wake(int wake);

#endif
