/* Reading of the command line. Nothing is opened here; a word that is not understood is refused by name. */
#include "tests/sink/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <uv.h>

#include "tests/sink/command.h"
#include "tests/sink/extensions.h"

enum { DELAY_LIMIT_MS = 24 * 3600 * 1000 };

static const char help[] = "usage: sink --listen ADDR:PORT [options]\n"
                           "An SMTP receiver for tests: counts, writes a ledger, answers by script.\n"
                           "  --listen ADDR:PORT  where to listen (several times; port 0 = choose; [v6]:PORT)\n"
                           "  --ledger FILE       one JSON object a line for all that happens\n"
                           "  --counts FILE       totals as JSON, at exit and on SIGUSR1\n"
                           "  --script FILE       rules for other answers than the ordinary ones (JSON)\n"
                           "  --delay-ms N        release each reply N ms after what caused it arrived\n"
                           "  --without EXT,...   withhold PIPELINING, 8BITMIME, SMTPUTF8, SIZE, ENHANCEDSTATUSCODES,\n"
                           "                      CHUNKING, DSN; or EHLO (answer 502 to it)\n"
                           "  --size BYTES        the biggest message (default 52428800)\n"
                           "  --store DIR         keep every message as DIR/NUMBER\n"
                           "  --strict, --lax     refuse bare CR and LF (default), or take them for line ends\n"
                           "  --name HOSTNAME     in greeting and EHLO (default sink.test)\n"
                           "SIGUSR1 flushes ledger and counts; SIGTERM and SIGINT end it.\n";

static bool refuse(const char *option, const char *value)
{
    fprintf(stderr, "sink: --%s: cannot use \"%s\"\n", option, value);
    return false;
}

static bool read_listen(struct options *options, const char *value)
{
    const char *colon = strrchr(value, ':');
    struct sockaddr_storage *address = &options->listen[options->listen_count];
    struct slice port_digits = {NULL, 0};
    uint64_t port = 0;
    char ip[64];
    size_t length = colon == NULL ? 0 : (size_t)(colon - value);
    int result;

    if (colon != NULL)
        port_digits = (struct slice){colon + 1, strlen(colon + 1)};
    if (length == 0 || length >= sizeof(ip) || !slice_number(&port_digits, &port) || port > 65535)
        return refuse("listen", value);
    if (options->listen_count == OPTIONS_LISTEN_LIMIT) {
        fprintf(stderr, "sink: --listen: at most %d\n", OPTIONS_LISTEN_LIMIT);
        return false;
    }
    if (value[0] == '[' && value[length - 1] == ']') {
        (void)snprintf(ip, sizeof(ip), "%.*s", (int)length - 2, value + 1);
        result = uv_ip6_addr(ip, (int)port, (struct sockaddr_in6 *)address);
    } else {
        (void)snprintf(ip, sizeof(ip), "%.*s", (int)length, value);
        result = uv_ip4_addr(ip, (int)port, (struct sockaddr_in *)address);
    }
    if (result != 0)
        return refuse("listen", value);
    options->listen_count++;
    return true;
}

static bool read_without(struct options *options, const char *value)
{
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {
#define X(name, bit) {#name, EXTENSION_##name},
        EXTENSION_MAP(X)
#undef X
    };

    while (*value != '\0') {
        size_t length = strcspn(value, ",");
        unsigned bit = 0;

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
            if (strlen(known[i].name) == length && strncasecmp(known[i].name, value, length) == 0)
                bit = known[i].bit;
        }
        if (bit == 0)
            return refuse("without", value);
        options->extensions &= ~bit;
        value += length + (value[length] == ',' ? 1 : 0);
    }
    return true;
}

static bool read_number(const char *option, const char *value, uint64_t high, uint64_t *number)
{
    const struct slice digits = {value, strlen(value)};

    return (slice_number(&digits, number) && *number <= high) || refuse(option, value);
}

static bool read_option(struct options *options, int letter, const char *value)
{
    switch (letter) {
    case 'l':
        return read_listen(options, value);
    case 'e':
        options->ledger = value;
        return true;
    case 's':
        options->script = value;
        return true;
    case 'd':
        return read_number("delay-ms", value, DELAY_LIMIT_MS, &options->delay_ms);
    case 'w':
        return read_without(options, value);
    case 'z':
        return read_number("size", value, UINT32_MAX, &options->size_bytes);
    case 'o':
        options->store = value;
        return true;
    case 'S':
    case 'L':
        options->strict = letter == 'S';
        return true;
    case 'c':
        options->counts = value;
        return true;
    case 'n':
        options->name = value;
        return true;
    default:
        return false;
    }
}

int options_read(struct options *options, int count, char **words)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, 'l'},
        {"ledger", required_argument, NULL, 'e'},
        {"script", required_argument, NULL, 's'},
        {"delay-ms", required_argument, NULL, 'd'},
        {"without", required_argument, NULL, 'w'},
        {"size", required_argument, NULL, 'z'},
        {"store", required_argument, NULL, 'o'},
        {"strict", no_argument, NULL, 'S'},
        {"lax", no_argument, NULL, 'L'},
        {"counts", required_argument, NULL, 'c'},
        {"name", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    *options = (struct options){
        .name = "sink.test", .size_bytes = 50U * 1024 * 1024, .extensions = EXTENSION_ALL, .strict = true};
    while ((letter = getopt_long(count, words, "", known, NULL)) != -1) {
        if (letter == 'h') {
            fputs(help, stdout);
            return 1;
        }
        if (!read_option(options, letter, optarg))
            return -1;
    }
    if (optind < count) {
        fprintf(stderr, "sink: \"%s\": unexpected; see --help\n", words[optind]);
        return -1;
    }
    if (options->listen_count == 0) {
        fputs("sink: --listen is needed; see --help\n", stderr);
        return -1;
    }
    return 0;
}
