/*
 * Matching of rules.
 *
 * Keys that cost nothing are compared first; the counters (first, nth, every) come last and count only what the other
 * keys let through. Keys that speak of a recipient match when at least one recipient of the occasion matches all of
 * them; where there is no recipient yet (CONNECT, EHLO, MAIL) they do not match.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sink/clock.h"
#include "tests/sink/fate.h"
#include "tests/sink/script_private.h"

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte;
}

bool script_glob(const char *pattern, const char *text)
{
    const char *star = NULL;   /* the last '*' met */
    const char *resume = NULL; /* where in the text to go on if that '*' takes one byte more */

    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (lower(*pattern) == lower(*text)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool matches_recipient(const struct script *script, const struct rule *rule, const char *recipient)
{
    const char *at_sign = strrchr(recipient, '@');

    if (rule->recipient != NULL && !script_glob(rule->recipient, recipient))
        return false;
    if (rule->domain != NULL && (at_sign == NULL || !script_glob(rule->domain, at_sign + 1)))
        return false;
    if (rule->has_share) {
        double fate = fate_of(script->seed, recipient, strlen(recipient));

        return fate >= rule->share_low && fate < rule->share_high;
    }
    return true;
}

static bool matches_listen(const char *listen, const struct occasion *occasion)
{
    return strcmp(listen, occasion->local) == 0 || (strlen(listen) == occasion->local_ip_length &&
                                                    strncmp(listen, occasion->local, occasion->local_ip_length) == 0);
}

/* All keys but the counters; *recipient becomes the one that matched, or "". */
static bool matches(const struct script *script, const struct rule *rule, const struct occasion *occasion,
                    const char **recipient)
{
    *recipient = occasion->recipient_count > 0 ? occasion->recipients[0] : "";
    if (rule->command != NULL && strcmp(rule->command, occasion->command) != 0)
        return false;
    if (rule->connection != 0 && rule->connection != occasion->connection)
        return false;
    if (rule->message != 0 && rule->message != occasion->message)
        return false;
    if (rule->chunk != 0 && rule->chunk != occasion->chunk)
        return false;
    if ((rule->secure >= 0 && rule->secure != occasion->secure) ||
        (rule->action.manner.close_notify && !occasion->secure))
        return false;
    if (rule->authenticated >= 0 && rule->authenticated != occasion->authenticated)
        return false;
    if (rule->listen != NULL && !matches_listen(rule->listen, occasion))
        return false;
    if (rule->from != NULL && (occasion->from == NULL || !script_glob(rule->from, occasion->from)))
        return false;
    if (rule->recipient == NULL && rule->domain == NULL && !rule->has_share)
        return true;
    for (size_t i = 0; i < occasion->recipient_count; i++) {
        *recipient = occasion->recipients[i];
        if (matches_recipient(script, rule, *recipient))
            return true;
    }
    return false;
}

/* Lets `above` a second pass, and matches what comes beyond. */
static bool is_above(struct rule *rule)
{
    uint64_t now_us = clock_monotonic_us();

    if (rule->begun_us == 0)
        rule->begun_us = now_us;
    if (rule->until_s != 0 && now_us - rule->begun_us >= rule->until_s * 1000000U)
        return false;
    if (rule->above == 0)
        return true;
    uint64_t *oldest = &rule->passed_us[rule->passed % rule->above];
    if (rule->passed >= rule->above && now_us - *oldest < 1000000U)
        return true;
    *oldest = now_us;
    rule->passed++;
    return false;
}

static bool counters_match(struct script *script, struct rule *rule, const char *recipient)
{
    if (!is_above(rule))
        return false;
    rule->matches++;
    if (rule->nth != 0 && rule->matches != rule->nth)
        return false;
    if (rule->every != 0 && rule->matches % rule->every != 0)
        return false;
    if (rule->first != 0) {
        uint64_t number = (uint64_t)(rule - script->rules);

        return tally_count(&script->tally, fate_hash(number, recipient, strlen(recipient))) <= rule->first;
    }
    return true;
}

const struct action *script_decide(struct script *script, const struct occasion *occasion)
{
    if (script == NULL)
        return NULL;
    for (size_t i = 0; i < script->count; i++) {
        struct rule *rule = &script->rules[i];
        const char *recipient;

        if (matches(script, rule, occasion, &recipient) && counters_match(script, rule, recipient))
            return &rule->action;
    }
    return NULL;
}

void script_free(struct script *script)
{
    if (script == NULL)
        return;
    for (size_t i = 0; i < script->count; i++) {
        struct rule *rule = &script->rules[i];

        free(rule->command);
        free(rule->recipient);
        free(rule->from);
        free(rule->domain);
        free(rule->listen);
        free(rule->passed_us);
        free(rule->action.bytes);
    }
    free(script->rules);
    tally_free(&script->tally);
    free(script);
}
