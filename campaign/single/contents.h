/*
 * contents.h - the compiled contents of single messages; private to the room.
 *
 * A campaign has one content for all; each message may have its own, so it is compiled when its message is composed.
 * What was compiled lately is kept, for a template that a thousand messages use is one content. Kept ones are compiled
 * anew after a minute, so that a new DKIM key signs soon. Any thread.
 */
#ifndef POSTHASTE_CAMPAIGN_SINGLE_CONTENTS_H
#define POSTHASTE_CAMPAIGN_SINGLE_CONTENTS_H

#include "campaign/mailer.h"

struct contents;

int contents_create(struct mailer *mailer, struct contents **out, struct error *err) ATTR_MUSTCHECK;
void contents_free(struct contents *contents); /* NULL is allowed */

/* A reference, to be given back. -EINVAL: the message can never be composed; any other negative: not now. */
int contents_get(struct contents *contents, int64_t campaign_id, int64_t content_id, struct content **out,
                 struct error *err) ATTR_MUSTCHECK;

#endif
