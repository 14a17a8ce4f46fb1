/*
 * test_engine_faults.c - memory is short once, at each moment of a small campaign in turn: every job comes back once,
 * with what really became of it, and the engine goes on.
 */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
