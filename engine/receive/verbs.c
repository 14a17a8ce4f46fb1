/*
 * verbs.c - what each command of a client means.
 *
 * Syntax is read as RFC 5321 writes it, with the one laxness that every client counts on: white space behind the colon
 * of MAIL FROM: and RCPT TO:. Parameters that were not offered are refused (555), so that nobody believes that they are
 * heeded.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/receive/session_private.h"

#define PATH_BYTES 256 /* RFC 5321 section 4.5.3.1.3, with its brackets; some octets more do no harm */

static bool is_clean(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < ' ' ? line[i] != '\t' : line[i] == 0x7f)
            return false;
    }
    return utf8_valid(line, len);
}

static void say_hello(struct receive_session *session, const char *name, bool extended)
{
    const struct receive_settings *settings = session->settings;
    if (*name == '\0') {
        receive_reply(session, "501 5.5.4 who is it?");
        return;
    }
    receive_reset(session);
    session->greeted = true;
    if (!extended) {
        receive_reply(session, "250 %s", settings->hostname);
        return;
    }
    receive_reply(session, "250-%s", settings->hostname);
    receive_reply(session, "250-PIPELINING");
    receive_reply(session, "250-SIZE %zu", settings->message_bytes);
    if (settings->tls && !session->secured)
        receive_reply(session, "250-STARTTLS");
    receive_reply(session, "250-8BITMIME");
    receive_reply(session, "250-SMTPUTF8");
    receive_reply(session, "250 ENHANCEDSTATUSCODES");
}

/*
 * Cuts "<path>" off *at: the path without brackets and source route in place, *at behind it; NULL = no path. Quoted
 * local parts may hold brackets.
 */
static char *take_path(char **at)
{
    char *from = *at;
    while (*from == ' ')
        from++;
    if (*from != '<')
        return NULL;
    char *end = ++from;
    bool quoted = false;
    for (; *end != '\0' && (quoted || *end != '>'); end++) {
        if (*end == '\\' && quoted && end[1] != '\0')
            end++;
        else if (*end == '"')
            quoted = !quoted;
        else if (!quoted && (*end == '<' || *end == ' ' || *end == '\t'))
            return NULL;
    }
    if (*end != '>' || (size_t)(end - from) > PATH_BYTES || (end[1] != '\0' && end[1] != ' '))
        return NULL;
    *end = '\0';
    *at = end + 1;
    char *colon = *from == '@' ? strchr(from, ':') : NULL;
    return colon != NULL ? colon + 1 : from;
}

/* One parameter: 0 taken; else the reply was made. */
static int mail_parameter(struct receive_session *session, char *word)
{
    uint64_t size;
    if (str_starts_nocase(word, "SIZE=") && str_parse_u64(word + 5, UINT64_MAX, &size) == 0) {
        if (size <= session->settings->message_bytes)
            return 0;
        receive_reply(session, "552 5.3.4 the message is larger than we take");
        return 1;
    }
    if (str_eq_nocase(word, "BODY=7BIT") || str_eq_nocase(word, "BODY=8BITMIME") || str_eq_nocase(word, "SMTPUTF8"))
        return 0;
    receive_reply(session, "555 5.5.4 a parameter is not known");
    return 1;
}

static void take_mail(struct receive_session *session, char *at)
{
    char *path = take_path(&at);
    if (path == NULL) {
        receive_reply(session, "501 5.1.7 bad sender address");
        return;
    }
    if (session->mail_given) {
        receive_reply(session, "503 5.5.1 there is a sender already");
        return;
    }
    char *rest = NULL;
    for (char *word = strtok_r(at, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (mail_parameter(session, word) != 0)
            return;
    }
    (void)str_copy(session->content.sender, sizeof(session->content.sender), path);
    session->mail_given = true;
    receive_reply(session, "250 2.1.0 go on");
}

static void take_rcpt(struct receive_session *session, char *at)
{
    struct receive_content *content = &session->content;
    if (!session->mail_given) {
        receive_reply(session, "503 5.5.1 MAIL first");
        return;
    }
    char *path = take_path(&at);
    if (path == NULL || *path == '\0') {
        receive_reply(session, "501 5.1.3 bad recipient address");
        return;
    }
    while (*at == ' ')
        at++;
    if (*at != '\0') {
        receive_reply(session, "555 5.5.4 a parameter is not known");
        return;
    }
    if (content->recipient_count == RECEIVE_RECIPIENTS_MAX) {
        receive_reply(session, "452 4.5.3 too many recipients");
        return;
    }
    if (!session->settings->recipient(session->settings->context, path)) {
        receive_reply(session, "550 5.1.1 no such address here");
        return;
    }
    char *copy = str_dup(path);
    if (copy == NULL) {
        receive_reply(session, "452 4.3.1 no memory, try again later");
        return;
    }
    content->recipients[content->recipient_count++] = copy;
    receive_reply(session, "250 2.1.5 go on");
}

static void take_data(struct receive_session *session, const char *at)
{
    if (*at != '\0') {
        receive_reply(session, "501 5.5.4 DATA stands alone");
        return;
    }
    if (session->content.recipient_count == 0) {
        receive_reply(session, session->mail_given ? "554 5.5.1 no valid recipients" : "503 5.5.1 MAIL first");
        return;
    }
    session->state = STATE_CONTENT;
    session->line = LINE_BEGINS;
    session->line_len = 0;
    receive_reply(session, "354 end with a dot on a line of its own");
}

static void take_starttls(struct receive_session *session, const char *at)
{
    if (!session->settings->tls || session->secured) {
        receive_reply(session, session->secured ? "503 5.5.1 it is encrypted already" : "502 5.5.1 not offered");
        return;
    }
    if (*at != '\0') {
        receive_reply(session, "501 5.5.4 STARTTLS stands alone");
        return;
    }
    receive_reply(session, "220 2.0.0 go on");
    if (session->state == STATE_READY)
        session->state = STATE_SECURING;
}

/* Where the argument of "VERB argument" or "VERB" begins; NULL: it is another verb. */
static char *argument(char *line, const char *verb)
{
    size_t len = strlen(verb);
    if (!str_starts_nocase(line, verb) || (line[len] != '\0' && line[len] != ' ' && verb[len - 1] != ':'))
        return NULL;
    line += len;
    while (*line == ' ')
        line++;
    return line;
}

static void cut_blanks(char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        line[--len] = '\0';
}

void receive_command(struct receive_session *session, char *line, size_t len)
{
    char *at;
    if (!is_clean(line, len)) {
        receive_reply(session, "500 5.5.2 the line is not text");
        return;
    }
    cut_blanks(line, len);
    if ((at = argument(line, "EHLO")) != NULL) {
        say_hello(session, at, true);
    } else if ((at = argument(line, "HELO")) != NULL) {
        say_hello(session, at, false);
    } else if (argument(line, "QUIT") != NULL) {
        receive_reply(session, "221 2.0.0 bye");
        session->state = STATE_CLOSED;
    } else if (argument(line, "NOOP") != NULL) {
        receive_reply(session, "250 2.0.0 yes");
    } else if (argument(line, "RSET") != NULL) {
        receive_reset(session);
        receive_reply(session, "250 2.0.0 forgotten");
    } else if (!session->greeted && (argument(line, "MAIL FROM:") != NULL || argument(line, "RCPT TO:") != NULL ||
                                     argument(line, "DATA") != NULL)) {
        receive_reply(session, "503 5.5.1 EHLO first");
    } else if ((at = argument(line, "MAIL FROM:")) != NULL) {
        take_mail(session, at);
    } else if ((at = argument(line, "RCPT TO:")) != NULL) {
        take_rcpt(session, at);
    } else if ((at = argument(line, "DATA")) != NULL) {
        take_data(session, at);
    } else if ((at = argument(line, "STARTTLS")) != NULL) {
        take_starttls(session, at);
    } else if (argument(line, "VRFY") != NULL) {
        receive_reply(session, "252 2.1.5 send some mail and see");
    } else {
        receive_reply(session, "500 5.5.1 not known");
    }
}
