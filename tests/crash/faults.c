/*
 * faults.c - a library to be preloaded: one call fails, and everything after it goes on as always.
 *
 * POSTHASTE_FAULT=KIND:N fails the N-th call of that kind. "memory": malloc, calloc, realloc and reallocarray, as
 * called by the program itself, by SQLite or by jansson (other libraries have their own ways to die). "io": SQLite's
 * writes, syncs and truncations, with EIO. With POSTHASTE_FAULT_COUNT=FILE the number of calls seen is written there at
 * the end.
 *
 * POSTHASTE_FAULT=KIND:@STACK fails the first call that is made from that place: STACK is a digest of the addresses of
 * the twelve innermost callers, relative to where their objects lie, so it names the same place in every run. With
 * POSTHASTE_FAULT_STACKS=FILE each place seen is written there at the end, one a line. A campaign allocates twenty
 * thousand times from a tenth as many places.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

enum { WATCHED_MAX = 3 };
struct range {
    uintptr_t from, to;
};
static struct range watched[WATCHED_MAX], sqlite;
static size_t watched_count;
static atomic_long left, seen;
static bool memory, io;

enum { FRAMES = 12, OBJECTS_MAX = 128, PLACES_MAX = 1 << 16 };
static struct range objects[OBJECTS_MAX];
static size_t object_count;
static uint64_t wanted;             /* the place; 0 = by number */
static uint64_t places[PLACES_MAX]; /* an open hash table; 0 = free */
static const char *places_path;
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool looking; /* backtrace() may allocate */

static int note_object(struct dl_phdr_info *info, size_t size, void *context)
{
    struct range range = {UINTPTR_MAX, 0};
    (void)size;
    (void)context;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        range.from = from < range.from ? from : range.from;
        range.to = from + info->dlpi_phdr[i].p_memsz > range.to ? from + info->dlpi_phdr[i].p_memsz : range.to;
    }
    if (object_count < OBJECTS_MAX)
        objects[object_count++] = range;
    bool is_sqlite = strstr(info->dlpi_name, "libsqlite3") != NULL;
    if (is_sqlite)
        sqlite = range;
    if ((info->dlpi_name[0] == '\0' || is_sqlite || strstr(info->dlpi_name, "libjansson") != NULL) &&
        watched_count < WATCHED_MAX && range.to > range.from)
        watched[watched_count++] = range;
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("POSTHASTE_FAULT");
    const char *colon = text != NULL ? strchr(text, ':') : NULL;
    if (colon == NULL)
        return;
    (void)dl_iterate_phdr(note_object, NULL);
    places_path = getenv("POSTHASTE_FAULT_STACKS");
    if (colon[1] == '@')
        wanted = strtoull(colon + 2, NULL, 16);
    else
        atomic_store(&left, strtol(colon + 1, NULL, 10));
    void *frame;
    (void)backtrace(&frame, 1); /* loads what it needs */
    memory = strncmp(text, "memory", 6) == 0;
    io = strncmp(text, "io", 2) == 0;
}

static void write_places(void)
{
    FILE *file = places_path != NULL ? fopen(places_path, "we") : NULL;
    if (file == NULL)
        return;
    for (size_t i = 0; i < PLACES_MAX; i++) {
        if (places[i] != 0)
            fprintf(file, "%016llx\n", (unsigned long long)places[i]);
    }
    fclose(file);
}

__attribute__((destructor)) static void end(void)
{
    write_places();
    const char *path = getenv("POSTHASTE_FAULT_COUNT");
    FILE *file = path != NULL ? fopen(path, "we") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%ld\n", atomic_load(&seen));
    fclose(file);
}

static bool is_in(const struct range *range, const void *caller)
{
    return (uintptr_t)caller >= range->from && (uintptr_t)caller < range->to;
}

static uintptr_t relative(uintptr_t address)
{
    for (size_t i = 0; i < object_count; i++) {
        if (address >= objects[i].from && address < objects[i].to)
            return address - objects[i].from + (i << 40);
    }
    return 0; /* of a library that came later: the callers around it say enough */
}

/* FNV-1a over the callers; our own frames, one or two, are the same each time. */
static uint64_t place(void)
{
    void *frames[FRAMES + 3];
    uint64_t digest = 0xcbf29ce484222325;
    looking = true;
    int count = backtrace(frames, FRAMES + 3);
    looking = false;
    for (int i = 1; i < count; i++)
        digest = (digest ^ relative((uintptr_t)frames[i])) * 0x100000001b3;
    return digest | 1;
}

/* True for the first call from there. */
static bool note_place(uint64_t digest)
{
    bool first = false;
    pthread_mutex_lock(&places_lock);
    for (size_t i = 0; i < PLACES_MAX; i++) {
        uint64_t *at = &places[(digest + i) % PLACES_MAX];
        first = *at == 0;
        if (first)
            *at = digest;
        if (*at == digest)
            break;
    }
    pthread_mutex_unlock(&places_lock);
    return first;
}

static __attribute__((noinline)) bool count(void)
{
    atomic_fetch_add(&seen, 1);
    if (wanted == 0 && places_path == NULL)
        return atomic_fetch_sub(&left, 1) == 1;
    uint64_t digest = place();
    bool first = note_place(digest);
    return wanted != 0 ? first && digest == wanted : atomic_fetch_sub(&left, 1) == 1;
}

static bool no_memory(const void *caller)
{
    bool ours = false;
    if (looking)
        return false;
    for (size_t i = 0; memory && i < watched_count; i++)
        ours |= is_in(&watched[i], caller);
    if (!ours || !count())
        return false;
    errno = ENOMEM;
    return true;
}

static bool no_io(const void *caller)
{
    if (!io || !is_in(&sqlite, caller) || !count())
        return false;
    errno = EIO;
    return true;
}

/* What follows takes the place of libc's; the project hides its symbols elsewhere. */
#pragma GCC visibility push(default)

void *malloc(size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t members, size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_calloc(members, size);
}

void *realloc(void *old, size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t members, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(members, size, &bytes) || no_memory(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, bytes);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *bytes, size_t amount, off64_t at)
{
    return no_io(__builtin_return_address(0)) ? -1 : REAL(pwrite64)(fd, bytes, amount, at);
}

int fdatasync(int fd)
{
    return no_io(__builtin_return_address(0)) ? -1 : REAL(fdatasync)(fd);
}

int ftruncate64(int fd, off64_t size)
{
    return no_io(__builtin_return_address(0)) ? -1 : REAL(ftruncate64)(fd, size);
}
