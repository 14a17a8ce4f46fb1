/*
 * access.c - makes what lets somebody in (tokens) and what lets mail out (sending domains). The rooms below do the
 * work; here it becomes JSON.
 */
#include "api/access.h"

#include <errno.h>
#include <string.h>

#include "api/http/auth.h"
#include "api/http/json.h"
#include "api/views.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

int access_token_create(struct storage *storage, const char *name, enum token_scope scope, json_t **out,
                        struct error *err)
{
    char text[TOKEN_TEXT_BYTES];
    uint8_t sha256[32];
    int64_t id = 0;
    int rc = token_generate(text, sha256, err);
    if (rc == 0)
        rc = storage_token_add(storage, name, scope, sha256, clock_wall_ms(), &id, err);
    if (rc != 0)
        return rc;
    *out = json_pack("{s:I, s:o, s:s, s:s}", "id", (json_int_t)id, "name", json_line(name), "scope",
                     token_scope_name(scope), "token", text);
    return *out != NULL ? 0 : error_memory(err);
}

struct found_domain {
    struct storage_reader *reader;
    json_t *object;
};

static int keep_domain(void *context, const struct storage_domain *domain)
{
    struct found_domain *found = context;
    json_decref(found->object);
    found->object = view_domain(domain, found->reader);
    return 0;
}

int access_domain_get(struct storage_reader *reader, const struct config *config, const char *name, json_t **out,
                      struct error *err)
{
    char normal[DOMAIN_MAX_BYTES + 1];
    *out = NULL;
    if (domain_normalise(name, strlen(name), normal, NULL) != 0)
        return STORAGE_NOT_FOUND;
    struct found_domain found = {.reader = reader};
    int rc = storage_domain_get(reader, normal, keep_domain, &found, err);
    *out = found.object;
    if (rc == 0 && *out == NULL)
        return error_memory(err);
    if (rc == 0)
        rc = sending_domain_records(config, normal, json_object_get(*out, "dns"), err);
    if (rc != 0) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

int access_domain_add(struct storage *storage, const struct config *config, const char *domain, const char *selector,
                      json_t **out, struct problem *problem, struct error *err)
{
    int rc = sending_domain_add(storage, config, domain, selector, problem, err);
    if (rc != 0)
        return rc;
    struct storage_reader *reader = NULL;
    rc = storage_reader_open(storage, &reader, err);
    if (rc != 0)
        return rc;
    rc = access_domain_get(reader, config, domain, out, err);
    storage_reader_close(reader);
    return rc == STORAGE_NOT_FOUND ? error_set(err, -EIO, "the domain was added but cannot be read back") : rc;
}

int access_domain_rotate(struct storage *storage, struct storage_reader *reader, const struct config *config,
                         const char *domain, json_t **out, struct error *err)
{
    static const char *const steps[] = {[ROTATION_MADE] = "made",
                                        [ROTATION_WAITS] = "waits",
                                        [ROTATION_SWITCHED] = "switched",
                                        [ROTATION_RETIRED] = "retired"};
    struct domain_rotation rotation;
    int rc = sending_domain_rotate(storage, reader, config, domain, &rotation, err);
    if (rc == 0)
        rc = access_domain_get(reader, config, domain, out, err);
    if (rc == 0)
        (void)json_object_set_new(*out, "rotation",
                                  json_pack("{s:s, s:o, s:o}", "step", steps[rotation.step], "why",
                                            json_line(rotation.why), "wait_until", json_time(rotation.wait_until_ms)));
    return rc;
}
