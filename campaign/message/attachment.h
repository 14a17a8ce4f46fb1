/*
 * attachment.h - a campaign's files: attachments and the images that its HTML shows (RFC 2183, RFC 2387, RFC 2392).
 * Private to the folder.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_ATTACHMENT_H
#define POSTHASTE_CAMPAIGN_MESSAGE_ATTACHMENT_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/error.h"

#include "campaign/campaign.h"

#define ATTACHMENTS_MAX 20
#define ATTACHMENTS_MAX_BYTES ((size_t)10 << 20) /* all together, before encoding */

/* The body parts, encoded, each behind its boundary line; "" = none of the kind. */
struct attachments {
    const char *inline_boundary, *boundary; /* given by the caller */
    struct buffer inlined, attached;
};

/*
 * Reads [{"filename", "content_type", "content": base64, "inline", "cid"}, …]. `has_html`: inline files need it. 0,
 * with *faulty set when something of it went into `problem`; -ENOMEM.
 */
int attachments_compile(const json_t *list, bool has_html, struct attachments *out, bool *faulty,
                        struct problem *problem, struct error *err) ATTR_MUSTCHECK;

#endif
