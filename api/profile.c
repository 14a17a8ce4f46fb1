/*
 * profile.c - gathers a recipient's story out of five tables. Bounded: the first DELIVERIES_SHOWN deliveries.
 */
#include "api/profile.h"

#include <string.h>

#include "api/views.h"
#include "base/address.h"

#define DELIVERIES_SHOWN 1000

struct profile {
    json_t *object;
    int64_t id;
};

static int keep_recipient(void *context, const struct storage_recipient *recipient)
{
    struct profile *profile = context;
    profile->id = recipient->id;
    json_decref(profile->object);
    profile->object = view_recipient(recipient);
    return 0;
}

static int append_membership(void *context, const struct storage_member *member)
{
    (void)json_array_append_new(context, view_membership(member));
    return 0;
}

static int append_delivery(void *context, const struct storage_delivery *delivery)
{
    (void)json_array_append_new(context, view_delivery(delivery));
    return json_array_size(context) >= DELIVERIES_SHOWN ? 1 : 0;
}

static int append_attempt(void *context, const struct storage_delivery *attempt)
{
    (void)json_array_append_new(context, view_attempt(attempt));
    return 0;
}

static int keep_suppression(void *context, const struct storage_suppression *suppression)
{
    json_t **out = context;
    if (*out == NULL)
        *out = view_suppression(suppression); /* that of every list comes first */
    return 0;
}

static int add_deliveries(struct storage_reader *reader, struct profile *profile, struct error *err)
{
    json_t *deliveries = json_array();
    (void)json_object_set_new(profile->object, "deliveries", deliveries);
    int rc = storage_delivery_by_recipient(reader, profile->id, append_delivery, deliveries, err);
    size_t i;
    json_t *delivery;
    json_array_foreach(deliveries, i, delivery)
    {
        if (rc < 0)
            break;
        json_t *attempts = json_array();
        (void)json_object_set_new(delivery, "history", attempts);
        rc = storage_delivery_attempts(reader, json_integer_value(json_object_get(delivery, "id")), append_attempt,
                                       attempts, err);
    }
    return MIN_OF(rc, 0);
}

static int add_rest(struct storage_reader *reader, struct profile *profile, const char *email, struct error *err)
{
    json_t *lists = json_array();
    json_t *suppression = NULL;
    (void)json_object_set_new(profile->object, "lists", lists);
    int rc = storage_recipient_memberships(reader, profile->id, append_membership, lists, err);
    if (rc >= 0)
        rc = storage_suppression_get(reader, email, keep_suppression, &suppression, err);
    (void)json_object_set_new(profile->object, "suppression", suppression != NULL ? suppression : json_null());
    return rc < 0 ? rc : add_deliveries(reader, profile, err);
}

int profile_get(struct storage_reader *reader, const char *email, json_t **out, struct error *err)
{
    struct profile profile = {NULL, 0};
    struct address address;
    if (address_parse_stored(email, strlen(email), &address, NULL) != 0)
        return STORAGE_NOT_FOUND;
    int rc = storage_recipient_find(reader, address.text, keep_recipient, &profile, err);
    if (rc == 0 && profile.object == NULL)
        rc = error_memory(err);
    if (rc == 0)
        rc = add_rest(reader, &profile, address.text, err);
    if (rc != 0) {
        json_decref(profile.object);
        return rc;
    }
    *out = profile.object;
    return 0;
}
