/*
 * lookup.c - answers of one check: asked once each, in parallel where the questions are known beforehand.
 *
 * The checks read like the RFCs, question after question; what makes them quick is that the first round of questions is
 * sent ahead. Entries live until the end of the check. Without memory an answer is "failed", like any other fault.
 */
#include "campaign/preflight/lookup.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hashmap.h"
#include "base/str.h"

#define QUESTIONS_MAX 4000 /* of one check: a bound for whatever a zone makes us ask */

struct entry {
    struct list node;
    struct live_lookup *live;
    struct resolve_answer *answer; /* NULL = not answered; under the lock */
    char key[];                    /* "type name" */
};

struct live_lookup {
    struct lookup base;
    struct resolver *resolver;
    int64_t deadline_ms;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct hashmap map;
    struct list entries;
    size_t count, open; /* open: asked, not answered; under the lock */
};

static const struct resolve_answer no_memory = {.status = RESOLVE_FAILED, .why = "out of memory"};
static const struct resolve_answer too_many = {.status = RESOLVE_FAILED, .why = "too many questions for one check"};
static const struct resolve_answer no_such_name = {.status = RESOLVE_NO_NAME};

bool lookup_name_valid(const char *name)
{
    size_t len = strlen(name), label = 0;
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && name[i] != '.') {
            label++;
            continue;
        }
        if (label == 0 || label > 63)
            return false;
        label = 0;
    }
    return true;
}

static void on_answer(void *context, struct resolve_answer *answer)
{
    struct entry *entry = context;
    struct live_lookup *live = entry->live;
    (void)pthread_mutex_lock(&live->lock);
    entry->answer = answer;
    live->open--;
    (void)pthread_cond_broadcast(&live->answered);
    (void)pthread_mutex_unlock(&live->lock);
}

/* The entry of a question, asked when it is new; NULL: `*why` is the answer. */
static struct entry *entry_for(struct live_lookup *live, const char *name, enum resolve_type type,
                               const struct resolve_answer **why)
{
    char key[280];
    int64_t left_ms = live->deadline_ms - clock_monotonic_ms();
    *why = &no_such_name;
    if (!lookup_name_valid(name))
        return NULL;
    int len = snprintf(key, sizeof key, "%d %s", (int)type, name);
    size_t key_len = (size_t)len - (key[len - 1] == '.' ? 1 : 0);
    key[key_len] = '\0';
    str_lower(key);
    struct entry *entry = hashmap_get(&live->map, key, key_len);
    if (entry != NULL)
        return entry;
    *why = live->count >= QUESTIONS_MAX ? &too_many : &no_memory;
    entry = live->count < QUESTIONS_MAX ? calloc(1, sizeof *entry + key_len + 1) : NULL;
    if (entry == NULL)
        return NULL;
    entry->live = live;
    memcpy(entry->key, key, key_len + 1);
    if (hashmap_put(&live->map, entry->key, key_len, entry) != 0) {
        free(entry);
        return NULL;
    }
    list_append(&live->entries, &entry->node);
    live->count++;
    (void)pthread_mutex_lock(&live->lock);
    live->open++;
    (void)pthread_mutex_unlock(&live->lock);
    if (resolver_ask(live->resolver, strchr(key, ' ') + 1, type, MAX_OF(left_ms, (int64_t)1), on_answer, entry) == 0)
        return entry;
    (void)pthread_mutex_lock(&live->lock);
    live->open--;
    (void)pthread_mutex_unlock(&live->lock);
    (void)hashmap_remove(&live->map, entry->key, key_len);
    list_remove(&entry->node);
    free(entry);
    return NULL;
}

static const struct resolve_answer *ask(struct lookup *lookup, const char *name, enum resolve_type type)
{
    struct live_lookup *live = container_of(lookup, struct live_lookup, base);
    const struct resolve_answer *why;
    struct entry *entry = entry_for(live, name, type, &why);
    if (entry == NULL)
        return why;
    (void)pthread_mutex_lock(&live->lock);
    while (entry->answer == NULL)
        (void)pthread_cond_wait(&live->answered, &live->lock); /* the resolver keeps the deadline */
    (void)pthread_mutex_unlock(&live->lock);
    return entry->answer;
}

struct live_lookup *live_lookup_create(struct resolver *resolver, int64_t deadline_ms)
{
    struct live_lookup *live = calloc(1, sizeof *live);
    if (live == NULL)
        return NULL;
    live->base.ask = ask;
    live->resolver = resolver;
    live->deadline_ms = deadline_ms;
    live->map = HASHMAP_INIT;
    list_init(&live->entries);
    assure(pthread_mutex_init(&live->lock, NULL) == 0 && pthread_cond_init(&live->answered, NULL) == 0);
    return live;
}

void live_lookup_free(struct live_lookup *live)
{
    struct list *node;
    if (live == NULL)
        return;
    (void)pthread_mutex_lock(&live->lock);
    while (live->open > 0)
        (void)pthread_cond_wait(&live->answered, &live->lock);
    (void)pthread_mutex_unlock(&live->lock);
    while ((node = list_take_first(&live->entries)) != NULL) {
        struct entry *entry = list_entry(node, struct entry, node);
        resolve_answer_free(entry->answer);
        free(entry);
    }
    hashmap_finish(&live->map);
    (void)pthread_cond_destroy(&live->answered);
    (void)pthread_mutex_destroy(&live->lock);
    free(live);
}

struct lookup *live_lookup(struct live_lookup *live)
{
    return &live->base;
}

void lookup_ahead(struct live_lookup *live, const char *name, enum resolve_type type)
{
    const struct resolve_answer *why;
    (void)entry_for(live, name, type, &why);
}
