/*
 * session.c - the states of a conversation, its content, and its replies; what the commands mean stands in verbs.c.
 *
 * Input is worked on as it comes: a command line is gathered until its CRLF, content goes straight into the mail's
 * buffer. Two things stop the work: a mail that waits for its answer (what follows is kept, within a bound), and
 * STARTTLS, behind which nothing may follow in clear text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/receive/session_private.h"

void receive_content_finish(struct receive_content *content)
{
    for (size_t i = 0; i < content->recipient_count; i++)
        free(content->recipients[i]);
    buffer_finish(&content->data);
    *content = (struct receive_content){.data = BUFFER_INIT(0)};
}

void receive_budget_return(struct receive_budget *budget, size_t bytes)
{
    assure(budget->used_bytes >= bytes);
    budget->used_bytes -= bytes;
}

struct receive_session *receive_session_create(const struct receive_settings *settings, void *owner)
{
    struct receive_session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->settings = settings;
    session->owner = owner;
    session->out = BUFFER_INIT(RECEIVE_OUTPUT_BYTES);
    session->ahead = BUFFER_INIT(RECEIVE_AHEAD_BYTES);
    session->content.data = BUFFER_INIT(settings->message_bytes + RECEIVE_LINE_BYTES);
    receive_reply(session, "220 %s ESMTP", settings->hostname);
    return session;
}

void receive_reset(struct receive_session *session)
{
    receive_budget_return(session->settings->budget, session->content.data.len);
    receive_content_finish(&session->content);
    session->content.data = BUFFER_INIT(session->settings->message_bytes + RECEIVE_LINE_BYTES);
    session->mail_given = false;
    session->refused[0] = '\0';
}

void receive_session_free(struct receive_session *session)
{
    if (session == NULL)
        return;
    receive_reset(session);
    buffer_finish(&session->content.data);
    buffer_finish(&session->out);
    buffer_finish(&session->ahead);
    free(session);
}

void *receive_session_owner(const struct receive_session *session)
{
    return session->owner;
}

void receive_reply(struct receive_session *session, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    assure(len > 0 && (size_t)len < sizeof(line));
    buffer_append(&session->out, line, (size_t)len);
    buffer_append(&session->out, "\r\n", 2);
    /* Who sends commands and does not read the replies gets no more of them. */
    if (session->out.failed)
        session->state = STATE_CLOSED;
    if (line[0] == '5' && ++session->errors >= RECEIVE_ERRORS_MAX && session->state != STATE_CLOSED)
        receive_session_end(session, "4.7.0 too many errors");
}

void receive_session_end(struct receive_session *session, const char *why)
{
    if (session->state == STATE_CLOSED)
        return;
    session->state = STATE_CLOSED;
    receive_reply(session, "421 %s", why);
}

/* ---- the content ---- */

/* Why the mail will be refused; the first reason stands. Its bytes are let go at once. */
static void refuse(struct receive_session *session, const char *reply)
{
    if (session->refused[0] == '\0')
        (void)str_copy(session->refused, sizeof(session->refused), reply);
    receive_budget_return(session->settings->budget, session->content.data.len);
    buffer_finish(&session->content.data);
    session->content.data = BUFFER_INIT(session->settings->message_bytes + RECEIVE_LINE_BYTES);
}

static void keep(struct receive_session *session, const char *bytes, size_t len)
{
    struct receive_budget *budget = session->settings->budget;
    struct buffer *data = &session->content.data;
    session->line_len += len;
    if (session->refused[0] != '\0' || len == 0)
        return;
    if (data->len + len > session->settings->message_bytes) {
        refuse(session, "552 5.3.4 the message is larger than we take");
        return;
    }
    if (session->line_len > RECEIVE_LINE_BYTES) {
        refuse(session, "554 5.6.0 a line of the message is too long");
        return;
    }
    if (len > budget->max_bytes - budget->used_bytes) {
        refuse(session, "452 4.3.1 too much is being received, try again later");
        return;
    }
    size_t before = data->len;
    buffer_append(data, bytes, len);
    budget->used_bytes += data->len - before;
    if (data->failed)
        refuse(session, "452 4.3.1 no memory, try again later");
}

static void content_ended(struct receive_session *session)
{
    session->line_len = 0;
    if (session->refused[0] != '\0') {
        char reply[sizeof(session->refused)];
        memcpy(reply, session->refused, sizeof(reply));
        session->state = STATE_READY;
        receive_reset(session);
        receive_reply(session, "%s", reply);
        return;
    }
    session->state = STATE_WAITING;
    session->mails++;
    session->settings->mail(session->settings->context, session);
}

static void smuggler(struct receive_session *session)
{
    receive_reset(session);
    session->state = STATE_CLOSED;
    receive_reply(session, "521 5.5.2 a bare <CR> or <LF> is not a line end");
}

/* A run of bytes without CR and LF inside a line. Returns how many. */
static size_t take_run(struct receive_session *session, const char *bytes, size_t len)
{
    size_t run = 0;
    while (run < len && bytes[run] != '\r' && bytes[run] != '\n')
        run++;
    keep(session, bytes, run);
    return run;
}

/* Consumes content; stops behind its end, or when the conversation ends. Returns how many bytes. */
static size_t take_content(struct receive_session *session, const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len && session->state == STATE_CONTENT) {
        char c = bytes[at];
        switch (session->line) {
        case LINE_BEGINS:
            session->line = LINE_INSIDE;
            if (c == '.') {
                session->line = LINE_DOT;
                at++;
            }
            break;
        case LINE_DOT: /* the dot was stuffed, unless the line ends here */
            session->line = c == '\r' ? LINE_DOT_CR : LINE_INSIDE;
            at += c == '\r';
            break;
        case LINE_INSIDE:
            at += take_run(session, bytes + at, len - at);
            if (at < len && bytes[at++] == '\r')
                session->line = LINE_CR;
            else if (at <= len && bytes[at - 1] == '\n')
                smuggler(session);
            break;
        case LINE_CR:
        case LINE_DOT_CR:
            at++;
            if (c != '\n') {
                smuggler(session);
            } else if (session->line == LINE_DOT_CR) {
                session->line = LINE_BEGINS;
                content_ended(session);
            } else {
                session->line = LINE_BEGINS;
                keep(session, "\r\n", 2);
                session->line_len = 0;
            }
            break;
        }
    }
    return at;
}

/* ---- commands ---- */

/* Gathers a command line and works on it when it is whole. Returns how many bytes were consumed. */
static size_t take_command(struct receive_session *session, const char *bytes, size_t len)
{
    const char *lf = memchr(bytes, '\n', len);
    size_t part = lf != NULL ? (size_t)(lf - bytes) + 1 : len;
    size_t room = sizeof(session->command) - session->command_len;
    if (part > room) {
        receive_session_end(session, "4.5.2 the line is too long");
        return len;
    }
    memcpy(session->command + session->command_len, bytes, part);
    session->command_len += part;
    if (lf == NULL)
        return part;
    size_t line_len = session->command_len;
    session->command_len = 0;
    bool whole = line_len >= 2 && session->command[line_len - 2] == '\r';
    if (!whole || memchr(session->command, '\r', line_len - 2) != NULL) {
        smuggler(session);
        return len;
    }
    session->command[line_len - 2] = '\0';
    receive_command(session, session->command, line_len - 2);
    return part;
}

static void work(struct receive_session *session, const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        switch (session->state) {
        case STATE_READY:
            at += take_command(session, bytes + at, len - at);
            break;
        case STATE_CONTENT:
            at += take_content(session, bytes + at, len - at);
            break;
        case STATE_WAITING:
            buffer_append(&session->ahead, bytes + at, len - at);
            if (session->ahead.failed)
                session->state = STATE_CLOSED; /* more than anybody may say before a reply */
            return;
        case STATE_SECURING: /* CVE-2011-0411: what was said in clear text must not count as said under TLS */
        case STATE_CLOSED:
            session->state = STATE_CLOSED;
            return;
        }
    }
}

void receive_session_feed(struct receive_session *session, const char *bytes, size_t len)
{
    work(session, bytes, len);
}

void receive_content_take(struct receive_session *session, struct receive_content *out)
{
    *out = session->content;
    session->content =
        (struct receive_content){.data = BUFFER_INIT(session->settings->message_bytes + RECEIVE_LINE_BYTES)};
}

void receive_session_answer(struct receive_session *session, enum receive_answer answer)
{
    static const char *const replies[] = {
        [RECEIVE_TAKEN] = "250 2.6.0 taken",
        [RECEIVE_LATER] = "451 4.3.0 cannot be recorded now, try again later",
        [RECEIVE_REFUSED] = "554 5.6.0 not taken",
    };
    if (session->state != STATE_WAITING)
        return; /* it ended meanwhile */
    session->state = STATE_READY;
    receive_reset(session);
    receive_reply(session, "%s", replies[answer]);
    if (session->mails >= RECEIVE_MAILS_MAX)
        receive_session_end(session, "4.7.0 enough for one connection");
    struct buffer ahead = session->ahead;
    session->ahead = BUFFER_INIT(RECEIVE_AHEAD_BYTES);
    work(session, buffer_text(&ahead), ahead.len);
    buffer_finish(&ahead);
}

void receive_session_secured(struct receive_session *session)
{
    assure(session->state == STATE_SECURING);
    receive_reset(session);
    session->state = STATE_READY;
    session->greeted = false; /* RFC 3207 section 4.2: as if nothing had been said */
    session->secured = true;
}

struct buffer *receive_session_output(struct receive_session *session)
{
    return &session->out;
}

bool receive_wants_tls(const struct receive_session *session)
{
    return session->state == STATE_SECURING;
}

bool receive_wants_close(const struct receive_session *session)
{
    return session->state == STATE_CLOSED;
}

bool receive_is_waiting(const struct receive_session *session)
{
    return session->state == STATE_WAITING;
}
