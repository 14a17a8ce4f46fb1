/*
 * intake.c - from the listener's thread to two workers and back.
 *
 * A worker takes all that waits (up to a bound), works on it, makes it durable with one flush, and only then answers:
 * so a burst of reports costs one sync, and a crash before the answer costs a repeated report, which changes nothing.
 * If the flush fails, everything of it is answered with "later".
 *
 * There are two workers because an abuse report may wait for the DNS; only reports that return a token of ours ever do.
 */
#include "campaign/bounce/intake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inbox.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/engine.h"

#include "campaign/bounce/postbox.h"
#include "campaign/message/token_ring.h"

#define WORKERS 2
#define BATCH_MAILS 100
#define STOP_MS 5000

struct worker {
    struct intake *intake;
    pthread_t thread;
    bool started;
    struct storage_reader *reader;
    struct bounce_ingest *ingest;
    const struct config *config; /* the ingest's, held */
    uint64_t generation;         /* of it */
};

struct intake {
    const struct config *config; /* the start's, held: for keys that are fixed */
    struct config_live *live;
    struct storage *storage;
    struct listener *listener;
    struct resolver *resolver;
    struct token_ring *ring;       /* the listener's thread and the workers prove tokens by it */
    struct storage_reader *reader; /* of the listener's thread */
    char *postbox;
    struct worker workers[WORKERS];
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct list mails; /* receive_mail.node */
    bool ending;
    struct bounce_summary summary; /* sums of the workers', as of their last batch; under `lock` */
};

/* ---- who may be mailed (listener's thread) ---- */

static bool is_our_domain(const struct config *config, const char *domain)
{
    return str_eq_nocase(domain, config->bounces.domain) || str_eq_nocase(domain, config->bounce_domain);
}

static bool is_local(const char *address, size_t len, const char *name)
{
    return strlen(name) == len && strncasecmp(address, name, len) == 0;
}

/* The key may be newer than the last mail. When that cannot be found out the mail is taken: its worker will find that
 * the database cannot be read, and say "later". */
static bool has_token(const struct intake *intake, const char *local, size_t len)
{
    struct error err = {""};
    enum bounce_local kind = bounce_local_kind(intake->ring, local, len);
    if (kind != BOUNCE_LOCAL_UNPROVED)
        return kind == BOUNCE_LOCAL_OURS;
    if (token_ring_refresh(intake->ring, intake->reader, &err) < 0) {
        log_debug("bounce", "link keys cannot be read reason=%s", LOG_QUOTE(err.text));
        return true;
    }
    return bounce_local_kind(intake->ring, local, len) == BOUNCE_LOCAL_OURS;
}

static bool may_be_mailed(void *context, const char *address)
{
    const struct intake *intake = context;
    const char *at = strrchr(address, '@');
    if (at == NULL)
        return str_eq_nocase(address, "postmaster"); /* RFC 5321 section 4.5.1 */
    size_t len = (size_t)(at - address);
    if (!is_our_domain(intake->config, at + 1))
        return false;
    return is_local(address, len, "postmaster") || is_local(address, len, intake->config->bounces.feedback) ||
           has_token(intake, address, len);
}

static void take_mail(void *context, struct receive_mail *mail)
{
    struct intake *intake = context;
    (void)pthread_mutex_lock(&intake->lock);
    list_append(&intake->mails, &mail->node);
    (void)pthread_cond_signal(&intake->filled);
    (void)pthread_mutex_unlock(&intake->lock);
}

/* ---- the workers ---- */

static bool is_for_postmaster(const struct receive_content *content)
{
    for (size_t i = 0; i < content->recipient_count; i++) {
        if (str_starts_nocase(content->recipients[i], "postmaster") &&
            (content->recipients[i][10] == '@' || content->recipients[i][10] == '\0'))
            return true;
    }
    return false;
}

static int keep_for_postmaster(const struct intake *intake, const struct receive_mail *mail, struct error *err)
{
    char head[700];
    (void)snprintf(head, sizeof(head), "Return-Path: <%s>\nDelivered-To: postmaster\nX-Client: %s%s\n",
                   mail->content.sender, mail->client, mail->encrypted ? " (TLS)" : "");
    return postbox_put(intake->postbox, head, buffer_text(&mail->content.data), mail->content.data.len, err);
}

static enum receive_answer work_on(struct worker *worker, const struct receive_mail *mail)
{
    struct error err = {""};
    const struct receive_content *content = &mail->content;
    int rc = bounce_ingest_mail(worker->ingest, buffer_text(&content->data), content->data.len,
                                (const char *const *)content->recipients, content->recipient_count, &err);
    if (rc == 0 && bounce_ingest_was_other(worker->ingest) && is_for_postmaster(content))
        rc = keep_for_postmaster(worker->intake, mail, &err);
    if (rc < 0)
        log_warn("bounce", "mail from=%s put off reason=%s", mail->client, LOG_QUOTE(err.text));
    return rc == 0 ? RECEIVE_TAKEN : RECEIVE_LATER;
}

static void add_summary(struct intake *intake, const struct bounce_summary *now, struct bounce_summary *before)
{
    /* All fields are counters. */
    int64_t *sum = (int64_t *)(void *)&intake->summary, *old = (int64_t *)(void *)before;
    const int64_t *seen = (const int64_t *)(const void *)now;
    _Static_assert(sizeof(struct bounce_summary) % sizeof(int64_t) == 0, "counters");
    for (size_t i = 0; i < sizeof(*now) / sizeof(int64_t); i++) {
        sum[i] += seen[i] - old[i];
        old[i] = seen[i];
    }
}

/* Up to BATCH_MAILS of what waits; none: it is over. */
static size_t take_batch(struct intake *intake, struct receive_mail *batch[BATCH_MAILS])
{
    size_t count = 0;
    struct list *node;
    (void)pthread_mutex_lock(&intake->lock);
    while (list_empty(&intake->mails) && !intake->ending)
        (void)pthread_cond_wait(&intake->filled, &intake->lock);
    while (count < BATCH_MAILS && (node = list_take_first(&intake->mails)) != NULL)
        batch[count++] = list_entry(node, struct receive_mail, node);
    (void)pthread_mutex_unlock(&intake->lock);
    return count;
}

/* With the configuration and the bounce rules of now; without memory for that, with those of before. True: it is another
 * ingest, which has counted nothing yet. */
static bool refresh(struct worker *worker)
{
    struct intake *intake = worker->intake;
    struct bounce_ingest *ingest;
    struct error err = {""};
    uint64_t generation = atomic_load(&intake->live->generation);
    if (generation == worker->generation)
        return false;
    const struct config *config = config_live_hold(intake->live);
    const struct bounce_options options = {.config = config, .resolver = intake->resolver, .ring = intake->ring};
    if (bounce_ingest_open(intake->storage, worker->reader, &options, &ingest, &err) != 0) {
        log_error("bounce", "reports go by the configuration of before reason=%s", LOG_QUOTE(err.text));
        config_drop(config);
        return false;
    }
    bounce_ingest_close(worker->ingest);
    config_drop(worker->config);
    worker->ingest = ingest;
    worker->config = config;
    worker->generation = generation;
    return true;
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct intake *intake = worker->intake;
    struct receive_mail *batch[BATCH_MAILS];
    enum receive_answer answers[BATCH_MAILS];
    struct bounce_summary before = {0};
    size_t count;
    (void)pthread_setname_np(pthread_self(), "intake");
    while ((count = take_batch(intake, batch)) > 0) {
        struct error err = {""};
        if (refresh(worker))
            before = (struct bounce_summary){0};
        for (size_t i = 0; i < count; i++)
            answers[i] = work_on(worker, batch[i]);
        bool durable = bounce_ingest_flush(worker->ingest, &err) == 0;
        if (!durable)
            log_error("bounce", "reports cannot be recorded mails=%zu reason=%s", count, LOG_QUOTE(err.text));
        (void)pthread_mutex_lock(&intake->lock);
        add_summary(intake, bounce_ingest_summary(worker->ingest), &before);
        (void)pthread_mutex_unlock(&intake->lock);
        for (size_t i = 0; i < count; i++)
            listener_answer(batch[i], durable ? answers[i] : RECEIVE_LATER);
    }
    return NULL;
}

/* ---- start and stop ---- */

static int start_worker(struct intake *intake, struct worker *worker, struct storage *storage, struct error *err)
{
    worker->intake = intake;
    worker->generation = atomic_load(&intake->live->generation);
    worker->config = config_live_hold(intake->live);
    const struct bounce_options options = {
        .config = worker->config, .resolver = intake->resolver, .ring = intake->ring};
    int rc = storage_reader_open(storage, &worker->reader, err);
    if (rc == 0)
        rc = bounce_ingest_open(storage, worker->reader, &options, &worker->ingest, err);
    return rc;
}

static int start_threads(struct intake *intake, struct error *err)
{
    for (size_t i = 0; i < WORKERS; i++) {
        int rc = pthread_create(&intake->workers[i].thread, NULL, work, &intake->workers[i]);
        if (rc != 0)
            return error_errno(err, -rc, "cannot start a thread for reports");
        intake->workers[i].started = true;
    }
    return 0;
}

int intake_start(struct config_live *live, struct storage *storage, struct intake **out, struct error *err)
{
    *out = NULL;
    struct intake *intake = calloc(1, sizeof(*intake));
    if (intake == NULL)
        return error_memory(err);
    const struct config *config = config_live_hold(live);
    intake->config = config;
    intake->live = live;
    intake->storage = storage;
    list_init(&intake->mails);
    (void)pthread_mutex_init(&intake->lock, NULL);
    (void)pthread_cond_init(&intake->filled, NULL);
    const struct listener_callbacks callbacks = {.context = intake, .recipient = may_be_mailed, .mail = take_mail};
    intake->postbox = str_printf("%s/postmaster", config->data_dir);
    int rc = intake->postbox == NULL ? error_memory(err) : postbox_make(intake->postbox, err);
    if (rc == 0)
        rc = resolver_start(config, &intake->resolver, err);
    if (rc == 0)
        rc = storage_reader_open(storage, &intake->reader, err);
    if (rc == 0)
        rc = token_ring_create(storage, intake->reader, &intake->ring, err);
    for (size_t i = 0; rc == 0 && i < WORKERS; i++)
        rc = start_worker(intake, &intake->workers[i], storage, err);
    if (rc == 0)
        rc = start_threads(intake, err);
    if (rc == 0)
        rc = listener_start(config, &callbacks, &intake->listener, err);
    if (rc < 0) {
        intake_stop(intake);
        return rc;
    }
    *out = intake;
    return 0;
}

void intake_stop(struct intake *intake)
{
    if (intake == NULL)
        return;
    if (intake->listener != NULL)
        listener_stop(intake->listener, STOP_MS);
    (void)pthread_mutex_lock(&intake->lock);
    intake->ending = true;
    (void)pthread_cond_broadcast(&intake->filled);
    (void)pthread_mutex_unlock(&intake->lock);
    for (size_t i = 0; i < WORKERS; i++) {
        if (intake->workers[i].started)
            (void)pthread_join(intake->workers[i].thread, NULL);
    }
    listener_free(intake->listener);
    for (size_t i = 0; i < WORKERS; i++) {
        bounce_ingest_close(intake->workers[i].ingest);
        storage_reader_close(intake->workers[i].reader);
        config_drop(intake->workers[i].config);
    }
    token_ring_free(intake->ring);
    storage_reader_close(intake->reader);
    resolver_stop(intake->resolver);
    free(intake->postbox);
    config_drop(intake->config);
    (void)pthread_cond_destroy(&intake->filled);
    (void)pthread_mutex_destroy(&intake->lock);
    free(intake);
}

int intake_check(const struct intake *intake, struct error *err)
{
    return intake == NULL ? 0 : listener_check(intake->listener, err);
}

void intake_reload(struct intake *intake)
{
    if (intake != NULL)
        listener_reload(intake->listener);
}

uint16_t intake_port(const struct intake *intake)
{
    return listener_port(intake->listener);
}

void intake_stats(struct intake *intake, struct intake_stats *out)
{
    struct listener_stats listener;
    listener_stats(intake->listener, &listener);
    *out = (struct intake_stats){.connections = listener.connections,
                                 .refused_connections = listener.refused_connections,
                                 .open_connections = listener.open,
                                 .mails = listener.mails};
    (void)pthread_mutex_lock(&intake->lock);
    out->summary = intake->summary;
    (void)pthread_mutex_unlock(&intake->lock);
}
