/*
 * sites.c - keeps the best `limit` of a stream of sites: a small array, its weakest entry replaced. Memory does not
 * depend on the number of sites.
 */
#include "api/sites.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/json.h"
#include "api/views.h"
#include "base/str.h"

struct ranked {
    uint64_t waiting, delivered;
    json_t *view;
};

struct ranking {
    struct ranked *sites;
    size_t count, limit;
    size_t weakest; /* index, valid when full */
    const char *only;
};

static int compare(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->waiting != y->waiting)
        return x->waiting > y->waiting ? -1 : 1;
    return x->delivered == y->delivered ? 0 : x->delivered > y->delivered ? -1 : 1;
}

static void find_weakest(struct ranking *ranking)
{
    ranking->weakest = 0;
    for (size_t i = 1; i < ranking->count; i++) {
        if (compare(&ranking->sites[i], &ranking->sites[ranking->weakest]) > 0)
            ranking->weakest = i;
    }
}

static void offer(void *context, const struct engine_site_stats *site)
{
    struct ranking *ranking = context;
    struct ranked ranked = {.waiting = (uint64_t)site->queued + site->in_flight, .delivered = site->delivered};
    if (ranking->only != NULL && strcmp(ranking->only, site->site) != 0)
        return;
    struct ranked *place;
    if (ranking->count < ranking->limit)
        place = &ranking->sites[ranking->count++];
    else if (compare(&ranked, &ranking->sites[ranking->weakest]) < 0)
        place = &ranking->sites[ranking->weakest];
    else
        return;
    ranked.view = view_site(site);
    json_decref(place->view);
    *place = ranked;
    if (ranking->count == ranking->limit)
        find_weakest(ranking);
}

int sites_busiest(struct engine *engine, const char *only, int limit, json_t **out, struct engine_totals *totals,
                  struct error *err)
{
    assure(limit >= 1 && limit <= SITES_MAX);
    struct ranking ranking = {.limit = (size_t)limit, .only = only};
    ranking.sites = calloc(ranking.limit, sizeof(*ranking.sites));
    json_t *array = json_array();
    if (ranking.sites == NULL || array == NULL) {
        free(ranking.sites);
        json_decref(array);
        return error_memory(err);
    }
    *totals = (struct engine_totals){0};
    int rc = engine_sites(engine, offer, &ranking, totals);
    qsort(ranking.sites, ranking.count, sizeof(*ranking.sites), compare);
    for (size_t i = 0; i < ranking.count; i++)
        (void)json_array_append_new(array, ranking.sites[i].view);
    free(ranking.sites);
    if (rc != 0) {
        json_decref(array);
        return error_set(err, rc < 0 ? rc : -EIO, "the engine did not answer in time");
    }
    *out = array;
    return 0;
}

struct explained {
    uint64_t waiting;
    json_t *view;
};

static json_t *lines_of(const char *text)
{
    json_t *lines = json_array();
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        char *line = str_dup_len(text, len);
        if (line != NULL)
            (void)json_array_append_new(lines, json_line(line));
        free(line);
        text += len + (text[len] != '\0' ? 1 : 0);
    }
    return lines;
}

static void keep_busier(void *context, const struct engine_site_stats *site)
{
    struct explained *explained = context;
    uint64_t waiting = (uint64_t)site->queued + site->in_flight;
    if (explained->view != NULL && waiting <= explained->waiting)
        return;
    json_decref(explained->view);
    explained->waiting = waiting;
    explained->view = view_site(site);
    (void)json_object_set_new(explained->view, "limits", view_limits(site));
    (void)json_object_set_new(explained->view, "explanation", lines_of(site->explanation));
}

int site_explained(struct engine *engine, const char *name, json_t **out, struct error *err)
{
    struct explained explained = {0};
    *out = NULL;
    int rc = engine_explain(engine, name, keep_busier, &explained);
    if (rc != 0) {
        json_decref(explained.view);
        return error_set(err, rc < 0 ? rc : -EIO, "the engine did not answer in time");
    }
    *out = explained.view;
    return 0;
}

static void ignore_site(void *context, const struct engine_site_stats *site)
{
    (void)context;
    (void)site;
}

int sites_totals(struct engine *engine, struct engine_totals *totals)
{
    *totals = (struct engine_totals){0};
    return engine_sites(engine, ignore_site, NULL, totals);
}
