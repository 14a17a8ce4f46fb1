/*
 * talk.h - a session driven by hand: what the server says goes in, what the client says and what becomes of the
 * messages comes out as text.
 *
 * Events are gathered as words: "1=delivered/250" (message 1), "2=back", "2=back!" (charged), "end=lost".
 */
#ifndef POSTHASTE_TESTS_UNIT_ENGINE_TALK_H
#define POSTHASTE_TESTS_UNIT_ENGINE_TALK_H

#include "base/buffer.h"
#include "engine/smtp/session.h"
#include "tests/unit/engine/unit.h"

#define CONTENT "Subject: x\r\n\r\nhello\r\n"
#define CONTENT_BYTES (sizeof CONTENT - 1)
#define ESMTP "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
#define ESMTP_CHUNKING "250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
#define ESMTP_NOTHING "250 mx.example\r\n"

struct talk {
    struct session *session;
    struct config_timeouts timeouts;
    int64_t now_ms;
    struct buffer out, events;
};

ATTR_UNUSED static const char *talk_end_name(enum session_end end)
{
    static const char *const names[] = {
        [SESSION_END_NONE] = "none",         [SESSION_END_QUIT] = "quit", [SESSION_END_REFUSED] = "refused",
        [SESSION_END_CLOSING] = "closing",   [SESSION_END_LOST] = "lost", [SESSION_END_PROTOCOL] = "protocol",
        [SESSION_END_CHUNKING] = "chunking", [SESSION_END_TLS] = "tls",
    };
    return names[end];
}

ATTR_UNUSED static void talk_events(struct talk *talk)
{
    struct session_event event;
    while (session_next(talk->session, &event)) {
        if (talk->events.len > 0)
            buffer_append_char(&talk->events, ' ');
        if (event.kind == SESSION_ENDED) {
            buffer_printf(&talk->events, "end=%s", talk_end_name(event.end));
        } else if (event.kind == SESSION_STARTTLS) {
            buffer_append_str(&talk->events, "starttls");
        } else if (event.kind == SESSION_BACK) {
            buffer_printf(&talk->events, "%zu=back%s", (size_t)(uintptr_t)event.tag, event.charged ? "!" : "");
        } else {
            buffer_printf(&talk->events, "%zu=%s/%u", (size_t)(uintptr_t)event.tag,
                          outcome_class_name(event.outcome->class_), event.outcome->code);
        }
    }
}

/* Lets at most `limit` bytes leave. */
ATTR_UNUSED static void talk_write(struct talk *talk, size_t limit)
{
    struct iovec pieces[8];
    size_t count;
    while (limit > 0 && (count = session_output(talk->session, pieces, countof(pieces))) > 0) {
        size_t wrote = 0;
        for (size_t i = 0; i < count && limit > 0; i++) {
            size_t part = MIN_OF(limit, pieces[i].iov_len);
            buffer_append(&talk->out, pieces[i].iov_base, part);
            limit -= part;
            wrote += part;
        }
        session_wrote(talk->session, wrote, talk->now_ms);
    }
}

ATTR_UNUSED static void talk_begin_as(struct talk *talk, uint32_t depth, enum session_tls tls,
                                      const struct credentials *login)
{
    *talk = (struct talk){.timeouts = TEST_TIMEOUTS, .now_ms = 1000, .out = BUFFER_INIT(0), .events = BUFFER_INIT(0)};
    struct session_options options = {.ehlo_name = "client.example",
                                      .mx_host = "mx.example",
                                      .source = "ip1",
                                      .timeouts = &talk->timeouts,
                                      .depth = depth,
                                      .tls = tls,
                                      .login = login};
    talk->session = session_create(&options, talk->now_ms);
    assert_non_null(talk->session);
}

ATTR_UNUSED static void talk_begin(struct talk *talk, uint32_t depth)
{
    talk_begin_as(talk, depth, SESSION_TLS_OFF, NULL);
}

ATTR_UNUSED static void talk_finish(struct talk *talk)
{
    session_free(talk->session);
    buffer_finish(&talk->out);
    buffer_finish(&talk->events);
}

/* The server speaks; the client's answer leaves at once. */
ATTR_UNUSED static void talk_hear(struct talk *talk, const char *bytes)
{
    size_t len = strlen(bytes), at = 0;
    while (at < len) {
        size_t used = session_feed(talk->session, bytes + at, len - at, talk->now_ms);
        talk_events(talk);
        if (used == 0)
            break;
        at += used;
    }
    talk_write(talk, SIZE_MAX);
}

ATTR_UNUSED static void talk_give_quietly(struct talk *talk, size_t number)
{
    struct session_message message = {.mail_from = "b@client.example",
                                      .rcpt_to = "r@site.example",
                                      .data = CONTENT,
                                      .size_bytes = CONTENT_BYTES,
                                      .tag = (void *)(uintptr_t)number};
    session_give(talk->session, &message, talk->now_ms);
    talk_events(talk);
}

ATTR_UNUSED static void talk_give(struct talk *talk, size_t number)
{
    talk_give_quietly(talk, number);
    talk_write(talk, SIZE_MAX);
}

#define talk_said(talk, text)                                                                                          \
    do {                                                                                                               \
        assert_string_equal(buffer_text(&(talk)->out), text);                                                          \
        buffer_clear(&(talk)->out);                                                                                    \
    } while (0)
#define talk_became(talk, text)                                                                                        \
    do {                                                                                                               \
        assert_string_equal(buffer_text(&(talk)->events), text);                                                       \
        buffer_clear(&(talk)->events);                                                                                 \
    } while (0)

#define MAIL_LINE "MAIL FROM:<b@client.example>\r\n"
#define MAIL_SIZE_LINE "MAIL FROM:<b@client.example> SIZE=21\r\n"
#define RCPT_LINE "RCPT TO:<r@site.example>\r\n"
#define BDAT_LINE "BDAT 21 LAST\r\n"

#endif
