/*
 * webhooks.c - the state of each webhook between the database and its receiver.
 *
 *   idle --(events there, pause over)--> out --(2xx)--> idle, further on
 *                                        out --(else)--> idle, at the same place, after a pause
 *
 * The place in the database moves in one transaction when the receiver has answered; a crash before that sends the
 * batch again. `seen` runs ahead of the place over events that the webhook does not want, so that these are looked at
 * once; it is written back now and then, for what is old can only go when every webhook has passed it.
 *
 * A row that changes while a request is out counts from the next request on, which is not made before the row was read
 * anew: what a webhook wants since, a batch with its old kinds would pass over for good. So nothing is passed over
 * before the row was looked at behind the scan.
 */
#include "api/events/webhooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/events/batch.h"
#include "api/events/target.h"
#include "base/clock.h"
#include "base/hashmap.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#define SKIP_NOTE_EVENTS 1000 /* so many unwanted ones behind its place, and the place is moved */
#define SKIP_NOTE_MS 5000
#define ANSWER_MAX_BYTES ((size_t)64 << 10)
#define CONNECT_TIMEOUT_MS 10000

struct hook {
    struct list node;
    int64_t id;
    char *url, *secret, *old_secret;
    uint32_t kinds;
    int batch;
    bool disabled, listed; /* listed: still in the database */
    bool given_up;         /* disabled, with a reason */
    bool stale;            /* its row may be another by now: it is read before the next batch */
    int64_t old_until_ms, position, batch_end, failing_since_ms, next_attempt_ms;
    int attempts;
    int64_t seen, skipped_ms; /* see the head of the file; monotonic, when the place last moved for it */

    CURL *easy; /* NULL: idle */
    struct target target;
    struct batch out;
    size_t answer_bytes;
    char error[CURL_ERROR_SIZE];
};

struct webhooks {
    struct app *app;
    CURLM *multi;
    struct event_view *view;
    struct list hooks;
    struct webhooks_counts counts;
};

struct webhooks *webhooks_create(struct app *app, CURLM *multi, struct event_view *view)
{
    struct webhooks *webhooks = calloc(1, sizeof(*webhooks));
    if (webhooks == NULL)
        return NULL;
    *webhooks = (struct webhooks){.app = app, .multi = multi, .view = view};
    list_init(&webhooks->hooks);
    return webhooks;
}

static void end_transfer(struct webhooks *webhooks, struct hook *hook)
{
    if (hook->easy == NULL)
        return;
    (void)curl_multi_remove_handle(webhooks->multi, hook->easy);
    curl_easy_cleanup(hook->easy);
    hook->easy = NULL;
    batch_finish(&hook->out);
}

static void free_hook(struct webhooks *webhooks, struct hook *hook)
{
    end_transfer(webhooks, hook);
    list_remove(&hook->node);
    free(hook->url);
    free(hook->secret);
    free(hook->old_secret);
    free(hook);
}

void webhooks_free(struct webhooks *webhooks)
{
    if (webhooks == NULL)
        return;
    list_for_each_safe(node, &webhooks->hooks) free_hook(webhooks, list_entry(node, struct hook, node));
    free(webhooks);
}

/* ---- from the database ---- */

static struct hook *find_hook(struct webhooks *webhooks, int64_t id)
{
    list_for_each(node, &webhooks->hooks)
    {
        struct hook *hook = list_entry(node, struct hook, node);
        if (hook->id == id)
            return hook;
    }
    struct hook *hook = calloc(1, sizeof(*hook));
    if (hook == NULL)
        return NULL;
    hook->id = id;
    list_append(&webhooks->hooks, &hook->node);
    return hook;
}

static bool replace(char **text, const char *with)
{
    if (*text != NULL && strcmp(*text, with) == 0)
        return true;
    char *copy = str_dup(with);
    if (copy == NULL)
        return false;
    free(*text);
    *text = copy;
    return true;
}

static int take_row(void *context, const struct storage_webhook *row)
{
    struct webhooks *webhooks = context;
    struct hook *hook = find_hook(webhooks, row->id);
    if (hook == NULL)
        return 0; /* no memory now: the next time */
    hook->listed = true;
    hook->stale = hook->easy != NULL && !row->disabled;
    if (hook->stale) /* what is out ends first; its place is checked when it does */
        return 0;
    end_transfer(webhooks, hook);
    if (row->position != hook->position || row->kinds != hook->kinds)
        hook->seen = row->position;
    hook->kinds = row->kinds;
    hook->batch = row->batch;
    hook->old_until_ms = row->old_until_ms;
    hook->position = row->position;
    hook->batch_end = row->batch_end;
    hook->attempts = row->attempts;
    hook->failing_since_ms = row->failing_since_ms;
    hook->next_attempt_ms = row->next_attempt_ms;
    /* Without memory for its texts it rests until the next time. */
    bool whole = replace(&hook->url, row->url) && replace(&hook->secret, row->secret) &&
                 replace(&hook->old_secret, row->old_secret);
    hook->disabled = row->disabled || !whole;
    hook->given_up = row->disabled && row->reason[0] != '\0';
    return 0;
}

void webhooks_reload(struct webhooks *webhooks)
{
    struct error err = {""};
    list_for_each(node, &webhooks->hooks) list_entry(node, struct hook, node)->listed = false;
    if (storage_webhook_list(webhooks->view->reader, take_row, webhooks, &err) != 0) {
        log_error("webhooks", "not_read error=%s", LOG_QUOTE(err.text));
        return;
    }
    list_for_each_safe(node, &webhooks->hooks)
    {
        struct hook *hook = list_entry(node, struct hook, node);
        if (!hook->listed)
            free_hook(webhooks, hook);
    }
}

/* Without its row it rests until the next reload, which also tells whether it was deleted. */
static void read_anew(struct webhooks *webhooks, struct hook *hook)
{
    struct error err = {""};
    if (storage_webhook_get(webhooks->view->reader, hook->id, take_row, webhooks, &err) < 0)
        log_error("webhooks", "webhook=%lld not_read error=%s", (long long)hook->id, LOG_QUOTE(err.text));
}

/* ---- out ---- */

static size_t count_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct hook *hook = context;
    (void)bytes; /* what receivers say is nobody's business */
    hook->answer_bytes += size * count;
    return hook->answer_bytes > ANSWER_MAX_BYTES ? 0 : size * count;
}

static int set_up(struct webhooks *webhooks, struct hook *hook)
{
    const struct config *config = config_live_hold(webhooks->app->live);
    CURL *easy = hook->easy;
    hook->target.allow_private = config->webhooks.allow_private;
    hook->answer_bytes = 0;
    hook->error[0] = '\0';
    CURLcode code = target_apply(&hook->target, easy, hook->url) == 0 ? CURLE_OK : CURLE_OUT_OF_MEMORY;
#define SET(option, value)                                                                                             \
    if (code == CURLE_OK)                                                                                              \
    code = curl_easy_setopt(easy, option, value)
    SET(CURLOPT_PRIVATE, hook);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_ERRORBUFFER, hook->error);
    SET(CURLOPT_USERAGENT, "posthaste/" POSTHASTE_VERSION);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDS, buffer_text(&hook->out.body));
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)hook->out.body.len);
    SET(CURLOPT_HTTPHEADER, hook->out.headers);
    SET(CURLOPT_WRITEFUNCTION, count_answer);
    SET(CURLOPT_WRITEDATA, hook);
    SET(CURLOPT_TIMEOUT_MS, (long)config->webhooks.timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)MIN_OF(config->webhooks.timeout_ms, CONNECT_TIMEOUT_MS));
    if (config->tls_ca_file[0] != '\0')
        SET(CURLOPT_CAINFO, config->tls_ca_file);
#undef SET
    config_drop(config);
    return code == CURLE_OK ? 0 : -ENOMEM;
}

static int compare_kinds(void *context, const struct storage_webhook *row)
{
    struct hook *hook = context;
    hook->stale = row->kinds != hook->kinds;
    return 0;
}

/* Gathers a batch; it is thrown away when its webhook wants something else by now, or is deleted. */
static int gather(struct webhooks *webhooks, struct hook *hook, const struct batch_order *order, struct error *err)
{
    int rc = batch_make(&hook->out, webhooks->view, order, err);
    if (rc != 0 || hook->out.to == hook->seen)
        return rc;
    rc = storage_webhook_get(webhooks->view->reader, hook->id, compare_kinds, hook, err);
    hook->stale |= rc > 0;
    if (rc < 0 || hook->stale)
        batch_finish(&hook->out);
    return MIN_OF(rc, 0);
}

/* 0: on its way, or there is nothing to send. */
static int send_batch(struct webhooks *webhooks, struct hook *hook, struct error *err)
{
    const struct batch_order order = {
        .webhook_id = hook->id,
        .after = hook->seen,
        .until = hook->batch_end,
        .kinds = hook->kinds,
        .most = hook->batch,
        .secret = hook->secret,
        .old_secret = clock_wall_ms() < hook->old_until_ms ? hook->old_secret : "",
    };
    int rc = gather(webhooks, hook, &order, err);
    if (rc < 0 || hook->stale || hook->out.events == 0) {
        hook->seen = rc < 0 || hook->stale ? hook->seen : hook->out.to;
        batch_finish(&hook->out);
        return rc;
    }
    hook->easy = curl_easy_init();
    rc = hook->easy != NULL ? set_up(webhooks, hook) : -ENOMEM;
    if (rc == 0 && curl_multi_add_handle(webhooks->multi, hook->easy) != CURLM_OK)
        rc = -ENOMEM;
    if (rc != 0) {
        end_transfer(webhooks, hook);
        return error_memory(err);
    }
    webhooks->counts.requests++;
    return 0;
}

/* Passes what it does not want; the place in the database follows in larger steps. */
static void note_skipped(struct webhooks *webhooks, struct hook *hook, int64_t now_ms)
{
    struct error err = {""};
    int64_t ahead = hook->seen - hook->position;
    if (ahead == 0 || (ahead < SKIP_NOTE_EVENTS && now_ms - hook->skipped_ms < SKIP_NOTE_MS))
        return;
    hook->skipped_ms = now_ms;
    if (storage_webhook_taken(webhooks->app->storage, hook->id, hook->position, hook->seen, 0, 0, clock_wall_ms(),
                              &err) == 0) {
        hook->position = hook->seen;
        hook->batch_end = 0;
        hook->attempts = 0;
        hook->failing_since_ms = hook->next_attempt_ms = 0;
    }
}

/* The wall clock may jump: nobody waits longer than the longest pause. */
static int64_t pause_left_ms(const struct webhooks *webhooks, const struct hook *hook)
{
    const struct config *config = config_live_hold(webhooks->app->live);
    int64_t left_ms = hook->next_attempt_ms - clock_wall_ms(), most_ms = config->webhooks.retry_max_ms;
    config_drop(config);
    return left_ms > most_ms ? 0 : MAX_OF(left_ms, 0);
}

int64_t webhooks_run(struct webhooks *webhooks, int64_t most_ms)
{
    int64_t wait_ms = most_ms;
    list_for_each(node, &webhooks->hooks)
    {
        struct hook *hook = list_entry(node, struct hook, node);
        struct error err = {""};
        if (hook->easy == NULL && hook->stale)
            read_anew(webhooks, hook);
        if (hook->easy != NULL || hook->stale || hook->disabled)
            continue;
        int64_t left_ms = pause_left_ms(webhooks, hook);
        if (left_ms > 0) {
            wait_ms = MIN_OF(wait_ms, left_ms);
            continue;
        }
        int64_t before = hook->seen;
        if (send_batch(webhooks, hook, &err) < 0)
            log_error("webhooks", "webhook=%lld not_sent error=%s", (long long)hook->id, LOG_QUOTE(err.text));
        else if (hook->stale || (hook->easy == NULL && hook->seen != before))
            wait_ms = 0; /* its row is another; or a scan passed only what is not wanted, and there may be more */
        if (hook->easy == NULL)
            note_skipped(webhooks, hook, clock_monotonic_ms());
    }
    return wait_ms;
}

/* ---- the answer ---- */

static void took(struct webhooks *webhooks, struct hook *hook, int code)
{
    struct error err = {""};
    int rc = storage_webhook_taken(webhooks->app->storage, hook->id, hook->position, hook->out.to, hook->out.events,
                                   code, clock_wall_ms(), &err);
    if (rc < 0) {
        log_error("webhooks", "webhook=%lld not_noted error=%s", (long long)hook->id, LOG_QUOTE(err.text));
        hook->next_attempt_ms = clock_wall_ms() + 1000; /* sent again: better twice than never */
        return;
    }
    if (rc != 0) { /* deleted, or moved by a replay */
        hook->stale = true;
        return;
    }
    if (hook->attempts > 0)
        log_info("webhooks", "webhook=%lld recovered attempts=%d", (long long)hook->id, hook->attempts + 1);
    webhooks->counts.events += (uint64_t)hook->out.events;
    hook->position = hook->seen = hook->out.to;
    hook->batch_end = 0;
    hook->attempts = 0;
    hook->failing_since_ms = hook->next_attempt_ms = 0;
}

/* Doubling, less up to a fifth, so that many webhooks of one receiver do not come back in one moment. */
static int64_t pause_ms(const struct config_webhooks *config, const struct hook *hook, int64_t asked_ms)
{
    int64_t pause = config->retry_first_ms;
    for (int i = 0; i < hook->attempts && pause < config->retry_max_ms; i++)
        pause *= 2;
    pause = MIN_OF(pause, config->retry_max_ms);
    const int64_t seed[2] = {hook->id, hook->attempts};
    if (pause >= 5)
        pause -= (int64_t)(hash_bytes(seed, sizeof(seed)) % (uint64_t)(pause / 5));
    return MIN_OF(MAX_OF(pause, asked_ms), config->retry_max_ms);
}

static void failed(struct webhooks *webhooks, struct hook *hook, int code, const char *why, int64_t asked_ms)
{
    const struct config *held = config_live_hold(webhooks->app->live);
    const struct config_webhooks config = held->webhooks;
    config_drop(held);
    int64_t now_ms = clock_wall_ms();
    struct error err = {""};
    char text[320];
    bool gone = code == 410;
    bool give_up = hook->failing_since_ms > 0 && now_ms - hook->failing_since_ms >= config.give_up_ms;
    (void)snprintf(text, sizeof(text), "%s%s", give_up ? "nothing was taken for too long: " : "", why);
    str_make_line(text);
    const struct storage_webhook_failure failure = {
        .id = hook->id,
        .from = hook->position,
        .url = hook->url,
        .attempts = hook->attempts,
        .batch_end = hook->out.to,
        .next_attempt_ms = now_ms + pause_ms(&config, hook, asked_ms),
        .code = code,
        .error = text,
        .disable = gone || give_up,
    };
    webhooks->counts.failures++;
    int rc = storage_webhook_failed(webhooks->app->storage, &failure, now_ms, &err);
    if (rc > 0) { /* deleted, or changed meanwhile: the failure is none of what stands there now */
        hook->stale = true;
        return;
    }
    if (hook->attempts == 0 || failure.disable)
        log_warn("webhooks", "webhook=%lld %s error=%s", (long long)hook->id, failure.disable ? "disabled" : "failed",
                 LOG_QUOTE(text));
    if (rc != 0)
        log_debug("webhooks", "webhook=%lld failure_not_noted error=%s", (long long)hook->id, LOG_QUOTE(err.text));
    hook->attempts++;
    hook->batch_end = failure.batch_end;
    hook->next_attempt_ms = failure.next_attempt_ms;
    hook->disabled = failure.disable;
    if (hook->failing_since_ms == 0)
        hook->failing_since_ms = now_ms;
}

void webhooks_ended(struct webhooks *webhooks, CURL *easy, CURLcode code)
{
    char *private = NULL;
    long status = 0;
    curl_off_t retry_after_s = 0;
    char why[CURL_ERROR_SIZE + 32];
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    struct hook *hook = (struct hook *)(void *)private;
    bool answered = code == CURLE_OK || (code == CURLE_WRITE_ERROR && hook->answer_bytes > ANSWER_MAX_BYTES);
    if (hook->target.refused)
        (void)snprintf(why, sizeof(why),
                       "its address is loopback, private or reserved (see webhooks { allow_private })");
    else if (!answered)
        (void)snprintf(why, sizeof(why), "%s", hook->error[0] != '\0' ? hook->error : curl_easy_strerror(code));
    else if (status >= 300 && status < 400)
        (void)snprintf(why, sizeof(why), "HTTP %ld: redirects are not followed", status);
    else
        (void)snprintf(why, sizeof(why), "HTTP %ld", status);
    if (answered && status >= 200 && status < 300)
        took(webhooks, hook, (int)status);
    else
        failed(webhooks, hook, answered ? (int)status : 0, why,
               (int64_t)MIN_OF(MAX_OF(retry_after_s, 0), 86400) * 1000);
    end_transfer(webhooks, hook);
}

void webhooks_drop_far(struct webhooks *webhooks)
{
    int64_t oldest = 0, newest = 0;
    struct error err = {""};
    const struct config *config = config_live_hold(webhooks->app->live);
    int64_t most = config->webhooks.backlog;
    config_drop(config);
    if (storage_event_range(webhooks->view->reader, &oldest, &newest, &err) != 0)
        return;
    list_for_each(node, &webhooks->hooks)
    {
        struct hook *hook = list_entry(node, struct hook, node);
        if (hook->disabled || newest - hook->position <= most)
            continue;
        char text[120];
        (void)snprintf(text, sizeof(text), "it is %lld events behind, more than webhooks { backlog } allows",
                       (long long)(newest - hook->position));
        const struct storage_webhook_failure failure = {.id = hook->id,
                                                        .from = hook->position,
                                                        .url = hook->url,
                                                        .attempts = hook->attempts,
                                                        .batch_end = hook->batch_end,
                                                        .error = text,
                                                        .disable = true};
        log_warn("webhooks", "webhook=%lld disabled error=%s", (long long)hook->id, LOG_QUOTE(text));
        hook->disabled = storage_webhook_failed(webhooks->app->storage, &failure, clock_wall_ms(), &err) == 0;
        hook->given_up = hook->disabled;
    }
}

void webhooks_count(const struct webhooks *webhooks, struct webhooks_counts *out)
{
    int64_t oldest = 0, newest = 0;
    struct error err = {""};
    *out = webhooks->counts;
    out->enabled = out->failing = out->given_up = 0;
    out->behind = 0;
    if (storage_event_range(webhooks->view->reader, &oldest, &newest, &err) != 0)
        return;
    list_for_each(node, &webhooks->hooks)
    {
        const struct hook *hook = list_entry(node, struct hook, node);
        out->given_up += hook->given_up;
        if (hook->disabled)
            continue;
        out->enabled++;
        out->failing += hook->attempts > 0;
        out->behind = MAX_OF(out->behind, newest - hook->seen);
    }
}
