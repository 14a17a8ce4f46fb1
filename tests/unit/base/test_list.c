/* test_list.c - the intrusive list. */
#include "unit.h"

#include "base/list.h"

struct item {
    int value;
    struct list link;
};

static int sum_in_order(struct list *head)
{
    int sum = 0;
    list_for_each(pos, head) sum = sum * 10 + list_entry(pos, struct item, link)->value;
    return sum;
}

static void append_prepend_remove_take(void **state)
{
    (void)state;
    struct item items[4] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}};
    struct list head;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_take_first(&head));
    list_append(&head, &items[1].link);
    list_append(&head, &items[2].link);
    list_prepend(&head, &items[0].link);
    list_append(&head, &items[3].link);
    assert_int_equal(sum_in_order(&head), 1234);
    list_remove(&items[2].link);
    list_remove(&items[2].link); /* harmless the second time */
    assert_int_equal(sum_in_order(&head), 124);
    assert_ptr_equal(list_take_first(&head), &items[0].link);
    list_for_each_safe(pos, &head) list_remove(pos);
    assert_true(list_empty(&head));
}

static void splice_moves_all_in_order(void **state)
{
    (void)state;
    struct item items[4] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}};
    struct list a = LIST_INIT(a);
    struct list b = LIST_INIT(b);
    list_splice(&a, &b);
    assert_true(list_empty(&a));
    list_append(&a, &items[0].link);
    list_append(&a, &items[1].link);
    list_append(&b, &items[2].link);
    list_append(&b, &items[3].link);
    list_splice(&a, &b);
    assert_true(list_empty(&b));
    assert_int_equal(sum_in_order(&a), 1234);
    list_splice(&b, &a);
    assert_true(list_empty(&a));
    assert_int_equal(sum_in_order(&b), 1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_prepend_remove_take),
        cmocka_unit_test(splice_moves_all_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
