/*
 * message.h - the composed message: a campaign's content compiled once, then one signed RFC 5322 message per recipient.
 * Private to the room.
 *
 * `struct content` is immutable after content_compile(), counted by reference and read by any number of threads.
 * `struct composer` is one thread's scratch memory and its prepared DKIM signers; it serves any content.
 *
 * Message-ID, unsubscribe token and return path are a keyed function of (campaign, recipient): the same for every
 * attempt. Date, and the signature, are of the attempt.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_MESSAGE_H
#define POSTHASTE_CAMPAIGN_MESSAGE_MESSAGE_H

#include "campaign/campaign.h"
#include "dkim/dkim.h"

#define CONTENT_PART_MAX_BYTES ((size_t)1 << 20) /* of a part as posted, and of a part as rendered */
#define CONTENT_HEADERS_MAX 50

#define CONTENT_SIGNERS_MAX 2 /* RFC 8463 section 3: RSA for all, Ed25519 beside it for those who know it */

struct content;
struct composer;

/* Each makes a DKIM-Signature field of its own, in this order; every selector names its own key. */
struct content_signer {
    struct dkim_key *key; /* NULL = no (further) signature */
    const char *selector;
    const char *domain; /* NULL = the From domain */
};

/* Everything is copied, except `mac`, which must live until the last message of the content is composed (NULL will do
 * while only the spec is checked), and the signers' keys, which are referenced. */
struct content_options {
    const json_t *spec; /* the campaign as posted: from{email,name}, reply_to, subject, html, text, headers{}, tags[],
                            attachments[{filename, content_type, content, inline, cid}];
                           track{opens,clicks}; other members are not looked at */
    const json_t *partials; /* object of names and templates for {{>name}}; NULL = none */
    const json_t *links; /* URLs of a launched campaign, in the order of their numbers: nothing else is tracked. NULL =
                            the content makes the table */
    int64_t campaign_id; /* 0 while a campaign is only checked */
    const char *campaign_name;
    const char *const *list_names; /* of the audience; the first names the List-Id */
    size_t list_count;
    const char *public_url;    /* where /u/TOKEN is served */
    const char *bounce_domain; /* of the return path; "" = the From domain */
    const struct mac_key *mac;
    struct content_signer signers[CONTENT_SIGNERS_MAX];
    bool transactional; /* one that was asked for: without the header fields of a list */
    int64_t signature_life_s; /* x= so long after t=; 0 = none */
};

/* 0; -EINVAL with every fault of the spec in `problem` (fields "from.email", "subject", "html", "headers.X-Name", …;
 * templates with line and column); other negatives are failures. */
int content_compile(const struct content_options *options, struct content **out, struct problem *problem,
                    struct error *err) ATTR_MUSTCHECK;
struct content *content_ref(struct content *content);
void content_unref(struct content *content);
/* From now on `newer` (the same campaign's, with other keys) takes the place of `content` wherever content_newest() is
 * asked for it. Once. */
void content_supersede(struct content *content, struct content *newer);
bool content_signs_as(const struct content *content, const struct content *other); /* with the same keys */
/* Lives at least as long as the reference to `content`. Any thread. */
const struct content *content_newest(const struct content *content);
const char *content_from_domain(const struct content *content); /* normal form; the domain that needs a DKIM key */
/* The table of tracked links: URLs with plain tags, in the order of their numbers from 1. */
/* The partials that the content shows, as they were. */
const json_t *content_partials(const struct content *content);
bool content_shows_view(const struct content *content); /* it has {{view_url}} */
size_t content_links(const struct content *content, const char *const **urls);

/* A test: the message shows the recipient and goes to somebody else. It is nobody's: its links, its pixel, its pages
 * and its return path are those of recipient 0, and act on no one. */
struct message_trial {
    const char *to; /* normal form of base/address.h */
    int64_t number; /* > 0, and no recipient's: makes its Message-ID, its own */
};

struct message_recipient {
    int64_t id;
    const char *email;                 /* normal form of base/address.h */
    const char *attributes_json;       /* text of one JSON object; NULL or "" = none */
    bool untracked;                    /* links and pixel lead nowhere that counts: previews, tests */
    const struct message_trial *trial; /* NULL = goes to the recipient */
};

struct composed {
    char *block;           /* the one heap block that holds the two texts below; release with free() */
    const char *mail_from; /* reverse-path without brackets, as struct engine_message wants it */
    const char *data;      /* CRLF line ends, ends with CRLF, no line over 998 octets */
    size_t size_bytes;
    bool eight_bit; /* only with smtputf8: the parts are quoted-printable or base64 */
    bool smtputf8;
    bool missing; /* a tag named an attribute that the recipient lacks, and was rendered empty */
};

int composer_create(struct composer **out, struct error *err) ATTR_MUSTCHECK;
void composer_free(struct composer *composer);

/* 0, or negative with `out` empty: -EINVAL when recipient or attributes are unusable, -E2BIG when a rendered part is
 * over the limit. One thread per composer. */
int message_compose(struct composer *composer, const struct content *content, const struct message_recipient *recipient,
                    int64_t now_ms, struct composed *out, struct error *err) ATTR_MUSTCHECK;

/* What a person wants to look at; each text is heap memory. html is "" for a text-only campaign. */
struct message_preview {
    char *subject, *html, *text;
    struct composed message;
};
int message_preview(struct composer *composer, const struct content *content, const struct message_recipient *recipient,
                    int64_t now_ms, struct message_preview *out, struct error *err) ATTR_MUSTCHECK;
void message_preview_finish(struct message_preview *preview);

#endif
