/*
 * config_read.c - the file's text through libconfuse into struct config, and the checks that need more than one value.
 *
 * libconfuse does the grammar; every value is read as text, because its own numbers depend on a stale errno and its
 * messages name no line for what is wrong in meaning. While it parses, each option notes its line in its comment (which
 * the file's own comments do not use), so that a value can be refused later with the line where it stands, and a key
 * that is set twice is seen; and each section the line where it begins.
 *
 * libconfuse's lexer is global and its error function gets no context, hence a lock around the parse and a pointer that
 * is only set under it.
 */
#include "base/config_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <confuse.h>

#include "base/str.h"

static pthread_mutex_t parse_lock = PTHREAD_MUTEX_INITIALIZER;
static struct parse {
    const char *file;
    struct error *err;
    const cfg_t *top;
    int opened;  /* the line of the section that is being read, once a key of it was; else 0 */
    bool failed; /* the first message is kept: what follows is its consequence */
} * current_parse;

static const struct config_section *section_named(const char *name)
{
    for (size_t i = 1; i < CONFIG_SECTIONS; i++) {
        if (strcmp(config_sections[i].name, name) == 0)
            return &config_sections[i];
    }
    return &config_sections[0];
}

/* Levenshtein, bounded by the length of a key. */
static size_t distance(const char *a, const char *b)
{
    enum { LIMIT = 32 };
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len >= LIMIT || b_len >= LIMIT)
        return LIMIT;
    size_t row[LIMIT + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            size_t change = corner + (ascii_lower(a[i - 1]) == ascii_lower(b[j - 1]) ? 0 : 1);
            row[j] = MIN_OF(change, MIN_OF(above, row[j - 1]) + 1);
            corner = above;
        }
    }
    return row[b_len];
}

static void consider(const char *known, const char *key, const char **best, size_t *best_distance)
{
    size_t d = distance(known, key);
    if (d < *best_distance) {
        *best = known;
        *best_distance = d;
    }
}

static void refuse_unknown_key(const cfg_t *cfg, const char *key)
{
    const struct config_section *section = section_named(cfg->name);
    const char *best = NULL;
    size_t best_distance = MAX_OF(strlen(key) / 3, (size_t)1) + 1;
    for (size_t i = 0; i < section->key_count; i++)
        consider(section->keys[i].name, key, &best, &best_distance);
    for (size_t i = 1; section == &config_sections[0] && i < CONFIG_SECTIONS; i++)
        consider(config_sections[i].name, key, &best, &best_distance);
    char where[32] = "";
    if (section->name != NULL)
        snprintf(where, sizeof(where), " in \"%s\"", section->name);
    char hint[64] = "";
    if (best != NULL)
        snprintf(hint, sizeof(hint), "; did you mean \"%s\"?", best);
    error_set(current_parse->err, -EINVAL, "%s:%d: %s: unknown key%s%s", current_parse->file, cfg->line, key, where,
              hint);
}

ATTR_PRINTF(2, 0) static void on_parse_error(cfg_t *cfg, const char *format, va_list args)
{
    if (current_parse->failed)
        return;
    current_parse->failed = true;
    char text[256];
    vsnprintf(text, sizeof(text), format, args);
    static const char unknown[] = "no such option '";
    size_t len = strlen(text);
    if (strncmp(text, unknown, sizeof(unknown) - 1) == 0 && text[len - 1] == '\'') {
        text[len - 1] = '\0';
        refuse_unknown_key(cfg, text + sizeof(unknown) - 1);
    } else {
        error_set(current_parse->err, -EINVAL, "%s:%d: %s", current_parse->file, cfg->line, text);
    }
}

/* Called by libconfuse after each value. */
static int note_line(cfg_t *cfg, cfg_opt_t *opt)
{
    char line[16];
    if (opt->comment != NULL && (opt->flags & CFGF_LIST) == 0) {
        cfg_error(cfg, "%s: set twice, first in line %s", opt->name, opt->comment);
        return -1;
    }
    if (cfg != current_parse->top)
        current_parse->opened = current_parse->top->line; /* which goes on only when the section ends */
    snprintf(line, sizeof(line), "%d", cfg->line);
    return cfg_opt_setcomment(opt, line) == CFG_SUCCESS ? 0 : -1;
}

/* Called by libconfuse after each section, whose line is that of its '}' by now. One without keys keeps it. */
static int note_place(cfg_t *cfg, cfg_opt_t *opt)
{
    (void)cfg;
    if (current_parse->opened > 0)
        cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1)->line = current_parse->opened;
    current_parse->opened = 0;
    return 0;
}

static void fill_options(const struct config_section *section, cfg_opt_t *options)
{
    for (size_t i = 0; i < section->key_count; i++) {
        const char *name = section->keys[i].name;
        cfg_opt_t single = CFG_STR(name, NULL, CFGF_NODEFAULT);
        cfg_opt_t list = CFG_STR_LIST(name, NULL, CFGF_NODEFAULT);
        options[i] = config_kind_is_list(section->keys[i].kind) ? list : single;
        options[i].validcb = note_line;
    }
    cfg_opt_t end = CFG_END();
    options[section->key_count] = end;
}

/* *out is a parsed tree, to be freed with cfg_free(). */
static int parse_tree(const char *file, const char *text, cfg_t **out, struct error *err)
{
    cfg_opt_t options[CONFIG_SECTIONS][CONFIG_KEYS_MAX + CONFIG_SECTIONS];
    for (size_t i = 0; i < CONFIG_SECTIONS; i++)
        fill_options(&config_sections[i], options[i]);
    cfg_opt_t *top = options[0] + config_sections[0].key_count;
    for (size_t i = 1; i < CONFIG_SECTIONS; i++) {
        bool titled = config_sections[i].title != TITLE_NONE;
        cfg_opt_t section = CFG_SEC(config_sections[i].name, options[i],
                                    titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE);
        section.validcb = note_place;
        *top++ = section;
    }
    cfg_opt_t end = CFG_END();
    *top = end;

    struct parse parse = {.file = file, .err = err};
    assure(pthread_mutex_lock(&parse_lock) == 0);
    current_parse = &parse;
    cfg_t *cfg = cfg_init(options[0], CFGF_NONE);
    int rc = CFG_FILE_ERROR;
    if (cfg != NULL) {
        parse.top = cfg;
        cfg_set_error_function(cfg, on_parse_error);
        rc = cfg_parse_buf(cfg, text);
    }
    current_parse = NULL;
    assure(pthread_mutex_unlock(&parse_lock) == 0);
    if (rc == CFG_SUCCESS && !parse.failed) {
        *out = cfg;
        return 0;
    }
    int code = -EINVAL;
    if (!parse.failed)
        code = rc == CFG_PARSE_ERROR ? error_set(err, -EINVAL, "%s:%d: cannot be understood", file, cfg->line)
                                     : error_memory(err);
    cfg_free(cfg);
    return code;
}

/* "FILE:LINE: section "title": key: reason", with the parts that there are. */
static int refuse_key(const char *file, cfg_t *cfg, const struct config_section *section, const cfg_opt_t *opt, int rc,
                      struct error *err)
{
    if (rc == -ENOMEM)
        return rc;
    char where[192] = "";
    if (section->title != TITLE_NONE)
        snprintf(where, sizeof(where), "%s \"%.128s\": ", section->name, cfg_title(cfg));
    else if (section->name != NULL)
        snprintf(where, sizeof(where), "%s: ", section->name);
    char line[16];
    snprintf(line, sizeof(line), "%d", cfg->line);
    bool known = opt != NULL && opt->comment != NULL;
    return error_prefix(err, rc, "%s:%s: %s%s", file, known ? opt->comment : line, where,
                        opt != NULL ? opt->name : "title");
}

static int note_origin(struct config *config, const char *file, const struct config_section *section, const void *item,
                       const char *key, const char *line, struct error *err)
{
    uint64_t number = 0;
    if (str_parse_u64(line, UINT32_MAX, &number) < 0)
        number = 0;
    struct config_origin *grown = reallocarray(config->origins, config->origin_count + 1, sizeof(*grown));
    if (grown == NULL)
        return error_memory(err);
    config->origins = grown;
    char *title = str_dup(section->title != TITLE_NONE ? *(char *const *)item : "");
    if (title == NULL)
        return error_memory(err);
    bool shipped = config->files[1] != NULL && strcmp(file, config->files[1]) == 0;
    grown[config->origin_count++] = (struct config_origin){
        .section = section->name, .title = title, .key = key, .file = shipped ? 1 : 0, .line = (uint32_t)number};
    return 0;
}

static int read_keys(const char *file, cfg_t *cfg, const struct config_section *section, struct config *config,
                     void *item, struct error *err)
{
    for (size_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        cfg_opt_t *opt = cfg_getopt(cfg, key->name);
        assure(opt != NULL);
        unsigned int size = cfg_opt_size(opt);
        int rc = 0;
        if (size == 0 && key->required)
            rc = error_set(err, -EINVAL, "is missing");
        if (size > 0 && config_kind_is_list(key->kind))
            config_clear_list(key, item); /* a later file's list replaces that of the profiles that came with us */
        for (unsigned int n = 0; n < size && rc == 0; n++)
            rc = config_set_value(key, cfg_opt_getnstr(opt, n), item, err);
        if (rc < 0)
            return refuse_key(file, cfg, section, opt, rc, err);
        if (size > 0 && opt->comment != NULL)
            rc = note_origin(config, file, section, item, key->name, opt->comment, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void *item_titled(const struct config *config, const struct config_section *section, const char *title)
{
    char *items = *(char *const *)(const void *)((const char *)config + section->array_offset);
    size_t count = *(const size_t *)(const void *)((const char *)config + section->count_offset);
    for (size_t i = 0; i < count; i++) {
        char **item = (char **)(void *)(items + i * section->item_bytes);
        if (strcmp(*item, title) == 0)
            return item;
    }
    return NULL;
}

static int read_titled(const char *file, cfg_t *cfg, const struct config_section *section, struct config *config,
                       struct error *err)
{
    char *title;
    int rc = config_set_title(section->title, cfg_title(cfg), &title, err);
    if (rc < 0)
        return refuse_key(file, cfg, section, NULL, rc, err);
    void *item = item_titled(config, section, title);
    /* The profile "default" is always there, and others may have come with the program; that a file has one twice
     * libconfuse has seen. Anything else is here by another spelling of its domain. */
    if (item != NULL && section != config_profile_section)
        rc = refuse_key(file, cfg, section, NULL, error_set(err, -EINVAL, "\"%s\" is there twice", title), err);
    if (item == NULL) {
        item = config_add_item(config, section, title);
        if (item == NULL)
            rc = error_memory(err);
        else
            title = NULL; /* the item's */
    }
    free(title);
    if (rc == 0) {
        char line[16];
        (void)snprintf(line, sizeof line, "%d", cfg->line);
        rc = note_origin(config, file, section, item, "", line, err);
    }
    return rc < 0 ? rc : read_keys(file, cfg, section, config, item, err);
}

static int read_section(const char *file, cfg_t *top, const struct config_section *section, struct config *config,
                        struct error *err)
{
    unsigned int count = cfg_size(top, section->name);
    for (unsigned int i = 0; i < count; i++) {
        cfg_t *cfg = cfg_getnsec(top, section->name, i);
        int rc = section->title == TITLE_NONE ? read_keys(file, cfg, section, config, config, err)
                                              : read_titled(file, cfg, section, config, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* "default" of the shipped file, of the configuration; then the others of both: whatever a profile leaves out is what
 * "default" says in the end, wherever it stands. */
static int read_profiles(const char *file, cfg_t *top, cfg_t *shipped, struct config *config, struct error *err)
{
    for (int round = 0; round < 4; round++) {
        cfg_t *tree = round % 2 == 0 ? shipped : top;
        unsigned int count = tree != NULL ? cfg_size(tree, "profile") : 0;
        for (unsigned int i = 0; i < count; i++) {
            cfg_t *cfg = cfg_getnsec(tree, "profile", i);
            if ((strcmp(cfg_title(cfg), "default") == 0) != (round < 2))
                continue;
            int rc = read_titled(round % 2 == 0 ? config->files[1] : file, cfg, config_profile_section, config, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* *out stays NULL when there is none. */
static int parse_shipped(const char *file, cfg_t *top, struct config *config, cfg_t **out, struct error *err)
{
    char *text = NULL;
    *out = NULL;
    if (strcmp(config->profiles_file, "none") == 0)
        return 0;
    int rc = config_profiles_text(config, &text, err);
    if (rc < 0 && rc != -ENOMEM)
        return refuse_key(file, top, &config_sections[0], cfg_getopt(top, "profiles"), -EINVAL, err);
    if (rc == 0)
        rc = config_scan(config->files[1], text, strlen(text), err);
    if (rc == 0)
        rc = parse_tree(config->files[1], text, out, err);
    for (size_t i = 1; i < CONFIG_SECTIONS && rc == 0; i++) {
        const struct config_section *section = &config_sections[i];
        if (section->title != TITLE_NONE && section != config_profile_section && cfg_size(*out, section->name) > 0)
            rc = error_set(err, -EINVAL, "%s: only profiles may stand here, not \"%s\"", config->files[1],
                           section->name);
    }
    free(text);
    return rc;
}

static int check_pools(const char *file, cfg_t *top, const struct config *config, struct error *err)
{
    const struct config_section *sources = section_named("source");
    for (size_t i = 0; i < config->pool_count; i++) {
        const struct config_pool *pool = &config->pools[i];
        for (size_t j = 0; j < pool->source_count; j++) {
            if (item_titled(config, sources, pool->sources[j]) != NULL)
                continue;
            cfg_t *cfg = cfg_getnsec(top, "pool", (unsigned int)i);
            int rc = error_set(err, -EINVAL, "there is no source \"%s\"", pool->sources[j]);
            return refuse_key(file, cfg, section_named("pool"), cfg_getopt(cfg, "sources"), rc, err);
        }
    }
    return 0;
}

/* A login is whole, and its password does not go over the wire in clear unless that was said. */
static int check_routes(const char *file, cfg_t *top, const struct config *config, struct error *err)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        bool user = route->user[0] != '\0', password = route->password_file[0] != '\0';
        bool encrypted = route->implicit_tls || route->port == 465 || route->tls >= TLS_REQUIRED;
        const char *key = NULL;
        int rc = 0;
        if (user != password) {
            key = user ? "user" : "password_file";
            rc = error_set(err, -EINVAL, "needs \"%s\" beside it", user ? "password_file" : "user");
        } else if (user && !encrypted && !route->auth_clear) {
            key = "user";
            rc = error_set(err, -EINVAL, "logging in needs tls = \"required\" or \"verified\", or auth_clear = true");
        }
        if (rc < 0) {
            cfg_t *cfg = cfg_getnsec(top, "route", (unsigned int)i);
            return refuse_key(file, cfg, section_named("route"), cfg_getopt(cfg, key), rc, err);
        }
    }
    return 0;
}

static int check_retry(const char *file, cfg_t *top, const struct config *config, struct error *err)
{
    if (config->retry_max_ms >= config->retry_first_ms)
        return 0;
    cfg_t *cfg = cfg_getsec(top, "retry");
    cfg_opt_t *opt = cfg_getopt(cfg, cfg_size(cfg, "max") > 0 ? "max" : "first");
    int rc = error_set(err, -EINVAL, "\"max\" is shorter than \"first\"");
    return refuse_key(file, cfg, section_named("retry"), opt, rc, err);
}

int config_read(const char *file, const char *text, struct config *config, struct error *err)
{
    struct error own;
    err = err != NULL ? err : &own;
    cfg_t *top = NULL, *shipped = NULL;
    config->files[0] = str_dup(file);
    int rc = config->files[0] != NULL ? parse_tree(file, text, &top, err) : error_memory(err);
    if (rc < 0)
        return rc;
    rc = read_keys(file, top, &config_sections[0], config, config, err);
    if (rc == 0)
        rc = parse_shipped(file, top, config, &shipped, err);
    if (rc == 0)
        rc = read_profiles(file, top, shipped, config, err);
    for (size_t i = 1; i < CONFIG_SECTIONS && rc == 0; i++) {
        if (&config_sections[i] != config_profile_section)
            rc = read_section(file, top, &config_sections[i], config, err);
    }
    if (rc == 0)
        rc = check_pools(file, top, config, err);
    if (rc == 0)
        rc = check_routes(file, top, config, err);
    if (rc == 0)
        rc = check_retry(file, top, config, err);
    cfg_free(top);
    if (shipped != NULL)
        cfg_free(shipped);
    return rc;
}
