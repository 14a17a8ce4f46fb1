/*
 * test_session_property.c - random scripts of replies and drops: the session's record must equal the receiver's.
 *
 * For every message and every connection: DELIVERED exactly when the receiver took it (and could say so), a refusal or
 * "back" only when it did not, UNCERTAIN is allowed either way. And the client never breaks the protocol first.
 */
#include "engine/smtp/session.h"
#include "tests/unit/engine/receiver.h"

#define MESSAGES 24

static const char *const contents[] = {
    "Subject: a\r\n\r\nhello\r\n",      ".\r\n", "..\r\n.\r\n",
    "x\r\n.\r\nMAIL FROM:<evil@x>\r\n", "\r\n",  "Subject: b\r\n\r\n.line\r\n..line\r\nend.\r\n",
};

struct world {
    uint64_t *seed;
    struct session *session;
    struct receiver *receiver;
    struct buffer back; /* replies on their way */
    char rcpt[MESSAGES][32];
    bool ended[MESSAGES], inside[MESSAGES];
    uint32_t taken_before[MESSAGES];
    size_t turn, outcomes, uncertain;
    bool over;
};

static void check_event(struct world *w, const struct session_event *event)
{
    if (event->kind == SESSION_ENDED) {
        w->over = true;
        return;
    }
    size_t number = (size_t)(uintptr_t)event->tag;
    assert_true(number < MESSAGES && w->inside[number]);
    w->inside[number] = false;
    bool taken = w->receiver->taken[number] > w->taken_before[number];
    w->taken_before[number] = w->receiver->taken[number];
    if (event->kind == SESSION_BACK) {
        assert_false(taken);
        return;
    }
    assert_false(w->ended[number]);
    w->ended[number] = true;
    w->outcomes++;
    switch (event->outcome->class_) {
    case OUTCOME_DELIVERED:
        assert_true(taken);
        break;
    case OUTCOME_TEMPORARY:
    case OUTCOME_PERMANENT:
        assert_false(taken);
        break;
    case OUTCOME_UNCERTAIN:
        w->uncertain++;
        break;
    default:
        fail_msg("unexpected class %d", event->outcome->class_);
    }
}

static void take_events(struct world *w)
{
    struct session_event event;
    while (session_next(w->session, &event))
        check_event(w, &event);
}

static void give_some(struct world *w)
{
    while (session_room(w->session) > 0 && random_below(w->seed, 4) != 0) {
        size_t number = MESSAGES;
        for (size_t i = 0; i < MESSAGES; i++) {
            if (!w->ended[i] && !w->inside[i])
                number = i;
        }
        if (number == MESSAGES)
            return;
        const char *content = contents[number % countof(contents)];
        struct session_message message = {.mail_from = "b@c.example",
                                          .rcpt_to = w->rcpt[number],
                                          .data = content,
                                          .size_bytes = strlen(content),
                                          .tag = (void *)(uintptr_t)number};
        w->inside[number] = true;
        session_give(w->session, &message, (int64_t)w->turn);
        take_events(w);
    }
}

static void write_some(struct world *w)
{
    struct iovec pieces[6];
    size_t count = session_output(w->session, pieces, 1 + random_below(w->seed, countof(pieces))), total = 0;
    for (size_t i = 0; i < count; i++)
        total += pieces[i].iov_len;
    if (total == 0)
        return;
    size_t take = random_below(w->seed, 2) == 0 ? total : 1 + random_below(w->seed, total), left = take;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t part = MIN_OF(left, pieces[i].iov_len);
        buffer_append(&w->receiver->in, pieces[i].iov_base, part);
        left -= part;
    }
    session_wrote(w->session, take, (int64_t)w->turn);
}

static void hear_some(struct world *w, size_t limit)
{
    size_t take = MIN_OF(limit, w->back.len), at = 0;
    while (at < take) {
        size_t used = session_feed(w->session, w->back.data + at, take - at, (int64_t)w->turn);
        take_events(w);
        if (used == 0)
            break;
        at += used;
    }
    buffer_consume(&w->back, take);
}

/* The connection ends; sometimes what was on its way is lost with it. */
static void cut(struct world *w, bool may_lose)
{
    if (may_lose && random_below(w->seed, 2) == 0 && w->back.len > 0)
        hear_some(w, random_below(w->seed, w->back.len));
    else
        hear_some(w, w->back.len);
    session_lost(w->session, random_below(w->seed, 2) == 0 ? NULL : "Connection reset by peer", (int64_t)w->turn);
    take_events(w);
}

static void one_connection(struct world *w, const struct session_options *options)
{
    struct receiver *r = w->receiver;
    size_t cut_at = random_below(w->seed, 3) == 0 ? random_below(w->seed, 400) : SIZE_MAX;
    receiver_reset(r);
    r->in_data = r->closed = r->spoke_nonsense = r->said_421 = false;
    r->chunk_left = 0;
    buffer_clear(&r->in);
    buffer_clear(&r->out);
    buffer_clear(&r->content);
    buffer_clear(&w->back);
    w->over = false;
    w->session = session_create(options, 0);
    assert_non_null(w->session);
    receiver_say(r, "220 model");
    for (w->turn = 0; !w->over && w->turn < 5000; w->turn++) {
        size_t what = random_below(w->seed, 4);
        if (what == 0)
            give_some(w);
        else if (what == 1)
            write_some(w);
        else if (what == 2)
            receiver_work(r, 1 + random_below(w->seed, 8));
        else
            hear_some(w, random_below(w->seed, 2) == 0 ? SIZE_MAX : 1 + random_below(w->seed, 40));
        buffer_append(&w->back, buffer_text(&r->out), r->out.len);
        buffer_clear(&r->out);
        /* A server that says 421 without closing and then dies in silence is beyond what can be known. */
        if (!w->over && ((w->turn == cut_at && !r->said_421) || r->closed))
            cut(w, !r->said_421);
        if (!w->over && (w->outcomes == MESSAGES || random_below(w->seed, 300) == 0))
            session_quit(w->session, (int64_t)w->turn);
    }
    if (!w->over) {
        session_lost(w->session, "end of the test", (int64_t)w->turn);
        take_events(w);
    }
    assert_true(w->over);
    if (r->violation != NULL)
        fail_msg("the client broke the protocol: %s", r->violation);
    session_free(w->session);
    for (size_t i = 0; i < MESSAGES; i++)
        assert_false(w->inside[i]);
}

static void run_world(uint64_t *seed, bool strange)
{
    struct config_timeouts timeouts = TEST_TIMEOUTS;
    uint32_t taken[MESSAGES] = {0};
    const char *wanted[MESSAGES];
    struct receiver receiver = {.seed = seed,
                                .count = MESSAGES,
                                .taken = taken,
                                .contents = wanted,
                                .pipelining = random_below(seed, 4) != 0,
                                .chunking = random_below(seed, 2) == 0,
                                .strange = strange,
                                .trouble = (uint32_t)random_below(seed, 25)};
    struct session_options options = {.ehlo_name = "c.example",
                                      .mx_host = "m",
                                      .source = "",
                                      .timeouts = &timeouts,
                                      .depth = 1 + (uint32_t)random_below(seed, 12)};
    struct world world = {.seed = seed, .receiver = &receiver};
    for (size_t i = 0; i < MESSAGES; i++) {
        (void)snprintf(world.rcpt[i], sizeof world.rcpt[i], "r%zu@site.example", i);
        wanted[i] = contents[i % countof(contents)];
    }
    for (int connections = 0; world.outcomes < MESSAGES && connections < 200; connections++)
        one_connection(&world, &options);
    assert_int_equal(world.outcomes, MESSAGES);
    buffer_finish(&receiver.in);
    buffer_finish(&receiver.out);
    buffer_finish(&receiver.content);
    buffer_finish(&world.back);
}

static void record_equals_the_receivers(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 3000; round++) {
        uint64_t seed = round * UINT64_C(0x9E3779B97F4A7C15);
        run_world(&seed, false);
    }
}

static void record_equals_the_receivers_that_talks_nonsense(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 3000; round++) {
        uint64_t seed = round * UINT64_C(0xD1B54A32D192ED03);
        run_world(&seed, true);
    }
}

/* Whatever a server says, in whatever pieces: the session never crashes and every message ends once. */
static void random_servers(void **state)
{
    (void)state;
    static const char *const lines[] = {"220 a\r\n",
                                        "250 a\r\n",
                                        "250-PIPELINING\r\n",
                                        "250-a\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                                        "354 a\r\n",
                                        "421 a\r\n",
                                        "550 a\r\n",
                                        "503 a\r\n",
                                        "452-a\r\n452 b\r\n",
                                        "2",
                                        "\r\n",
                                        "500 a\r\n"};
    struct config_timeouts timeouts = TEST_TIMEOUTS;
    uint64_t seed = 99;
    for (int round = 0; round < 20000; round++) {
        struct session_options options = {
            .ehlo_name = "c.example", .mx_host = "m", .source = "", .timeouts = &timeouts, .depth = 4};
        struct session *session = session_create(&options, 0);
        assert_non_null(session);
        size_t given = 0, back = 0;
        struct session_event event;
        bool over = false;
        for (int step = 0; step < 60; step++) {
            struct iovec piece;
            const char *line = step == 0   ? "220 a\r\n"
                               : step == 1 ? lines[3]
                                           : lines[random_below(&seed, countof(lines))];
            if (session_output(session, &piece, 1) > 0 && random_below(&seed, 8) != 0)
                session_wrote(session, piece.iov_len, step);
            (void)session_feed(session, line, strlen(line), step);
            while (session_next(session, &event)) {
                back += event.kind != SESSION_ENDED;
                over = over || event.kind == SESSION_ENDED;
            }
            while (session_room(session) > 0) {
                struct session_message message = {
                    .mail_from = "", .rcpt_to = "r@s.example", .data = "a\r\n", .size_bytes = 3};
                session_give(session, &message, step);
                given++;
            }
        }
        session_lost(session, NULL, 60);
        while (session_next(session, &event)) {
            back += event.kind != SESSION_ENDED;
            over = over || event.kind == SESSION_ENDED;
        }
        assert_true(over);
        assert_int_equal(given, back);
        session_free(session);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_equals_the_receivers),
        cmocka_unit_test(record_equals_the_receivers_that_talks_nonsense),
        cmocka_unit_test(random_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
