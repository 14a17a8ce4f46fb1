/*
 * content.h - what content_compile() makes and message_compose() reads. Private to the folder.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_CONTENT_H
#define POSTHASTE_CAMPAIGN_MESSAGE_CONTENT_H

#include <stdatomic.h>

#include "base/address.h"

#include "campaign/message/attachment.h"
#include "campaign/message/links.h"
#include "campaign/message/message.h"
#include "campaign/message/mime.h"

#define BOUNDARY_BYTES 48

/* A header field with tags: rendered, then written by header_text(). */
struct content_field {
    char *name;
    struct template *template;
};

struct content_key {
    struct dkim_key *key;
    char *domain, *selector;
};

struct content {
    atomic_uint references;
    int64_t campaign_id;
    char campaign_id_text[24];
    char *campaign_name;
    struct address from;
    char *from_name;
    char *return_domain; /* of the return path */
    char *url_prefix;    /* public_url with a slash at its end */
    struct buffer head;  /* the fields that are the same for all recipients, written */
    struct template *subject;
    struct content_field fields[CONTENT_HEADERS_MAX];
    size_t field_count;
    struct part *html, *text; /* text is never NULL; html NULL = text only */
    char boundary[BOUNDARY_BYTES], related_boundary[BOUNDARY_BYTES], mixed_boundary[BOUNDARY_BYTES];
    struct attachments attachments;
    struct links links; /* tracked; empty without track.clicks */
    json_t *partials;   /* those that are shown, by name */
    bool uses_attributes;
    uint32_t uses; /* bit set of 1 << enum template_builtin */
    bool transactional; /* no list fields */
    bool utf8;     /* an address of the head has UTF-8 */
    const struct mac_key *mac;
    struct content *_Atomic newer; /* the same with other keys; a reference, set once */
    int64_t signature_life_s; /* 0 = no x= */
    struct content_key signers[CONTENT_SIGNERS_MAX];
    size_t signer_count; /* 0 = unsigned */
};

#endif
