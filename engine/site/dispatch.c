/*
 * dispatch.c - the loop thread's own work: emptying the inboxes, serving what is dirty, and the end.
 *
 * The end: everything not begun is given back, connections say QUIT after what they have in the air, compose answers
 * that are owed are waited for. When the deadline passes, connections are closed where they stand. The thread ends when
 * it holds no job and no connection; the inboxes are closed before the loop is, so a sender that comes too late is
 * told.
 */
#include "engine/site/dispatch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/net/dns_config.h"
#include "engine/site/dane.h"
#include "engine/site/domain.h"
#include "engine/site/pool.h"

#define ROUNDS_PER_TURN 32
#define MEMORY_SAVE_MS ((int64_t)60000)

/* Deliveries per second. */

static void meter_advance(struct meter *meter, int64_t now_ms)
{
    int64_t second = now_ms / 1000;
    if (second - meter->second > METER_SECONDS)
        memset(meter->counts, 0, sizeof meter->counts);
    else
        for (int64_t at = meter->second + 1; at <= second; at++)
            meter->counts[at % (METER_SECONDS + 1)] = 0;
    meter->second = MAX_OF(meter->second, second);
}

void meter_add(struct meter *meter, int64_t now_ms)
{
    meter_advance(meter, now_ms);
    meter->counts[meter->second % (METER_SECONDS + 1)]++;
}

double meter_per_second(struct meter *meter, int64_t now_ms)
{
    meter_advance(meter, now_ms);
    uint64_t sum = 0;
    for (size_t i = 0; i < countof(meter->counts); i++)
        sum += meter->counts[i];
    sum -= meter->counts[meter->second % (METER_SECONDS + 1)];
    return (double)sum / METER_SECONDS;
}

/* Jobs in and out. */

void dispatch_done(struct dispatch *dispatch, struct engine_job *job, struct outcome *outcome)
{
    if (job->message != NULL)
        job->message->release(job->message);
    free(job->why);
    job->message = NULL;
    job->why = NULL;
    job->owner = NULL;
    job->state = 0;
    job->drops = 0;
    outcome->ended_wall_ms = clock_wall_ms();
    assure(dispatch->jobs > 0);
    dispatch->jobs--;
    dispatch->flush_due = true;
    dispatch->callbacks.done(dispatch->callbacks.context, job, outcome);
}

void dispatch_content_out(struct dispatch *dispatch, struct engine_job *job)
{
    if (dispatch->callbacks.content_out == NULL)
        return;
    assure((job->state & JOB_CONTENT_OUT) == 0);
    job->state |= JOB_CONTENT_OUT;
    dispatch->callbacks.content_out(dispatch->callbacks.context, job);
}

void dispatch_content_back(struct dispatch *dispatch, struct engine_job *job)
{
    if ((job->state & JOB_CONTENT_OUT) == 0)
        return;
    job->state &= ~(uint32_t)JOB_CONTENT_OUT;
    dispatch->callbacks.content_back(dispatch->callbacks.context, job);
}

static void end_untried(struct dispatch *dispatch, struct engine_job *job)
{
    struct outcome outcome;
    outcome_set(&outcome, OUTCOME_RELEASED, STAGE_NONE, "given back untried");
    dispatch_done(dispatch, job, &outcome);
}

static void take_submitted(struct dispatch *dispatch)
{
    struct list jobs = LIST_INIT(jobs);
    struct list *node;
    (void)inbox_take(&dispatch->submitted, &jobs);
    while ((node = list_take_first(&jobs)) != NULL) {
        struct engine_job *job = job_of(node);
        dispatch->jobs++;
        if (dispatch->stopping) {
            end_untried(dispatch, job);
            continue;
        }
        if (job->state == 0) /* else it came home from a site, and has waited since then */
            job->taken_ms = dispatch->loop.now_ms;
        domain_take(dispatch, job);
    }
}

static void take_composed(struct dispatch *dispatch)
{
    struct list answers = LIST_INIT(answers);
    struct list *node;
    (void)inbox_take(&dispatch->composed, &answers);
    while ((node = list_take_first(&answers)) != NULL) {
        struct engine_job *job = list_entry(node, struct engine_job, answer);
        site_composed(((struct lane *)job->owner)->site, job);
    }
}

static void execute_all(struct dispatch *dispatch, struct list *orders)
{
    struct list *node;
    while ((node = list_take_first(orders)) != NULL) {
        struct dispatch_order *order = list_entry(node, struct dispatch_order, node);
        order->dispatch = dispatch;
        order->execute(order);
        free(order);
    }
}

static void take_hold(struct dispatch *dispatch)
{
    bool held = atomic_load(&dispatch->held_wanted);
    size_t cursor = 0;
    struct site *site;
    if (held == dispatch->held)
        return;
    dispatch->held = held;
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL) {
        list_for_each(node, &site->conns) conn_withdraw(list_entry(node, struct conn, node));
        site_mark_dirty(site);
    }
}

static void on_wake(void *context)
{
    struct dispatch *dispatch = context;
    struct list orders = LIST_INIT(orders);
    dispatch->now_us = clock_monotonic_us();
    take_hold(dispatch);
    /* A release must find everything that was submitted before it, here or on a loop that sends the order after its
     * jobs: so jobs are taken in before orders are executed, but orders leave their inbox before jobs leave theirs.
     * Else jobs and their release that came while a batch was taken in would meet the wrong way round. The order to
     * give back all comes first for the same reason: jobs of other loops are among the orders. */
    bool release_all = atomic_exchange(&dispatch->release_all, false);
    (void)inbox_take(&dispatch->orders, &orders);
    take_submitted(dispatch);
    execute_all(dispatch, &orders);
    if (release_all)
        dispatch_release(dispatch, &(struct engine_release){0});
    take_composed(dispatch);
}

/* The turn. */

/* As many starved sites as there are free places; one that needs none any more leaves its place to the next round. */
static void feed_starved(struct dispatch *dispatch)
{
    struct list *node;
    uint32_t places = dispatch->conn_max > dispatch->conn_count ? dispatch->conn_max - dispatch->conn_count : 0;
    while (places-- > 0 && (node = list_take_first(&dispatch->starved)) != NULL)
        site_mark_dirty(list_entry(node, struct site, starved));
}

static void serve_dirty(struct dispatch *dispatch)
{
    struct list *node;
    for (int round = 0; round < ROUNDS_PER_TURN; round++) {
        feed_starved(dispatch);
        /* Batches, so that what becomes dirty on the way waits for the other kind to be served first. */
        struct list sites = LIST_INIT(sites), conns = LIST_INIT(conns);
        list_splice(&sites, &dispatch->dirty_sites);
        while ((node = list_take_first(&sites)) != NULL)
            site_pump(list_entry(node, struct site, dirty));
        list_splice(&conns, &dispatch->dirty_conns);
        while ((node = list_take_first(&conns)) != NULL)
            conn_flush(list_entry(node, struct conn, dirty));
        bool place_left = !list_empty(&dispatch->starved) && dispatch->conn_count < dispatch->conn_max;
        if (list_empty(&dispatch->dirty_sites) && list_empty(&dispatch->dirty_conns) && !place_left)
            return;
    }
    loop_again(&dispatch->loop);
}

static void save_memory(struct dispatch *dispatch)
{
    memory_save(&dispatch->memory, dispatch->config->data_dir, dispatch->index, dispatch->loop.now_ms, clock_wall_ms());
    loop_timer_set(&dispatch->loop, &dispatch->memory_timer, dispatch->loop.now_ms + MEMORY_SAVE_MS);
}

static void on_memory_timer(struct loop_timer *timer)
{
    save_memory(container_of(timer, struct dispatch, memory_timer));
}

static void finish_loop(struct dispatch *dispatch)
{
    struct list orders = LIST_INIT(orders);
    inbox_close(&dispatch->submitted);
    inbox_close(&dispatch->composed);
    inbox_close(&dispatch->orders);
    take_submitted(dispatch);
    (void)inbox_take(&dispatch->orders, &orders);
    execute_all(dispatch, &orders);
    (void)pthread_mutex_lock(&dispatch->wake_lock);
    dispatch->wakeable = false;
    (void)pthread_mutex_unlock(&dispatch->wake_lock);
    size_t cursor = 0;
    struct site *site;
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL)
        site_free(site);
    hashmap_finish(&dispatch->sites);
    domain_finish_all(dispatch);
    dane_finish(dispatch);
    mx_lookup_close(dispatch->lookup);
    dns_close(dispatch->dns);
    save_memory(dispatch);
    loop_timer_remove(&dispatch->loop, &dispatch->memory_timer);
    loop_timer_remove(&dispatch->loop, &dispatch->reshape_timer);
    loop_timer_remove(&dispatch->loop, &dispatch->stop_timer);
    loop_stop(&dispatch->loop);
}

static void on_turn(void *context)
{
    struct dispatch *dispatch = context;
    dispatch->now_us = clock_monotonic_us();
    serve_dirty(dispatch);
    bool over = dispatch->stopping && dispatch->jobs == 0 && dispatch->conn_count == 0;
    if (over)
        finish_loop(dispatch);
    if (dispatch->flush_due && dispatch->callbacks.flush != NULL)
        dispatch->callbacks.flush(dispatch->callbacks.context, dispatch->index);
    dispatch->flush_due = false;
}

/* Orders. */

void dispatch_release(struct dispatch *dispatch, const struct engine_release *which)
{
    struct site_release release = {
        .group = which->group,
        .taken_until_ms = which->waiting_ms > 0 ? dispatch->loop.now_ms - which->waiting_ms : INT64_MAX,
        .shared = which->shared,
    };
    size_t cursor = 0;
    struct site *site;
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL)
        site_release(site, &release);
    domain_release(dispatch, &release);
}

static void on_stop_deadline(struct loop_timer *timer)
{
    struct dispatch *dispatch = container_of(timer, struct dispatch, stop_timer);
    size_t cursor = 0;
    struct site *site;
    dispatch->forced = true;
    dispatch->now_us = clock_monotonic_us();
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL) {
        list_for_each_safe(node, &site->conns) conn_abort(list_entry(node, struct conn, node));
    }
}

void dispatch_stop(struct dispatch *dispatch, int64_t deadline_ms)
{
    if (dispatch->stopping)
        return;
    dispatch->stopping = true;
    dispatch_release(dispatch, &(struct engine_release){0}); /* marks every site dirty, and its pump then sees the stop */
    loop_timer_set(&dispatch->loop, &dispatch->stop_timer, dispatch->loop.now_ms + MAX_OF(deadline_ms, 0));
}

/* For sites and connections. */

uint32_t dispatch_random(struct dispatch *dispatch, uint32_t below)
{
    dispatch->random = hash_bytes(&dispatch->random, sizeof dispatch->random) + (uint64_t)dispatch->now_us;
    return below > 0 ? (uint32_t)(dispatch->random % below) : 0;
}

struct dispatch *dispatch_home(const struct dispatch *dispatch, const char *name)
{
    if (dispatch->loop_count == 1)
        return dispatch->loops[0];
    return dispatch->loops[hash_bytes(name, strlen(name)) % dispatch->loop_count];
}

/* The sources' addresses: an MX record that points to one of them would make mail go round in circles. */
static size_t own_addresses(struct dispatch *dispatch)
{
    const struct config *config = dispatch->config;
    size_t count = 0;
    if (dispatch->own == NULL && config->source_count > 0)
        dispatch->own = calloc(config->source_count, sizeof *dispatch->own);
    for (size_t i = 0; dispatch->own != NULL && i < config->source_count; i++) {
        if (mx_address_parse(config->sources[i].address, &dispatch->own[count]) == 0)
            count++;
    }
    return count;
}

void dispatch_own_addresses(struct dispatch *dispatch, struct mx_address *own)
{
    struct mx_address *before = dispatch->own;
    dispatch->own = own;
    size_t count = own_addresses(dispatch);
    if (dispatch->lookup != NULL)
        mx_lookup_own(dispatch->lookup, own, count);
    free(before);
}

struct mx_lookup *dispatch_lookup(struct dispatch *dispatch, struct error *err)
{
    struct dns_settings dns = {0};
    struct mx_lookup_options options = MX_LOOKUP_OPTIONS_DEFAULT;
    if (dispatch->lookup != NULL)
        return dispatch->lookup;
    options.policy.allow_private = dispatch->config->allow_private_mx;
    options.policy.own_count = own_addresses(dispatch);
    options.policy.own = dispatch->own;
    int r = dispatch->dns == NULL ? dns_settings_make(dispatch->config, &dns, err) : 0;
    if (r == 0 && dispatch->dns == NULL)
        r = dns_open(&dispatch->loop, &dns.options, &dispatch->dns, err);
    dns_settings_finish(&dns);
    if (r < 0) {
        dispatch->dns = NULL;
        log_error("engine", "dns-not-available reason=%s", LOG_QUOTE(err->text));
        return NULL;
    }
    if (mx_lookup_open(&dispatch->loop, dispatch->dns, &options, &dispatch->lookup, err) < 0)
        dispatch->lookup = NULL;
    return dispatch->lookup;
}

struct tls_context *dispatch_tls(struct dispatch *dispatch, struct error *err)
{
    const char *ca_file = dispatch->config->tls_ca_file;
    struct tls_options options = {.ca_file = ca_file != NULL && ca_file[0] != '\0' ? ca_file : NULL};
    if (dispatch->tls == NULL && tls_context_create(&options, &dispatch->tls, err) < 0)
        dispatch->tls = NULL;
    return dispatch->tls;
}

void dispatch_conn_gone(struct dispatch *dispatch)
{
    assure(dispatch->conn_count > 0);
    dispatch->conn_count--;
}

/* Passwords are read at a start and at a reload, and nowhere else: a file that cannot be read must not be found out by
 * the first message. */
struct dispatch_login **logins_load(const struct config *config, struct error *err)
{
    struct dispatch_login **logins = calloc(MAX_OF(config->route_count, (size_t)1), sizeof(*logins));
    int r = logins != NULL ? 0 : error_memory(err);
    for (size_t i = 0; i < config->route_count && r == 0; i++) {
        const struct config_route *route = &config->routes[i];
        logins[i] = calloc(1, sizeof *logins[i]);
        if (logins[i] == NULL) {
            r = error_memory(err);
        } else if (route->user != NULL && route->user[0] != '\0') {
            r = credentials_load_password(route->password_file, route->user, &logins[i]->credentials, err);
            if (r < 0)
                r = error_prefix(err, r, "route \"%s\"", route->pattern);
        }
    }
    if (r == 0)
        return logins;
    if (logins != NULL)
        logins_replace(logins, config->route_count);
    return NULL;
}

static void login_free(struct dispatch_login *login)
{
    credentials_wipe(&login->credentials);
    sasl_keys_wipe(&login->keys);
    free(login);
}

void logins_replace(struct dispatch_login **logins, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (logins[i] == NULL)
            continue;
        logins[i]->replaced = true;
        if (logins[i]->users == 0)
            login_free(logins[i]);
    }
    free(logins);
}

void login_leave(struct dispatch_login *login)
{
    if (login != NULL && --login->users == 0 && login->replaced)
        login_free(login);
}

/* Birth and end. */

static void wake(void *context)
{
    struct dispatch *dispatch = context;
    (void)pthread_mutex_lock(&dispatch->wake_lock);
    if (dispatch->wakeable)
        loop_wake(&dispatch->loop);
    (void)pthread_mutex_unlock(&dispatch->wake_lock);
}

void dispatch_hold(struct dispatch *dispatch, bool held)
{
    atomic_store(&dispatch->held_wanted, held);
    wake(dispatch);
}

void dispatch_release_all(struct dispatch *dispatch)
{
    atomic_store(&dispatch->release_all, true);
    wake(dispatch);
}

/* A file that is read at the first handshake is found out by the first mail, which then has no TLS. */
static int read_trust(struct dispatch *dispatch, struct error *err)
{
    const char *ca_file = dispatch->config->tls_ca_file;
    if (dispatch_tls(dispatch, err) != NULL)
        return 0;
    return ca_file != NULL && ca_file[0] != '\0' ? error_prefix(err, -EINVAL, "tls_ca_file") : -EIO;
}

int dispatch_init(struct dispatch *dispatch, struct error *err)
{
    struct loop_events events = {.on_wake = on_wake, .on_turn = on_turn, .context = dispatch};
    dispatch->sites = HASHMAP_INIT;
    list_init(&dispatch->dirty_sites);
    list_init(&dispatch->dirty_conns);
    list_init(&dispatch->starved);
    list_init(&dispatch->idle);
    list_init(&dispatch->domains_all);
    dispatch->domains = HASHMAP_INIT;
    dispatch->dane = HASHMAP_INIT;
    memory_init(&dispatch->memory);
    tally_init(&dispatch->tally);
    int r = read_trust(dispatch, err);
    if (r == 0)
        r = loop_init(&dispatch->loop, &events, err);
    if (r < 0) {
        tls_context_free(dispatch->tls);
        return r;
    }
    if (loop_timer_add(&dispatch->loop, &dispatch->stop_timer, on_stop_deadline) < 0 ||
        loop_timer_add(&dispatch->loop, &dispatch->memory_timer, on_memory_timer) < 0 ||
        loop_timer_add(&dispatch->loop, &dispatch->reshape_timer, dispatch_on_reshape_timer) < 0 ||
        pthread_mutex_init(&dispatch->wake_lock, NULL) != 0 || inbox_init(&dispatch->submitted, wake, dispatch) < 0 ||
        inbox_init(&dispatch->composed, wake, dispatch) < 0 || inbox_init(&dispatch->orders, wake, dispatch) < 0) {
        loop_finish(&dispatch->loop);
        tls_context_free(dispatch->tls);
        return error_memory(err);
    }
    dispatch->wakeable = true;
    dispatch->begun_us = clock_monotonic_us();
    memory_load(&dispatch->memory, dispatch->config->data_dir, dispatch->loop.now_ms, clock_wall_ms());
    loop_timer_set(&dispatch->loop, &dispatch->memory_timer, dispatch->loop.now_ms + MEMORY_SAVE_MS);
    return 0;
}

static void *run(void *context)
{
    struct dispatch *dispatch = context;
    (void)pthread_setname_np(pthread_self(), "engine");
    loop_run(&dispatch->loop);
    return NULL;
}

int dispatch_start(struct dispatch *dispatch, struct error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    int r = pthread_create(&dispatch->thread, NULL, run, dispatch);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r != 0 ? error_errno(err, -r, "cannot start an engine thread") : 0;
}

void dispatch_join(struct dispatch *dispatch)
{
    (void)pthread_join(dispatch->thread, NULL);
}

void dispatch_finish(struct dispatch *dispatch)
{
    loop_finish(&dispatch->loop);
    tls_context_free(dispatch->tls);
    memory_finish(&dispatch->memory);
    tally_finish(&dispatch->tally);
    free(dispatch->own);
    inbox_finish(&dispatch->submitted);
    inbox_finish(&dispatch->composed);
    inbox_finish(&dispatch->orders);
    (void)pthread_mutex_destroy(&dispatch->wake_lock);
}
