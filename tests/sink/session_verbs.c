/*
 * The commands, one function each, found through a table.
 *
 * Each first looks whether the command may come now and is well-formed; that refusal is the sink's own. Only then the
 * script is asked. Success of a verb is a positive reply; it changes the session's state only then.
 */
#include "tests/sink/session_private.h"

#include <stdlib.h>
#include <string.h>

static const struct answer answer_ok = {250, "2.0.0", "Ok"};
static const struct answer answer_syntax = {501, "5.5.4", "Syntax error in parameters"};
static const struct answer answer_sequence = {503, "5.5.1", "Bad sequence of commands"};
static const struct answer answer_parameter = {555, "5.5.4", "Parameter not recognised"};
static const struct answer answer_not_utf8 = {553, "5.6.7", "Address needs SMTPUTF8"};

static void add_mechanisms(struct text *reply, unsigned mechanisms)
{
    for (unsigned bit = 1; bit <= SASL_ALL; bit <<= 1) {
        if ((mechanisms & bit) == 0)
            continue;
        text_add(reply, " ", 1);
        text_add_string(reply, sasl_mechanism_name((enum sasl_mechanism)bit));
    }
}

static void greet(struct session *session, const struct command *command, bool extended)
{
    static const struct {
        unsigned bit;
        const char *name;
    } lines[] = {
#define X(name, bit) {EXTENSION_##name, #name},
        EXTENSION_MAP(X)
#undef X
    };
    const struct session_settings *settings = session->settings;
    const struct action *action = session_consult(session, command->verb, NULL);
    unsigned offered = session_offered(session);
    struct text *reply = &session->reply;
    size_t last = 0; /* where the last line begins */

    text_clear(reply);
    text_add_string(reply, "250-");
    text_add_string(reply, settings->hostname);
    text_add_string(reply, "\r\n");
    for (size_t i = 0; extended && i < sizeof(lines) / sizeof(lines[0]); i++) {
        if ((offered & lines[i].bit) == 0 || lines[i].bit == EXTENSION_EHLO)
            continue;
        last = text_length(reply);
        text_add_string(reply, "250-");
        text_add_string(reply, lines[i].name);
        if (lines[i].bit == EXTENSION_SIZE) {
            text_add(reply, " ", 1);
            text_add_number(reply, settings->size_limit_bytes);
        }
        if (lines[i].bit == EXTENSION_AUTH)
            add_mechanisms(reply, settings->mechanisms);
        text_add_string(reply, "\r\n");
    }
    reply->data[reply->start + last + 3] = ' ';
    if (session_settle(session, command->verb, NULL, session_tell_ready(session, action, 250), 2)) {
        session_end_transaction(session);
        session->greeted = true;
        session->extended = extended;
    }
}

static void do_ehlo(struct session *session, const struct command *command)
{
    static const struct answer unknown = {502, "5.5.1", "Command not implemented"};

    if ((session_offered(session) & EXTENSION_EHLO) == 0)
        session_refuse(session, "EHLO", NULL, &unknown);
    else if (command->rest.length == 0)
        session_refuse(session, "EHLO", NULL, &answer_syntax);
    else
        greet(session, command, true);
}

static void do_helo(struct session *session, const struct command *command)
{
    if (command->rest.length == 0)
        session_refuse(session, "HELO", NULL, &answer_syntax);
    else
        greet(session, command, false);
}

/* What is wrong with a parameter of MAIL; NULL if nothing. A withheld extension's parameters are unknown ones (RFC
 * 5321 4.1.1.11). */
static const struct answer *check_mail_parameter(struct session *session, const struct slice *key,
                                                 const struct slice *value)
{
    static const struct answer too_big = {552, "5.3.4", "Message size exceeds fixed limit"};
    uint64_t size_bytes;

    if (slice_is(key, "SIZE") && session_offers(session, EXTENSION_SIZE)) {
        if (!slice_number(value, &size_bytes))
            return &answer_syntax;
        return size_bytes > session->settings->size_limit_bytes ? &too_big : NULL;
    }
    if (slice_is(key, "BODY") && session_offers(session, EXTENSION_8BITMIME))
        return slice_is(value, "7BIT") || slice_is(value, "8BITMIME") ? NULL : &answer_parameter;
    if (slice_is(key, "SMTPUTF8") && session_offers(session, EXTENSION_SMTPUTF8)) {
        session->smtputf8 = true;
        return value->at == NULL ? NULL : &answer_syntax;
    }
    if (slice_is(key, "AUTH") && session_offers(session, EXTENSION_AUTH))
        return value->length > 0 && value->length <= 500 ? NULL : &answer_syntax;
    if (slice_is(key, "RET") && session_offers(session, EXTENSION_DSN))
        return slice_is(value, "FULL") || slice_is(value, "HDRS") ? NULL : &answer_syntax;
    if (slice_is(key, "ENVID") && session_offers(session, EXTENSION_DSN))
        return value->length > 0 && value->length <= 100 ? NULL : &answer_syntax;
    return &answer_parameter;
}

/* RFC 3461 4.1: NEVER alone, or a list of the other three. */
static bool notify_is_sound(struct slice value)
{
    bool sound = value.length > 0;
    bool never = slice_is(&value, "NEVER");

    while (sound && !never && value.length > 0) {
        const char *comma = memchr(value.at, ',', value.length);
        struct slice word = {value.at, comma == NULL ? value.length : (size_t)(comma - value.at)};

        sound = slice_is(&word, "SUCCESS") || slice_is(&word, "FAILURE") || slice_is(&word, "DELAY");
        value.length -= comma == NULL ? value.length : word.length + 1;
        value.at = comma == NULL ? value.at : comma + 1;
    }
    return sound;
}

static const struct answer *check_rcpt_parameter(const struct session *session, const struct slice *key,
                                                 const struct slice *value)
{
    if (slice_is(key, "NOTIFY") && session_offers(session, EXTENSION_DSN))
        return notify_is_sound(*value) ? NULL : &answer_syntax;
    if (slice_is(key, "ORCPT") && session_offers(session, EXTENSION_DSN)) {
        const char *type_end = value->at == NULL ? NULL : memchr(value->at, ';', value->length);

        return type_end != NULL && type_end > value->at && value->length <= 500 ? NULL : &answer_syntax;
    }
    return &answer_parameter;
}

static const struct answer *check_path(enum command_path result)
{
    static const struct answer malformed = {501, "5.1.3", "Bad address syntax"};
    static const struct answer too_long = {501, "5.1.3", "Path too long"};

    if (result == COMMAND_PATH_OK)
        return NULL;
    return result == COMMAND_PATH_TOO_LONG ? &too_long : &malformed;
}

static void do_mail(struct session *session, const struct command *command)
{
    static const struct answer ok = {250, "2.1.0", "Ok"};
    const struct answer *wrong = NULL;
    const struct action *action;
    struct slice path = {"", 0};
    struct slice parameters = {"", 0};
    struct slice key;
    struct slice value;

    if (!session->greeted || session->transaction != TRANSACTION_NONE) {
        session_refuse(session, "MAIL", NULL, &answer_sequence);
        return;
    }
    wrong = check_path(command_read_path(&command->rest, "FROM:", session->settings->strict, &path, &parameters));
    while (wrong == NULL && command_next_parameter(&parameters, &key, &value))
        wrong = check_mail_parameter(session, &key, &value);
    if (wrong == NULL && slice_is_8bit(&path) && !session->smtputf8)
        wrong = &answer_not_utf8;
    text_add(&session->from, path.at, path.length);
    text_add(&session->from, "", 1);
    if (wrong != NULL) {
        session_refuse(session, "MAIL", NULL, wrong);
        session_end_transaction(session);
        return;
    }
    action = session_consult(session, "MAIL", NULL);
    if (session_settle(session, "MAIL", NULL, session_tell(session, action, &ok), 2)) {
        session->transaction = TRANSACTION_MAIL;
        session->transactions++;
    } else {
        session_end_transaction(session);
    }
}

static void add_recipient(struct session *session, char *recipient)
{
    if (session->recipient_count == session->recipient_capacity) {
        session->recipient_capacity = session->recipient_capacity == 0 ? 4 : session->recipient_capacity * 2;
        session->recipients =
            sink_realloc(session->recipients, session->recipient_capacity * sizeof(*session->recipients));
    }
    session->recipients[session->recipient_count++] = recipient;
}

static void do_rcpt(struct session *session, const struct command *command)
{
    static const struct answer ok = {250, "2.1.5", "Ok"};
    static const struct answer too_many = {452, "4.5.3", "Too many recipients"};
    const struct answer *wrong = NULL;
    const struct action *action;
    struct slice path = {"", 0};
    struct slice parameters = {"", 0};
    struct slice key;
    struct slice value;
    char *recipient;

    wrong = check_path(command_read_path(&command->rest, "TO:", session->settings->strict, &path, &parameters));
    if (wrong == NULL && path.length == 0)
        wrong = check_path(COMMAND_PATH_SYNTAX);
    while (wrong == NULL && command_next_parameter(&parameters, &key, &value))
        wrong = check_rcpt_parameter(session, &key, &value);
    if (wrong == NULL && slice_is_8bit(&path) && !session->smtputf8)
        wrong = &answer_not_utf8;
    if (session->transaction != TRANSACTION_MAIL)
        wrong = &answer_sequence;
    else if (session->recipient_count >= SESSION_RECIPIENT_LIMIT)
        wrong = &too_many;
    recipient = sink_copy(path.at, path.length);
    if (wrong != NULL) {
        session_refuse(session, "RCPT", path.length > 0 ? recipient : NULL, wrong);
        free(recipient);
        return;
    }
    action = session_consult(session, "RCPT", recipient);
    if (session_settle(session, "RCPT", recipient, session_tell(session, action, &ok), 2))
        add_recipient(session, recipient);
    else
        free(recipient);
}

static void do_rset(struct session *session, const struct command *command)
{
    const struct action *action = session_consult(session, "RSET", NULL);

    (void)command;
    if (session_settle(session, "RSET", NULL, session_tell(session, action, &answer_ok), 2))
        session_end_transaction(session);
}

static void do_noop(struct session *session, const struct command *command)
{
    const struct action *action = session_consult(session, "NOOP", NULL);

    (void)command;
    session_settle(session, "NOOP", NULL, session_tell(session, action, &answer_ok), 2);
}

static void do_vrfy(struct session *session, const struct command *command)
{
    static const struct answer cannot = {252, "2.0.0", "Cannot VRFY user, but will accept message"};
    const struct action *action;

    if (command->rest.length == 0) {
        session_refuse(session, "VRFY", NULL, &answer_syntax);
        return;
    }
    action = session_consult(session, "VRFY", NULL);
    session_settle(session, "VRFY", NULL, session_tell(session, action, &cannot), 2);
}

static void do_quit(struct session *session, const struct command *command)
{
    static const struct answer bye = {221, "2.0.0", "Bye"};
    static const struct manner leave = {.after = AFTER_CLOSE};
    const struct action *action = session_consult(session, "QUIT", NULL);

    (void)command;
    if (session_settle(session, "QUIT", NULL, session_tell(session, action, &bye), 2)) {
        session->host->send(session->context, "", 0, &leave);
        session->mode = INPUT_OVER;
    }
}

void session_unknown(struct session *session, const struct command *command)
{
    static const struct answer unknown = {500, "5.5.2", "Command not recognised"};
    const char *stage = command->verb[0] == '\0' ? "COMMAND" : command->verb;

    session_settle(session, stage, NULL, session_tell(session, session_consult(session, stage, NULL), &unknown), 2);
}

static const struct verb {
    const char *name;
    void (*run)(struct session *session, const struct command *command);
    bool last_in_group; /* RFC 2920 3.1: nothing may be sent behind it before its reply is there */
} verbs[] = {
    {"MAIL", do_mail, false},
    {"RCPT", do_rcpt, false},
    {"DATA", session_data, true},
    {"BDAT", session_bdat, false},
    {"RSET", do_rset, false},
    {"EHLO", do_ehlo, true},
    {"HELO", do_helo, true},
    {"QUIT", do_quit, true},
    {"NOOP", do_noop, true},
    {"VRFY", do_vrfy, true},
    {"STARTTLS", session_starttls, true},
    {"AUTH", session_auth, true},
};

/* Behind BDAT stands its chunk; session_take_chunk() looks at what comes behind that. */
static void check_group(struct session *session, const char *verb, bool last_in_group)
{
    if (!session->more_behind || session->pipelining_noted || strcmp(verb, "BDAT") == 0)
        return;
    if (last_in_group || !session_offers(session, EXTENSION_PIPELINING)) {
        session->pipelining_noted = true;
        session_violation(session, verb,
                          last_in_group ? "pipelined behind a command that must be last"
                                        : "pipelined without PIPELINING");
    }
}

void session_command(struct session *session, const char *line, size_t length)
{
    struct command command;

    command_parse(&command, line, length);
    if (session->refused && strcmp(command.verb, "QUIT") != 0) {
        session_refuse(session, command.verb[0] == '\0' ? "COMMAND" : command.verb, NULL, &answer_sequence);
        return;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, command.verb) == 0) {
            check_group(session, command.verb, verbs[i].last_in_group);
            verbs[i].run(session, &command);
            return;
        }
    }
    session_unknown(session, &command);
}
