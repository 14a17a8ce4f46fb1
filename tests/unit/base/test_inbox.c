/* test_inbox.c - batches, one wake-up for many messages, closing, nudging, and many senders at once. */
#include "unit.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/inbox.h"

struct letter {
    struct list link;
    unsigned sender, number;
};

static void count_wake(void *context)
{
    atomic_fetch_add((_Atomic int *)context, 1);
}

static void one_wake_serves_a_batch(void **state)
{
    (void)state;
    struct inbox inbox;
    _Atomic int wakes = 0;
    assert_int_equal(inbox_init(&inbox, count_wake, &wakes), 0);
    struct letter letters[4];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(inbox_send(&inbox, &letters[i].link), 0);
    assert_int_equal(atomic_load(&wakes), 1);
    struct list got;
    list_init(&got);
    assert_true(inbox_take(&inbox, &got));
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(list_take_first(&got), &letters[i].link);
    assert_true(list_empty(&got));
    assert_false(inbox_take(&inbox, &got));
    assert_int_equal(inbox_send(&inbox, &letters[3].link), 0);
    assert_int_equal(atomic_load(&wakes), 2);
    assert_true(inbox_take(&inbox, &got));
    inbox_nudge(&inbox);
    assert_int_equal(atomic_load(&wakes), 3);
    inbox_finish(&inbox);
}

static void closed_inbox_refuses_and_leaves_the_nodes(void **state)
{
    (void)state;
    struct inbox inbox;
    assert_int_equal(inbox_init(&inbox, NULL, NULL), 0);
    struct letter letters[3];
    struct list batch;
    list_init(&batch);
    assert_int_equal(inbox_send_all(&inbox, &batch), 0);
    assert_int_equal(inbox_send(&inbox, &letters[0].link), 0);
    assert_false(inbox_closed(&inbox));
    inbox_close(&inbox);
    assert_true(inbox_closed(&inbox));
    assert_int_equal(inbox_send(&inbox, &letters[1].link), -EPIPE);
    assert_true(list_empty(&letters[1].link));
    list_append(&batch, &letters[1].link);
    list_append(&batch, &letters[2].link);
    assert_int_equal(inbox_send_all(&inbox, &batch), -EPIPE);
    assert_ptr_equal(list_take_first(&batch), &letters[1].link);
    assert_ptr_equal(list_take_first(&batch), &letters[2].link);
    /* What was sent before the closing is still delivered; after it a wait never blocks. */
    struct list got;
    list_init(&got);
    assert_true(inbox_wait(&inbox, &got, -1));
    assert_ptr_equal(list_take_first(&got), &letters[0].link);
    assert_false(inbox_wait(&inbox, &got, -1));
    inbox_finish(&inbox);
}

static void wait_ends_by_time_and_by_an_earlier_nudge(void **state)
{
    (void)state;
    struct inbox inbox;
    assert_int_equal(inbox_init(&inbox, NULL, NULL), 0);
    struct list got;
    list_init(&got);
    int64_t before = clock_monotonic_us();
    assert_false(inbox_wait(&inbox, &got, 20));
    assert_true(clock_monotonic_us() - before >= 20000);
    assert_false(inbox_wait(&inbox, &got, 0));
    inbox_nudge(&inbox);
    assert_false(inbox_wait(&inbox, &got, -1)); /* would hang if the nudge were lost */
    inbox_finish(&inbox);
}

enum { SENDERS = 4, LETTERS = 5000 };

struct sender {
    struct inbox *inbox;
    struct letter *letters;
    unsigned number;
};

static void *send_letters(void *context)
{
    struct sender *sender = context;
    for (unsigned i = 0; i < LETTERS; i++) {
        sender->letters[i] = (struct letter){.sender = sender->number, .number = i};
        if (inbox_send(sender->inbox, &sender->letters[i].link) != 0)
            return sender;
    }
    return NULL;
}

static void many_senders_lose_nothing_and_keep_their_order(void **state)
{
    (void)state;
    struct inbox inbox;
    assert_int_equal(inbox_init(&inbox, NULL, NULL), 0);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&inbox, calloc(LETTERS, sizeof(struct letter)), i};
        assert_non_null(senders[i].letters);
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    unsigned next[SENDERS] = {0};
    unsigned total = 0;
    while (total < SENDERS * LETTERS) {
        struct list got;
        list_init(&got);
        assert_true(inbox_wait(&inbox, &got, 30000));
        for (struct list *node; (node = list_take_first(&got)) != NULL; total++) {
            struct letter *letter = list_entry(node, struct letter, link);
            assert_int_equal(letter->number, next[letter->sender]);
            next[letter->sender]++;
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        void *result = &inbox;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
        free(senders[i].letters);
    }
    inbox_finish(&inbox);
}

static void *close_inbox(void *context)
{
    inbox_close(context);
    return NULL;
}

static void closing_wakes_a_waiting_receiver(void **state)
{
    (void)state;
    struct inbox inbox;
    assert_int_equal(inbox_init(&inbox, NULL, NULL), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, close_inbox, &inbox), 0);
    struct list got;
    list_init(&got);
    assert_false(inbox_wait(&inbox, &got, -1));
    assert_true(inbox_closed(&inbox));
    assert_int_equal(pthread_join(thread, NULL), 0);
    inbox_finish(&inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_wake_serves_a_batch),
        cmocka_unit_test(closed_inbox_refuses_and_leaves_the_nodes),
        cmocka_unit_test(wait_ends_by_time_and_by_an_earlier_nudge),
        cmocka_unit_test(many_senders_lose_nothing_and_keep_their_order),
        cmocka_unit_test(closing_wakes_a_waiting_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
