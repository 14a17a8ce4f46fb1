/*
 * pool.c - see pool.h. Plain queues under a mutex: at 10,000 messages a second and 240 us for each signature the lock is free almost always.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

#include "campaign/message/message.h"
#include "campaign/message/pool.h"
#include "campaign/schedule/run.h"
#include "campaign/single/contents.h"

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct list urgent, queue; /* delivery.node */
    struct engine *engine;
    struct contents *contents;
    bool stopping;
    unsigned idle;     /* threads that wait: no signal is due when there is none */
    unsigned count;
    struct pool_thread {
        struct pool *pool;
        struct composer *composer;
        pthread_t thread;
    } threads[];
};

/* What the engine is lent, with its bytes. */
struct letter {
    struct engine_message message;
    struct composed composed;
};

static void letter_release(struct engine_message *message)
{
    struct letter *letter = container_of(message, struct letter, message);
    free(letter->composed.block);
    free(letter);
}

/* A campaign's, or the message's own. */
static int find_content(struct contents *contents, struct delivery *delivery, struct content **out, struct error *err)
{
    if (delivery->content == NULL)
        return contents_get(contents, delivery->run->id, delivery->content_id, out, err);
    *out = content_ref(delivery->content);
    return 0;
}

static void compose(struct composer *composer, struct pool *pool, struct engine *engine, struct delivery *delivery)
{
    struct error err = {""};
    struct letter *letter = calloc(1, sizeof(*letter));
    struct message_recipient recipient = {
        .id = delivery->recipient_id,
        .email = delivery->trial != NULL ? delivery->shown : delivery->job.rcpt_to,
        .attributes_json = delivery->attributes,
        .trial = delivery->trial,
    };
    struct content *content = NULL;
    int result = letter == NULL ? error_memory(&err) : find_content(pool->contents, delivery, &content, &err);
    bool later = result != 0 && result != -EINVAL;
    /* What is wrong with the content is so the second time, too. Want of memory passes, and is not always known for what
     * it is: a parser of ours or of a library may take it for bad input. */
    for (int tries = 0; content != NULL && (tries == 0 || (result != 0 && result != -ENOMEM && tries < 2)); tries++)
        result = message_compose(composer, content_newest(content), &recipient, clock_wall_ms(), &letter->composed, &err);
    content_unref(content);
    if (result != 0) {
        free(letter);
        delivery->compose_later = later || result == -ENOMEM;
        engine_composed(engine, &delivery->job, NULL, err.text);
        return;
    }
    delivery->missing_attributes = letter->composed.missing;
    letter->message = (struct engine_message){
        .mail_from = letter->composed.mail_from,
        .data = letter->composed.data,
        .size_bytes = letter->composed.size_bytes,
        .eight_bit = letter->composed.eight_bit,
        .smtputf8 = letter->composed.smtputf8,
        .release = letter_release,
    };
    engine_composed(engine, &delivery->job, &letter->message, NULL);
}

static void *pool_main(void *context)
{
    struct pool_thread *self = context;
    struct pool *pool = self->pool;
    pthread_setname_np(pthread_self(), "composer");
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct list *node = list_take_first(&pool->urgent);
        if (node == NULL)
            node = list_take_first(&pool->queue);
        if (node == NULL && pool->stopping)
            break;
        if (node == NULL) {
            pool->idle++;
            pthread_cond_wait(&pool->filled, &pool->lock);
            pool->idle--;
            continue;
        }
        struct engine *engine = pool->engine;
        pthread_mutex_unlock(&pool->lock);
        compose(self->composer, pool, engine, list_entry(node, struct delivery, node));
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int pool_start(unsigned threads, struct contents *contents, struct pool **out, struct error *err)
{
    assure(threads > 0);
    struct pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
    if (pool == NULL)
        return error_memory(err);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->filled, NULL);
    list_init(&pool->urgent);
    list_init(&pool->queue);
    pool->contents = contents;
    int result = 0;
    while (pool->count < threads) {
        struct pool_thread *thread = &pool->threads[pool->count];
        thread->pool = pool;
        result = composer_create(&thread->composer, err);
        if (result != 0)
            break;
        result = -pthread_create(&thread->thread, NULL, pool_main, thread);
        if (result != 0) {
            composer_free(thread->composer);
            (void)error_errno(err, result, "composer thread");
            break;
        }
        pool->count++;
    }
    if (result != 0) {
        pool_stop(pool);
        return result;
    }
    *out = pool;
    return 0;
}

/* Single messages, as at a site (engine/site/flow.h), and tests: somebody waits for them. */
static bool is_urgent(const struct delivery *delivery)
{
    return delivery->ended != NULL || delivery->job.campaign->urgent;
}

void pool_post(struct pool *pool, struct engine *engine, struct delivery *delivery)
{
    pthread_mutex_lock(&pool->lock);
    assure(!pool->stopping);
    pool->engine = engine;
    list_append(is_urgent(delivery) ? &pool->urgent : &pool->queue, &delivery->node);
    bool wake = pool->idle > 0;
    pthread_mutex_unlock(&pool->lock);
    if (wake)
        pthread_cond_signal(&pool->filled);
}

void pool_stop(struct pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->filled);
    for (unsigned i = 0; i < pool->count; i++) {
        pthread_join(pool->threads[i].thread, NULL);
        composer_free(pool->threads[i].composer);
    }
    pthread_cond_destroy(&pool->filled);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
