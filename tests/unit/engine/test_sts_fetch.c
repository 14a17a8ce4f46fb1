/*
 * test_sts_fetch.c - when a policy is fetched and when not, and what holds meanwhile. The linker sends fetch(), the
 * look-up of the policy host and the monotonic clock here (--wrap).
 */
#include <semaphore.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "engine/fetch.h"
#include "engine/net/sts.h"
#include "engine/resolve.h"
#include "tests/unit/engine/unit.h"

#define DOMAIN "d.example"
#define MINUTE_MS INT64_C(60000)

static bool host_is_dead;
static atomic_uint fetches;
static atomic_llong ahead_ms; /* of the clock */
static sem_t done, go_on; /* the second: of those fetches that are held */
static atomic_bool fetches_are_held;

void __wrap_resolver_wait_addresses(struct resolver *resolver, const char *host, bool allow_private, int64_t timeout_ms,
                                    struct resolve_addresses *out);
void __wrap_fetch(const struct fetch_request *request, struct fetch_answer *out);
int64_t __real_clock_monotonic_ms(void);
int64_t __wrap_clock_monotonic_ms(void);

void __wrap_resolver_wait_addresses(struct resolver *resolver, const char *host, bool allow_private, int64_t timeout_ms,
                                    struct resolve_addresses *out)
{
    (void)resolver, (void)host, (void)allow_private, (void)timeout_ms;
    *out = (struct resolve_addresses){.count = 1, .text = {"127.0.0.1"}};
}

void __wrap_fetch(const struct fetch_request *request, struct fetch_answer *out)
{
    (void)request;
    static const char policy[] = "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.example\n";
    atomic_fetch_add(&fetches, 1);
    while (atomic_load(&fetches_are_held) && sem_wait(&go_on) != 0)
        continue;
    *out = (struct fetch_answer){.status = FETCH_CONNECT, .why = "refused"};
    if (host_is_dead)
        return;
    *out = (struct fetch_answer){.status = FETCH_ANSWERED,
                                 .http_status = 200,
                                 .content_type = "text/plain",
                                 .body = str_dup(policy),
                                 .len = sizeof policy - 1};
    assure(out->body != NULL);
}

int64_t __wrap_clock_monotonic_ms(void)
{
    return __real_clock_monotonic_ms() + atomic_load(&ahead_ms);
}

static void on_done(void *context, const char *domain)
{
    (void)context;
    assure(strcmp(domain, DOMAIN) == 0);
    assure(sem_post(&done) == 0);
}

/* Asks for a fetch and waits for it; false = "not now". */
static bool fetch_now(struct sts *sts, const char *id, bool dead)
{
    host_is_dead = dead;
    if (!sts_fetch(sts, DOMAIN, id, on_done, NULL))
        return false;
    while (sem_wait(&done) != 0)
        continue;
    return true;
}

static void holds(struct sts *sts, const char *id, enum tls_result fault)
{
    enum tls_result told;
    struct sts_policy *policy = sts_find(sts, DOMAIN, &told);
    if (id == NULL)
        assert_null(policy);
    else
        assert_true(policy != NULL && policy->mode == STS_ENFORCE && strcmp(policy->id, id) == 0);
    assert_int_equal(told, fault);
    sts_policy_release(policy);
}

static struct sts *make(struct test_config *test)
{
    struct error err = {""};
    struct sts *sts = NULL;
    test_config_init(test, 25);
    atomic_store(&fetches, 0);
    assert_int_equal(sts_create(&test->config, &sts, &err), 0);
    return sts;
}

static void a_fetch_that_failed_is_not_repeated_at_once(void **state)
{
    (void)state;
    struct test_config test;
    struct sts *sts = make(&test);
    assert_true(fetch_now(sts, "1", true));
    assert_false(fetch_now(sts, "1", true));
    atomic_fetch_add(&ahead_ms, 4 * MINUTE_MS);
    assert_false(fetch_now(sts, "1", false));
    holds(sts, NULL, TLS_RESULT_STS_FETCH);
    assert_int_equal(atomic_load(&fetches), 1);
    atomic_fetch_add(&ahead_ms, 2 * MINUTE_MS);
    assert_true(fetch_now(sts, "1", false));
    holds(sts, "1", TLS_RESULT_NONE);
    assert_int_equal(atomic_load(&fetches), 2);
    sts_free(sts);
}

static void another_id_is_fetched_at_once(void **state)
{
    (void)state;
    struct test_config test;
    struct sts *sts = make(&test);
    assert_true(fetch_now(sts, "1", true));
    assert_true(fetch_now(sts, "2", false));
    holds(sts, "2", TLS_RESULT_NONE);
    assert_true(fetch_now(sts, "1", false)); /* the failure is over with the success */
    sts_free(sts);
}

static void the_policy_that_is_held_stays_in_force(void **state)
{
    (void)state;
    struct test_config test;
    struct sts *sts = make(&test);
    assert_true(fetch_now(sts, "1", false));
    assert_true(fetch_now(sts, "2", true));
    holds(sts, "1", TLS_RESULT_STS_FETCH);
    assert_false(fetch_now(sts, "2", false));
    holds(sts, "1", TLS_RESULT_STS_FETCH);
    atomic_fetch_add(&ahead_ms, 6 * MINUTE_MS);
    assert_true(fetch_now(sts, "2", false));
    holds(sts, "2", TLS_RESULT_NONE);
    sts_free(sts);
}

/* Four are under way for a host that is dead, and a fifth is queued before they know. */
static void what_failed_meanwhile_is_not_fetched_again(void **state)
{
    (void)state;
    struct test_config test;
    struct sts *sts = make(&test);
    host_is_dead = true;
    atomic_store(&fetches_are_held, true);
    for (int i = 0; i < 5; i++)
        assert_true(sts_fetch(sts, DOMAIN, "1", on_done, NULL));
    while (atomic_load(&fetches) < 4)
        (void)usleep(1000);
    atomic_store(&fetches_are_held, false);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sem_post(&go_on), 0);
    for (int i = 0; i < 5; i++) {
        while (sem_wait(&done) != 0)
            continue;
    }
    assert_int_equal(atomic_load(&fetches), 4);
    sts_free(sts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fetch_that_failed_is_not_repeated_at_once),
        cmocka_unit_test(another_id_is_fetched_at_once),
        cmocka_unit_test(the_policy_that_is_held_stays_in_force),
        cmocka_unit_test(what_failed_meanwhile_is_not_fetched_again),
    };
    if (sem_init(&done, 0, 0) != 0 || sem_init(&go_on, 0, 0) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
