/*
 * test_nexthop.c - look-ups of routes' hosts that wait for a thread of libuv's pool, which here has one, and that one
 * is busy.
 */
#include <semaphore.h>

#include "engine/net/nexthop.h"
#include "tests/unit/engine/unit.h"

#define QUERIES 100
#define GUARD_MS 10000

static sem_t leave;
static bool late; /* the loop did not end by itself */

static void be_busy(uv_work_t *work)
{
    (void)work;
    while (sem_wait(&leave) != 0)
        continue;
}

static void on_guard(uv_timer_t *guard)
{
    late = true;
    uv_stop(guard->loop);
}

static void on_answer(void *context, const struct nexthop_answer *answer)
{
    (void)answer;
    ++*(unsigned *)context;
}

static void a_cancelled_look_up_does_not_wait_for_a_thread(void **state)
{
    (void)state;
    static char host[] = "localhost";
    static struct loop loop; /* too large for a stack */
    uv_loop_t other;
    uv_work_t work;
    uv_timer_t guard;
    struct test_config test;
    struct nexthop_query *queries[QUERIES];
    unsigned answers = 0;
    test_config_init(&test, 25);
    test.route.host = host;
    assert_int_equal(sem_init(&leave, 0, 0), 0);
    assert_int_equal(uv_loop_init(&other), 0);
    assert_int_equal(uv_loop_init(&loop.uv), 0);
    assert_int_equal(uv_queue_work(&other, &work, be_busy, NULL), 0);
    for (size_t i = 0; i < QUERIES; i++) {
        queries[i] = nexthop_ask(&loop, &test.config, "a.example", on_answer, &answers);
        assert_non_null(queries[i]);
    }
    for (size_t i = 0; i < QUERIES; i++)
        nexthop_cancel(queries[i]);
    assert_int_equal(uv_timer_init(&loop.uv, &guard), 0);
    assert_int_equal(uv_timer_start(&guard, on_guard, GUARD_MS, 0), 0);
    uv_unref((uv_handle_t *)&guard);
    (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
    assert_int_equal(sem_post(&leave), 0);
    assert_int_equal(uv_run(&other, UV_RUN_DEFAULT), 0);
    uv_close((uv_handle_t *)&guard, NULL);
    assert_int_equal(uv_run(&loop.uv, UV_RUN_DEFAULT), 0);
    assert_false(late);
    assert_int_equal(answers, 0);
    assert_int_equal(uv_loop_close(&loop.uv), 0);
    assert_int_equal(uv_loop_close(&other), 0);
    assert_int_equal(sem_destroy(&leave), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancelled_look_up_does_not_wait_for_a_thread),
    };
    if (setenv("UV_THREADPOOL_SIZE", "1", 1) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
