// Events of a YAML text, one call at a time, with the place each of them stands at.
//
// libyaml's own header does not appear here: its structures are unions that Swift would have to take
// apart, and its macros clash between modules. What a configuration needs is five kinds of event.
#ifndef SLUICE_CYAML_H
#define SLUICE_CYAML_H

#include <stddef.h>

enum cyaml_kind {
    CYAML_KIND_END = 0,            // nothing follows
    CYAML_KIND_DOCUMENT = 1,       // a document starts
    CYAML_KIND_SCALAR = 2,
    CYAML_KIND_SEQUENCE_START = 3,
    CYAML_KIND_SEQUENCE_END = 4,
    CYAML_KIND_MAPPING_START = 5,
    CYAML_KIND_MAPPING_END = 6,
    CYAML_KIND_ALIAS = 7,
    CYAML_KIND_ERROR = 8           // value is libyaml's description of the problem
};

// One event. `value` is valid until the next call and may hold zero bytes of its own.
typedef struct cyaml_event {
    int kind;            // enum cyaml_kind
    int quoted;          // scalars: 1 when the text stood in quotes or was a block scalar
    int anchored;        // 1 when the node carries an anchor (&name)
    int tagged;          // 1 when the node carries an explicit tag (!name)
    const char *value;   // scalar text, alias name or problem; NULL otherwise
    size_t length;       // bytes of value
    size_t line;         // from 1
    size_t column;       // from 1
} cyaml_event;

typedef struct cyaml_parser cyaml_parser;

// A parser over `count` bytes, which must stay in place until cyaml_close. NULL when memory is exhausted.
cyaml_parser *cyaml_open(const unsigned char *bytes, size_t count);

// The next event. After CYAML_KIND_END or CYAML_KIND_ERROR only cyaml_close may follow.
void cyaml_next(cyaml_parser *parser, cyaml_event *event);

void cyaml_close(cyaml_parser *parser);

#endif
