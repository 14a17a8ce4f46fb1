/*
 * control.c - what people do with campaigns: create, launch, pause, resume, cancel, clone, preview.
 *
 * Each is one durable change of the campaign's row; the feeder is told afterwards and reads it. The legal moves are
 * storage's (storage_campaign_move); here stands only what a *verb* may mean: `launch` never resumes a paused campaign
 * and `resume` never launches a draft, although both lead to `running`. Asking for what is so already is no fault and
 * changes nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#include "campaign/audience/segment.h"
#include "campaign/draft.h"
#include "campaign/json_text.h"
#include "campaign/mailer.h"
#include "campaign/message/token.h"
#include "campaign/preflight/preflight.h"
#include "campaign/schedule/plan.h"
#include "campaign/schedule/split.h"
#include "campaign/stored.h"

/* What a server would do with this schedule if it found it when it comes back; a mistyped year must not mail a list. */
static int check_missed(const json_t *spec, int64_t scheduled_ms, struct problem *problem)
{
    struct plan plan;
    struct problem ignored = {.count = 0}; /* it is checked where it is stored */
    plan_parse(spec, &plan, &ignored);
    if (scheduled_ms == 0 || !plan.expire_missed || clock_wall_ms() - scheduled_ms <= PLAN_MISSED_MS)
        return 0;
    problem_add(problem, "schedule_at", "is over, and \"missed\" is \"expire\"");
    return -EINVAL;
}

/* What was to be launched at once and may not be leaves no draft behind. */
static int launch_created(struct mailer *mailer, struct storage_reader *reader, int64_t id, bool force,
                          struct problem *problem, struct error *err)
{
    struct error why = {""};
    int result = campaign_launch(mailer, reader, id, force, problem, err);
    /* Not found, or no draft any more: somebody else has taken it up meanwhile, and it is theirs. */
    int left = result != 0 ? storage_campaign_delete(mailer->storage, id, &why) : 0;
    if (left >= 0)
        return result;
    *err = why;
    return left;
}

int campaign_create(struct mailer *mailer, struct storage_reader *reader, const json_t *spec, int64_t *id,
                    struct problem *problem, struct error *err)
{
    struct draft draft;
    const struct config *config = config_live_hold(mailer->live);
    int result = draft_parse(spec, reader, config, &draft, problem, err);
    config_drop(config);
    if (result == 0 && draft.launch)
        result = check_missed(spec, draft.campaign.scheduled_ms, problem);
    if (result == 0)
        result = draft_check_content(mailer, reader, spec, &draft, draft.launch ? SIGNATURE_REQUIRED : SIGNATURE_NONE,
                                     problem, err);
    if (result == 0 && draft.launch)
        result = preflight_launch(mailer->preflight, reader, spec, NULL, draft.force, problem, err);
    if (result == 0)
        result = storage_campaign_create(mailer->storage, &draft.campaign, clock_wall_ms(), id, err);
    if (result == 0 && draft.launch)
        result = launch_created(mailer, reader, *id, draft.force, problem, err);
    draft_free(&draft);
    return result;
}

/* The first message as somebody of the audience would get it; nobody's when there is nobody yet. */
static int compose_first(struct storage_reader *reader, const struct storage_campaign *campaign,
                         const struct content *content, struct composed *out, struct error *err)
{
    static const struct message_recipient nobody = {
        .id = 1, .email = "launch-check@example.invalid", .attributes_json = "{}", .untracked = true};
    struct message_recipient shown = {0};
    struct problem none = {.count = 0};
    struct composer *composer = NULL;
    int result = shown_find(reader, campaign, NULL, &shown, &none, err);
    bool found = result == 0;
    if (result == 0 || result == -EINVAL)
        result = composer_create(&composer, err);
    if (result == 0)
        result = message_compose(composer, content, found ? &shown : &nobody, clock_wall_ms(), out, err);
    composer_free(composer);
    shown_free(&shown);
    return result;
}

/* 0, CAMPAIGN_NOT_READY or negative. */
static int check_domain(struct mailer *mailer, struct storage_reader *reader, const struct storage_campaign *campaign,
                        const struct content *content, bool force, struct problem *problem, struct error *err)
{
    struct composed first = {0};
    struct error why = {""};
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    /* A member whose attributes cannot be rendered is that delivery's failure, no reason to hold up the others. */
    int composed = compose_first(reader, campaign, content, &first, &why);
    int result =
        composed == -ENOMEM || spec == NULL
            ? error_memory(err)
            : preflight_launch(mailer->preflight, reader, spec, composed == 0 ? &first : NULL, force, problem, err);
    free(first.block);
    json_decref(spec);
    return result;
}

void campaign_preflight(struct mailer *mailer, struct storage_reader *reader, int64_t id)
{
    struct stored copy;
    struct error err = {""};
    json_t *spec = NULL;
    if (stored_load(reader, id, &copy, &err) == 0 && copy.campaign.status == CAMPAIGN_DRAFT)
        spec = json_text_reads(copy.campaign.spec, 0, NULL);
    preflight_warm(mailer->preflight, reader, spec);
    json_decref(spec);
    stored_free(&copy);
}

/* Of an A/B campaign: its own content and all variants, each compiled as the feeder will compile it. */
static int freeze(struct mailer *mailer, struct storage_reader *reader, const struct storage_campaign *campaign,
                  struct content *content, struct problem *problem, struct error *err)
{
    struct split split;
    struct problem ignored = {.count = 0}; /* it was checked when it was stored */
    struct content *contents[1 + SPLIT_VARIANTS_MAX] = {content};
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    if (spec == NULL)
        return error_memory(err);
    split_parse(spec, &split, &ignored);
    json_decref(spec);
    int result =
        mailer_compile_variants(mailer, reader, campaign, split.variants, SIGNATURE_NONE, contents + 1, problem, err);
    if (result == 0)
        result = mailer_freeze(mailer, campaign->id, contents, 1 + (size_t)split.variants, problem, err);
    for (size_t i = 1; i < countof(contents); i++)
        content_unref(contents[i]);
    return result;
}

/* As storage_campaign_move() refuses. */
static int refuse_state(const struct storage_campaign *campaign, struct error *err)
{
    (void)error_set(err, -EINVAL, "the state of the campaign is %s, which does not allow this",
                    campaign_status_name(campaign->status));
    return STORAGE_WRONG_STATE;
}

int campaign_launch(struct mailer *mailer, struct storage_reader *reader, int64_t id, bool force,
                    struct problem *problem, struct error *err)
{
    struct stored copy;
    int result = stored_load(reader, id, &copy, err);
    if (result != 0)
        goto out;
    switch (copy.campaign.status) {
    case CAMPAIGN_RUNNING:
    case CAMPAIGN_SCHEDULED:
        goto out;
    case CAMPAIGN_DRAFT:
        break;
    default:
        result = refuse_state(&copy.campaign, err);
        goto out;
    }
    json_t *spec = json_text_reads(copy.campaign.spec, 0, NULL);
    result = spec == NULL ? error_memory(err) : check_missed(spec, copy.campaign.scheduled_ms, problem);
    json_decref(spec);
    struct content *content = NULL;
    if (result == 0)
        result = mailer_compile(mailer, reader, &copy.campaign, SIGNATURE_REQUIRED, &content, problem, err);
    if (result == 0)
        result = freeze(mailer, reader, &copy.campaign, content, problem, err);
    if (result == 0)
        result = check_domain(mailer, reader, &copy.campaign, content, force, problem, err);
    content_unref(content);
    if (result != 0)
        goto out;
    int64_t now_ms = clock_wall_ms();
    bool later = copy.campaign.scheduled_ms > now_ms;
    result = storage_campaign_move(mailer->storage, id, later ? CAMPAIGN_SCHEDULED : CAMPAIGN_RUNNING,
                                   copy.campaign.scheduled_ms, now_ms, NULL, err);
    if (result == 0)
        feeder_look(mailer->feeder);
out:
    stored_free(&copy);
    return result;
}

static int move(struct mailer *mailer, int64_t id, enum campaign_status to, struct error *err)
{
    int result = storage_campaign_move(mailer->storage, id, to, 0, clock_wall_ms(), NULL, err);
    if (result == 0)
        feeder_look(mailer->feeder);
    return result;
}

int campaign_pause(struct mailer *mailer, int64_t id, struct error *err)
{
    return move(mailer, id, CAMPAIGN_PAUSED, err);
}

int campaign_resume(struct mailer *mailer, struct storage_reader *reader, int64_t id, struct error *err)
{
    struct stored copy;
    int result = stored_load(reader, id, &copy, err);
    if (result == 0 && copy.campaign.status != CAMPAIGN_RUNNING)
        result = copy.campaign.status == CAMPAIGN_PAUSED ? move(mailer, id, CAMPAIGN_RUNNING, err)
                                                         : refuse_state(&copy.campaign, err);
    stored_free(&copy);
    return result;
}

int campaign_cancel(struct mailer *mailer, int64_t id, struct error *err)
{
    return move(mailer, id, CAMPAIGN_CANCELLED, err);
}

/* The program of a stored spec's segment, made anew. -EINVAL: a list or campaign that it names is gone. */
static int clone_segment(struct storage_reader *reader, const json_t *spec, struct buffer *out,
                         struct storage_campaign *clone, struct error *err)
{
    const json_t *segment = json_object_get(spec, "segment");
    struct problem problem = {.count = 0};
    if (segment == NULL || json_is_null(segment))
        return 0;
    int result = segment_parse(segment, reader, out, &problem, err);
    if (result == 0 && problem.count > 0)
        result = error_set(err, -EINVAL, "%s %s", problem.fields[0].field, problem.fields[0].message);
    clone->segment = out->data;
    clone->segment_bytes = out->len;
    return result;
}

int campaign_clone(struct mailer *mailer, struct storage_reader *reader, int64_t id, int64_t *new_id, struct error *err)
{
    struct stored copy;
    json_t *spec = NULL;
    char *name = NULL;
    struct buffer segment = BUFFER_INIT(SEGMENT_BYTES_MAX);
    int result = stored_load(reader, id, &copy, err);
    if (result != 0)
        goto out;
    if (copy.campaign.messages) {
        (void)error_set(err, -EINVAL, "it is a stream of single messages");
        result = STORAGE_WRONG_STATE;
        goto out;
    }
    struct storage_campaign clone = copy.campaign;
    clone.scheduled_ms = 0; /* the old time is over or somebody else's; a draft waits for its launch */
    name = str_printf("%.190s (copy)", copy.campaign.name);
    spec = json_text_reads(copy.campaign.spec, 0, NULL);
    if (name == NULL || spec == NULL || json_object_set_new(spec, "name", json_string(name)) != 0) {
        result = error_memory(err);
        goto out;
    }
    (void)json_object_del(spec, "schedule_at");
    result = clone_segment(reader, spec, &segment, &clone, err);
    if (result != 0)
        goto out;
    struct problem ignored = {.count = 0}; /* it was checked when it was stored */
    struct split split;
    split_parse(spec, &split, &ignored);
    clone.split_share = split.share;
    clone.split_variants = split.variants;
    char *text = json_text_write(spec, JSON_COMPACT);
    if (text == NULL) {
        result = error_memory(err);
        goto out;
    }
    clone.name = name;
    clone.spec = text;
    result = storage_campaign_create(mailer->storage, &clone, clock_wall_ms(), new_id, err);
    free(text);
out:
    buffer_finish(&segment);
    free(name);
    json_decref(spec);
    stored_free(&copy);
    return result;
}

int campaign_winner(struct mailer *mailer, struct storage_reader *reader, int64_t id, int variant, struct error *err)
{
    struct stored copy;
    int result = stored_load(reader, id, &copy, err);
    if (result == 0 && copy.campaign.status != CAMPAIGN_RUNNING && copy.campaign.status != CAMPAIGN_PAUSED) {
        (void)error_set(err, -EINVAL, "the campaign is %s", campaign_status_name(copy.campaign.status));
        result = STORAGE_WRONG_STATE;
    }
    if (result == 0) {
        result = storage_split_choose(mailer->storage, id, variant, clock_wall_ms(), err);
        if (result == STORAGE_NOT_FOUND)
            result = STORAGE_WRONG_STATE;
        if (result == STORAGE_WRONG_STATE)
            (void)error_set(err, -EINVAL, "the campaign has no A/B test, or another variant has won");
    }
    if (result == 0)
        feeder_look(mailer->feeder);
    stored_free(&copy);
    return result;
}

int unsubscribe_token_parse(struct mailer *mailer, const char *token, int64_t *campaign_id, int64_t *recipient_id)
{
    int result = token_ring_parse(mailer->ring, TOKEN_UNSUBSCRIBE, token, strlen(token), campaign_id, recipient_id);
    return result == 1 ? STORAGE_NOT_FOUND : result;
}

int preferences_token_parse(struct mailer *mailer, const char *token, int64_t *campaign_id, int64_t *recipient_id)
{
    int result = token_ring_parse(mailer->ring, TOKEN_PREFERENCES, token, strlen(token), campaign_id, recipient_id);
    return result == 1 ? STORAGE_NOT_FOUND : result;
}
