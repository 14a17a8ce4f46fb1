/*
 * resolve_tool.c - asks the resolver door and prints each answer as one JSON object a line, for
 * tests/e2e/test_resolve.py.
 *
 * usage: resolve_tool SERVER ANCHOR|- TIMEOUT_MS wait|ask NAME TYPE [NAME TYPE …]
 *
 * `wait` asks one after the other, `ask` all at once; then the order is that of the answers. ANCHOR "-" = no DNSSEC.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/str.h"
#include "engine/engine.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned open_count;

struct asked {
    const char *name;
    enum resolve_type type;
};

static enum resolve_type type_of(const char *name)
{
    static const enum resolve_type types[] = {RESOLVE_A,   RESOLVE_CNAME, RESOLVE_PTR, RESOLVE_MX,
                                              RESOLVE_TXT, RESOLVE_AAAA,  RESOLVE_TLSA};
    for (size_t i = 0; i < countof(types); i++)
        if (strcmp(resolve_type_name(types[i]), name) == 0)
            return types[i];
    abort();
}

static void print(const struct asked *asked, struct resolve_answer *answer)
{
    static const char *const statuses[] = {"found", "no-data", "no-name", "failed"};
    json_t *records = json_array();
    for (size_t i = 0; i < answer->count; i++) {
        const struct resolve_record *record = &answer->records[i];
        json_t *text = json_stringn(record->text, record->len);
        if (text == NULL) /* not UTF-8: only its length is of interest */
            text = json_integer((json_int_t)record->len);
        if (asked->type == RESOLVE_MX)
            text = json_pack("[i, o]", record->preference, text);
        (void)json_array_append_new(records, text);
    }
    json_t *object = json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:s, s:o}", "name", asked->name, "type",
                               resolve_type_name(asked->type), "status", statuses[answer->status], "secure",
                               answer->secure, "bogus", answer->bogus, "ttl", (json_int_t)answer->ttl_s, "malformed",
                               (json_int_t)answer->malformed, "why", answer->why, "records", records);
    char *text = json_dumps(object, JSON_COMPACT);
    assure(text != NULL);
    (void)puts(text);
    free(text);
    json_decref(object);
    resolve_answer_free(answer);
}

static void on_answer(void *context, struct resolve_answer *answer)
{
    (void)pthread_mutex_lock(&lock);
    print(context, answer);
    open_count--;
    (void)pthread_cond_signal(&changed);
    (void)pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
    assure(argc >= 5);
    struct config config = {.dns_server = argv[1], .dns_trust_anchor = strcmp(argv[2], "-") == 0 ? NULL : argv[2]};
    struct resolver *resolver;
    struct error err = {""};
    uint64_t timeout_ms;
    assure(str_parse_u64(argv[3], 1000000, &timeout_ms) == 0);
    if (resolver_start(&config, &resolver, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct asked *all = calloc((size_t)argc, sizeof *all);
    assure(all != NULL);
    bool waits = strcmp(argv[4], "wait") == 0;
    for (int i = 5; i + 1 < argc; i += 2) {
        struct asked *asked = &all[i];
        *asked = (struct asked){argv[i], type_of(argv[i + 1])};
        if (waits) {
            print(asked, resolver_wait(resolver, asked->name, asked->type, (int64_t)timeout_ms));
            continue;
        }
        (void)pthread_mutex_lock(&lock);
        open_count++;
        (void)pthread_mutex_unlock(&lock);
        assure(resolver_ask(resolver, asked->name, asked->type, (int64_t)timeout_ms, on_answer, asked) == 0);
    }
    (void)pthread_mutex_lock(&lock);
    while (open_count > 0 && strcmp(argv[4], "leave") != 0)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
    resolver_stop(resolver);
    assure(open_count == 0);
    free(all);
    return 0;
}
