/*
 * mx_lookup.c - one `chain` per domain that is being looked up, one `mx_query` per asker.
 *
 * Askers are told from a timer of the loop and from nowhere else, so that it makes no difference to them whether the
 * answer was known, and so that they may ask and cancel in their callbacks.
 */
#include "engine/net/mx_lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct chain;

struct part { /* one address look-up */
    struct chain *chain;
    struct dns_question *question; /* NULL = answered */
    uint8_t host;
    bool v6;
};

struct chain {
    struct mx_lookup *lookup;
    struct list node;
    struct list queries;     /* who waits */
    struct dns_question *mx; /* NULL = answered */
    /* from the answer to MX on; thousands of chains may wait for their turn, and these are large */
    struct mx_plan *plan;
    struct part *parts;
    size_t part_count, open; /* parts; of them, not answered */
    struct loop_timer timer; /* patience, then deadline */
    int64_t patient_until_ms, deadline_ms;
    bool no_memory;
    size_t domain_bytes;
    char domain[];
};

struct mx_query {
    struct list node; /* of a chain, or of `ready` or `told` */
    mx_answer_cb *answer;
    void *context;
    struct mx_set *set; /* ready */
    int64_t lifetime_ms;
};

struct mx_lookup {
    struct loop *loop;
    struct dns *dns;
    struct mx_lookup_options options;
    struct mx_cache cache;
    struct hashmap running; /* domain -> chain */
    struct list chains;
    struct list ready; /* queries to be answered */
    struct list told;  /* of this turn */
    struct loop_timer tell;
    struct mx_set *no_memory; /* made while there was some */
    bool telling;
    struct mx_lookup_counts counts;
};

static void set_ready(struct mx_lookup *lookup, struct mx_query *query, struct mx_set *set, int64_t lifetime_ms)
{
    query->set = mx_set_hold(set);
    query->lifetime_ms = lifetime_ms;
    list_append(&lookup->ready, &query->node);
    loop_timer_set(lookup->loop, &lookup->tell, lookup->loop->now_ms);
}

static void query_free(struct mx_query *query)
{
    mx_set_release(query->set);
    free(query);
}

static void on_tell(struct loop_timer *timer)
{
    struct mx_lookup *lookup = container_of(timer, struct mx_lookup, tell);
    struct list *node;
    /* What becomes ready in the callbacks waits for the next turn: a caller that asks again at once must not hold the
     * loop. */
    list_splice(&lookup->told, &lookup->ready);
    lookup->telling = true;
    while ((node = list_take_first(&lookup->told)) != NULL) {
        struct mx_query *query = list_entry(node, struct mx_query, node);
        query->answer(query->context, query->set, query->lifetime_ms);
        query_free(query);
    }
    lookup->telling = false;
    if (!list_empty(&lookup->ready))
        loop_timer_set(lookup->loop, &lookup->tell, lookup->loop->now_ms);
}

static void chain_free(struct chain *chain)
{
    struct mx_lookup *lookup = chain->lookup;
    dns_cancel(chain->mx);
    for (size_t i = 0; i < chain->part_count; i++)
        dns_cancel(chain->parts[i].question);
    loop_timer_remove(lookup->loop, &chain->timer);
    (void)hashmap_remove(&lookup->running, chain->domain, chain->domain_bytes);
    list_remove(&chain->node);
    mx_plan_free(chain->plan);
    free(chain->parts);
    free(chain);
}

/* The answer to MX into a new plan. */
static int chain_plan(struct chain *chain, const struct dns_answer *answer)
{
    const struct mx_lookup_options *options = &chain->lookup->options;
    chain->plan = mx_plan_create(chain->domain, &options->policy);
    if (chain->plan == NULL || mx_plan_records(chain->plan, answer, &options->random) < 0) {
        chain->no_memory = true;
        return -ENOMEM;
    }
    return 0;
}

static struct mx_set *chain_result(struct chain *chain)
{
    static const struct dns_answer late = {.status = DNS_FAILED, .text = "no answer in time"};
    if (chain->mx != NULL)
        (void)chain_plan(chain, &late); /* notes its failure itself */
    struct mx_set *set = chain->no_memory ? NULL : mx_plan_finish(chain->plan);
    return set != NULL ? set : mx_set_hold(chain->lookup->no_memory);
}

/* The chain is gone after it. */
static void chain_finish(struct chain *chain)
{
    struct mx_lookup *lookup = chain->lookup;
    struct mx_set *set = chain_result(chain);
    int64_t lifetime_ms = mx_cache_put(&lookup->cache, chain->domain, set, lookup->loop->now_ms);
    struct list *node;
    while ((node = list_take_first(&chain->queries)) != NULL)
        set_ready(lookup, list_entry(node, struct mx_query, node), set, lifetime_ms);
    mx_set_release(set);
    chain_free(chain);
}

static void chain_check(struct chain *chain)
{
    bool patient = chain->lookup->loop->now_ms < chain->patient_until_ms;
    if (chain->open == 0 || (!patient && mx_plan_good_enough(chain->plan)))
        chain_finish(chain);
}

static void on_address(void *context, const struct dns_answer *answer)
{
    struct part *part = context;
    part->question = NULL;
    part->chain->open--;
    mx_plan_addresses(part->chain->plan, part->host, part->v6, answer);
    chain_check(part->chain);
}

static const struct dns_events address_events = {.answered = on_address};

static void ask_addresses(struct chain *chain)
{
    static const struct dns_answer no_memory = {.status = DNS_FAILED, .text = "out of memory"};
    size_t count = 2 * mx_plan_host_count(chain->plan);
    if (count == 0)
        return;
    chain->parts = calloc(count, sizeof *chain->parts);
    if (chain->parts == NULL) {
        chain->no_memory = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct part *part = &chain->parts[chain->part_count++];
        *part = (struct part){.chain = chain, .host = (uint8_t)(i / 2), .v6 = i % 2 == 0};
        part->question = dns_ask(chain->lookup->dns, mx_plan_host(chain->plan, part->host), part->v6 ? DNS_AAAA : DNS_A,
                                 true, &address_events, part);
        if (part->question != NULL)
            chain->open++;
        else
            mx_plan_addresses(chain->plan, part->host, part->v6, &no_memory);
    }
}

static void on_records(void *context, const struct dns_answer *answer)
{
    struct chain *chain = context;
    chain->mx = NULL;
    if (chain_plan(chain, answer) == 0)
        ask_addresses(chain);
    chain_check(chain);
}

static void on_sent(void *context)
{
    struct chain *chain = context;
    struct mx_lookup *lookup = chain->lookup;
    chain->deadline_ms = lookup->loop->now_ms + lookup->options.deadline_ms;
    chain->patient_until_ms = lookup->loop->now_ms + MIN_OF(lookup->options.patience_ms, lookup->options.deadline_ms);
    loop_timer_set(lookup->loop, &chain->timer, chain->patient_until_ms);
}

static const struct dns_events records_events = {.sent = on_sent, .answered = on_records};

static void on_timer(struct loop_timer *timer)
{
    struct chain *chain = container_of(timer, struct chain, timer);
    int64_t now_ms = chain->lookup->loop->now_ms;
    if (now_ms >= chain->deadline_ms || (chain->mx == NULL && mx_plan_good_enough(chain->plan)))
        chain_finish(chain);
    else
        loop_timer_set(chain->lookup->loop, timer, chain->deadline_ms);
}

static struct chain *chain_create(struct mx_lookup *lookup, const char *domain)
{
    size_t domain_bytes = strlen(domain);
    struct chain *chain = calloc(1, sizeof *chain + domain_bytes + 1);
    if (chain == NULL)
        return NULL;
    memcpy(chain->domain, domain, domain_bytes + 1);
    chain->domain_bytes = domain_bytes;
    chain->lookup = lookup;
    list_init(&chain->queries);
    list_init(&chain->node);
    if (loop_timer_add(lookup->loop, &chain->timer, on_timer) != 0 ||
        hashmap_put(&lookup->running, chain->domain, domain_bytes, chain) != 0)
        goto failed;
    list_append(&lookup->chains, &chain->node);
    chain->mx = dns_ask(lookup->dns, domain, DNS_MX, false, &records_events, chain);
    if (chain->mx == NULL)
        goto failed;
    lookup->counts.looked_up++;
    return chain;
failed:
    chain_free(chain);
    return NULL;
}

int mx_lookup_open(struct loop *loop, struct dns *dns, const struct mx_lookup_options *options, struct mx_lookup **out,
                   struct error *err)
{
    static const struct dns_answer answer = {.status = DNS_FAILED, .text = "out of memory"};
    *out = NULL;
    struct mx_lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return error_memory(err);
    lookup->loop = loop;
    lookup->dns = dns;
    lookup->options = *options;
    list_init(&lookup->chains);
    list_init(&lookup->ready);
    list_init(&lookup->told);
    mx_cache_init(&lookup->cache, &options->limits);
    struct mx_plan *plan = mx_plan_create("this domain", &lookup->options.policy);
    if (plan != NULL && mx_plan_records(plan, &answer, &lookup->options.random) == 0)
        lookup->no_memory = mx_plan_finish(plan);
    mx_plan_free(plan);
    if (lookup->no_memory == NULL || loop_timer_add(loop, &lookup->tell, on_tell) != 0) {
        mx_set_release(lookup->no_memory);
        mx_cache_finish(&lookup->cache);
        free(lookup);
        return error_memory(err);
    }
    *out = lookup;
    return 0;
}

static void free_queries(struct list *queries)
{
    struct list *node;
    while ((node = list_take_first(queries)) != NULL)
        query_free(list_entry(node, struct mx_query, node));
}

void mx_lookup_close(struct mx_lookup *lookup)
{
    if (lookup == NULL)
        return;
    assure(!lookup->telling);
    while (!list_empty(&lookup->chains)) {
        struct chain *chain = list_entry(lookup->chains.next, struct chain, node);
        free_queries(&chain->queries);
        chain_free(chain);
    }
    free_queries(&lookup->ready);
    loop_timer_remove(lookup->loop, &lookup->tell);
    hashmap_finish(&lookup->running);
    mx_cache_finish(&lookup->cache);
    mx_set_release(lookup->no_memory);
    free(lookup);
}

void mx_lookup_own(struct mx_lookup *lookup, const struct mx_address *own, size_t count)
{
    lookup->options.policy.own = own;
    lookup->options.policy.own_count = count;
}

struct mx_query *mx_ask(struct mx_lookup *lookup, const char *domain, mx_answer_cb *answer, void *context)
{
    struct mx_query *query = calloc(1, sizeof *query);
    if (query == NULL)
        return NULL;
    query->answer = answer;
    query->context = context;
    list_init(&query->node);
    lookup->counts.asked++;
    int64_t lifetime_ms;
    struct mx_set *set = mx_cache_get(&lookup->cache, domain, lookup->loop->now_ms, &lifetime_ms);
    if (set != NULL) {
        lookup->counts.cached++;
        set_ready(lookup, query, set, lifetime_ms);
        return query;
    }
    struct chain *chain = hashmap_get(&lookup->running, domain, strlen(domain));
    if (chain == NULL)
        chain = chain_create(lookup, domain);
    if (chain == NULL) {
        free(query);
        return NULL;
    }
    list_append(&chain->queries, &query->node);
    return query;
}

void mx_cancel(struct mx_query *query)
{
    if (query == NULL)
        return;
    list_remove(&query->node);
    query_free(query);
}

struct mx_lookup_counts mx_lookup_counts(const struct mx_lookup *lookup)
{
    struct mx_lookup_counts counts = lookup->counts;
    counts.running = lookup->running.count;
    counts.entries = lookup->cache.map.count;
    counts.bytes = lookup->cache.bytes;
    return counts;
}
