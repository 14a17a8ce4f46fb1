/*
 * dane.c - one entry a host and port, asked from the loop's own resolver, which validates.
 *
 * "Insecure" counts as "none": without a proof there is nothing to hold on to (RFC 7672 section 2.1.1).
 */
#include "engine/site/dane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/site/site.h"

#define ENTRIES_MAX 10000
#define LIFE_MIN_MS ((int64_t)60000)
#define LIFE_MAX_MS ((int64_t)3600000)
#define FAILED_MS ((int64_t)30000)

struct dane_entry {
    struct dispatch *dispatch;
    enum dane_state state;
    struct dns_question *question; /* DANE_ASKING */
    int64_t until_ms;
    struct tls_dane records;
    char why[160];
    char name[]; /* "_25._tcp.mx.example.com" */
};

static void entry_free(struct dane_entry *entry)
{
    dns_cancel(entry->question);
    (void)hashmap_remove(&entry->dispatch->dane, entry->name, strlen(entry->name));
    free(entry);
}

static void mark_all(struct dispatch *dispatch)
{
    size_t cursor = 0;
    struct site *site;
    while ((site = hashmap_next(&dispatch->sites, &cursor)) != NULL)
        site_mark_dirty(site);
}

/* Certificate usages 2 (DANE-TA) and 3 (DANE-EE), selectors 0 and 1, matching 0 to 2 with a length that fits. */
static bool take_record(struct tls_dane *out, const unsigned char *data, size_t len)
{
    static const size_t lengths[] = {0, 32, 64};
    if (len < 4 || (data[0] != 2 && data[0] != 3) || data[1] > 1 || data[2] > 2)
        return false;
    if (lengths[data[2]] != 0 && len - 3 != lengths[data[2]])
        return false;
    if (len - 3 > TLS_DANE_DATA_BYTES || out->count == TLS_DANE_MAX)
        return false;
    struct tls_dane_record *record = &out->records[out->count++];
    *record = (struct tls_dane_record){
        .usage = data[0], .selector = data[1], .matching = data[2], .len = (uint16_t)(len - 3)};
    memcpy(record->data, data + 3, len - 3);
    return true;
}

static void on_answer(void *context, const struct dns_answer *answer)
{
    struct dane_entry *entry = context;
    struct dispatch *dispatch = entry->dispatch;
    int64_t life_ms = MIN_OF(MAX_OF((int64_t)answer->ttl_s * 1000, LIFE_MIN_MS), LIFE_MAX_MS);
    entry->question = NULL;
    entry->state = DANE_NONE;
    if (answer->status == DNS_FAILED) {
        entry->state = DANE_FAILED;
        (void)str_copy(entry->why, sizeof entry->why, answer->text);
        life_ms = FAILED_MS;
    } else if (answer->status == DNS_FOUND && answer->secure) {
        for (size_t i = 0; i < answer->count; i++)
            (void)take_record(&entry->records, (const unsigned char *)answer->data[i],
                              (size_t)MAX_OF(answer->lens[i], 0));
        entry->state = entry->records.count > 0 ? DANE_USABLE : DANE_ANY;
    }
    entry->until_ms = dispatch->loop.now_ms + life_ms;
    mark_all(dispatch);
}

static const struct dns_events events = {.answered = on_answer};

/* What is over, when there is no room. */
static void sweep(struct dispatch *dispatch)
{
    size_t cursor = 0;
    struct dane_entry *entry;
    while ((entry = hashmap_next(&dispatch->dane, &cursor)) != NULL) {
        if (entry->question != NULL)
            continue;
        entry_free(entry);
        cursor = 0;
    }
}

static struct dane_entry *ask(struct dispatch *dispatch, const char *name)
{
    size_t len = strlen(name);
    if (dispatch->dane.count >= ENTRIES_MAX)
        sweep(dispatch);
    struct dane_entry *entry = calloc(1, sizeof *entry + len + 1);
    if (entry == NULL)
        return NULL;
    entry->dispatch = dispatch;
    entry->state = DANE_ASKING;
    memcpy(entry->name, name, len);
    if (hashmap_put(&dispatch->dane, entry->name, len, entry) != 0) {
        free(entry);
        return NULL;
    }
    entry->question = dns_ask(dispatch->dns, name, DNS_TLSA, true, &events, entry);
    if (entry->question == NULL) {
        entry_free(entry);
        return NULL;
    }
    return entry;
}

enum dane_state dane_look(struct dispatch *dispatch, const struct nexthop_host *host, const struct tls_dane **records,
                          const char **why)
{
    char name[300];
    if (!host->secure || dispatch->dns == NULL)
        return DANE_NONE;
    (void)snprintf(name, sizeof name, "_%u._tcp.%.253s", dispatch->config->mx_port, host->name);
    struct dane_entry *entry = hashmap_get(&dispatch->dane, name, strlen(name));
    if (entry != NULL && entry->question == NULL && dispatch->loop.now_ms >= entry->until_ms) {
        entry_free(entry);
        entry = NULL;
    }
    if (entry == NULL)
        entry = ask(dispatch, name);
    *why = entry != NULL ? entry->why : "out of memory";
    if (records != NULL && entry != NULL)
        *records = &entry->records;
    return entry != NULL ? entry->state : DANE_FAILED;
}

void dane_finish(struct dispatch *dispatch)
{
    size_t cursor = 0;
    struct dane_entry *entry;
    while ((entry = hashmap_next(&dispatch->dane, &cursor)) != NULL) {
        entry_free(entry);
        cursor = 0;
    }
    hashmap_finish(&dispatch->dane);
}
