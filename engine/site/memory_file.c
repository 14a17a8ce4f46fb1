/*
 * memory_file.c - what was learnt about servers, over a restart.
 *
 * A text file for each loop, a fact a line: "slow 1790000000 (mx1|mx2).example.com", with the wall-clock second until
 * which it holds. A loop writes its own and reads all, because the sites of a loop change with the number of loops. It
 * is written aside and renamed; it is not synced, for to lose it costs learning the same again, and no more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "engine/site/memory.h"

#define NAME_MAX_BYTES 600
#define FILES_MAX 64

static const char *const fact_names[MEMORY_FACTS] = {
    [MEMORY_SLOW] = "slow",
    [MEMORY_NO_CHUNKING] = "no-chunking",
    [MEMORY_NO_TLS] = "no-tls",
    [MEMORY_DOWN] = NULL, /* of minutes: not worth keeping */
    [MEMORY_UNPROVED] = NULL,
};

bool memory_is_lasting(enum memory_fact fact)
{
    return fact_names[fact] != NULL;
}

static bool path_of(const char *dir, unsigned index, const char *end, char *out, size_t size)
{
    if (dir == NULL)
        return false;
    int len = snprintf(out, size, "%s/site-memory.%u%s", dir, index, end);
    return len > 0 && (size_t)len < size;
}

static void read_line(struct memory *memory, char *line, int64_t now_ms, int64_t wall_ms)
{
    char *rest = line;
    const char *fact = strsep(&rest, " ");
    const char *until = rest != NULL ? strsep(&rest, " ") : NULL;
    uint64_t until_s;
    if (rest == NULL || rest[0] == '\0' || str_parse_u64(until, UINT32_MAX, &until_s) < 0)
        return;
    int64_t left_ms = (int64_t)until_s * 1000 - wall_ms;
    if (left_ms <= 0 || left_ms > MEMORY_DAY_MS) /* nothing is believed for longer, whatever the clock has done */
        return;
    for (enum memory_fact i = 0; i < MEMORY_FACTS; i++) {
        if (fact_names[i] != NULL && strcmp(fact, fact_names[i]) == 0)
            memory_note(memory, rest, i, now_ms + left_ms);
    }
}

static void read_file(struct memory *memory, const char *path, int64_t now_ms, int64_t wall_ms)
{
    char line[NAME_MAX_BYTES + 40];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    for (size_t lines = 0; lines < MEMORY_ENTRIES_MAX * MEMORY_FACTS && fgets(line, sizeof line, file) != NULL;
         lines++) {
        size_t len = strlen(line);
        if (len == 0 || line[len - 1] != '\n')
            break;
        line[len - 1] = '\0';
        read_line(memory, line, now_ms, wall_ms);
    }
    (void)fclose(file);
}

void memory_load(struct memory *memory, const char *dir, int64_t now_ms, int64_t wall_ms)
{
    char path[4096];
    for (unsigned i = 0; i < FILES_MAX; i++) {
        if (path_of(dir, i, "", path, sizeof path))
            read_file(memory, path, now_ms, wall_ms);
    }
    memory->changed = false;
}

static int write_file(const struct memory *memory, const char *path, int64_t now_ms, int64_t wall_ms)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return -errno;
    list_for_each(node, &memory->order)
    {
        const char *name = memory_name(node);
        for (enum memory_fact i = 0; i < MEMORY_FACTS && strlen(name) <= NAME_MAX_BYTES; i++) {
            int64_t left_ms = memory_until_ms(node, i) - now_ms;
            if (left_ms > 0 && fact_names[i] != NULL)
                (void)fprintf(file, "%s %" PRId64 " %s\n", fact_names[i], (wall_ms + left_ms) / 1000, name);
        }
    }
    int r = ferror(file) != 0 ? -EIO : 0;
    return fclose(file) != 0 && r == 0 ? -errno : r;
}

void memory_save(struct memory *memory, const char *dir, unsigned index, int64_t now_ms, int64_t wall_ms)
{
    char path[4096], aside[4096];
    if (!memory->changed || !path_of(dir, index, "", path, sizeof path) ||
        !path_of(dir, index, ".new", aside, sizeof aside))
        return;
    memory->changed = false;
    int r = write_file(memory, aside, now_ms, wall_ms);
    if (r == 0 && rename(aside, path) < 0)
        r = -errno;
    if (r < 0) {
        log_debug("engine", "site-memory not saved path=%s reason=%s", LOG_QUOTE(path), LOG_QUOTE(strerror(-r)));
        (void)unlink(aside);
    }
}
