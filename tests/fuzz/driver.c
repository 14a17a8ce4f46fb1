/*
 * driver.c - main program of a fuzz target where libFuzzer is not at hand: runs the seeds, then mutations of them.
 *
 * usage: fuzz_TARGET FOLDER|FILE...
 *
 * The mutations come from a fixed seed, so that a test fails today as it fails tomorrow. They are blind (nothing
 * measures coverage), but splicing seeds with one another gets far with text protocols. FUZZ_ROUNDS says how many
 * (4,000; 0 = none), FUZZ_SEED from which seed, FUZZ_SECONDS when to stop at the latest (20). Output is TAP: a case for
 * each seed, one for the mutations.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fuzz/fuzz.h"

#define SEEDS_MAX 4096
#define INPUT_MAX_BYTES ((size_t)64 << 10)
#define ROUNDS_DEFAULT 4000
#define SECONDS_DEFAULT 20

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct seed {
    uint8_t *data;
    size_t size;
};

static struct seed seeds[SEEDS_MAX];
static size_t seed_count;
static unsigned cases;
static const char *program;
static const uint8_t *current; /* what the target is looking at */
static size_t current_size;

/* The input that brought the program down is kept for whoever has to find out why. Calls only what a signal handler
 * may. */
static void save_current(void)
{
    char path[128];
    const char *name = strrchr(program, '/');
    size_t len = 0;
    for (const char *part = "crash-"; *part != '\0'; part++)
        path[len++] = *part;
    for (name = name != NULL ? name + 1 : program; *name != '\0' && len + 1 < sizeof path; name++)
        path[len++] = *name;
    path[len] = '\0';
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && current != NULL && write(fd, current, current_size) < 0)
        (void)unlink(path);
}

static void on_fatal(int number)
{
    save_current();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    current = copy;
    current_size = size;
    (void)fuzz_one(copy, size);
    current = NULL;
    free(copy);
}

static void fail(const char *path, const char *why)
{
    (void)printf("not ok %u - %s: %s\n", ++cases, path, why);
    exit(1);
}

static void run_file(const char *path)
{
    struct seed seed = {.data = malloc(INPUT_MAX_BYTES)};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = 1;
    if (fd < 0 || seed.data == NULL || seed_count == SEEDS_MAX)
        fail(path, "cannot be read");
    while (got > 0 && seed.size < INPUT_MAX_BYTES) {
        got = read(fd, seed.data + seed.size, INPUT_MAX_BYTES - seed.size);
        seed.size += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    run(seed.data, seed.size);
    seeds[seed_count++] = seed;
    (void)printf("ok %u - %s\n", ++cases, path);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_path(const char *path)
{
    struct stat about;
    if (stat(path, &about) < 0)
        fail(path, strerror(errno));
    if (!S_ISDIR(about.st_mode)) {
        run_file(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char *file = NULL;
        if (entries[i]->d_name[0] != '.' && asprintf(&file, "%s/%s", path, entries[i]->d_name) > 0)
            run_file(file);
        free(file);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* Mutations. */

static uint64_t state;

static size_t below(size_t limit) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return limit > 0 ? (size_t)((state * 0x2545f4914f6cdd1du) >> 33) % limit : 0;
}

/* Puts `len` bytes in the place of `cut` bytes at `at`, as far as there is room. */
static size_t put(uint8_t *input, size_t size, size_t at, size_t cut, const uint8_t *bytes, size_t len)
{
    if (size - cut + len > INPUT_MAX_BYTES)
        return size;
    memmove(input + at + len, input + at + cut, size - at - cut);
    memcpy(input + at, bytes, len);
    return size - cut + len;
}

static size_t mutate(uint8_t *input, size_t size)
{
    static const char *const pieces[] = {"\r\n", "\n",          "\r", "\0", "\xff", "\xc3\xa9", ".", "-", " ",
                                         "0",    "99999999999", "\"", "{",  "}",    "=",        "%", "\\"};
    uint8_t piece[64];
    size_t at = below(size + 1), left = size - at;
    size_t len = 1 + below(8);
    switch (below(7)) {
    case 0:
        if (left > 0)
            input[at] ^= (uint8_t)(1u << below(8));
        return size;
    case 1:
        if (left > 0)
            input[at] = (uint8_t)below(256);
        return size;
    case 2:
        len = below(4) == 0 ? below(left + 1) : len;
        return put(input, size, at, len < left ? len : left, piece, 0);
    case 3: { /* a piece of itself again */
        size_t from = below(size + 1);
        len = size - from < sizeof piece ? size - from : sizeof piece;
        memcpy(piece, input + from, len);
        return put(input, size, at, 0, piece, len);
    }
    case 4: { /* the rest of another seed */
        const struct seed *other = &seeds[below(seed_count)];
        size_t from = below(other->size + 1);
        return put(input, size, at, left, other->data + from, other->size - from);
    }
    case 5: { /* a piece of another seed */
        const struct seed *other = &seeds[below(seed_count)];
        size_t from = below(other->size + 1), part = 1 + below(40);
        return put(input, size, at, 0, other->data + from, part < other->size - from ? part : other->size - from);
    }
    default: {
        const char *text = pieces[below(countof(pieces))];
        return put(input, size, at, 0, (const uint8_t *)text, text[0] == '\0' ? 1 : strlen(text));
    }
    }
}

static size_t number(const char *name, size_t otherwise)
{
    const char *value = getenv(name);
    return value != NULL ? (size_t)strtoull(value, NULL, 10) : otherwise;
}

static void run_mutations(void)
{
    size_t rounds = number("FUZZ_ROUNDS", ROUNDS_DEFAULT), done = 0;
    int64_t end_ms = clock_monotonic_ms() + (int64_t)number("FUZZ_SECONDS", SECONDS_DEFAULT) * 1000;
    uint8_t *input = malloc(INPUT_MAX_BYTES);
    state = number("FUZZ_SEED", 1) * 0x9e3779b97f4a7c15u + 1;
    for (; input != NULL && seed_count > 0 && done < rounds && clock_monotonic_ms() < end_ms; done++) {
        const struct seed *seed = &seeds[below(seed_count)];
        size_t size = seed->size;
        memcpy(input, seed->data, size);
        for (size_t times = 1 + below(5); times > 0; times--)
            size = mutate(input, size);
        run(input, size);
    }
    free(input);
    (void)printf("ok %u - mutations # %zu\n", ++cases, done);
}

int main(int argc, char **argv)
{
    program = argv[0];
    (void)signal(SIGABRT, on_fatal);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(save_current);
    } else {
        (void)signal(SIGSEGV, on_fatal);
        (void)signal(SIGBUS, on_fatal);
        (void)signal(SIGFPE, on_fatal);
    }
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    if (seed_count == 0)
        fail("corpus", "there is no seed");
    if (argc > 2 || seed_count > 1) /* one file alone is looked at alone */
        run_mutations();
    (void)printf("1..%u\n", cases);
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].data);
    return 0;
}
