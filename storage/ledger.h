/*
 * ledger.h - what the writer's transaction adds up in memory; private to storage/, writer thread only.
 *
 * A thousand outcomes of one campaign become one UPDATE of its counters. The ledger also knows how many members of each
 * open claim have no delivery row yet, so that the claim's row goes with its last outcome without counting in SQL.
 * Nothing it holds is believed before ledger_committed(): ledger_dropped() takes everything since the last commit back.
 */
#ifndef POSTHASTE_STORAGE_LEDGER_H
#define POSTHASTE_STORAGE_LEDGER_H

#include "base/hashmap.h"
#include "base/list.h"
#include "storage/db.h"
#include "storage/storage.h"

struct open_claim {
    struct list node; /* in ledger.fresh or ledger.touched while the transaction has business with it */
    int64_t id, campaign_id, lo, hi;
    int remaining; /* members without a row, as committed */
    int settled;   /* of those, got their row in this transaction */
};

#define LEDGER_MINUTES 4
struct ledger_minute {
    int64_t minute_ms, delivered, deferred, bounced, failed;
};
struct ledger_campaign {
    int64_t id; /* 0: the sums over all campaigns, for the minute totals only */
    bool known; /* there is such a campaign */
    enum campaign_status status;
    int64_t states[DELIVERY_STATE_COUNT]; /* changes; PENDING unused */
    int64_t missing_attributes, hard_bounced, first_delivery_ms, last_delivery_ms;
    int minute_count;
    struct ledger_minute minutes[LEDGER_MINUTES];
};

struct ledger {
    struct ledger_campaign *campaigns;
    size_t campaign_count, campaign_capacity, last; /* last: where the previous look-up ended */
    int64_t suppressions;
    struct hashmap claims; /* by id */
    struct list touched, fresh;
};

void ledger_init(struct ledger *ledger);
void ledger_finish(struct ledger *ledger);

/* The campaign's line, its status read from the database on first use. The pointer is good until the next call. NULL:
 * failed. */
struct ledger_campaign *ledger_campaign(struct ledger *ledger, struct db *db, int64_t id, struct error *err);
/* Counts one attempt in its minute, for the campaign and for the total. */
int ledger_minute(struct ledger *ledger, struct db *db, int64_t campaign_id, enum delivery_state state, int64_t at_ms,
                  struct error *err);

/* The open claim that covers the recipient, or NULL. */
struct open_claim *ledger_claim(const struct ledger *ledger, int64_t id, int64_t campaign_id, int64_t recipient_id);
void ledger_claim_settle(struct ledger *ledger, struct open_claim *claim); /* one more member has its row */
void ledger_claim_unsettle(struct open_claim *claim);                      /* ... of this transaction: has not */
/* A claim made in this transaction; the ledger owns it from here, unless -ENOMEM. */
int ledger_claim_add(struct ledger *ledger, struct open_claim *claim) ATTR_MUSTCHECK;
/* Takes a claim of this transaction back (its savepoint is rolled back). */
void ledger_claim_drop(struct ledger *ledger, int64_t id);

/* Writes what has added up. After it, SQL sees the counters as they are. */
int ledger_flush(struct ledger *ledger, struct db *db, struct error *err) ATTR_MUSTCHECK;
/* Drops the sums since the last flush, not the claims. */
void ledger_forget(struct ledger *ledger);
void ledger_committed(struct ledger *ledger);
void ledger_dropped(struct ledger *ledger);

#endif
