/* test_clock.c - that both clocks run, agree with each other's units, and that the monotonic one never goes back. */
#include "unit.h"

#include <time.h>

#include "base/clock.h"

static void monotonic_never_goes_back(void **state)
{
    (void)state;
    int64_t last = clock_monotonic_us();
    for (int i = 0; i < 100000; i++) {
        int64_t now = clock_monotonic_us();
        assert_true(now >= last);
        last = now;
    }
    int64_t ms = clock_monotonic_ms();
    assert_true(ms >= last / 1000);
    assert_true(ms <= clock_monotonic_us() / 1000);
}

static void wall_is_milliseconds_since_1970(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL);
    int64_t wall_ms = clock_wall_ms();
    /* time() reads a coarser clock that may lag by a tick. */
    assert_true(wall_ms / 1000 >= before);
    assert_true(wall_ms / 1000 <= (int64_t)time(NULL) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_never_goes_back),
        cmocka_unit_test(wall_is_milliseconds_since_1970),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
