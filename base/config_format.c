/*
 * config_format.c - struct config back into the file's syntax. What it writes reads back to the same configuration.
 */
#include "base/config_private.h"

#include <inttypes.h>

static void put_text(struct buffer *out, const char *text)
{
    buffer_append_char(out, '"');
    for (; *text != '\0'; text++) {
        if (strchr("\\\"$", *text) != NULL)
            buffer_append_char(out, '\\');
        buffer_append_char(out, *text);
    }
    buffer_append_char(out, '"');
}

/* In the largest unit that divides it. */
static void put_duration(struct buffer *out, int64_t ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    while (i + 1 < countof(units) && (ms < units[i].ms || ms % units[i].ms != 0))
        i++;
    buffer_printf(out, "\"%" PRId64 "%s\"", ms / units[i].ms, units[i].unit);
}

static void put_list(struct buffer *out, char *const *list, size_t count)
{
    buffer_append_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        buffer_append_str(out, i == 0 ? " " : ", ");
        put_text(out, list[i]);
    }
    buffer_append_str(out, " }");
}

static void put_share(struct buffer *out, uint32_t ppm)
{
    if (ppm == 0)
        buffer_append_str(out, "\"off\"");
    else if (ppm % 10000 == 0)
        buffer_printf(out, "\"%" PRIu32 "%%\"", ppm / 10000);
    else
        buffer_printf(out, "\"%" PRIu32 ".%04" PRIu32 "%%\"", ppm / 10000, ppm % 10000);
}

static void put_value(struct buffer *out, const struct config_key *key, const void *item)
{
    const void *field = (const char *)item + key->offset;
    char text[RATE_TEXT_BYTES];
    switch (key->kind) {
    case KIND_HOSTNAME:
    case KIND_PATH:
    case KIND_URL:
    case KIND_DOMAIN:
    case KIND_DNS:
    case KIND_HOST:
    case KIND_ADDRESS:
    case KIND_TEXT:
        put_text(out, *(char *const *)field);
        break;
    case KIND_LISTEN: {
        const char *host = *(char *const *)field;
        bool v6 = strchr(host, ':') != NULL;
        buffer_printf(out, "\"%s%s%s:%u\"", v6 ? "[" : "", host, v6 ? "]" : "",
                      (unsigned)*(const uint16_t *)(const void *)((const char *)item + key->count_offset));
        break;
    }
    case KIND_LEVEL:
        put_text(out, log_level_name(*(const enum log_level *)field));
        break;
    case KIND_UNCERTAIN:
        put_text(out, config_uncertain_name(*(const enum on_uncertain *)field));
        break;
    case KIND_PREFLIGHT:
        put_text(out, config_preflight_name(*(const enum preflight_mode *)field));
        break;
    case KIND_TLS:
        put_text(out, config_tls_name(*(const enum tls_policy *)field));
        break;
    case KIND_BOOL:
        buffer_append_str(out, config_bool_name(*(const bool *)field));
        break;
    case KIND_U32:
        buffer_printf(out, "%" PRIu32, *(const uint32_t *)field);
        break;
    case KIND_PORT:
        buffer_printf(out, "%u", (unsigned)*(const uint16_t *)field);
        break;
    case KIND_DURATION:
        put_duration(out, *(const int64_t *)field);
        break;
    case KIND_RATE:
    case KIND_BYTE_RATE:
    case KIND_DAY_RATE:
        put_text(out, rate_format(*(const struct rate *)field, text));
        break;
    case KIND_SHARE:
        put_share(out, *(const uint32_t *)field);
        break;
    case KIND_FACTOR:
        buffer_printf(out, "%.10g", *(const double *)field);
        break;
    case KIND_NAMES:
    case KIND_PATTERNS:
        put_list(out, *(char **const *)field, *(const size_t *)(const void *)((const char *)item + key->count_offset));
        break;
    }
}

/* Values that mean "nothing was said" and have no spelling of their own in the file. */
static bool is_unset(const struct config_key *key, const void *item)
{
    const void *field = (const char *)item + key->offset;
    if (config_kind_is_list(key->kind))
        return *(const size_t *)(const void *)((const char *)item + key->count_offset) == 0;
    if (key->kind == KIND_U32)
        return *(const uint32_t *)field == 0 && key->min > 0;
    if (key->kind == KIND_HOSTNAME || key->kind == KIND_PATH || key->kind == KIND_TEXT || key->kind == KIND_LISTEN) {
        const char *text = *(char *const *)field;
        return text == NULL || text[0] == '\0';
    }
    return false;
}

void config_put_value(struct buffer *out, const struct config_key *key, const void *item)
{
    if (is_unset(key, item))
        buffer_append_str(out, "unset");
    else
        put_value(out, key, item);
}

static void put_section(struct buffer *out, const struct config_section *section, const void *item)
{
    const char *indent = section->name != NULL ? "    " : "";
    if (section->name != NULL)
        buffer_printf(out, "\n%s ", section->name);
    if (section->title != TITLE_NONE) {
        put_text(out, *(char *const *)item);
        buffer_append_char(out, ' ');
    }
    if (section->name != NULL)
        buffer_append_str(out, "{\n");
    for (size_t i = 0; i < section->key_count; i++) {
        if (is_unset(&section->keys[i], item))
            continue;
        buffer_printf(out, "%s%s = ", indent, section->keys[i].name);
        put_value(out, &section->keys[i], item);
        buffer_append_char(out, '\n');
    }
    if (section->name != NULL)
        buffer_append_str(out, "}\n");
}

char *config_format(const struct config *config)
{
    struct buffer out = BUFFER_INIT(0);
    for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
        const struct config_section *section = &config_sections[i];
        if (section->title == TITLE_NONE) {
            put_section(&out, section, config);
            continue;
        }
        const char *items = *(char *const *)(const void *)((const char *)config + section->array_offset);
        size_t count = *(const size_t *)(const void *)((const char *)config + section->count_offset);
        for (size_t j = 0; j < count; j++)
            put_section(&out, section, items + j * section->item_bytes);
    }
    return buffer_steal(&out, NULL);
}
