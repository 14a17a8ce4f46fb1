/* Totals. The file is written beside its place and renamed, so a reader sees old totals or new ones and never half of
 * them. */
#include "tests/sink/counts.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

void counts_note(struct counts *counts, const struct note *note)
{
    switch (note->kind) {
    case NOTE_MESSAGE:
        counts->recipients++;
        if (note->first) {
            counts->messages++;
            counts->content_bytes += note->size_bytes;
            counts->replies_lost += note->reply == NULL ? 1 : 0;
        }
        break;
    case NOTE_REJECT:
        counts->rejects++;
        break;
    case NOTE_DROP:
        counts->drops++;
        break;
    case NOTE_VIOLATION:
        counts->violations++;
        break;
    case NOTE_AUTH:
        counts->auths++;
        break;
    }
}

static uint64_t cpu_time_us(void)
{
    struct rusage usage = {0};

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000U +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int counts_write(struct counts *counts, const char *path)
{
    char beside[PATH_MAX];
    const char *separator = "{";
    FILE *file;
    bool failed;

    counts->cpu_us = cpu_time_us();
    if (snprintf(beside, sizeof(beside), "%s.new", path) >= (int)sizeof(beside))
        return -1;
    file = fopen(beside, "we");
    if (file == NULL) {
        fprintf(stderr, "sink: counts: %s: %s\n", beside, strerror(errno));
        return -1;
    }
#define X(name)                                                                                                        \
    fprintf(file, "%s\"%s\": %" PRIu64, separator, #name, counts->name);                                               \
    separator = ", ";
    COUNTS_MAP(X)
#undef X
    fputs("}\n", file);
    failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed || rename(beside, path) != 0) {
        fprintf(stderr, "sink: counts: %s: %s\n", path, strerror(errno));
        return -1;
    }
    return 0;
}
