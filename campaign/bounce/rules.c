/*
 * rules.c - reads the file of rules. The format is told at the head of share/bounce-rules.conf.
 *
 * Anything that is not understood is an error with its line, for a rule that silently does nothing is found by the
 * people whom it should have spared. Nothing here runs after the start.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/str.h"
#include "campaign/bounce/rules.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define ARENA_MAX_BYTES ((size_t)16 << 20)
#define MATCH_LIMIT 20000 /* PCRE2's count of steps; its default of ten million would be seconds of work */
#define MATCH_DEPTH 500
#define MATCH_HEAP_KIB 256
#define ETC_FILE "/etc/posthaste/bounce-rules.conf"

struct parse {
    struct bounce_rules *rules;
    struct rule *rule; /* the open one */
    int line;
    struct error *err;
};

static int bad(struct parse *parse, const char *what, const char *word)
{
    return error_set(parse->err, -EINVAL, "%s:%d: %s \"%s\"", parse->rules->file, parse->line, what, word);
}

/* Cuts the first word off; "" at the end. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " \t");
    char *end = word + strcspn(word, " \t");
    *at = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return word;
}

static int add_words(struct parse *parse, struct rule_words *words, char *rest, bool (*valid)(const char *word))
{
    for (char *word = next_word(&rest); *word != '\0'; word = next_word(&rest)) {
        if (!valid(word))
            return bad(parse, "not understood:", word);
        if (words->count == RULE_WORDS_MAX)
            return bad(parse, "one word too many:", word);
        if ((words->words[words->count] = arena_dup(&parse->rules->arena, word)) == NULL)
            return error_memory(parse->err);
        words->count++;
    }
    return 0;
}

static bool code_valid(const char *word)
{
    if (strcmp(word, "none") == 0)
        return true;
    return strlen(word) == 3 && word[0] >= '2' && word[0] <= '5' && strspn(word, "0123456789x") == 3;
}

static bool enhanced_valid(const char *word)
{
    if (strcmp(word, "none") == 0)
        return true;
    return strchr("245x", word[0]) != NULL && word[1] == '.' && strspn(word + 2, "0123456789.*") == strlen(word + 2) &&
           strlen(word) <= 11;
}

static bool host_valid(const char *word)
{
    return strpbrk(word, "*/@\"") == NULL && strchr(word, '.') != NULL;
}

static bool stage_of(const char *name, enum outcome_stage *out)
{
    for (int stage = STAGE_DNS; stage < STAGE_COUNT; stage++) {
        if (strcmp(outcome_stage_name((enum outcome_stage)stage), name) == 0) {
            *out = (enum outcome_stage)stage;
            return true;
        }
    }
    return false;
}

static int add_stages(struct parse *parse, char *rest)
{
    enum outcome_stage stage;
    for (char *word = next_word(&rest); *word != '\0'; word = next_word(&rest)) {
        if (!stage_of(word, &stage))
            return bad(parse, "no such stage:", word);
        parse->rule->stages |= 1u << stage;
    }
    return 0;
}

static int add_pattern(struct parse *parse, struct rule_patterns *patterns, const char *pattern)
{
    int code;
    PCRE2_SIZE at;
    if (patterns->count == RULE_PATTERNS_MAX)
        return bad(parse, "one pattern too many:", pattern);
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                         PCRE2_CASELESS | PCRE2_DOTALL | PCRE2_NEVER_UTF, &code, &at, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR text[128] = "";
        (void)pcre2_get_error_message(code, text, sizeof(text));
        return error_set(parse->err, -EINVAL, "%s:%d: pattern, column %zu: %s", parse->rules->file, parse->line,
                         (size_t)at + 1, (const char *)text);
    }
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where there is no JIT, it is interpreted */
    patterns->codes[patterns->count++] = compiled;
    return 0;
}

/* `sample [mx=HOST] [stage=STAGE] REPLY` */
static int add_sample(struct parse *parse, char *rest)
{
    struct rule_sample *sample = arena_alloc(&parse->rules->arena, sizeof(*sample));
    if (sample == NULL)
        return error_memory(parse->err);
    sample->line = parse->line;
    sample->mx = "";
    for (;;) {
        rest += strspn(rest, " \t");
        if (strncmp(rest, "mx=", 3) == 0) {
            sample->mx = arena_dup(&parse->rules->arena, next_word(&rest) + 3);
        } else if (strncmp(rest, "stage=", 6) == 0) {
            const char *name = next_word(&rest) + 6;
            if (!stage_of(name, &sample->stage))
                return bad(parse, "no such stage:", name);
        } else {
            break;
        }
    }
    sample->text = arena_dup(&parse->rules->arena, rest);
    if (sample->mx == NULL || sample->text == NULL)
        return error_memory(parse->err);
    *parse->rule->samples_end = sample;
    parse->rule->samples_end = &sample->next;
    return 0;
}

static int find_name(const char *word, const char *(*name)(int), int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(name(i), word) == 0)
            return i;
    }
    return -1;
}

static const char *kind_name(int kind)
{
    return bounce_kind_name((enum bounce_kind)kind);
}

static const char *reason_name(int reason)
{
    return bounce_reason_name((enum bounce_reason)reason);
}

/* `KIND REASON` at the start of a line opens a rule. */
static int open_rule(struct parse *parse, char *rest)
{
    char *kind = next_word(&rest), *reason = next_word(&rest);
    int kind_at = find_name(kind, kind_name, BOUNCE_KIND_COUNT);
    if (kind_at < 0)
        return bad(parse, "no such kind:", kind);
    int reason_at = find_name(reason, reason_name, REASON_COUNT);
    if (reason_at < 0)
        return bad(parse, "no such reason:", reason);
    if (*next_word(&rest) != '\0')
        return bad(parse, "more than a kind and a reason behind", kind);
    struct rule *rule = arena_alloc(&parse->rules->arena, sizeof(*rule));
    if (rule == NULL)
        return error_memory(parse->err);
    rule->line = parse->line;
    rule->kind = (enum bounce_kind)kind_at;
    rule->reason = (enum bounce_reason)reason_at;
    rule->samples_end = &rule->samples;
    *parse->rules->end = rule;
    parse->rules->end = &rule->next;
    parse->rule = rule;
    return 0;
}

static int add_condition(struct parse *parse, char *rest)
{
    char *key = next_word(&rest);
    rest += strspn(rest, " \t");
    if (parse->rule == NULL)
        return bad(parse, "no rule is open for", key);
    if (*rest == '\0')
        return bad(parse, "nothing stands behind", key);
    if (strcmp(key, "code") == 0)
        return add_words(parse, &parse->rule->codes, rest, code_valid);
    if (strcmp(key, "status") == 0)
        return add_words(parse, &parse->rule->enhanced, rest, enhanced_valid);
    if (strcmp(key, "not-status") == 0)
        return add_words(parse, &parse->rule->not_enhanced, rest, enhanced_valid);
    if (strcmp(key, "mx") == 0)
        return add_words(parse, &parse->rule->hosts, rest, host_valid);
    if (strcmp(key, "stage") == 0)
        return add_stages(parse, rest);
    if (strcmp(key, "only-stage") == 0) {
        parse->rule->stage_known = true;
        return add_stages(parse, rest);
    }
    if (strcmp(key, "text") == 0)
        return add_pattern(parse, &parse->rule->text, rest);
    if (strcmp(key, "not-text") == 0)
        return add_pattern(parse, &parse->rule->not_text, rest);
    if (strcmp(key, "sample") == 0)
        return add_sample(parse, rest);
    return bad(parse, "no such key:", key);
}

int bounce_rules_parse(struct bounce_rules *rules, const char *text, struct error *err)
{
    struct parse parse = {.rules = rules, .err = err};
    char *copy = str_dup(text), *next = copy;
    if (copy == NULL)
        return error_memory(err);
    int failed = 0;
    while (!failed && next != NULL) {
        char *line = strsep(&next, "\n");
        parse.line++;
        size_t len = strlen(line);
        while (len > 0 && ascii_is_space(line[len - 1]))
            line[--len] = '\0';
        const char *begin = line + strspn(line, " \t");
        if (*begin == '\0' || *begin == '#')
            continue;
        failed = begin == line ? open_rule(&parse, line) : add_condition(&parse, line);
    }
    free(copy);
    if (!failed && rules->first == NULL)
        failed = error_set(err, -EINVAL, "%s: there is no rule in it", rules->file);
    return failed;
}

/* 0 with the whole file in `out`, or -errno. */
static int read_file(const char *path, struct buffer *out, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_errno(err, -errno, "cannot read %s", path);
    char chunk[8192];
    size_t got;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        buffer_append(out, chunk, got);
    int failed = ferror(file) ? error_set(err, -EIO, "cannot read %s", path) : 0;
    (void)fclose(file);
    if (!failed && out->failed)
        failed = error_set(err, -EINVAL, "%s: is larger than %zu bytes", path, FILE_MAX_BYTES);
    if (!failed && strlen(buffer_text(out)) != out->len)
        failed = error_set(err, -EINVAL, "%s: holds a NUL byte", path);
    return failed;
}

static int load(struct bounce_rules *rules, const char *path, struct error *err)
{
    static const char *const places[] = {ETC_FILE, POSTHASTE_DATADIR "/bounce-rules.conf"};
    struct buffer content = BUFFER_INIT(FILE_MAX_BYTES);
    int failed = -ENOENT;
    if (path != NULL) {
        rules->file = arena_dup(&rules->arena, path);
        failed = read_file(path, &content, err);
    }
    for (size_t i = 0; path == NULL && failed == -ENOENT && i < countof(places); i++) {
        rules->file = places[i];
        failed = read_file(places[i], &content, err);
    }
    bool builtin = path == NULL && failed == -ENOENT;
    if (builtin) {
        rules->file = "bounce-rules.conf";
        failed = 0;
    }
    if (rules->file == NULL)
        failed = error_memory(err);
    if (!failed)
        failed = bounce_rules_parse(rules, builtin ? bounce_rules_builtin : buffer_text(&content), err);
    buffer_finish(&content);
    return failed;
}

int bounce_rules_load(const char *path, struct bounce_rules **out, struct error *err)
{
    *out = NULL;
    struct bounce_rules *rules = calloc(1, sizeof(*rules));
    if (rules == NULL)
        return error_memory(err);
    rules->arena = ARENA_INIT(ARENA_MAX_BYTES);
    rules->end = &rules->first;
    rules->limits = pcre2_match_context_create(NULL);
    int failed = 0;
    if (rules->limits == NULL) {
        failed = error_memory(err);
    } else {
        (void)pcre2_set_match_limit(rules->limits, MATCH_LIMIT);
        (void)pcre2_set_depth_limit(rules->limits, MATCH_DEPTH);
        (void)pcre2_set_heap_limit(rules->limits, MATCH_HEAP_KIB);
        failed = load(rules, path, err);
    }
    if (failed) {
        bounce_rules_free(rules);
        return failed;
    }
    *out = rules;
    return 0;
}

void bounce_rules_free(struct bounce_rules *rules)
{
    if (rules == NULL)
        return;
    for (struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        for (size_t i = 0; i < rule->text.count; i++)
            pcre2_code_free(rule->text.codes[i]);
        for (size_t i = 0; i < rule->not_text.count; i++)
            pcre2_code_free(rule->not_text.codes[i]);
    }
    pcre2_match_context_free(rules->limits);
    arena_finish(&rules->arena);
    free(rules);
}

const char *bounce_rules_file(const struct bounce_rules *rules)
{
    return rules->file;
}

int bounce_rules_samples(const struct bounce_rules *rules, bounce_sample_cb *each, void *context)
{
    for (const struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        for (const struct rule_sample *it = rule->samples; it != NULL; it = it->next) {
            struct bounce_sample sample = {
                .rule_line = rule->line, .line = it->line, .line_text = it->text, .mx = it->mx, .stage = it->stage};
            int stop = each(context, &sample);
            if (stop != 0)
                return stop;
        }
    }
    return 0;
}

int bounce_rules_unsampled(const struct bounce_rules *rules, int (*each)(void *context, int line), void *context)
{
    for (const struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        int stop = rule->samples == NULL ? each(context, rule->line) : 0;
        if (stop != 0)
            return stop;
    }
    return 0;
}
