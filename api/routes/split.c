/*
 * split.c - the A/B test of a campaign: how its variants do, and the winner that a person chooses.
 */
#include <math.h>

#include "api/routes/routes.h"

static json_t *variant_json(int number, const struct storage_split_counts *counts)
{
    return json_pack("{s:i, s:I, s:I, s:I, s:I}", "variant", number, "audience", (json_int_t)counts->audience,
                     "delivered", (json_int_t)counts->delivered, "opened", (json_int_t)counts->opened, "clicked",
                     (json_int_t)counts->clicked);
}

/* As it was asked for, to the hundredth: a slot is a little more than a thousandth of a per cent. */
static double share_percent(int share)
{
    return round(10000.0 * share / SPLIT_SLOTS) / 100;
}

static void answer(struct request *request, struct response *response, int status)
{
    struct storage_split split;
    struct storage_split_counts counts[SPLIT_VARIANTS_MAX];
    struct error err = {""};
    int rc = storage_split_get(request->reader, request->id[0], &split, &err);
    if (rc == 0)
        rc = storage_split_counts(request->reader, request->id[0], &split, counts, &err);
    if (rc != 0) {
        response_condition(response, rc, "A/B test", &err);
        return;
    }
    json_t *variants = json_array();
    for (int i = 0; i < split.variants; i++)
        (void)json_array_append_new(variants, variant_json(i, &counts[i]));
    response_json(response, status,
                  json_pack("{s:f, s:o, s:b, s:o, s:o, s:o}", "share", share_percent(split.share), "winner",
                            split.winner >= 0 ? json_integer(split.winner) : json_null(), "rest", split.rest,
                            "tested_at", json_time(split.tested_ms), "chosen_at", json_time(split.chosen_ms),
                            "variants", variants));
}

void campaigns_variants(struct request *request, struct response *response)
{
    answer(request, response, 200);
}

static int is_there(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

void campaigns_winner(struct request *request, struct response *response)
{
    int64_t variant = -1;
    const struct field fields[] = {{"variant", FIELD_INTEGER, true, 0, &variant}};
    struct problem problem = {.count = 0};
    struct storage_split split;
    struct error err = {""};
    int rc = storage_campaign_get(request->reader, request->id[0], is_there, NULL, &err);
    bool fit = rc != 0 || fields_read(request->json, "", fields, countof(fields), &problem);
    if (rc == 0 && fit)
        rc = storage_split_get(request->reader, request->id[0], &split, &err);
    if (rc == 0 && fit && (variant < 0 || variant >= split.variants))
        problem_add(&problem, "variant", "must be 0 to %d", split.variants - 1);
    if (problem.count > 0) {
        response_invalid(response, &problem);
        return;
    }
    if (rc == 0)
        rc = campaign_winner(request->app->mailer, request->reader, request->id[0], (int)variant, &err);
    if (rc == STORAGE_WRONG_STATE)
        response_problem(response, 409, "%s", err.text);
    else if (rc != 0)
        response_condition(response, rc, "campaign with an A/B test", &err);
    else
        answer(request, response, 202);
}
