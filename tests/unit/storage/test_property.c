/*
 * test_property.c - random lives of campaigns against a model that is too simple to be wrong: an array of states per
 * campaign.
 *
 * Half of the campaigns have a segment, over an attribute. Claims, outcomes of every kind, retries, pauses, cancels,
 * unsubscribes, suppressions, late members and crashes come in random order; after each round every counter and, at the
 * end, every row must be what the model says, and the states must add up to the audience.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/storage/support.h"

enum { PEOPLE = 240, LISTS = 3, CAMPAIGNS = 4, DOMAINS = 5, STEPS = 200 };

struct person {
    int64_t id, lane;
    int n; /* its attribute */
    char email[64];
    bool suppressed;
    bool on[LISTS];     /* active now */
    int left_at[LISTS]; /* launches when it left, -1 = never was away */
};
struct flight { /* a job handed out and not answered yet */
    struct storage_job job;
    int person;
};
/* n < below, or n >= from and not n = 7; below < 0: no segment. Only what never changes: a segment is asked at the
 * claim. */
struct model_segment {
    int below, from;
};

struct model_campaign {
    int64_t id;
    enum campaign_status status;
    unsigned lists, excluded; /* bit sets */
    struct model_segment segment;
    enum delivery_state states[PEOPLE];
    bool audience[PEOPLE];
    struct flight flights[PEOPLE];
    int flight_count;
};
struct world {
    struct fixture fixture;
    int64_t lists[LISTS];
    struct person people[PEOPLE];
    int people_count;
    struct model_campaign campaigns[CAMPAIGNS];
    int campaign_count, launches;
    int64_t now_ms;
};

static int pick(int below)
{
    return (int)(random() % below);
}

static void put_number(struct buffer *out, enum segment_kind kind, enum segment_op op, const char *name, int64_t id,
                       int number)
{
    const struct segment_value value = {.type = SEGMENT_NUMBER, .text = "", .number = number};
    segment_put_test(out, kind, op, name, id, 1);
    segment_put_value(out, &value);
}

static void write_segment(const struct model_segment *segment, struct buffer *out)
{
    segment_put_group(out, SEGMENT_OR, 2);
    put_number(out, SEGMENT_ATTRIBUTE, SEGMENT_LT, "$.\"n\"", 0, segment->below);
    segment_put_group(out, SEGMENT_AND, 2);
    put_number(out, SEGMENT_ATTRIBUTE, SEGMENT_GTE, "$.\"n\"", 0, segment->from);
    segment_put_group(out, SEGMENT_NOT, 1);
    put_number(out, SEGMENT_ATTRIBUTE, SEGMENT_EQ, "$.\"n\"", 0, 7);
}

static bool in_segment(const struct person *person, const struct model_segment *segment)
{
    return segment->below < 0 || person->n < segment->below || (person->n >= segment->from && person->n != 7);
}

static void add_person(struct world *world, int list)
{
    struct person *person = &world->people[world->people_count];
    (void)snprintf(person->email, sizeof(person->email), "p%d@d%d.test", world->people_count, pick(DOMAINS));
    char attributes[32];
    person->n = pick(10);
    (void)snprintf(attributes, sizeof(attributes), person->n % 2 ? "{\"n\":\"%d\"}" : "{\"n\":%d}", person->n);
    import_one(&world->fixture, world->lists[list], person->email, attributes);
    person->id = recipient_id(&world->fixture, person->email);
    char sql[80];
    (void)snprintf(sql, sizeof(sql), "SELECT lane FROM recipient WHERE id = %lld", (long long)person->id);
    person->lane = sql_int(&world->fixture, sql);
    person->on[list] = true;
    for (int i = 0; i < LISTS; i++)
        person->left_at[i] = -1;
    world->people_count++;
}

static void join_list(struct world *world)
{
    struct person *person = &world->people[pick(world->people_count)];
    int list = pick(LISTS);
    if (person->on[list] || person->left_at[list] >= 0)
        return; /* an import would not bring it back */
    import_one(&world->fixture, world->lists[list], person->email, "{}");
    person->on[list] = true;
}

/* Leaves, or comes back when no launch lay in between (else the older campaigns may pass it over). */
static void change_member(struct world *world)
{
    struct error err = {.text = ""};
    struct person *person = &world->people[pick(world->people_count)];
    int list = pick(LISTS);
    if (person->on[list]) {
        must(storage_member_set(world->fixture.storage, world->lists[list], person->email, MEMBER_UNSUBSCRIBED, &err));
        person->on[list] = false;
        person->left_at[list] = world->launches;
    } else if (person->left_at[list] == world->launches) {
        must(storage_member_set(world->fixture.storage, world->lists[list], person->email, MEMBER_ACTIVE, &err));
        person->on[list] = true;
        person->left_at[list] = -1;
    }
}

static void change_suppression(struct world *world)
{
    struct error err = {.text = ""};
    struct person *person = &world->people[pick(world->people_count)];
    struct storage_suppression item = {.email = person->email, .reason = "manual", .created_ms = 1};
    if (person->suppressed)
        must(storage_suppression_remove(world->fixture.storage, person->email, 0, &err));
    else
        must(storage_suppression_add(world->fixture.storage, &item, &err));
    person->suppressed = !person->suppressed;
}

static bool on_any(const struct person *person, unsigned lists)
{
    for (int i = 0; i < LISTS; i++) {
        if (lists >> i & 1 && person->on[i])
            return true;
    }
    return false;
}

static void add_campaign(struct world *world)
{
    if (world->campaign_count == CAMPAIGNS)
        return;
    struct model_campaign *campaign = &world->campaigns[world->campaign_count++];
    campaign->lists = 1 + (unsigned)pick((1 << LISTS) - 1);
    campaign->excluded = pick(2) ? (unsigned)pick(1 << LISTS) & ~campaign->lists : 0;
    int64_t lists[LISTS], excluded[LISTS];
    int list_count = 0, excluded_count = 0;
    for (int i = 0; i < LISTS; i++) {
        if (campaign->lists >> i & 1)
            lists[list_count++] = world->lists[i];
        if (campaign->excluded >> i & 1)
            excluded[excluded_count++] = world->lists[i];
    }
    struct buffer program = BUFFER_INIT(0);
    campaign->segment = (struct model_segment){.below = pick(2) ? pick(10) : -1, .from = pick(12)};
    if (campaign->segment.below >= 0)
        write_segment(&campaign->segment, &program);
    campaign->id = make_segmented(&world->fixture, lists, list_count, excluded, excluded_count,
                                  campaign->segment.below >= 0 ? &program : NULL);
    buffer_finish(&program);
    launch(&world->fixture, campaign->id);
    campaign->status = CAMPAIGN_RUNNING;
    world->launches++;
    for (int i = 0; i < world->people_count; i++)
        campaign->audience[i] = on_any(&world->people[i], campaign->lists) &&
                                !on_any(&world->people[i], campaign->excluded) &&
                                in_segment(&world->people[i], &campaign->segment);
}

static int person_of(const struct world *world, int64_t id)
{
    for (int i = 0; i < world->people_count; i++) {
        if (world->people[i].id == id)
            return i;
    }
    fail_msg("nobody has the id %lld", (long long)id);
    return -1;
}

static bool may_be_mailed(const struct model_campaign *campaign, const struct person *person)
{
    return on_any(person, campaign->lists) && !person->suppressed;
}

static void hand_out(const struct world *world, struct model_campaign *campaign, const struct storage_claim *claim,
                     enum delivery_state from)
{
    for (int i = 0; i < claim->job_count; i++) {
        int who = person_of(world, claim->jobs[i].recipient_id);
        assert_int_equal(campaign->states[who], from);
        assert_true(campaign->audience[who]);
        assert_true(may_be_mailed(campaign, &world->people[who]));
        assert_string_equal(claim->jobs[i].email, world->people[who].email);
        campaign->states[who] = DELIVERY_SENDING;
        struct flight *flight = &campaign->flights[campaign->flight_count++];
        *flight = (struct flight){.job = claim->jobs[i], .person = who};
        flight->job.email = flight->job.domain = flight->job.attributes = NULL; /* lived in the arena */
    }
}

static void claim_some(struct world *world, struct model_campaign *campaign)
{
    int64_t lanes[64];
    int count = lanes_of(&world->fixture, campaign->id, lanes, 64);
    if (count == 0)
        return;
    struct storage_claim claim = {
        .campaign_id = campaign->id, .lane = lanes[pick(count)], .max = 1 + pick(30), .now_ms = world->now_ms};
    claim_wait(world->fixture.storage, &claim);
    if (campaign->status != CAMPAIGN_RUNNING) {
        assert_int_equal(claim.status, STORAGE_WRONG_STATE);
        assert_int_equal(claim.job_count, 0);
        return;
    }
    assert_int_equal(claim.status, 0);
    hand_out(world, campaign, &claim, DELIVERY_PENDING);
    /* Whoever was passed over on the way must have had a reason, and a row. */
    int64_t upto = claim.lane_done || claim.job_count == 0 ? INT64_MAX : claim.jobs[claim.job_count - 1].recipient_id;
    for (int i = 0; i < world->people_count; i++) {
        if (!campaign->audience[i] || campaign->states[i] != DELIVERY_PENDING || world->people[i].lane != claim.lane ||
            world->people[i].id > upto)
            continue;
        assert_false(may_be_mailed(campaign, &world->people[i]));
        campaign->states[i] = DELIVERY_SUPPRESSED;
    }
    arena_finish(&claim.arena);
}

static void claim_retries(struct world *world, struct model_campaign *campaign)
{
    struct storage_claim claim = {
        .campaign_id = campaign->id, .lane = STORAGE_LANE_RETRIES, .max = PEOPLE, .now_ms = world->now_ms};
    claim_wait(world->fixture.storage, &claim);
    if (campaign->status == CAMPAIGN_RUNNING) {
        assert_int_equal(claim.status, 0);
        hand_out(world, campaign, &claim, DELIVERY_DEFERRED);
        for (int i = 0; i < world->people_count; i++) { /* all are due: next_attempt_ms is always in the past */
            if (campaign->states[i] != DELIVERY_DEFERRED)
                continue;
            assert_false(may_be_mailed(campaign, &world->people[i]));
            campaign->states[i] = DELIVERY_SUPPRESSED;
        }
    }
    arena_finish(&claim.arena);
}

static void answer_some(struct world *world, struct model_campaign *campaign)
{
    static const enum delivery_state ends[] = {DELIVERY_DELIVERED, DELIVERY_DELIVERED, DELIVERY_DEFERRED,
                                               DELIVERY_DEFERRED,  DELIVERY_BOUNCED,   DELIVERY_FAILED,
                                               DELIVERY_UNCERTAIN};
    int wanted = pick(campaign->flight_count + 1);
    struct gate gate;
    gate_init(&gate);
    struct list records = LIST_INIT(records);
    for (int i = 0; i < wanted; i++) {
        int chosen = pick(campaign->flight_count);
        struct flight *flight = &campaign->flights[chosen];
        enum delivery_state state = ends[pick(countof(ends))];
        struct storage_outcome *record = make_outcome(&flight->job, state, &gate);
        record->next_attempt_ms = 1;
        record->tried = pick(4) != 0;
        if (state == DELIVERY_BOUNCED && pick(2)) {
            record->suppress_reason = "hard-bounce";
            world->people[flight->person].suppressed = true;
        }
        list_append(&records, &record->node);
        campaign->states[flight->person] =
            campaign->status == CAMPAIGN_CANCELLED && state == DELIVERY_DEFERRED ? DELIVERY_CANCELLED : state;
        *flight = campaign->flights[--campaign->flight_count];
    }
    storage_outcomes_post(world->fixture.storage, &records);
    gate_wait(&gate, wanted);
}

static void pause_or_resume(struct world *world, struct model_campaign *campaign)
{
    struct error err = {.text = ""};
    enum campaign_status to = campaign->status == CAMPAIGN_PAUSED ? CAMPAIGN_RUNNING : CAMPAIGN_PAUSED;
    int result = storage_campaign_move(world->fixture.storage, campaign->id, to, 0, world->now_ms, NULL, &err);
    if (campaign->status == CAMPAIGN_RUNNING || campaign->status == CAMPAIGN_PAUSED) {
        assert_int_equal(result, 0);
        campaign->status = to;
    } else {
        assert_int_equal(result, STORAGE_WRONG_STATE);
    }
}

static void cancel(struct world *world, struct model_campaign *campaign)
{
    struct error err = {.text = ""};
    int64_t changed;
    if (campaign->status == CAMPAIGN_FINISHED)
        return;
    must(storage_campaign_move(world->fixture.storage, campaign->id, CAMPAIGN_CANCELLED, 0, world->now_ms, NULL, &err));
    campaign->status = CAMPAIGN_CANCELLED;
    do {
        must(storage_campaign_cancel_deferred(world->fixture.storage, campaign->id, 7, world->now_ms, &changed, &err));
    } while (changed == 7);
    for (int i = 0; i < world->people_count; i++) {
        if (campaign->audience[i] &&
            (campaign->states[i] == DELIVERY_PENDING || campaign->states[i] == DELIVERY_DEFERRED))
            campaign->states[i] = DELIVERY_CANCELLED;
    }
}

static void try_finish(struct world *world, struct model_campaign *campaign)
{
    struct error err = {.text = ""};
    int result = storage_campaign_try_finish(world->fixture.storage, campaign->id, world->now_ms, &err);
    if (result == 0) {
        assert_int_equal(campaign->status, CAMPAIGN_RUNNING);
        campaign->status = CAMPAIGN_FINISHED;
        for (int i = 0; i < world->people_count; i++)
            assert_true(!campaign->audience[i] ||
                        (campaign->states[i] != DELIVERY_PENDING && campaign->states[i] != DELIVERY_SENDING &&
                         campaign->states[i] != DELIVERY_DEFERRED));
    } else {
        assert_int_equal(result, STORAGE_WRONG_STATE);
    }
}

static void unsubscribe(struct world *world, struct model_campaign *campaign)
{
    struct error err = {.text = ""};
    int who = pick(world->people_count);
    if (!campaign->audience[who])
        return;
    must(storage_unsubscribe(world->fixture.storage, campaign->id, world->people[who].id, world->now_ms, &err));
    for (int i = 0; i < LISTS; i++) {
        if (campaign->lists >> i & 1 && world->people[who].on[i]) {
            world->people[who].on[i] = false;
            world->people[who].left_at[i] = world->launches;
        }
    }
}

/* The process ends without the outcomes of what is in flight. */
static void crash(struct world *world)
{
    struct error err = {.text = ""};
    int in_flight = 0;
    fixture_close(&world->fixture);
    fixture_reopen(&world->fixture, true);
    bool hold = pick(4) == 0;
    struct storage_recovery found;
    must(storage_recover(world->fixture.storage, hold, world->now_ms, &found, &err));
    for (int c = 0; c < world->campaign_count; c++) {
        struct model_campaign *campaign = &world->campaigns[c];
        for (int i = 0; i < campaign->flight_count; i++)
            campaign->states[campaign->flights[i].person] = hold ? DELIVERY_UNCERTAIN
                                                            : campaign->status == CAMPAIGN_CANCELLED
                                                                ? DELIVERY_CANCELLED
                                                                : DELIVERY_DEFERRED;
        in_flight += campaign->flight_count;
        campaign->flight_count = 0;
    }
    assert_int_equal(found.deliveries, in_flight);
}

static void compare(struct world *world)
{
    for (int c = 0; c < world->campaign_count; c++) {
        const struct model_campaign *campaign = &world->campaigns[c];
        struct storage_campaign found = stats(&world->fixture, campaign->id);
        int64_t states[DELIVERY_STATE_COUNT] = {0}, audience = 0;
        for (int i = 0; i < world->people_count; i++) {
            states[campaign->states[i]] += campaign->audience[i];
            audience += campaign->audience[i];
        }
        assert_int_equal(found.status, campaign->status);
        assert_int_equal(found.audience, audience);
        for (int s = 0; s < DELIVERY_STATE_COUNT; s++) {
            if (found.states[s] != states[s])
                fail_msg("campaign %d: %lld %s, the model has %lld", c, (long long)found.states[s],
                         delivery_state_name((enum delivery_state)s), (long long)states[s]);
        }
        assert_adds_up(&found);
    }
}

struct rows {
    const struct world *world;
    const struct model_campaign *campaign;
    int count;
};

static int compare_row(void *context, const struct storage_delivery *delivery)
{
    struct rows *rows = context;
    assert_int_equal(delivery->state, rows->campaign->states[person_of(rows->world, delivery->recipient_id)]);
    rows->count++;
    return 0;
}

static void compare_rows(struct world *world)
{
    struct error err = {.text = ""};
    for (int c = 0; c < world->campaign_count; c++) {
        struct rows rows = {.world = world, .campaign = &world->campaigns[c]};
        must(storage_delivery_page(world->fixture.reader, world->campaigns[c].id, -1, NULL, 0, PEOPLE + 1, compare_row,
                                   &rows, &err));
        assert_in_range(rows.count, 0, world->people_count);
    }
    assert_blocks(&world->fixture);
    assert_int_equal(sql_int(&world->fixture, "SELECT count(*) FROM list_lane l WHERE n <> (SELECT count(*) FROM member"
                                              " m WHERE m.list_id = l.list_id AND m.lane = l.lane AND status = 0)"),
                     0);
    assert_int_equal(sql_int(&world->fixture, "SELECT (SELECT suppressions FROM meta) -"
                                              " (SELECT count(*) FROM suppression)"),
                     0);
}

static void step(struct world *world)
{
    struct model_campaign *campaign = world->campaign_count > 0 ? &world->campaigns[pick(world->campaign_count)] : NULL;
    int what = pick(100);
    if (campaign == NULL || what < 4)
        add_campaign(world);
    else if (what < 34)
        claim_some(world, campaign);
    else if (what < 58)
        answer_some(world, campaign);
    else if (what < 66)
        claim_retries(world, campaign);
    else if (what < 72)
        pause_or_resume(world, campaign);
    else if (what < 73)
        cancel(world, campaign);
    else if (what < 77)
        try_finish(world, campaign);
    else if (what < 80)
        unsubscribe(world, campaign);
    else if (what < 85)
        change_suppression(world);
    else if (what < 90)
        change_member(world);
    else if (what < 93)
        join_list(world);
    else if (what < 96 && world->people_count < PEOPLE)
        add_person(world, pick(LISTS));
    else if (what >= 98)
        crash(world);
}

static void random_lives_agree_with_the_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct world *world = calloc(1, sizeof(*world));
        assert_non_null(world);
        srandom(seed);
        world->now_ms = 1000;
        fixture_open(&world->fixture, true);
        for (int i = 0; i < LISTS; i++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "list%d", i);
            world->lists[i] = make_list(&world->fixture, name);
        }
        for (int i = 0; i < PEOPLE / 2; i++)
            add_person(world, pick(LISTS));
        for (int i = 0; i < STEPS; i++) {
            step(world);
            world->now_ms += pick(1000);
            compare(world);
        }
        compare_rows(world);
        fixture_remove(&world->fixture);
        free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lives_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
