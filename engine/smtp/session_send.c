/*
 * session_send.c - what a session says next.
 *
 * RSET: a MAIL may only follow when no transaction is open (RFC 5321 4.1.4). Behind a command group whose RCPT is not
 * answered yet one cannot know, and RFC 3030 leaves the state after a refused BDAT open; there a pipelined RSET (six
 * bytes, no waiting) keeps every message independent of the fate of the one before it. Where the state is known (after
 * an accepted message, a refused MAIL, or an end of data) none is said.
 */
#include "engine/smtp/session_private.h"

#include <errno.h>

#include "engine/smtp/command.h"

static void expect(struct session *s, enum smtp_step step, struct slot *slot)
{
    assure(s->expect_count < s->expect_capacity);
    bool was_empty = s->expect_count == 0;
    *expect_at(s, s->expect_count++) = (struct expect){.step = step, .slot = slot, .end = s->outbox.queued};
    if (slot != NULL)
        slot->pending++;
    if (was_empty)
        s->reply_since_ms = s->now_ms;
}

/* Takes the text that was just appended into the output; false when that failed (and the session is over). */
static bool said(struct session *s, int r)
{
    if (r < 0) {
        session_finish(s, SESSION_END_LOST, STAGE_NONE, 0, "", r == -ENOMEM ? "out of memory" : "command refused");
        return false;
    }
    if (outbox_empty(&s->outbox))
        s->write_since_ms = s->now_ms;
    outbox_text_added(&s->outbox);
    return true;
}

static bool say_plain(struct session *s, enum command_plain command)
{
    return said(s, command_plain(outbox_text(&s->outbox), command));
}

void session_say_line(struct session *s, enum smtp_step step, const char *line)
{
    struct buffer *text = outbox_text(&s->outbox);
    buffer_append_str(text, line);
    buffer_append(text, "\r\n", 2);
    if (said(s, text->failed ? -ENOMEM : 0))
        expect(s, step, NULL);
}

void session_say_hello(struct session *s, bool extended)
{
    struct buffer *text = outbox_text(&s->outbox);
    const char *name = s->options.ehlo_name;
    s->state = STATE_HELLO;
    if (said(s, extended ? command_ehlo(text, name) : command_helo(text, name)))
        expect(s, extended ? STEP_EHLO : STEP_HELO, NULL);
}

static bool say_mail(struct session *s, struct slot *slot)
{
    bool utf8 = slot->m.smtputf8 && s->smtputf8;
    struct command_mail mail = {
        .path = slot->m.mail_from,
        .size_offered = s->size_offered,
        .size_bytes = slot->m.size_bytes,
        .body_8bitmime = slot->m.eight_bit && s->eight_bit_mime,
        .smtputf8 = utf8,
    };
    if (!said(s, command_mail(outbox_text(&s->outbox), &mail)))
        return false;
    expect(s, STEP_MAIL, slot);
    return true;
}

static bool say_rcpt(struct session *s, struct slot *slot)
{
    if (!said(s, command_rcpt(outbox_text(&s->outbox), slot->m.rcpt_to, slot->m.smtputf8 && s->smtputf8)))
        return false;
    expect(s, STEP_RCPT, slot);
    return true;
}

static void queue_content(struct session *s, struct slot *slot, bool stuff_dots)
{
    outbox_content(&s->outbox, slot->m.data, slot->m.size_bytes, stuff_dots);
}

static bool say_data(struct session *s, struct slot *slot)
{
    if (s->chunking) {
        if (!said(s, command_bdat_last(outbox_text(&s->outbox), slot->m.size_bytes)))
            return false;
        queue_content(s, slot, false);
        slot->content_end = s->outbox.queued;
        expect(s, STEP_BDAT, slot);
        return true;
    }
    if (!say_plain(s, COMMAND_DATA))
        return false;
    expect(s, STEP_DATA, slot);
    return true;
}

void session_say_content(struct session *s, struct slot *slot)
{
    bool lone = slot->decided; /* refused before: RFC 2920 3.1, a 354 without a recipient is answered by a lone dot */
    if (!lone) {
        if (outbox_empty(&s->outbox))
            s->write_since_ms = s->now_ms;
        queue_content(s, slot, slot->has_dots);
    }
    if (!say_plain(s, COMMAND_DOT))
        return;
    if (!lone)
        slot->content_end = s->outbox.queued;
    expect(s, STEP_CONTENT, slot);
    slot->data_ended = true;
    if (s->newest == slot)
        s->clean = true;
}

void session_say_next(struct session *s, struct slot *slot, enum smtp_step after)
{
    if (s->peer_closing)
        return;
    if (after == STEP_RSET)
        (void)say_mail(s, slot);
    else if (after == STEP_MAIL)
        (void)say_rcpt(s, slot);
    else
        (void)say_data(s, slot);
}

static void begin(struct session *s, struct slot *slot)
{
    bool reset = !s->clean;
    slot->begun = true;
    slot->begun_ms = s->now_ms;
    s->newest = slot;
    s->clean = false;
    if (reset) {
        if (!say_plain(s, COMMAND_RSET))
            return;
        expect(s, STEP_RSET, slot);
        if (!s->pipelining)
            return;
    }
    if (say_mail(s, slot) && s->pipelining && say_rcpt(s, slot))
        (void)say_data(s, slot);
}

static bool may_begin(const struct session *s, uint32_t index)
{
    while (index > 0 && slot_at(s, index - 1)->done)
        index--;
    if (index == 0)
        return true;
    const struct slot *before = slot_at(s, index - 1);
    if (!s->pipelining || !before->begun)
        return false;
    /* Behind DATA nothing may be sent before its reply; behind the end of the data and behind BDAT the next envelope
     * may. */
    return s->chunking || before->data_ended;
}

/* QUIT may be the last command of a group (RFC 2920 3.1): it rides behind the last content and saves a round trip of a
 * connection's place. */
static bool may_quit(const struct session *s)
{
    if (s->slot_count == 0)
        return true;
    const struct slot *last = slot_at(s, s->slot_count - 1);
    return s->pipelining && last->begun && (s->chunking || last->data_ended);
}

void session_advance(struct session *s)
{
    if (s->state != STATE_READY || s->peer_closing)
        return;
    for (uint32_t i = 0; i < s->slot_count && s->state == STATE_READY; i++) {
        struct slot *slot = slot_at(s, i);
        if (slot->begun || slot->done)
            continue;
        if (!may_begin(s, i))
            break;
        begin(s, slot);
    }
    if (s->state == STATE_READY && s->want_quit && may_quit(s)) {
        s->state = STATE_QUITTING;
        if (say_plain(s, COMMAND_QUIT))
            expect(s, STEP_QUIT, NULL);
    }
}

void session_cut_output(struct session *s)
{
    outbox_cut(&s->outbox);
    while (s->expect_count > 0) {
        struct expect *last = expect_at(s, s->expect_count - 1);
        if (last->end <= s->outbox.written)
            break;
        s->expect_count--;
        struct slot *slot = last->slot;
        if (slot != NULL && --slot->pending == 0 && (slot->decided || slot->back))
            slot->done = true;
    }
}
