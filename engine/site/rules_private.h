/*
 * rules_private.h - an automation rule as it is held in memory; private to rules.c and rules_check.c.
 */
#ifndef POSTHASTE_ENGINE_SITE_RULES_PRIVATE_H
#define POSTHASTE_ENGINE_SITE_RULES_PRIVATE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "engine/site/rules.h"

#define WORDS_MAX 16
#define PATTERNS_MAX 16

struct patterns {
    pcre2_code *codes[PATTERNS_MAX];
    const char *sources[PATTERNS_MAX];
    size_t count;
};
struct words {
    const char *words[WORDS_MAX];
    size_t count;
};
struct sample {
    struct sample *next;
    const char *mx, *text;
    int line;
};
struct rule {
    struct rule *next;
    const char *name;
    int line;
    struct words hosts, codes;
    struct patterns text, not_text;
    struct rule_do dos[RULE_DOS_MAX];
    size_t do_count;
    struct sample *samples, **samples_end;
};
struct rules {
    struct arena arena;
    char *file;
    struct rule *first, **end;
    pcre2_match_context *limits;
    _Atomic uint32_t more_holders; /* besides the first */
};

#endif
