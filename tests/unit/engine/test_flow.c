/*
 * test_flow.c - campaigns share a site by their weights, whenever they come.
 */
#include "engine/site/site.h"
#include "tests/unit/engine/unit.h"

struct trial {
    struct site site;
    struct engine_campaign campaigns[3];
    struct engine_job jobs[3];
    struct flow *flows[3];
    struct list lanes[3]; /* one that may start a message */
};

static void begin(struct trial *trial)
{
    memset(trial, 0, sizeof *trial);
    list_init(&trial->site.flows);
    list_init(&trial->site.senders);
    list_init(&trial->site.feeders);
}

static void join(struct trial *trial, size_t i, uint32_t weight)
{
    atomic_store(&trial->campaigns[i].weight, weight);
    trial->jobs[i] = (struct engine_job){.group = i + 1, .campaign = &trial->campaigns[i]};
    trial->flows[i] = flow_get(&trial->site, &trial->jobs[i]);
    assert_non_null(trial->flows[i]);
    list_append(&trial->flows[i]->senders, &trial->lanes[i]);
    flow_settle(trial->flows[i]);
}

static void leave(struct trial *trial, size_t i)
{
    list_remove(&trial->lanes[i]);
    flow_settle(trial->flows[i]);
}

static void end(struct trial *trial)
{
    for (size_t i = 0; i < countof(trial->flows); i++) {
        if (trial->flows[i] != NULL)
            flow_free(trial->flows[i]);
    }
}

static void serve(struct trial *trial, size_t turns, size_t counts[3])
{
    memset(counts, 0, 3 * sizeof *counts);
    for (size_t i = 0; i < turns; i++) {
        struct flow *flow = flow_next_sender(&trial->site);
        assert_non_null(flow);
        counts[flow->group - 1]++;
        flow_sent(flow);
    }
}

static void turns_follow_the_weights(void **state)
{
    (void)state;
    struct trial trial;
    size_t counts[3];
    begin(&trial);
    join(&trial, 0, 1);
    join(&trial, 1, 3);
    join(&trial, 2, 0); /* 100 */
    serve(&trial, 104 * 10, counts);
    assert_in_range(counts[0], 9, 11);
    assert_in_range(counts[1], 29, 31);
    assert_in_range(counts[2], 998, 1002);
    end(&trial);
}

static void a_newcomer_is_served_at_once_and_does_not_catch_up(void **state)
{
    (void)state;
    struct trial trial;
    size_t counts[3];
    begin(&trial);
    join(&trial, 0, 100);
    serve(&trial, 1000000, counts);
    join(&trial, 1, 1000);
    serve(&trial, 11, counts);
    assert_in_range(counts[1], 9, 10);
    leave(&trial, 1);
    serve(&trial, 5000, counts);
    list_append(&trial.flows[1]->senders, &trial.lanes[1]);
    flow_settle(trial.flows[1]);
    serve(&trial, 1100, counts);
    assert_in_range(counts[0], 98, 102);
    end(&trial);
}

static void an_equal_newcomer_waits_for_one_message(void **state)
{
    (void)state;
    struct trial trial;
    size_t counts[3];
    begin(&trial);
    join(&trial, 0, 100);
    serve(&trial, 12345, counts);
    join(&trial, 1, 100);
    serve(&trial, 2, counts);
    assert_int_equal(counts[0] + counts[1], 2);
    assert_int_equal(counts[1], 1);
    end(&trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_follow_the_weights),
        cmocka_unit_test(a_newcomer_is_served_at_once_and_does_not_catch_up),
        cmocka_unit_test(an_equal_newcomer_waits_for_one_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
