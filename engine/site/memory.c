/*
 * memory.c - a map from names to the times until which facts hold.
 */
#include "engine/site/memory.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct list node;
    int64_t until_ms[MEMORY_FACTS];
    size_t len;
    char name[];
};

static struct entry *entry_of(struct list *node)
{
    return list_entry(node, struct entry, node);
}

void memory_init(struct memory *memory)
{
    *memory = (struct memory){.map = HASHMAP_INIT};
    list_init(&memory->order);
}

static void drop(struct memory *memory, struct entry *entry)
{
    (void)hashmap_remove(&memory->map, entry->name, entry->len);
    list_remove(&entry->node);
    memory->count--;
    free(entry);
}

void memory_finish(struct memory *memory)
{
    while (!list_empty(&memory->order))
        drop(memory, entry_of(memory->order.next));
    hashmap_finish(&memory->map);
}

static struct entry *add(struct memory *memory, const char *name, size_t len)
{
    if (memory->count >= MEMORY_ENTRIES_MAX)
        drop(memory, entry_of(memory->order.next));
    struct entry *entry = calloc(1, sizeof *entry + len + 1);
    if (entry == NULL)
        return NULL;
    memcpy(entry->name, name, len);
    entry->len = len;
    if (hashmap_put(&memory->map, entry->name, len, entry) != 0) {
        free(entry);
        return NULL;
    }
    list_append(&memory->order, &entry->node);
    memory->count++;
    return entry;
}

void memory_note(struct memory *memory, const char *name, enum memory_fact fact, int64_t until_ms)
{
    size_t len = strlen(name);
    struct entry *entry = hashmap_get(&memory->map, name, len);
    if (entry == NULL)
        entry = add(memory, name, len);
    if (entry == NULL)
        return;
    memory->changed |= memory_is_lasting(fact);
    entry->until_ms[fact] = until_ms;
    list_remove(&entry->node);
    list_append(&memory->order, &entry->node);
}

void memory_forget(struct memory *memory, const char *name, enum memory_fact fact)
{
    struct entry *entry = memory->count > 0 ? hashmap_get(&memory->map, name, strlen(name)) : NULL;
    if (entry == NULL)
        return;
    memory->changed |= memory_is_lasting(fact);
    entry->until_ms[fact] = 0;
}

/* Until when it holds or held; 0 = never, or it was forgotten. */
static int64_t until_of(const struct memory *memory, const char *name, enum memory_fact fact)
{
    const struct entry *entry = memory->count > 0 ? hashmap_get(&memory->map, name, strlen(name)) : NULL;
    return entry != NULL ? entry->until_ms[fact] : 0;
}

bool memory_knows(const struct memory *memory, const char *name, enum memory_fact fact, int64_t now_ms)
{
    return until_of(memory, name, fact) > now_ms;
}

bool memory_knew(const struct memory *memory, const char *name, enum memory_fact fact, int64_t now_ms, int64_t ago_ms)
{
    int64_t until_ms = until_of(memory, name, fact);
    return until_ms != 0 && until_ms <= now_ms && until_ms > now_ms - ago_ms;
}

const char *memory_name(const struct list *node)
{
    return list_entry(node, const struct entry, node)->name;
}

int64_t memory_until_ms(const struct list *node, enum memory_fact fact)
{
    return list_entry(node, const struct entry, node)->until_ms[fact];
}
