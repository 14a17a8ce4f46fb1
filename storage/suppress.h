/*
 * suppress.h - suppressions from the inside of the writer's transactions; private to storage/.
 */
#ifndef POSTHASTE_STORAGE_SUPPRESS_H
#define POSTHASTE_STORAGE_SUPPRESS_H

#include "storage/writer.h"

/* Which kinds of entries there are, asked once a claim. */
struct suppress_kinds {
    bool lists, digests;
    bool spare_unsubscribed; /* set by the caller: who has unsubscribed may be mailed all the same */
};
int suppress_kinds(struct db *db, struct suppress_kinds *out, struct error *err) ATTR_MUSTCHECK;

/* May the campaign mail the address? 0 = yes; 1 = no, and the reason; negative. */
int suppress_find(struct storage *storage, const struct suppress_kinds *kinds, int64_t campaign_id, const char *email,
                  int64_t now_ms, char reason[65], struct error *err) ATTR_MUSTCHECK;
/* The same by what few have: entries for one list, and digests. For whoever has looked into `suppression` already. */
int suppress_find_rare(struct storage *storage, const struct suppress_kinds *kinds, int64_t campaign_id,
                       const char *email, int64_t now_ms, char reason[65], struct error *err) ATTR_MUSTCHECK;

/* 1 = there is a new entry (meta.suppressions is the caller's to raise), 0 = it changed or held already, negative. */
int suppress_put(struct db *db, const struct storage_suppression *item, struct error *err) ATTR_MUSTCHECK;
/* The same for every list, by the recipient's id, or by that of a message to him. */
int suppress_recipient(struct db *db, int64_t recipient_id, const char *reason, const char *origin, int64_t at_ms,
                       struct error *err) ATTR_MUSTCHECK;

/*
 * One more soft bounce of the recipient, once a campaign. `limit` of them within `window_ms`, and nothing delivered
 * since the oldest, suppress. 1 = counted; *suppressed: by this one. 0 = known before. negative.
 */
struct suppress_soft {
    int64_t campaign_id, recipient_id, at_ms, window_ms;
    int limit; /* 0 = never */
    const char *origin;
};
int suppress_soft(struct db *db, const struct suppress_soft *soft, bool *suppressed, struct error *err) ATTR_MUSTCHECK;

#endif
