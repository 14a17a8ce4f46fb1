/*
 * bench_engine.c - how much the engine alone costs: N jobs with one static message, into a receiver that is already
 * running.
 *
 *   bench_engine PORT [messages] [sites] [bytes] [connections] [depth]
 *
 * Prints messages per second, the process's CPU time per message and how often it was put to sleep. Not part of the
 * suite.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "engine/engine.h"
#include "tests/unit/engine/unit.h"

#include "base/clock.h"
#include "base/log.h"

struct bench {
    struct engine *engine;
    struct engine_message message;
    size_t ended, wanted, delivered;
    pthread_mutex_t lock;
    pthread_cond_t all_ended;
};

static void keep_message(struct engine_message *message)
{
    (void)message;
}

static void compose(void *context, struct engine_job *job)
{
    struct bench *bench = context;
    engine_composed(bench->engine, job, &bench->message, NULL);
}

static void done(void *context, struct engine_job *job, const struct outcome *outcome)
{
    struct bench *bench = context;
    (void)job;
    if (outcome->class_ == OUTCOME_DELIVERED)
        bench->delivered++;
    else if (bench->ended == bench->delivered)
        printf("first failure: %s at %s: %u %s\n", outcome_class_name(outcome->class_),
               outcome_stage_name(outcome->stage), outcome->code, outcome->text);
    if (++bench->ended < bench->wanted)
        return;
    (void)pthread_mutex_lock(&bench->lock);
    bench->wanted = 0;
    (void)pthread_cond_signal(&bench->all_ended);
    (void)pthread_mutex_unlock(&bench->lock);
}

static char *make_content(size_t bytes)
{
    char *content = malloc(bytes + 1);
    assure(content != NULL);
    for (size_t at = 0; at < bytes; at++)
        content[at] = at % 78 == 76 ? '\r' : at % 78 == 77 ? '\n' : (char)('a' + at % 26);
    memcpy(content + bytes - 2, "\r\n", 2);
    if (content[bytes - 3] == '\r')
        content[bytes - 3] = 'x';
    content[bytes] = '\0';
    return content;
}

static int64_t cpu_us(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

static size_t argument(int argc, char **argv, int index, size_t otherwise)
{
    return argc > index ? (size_t)strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_engine PORT [messages] [sites] [bytes] [connections] [depth]\n");
        return 2;
    }
    struct test_config test;
    size_t messages = argument(argc, argv, 2, 100000), sites = argument(argc, argv, 3, 1),
           bytes = argument(argc, argv, 4, 10240);
    test_config_init(&test, (uint16_t)argument(argc, argv, 1, 2525));
    test.profile.connections = (uint32_t)argument(argc, argv, 5, 10);
    test.profile.pipeline_depth = (uint32_t)argument(argc, argv, 6, 10);
    struct bench bench = {.wanted = messages, .lock = PTHREAD_MUTEX_INITIALIZER, .all_ended = PTHREAD_COND_INITIALIZER};
    char *content = make_content(bytes);
    bench.message = (struct engine_message){
        .mail_from = "bounce@client.example", .data = content, .size_bytes = bytes, .release = keep_message};
    struct engine_job *jobs = calloc(messages, sizeof *jobs);
    char(*names)[48] = calloc(sites, sizeof *names);
    assure(jobs != NULL && names != NULL);
    struct list list = LIST_INIT(list);
    for (size_t i = 0; i < messages; i++) {
        size_t site = i % sites;
        if (names[site][0] == '\0')
            (void)snprintf(names[site], sizeof names[site], "someone@site%zu.example", site);
        jobs[i] = (struct engine_job){.rcpt_to = names[site], .domain = names[site] + 8};
        list_append(&list, &jobs[i].node);
    }
    struct engine_callbacks callbacks = {.context = &bench, .compose = compose, .done = done};
    struct error err = {0};
    int r = engine_start(&test.config, &callbacks, &bench.engine, &err);
    if (r < 0) {
        (void)fprintf(stderr, "bench_engine: %s\n", err.text);
        return 1;
    }
    int64_t started_us = clock_monotonic_us(), started_cpu_us = cpu_us();
    engine_submit(bench.engine, &list);
    (void)pthread_mutex_lock(&bench.lock);
    while (bench.wanted > 0)
        (void)pthread_cond_wait(&bench.all_ended, &bench.lock);
    (void)pthread_mutex_unlock(&bench.lock);
    double wall_us = (double)(clock_monotonic_us() - started_us), used_us = (double)(cpu_us() - started_cpu_us);
    engine_stop(bench.engine, 2000);
    printf("messages=%zu delivered=%zu sites=%zu bytes=%zu msgs_per_s=%.0f cpu_us_per_msg=%.1f\n", messages,
           bench.delivered, sites, bytes, (double)messages * 1e6 / wall_us, used_us / (double)messages);
    engine_free(bench.engine);
    free(names);
    free(jobs);
    free(content);
    return bench.delivered == messages ? 0 : 1;
}
