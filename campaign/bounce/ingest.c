/*
 * ingest.c - from a mail to a consequence, with the token between them.
 *
 * The token is looked for wherever a mail system may have left it: any run of base32 characters of a token's length in
 * the collected evidence is tried, whatever stands around it, for relays fold, quote and rewrite. A false one costs one
 * HMAC; their number is bounded. Changes are gathered and written in one transaction, for each would cost a sync.
 *
 * Which of a report's recipients ours is: the one with the address that we mailed; else the only one; else, where an
 * alias hides it among several, the one of them that does it the least harm.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "dkim/dkim.h"

#include "campaign/bounce/ingest_private.h"
#include "campaign/message/token_ring.h"

#define TOKEN_MIN_BYTES 30 /* one byte, two ids of one, sixteen of MAC */
#define TOKEN_TRIES 64     /* candidates in one mail */

int bounce_ingest_open(struct storage *storage, struct storage_reader *reader, const struct bounce_options *options,
                       struct bounce_ingest **out, struct error *err)
{
    struct bounce_ingest *ingest = calloc(1, sizeof(*ingest));
    *out = NULL;
    if (ingest == NULL)
        return error_memory(err);
    ingest->storage = storage;
    ingest->reader = reader;
    ingest->whole = options->config;
    ingest->config = &options->config->bounces;
    ingest->resolver = options->resolver;
    int failed = bounce_rules_load(options->rules, &ingest->rules, err);
    if (!failed && options->ring == NULL)
        failed = token_ring_create(storage, reader, &ingest->own_ring, err);
    ingest->ring = options->ring != NULL ? options->ring : ingest->own_ring;
    if (failed) {
        bounce_ingest_close(ingest);
        return failed;
    }
    *out = ingest;
    return 0;
}

void bounce_ingest_close(struct bounce_ingest *ingest)
{
    if (ingest == NULL)
        return;
    resolver_stop(ingest->own_resolver);
    bounce_rules_free(ingest->rules);
    token_ring_free(ingest->own_ring);
    free(ingest);
}

/* ---- the token ---- */

struct pair {
    int64_t campaign_id, recipient_id;
};

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '2' && c <= '7');
}

/* 0 found, 1 none, negative: the MAC could not be computed. */
static int try_token(const struct bounce_ingest *ingest, const char *text, size_t len, struct pair *pair)
{
    static const enum token_purpose purposes[] = {TOKEN_RETURN_PATH, TOKEN_MESSAGE_ID};
    char lower[TOKEN_MAX_BYTES + 1];
    memcpy(lower, text, len);
    lower[len] = '\0';
    str_lower(lower);
    for (size_t i = 0; i < countof(purposes); i++) {
        int rc = token_ring_parse(ingest->ring, purposes[i], lower, len, &pair->campaign_id, &pair->recipient_id);
        if (rc <= 0)
            return rc;
    }
    return 1;
}

static int find_token(const struct bounce_ingest *ingest, const struct buffer *evidence, struct pair *pair)
{
    const char *text = buffer_text(evidence);
    int tries = 0;
    for (size_t at = 0; at < evidence->len && tries < TOKEN_TRIES;) {
        size_t len = 0;
        while (at + len < evidence->len && is_token_char(text[at + len]))
            len++;
        /* Ours always end at the '@' before a domain: so the lines of keys and signatures are not tried. */
        if (len >= TOKEN_MIN_BYTES && len <= TOKEN_MAX_BYTES && at + len < evidence->len && text[at + len] == '@') {
            int rc = try_token(ingest, text + at, len, pair);
            if (rc <= 0)
                return rc;
            tries++;
        }
        at += len > 0 ? len : 1;
    }
    return 1;
}

/* ---- bounces ---- */

static int copy_email(void *context, const struct storage_recipient *recipient)
{
    (void)str_copy(context, REPORT_ADDRESS_BYTES, recipient->email);
    return 0;
}

static int harm(const struct bounce_class *class_)
{
    switch (class_->kind) {
    case BOUNCE_HARD:
        return 3;
    case BOUNCE_SOFT:
        return 2;
    case BOUNCE_CONTENT:
    case BOUNCE_BLOCK:
    case BOUNCE_UNKNOWN:
        return 1;
    case BOUNCE_COMPLAINT:
    case BOUNCE_NONE:
    case BOUNCE_KIND_COUNT:
        break;
    }
    return 0;
}

static const struct report_recipient *choose(const struct bounce_ingest *ingest, const char *email,
                                             struct bounce_class *class_)
{
    const struct report *report = &ingest->report;
    const struct report_recipient *chosen = NULL;
    for (size_t i = 0; i < report->recipient_count; i++) {
        const struct report_recipient *it = &report->recipients[i];
        struct bounce_class found;
        report_classify(ingest->rules, report, it, &found);
        bool same = str_eq_nocase(it->address, email) || str_eq_nocase(it->original, email);
        bool milder = chosen != NULL && (it->action != REPORT_FAILED || harm(&found) < harm(class_));
        if (same || chosen == NULL || milder) {
            chosen = it;
            *class_ = found;
        }
        if (same)
            break;
    }
    return chosen;
}

static struct storage_feedback *add_pending(struct bounce_ingest *ingest, const struct pair *pair,
                                            enum storage_feedback_kind kind)
{
    assure(ingest->pending_count < INGEST_BATCH);
    struct storage_feedback *item = &ingest->pending[ingest->pending_count++];
    memset(item, 0, sizeof(*item));
    item->kind = kind;
    item->campaign_id = pair->campaign_id;
    item->recipient_id = pair->recipient_id;
    item->at_ms = clock_wall_ms();
    item->soft_limit = (int)ingest->config->soft_bounces;
    item->soft_window_ms = ingest->config->soft_window_ms;
    item->keep_address =
        !(kind == FEEDBACK_COMPLAINT ? ingest->config->suppress_complaints : ingest->config->suppress_hard);
    return item;
}

static int take_bounce(struct bounce_ingest *ingest, const struct pair *pair, struct error *err)
{
    char email[REPORT_ADDRESS_BYTES] = "";
    int rc = storage_recipient_get(ingest->reader, pair->recipient_id, copy_email, email, err);
    if (rc < 0)
        return rc;
    struct bounce_class class_ = {.kind = BOUNCE_UNKNOWN};
    const struct report_recipient *failed = rc == 0 ? choose(ingest, email, &class_) : NULL;
    if (rc != 0) {
        ingest->summary.unknown++;
        return 0;
    }
    if (failed == NULL || failed->action != REPORT_FAILED || class_.kind == BOUNCE_NONE) {
        ingest->summary.no_action++;
        return 0;
    }
    enum storage_feedback_kind kind = bounce_is_dead(&class_)  ? FEEDBACK_HARD
                                      : bounce_counts(&class_) ? FEEDBACK_SOFT
                                                               : FEEDBACK_BOUNCED;
    struct storage_feedback *item = add_pending(ingest, pair, kind);
    item->code = failed->code;
    memcpy(item->enhanced, failed->enhanced, sizeof(item->enhanced));
    (void)str_copy(item->text, sizeof(item->text), failed->text);
    str_make_line(item->text); /* may have been cut inside a character */
    (void)str_copy(item->mx_host, sizeof(item->mx_host), failed->mx);
    str_make_line(item->mx_host);
    char origin[sizeof(item->origin)]; /* what it is made of lies beside the item, in `ingest` */
    (void)snprintf(origin, sizeof(origin), "campaign %lld, report %.80s: %s %s: %d %s %.120s",
                   (long long)pair->campaign_id, ingest->report.message_id, bounce_kind_name(class_.kind),
                   bounce_reason_name(class_.reason), item->code, item->enhanced, item->text);
    (void)str_copy(item->origin, sizeof(item->origin), origin);
    str_make_line(item->origin);
    return 0;
}

static void take_complaint(struct bounce_ingest *ingest, const struct pair *pair)
{
    struct storage_feedback *item = add_pending(ingest, pair, FEEDBACK_COMPLAINT);
    (void)snprintf(item->origin, sizeof(item->origin), "campaign %lld, complaint (%s), report %.160s",
                   (long long)pair->campaign_id, ingest->report.feedback_type, ingest->report.message_id);
    str_make_line(item->origin);
}

/* ---- mails ---- */

static int take_unsubscribe(struct bounce_ingest *ingest, const char *token, struct error *err)
{
    struct pair pair;
    ingest->summary.unsubscribes++;
    int rc = token_ring_parse(ingest->ring, TOKEN_UNSUBSCRIBE, token, strlen(token), &pair.campaign_id, &pair.recipient_id);
    if (rc < 0)
        return error_set(err, rc, "a token could not be checked");
    if (rc > 0) {
        ingest->summary.no_token++;
        return 0;
    }
    rc = storage_unsubscribe(ingest->storage, pair.campaign_id, pair.recipient_id, clock_wall_ms(), err);
    if (rc == STORAGE_NOT_FOUND)
        ingest->summary.unknown++;
    else if (rc == 0)
        ingest->summary.unsubscribed++;
    return MIN_OF(rc, 0);
}

/* The token of "PREFIX+TOKEN@…", lower case; false: it is not of this form. */
static bool plus_token(const char *address, size_t len, const char *prefix, char out[TOKEN_MAX_BYTES + 1])
{
    size_t skip = strlen(prefix);
    const char *at = memchr(address, '@', len);
    size_t end = at != NULL ? (size_t)(at - address) : len;
    if (end <= skip || end - skip > TOKEN_MAX_BYTES || !str_starts_nocase(address, prefix))
        return false;
    memcpy(out, address + skip, end - skip);
    out[end - skip] = '\0';
    str_lower(out);
    return true;
}

enum bounce_local bounce_local_kind(const struct token_ring *ring, const char *local, size_t len)
{
    static const struct {
        const char *prefix;
        enum token_purpose purpose;
    } kinds[] = {{"bounce+", TOKEN_RETURN_PATH}, {"unsubscribe+", TOKEN_UNSUBSCRIBE}};
    struct pair pair;
    char token[TOKEN_MAX_BYTES + 1];
    for (size_t i = 0; i < countof(kinds); i++) {
        if (plus_token(local, len, kinds[i].prefix, token))
            return token_ring_parse(ring, kinds[i].purpose, token, strlen(token), &pair.campaign_id,
                                    &pair.recipient_id) == 0
                       ? BOUNCE_LOCAL_OURS
                       : BOUNCE_LOCAL_UNPROVED;
    }
    return BOUNCE_LOCAL_OTHER;
}

static void count_kind(struct bounce_summary *summary, const struct report *report)
{
    summary->bounces += report->kind == REPORT_BOUNCE;
    summary->complaints += report->kind == REPORT_COMPLAINT;
    summary->feedback += report->kind == REPORT_FEEDBACK;
    summary->auto_replies += report->kind == REPORT_AUTO_REPLY;
    summary->other += report->kind == REPORT_NONE;
    summary->no_action += report->kind == REPORT_FEEDBACK;
}

static int complaint(struct bounce_ingest *ingest, const void *mail, size_t len, struct error *err)
{
    struct pair pair;
    int rc = find_token(ingest, &ingest->report.evidence, &pair);
    if (rc < 0)
        return error_set(err, rc, "a token could not be checked");
    if (rc > 0) {
        ingest->summary.no_token++;
        return 0;
    }
    rc = ingest_source(ingest, mail, len);
    if (rc == -EAGAIN) {
        ingest->summary.complaints--; /* it will come again */
        ingest->summary.mails--;
        ingest->summary.later++;
        return BOUNCE_LATER;
    }
    if (rc == 1)
        take_complaint(ingest, &pair);
    else
        ingest->summary.untrusted++;
    return 0;
}

/* Where it was sent decides; else where it says it was sent, else what it returns. */
static int bounce(struct bounce_ingest *ingest, const char *to, struct error *err)
{
    struct report *report = &ingest->report;
    struct pair pair;
    char token[TOKEN_MAX_BYTES + 1];
    int rc = 1;
    if (to != NULL && plus_token(to, strlen(to), "bounce+", token))
        rc = try_token(ingest, token, strlen(token), &pair);
    if (rc == 1)
        rc = find_token(ingest, &report->trace, &pair);
    if (rc == 1)
        rc = find_token(ingest, &report->evidence, &pair);
    if (rc < 0)
        return error_set(err, rc, "a token could not be checked");
    if (rc > 0) {
        ingest->summary.no_token++;
        return 0;
    }
    return take_bounce(ingest, &pair, err);
}

/* A mail to one recipient of its envelope; `to` NULL = not known. */
static int take_report(struct bounce_ingest *ingest, const char *to, const void *mail, size_t len, struct error *err)
{
    struct report *report = &ingest->report;
    char token[TOKEN_MAX_BYTES + 1] = "";
    ingest->summary.mails++;
    if (to == NULL)
        memcpy(token, report->unsubscribe_to, MIN_OF(sizeof(token) - 1, strlen(report->unsubscribe_to)));
    else
        (void)plus_token(to, strlen(to), "unsubscribe+", token);
    /* A person's From and Subject may read like a mail system's: the guess that they make must not keep him on. */
    bool robot = report->automatic && (report->kind == REPORT_BOUNCE || report->kind == REPORT_AUTO_REPLY);
    if (token[0] != '\0' && !robot)
        return take_unsubscribe(ingest, token, err);
    count_kind(&ingest->summary, report);
    if (report->kind == REPORT_COMPLAINT)
        return complaint(ingest, mail, len, err);
    return report->kind == REPORT_BOUNCE ? bounce(ingest, to, err) : 0;
}

bool bounce_ingest_was_other(const struct bounce_ingest *ingest)
{
    return ingest->report.kind == REPORT_NONE && ingest->report.unsubscribe_to[0] == '\0';
}

int bounce_ingest_mail(struct bounce_ingest *ingest, const void *mail, size_t len, const char *const *to,
                       size_t to_count, struct error *err)
{
    if (len > 5 && memcmp(mail, "From ", 5) == 0) {
        const char *newline = memchr(mail, '\n', len);
        size_t skip = newline != NULL ? (size_t)(newline + 1 - (const char *)mail) : len;
        mail = (const char *)mail + skip;
        len -= skip;
    }
    int rc = token_ring_refresh(ingest->ring, ingest->reader, err);
    if (rc < 0)
        return rc;
    rc = report_read(mail, len, &ingest->report, err);
    for (size_t i = 0; rc == 0 && i < MAX_OF(to_count, (size_t)1); i++) {
        if (ingest->pending_count == INGEST_BATCH)
            rc = bounce_ingest_flush(ingest, err);
        if (rc == 0)
            rc = take_report(ingest, to_count > 0 ? to[i] : NULL, mail, len, err);
    }
    report_finish(&ingest->report);
    return rc;
}

int bounce_ingest_flush(struct bounce_ingest *ingest, struct error *err)
{
    struct bounce_summary *summary = &ingest->summary;
    int failed = storage_feedback_apply(ingest->storage, ingest->pending, ingest->pending_count, err);
    if (failed)
        return failed;
    for (size_t i = 0; i < ingest->pending_count; i++) {
        const struct storage_feedback *item = &ingest->pending[i];
        summary->unknown += item->unknown;
        summary->repeated += !item->unknown && !item->changed;
        summary->bounced += item->bounced;
        summary->suppressed += item->suppressed;
        if (!item->changed)
            continue;
        summary->hard += item->kind == FEEDBACK_HARD;
        summary->soft += item->kind == FEEDBACK_SOFT;
        summary->other_bounces += item->kind == FEEDBACK_BOUNCED;
        summary->complained += item->kind == FEEDBACK_COMPLAINT;
        log_debug("bounce", "campaign %lld feedback recipient=%lld %s", (long long)item->campaign_id,
                  (long long)item->recipient_id, LOG_QUOTE(item->origin));
    }
    ingest->pending_count = 0;
    return 0;
}

const struct bounce_summary *bounce_ingest_summary(const struct bounce_ingest *ingest)
{
    return &ingest->summary;
}
