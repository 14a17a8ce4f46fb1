/*
 * classify.c - finds the first rule that fits a reply.
 *
 * Conditions of a rule are and-ed; the words of one condition are or-ed. What is not known is not held against a rule
 * where the file says so: a stage that a report does not tell fits every stage. Patterns run on bytes, with limits on
 * the work of one match: a reply is written by a stranger, and one that costs too much simply does not fit.
 */
#include <string.h>

#include "base/str.h"
#include "campaign/bounce/rules.h"

static const char *const kind_names[BOUNCE_KIND_COUNT] = {
    [BOUNCE_UNKNOWN] = "unknown",   [BOUNCE_HARD] = "hard",       [BOUNCE_SOFT] = "soft",
    [BOUNCE_BLOCK] = "block",       [BOUNCE_CONTENT] = "content", [BOUNCE_COMPLAINT] = "complaint",
    [BOUNCE_NONE] = "not-a-bounce",
};

static const char *const reason_names[REASON_COUNT] = {
    [REASON_UNDEFINED] = "undefined",
    [REASON_USER_UNKNOWN] = "user-unknown",
    [REASON_HOST_UNKNOWN] = "host-unknown",
    [REASON_NO_MAIL] = "no-mail",
    [REASON_MOVED] = "moved",
    [REASON_MAILBOX_FULL] = "mailbox-full",
    [REASON_INACTIVE] = "inactive",
    [REASON_FILTERED] = "filtered",
    [REASON_MESSAGE_TOO_BIG] = "message-too-big",
    [REASON_CONTENT] = "content",
    [REASON_SPAM] = "spam",
    [REASON_VIRUS] = "virus",
    [REASON_POLICY] = "policy",
    [REASON_AUTHENTICATION] = "authentication",
    [REASON_REPUTATION] = "reputation",
    [REASON_BLOCKED] = "blocked",
    [REASON_PTR] = "ptr",
    [REASON_SENDER] = "sender",
    [REASON_RELAY_DENIED] = "relay-denied",
    [REASON_SECURITY] = "security",
    [REASON_TOO_MANY_CONNECTIONS] = "too-many-connections",
    [REASON_RATE] = "rate",
    [REASON_GREYLISTED] = "greylisted",
    [REASON_TLS] = "tls",
    [REASON_PROTOCOL] = "protocol",
    [REASON_NETWORK] = "network",
    [REASON_SYSTEM] = "system",
    [REASON_MAILER] = "mailer",
    [REASON_EXPIRED] = "expired",
    [REASON_ON_HOLD] = "on-hold",
    [REASON_COMPLAINT] = "complaint",
    [REASON_VACATION] = "vacation",
    [REASON_DELIVERED] = "delivered",
};

const char *bounce_kind_name(enum bounce_kind kind)
{
    return (size_t)kind < countof(kind_names) ? kind_names[kind] : "unknown";
}

const char *bounce_reason_name(enum bounce_reason reason)
{
    return (size_t)reason < countof(reason_names) ? reason_names[reason] : "undefined";
}

/* "550" fits 550, "5xx" every 5yz, "none" no code at all. */
static bool code_fits(const char *word, uint16_t code)
{
    if (strcmp(word, "none") == 0)
        return code == 0;
    const char digits[3] = {(char)('0' + code / 100), (char)('0' + code / 10 % 10), (char)('0' + code % 10)};
    for (size_t i = 0; i < 3; i++) {
        if (word[i] != 'x' && word[i] != digits[i])
            return false;
    }
    return code >= 100 && code < 1000;
}

/* "5.7.*" fits every detail, "x.1.1" every class, "none" the absence of a code. A code of zeros says nothing. */
static bool enhanced_fits(const char *word, const char *enhanced)
{
    bool silent = enhanced[0] == '\0' || (enhanced[0] != '\0' && strcmp(enhanced + 1, ".0.0") == 0);
    if (strcmp(word, "none") == 0)
        return silent;
    if (enhanced[0] == '\0' || (word[0] != 'x' && word[0] != enhanced[0]))
        return false;
    const char *w = word + 1, *e = enhanced + 1;
    while (*w != '\0' && *w == *e)
        w++, e++;
    return strcmp(w, "*") == 0 || (*w == '\0' && *e == '\0');
}

/* ".google.com" fits the name itself and what is below it. */
static bool host_fits(const char *suffix, const char *host)
{
    return suffix[0] == '.' ? str_ends_nocase(host, suffix) || str_eq_nocase(host, suffix + 1)
                            : str_eq_nocase(host, suffix);
}

struct subject {
    const struct bounce_reply *reply;
    char mx[256]; /* without the dot at the end of a full name */
    char text[BOUNCE_TEXT_BYTES];
    size_t text_len;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static bool any_pattern(const struct subject *subject, const struct rule_patterns *patterns)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (pcre2_match(patterns->codes[i], (PCRE2_SPTR)subject->text, subject->text_len, 0, 0, subject->match,
                        subject->limits) >= 0)
            return true;
    }
    return false;
}

static bool any_enhanced(const struct rule_words *words, const char *enhanced)
{
    for (size_t i = 0; i < words->count; i++) {
        if (enhanced_fits(words->words[i], enhanced))
            return true;
    }
    return false;
}

static bool rule_fits(const struct rule *rule, const struct subject *subject)
{
    const struct bounce_reply *reply = subject->reply;
    bool found = rule->hosts.count == 0;
    for (size_t i = 0; i < rule->hosts.count && !found; i++)
        found = host_fits(rule->hosts.words[i], subject->mx);
    if (!found)
        return false;
    found = rule->codes.count == 0;
    for (size_t i = 0; i < rule->codes.count && !found; i++)
        found = code_fits(rule->codes.words[i], reply->code);
    if (!found)
        return false;
    bool stage_matters = rule->stages != 0 && (reply->stage != STAGE_NONE || rule->stage_known);
    if (stage_matters && (rule->stages >> reply->stage & 1) == 0)
        return false;
    if (rule->enhanced.count > 0 && !any_enhanced(&rule->enhanced, reply->enhanced))
        return false;
    if (any_enhanced(&rule->not_enhanced, reply->enhanced))
        return false;
    if (rule->text.count > 0 && !any_pattern(subject, &rule->text))
        return false;
    return !any_pattern(subject, &rule->not_text);
}

/* Addresses become "@": blocked@example.org must not read as blocked. */
static void mask_addresses(struct subject *subject, const char *text)
{
    size_t word = 0, to = 0;
    bool address = false;
    for (size_t from = 0; from < BOUNCE_TEXT_BYTES - 1 && text[from] != '\0'; from++) {
        char c = text[from];
        if (ascii_is_space(c) || strchr("<>()[]\",;:", c) != NULL) {
            address = false;
            word = to + 1;
        } else if (c == '@') {
            address = true;
            to = word;
            subject->text[to++] = '@';
            continue;
        }
        if (!address)
            subject->text[to++] = c;
    }
    subject->text[to] = '\0';
    subject->text_len = to;
}

void bounce_classify(const struct bounce_rules *rules, const struct bounce_reply *reply, struct bounce_class *out)
{
    struct subject subject;
    subject.reply = reply;
    subject.limits = rules->limits;
    *out = (struct bounce_class){.kind = BOUNCE_UNKNOWN, .reason = REASON_UNDEFINED};
    mask_addresses(&subject, reply->text);
    (void)str_copy(subject.mx, sizeof(subject.mx), reply->mx);
    size_t len = strlen(subject.mx);
    if (len > 0 && subject.mx[len - 1] == '.')
        subject.mx[len - 1] = '\0';
    subject.match = pcre2_match_data_create(1, NULL);
    if (subject.match == NULL)
        return; /* without memory nothing is known, and nobody is suppressed */
    for (const struct rule *rule = rules->first; rule != NULL; rule = rule->next) {
        if (rule_fits(rule, &subject)) {
            *out = (struct bounce_class){.kind = rule->kind, .reason = rule->reason, .line = rule->line};
            break;
        }
    }
    pcre2_match_data_free(subject.match);
    bool temporary = reply->code != 0 ? reply->code < 500 : reply->enhanced[0] == '4';
    if (out->kind == BOUNCE_HARD && temporary)
        out->kind = BOUNCE_SOFT;
}

bool bounce_is_dead(const struct bounce_class *class_)
{
    return class_->kind == BOUNCE_HARD && (class_->reason == REASON_USER_UNKNOWN ||
                                           class_->reason == REASON_HOST_UNKNOWN || class_->reason == REASON_NO_MAIL);
}

bool bounce_counts(const struct bounce_class *class_)
{
    switch (class_->reason) {
    case REASON_USER_UNKNOWN:
    case REASON_HOST_UNKNOWN:
    case REASON_NO_MAIL:
    case REASON_MOVED:
    case REASON_MAILBOX_FULL:
    case REASON_INACTIVE:
    case REASON_FILTERED:
    case REASON_ON_HOLD:
    case REASON_EXPIRED:
        return class_->kind == BOUNCE_SOFT || class_->kind == BOUNCE_HARD;
    default:
        return false;
    }
}

/* Digits with dots, "5.1.10", at most 3 + 3 digits behind the class: its length, or 0. */
static size_t enhanced_length(const char *text)
{
    if ((text[0] != '2' && text[0] != '4' && text[0] != '5') || text[1] != '.')
        return 0;
    size_t at = 2;
    for (int part = 0; part < 2; part++) {
        size_t digits = 0;
        while (digits < 4 && ascii_is_digit(text[at + digits]))
            digits++;
        if (digits == 0 || digits > 3)
            return 0;
        at += digits;
        if (part == 0 && text[at++] != '.')
            return 0;
    }
    return text[at] == '.' || ascii_is_digit(text[at]) ? 0 : at;
}

void bounce_line_split(const char *line, struct bounce_line *out)
{
    *out = (struct bounce_line){.text = ""};
    while (ascii_is_space(*line))
        line++;
    if (line[0] >= '2' && line[0] <= '5' && ascii_is_digit(line[1]) && ascii_is_digit(line[2]) &&
        !ascii_is_digit(line[3]) && line[3] != '.') {
        out->code = (uint16_t)((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
        line += 3;
        while (ascii_is_space(*line) || *line == '-' || *line == '#' || *line == ':')
            line++;
    }
    size_t len = enhanced_length(line);
    if (len > 0) {
        memcpy(out->enhanced, line, len);
        line += len;
    }
    while (ascii_is_space(*line))
        line++;
    out->text = line;
}
