/*
 * edit.c - changes a draft by a merge patch (RFC 7396): what the patch names is replaced, null removes a field, the
 * rest stays. The result is checked exactly as a newly posted campaign is, so nothing can be reached by a change that
 * could not have been posted. What was launched is never changed.
 */
#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/str.h"

#include "campaign/draft.h"
#include "campaign/json_text.h"
#include "campaign/mailer.h"

#define PATCH_DEPTH_MAX 32

struct present {
    char *spec;
    enum campaign_status status;
};

static int keep(void *context, const struct storage_campaign *campaign)
{
    struct present *present = context;
    present->status = campaign->status;
    present->spec = str_dup(campaign->spec);
    return 0;
}

/* False: no memory, or nested too deep. */
static bool merge(json_t *target, const json_t *patch, int depth)
{
    const char *key;
    json_t *value;
    if (depth > PATCH_DEPTH_MAX)
        return false;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        if (json_is_null(value)) {
            (void)json_object_del(target, key);
            continue;
        }
        json_t *old = json_object_get(target, key);
        if (!json_is_object(value)) {
            if (json_object_set_new(target, key, json_deep_copy(value)) != 0)
                return false;
            continue;
        }
        if (!json_is_object(old)) {
            if (json_object_set_new(target, key, json_object()) != 0)
                return false;
            old = json_object_get(target, key);
        }
        if (!merge(old, value, depth + 1))
            return false;
    }
    return true;
}

static int check_and_store(struct mailer *mailer, struct storage_reader *reader, int64_t id, const json_t *spec,
                           struct problem *problem, struct error *err)
{
    struct draft draft;
    const struct config *config = config_live_hold(mailer->live);
    int result = draft_parse(spec, reader, config, &draft, problem, err);
    config_drop(config);
    if (result == 0)
        result = draft_check_content(mailer, reader, spec, &draft, SIGNATURE_NONE, problem, err);
    if (result == 0) {
        draft.campaign.id = id;
        result = storage_campaign_edit(mailer->storage, &draft.campaign, err);
    }
    draft_free(&draft);
    return result;
}

int campaign_edit(struct mailer *mailer, struct storage_reader *reader, int64_t id, const json_t *patch,
                  struct problem *problem, struct error *err)
{
    struct present present = {.spec = NULL};
    json_t *spec = NULL;
    int result = storage_campaign_get(reader, id, keep, &present, err);
    if (result != 0)
        goto out;
    if (present.status != CAMPAIGN_DRAFT) {
        (void)error_set(err, -EINVAL, "only a draft can be changed, this campaign is %s",
                        campaign_status_name(present.status));
        result = STORAGE_WRONG_STATE;
        goto out;
    }
    if (!json_is_object(patch) || json_object_get(patch, "launch") != NULL) {
        problem_add(problem, json_is_object(patch) ? "launch" : "(body)",
                    json_is_object(patch) ? "is no part of a change; POST to /launch" : "must be an object");
        result = error_set(err, -EINVAL, "the change cannot be accepted");
        goto out;
    }
    spec = present.spec != NULL ? json_text_reads(present.spec, 0, NULL) : NULL;
    result = spec != NULL && merge(spec, patch, 0) ? check_and_store(mailer, reader, id, spec, problem, err)
                                                   : error_memory(err);
out:
    json_decref(spec);
    free(present.spec);
    return result;
}
