/*
 * domain.c - look-ups and what follows from them.
 */
#include "engine/site/domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "engine/net/sts.h"
#include "engine/site/hosts.h"

#define STS_RECORD_MS ((int64_t)5000)
#define LATER_MS ((int64_t)1000) /* when memory is short */

static int64_t now_ms(const struct domain *domain)
{
    return domain->dispatch->loop.now_ms;
}

static void end_jobs(struct dispatch *dispatch, struct list *jobs, const struct outcome *why)
{
    struct list *node;
    while ((node = list_take_first(jobs)) != NULL) {
        struct outcome outcome = *why;
        if (why->class_ == OUTCOME_PERMANENT)
            dispatch->counts.permanent++;
        else if (why->class_ == OUTCOME_TRANSPORT)
            dispatch->counts.transport++;
        dispatch_done(dispatch, job_of(node), &outcome);
    }
}

static void end_jobs_so(struct dispatch *dispatch, struct list *jobs, enum outcome_class class_, const char *text)
{
    struct outcome outcome;
    outcome_set(&outcome, class_, STAGE_NONE, "%s", text);
    end_jobs(dispatch, jobs, &outcome);
}

/* Mail for which policies about TLS do not hold has look-ups and sites of its own: the NUL behind the name is part of
 * the key then. */
static size_t key_len(const char *name, bool any_tls)
{
    return strlen(name) + (any_tls ? 1 : 0);
}

static void domain_free(struct domain *domain)
{
    assure(domain->job_count == 0);
    mx_cancel(domain->query);
    mx_set_release(domain->set);
    dns_cancel(domain->sts_question);
    (void)hashmap_remove(&domain->dispatch->domains, domain->name, key_len(domain->name, domain->any_tls));
    list_remove(&domain->node);
    loop_timer_remove(&domain->dispatch->loop, &domain->timer);
    free(domain);
}

/* Sites. */

/* By MX first, the longest suffix, of equal ones the last: so the configuration's own win over those that come with the
 * program. What a provider allows is the provider's matter, whatever domains it serves. */
static bool all_match(const struct nexthop_host *hosts, size_t count, const struct config_profile *profile)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < profile->mx_count && !mx_name_matches(hosts[i].name, profile->mx[at]))
            at++;
        if (at == profile->mx_count)
            return false;
    }
    return count > 0;
}

const struct config_profile *domain_profile(const struct config *config, const char *domain,
                                            const struct nexthop_host *hosts, size_t count)
{
    const struct config_profile *best = NULL;
    size_t best_len = 0;
    for (size_t i = 0; i < config->profile_count; i++) {
        const struct config_profile *profile = &config->profiles[i];
        if (profile->mx_count == 0 || !all_match(hosts, count, profile))
            continue;
        for (size_t j = 0; j < profile->mx_count; j++) {
            size_t len = strlen(profile->mx[j]);
            if (len < best_len || !mx_name_matches(hosts[0].name, profile->mx[j]))
                continue;
            best = profile;
            best_len = len;
        }
    }
    return best != NULL ? best : config_profile_for_domain(config, domain);
}

static struct site *site_for(struct dispatch *dispatch, const struct site_origin *origin)
{
    size_t len = strlen(origin->key);
    struct site *site = hashmap_get(&dispatch->sites, origin->key, len);
    if (site != NULL) {
        if (site->left)
            site_return(site, origin);
        return site;
    }
    site = site_create(dispatch, origin);
    if (site != NULL && hashmap_put(&dispatch->sites, site->key, len, site) != 0) {
        site_free(site);
        site = NULL;
    }
    return site;
}

/* A key of a route begins with '=', one of MX hosts with '@': they never meet. */
#define KEY_BYTES 1024

static void take_routed(struct dispatch *dispatch, const struct config_route *route, struct engine_job *job)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof key, "=%.255s", job->domain);
    struct site_origin origin = {.key = key,
                                 .name = job->domain,
                                 .route = route,
                                 .profile = config_profile_for_domain(dispatch->config, job->domain)};
    struct site *site = site_for(dispatch, &origin);
    struct list jobs = LIST_INIT(jobs);
    if (site != NULL) {
        site_submit(site, job);
        return;
    }
    list_append(&jobs, &job->node);
    end_jobs_so(dispatch, &jobs, OUTCOME_TRANSPORT, "out of memory");
}

/* From the domain to its site, perhaps on another loop. */

struct arrival {
    struct dispatch_order order;
    struct list jobs;
    uint32_t job_count;
    char *name; /* of the site */
    bool any_tls;
    struct nexthop_answer answer;
};

static void arrive(struct dispatch *dispatch, struct arrival *arrival)
{
    /* By our configuration: that of the loop which sent them may be another for a moment. */
    const struct nexthop_answer *found = &arrival->answer;
    const struct config_profile *profile =
        domain_profile(dispatch->config, job_of(arrival->jobs.next)->domain, found->hosts, found->host_count);
    char *key = str_printf("@%s\n%s%s", arrival->name, profile->name, arrival->any_tls ? "\n" : "");
    struct site_origin origin = {
        .key = key, .name = arrival->name, .profile = profile, .any_tls = arrival->any_tls};
    struct site *site = key != NULL && !dispatch->stopping ? site_for(dispatch, &origin) : NULL;
    if (dispatch->stopping) {
        end_jobs_so(dispatch, &arrival->jobs, OUTCOME_RELEASED, "given back untried");
    } else if (site == NULL || !hosts_set(site, &arrival->answer)) {
        end_jobs_so(dispatch, &arrival->jobs, OUTCOME_TRANSPORT, "out of memory");
    } else {
        struct list *node;
        lanes_renew_policy(site, job_of(arrival->jobs.next)->domain);
        while ((node = list_take_first(&arrival->jobs)) != NULL)
            site_submit(site, job_of(node));
    }
    free(key);
    free(arrival->name);
    arrival->name = NULL;
}

static void execute_arrival(struct dispatch_order *order)
{
    struct arrival *arrival = container_of(order, struct arrival, order);
    order->dispatch->jobs += arrival->job_count;
    arrive(order->dispatch, arrival);
}

static void fill_answer(const struct dispatch *dispatch, const struct mx_set *set, int64_t lifetime_ms,
                        struct nexthop_answer *answer)
{
    struct mx_target targets[MX_ADDRESSES_MAX];
    size_t count = mx_set_order(set, &mx_random_system, targets);
    answer->found = true;
    answer->lifetime_ms = lifetime_ms;
    answer->host_count = MIN_OF(count, (size_t)NEXTHOP_HOSTS_MAX);
    for (size_t i = 0; i < answer->host_count; i++) {
        struct nexthop_host *host = &answer->hosts[i];
        mx_address_socket(targets[i].address, dispatch->config->mx_port, &host->address);
        host->preference = targets[i].host->preference;
        host->secure = targets[i].host->secure;
        (void)str_copy(host->name, sizeof host->name, targets[i].host->name);
    }
    (void)snprintf(answer->text, sizeof answer->text, "%.255s:%u", targets[0].host->name, dispatch->config->mx_port);
}

static void go_on(struct domain *domain, const struct mx_set *set, int64_t lifetime_ms)
{
    struct dispatch *dispatch = domain->dispatch;
    struct arrival *arrival = calloc(1, sizeof *arrival);
    if (arrival != NULL)
        arrival->name = str_dup(set->site_key);
    if (arrival == NULL || arrival->name == NULL) {
        free(arrival);
        domain->ask_ms = now_ms(domain) + LATER_MS;
        loop_timer_set(&dispatch->loop, &domain->timer, domain->ask_ms);
        return;
    }
    arrival->order.execute = execute_arrival;
    arrival->job_count = domain->job_count;
    arrival->any_tls = domain->any_tls;
    fill_answer(dispatch, set, lifetime_ms, &arrival->answer);
    list_init(&arrival->jobs);
    list_splice(&arrival->jobs, &domain->jobs);
    domain->job_count = 0;
    domain_free(domain);
    struct dispatch *home = dispatch_home(dispatch, arrival->name);
    if (home == dispatch) {
        arrive(dispatch, arrival);
        free(arrival);
        return;
    }
    dispatch->has_moved = true;
    dispatch->jobs -= arrival->job_count;
    if (inbox_send(&home->orders, &arrival->order.node) == 0)
        return;
    dispatch->jobs += arrival->job_count; /* that loop has ended: so will we */
    end_jobs_so(dispatch, &arrival->jobs, OUTCOME_RELEASED, "given back untried");
    free(arrival->name);
    free(arrival);
}

/* MTA-STS. */

/* With the hosts and what is known of the policy the jobs can go to their site. */
static void try_to_go_on(struct domain *domain)
{
    struct mx_set *set = domain->set;
    if (set == NULL || !domain->sts_known || domain->sts_fetching)
        return;
    domain->set = NULL;
    go_on(domain, set, domain->lifetime_ms);
    mx_set_release(set);
}

struct fetched { /* from a thread that fetched the policy; made before it is asked, for the answer must come */
    struct dispatch_order order;
    struct dispatch *dispatch;
    char name[];
};

static void execute_fetched(struct dispatch_order *order)
{
    const struct fetched *fetched = container_of(order, struct fetched, order);
    struct domain *domain = hashmap_get(&order->dispatch->domains, fetched->name, strlen(fetched->name));
    if (domain == NULL || !domain->sts_fetching)
        return;
    domain->sts_fetching = false;
    try_to_go_on(domain);
}

static void on_fetched(void *context, const char *name)
{
    struct fetched *fetched = context;
    (void)name;
    if (inbox_send(&fetched->dispatch->orders, &fetched->order.node) < 0)
        free(fetched); /* the loop has ended */
}

/* False: not now; the jobs go on by what is known. */
static bool fetch_policy(const struct domain *domain, const char *id)
{
    size_t len = strlen(domain->name);
    struct fetched *fetched = calloc(1, sizeof *fetched + len + 1);
    if (fetched == NULL)
        return false;
    memcpy(fetched->name, domain->name, len);
    fetched->order.execute = execute_fetched;
    fetched->dispatch = domain->dispatch;
    bool asked = sts_fetch(domain->dispatch->sts, domain->name, id, on_fetched, fetched);
    if (!asked)
        free(fetched);
    return asked;
}

static void on_sts_record(void *context, const struct dns_answer *answer)
{
    struct domain *domain = context;
    struct sts *sts = domain->dispatch->sts;
    char id[40];
    domain->sts_question = NULL;
    domain->sts_known = true;
    if (answer->status == DNS_FOUND && sts_record_id(answer->data, answer->lens, answer->count, id)) {
        struct sts_policy *policy = sts_find(sts, domain->name, NULL);
        if (policy == NULL || strcmp(policy->id, id) != 0)
            domain->sts_fetching = fetch_policy(domain, id);
        sts_policy_release(policy);
    }
    try_to_go_on(domain);
}

static const struct dns_events sts_events = {.answered = on_sts_record};

static void ask_sts(struct domain *domain)
{
    char name[300];
    bool none = domain->dispatch->sts == NULL || domain->any_tls;
    if (none || domain->sts_known || domain->sts_question != NULL) {
        domain->sts_known |= none;
        return;
    }
    (void)snprintf(name, sizeof name, "_mta-sts.%.253s", domain->name);
    domain->sts_question = dns_ask(domain->dispatch->dns, name, DNS_TXT, false, &sts_events, domain);
    domain->sts_known = domain->sts_question == NULL;
}

/* Look-ups. */

/* The timer is set to what comes next. Frees a domain without jobs. */
static void attend(struct domain *domain)
{
    if (domain->job_count == 0) {
        domain_free(domain);
        return;
    }
    int64_t due = LOOP_TIMER_OFF;
    if (domain->set != NULL)
        due = domain->sts_question != NULL ? domain->sts_until_ms : domain->ask_ms;
    else if (domain->query == NULL)
        due = domain->ask_ms;
    loop_timer_set(&domain->dispatch->loop, &domain->timer, due);
}

static void failed(struct domain *domain, const char *text, int64_t again_ms)
{
    outcome_set(&domain->trouble, OUTCOME_TRANSPORT, STAGE_DNS, "%s", text);
    if (domain->failing_since_ms == 0) {
        domain->failing_since_ms = now_ms(domain);
        log_debug("engine", "%s dns-failed reason=%s", domain->name, LOG_QUOTE(text));
    }
    domain->ask_ms = now_ms(domain) + MAX_OF(again_ms, LATER_MS);
    attend(domain);
}

static void on_answer(void *context, struct mx_set *set, int64_t lifetime_ms)
{
    struct domain *domain = context;
    domain->query = NULL;
    if (set->status == MX_OK) {
        domain->set = mx_set_hold(set);
        domain->lifetime_ms = lifetime_ms;
        domain->sts_until_ms = now_ms(domain) + STS_RECORD_MS;
        domain->ask_ms = LOOP_TIMER_OFF;
        loop_timer_set(&domain->dispatch->loop, &domain->timer, domain->sts_until_ms);
        try_to_go_on(domain);
        return;
    }
    if (set->status == MX_TEMPORARY) {
        failed(domain, set->text, lifetime_ms);
        return;
    }
    struct list jobs = LIST_INIT(jobs);
    struct outcome outcome;
    struct dispatch *dispatch = domain->dispatch;
    mx_set_outcome(set, &outcome);
    list_splice(&jobs, &domain->jobs);
    domain->job_count = 0;
    domain_free(domain);
    end_jobs(dispatch, &jobs, &outcome);
}

static void ask(struct domain *domain)
{
    struct error err = {""};
    struct mx_lookup *lookup = dispatch_lookup(domain->dispatch, &err);
    if (lookup != NULL)
        domain->query = mx_ask(lookup, domain->name, on_answer, domain);
    if (domain->query != NULL) {
        ask_sts(domain);
        attend(domain);
    } else
        failed(domain, lookup != NULL ? "out of memory" : err.text, LATER_MS);
}

static void on_timer(struct loop_timer *timer)
{
    struct domain *domain = container_of(timer, struct domain, timer);
    if (domain->set != NULL && domain->sts_question != NULL && now_ms(domain) >= domain->sts_until_ms) {
        dns_cancel(domain->sts_question); /* whoever does not answer for it has no policy, or one that we keep */
        domain->sts_question = NULL;
        domain->sts_known = true;
    }
    if (domain->set != NULL && domain->sts_known && !domain->sts_fetching)
        try_to_go_on(domain);
    else if (domain->set == NULL && domain->query == NULL && now_ms(domain) >= domain->ask_ms)
        ask(domain);
    else
        attend(domain);
}

static struct domain *domain_for(struct dispatch *dispatch, const char *name, bool any_tls)
{
    size_t len = key_len(name, any_tls);
    struct domain *domain = hashmap_get(&dispatch->domains, name, len);
    if (domain != NULL)
        return domain;
    domain = calloc(1, sizeof *domain + len + 1);
    if (domain == NULL)
        return NULL;
    memcpy(domain->name, name, len);
    domain->dispatch = dispatch;
    domain->any_tls = any_tls;
    list_init(&domain->jobs);
    if (loop_timer_add(&dispatch->loop, &domain->timer, on_timer) < 0) {
        free(domain);
        return NULL;
    }
    if (hashmap_put(&dispatch->domains, domain->name, len, domain) != 0) {
        loop_timer_remove(&dispatch->loop, &domain->timer);
        free(domain);
        return NULL;
    }
    list_append(&dispatch->domains_all, &domain->node);
    loop_timer_set(&dispatch->loop, &domain->timer, dispatch->loop.now_ms); /* asks when all of this batch are in */
    return domain;
}

void domain_take(struct dispatch *dispatch, struct engine_job *job)
{
    const struct config_route *route = config_route_for(dispatch->config, job->domain);
    if (route != NULL) {
        take_routed(dispatch, route, job);
        return;
    }
    struct domain *domain = domain_for(dispatch, job->domain, job->any_tls);
    if (domain == NULL) {
        struct list jobs = LIST_INIT(jobs);
        list_append(&jobs, &job->node);
        end_jobs_so(dispatch, &jobs, OUTCOME_TRANSPORT, "out of memory");
        return;
    }
    job->state = JOB_QUEUED;
    list_append(&domain->jobs, &job->node);
    domain->job_count++;
}

void domain_send_home(struct dispatch *dispatch, struct list *jobs)
{
    struct list *node;
    while ((node = list_take_first(jobs)) != NULL) {
        struct dispatch *home = dispatch_home(dispatch, job_of(node)->domain);
        if (home == dispatch) {
            domain_take(dispatch, job_of(node));
            continue;
        }
        dispatch->has_moved = true;
        dispatch->jobs--;
        if (inbox_send(&home->submitted, node) == 0)
            continue;
        struct list late = LIST_INIT(late);
        dispatch->jobs++;
        list_append(&late, node);
        end_jobs_so(dispatch, &late, OUTCOME_RELEASED, "given back untried");
    }
}

static void end_released(struct domain *domain, struct list *jobs)
{
    struct outcome outcome;
    if (domain->failing_since_ms != 0)
        outcome = domain->trouble;
    else
        outcome_set(&outcome, OUTCOME_RELEASED, STAGE_NONE, "given back untried");
    outcome.class_ = OUTCOME_RELEASED;
    end_jobs(domain->dispatch, jobs, &outcome);
}

void domain_release(struct dispatch *dispatch, const struct site_release *release)
{
    list_for_each_safe(at, &dispatch->domains_all)
    {
        struct domain *domain = list_entry(at, struct domain, node);
        struct list out = LIST_INIT(out);
        list_for_each_safe(node, &domain->jobs)
        {
            if (!site_release_means(release, job_of(node)))
                continue;
            list_remove(node);
            list_append(&out, node);
            domain->job_count--;
        }
        end_released(domain, &out);
        if (domain->job_count == 0)
            domain_free(domain);
    }
}

void domain_finish_all(struct dispatch *dispatch)
{
    while (!list_empty(&dispatch->domains_all))
        domain_free(list_entry(dispatch->domains_all.next, struct domain, node));
    hashmap_finish(&dispatch->domains);
}
