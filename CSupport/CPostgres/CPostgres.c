#include "CPostgres.h"

#include <poll.h>
#include <postgresql/libpq-fe.h>
#include <string.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CONNECTION(pointer) ((PGconn *)(pointer))
#define ANSWER(pointer) ((PGresult *)(pointer))

int cpostgres_parse(const char *source, char *text, size_t size) {
    static const char *const names[] = {"host", "port", "dbname", "service"};
    char *problem = NULL;
    PQconninfoOption *options = PQconninfoParse(source, &problem);
    PQfreemem(problem);
    if (!options) return -1;
    int result = 0;
    for (size_t index = 0; index < sizeof names / sizeof *names && !result; index++) {
        const char *value = NULL;
        for (const PQconninfoOption *option = options; option->keyword; option++)
            if (!strcmp(option->keyword, names[index])) value = option->val;
        if (!value) value = "";
        size_t length = strlen(value) + 1;
        if (length > size) {
            result = -1;
        } else {
            memcpy(text, value, length);
            text += length;
            size -= length;
        }
    }
    PQconninfoFree(options);
    return result;
}

// Notices are for people at a terminal: libpq would write them to the standard error.
static void ignore_notice(void *context, const PGresult *result) { (void)context, (void)result; }

struct cpostgres *cpostgres_open(const char *source) {
    // What stands before the source it may override, what stands behind it not. Kerberos would be asked on every connection.
    const char *const keywords[] = {"gssencmode", "dbname", "client_encoding", "fallback_application_name", NULL};
    const char *const values[] = {"disable", source, "UTF8", "sluice", NULL};
    PGconn *connection = PQconnectStartParams(keywords, values, 1);
    if (connection) PQsetNoticeReceiver(connection, ignore_notice, NULL);
    return (struct cpostgres *)connection;
}

enum cpostgres_step cpostgres_connect(struct cpostgres *connection) {
    if (PQstatus(CONNECTION(connection)) == CONNECTION_BAD) return CPOSTGRES_FAILED;
    switch (PQconnectPoll(CONNECTION(connection))) {
    case PGRES_POLLING_READING: return CPOSTGRES_READING;
    case PGRES_POLLING_WRITING: return CPOSTGRES_WRITING;
    case PGRES_POLLING_OK: return PQsetnonblocking(CONNECTION(connection), 1) ? CPOSTGRES_FAILED : CPOSTGRES_DONE;
    default: return CPOSTGRES_FAILED;
    }
}

void cpostgres_close(struct cpostgres *connection) { PQfinish(CONNECTION(connection)); }

const char *cpostgres_problem(const struct cpostgres *connection) { return PQerrorMessage(CONNECTION(connection)); }

int cpostgres_send(struct cpostgres *connection, const char *statement, int count, const char *const *parameters) {
    int sent = count < 0 ? PQsendQuery(CONNECTION(connection), statement)
                         : PQsendQueryParams(CONNECTION(connection), statement, count, NULL, parameters, NULL, NULL, 0);
    return sent ? 0 : -1;
}

enum cpostgres_step cpostgres_exchange(struct cpostgres *connection) {
    // A server that waits for us to read before it reads on is read from while there is something to send, too.
    int unsent = PQflush(CONNECTION(connection));
    if (unsent < 0 || !PQconsumeInput(CONNECTION(connection))) return CPOSTGRES_FAILED;
    if (unsent) return CPOSTGRES_WRITING;
    return PQisBusy(CONNECTION(connection)) ? CPOSTGRES_READING : CPOSTGRES_DONE;
}

struct cpostgres_answer *cpostgres_take(struct cpostgres *connection) {
    return (struct cpostgres_answer *)PQgetResult(CONNECTION(connection));
}

int cpostgres_read(struct cpostgres *connection) { return PQconsumeInput(CONNECTION(connection)) ? 0 : -1; }

int cpostgres_notification(struct cpostgres *connection, char *payload, size_t size) {
    PGnotify *notification = PQnotifies(CONNECTION(connection));
    if (!notification) return 0;
    strncpy(payload, notification->extra, size - 1);
    payload[size - 1] = 0;
    PQfreemem(notification);
    return 1;
}

const char *cpostgres_answer_error(const struct cpostgres_answer *answer) {
    switch (PQresultStatus(ANSWER(answer))) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY: return NULL;
    default: {
        const char *code = PQresultErrorField(ANSWER(answer), PG_DIAG_SQLSTATE);
        return code ? code : "";
    }
    }
}

int cpostgres_answer_rows(const struct cpostgres_answer *answer) { return PQntuples(ANSWER(answer)); }

int cpostgres_answer_columns(const struct cpostgres_answer *answer) { return PQnfields(ANSWER(answer)); }

const char *cpostgres_answer_text(const struct cpostgres_answer *answer, int row, int column) {
    return PQgetisnull(ANSWER(answer), row, column) ? NULL : PQgetvalue(ANSWER(answer), row, column);
}

void cpostgres_answer_free(struct cpostgres_answer *answer) { PQclear(ANSWER(answer)); }

int cpostgres_wait(const struct cpostgres *connection, enum cpostgres_step step, int wake, int milliseconds) {
    struct pollfd descriptors[2] = {
        {.fd = wake, .events = POLLIN},
        // What is written is also read: see cpostgres_exchange. A negative descriptor is not looked at.
        {.fd = connection ? PQsocket(CONNECTION(connection)) : -1, .events = step == CPOSTGRES_WRITING ? POLLIN | POLLOUT : POLLIN},
    };
    // While it connects, POLLIN before the time would be a turn of its own.
    if (connection && step == CPOSTGRES_WRITING && PQstatus(CONNECTION(connection)) != CONNECTION_OK) descriptors[1].events = POLLOUT;
    if (poll(descriptors, 2, milliseconds) <= 0) return 0;
    int events = 0;
    if (descriptors[0].revents) {
        uint64_t count;
        if (read(wake, &count, sizeof count) >= 0) events |= CPOSTGRES_WOKEN;
    }
    if (descriptors[1].revents) events |= CPOSTGRES_SOCKET;
    return events;
}

int cpostgres_wake_open(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void cpostgres_wake(int wake) {
    uint64_t one = 1;
    // Refused only when it is awake already.
    ssize_t count = write(wake, &one, sizeof one);
    (void)count;
}
