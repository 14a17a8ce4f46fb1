/*
 * Reading of the script file.
 *
 * A script that is not understood to its last key is refused at the start: a rule with a typing error that silently
 * never matched would turn a test of failure into a test of nothing. Errors of JSON name line and column, errors of
 * meaning name the rule (from 1) and the key.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tests/sink/script_private.h"
#include "tests/sink/text.h"

enum { RULE_LIMIT = 10000, MS_LIMIT = 24 * 3600 * 1000, CUT_LIMIT_BYTES = 65536 };

/* Where we are, for messages. */
struct place {
    const char *path;
    size_t rule; /* from 1; 0 outside the rules */
    const char *key;
};

__attribute__((format(printf, 2, 3))) static bool wrong(const struct place *place, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s: ", place->path);
    if (place->rule > 0)
        fprintf(stderr, "rule %zu: ", place->rule);
    if (place->key != NULL)
        fprintf(stderr, "%s: ", place->key);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return false;
}

static bool read_string(const struct place *place, const json_t *value, char **string)
{
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return wrong(place, "must be a string without NUL");
    free(*string);
    *string = sink_copy(json_string_value(value), json_string_length(value));
    return true;
}

static bool read_bool(const struct place *place, const json_t *value, bool *flag)
{
    if (!json_is_boolean(value))
        return wrong(place, "must be true or false");
    *flag = json_is_true(value);
    return true;
}

static bool read_choice(const struct place *place, const json_t *value, int *choice)
{
    bool flag = false;

    if (!read_bool(place, value, &flag))
        return false;
    *choice = flag ? 1 : 0;
    return true;
}

static bool read_number(const struct place *place, const json_t *value, uint64_t high, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 1 || (uint64_t)json_integer_value(value) > high)
        return wrong(place, "must be a whole number from 1 to %llu", (unsigned long long)high);
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_small(const struct place *place, const json_t *value, uint32_t high, uint32_t *small)
{
    uint64_t number;

    if (!read_number(place, value, high, &number))
        return false;
    *small = (uint32_t)number;
    return true;
}

static bool read_command(const struct place *place, const json_t *value, char **command)
{
    static const char *const known[] = {"CONNECT", "TLS",  "EHLO", "HELO", "MAIL", "RCPT",     "DATA", "BDAT", "EOD",
                                        "RSET",    "NOOP", "VRFY", "EXPN", "HELP", "STARTTLS", "AUTH", "QUIT"};

    if (!read_string(place, value, command))
        return false;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i], *command) == 0)
            return true;
    }
    return wrong(place, "unknown command \"%s\"", *command);
}

static bool read_share(const struct place *place, const json_t *value, struct rule *rule)
{
    const json_t *low = json_array_get(value, 0);
    const json_t *high = json_array_get(value, 1);

    if (json_is_number(value)) {
        rule->share_high = json_number_value(value);
    } else if (json_array_size(value) == 2 && json_is_number(low) && json_is_number(high)) {
        rule->share_low = json_number_value(low);
        rule->share_high = json_number_value(high);
    } else {
        return wrong(place, "must be a number or [low, high]");
    }
    if (rule->share_low < 0 || rule->share_high > 1 || rule->share_low > rule->share_high)
        return wrong(place, "must lie within 0 and 1, low before high");
    rule->has_share = true;
    return true;
}

static void set_bytes(struct action *action, enum action_kind kind, const struct text *bytes)
{
    free(action->bytes);
    action->bytes = sink_copy(text_bytes(bytes), text_length(bytes));
    action->length = text_length(bytes);
    action->kind = kind;
}

static int code_of(const char *line, size_t length)
{
    int code = 0;

    for (size_t i = 0; i < 3; i++) {
        if (i >= length || line[i] < '0' || line[i] > '9')
            return 500;
        code = code * 10 + (line[i] - '0');
    }
    return length == 3 || strchr(" -\r\n", line[3]) != NULL ? code : 500;
}

/* The code of the first reply in the bytes; 500 where there is none, or where its lines disagree (RFC 5321 4.2.1). */
static int leading_code(const char *bytes, size_t length)
{
    int code = code_of(bytes, length);
    const char *newline = memchr(bytes, '\n', length);

    while (newline != NULL && length > 3 && bytes[3] == '-') {
        length -= (size_t)(newline + 1 - bytes);
        bytes = newline + 1;
        if (length > 0 && code_of(bytes, length) != code)
            return 500;
        newline = memchr(bytes, '\n', length);
    }
    return code;
}

static bool read_reply(const struct place *place, const json_t *value, struct action *action)
{
    const char *reply = json_string_value(value);
    size_t length = json_string_length(value);
    struct text bytes = {0};

    if (reply == NULL || length < 3 || strspn(reply, "0123456789") != 3 || strchr(" -\n", reply[3]) == NULL)
        return wrong(place, "must begin with three digits and a blank or '-'; use \"raw\" for anything else");
    for (size_t i = 0; i < length; i++) {
        if (reply[i] == '\n')
            text_add(&bytes, "\r\n", 2);
        else
            text_add(&bytes, reply + i, 1);
    }
    text_add(&bytes, "\r\n", 2);
    set_bytes(action, ACTION_BYTES, &bytes);
    text_free(&bytes);
    return true;
}

static bool read_raw(const struct place *place, const json_t *value, enum action_kind kind, struct action *action)
{
    struct text bytes = {0};

    if (!json_is_string(value) || json_string_length(value) == 0)
        return wrong(place, "must be a string, and not empty");
    text_add(&bytes, json_string_value(value), json_string_length(value));
    set_bytes(action, kind, &bytes);
    text_free(&bytes);
    return true;
}

/* JSON has no bytes above 127 that are not UTF-8; this is the way to send them. */
static bool read_raw_hex(const struct place *place, const json_t *value, struct action *action)
{
    const char *hex = json_string_value(value);
    struct text bytes = {0};

    if (hex == NULL || *hex == '\0' || strlen(hex) % 2 != 0 || strspn(hex, "0123456789abcdefABCDEF") != strlen(hex))
        return wrong(place, "must be pairs of hexadecimal digits");
    for (; *hex != '\0'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        char byte = (char)strtoul(pair, NULL, 16);

        text_add(&bytes, &byte, 1);
    }
    set_bytes(action, ACTION_BYTES, &bytes);
    text_free(&bytes);
    return true;
}

static bool read_match_key(const struct place *place, const json_t *value, struct rule *rule, bool *known)
{
    const char *key = place->key;

    *known = true;
    if (strcmp(key, "command") == 0)
        return read_command(place, value, &rule->command);
    if (strcmp(key, "rcpt") == 0)
        return read_string(place, value, &rule->recipient);
    if (strcmp(key, "from") == 0)
        return read_string(place, value, &rule->from);
    if (strcmp(key, "domain") == 0)
        return read_string(place, value, &rule->domain);
    if (strcmp(key, "listen") == 0)
        return read_string(place, value, &rule->listen);
    if (strcmp(key, "share") == 0)
        return read_share(place, value, rule);
    if (strcmp(key, "first") == 0)
        return read_number(place, value, INT64_MAX, &rule->first);
    if (strcmp(key, "nth") == 0)
        return read_number(place, value, INT64_MAX, &rule->nth);
    if (strcmp(key, "every") == 0)
        return read_number(place, value, INT64_MAX, &rule->every);
    if (strcmp(key, "until_s") == 0)
        return read_number(place, value, 1000000, &rule->until_s);
    if (strcmp(key, "above") == 0) {
        if (!read_number(place, value, 100000, &rule->above))
            return false;
        rule->passed_us = calloc(rule->above, sizeof(*rule->passed_us));
        return rule->passed_us != NULL;
    }
    if (strcmp(key, "conn_nth") == 0)
        return read_number(place, value, INT64_MAX, &rule->connection);
    if (strcmp(key, "message_nth") == 0)
        return read_number(place, value, INT64_MAX, &rule->message);
    if (strcmp(key, "chunk_nth") == 0)
        return read_number(place, value, INT64_MAX, &rule->chunk);
    if (strcmp(key, "tls") == 0)
        return read_choice(place, value, &rule->secure);
    if (strcmp(key, "auth") == 0)
        return read_choice(place, value, &rule->authenticated);
    *known = false;
    return true;
}

/* The flags that become `after`, and the number of keys that bring bytes. */
struct flags {
    bool close;
    bool reset;
    bool stall;
    unsigned sources;
    bool raw;
};

static bool read_action_key(const struct place *place, const json_t *value, struct rule *rule, struct flags *flags)
{
    struct action *action = &rule->action;
    const char *key = place->key;

    if (strcmp(key, "delay_ms") == 0)
        return read_small(place, value, MS_LIMIT, &action->manner.delay_ms);
    if (strcmp(key, "drip_ms") == 0)
        return read_small(place, value, MS_LIMIT, &action->manner.drip_ms);
    if (strcmp(key, "close") == 0)
        return read_bool(place, value, &flags->close);
    if (strcmp(key, "rst") == 0)
        return read_bool(place, value, &flags->reset);
    if (strcmp(key, "stall") == 0)
        return read_bool(place, value, &flags->stall);
    if (strcmp(key, "endless") == 0)
        return read_bool(place, value, &action->manner.endless);
    if (strcmp(key, "accept") == 0)
        return read_choice(place, value, &action->accept);
    if (strcmp(key, "cut") == 0)
        return read_small(place, value, CUT_LIMIT_BYTES, &action->manner.cut_bytes);
    flags->sources++;
    flags->raw = strncmp(key, "raw", 3) == 0;
    if (strcmp(key, "reply") == 0)
        return read_reply(place, value, action);
    if (strcmp(key, "raw") == 0)
        return read_raw(place, value, ACTION_BYTES, action);
    if (strcmp(key, "raw_hex") == 0)
        return read_raw_hex(place, value, action);
    if (strcmp(key, "partial") == 0)
        return read_raw(place, value, ACTION_PARTIAL, action);
    if (strcmp(key, "tls_close_then") == 0) {
        action->manner.close_notify = true;
        return read_raw(place, value, ACTION_PARTIAL, action);
    }
    return wrong(place, "unknown key");
}

/* Puts the flags of a rule together and refuses what contradicts itself. */
static bool settle_rule(struct place *place, struct rule *rule, const struct flags *flags)
{
    struct action *action = &rule->action;
    bool partial = action->kind == ACTION_PARTIAL;
    bool cut = action->manner.cut_bytes > 0;
    bool manner = action->manner.delay_ms > 0 || action->manner.drip_ms > 0 || cut;

    place->key = NULL;
    if (flags->sources > 1)
        return wrong(place, "only one of reply, raw, raw_hex, partial and tls_close_then can be said");
    if (flags->close + flags->reset + flags->stall > 1)
        return wrong(place, "only one of close, rst and stall can be done");
    if (action->manner.endless && (!flags->raw || flags->close || flags->reset || flags->stall))
        return wrong(place, "endless needs raw or raw_hex, and nothing comes after it");
    if (action->accept >= 0 && rule->command != NULL && strcmp(rule->command, "EOD") != 0)
        return wrong(place, "accept can only be decided at EOD");
    if (cut && (flags->sources > 0 || rule->command == NULL || strcmp(rule->command, "TLS") != 0))
        return wrong(place, "cut is for the server's own bytes at TLS");
    if (flags->close || flags->reset)
        action->manner.after = flags->reset ? AFTER_RESET : AFTER_CLOSE;
    else if (flags->stall || partial || cut)
        action->manner.after = AFTER_HOLD;
    if (flags->sources == 0 && action->manner.after != AFTER_GO_ON && !cut)
        action->kind = ACTION_SILENT;
    else if (flags->sources == 0 && !manner && action->accept < 0)
        return wrong(place, "says nothing to do");
    if (action->kind == ACTION_BYTES && !action->manner.endless)
        action->code = leading_code(action->bytes, action->length);
    return true;
}

static bool read_rule(struct place *place, json_t *object, struct rule *rule)
{
    struct flags flags = {0};
    const char *key;
    json_t *value;

    rule->action.accept = -1;
    rule->secure = -1;
    rule->authenticated = -1;
    if (!json_is_object(object))
        return wrong(place, "must be an object");
    json_object_foreach(object, key, value)
    {
        bool known;

        place->key = key;
        if (!read_match_key(place, value, rule, &known))
            return false;
        if (!known && !read_action_key(place, value, rule, &flags))
            return false;
    }
    return settle_rule(place, rule, &flags);
}

static bool read_document(struct place *place, json_t *root, struct script *script)
{
    json_t *rules = json_object_get(root, "rules");
    const char *key;
    json_t *value;

    if (!json_is_object(root) || !json_is_array(rules) || json_array_size(rules) > RULE_LIMIT)
        return wrong(place, "must be {\"seed\": number, \"rules\": [up to %d objects]}", RULE_LIMIT);
    script->seed = 1;
    json_object_foreach(root, key, value)
    {
        place->key = key;
        if (strcmp(key, "seed") == 0) {
            if (!json_is_integer(value) || json_integer_value(value) < 0)
                return wrong(place, "must be a whole number from 0");
            script->seed = (uint64_t)json_integer_value(value);
        } else if (strcmp(key, "rules") != 0) {
            return wrong(place, "unknown key");
        }
    }
    if (json_array_size(rules) == 0)
        return true;
    script->rules = sink_realloc(NULL, json_array_size(rules) * sizeof(*script->rules));
    memset(script->rules, 0, json_array_size(rules) * sizeof(*script->rules));
    script->count = json_array_size(rules);
    for (size_t i = 0; i < script->count; i++) {
        place->rule = i + 1;
        place->key = NULL;
        if (!read_rule(place, json_array_get(rules, i), &script->rules[i]))
            return false;
    }
    return true;
}

struct script *script_load(const char *path)
{
    struct place place = {.path = path};
    struct script *script;
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

    if (root == NULL) {
        fprintf(stderr, "%s:%d:%d: %s\n", path, error.line, error.column, error.text);
        return NULL;
    }
    script = sink_realloc(NULL, sizeof(*script));
    *script = (struct script){0};
    if (!read_document(&place, root, script)) {
        script_free(script);
        script = NULL;
    }
    json_decref(root);
    return script;
}
