/*
 * test_memory.c - facts about servers hold until their time, and their number is bounded.
 */
#include "engine/site/memory.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_hold_until_their_time),
        cmocka_unit_test(the_oldest_is_forgotten_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
