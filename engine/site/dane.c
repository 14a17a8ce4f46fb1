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
    struct tls_dane *records; /* DANE_USABLE, held */
    char why[160];
    char name[]; /* "_25._tcp.mx.example.com" */
};

void dane_release(struct tls_dane *records)
{
    if (records != NULL && --records->references == 0)
        free(records);
}

static void entry_free(struct dane_entry *entry)
{
    dane_release(entry->records);
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
static bool is_usable(const unsigned char *data, size_t len)
{
    static const size_t lengths[] = {0, 32, 64};
    if (len < 4 || (data[0] != 2 && data[0] != 3) || data[1] > 1 || data[2] > 2)
        return false;
    return lengths[data[2]] != 0 ? len - 3 == lengths[data[2]] : len - 3 <= TLS_DANE_DATA_BYTES;
}

enum dane_state dane_read(const char *const *data, const int *lens, size_t count, struct tls_dane **out)
{
    const unsigned char *used[TLS_DANE_MAX];
    size_t used_lens[TLS_DANE_MAX], n = 0, bytes = 0;
    *out = NULL;
    for (size_t i = 0; i < count && n < TLS_DANE_MAX; i++) {
        const unsigned char *at = (const unsigned char *)data[i];
        if (!is_usable(at, (size_t)MAX_OF(lens[i], 0)))
            continue;
        used[n] = at;
        used_lens[n] = (size_t)lens[i] - 3;
        bytes += used_lens[n++];
    }
    if (n == 0)
        return DANE_ANY;
    struct tls_dane *records = calloc(1, sizeof *records + bytes);
    if (records == NULL)
        return DANE_FAILED;
    uint8_t *to = (uint8_t *)(records + 1);
    records->references = 1;
    records->count = n;
    for (size_t i = 0; i < n; i++) {
        memcpy(to, used[i] + 3, used_lens[i]);
        records->records[i] = (struct tls_dane_record){.usage = used[i][0],
                                                       .selector = used[i][1],
                                                       .matching = used[i][2],
                                                       .len = (uint16_t)used_lens[i],
                                                       .data = to};
        to += used_lens[i];
    }
    *out = records;
    return DANE_USABLE;
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
        entry->state = dane_read(answer->data, answer->lens, answer->count, &entry->records);
        if (entry->state == DANE_FAILED) {
            (void)str_copy(entry->why, sizeof entry->why, "out of memory");
            life_ms = FAILED_MS;
        }
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

enum dane_state dane_look(struct dispatch *dispatch, const struct nexthop_host *host, struct tls_dane **records,
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
    if (records != NULL && entry != NULL && entry->state == DANE_USABLE) {
        entry->records->references++;
        *records = entry->records;
    }
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
