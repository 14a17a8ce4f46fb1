/*
 * The command parser.
 *
 * Success means that the words are found, not that the command is allowed. It is a receiver that judges a sender, so it
 * holds to the grammar where real servers are lenient: no blank before the path, an address with something on both
 * sides of the '@', no control bytes.
 */
#include "tests/sink/command.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static struct slice trimmed(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        at++;
    while (end > at && is_blank(end[-1]))
        end--;
    return (struct slice){at, (size_t)(end - at)};
}

void command_parse(struct command *command, const char *line, size_t length)
{
    size_t at = 0;

    while (at < length && at < sizeof(command->verb) - 1) {
        char byte = line[at];

        if (byte >= 'a' && byte <= 'z')
            byte = (char)(byte - 32);
        if (byte < 'A' || byte > 'Z')
            break;
        command->verb[at++] = byte;
    }
    /* A word that runs into something else ("MAIL1") or does not fit is no verb. */
    if (at < length && !is_blank(line[at]))
        at = 0;
    command->verb[at] = '\0';
    command->rest = trimmed(line + at, line + length);
}

bool slice_is(const struct slice *slice, const char *word)
{
    return slice->length == strlen(word) && strncasecmp(slice->at, word, slice->length) == 0;
}

bool slice_is_8bit(const struct slice *slice)
{
    for (size_t i = 0; i < slice->length; i++) {
        if ((unsigned char)slice->at[i] > 127)
            return true;
    }
    return false;
}

bool slice_number(const struct slice *slice, uint64_t *number)
{
    if (slice->at == NULL || slice->length == 0 || slice->length > 18)
        return false;
    *number = 0;
    for (size_t i = 0; i < slice->length; i++) {
        if (slice->at[i] < '0' || slice->at[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(slice->at[i] - '0');
    }
    return true;
}

/* Finds the '>' that closes the path; one inside a quoted local part does not. */
static const char *path_end(const char *at, const char *end)
{
    bool quoted = false;

    for (; at < end; at++) {
        if (*at == '\\' && quoted && at + 1 < end)
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (*at == '>' && !quoted)
            return at;
    }
    return NULL;
}

static bool address_is_sound(const struct slice *address)
{
    const char *at_sign = memrchr(address->at, '@', address->length);
    bool quoted = address->at[0] == '"';

    for (size_t i = 0; i < address->length; i++) {
        unsigned char byte = (unsigned char)address->at[i];

        if (byte < 0x20 || byte == 0x7f || (!quoted && (byte == ' ' || byte == '<' || byte == '>')))
            return false;
    }
    if (at_sign == NULL)
        return slice_is(address, "postmaster");
    return at_sign > address->at && at_sign + 1 < address->at + address->length;
}

enum command_path command_read_path(const struct slice *rest, const char *keyword, bool strict, struct slice *path,
                                    struct slice *parameters)
{
    const char *at = rest->at;
    const char *end = rest->at + rest->length;
    const char *close;
    size_t keyword_length = strlen(keyword);

    if (rest->length < keyword_length || strncasecmp(at, keyword, keyword_length) != 0)
        return COMMAND_PATH_SYNTAX;
    at += keyword_length;
    while (!strict && at < end && is_blank(*at))
        at++;
    if (at == end || *at != '<')
        return COMMAND_PATH_SYNTAX;
    close = path_end(at + 1, end);
    if (close == NULL || (close + 1 < end && !is_blank(close[1])))
        return COMMAND_PATH_SYNTAX;
    if (close + 1 - at > COMMAND_PATH_LIMIT_BYTES)
        return COMMAND_PATH_TOO_LONG;
    *parameters = trimmed(close + 1, end);
    *path = (struct slice){at + 1, (size_t)(close - at - 1)};
    if (path->length > 0 && path->at[0] == '@') {
        const char *colon = memchr(path->at, ':', path->length);

        if (colon == NULL)
            return COMMAND_PATH_SYNTAX;
        *path = (struct slice){colon + 1, (size_t)(close - colon - 1)};
    }
    if (path->length > 0 && !address_is_sound(path))
        return COMMAND_PATH_SYNTAX;
    return COMMAND_PATH_OK;
}

bool command_next_parameter(struct slice *parameters, struct slice *key, struct slice *value)
{
    const char *at = parameters->at;
    const char *end = parameters->at + parameters->length;
    const char *equals;
    const char *word;

    while (at < end && is_blank(*at))
        at++;
    word = at;
    while (at < end && !is_blank(*at))
        at++;
    *parameters = (struct slice){at, (size_t)(end - at)};
    if (at == word)
        return false;
    equals = memchr(word, '=', (size_t)(at - word));
    *key = (struct slice){word, (size_t)((equals == NULL ? at : equals) - word)};
    *value = equals == NULL ? (struct slice){NULL, 0} : (struct slice){equals + 1, (size_t)(at - equals - 1)};
    return true;
}
