/*
 * classify.h - what a server's refusal means: about the address, about us, about the message, or nothing.
 *
 * The knowledge lies in an ordered list of rules in a file that people read and mend (share/bounce-rules.conf; its head
 * is the format's description). The first rule that fits decides. Rules are loaded once and are immutable afterwards:
 * bounce_classify() may be called from any thread.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_CLASSIFY_H
#define POSTHASTE_CAMPAIGN_BOUNCE_CLASSIFY_H

#include "base/error.h"
#include "base/outcome.h"

enum bounce_kind {
    BOUNCE_UNKNOWN,   /* refused, but nothing says why */
    BOUNCE_HARD,      /* the address or its domain is dead */
    BOUNCE_SOFT,      /* the mailbox, or the server behind it, cannot take mail for now */
    BOUNCE_BLOCK,     /* about us: address, domain, rate, authentication. Says nothing about the recipient */
    BOUNCE_CONTENT,   /* about this message */
    BOUNCE_COMPLAINT, /* the recipient, or a provider for him, complains */
    BOUNCE_NONE,      /* not a bounce: vacation, delay, delivered */
    BOUNCE_KIND_COUNT
};

enum bounce_reason {
    REASON_UNDEFINED,
    REASON_USER_UNKNOWN,
    REASON_HOST_UNKNOWN,
    REASON_NO_MAIL, /* the domain takes no mail: null MX (RFC 7505), no MX and no address */
    REASON_MOVED,
    REASON_MAILBOX_FULL,
    REASON_INACTIVE,
    REASON_FILTERED, /* the recipient, or a filter for him, takes no mail from us; also "unknown" after DATA */
    REASON_MESSAGE_TOO_BIG,
    REASON_CONTENT,
    REASON_SPAM,
    REASON_VIRUS,
    REASON_POLICY,
    REASON_AUTHENTICATION,
    REASON_REPUTATION,
    REASON_BLOCKED,
    REASON_PTR,
    REASON_SENDER, /* the sender's address or domain is refused, or may not post here */
    REASON_RELAY_DENIED,
    REASON_SECURITY,
    REASON_TOO_MANY_CONNECTIONS,
    REASON_RATE,
    REASON_GREYLISTED,
    REASON_TLS,
    REASON_PROTOCOL,
    REASON_NETWORK,
    REASON_SYSTEM,
    REASON_MAILER,
    REASON_EXPIRED,
    REASON_ON_HOLD,
    REASON_COMPLAINT,
    REASON_VACATION,
    REASON_DELIVERED,
    REASON_COUNT
};

const char *bounce_kind_name(enum bounce_kind kind);       /* "hard", … "not-a-bounce" */
const char *bounce_reason_name(enum bounce_reason reason); /* "user-unknown", … */

struct bounce_reply {
    uint16_t code;            /* 0 = none */
    const char *enhanced;     /* RFC 3463, "" = none */
    const char *text;         /* without the codes; only the first BOUNCE_TEXT_BYTES count */
    enum outcome_stage stage; /* STAGE_NONE = not known */
    const char *mx;           /* the host that answered, else the recipient's domain; "" = not known */
};
#define BOUNCE_TEXT_BYTES 2000

struct bounce_class {
    enum bounce_kind kind;
    enum bounce_reason reason;
    int line; /* of the rule that decided in bounce_rules_file(); 0: none fits, UNKNOWN and UNDEFINED */
};

struct bounce_rules;

/*
 * `path` NULL: /etc/posthaste/bounce-rules.conf, else the installed file, else the copy of it that is compiled in. 0;
 * -EINVAL with file and line, -errno, -ENOMEM; *out is NULL then.
 */
int bounce_rules_load(const char *path, struct bounce_rules **out, struct error *err) ATTR_MUSTCHECK;
void bounce_rules_free(struct bounce_rules *rules); /* NULL is allowed */
const char *bounce_rules_file(const struct bounce_rules *rules);

/* A rule's kind is its own, but a temporary reply (4xx, 4.X.X) never makes a HARD one: it is SOFT then. */
void bounce_classify(const struct bounce_rules *rules, const struct bounce_reply *reply, struct bounce_class *out);

/* Splits "550-5.1.1 text" or "550 text"; what is missing stays 0 or "". `text` points into `line`. */
struct bounce_line {
    uint16_t code;
    char enhanced[12];
    const char *text;
};
void bounce_line_split(const char *line, struct bounce_line *out);

/* True when the address itself is dead, so that it is never mailed again. */
bool bounce_is_dead(const struct bounce_class *class_);
/* True when it tells of the mailbox, so that several of them count against the address: our rate, their network and the
 * like are nobody's fault over there. A dead address counts too. */
bool bounce_counts(const struct bounce_class *class_);

/* Each sample of each rule, for the test of the file: the reply as it is written there. Non-zero stops. */
struct bounce_sample {
    int rule_line, line;
    const char *line_text; /* "550 5.1.1 …" */
    const char *mx;
    enum outcome_stage stage;
};
typedef int bounce_sample_cb(void *context, const struct bounce_sample *sample);
int bounce_rules_samples(const struct bounce_rules *rules, bounce_sample_cb *each, void *context);
/* Lines of rules without a sample; non-zero stops. */
int bounce_rules_unsampled(const struct bounce_rules *rules, int (*each)(void *context, int line), void *context);

#endif
