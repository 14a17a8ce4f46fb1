/*
 * receiver.h - a model of an SMTP receiver for property tests: strict about sequence, moody about everything else.
 *
 * It reads what the client says, answers with random fates, and keeps the truth: how often it has taken which message,
 * and whether the client broke the protocol before the receiver did.
 */
#ifndef POSTHASTE_TESTS_UNIT_ENGINE_RECEIVER_H
#define POSTHASTE_TESTS_UNIT_ENGINE_RECEIVER_H

#include "base/buffer.h"
#include "base/clock.h"
#include "tests/unit/engine/unit.h"

struct receiver {
    uint64_t *seed;
    bool pipelining, chunking, strange; /* strange: also answers that make no sense */
    uint32_t trouble;                   /* percent of commands that do not go well */
    const char *after_ehlo;             /* said behind the reply to EHLO, then it closes; "" = nothing; or NULL */
    struct buffer in, out;
    bool mail_open, rcpt_ok, in_data, closed;
    bool spoke_nonsense, said_421;
    size_t chunk_left, number; /* BDAT; recipient's number */
    bool chunk_refused;
    struct buffer content;
    const char *violation;       /* what the client did wrong, or NULL */
    size_t count;                /* recipients r0@ .. r(count-1)@ exist */
    uint32_t *taken;             /* times taken, by recipient's number */
    int64_t *taken_us;           /* when, or NULL */
    const char *const *contents; /* what must arrive, by number, or NULL */
};

static inline void receiver_say(struct receiver *r, const char *text)
{
    buffer_append_str(&r->out, text);
    buffer_append(&r->out, "\r\n", 2);
}

enum fate { FATE_OK, FATE_TEMPORARY, FATE_PERMANENT, FATE_CLOSING, FATE_CLOSE, FATE_NONSENSE };

static inline enum fate receiver_fate(struct receiver *r)
{
    if (random_below(r->seed, 100) >= r->trouble)
        return FATE_OK;
    size_t which = random_below(r->seed, 10);
    if (which < 4)
        return FATE_TEMPORARY;
    if (which < 7)
        return FATE_PERMANENT;
    if (which < 8)
        return FATE_CLOSING;
    return which < 9 || !r->strange ? FATE_CLOSE : FATE_NONSENSE;
}

/* Answers by fate; true when the answer was the good one. */
static inline bool receiver_answer(struct receiver *r, const char *good)
{
    static const char *const nonsense[] = {"999 x", "25",           "banana",         "354 go",
                                           "221 x", "503 sequence", "250-a\r\n251 b", "220 hi"};
    switch (receiver_fate(r)) {
    case FATE_OK:
        receiver_say(r, good);
        return true;
    case FATE_TEMPORARY:
        receiver_say(r, "450-4.2.0 later\r\n450 4.2.0 much later");
        return false;
    case FATE_PERMANENT:
        receiver_say(r, "550 5.1.1 no");
        return false;
    case FATE_CLOSING:
        receiver_say(r, "421 4.3.2 closing");
        r->said_421 = true;
        r->closed = random_below(r->seed, 2) == 0; /* some say it and go on */
        return false;
    case FATE_NONSENSE:
        r->spoke_nonsense = true;
        receiver_say(r, nonsense[random_below(r->seed, countof(nonsense))]);
        return false;
    case FATE_CLOSE:
        break;
    }
    r->closed = true;
    return false;
}

static inline void receiver_reset(struct receiver *r)
{
    r->mail_open = r->rcpt_ok = false;
}

static inline void receiver_violation(struct receiver *r, const char *what)
{
    if (!r->spoke_nonsense && r->violation == NULL)
        r->violation = what;
}

static inline void receiver_content(struct receiver *r)
{
    if (!r->rcpt_ok) {
        receiver_say(r, "554 5.5.1 no valid recipients");
    } else {
        if (r->contents != NULL && strcmp(buffer_text(&r->content), r->contents[r->number]) != 0)
            receiver_violation(r, "content changed on its way");
        /* 354 at the end of data is nonsense too, and was not taken. */
        if (receiver_answer(r, "250 2.0.0 taken")) {
            r->taken[r->number]++;
            if (r->taken_us != NULL)
                r->taken_us[r->number] = clock_monotonic_us();
        }
    }
    receiver_reset(r);
    buffer_clear(&r->content);
}

static inline void receiver_command(struct receiver *r, const char *line)
{
    if (strncmp(line, "EHLO ", 5) == 0) {
        buffer_append_str(&r->out, "250-model\r\n");
        if (r->pipelining)
            buffer_append_str(&r->out, "250-PIPELINING\r\n");
        if (r->chunking)
            buffer_append_str(&r->out, "250-CHUNKING\r\n");
        receiver_say(r, "250 HELP");
        r->closed = r->after_ehlo != NULL;
        if (r->after_ehlo != NULL && r->after_ehlo[0] != '\0')
            receiver_say(r, r->after_ehlo);
    } else if (strncmp(line, "MAIL ", 5) == 0) {
        if (r->mail_open)
            receiver_violation(r, "nested MAIL");
        r->mail_open = receiver_answer(r, "250 ok");
    } else if (strncmp(line, "RCPT TO:<r", 10) == 0) {
        r->number = strtoul(line + 10, NULL, 10);
        if (r->number >= r->count)
            receiver_say(r, "550 5.1.1 unknown");
        else if (!r->mail_open)
            receiver_say(r, "503 5.5.1 need MAIL");
        else
            r->rcpt_ok = receiver_answer(r, "250 ok");
    } else if (strcmp(line, "DATA") == 0) {
        /* Some servers say 354 although no recipient is valid. */
        if (!r->rcpt_ok && random_below(r->seed, 2) == 0)
            receiver_say(r, "503 5.5.1 need RCPT");
        else
            r->in_data = receiver_answer(r, "354 go");
    } else if (strncmp(line, "BDAT ", 5) == 0) {
        r->chunk_left = strtoul(line + 5, NULL, 10);
    } else if (strcmp(line, "RSET") == 0) {
        receiver_reset(r);
        receiver_say(r, "250 reset");
    } else if (strcmp(line, "QUIT") == 0) {
        receiver_say(r, "221 bye");
        r->closed = true;
    } else {
        receiver_violation(r, "unknown command");
        receiver_say(r, "500 what");
    }
}

/* A line of DATA: undots it, notes whether it was the end. */
static inline void receiver_data_line(struct receiver *r, const char *line, size_t len)
{
    if (len == 1 && line[0] == '.') {
        r->in_data = false;
        receiver_content(r);
        return;
    }
    if (!r->rcpt_ok)
        receiver_violation(r, "content without a recipient");
    size_t skip = len > 0 && line[0] == '.' ? 1 : 0;
    buffer_append(&r->content, line + skip, len - skip);
    buffer_append(&r->content, "\r\n", 2);
}

/* Works on what has arrived, at most `steps` lines or chunks. */
static inline void receiver_work(struct receiver *r, size_t steps)
{
    while (steps-- > 0 && !r->closed && r->in.len > 0) {
        if (r->chunk_left > 0) {
            size_t take = MIN_OF(r->chunk_left, r->in.len);
            buffer_append(&r->content, r->in.data, take);
            buffer_consume(&r->in, take);
            r->chunk_left -= take;
            if (r->chunk_left == 0)
                receiver_content(r);
            continue;
        }
        const char *end = memmem(r->in.data, r->in.len, "\r\n", 2);
        if (end == NULL)
            return;
        size_t len = (size_t)(end - r->in.data);
        char line[600];
        if (len >= sizeof line) {
            receiver_violation(r, "line too long");
            len = sizeof line - 1;
        }
        memcpy(line, r->in.data, len);
        line[len] = '\0';
        buffer_consume(&r->in, (size_t)(end - r->in.data) + 2);
        if (r->in_data)
            receiver_data_line(r, line, len);
        else
            receiver_command(r, line);
    }
}

#endif
