/*
 * tracking.c - from a token to where it leads, and to a hit.
 *
 * A link whose URL has tags is filled in with what the recipient's attributes say now; its host is the author's, always
 * (links.h). Recipient 0 is nobody: previews and tests, whose links lead on and are not recorded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#include "campaign/json_text.h"
#include "campaign/mailer.h"
#include "campaign/message/links.h"
#include "campaign/message/token.h"
#include "campaign/tracking/tracker.h"

struct person {
    char *email, *attributes;
};

/* The campaign's name when the address shows it; NULL = it does not, or there is no campaign. */
static int find_name(const struct template *template, struct storage_reader *reader, int64_t campaign_id, char **name,
                     struct error *err)
{
    bool shown = false;
    for (size_t i = 0; i < template->count; i++)
        shown |= template->nodes[i].builtin == BUILTIN_CAMPAIGN_NAME;
    if (!shown)
        return 0;
    return MIN_OF(storage_campaign_name(reader, campaign_id, name, err), 0);
}

static int keep_person(void *context, const struct storage_recipient *recipient)
{
    struct person *person = context;
    person->email = str_dup(recipient->email);
    person->attributes = str_dup(recipient->attributes);
    return 0;
}

static int fill_in(const struct person *person, struct storage_reader *reader, int64_t campaign_id,
                   int64_t recipient_id, const struct buffer *url, struct buffer *out, struct error *err)
{
    char *name = NULL;
    char campaign[24], recipient[24], date[RFC3339_BYTES];
    struct template *template = NULL;
    const char *at = person->email != NULL ? strrchr(person->email, '@') : NULL;
    struct template_values values = {.builtins = {[BUILTIN_CAMPAIGN_ID] = campaign,
                                                  [BUILTIN_RECIPIENT_EMAIL] = person->email,
                                                  [BUILTIN_RECIPIENT_ID] = recipient,
                                                  [BUILTIN_RECIPIENT_DOMAIN] = at != NULL ? at + 1 : NULL,
                                                  [BUILTIN_TODAY] = date}};
    (void)snprintf(campaign, sizeof(campaign), "%lld", (long long)campaign_id);
    (void)snprintf(recipient, sizeof(recipient), "%lld", (long long)recipient_id);
    (void)time_format_rfc3339(clock_wall_ms(), date);
    date[10] = '\0';
    int rc = template_compile(buffer_text(url), url->len, NULL, &template, err);
    if (rc < 0)
        return rc;
    rc = find_name(template, reader, campaign_id, &name, err);
    if (rc < 0) {
        template_free(template);
        return rc;
    }
    values.builtins[BUILTIN_CAMPAIGN_NAME] = name;
    json_t *attributes = person->attributes != NULL ? json_text_reads(person->attributes, JSON_ALLOW_NUL, NULL) : NULL;
    struct buffer filled = BUFFER_INIT((size_t)64 << 10);
    values.attributes = attributes;
    rc = template_render(template, &values, TEMPLATE_PLAIN, &filled, &(unsigned){0});
    if (rc == 0)
        link_escape(buffer_text(&filled), filled.len, out);
    buffer_finish(&filled);
    json_decref(attributes);
    template_free(template);
    free(name);
    return rc < 0 ? error_set(err, rc, "the link's address cannot be filled in") : out->failed ? error_memory(err) : 0;
}

static int complete(struct storage_reader *reader, int64_t campaign_id, int64_t recipient_id, const struct buffer *url,
                    struct buffer *out, struct error *err)
{
    if (memmem(buffer_text(url), url->len, "{{{", 3) == NULL) {
        link_escape(buffer_text(url), url->len, out);
        return out->failed ? error_memory(err) : 0;
    }
    struct person person = {NULL, NULL};
    int rc = recipient_id > 0 ? storage_recipient_get(reader, recipient_id, keep_person, &person, err) : 0;
    if (rc >= 0) /* gone: as if it had no attributes */
        rc = fill_in(&person, reader, campaign_id, recipient_id, url, out, err);
    free(person.email);
    free(person.attributes);
    return rc;
}

int tracking_click(struct mailer *mailer, struct storage_reader *reader, const char *token, bool machine,
                   struct buffer *location, struct error *err)
{
    struct storage_hit hit = {.machine = machine};
    uint16_t number = 0;
    int rc = token_ring_parse_link(mailer->ring, token, strlen(token), &hit.campaign_id, &hit.recipient_id, &number);
    if (rc != 0)
        return rc > 0 ? STORAGE_NOT_FOUND : error_set(err, rc, "the token cannot be checked");
    struct buffer url = BUFFER_INIT(0);
    rc = tracker_url(mailer->tracker, reader, hit.campaign_id, number, &url, err);
    if (rc == 0)
        rc = complete(reader, hit.campaign_id, hit.recipient_id, &url, location, err);
    buffer_finish(&url);
    if (rc != 0)
        return rc;
    hit.link = number;
    hit.at_ms = clock_wall_ms();
    if (hit.recipient_id > 0)
        tracker_post(mailer->tracker, &hit);
    return 0;
}

int tracking_open(struct mailer *mailer, const char *token, bool machine)
{
    struct storage_hit hit = {.machine = machine, .at_ms = clock_wall_ms()};
    int rc = token_ring_parse(mailer->ring, TOKEN_OPEN, token, strlen(token), &hit.campaign_id, &hit.recipient_id);
    if (rc != 0)
        return rc > 0 ? STORAGE_NOT_FOUND : rc;
    if (hit.recipient_id > 0)
        tracker_post(mailer->tracker, &hit);
    return 0;
}

void tracking_counts(struct mailer *mailer, struct tracking_counts *out)
{
    tracker_counts(mailer->tracker, out);
}
