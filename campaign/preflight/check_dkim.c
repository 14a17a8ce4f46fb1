/*
 * check_dkim.c - is the key that is published the one that signs? Read by ourselves, which says what is wrong, and then
 * proved by libopendkim with a message that was signed for it. At a launch the campaign's own first message is proved
 * too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "campaign/preflight/check.h"

#define RSA_BITS_GOOD 2048
#define RSA_BITS_MIN 1024

static const char header[] = "From: check@example.invalid\r\nSubject: check\r\n";
static const char body[] = "check\r\n";

/* A message signed with the key, verified against the record. 0 = good. */
static int prove(struct check *check, const struct check_key *key, const char *record, struct error *err)
{
    struct buffer message = BUFFER_INIT(65536);
    struct dkim_signer *signer = NULL;
    int rc = dkim_signer_create(key->key, check->domain, key->selector, &signer, err);
    if (rc == 0)
        rc = dkim_signer_sign(signer, header, sizeof header - 1, body, sizeof body - 1, check->now_s, 0, &message, err);
    buffer_append_str(&message, header);
    buffer_append_str(&message, "\r\n");
    buffer_append_str(&message, body);
    if (rc == 0)
        rc = message.failed ? error_memory(err) : dkim_check(message.data, message.len, record, err);
    dkim_signer_free(signer);
    buffer_finish(&message);
    return rc;
}

static void judge_record(struct check *check, const struct check_key *key, const struct resolve_record *record,
                         struct finding *finding)
{
    struct dkim_published_key published;
    struct error err = {""};
    dkim_published_read(record->text, record->len, key->key, &published);
    finding->status = FINDING_ERROR;
    if (!published.readable) {
        finding->code = "dkim-unreadable";
        finding_seen(finding, "the record is not a DKIM key: \"%.300s\"", record->text);
    } else if (published.revoked) {
        finding->code = "dkim-revoked";
        finding_seen(finding, "the key is revoked (p= is empty)");
    } else if (!published.equal) {
        finding->code = "dkim-differs";
        finding_seen(finding, "another key is published: \"%.300s\"", record->text);
    } else if (!published.sha256 || !published.email) {
        finding->code = "dkim-restricted";
        finding_seen(finding, "the record does not allow %s",
                     published.sha256 ? "the key for e-mail (s=)" : "sha256 (h=)");
    } else if (!published.ed25519 && published.bits < RSA_BITS_MIN) {
        finding->code = "dkim-short";
        finding_seen(finding, "the key has %d bits; receivers take no key below %d", published.bits, RSA_BITS_MIN);
    } else if (!published.ed25519 && prove(check, key, record->text, &err) != 0) {
        finding->code = "dkim-does-not-verify";
        finding_seen(finding, "libopendkim does not accept a signature with it: %s", err.text);
    } else if (published.testing) {
        finding->code = "dkim-testing";
        finding->status = FINDING_WARNING;
        finding_seen(finding, "the key is marked as a test (t=y): receivers may treat the mail as unsigned");
    } else if (!published.ed25519 && published.bits < RSA_BITS_GOOD) {
        finding->code = "dkim-weak";
        finding->status = FINDING_WARNING;
        finding_seen(finding, "the key has %d bits", published.bits);
        finding_wanted(finding, "a key of %d bits", RSA_BITS_GOOD);
    } else {
        finding->code = "dkim-good";
        finding->status = FINDING_OK;
        finding_seen(finding, "the published key is ours (%s, %d bits)", published.ed25519 ? "Ed25519" : "RSA",
                     published.bits);
    }
}

/* How many of the records look like a key: other TXT records may stand beside it. */
static size_t count_keys(const struct resolve_answer *answer, const struct resolve_record **first)
{
    size_t count = 0;
    *first = NULL;
    for (size_t i = 0; i < answer->count; i++) {
        struct dkim_published_key key;
        dkim_published_read(answer->records[i].text, answer->records[i].len, NULL, &key);
        if (!key.readable)
            continue;
        if (count++ == 0)
            *first = &answer->records[i];
    }
    if (*first == NULL && answer->count > 0)
        *first = &answer->records[0];
    return count;
}

static void judge_key(struct check *check, const struct check_key *key)
{
    struct buffer name = BUFFER_INIT(1024), value = BUFFER_INIT(16384);
    struct error err = {""};
    const struct resolve_record *record;
    struct finding finding = {.check = "dkim", .subject = key->selector, .status = FINDING_ERROR};
    if (dkim_record_name(key->selector, check->domain, &name) < 0 || dkim_record(key->key, &value, &err) < 0) {
        check->no_memory = true;
        goto out;
    }
    const struct resolve_answer *answer = lookup_ask(check->lookup, buffer_text(&name), RESOLVE_TXT);
    size_t count = count_keys(answer, &record);
    finding_wanted(&finding, "the record of our key at %s", buffer_text(&name));
    if (answer->status == RESOLVE_FAILED) {
        finding.code = "dkim-unknown";
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "the look-up failed: %s", answer->why);
    } else if (record == NULL) {
        finding.code = "dkim-missing";
        finding_seen(&finding, "nothing is published at %s", buffer_text(&name));
    } else if (count > 1) {
        finding.code = "dkim-several";
        finding_seen(&finding, "%zu keys are published at one name; receivers may take any of them", count);
    } else {
        judge_record(check, key, record, &finding);
    }
    bool mend = finding.status == FINDING_ERROR;
    if (key->second && mend && check->key_count > 1)
        finding.status = FINDING_WARNING;
    if (mend || strcmp(finding.code, "dkim-testing") == 0) {
        finding.record_name = buffer_text(&name);
        finding.record_type = "TXT";
        finding.record_value = str_dup(buffer_text(&value));
    }
    finding_add(check, &finding);
out:
    buffer_finish(&name);
    buffer_finish(&value);
}

void check_dkim(struct check *check)
{
    for (size_t i = 0; i < check->key_count; i++)
        judge_key(check, &check->keys[i]);
    if (check->key_count > 0)
        return;
    struct finding finding = {
        .check = "dkim", .code = "dkim-no-key", .status = FINDING_ERROR, .subject = check->domain};
    finding_seen(&finding, "there is no DKIM key of ours for %s", check->domain);
    finding_wanted(&finding, "a key: posthaste domain add %s", check->domain);
    finding_add(check, &finding);
}

/* ---- the first message of a campaign ---- */

/* What receivers will find for the key. False: nobody can say; then it is our own record. */
static bool published_record(struct check *check, const struct check_key *key, struct buffer *own, const char **record)
{
    struct buffer name = BUFFER_INIT(1024);
    struct error err = {""};
    const struct resolve_record *first = NULL;
    if (dkim_record_name(key->selector, check->domain, &name) < 0 || dkim_record(key->key, own, &err) < 0) {
        check->no_memory = true;
        buffer_finish(&name);
        return false;
    }
    const struct resolve_answer *answer = lookup_ask(check->lookup, buffer_text(&name), RESOLVE_TXT);
    buffer_finish(&name);
    *record = buffer_text(own);
    if (answer->status == RESOLVE_FAILED)
        return false;
    (void)count_keys(answer, &first);
    /* A second key that is not published is a warning of check_dkim(): the message is judged by the other one. */
    struct dkim_published_key published = {.equal = false};
    if (first != NULL)
        dkim_published_read(first->text, first->len, key->key, &published);
    if (!key->second || check->key_count == 1 || published.equal)
        *record = first != NULL ? first->text : NULL;
    return true;
}

void check_message(struct check *check, const char *message, size_t len)
{
    struct dkim_published published[CHECK_KEYS_MAX] = {{0}};
    struct buffer own[CHECK_KEYS_MAX];
    struct error err = {""};
    struct finding finding = {.check = "dkim", .code = "dkim-message-verifies", .subject = check->domain};
    bool known = true;
    for (size_t i = 0; i < check->key_count; i++) {
        own[i] = BUFFER_INIT(16384);
        published[i] = (struct dkim_published){.selector = check->keys[i].selector};
        known &= published_record(check, &check->keys[i], &own[i], &published[i].record);
    }
    int rc = check->no_memory ? 0 : dkim_check_all(message, len, published, check->key_count, &err);
    check->no_memory |= rc == -ENOMEM;
    finding_wanted(&finding, "the campaign's first message, verified by libopendkim with the keys in DNS");
    if (rc != 0) {
        finding.status = FINDING_ERROR;
        finding.code = "dkim-message-does-not-verify";
        finding_seen(&finding, "libopendkim refuses the first message: %s", rc == 2 ? "it has no signature" : err.text);
    } else if (!known) {
        finding.status = FINDING_WARNING;
        finding.code = "dkim-message-unknown";
        finding_seen(&finding, "the keys in DNS cannot be looked up; the first message fits the keys that are here");
    } else {
        finding_seen(&finding, "the first message verifies");
    }
    finding_add(check, &finding);
    for (size_t i = 0; i < check->key_count; i++)
        buffer_finish(&own[i]);
}
