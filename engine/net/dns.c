/*
 * dns.c - libunbound behind the event loop.
 *
 * Why a thread and not libunbound's event interface: that one would run the resolver, with the signature checks of
 * DNSSEC, on the loop that drives the connections, and it hands out raw packets. With the thread the loop sees finished
 * answers only, at the cost of a few microseconds each, which a look-up per domain and hour does not feel. Why not one
 * context for all loops: ub_process() calls back on whichever thread calls it, so that each answer would have to be
 * carried to its loop.
 *
 * A cancelled question is forgotten here at once, and libunbound promises not to call back for it; the work that it
 * began goes on until its own timeouts end it, so what it holds is bounded by the rate at which questions can be
 * cancelled.
 */
#include "engine/net/dns.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unbound.h>

#include "base/log.h"
#include "base/str.h"

#define CLASS_IN 1

struct dns {
    struct loop *loop;
    struct ub_ctx *context;
    uv_poll_t poll;
    struct loop_timer later;     /* sends what waits and tells what failed at once, in a turn of its own */
    struct list urgent, waiting; /* not sent yet */
    struct list sent;            /* with libunbound */
    struct list answered;        /* to be told */
    size_t waiting_count;
    uint32_t outstanding, outstanding_max;
    bool broken;     /* the pipe to the thread failed: nothing can be asked any more */
    bool delivering; /* a callback is running */
};

struct dns_question {
    struct list node;
    struct dns *dns;
    const struct dns_events *events;
    void *context;
    struct ub_result *result; /* answered, and not failed */
    const char *failure;      /* answered, and failed without a result; static text */
    int id;                   /* libunbound's */
    enum dns_type type;
    enum { QUESTION_WAITING, QUESTION_SENT, QUESTION_ANSWERED } state;
    char name[];
};

static void question_free(struct dns_question *question)
{
    ub_resolve_free(question->result);
    free(question);
}

static void soon(struct dns *dns)
{
    loop_timer_set(dns->loop, &dns->later, dns->loop->now_ms);
}

static void set_answered(struct dns_question *question)
{
    question->state = QUESTION_ANSWERED;
    list_remove(&question->node);
    list_append(&question->dns->answered, &question->node);
}

static const char *rcode_text(int rcode)
{
    switch (rcode) {
    case 1:
        return "the name server did not understand the question (FORMERR)";
    case 2:
        return "the name server failed or did not answer (SERVFAIL)";
    case 4:
        return "the name server cannot do this (NOTIMP)";
    case 5:
        return "the name server refused to answer (REFUSED)";
    default:
        return "the name server answered with an error";
    }
}

/* A result that failed validation may carry data all the same, so that is looked at first. */
static void read_result(const struct ub_result *result, struct dns_answer *answer)
{
    if (result->bogus) {
        answer->bogus = true;
        answer->text = "the answer is not what its zone has signed (DNSSEC)";
        return;
    }
    answer->secure = result->secure != 0;
    answer->ttl_s = result->ttl > 0 ? (uint32_t)result->ttl : 0;
    if (result->havedata) {
        while (result->data[answer->count] != NULL)
            answer->count++;
        answer->data = (const char *const *)result->data;
        answer->lens = result->len;
    }
    if (answer->count > 0) {
        answer->status = DNS_FOUND;
    } else if (result->nxdomain) {
        answer->status = DNS_NO_NAME;
    } else if (result->rcode == 0) {
        answer->status = DNS_NO_DATA;
    } else {
        answer->text = rcode_text(result->rcode);
        answer->secure = false;
        answer->ttl_s = 0;
    }
}

static void deliver(struct dns *dns)
{
    struct list *node;
    dns->delivering = true;
    while ((node = list_take_first(&dns->answered)) != NULL) {
        struct dns_question *question = list_entry(node, struct dns_question, node);
        struct dns_answer answer = {.status = DNS_FAILED, .text = ""};
        if (question->result != NULL)
            read_result(question->result, &answer);
        else
            answer.text = question->failure;
        question->events->answered(question->context, &answer);
        question_free(question);
    }
    dns->delivering = false;
}

/* Inside ub_process(): only notes the result, callers are told when it has returned. */
static void on_result(void *context, int status, struct ub_result *result)
{
    struct dns_question *question = context;
    assure(question->state == QUESTION_SENT);
    question->dns->outstanding--;
    question->result = result;
    if (result == NULL)
        question->failure = status == UB_SYNTAX ? "the name is not one that DNS could hold" : ub_strerror(status);
    set_answered(question);
}

static void send_question(struct dns *dns, struct dns_question *question)
{
    int r = dns->broken ? UB_PIPE
                        : ub_resolve_async(dns->context, question->name, (int)question->type, CLASS_IN, question,
                                           on_result, &question->id);
    if (r != 0) {
        question->failure = ub_strerror(r);
        set_answered(question);
        return;
    }
    question->state = QUESTION_SENT;
    list_append(&dns->sent, &question->node);
    dns->outstanding++;
    if (question->events->sent != NULL)
        question->events->sent(question->context);
}

static void pump(struct dns *dns)
{
    dns->delivering = true;
    while (dns->outstanding < dns->outstanding_max) {
        struct list *node = list_take_first(&dns->urgent);
        if (node == NULL)
            node = list_take_first(&dns->waiting);
        if (node == NULL)
            break;
        dns->waiting_count--;
        send_question(dns, list_entry(node, struct dns_question, node));
    }
    dns->delivering = false;
    if (!list_empty(&dns->answered))
        soon(dns);
}

static void on_later(struct loop_timer *later)
{
    struct dns *dns = container_of(later, struct dns, later);
    deliver(dns);
    pump(dns);
}

/* The thread cannot be reached any more: what it has will never be answered. */
static void break_off(struct dns *dns)
{
    log_error("engine", "dns-stopped reason=\"the resolver thread does not answer\"");
    dns->broken = true;
    (void)uv_poll_stop(&dns->poll);
    list_for_each_safe(node, &dns->sent)
    {
        struct dns_question *question = list_entry(node, struct dns_question, node);
        question->failure = "the resolver thread has ended";
        set_answered(question);
    }
    dns->outstanding = 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct dns *dns = container_of(poll, struct dns, poll);
    (void)events;
    loop_refresh(dns->loop);
    if (status < 0 || ub_process(dns->context) != 0)
        break_off(dns);
    deliver(dns);
    pump(dns);
}

static int set_options(struct dns *dns, const struct dns_options *options, struct error *err)
{
    char outstanding[16];
    (void)snprintf(outstanding, sizeof outstanding, "%u", dns->outstanding_max);
    bool validate = options->trust_anchor_file != NULL;
    const struct {
        const char *name, *value;
    } table[] = {
        {"do-not-query-localhost:", "no"}, /* a resolver on this machine is usual */
        {"module-config:", validate ? "validator iterator" : "iterator"},
        {"outgoing-range:", outstanding}, /* made for small programs, the default of the library is 16 at a time */
        {"num-queries-per-thread:", outstanding},
        {"outgoing-num-tcp:", "20"},
        {"unblock-lan-zones:", "yes"}, /* names of private addresses are asked for like others */
        {"insecure-lan-zones:", "yes"},
        /* A resolver that has to ask around needs seconds, however near it is: do not give up on it after five tries of
           50 ms. */
        {"infra-cache-min-rtt:", "1000"},
        {"infra-host-ttl:", "60"}, /* one that was down is tried again after a minute, not a quarter of an hour */
        {"infra-keep-probing:", "yes"},
        {"cache-max-ttl:", "3600"}, /* nothing is kept longer above either */
        {"msg-cache-size:", "4m"},
        {"rrset-cache-size:", "4m"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        int r = ub_ctx_set_option(dns->context, table[i].name, table[i].value);
        if (r != 0)
            return error_set(err, -EINVAL, "libunbound refuses %s %s: %s", table[i].name, table[i].value,
                             ub_strerror(r));
    }
    if (validate && ub_ctx_add_ta_file(dns->context, options->trust_anchor_file) != 0)
        return error_memory(err);
    return 0;
}

static int set_servers(struct dns *dns, const struct dns_options *options, struct error *err)
{
    if (options->server != NULL && options->server[0] != '\0') {
        int r = ub_ctx_set_fwd(dns->context, options->server);
        return r == 0 ? 0
                      : error_set(err, r == UB_NOMEM ? -ENOMEM : -EINVAL, "dns server %.100s: %s", options->server,
                                  ub_strerror(r));
    }
    const char *file = options->resolv_conf != NULL ? options->resolv_conf : "/etc/resolv.conf";
    errno = 0;
    int r = ub_ctx_resolvconf(dns->context, file);
    if (r == UB_READFILE)
        return error_errno(err, errno != 0 ? -errno : -ENOENT, "cannot read %s", file);
    return r == 0 ? 0 : error_set(err, r == UB_NOMEM ? -ENOMEM : -EINVAL, "%s: %s", file, ub_strerror(r));
}

/*
 * libunbound itself answers for names below "test.". RFC 6761 section 6.2 wants them asked like any other; who points
 * us to a server of his own means it. The call also ends the time of options, which shows a trust anchor that cannot be
 * read here and not at the first question.
 */
static int finalize(struct dns *dns, const struct dns_options *options, struct error *err)
{
    int r = ub_ctx_zone_remove(dns->context, "test.");
    if (r == 0)
        r = ub_ctx_zone_remove(dns->context, "127.in-addr.arpa.");
    if (r == 0)
        return 0;
    if (options->trust_anchor_file != NULL)
        return error_set(err, -EINVAL, "dns trust_anchor: cannot set up the resolver with %.300s: %s",
                         options->trust_anchor_file, ub_strerror(r));
    return error_set(err, r == UB_NOMEM ? -ENOMEM : -EINVAL, "cannot set up the resolver: %s", ub_strerror(r));
}

/* libunbound sets up a log and locks of its own, for the whole process, with each context: two loops must not do that at once. */
static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;

static int make_context(struct dns *dns, const struct dns_options *options, struct error *err)
{
    dns->context = ub_ctx_create();
    if (dns->context == NULL)
        return error_errno(err, errno != 0 ? -errno : -ENOMEM, "cannot make a resolver");
    (void)ub_ctx_debugout(dns->context, NULL);
    if (ub_ctx_async(dns->context, 1) != 0)
        return error_set(err, -EINVAL, "libunbound has no threads");
    int r = set_options(dns, options, err);
    if (r == 0)
        r = set_servers(dns, options, err);
    if (r == 0)
        r = finalize(dns, options, err);
    return r;
}

int dns_check(const struct dns_options *options, struct error *err)
{
    struct dns dns = {.outstanding_max = DNS_OUTSTANDING_DEFAULT};
    pthread_mutex_lock(&context_lock);
    int r = make_context(&dns, options, err);
    pthread_mutex_unlock(&context_lock);
    ub_ctx_delete(dns.context);
    return r;
}

int dns_open(struct loop *loop, const struct dns_options *options, struct dns **out, struct error *err)
{
    *out = NULL;
    struct dns *dns = calloc(1, sizeof *dns);
    if (dns == NULL)
        return error_memory(err);
    dns->loop = loop;
    dns->outstanding_max = options->outstanding_max != 0 ? options->outstanding_max : DNS_OUTSTANDING_DEFAULT;
    list_init(&dns->urgent);
    list_init(&dns->waiting);
    list_init(&dns->sent);
    list_init(&dns->answered);
    pthread_mutex_lock(&context_lock);
    int r = make_context(dns, options, err);
    pthread_mutex_unlock(&context_lock);
    if (r == 0 && loop_timer_add(loop, &dns->later, on_later) != 0)
        r = error_memory(err);
    if (r == 0) {
        r = uv_poll_init(&loop->uv, &dns->poll, ub_fd(dns->context));
        if (r < 0)
            (void)error_set(err, r, "cannot watch the resolver: %s", uv_strerror(r));
    }
    if (r < 0) {
        loop_timer_remove(loop, &dns->later);
        ub_ctx_delete(dns->context);
        free(dns);
        return r;
    }
    assure(uv_poll_start(&dns->poll, UV_READABLE, on_readable) == 0);
    *out = dns;
    return 0;
}

static void free_all(struct list *questions)
{
    struct list *node;
    while ((node = list_take_first(questions)) != NULL)
        question_free(list_entry(node, struct dns_question, node));
}

static void on_closed(uv_handle_t *handle)
{
    struct dns *dns = container_of((uv_poll_t *)handle, struct dns, poll);
    ub_ctx_delete(dns->context); /* waits for the thread, which leaves at its next event; no callback comes for what it
                                    still had */
    free_all(&dns->sent);
    free(dns);
}

void dns_close(struct dns *dns)
{
    if (dns == NULL)
        return;
    assure(!dns->delivering);
    loop_timer_remove(dns->loop, &dns->later);
    free_all(&dns->urgent);
    free_all(&dns->waiting);
    free_all(&dns->answered);
    uv_close((uv_handle_t *)&dns->poll, on_closed);
}

struct dns_question *dns_ask(struct dns *dns, const char *name, enum dns_type type, bool urgent,
                             const struct dns_events *events, void *context)
{
    size_t bytes = strlen(name) + 1;
    struct dns_question *question = calloc(1, sizeof *question + bytes);
    if (question == NULL)
        return NULL;
    memcpy(question->name, name, bytes);
    question->dns = dns;
    question->type = type;
    question->events = events;
    question->context = context;
    list_append(urgent ? &dns->urgent : &dns->waiting, &question->node);
    dns->waiting_count++;
    if (dns->outstanding < dns->outstanding_max)
        soon(dns);
    return question;
}

void dns_cancel(struct dns_question *question)
{
    if (question == NULL)
        return;
    struct dns *dns = question->dns;
    if (question->state == QUESTION_WAITING) {
        dns->waiting_count--;
    } else if (question->state == QUESTION_SENT) {
        (void)ub_cancel(dns->context, question->id); /* fails only when it is not known any more */
        dns->outstanding--;
        if (dns->waiting_count > 0)
            soon(dns);
    }
    list_remove(&question->node);
    question_free(question);
}

uint32_t dns_outstanding(const struct dns *dns)
{
    return dns->outstanding;
}

size_t dns_waiting(const struct dns *dns)
{
    return dns->waiting_count;
}
