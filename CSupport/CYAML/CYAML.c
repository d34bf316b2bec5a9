#include "CYAML.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct cyaml_parser {
    yaml_parser_t parser;
    yaml_event_t current;
    int holds_event;
};

cyaml_parser *cyaml_open(const unsigned char *bytes, size_t count) {
    cyaml_parser *self = calloc(1, sizeof *self);
    if (self == NULL) return NULL;
    if (!yaml_parser_initialize(&self->parser)) {
        free(self);
        return NULL;
    }
    // The bytes are UTF-8 by contract; without this a leading NUL or BOM would switch to UTF-16.
    yaml_parser_set_encoding(&self->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&self->parser, bytes, count);
    return self;
}

void cyaml_close(cyaml_parser *self) {
    if (self == NULL) return;
    if (self->holds_event) yaml_event_delete(&self->current);
    yaml_parser_delete(&self->parser);
    free(self);
}

static void report_problem(cyaml_parser *self, cyaml_event *event) {
    const char *problem = self->parser.problem ? self->parser.problem : "out of memory";
    event->kind = CYAML_KIND_ERROR;
    event->value = problem;
    event->length = strlen(problem);
    event->line = self->parser.problem_mark.line + 1;
    event->column = self->parser.problem_mark.column + 1;
}

void cyaml_next(cyaml_parser *self, cyaml_event *event) {
    for (;;) {
        memset(event, 0, sizeof *event);
        if (self->holds_event) {
            yaml_event_delete(&self->current);
            self->holds_event = 0;
        }
        if (!yaml_parser_parse(&self->parser, &self->current)) {
            report_problem(self, event);
            return;
        }
        self->holds_event = 1;
        const yaml_event_t *current = &self->current;
        event->line = current->start_mark.line + 1;
        event->column = current->start_mark.column + 1;
        switch (current->type) {
        case YAML_STREAM_END_EVENT:
        case YAML_NO_EVENT:
            event->kind = CYAML_KIND_END;
            return;
        case YAML_DOCUMENT_START_EVENT:
            event->kind = CYAML_KIND_DOCUMENT;
            return;
        case YAML_ALIAS_EVENT:
            event->kind = CYAML_KIND_ALIAS;
            event->value = (const char *)current->data.alias.anchor;
            event->length = strlen(event->value);
            return;
        case YAML_SCALAR_EVENT:
            event->kind = CYAML_KIND_SCALAR;
            event->value = (const char *)current->data.scalar.value;
            event->length = current->data.scalar.length;
            event->quoted = current->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
            event->anchored = current->data.scalar.anchor != NULL;
            event->tagged = current->data.scalar.tag != NULL;
            return;
        case YAML_SEQUENCE_START_EVENT:
            event->kind = CYAML_KIND_SEQUENCE_START;
            event->anchored = current->data.sequence_start.anchor != NULL;
            event->tagged = current->data.sequence_start.tag != NULL;
            return;
        case YAML_SEQUENCE_END_EVENT:
            event->kind = CYAML_KIND_SEQUENCE_END;
            return;
        case YAML_MAPPING_START_EVENT:
            event->kind = CYAML_KIND_MAPPING_START;
            event->anchored = current->data.mapping_start.anchor != NULL;
            event->tagged = current->data.mapping_start.tag != NULL;
            return;
        case YAML_MAPPING_END_EVENT:
            event->kind = CYAML_KIND_MAPPING_END;
            return;
        default:
            break; // stream start, document end: nothing to say
        }
    }
}
