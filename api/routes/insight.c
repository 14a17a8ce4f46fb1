/*
 * insight.c - /v1/campaigns/{id}/replies: what servers said, put together; /v1/stats/queue: until when deferred mail
 * waits.
 *
 * Two replies are the same when they differ only in what a server puts in for the occasion: numbers, addresses, the
 * names of queues. So these become "#" and "<#>" before they are compared, and one of each kind is kept as it came.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/routes.h"
#include "base/clock.h"
#include "base/hashmap.h"
#include "base/str.h"

#define SAMPLE_ROWS 2000 /* of each state */
#define KINDS_MAX 400    /* told apart; what else there is is not shown */
#define TEXT_BYTES 240
#define SHOWN_DEFAULT 20

struct kind {
    char key[TEXT_BYTES + 40];
    const char *state;
    char text[TEXT_BYTES], enhanced[12];
    int code;
    int64_t count;
    json_t *sample;
};

struct kinds {
    struct kind *kind;
    size_t count;
    struct hashmap by_key;
    enum delivery_state state;
    int64_t sampled;
    bool failed;
};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || ascii_is_digit(c) || c == '_' || c == '-' || c == '.';
}

/* "<#>" for an address, "#" for a word with digits in it that is no plain word; the rest as it is. */
static void normalise(const char *text, char out[TEXT_BYTES])
{
    size_t len = 0;
    while (*text != '\0' && len + 4 < TEXT_BYTES) {
        size_t word = 0;
        size_t digits = 0;
        while (is_word(text[word])) {
            digits += ascii_is_digit(text[word]);
            word++;
        }
        const char *end = *text == '<' ? strchr(text, '>') : NULL;
        if (end != NULL && memchr(text, '@', (size_t)(end - text)) != NULL) {
            memcpy(out + len, "<#>", 3);
            len += 3;
            text = end + 1;
        } else if (word == 0) {
            out[len++] = *text++;
        } else if (digits > 0 && (digits == word || digits * 4 >= word || word > 12)) {
            out[len++] = '#';
            text += word;
        } else {
            size_t fits = MIN_OF(word, TEXT_BYTES - 4 - len);
            memcpy(out + len, text, fits);
            len += fits;
            text += word;
        }
    }
    out[len] = '\0';
    str_make_line(out);
}

static json_t *sample_json(const struct storage_reply *reply)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "email", json_line(reply->email), "code",
                     reply->code > 0 ? json_integer(reply->code) : json_null(), "enhanced", json_line(reply->enhanced),
                     "reply", json_line(reply->reply), "mx_host", json_line(reply->mx_host), "at",
                     json_time(reply->at_ms));
}

static struct kind *find_kind(struct kinds *kinds, const struct storage_reply *reply)
{
    char text[TEXT_BYTES];
    char key[sizeof(((struct kind *)0)->key)];
    normalise(reply->reply, text);
    (void)snprintf(key, sizeof(key), "%d %d %.11s %s", (int)kinds->state, reply->code, reply->enhanced, text);
    struct kind *kind = hashmap_get(&kinds->by_key, key, strlen(key));
    if (kind != NULL || kinds->count == KINDS_MAX)
        return kind;
    kind = &kinds->kind[kinds->count++];
    (void)str_copy(kind->key, sizeof(kind->key), key);
    (void)str_copy(kind->text, sizeof(kind->text), text);
    (void)str_copy(kind->enhanced, sizeof(kind->enhanced), reply->enhanced);
    kind->code = reply->code;
    kind->state = delivery_state_name(kinds->state);
    kind->sample = sample_json(reply);
    kinds->failed |= hashmap_put(&kinds->by_key, kind->key, strlen(kind->key), kind) != 0;
    return kind;
}

static int take_reply(void *context, const struct storage_reply *reply)
{
    struct kinds *kinds = context;
    if (reply->code == 0 && reply->reply[0] == '\0')
        return 0; /* it waits untried */
    kinds->sampled++;
    struct kind *kind = find_kind(kinds, reply);
    if (kind != NULL)
        kind->count++;
    return kinds->failed;
}

static int by_count(const void *a, const void *b)
{
    const struct kind *left = a;
    const struct kind *right = b;
    return (left->count < right->count) - (left->count > right->count);
}

static json_t *kinds_json(struct kinds *kinds, int limit)
{
    json_t *data = json_array();
    /* The map points into the array and is not used any more. */
    qsort(kinds->kind, kinds->count, sizeof(*kinds->kind), by_count);
    for (size_t i = 0; i < kinds->count && i < (size_t)limit; i++) {
        struct kind *kind = &kinds->kind[i];
        (void)json_array_append_new(data, json_pack("{s:s, s:o, s:o, s:o, s:I, s:O}", "state", kind->state, "code",
                                                    kind->code > 0 ? json_integer(kind->code) : json_null(), "enhanced",
                                                    json_line(kind->enhanced), "reply", json_line(kind->text), "count",
                                                    (json_int_t)kind->count, "sample", kind->sample));
    }
    return json_pack("{s:o, s:n, s:I, s:I}", "data", data, "next", "total", (json_int_t)kinds->count, "sampled",
                     (json_int_t)kinds->sampled);
}

static int gather(struct request *request, struct kinds *kinds, struct error *err)
{
    static const enum delivery_state states[] = {DELIVERY_DEFERRED, DELIVERY_BOUNCED, DELIVERY_FAILED};
    kinds->kind = calloc(KINDS_MAX, sizeof(*kinds->kind));
    if (kinds->kind == NULL)
        return error_memory(err);
    for (size_t i = 0; i < countof(states); i++) {
        kinds->state = states[i];
        int rc = storage_replies(request->reader, request->id[0], states[i], SAMPLE_ROWS, take_reply, kinds, err);
        if (rc != 0)
            return rc;
    }
    return kinds->failed ? error_memory(err) : 0;
}

static int ignore_campaign(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

void campaigns_replies(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct kinds kinds = {.by_key = HASHMAP_INIT};
    struct error err = {""};
    int limit;
    if (!page_read(request, &limit, NULL, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    if (request_query(request, "limit") == NULL)
        limit = SHOWN_DEFAULT;
    int rc = storage_campaign_get(request->reader, request->id[0], ignore_campaign, NULL, &err);
    if (rc == 0)
        rc = gather(request, &kinds, &err);
    if (rc != 0)
        response_condition(response, rc, "campaign", &err);
    else
        response_json(response, 200, kinds_json(&kinds, limit));
    for (size_t i = 0; i < kinds.count; i++)
        json_decref(kinds.kind[i].sample);
    hashmap_finish(&kinds.by_key);
    free(kinds.kind);
}

/* ---- the queue ---- */

void stats_queue(struct request *request, struct response *response)
{
    static const struct {
        const char *due;
        int64_t within_ms;
    } steps[] = {{"due now", 0},
                 {"within a minute", 60000},
                 {"within 10 minutes", 600000},
                 {"within an hour", 3600000},
                 {"within 4 hours", 4 * 3600000},
                 {"later", INT64_MAX}};
    int64_t before_ms[countof(steps) - 1];
    int64_t counts[countof(steps)];
    struct error err = {""};
    for (size_t i = 0; i + 1 < countof(steps); i++)
        before_ms[i] = clock_wall_ms() + steps[i].within_ms;
    int rc = storage_waiting(request->reader, before_ms, countof(before_ms), counts, &err);
    if (rc != 0) {
        response_condition(response, rc, "queue", &err);
        return;
    }
    json_t *data = json_array();
    for (size_t i = 0; i < countof(steps); i++)
        (void)json_array_append_new(data,
                                    json_pack("{s:s, s:I}", "due", steps[i].due, "waiting", (json_int_t)counts[i]));
    response_json(response, 200, json_pack("{s:o, s:n, s:i}", "data", data, "next", "total", (int)countof(steps)));
}
