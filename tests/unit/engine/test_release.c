/*
 * test_release.c - orders and jobs that come while the loop is taking in other jobs. The linker sends domain_take()
 * here (--wrap), which is that moment.
 */
#include "engine/site/domain.h"
#include "tests/unit/engine/trial.h"

#define FIRST 2
#define LATER 3

static struct trial *trial; /* which does more in the middle of the first batch; NULL = none does */

void __real_domain_take(struct dispatch *dispatch, struct engine_job *job);
void __wrap_domain_take(struct dispatch *dispatch, struct engine_job *job);

void __wrap_domain_take(struct dispatch *dispatch, struct engine_job *job)
{
    struct trial *now = trial;
    trial = NULL;
    if (now != NULL) {
        trial_submit(now, LATER, 1, 1);
        engine_release(now->engine, &(struct engine_release){.group = 1});
    }
    __real_domain_take(dispatch, job);
}

static void a_release_finds_all_that_was_submitted_before_it(void **state)
{
    (void)state;
    struct trial *own = trial_create(1); /* nothing is sent */
    trial_start(own);
    engine_hold(own->engine, true);
    trial = own;
    trial_submit(own, FIRST, 1, 1);
    assert_true(trial_wait(own, &own->ended, FIRST + LATER));
    assert_int_equal(trial_count(own, OUTCOME_RELEASED), FIRST + LATER);
    trial_stop(own, 0);
    trial_free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_finds_all_that_was_submitted_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
