/*
 * links_private.h - what the scanners of HTML (link_html.c) and text (link_text.c) share with links.c; private to the
 * three.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_LINKS_PRIVATE_H
#define POSTHASTE_CAMPAIGN_MESSAGE_LINKS_PRIVATE_H

#include "campaign/message/links.h"

/* A place in a template: a byte of a text node; at its length, the end of the node. */
struct spot {
    uint32_t node;
    size_t offset;
};

/* From here to there stands the URL of this number. */
struct found_link {
    struct spot from, to;
    uint32_t number;
};

struct finds {
    struct found_link *items;
    size_t count, capacity;
    bool failed; /* no memory */
};

void finds_add(struct finds *finds, struct spot from, struct spot to, uint32_t number);

/* A URL while it is read: the source of a template. */
struct url {
    struct buffer text;
    bool broken; /* holds what cannot be brought over */
};
#define URL_INIT ((struct url){.text = BUFFER_INIT(LINK_URL_MAX_BYTES)})
void url_begin(struct url *url);
void url_add(struct url *url, char c);
void url_add_tag(struct url *url, const struct template_node *node);

/* The number of the URL, made when it is new; 0 = not to be tracked. */
uint32_t links_number(struct links *links, struct finds *finds, const struct url *url, bool off);

void link_scan_html(struct links *links, const struct template *html, struct finds *finds);
void link_scan_text(struct links *links, const struct template *text, struct finds *finds);

#endif
