/*
 * The session's input and its answers.
 *
 * Input: bytes are cut into command lines, content and chunks by the mode of the moment. Most reads hold whole lines,
 * which are worked on where they lie; only a line that is split between two reads is copied.
 *
 * Answers: each goes past the script (session_consult) and out through session_tell(), the one door, which notes what
 * the client was told and whether the session is over with it. Success of session_tell() means that bytes were queued;
 * whether they ever reached the client is the connection's knowledge.
 */
#include "tests/sink/session_private.h"

#include <stdlib.h>
#include <string.h>

static const struct manner ordinary_manner = {0};

struct session *session_create(const struct session_settings *settings, const struct session_host *host, void *context,
                               uint64_t connection, const char *local, size_t local_ip_length)
{
    struct session *session = sink_realloc(NULL, sizeof(*session));

    *session = (struct session){
        .settings = settings,
        .host = host,
        .context = context,
        .connection = connection,
        .local = local,
        .local_ip_length = local_ip_length,
    };
    return session;
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    session_end_transaction(session);
    free(session->recipients);
    text_free(&session->line);
    text_free(&session->from);
    text_free(&session->reply);
    text_free(&session->decoded);
    sasl_free(&session->sasl);
    content_free(&session->content);
    free(session);
}

void session_end_transaction(struct session *session)
{
    for (size_t i = 0; i < session->recipient_count; i++)
        free(session->recipients[i]);
    session->recipient_count = 0;
    session->transaction = TRANSACTION_NONE;
    session->smtputf8 = false;
    session->chunks = 0;
    text_clear(&session->from);
}

unsigned session_offered(const struct session *session)
{
    return session->secure ? session->settings->secure_extensions : session->settings->extensions;
}

bool session_offers(const struct session *session, unsigned extension)
{
    return session->extended && (session_offered(session) & extension) != 0;
}

void session_secured(struct session *session)
{
    session_end_transaction(session);
    session->mode = INPUT_COMMAND;
    session->secure = true;
    session->greeted = false;
    session->extended = false;
    session->user = NULL;
    text_clear(&session->line);
    session->line_too_long = false;
}

void session_stop(struct session *session, const char *stage)
{
    if (stage != NULL && session->mode != INPUT_OVER)
        session_note(session, NOTE_DROP, stage, NULL);
    session->mode = INPUT_OVER;
}

void session_blame(struct session *session, const char *stage, const char *what)
{
    session_violation(session, stage, what);
}

uint64_t session_commands(const struct session *session, bool secure)
{
    return secure ? session->secure_commands : session->commands;
}

const struct action *session_ask_tls(struct session *session)
{
    return session_consult(session, "TLS", NULL);
}

bool session_is_over(const struct session *session)
{
    return session->mode == INPUT_OVER;
}

const struct action *session_consult(struct session *session, const char *command, const char *recipient)
{
    struct occasion occasion = {
        .command = command,
        .from = text_length(&session->from) > 0 ? text_bytes(&session->from) : NULL,
        .recipients = (const char *const *)session->recipients,
        .recipient_count = session->recipient_count,
        .connection = session->connection,
        .message = session->transactions,
        .local = session->local,
        .local_ip_length = session->local_ip_length,
        .secure = session->secure,
        .authenticated = session->user != NULL,
    };

    if (session->settings->script == NULL)
        return NULL;
    if (recipient != NULL) {
        occasion.recipients = &recipient;
        occasion.recipient_count = 1;
    }
    if (strcmp(command, "MAIL") == 0)
        occasion.message++;
    if (strcmp(command, "BDAT") == 0)
        occasion.chunk = session->chunks;
    return script_decide(session->settings->script, &occasion);
}

struct told session_tell_ready(struct session *session, const struct action *action, int code)
{
    const struct manner *manner = action == NULL ? &ordinary_manner : &action->manner;
    struct told told = {.code = code, .ended = manner->after != AFTER_GO_ON || manner->endless};
    const char *bytes = text_bytes(&session->reply);
    size_t length = text_length(&session->reply);

    if (action != NULL && action->kind != ACTION_ORDINARY) {
        bytes = action->bytes;
        length = action->length;
        told.code = action->code;
    }
    session->host->send(session->context, bytes, length, manner);
    session->said = told.code == 0 ? NULL : bytes;
    session->said_length = length;
    while (session->said_length > 0 &&
           (bytes[session->said_length - 1] == '\n' || bytes[session->said_length - 1] == '\r'))
        session->said_length--;
    if (told.ended)
        session->mode = INPUT_OVER;
    return told;
}

void session_put_answer(struct session *session, const struct answer *answer)
{
    struct text *reply = &session->reply;

    text_clear(reply);
    text_add_number(reply, (uint64_t)answer->code);
    text_add(reply, " ", 1);
    if (answer->enhanced != NULL && session_offers(session, EXTENSION_ENHANCEDSTATUSCODES)) {
        text_add_string(reply, answer->enhanced);
        text_add(reply, " ", 1);
    }
    text_add_string(reply, answer->text);
    text_add(reply, "\r\n", 2);
}

struct told session_tell(struct session *session, const struct action *action, const struct answer *answer)
{
    session_put_answer(session, answer);
    return session_tell_ready(session, action, answer->code);
}

void session_note(struct session *session, enum note_kind kind, const char *stage, const char *to)
{
    struct note note = {
        .kind = kind,
        .stage = stage,
        .from = text_length(&session->from) > 0 ? text_bytes(&session->from) : NULL,
        .to = to,
    };
    bool of_all = to == NULL && (strcmp(stage, "DATA") == 0 || strcmp(stage, "BDAT") == 0);

    if (kind == NOTE_REJECT) {
        note.reply = session->said;
        note.reply_length = session->said_length;
    }
    if (!of_all || session->recipient_count == 0) {
        session->host->note(session->context, &note);
        return;
    }
    for (size_t i = 0; i < session->recipient_count; i++) {
        note.to = session->recipients[i];
        session->host->note(session->context, &note);
    }
}

void session_violation(struct session *session, const char *stage, const char *what)
{
    struct note note = {
        .kind = NOTE_VIOLATION,
        .stage = stage,
        .from = text_length(&session->from) > 0 ? text_bytes(&session->from) : NULL,
        .to = session->recipient_count > 0 ? session->recipients[0] : NULL,
        .what = what,
    };

    session->host->note(session->context, &note);
}

void session_refuse(struct session *session, const char *stage, const char *to, const struct answer *answer)
{
    session_tell(session, NULL, answer);
    session_note(session, NOTE_REJECT, stage, to);
}

bool session_settle(struct session *session, const char *stage, const char *to, struct told told, int good_class)
{
    if (told.code == 0 || (told.code / 100 == good_class && told.ended)) {
        session_note(session, NOTE_DROP, stage, to);
        return false;
    }
    if (told.code / 100 != good_class) {
        session_note(session, NOTE_REJECT, stage, to);
        return false;
    }
    return true;
}

void session_start(struct session *session)
{
    const struct action *action = session_consult(session, "CONNECT", NULL);
    struct told told;

    text_clear(&session->reply);
    text_add_string(&session->reply, "220 ");
    text_add_string(&session->reply, session->settings->hostname);
    text_add_string(&session->reply, " ESMTP posthaste sink\r\n");
    told = session_tell_ready(session, action, 220);
    session->refused = !session_settle(session, "CONNECT", NULL, told, 2);
}

/* What is wrong with the bytes of a command line; NULL if nothing. Takes the line end off. */
static const char *line_fault(const struct session *session, const char *line, size_t *length)
{
    size_t text = *length - 1;
    bool cr = text > 0 && line[text - 1] == '\r';

    text -= cr ? 1 : 0;
    *length = text;
    if (memchr(line, '\0', text) != NULL)
        return "NUL";
    if (!session->settings->strict)
        return NULL;
    if (!cr)
        return "bare LF";
    return memchr(line, '\r', text) != NULL ? "bare CR" : NULL;
}

static void refuse_line(struct session *session, const char *what)
{
    const struct answer answer = {500, "5.5.2", what};

    session_violation(session, "COMMAND", what);
    session_refuse(session, "COMMAND", NULL, &answer);
}

static void take_line(struct session *session, const char *line, size_t length)
{
    const char *fault = line_fault(session, line, &length);
    bool response = session->mode == INPUT_AUTH;

    session->commands++;
    session->secure_commands += session->secure ? 1 : 0;
    if (fault != NULL) {
        session->mode = INPUT_COMMAND;
        refuse_line(session, fault);
    } else if (response) {
        session_auth_response(session, line, length);
    } else {
        session_command(session, line, length);
    }
}

static size_t take_command(struct session *session, const char *bytes, size_t length)
{
    const char *newline = memchr(bytes, '\n', length);
    size_t used = newline == NULL ? length : (size_t)(newline - bytes) + 1;
    size_t limit_bytes = session->mode == INPUT_AUTH ? AUTH_LINE_LIMIT_BYTES : COMMAND_LINE_LIMIT_BYTES;

    if (session->line_too_long || text_length(&session->line) + used > limit_bytes) {
        text_clear(&session->line);
        session->line_too_long = newline == NULL;
        if (newline != NULL) {
            session->mode = INPUT_COMMAND;
            refuse_line(session, "line too long");
        }
        return used;
    }
    if (newline == NULL) {
        text_add(&session->line, bytes, used);
        return used;
    }
    session->more_behind = used < length;
    if (text_length(&session->line) == 0) {
        take_line(session, bytes, used);
    } else {
        text_add(&session->line, bytes, used);
        take_line(session, text_bytes(&session->line), text_length(&session->line));
        text_clear(&session->line);
    }
    return used;
}

void session_feed(struct session *session, const char *bytes, size_t length)
{
    while (length > 0) {
        size_t used = length;

        switch (session->mode) {
        case INPUT_COMMAND:
        case INPUT_AUTH:
            used = take_command(session, bytes, length);
            break;
        case INPUT_DATA:
            used = session_take_data(session, bytes, length);
            break;
        case INPUT_CHUNK:
            used = session_take_chunk(session, bytes, length);
            break;
        case INPUT_TLS:
        case INPUT_OVER:
            break;
        }
        bytes += used;
        length -= used;
    }
}
