/*
 * fake_lookup.c - see its header.
 */
#include "fake_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define ALIASES_MAX 8

struct kept {
    struct list node;
    struct resolve_answer *answer;
    struct resolve_record *records;
    char **texts;
};

/* UTF-8 of code points below 256 to those bytes. */
static char *bytes_of(const char *text, size_t len, size_t *out_len)
{
    char *out = calloc(1, len + 1);
    assure(out != NULL);
    *out_len = 0;
    while (len > 0) {
        uint32_t point;
        size_t used = utf8_decode(text, len, &point);
        out[(*out_len)++] = (char)(unsigned char)point;
        text += used;
        len -= used;
    }
    return out;
}

static void fill(struct kept *kept, json_t *records)
{
    struct resolve_answer *answer = kept->answer;
    size_t count = json_array_size(records);
    kept->records = calloc(count + 1, sizeof *kept->records);
    kept->texts = calloc(count + 1, sizeof *kept->texts);
    assure(kept->records != NULL && kept->texts != NULL);
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_array_get(records, i);
        if (json_is_array(value)) {
            kept->records[i].preference = (uint16_t)json_integer_value(json_array_get(value, 0));
            value = json_array_get(value, 1);
        }
        kept->texts[i] = bytes_of(json_string_value(value), json_string_length(value), &kept->records[i].len);
        kept->records[i].text = kept->texts[i];
    }
    answer->records = kept->records;
    answer->count = count;
    answer->status = count > 0 ? RESOLVE_FOUND : RESOLVE_NO_DATA;
    answer->ttl_s = 300;
}

static const struct resolve_answer *ask(struct lookup *lookup, const char *name, enum resolve_type type)
{
    struct fake_lookup *fake = container_of(lookup, struct fake_lookup, base);
    struct kept *kept = calloc(1, sizeof *kept);
    char key[512];
    assure(kept != NULL && (kept->answer = calloc(1, sizeof *kept->answer)) != NULL);
    list_append(&fake->answers, &kept->node);
    fake->asked++;
    (void)str_copy(key, sizeof key, name);
    str_lower(key);
    for (int i = 0; i < ALIASES_MAX; i++) {
        size_t len = strlen(key);
        if (len > 0 && key[len - 1] == '.')
            key[len - 1] = '\0';
        json_t *node = json_object_get(fake->zone, key);
        if (node == NULL) {
            kept->answer->status = RESOLVE_NO_NAME;
            return kept->answer;
        }
        json_t *records = json_object_get(node, resolve_type_name(type));
        json_t *alias = json_array_get(json_object_get(node, "CNAME"), 0);
        if (records == NULL && alias != NULL) {
            (void)str_copy(key, sizeof key, json_string_value(alias));
            str_lower(key);
            continue;
        }
        if (records == NULL && json_is_true(json_object_get(node, "FAIL")))
            break;
        fill(kept, records);
        return kept->answer;
    }
    kept->answer->status = RESOLVE_FAILED;
    (void)strcpy(kept->answer->why, "no answer");
    return kept->answer;
}

void fake_lookup_init(struct fake_lookup *fake, json_t *zone)
{
    *fake = (struct fake_lookup){.base = {.ask = ask}, .zone = zone};
    list_init(&fake->answers);
}

void fake_lookup_finish(struct fake_lookup *fake)
{
    struct list *node;
    while ((node = list_take_first(&fake->answers)) != NULL) {
        struct kept *kept = list_entry(node, struct kept, node);
        for (size_t i = 0; i < kept->answer->count; i++)
            free(kept->texts[i]);
        free(kept->texts);
        free(kept->records);
        free(kept->answer);
        free(kept);
    }
}
