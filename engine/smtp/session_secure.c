/*
 * session_secure.c - from the greeting to the first message: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954).
 *
 * Nothing that was said in clear text survives STARTTLS: the capabilities are forgotten, EHLO is said again. A server
 * that offers no AUTH, or refuses it, gets no mail when we were told to log in; the messages are not to blame.
 */
#include "engine/smtp/session_private.h"

#include "base/str.h"

/* Reads one line of the EHLO reply. `line` is not terminated. */
static void learn_keyword(struct session *s, const char *line, size_t len)
{
    char word[sizeof s->auth];
    if (len == 0 || len >= sizeof word)
        return;
    memcpy(word, line, len);
    word[len] = '\0';
    char *argument = strpbrk(word, " =");
    if (argument != NULL)
        *argument++ = '\0';
    if (str_eq_nocase(word, "PIPELINING")) {
        s->pipelining = true;
    } else if (str_eq_nocase(word, "CHUNKING")) {
        s->chunking = !s->options.no_chunking;
    } else if (str_eq_nocase(word, "8BITMIME")) {
        s->eight_bit_mime = true;
    } else if (str_eq_nocase(word, "SMTPUTF8")) {
        s->smtputf8 = true;
    } else if (str_eq_nocase(word, "STARTTLS")) {
        s->starttls = true;
    } else if (str_eq_nocase(word, "AUTH") && argument != NULL) {
        /* Old servers say "AUTH=LOGIN" beside "AUTH LOGIN PLAIN": the longer one tells more. */
        if (strlen(argument) > strlen(s->auth))
            (void)str_copy(s->auth, sizeof s->auth, argument);
    } else if (str_eq_nocase(word, "SIZE")) {
        s->size_offered = true;
        if (argument == NULL || str_parse_u64(argument, UINT64_MAX, &s->size_limit) < 0)
            s->size_limit = 0;
    }
}

static void learn(struct session *s, const struct reply *ehlo)
{
    const char *line = memchr(ehlo->text, '\n', ehlo->text_len); /* the first line is the server's name */
    while (line != NULL) {
        const char *start = line + 1;
        line = strchr(start, '\n');
        learn_keyword(s, start, line != NULL ? (size_t)(line - start) : strlen(start));
    }
}

static void become_ready(struct session *s)
{
    uint32_t depth = s->options.depth;
    s->limit = !s->pipelining ? 1 : s->chunking ? depth : MIN_OF(depth, 2);
    s->state = STATE_READY;
    s->clean = true;
}

static void refuse(struct session *s, enum outcome_stage stage, const char *text)
{
    session_finish(s, SESSION_END_REFUSED, stage, 0, "", text);
}

static void log_in(struct session *s)
{
    struct error err = {""};
    struct sasl_options options = {
        .credentials = s->options.login,
        .tls = s->outcome.tls,
        .allow_clear = s->options.login_clear,
        .keys = s->options.keys,
    };
    if (s->auth[0] == '\0') {
        refuse(s, STAGE_AUTH, "the server does not offer AUTH");
        return;
    }
    if (sasl_start(s->auth, &options, &s->sasl, &err) != 0) {
        refuse(s, STAGE_AUTH, err.text);
        return;
    }
    s->state = STATE_LOGIN;
    session_say_line(s, STEP_AUTH, sasl_command(s->sasl));
}

/* Behind EHLO: what is still to be done before mail can be sent. */
static void go_on(struct session *s)
{
    enum session_tls tls = s->options.tls;
    bool may_start = !s->outcome.tls && (tls == SESSION_TLS_WISHED || tls == SESSION_TLS_NEEDED);
    if (may_start && s->starttls) {
        session_say_line(s, STEP_STARTTLS, "STARTTLS");
    } else if (may_start && tls == SESSION_TLS_NEEDED) {
        refuse(s, STAGE_TLS, "the server does not offer STARTTLS");
    } else if (s->options.login != NULL) {
        log_in(s);
    } else {
        become_ready(s);
    }
}

void session_on_hello(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply)
{
    if (verdict == VERDICT_OK) {
        if (e->step == STEP_EHLO)
            learn(s, reply);
        if (e->step == STEP_GREETING)
            session_say_hello(s, true);
        else
            go_on(s);
    } else if (e->step == STEP_EHLO && reply->code / 100 == 5) {
        session_say_hello(s, false); /* RFC 5321 3.2: a server from before ESMTP */
    } else {
        session_finish_by_reply(s, SESSION_END_REFUSED, e->step, reply);
    }
}

void session_on_starttls(struct session *s, enum verdict verdict, const struct reply *reply)
{
    if (verdict == VERDICT_OK) {
        s->state = STATE_SECURING;
        s->reply_since_ms = s->now_ms;
    } else if (s->options.tls == SESSION_TLS_NEEDED) {
        session_finish_by_reply(s, SESSION_END_REFUSED, STEP_STARTTLS, reply);
    } else {
        s->starttls = false; /* it changed its mind; mail in clear text is allowed */
        go_on(s);
    }
}

void session_secured(struct session *s, int64_t now_ms)
{
    if (s->state != STATE_SECURING)
        return;
    s->now_ms = now_ms;
    s->outcome.tls = s->why.tls = true;
    session_note_time(s, STAGE_TLS);
    s->reply_since_ms = s->write_since_ms = now_ms;
    if (s->options.tls == SESSION_TLS_IMPLICIT) {
        s->state = STATE_GREETING;
        return;
    }
    s->pipelining = s->chunking = s->eight_bit_mime = s->smtputf8 = s->size_offered = s->starttls = false;
    s->size_limit = 0;
    s->auth[0] = '\0';
    session_say_hello(s, true);
}

void session_not_secured(struct session *s, const char *why, int64_t now_ms)
{
    s->now_ms = now_ms;
    session_finish(s, SESSION_END_TLS, STAGE_TLS, 0, "", why);
}

void session_on_auth(struct session *s, enum verdict verdict, const struct reply *reply)
{
    struct error err = {""};
    const char *response = NULL;
    if (verdict == VERDICT_MORE) {
        if (sasl_step(s->sasl, reply->text, reply->text_len, &response, &err) < 0)
            refuse(s, STAGE_AUTH, err.text); /* closing takes the exchange back as well as "*" does */
        else
            session_say_line(s, STEP_AUTH, response);
        return;
    }
    if (verdict != VERDICT_OK) {
        session_finish_by_reply(s, SESSION_END_REFUSED, STEP_AUTH, reply);
    } else if (sasl_finish(s->sasl, &err) != 0) {
        refuse(s, STAGE_AUTH, err.text);
    } else {
        sasl_free(s->sasl);
        s->sasl = NULL;
        outbox_wipe(&s->outbox); /* the password was in it */
        become_ready(s);
    }
}
