/*
 * dns_tool.c - looks up domains as the engine does and prints what it finds, one JSON object a line, for
 * tests/e2e/test_dns.py.
 *
 * Domains come as arguments, or one a line on standard input, where "?" prints the counters and "!" ends the program at
 * once with whatever is still asked. Otherwise it ends when all is answered and the input is over.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/str.h"
#include "engine/net/mx_lookup.h"

#define OWN_MAX 8

struct tool {
    struct loop loop;
    struct dns *dns;
    struct mx_lookup *lookup;
    struct mx_address own[OWN_MAX];
    uv_poll_t input;
    struct loop_timer leave;
    struct list asks;
    char line[1024];
    size_t line_len, asked;
    bool reading, leaving;
};

struct ask {
    struct list node;
    struct tool *tool;
    struct mx_query *query;
    int64_t since_ms;
    char domain[1024];
};

static void print(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    assure(text != NULL);
    (void)puts(text);
    (void)fflush(stdout);
    free(text);
    json_decref(object);
}

static void leave(struct loop_timer *timer)
{
    struct tool *tool = container_of(timer, struct tool, leave);
    struct list *node;
    loop_timer_remove(&tool->loop, timer);
    /* Every other is taken back, the rest is left to the closing. */
    for (bool cancel = true; (node = list_take_first(&tool->asks)) != NULL; cancel = !cancel) {
        struct ask *ask = list_entry(node, struct ask, node);
        if (cancel)
            mx_cancel(ask->query);
        free(ask);
    }
    mx_lookup_close(tool->lookup);
    dns_close(tool->dns);
    loop_stop(&tool->loop);
}

static void may_leave(struct tool *tool, bool now)
{
    if (tool->leaving || (!now && (tool->reading || tool->asked > 0)))
        return;
    tool->leaving = true;
    if (tool->reading)
        uv_close((uv_handle_t *)&tool->input, NULL);
    tool->reading = false;
    loop_timer_set(&tool->loop, &tool->leave, tool->loop.now_ms);
}

static json_t *order_json(const struct mx_set *set)
{
    struct mx_target targets[MX_ADDRESSES_MAX];
    json_t *order = json_array();
    size_t count = mx_set_order(set, &mx_random_system, targets);
    for (size_t i = 0; i < count; i++) {
        char text[MX_ADDRESS_TEXT_BYTES];
        assure(json_array_append_new(
                   order, json_pack("[s,s,i,b]", targets[i].host->name, mx_address_text(targets[i].address, text),
                                    (int)targets[i].host->preference, (int)targets[i].host->secure)) == 0);
    }
    return order;
}

static void on_answer(void *context, struct mx_set *set, int64_t lifetime_ms)
{
    struct ask *ask = context;
    struct tool *tool = ask->tool;
    struct outcome outcome = {0};
    if (set->status != MX_OK)
        mx_set_outcome(set, &outcome);
    print(json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:b,s:b,s:b,s:I,s:I,s:I,s:i,s:o}", "domain", ask->domain, "status",
                    mx_status_name(set->status), "text", set->text, "class", outcome_class_name(outcome.class_),
                    "enhanced", outcome.enhanced, "code", (int)outcome.code, "site", set->site_key, "implicit",
                    (int)set->implicit, "secure", (int)set->secure, "partial", (int)set->partial, "ttl",
                    (json_int_t)set->ttl_s, "lifetime_ms", (json_int_t)lifetime_ms, "took_ms",
                    (json_int_t)(tool->loop.now_ms - ask->since_ms), "hosts", (int)set->host_count, "order",
                    order_json(set)));
    list_remove(&ask->node);
    free(ask);
    tool->asked--;
    may_leave(tool, false);
}

static void ask_domain(struct tool *tool, const char *domain)
{
    struct ask *ask = calloc(1, sizeof *ask);
    assure(ask != NULL);
    ask->tool = tool;
    ask->since_ms = tool->loop.now_ms;
    (void)str_copy(ask->domain, sizeof ask->domain, domain);
    tool->asked++;
    list_append(&tool->asks, &ask->node);
    ask->query = mx_ask(tool->lookup, domain, on_answer, ask);
    assure(ask->query != NULL);
}

static void on_line(struct tool *tool)
{
    if (strcmp(tool->line, "!") == 0) {
        may_leave(tool, true);
    } else if (strcmp(tool->line, "?") == 0) {
        struct mx_lookup_counts counts = mx_lookup_counts(tool->lookup);
        print(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "asked", (json_int_t)counts.asked, "cached",
                        (json_int_t)counts.cached, "looked_up", (json_int_t)counts.looked_up, "running",
                        (json_int_t)counts.running, "entries", (json_int_t)counts.entries, "bytes",
                        (json_int_t)counts.bytes, "outstanding", (json_int_t)dns_outstanding(tool->dns), "waiting",
                        (json_int_t)dns_waiting(tool->dns)));
    } else {
        ask_domain(tool, tool->line);
    }
}

static void on_input(uv_poll_t *input, int status, int events)
{
    struct tool *tool = container_of(input, struct tool, input);
    char bytes[4096];
    (void)status;
    (void)events;
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n <= 0) {
        uv_close((uv_handle_t *)input, NULL);
        tool->reading = false;
        may_leave(tool, false);
        return;
    }
    for (ssize_t i = 0; i < n && !tool->leaving; i++) {
        if (bytes[i] == '\n') {
            tool->line[tool->line_len] = '\0';
            tool->line_len = 0;
            on_line(tool);
        } else if (tool->line_len < sizeof tool->line - 1) {
            tool->line[tool->line_len++] = bytes[i];
        }
    }
}

static void on_event(void *context)
{
    (void)context;
}

static int64_t number(const char *text)
{
    uint64_t value;
    if (str_parse_u64(text, INT32_MAX, &value) != 0) {
        (void)fprintf(stderr, "dns_tool: not a number: %s\n", text);
        exit(2);
    }
    return (int64_t)value;
}

static void read_options(struct tool *tool, int argc, char **argv, struct dns_options *dns,
                         struct mx_lookup_options *lookup)
{
    static const struct option options[] = {
        {"server", 1, NULL, 's'},
        {"resolv-conf", 1, NULL, 'r'},
        {"anchor", 1, NULL, 'a'},
        {"own", 1, NULL, 'o'},
        {"deadline", 1, NULL, 'd'},
        {"patience", 1, NULL, 'p'},
        {"backoff", 1, NULL, 'b'},
        {"lifetime-min", 1, NULL, 'l'},
        {"outstanding", 1, NULL, 'n'},
        {"allow-private", 0, NULL, 'P'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            dns->server = optarg;
            break;
        case 'r':
            dns->resolv_conf = optarg;
            break;
        case 'a':
            dns->trust_anchor_file = optarg;
            break;
        case 'n':
            dns->outstanding_max = (uint32_t)number(optarg);
            break;
        case 'd':
            lookup->deadline_ms = number(optarg);
            break;
        case 'p':
            lookup->patience_ms = number(optarg);
            break;
        case 'b':
            lookup->limits.backoff_first_ms = number(optarg);
            break;
        case 'l':
            lookup->limits.lifetime_min_ms = number(optarg);
            break;
        case 'P':
            lookup->policy.allow_private = true;
            break;
        case 'o':
            if (lookup->policy.own_count < OWN_MAX &&
                mx_address_parse(optarg, &tool->own[lookup->policy.own_count]) == 0) {
                lookup->policy.own_count++;
                break;
            }
            (void)fprintf(stderr, "dns_tool: --own %s\n", optarg);
            exit(2);
        default:
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct tool *tool = calloc(1, sizeof *tool);
    assure(tool != NULL);
    struct dns_options dns = {0};
    struct mx_lookup_options lookup = MX_LOOKUP_OPTIONS_DEFAULT;
    struct loop_events events = {.on_wake = on_event, .on_turn = on_event};
    struct error err = {0};
    list_init(&tool->asks);
    lookup.policy.own = tool->own;
    read_options(tool, argc, argv, &dns, &lookup);
    int r = loop_init(&tool->loop, &events, &err);
    if (r == 0 && (r = dns_open(&tool->loop, &dns, &tool->dns, &err)) < 0)
        loop_finish(&tool->loop);
    if (r < 0) {
        (void)fprintf(stderr, "dns_tool: %s\n", err.text);
        free(tool);
        return 1;
    }
    assure(mx_lookup_open(&tool->loop, tool->dns, &lookup, &tool->lookup, &err) == 0);
    assure(loop_timer_add(&tool->loop, &tool->leave, leave) == 0);
    for (int i = optind; i < argc; i++)
        ask_domain(tool, argv[i]);
    if (optind == argc) {
        tool->reading = true;
        assure(uv_poll_init(&tool->loop.uv, &tool->input, STDIN_FILENO) == 0);
        assure(uv_poll_start(&tool->input, UV_READABLE, on_input) == 0);
    }
    loop_run(&tool->loop);
    loop_finish(&tool->loop);
    free(tool);
    return 0;
}
