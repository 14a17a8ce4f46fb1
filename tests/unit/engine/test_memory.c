/*
 * test_memory.c - facts about servers hold until their time, and their number is bounded.
 */
#include "engine/site/memory.h"
#include <unistd.h>

#include "tests/unit/engine/unit.h"

static void facts_hold_until_their_time(void **state)
{
    (void)state;
    struct memory memory;
    memory_init(&memory);
    assert_false(memory_knows(&memory, "a", MEMORY_SLOW, 0));
    memory_note(&memory, "a", MEMORY_SLOW, 100);
    assert_true(memory_knows(&memory, "a", MEMORY_SLOW, 99));
    assert_false(memory_knows(&memory, "a", MEMORY_SLOW, 100));
    assert_false(memory_knows(&memory, "a", MEMORY_DOWN, 0));
    assert_false(memory_knows(&memory, "b", MEMORY_SLOW, 0));
    memory_note(&memory, "a", MEMORY_DOWN, 200);
    memory_forget(&memory, "a", MEMORY_SLOW);
    memory_forget(&memory, "c", MEMORY_SLOW);
    assert_false(memory_knows(&memory, "a", MEMORY_SLOW, 0));
    assert_true(memory_knows(&memory, "a", MEMORY_DOWN, 150));
    memory_finish(&memory);
}

static void what_held_until_lately_is_known_to_have(void **state)
{
    (void)state;
    struct memory memory;
    memory_init(&memory);
    assert_false(memory_knew(&memory, "a", MEMORY_NO_TLS, 50, 1000));
    memory_note(&memory, "a", MEMORY_DOWN, 10);
    assert_false(memory_knew(&memory, "a", MEMORY_NO_TLS, 50, 1000)); /* soon after the clock began */
    memory_note(&memory, "a", MEMORY_NO_TLS, 100);
    assert_false(memory_knew(&memory, "a", MEMORY_NO_TLS, 99, 1000)); /* holds still */
    assert_true(memory_knew(&memory, "a", MEMORY_NO_TLS, 100, 1000));
    assert_true(memory_knew(&memory, "a", MEMORY_NO_TLS, 1099, 1000));
    assert_false(memory_knew(&memory, "a", MEMORY_NO_TLS, 1100, 1000));
    memory_forget(&memory, "a", MEMORY_NO_TLS);
    assert_false(memory_knew(&memory, "a", MEMORY_NO_TLS, 500, 1000));
    memory_finish(&memory);
}

static void the_oldest_is_forgotten_first(void **state)
{
    (void)state;
    struct memory memory;
    char name[32];
    memory_init(&memory);
    for (int i = 0; i < MEMORY_ENTRIES_MAX + 10; i++) {
        (void)snprintf(name, sizeof name, "site%d", i);
        memory_note(&memory, name, MEMORY_DOWN, 100);
        memory_note(&memory, "site0", MEMORY_DOWN, 100); /* noted again: stays */
    }
    assert_int_equal(memory.count, MEMORY_ENTRIES_MAX);
    assert_true(memory_knows(&memory, "site0", MEMORY_DOWN, 0));
    assert_false(memory_knows(&memory, "site1", MEMORY_DOWN, 0));
    assert_true(memory_knows(&memory, name, MEMORY_DOWN, 0));
    memory_finish(&memory);
}

/* The clock of the monotonic kind begins anew; the wall's goes on. */
static void lasting_facts_survive_a_restart(void **state)
{
    (void)state;
    const int64_t wall_ms = 1790000000000, hour_ms = 3600000;
    char dir[] = "/tmp/test_memory_XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    struct memory memory;
    memory_init(&memory);
    memory_note(&memory, "(mx1|mx2).example.com", MEMORY_SLOW, 1000 + 2 * hour_ms);
    memory_note(&memory, "a.example", MEMORY_NO_CHUNKING, 1000 + hour_ms);
    memory_note(&memory, "192.0.2.1:25", MEMORY_NO_TLS, 1000 + 20 * hour_ms);
    memory_note(&memory, "192.0.2.1:25", MEMORY_DOWN, 1000 + hour_ms);
    memory_note(&memory, "b.example", MEMORY_SLOW, 1000 + hour_ms);
    memory_forget(&memory, "b.example", MEMORY_SLOW);
    memory_save(&memory, dir, 3, 1000, wall_ms);
    assert_false(memory.changed);
    memory_finish(&memory);

    memory_init(&memory);
    memory_load(&memory, dir, 500, wall_ms + hour_ms + 1000);
    assert_true(memory_knows(&memory, "(mx1|mx2).example.com", MEMORY_SLOW, 500));
    assert_false(memory_knows(&memory, "(mx1|mx2).example.com", MEMORY_SLOW, 500 + hour_ms));
    assert_false(memory_knows(&memory, "a.example", MEMORY_NO_CHUNKING, 500));
    assert_true(memory_knows(&memory, "192.0.2.1:25", MEMORY_NO_TLS, 500));
    assert_false(memory_knows(&memory, "192.0.2.1:25", MEMORY_DOWN, 500));
    assert_false(memory_knows(&memory, "b.example", MEMORY_SLOW, 500));
    assert_false(memory.changed);
    memory_finish(&memory);

    /* Damaged, or from a clock that was wrong: what makes sense is kept. */
    (void)snprintf(path, sizeof path, "%s/site-memory.0", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("slow\n\nslow x y\nslow 1790000060 good.example\nslow 9990000000 far.example\nwhat 1790000060 "
                "c.example\nslow 1790000060 cut",
                file);
    (void)fclose(file);
    memory_init(&memory);
    memory_load(&memory, dir, 0, wall_ms);
    assert_true(memory_knows(&memory, "good.example", MEMORY_SLOW, 0));
    assert_false(memory_knows(&memory, "far.example", MEMORY_SLOW, 0));
    assert_false(memory_knows(&memory, "cut", MEMORY_SLOW, 0));
    assert_int_equal(memory.count, 4);
    memory_finish(&memory);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/site-memory.3", dir);
    (void)unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_hold_until_their_time),
        cmocka_unit_test(what_held_until_lately_is_known_to_have),
        cmocka_unit_test(the_oldest_is_forgotten_first),
        cmocka_unit_test(lasting_facts_survive_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
