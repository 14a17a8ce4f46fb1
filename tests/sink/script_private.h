/* What loading and matching share. */
#ifndef TESTS_SINK_SCRIPT_PRIVATE_H
#define TESTS_SINK_SCRIPT_PRIVATE_H

#include "tests/sink/script.h"
#include "tests/sink/tally.h"

struct rule {
    char *command;    /* NULL: any */
    char *recipient;  /* glob; NULL: any */
    char *from;       /* glob; NULL: any */
    char *domain;     /* glob on what follows the last '@'; NULL: any */
    char *listen;     /* address, or address:port; NULL: any */
    bool has_share;   /* share_low and share_high apply */
    double share_low; /* the fate must be in [low, high) */
    double share_high;
    uint64_t first;      /* the first so many matches per recipient; 0: all */
    uint64_t nth;        /* only that match; 0: all */
    uint64_t every;      /* each match whose number it divides; 0: all */
    uint64_t connection; /* 0: any */
    uint64_t message;    /* 0: any */
    uint64_t chunk;      /* 0: any */
    int secure;          /* 1 or 0: inside TLS or not; -1: any */
    int authenticated;   /* 1 or 0; -1: any */
    uint64_t above;      /* only what exceeds so many a second; 0: all */
    uint64_t until_s;    /* only so long after the first question to the rule; 0: for ever */
    uint64_t begun_us;   /* of that question */
    uint64_t *passed_us; /* a ring of `above`: what the rule has let pass */
    uint64_t passed;
    uint64_t matches; /* how often all keys but first, nth, every and above have matched */
    struct action action;
};

struct script {
    uint64_t seed;
    struct rule *rules;
    size_t count;
    struct tally tally; /* matches per rule and recipient, for "first" */
};

/* True if `text` matches `pattern`, where '*' stands for any bytes; ASCII letters compare without regard to case. */
bool script_glob(const char *pattern, const char *text);

#endif
