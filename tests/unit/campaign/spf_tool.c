/*
 * spf_tool.c - evaluates SPF over zones given as JSON, for tests/e2e/test_spf.py.
 *
 * Each line of standard input: {"zone": {…}, "ip", "domain", "sender", "helo", "exhaust"} (the zone as fake_lookup.h
 * says; without one the zone of the line before stands); each line of output: {"result", "lookups", "voids", "asked",
 * "term", "why"}.
 */
#include <stdio.h>
#include <stdlib.h>

#include "campaign/preflight/spf.h"

#include "fake_lookup.h"

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    json_t *zone = json_object();
    while (getline(&line, &room, stdin) > 0) {
        json_t *input = json_loads(line, JSON_ALLOW_NUL, NULL);
        assure(input != NULL);
        json_t *given = json_object_get(input, "zone");
        if (given != NULL) {
            json_decref(zone);
            zone = json_incref(given);
        }
        struct fake_lookup fake;
        struct spf_verdict verdict;
        const struct spf_query query = {
            .ip = json_string_value(json_object_get(input, "ip")),
            .domain = json_string_value(json_object_get(input, "domain")),
            .sender = json_string_value(json_object_get(input, "sender")),
            .helo = json_string_value(json_object_get(input, "helo")),
            .exhaust = json_is_true(json_object_get(input, "exhaust")),
        };
        fake_lookup_init(&fake, zone);
        spf_check(&fake.base, &query, &verdict);
        json_t *output = json_pack("{s:s, s:i, s:i, s:i, s:s, s:s}", "result", spf_result_name(verdict.result),
                                   "lookups", (int)verdict.lookups, "voids", (int)verdict.voids, "asked",
                                   (int)fake.asked, "term", verdict.term, "why", verdict.why);
        char *text = json_dumps(output, JSON_COMPACT);
        assure(text != NULL);
        (void)puts(text);
        (void)fflush(stdout);
        free(text);
        json_decref(output);
        fake_lookup_finish(&fake);
        json_decref(input);
    }
    json_decref(zone);
    free(line);
    return 0;
}
