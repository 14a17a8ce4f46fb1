/*
 * fake_lookup.h - a zone out of JSON in the place of the DNS, for tests of the evaluators of campaign/preflight.
 *
 * {"example.test": {"TXT": ["v=spf1 -all"], "MX": [[10, "mx.example.test"]], "A": ["192.0.2.1"], "CNAME": ["x.test"],
 *  "FAIL": true}}: a type that is not listed fails with "FAIL", else the name has none of it. A name that is not listed
 * does not exist. Texts are taken byte by byte (latin-1), so that a record may hold any byte.
 */
#ifndef POSTHASTE_TESTS_FAKE_LOOKUP_H
#define POSTHASTE_TESTS_FAKE_LOOKUP_H

#include "campaign/preflight/lookup.h"

struct fake_lookup {
    struct lookup base;
    json_t *zone;
    struct list answers;
    unsigned asked;
};

void fake_lookup_init(struct fake_lookup *fake, json_t *zone); /* borrows the zone */
void fake_lookup_finish(struct fake_lookup *fake);

#endif
