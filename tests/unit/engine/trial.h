/*
 * trial.h - an engine, its jobs and its composer, for the tests that run a whole one. That every job comes back once,
 * and who may have been taken was announced before, is seen to here.
 */
#ifndef POSTHASTE_TESTS_UNIT_ENGINE_TRIAL_H
#define POSTHASTE_TESTS_UNIT_ENGINE_TRIAL_H

#include "engine/tuning.h"
#include "tests/unit/engine/server.h"

#define TRIAL_JOBS_MAX 4096
#define TRIAL_WAIT_S 30
#define TRIAL_CONTENT "Subject: x\r\n\r\nhello\r\n.dot\r\n"

struct trial;

struct trial_job {
    struct engine_job job;
    struct engine_message message;
    char rcpt[64];
    struct trial *trial;
    uint32_t ended; /* times */
    uint32_t out;   /* content_out minus content_back */
    struct outcome outcome;
};

enum composing { COMPOSE_AT_ONCE, COMPOSE_ELSEWHERE, COMPOSE_NOTHING, COMPOSE_FAILS };

struct trial {
    struct test_config test;
    struct engine_tuning tuning;
    struct engine *engine;
    struct trial_job jobs[TRIAL_JOBS_MAX];
    size_t submitted;
    enum composing composing;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t ended, asked;
    uint32_t messages_out;             /* composed and not released */
    struct engine_job *asks[TRIAL_JOBS_MAX]; /* for COMPOSE_ELSEWHERE and COMPOSE_NOTHING */
    size_t answered;
    bool composer_stop;
    pthread_t composer;
};

static inline struct trial_job *trial_job_of(struct engine_job *job)
{
    return container_of(job, struct trial_job, job);
}

static inline void trial_release_message(struct engine_message *message)
{
    struct trial *trial = container_of(message, struct trial_job, message)->trial;
    (void)pthread_mutex_lock(&trial->lock);
    trial->messages_out--;
    (void)pthread_mutex_unlock(&trial->lock);
}

static inline void trial_answer(struct trial *trial, struct engine_job *job)
{
    struct trial_job *own = trial_job_of(job);
    if (trial->composing == COMPOSE_FAILS) {
        engine_composed(trial->engine, job, NULL, "no such template");
        return;
    }
    (void)pthread_mutex_lock(&trial->lock);
    trial->messages_out++;
    (void)pthread_mutex_unlock(&trial->lock);
    own->message = (struct engine_message){.mail_from = "b@client.example",
                                           .data = TRIAL_CONTENT,
                                           .size_bytes = sizeof TRIAL_CONTENT - 1,
                                           .release = trial_release_message};
    engine_composed(trial->engine, job, &own->message, NULL);
}

static _Thread_local bool trial_on_engine; /* this thread is an engine's */

static inline void trial_compose(void *context, struct engine_job *job)
{
    struct trial *trial = context;
    trial_on_engine = true;
    (void)pthread_mutex_lock(&trial->lock);
    bool at_once = trial->composing == COMPOSE_AT_ONCE || trial->composing == COMPOSE_FAILS;
    if (!at_once) {
        trial->asks[trial->asked++ % TRIAL_JOBS_MAX] = job;
        (void)pthread_cond_broadcast(&trial->changed);
    }
    (void)pthread_mutex_unlock(&trial->lock);
    if (at_once)
        trial_answer(trial, job);
}

static inline void *trial_run_composer(void *context)
{
    struct trial *trial = context;
    (void)pthread_mutex_lock(&trial->lock);
    while (!trial->composer_stop) {
        if (trial->composing == COMPOSE_NOTHING || trial->answered == trial->asked) {
            (void)pthread_cond_wait(&trial->changed, &trial->lock);
            continue;
        }
        struct engine_job *job = trial->asks[trial->answered++ % TRIAL_JOBS_MAX];
        (void)pthread_mutex_unlock(&trial->lock);
        trial_answer(trial, job);
        (void)pthread_mutex_lock(&trial->lock);
    }
    (void)pthread_mutex_unlock(&trial->lock);
    return NULL;
}

static inline void trial_content_out(void *context, struct engine_job *job)
{
    (void)context;
    assure(trial_job_of(job)->out++ == 0);
}

static inline void trial_content_back(void *context, struct engine_job *job)
{
    (void)context;
    assure(trial_job_of(job)->out-- == 1);
}

static inline void trial_done(void *context, struct engine_job *job, const struct outcome *outcome)
{
    struct trial *trial = context;
    struct trial_job *own = trial_job_of(job);
    /* In every test: who may have been taken was announced, and who surely was not is announced no more. */
    if (outcome->class_ == OUTCOME_DELIVERED || outcome->class_ == OUTCOME_UNCERTAIN)
        assure(own->out == 1);
    if (outcome->class_ == OUTCOME_TRANSPORT || outcome->class_ == OUTCOME_RELEASED)
        assure(own->out == 0);
    (void)pthread_mutex_lock(&trial->lock);
    own->ended++;
    own->outcome = *outcome;
    trial->ended++;
    (void)pthread_cond_broadcast(&trial->changed);
    (void)pthread_mutex_unlock(&trial->lock);
}

static inline struct trial *trial_create(uint16_t port)
{
    struct trial *trial = calloc(1, sizeof *trial);
    assert_non_null(trial);
    test_config_init(&trial->test, port);
    trial->tuning = ENGINE_TUNING_DEFAULT;
    trial->tuning.backoff_first_ms = 20;
    trial->tuning.backoff_max_ms = 100;
    (void)pthread_mutex_init(&trial->lock, NULL);
    (void)pthread_cond_init(&trial->changed, NULL);
    return trial;
}

static inline void trial_start(struct trial *trial)
{
    struct engine_callbacks callbacks = {.context = trial,
                                         .compose = trial_compose,
                                         .content_out = trial_content_out,
                                         .content_back = trial_content_back,
                                         .done = trial_done};
    struct error err = {""};
    assert_int_equal(engine_start_tuned(&trial->test.config, &callbacks, &trial->tuning, &trial->engine, &err), 0);
    assert_int_equal(pthread_create(&trial->composer, NULL, trial_run_composer, trial), 0);
}

static inline void trial_submit(struct trial *trial, size_t count, size_t domains, uint64_t group)
{
    struct list jobs = LIST_INIT(jobs);
    for (size_t i = 0; i < count; i++) {
        size_t number = trial->submitted++;
        struct trial_job *own = &trial->jobs[number];
        own->trial = trial;
        (void)snprintf(own->rcpt, sizeof own->rcpt, "r%zu@site%zu.example", number, number % domains);
        own->job = (struct engine_job){.rcpt_to = own->rcpt, .domain = strchr(own->rcpt, '@') + 1, .group = group};
        list_append(&jobs, &own->job.node);
    }
    engine_submit(trial->engine, &jobs);
    assert_true(list_empty(&jobs));
}

/* Waits until *what >= wanted; both are guarded by the lock. */
static inline bool trial_wait(struct trial *trial, const size_t *what, size_t wanted)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TRIAL_WAIT_S;
    int r = 0;
    (void)pthread_mutex_lock(&trial->lock);
    while (*what < wanted && r == 0)
        r = pthread_cond_timedwait(&trial->changed, &trial->lock, &until);
    bool enough = *what >= wanted;
    (void)pthread_mutex_unlock(&trial->lock);
    return enough;
}

static inline void trial_compose_now(struct trial *trial, enum composing composing)
{
    (void)pthread_mutex_lock(&trial->lock);
    trial->composing = composing;
    (void)pthread_cond_broadcast(&trial->changed);
    (void)pthread_mutex_unlock(&trial->lock);
}

static inline void trial_stop(struct trial *trial, int64_t deadline_ms)
{
    engine_stop(trial->engine, deadline_ms);
    assert_int_equal(trial->ended, trial->submitted);
    for (size_t i = 0; i < trial->submitted; i++)
        assert_int_equal(trial->jobs[i].ended, 1);
    assert_int_equal(trial->messages_out, 0);
}

static inline void trial_free(struct trial *trial)
{
    (void)pthread_mutex_lock(&trial->lock);
    trial->composer_stop = true;
    (void)pthread_cond_broadcast(&trial->changed);
    (void)pthread_mutex_unlock(&trial->lock);
    (void)pthread_join(trial->composer, NULL);
    engine_free(trial->engine);
    (void)pthread_cond_destroy(&trial->changed);
    (void)pthread_mutex_destroy(&trial->lock);
    free(trial);
}

/* After both have stopped: what the receiver took is told as taken or uncertain, and nothing else as taken. */
static inline void trial_equals_record(const struct trial *trial, const struct server *server)
{
    assert_null(server->violation);
    for (size_t i = 0; i < trial->submitted; i++) {
        enum outcome_class class_ = trial->jobs[i].outcome.class_;
        assert_true(server->taken[i] <= 1);
        if (server->taken[i] == 1)
            assert_true(class_ == OUTCOME_DELIVERED || class_ == OUTCOME_UNCERTAIN);
        else
            assert_true(class_ != OUTCOME_DELIVERED);
    }
}

static inline size_t trial_count(const struct trial *trial, enum outcome_class class_)
{
    size_t count = 0;
    for (size_t i = 0; i < trial->submitted; i++)
        count += trial->jobs[i].outcome.class_ == class_;
    return count;
}

#endif
