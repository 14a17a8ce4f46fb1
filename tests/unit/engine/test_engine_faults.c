/*
 * test_engine_faults.c - memory is short once, at each moment of a small campaign in turn: every job comes back once,
 * with what really became of it, and the engine goes on.
 */
#include "engine/site/bounds.h"
#include "tests/unit/engine/trial.h"
#include "tests/unit/short_memory.h"

/* Of the engine's own thread. The one that makes it 0 fails, and only that; negative = none does. */
static atomic_int allocations_left;

static bool may_allocate(void)
{
    return !trial_on_engine || atomic_fetch_sub(&allocations_left, 1) != 1;
}

#define JOBS 24

/* False when the campaign was over before so many allocations. */
static bool one_campaign(bool chunking, int failing)
{
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server->pipelining = true;
    server->chunking = chunking;
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.profile.connections = 2;
    trial->test.profile.messages_per_connection = 9;
    trial_start(trial);
    trial_submit(trial, 1, 1, 1); /* makes its thread known */
    assert_true(trial_wait(trial, &trial->ended, 1));
    atomic_store(&allocations_left, failing);
    trial_submit(trial, JOBS - 1, 3, 1);
    assert_true(trial_wait(trial, &trial->ended, JOBS));
    trial_stop(trial, 5000);
    bool failed = atomic_exchange(&allocations_left, 0) <= 0;
    server_stop(server);
    trial_equals_record(trial, server);
    trial_free(trial);
    free(server);
    return failed;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int chunking = 0; chunking < 2; chunking++) {
        int failing = 1;
        while (one_campaign(chunking != 0, failing))
            failing++;
        assert_in_range(failing, 20, 1000);
    }
}

static atomic_int takes_to_fail;

int __real_bounds_take(struct bounds *bounds, int64_t now_us, size_t bytes, uint64_t *ticket);
int __wrap_bounds_take(struct bounds *bounds, int64_t now_us, size_t bytes, uint64_t *ticket);

int __wrap_bounds_take(struct bounds *bounds, int64_t now_us, size_t bytes, uint64_t *ticket)
{
    return atomic_fetch_sub(&takes_to_fail, 1) > 0 ? -ENOMEM : __real_bounds_take(bounds, now_us, bytes, ticket);
}

/* Nothing else happens that would make the site look again. */
static void a_limit_without_memory_is_asked_again(void **state)
{
    (void)state;
    struct server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    server_start(server);
    struct trial *trial = trial_create(server->port);
    trial->test.profile.idle_timeout_ms = 2000 * (int64_t)TRIAL_WAIT_S;
    trial_start(trial);
    atomic_store(&takes_to_fail, 2); /* a connection is offered to the message twice in a turn */
    trial_submit(trial, 1, 1, 1);
    assert_true(trial_wait(trial, &trial->ended, 1));
    assert_true(atomic_load(&takes_to_fail) < 0);
    trial_stop(trial, 2000);
    server_stop(server);
    trial_equals_record(trial, server);
    trial_free(trial);
    free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_limit_without_memory_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
