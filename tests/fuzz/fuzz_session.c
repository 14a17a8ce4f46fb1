/*
 * fuzz_session.c - the whole session machine against any server: every message that was given ends exactly once, and
 * only a 2xx that came after its content was out makes it delivered.
 *
 * The first byte holds options (see options_of()). The rest is what the server says, and between it control bytes are
 * what else happens: \1 a message is given, \2 everything is written, \3 some bytes are, \4 time passes until a
 * deadline, \5 the handshake succeeds, \6 it fails, \7 we want to quit, \10 the connection is lost, \16 the newest
 * message is taken back.
 */
#include "engine/smtp/session.h"

#include "base/str.h"
#include "tests/fuzz/fuzz.h"

#define MESSAGES 40
#define CONTENT "Subject: x\r\n\r\n.dot\r\n"

enum action { GIVE = 1, WRITE, WRITE_SOME, WAIT, SECURED, NOT_SECURED, QUIT, LOST, WITHDRAW = 14 };

struct world {
    struct session *session;
    int64_t now_ms;
    size_t given, ended;
    bool inside[MESSAGES];
    size_t delivered;
    bool over, wants_tls;
};

static const struct config_timeouts timeouts = {.connect_ms = 1000,
                                                .tls_ms = 1000,
                                                .greeting_ms = 1000,
                                                .ehlo_ms = 1000,
                                                .mail_ms = 1000,
                                                .rcpt_ms = 1000,
                                                .data_ms = 1000,
                                                .block_ms = 1000,
                                                .final_ms = 1000,
                                                .quit_ms = 500};
static const struct credentials login = {.user = "user", .password = "pencil"};

static struct session_options options_of(uint8_t bits)
{
    static const uint32_t depths[] = {1, 2, 10, SESSION_DEPTH_MAX};
    return (struct session_options){
        .ehlo_name = "client.example",
        .mx_host = "mx.example",
        .source = "ip1",
        .timeouts = &timeouts,
        .depth = depths[bits & 3],
        .tls = (enum session_tls)((bits >> 2) & 3),
        .no_chunking = (bits & 16) != 0,
        .login = (bits & 32) != 0 ? &login : NULL,
        .login_clear = (bits & 64) != 0,
    };
}

static void take_events(struct world *w)
{
    struct session_event event;
    while (session_next(w->session, &event)) {
        assure(!w->over);
        if (event.kind == SESSION_ENDED) {
            w->over = true;
            assure(w->ended == w->given && event.end != SESSION_END_NONE);
        } else if (event.kind == SESSION_STARTTLS) {
            w->wants_tls = true;
        } else {
            size_t number = (size_t)(uintptr_t)event.tag;
            assure(number < MESSAGES && w->inside[number]);
            w->inside[number] = false;
            w->ended++;
            if (event.kind == SESSION_OUTCOME && event.outcome->class_ == OUTCOME_DELIVERED) {
                assure(event.outcome->code / 100 == 2 && event.outcome->stage == STAGE_CONTENT);
                w->delivered++;
            }
        }
    }
    assure(!w->over || w->delivered == session_accepted(w->session));
}

static void give(struct world *w)
{
    if (w->given == MESSAGES || session_room(w->session) == 0)
        return;
    struct session_message message = {.mail_from = "b@c.example",
                                      .rcpt_to = "a@d.example",
                                      .data = CONTENT,
                                      .size_bytes = sizeof CONTENT - 1,
                                      .tag = (void *)(uintptr_t)w->given};
    message.eight_bit = w->given % 7 == 3;
    w->inside[w->given++] = true;
    session_give(w->session, &message, w->now_ms);
}

static void write_out(struct world *w, size_t limit)
{
    struct iovec piece;
    while (limit > 0 && session_output(w->session, &piece, 1) == 1) {
        size_t part = MIN_OF(limit, piece.iov_len);
        assure(part > 0);
        session_wrote(w->session, part, w->now_ms);
        limit -= part;
    }
}

static void act(struct world *w, uint8_t action)
{
    void *tag;
    switch (action) {
    case GIVE:
        give(w);
        break;
    case WRITE:
        write_out(w, SIZE_MAX);
        break;
    case WRITE_SOME:
        write_out(w, 5);
        break;
    case WAIT:
        w->now_ms =
            MAX_OF(w->now_ms, session_deadline_ms(w->session) == INT64_MAX ? 0 : session_deadline_ms(w->session));
        session_expire(w->session, w->now_ms);
        break;
    case SECURED:
        session_secured(w->session, w->now_ms);
        break;
    case NOT_SECURED:
        if (w->wants_tls)
            session_not_secured(w->session, "no common cipher", w->now_ms);
        break;
    case QUIT:
        session_quit(w->session, w->now_ms);
        break;
    case LOST:
        session_lost(w->session, NULL, w->now_ms);
        break;
    case WITHDRAW:
        if (session_withdraw(w->session, &tag)) {
            w->inside[(size_t)(uintptr_t)tag] = false;
            w->ended++;
        }
        break;
    default:
        break;
    }
    take_events(w);
}

static bool is_action(uint8_t byte)
{
    return (byte >= GIVE && byte <= LOST) || byte == WITHDRAW;
}

/* The run of bytes up to the next action, as the loop feeds what one read brought. */
static void hear(struct world *w, const uint8_t *data, size_t size)
{
    char *bytes = fuzz_copy(data, size);
    size_t at = 0;
    while (at < size && !w->over) {
        size_t used = session_feed(w->session, bytes + at, size - at, w->now_ms);
        assure(used <= size - at);
        at += used;
        take_events(w);
        if (used == 0)
            break;
    }
    free(bytes);
}

int fuzz_one(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    struct session_options options = options_of(fuzz_byte(&input));
    struct world w = {.session = session_create(&options, 1), .now_ms = 1};
    assure(w.session != NULL);
    while (input.left > 0 && !w.over) {
        size_t run = 0;
        while (run < input.left && !is_action(input.at[run]))
            run++;
        if (run > 0)
            hear(&w, input.at, run);
        input.at += run;
        input.left -= run;
        if (input.left > 0 && !w.over)
            act(&w, fuzz_byte(&input));
    }
    if (!w.over) {
        session_lost(w.session, "given up", w.now_ms);
        take_events(&w);
    }
    assure(w.over && w.ended == w.given);
    session_free(w.session);
    return 0;
}
