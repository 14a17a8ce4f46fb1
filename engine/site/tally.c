/*
 * tally.c - how often a reply came within a time, by key.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/site/rules.h"

#define ENTRIES_MAX 4096

struct entry {
    struct list node; /* of tally->order */
    uint32_t count, first;
    int64_t times_ms[RULE_TIMES_MAX]; /* a ring */
    char key[];
};

void tally_init(struct tally *tally)
{
    *tally = (struct tally){0};
    list_init(&tally->order);
}

static void drop(struct tally *tally, struct entry *entry)
{
    (void)hashmap_remove(&tally->map, entry->key, strlen(entry->key));
    list_remove(&entry->node);
    tally->count--;
    free(entry);
}

void tally_finish(struct tally *tally)
{
    while (!list_empty(&tally->order))
        drop(tally, list_entry(tally->order.next, struct entry, node));
    hashmap_finish(&tally->map);
}

static struct entry *get(struct tally *tally, const char *key)
{
    size_t len = strlen(key);
    struct entry *entry = hashmap_get(&tally->map, key, len);
    if (entry == NULL) {
        if (tally->count >= ENTRIES_MAX)
            drop(tally, list_entry(tally->order.next, struct entry, node));
        entry = calloc(1, sizeof *entry + len + 1);
        if (entry == NULL)
            return NULL;
        memcpy(entry->key, key, len);
        list_init(&entry->node);
        if (hashmap_put(&tally->map, entry->key, len, entry) != 0) {
            free(entry);
            return NULL;
        }
        tally->count++;
    }
    list_remove(&entry->node);
    list_append(&tally->order, &entry->node);
    return entry;
}

bool tally_count(struct tally *tally, const char *key, uint32_t times, int64_t within_ms, int64_t now_ms)
{
    if (times <= 1)
        return true;
    struct entry *entry = get(tally, key);
    if (entry == NULL)
        return false;
    while (entry->count > 0 && entry->times_ms[entry->first] <= now_ms - within_ms) {
        entry->first = (entry->first + 1) % RULE_TIMES_MAX;
        entry->count--;
    }
    if (entry->count + 1 >= times) {
        drop(tally, entry);
        return true;
    }
    entry->times_ms[(entry->first + entry->count++) % RULE_TIMES_MAX] = now_ms;
    return false;
}
