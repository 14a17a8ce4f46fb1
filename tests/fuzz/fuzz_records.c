/*
 * fuzz_records.c - what domains publish about their mail: SPF (RFC 7208), DMARC (RFC 7489), where they want TLS reports
 * (RFC 8460). Every line of the input is a record, and every question about any name gets all of them, so that includes
 * and redirects go round in circles.
 */
#include "base/address.h"
#include "base/hashmap.h"
#include "campaign/preflight/dmarc.h"
#include "campaign/preflight/spf.h"
#include "campaign/tlsrpt/record.h"
#include "tests/fuzz/fuzz.h"

#define RECORDS_MAX 32
/* The record, ten terms with ten hosts each, and the names of the client with theirs (RFC 7208 section 4.6.4). */
#define ASKED_MAX 160

struct circle {
    struct lookup lookup;
    struct resolve_record text[RECORDS_MAX], names[RECORDS_MAX], address, other_address;
    struct resolve_answer texts, mx, ptr, a, aaaa, none;
    uint64_t asked[ASKED_MAX]; /* different questions: the real look-up remembers the others */
    size_t asked_count;
};

static void note(struct circle *circle, const char *name, enum resolve_type type)
{
    uint64_t question = hash_bytes(name, strlen(name)) ^ (uint64_t)type;
    for (size_t i = 0; i < circle->asked_count; i++) {
        if (circle->asked[i] == question)
            return;
    }
    assure(circle->asked_count < ASKED_MAX);
    circle->asked[circle->asked_count++] = question;
}

static const struct resolve_answer *ask(struct lookup *lookup, const char *name, enum resolve_type type)
{
    struct circle *circle = container_of(lookup, struct circle, lookup);
    assure(lookup_name_valid(name));
    note(circle, name, type);
    switch (type) {
    case RESOLVE_TXT:
        return &circle->texts;
    case RESOLVE_MX:
        return &circle->mx;
    case RESOLVE_PTR:
        return &circle->ptr;
    case RESOLVE_A:
        return &circle->a;
    case RESOLVE_AAAA:
        return &circle->aaaa;
    default:
        return &circle->none;
    }
}

static struct resolve_answer answer(const struct resolve_record *records, size_t count)
{
    return (struct resolve_answer){
        .status = count > 0 ? RESOLVE_FOUND : RESOLVE_NO_DATA, .count = count, .records = records};
}

/* Cuts the text at its line ends. */
static void close_circle(struct circle *circle, char *text, size_t len)
{
    size_t count = 0, names = 0;
    memset(circle, 0, sizeof *circle);
    circle->lookup.ask = ask;
    for (char *at = text, *end = text + len; at < end && count < RECORDS_MAX;) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        *stop = '\0'; /* there is a NUL behind the text, too */
        circle->text[count++] = (struct resolve_record){.text = at, .len = (size_t)(stop - at)};
        if (strlen(at) == (size_t)(stop - at) && lookup_name_valid(at))
            circle->names[names++] = circle->text[count - 1];
        at = stop + 1;
    }
    circle->address = (struct resolve_record){.text = "192.0.2.1", .len = 9};
    circle->other_address = (struct resolve_record){.text = "2001:db8::1", .len = 11};
    circle->texts = answer(circle->text, count);
    circle->mx = circle->ptr = answer(circle->names, names);
    circle->a = answer(&circle->address, 1);
    circle->aaaa = answer(&circle->other_address, 1);
    circle->none = answer(NULL, 0);
}

static bool ended(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

int fuzz_one(const uint8_t *data, size_t size)
{
    static struct dmarc dmarc; /* large */
    struct circle circle;
    struct spf_verdict verdict;
    struct tlsrpt_record record;
    char *text = fuzz_string(data, size);
    close_circle(&circle, text, size);

    struct spf_query query = {.ip = size % 2 == 0 ? "192.0.2.1" : "2001:db8::2",
                              .domain = "example.com",
                              .sender = "bounce@example.com",
                              .helo = "mta.example.com",
                              .exhaust = size % 3 == 0};
    spf_check(&circle.lookup, &query, &verdict);
    assure(verdict.result >= SPF_NONE && verdict.result <= SPF_PERMERROR && spf_result_name(verdict.result) != NULL);
    assure(ended(verdict.term, sizeof verdict.term) && ended(verdict.why, sizeof verdict.why));
    assure((verdict.result >= SPF_TEMPERROR) == (verdict.why[0] != '\0'));

    circle.asked_count = 0;
    dmarc_look_up(&circle.lookup, "mail.example.com", &dmarc);
    assure(circle.asked_count <= 2 && dmarc.report_count <= DMARC_URIS_MAX && ended(dmarc.text, sizeof dmarc.text));
    assure(dmarc.policy >= DMARC_NONE && dmarc.policy <= DMARC_REJECT);

    tlsrpt_record_read(circle.texts.records, circle.texts.count, &record);
    assure(record.count <= TLSRPT_PLACES_MAX);
    for (size_t i = 0; i < record.count; i++) {
        const struct tlsrpt_place *place = &record.places[i];
        assure(ended(place->uri, sizeof place->uri) && ended(place->host, sizeof place->host));
        assure(place->mail ? strchr(place->uri, '@') != NULL : place->host[0] != '\0');
        for (const char *at = place->uri; *at != '\0'; at++)
            assure((unsigned char)*at > 0x20 && *at != 0x7f);
    }
    free(text);
    return 0;
}
