/*
 * split.c - reads an A/B test, and judges it.
 */
#include "campaign/schedule/split.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const char *const parts[] = {"subject", "html", "text"};

static void read_share(const json_t *json, struct split *out, struct problem *problem)
{
    double share = json_number_value(json);
    if (!json_is_number(json) || !(share >= 1 && share <= 90)) {
        problem_add(problem, "ab.share", "must be a number of per cent, from 1 to 90");
        return;
    }
    out->share = (int)(share / 100 * SPLIT_SLOTS);
}

static void read_variants(const json_t *json, struct split *out, struct problem *problem)
{
    size_t i;
    const json_t *variant;
    const char *key;
    json_t *value;
    if (!json_is_array(json) || json_array_size(json) < 2 || json_array_size(json) > SPLIT_VARIANTS_MAX) {
        problem_add(problem, "ab.variants", "must be a list of 2 to %d variants", SPLIT_VARIANTS_MAX);
        return;
    }
    out->variants = (int)json_array_size(json);
    json_array_foreach(json, i, variant)
    {
        char field[64];
        (void)snprintf(field, sizeof(field), "ab.variants[%zu]", i);
        if (!json_is_object(variant))
            problem_add(problem, field, "must be an object with subject, html or text");
        json_object_foreach((json_t *)(uintptr_t)variant, key, value)
        {
            bool known = false;
            for (size_t n = 0; n < countof(parts); n++)
                known |= strcmp(key, parts[n]) == 0;
            (void)snprintf(field, sizeof(field), "ab.variants[%zu].%.28s", i, key);
            if (!known)
                problem_add(problem, field, "is not a known field");
            else if (!json_is_string(value))
                problem_add(problem, field, "must be text");
        }
    }
}

static void read_winner(const json_t *json, struct split *out, struct problem *problem)
{
    static const char *const words[] = {[SPLIT_MANUAL] = "manual", [SPLIT_CLICKS] = "clicks", [SPLIT_OPENS] = "opens"};
    for (size_t i = 0; i < countof(words) && json_is_string(json); i++) {
        if (strcmp(json_string_value(json), words[i]) == 0) {
            out->by = (enum split_by)i;
            return;
        }
    }
    problem_add(problem, "ab.winner", "must be \"clicks\", \"opens\" or \"manual\"");
}

static bool tracked(const json_t *spec, const char *what)
{
    return json_is_true(json_object_get(json_object_get(spec, "track"), what));
}

void split_parse(const json_t *spec, struct split *out, struct problem *problem)
{
    const json_t *ab = json_object_get(spec, "ab"), *after = json_object_get(ab, "after");
    const char *key;
    json_t *value;
    *out = (struct split){.variants = 0};
    if (ab == NULL || json_is_null(ab))
        return;
    if (!json_is_object(ab)) {
        problem_add(problem, "ab", "must be an object with share, variants, winner and after");
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)ab, key, value)
    {
        char field[64];
        (void)snprintf(field, sizeof(field), "ab.%.40s", key);
        if (strcmp(key, "share") != 0 && strcmp(key, "variants") != 0 && strcmp(key, "winner") != 0 &&
            strcmp(key, "after") != 0)
            problem_add(problem, field, "is not a known field");
    }
    read_share(json_object_get(ab, "share"), out, problem);
    read_variants(json_object_get(ab, "variants"), out, problem);
    read_winner(json_object_get(ab, "winner"), out, problem);
    if (out->by != SPLIT_MANUAL &&
        (!json_is_string(after) || str_parse_duration_ms(json_string_value(after), &out->after_ms) != 0 ||
         out->after_ms <= 0))
        problem_add(problem, "ab.after", "must be a duration, like \"4h\": when the winner is chosen");
    if (out->by == SPLIT_MANUAL && after != NULL && !json_is_null(after))
        problem_add(problem, "ab.after", "does not go with a winner that a person chooses");
    if ((out->by == SPLIT_CLICKS && !tracked(spec, "clicks")) || (out->by == SPLIT_OPENS && !tracked(spec, "opens")))
        problem_add(problem, "ab.winner", "needs track.%s", out->by == SPLIT_CLICKS ? "clicks" : "opens");
}

json_t *split_variant(const json_t *spec, int variant)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)spec);
    const json_t *own =
        variant < 0 ? NULL : json_array_get(json_object_get(json_object_get(spec, "ab"), "variants"), (size_t)variant);
    if (copy == NULL)
        return NULL;
    (void)json_object_del(copy, "ab");
    /* HTML of its own with somebody else's text part would be two messages in one. */
    if (json_object_get(own, "html") != NULL && json_object_get(own, "text") == NULL)
        (void)json_object_del(copy, "text");
    for (size_t i = 0; i < countof(parts); i++) {
        json_t *value = json_object_get(own, parts[i]);
        if (value != NULL && json_object_set(copy, parts[i], value) != 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

void split_place_faults(struct problem *problem, size_t from, int variant)
{
    for (size_t i = from; i < problem->count && i < PROBLEM_FIELDS_MAX; i++) {
        char name[sizeof(problem->fields[i].field)];
        (void)snprintf(name, sizeof(name), "ab.variants[%d].%.30s", variant, problem->fields[i].field);
        (void)str_copy(problem->fields[i].field, sizeof(problem->fields[i].field), name);
    }
}

int split_choice(const struct split *split, int64_t campaign_id, int64_t recipient_id, int winner)
{
    int slot = split_slot(campaign_id, recipient_id);
    if (split->variants == 0)
        return 0;
    return slot < split->share ? slot % split->variants : MIN_OF(MAX_OF(winner, 0), split->variants - 1);
}

int split_best(const struct split *split, const struct storage_split_counts counts[SPLIT_VARIANTS_MAX])
{
    int best = 0;
    double best_rate = -1;
    for (int i = 0; i < split->variants; i++) {
        int64_t wanted = split->by == SPLIT_CLICKS ? counts[i].clicked : counts[i].opened;
        double rate = counts[i].delivered > 0 ? (double)wanted / (double)counts[i].delivered : 0;
        if (rate > best_rate) {
            best = i;
            best_rate = rate;
        }
    }
    return best;
}
