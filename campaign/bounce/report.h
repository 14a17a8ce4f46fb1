/*
 * report.h - reads one inbound mail: is it a report about a mail of ours, and what does it say of whom?
 *
 * Knows RFC 3464 (and RFC 6533) delivery reports, RFC 5965 abuse reports, and, by their wording, the reports of servers
 * that write neither. It believes nothing: what a report may do is decided by the caller, by the tokens that are found
 * in `trace` and `evidence`. Auto-replies are recognised so that they can be left alone; nothing here ever answers.
 *
 * Bounds: only the first REPORT_BYTES of a mail are read, its structure to a depth of 12 and 100 parts, 50 recipients.
 * Any thread; no state but GMime's own, which is set up once.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_REPORT_H
#define POSTHASTE_CAMPAIGN_BOUNCE_REPORT_H

#include "base/buffer.h"
#include "campaign/bounce/classify.h"

#define REPORT_BYTES ((size_t)1 << 20)
#define REPORT_RECIPIENTS_MAX 50
#define REPORT_ADDRESS_BYTES 320

enum report_kind {
    REPORT_NONE,       /* a mail like any other */
    REPORT_BOUNCE,     /* about deliveries: see each recipient's action */
    REPORT_COMPLAINT,  /* an abuse report that counts as a complaint */
    REPORT_FEEDBACK,   /* RFC 5965 of another type: authentication, virus, "not-spam" */
    REPORT_AUTO_REPLY, /* vacation and the like (RFC 3834) */
};
const char *report_kind_name(enum report_kind kind);

enum report_action { REPORT_FAILED, REPORT_DELAYED, REPORT_DELIVERED };

struct report_recipient {
    char address[REPORT_ADDRESS_BYTES];  /* who failed, "" = the report does not say */
    char original[REPORT_ADDRESS_BYTES]; /* whom we addressed (Original-Recipient), "" = not told */
    enum report_action action;
    uint16_t code;
    char enhanced[12];
    enum outcome_stage stage;
    char mx[256];
    char text[BOUNCE_TEXT_BYTES]; /* one line */
};

struct report {
    enum report_kind kind;
    char message_id[256];    /* of the report itself, "" = none */
    char feedback_type[32];  /* RFC 5965 */
    char unsubscribe_to[64]; /* token of a mail to unsubscribe+TOKEN@, "" = it is none */
    bool automatic;          /* a part or a field that only programs write says so; From's and Subject's words do not */
    struct report_recipient recipients[REPORT_RECIPIENTS_MAX];
    size_t recipient_count;
    char words[BOUNCE_TEXT_BYTES]; /* what a report for people says in all, one line */
    char from_domain[256];         /* of the report's own From, lower case; "" = none */
    struct buffer trace;           /* to whom it was sent: where our tokens may stand, for bounces */
    struct buffer evidence;        /* what it returns and quotes: where they may stand, for all reports */
};

/* 0, or -ENOMEM. A mail that cannot be understood is REPORT_NONE. The struct is the caller's, to be finished in either
 * case. */
int report_read(const void *mail, size_t len, struct report *out, struct error *err) ATTR_MUSTCHECK;
void report_finish(struct report *report);

/* By what is said of the recipient; where that says nothing, by the words of the whole report, which alone never make a
 * hard bounce, nor does a delay. */
void report_classify(const struct bounce_rules *rules, const struct report *report,
                     const struct report_recipient *recipient, struct bounce_class *out);

#endif
