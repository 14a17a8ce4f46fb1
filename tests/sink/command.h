/*
 * One command line taken apart (RFC 5321 4.1.1): verb, path, parameters. Bytes in, words out; knows no replies and no
 * state.
 */
#ifndef TESTS_SINK_COMMAND_H
#define TESTS_SINK_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    COMMAND_LINE_LIMIT_BYTES = 4096, /* RFC 5321 4.5.3.1.4 says 512 and lets extensions add to it */
    AUTH_LINE_LIMIT_BYTES = 12288,   /* RFC 4954 4, of a response to a challenge */
    COMMAND_PATH_LIMIT_BYTES = 256,  /* RFC 5321 4.5.3.1.3, angle brackets included */
    COMMAND_VERB_LIMIT_BYTES = 16,
};

/* A run of bytes inside the command line; valid as long as that is. */
struct slice {
    const char *at;
    size_t length;
};

struct command {
    char verb[COMMAND_VERB_LIMIT_BYTES]; /* upper case, "" when the line begins with no word of letters */
    struct slice rest;                   /* what follows the verb, blanks around it removed */
};

/* Takes the line apart; `line` is without its line end. */
void command_parse(struct command *command, const char *line, size_t length);

enum command_path {
    COMMAND_PATH_OK = 0,
    COMMAND_PATH_SYNTAX,   /* no "FROM:<...>" or "TO:<...>", or the address in it is none */
    COMMAND_PATH_TOO_LONG, /* above COMMAND_PATH_LIMIT_BYTES */
};

/*
 * Reads `keyword` ("FROM:" or "TO:"), a path in angle brackets and leaves the parameters behind it in `parameters`. A
 * source route is dropped (RFC 5321 4.1.1.3). `strict` refuses blanks between the colon and the path. The empty path is
 * given back as an empty slice; the caller decides whether it may be.
 */
enum command_path command_read_path(const struct slice *rest, const char *keyword, bool strict, struct slice *path,
                                    struct slice *parameters);

/* Takes the next "KEY" or "KEY=VALUE" from the front of `parameters`. False at the end. A missing value has a NULL
 * `at`. */
bool command_next_parameter(struct slice *parameters, struct slice *key, struct slice *value);

/* Compares without regard to case. */
bool slice_is(const struct slice *slice, const char *word);

/* True if any byte is above 127. */
bool slice_is_8bit(const struct slice *slice);

/* Reads a decimal number of 1 to 18 digits and nothing else. */
bool slice_number(const struct slice *slice, uint64_t *number);

#endif
