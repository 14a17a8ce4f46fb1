/*
 * config_live.c - holding and replacing snapshots, and telling two of them apart.
 *
 * Two values differ when the file would have to say something else: each key of the table is written as `config show`
 * writes it, and the texts are compared. So a key that is added to the table is compared, and told of, without a word
 * here.
 */
#include "base/config_live.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config_private.h"
#include "base/str.h"

/* Holding. */

const struct config *config_hold(const struct config *config)
{
    struct config *own = (struct config *)config; /* all snapshots are from config_load() */
    (void)atomic_fetch_add_explicit(&own->more_holders, 1, memory_order_relaxed);
    return config;
}

void config_drop(const struct config *config)
{
    struct config *own = (struct config *)config;
    if (own != NULL && atomic_fetch_sub_explicit(&own->more_holders, 1, memory_order_acq_rel) == 0)
        config_free(own);
}

void config_live_init(struct config_live *live, const struct config *first)
{
    int r = pthread_mutex_init(&live->lock, NULL);
    assure(r == 0);
    live->now = first;
    atomic_init(&live->generation, 1);
    atomic_init(&live->loaded_wall_ms, clock_wall_ms());
}

void config_live_finish(struct config_live *live)
{
    config_drop(live->now);
    live->now = NULL;
    (void)pthread_mutex_destroy(&live->lock);
}

const struct config *config_live_hold(struct config_live *live)
{
    (void)pthread_mutex_lock(&live->lock);
    const struct config *config = config_hold(live->now);
    (void)pthread_mutex_unlock(&live->lock);
    return config;
}

void config_live_set(struct config_live *live, const struct config *next)
{
    (void)pthread_mutex_lock(&live->lock);
    const struct config *before = live->now;
    live->now = next;
    atomic_store(&live->loaded_wall_ms, clock_wall_ms());
    (void)atomic_fetch_add(&live->generation, 1);
    (void)pthread_mutex_unlock(&live->lock);
    config_drop(before);
}

/* Comparing. */

struct comparison {
    config_change_cb *each;
    void *context;
    int count, left_out;
    struct buffer before, after; /* one value of each */
    bool failed;
};

ATTR_PRINTF(3, 4) static void tell(struct comparison *comparison, bool fixed, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    if (comparison->count++ >= CONFIG_CHANGES_MAX && !fixed) {
        comparison->left_out++;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    comparison->each(comparison->context, fixed, sentence);
}

static void place(const struct config_section *section, const void *item, char *out, size_t out_bytes)
{
    if (section->title != TITLE_NONE)
        (void)snprintf(out, out_bytes, "%s \"%.200s\"", section->name, *(char *const *)item);
    else
        (void)str_copy(out, out_bytes, section->name != NULL ? section->name : "");
}

static bool differs(struct comparison *comparison, const struct config_key *key, const void *before, const void *after)
{
    comparison->before.len = comparison->after.len = 0;
    config_put_value(&comparison->before, key, before);
    config_put_value(&comparison->after, key, after);
    comparison->failed |= comparison->before.failed || comparison->after.failed;
    return comparison->failed || strcmp(buffer_text(&comparison->before), buffer_text(&comparison->after)) != 0;
}

/* The value of a fixed key as it was. Only kinds that fixed keys have. */
static bool keep(const struct config_key *key, const void *before, void *after)
{
    const char *from = (const char *)before + key->offset;
    char *to = (char *)after + key->offset;
    char *copy;
    switch (key->kind) {
    case KIND_BOOL:
        memcpy(to, from, sizeof(bool));
        return true;
    case KIND_U32:
        memcpy(to, from, sizeof(uint32_t));
        return true;
    case KIND_PORT:
        memcpy(to, from, sizeof(uint16_t));
        return true;
    case KIND_DURATION:
        memcpy(to, from, sizeof(int64_t));
        return true;
    case KIND_PREFLIGHT:
        memcpy(to, from, sizeof(enum preflight_mode));
        return true;
    case KIND_LISTEN:
        memcpy((char *)after + key->count_offset, (const char *)before + key->count_offset, sizeof(uint16_t));
        break;
    case KIND_HOSTNAME:
    case KIND_PATH:
    case KIND_URL:
    case KIND_DOMAIN:
    case KIND_DNS:
    case KIND_TEXT:
        break;
    default:
        assure(!"a fixed key of this kind");
    }
    copy = str_dup(*(char *const *)(const void *)from);
    if (copy == NULL)
        return false;
    free(*(char **)(void *)to);
    *(char **)(void *)to = copy;
    return true;
}

static void compare_keys(struct comparison *comparison, const struct config_section *section, const void *before,
                         void *after)
{
    char where[256];
    place(section, after, where, sizeof where);
    for (size_t i = 0; i < section->key_count && !comparison->failed; i++) {
        const struct config_key *key = &section->keys[i];
        if (!differs(comparison, key, before, after) || comparison->failed)
            continue;
        tell(comparison, key->fixed, "%s%s%s = %.300s, was %.300s", where, where[0] != '\0' ? ": " : "", key->name,
             buffer_text(&comparison->after), buffer_text(&comparison->before));
        if (key->fixed && !keep(key, before, after))
            comparison->failed = true;
    }
}

static size_t items_of(const struct config *config, const struct config_section *section, char **items)
{
    *items = *(char *const *)(const void *)((const char *)config + section->array_offset);
    return *(const size_t *)(const void *)((const char *)config + section->count_offset);
}

static void *item_titled(const struct config *config, const struct config_section *section, const char *title)
{
    char *items;
    size_t count = items_of(config, section, &items);
    for (size_t i = 0; i < count; i++) {
        char **item = (char **)(void *)(items + i * section->item_bytes);
        if (strcmp(*item, title) == 0)
            return item;
    }
    return NULL;
}

static void compare_items(struct comparison *comparison, const struct config_section *section,
                          const struct config *before, const struct config *after)
{
    char where[256], *items;
    size_t count = items_of(before, section, &items);
    for (size_t i = 0; i < count && !comparison->failed; i++) {
        void *item = items + i * section->item_bytes;
        void *next = item_titled(after, section, *(char **)item);
        place(section, item, where, sizeof where);
        if (next == NULL)
            tell(comparison, false, "%s is gone", where);
        else
            compare_keys(comparison, section, item, next);
    }
    count = items_of(after, section, &items);
    for (size_t i = 0; i < count; i++) {
        void *item = items + i * section->item_bytes;
        place(section, item, where, sizeof where);
        if (item_titled(before, section, *(char **)item) == NULL)
            tell(comparison, false, "%s is new", where);
    }
}

int config_adopt(const struct config *now, struct config *next, config_change_cb *each, void *context)
{
    struct comparison comparison = {
        .each = each, .context = context, .before = BUFFER_INIT(0), .after = BUFFER_INIT(0)};
    for (size_t i = 0; i < CONFIG_SECTIONS && !comparison.failed; i++) {
        const struct config_section *section = &config_sections[i];
        if (section->title == TITLE_NONE)
            compare_keys(&comparison, section, now, next);
        else
            compare_items(&comparison, section, now, next);
    }
    buffer_finish(&comparison.before);
    buffer_finish(&comparison.after);
    if (comparison.failed)
        return -ENOMEM;
    if (comparison.left_out > 0) {
        char more[64];
        (void)snprintf(more, sizeof more, "and %d more", comparison.left_out);
        each(context, false, more);
    }
    return comparison.count;
}
