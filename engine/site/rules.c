/*
 * rules.c - reads the file of rules and finds the one that fits.
 *
 * Anything that is not understood is an error with its line: a rule that silently does nothing is found out by a block
 * list. A reply is written by a stranger, so the work of one match is bounded, and one that costs too much does not
 * fit.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/str.h"
#include "engine/site/rules_private.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define ARENA_MAX_BYTES ((size_t)8 << 20)
#define MATCH_LIMIT 20000
#define MATCH_DEPTH 500
#define MATCH_HEAP_KIB 256
#define REPLY_BYTES 600
#define ETC_FILE "/etc/posthaste/shaping-rules.conf"

extern const char shaping_rules_builtin[]; /* share/shaping-rules.conf, made at build time */

struct parse {
    struct rules *rules;
    struct rule *rule;
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

static const char *keep(struct parse *parse, const char *text)
{
    return arena_dup(&parse->rules->arena, text);
}

static int add_words(struct parse *parse, struct words *words, char *rest)
{
    char *word;
    while ((word = next_word(&rest))[0] != '\0') {
        if (words->count == WORDS_MAX)
            return bad(parse, "too many words before", word);
        words->words[words->count] = keep(parse, word);
        if (words->words[words->count++] == NULL)
            return error_memory(parse->err);
    }
    return words->count > 0 ? 0 : bad(parse, "no word after", "mx or code");
}

static int add_pattern(struct parse *parse, struct patterns *patterns, const char *pattern)
{
    int code;
    PCRE2_SIZE at;
    if (patterns->count == PATTERNS_MAX)
        return bad(parse, "too many patterns before", pattern);
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_CASELESS, &code, &at, NULL);
    if (compiled == NULL) {
        char why[120] = "";
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return error_set(parse->err, -EINVAL, "%s:%d: the pattern \"%s\": %s at character %zu", parse->rules->file,
                         parse->line, pattern, why, (size_t)at);
    }
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* without it the matching is only slower */
    patterns->sources[patterns->count] = keep(parse, pattern);
    patterns->codes[patterns->count++] = compiled;
    return patterns->sources[patterns->count - 1] != NULL ? 0 : error_memory(parse->err);
}

static int add_sample(struct parse *parse, char *rest)
{
    struct sample *sample = arena_alloc(&parse->rules->arena, sizeof *sample);
    if (sample == NULL)
        return error_memory(parse->err);
    *sample = (struct sample){.mx = "", .line = parse->line};
    rest += strspn(rest, " \t");
    if (strncmp(rest, "mx=", 3) == 0) {
        sample->mx = keep(parse, next_word(&rest) + 3);
        rest += strspn(rest, " \t");
    }
    sample->text = keep(parse, rest);
    if (sample->mx == NULL || sample->text == NULL)
        return error_memory(parse->err);
    *parse->rule->samples_end = sample;
    parse->rule->samples_end = &sample->next;
    return 0;
}

/* "N in TIME: " */
static int parse_trigger(struct parse *parse, char **rest, struct rule_do *out)
{
    char *colon = strchr(*rest, ':');
    out->times = 1;
    if (colon == NULL)
        return 0;
    *colon = '\0';
    char *at = *rest;
    const char *times = next_word(&at), *in = next_word(&at), *within = next_word(&at);
    uint64_t number;
    if (str_parse_u64(times, RULE_TIMES_MAX, &number) < 0 || number == 0)
        return bad(parse, "not a number from 1 to 100:", times);
    if (strcmp(in, "in") != 0 || str_parse_duration_ms(within, &out->within_ms) < 0 || out->within_ms <= 0)
        return bad(parse, "expected \"N in TIME:\", found", within);
    out->times = (uint32_t)number;
    *rest = colon + 1;
    return 0;
}

static const struct {
    const char *name;
    enum rule_action action;
} actions[] = {{"slow", RULE_SLOW},
               {"suspend", RULE_SUSPEND},
               {"rate", RULE_RATE},
               {"connections", RULE_CONNECTIONS},
               {"messages_per_connection", RULE_PER_CONNECTION}};

static const struct {
    const char *name;
    enum limit_scope scope;
} scopes[] = {
    {"site", SCOPE_SITE}, {"source", SCOPE_SITE_SOURCE}, {"campaign", SCOPE_CAMPAIGN}, {"sender", SCOPE_SENDER}};

static int parse_scope(struct parse *parse, const char *word, struct rule_do *out)
{
    for (size_t i = 0; i < countof(scopes); i++) {
        if (strcmp(word, scopes[i].name) == 0)
            out->scope = scopes[i].scope;
    }
    bool fits = out->scope != SCOPE_NONE;
    if (out->action == RULE_CONNECTIONS || out->action == RULE_PER_CONNECTION)
        fits = out->scope == SCOPE_SITE || out->scope == SCOPE_SITE_SOURCE;
    return fits ? 0 : bad(parse, "not a scope for this action:", word);
}

static int add_do(struct parse *parse, char *rest)
{
    struct rule *rule = parse->rule;
    struct rule_do what = {0};
    if (rule->do_count == RULE_DOS_MAX)
        return bad(parse, "too many actions before", rest);
    int rc = parse_trigger(parse, &rest, &what);
    if (rc < 0)
        return rc;
    const char *word = next_word(&rest);
    size_t i = 0;
    while (i < countof(actions) && strcmp(actions[i].name, word) != 0)
        i++;
    if (i == countof(actions))
        return bad(parse, "not an action:", word);
    what.action = actions[i].action;
    uint64_t number = 0;
    if (what.action == RULE_RATE) {
        word = next_word(&rest);
        if (rate_parse(word, &what.rate) < 0 || rate_is_unlimited(what.rate))
            return bad(parse, "not a rate:", word);
    } else if (what.action == RULE_CONNECTIONS || what.action == RULE_PER_CONNECTION) {
        word = next_word(&rest);
        if (str_parse_u64(word, 100000, &number) < 0 || number == 0)
            return bad(parse, "not a number:", word);
        what.number = (uint32_t)number;
    }
    if (what.action != RULE_SLOW) {
        rc = parse_scope(parse, next_word(&rest), &what);
        const char *for_ = next_word(&rest);
        word = next_word(&rest);
        if (rc == 0 && (strcmp(for_, "for") != 0 || str_parse_duration_ms(word, &what.for_ms) < 0 || what.for_ms <= 0))
            rc = bad(parse, "expected \"for TIME\", found", word);
    }
    if (rc == 0 && (word = next_word(&rest))[0] != '\0')
        rc = bad(parse, "more than was expected:", word);
    rule->dos[rule->do_count++] = what;
    return rc;
}

static int take_condition(struct parse *parse, char *line)
{
    const char *word = next_word(&line);
    char *rest = line + strspn(line, " \t");
    if (parse->rule == NULL)
        return bad(parse, "a condition before the first rule:", word);
    if (strcmp(word, "mx") == 0)
        return add_words(parse, &parse->rule->hosts, rest);
    if (strcmp(word, "code") == 0)
        return add_words(parse, &parse->rule->codes, rest);
    if (strcmp(word, "text") == 0)
        return add_pattern(parse, &parse->rule->text, rest);
    if (strcmp(word, "not-text") == 0)
        return add_pattern(parse, &parse->rule->not_text, rest);
    if (strcmp(word, "do") == 0)
        return add_do(parse, rest);
    if (strcmp(word, "sample") == 0)
        return add_sample(parse, rest);
    return bad(parse, "not a condition:", word);
}

static int end_rule(struct parse *parse)
{
    const struct rule *rule = parse->rule;
    if (rule == NULL)
        return 0;
    parse->line = rule->line;
    if (rule->do_count == 0)
        return bad(parse, "no action in the rule", rule->name);
    if (rule->hosts.count + rule->codes.count + rule->text.count == 0)
        return bad(parse, "no condition in the rule", rule->name);
    return 0;
}

static int begin_rule(struct parse *parse, const char *name)
{
    int line = parse->line, rc = end_rule(parse);
    if (rc == 0)
        parse->line = line;
    struct rule *rule = rc == 0 ? arena_alloc(&parse->rules->arena, sizeof *rule) : NULL;
    if (rule == NULL)
        return rc < 0 ? rc : error_memory(parse->err);
    *rule = (struct rule){.line = parse->line};
    rule->name = keep(parse, name);
    rule->samples_end = &rule->samples;
    *parse->rules->end = rule;
    parse->rules->end = &rule->next;
    parse->rule = rule;
    return rule->name != NULL ? 0 : error_memory(parse->err);
}

static int parse_lines(struct rules *rules, char *text, struct error *err)
{
    struct parse parse = {.rules = rules, .err = err};
    int rc = 0;
    for (char *line = text; line != NULL && rc == 0;) {
        char *next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        parse.line++;
        size_t len = strlen(line);
        while (len > 0 && ascii_is_space(line[len - 1]))
            line[--len] = '\0';
        if (len > 0 && line[strspn(line, " \t")] != '#')
            rc = line[0] == ' ' || line[0] == '\t' ? take_condition(&parse, line) : begin_rule(&parse, line);
        line = next;
    }
    return rc < 0 ? rc : end_rule(&parse);
}

int rules_parse(const char *file, const char *text, struct rules **out, struct error *err)
{
    struct rules *rules = calloc(1, sizeof *rules);
    char *copy = str_dup(text);
    *out = NULL;
    int rc = 0;
    if (rules != NULL) {
        rules->arena = ARENA_INIT(ARENA_MAX_BYTES);
        rules->file = str_dup(file);
        rules->end = &rules->first;
        rules->limits = pcre2_match_context_create(NULL);
    }
    if (rules == NULL || copy == NULL || rules->file == NULL || rules->limits == NULL)
        rc = error_memory(err);
    if (rc == 0) {
        (void)pcre2_set_match_limit(rules->limits, MATCH_LIMIT);
        (void)pcre2_set_depth_limit(rules->limits, MATCH_DEPTH);
        (void)pcre2_set_heap_limit(rules->limits, MATCH_HEAP_KIB);
        rc = parse_lines(rules, copy, err);
    }
    free(copy);
    if (rc < 0) {
        rules_free(rules);
        return rc;
    }
    *out = rules;
    return 0;
}

static int read_text(const char *path, struct buffer *out, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int code = -errno;
        return error_errno(err, code, "cannot open %s", path);
    }
    char chunk[8192];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        buffer_append(out, chunk, (size_t)n);
    int code = n < 0 ? -errno : 0;
    close(fd);
    if (code < 0)
        return error_errno(err, code, "cannot read %s", path);
    return out->failed ? error_set(err, -EINVAL, "%s is longer than %zu bytes", path, FILE_MAX_BYTES) : 0;
}

int rules_load(const char *path, struct rules **out, struct error *err)
{
    const char *const usual[] = {ETC_FILE, POSTHASTE_DATADIR "/shaping-rules.conf"};
    struct buffer text = BUFFER_INIT(FILE_MAX_BYTES);
    *out = NULL;
    for (size_t i = 0; path == NULL && i < countof(usual); i++) {
        if (access(usual[i], F_OK) == 0)
            path = usual[i];
    }
    int rc = path != NULL ? read_text(path, &text, err) : 0;
    if (rc == 0)
        rc = rules_parse(path != NULL ? path : "shaping-rules.conf",
                         path != NULL ? buffer_text(&text) : shaping_rules_builtin, out, err);
    buffer_finish(&text);
    return rc;
}

static void free_patterns(struct patterns *patterns)
{
    for (size_t i = 0; i < patterns->count; i++)
        pcre2_code_free(patterns->codes[i]);
}

struct rules *rules_hold(struct rules *rules)
{
    (void)atomic_fetch_add(&rules->more_holders, 1);
    return rules;
}

void rules_free(struct rules *rules)
{
    if (rules == NULL || atomic_fetch_sub(&rules->more_holders, 1) != 0)
        return;
    for (struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        free_patterns(&rule->text);
        free_patterns(&rule->not_text);
    }
    pcre2_match_context_free(rules->limits);
    arena_finish(&rules->arena);
    free(rules->file);
    free(rules);
}

const char *rules_file(const struct rules *rules)
{
    return rules->file;
}

/* ".google.com" fits the name itself and what is below it. */
static bool host_fits(const struct words *hosts, const char *host)
{
    for (size_t i = 0; i < hosts->count; i++) {
        const char *suffix = hosts->words[i];
        if (suffix[0] == '.' ? str_ends_nocase(host, suffix) || str_eq_nocase(host, suffix + 1)
                             : str_eq_nocase(host, suffix))
            return true;
    }
    return hosts->count == 0;
}

static bool code_fits(const struct words *codes, uint16_t code)
{
    char digits[8];
    (void)snprintf(digits, sizeof digits, "%03u", code);
    for (size_t i = 0; i < codes->count; i++) {
        const char *word = codes->words[i];
        bool fits = strlen(word) == 3;
        for (size_t j = 0; j < 3 && fits; j++)
            fits = word[j] == 'x' || word[j] == digits[j];
        if (fits)
            return true;
    }
    return codes->count == 0;
}

static bool any_fits(const struct rules *rules, const struct patterns *patterns, const char *text, size_t len,
                     pcre2_match_data *match)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (pcre2_match(patterns->codes[i], (PCRE2_SPTR)text, len, 0, 0, match, rules->limits) >= 0)
            return true;
    }
    return false;
}

const struct rule *rules_match(const struct rules *rules, const char *mx, uint16_t code, const char *enhanced,
                               const char *text)
{
    char reply[REPLY_BYTES];
    (void)snprintf(reply, sizeof reply, "%u %s%s%.560s", code, enhanced, enhanced[0] != '\0' ? " " : "", text);
    size_t len = strlen(reply);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (match == NULL)
        return NULL;
    const struct rule *found = NULL;
    for (const struct rule *rule = rules->first; rule != NULL && found == NULL; rule = rule->next) {
        if (host_fits(&rule->hosts, mx) && code_fits(&rule->codes, code) &&
            (rule->text.count == 0 || any_fits(rules, &rule->text, reply, len, match)) &&
            !any_fits(rules, &rule->not_text, reply, len, match))
            found = rule;
    }
    pcre2_match_data_free(match);
    return found;
}

const struct rule_do *rule_dos(const struct rule *rule, size_t *count)
{
    *count = rule->do_count;
    return rule->dos;
}

int rule_line(const struct rule *rule)
{
    return rule->line;
}

const char *rule_name(const struct rule *rule)
{
    return rule->name;
}

void rules_samples(const struct rules *rules, rules_sample_cb *each, void *context)
{
    for (const struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        if (rule->samples == NULL)
            each(context, rule, "", NULL);
        for (const struct sample *sample = rule->samples; sample != NULL; sample = sample->next)
            each(context, rule, sample->mx, sample->text);
    }
}
