/*
 * test_memory.c - the first allocation fails, then the second, and so on, until the operation gets through. Each
 * failure has to be reported as such and to leave what was there before; leaks are for the address sanitizer to find.
 *
 * The linker sends base's own allocations here (--wrap); those inside libconfuse and libidn2 are not reached.
 */
#include "unit.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/buffer.h"
#include "base/config.h"
#include "base/hashmap.h"
#include "base/heap.h"
#include "base/str.h"
#include "tests/unit/short_memory.h"

void *__real_reallocarray(void *memory, size_t count, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_reallocarray(void *memory, size_t count, size_t bytes);
char *__wrap_strdup(const char *text);

static unsigned allocations_left = UINT32_MAX; /* the one after them fails, and only that */
static bool failed_one;

static bool may_allocate(void)
{
    if (allocations_left-- > 0)
        return true;
    failed_one = true;
    allocations_left = UINT32_MAX;
    errno = ENOMEM;
    return false;
}

void *__wrap_reallocarray(void *memory, size_t count, size_t bytes)
{
    return may_allocate() ? __real_reallocarray(memory, count, bytes) : NULL;
}

char *__wrap_strdup(const char *text)
{
    return may_allocate() ? __real_strdup(text) : NULL;
}

static void fail_after(unsigned count)
{
    failed_one = false;
    allocations_left = count;
}

static void stop_failing(void)
{
    allocations_left = UINT32_MAX;
}

static void config_load_reports_each_failure(void **state)
{
    (void)state;
    static const char text[] = "hostname = \"a.example\" bounce_domain = \"b.example\" listen = \"[::1]:1\"\n"
                               "public_url = \"https://c.example/\" dns { server = \"::1\" }\n"
                               "route \"*\" { host = d.example }\n"
                               "source a { address = \"::1\" hostname = e.example }\n"
                               "pool p { sources = { a } }\n"
                               "profile q { mx = { .f.example, .g.example } domain = { h.example } }\n"
                               "domain i.example { connections = 1 }\n";
    char file[] = "/tmp/posthaste-alloc-XXXXXX";
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    assert_int_equal(close(fd), 0);
    unsigned failures = 0;
    for (;; failures++) {
        struct config *config = NULL;
        struct error err = {0};
        fail_after(failures);
        int rc = config_load(file, &config, &err);
        stop_failing();
        if (!failed_one) {
            assert_int_equal(rc, 0);
            char *shown = config_format(config);
            assert_non_null(shown);
            free(shown);
            config_free(config);
            break;
        }
        /* Only the host name of the machine may be done without. */
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_int_equal(rc == 0, config != NULL);
        if (rc < 0)
            assert_non_null(strstr(err.text, "memory"));
        config_free(config);
    }
    assert_true(failures > 30);
    assert_int_equal(unlink(file), 0);
}

static void config_format_gives_nothing_rather_than_half(void **state)
{
    (void)state;
    struct config *config;
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(config_load("/dev/null", &config, NULL), -EINVAL);
    assert_int_equal(config_load(NULL, &config, NULL), 0);
    for (unsigned n = 0;; n++) {
        fail_after(n);
        char *text = config_format(config);
        stop_failing();
        bool failed = failed_one;
        assert_int_equal(text == NULL, failed);
        free(text);
        if (!failed)
            break;
    }
    config_free(config);
}

static void containers_stay_as_they_were(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct heap_node nodes[N];
    static char keys[N][8];
    struct hashmap map = HASHMAP_INIT;
    struct heap heap = {0};
    for (size_t i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
        fail_after(0);
        int rc = hashmap_put(&map, keys[i], strlen(keys[i]), keys[i]);
        stop_failing();
        assert_int_equal(rc, failed_one ? -ENOMEM : 0);
        if (rc != 0) {
            assert_int_equal(map.count, i);
            assert_null(hashmap_get(&map, keys[i], strlen(keys[i])));
            assert_int_equal(hashmap_put(&map, keys[i], strlen(keys[i]), keys[i]), 0);
        }
        for (size_t j = 0; j <= i; j++)
            assert_ptr_equal(hashmap_get(&map, keys[j], strlen(keys[j])), keys[j]);

        fail_after(0);
        rc = heap_insert(&heap, &nodes[i], (int64_t)(N - i));
        stop_failing();
        assert_int_equal(rc, failed_one ? -ENOMEM : 0);
        if (rc != 0) {
            assert_int_equal(nodes[i].place, 0);
            assert_int_equal(heap_insert(&heap, &nodes[i], (int64_t)(N - i)), 0);
        }
        assert_ptr_equal(heap_first(&heap), &nodes[i]);
    }
    hashmap_finish(&map);
    heap_finish(&heap);
}

static void buffer_and_arena_report(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT(0);
    buffer_append_str(&buffer, "kept");
    fail_after(0);
    buffer_printf(&buffer, "%0300d", 1);
    stop_failing();
    assert_true(buffer.failed);
    assert_string_equal(buffer_text(&buffer), "kept");
    buffer_append_str(&buffer, "x");
    assert_string_equal(buffer_text(&buffer), "kept");
    assert_null(buffer_steal(&buffer, NULL));
    struct arena arena = ARENA_INIT(0);
    fail_after(0);
    assert_null(arena_dup(&arena, "text"));
    stop_failing();
    assert_int_equal(arena.used_bytes, 0);
    assert_string_equal(arena_dup(&arena, "text"), "text");
    arena_finish(&arena);
    fail_after(0);
    assert_null(str_dup("x"));
    fail_after(0);
    assert_null(str_dup_len("x", 1));
    stop_failing();
}

static void addresses_need_no_memory_of_ours(void **state)
{
    (void)state;
    struct address address;
    fail_after(0);
    assert_int_equal(address_parse("a@b\xc3\xbc"
                                   "cher.example",
                                   17, &address, NULL),
                     0);
    assert_false(failed_one);
    stop_failing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_load_reports_each_failure),
        cmocka_unit_test(config_format_gives_nothing_rather_than_half),
        cmocka_unit_test(containers_stay_as_they_were),
        cmocka_unit_test(buffer_and_arena_report),
        cmocka_unit_test(addresses_need_no_memory_of_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
