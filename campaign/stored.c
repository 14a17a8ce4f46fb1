/*
 * stored.c - see stored.h.
 */
#include "campaign/stored.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/str.h"

static int copy_campaign(void *context, const struct storage_campaign *campaign)
{
    struct stored *stored = context;
    stored->campaign = *campaign;
    stored->campaign.name = str_dup(campaign->name);
    stored->campaign.spec = str_dup(campaign->spec);
    stored->failed = stored->campaign.name == NULL || stored->campaign.spec == NULL;
    return 0;
}

int stored_load(struct storage_reader *reader, int64_t id, struct stored *out, struct error *err)
{
    *out = (struct stored){0};
    int result = storage_campaign_get(reader, id, copy_campaign, out, err);
    return result == 0 && out->failed ? error_memory(err) : result;
}

void stored_free(struct stored *stored)
{
    free((char *)(uintptr_t)stored->campaign.name);
    free((char *)(uintptr_t)stored->campaign.spec);
}

static int keep_recipient(void *context, const struct storage_recipient *recipient)
{
    struct message_recipient *copy = context;
    copy->id = recipient->id;
    copy->untracked = true; /* whoever looks at it is not the recipient */
    copy->email = str_dup(recipient->email);
    copy->attributes_json = str_dup(recipient->attributes);
    return 0;
}

static int whole(const struct message_recipient *recipient, int result, struct error *err)
{
    bool missing = recipient->email == NULL || recipient->attributes_json == NULL;
    return result == 0 && missing ? error_memory(err) : result;
}

int shown_get(struct storage_reader *reader, int64_t recipient_id, struct message_recipient *out, struct error *err)
{
    int result = storage_recipient_get(reader, recipient_id, keep_recipient, out, err);
    return whole(out, result, err);
}

int shown_find(struct storage_reader *reader, const struct storage_campaign *campaign, const char *email,
               struct message_recipient *out, struct problem *problem, struct error *err)
{
    int result = STORAGE_NOT_FOUND;
    if (email != NULL) {
        struct address address;
        struct error why = {""};
        if (address_parse(email, strlen(email), &address, &why) != 0) {
            problem_add(problem, "recipient", "%s", why.text);
            return error_set(err, -EINVAL, "%s", why.text);
        }
        result = storage_recipient_find(reader, address.text, keep_recipient, out, err);
    }
    for (int i = 0; email == NULL && result == STORAGE_NOT_FOUND && i < campaign->list_count; i++)
        result = storage_list_sample(reader, campaign->lists[i], keep_recipient, out, err);
    if (result == STORAGE_NOT_FOUND) {
        problem_add(problem, "recipient",
                    email != NULL ? "is not known; import it first" : "the lists of the campaign are empty");
        return error_set(err, -EINVAL, "there is nobody to show the campaign for");
    }
    return whole(out, result, err);
}

void shown_free(struct message_recipient *recipient)
{
    free((char *)(uintptr_t)recipient->email);
    free((char *)(uintptr_t)recipient->attributes_json);
}
