/*
 * test_session_secure.c - between the greeting and the first message: STARTTLS and AUTH, well and badly answered.
 */
#include "tests/unit/engine/talk.h"

#define GREETING "220 mx.example ESMTP\r\n"
#define EHLO "EHLO client.example\r\n"
#define OFFER "250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"

static const struct credentials tim = {"tim", "secret"};

/* Up to the server's 220 to STARTTLS. */
static void begin_securing(struct talk *t, enum session_tls tls, const struct credentials *login)
{
    talk_begin_as(t, 10, tls, login);
    talk_hear(t, GREETING);
    talk_said(t, EHLO);
    talk_hear(t, OFFER);
    talk_said(t, "STARTTLS\r\n");
    assert_false(session_ready(t->session));
    talk_hear(t, "220 go\r\n");
    talk_said(t, "");
    talk_became(t, "starttls");
}

static void what_was_said_in_clear_is_forgotten(void **state)
{
    (void)state;
    struct talk t;
    begin_securing(&t, SESSION_TLS_WISHED, NULL);
    session_secured(t.session, t.now_ms);
    talk_write(&t, SIZE_MAX);
    talk_said(&t, EHLO);
    talk_hear(&t, "250 mx.example\r\n"); /* nothing is offered inside */
    assert_true(session_ready(t.session));
    assert_int_equal(session_depth(t.session), 1);
    talk_give(&t, 1);
    talk_said(&t, MAIL_LINE);
    talk_hear(&t, "550 no\r\n");
    talk_became(&t, "1=permanent/550");
    talk_finish(&t);
}

static void bytes_behind_the_220_end_the_session(void **state)
{
    (void)state;
    static const char *const behind[] = {"250-mx.example\r\n250 AUTH PLAIN\r\n", "250-fra", "\r\n", "x"};
    for (size_t i = 0; i < countof(behind); i++) {
        struct talk t;
        char text[100];
        talk_begin_as(&t, 10, i % 2 == 0 ? SESSION_TLS_WISHED : SESSION_TLS_NEEDED, NULL);
        talk_hear(&t, GREETING);
        talk_hear(&t, OFFER);
        buffer_clear(&t.out);
        (void)snprintf(text, sizeof text, "220 go\r\n%s", behind[i]);
        talk_hear(&t, text);
        talk_said(&t, "");
        talk_became(&t, "starttls end=protocol");
        session_secured(t.session, t.now_ms); /* too late: changes nothing */
        talk_write(&t, SIZE_MAX);
        talk_said(&t, "");
        talk_finish(&t);
    }
}

static void every_answer_to_starttls_has_one_end(void **state)
{
    (void)state;
    static const struct {
        const char *offer, *answer, *wished, *needed;
    } cases[] = {
        {"250 mx.example\r\n", NULL, "", "end=refused"}, {OFFER, "454 4.7.0 not now\r\n", "", "end=refused"},
        {OFFER, "502 what\r\n", "", "end=refused"},      {OFFER, "250 yes?\r\n", "end=tls", "end=tls"},
        {OFFER, "354 go\r\n", "end=tls", "end=tls"},     {OFFER, "421 bye\r\n", "end=refused", "end=refused"},
        {OFFER, "banana\r\n", "end=tls", "end=tls"},
    };
    for (size_t i = 0; i < countof(cases) * 2; i++) {
        struct talk t;
        bool needed = i % 2 == 1;
        talk_begin_as(&t, 10, needed ? SESSION_TLS_NEEDED : SESSION_TLS_WISHED, NULL);
        talk_hear(&t, GREETING);
        talk_hear(&t, cases[i / 2].offer);
        if (cases[i / 2].answer != NULL)
            talk_hear(&t, cases[i / 2].answer);
        const char *end = needed ? cases[i / 2].needed : cases[i / 2].wished;
        talk_became(&t, end);
        assert_int_equal(session_ready(t.session), end[0] == '\0');
        talk_finish(&t);
    }
}

static void a_handshake_that_fails_ends_the_session(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct talk t;
        begin_securing(&t, SESSION_TLS_NEEDED, NULL);
        if (how == 0)
            session_not_secured(t.session, "no", t.now_ms);
        else if (how == 1)
            session_lost(t.session, NULL, t.now_ms);
        t.now_ms += t.timeouts.tls_ms;
        if (how == 2) {
            assert_int_equal(session_deadline_ms(t.session), t.now_ms);
            session_expire(t.session, t.now_ms);
        }
        talk_events(&t);
        talk_became(&t, "end=tls");
        talk_finish(&t);
    }
}

static void implicit_tls_comes_before_the_greeting(void **state)
{
    (void)state;
    struct talk t;
    talk_begin_as(&t, 10, SESSION_TLS_IMPLICIT, NULL);
    talk_events(&t);
    talk_became(&t, "");
    session_secured(t.session, t.now_ms);
    talk_hear(&t, GREETING);
    talk_said(&t, EHLO);
    talk_hear(&t, OFFER); /* STARTTLS again would make no sense */
    assert_true(session_ready(t.session));
    talk_finish(&t);
    talk_begin_as(&t, 10, SESSION_TLS_IMPLICIT, NULL);
    talk_hear(&t, GREETING); /* in clear */
    talk_became(&t, "end=protocol");
    talk_finish(&t);
}

static void logs_in_behind_starttls(void **state)
{
    (void)state;
    struct talk t;
    begin_securing(&t, SESSION_TLS_NEEDED, &tim);
    session_secured(t.session, t.now_ms);
    talk_write(&t, SIZE_MAX);
    talk_said(&t, EHLO);
    talk_hear(&t, "250-mx.example\r\n250-PIPELINING\r\n250-AUTH=LOGIN\r\n250 AUTH LOGIN PLAIN\r\n");
    talk_said(&t, "AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
    assert_false(session_ready(t.session));
    talk_hear(&t, "235 2.7.0 welcome\r\n");
    assert_true(session_ready(t.session));
    talk_finish(&t);
}

static void every_answer_to_auth_has_one_end(void **state)
{
    (void)state;
    static const struct {
        const char *offer, *answers[10];
    } refused[] = {
        {"250 mx.example\r\n", {NULL}},                   /* none offered */
        {"250-mx.example\r\n250 AUTH NTLM\r\n", {NULL}},  /* none that we know */
        {"250-mx.example\r\n250 AUTH PLAIN\r\n", {NULL}}, /* not in clear text */
        {"250-mx.example\r\n250 AUTH CRAM-MD5\r\n", {"535 5.7.8 wrong\r\n"}},
        {"250-mx.example\r\n250 AUTH CRAM-MD5\r\n", {"334 ***\r\n"}},
        {"250-mx.example\r\n250 AUTH CRAM-MD5\r\n", {"334 QUJD\r\n", "334 QUJD\r\n"}},
        {"250-mx.example\r\n250 AUTH CRAM-MD5\r\n", {"250 ok\r\n"}},
        {"250-mx.example\r\n250 AUTH CRAM-MD5\r\n", {"421 bye\r\n"}},
        {"250-mx.example\r\n250 AUTH SCRAM-SHA-256\r\n", {"235 trust me\r\n"}},
    };
    for (size_t i = 0; i < countof(refused); i++) {
        struct talk t;
        talk_begin_as(&t, 10, SESSION_TLS_OFF, &tim);
        talk_hear(&t, GREETING);
        talk_hear(&t, refused[i].offer);
        for (size_t j = 0; refused[i].answers[j] != NULL; j++)
            talk_hear(&t, refused[i].answers[j]);
        assert_false(session_ready(t.session));
        talk_became(&t, "end=refused");
        assert_null(strstr(buffer_text(&t.out), "secret"));
        assert_null(strstr(buffer_text(&t.out), "c2VjcmV0"));
        assert_null(strstr(buffer_text(&t.out), "MAIL"));
        talk_finish(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_said_in_clear_is_forgotten),
        cmocka_unit_test(bytes_behind_the_220_end_the_session),
        cmocka_unit_test(every_answer_to_starttls_has_one_end),
        cmocka_unit_test(a_handshake_that_fails_ends_the_session),
        cmocka_unit_test(implicit_tls_comes_before_the_greeting),
        cmocka_unit_test(logs_in_behind_starttls),
        cmocka_unit_test(every_answer_to_auth_has_one_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
