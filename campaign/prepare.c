/*
 * prepare.c - from a stored campaign to something that composers can use: its spec, the names of its lists, the key of its From domain.
 *
 * A launch is checked with the very code that sends: the content is compiled, one message is composed for a made-up recipient and its
 * signature is verified by libopendkim against the record that we told the user to publish. So a key that does not fit its record is found by us, not by the first provider.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"

#include "campaign/json_text.h"
#include "campaign/mailer.h"
#include "campaign/schedule/split.h"
#include "campaign/signing.h"

struct list_names {
    const char *names[CAMPAIGN_LISTS_MAX];
    size_t count;
    bool failed;
};

static int keep_name(void *context, const struct storage_list *list)
{
    struct list_names *names = context;
    char *copy = str_dup(list->name);
    names->failed |= copy == NULL;
    if (copy != NULL && names->count < countof(names->names))
        names->names[names->count++] = copy;
    else
        free(copy);
    return 0;
}

static int load_list_names(struct storage_reader *reader, const struct storage_campaign *campaign, struct list_names *names,
                           struct error *err)
{
    for (int i = 0; i < campaign->list_count; i++) {
        int result = storage_list_get(reader, campaign->lists[i], keep_name, names, err);
        if (result < 0)
            return result;
        if (names->failed)
            return error_memory(err);
    }
    return 0;
}

static void list_names_finish(struct list_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free((char *)(uintptr_t)names->names[i]);
}

/* The partials and the tracked links: of a draft as they are now, of what was launched as they were then. */
struct frozen {
    json_t *partials, *links; /* links NULL: the content makes them */
    int64_t token_key;        /* -1 = the newest */
    bool failed;
};

static int take_frozen(void *context, const struct storage_frozen *row)
{
    struct frozen *frozen = context;
    frozen->partials = json_text_reads(row->partials, 0, NULL);
    frozen->failed |= !json_is_object(frozen->partials);
    frozen->token_key = row->token_key;
    return 0;
}

static int take_link(void *context, const struct storage_link *link)
{
    struct frozen *frozen = context;
    frozen->failed |= json_array_append_new(frozen->links, json_string(link->url)) != 0;
    return 0;
}

static int load_frozen(struct storage_reader *reader, const struct storage_campaign *campaign, struct frozen *frozen,
                       struct error *err)
{
    frozen->token_key = -1;
    if (campaign == NULL || campaign->status == CAMPAIGN_DRAFT)
        return snippets_load(reader, &frozen->partials, err);
    frozen->token_key = 0; /* of what was launched by a program that knew only one */
    frozen->links = json_array();
    if (frozen->links == NULL)
        return error_memory(err);
    int result = storage_frozen_get(reader, campaign->id, take_frozen, frozen, err);
    if (result == STORAGE_NOT_FOUND) /* launched by a program that knew neither */
        return 0;
    if (result == 0)
        result = storage_link_page(reader, campaign->id, 0, TRACKING_LINKS_MAX, take_link, frozen, NULL, err);
    if (result == 0 && frozen->failed)
        result = error_set(err, -EIO, "what was frozen of campaign %lld cannot be read", (long long)campaign->id);
    return result;
}

static void frozen_finish(struct frozen *frozen)
{
    json_decref(frozen->partials);
    json_decref(frozen->links);
}

static bool is_listed(const char *const *urls, size_t count, const char *url)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(urls[i], url) == 0)
            return true;
    return false;
}

/* One more content's links and partials: 0; -E2BIG for too many links; -ENOMEM. */
static int merge(const struct content *content, const char *urls[TRACKING_LINKS_MAX], size_t *count, json_t *partials)
{
    const char *const *own;
    size_t own_count = content_links(content, &own);
    for (size_t i = 0; i < own_count; i++) {
        if (is_listed(urls, *count, own[i]))
            continue;
        if (*count == TRACKING_LINKS_MAX)
            return -E2BIG;
        urls[(*count)++] = own[i];
    }
    return json_object_update_missing(partials, (json_t *)(uintptr_t)content_partials(content)) == 0 ? 0 : -ENOMEM;
}

int mailer_freeze(struct mailer *mailer, int64_t id, struct content *const contents[], size_t count,
                  struct problem *problem, struct error *err)
{
    const char *urls[TRACKING_LINKS_MAX];
    struct storage_frozen frozen = {.urls = urls};
    json_t *partials = json_object();
    int result = partials != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = merge(contents[i], urls, &frozen.url_count, partials);
    char *text = result == 0 ? json_text_write(partials, JSON_COMPACT) : NULL;
    json_decref(partials);
    if (result == -E2BIG) {
        problem_add(problem, "ab.variants", "have more than %d links to track together", TRACKING_LINKS_MAX);
        return error_set(err, -EINVAL, "the campaign has more than %d links to track", TRACKING_LINKS_MAX);
    }
    if (text == NULL)
        return error_memory(err);
    frozen.partials = text;
    result = storage_campaign_freeze(mailer->storage, id, &frozen, err);
    free(text);
    return result;
}

static int compile(struct mailer *mailer, const json_t *spec, int64_t id, const char *name, const struct list_names *lists,
                   const struct frozen *frozen, const struct signing *signing, struct content **out,
                   struct problem *problem, struct error *err)
{
    const struct content_options options = {
        .spec = spec,
        .partials = frozen->partials,
        .links = frozen->links,
        .campaign_id = id,
        .campaign_name = name,
        .list_names = lists->names,
        .list_count = lists->count,
        .public_url = mailer->config->public_url,
        .bounce_domain = mailer->config->bounce_domain,
        .mac = frozen->token_key < 0 ? token_ring_newest(mailer->ring) : token_ring_key(mailer->ring, frozen->token_key),
        .signature_life_s = mailer->config->signature_expires_ms / 1000,
        .signers = {{.key = signing->keys[0], .selector = signing->selectors[0]},
                    {.key = signing->keys[1], .selector = signing->selectors[1]}},
    };
    return content_compile(&options, out, problem, err);
}

/* Composes one message and lets libopendkim judge it. */
static int verify_signature(const struct content *content, const struct signing *signing, struct problem *problem, struct error *err)
{
    struct dkim_published published[CONTENT_SIGNERS_MAX];
    for (size_t i = 0; i < signing->count; i++)
        published[i] = (struct dkim_published){.selector = signing->selectors[i], .record = signing->records[i]};
    struct composer *composer = NULL;
    struct composed composed = {0};
    const struct message_recipient nobody = {.id = 1, .email = "launch-check@example.invalid", .attributes_json = "{}"};
    int result = composer_create(&composer, err);
    if (result == 0)
        result = message_compose(composer, content, &nobody, clock_wall_ms(), &composed, err);
    if (result == 0) {
        result = dkim_check_all(composed.data, composed.size_bytes, published, signing->count, err);
        if (result > 0) {
            problem_add(problem, "from.email", "the DKIM key does not fit its record: %s", err->text);
            result = -EINVAL;
        }
    }
    free(composed.block);
    composer_free(composer);
    return result;
}

int mailer_compile(struct mailer *mailer, struct storage_reader *reader, const struct storage_campaign *campaign,
                   enum signature signature, struct content **out, struct problem *problem, struct error *err)
{
    struct problem own = {.count = 0};
    struct error own_err = {""};
    struct list_names lists = {.count = 0};
    struct signing signing = {0};
    struct frozen frozen = {0};
    struct content *content = NULL;
    if (problem == NULL)
        problem = &own;
    if (err == NULL)
        err = &own_err;
#ifdef POSTHASTE_UNSIGNED /* a program of the benches' own, which measures all but the signature */
    signature = SIGNATURE_NONE;
#endif
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    int result = spec != NULL ? 0 : error_set(err, -EIO, "the stored spec of campaign %lld is not JSON", (long long)campaign->id);
    if (result == 0)
        result = load_list_names(reader, campaign, &lists, err);
    if (result == 0 && signature == SIGNATURE_REQUIRED)
        result = signing_find(mailer, reader, spec, &signing, problem, err);
    if (result == 0)
        result = load_frozen(reader, campaign, &frozen, err);
    if (result == 0 && frozen.token_key >= 0 && !token_ring_knows(mailer->ring, frozen.token_key))
        result = token_ring_refresh(mailer->ring, reader, err);
    if (result == 0)
        result = compile(mailer, spec, campaign->id, campaign->name, &lists, &frozen, &signing, &content, problem, err);
    if (result == 0 && signature == SIGNATURE_REQUIRED)
        result = verify_signature(content, &signing, problem, err);
    if (result == 0)
        *out = content;
    else
        content_unref(content);
    if (result == -EINVAL && problem == &own && own.count > 0)
        (void)error_set(err, result, "%s: %s", own.fields[0].field, own.fields[0].message);
    signing_finish(&signing);
    frozen_finish(&frozen);
    list_names_finish(&lists);
    json_decref(spec);
    return result;
}

int mailer_compile_variants(struct mailer *mailer, struct storage_reader *reader,
                            const struct storage_campaign *campaign, int variants, enum signature signature,
                            struct content *contents[SPLIT_VARIANTS_MAX], struct problem *problem, struct error *err)
{
    json_t *spec = json_text_reads(campaign->spec, 0, NULL);
    int result = 0;
    for (int i = 0; result == 0 && i < variants; i++) {
        struct storage_campaign variant = *campaign;
        size_t before = problem != NULL ? problem->count : 0;
        json_t *own = split_variant(spec, i);
        char *text = own != NULL ? json_text_write(own, JSON_COMPACT) : NULL;
        json_decref(own);
        variant.spec = text;
        result = text == NULL ? error_memory(err)
                              : mailer_compile(mailer, reader, &variant, signature, &contents[i], problem, err);
        if (problem != NULL)
            split_place_faults(problem, before, i);
        free(text);
    }
    json_decref(spec);
    return result;
}

int mailer_check_content(struct mailer *mailer, struct storage_reader *reader, const json_t *spec, const char *name,
                         enum signature signature, struct problem *problem, struct error *err)
{
    const struct list_names no_lists = {.count = 0};
    struct signing signing = {0};
    struct frozen frozen = {0};
    struct content *content = NULL;
    int result = signature == SIGNATURE_REQUIRED ? signing_find(mailer, reader, spec, &signing, problem, err) : 0;
    if (result == 0)
        result = load_frozen(reader, NULL, &frozen, err);
    if (result == 0)
        result = compile(mailer, spec, 0, name, &no_lists, &frozen, &signing, &content, problem, err);
    content_unref(content);
    frozen_finish(&frozen);
    signing_finish(&signing);
    return result;
}
