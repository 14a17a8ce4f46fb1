/*
 * rules_check.c - automation rules that are right in form but can never decide.
 *
 * Three findings: a word that fits no server or no refusal; a sample that another rule decides; and a rule that stands
 * behind one which fits whatever it fits. The last is judged by the words, and by patterns that are the same to the
 * letter: whether one pattern covers another is not looked into, the samples are there for that.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/site/rules_private.h"

struct check {
    const struct rules *rules;
    engine_rules_cb *each;
    void *context;
    bool failed; /* no memory for a sentence */
};

static void ATTR_PRINTF(3, 4) tell(struct check *check, int line, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *sentence = str_printf("%s:%d: %s", check->rules->file, line, text);
    if (sentence != NULL)
        check->each(check->context, sentence);
    check->failed |= sentence == NULL;
    free(sentence);
}

/* Names of hosts come without a dot at the end, refusals are 4xx and 5xx. */
static bool host_can_fit(const char *word)
{
    size_t len = strlen(word);
    return len > 1 && word[len - 1] != '.' && strpbrk(word, "*/@\"") == NULL;
}

static bool code_can_fit(const char *word)
{
    return strlen(word) == 3 && strchr("45x", word[0]) != NULL && strspn(word, "0123456789x") == 3;
}

static void check_words(struct check *check, const struct rule *rule)
{
    for (size_t i = 0; i < rule->hosts.count; i++) {
        if (!host_can_fit(rule->hosts.words[i]))
            tell(check, rule->line, "the rule \"%s\": no server's name fits \"%s\"", rule->name, rule->hosts.words[i]);
    }
    for (size_t i = 0; i < rule->codes.count; i++) {
        if (!code_can_fit(rule->codes.words[i]))
            tell(check, rule->line, "the rule \"%s\": no refusal has the code \"%s\"", rule->name,
                 rule->codes.words[i]);
    }
}

/* "421 4.7.0 text", "421-4.7.0 text" or "421 text". */
static const struct rule *decider_of(const struct rules *rules, const struct sample *sample)
{
    const char *text = sample->text;
    char enhanced[12] = "";
    uint16_t code = 0;
    if (strspn(text, "0123456789") == 3) {
        code = (uint16_t)strtoul(text, NULL, 10);
        text += text[3] != '\0' ? 4 : 3;
    }
    size_t len = strspn(text, "0123456789.");
    if (len >= 5 && len < sizeof enhanced && text[1] == '.' && (text[len] == ' ' || text[len] == '\0')) {
        (void)str_copy(enhanced, len + 1, text);
        text += len + (text[len] == ' ' ? 1 : 0);
    }
    return rules_match(rules, sample->mx, code, enhanced, text);
}

static void check_samples(struct check *check, const struct rule *rule)
{
    for (const struct sample *sample = rule->samples; sample != NULL; sample = sample->next) {
        const struct rule *found = decider_of(check->rules, sample);
        if (found == NULL)
            tell(check, sample->line, "no rule fits the sample of \"%s\"", rule->name);
        else if (found != rule)
            tell(check, sample->line, "the sample of \"%s\" is decided by \"%s\" in line %d", rule->name, found->name,
                 found->line);
    }
}

static bool host_covers(const char *wide, const char *narrow)
{
    return str_eq_nocase(wide, narrow) ||
           (wide[0] == '.' && (str_ends_nocase(narrow, wide) || str_eq_nocase(wide + 1, narrow)));
}

static bool code_covers(const char *wide, const char *narrow)
{
    bool covers = strlen(wide) == 3 && strlen(narrow) == 3;
    for (size_t i = 0; i < 3 && covers; i++)
        covers = wide[i] == 'x' || wide[i] == narrow[i];
    return covers;
}

static bool words_cover(const struct words *wide, const struct words *narrow,
                        bool (*covers)(const char *, const char *))
{
    for (size_t i = 0; i < narrow->count; i++) {
        size_t j = 0;
        while (j < wide->count && !covers(wide->words[j], narrow->words[i]))
            j++;
        if (wide->count > 0 && j == wide->count)
            return false;
    }
    return wide->count == 0 || narrow->count > 0;
}

static bool patterns_cover(const struct patterns *wide, const struct patterns *narrow)
{
    for (size_t i = 0; i < narrow->count; i++) {
        size_t j = 0;
        while (j < wide->count && strcmp(wide->sources[j], narrow->sources[i]) != 0)
            j++;
        if (wide->count > 0 && j == wide->count)
            return false;
    }
    return wide->count == 0 || narrow->count > 0;
}

static void check_shadow(struct check *check, const struct rule *rule)
{
    for (const struct rule *first = check->rules->first; first != rule; first = first->next) {
        /* What the first must not fit, the second must not fit either: else the second is there for just that. */
        bool excepted = first->not_text.count > 0 && !patterns_cover(&rule->not_text, &first->not_text);
        if (excepted || (first->not_text.count > 0 && rule->not_text.count == 0))
            continue;
        if (words_cover(&first->hosts, &rule->hosts, host_covers) &&
            words_cover(&first->codes, &rule->codes, code_covers) && patterns_cover(&first->text, &rule->text)) {
            tell(check, rule->line, "the rule \"%s\" never decides: \"%s\" in line %d fits whatever it fits",
                 rule->name, first->name, first->line);
            return;
        }
    }
}

int rules_check(const struct rules *rules, engine_rules_cb *each, void *context)
{
    struct check check = {.rules = rules, .each = each, .context = context};
    for (const struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        check_words(&check, rule);
        check_samples(&check, rule);
        check_shadow(&check, rule);
    }
    return check.failed ? -ENOMEM : 0;
}

int engine_rules_check(engine_rules_cb *each, void *context, struct error *err)
{
    struct rules *rules;
    int rc = rules_load(NULL, &rules, err);
    if (rc == 0 && rules_check(rules, each, context) < 0)
        rc = error_memory(err);
    rules_free(rules);
    return rc;
}
