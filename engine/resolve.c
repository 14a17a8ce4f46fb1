/*
 * resolve.c - the resolver's thread: a loop with a `struct dns` of its own, fed through an inbox.
 *
 * Why not the loops of the engine: their resolvers belong to the sending, and a check that a person waits for must work
 * before an engine runs, and without one. libunbound's context is made with the first question, so that a server which
 * is never asked has none.
 *
 * A question is answered once: by libunbound, by its deadline, or by the end. Who waits does so on a condition of its
 * own, on a clock that cannot jump, and trusts the deadline here, so that nothing is shared with an asker who has left.
 */
#include "engine/resolve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/inbox.h"
#include "base/str.h"
#include "engine/net/dns_config.h"
#include "engine/resolve_private.h"

struct resolver {
    struct loop loop;
    pthread_t thread;
    struct inbox inbox; /* question.node */
    struct list open;   /* question.node: taken in, not answered */
    struct dns *dns;    /* NULL until the first question */
    struct dns_settings settings;
    bool ending;
};

struct question {
    struct list node;
    struct resolver *resolver;
    struct dns_question *asked; /* NULL = answered */
    struct loop_timer timer;
    bool timed; /* the timer is in the heap */
    enum resolve_type type;
    int64_t timeout_ms;
    resolve_cb *answered;
    void *context;
    struct resolve_answer *spare; /* for when there is no memory later */
    char name[];
};

static void question_free(struct question *question)
{
    if (question->timed)
        loop_timer_remove(&question->resolver->loop, &question->timer);
    dns_cancel(question->asked);
    list_remove(&question->node);
    resolve_answer_free(question->spare);
    free(question);
}

/* The question is gone after it. `answer` NULL: no memory for it. */
static void answer_with(struct question *question, struct resolve_answer *answer)
{
    if (answer == NULL) {
        answer = question->spare;
        question->spare = NULL;
    }
    question->answered(question->context, answer);
    question_free(question);
}

static void on_answer(void *context, const struct dns_answer *answer)
{
    struct question *question = context;
    question->asked = NULL;
    answer_with(question, resolve_answer_make(question->type, answer));
}

static const struct dns_events question_events = {.answered = on_answer};

static void on_timeout(struct loop_timer *timer)
{
    answer_with(container_of(timer, struct question, timer), resolve_answer_failed("no answer in time"));
}

static void begin(struct resolver *resolver, struct question *question)
{
    struct error err = {""};
    list_append(&resolver->open, &question->node);
    if (resolver->dns == NULL && dns_open(&resolver->loop, &resolver->settings.options, &resolver->dns, &err) < 0) {
        resolver->dns = NULL;
        answer_with(question, resolve_answer_failed(err.text));
        return;
    }
    if (loop_timer_add(&resolver->loop, &question->timer, on_timeout) == 0) {
        question->timed = true;
        loop_timer_set(&resolver->loop, &question->timer, resolver->loop.now_ms + question->timeout_ms);
        question->asked =
            dns_ask(resolver->dns, question->name, (enum dns_type)question->type, true, &question_events, question);
    }
    if (question->asked == NULL)
        answer_with(question, NULL);
}

static void end(struct resolver *resolver)
{
    while (!list_empty(&resolver->open))
        answer_with(list_entry(resolver->open.next, struct question, node),
                    resolve_answer_failed("the program is stopping"));
    dns_close(resolver->dns);
    resolver->dns = NULL;
    loop_stop(&resolver->loop);
}

static void on_wake(void *context)
{
    struct resolver *resolver = context;
    struct list questions = LIST_INIT(questions);
    struct list *node;
    bool closed = inbox_closed(&resolver->inbox);
    (void)inbox_take(&resolver->inbox, &questions);
    while ((node = list_take_first(&questions)) != NULL)
        begin(resolver, list_entry(node, struct question, node));
    if (closed && !resolver->ending) {
        resolver->ending = true;
        end(resolver);
    }
}

static void on_turn(void *context)
{
    (void)context;
}

static void wake(void *context)
{
    loop_wake(&((struct resolver *)context)->loop);
}

static void *run(void *context)
{
    loop_run(&((struct resolver *)context)->loop);
    return NULL;
}

static int start_thread(struct resolver *resolver, struct error *err)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    int r = pthread_create(&resolver->thread, NULL, run, resolver);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r != 0 ? error_errno(err, -r, "cannot start the resolver's thread") : 0;
}

int resolver_start(const struct config *config, struct resolver **out, struct error *err)
{
    *out = NULL;
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (resolver == NULL)
        return error_memory(err);
    const struct loop_events events = {.on_wake = on_wake, .on_turn = on_turn, .context = resolver};
    list_init(&resolver->open);
    int r = dns_settings_make(config, &resolver->settings, err);
    if (r == 0)
        r = loop_init(&resolver->loop, &events, err);
    if (r < 0) {
        dns_settings_finish(&resolver->settings);
        free(resolver);
        return r;
    }
    r = inbox_init(&resolver->inbox, wake, resolver);
    if (r < 0)
        (void)error_memory(err);
    else if ((r = start_thread(resolver, err)) < 0)
        inbox_finish(&resolver->inbox);
    if (r < 0) {
        loop_finish(&resolver->loop);
        dns_settings_finish(&resolver->settings);
        free(resolver);
        return r;
    }
    *out = resolver;
    return 0;
}

void resolver_stop(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    inbox_close(&resolver->inbox); /* wakes the loop */
    (void)pthread_join(resolver->thread, NULL);
    inbox_finish(&resolver->inbox);
    loop_finish(&resolver->loop);
    dns_settings_finish(&resolver->settings);
    free(resolver);
}

int resolver_ask(struct resolver *resolver, const char *name, enum resolve_type type, int64_t timeout_ms,
                 resolve_cb *answered, void *context)
{
    size_t bytes = strlen(name) + 1;
    struct question *question = calloc(1, sizeof *question + bytes);
    struct resolve_answer *spare = resolve_answer_failed("out of memory");
    if (question == NULL || spare == NULL) {
        free(question);
        resolve_answer_free(spare);
        return -ENOMEM;
    }
    memcpy(question->name, name, bytes);
    list_init(&question->node);
    question->resolver = resolver;
    question->type = type;
    question->timeout_ms = MAX_OF(timeout_ms, (int64_t)1);
    question->answered = answered;
    question->context = context;
    question->spare = spare;
    int r = inbox_send(&resolver->inbox, &question->node);
    assure(r == 0); /* nobody asks a resolver that is being stopped */
    return 0;
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t told;
    struct resolve_answer *answer;
};

static void on_waited(void *context, struct resolve_answer *answer)
{
    struct waiter *waiter = context;
    (void)pthread_mutex_lock(&waiter->lock);
    waiter->answer = answer;
    (void)pthread_cond_signal(&waiter->told);
    (void)pthread_mutex_unlock(&waiter->lock);
}

struct resolve_answer *resolver_wait(struct resolver *resolver, const char *name, enum resolve_type type,
                                     int64_t timeout_ms)
{
    struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
    if (resolver_ask(resolver, name, type, timeout_ms, on_waited, &waiter) < 0)
        return NULL;
    (void)pthread_mutex_lock(&waiter.lock);
    while (waiter.answer == NULL)
        (void)pthread_cond_wait(&waiter.told, &waiter.lock);
    (void)pthread_mutex_unlock(&waiter.lock);
    (void)pthread_cond_destroy(&waiter.told);
    (void)pthread_mutex_destroy(&waiter.lock);
    return waiter.answer;
}

void resolver_wait_addresses(struct resolver *resolver, const char *host, bool allow_private, int64_t timeout_ms,
                             struct resolve_addresses *out)
{
    static const enum resolve_type types[] = {RESOLVE_A, RESOLVE_AAAA};
    *out = (struct resolve_addresses){.count = 0};
    for (size_t t = 0; t < countof(types); t++) {
        struct resolve_answer *answer = resolver_wait(resolver, host, types[t], timeout_ms);
        out->answers[t] = answer;
        for (size_t i = 0; answer != NULL && i < answer->count && out->count < RESOLVE_ADDRESSES_MAX; i++) {
            const char *address = answer->records[i].text;
            if (allow_private || !resolve_address_is_private(address))
                out->text[out->count++] = address;
        }
    }
}

void resolve_addresses_finish(struct resolve_addresses *addresses)
{
    resolve_answer_free(addresses->answers[0]);
    resolve_answer_free(addresses->answers[1]);
}
