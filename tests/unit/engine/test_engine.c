/*
 * test_engine.c - the whole engine against a receiver on loopback: every job comes back once, with what really became
 * of it.
 */
#include "base/log.h"
#include "tests/unit/engine/trial.h"

static void all_end_as(struct trial *trial, enum outcome_class class_, enum outcome_stage stage, const char *text)
{
    assert_true(trial_wait(trial, &trial->ended, trial->submitted));
    trial_stop(trial, 2000);
    for (size_t i = 0; i < trial->submitted; i++) {
        const struct outcome *outcome = &trial->jobs[i].outcome;
        assert_string_equal(outcome_class_name(outcome->class_), outcome_class_name(class_));
        assert_string_equal(outcome_stage_name(outcome->stage), outcome_stage_name(stage));
        if (strstr(outcome->text, text) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", outcome->text, text);
        assert_true(outcome->ended_wall_ms > 0);
    }
}

/* A port on which nobody listens. */
static uint16_t closed_port(void)
{
    struct server server = {.greeting = NULL};
    server_start(&server);
    server_stop(&server);
    return server.port;
}

static void delivers_in_every_mode(void **state)
{
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server->pipelining = (mode & 1) != 0;
        server->chunking = (mode & 2) != 0;
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->composing = COMPOSE_ELSEWHERE;
        trial->test.config.loops = 2;
        trial->test.profile.messages_per_connection = 7;
        trial->test.profile.connections = 4; /* five domains: no more than the receiver takes */
        trial_start(trial);
        trial_submit(trial, 600, 5, 1);
        all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
        assert_string_equal(trial->jobs[0].outcome.enhanced, "2.0.0");
        assert_string_equal(trial->jobs[0].outcome.mx_host, "127.0.0.1");
        trial_free(trial);
        server_stop(server);
        for (size_t i = 0; i < 600; i++)
            assert_int_equal(server->taken[i], 1);
        assert_null(server->violation);
        free(server);
    }
}

static void record_equals_a_troubled_receivers(void **state)
{
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server->pipelining = (mode & 1) != 0;
        server->chunking = (mode & 2) != 0;
        server->trouble = 6;
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->composing = COMPOSE_ELSEWHERE;
        trial_start(trial);
        trial_submit(trial, 500, 3, 1);
        assert_true(trial_wait(trial, &trial->ended, 500));
        trial_stop(trial, 5000);
        server_stop(server);
        trial_equals_record(trial, server);
        assert_true(trial_count(trial, OUTCOME_DELIVERED) > 250);
        trial_free(trial);
        free(server);
    }
}

struct trouble {
    const char *text;
    bool found;
};

static void look_for_trouble(void *context, const struct engine_site_stats *stats)
{
    struct trouble *trouble = context;
    trouble->found |= strstr(stats->explanation, trouble->text) != NULL;
}

/* The site is tried again and again; nothing that waits for it ends by itself. What is asked back says what it waited
 * for, and how long that has lasted. */
static void all_wait_for_a_site(struct trial *trial, enum outcome_stage stage, const char *text)
{
    struct trouble trouble = {.text = text};
    int64_t begun_ms = clock_monotonic_ms();
    while (!trouble.found && clock_monotonic_ms() - begun_ms < TRIAL_WAIT_S * 1000) {
        assert_true(engine_explain(trial->engine, "site0.example", look_for_trouble, &trouble) >= 0);
        (void)usleep(5000);
    }
    if (!trouble.found)
        fail_msg("\"%s\" is not seen", text);
    (void)usleep(600000); /* six of the longest back-offs: time enough to end what should not end */
    assert_int_equal(trial->ended, 0);
    engine_release(trial->engine, &(struct engine_release){.group = 1});
    assert_true(trial_wait(trial, &trial->ended, trial->submitted));
    for (size_t i = 0; i < trial->submitted; i++)
        assert_in_range(trial->jobs[i].outcome.wait_ms, 500, TRIAL_WAIT_S * 1000);
    all_end_as(trial, OUTCOME_RELEASED, stage, text);
}

static void mail_waits_for_who_refuses_connections(void **state)
{
    (void)state;
    struct trial *trial = trial_create(closed_port());
    trial_start(trial);
    trial_submit(trial, 20, 2, 1);
    all_wait_for_a_site(trial, STAGE_CONNECT, "onnection refused");
    assert_int_equal(trial->asked, 0); /* nothing is composed for a site that cannot be reached */
    trial_free(trial);
}

/* In the greeting, or in one read with the reply to EHLO: there was no time to give it a message. */
static void mail_waits_for_who_turns_us_away(void **state)
{
    (void)state;
    static const struct {
        const char *greeting, *after_ehlo;
        enum outcome_stage stage;
        const char *text;
    } table[] = {
        {"554 5.7.1 go away", NULL, STAGE_GREETING, "go away"},
        {"421 4.3.2 busy", NULL, STAGE_GREETING, "busy"},
        {"hello there", NULL, STAGE_GREETING, "senseless"},
        {"", NULL, STAGE_GREETING, "timed out"},
        {NULL, "421 4.3.2 full house", STAGE_NONE, "full house"},
        {NULL, "", STAGE_NONE, "closed"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server->greeting = table[i].greeting;
        server->after_ehlo = table[i].after_ehlo;
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->test.config.timeouts.greeting_ms = 100;
        trial->test.config.timeouts.quit_ms = 50;
        trial_start(trial);
        trial_submit(trial, 5, 1, 1);
        all_wait_for_a_site(trial, table[i].stage, table[i].text);
        trial_free(trial);
        server_stop(server);
        free(server);
    }
}

/* Connections beyond three are closed right behind EHLO. The three go on, others follow where one of them ends, and more
 * are tried now and then only. */
static void who_has_no_more_places_is_not_stormed(void **state)
{
    (void)state;
    static const char *const says[] = {"421 4.3.2 full house", ""};
    for (size_t i = 0; i < 2 * countof(says); i++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server->after_ehlo = says[i / 2];
        server->places = 3;
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->composing = i % 2 == 0 ? COMPOSE_AT_ONCE : COMPOSE_ELSEWHERE;
        trial->tuning.backoff_first_ms = 1000;
        trial->tuning.backoff_max_ms = 10000;
        trial->test.profile.messages_per_connection = 50;
        trial_start(trial);
        trial_submit(trial, 2000, 1, 1);
        assert_true(trial_wait(trial, &trial->ended, trial->submitted));
        trial_stop(trial, 2000);
        /* A few, which a message was given to before their end was seen: none should meet two of them. */
        assert_in_range(trial_count(trial, OUTCOME_DELIVERED), 1990, 2000);
        assert_in_range(atomic_load(&server->accepted), 40, 120);
        trial_free(trial);
        server_stop(server);
        free(server);
    }
}

/* The loop has nothing to do between the reply to EHLO and the end, so that only the end itself can tell it the time.
 */
static void an_idle_connection_may_be_closed(void **state)
{
    (void)state;
    struct trouble trouble = {.text = "The last connection failed"};
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server->mute_content = true;
    server->patience_ms = 1500;
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial_start(trial);
    trial_submit(trial, 1, 1, 1);
    while (atomic_load(&server->begun) == 0)
        (void)usleep(1000);
    trial_compose_now(trial, COMPOSE_NOTHING);
    trial_submit(trial, 1, 1, 1); /* a connection is made for it, and it never comes */
    while (atomic_load(&server->accepted) < 3)
        (void)usleep(1000);
    assert_true(engine_explain(trial->engine, "site0.example", look_for_trouble, &trouble) >= 0);
    assert_false(trouble.found);
    trial_compose_now(trial, COMPOSE_ELSEWHERE);
    trial_stop(trial, 0);
    trial_free(trial);
    server_stop(server);
    free(server);
}

/* Nobody listens at the name server's port: what waits for it can be taken back. */
static void release_finds_what_waits_for_the_name_server(void **state)
{
    (void)state;
    static char server[] = "127.0.0.1@9";
    struct trial *trial = trial_create(1);
    trial->test.config.route_count = 0;
    trial->test.config.dns_server = server;
    trial_start(trial);
    trial_submit(trial, 5, 2, 1);
    engine_release(trial->engine, &(struct engine_release){.group = 1});
    all_end_as(trial, OUTCOME_RELEASED, STAGE_NONE, "given back");
    trial_free(trial);
}

static void compose_failure_is_told(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->composing = COMPOSE_FAILS;
    trial_start(trial);
    trial_submit(trial, 30, 1, 1);
    all_end_as(trial, OUTCOME_COMPOSE, STAGE_COMPOSE, "no such template");
    trial_free(trial);
    server_stop(server);
    free(server);
}

/* A site with much to send has one connection, as each of the others, when the composers fall behind; that must not make its share of them theirs. */
static void behind_composers_a_site_has_the_share_of_all_its_connections(void **state)
{
    (void)state;
    enum { SITES = 24, AHEAD = 11, MORE = 300 };
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server->pipelining = server->chunking = true;
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->composing = COMPOSE_NOTHING;
    trial_start(trial);
    trial_submit(trial, SITES * AHEAD, SITES, 1);
    assert_true(trial_wait(trial, &trial->asked, SITES * AHEAD));
    trial_submit(trial, MORE, 1, 1);
    size_t share = (size_t)trial->test.profile.connections * AHEAD;
    assert_true(trial_wait(trial, &trial->asked, (SITES - 1) * AHEAD + share));
    trial_compose_now(trial, COMPOSE_ELSEWHERE);
    assert_true(trial_wait(trial, &trial->ended, SITES * AHEAD + MORE));
    trial_stop(trial, 1000);
    for (size_t i = 0; i < trial->submitted; i++)
        assert_int_equal(trial->jobs[i].outcome.class_, OUTCOME_DELIVERED);
    trial_free(trial);
    server_stop(server);
    free(server);
}

static void host_names_of_routes_are_looked_up(void **state)
{
    (void)state;
    static char name[] = "localhost", nowhere[] = "nowhere.invalid";
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.route.host = name;
    trial_start(trial);
    trial_submit(trial, 5, 1, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    trial_free(trial);
    trial = trial_create(server->port);
    trial->test.route.host = nowhere;
    trial_start(trial);
    trial_submit(trial, 5, 1, 1);
    all_wait_for_a_site(trial, STAGE_DNS, "nowhere.invalid has no address");
    trial_free(trial);
    server_stop(server);
    free(server);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void rate_and_connections_are_never_exceeded(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server->pipelining = true;
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.profile.rate = (struct rate){50, 1000000};
    trial->test.profile.connections = 2;
    trial->test.profile.messages_per_connection = 5;
    trial_start(trial);
    int64_t begun_us = clock_monotonic_us();
    trial_submit(trial, 150, 1, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    int64_t took_us = clock_monotonic_us() - begun_us;
    trial_free(trial);
    server_stop(server);
    qsort(server->taken_us, 150, sizeof server->taken_us[0], by_time);
    for (size_t i = 0; i + 50 < 150; i++)
        assert_true(server->taken_us[i + 50] - server->taken_us[i] >= 1000000);
    assert_true(server->connections_most <= 2);
    assert_true(took_us >= 2900000);
    free(server);
}

static void domain_limits_hold_inside_the_site(void **state)
{
    (void)state;
    static char domain[] = "site0.example";
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.domain = (struct config_domain){.name = domain, .rate = {20, 1000000}, .connections = 1};
    trial->test.config.domain_count = 1;
    trial_start(trial);
    int64_t begun_us = clock_monotonic_us();
    trial_submit(trial, 21, 1, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    assert_true(clock_monotonic_us() - begun_us >= 980000);
    trial_free(trial);
    server_stop(server);
    assert_int_equal(server->connections_most, 1);
    free(server);
}

static void idle_connections_are_quit_and_opened_anew(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.profile.idle_timeout_ms = 30;
    trial->test.profile.rate = (struct rate){10, 1000000};
    trial_start(trial);
    trial_submit(trial, 6, 1, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    trial_free(trial);
    server_stop(server);
    free(server);
}

static void release_gives_back_what_was_not_begun(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->composing = COMPOSE_NOTHING;
    trial_start(trial);
    trial_submit(trial, 40, 1, 7);
    trial_submit(trial, 10, 1, 8);
    assert_true(trial_wait(trial, &trial->asked, 1));
    engine_release(trial->engine, &(struct engine_release){.group = 7, .waiting_ms = 60000}); /* none has for a minute */
    engine_release(trial->engine, &(struct engine_release){.group = 7, .shared = true});      /* none is */
    engine_release(trial->engine, &(struct engine_release){.group = 7});
    trial_compose_now(trial, COMPOSE_ELSEWHERE);
    assert_true(trial_wait(trial, &trial->ended, 50));
    trial_stop(trial, 1000);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(trial->jobs[i].outcome.class_, i < 40 ? OUTCOME_RELEASED : OUTCOME_DELIVERED);
    trial_free(trial);
    server_stop(server);
    free(server);
}

static void stop_waits_for_compose_answers(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->composing = COMPOSE_NOTHING;
    trial_start(trial);
    trial_submit(trial, 40, 4, 7);
    assert_true(trial_wait(trial, &trial->asked, 4));
    trial_compose_now(trial, COMPOSE_ELSEWHERE);
    trial_stop(trial, 0);
    /* Jobs that come after it are given back too. */
    trial_submit(trial, 3, 1, 7);
    engine_free(trial->engine);
    trial->engine = NULL;
    assert_int_equal(trial->ended, 43);
    assert_int_equal(trial->jobs[42].outcome.class_, OUTCOME_RELEASED);
    trial_free(trial);
    server_stop(server);
    free(server);
}

static void stop_ends_what_is_in_the_air(void **state)
{
    (void)state;
    for (int chunking = 0; chunking < 2; chunking++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server->pipelining = true;
        server->chunking = chunking != 0;
        server->mute_content = true;
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->test.profile.connections = 2;
        trial_start(trial);
        trial_submit(trial, 30, 1, 1);
        while (atomic_load(&server->begun) == 0)
            (void)sched_yield();
        int64_t begun_us = clock_monotonic_us();
        trial_stop(trial, 200);
        assert_true(clock_monotonic_us() - begun_us < 5000000);
        size_t in_air = trial_count(trial, OUTCOME_UNCERTAIN) + trial_count(trial, OUTCOME_TRANSPORT);
        assert_in_range(in_air, 1, 2);
        assert_int_equal(trial_count(trial, OUTCOME_RELEASED), 30 - in_air);
        trial_free(trial);
        server_stop(server);
        free(server);
    }
}

static void stop_at_any_moment(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server->pipelining = true;
        server->chunking = (round & 1) != 0;
        server->trouble = 3;
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->composing = COMPOSE_ELSEWHERE;
        trial->test.config.loops = 2;
        trial_start(trial);
        trial_submit(trial, 400, 4, 1);
        if (round > 0)
            assert_true(trial_wait(trial, &trial->ended, (size_t)round * 12));
        trial_stop(trial, round % 3 == 0 ? 0 : 1000);
        server_stop(server);
        for (size_t i = 0; i < 400; i++) {
            enum outcome_class class_ = trial->jobs[i].outcome.class_;
            assert_true(server->taken[i] <= 1);
            assert_true(class_ == OUTCOME_UNCERTAIN || (class_ == OUTCOME_DELIVERED) == (server->taken[i] == 1));
        }
        trial_free(trial);
        free(server);
    }
}

struct seen {
    size_t sites;
    uint64_t delivered;
};

static void see_site(void *context, const struct engine_site_stats *stats)
{
    struct seen *seen = context;
    seen->sites++;
    seen->delivered += stats->delivered;
    assert_string_equal(stats->profile, "default");
    assert_true(stats->connections <= stats->connections_max);
    assert_non_null(strstr(stats->next_hop, "127.0.0.1:"));
}

static void sites_are_shown(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.config.loops = 2;
    trial->test.profile.connections = 5; /* six domains: no more than the receiver takes at a time */
    trial_start(trial);
    trial_submit(trial, 60, 6, 1);
    assert_true(trial_wait(trial, &trial->ended, 60));
    struct seen seen = {0};
    struct engine_totals totals;
    assert_int_equal(engine_sites(trial->engine, see_site, &seen, &totals), 0);
    assert_int_equal(seen.sites, 6);
    assert_int_equal(seen.delivered, 60);
    assert_int_equal(totals.delivered, 60);
    assert_int_equal(totals.sites, 6);
    assert_int_equal(totals.queued + totals.in_flight, 0);
    trial_stop(trial, 1000);
    assert_int_equal(engine_sites(trial->engine, see_site, &seen, &totals), 0);
    trial_free(trial);
    server_stop(server);
    free(server);
}

static void connection_quota_starves_nobody(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->tuning.connections_max = 3;
    trial->test.profile.idle_timeout_ms = 20;
    trial->test.profile.messages_per_connection = 10;
    trial_start(trial);
    trial_submit(trial, 400, 40, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    trial_free(trial);
    server_stop(server);
    assert_true(server->connections_most <= 3);
    free(server);
}

static void idle_sites_are_forgotten(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->tuning.site_idle_ms = 30;
    trial->test.profile.idle_timeout_ms = 10;
    trial->test.profile.connections = 5;
    trial_start(trial);
    trial_submit(trial, 60, 6, 1);
    assert_true(trial_wait(trial, &trial->ended, 60));
    struct engine_totals totals = {.sites = 6};
    int64_t until_us = clock_monotonic_us() + INT64_C(10000000);
    while (totals.sites > 0 && clock_monotonic_us() < until_us)
        assert_int_equal(engine_sites(trial->engine, NULL, NULL, &totals), 0);
    assert_int_equal(totals.sites, 0);
    assert_int_equal(totals.delivered, 60); /* what they did is not forgotten */
    trial_submit(trial, 6, 6, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    trial_free(trial);
    server_stop(server);
    free(server);
}

static void connections_come_from_the_source(void **state)
{
    (void)state;
    static char name[] = "default", source[] = "ip1", address[] = "127.0.0.9", hostname[] = "mta9.example";
    char *sources[] = {source};
    struct config_pool pool = {.name = name, .sources = sources, .source_count = 1};
    struct config_source one = {.name = source, .address = address, .hostname = hostname};
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.config.pools = &pool;
    trial->test.config.pool_count = 1;
    trial->test.config.sources = &one;
    trial->test.config.source_count = 1;
    trial_start(trial);
    trial_submit(trial, 2, 1, 1);
    all_end_as(trial, OUTCOME_DELIVERED, STAGE_CONTENT, "taken");
    assert_string_equal(trial->jobs[0].outcome.source, "ip1");
    trial_free(trial);
    server_stop(server);
    assert_int_equal(ntohl(server->peer.sin_addr.s_addr), 0x7f000009);
    free(server);
}

/* What is open when two loops ask is open for one of them. */
static void loops_share_the_quota_of_a_warm_up(void **state)
{
    (void)state;
    static char name[] = "default", source[] = "ip1", address[] = "127.0.0.9", none[] = "";
    char *sources[] = {source};
    struct config_pool pool = {.name = name, .sources = sources, .source_count = 1};
    struct config_source one = {.name = source, .address = address, .hostname = none};
    struct config_warmup warmup = {
        .source = source, .start = {90, INT64_C(86400000000)}, .growth = 1, .days = 10}; /* reserved one by one */
    for (int round = 0; round < 5; round++) {
        struct server *server = calloc(1, sizeof *server);
        assert_non_null(server);
        server_start(server);
        struct trial *trial = trial_create(server->port);
        trial->test.config.loops = 2;
        trial->test.config.pools = &pool;
        trial->test.config.pool_count = 1;
        trial->test.config.sources = &one;
        trial->test.config.source_count = 1;
        trial->test.config.warmups = &warmup;
        trial->test.config.warmup_count = 1;
        trial->test.profile.connections = 3;
        trial_start(trial);
        trial_submit(trial, 200, 8, 1);
        assert_true(trial_wait(trial, &trial->ended, 90));
        engine_release(trial->engine, &(struct engine_release){.group = 1});
        assert_true(trial_wait(trial, &trial->ended, trial->submitted));
        trial_stop(trial, 2000);
        assert_int_equal(trial_count(trial, OUTCOME_DELIVERED), 90);
        trial_free(trial);
        server_stop(server);
        free(server);
    }
}

static void bad_source_is_refused_at_start(void **state)
{
    (void)state;
    static char name[] = "default", source[] = "ip1", address[] = "not-an-address", none[] = "";
    char *sources[] = {source};
    struct config_pool pool = {.name = name, .sources = sources, .source_count = 1};
    struct config_source one = {.name = source, .address = address, .hostname = none};
    struct test_config test;
    struct engine_callbacks callbacks = {.compose = trial_compose, .done = trial_done};
    struct engine *engine = NULL;
    struct error err = {""};
    test_config_init(&test, 1);
    test.config.pools = &pool;
    test.config.pool_count = 1;
    test.config.sources = &one;
    test.config.source_count = 1;
    assert_int_equal(engine_start(&test.config, &callbacks, &engine, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not-an-address"));
    assert_null(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_in_every_mode),
        cmocka_unit_test(record_equals_a_troubled_receivers),
        cmocka_unit_test(mail_waits_for_who_refuses_connections),
        cmocka_unit_test(mail_waits_for_who_turns_us_away),
        cmocka_unit_test(who_has_no_more_places_is_not_stormed),
        cmocka_unit_test(an_idle_connection_may_be_closed),
        cmocka_unit_test(release_finds_what_waits_for_the_name_server),
        cmocka_unit_test(compose_failure_is_told),
        cmocka_unit_test(behind_composers_a_site_has_the_share_of_all_its_connections),
        cmocka_unit_test(host_names_of_routes_are_looked_up),
        cmocka_unit_test(rate_and_connections_are_never_exceeded),
        cmocka_unit_test(domain_limits_hold_inside_the_site),
        cmocka_unit_test(idle_connections_are_quit_and_opened_anew),
        cmocka_unit_test(release_gives_back_what_was_not_begun),
        cmocka_unit_test(stop_waits_for_compose_answers),
        cmocka_unit_test(stop_ends_what_is_in_the_air),
        cmocka_unit_test(stop_at_any_moment),
        cmocka_unit_test(sites_are_shown),
        cmocka_unit_test(connection_quota_starves_nobody),
        cmocka_unit_test(idle_sites_are_forgotten),
        cmocka_unit_test(connections_come_from_the_source),
        cmocka_unit_test(loops_share_the_quota_of_a_warm_up),
        cmocka_unit_test(bad_source_is_refused_at_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
