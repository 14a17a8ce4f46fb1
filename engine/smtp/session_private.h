/*
 * session_private.h - the inside of a session, shared by session.c (door, time, events), session_send.c (what to say
 * next) and session_reply.c (what a reply does).
 *
 * Invariants: slots are in the order given and end in that order, because replies come in the order of commands.
 * `expects` lists every command that was queued and not answered. A slot is `done` when all its replies are in, or when
 * it could not be said at all.
 */
#ifndef POSTHASTE_ENGINE_SMTP_SESSION_PRIVATE_H
#define POSTHASTE_ENGINE_SMTP_SESSION_PRIVATE_H

#include "engine/smtp/outbox.h"
#include "engine/smtp/session.h"
#include "engine/smtp/verdict.h"

enum session_state {
    STATE_SECURING,
    STATE_GREETING,
    STATE_HELLO,
    STATE_LOGIN,
    STATE_READY,
    STATE_QUITTING,
    STATE_OVER
};

struct slot {
    struct session_message m;
    bool begun;       /* a command of its is queued or out */
    bool has_dots;    /* a line of the content begins with a dot */
    bool mail_ok;     /* MAIL was accepted: a transaction is open at the server */
    bool heard;       /* at least one reply of its own came */
    bool out_told;    /* session_next_content_out() named it */
    bool data_ended;  /* DATA: end of data (or the lone dot) is queued, so the transaction ends whatever the reply */
    bool decided;     /* class_, stage, code, enhanced and text are the outcome */
    bool back;        /* goes back, not to blame */
    bool done;        /* nothing more will happen to it */
    uint32_t pending; /* replies it waits for */
    uint64_t content_end; /* position behind the end of its content; 0 = not queued */
    int64_t begun_ms;
    uint32_t times_ms[STEP_COUNT - STEP_RSET]; /* of its replies, from begun_ms on; 0 = has not come */
    enum outcome_class class_;
    enum outcome_stage stage;
    uint16_t code;
    char enhanced[12];
    char *text; /* own; NULL = none, or no memory for it */
};

struct expect {
    enum smtp_step step;
    struct slot *slot; /* NULL: belongs to the connection */
    uint64_t end;      /* position behind the command (and its chunk) */
};

struct session {
    struct session_options options;
    enum session_state state;
    enum session_end end;
    int64_t now_ms;         /* as last told */
    int64_t begun_ms;       /* of the connection */
    int64_t reply_since_ms; /* since when the first expected reply is waited for */
    int64_t write_since_ms; /* since when output makes no progress */
    int64_t closing_since_ms;
    /* what the server offers */
    bool pipelining, chunking, eight_bit_mime, smtputf8, size_offered, starttls;
    uint64_t size_limit; /* 0 = none told */
    char auth[256];      /* mechanisms of AUTH, "" = not offered */
    struct sasl *sasl;   /* while logging in */
    bool starttls_told;  /* the event SESSION_STARTTLS was given */
    uint32_t limit;      /* messages outstanding at most, once proved */
    bool proved;         /* a message of this connection was answered in good order */
    bool clean;          /* behind what is queued no transaction is open */
    bool want_quit, peer_closing, end_told, charge_spent;
    bool times_told; /* of the connection: an outcome had them */
    uint32_t accepted;
    struct slot *newest; /* the slot begun last */
    struct slot *slots;  /* ring of options.depth */
    uint32_t slot_first, slot_count;
    struct expect *expects; /* ring */
    uint32_t expect_capacity, expect_first, expect_count;
    struct outbox outbox;
    struct outcome outcome; /* scratch for events; mx_host and source are set once */
    struct outcome why;     /* of the end */
    char last_refusal[256];
    struct reply_parser parser;
};

static inline struct slot *slot_at(const struct session *s, uint32_t index)
{
    return &s->slots[(s->slot_first + index) % s->options.depth];
}

static inline struct expect *expect_at(const struct session *s, uint32_t index)
{
    return &s->expects[(s->expect_first + index) % s->expect_capacity];
}

/* The whole content and its end are with the kernel: from here on the server may have taken it. */
static inline bool slot_content_is_out(const struct session *s, const struct slot *slot)
{
    return slot->content_end != 0 && s->outbox.written >= slot->content_end;
}

/* session.c */
void session_note_time(struct session *s, enum outcome_stage stage); /* of the connection: its reply has come now */
void session_finish(struct session *s, enum session_end end, enum outcome_stage stage, uint16_t code,
                    const char *enhanced, const char *text);
/* The first decision stands. `text` is copied. */
void slot_decide(struct slot *slot, enum outcome_class class_, enum outcome_stage stage, const struct reply *reply,
                 const char *text);

/* session_secure.c: between the first EHLO and the first MAIL */
void session_on_hello(struct session *s, const struct expect *e, enum verdict verdict, const struct reply *reply);
void session_on_starttls(struct session *s, enum verdict verdict, const struct reply *reply);
void session_on_auth(struct session *s, enum verdict verdict, const struct reply *reply);
void session_finish_by_reply(struct session *s, enum session_end end, enum smtp_step step, const struct reply *reply);

/* session_send.c */
void session_say_line(struct session *s, enum smtp_step step, const char *line); /* `line` is without CRLF, and safe */
void session_advance(struct session *s); /* begins what may begin, says QUIT when it is time */
void session_say_hello(struct session *s, bool extended);
void session_say_next(struct session *s, struct slot *slot,
                      enum smtp_step after);                    /* lock step: the command behind `after` */
void session_say_content(struct session *s, struct slot *slot); /* 354 came */
void session_cut_output(struct session *s); /* forgets unsent bytes and the replies they would have brought */

/* session_reply.c */
void session_on_reply(struct session *s, const struct reply *reply);
void session_on_garbage(struct session *s, const char *fault);

#endif
