/*
 * trial.c - a test of a campaign: the real path without the books.
 *
 * Its deliveries go through the engine's sites, limits and sessions, the compose pool and the signers like all others,
 * but are of no claim (struct delivery's `ended`): nothing of them is in the database or in the flight journal, so they
 * count nowhere, and a crash forgets them. Their tokens are those of recipient 0, on whom nothing acts. Each has one
 * attempt: who asks for a test wants to see what the server said, not to wait for the next try.
 *
 * At a site a test is a flow of its own, beside the campaign's: a pause does not take it back and a long queue does not
 * hold it up. What has not begun after a minute is taken back, and says so.
 *
 * The last KEPT tests are kept for those who ask how they ended. A struct trial is written by the loops (`ended`) and
 * read by HTTP threads, under `lock`.
 */
#include "campaign/trial.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#include "campaign/json_text.h"
#include "campaign/mailer.h"
#include "campaign/schedule/delivery.h"
#include "campaign/schedule/split.h"
#include "campaign/stored.h"

#define KEPT 100
#define WAIT_MS INT64_C(60000)
#define GROUP_BIT (UINT64_C(1) << 62) /* beside every campaign's own number */
#define NUMBER_BIT (INT64_C(1) << 62) /* beside every recipient's */
#define PREFIX_MAX_BYTES 100

struct trial_letter {
    struct delivery *delivery; /* NULL once it has ended */
    struct message_trial trial;
    char to[ADDRESS_MAX_BYTES + 1];
    struct outcome outcome;
    bool ended;
};

struct trial {
    struct list node; /* of trials->all, oldest first */
    struct trials *trials;
    int64_t number, campaign_id, started_ms;
    struct engine_campaign shape;
    char *sender;
    struct content *content;
    struct message_recipient shown;
    size_t count, out;
    struct trial_letter letters[CAMPAIGN_TEST_MAX];
};

struct trials {
    pthread_mutex_t lock;
    struct list all;
    size_t count;
    int64_t last; /* number */
};

int trials_create(struct trials **out, struct error *err)
{
    struct trials *trials = calloc(1, sizeof(*trials));
    if (trials == NULL)
        return error_memory(err);
    pthread_mutex_init(&trials->lock, NULL);
    list_init(&trials->all);
    *out = trials;
    return 0;
}

static void trial_free(struct trial *trial)
{
    for (size_t i = 0; i < trial->count; i++)
        free(trial->letters[i].delivery);
    content_unref(trial->content);
    shown_free(&trial->shown);
    free(trial->sender);
    free(trial);
}

void trials_free(struct trials *trials)
{
    if (trials == NULL)
        return;
    struct list *node;
    while ((node = list_take_first(&trials->all)) != NULL) {
        struct trial *trial = list_entry(node, struct trial, node);
        assure(trial->out == 0);
        trial_free(trial);
    }
    pthread_mutex_destroy(&trials->lock);
    free(trials);
}

/* ---- out, and back ---- */

static void ended(struct delivery *delivery, const struct outcome *outcome) /* loop thread */
{
    struct trial_letter *letter = container_of(delivery->trial, struct trial_letter, trial);
    struct trial *trial = container_of(letter - delivery->claim_id, struct trial, letters[0]);
    struct trials *trials = trial->trials;
    log_info("campaign", "test=%lld campaign=%lld to=%s outcome=%s code=%u reply=%s", (long long)trial->number,
             (long long)trial->campaign_id, LOG_QUOTE(letter->to), outcome_class_name(outcome->class_), outcome->code,
             LOG_QUOTE(outcome->text));
    pthread_mutex_lock(&trials->lock);
    letter->outcome = *outcome;
    letter->ended = true;
    letter->delivery = NULL;
    trial->out--;
    pthread_mutex_unlock(&trials->lock);
    free(delivery);
}

void trials_tick(struct trials *trials, struct engine *engine)
{
    uint64_t groups[KEPT];
    size_t count = 0;
    if (trials == NULL)
        return;
    int64_t now_ms = clock_wall_ms();
    pthread_mutex_lock(&trials->lock);
    list_for_each(node, &trials->all)
    {
        const struct trial *trial = list_entry(node, struct trial, node);
        if (trial->out > 0 && now_ms - trial->started_ms >= WAIT_MS)
            groups[count++] = GROUP_BIT | (uint64_t)trial->campaign_id;
    }
    pthread_mutex_unlock(&trials->lock);
    for (size_t i = 0; i < count; i++)
        engine_release(engine, &(struct engine_release){.group = groups[i], .waiting_ms = WAIT_MS});
}

/* Makes room for one more by forgetting the oldest that has ended; false: all are under way. */
static bool keep(struct trials *trials, struct trial *trial)
{
    struct trial *oldest = NULL;
    list_for_each(node, &trials->all)
    {
        struct trial *each = list_entry(node, struct trial, node);
        if (oldest == NULL && each->out == 0)
            oldest = each;
    }
    if (trials->count >= KEPT && oldest == NULL)
        return false;
    if (trials->count >= KEPT) {
        list_remove(&oldest->node);
        trial_free(oldest);
        trials->count--;
    }
    trial->number = ++trials->last;
    trial->out = trial->count;
    trial->trials = trials;
    list_append(&trials->all, &trial->node);
    trials->count++;
    return true;
}

static struct delivery *make_delivery(struct trial *trial, size_t i)
{
    struct trial_letter *letter = &trial->letters[i];
    struct delivery *delivery = calloc(1, sizeof(*delivery));
    if (delivery == NULL)
        return NULL;
    list_init(&delivery->job.node);
    list_init(&delivery->node);
    delivery->job.rcpt_to = letter->to;
    delivery->job.domain = strrchr(letter->to, '@') + 1;
    delivery->job.group = GROUP_BIT | (uint64_t)trial->campaign_id;
    delivery->job.campaign = &trial->shape;
    for (const char *at = letter->to; *at != '\0'; at++)
        delivery->job.smtputf8 |= (unsigned char)*at > 127;
    delivery->content = trial->content; /* which the trial holds on to */
    delivery->recipient_id = trial->shown.id;
    delivery->claim_id = (int64_t)i; /* its place in `letters` */
    delivery->attributes = trial->shown.attributes_json;
    delivery->shown = trial->shown.email;
    delivery->trial = &letter->trial;
    delivery->ended = ended;
    return delivery;
}

/* ---- from the request to a trial ---- */

struct refused {
    bool found;
    char reason[64];
    const struct storage_campaign *campaign;
};

static int look_at_suppression(void *context, const struct storage_suppression *entry)
{
    struct refused *refused = context;
    bool meant = entry->list_id == 0;
    for (int i = 0; i < refused->campaign->list_count; i++)
        meant |= refused->campaign->lists[i] == entry->list_id;
    if (meant && (entry->expires_ms == 0 || entry->expires_ms > clock_wall_ms()) && !refused->found) {
        refused->found = true;
        (void)str_copy(refused->reason, sizeof(refused->reason), entry->reason);
    }
    return 0;
}

/* As a claim looks: by the address, and by its digest. STORAGE_NOT_FOUND is no answer here. */
static int find_suppression(struct storage_reader *reader, const char *email, struct refused *refused,
                            struct error *err)
{
    char digest[SUPPRESSION_HASH_BYTES + 1];
    int result = storage_suppression_get(reader, email, look_at_suppression, refused, err);
    if (result >= 0 && !refused->found && storage_suppression_hash(digest_sha256, email, digest) == 0)
        result = storage_suppression_get(reader, digest, look_at_suppression, refused, err);
    return result < 0 ? result : 0;
}

static int read_addresses(struct trial *trial, struct storage_reader *reader, const struct storage_campaign *campaign,
                          const struct campaign_test *test, struct problem *problem, struct error *err)
{
    assure(test->count >= 1 && test->count <= CAMPAIGN_TEST_MAX);
    for (size_t i = 0; i < test->count; i++) {
        struct trial_letter *letter = &trial->letters[i];
        struct refused refused = {.campaign = campaign};
        struct address address;
        struct error why = {""};
        char field[40];
        (void)snprintf(field, sizeof(field), "recipients[%zu]", i);
        if (address_parse(test->to[i], strlen(test->to[i]), &address, &why) != 0) {
            problem_add(problem, field, "%s", why.text);
            continue;
        }
        (void)str_copy(letter->to, sizeof(letter->to), address.text);
        letter->trial.to = letter->to;
        int result = random_bytes(&letter->trial.number, sizeof(letter->trial.number));
        if (result < 0)
            return error_set(err, result, "no random bytes");
        letter->trial.number = (letter->trial.number & (NUMBER_BIT - 1)) | NUMBER_BIT;
        result = find_suppression(reader, letter->to, &refused, err);
        if (result < 0)
            return result;
        if (refused.found)
            problem_add(problem, field, "%.200s is suppressed (%s)", letter->to, refused.reason);
        for (size_t k = 0; k < i; k++)
            if (strcmp(trial->letters[k].to, letter->to) == 0)
                problem_add(problem, field, "is there twice");
    }
    trial->count = test->count;
    return problem->count > 0 ? error_set(err, -EINVAL, "%s: %s", problem->fields[0].field, problem->fields[0].message)
                              : 0;
}

/* The one asked for; else a sample; else the first tester, about whom nothing is known. */
static int read_shown(struct trial *trial, struct storage_reader *reader, const struct storage_campaign *campaign,
                      const struct campaign_test *test, struct problem *problem, struct error *err)
{
    struct problem nobody = {.count = 0};
    if (test->recipient != NULL)
        return shown_find(reader, campaign, test->recipient, &trial->shown, problem, err);
    int result = shown_find(reader, campaign, NULL, &trial->shown, &nobody, err);
    if (result != -EINVAL)
        return result;
    trial->shown = (struct message_recipient){.email = str_dup(trial->letters[0].to), .attributes_json = str_dup("{}")};
    return trial->shown.email != NULL && trial->shown.attributes_json != NULL ? 0 : error_memory(err);
}

/* The spec that is sent: of the variant, with the prefix. */
static int make_spec(const struct storage_campaign *campaign, const struct campaign_test *test, char **out,
                     struct problem *problem, struct error *err)
{
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    if (spec == NULL)
        return error_memory(err);
    struct problem ignored = {.count = 0}; /* it was checked when it was stored */
    struct split split;
    split_parse(spec, &split, &ignored);
    if (test->variant >= 0 && test->variant >= split.variants)
        problem_add(problem, "variant", "the campaign has %d variants, counted from 0", split.variants);
    if (test->subject_prefix != NULL && strlen(test->subject_prefix) > PREFIX_MAX_BYTES)
        problem_add(problem, "subject_prefix", "has more than %d bytes", PREFIX_MAX_BYTES);
    if (problem->count > 0) {
        json_decref(spec);
        return error_set(err, -EINVAL, "%s", problem->fields[0].message);
    }
    json_t *own = split_variant(spec, test->variant);
    const char *subject = json_string_value(json_object_get(own, "subject"));
    char *prefixed =
        test->subject_prefix != NULL && subject != NULL ? str_printf("%s%s", test->subject_prefix, subject) : NULL;
    bool failed =
        own == NULL || (test->subject_prefix != NULL && subject != NULL &&
                        (prefixed == NULL || json_object_set_new(own, "subject", json_string(prefixed)) != 0));
    *out = failed ? NULL : json_text_write(own, JSON_COMPACT);
    free(prefixed);
    json_decref(own);
    json_decref(spec);
    return *out != NULL ? 0 : error_memory(err);
}

static int make_content(struct trial *trial, struct mailer *mailer, struct storage_reader *reader,
                        struct stored *stored, const struct campaign_test *test, struct problem *problem,
                        struct error *err)
{
    struct storage_campaign as_sent = stored->campaign;
    char *spec = NULL;
    int result = make_spec(&stored->campaign, test, &spec, problem, err);
    if (result == 0) {
        as_sent.spec = spec;
        result = mailer_compile(mailer, reader, &as_sent, SIGNATURE_REQUIRED, &trial->content, problem, err);
    }
    free(spec);
    if (result == 0 && stored->campaign.status == CAMPAIGN_DRAFT) /* so that its links lead somewhere */
        result = mailer_freeze(mailer, stored->campaign.id, &trial->content, 1, problem, err);
    if (result == STORAGE_WRONG_STATE)
        return error_set(err, -EINVAL, "the campaign was launched meanwhile; test it again");
    trial->sender = result == 0 ? str_dup(content_from_domain(trial->content)) : NULL;
    trial->shape.sender = trial->sender;
    return result == 0 && trial->sender == NULL ? error_memory(err) : result;
}

/* From here on the trial may be forgotten by others, as soon as it has ended. */
static int submit(struct mailer *mailer, struct trial *trial, int64_t *number, struct error *err)
{
    struct list jobs = LIST_INIT(jobs);
    for (size_t i = 0; i < trial->count; i++) {
        trial->letters[i].delivery = make_delivery(trial, i);
        if (trial->letters[i].delivery == NULL)
            return error_memory(err);
        list_append(&jobs, &trial->letters[i].delivery->job.node);
    }
    pthread_mutex_lock(&mailer->trials->lock);
    bool kept = keep(mailer->trials, trial);
    *number = trial->number;
    pthread_mutex_unlock(&mailer->trials->lock);
    if (!kept) {
        (void)error_set(err, -EBUSY, "%d tests are under way", KEPT);
        return CAMPAIGN_TEST_BUSY;
    }
    engine_submit(mailer->engine, &jobs);
    return 0;
}

int campaign_test(struct mailer *mailer, struct storage_reader *reader, int64_t id, const struct campaign_test *test,
                  int64_t *number, struct problem *problem, struct error *err)
{
    struct stored stored;
    struct trial *trial = calloc(1, sizeof(*trial));
    if (trial == NULL)
        return error_memory(err);
    trial->campaign_id = id;
    trial->started_ms = clock_wall_ms();
    int result = stored_load(reader, id, &stored, err);
    if (result == 0)
        result = read_addresses(trial, reader, &stored.campaign, test, problem, err);
    if (result == 0)
        result = read_shown(trial, reader, &stored.campaign, test, problem, err);
    if (result == 0)
        result = make_content(trial, mailer, reader, &stored, test, problem, err);
    if (result == 0)
        result = submit(mailer, trial, number, err);
    if (result != 0)
        trial_free(trial);
    stored_free(&stored);
    return result;
}

/* ---- how it ended ---- */

static const char *state_name(const struct trial_letter *letter)
{
    static const char *const names[] = {
        [OUTCOME_DELIVERED] = "delivered", [OUTCOME_TEMPORARY] = "deferred",  [OUTCOME_TRANSPORT] = "deferred",
        [OUTCOME_PERMANENT] = "bounced",   [OUTCOME_UNCERTAIN] = "uncertain", [OUTCOME_COMPOSE] = "failed",
        [OUTCOME_EXPIRED] = "failed",      [OUTCOME_RELEASED] = "failed",
    };
    return letter->ended ? names[letter->outcome.class_] : "sending";
}

static json_t *text_or_null(const char *text)
{
    char *line = text[0] != '\0' ? str_dup(text) : NULL;
    if (line == NULL)
        return json_null();
    str_make_line(line);
    json_t *value = json_string(line);
    free(line);
    return value;
}

static json_t *letter_json(const struct trial_letter *letter)
{
    const struct outcome *outcome = &letter->outcome;
    bool released = letter->ended && outcome->class_ == OUTCOME_RELEASED && outcome->stage == STAGE_NONE;
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:b}", "recipient", letter->to, "state", state_name(letter), "code",
        outcome->code != 0 ? json_integer(outcome->code) : json_null(), "enhanced", text_or_null(outcome->enhanced),
        "text", released ? json_string("was not sent in time, or the server was stopped") : text_or_null(outcome->text),
        "stage", outcome_stage_name(outcome->stage), "mx_host", text_or_null(outcome->mx_host), "tls",
        (int)outcome->tls);
}

int campaign_test_get(struct mailer *mailer, int64_t id, int64_t number, json_t **out, struct error *err)
{
    struct trials *trials = mailer->trials;
    struct trial *trial = NULL;
    pthread_mutex_lock(&trials->lock);
    list_for_each(node, &trials->all)
    {
        struct trial *each = list_entry(node, struct trial, node);
        if (each->number == number && each->campaign_id == id)
            trial = each;
    }
    if (trial != NULL) {
        char at[RFC3339_BYTES];
        json_t *results = json_array();
        for (size_t i = 0; i < trial->count; i++)
            (void)json_array_append_new(results, letter_json(&trial->letters[i]));
        bool whole = json_array_size(results) == trial->count;
        *out = json_pack("{s:I, s:I, s:s, s:s, s:b, s:o}", "id", (json_int_t)number, "campaign_id", (json_int_t)id,
                         "started_at", time_format_rfc3339(trial->started_ms, at), "shown", trial->shown.email, "done",
                         trial->out == 0, "results", results);
        if (!whole) {
            json_decref(*out);
            *out = NULL;
        }
    }
    pthread_mutex_unlock(&trials->lock);
    if (trial == NULL)
        return STORAGE_NOT_FOUND;
    return *out != NULL ? 0 : error_memory(err);
}
