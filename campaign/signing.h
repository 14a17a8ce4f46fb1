/*
 * signing.h - the DKIM keys of a sending domain that sign at present; private to the room.
 */
#ifndef POSTHASTE_CAMPAIGN_SIGNING_H
#define POSTHASTE_CAMPAIGN_SIGNING_H

#include "campaign/mailer.h"

/* The keys and their records. */
struct signing {
    const char *data_dir;
    struct error *err;
    size_t count;
    struct dkim_key *keys[CONTENT_SIGNERS_MAX];
    char *selectors[CONTENT_SIGNERS_MAX], *records[CONTENT_SIGNERS_MAX];
    int result;
};

/* Of the From address of a spec. 0, or -EINVAL with a problem (may be NULL): no key, or a key file that cannot be used.
 * Other negatives are failures. signing_finish() in any case. */
int signing_find(struct mailer *mailer, struct storage_reader *reader, const json_t *spec, struct signing *signing,
                 struct problem *problem, struct error *err) ATTR_MUSTCHECK;
void signing_finish(struct signing *signing);

#endif
