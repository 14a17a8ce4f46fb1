/*
 * rules.h - a rule as it is held in memory; private to campaign/bounce.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_RULES_H
#define POSTHASTE_CAMPAIGN_BOUNCE_RULES_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/arena.h"
#include "campaign/bounce/classify.h"

#define RULE_WORDS_MAX 16    /* codes, enhanced codes or hosts in one rule */
#define RULE_PATTERNS_MAX 32 /* `text` or `not-text` lines */

struct rule_words {
    const char *words[RULE_WORDS_MAX];
    size_t count;
};
struct rule_patterns {
    pcre2_code *codes[RULE_PATTERNS_MAX];
    size_t count;
};
struct rule_sample {
    struct rule_sample *next;
    int line;
    const char *text, *mx;
    enum outcome_stage stage;
};
struct rule {
    struct rule *next;
    int line;
    enum bounce_kind kind;
    enum bounce_reason reason;
    struct rule_words codes, enhanced, not_enhanced, hosts;
    uint32_t stages;  /* bit per enum outcome_stage; 0 = any */
    bool stage_known; /* an unknown stage does not fit */
    struct rule_patterns text, not_text;
    struct rule_sample *samples, **samples_end;
};

struct bounce_rules {
    struct arena arena;
    const char *file;
    struct rule *first, **end;
    pcre2_match_context *limits; /* read only once made: shared by threads */
};

extern const char bounce_rules_builtin[]; /* share/bounce-rules.conf, made at build time */

/* The text of a rules file, parsed and compiled into `rules`, whose file name is set. */
int bounce_rules_parse(struct bounce_rules *rules, const char *text, struct error *err) ATTR_MUSTCHECK;

#endif
