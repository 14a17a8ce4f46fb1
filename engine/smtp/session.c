/*
 * session.c - the session's door: birth, feeding, time, events.
 *
 * How a session can end, and what that means for the messages inside, in order of the slots:
 *   decided                         -> OUTCOME as decided
 *   end of content out, 421 before  -> BACK: the server said that it closes, and closed, without another reply
 *   end of content out              -> OUTCOME UNCERTAIN (RFC 1047): no one can know
 *   anything else                   -> BACK; charged only to the first one, whose reply was awaited, and only when the
 * connection was lost, and not when a used connection died before it said a word about this message (the usual race
 * with a server that closes idle connections)
 */
#include "engine/smtp/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/smtp/command.h"
#include "engine/smtp/session_private.h"

/* Replies one message can wait for: RSET, MAIL, RCPT and DATA; CONTENT comes in DATA's place. */
#define EXPECTS_PER_SLOT 4
#define PIECES_PER_SLOT 3

struct session *session_create(const struct session_options *options, int64_t now_ms)
{
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->options = *options;
    s->options.depth = MIN_OF(MAX_OF(options->depth, 1u), (uint32_t)SESSION_DEPTH_MAX);
    s->expect_capacity = s->options.depth * EXPECTS_PER_SLOT + 4;
    s->slots = calloc(s->options.depth, sizeof *s->slots);
    s->expects = calloc(s->expect_capacity, sizeof *s->expects);
    if (outbox_init(&s->outbox, s->options.depth * PIECES_PER_SLOT + 4) < 0 || s->slots == NULL || s->expects == NULL) {
        session_free(s);
        return NULL;
    }
    reply_parser_init(&s->parser);
    (void)str_copy(s->outcome.mx_host, sizeof s->outcome.mx_host, options->mx_host);
    (void)str_copy(s->outcome.source, sizeof s->outcome.source, options->source);
    (void)str_copy(s->outcome.address, sizeof s->outcome.address, options->address != NULL ? options->address : "");
    s->why = s->outcome;
    s->now_ms = s->reply_since_ms = s->write_since_ms = now_ms;
    s->begun_ms = options->connecting_ms != 0 ? options->connecting_ms : now_ms;
    session_note_time(s, STAGE_CONNECT);
    *expect_at(s, s->expect_count++) = (struct expect){.step = STEP_GREETING};
    s->state = options->tls == SESSION_TLS_IMPLICIT ? STATE_SECURING : STATE_GREETING;
    return s;
}

void session_free(struct session *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->slot_count; i++)
        free(slot_at(s, i)->text);
    sasl_free(s->sasl);
    outbox_finish(&s->outbox);
    free(s->slots);
    free(s->expects);
    free(s);
}

void slot_decide(struct slot *slot, enum outcome_class class_, enum outcome_stage stage, const struct reply *reply,
                 const char *text)
{
    if (slot->decided)
        return;
    slot->decided = true;
    slot->class_ = class_;
    slot->stage = stage;
    slot->code = reply != NULL ? reply->code : 0;
    (void)str_copy(slot->enhanced, sizeof slot->enhanced, reply != NULL ? reply->enhanced : "");
    slot->text = str_dup_len(text, strnlen(text, sizeof((struct outcome *)0)->text));
}

static uint32_t span_ms(int64_t from_ms, int64_t to_ms)
{
    return (uint32_t)MIN_OF(MAX_OF(to_ms - from_ms, 0), (int64_t)UINT32_MAX);
}

void session_note_time(struct session *s, enum outcome_stage stage)
{
    s->outcome.times_ms[stage] = s->why.times_ms[stage] = MAX_OF(span_ms(s->begun_ms, s->now_ms), 1u);
}

void session_note_tls(struct session *s, const char *version, const char *cipher)
{
    (void)str_copy(s->outcome.tls_version, sizeof s->outcome.tls_version, version);
    (void)str_copy(s->outcome.tls_cipher, sizeof s->outcome.tls_cipher, cipher);
    memcpy(s->why.tls_version, s->outcome.tls_version, sizeof s->why.tls_version);
    memcpy(s->why.tls_cipher, s->outcome.tls_cipher, sizeof s->why.tls_cipher);
}

static void set_text(struct outcome *outcome, const char *text)
{
    (void)str_copy(outcome->text, sizeof outcome->text, text);
    str_make_line(outcome->text);
}

void session_finish(struct session *s, enum session_end end, enum outcome_stage stage, uint16_t code,
                    const char *enhanced, const char *text)
{
    if (s->state == STATE_OVER)
        return;
    s->state = STATE_OVER;
    s->end = end;
    s->why.class_ = OUTCOME_TRANSPORT;
    s->why.stage = stage;
    s->why.code = code;
    (void)str_copy(s->why.enhanced, sizeof s->why.enhanced, enhanced);
    set_text(&s->why, text);
    s->expect_count = 0;
    outbox_cut(&s->outbox);
}

size_t session_feed(struct session *s, const char *bytes, size_t len, int64_t now_ms)
{
    if (s->state == STATE_OVER)
        return 0;
    s->now_ms = now_ms;
    if (s->state == STATE_SECURING) {
        session_finish(s, SESSION_END_PROTOCOL, STAGE_TLS, 0, "", "the server sent bytes behind its reply to STARTTLS");
        return len;
    }
    size_t used = 0;
    int status = reply_feed(&s->parser, bytes, len, &used);
    if (status == REPLY_COMPLETE) {
        session_on_reply(s, &s->parser.reply);
    } else if (status < 0) {
        session_on_garbage(s, s->parser.fault);
        return len;
    }
    return used;
}

uint32_t session_room(const struct session *s)
{
    if (!session_ready(s))
        return 0;
    uint32_t limit = s->proved ? s->limit : 1;
    return limit > s->slot_count ? limit - s->slot_count : 0;
}

/* A reason why this server cannot be told of this message, decided here and now; NULL = it can. */
static const char *unfit(const struct session *s, const struct session_message *m, struct slot *slot)
{
    slot->class_ = OUTCOME_PERMANENT;
    slot->stage = STAGE_MAIL;
    const char *text = NULL;
    const char *enhanced = "";
    bool utf8_path =
        command_check_path(m->rcpt_to, false, false) < 0 || command_check_path(m->mail_from, false, true) < 0;
    if (command_check_path(m->rcpt_to, m->smtputf8, false) < 0 ||
        command_check_path(m->mail_from, m->smtputf8, true) < 0) {
        text = "an address of the envelope cannot be said in SMTP";
        slot->class_ = OUTCOME_COMPOSE;
        slot->stage = STAGE_COMPOSE;
    } else if (outbox_scan(m->data, m->size_bytes, &slot->has_dots) < 0) {
        text = "the content has a line that does not end with CRLF, or a bare CR";
        slot->class_ = OUTCOME_COMPOSE;
        slot->stage = STAGE_COMPOSE;
    } else if ((m->smtputf8 || utf8_path) && !s->smtputf8) {
        text = "the server does not take UTF-8 addresses (SMTPUTF8)";
        enhanced = "5.6.7";
    } else if (m->eight_bit && !s->eight_bit_mime) {
        text = "the server does not take 8-bit content (8BITMIME)";
        enhanced = "5.6.3";
    } else if (s->size_limit > 0 && m->size_bytes > s->size_limit) {
        text = "the message is larger than the server's SIZE limit";
        enhanced = "5.3.4";
    }
    (void)str_copy(slot->enhanced, sizeof slot->enhanced, enhanced);
    return text;
}

void session_give(struct session *s, const struct session_message *message, int64_t now_ms)
{
    assure(session_room(s) > 0);
    s->now_ms = now_ms;
    struct slot *slot = slot_at(s, s->slot_count++);
    *slot = (struct slot){.m = *message, .begun_ms = now_ms};
    const char *text = unfit(s, message, slot);
    if (text != NULL) {
        slot->decided = slot->done = true;
        slot->text = str_dup(text);
        return;
    }
    session_advance(s);
}

bool session_withdraw(struct session *s, void **tag)
{
    if (s->slot_count == 0)
        return false;
    struct slot *slot = slot_at(s, s->slot_count - 1);
    if (slot->begun || slot->done)
        return false;
    s->slot_count--;
    *tag = slot->m.tag;
    return true;
}

size_t session_output(const struct session *s, struct iovec *iov, size_t max)
{
    return outbox_peek(&s->outbox, iov, max);
}

bool session_next_content_out(struct session *s, size_t bytes, void **tag)
{
    for (uint32_t i = 0; i < s->slot_count; i++) {
        struct slot *slot = slot_at(s, i);
        if (slot->out_told || slot->content_end == 0)
            continue;
        if (slot->content_end > s->outbox.written + bytes)
            return false;
        slot->out_told = true;
        *tag = slot->m.tag;
        return true;
    }
    return false;
}

void session_wrote(struct session *s, size_t bytes, int64_t now_ms)
{
    if (bytes == 0)
        return;
    s->now_ms = now_ms;
    uint64_t before = s->outbox.written;
    outbox_wrote(&s->outbox, bytes);
    s->write_since_ms = now_ms;
    /* The server's time for a reply runs from when it could have heard the command. */
    if (s->expect_count > 0) {
        uint64_t end = expect_at(s, 0)->end;
        if (end > before && end <= s->outbox.written)
            s->reply_since_ms = now_ms;
    }
}

void session_quit(struct session *s, int64_t now_ms)
{
    s->now_ms = now_ms;
    s->want_quit = true;
    if (s->state < STATE_READY)
        session_finish(s, SESSION_END_QUIT, STAGE_NONE, 0, "", "not needed any more");
    else
        session_advance(s);
}

void session_lost(struct session *s, const char *why, int64_t now_ms)
{
    s->now_ms = now_ms;
    if (s->state == STATE_SECURING) {
        session_not_secured(s, why != NULL ? why : "connection closed by the server in the TLS handshake", now_ms);
        return;
    }
    enum session_end end = SESSION_END_LOST;
    if (s->state == STATE_QUITTING && s->slot_count == 0)
        end = SESSION_END_QUIT;
    else if (s->peer_closing || (s->state == STATE_READY && s->slot_count == 0))
        end = SESSION_END_CLOSING;
    enum outcome_stage stage = s->expect_count > 0 ? verdict_stage(expect_at(s, 0)->step) : STAGE_NONE;
    char text[256];
    (void)snprintf(text, sizeof text, "%s while waiting for the reply to %s",
                   why != NULL ? why : "connection closed by the server",
                   s->expect_count > 0 ? verdict_step_name(expect_at(s, 0)->step) : "nothing");
    if (s->peer_closing)
        session_finish(s, end, stage, s->why.code, "", s->last_refusal);
    else
        session_finish(s, end, stage, 0, "", text);
}

static int64_t step_timeout_ms(const struct session *s, enum smtp_step step)
{
    const struct config_timeouts *t = s->options.timeouts;
    switch (step) {
    case STEP_GREETING:
        return t->greeting_ms;
    case STEP_EHLO:
    case STEP_HELO:
        return t->ehlo_ms;
    case STEP_RCPT:
        return t->rcpt_ms;
    case STEP_DATA:
        return t->data_ms;
    case STEP_BDAT:
    case STEP_CONTENT:
        return t->final_ms;
    case STEP_QUIT:
        return t->quit_ms;
    case STEP_AUTH:
    case STEP_STARTTLS:
    case STEP_RSET:
    case STEP_MAIL:
    case STEP_COUNT:
        break;
    }
    return t->mail_ms;
}

int64_t session_deadline_ms(const struct session *s)
{
    if (s->state == STATE_OVER)
        return INT64_MAX;
    if (s->state == STATE_SECURING)
        return s->reply_since_ms + s->options.timeouts->tls_ms;
    if (s->peer_closing)
        return s->closing_since_ms + s->options.timeouts->quit_ms;
    int64_t deadline = INT64_MAX;
    if (s->expect_count > 0 && expect_at(s, 0)->end <= s->outbox.written)
        deadline = s->reply_since_ms + step_timeout_ms(s, expect_at(s, 0)->step);
    if (!outbox_empty(&s->outbox))
        deadline = MIN_OF(deadline, s->write_since_ms + s->options.timeouts->block_ms);
    return deadline;
}

void session_expire(struct session *s, int64_t now_ms)
{
    if (now_ms < session_deadline_ms(s))
        return;
    s->now_ms = now_ms;
    if (s->state == STATE_SECURING) {
        session_not_secured(s, "timed out in the TLS handshake", now_ms);
        return;
    }
    if (s->peer_closing) { /* it said 421 and neither closes nor speaks: what has left may be taken yet */
        session_finish(s, SESSION_END_LOST, STAGE_NONE, 421, "", "the server said 421 but did not close");
        return;
    }
    bool replying = s->expect_count > 0 && expect_at(s, 0)->end <= s->outbox.written &&
                    now_ms >= s->reply_since_ms + step_timeout_ms(s, expect_at(s, 0)->step);
    session_lost(s, replying ? "timed out" : "timed out sending", now_ms);
}

/* What becomes of the first slot now that the session is over (see the head of this file). */
static void dispose(struct session *s, const struct slot *slot, struct session_event *event)
{
    if (slot->decided)
        return;
    if (!slot->back && slot_content_is_out(s, slot) && s->end != SESSION_END_CLOSING) {
        struct outcome *outcome = &s->outcome;
        outcome->class_ = OUTCOME_UNCERTAIN;
        outcome->stage = STAGE_CONTENT;
        outcome->code = 0;
        outcome->enhanced[0] = '\0';
        char text[sizeof outcome->text];
        (void)snprintf(text, sizeof text, "no reply to the end of the content: %.400s", s->why.text);
        set_text(outcome, text);
        s->charge_spent = true;
        return;
    }
    event->kind = SESSION_BACK;
    event->begun = slot->begun;
    event->outcome = &s->why;
    bool stale = s->accepted > 0 && !slot->heard;
    event->charged = slot->begun && !slot->back && s->end == SESSION_END_LOST && !s->charge_spent && !stale;
    s->charge_spent = true;
}

static void pop_slot(struct session *s)
{
    struct slot *slot = slot_at(s, 0);
    free(slot->text);
    slot->text = NULL;
    if (s->newest == slot)
        s->newest = NULL;
    s->slot_first = (s->slot_first + 1) % s->options.depth;
    s->slot_count--;
}

/* How long the message took, and each of its replies. */
static void set_times(struct session *s, const struct slot *slot)
{
    static const enum outcome_stage stages[] = {
        [STEP_MAIL - STEP_RSET] = STAGE_MAIL,       [STEP_RCPT - STEP_RSET] = STAGE_RCPT,
        [STEP_DATA - STEP_RSET] = STAGE_DATA,       [STEP_BDAT - STEP_RSET] = STAGE_CONTENT,
        [STEP_CONTENT - STEP_RSET] = STAGE_CONTENT,
    };
    uint32_t *times = s->outcome.times_ms;
    s->outcome.duration_ms = span_ms(slot->begun_ms, s->now_ms);
    for (enum outcome_stage stage = STAGE_NONE; stage < STAGE_COUNT; stage++) {
        if (stage >= STAGE_MAIL || s->times_told)
            times[stage] = 0;
    }
    for (size_t i = 0; i < countof(stages); i++) {
        if (stages[i] != STAGE_NONE && slot->times_ms[i] != 0)
            times[stages[i]] = slot->times_ms[i];
    }
    s->times_told |= slot->begun;
}

bool session_next(struct session *s, struct session_event *event)
{
    *event = (struct session_event){.kind = SESSION_OUTCOME, .outcome = &s->outcome};
    bool over = s->state == STATE_OVER;
    if (s->slot_count > 0 && (over || slot_at(s, 0)->done)) {
        struct slot *slot = slot_at(s, 0);
        event->tag = slot->m.tag;
        set_times(s, slot);
        if (slot->decided) {
            s->outcome.class_ = slot->class_;
            s->outcome.stage = slot->stage;
            s->outcome.code = slot->code;
            memcpy(s->outcome.enhanced, slot->enhanced, sizeof slot->enhanced);
            set_text(&s->outcome, slot->text != NULL ? slot->text : "");
        } else if (over) {
            dispose(s, slot, event);
        } else { /* done and back */
            event->kind = SESSION_BACK;
            event->begun = slot->begun;
            event->outcome = &s->why;
        }
        pop_slot(s);
        if (s->slot_count == 0 && !over)
            session_advance(s); /* a QUIT may have waited for this */
        return true;
    }
    if (s->state == STATE_SECURING && !s->starttls_told && s->options.tls != SESSION_TLS_IMPLICIT) {
        s->starttls_told = true;
        event->kind = SESSION_STARTTLS;
        return true;
    }
    if (!over || s->end_told)
        return false;
    s->end_told = true;
    event->kind = SESSION_ENDED;
    event->end = s->end;
    event->outcome = &s->why;
    return true;
}

bool session_ready(const struct session *s)
{
    return s->state == STATE_READY && !s->want_quit && !s->peer_closing;
}

uint32_t session_held(const struct session *s)
{
    return s->slot_count;
}

uint32_t session_accepted(const struct session *s)
{
    return s->accepted;
}

uint32_t session_depth(const struct session *s)
{
    return s->limit;
}

const char *session_last_refusal(const struct session *s)
{
    return s->last_refusal;
}
