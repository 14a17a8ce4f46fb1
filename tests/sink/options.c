/* Reading of the command line. Nothing is opened here; a word that is not understood is refused by name. */
#include "tests/sink/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/ssl.h>
#include <uv.h>

#include "tests/sink/command.h"
#include "tests/sink/extensions.h"

enum { DELAY_LIMIT_MS = 24 * 3600 * 1000 };

static const char help[] =
    "usage: sink --listen ADDR:PORT [options]\n"
    "An SMTP receiver for tests: counts, writes a ledger, answers by script.\n"
    "  --listen ADDR:PORT  where to listen (several times; port 0 = choose; [v6]:PORT)\n"
    "  --ledger FILE       one JSON object a line for all that happens\n"
    "  --counts FILE       totals as JSON, at exit and on SIGUSR1\n"
    "  --script FILE       rules for other answers than the ordinary ones (JSON)\n"
    "  --delay-ms N        release each reply N ms after what caused it arrived\n"
    "  --without EXT,...   withhold PIPELINING, 8BITMIME, SMTPUTF8, SIZE, ENHANCEDSTATUSCODES,\n"
    "                      CHUNKING, DSN, STARTTLS, AUTH; or EHLO (answer 502 to it)\n"
    "  --without-in-tls EXT,...  the same behind TLS, where they differ (default: as --without)\n"
    "  --size BYTES        the biggest message (default 52428800)\n"
    "  --store DIR         keep every message as DIR/NUMBER\n"
    "  --strict, --lax     refuse bare CR and LF (default), or take them for line ends\n"
    "  --name HOSTNAME     in greeting and EHLO (default sink.test)\n"
    "  --tls-cert FILE, --tls-key FILE  PEM; offer STARTTLS\n"
    "  --tls-implicit ADDR:PORT         listen with TLS from the first byte on (several times)\n"
    "  --tls-min V, --tls-max V         1.0, 1.1, 1.2 or 1.3 (default 1.2 and 1.3)\n"
    "  --auth USER:PASSWORD             offer AUTH, inside TLS\n"
    "  --auth-mechanisms M,...          of PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256 (default all)\n"
    "  --auth-clear                     offer AUTH in clear text too\n"
    "SIGUSR1 flushes ledger and counts; SIGTERM and SIGINT end it.\n";

static bool refuse(const char *option, const char *value)
{
    fprintf(stderr, "sink: --%s: cannot use \"%s\"\n", option, value);
    return false;
}

static bool read_listen(struct options *options, const char *option, const char *value)
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
        return refuse(option, value);
    if (options->listen_count == OPTIONS_LISTEN_LIMIT) {
        fprintf(stderr, "sink: --%s: at most %d\n", option, OPTIONS_LISTEN_LIMIT);
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
        return refuse(option, value);
    options->implicit_tls[options->listen_count++] = strcmp(option, "listen") != 0;
    return true;
}

static bool read_without(unsigned *extensions, const char *option, const char *value)
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
            return refuse(option, value);
        *extensions &= ~bit;
        value += length + (value[length] == ',' ? 1 : 0);
    }
    return true;
}

static bool read_number(const char *option, const char *value, uint64_t high, uint64_t *number)
{
    const struct slice digits = {value, strlen(value)};

    return (slice_number(&digits, number) && *number <= high) || refuse(option, value);
}

static bool read_version(const char *option, const char *value, int *version)
{
    static const struct {
        const char *name;
        int version;
    } known[] = {{"1.0", TLS1_VERSION}, {"1.1", TLS1_1_VERSION}, {"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, value) == 0) {
            *version = known[i].version;
            return true;
        }
    }
    return refuse(option, value);
}

static bool read_account(struct options *options, char *value)
{
    char *colon = strchr(value, ':');

    if (colon == NULL || colon == value || colon[1] == '\0') {
        fputs("sink: --auth: must be USER:PASSWORD\n", stderr);
        return false;
    }
    *colon = '\0';
    options->account = (struct sasl_account){value, colon + 1};
    return true;
}

static bool read_mechanisms(struct options *options, const char *value)
{
    options->mechanisms = 0;
    while (*value != '\0') {
        size_t length = strcspn(value, ",");
        enum sasl_mechanism mechanism = sasl_mechanism_named(value, length);

        if (mechanism == 0)
            return refuse("auth-mechanisms", value);
        options->mechanisms |= mechanism;
        value += length + (value[length] == ',' ? 1 : 0);
    }
    return true;
}

static bool read_secure_option(struct options *options, int letter, char *value)
{
    switch (letter) {
    case 'C':
        options->tls.certificate = value;
        return true;
    case 'K':
        options->tls.key = value;
        return true;
    case 'm':
        return read_version("tls-min", value, &options->tls.lowest_version);
    case 'M':
        return read_version("tls-max", value, &options->tls.highest_version);
    case 'a':
        return read_account(options, value);
    case 'A':
        return read_mechanisms(options, value);
    case 'x':
        options->auth_in_clear = true;
        return true;
    default:
        return false;
    }
}

static bool read_option(struct options *options, int letter, char *value)
{
    switch (letter) {
    case 'l':
        return read_listen(options, "listen", value);
    case 'i':
        return read_listen(options, "tls-implicit", value);
    case 'e':
        options->ledger = value;
        return true;
    case 's':
        options->script = value;
        return true;
    case 'd':
        return read_number("delay-ms", value, DELAY_LIMIT_MS, &options->delay_ms);
    case 'w':
        return read_without(&options->extensions, "without", value);
    case 'W':
        options->secure_extensions = EXTENSION_ALL;
        return read_without(&options->secure_extensions, "without-in-tls", value);
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
        return read_secure_option(options, letter, value);
    }
}

/* What belongs together, and what cannot be offered. */
static bool settle(struct options *options)
{
    bool implicit = false;

    for (size_t i = 0; i < options->listen_count; i++)
        implicit = implicit || options->implicit_tls[i];
    if (options->listen_count == 0) {
        fputs("sink: --listen is needed; see --help\n", stderr);
        return false;
    }
    if ((options->tls.certificate == NULL) != (options->tls.key == NULL) ||
        (implicit && options->tls.certificate == NULL)) {
        fputs("sink: TLS needs --tls-cert and --tls-key\n", stderr);
        return false;
    }
    if (options->tls.lowest_version > options->tls.highest_version) {
        fputs("sink: --tls-min is above --tls-max\n", stderr);
        return false;
    }
    if (options->secure_extensions == 0)
        options->secure_extensions = options->extensions;
    options->secure_extensions &= ~(unsigned)EXTENSION_STARTTLS;
    if (options->tls.certificate == NULL)
        options->extensions &= ~(unsigned)EXTENSION_STARTTLS;
    if (options->account.user == NULL)
        options->secure_extensions &= ~(unsigned)EXTENSION_AUTH;
    if (options->account.user == NULL || !options->auth_in_clear)
        options->extensions &= ~(unsigned)EXTENSION_AUTH;
    return true;
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
        {"without-in-tls", required_argument, NULL, 'W'},
        {"tls-cert", required_argument, NULL, 'C'},
        {"tls-key", required_argument, NULL, 'K'},
        {"tls-implicit", required_argument, NULL, 'i'},
        {"tls-min", required_argument, NULL, 'm'},
        {"tls-max", required_argument, NULL, 'M'},
        {"auth", required_argument, NULL, 'a'},
        {"auth-mechanisms", required_argument, NULL, 'A'},
        {"auth-clear", no_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    *options = (struct options){
        .name = "sink.test",
        .size_bytes = 50U * 1024 * 1024,
        .extensions = EXTENSION_ALL,
        .strict = true,
        .tls = {.lowest_version = TLS1_2_VERSION, .highest_version = TLS1_3_VERSION},
        .mechanisms = SASL_ALL,
    };
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
    return settle(options) ? 0 : -1;
}
