/*
 * test_dns.c - the resolver and the look-up on a real loop, against a name server of this program's own on loopback:
 * when callbacks come, what cancelling and closing leave behind, how many questions are out at once. What answers mean
 * is tested in test_mx.c and in tests/e2e/test_dns.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "engine/net/mx_lookup.h"
#include "tests/unit/short_memory.h"

#define DOMAINS 400

struct slot {
    struct scene *scene;
    struct dns_question *question; /* NULL: told or cancelled */
};

/* Of the engine itself; those of libunbound, on its thread, and of libuv do not count. The one after them fails, and
 * only that. */
static unsigned allocations_left = UINT32_MAX;

static bool may_allocate(void)
{
    if (allocations_left == UINT32_MAX || allocations_left-- > 0)
        return true;
    allocations_left = UINT32_MAX;
    return false;
}

/* The name server says NXDOMAIN to all, or nothing, or gives every domain two MX hosts with an address each. */
struct scene {
    struct loop loop;
    struct dns *dns;
    struct mx_lookup *lookup;
    uv_udp_t server;
    bool silent, rich;
    unsigned questions; /* that the server saw */
    unsigned answers, temporary;
    uint32_t outstanding_max; /* seen */
    bool inside;              /* a call of the interface is running: no callback may come */
    struct loop_timer step;
    void (*on_step)(struct scene *scene);
    struct mx_query *queries[DOMAINS];
    struct slot slots[DOMAINS];
    unsigned open, cancelled; /* of the slots */
    unsigned want;            /* answers, then the scene ends */
    char buffer[2048];
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct scene *scene = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(scene->buffer, sizeof scene->buffer);
}

static void answer_richly(uv_udp_t *server, unsigned char *packet, size_t len, const struct sockaddr *from)
{
    static const unsigned char mx[] = "\xc0\x0c\0\x0f\0\1\0\0\1\x2c\0\6\0\x0a\1a\xc0\x0c"
                                      "\xc0\x0c\0\x0f\0\1\0\0\1\x2c\0\6\0\x0a\1b\xc0\x0c";
    static const unsigned char a[] = "\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\x08\x08\x08\x08";
    size_t at = 12;
    while (at < len && packet[at] != 0)
        at += packet[at] + 1u;
    at += 5; /* the root label, type and class: the end of the question */
    assert_true(at <= len && at + sizeof mx <= sizeof((struct scene *)0)->buffer);
    unsigned type = packet[at - 3];
    const unsigned char *records = type == DNS_MX ? mx : a;
    size_t bytes = type == DNS_MX ? sizeof mx - 1 : type == DNS_A ? sizeof a - 1 : 0;
    memcpy(packet + at, records, bytes);
    packet[2] = 0x84;
    packet[3] = 0;
    packet[7] = type == DNS_MX ? 2 : type == DNS_A ? 1 : 0;
    packet[9] = packet[11] = 0; /* the question's EDNS is overwritten */
    uv_buf_t reply = uv_buf_init((char *)packet, (unsigned)(at + bytes));
    (void)uv_udp_try_send(server, &reply, 1, from);
}

static void on_question(uv_udp_t *server, ssize_t len, const uv_buf_t *buffer, const struct sockaddr *from,
                        unsigned flags)
{
    struct scene *scene = server->data;
    (void)flags;
    if (len < 12 || from == NULL)
        return;
    scene->questions++;
    if (scene->silent)
        return;
    if (scene->rich) {
        answer_richly(server, (unsigned char *)buffer->base, (size_t)len, from);
        return;
    }
    buffer->base[2] = (char)0x84; /* an answer, with authority */
    buffer->base[3] = 3;          /* NXDOMAIN */
    uv_buf_t reply = uv_buf_init(buffer->base, (unsigned)len);
    (void)uv_udp_try_send(server, &reply, 1, from);
}

static void on_event(void *context)
{
    (void)context;
}

static void leave(struct scene *scene)
{
    loop_timer_remove(&scene->loop, &scene->step);
    mx_lookup_close(scene->lookup);
    dns_close(scene->dns);
    uv_close((uv_handle_t *)&scene->server, NULL);
    loop_stop(&scene->loop);
}

static void on_timer(struct loop_timer *timer)
{
    struct scene *scene = container_of(timer, struct scene, step);
    scene->on_step(scene);
}

static struct scene *scene_open(uint32_t outstanding_max, int64_t deadline_ms)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct loop_events events = {.on_wake = on_event, .on_turn = on_event, .context = scene};
    struct error err = {0};
    struct sockaddr_in address;
    int len = sizeof address;
    char server[64];
    assert_non_null(scene);
    assert_int_equal(loop_init(&scene->loop, &events, &err), 0);
    assert_int_equal(uv_udp_init(&scene->loop.uv, &scene->server), 0);
    scene->server.data = scene;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_udp_bind(&scene->server, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_udp_recv_start(&scene->server, on_alloc, on_question), 0);
    assert_int_equal(uv_udp_getsockname(&scene->server, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(server, sizeof server, "127.0.0.1@%u", ntohs(address.sin_port));
    struct dns_options dns = {.server = server, .outstanding_max = outstanding_max};
    struct mx_lookup_options lookup = MX_LOOKUP_OPTIONS_DEFAULT;
    lookup.deadline_ms = deadline_ms;
    assert_int_equal(dns_open(&scene->loop, &dns, &scene->dns, &err), 0);
    assert_int_equal(mx_lookup_open(&scene->loop, scene->dns, &lookup, &scene->lookup, &err), 0);
    assert_int_equal(loop_timer_add(&scene->loop, &scene->step, on_timer), 0);
    return scene;
}

/* Runs until leave(). */
static void scene_run(struct scene *scene)
{
    loop_run(&scene->loop);
    loop_finish(&scene->loop);
}

static void note_outstanding(struct scene *scene)
{
    scene->outstanding_max = MAX_OF(scene->outstanding_max, dns_outstanding(scene->dns));
}

static void step_now(struct scene *scene, void (*on_step)(struct scene *scene))
{
    scene->on_step = on_step;
    loop_timer_set(&scene->loop, &scene->step, scene->loop.now_ms);
}

static void on_answer(void *context, struct mx_set *set, int64_t lifetime_ms)
{
    struct scene *scene = context;
    assert_false(scene->inside);
    assert_true(lifetime_ms > 0);
    scene->answers++;
    scene->temporary += set->status == MX_TEMPORARY;
    note_outstanding(scene);
    if (scene->answers == scene->want)
        step_now(scene, leave);
}

static void ask_all(struct scene *scene, unsigned count, unsigned names)
{
    scene->inside = true;
    for (unsigned i = 0; i < count; i++) {
        char domain[32];
        (void)snprintf(domain, sizeof domain, "d%u.test", i % names);
        scene->queries[i] = mx_ask(scene->lookup, domain, on_answer, scene);
        assert_non_null(scene->queries[i]);
    }
    scene->inside = false;
}

static void all_are_answered_and_few_are_out_at_once(void **state)
{
    (void)state;
    struct scene *scene = scene_open(16, 30000);
    scene->want = DOMAINS;
    ask_all(scene, DOMAINS, DOMAINS);
    assert_int_equal(scene->answers, 0);
    assert_int_equal(dns_waiting(scene->dns), DOMAINS);
    scene_run(scene);
    assert_int_equal(scene->answers, DOMAINS);
    assert_int_equal(scene->temporary, 0);
    assert_in_range(scene->outstanding_max, 2, 16);
    free(scene);
}

static void those_who_ask_at_once_share_a_question(void **state)
{
    (void)state;
    struct scene *scene = scene_open(0, 30000);
    scene->want = DOMAINS;
    ask_all(scene, DOMAINS, 3);
    struct mx_lookup_counts counts = mx_lookup_counts(scene->lookup);
    assert_int_equal(counts.looked_up, 3);
    assert_int_equal(counts.running, 3);
    scene_run(scene);
    assert_int_equal(scene->answers, DOMAINS);
    assert_int_equal(scene->questions, 3);
    free(scene);
}

static void ask_once_more(struct scene *scene)
{
    unsigned before = scene->answers;
    scene->want = before + 5;
    ask_all(scene, 5, 5);
    assert_int_equal(scene->answers, before);
    assert_int_equal(mx_lookup_counts(scene->lookup).cached, 5);
}

static void on_first_answers(void *context, struct mx_set *set, int64_t lifetime_ms)
{
    struct scene *scene = context;
    (void)set;
    (void)lifetime_ms;
    if (++scene->answers == 5)
        step_now(scene, ask_once_more);
}

static void a_known_answer_comes_later_too(void **state)
{
    (void)state;
    struct scene *scene = scene_open(0, 30000);
    for (unsigned i = 0; i < 5; i++) {
        char domain[32];
        (void)snprintf(domain, sizeof domain, "d%u.test", i);
        assert_non_null(mx_ask(scene->lookup, domain, on_first_answers, scene));
    }
    scene_run(scene);
    assert_int_equal(scene->answers, 10);
    assert_int_equal(scene->questions, 5);
    free(scene);
}

static void the_deadline_ends_a_silent_look_up(void **state)
{
    (void)state;
    struct scene *scene = scene_open(8, 300);
    scene->silent = true;
    scene->want = 20;
    ask_all(scene, 20, 20);
    scene_run(scene);
    assert_int_equal(scene->temporary, 20);
    assert_in_range(scene->outstanding_max, 1, 8);
    free(scene);
}

static void wait_for_questions(struct scene *scene)
{
    if (scene->questions < 8) {
        loop_timer_set(&scene->loop, &scene->step, scene->loop.now_ms + 5);
        return;
    }
    for (unsigned i = 0; i < DOMAINS; i += 2)
        mx_cancel(scene->queries[i]);
    leave(scene);
}

static void closing_forgets_what_is_asked(void **state)
{
    (void)state;
    struct scene *scene = scene_open(8, 30000);
    scene->silent = true;
    ask_all(scene, DOMAINS, DOMAINS);
    step_now(scene, wait_for_questions);
    scene_run(scene);
    assert_int_equal(scene->answers, 0);
    free(scene);
}

static void closing_before_anything_was_sent(void **state)
{
    (void)state;
    struct scene *scene = scene_open(8, 30000);
    ask_all(scene, DOMAINS, DOMAINS);
    leave(scene);
    scene_run(scene);
    assert_int_equal(scene->answers, 0);
    assert_int_equal(scene->questions, 0);
    free(scene);
}

static void on_sent(void *context)
{
    struct slot *slot = context;
    assert_false(slot->scene->inside);
    note_outstanding(slot->scene);
}

/* Each answer cancels some question that is still there, whatever its state: waiting, sent, or answered and not told
 * yet. */
static void on_slot(void *context, const struct dns_answer *answer)
{
    struct slot *slot = context;
    struct scene *scene = slot->scene;
    assert_false(scene->inside);
    assert_non_null(slot->question);
    assert_int_equal(answer->status, DNS_NO_NAME);
    slot->question = NULL;
    scene->answers++;
    scene->open--;
    struct slot *victim = &scene->slots[scene->answers * 37 % DOMAINS];
    if (victim->question != NULL) {
        dns_cancel(victim->question);
        victim->question = NULL;
        scene->cancelled++;
        scene->open--;
    }
    if (scene->open == 0)
        step_now(scene, leave);
}

static void questions_are_cancelled_in_every_state(void **state)
{
    (void)state;
    static const struct dns_events events = {.sent = on_sent, .answered = on_slot};
    struct scene *scene = scene_open(32, 30000);
    scene->inside = true;
    scene->open = DOMAINS;
    for (unsigned i = 0; i < DOMAINS; i++) {
        char name[32];
        struct slot *slot = &scene->slots[i];
        (void)snprintf(name, sizeof name, "q%u.test", i);
        slot->scene = scene;
        slot->question = dns_ask(scene->dns, name, DNS_A, i % 3 == 0, &events, slot);
        assert_non_null(slot->question);
    }
    scene->inside = false;
    scene_run(scene);
    assert_int_equal(scene->answers + scene->cancelled, DOMAINS);
    assert_true(scene->cancelled > DOMAINS / 8);
    assert_in_range(scene->outstanding_max, 2, 32);
    free(scene);
}

/* Two domains, with the n-th allocation failing. Returns how many answers were complete. */
static unsigned run_without_memory(unsigned n, bool *failed)
{
    struct scene *scene = scene_open(0, 30000);
    unsigned refused = 0, complete;
    scene->rich = true;
    allocations_left = n;
    for (unsigned i = 0; i < 2; i++)
        refused += mx_ask(scene->lookup, i == 0 ? "one.test" : "two.test", on_answer, scene) == NULL;
    scene->want = 2 - refused;
    if (scene->want == 0)
        step_now(scene, leave);
    loop_run(&scene->loop);
    *failed = allocations_left == UINT32_MAX;
    allocations_left = UINT32_MAX;
    loop_finish(&scene->loop);
    assert_int_equal(scene->answers + refused, 2);
    complete = scene->answers - scene->temporary;
    free(scene);
    return complete;
}

static void without_memory_there_is_an_answer_all_the_same(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned n = 0; failed; n++) {
        assert_true(n < 1000);
        unsigned complete = run_without_memory(n, &failed);
        assert_in_range(complete, failed ? 1 : 2, 2);
        assert_true(failed || n > 10);
    }
}

static void settings_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct dns_options table[] = {
        {.server = "example.com"},
        {.server = "127.0.0.1@x"},
        {.resolv_conf = "/nonexistent/resolv.conf"},
        {.server = "127.0.0.1", .trust_anchor_file = "/nonexistent/root.key"},
    };
    struct loop loop;
    struct loop_events events = {.on_wake = on_event, .on_turn = on_event};
    struct error err = {0};
    assert_int_equal(loop_init(&loop, &events, &err), 0);
    for (size_t i = 0; i < countof(table); i++) {
        struct dns *dns;
        err.text[0] = '\0';
        assert_true(dns_open(&loop, &table[i], &dns, &err) < 0);
        assert_null(dns);
        assert_string_not_equal(err.text, "");
    }
    loop_finish(&loop);
    dns_close(NULL);
    dns_cancel(NULL);
    mx_lookup_close(NULL);
    mx_cancel(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_answered_and_few_are_out_at_once),
        cmocka_unit_test(those_who_ask_at_once_share_a_question),
        cmocka_unit_test(a_known_answer_comes_later_too),
        cmocka_unit_test(the_deadline_ends_a_silent_look_up),
        cmocka_unit_test(closing_forgets_what_is_asked),
        cmocka_unit_test(closing_before_anything_was_sent),
        cmocka_unit_test(questions_are_cancelled_in_every_state),
        cmocka_unit_test(without_memory_there_is_an_answer_all_the_same),
        cmocka_unit_test(settings_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
