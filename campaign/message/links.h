/*
 * links.h - finds the links of a campaign and puts tracked ones in their place; the open pixel. Private to the room.
 *
 * A link is tracked when it is an http(s) URL whose host stands in the content as it is; tags may stand behind the
 * host, save for those of our pages ({{unsubscribe_url}} and the like). The table holds the URL as a template (what the
 * author wrote, with plain tags); its numbers, from 1, are what tokens name. Everything is cut by the place in the
 * source: not a byte of the content besides the URLs changes.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_LINKS_H
#define POSTHASTE_CAMPAIGN_MESSAGE_LINKS_H

#include "campaign/message/template.h"

#define LINKS_MAX 2000
#define LINK_URL_MAX_BYTES 4000

struct links {
    char **urls; /* number 1 is urls[0] */
    size_t count;
    char **untracked; /* marked data-track="off" in the HTML: not tracked in the text either */
    size_t untracked_count;
    bool fixed;    /* the table is that of a launched campaign: what is not in it is not tracked */
    bool overfull; /* there were more than LINKS_MAX */
};

/* A launched campaign's table: an array of strings. 0, -ENOMEM. */
int links_load(struct links *links, const json_t *urls) ATTR_MUSTCHECK;
void links_finish(struct links *links);

/* href of <a> and <area>, save where the element has data-track="off". 0 or -ENOMEM; the template is whole either way.
 */
int links_track_html(struct links *links, struct template *html) ATTR_MUSTCHECK;
/* http(s) URLs of a plain text. */
int links_track_text(struct links *links, struct template *text) ATTR_MUSTCHECK;

/* An image of one point, before </body> or at the end. 0 or -ENOMEM. */
int links_add_pixel(struct template *html) ATTR_MUSTCHECK;

/* What an address may not hold becomes %XX; so nothing that a value brings can end the field that holds it. */
void link_escape(const char *url, size_t len, struct buffer *out);

#endif
