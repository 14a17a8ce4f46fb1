/*
 * sts.c - the policies of a server: a map, a file, and four threads that fetch.
 *
 * Why threads that block and not one that juggles: few domains publish a policy, a fetch is rare (once a max_age), and
 * a host that drips its answer holds up a quarter of this at most, for a minute.
 */
#include "engine/net/sts.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hashmap.h"
#include "base/inbox.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/fetch.h"
#include "engine/resolve.h"

#define WORKERS 4
#define WAITING_MAX 1000
#define POLICIES_MAX 100000
#define FILE_MAX_BYTES ((size_t)64 << 20)
#define LINE_MAX_BYTES ((size_t)32 << 10)
#define LOOK_UP_MS 10000
#define FAULT_MS INT64_C(3600000)
#define AGAIN_MS ((int64_t)5 * 60 * 1000) /* RFC 8461 section 3.3: as often an id is fetched that could not be */

struct held {
    struct list node;
    struct sts_policy *policy; /* NULL = none could be fetched */
    enum tls_result fault;     /* of the last fetch, until then */
    int64_t fault_until_ms;
    char failed_id[40]; /* that could not be fetched; "" = none since the last success */
    int64_t again_ms;   /* monotonic: not before, with that id */
    char domain[];
};

struct job {
    struct list node;
    sts_done_cb *done;
    void *context;
    char id[40];
    char domain[];
};

struct sts {
    const struct config *config;
    struct resolver *resolver;
    pthread_mutex_t lock, file_lock; /* the second is taken first */
    uint64_t changes, saved_changes; /* of the policies ever; of those, in the file (under file_lock) */
    struct hashmap map;              /* domain -> held */
    struct list all;
    size_t waiting;
    struct inbox inbox;
    pthread_t workers[WORKERS];
    unsigned worker_count;
    atomic_bool ending;
    char *path;
};

/* ---- the map and its file; under the lock ---- */

static struct held *hold(struct sts *sts, const char *domain)
{
    size_t len = strlen(domain);
    struct held *held = hashmap_get(&sts->map, domain, len);
    if (held == NULL && sts->map.count < POLICIES_MAX) {
        held = calloc(1, sizeof *held + len + 1);
        if (held != NULL) {
            memcpy(held->domain, domain, len);
            if (hashmap_put(&sts->map, held->domain, len, held) != 0) {
                free(held);
                held = NULL;
            } else {
                list_append(&sts->all, &held->node);
            }
        }
    }
    return held;
}

static void put(struct sts *sts, const char *domain, struct sts_policy *policy)
{
    struct held *held = hold(sts, domain);
    if (held == NULL) {
        sts_policy_release(policy);
        return;
    }
    sts_policy_release(held->policy);
    held->policy = policy;
    held->fault = TLS_RESULT_NONE;
    held->failed_id[0] = '\0';
}

static void put_fault(struct sts *sts, const struct job *job, enum tls_result fault)
{
    struct held *held = hold(sts, job->domain);
    if (held == NULL)
        return;
    held->fault = fault;
    held->fault_until_ms = clock_wall_ms() + FAULT_MS;
    (void)str_copy(held->failed_id, sizeof held->failed_id, job->id);
    held->again_ms = clock_monotonic_ms() + AGAIN_MS;
}

/* A host that is dead would else be waited for by each batch of mail, and a few of them would take all workers. */
static bool has_just_failed(const struct sts *sts, const char *domain, const char *id)
{
    const struct held *held = hashmap_get(&sts->map, domain, strlen(domain));
    return held != NULL && held->failed_id[0] != '\0' && strcmp(held->failed_id, id) == 0 &&
           clock_monotonic_ms() < held->again_ms;
}

/* "DOMAIN ID MODE MAX_AGE EXPIRES MX MX …", one a line. What there is no room for is fetched anew after a start. */
static void write_policies(const struct sts *sts, struct buffer *out)
{
    list_for_each(node, &sts->all)
    {
        const struct held *held = list_entry(node, struct held, node);
        const struct sts_policy *policy = held->policy;
        if (policy == NULL || out->len > FILE_MAX_BYTES - LINE_MAX_BYTES)
            continue;
        buffer_printf(out, "%s %s %d %lld %lld", held->domain, policy->id, (int)policy->mode,
                      (long long)policy->max_age_s, (long long)policy->expires_wall_ms);
        for (size_t i = 0; i < policy->mx_count; i++)
            buffer_printf(out, " %s", policy->mx[i]);
        buffer_append_char(out, '\n');
    }
}

/* Without the lock while the disk is at work: connections ask for policies under it. Who finds that another worker has
 * written what he changed is done. */
static void save(struct sts *sts)
{
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    int r = 0;
    (void)pthread_mutex_lock(&sts->file_lock);
    (void)pthread_mutex_lock(&sts->lock);
    uint64_t changes = sts->changes;
    bool due = sts->path != NULL && changes != sts->saved_changes;
    if (due)
        write_policies(sts, &text);
    (void)pthread_mutex_unlock(&sts->lock);
    if (due)
        r = text.failed ? -ENOMEM : file_replace(sts->path, buffer_text(&text), text.len);
    if (r == 0)
        sts->saved_changes = changes;
    (void)pthread_mutex_unlock(&sts->file_lock);
    if (r < 0)
        log_warn("engine", "mta-sts policies not saved path=%s reason=%s", LOG_QUOTE(sts->path),
                 LOG_QUOTE(strerror(-r)));
    buffer_finish(&text);
}

static struct sts_policy *read_line(char *line, char **domain)
{
    char *rest = NULL;
    char *fields[5];
    for (size_t i = 0; i < countof(fields); i++)
        if ((fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest)) == NULL)
            return NULL;
    struct sts_policy *policy = calloc(1, sizeof *policy);
    uint64_t mode, age, expires;
    if (policy == NULL || str_parse_u64(fields[2], STS_ENFORCE, &mode) != 0 ||
        str_parse_u64(fields[3], STS_AGE_MAX_S, &age) != 0 || str_parse_u64(fields[4], INT64_MAX, &expires) != 0) {
        free(policy);
        return NULL;
    }
    *domain = fields[0];
    policy->references = 1;
    policy->mode = (enum sts_mode)mode;
    policy->max_age_s = (int64_t)age;
    policy->expires_wall_ms = (int64_t)expires;
    (void)str_copy(policy->id, sizeof policy->id, fields[1]);
    for (char *mx; (mx = strtok_r(NULL, " \n", &rest)) != NULL && policy->mx_count < STS_MX_MAX;)
        (void)str_copy(policy->mx[policy->mx_count++], sizeof policy->mx[0], mx);
    return policy;
}

static void load(struct sts *sts)
{
    FILE *file = sts->path != NULL ? fopen(sts->path, "re") : NULL;
    char *line = NULL;
    size_t room = 0;
    int64_t now_ms = clock_wall_ms();
    if (file == NULL)
        return;
    while (getline(&line, &room, file) > 0) {
        char *domain = NULL;
        struct sts_policy *policy = read_line(line, &domain);
        if (policy != NULL && policy->expires_wall_ms > now_ms)
            put(sts, domain, policy);
        else
            sts_policy_release(policy);
    }
    free(line);
    (void)fclose(file);
}

struct sts_policy *sts_find(struct sts *sts, const char *domain, enum tls_result *fault)
{
    int64_t now_ms = clock_wall_ms();
    (void)pthread_mutex_lock(&sts->lock);
    struct held *held = hashmap_get(&sts->map, domain, strlen(domain));
    bool good = held != NULL && held->policy != NULL && held->policy->expires_wall_ms > now_ms;
    struct sts_policy *policy = good ? sts_policy_hold(held->policy) : NULL;
    if (fault != NULL)
        *fault = held != NULL && held->fault_until_ms > now_ms ? held->fault : TLS_RESULT_NONE;
    (void)pthread_mutex_unlock(&sts->lock);
    return policy;
}

/* ---- fetching ---- */

/* Section 3.3: 200, text/plain, and nothing else counts. `fault` is RFC 8460's word for a failure. */
static int fetch_policy(struct sts *sts, const struct job *job, struct sts_policy **out, enum tls_result *fault,
                        struct error *err)
{
    char host[300], url[400];
    struct resolve_addresses addresses;
    struct fetch_answer answer = {.http_status = 0};
    (void)snprintf(host, sizeof host, "mta-sts.%.253s", job->domain);
    (void)snprintf(url, sizeof url, "https://%.280s/.well-known/mta-sts.txt", host);
    resolver_wait_addresses(sts->resolver, host, sts->config->allow_private_mx, LOOK_UP_MS, &addresses);
    int r = 0;
    *fault = TLS_RESULT_STS_FETCH;
    if (addresses.count == 0) {
        r = error_set(err, -ENOENT, "%s has no usable address", host);
    } else {
        const struct fetch_request request = {.url = url,
                                              .addresses = addresses.text,
                                              .address_count = addresses.count,
                                              .port = sts->config->https_port,
                                              .ca_file = sts->config->tls_ca_file,
                                              .cancelled = &sts->ending,
                                              .max_bytes = STS_POLICY_BYTES,
                                              .timeout_ms = STS_FETCH_MS};
        fetch(&request, &answer);
        if (answer.status == FETCH_TLS)
            *fault = TLS_RESULT_STS_WEBPKI;
        if (answer.status != FETCH_ANSWERED) {
            r = error_set(err, -EIO, "%s", answer.why);
        } else if (answer.http_status != 200) {
            r = error_set(err, -EIO, "HTTP status %d", answer.http_status);
        } else if (!str_starts_nocase(answer.content_type, "text/plain")) {
            r = error_set(err, -EIO, "the content is %.60s, not text/plain", answer.content_type);
        } else {
            *fault = TLS_RESULT_STS_INVALID;
            r = sts_policy_parse(answer.body, answer.len, job->id, out, err);
        }
    }
    fetch_answer_finish(&answer);
    resolve_addresses_finish(&addresses);
    return r;
}

static void work_on(struct sts *sts, struct job *job)
{
    struct sts_policy *policy = NULL;
    struct error err = {""};
    enum tls_result fault;
    (void)pthread_mutex_lock(&sts->lock);
    bool futile = has_just_failed(sts, job->domain, job->id); /* since it was queued */
    (void)pthread_mutex_unlock(&sts->lock);
    if (futile)
        return;
    int r = fetch_policy(sts, job, &policy, &fault, &err);
    if (r < 0)
        log_debug("engine", "%s mta-sts-not-fetched reason=%s", job->domain, LOG_QUOTE(err.text));
    (void)pthread_mutex_lock(&sts->lock);
    if (r < 0) {
        put_fault(sts, job, fault);
    } else {
        put(sts, job->domain, policy);
        sts->changes++;
    }
    (void)pthread_mutex_unlock(&sts->lock);
}

static void *work(void *context)
{
    struct sts *sts = context;
    struct list jobs = LIST_INIT(jobs);
    struct list *node;
    for (;;) {
        bool ending = inbox_closed(&sts->inbox);
        (void)inbox_wait(&sts->inbox, &jobs, 200);
        /* One for itself, the rest back for the others. */
        node = list_take_first(&jobs);
        if (node != NULL && !list_empty(&jobs) && inbox_send_all(&sts->inbox, &jobs) != 0)
            ending = true;
        if (node == NULL && ending)
            return NULL;
        while (node != NULL) {
            struct job *job = list_entry(node, struct job, node);
            if (!ending)
                work_on(sts, job);
            (void)pthread_mutex_lock(&sts->lock);
            sts->waiting--;
            (void)pthread_mutex_unlock(&sts->lock);
            job->done(job->context, job->domain);
            free(job);
            save(sts);                     /* nobody waits for it */
            node = list_take_first(&jobs); /* only what could not be given back */
        }
    }
}

/* Under the lock. */
static bool start_workers(struct sts *sts)
{
    struct error err = {""};
    if (sts->resolver == NULL && resolver_start(sts->config, &sts->resolver, &err) < 0)
        return false;
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (sts->worker_count < WORKERS && pthread_create(&sts->workers[sts->worker_count], NULL, work, sts) == 0)
        sts->worker_count++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return sts->worker_count > 0;
}

bool sts_fetch(struct sts *sts, const char *domain, const char *id, sts_done_cb *done, void *context)
{
    size_t len = strlen(domain);
    struct job *job = calloc(1, sizeof *job + len + 1);
    if (job == NULL)
        return false;
    memcpy(job->domain, domain, len);
    (void)str_copy(job->id, sizeof job->id, id);
    job->done = done;
    job->context = context;
    list_init(&job->node);
    (void)pthread_mutex_lock(&sts->lock);
    bool sent = !has_just_failed(sts, domain, id) && sts->waiting < WAITING_MAX && start_workers(sts) &&
                inbox_send(&sts->inbox, &job->node) == 0;
    if (sent)
        sts->waiting++;
    (void)pthread_mutex_unlock(&sts->lock);
    if (!sent)
        free(job);
    return sent;
}

int sts_create(const struct config *config, struct sts **out, struct error *err)
{
    struct sts *sts = calloc(1, sizeof *sts);
    *out = NULL;
    if (sts == NULL || inbox_init(&sts->inbox, NULL, NULL) < 0) {
        free(sts);
        return error_memory(err);
    }
    assure(pthread_mutex_init(&sts->lock, NULL) == 0 && pthread_mutex_init(&sts->file_lock, NULL) == 0);
    sts->config = config;
    sts->map = HASHMAP_INIT;
    list_init(&sts->all);
    if (config->data_dir != NULL)
        sts->path = str_printf("%s/mta-sts.state", config->data_dir);
    load(sts);
    *out = sts;
    return 0;
}

void sts_free(struct sts *sts)
{
    struct list *node;
    if (sts == NULL)
        return;
    atomic_store(&sts->ending, true);
    inbox_close(&sts->inbox);
    for (unsigned i = 0; i < sts->worker_count; i++)
        (void)pthread_join(sts->workers[i], NULL);
    resolver_stop(sts->resolver);
    while ((node = list_take_first(&sts->all)) != NULL) {
        struct held *held = list_entry(node, struct held, node);
        sts_policy_release(held->policy);
        free(held);
    }
    hashmap_finish(&sts->map);
    inbox_finish(&sts->inbox);
    (void)pthread_mutex_destroy(&sts->lock);
    (void)pthread_mutex_destroy(&sts->file_lock);
    free(sts->path);
    free(sts);
}
