/*
 * ledger.c - the sums of one transaction and the open claims.
 *
 * Success of ledger_flush() means written, not durable. The order within a transaction is: outcomes into the ledger,
 * flush, then calls and claims, which work on the rows directly.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/ledger.h"

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){.claims = HASHMAP_INIT};
    list_init(&ledger->touched);
    list_init(&ledger->fresh);
}

static void free_claims(struct list *claims)
{
    for (struct list *node; (node = list_take_first(claims)) != NULL;)
        free(list_entry(node, struct open_claim, node));
}

void ledger_finish(struct ledger *ledger)
{
    ledger_dropped(ledger);
    struct open_claim *claim;
    size_t cursor = 0;
    while ((claim = hashmap_next(&ledger->claims, &cursor)) != NULL)
        free(claim);
    hashmap_finish(&ledger->claims);
    free(ledger->campaigns);
}

static struct ledger_campaign *add_campaign(struct ledger *ledger, int64_t id)
{
    if (ledger->campaign_count == ledger->campaign_capacity) {
        size_t capacity = ledger->campaign_capacity == 0 ? 8 : ledger->campaign_capacity * 2;
        struct ledger_campaign *grown = reallocarray(ledger->campaigns, capacity, sizeof(*grown));
        if (grown == NULL)
            return NULL;
        ledger->campaigns = grown;
        ledger->campaign_capacity = capacity;
    }
    struct ledger_campaign *line = &ledger->campaigns[ledger->campaign_count];
    *line = (struct ledger_campaign){.id = id};
    return line;
}

struct ledger_campaign *ledger_campaign(struct ledger *ledger, struct db *db, int64_t id, struct error *err)
{
    if (ledger->last < ledger->campaign_count && ledger->campaigns[ledger->last].id == id)
        return &ledger->campaigns[ledger->last];
    for (size_t i = 0; i < ledger->campaign_count; i++) {
        if (ledger->campaigns[i].id == id) {
            ledger->last = i;
            return &ledger->campaigns[i];
        }
    }
    struct ledger_campaign *line = add_campaign(ledger, id);
    if (line == NULL) {
        (void)error_memory(err);
        return NULL;
    }
    if (id != 0) {
        int64_t status;
        int missing = db_get(db, err, &status, "SELECT status FROM campaign WHERE id = ?", DB_I(id));
        if (missing < 0)
            return NULL;
        line->known = missing == 0;
        line->status = (enum campaign_status)status;
    }
    ledger->last = ledger->campaign_count++;
    return line;
}

/* A slot for the minute; when all are taken the caller flushes first. */
static struct ledger_minute *find_minute(struct ledger_campaign *line, int64_t minute_ms)
{
    for (int i = 0; i < line->minute_count; i++) {
        if (line->minutes[i].minute_ms == minute_ms)
            return &line->minutes[i];
    }
    if (line->minute_count == LEDGER_MINUTES)
        return NULL;
    struct ledger_minute *minute = &line->minutes[line->minute_count++];
    *minute = (struct ledger_minute){.minute_ms = minute_ms};
    return minute;
}

static int flush_minutes(struct ledger_campaign *line, struct db *db, struct error *err)
{
    for (int i = 0; i < line->minute_count; i++) {
        const struct ledger_minute *minute = &line->minutes[i];
        int failed = db_run(db, err,
                            "INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                            " delivered = delivered + excluded.delivered, deferred = deferred + excluded.deferred,"
                            " bounced = bounced + excluded.bounced, failed = failed + excluded.failed",
                            DB_I(line->id), DB_I(minute->minute_ms), DB_I(minute->delivered), DB_I(minute->deferred),
                            DB_I(minute->bounced), DB_I(minute->failed));
        if (failed)
            return failed;
    }
    line->minute_count = 0;
    return 0;
}

static int count_minute(struct ledger_campaign *line, struct db *db, enum delivery_state state, int64_t minute_ms,
                        struct error *err)
{
    struct ledger_minute *minute = find_minute(line, minute_ms);
    if (minute == NULL) { /* times all over the place: a clock that jumped */
        int failed = flush_minutes(line, db, err);
        if (failed)
            return failed;
        minute = find_minute(line, minute_ms);
        assure(minute != NULL);
    }
    minute->delivered += state == DELIVERY_DELIVERED;
    minute->deferred += state == DELIVERY_DEFERRED || state == DELIVERY_UNCERTAIN;
    minute->bounced += state == DELIVERY_BOUNCED;
    minute->failed += state == DELIVERY_FAILED;
    return 0;
}

int ledger_minute(struct ledger *ledger, struct db *db, int64_t campaign_id, enum delivery_state state, int64_t at_ms,
                  struct error *err)
{
    int64_t minute_ms = at_ms - at_ms % 60000;
    const int64_t ids[] = {0, campaign_id};
    for (size_t i = 0; i < countof(ids); i++) {
        struct ledger_campaign *line = ledger_campaign(ledger, db, ids[i], err);
        if (line == NULL)
            return -ENOMEM;
        int failed = count_minute(line, db, state, minute_ms, err);
        if (failed)
            return failed;
    }
    return 0;
}

struct open_claim *ledger_claim(const struct ledger *ledger, int64_t id, int64_t campaign_id, int64_t recipient_id)
{
    struct open_claim *claim = hashmap_get(&ledger->claims, &id, sizeof(id));
    if (claim == NULL || claim->campaign_id != campaign_id || recipient_id < claim->lo || recipient_id > claim->hi)
        return NULL;
    return claim;
}

void ledger_claim_settle(struct ledger *ledger, struct open_claim *claim)
{
    assure(claim->settled < claim->remaining);
    if (list_empty(&claim->node))
        list_append(&ledger->touched, &claim->node);
    claim->settled++;
}

void ledger_claim_unsettle(struct open_claim *claim)
{
    assure(claim->settled > 0);
    claim->settled--; /* and stays touched, which says no more than that it was looked at */
}

int ledger_claim_add(struct ledger *ledger, struct open_claim *claim)
{
    int refused = hashmap_put(&ledger->claims, &claim->id, sizeof(claim->id), claim);
    assure(refused <= 0); /* ids are never given twice in one process */
    if (refused == 0)
        list_append(&ledger->fresh, &claim->node);
    return refused;
}

void ledger_claim_drop(struct ledger *ledger, int64_t id)
{
    list_for_each_safe(node, &ledger->fresh)
    {
        struct open_claim *claim = list_entry(node, struct open_claim, node);
        if (claim->id != id)
            continue;
        list_remove(&claim->node);
        (void)hashmap_remove(&ledger->claims, &claim->id, sizeof(claim->id));
        free(claim);
    }
}

static int flush_campaign(const struct ledger_campaign *line, struct db *db, struct error *err)
{
    return db_run(
        db, err,
        "UPDATE campaign SET sending = sending + ?2, delivered = delivered + ?3, deferred = deferred + ?4,"
        " bounced = bounced + ?5, failed = failed + ?6, suppressed = suppressed + ?7,"
        " cancelled = cancelled + ?8, uncertain = uncertain + ?9,"
        " missing_attributes = missing_attributes + ?10,"
        " first_delivery = iif(first_delivery = 0 OR (?11 <> 0 AND ?11 < first_delivery), ?11,"
        " first_delivery), last_delivery = max(last_delivery, ?12), hard_bounced = hard_bounced + ?13 WHERE id = ?1",
        DB_I(line->id), DB_I(line->states[DELIVERY_SENDING]), DB_I(line->states[DELIVERY_DELIVERED]),
        DB_I(line->states[DELIVERY_DEFERRED]), DB_I(line->states[DELIVERY_BOUNCED]),
        DB_I(line->states[DELIVERY_FAILED]), DB_I(line->states[DELIVERY_SUPPRESSED]),
        DB_I(line->states[DELIVERY_CANCELLED]), DB_I(line->states[DELIVERY_UNCERTAIN]), DB_I(line->missing_attributes),
        DB_I(line->first_delivery_ms), DB_I(line->last_delivery_ms), DB_I(line->hard_bounced));
}

static int flush_claims(struct ledger *ledger, struct db *db, struct error *err)
{
    list_for_each(node, &ledger->touched)
    {
        struct open_claim *claim = list_entry(node, struct open_claim, node);
        if (claim->settled < claim->remaining)
            continue;
        int failed = db_run(db, err, "DELETE FROM claim WHERE id = ?", DB_I(claim->id));
        if (failed)
            return failed;
    }
    return 0;
}

int ledger_flush(struct ledger *ledger, struct db *db, struct error *err)
{
    for (size_t i = 0; i < ledger->campaign_count; i++) {
        struct ledger_campaign *line = &ledger->campaigns[i];
        int failed = line->known ? flush_campaign(line, db, err) : 0;
        if (!failed)
            failed = flush_minutes(line, db, err);
        if (failed)
            return failed;
    }
    ledger->campaign_count = 0;
    if (ledger->suppressions != 0) {
        int failed = db_run(db, err, "UPDATE meta SET suppressions = suppressions + ?", DB_I(ledger->suppressions));
        if (failed)
            return failed;
        ledger->suppressions = 0;
    }
    return flush_claims(ledger, db, err);
}

void ledger_committed(struct ledger *ledger)
{
    for (struct list *node; (node = list_take_first(&ledger->touched)) != NULL;) {
        struct open_claim *claim = list_entry(node, struct open_claim, node);
        claim->remaining -= claim->settled;
        claim->settled = 0;
        if (claim->remaining == 0) {
            (void)hashmap_remove(&ledger->claims, &claim->id, sizeof(claim->id));
            free(claim);
        }
    }
    while (list_take_first(&ledger->fresh) != NULL) /* in the map already; now they stay */
        ;
}

void ledger_dropped(struct ledger *ledger)
{
    for (struct list *node; (node = list_take_first(&ledger->touched)) != NULL;)
        list_entry(node, struct open_claim, node)->settled = 0;
    list_for_each(node, &ledger->fresh)
    {
        struct open_claim *claim = list_entry(node, struct open_claim, node);
        (void)hashmap_remove(&ledger->claims, &claim->id, sizeof(claim->id));
    }
    free_claims(&ledger->fresh);
    ledger_forget(ledger);
}

void ledger_forget(struct ledger *ledger)
{
    ledger->campaign_count = 0;
    ledger->suppressions = 0;
}
