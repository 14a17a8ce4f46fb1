/*
 * sink: the project's own SMTP receiver. It judges what was delivered, receives for the demo, and plays the hostile
 * server by script. README.md describes its use. This file wires the parts: options, listeners, signals, the ledger's
 * clock. One process, one loop, one thread.
 *
 * It links no room of posthaste, so that a mistake in one of them cannot hide itself here.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <uv.h>

#include "tests/sink/conn.h"
#include "tests/sink/options.h"
#include "tests/sink/store.h"

enum { LISTEN_BACKLOG = 1024, LEDGER_FLUSH_MS = 100, SIGNAL_COUNT = 3 };

struct listener {
    uv_tcp_t tcp;
    bool implicit_tls;
};

struct sink {
    struct options options;
    struct server server;
    struct store store;
    uv_loop_t loop;
    struct listener listeners[OPTIONS_LISTEN_LIMIT];
    uv_signal_t signals[SIGNAL_COUNT];
    uv_timer_t flush;
    int status; /* exit status */
};

static void write_counts(struct sink *sink)
{
    if (sink->options.counts != NULL && counts_write(&sink->server.counts, sink->options.counts) != 0)
        sink->status = 1;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct sink *sink = listener->data;
    const struct listener *whole = (const struct listener *)listener; /* the handle is its first member */

    if (status != 0)
        fprintf(stderr, "sink: listen: %s\n", uv_strerror(status));
    else
        conn_accept(&sink->server, listener, whole->implicit_tls);
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct sink *sink = handle->data;

    if (number == SIGUSR1) {
        ledger_flush(&sink->server.ledger);
        sink->server.counts.flushes++;
        write_counts(sink);
        return;
    }
    conn_end_all(&sink->server);
    uv_walk(&sink->loop, close_handle, NULL);
}

static void on_flush(uv_timer_t *timer)
{
    struct sink *sink = timer->data;

    ledger_flush(&sink->server.ledger);
}

/* Opens listener i and prints where it listens. 0 or -1. */
static int listen_on(struct sink *sink, size_t i)
{
    uv_tcp_t *listener = &sink->listeners[i].tcp;
    struct sockaddr_storage address = {0};
    int size = sizeof(address);
    char name[INET6_ADDRSTRLEN] = "";
    bool v6 = sink->options.listen[i].ss_family == AF_INET6;
    int result = uv_tcp_init(&sink->loop, listener);

    listener->data = sink;
    sink->listeners[i].implicit_tls = sink->options.implicit_tls[i];
    if (result == 0)
        result = uv_tcp_bind(listener, (const struct sockaddr *)&sink->options.listen[i], 0);
    if (result == 0)
        result = uv_listen((uv_stream_t *)listener, LISTEN_BACKLOG, on_connection);
    if (result == 0)
        result = uv_tcp_getsockname(listener, (struct sockaddr *)&address, &size);
    if (result != 0) {
        (void)uv_ip_name((const struct sockaddr *)&sink->options.listen[i], name, sizeof(name));
        fprintf(stderr, "sink: --listen %s: %s\n", name, uv_strerror(result));
        return -1;
    }
    (void)uv_ip_name((const struct sockaddr *)&address, name, sizeof(name));
    printf(v6 ? "listening [%s]:%u\n" : "listening %s:%u\n", name,
           (unsigned)ntohs(v6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                              : ((struct sockaddr_in *)&address)->sin_port));
    return fflush(stdout) == 0 ? 0 : -1;
}

static int start(struct sink *sink)
{
    static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGUSR1};

    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        if (uv_signal_init(&sink->loop, &sink->signals[i]) != 0)
            return -1;
        sink->signals[i].data = sink;
        if (uv_signal_start(&sink->signals[i], on_signal, numbers[i]) != 0)
            return -1;
    }
    if (uv_timer_init(&sink->loop, &sink->flush) != 0)
        return -1;
    sink->flush.data = sink;
    if (uv_timer_start(&sink->flush, on_flush, LEDGER_FLUSH_MS, LEDGER_FLUSH_MS) != 0)
        return -1;
    /* gcc 12's ThreadSanitizer loses a signal that comes while a thread's first blocking call begins: before anybody knows us. */
    (void)uv_run(&sink->loop, UV_RUN_NOWAIT);
    for (size_t i = 0; i < sink->options.listen_count; i++) {
        if (listen_on(sink, i) != 0)
            return -1;
    }
    return 0;
}

/* Many connections need many descriptors; what the system allows is taken. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Opens what the options name. 0 or -1. */
static int prepare(struct sink *sink)
{
    const struct options *options = &sink->options;

    sink->store.folder = options->store;
    if (options->store != NULL && mkdir(options->store, 0755) != 0 && errno != EEXIST) {
        fprintf(stderr, "sink: --store %s: %s\n", options->store, strerror(errno));
        return -1;
    }
    sink->server.loop = &sink->loop;
    sink->server.delay_us = options->delay_ms * 1000;
    sink->server.read_buffer = sink_realloc(NULL, READ_BUFFER_BYTES);
    sink->server.settings = (struct session_settings){
        .hostname = options->name,
        .extensions = options->extensions,
        .secure_extensions = options->secure_extensions,
        .mechanisms = options->mechanisms,
        .account = options->account.user == NULL ? NULL : &options->account,
        .size_limit_bytes = options->size_bytes,
        .strict = options->strict,
        .store = &sink->store,
    };
    if (options->tls.certificate != NULL) {
        sink->server.tls = tls_context_create(&options->tls);
        if (sink->server.tls == NULL)
            return -1;
        sink->server.plain_buffer = sink_realloc(NULL, READ_BUFFER_BYTES);
    }
    if (options->script != NULL) {
        sink->server.settings.script = script_load(options->script);
        if (sink->server.settings.script == NULL)
            return -1;
    }
    return ledger_open(&sink->server.ledger, options->ledger);
}

int main(int count, char **words)
{
    static struct sink sink;
    int read = options_read(&sink.options, count, words);

    if (read != 0)
        return read > 0 ? 0 : 2;
    raise_descriptor_limit();
    (void)signal(SIGPIPE, SIG_IGN);
    sink.server.ledger.file = -1;
    if (prepare(&sink) != 0 || uv_loop_init(&sink.loop) != 0)
        return 1;
    if (start(&sink) != 0) {
        sink.status = 1;
        uv_walk(&sink.loop, close_handle, NULL);
    }
    (void)uv_run(&sink.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&sink.loop);
    ledger_close(&sink.server.ledger);
    write_counts(&sink);
    script_free(sink.server.settings.script);
    tls_context_free(sink.server.tls);
    free(sink.server.read_buffer);
    free(sink.server.plain_buffer);
    return sink.status;
}
