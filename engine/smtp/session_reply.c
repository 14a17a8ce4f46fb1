/*
 * session_reply.c - what a reply does to the session and to the message whose command it answers.
 *
 * A slot that was refused early still waits for the replies to its commands that are already out; they decide nothing
 * any more. After a 421 nothing more is said, but replies that still come are believed, in order; only when the server
 * then closes, as it announced, is it certain that it took nothing else.
 */
#include "engine/smtp/session_private.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static void note_refusal(struct session *s, const struct reply *reply)
{
    if (reply->code < 400)
        return;
    if (s->peer_closing) /* behind a 421 come 503s: it is the 421 that tells */
        return;
    (void)snprintf(s->last_refusal, sizeof s->last_refusal, "%u %s%s%.200s", reply->code, reply->enhanced,
                   reply->enhanced[0] != '\0' ? " " : "", reply->text);
    str_make_line(s->last_refusal);
}

void session_finish_by_reply(struct session *s, enum session_end end, enum smtp_step step, const struct reply *reply)
{
    session_finish(s, end, verdict_stage(step), reply->code, reply->enhanced, reply->text);
}

static bool verdict_is_no(enum verdict verdict)
{
    return verdict == VERDICT_TEMPORARY || verdict == VERDICT_PERMANENT;
}

static enum outcome_class class_of(enum verdict verdict)
{
    return verdict == VERDICT_PERMANENT ? OUTCOME_PERMANENT : OUTCOME_TEMPORARY;
}

/* The head's reply cannot be believed. `reply` NULL: it could not even be read. */
static void lose_step(struct session *s, const struct expect *e, const struct reply *reply, const char *fault)
{
    struct slot *slot = e->slot;
    enum outcome_stage stage = verdict_stage(e->step);
    char text[320];
    (void)snprintf(text, sizeof text, "senseless reply to %s: %.200s", verdict_step_name(e->step),
                   reply != NULL ? reply->text : fault);
    if (slot != NULL && !slot->back) {
        bool final_step = e->step == STEP_BDAT || e->step == STEP_CONTENT;
        /* 220 to the end of the content, or what cannot be read: it may be taken all the same. */
        bool claims = reply == NULL || reply->code / 100 == 2;
        bool uncertain = slot_content_is_out(s, slot) && (!final_step || claims);
        slot_decide(slot, uncertain ? OUTCOME_UNCERTAIN : OUTCOME_TEMPORARY, stage, reply, text);
    }
    bool before_ready = s->state < STATE_READY;
    enum session_end end = before_ready ? SESSION_END_REFUSED : SESSION_END_PROTOCOL;
    if (e->step == STEP_STARTTLS)
        end = SESSION_END_TLS; /* nobody knows now what the next byte will be */
    session_finish(s, end, stage, reply != NULL ? reply->code : 0, reply != NULL ? reply->enhanced : "", text);
}

/* MAIL, RCPT, RSET in the order of the transaction. */
static void on_envelope(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply)
{
    struct slot *slot = e->slot;
    if (verdict_is_no(verdict)) {
        slot_decide(slot, class_of(verdict), verdict_stage(e->step), reply, reply->text);
        return;
    }
    if (e->step == STEP_MAIL)
        slot->mail_ok = true;
    if (!s->pipelining && !slot->decided)
        session_say_next(s, slot, e->step);
}

static void on_content(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply)
{
    struct slot *slot = e->slot;
    if (verdict == VERDICT_UNKNOWN && !slot->decided) {
        slot->back = true; /* the bytes of the chunk are now being read as commands: only a new connection helps */
        session_finish_by_reply(s, SESSION_END_CHUNKING, e->step, reply);
        return;
    }
    if (verdict != VERDICT_OK) {
        slot_decide(slot, class_of(verdict), STAGE_CONTENT, reply, reply->text);
        return;
    }
    if (slot->decided && e->step == STEP_BDAT) {
        lose_step(s, e, reply, NULL); /* taken although refused: whose reply is that? */
        return;
    }
    if (!slot->decided) {
        s->accepted++;
        slot_decide(slot, OUTCOME_DELIVERED, STAGE_CONTENT, reply, reply->text);
    }
}

static void on_data(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply)
{
    if (verdict_is_no(verdict))
        slot_decide(e->slot, class_of(verdict), STAGE_DATA, reply, reply->text);
    else if (s->peer_closing)
        e->slot->back = !e->slot->decided;
    else
        session_say_content(s, e->slot);
}

static void on_transaction(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply)
{
    struct slot *slot = e->slot;
    slot->heard = true;
    if (e->step == STEP_DATA)
        on_data(s, e, verdict, reply);
    else if (e->step == STEP_BDAT || e->step == STEP_CONTENT)
        on_content(s, e, verdict, reply);
    else
        on_envelope(s, e, verdict, reply);
    if (slot->pending > 0 || !(slot->decided || slot->back))
        return;
    slot->done = true;
    s->proved = true;
    if (s->newest == slot && (slot->class_ == OUTCOME_DELIVERED || !slot->mail_ok || slot->data_ended))
        s->clean = true;
}

/* 421: the server will close. Its answer to the command that it answers stands; what is behind waits for the closing.
 */
static void on_closing(struct session *s, const struct expect *e, const struct reply *reply)
{
    if (e->step <= STEP_AUTH || e->step == STEP_QUIT) {
        session_finish_by_reply(s, e->step == STEP_QUIT ? SESSION_END_QUIT : SESSION_END_REFUSED, e->step, reply);
        return;
    }
    struct slot *slot = e->slot;
    bool never_said = e->end > s->outbox.written;
    bool not_begun = e->step == STEP_RSET || e->step == STEP_MAIL;
    if (!s->peer_closing)
        s->closing_since_ms = s->now_ms;
    s->peer_closing = true;
    /* "Too many messages on this connection" is no verdict on the message that came one too late. */
    if (!slot->decided && !slot->back) {
        if (never_said || (not_begun && s->accepted > 0))
            slot->back = true;
        else
            slot_decide(slot, OUTCOME_TEMPORARY, verdict_stage(e->step), reply, reply->text);
    }
    slot->heard = true;
    if (slot->pending == 0)
        slot->done = true;
    session_cut_output(s);
    s->why.code = reply->code;
    if (s->expect_count == 0)
        session_finish_by_reply(s, SESSION_END_CLOSING, e->step, reply);
}

static void on_echo(struct slot *slot)
{
    slot->heard = true;
    if (slot->pending == 0)
        slot->done = true;
}

static struct expect pop_expect(struct session *s)
{
    struct expect e = *expect_at(s, 0);
    s->expect_first = (s->expect_first + 1) % s->expect_capacity;
    s->expect_count--;
    if (e.slot != NULL) {
        e.slot->pending--;
        e.slot->times_ms[e.step - STEP_RSET] = (uint32_t)MAX_OF(s->now_ms - e.slot->begun_ms, 1);
    } else if (e.step < STEP_RSET && e.step != STEP_STARTTLS) {
        session_note_time(s, verdict_stage(e.step));
    }
    s->reply_since_ms = s->now_ms;
    return e;
}

/* A reply to a command of which the last byte has not left. */
static void on_premature(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply)
{
    bool content = e->step == STEP_BDAT || e->step == STEP_CONTENT;
    if (content && (verdict_is_no(verdict) || verdict == VERDICT_UNKNOWN)) {
        /* It need not hear the rest to refuse (552), but we cannot stop inside a content: the connection is of no more
         * use. */
        slot_decide(e->slot, class_of(verdict), STAGE_CONTENT, reply, reply->text);
        session_finish_by_reply(s, SESSION_END_LOST, e->step, reply);
        return;
    }
    lose_step(s, e, reply, NULL);
}

void session_on_reply(struct session *s, const struct reply *reply)
{
    note_refusal(s, reply);
    if (s->expect_count == 0) { /* nothing was asked */
        bool closing = reply->code == 421;
        session_finish_by_reply(s, closing ? SESSION_END_CLOSING : SESSION_END_PROTOCOL, STEP_QUIT, reply);
        return;
    }
    struct expect e = pop_expect(s);
    enum verdict verdict = verdict_of(e.step, reply->code);
    if (e.slot != NULL && e.slot->decided && reply->code >= 400 && verdict != VERDICT_CLOSING)
        verdict = VERDICT_PERMANENT; /* refused before: 503, 554 "no valid recipients" and their like are in order */
    bool echo = s->peer_closing && e.slot != NULL && e.slot->back && reply->code >= 400;
    if (verdict == VERDICT_CLOSING)
        on_closing(s, &e, reply);
    else if (echo)
        on_echo(e.slot); /* the rest of the transaction whose MAIL the 421 answered */
    else if (e.end > s->outbox.written)
        on_premature(s, &e, verdict, reply);
    else if (verdict == VERDICT_SENSELESS || (e.step == STEP_RSET && verdict != VERDICT_OK))
        lose_step(s, &e, reply, NULL);
    else if (e.slot != NULL)
        on_transaction(s, &e, verdict, reply);
    else if (e.step == STEP_QUIT)
        session_finish_by_reply(s, SESSION_END_QUIT, e.step, reply);
    else if (e.step == STEP_STARTTLS)
        session_on_starttls(s, verdict, reply);
    else if (e.step == STEP_AUTH)
        session_on_auth(s, verdict, reply);
    else
        session_on_hello(s, &e, verdict, reply);
    if (s->state == STATE_OVER)
        return;
    if (s->peer_closing && s->expect_count == 0)
        session_finish(s, SESSION_END_CLOSING, STAGE_NONE, 421, "", s->last_refusal);
    else
        session_advance(s);
}

void session_on_garbage(struct session *s, const char *fault)
{
    if (s->expect_count == 0) {
        session_finish(s, SESSION_END_PROTOCOL, STAGE_NONE, 0, "", fault);
        return;
    }
    struct expect e = pop_expect(s);
    lose_step(s, &e, NULL, fault);
}
