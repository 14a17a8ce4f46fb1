/*
 * test_session.c - the session machine, ugly path by ugly path.
 */
#include "tests/unit/engine/talk.h"

#define READY(talk, depth, ehlo)                                                                                       \
    do {                                                                                                               \
        talk_begin(talk, depth);                                                                                       \
        talk_hear(talk, "220 mx.example ESMTP\r\n");                                                                   \
        talk_said(talk, "EHLO client.example\r\n");                                                                    \
        talk_hear(talk, ehlo);                                                                                         \
        talk_said(talk, "");                                                                                           \
        talk_became(talk, "");                                                                                         \
    } while (0)

/* Modes. */

static void lock_step_without_pipelining(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP_NOTHING);
    assert_int_equal(session_room(t.session), 1);
    talk_give(&t, 1);
    talk_said(&t, MAIL_LINE);
    talk_hear(&t, "250 ok\r\n");
    talk_said(&t, RCPT_LINE);
    talk_hear(&t, "250 ok\r\n");
    talk_said(&t, "DATA\r\n");
    talk_hear(&t, "354 go\r\n");
    talk_said(&t, CONTENT ".\r\n");
    assert_int_equal(session_room(t.session), 0);
    talk_hear(&t, "250 2.0.0 taken\r\n");
    talk_became(&t, "1=delivered/250");
    assert_int_equal(session_room(t.session), 1);
    talk_give(&t, 2);
    talk_said(&t, MAIL_LINE);
    talk_hear(&t, "550 no\r\n");
    talk_became(&t, "2=permanent/550");
    talk_give(&t, 3);
    talk_said(&t, MAIL_LINE); /* a refused MAIL opened no transaction */
    talk_hear(&t, "250 ok\r\n");
    talk_hear(&t, "450 later\r\n");
    talk_became(&t, "3=temporary/450");
    talk_said(&t, RCPT_LINE);
    talk_give(&t, 4);
    talk_said(&t, "RSET\r\n"); /* a refused RCPT left one open */
    talk_hear(&t, "250 ok\r\n");
    talk_said(&t, MAIL_LINE);
    session_quit(t.session, t.now_ms);
    talk_hear(&t, "250 ok\r\n");
    talk_hear(&t, "250 ok\r\n");
    talk_hear(&t, "354 go\r\n");
    buffer_clear(&t.out);
    talk_hear(&t, "250 ok\r\n");
    talk_said(&t, "QUIT\r\n");
    talk_hear(&t, "221 bye\r\n");
    talk_became(&t, "4=delivered/250 end=quit");
    talk_finish(&t);
}

static void content_and_next_envelope_in_one_group(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP);
    talk_give(&t, 1);
    talk_said(&t, MAIL_SIZE_LINE RCPT_LINE "DATA\r\n");
    talk_hear(&t, "250 ok\r\n250 ok\r\n354 go\r\n");
    talk_said(&t, CONTENT ".\r\n");
    talk_hear(&t, "250 taken\r\n");
    assert_int_equal(session_room(t.session), 2);
    talk_give_quietly(&t, 2);
    talk_give(&t, 3);
    assert_int_equal(session_room(t.session), 0);
    talk_said(&t, MAIL_SIZE_LINE RCPT_LINE "DATA\r\n");
    talk_hear(&t, "250 ok\r\n250 ok\r\n354 go\r\n");
    talk_said(&t, CONTENT ".\r\n" MAIL_SIZE_LINE RCPT_LINE "DATA\r\n");
    talk_hear(&t, "250 taken\r\n250 ok\r\n550 5.1.1 unknown\r\n354 go\r\n");
    talk_became(&t, "1=delivered/250 2=delivered/250");
    talk_said(&t, ".\r\n"); /* 354 without a recipient: a lone dot */
    talk_give(&t, 4);
    talk_said(&t, MAIL_SIZE_LINE RCPT_LINE "DATA\r\n"); /* the dot ended the transaction */
    talk_hear(&t, "554 no valid recipients\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    talk_became(&t, "3=permanent/550");
    talk_hear(&t, "452 full\r\n");
    talk_became(&t, "4=temporary/452");
    talk_finish(&t);
}

static void refused_recipient_brings_a_pipelined_reset(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n550 no\r\n503 no recipients\r\n");
    talk_became(&t, "1=permanent/550");
    buffer_clear(&t.out);
    talk_give(&t, 2);
    talk_said(&t, "RSET\r\n" MAIL_SIZE_LINE RCPT_LINE "DATA\r\n");
    talk_finish(&t);
}

static void bdat_is_streamed_to_the_depth(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 3, ESMTP_CHUNKING);
    assert_int_equal(session_room(t.session), 1); /* the first goes alone */
    talk_give(&t, 1);
    talk_said(&t, MAIL_LINE RCPT_LINE BDAT_LINE CONTENT);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    talk_became(&t, "1=delivered/250");
    assert_int_equal(session_room(t.session), 3);
    for (size_t i = 2; i <= 4; i++)
        talk_give(&t, i);
    assert_int_equal(session_room(t.session), 0);
    talk_said(&t, MAIL_LINE RCPT_LINE BDAT_LINE CONTENT "RSET\r\n" MAIL_LINE RCPT_LINE BDAT_LINE CONTENT
                                                        "RSET\r\n" MAIL_LINE RCPT_LINE BDAT_LINE CONTENT);
    talk_hear(&t, "250 ok\r\n550 5.1.1 unknown\r\n503 no recipients\r\n");
    talk_became(&t, "2=permanent/550");
    assert_int_equal(session_room(t.session), 1);
    talk_hear(&t, "250 reset\r\n250 ok\r\n250 ok\r\n452 4.3.1 full\r\n250 reset\r\n250 ok\r\n250 ok\r\n250 taken\r\n");
    talk_became(&t, "3=temporary/452 4=delivered/250");
    talk_give(&t, 5);
    talk_said(&t, MAIL_LINE RCPT_LINE BDAT_LINE CONTENT);
    talk_finish(&t);
}

static void depth_one_keeps_nothing_behind(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 1, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    assert_int_equal(session_room(t.session), 1);
    talk_give(&t, 2);
    assert_int_equal(session_room(t.session), 0);
    talk_finish(&t);
}

/* The opening. */

static void ehlo_refused_falls_back_to_helo(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, 10);
    talk_hear(&t, "220 old\r\n");
    buffer_clear(&t.out);
    talk_hear(&t, "502 what\r\n");
    talk_said(&t, "HELO client.example\r\n");
    talk_hear(&t, "250 hello\r\n");
    assert_int_equal(session_room(t.session), 1);
    talk_give(&t, 1);
    talk_said(&t, MAIL_LINE);
    talk_finish(&t);
}

static void bad_openings_refuse_the_session(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        "554 no\r\n",           "421 busy\r\n",
        "450 later\r\n",        "250 what\r\n",
        "garbage\r\n",          "220 a\n",
        "220 ok\r\n421 no\r\n", "220 ok\r\n450 no\r\n",
        "220 ok\r\n354 no\r\n", "220 ok\r\n502 no\r\n502 no\r\n",
        "220 ok\r\nxyz\r\n",
    };
    for (size_t i = 0; i < countof(scripts); i++) {
        struct talk t;
        talk_begin(&t, 10);
        const char *at = scripts[i];
        while (*at != '\0') { /* line by line, so that the client can answer */
            char line[64] = "";
            memcpy(line, at, (size_t)(strchr(at, '\n') - at) + 1);
            talk_hear(&t, line);
            at += strlen(line);
        }
        talk_became(&t, "end=refused");
        assert_int_equal(session_room(t.session), 0);
        talk_finish(&t);
    }
}

static void early_talker_is_refused(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, 10);
    talk_hear(&t, "220 ok\r\n250 premature\r\n"); /* the second before EHLO has left */
    talk_became(&t, "end=refused");
    talk_finish(&t);
}

static void capabilities_are_read_in_any_case(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, "250-mx.example PIPELINING\r\n250-pipelining\r\n250-Size 100\r\n250-XFOO bar\r\n250 chunkinG\r\n");
    struct session_message message = {
        .mail_from = "", .rcpt_to = "r@site.example", .data = CONTENT, .size_bytes = CONTENT_BYTES};
    session_give(t.session, &message, 0);
    talk_write(&t, SIZE_MAX);
    talk_said(&t, "MAIL FROM:<> SIZE=21\r\n" RCPT_LINE BDAT_LINE CONTENT);
    talk_finish(&t);
}

/* Messages that cannot be said here. */

static void unfit_messages_end_without_a_byte(void **state)
{
    (void)state;
    static const struct {
        const char *ehlo;
        struct session_message message;
        const char *became;
    } table[] = {
        {ESMTP, {.rcpt_to = "r@site.example\r\nDATA", .data = CONTENT, .size_bytes = CONTENT_BYTES}, "0=compose/0"},
        {ESMTP, {.rcpt_to = "r@site.example", .data = "a\nb\r\n", .size_bytes = 5}, "0=compose/0"},
        {ESMTP, {.rcpt_to = "r@site.example", .data = "a", .size_bytes = 1}, "0=compose/0"},
        {ESMTP, {.rcpt_to = "r@site.example", .data = "", .size_bytes = 0}, "0=compose/0"},
        {ESMTP_NOTHING,
         {.rcpt_to = "\303\244@site.example", .data = CONTENT, .size_bytes = CONTENT_BYTES, .smtputf8 = true},
         "0=permanent/0"},
        {ESMTP_NOTHING,
         {.rcpt_to = "r@site.example", .data = CONTENT, .size_bytes = CONTENT_BYTES, .eight_bit = true},
         "0=permanent/0"},
        {"250-x\r\n250 SIZE 20\r\n",
         {.rcpt_to = "r@site.example", .data = CONTENT, .size_bytes = CONTENT_BYTES},
         "0=permanent/0"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct talk t;
        READY(&t, 10, table[i].ehlo);
        struct session_message message = table[i].message;
        message.mail_from = "b@client.example";
        session_give(t.session, &message, t.now_ms);
        talk_events(&t);
        talk_write(&t, SIZE_MAX);
        talk_said(&t, "");
        talk_became(&t, table[i].became);
        assert_int_equal(session_room(t.session), 1);
        talk_finish(&t);
    }
}

static void extensions_are_said_when_needed(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP);
    struct session_message message = {.mail_from = "b@client.example",
                                      .rcpt_to = "\303\244@site.example",
                                      .data = CONTENT,
                                      .size_bytes = CONTENT_BYTES,
                                      .eight_bit = true,
                                      .smtputf8 = true};
    session_give(t.session, &message, t.now_ms);
    talk_write(&t, SIZE_MAX);
    talk_said(
        &t,
        "MAIL FROM:<b@client.example> SIZE=21 BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<\303\244@site.example>\r\nDATA\r\n");
    talk_finish(&t);
}

/* Replies at each stage of one message, in lock step and in a group. */

struct stage_case {
    const char *replies; /* one a line; the last decides */
    const char *became;
    bool usable; /* the session goes on */
};

static const struct stage_case stage_cases[] = {
    {"450 a\n", "1=temporary/450", true},
    {"550 a\n", "1=permanent/550", true},
    {"250 a\n452 b\n", "1=temporary/452", true},
    {"250 a\n553 b\n", "1=permanent/553", true},
    {"250 a\n251 b\n451 c\n", "1=temporary/451", true},
    {"250 a\n250 b\n554 c\n", "1=permanent/554", true},
    {"250 a\n250 b\n354 c\n451 d\n", "1=temporary/451", true},
    {"250 a\n250 b\n354 c\n554 d\n", "1=permanent/554", true},
    {"250 a\n250 b\n354 c\n250 d\n", "1=delivered/250", true},
    {"220 a\n", "1=temporary/220 end=protocol", false},
    {"354 a\n", "1=temporary/354 end=protocol", false},
    {"503 a\n", "1=temporary/503 end=protocol", false},
    {"999 a\n", "1=temporary/0 end=protocol", false},
    {"25\n", "1=temporary/0 end=protocol", false},
    {"250 a\n354 b\n", "1=temporary/354 end=protocol", false},
    {"250 a\n221 b\n", "1=temporary/221 end=protocol", false},
    {"250 a\nnonsense\n", "1=temporary/0 end=protocol", false},
    {"250 a\n250 b\n250 c\n", "1=temporary/250 end=protocol", false},
    {"250 a\n250 b\n334 c\n", "1=temporary/334 end=protocol", false},
    {"250 a\n250 b\n354 c\n354 d\n", "1=temporary/354 end=protocol", false},
    {"250 a\n250 b\n354 c\n999 d\n", "1=uncertain/0 end=protocol", false},   /* who knows what it meant */
    {"250 a\n250 b\n354 c\n220 d\n", "1=uncertain/220 end=protocol", false}, /* perhaps taken */
    {"250 a\n250 b\n354 c\n503 d\n", "1=temporary/503 end=protocol", false}, /* not taken, whatever it means */
    {"421 a\n", "1=temporary/421", false},
    {"250 a\n421 b\n", "1=temporary/421", false},
    {"250 a\n250 b\n421 c\n", "1=temporary/421", false},
    {"250 a\n250 b\n354 c\n421 d\n", "1=temporary/421", false},
};

static void every_reply_at_every_stage(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(stage_cases); i++) {
        const struct stage_case *c = &stage_cases[i];
        struct talk t;
        READY(&t, 10, ESMTP_NOTHING);
        talk_give(&t, 1);
        const char *at = c->replies;
        while (*at != '\0') {
            char line[64] = "";
            size_t len = (size_t)(strchr(at, '\n') - at);
            (void)snprintf(line, sizeof line, "%.*s\r\n", (int)len, at);
            talk_hear(&t, line);
            at += len + 1;
        }
        if (strncmp(buffer_text(&t.events), c->became, strlen(c->became)) != 0)
            print_error("replies: %s", c->replies);
        assert_memory_equal(buffer_text(&t.events), c->became, strlen(c->became));
        assert_int_equal(session_room(t.session) > 0, c->usable);
        talk_finish(&t);
    }
}

/* Twelve bad replies at nine states: the session always ends, the message always ends in exactly one way. */
static void twelve_bad_replies_at_nine_states(void **state)
{
    (void)state;
    static const char *const bad[] = {"999 x\r\n",    "25 x\r\n",   "2500 x\r\n",         "hello\r\n",
                                      "250 x\n",      "\r\n",       "250-x\r\n251 x\r\n", "100 x\r\n",
                                      "\377\376\r\n", "250\tx\r\n", "354-x\r\n250 x\r\n", "553-\r\n554\r\n"};
    static const char *const before[] = {"",           "220 ok\r\n", "", "250 ok\r\n", "250 ok\r\n", "354 go\r\n",
                                         "250 ok\r\n", "",           ""};
    for (size_t b = 0; b < countof(bad); b++) {
        for (size_t s = 0; s < countof(before); s++) {
            struct talk t;
            talk_begin(&t, 10);
            bool given = false;
            for (size_t step = 0; step <= s; step++) {
                if (step == 2)
                    talk_hear(&t, ESMTP_NOTHING);
                if (step == 2 || (step >= 7 && session_room(t.session) > 0)) {
                    talk_give(&t, 1);
                    given = true;
                }
                if (before[step][0] != '\0')
                    talk_hear(&t, before[step]);
            }
            buffer_clear(&t.events);
            bool held = session_held(t.session) > 0;
            talk_hear(&t, bad[b]);
            const char *became = buffer_text(&t.events);
            assert_non_null(strstr(became, "end="));
            assert_int_equal(strstr(became, "1=") != NULL, held && given);
            assert_int_equal(session_held(t.session), 0);
            talk_finish(&t);
        }
    }
}

/* Losing the connection. */

static void lost_before_the_end_of_content_goes_back(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n");
    session_lost(t.session, "Connection reset by peer", t.now_ms);
    talk_events(&t);
    talk_became(&t, "1=back! end=lost");
    talk_finish(&t);
}

static void lost_inside_the_content_goes_back(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP_CHUNKING);
    talk_give_quietly(&t, 1);
    talk_write(&t, sizeof(MAIL_LINE RCPT_LINE BDAT_LINE CONTENT) - 2); /* all but the last byte */
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t, "1=back! end=lost");
    talk_finish(&t);
}

static void lost_behind_the_content_is_uncertain(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n");
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t, "1=uncertain/0 end=lost");
    talk_finish(&t);
}

static void lost_after_a_refusal_stays_refused(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n550 no\r\n");
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t, "1=permanent/550 end=lost");
    talk_finish(&t);
}

static void lost_midstream_each_gets_its_own(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    for (size_t i = 2; i <= 4; i++)
        talk_give(&t, i);
    talk_give_quietly(&t, 5);
    talk_give_quietly(&t, 6);
    talk_write(&t, 20);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n250 reset\r\n550 no\r\n550 no\r\n");
    buffer_clear(&t.out);
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t,
                "1=delivered/250 2=delivered/250 3=permanent/550 4=uncertain/0 5=uncertain/0 6=uncertain/0 end=lost");
    talk_finish(&t);
}

static void lost_midstream_unfinished_ones_go_back(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    buffer_clear(&t.out);
    talk_give(&t, 2);
    talk_give_quietly(&t, 3);
    talk_give_quietly(&t, 4);
    talk_write(&t, 20);
    session_lost(t.session, "Connection reset by peer", t.now_ms);
    talk_events(&t);
    talk_became(&t, "1=delivered/250 2=uncertain/0 3=back 4=back end=lost");
    talk_finish(&t);
}

static void stale_reused_connection_is_no_drop(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n354 go\r\n");
    talk_hear(&t, "250 taken\r\n");
    buffer_clear(&t.events);
    talk_give(&t, 2);
    session_lost(t.session, "Connection reset by peer", t.now_ms);
    talk_events(&t);
    talk_became(&t, "2=back end=lost");
    talk_finish(&t);
}

static void idle_connection_closed_is_no_failure(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 10, ESMTP);
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t, "end=closing");
    talk_finish(&t);
    READY(&t, 10, ESMTP);
    talk_hear(&t, "421 idle\r\n");
    talk_became(&t, "end=closing");
    talk_finish(&t);
    READY(&t, 10, ESMTP);
    talk_hear(&t, "250 what?\r\n");
    talk_became(&t, "end=protocol");
    talk_finish(&t);
}

/* 421. */

static void too_many_messages_on_this_connection(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    for (size_t i = 2; i <= 4; i++)
        talk_give(&t, i);
    buffer_clear(&t.events);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n250 reset\r\n421 4.7.0 too many messages\r\n");
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t, "2=delivered/250 3=back 4=back end=closing");
    talk_finish(&t);
}

static void server_that_says_421_and_goes_on_is_believed(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    for (size_t i = 2; i <= 3; i++)
        talk_give(&t, i);
    buffer_clear(&t.events);
    talk_hear(&t, "250 ok\r\n421 4.7.0 not you\r\n503 none\r\n");
    talk_became(&t, "2=temporary/421");
    talk_hear(&t, "250 reset\r\n250 ok\r\n250 ok\r\n250 taken\r\n");
    talk_became(&t, "3=delivered/250 end=closing");
    talk_finish(&t);
}

static void silence_after_421_is_uncertain(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    for (size_t i = 2; i <= 3; i++)
        talk_give(&t, i);
    buffer_clear(&t.events);
    talk_hear(&t, "250 ok\r\n421 4.7.0 not you\r\n");
    assert_int_equal(session_deadline_ms(t.session), t.now_ms + t.timeouts.quit_ms);
    session_expire(t.session, t.now_ms + t.timeouts.quit_ms);
    talk_events(&t);
    talk_became(&t, "2=temporary/421 3=uncertain/0 end=lost");
    talk_finish(&t);
}

static void premature_421_blames_nobody(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP);
    talk_give_quietly(&t, 1); /* nothing has left */
    talk_hear(&t, "421 idle too long\r\n");
    talk_became(&t, "1=back end=closing");
    talk_finish(&t);
}

static void premature_replies_to_content(void **state)
{
    (void)state;
    static const struct {
        const char *reply, *became;
    } table[] = {
        {"552 too big\r\n", "1=permanent/552 end=lost"},
        {"452 full\r\n", "1=temporary/452 end=lost"},
        {"250 taken\r\n", "1=temporary/250 end=protocol"},
        {"354 go\r\n", "1=temporary/354 end=protocol"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct talk t;
        READY(&t, 5, ESMTP_CHUNKING);
        talk_give_quietly(&t, 1);
        talk_write(&t, sizeof(MAIL_LINE RCPT_LINE BDAT_LINE) + 3);
        talk_hear(&t, "250 ok\r\n");
        buffer_clear(&t.out);
        talk_finish(&t);
        READY(&t, 5, ESMTP_CHUNKING);
        talk_give_quietly(&t, 1);
        talk_write(&t, sizeof(MAIL_LINE RCPT_LINE BDAT_LINE) + 3);
        (void)session_feed(t.session, "250 ok\r\n", 8, t.now_ms);
        (void)session_feed(t.session, "250 ok\r\n", 8, t.now_ms);
        (void)session_feed(t.session, table[i].reply, strlen(table[i].reply), t.now_ms);
        talk_events(&t);
        talk_became(&t, table[i].became);
        talk_finish(&t);
    }
}

/* CHUNKING. */

static void bdat_unknown_goes_back_to_data(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n502 what\r\n");
    talk_became(&t, "1=back end=chunking");
    talk_finish(&t);
}

static void nth_bdat_refused(void **state)
{
    (void)state;
    static const char *const replies[] = {"452 full\r\n", "554 no\r\n"};
    static const char *const words[] = {"temporary/452", "permanent/554"};
    for (size_t which = 0; which < countof(replies); which++) {
        for (size_t nth = 2; nth <= 5; nth++) {
            struct talk t;
            char wanted[200] = "";
            READY(&t, 8, ESMTP_CHUNKING);
            talk_give(&t, 1);
            talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
            buffer_clear(&t.events);
            for (size_t i = 2; i <= 5; i++)
                talk_give(&t, i);
            for (size_t i = 2; i <= 5; i++) {
                if (i > 2)
                    talk_hear(&t, "250 reset\r\n");
                talk_hear(&t, "250 ok\r\n250 ok\r\n");
                talk_hear(&t, i == nth ? replies[which] : "250 taken\r\n");
                (void)snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%zu=%s", i > 2 ? " " : "", i,
                               i == nth ? words[which] : "delivered/250");
            }
            talk_became(&t, wanted);
            assert_true(session_room(t.session) > 0);
            talk_finish(&t);
        }
    }
}

static void bdat_taken_although_refused_closes(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n550 no\r\n250 taken\r\n");
    talk_became(&t, "1=permanent/550 end=protocol");
    talk_finish(&t);
}

static void garbage_midstream_is_uncertain_behind(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_CHUNKING);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n250 taken\r\n");
    for (size_t i = 2; i <= 3; i++)
        talk_give(&t, i);
    talk_give_quietly(&t, 4);
    buffer_clear(&t.events);
    (void)session_feed(t.session, "999 boo\r\n", 9, t.now_ms);
    talk_events(&t);
    talk_became(&t, "2=uncertain/0 3=uncertain/0 4=back end=protocol");
    talk_finish(&t);
}

/* Time. */

static void each_phase_times_out(void **state)
{
    (void)state;
    static const struct {
        const char *hear[5];
        int64_t timeout_ms;
        const char *became;
    } table[] = {
        {{NULL}, 1001, "end=lost"},
        {{"220 ok\r\n"}, 1002, "end=lost"},
        {{"220 ok\r\n", ESMTP_NOTHING}, 1003, "1=back! end=lost"},
        {{"220 ok\r\n", ESMTP_NOTHING, "250 ok\r\n"}, 1004, "1=back! end=lost"},
        {{"220 ok\r\n", ESMTP_NOTHING, "250 ok\r\n", "250 ok\r\n"}, 1005, "1=back! end=lost"},
        {{"220 ok\r\n", ESMTP_NOTHING, "250 ok\r\n", "250 ok\r\n", "354 go\r\n"}, 1006, "1=uncertain/0 end=lost"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct talk t;
        talk_begin(&t, 5);
        t.timeouts = (struct config_timeouts){.greeting_ms = 1001,
                                              .ehlo_ms = 1002,
                                              .mail_ms = 1003,
                                              .rcpt_ms = 1004,
                                              .data_ms = 1005,
                                              .final_ms = 1006,
                                              .block_ms = 90000,
                                              .quit_ms = 1007};
        for (size_t n = 0; n < 5 && table[i].hear[n] != NULL; n++) {
            t.now_ms += 500;
            talk_hear(&t, table[i].hear[n]);
            if (session_room(t.session) > 0)
                talk_give(&t, 1);
        }
        assert_int_equal(session_deadline_ms(t.session), t.now_ms + table[i].timeout_ms);
        int64_t last = t.now_ms;
        t.now_ms += table[i].timeout_ms - 1;
        (void)session_feed(t.session, "25", 2, t.now_ms); /* dripping bytes move no deadline */
        session_expire(t.session, t.now_ms);
        talk_events(&t);
        talk_became(&t, "");
        assert_int_equal(session_deadline_ms(t.session), last + table[i].timeout_ms);
        session_expire(t.session, t.now_ms + 1);
        talk_events(&t);
        talk_became(&t, table[i].became);
        talk_finish(&t);
    }
}

static void blocked_content_times_out(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP_NOTHING);
    t.timeouts.block_ms = 100;
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n");
    talk_hear(&t, "250 ok\r\n");
    (void)session_feed(t.session, "354 go\r\n", 8, t.now_ms);
    talk_write(&t, 5);
    t.now_ms += 50;
    talk_write(&t, 5);
    assert_int_equal(session_deadline_ms(t.session), t.now_ms + 100);
    session_expire(t.session, t.now_ms + 100);
    talk_events(&t);
    talk_became(&t, "1=back! end=lost");
    talk_finish(&t);
}

static void idle_has_no_deadline(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP);
    assert_true(session_deadline_ms(t.session) == INT64_MAX);
    talk_finish(&t);
}

/* Quitting, withdrawing. */

static void quit_waits_for_what_is_outstanding(void **state)
{
    (void)state;
    struct talk t;
    READY(&t, 5, ESMTP);
    talk_give(&t, 1);
    buffer_clear(&t.out);
    session_quit(t.session, t.now_ms);
    assert_int_equal(session_room(t.session), 0);
    talk_hear(&t, "250 ok\r\n250 ok\r\n354 go\r\n");
    talk_said(&t, CONTENT ".\r\nQUIT\r\n"); /* pipelined behind the last content */
    talk_hear(&t, "250 ok\r\n");
    session_lost(t.session, NULL, t.now_ms);
    talk_events(&t);
    talk_became(&t, "1=delivered/250 end=quit");
    talk_finish(&t);
    READY(&t, 5, ESMTP);
    talk_give(&t, 1);
    session_quit(t.session, t.now_ms);
    talk_hear(&t, "250 ok\r\n250 ok\r\n354 go\r\n");
    session_lost(t.session, NULL, t.now_ms); /* QUIT or not: the message was not answered */
    talk_events(&t);
    talk_became(&t, "1=uncertain/0 end=lost");
    talk_finish(&t);
}

static void withdraw_takes_only_what_was_not_begun(void **state)
{
    (void)state;
    struct talk t;
    void *tag = NULL;
    READY(&t, 5, ESMTP);
    talk_give(&t, 1);
    talk_hear(&t, "250 ok\r\n250 ok\r\n354 go\r\n");
    talk_hear(&t, "250 ok\r\n");
    buffer_clear(&t.out);
    talk_give(&t, 2);
    talk_give(&t, 3);
    talk_said(&t, MAIL_SIZE_LINE RCPT_LINE "DATA\r\n");
    assert_true(session_withdraw(t.session, &tag));
    assert_int_equal((uintptr_t)tag, 3);
    assert_false(session_withdraw(t.session, &tag));
    assert_int_equal(session_held(t.session), 1);
    talk_finish(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lock_step_without_pipelining),
        cmocka_unit_test(content_and_next_envelope_in_one_group),
        cmocka_unit_test(refused_recipient_brings_a_pipelined_reset),
        cmocka_unit_test(bdat_is_streamed_to_the_depth),
        cmocka_unit_test(depth_one_keeps_nothing_behind),
        cmocka_unit_test(ehlo_refused_falls_back_to_helo),
        cmocka_unit_test(bad_openings_refuse_the_session),
        cmocka_unit_test(early_talker_is_refused),
        cmocka_unit_test(capabilities_are_read_in_any_case),
        cmocka_unit_test(unfit_messages_end_without_a_byte),
        cmocka_unit_test(extensions_are_said_when_needed),
        cmocka_unit_test(every_reply_at_every_stage),
        cmocka_unit_test(twelve_bad_replies_at_nine_states),
        cmocka_unit_test(lost_before_the_end_of_content_goes_back),
        cmocka_unit_test(lost_inside_the_content_goes_back),
        cmocka_unit_test(lost_behind_the_content_is_uncertain),
        cmocka_unit_test(lost_after_a_refusal_stays_refused),
        cmocka_unit_test(lost_midstream_each_gets_its_own),
        cmocka_unit_test(lost_midstream_unfinished_ones_go_back),
        cmocka_unit_test(stale_reused_connection_is_no_drop),
        cmocka_unit_test(idle_connection_closed_is_no_failure),
        cmocka_unit_test(too_many_messages_on_this_connection),
        cmocka_unit_test(server_that_says_421_and_goes_on_is_believed),
        cmocka_unit_test(silence_after_421_is_uncertain),
        cmocka_unit_test(premature_421_blames_nobody),
        cmocka_unit_test(premature_replies_to_content),
        cmocka_unit_test(bdat_unknown_goes_back_to_data),
        cmocka_unit_test(nth_bdat_refused),
        cmocka_unit_test(bdat_taken_although_refused_closes),
        cmocka_unit_test(garbage_midstream_is_uncertain_behind),
        cmocka_unit_test(each_phase_times_out),
        cmocka_unit_test(blocked_content_times_out),
        cmocka_unit_test(idle_has_no_deadline),
        cmocka_unit_test(quit_waits_for_what_is_outstanding),
        cmocka_unit_test(withdraw_takes_only_what_was_not_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
