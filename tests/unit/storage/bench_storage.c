/*
 * bench_storage.c - how fast the room is, through its door; not part of the suite.
 *
 *   bench_storage DIR import ROWS DOMAINS     a fresh load, then the same file again
 *   bench_storage DIR outcomes ROWS DOMAINS   loads, launches, claims in lanes of 1000 and posts an outcome each
 *   bench_storage DIR journal ROWS DEPTH      notes ROWS messages in the flight journal, DEPTH of them at a time
 *
 * Prints one line a measure. Rows come in random order with a third in ten large domains, as lists do.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "storage/writer.h"
#include "tests/unit/storage/support.h"

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void load(struct fixture *fixture, int64_t list, int rows, int domains, const char *what)
{
    struct error err = {.text = ""};
    struct storage_import *import;
    struct upsert_counts counts;
    int64_t begun_us = clock_monotonic_us();
    double cpu = cpu_seconds();
    must(storage_import_begin(fixture->storage, list, UPSERT_UPDATE, &import, &err));
    for (int i = 0; i < rows; i++) {
        uint64_t random = mix((uint64_t)i + 1);
        unsigned domain = random % 3 == 0 ? (unsigned)(random >> 8) % 10 : (unsigned)(random >> 8) % (unsigned)domains;
        char email[128], json[128];
        int email_len = snprintf(email, sizeof(email), "%c%06" PRIx64 ".%d@mail%u.example.test",
                                 (char)('a' + random % 26), random >> 40, i, domain);
        int json_len = snprintf(json, sizeof(json), "{\"first_name\":\"Name%d\",\"city\":\"City%u\"}", i, domain % 100);
        must(storage_import_add(import, email, (size_t)email_len, json, (size_t)json_len, &err));
    }
    must(storage_import_finish(import, false, &counts, &err));
    double seconds = (double)(clock_monotonic_us() - begun_us) / 1e6;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%s rows=%d created=%" PRId64 " updated=%" PRId64 " unchanged=%" PRId64 " seconds=%.2f rows_per_s=%.0f"
           " cpu_us_each=%.2f max_rss_mb=%ld\n",
           what, rows, counts.created, counts.updated, counts.unchanged, seconds, rows / seconds,
           (cpu_seconds() - cpu) * 1e6 / rows, usage.ru_maxrss / 1024);
}

static void deliver(struct fixture *fixture, int64_t list)
{
    int64_t begun_us = clock_monotonic_us();
    int64_t campaign = make_campaign(fixture, &list, 1, NULL, 0);
    launch(fixture, campaign);
    printf("launch ms=%.1f\n", (double)(clock_monotonic_us() - begun_us) / 1e3);
    double cpu = cpu_seconds();
    begun_us = clock_monotonic_us();
    int total = deliver_all(fixture, campaign, DELIVERY_DELIVERED);
    double seconds = (double)(clock_monotonic_us() - begun_us) / 1e6;
    int64_t database_bytes, wal_bytes;
    struct storage_commits commits;
    storage_commits(fixture->storage, &commits);
    assert_int_equal(storage_sizes(fixture->storage, &database_bytes, &wal_bytes), 0);
    printf("claims+outcomes deliveries=%d seconds=%.2f per_s=%.0f cpu_us_each=%.2f commit_max_ms=%.1f wal_mb=%.1f\n",
           total, seconds, total / seconds, (cpu_seconds() - cpu) * 1e6 / total,
           (double)commits.max_us / 1e3, (double)wal_bytes / 1e6);
    struct storage_campaign found = stats(fixture, campaign);
    assert_adds_up(&found);
}

/* The three calls of each message, as many in the air as the depth says. */
static void note_flights(struct fixture *fixture, int rows, int depth)
{
    struct error err = {.text = ""};
    must(storage_journal_begin(fixture->storage, depth, &err));
    struct journal *journal = storage_journal(fixture->storage);
    uint32_t *slots = calloc((size_t)depth, sizeof(*slots));
    struct storage_outcome *record = make_outcome(&(struct storage_job){.campaign_id = 1}, DELIVERY_DELIVERED, NULL);
    assert_non_null(slots);
    int64_t begun_us = clock_monotonic_us();
    for (int i = 0; i < rows; i += depth) {
        for (int n = 0; n < depth; n++)
            slots[n] = journal_sent(journal, 1, i + n, 1);
        for (int n = 0; n < depth; n++) {
            record->recipient_id = i + n;
            record->journal_slot = slots[n];
            journal_outcome(journal, record);
        }
        for (int n = 0; n < depth; n++)
            journal_clear(journal, slots[n]);
    }
    printf("journal messages=%d depth=%d ns_each=%.1f\n", rows, depth,
           (double)(clock_monotonic_us() - begun_us) * 1e3 / rows);
    free(record);
    free(slots);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return fprintf(stderr, "usage: bench_storage DIR import|outcomes|journal ROWS DOMAINS\n"), 2;
    struct fixture fixture = {0};
    (void)snprintf(fixture.dir, sizeof(fixture.dir), "%s", argv[1]);
    int rows = atoi(argv[3]), domains = atoi(argv[4]);
    if (strcmp(argv[2], "journal") == 0) {
        fixture_reopen(&fixture, true);
        note_flights(&fixture, rows, MAX_OF(domains, 1));
        fixture_close(&fixture);
        return 0;
    }
    fixture_reopen(&fixture, false);
    int64_t list = make_list(&fixture, "bench");
    load(&fixture, list, rows, domains, "import");
    if (strcmp(argv[2], "import") == 0)
        load(&fixture, list, rows, domains, "again");
    else
        deliver(&fixture, list);
    fixture_close(&fixture);
    return 0;
}
