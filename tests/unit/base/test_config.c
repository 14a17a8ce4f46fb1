/* test_config.c - the reader: defaults, every key, and that each mistake is refused with file, line and key. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/str.h"

static char folder[] = "/tmp/posthaste-config-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    unlink("test.conf");
    unlink("posthaste.conf");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static void write_file(const char *name, const char *text, size_t len)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct error err = {0};
    write_file("test.conf", text, strlen(text));
    if (config_load("test.conf", &config, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(config->file, "test.conf");
    return config;
}

static void refuses(const char *text, const char *message)
{
    struct config *config = (struct config *)(void *)folder;
    struct error err = {0};
    write_file("test.conf", text, strlen(text));
    int rc = config_load("test.conf", &config, &err);
    if (rc != -EINVAL || strncmp(err.text, message, strlen(message)) != 0)
        fail_msg("of <<%s>> expected '%s', got %d '%s'", text, message, rc, err.text);
    assert_null(config);
    assert_int_equal(config_load("test.conf", &config, NULL), -EINVAL);
}

static void empty_file_gives_the_defaults(void **state)
{
    (void)state;
    struct config *config = load("");
    assert_true(strlen(config->hostname) > 0);
    assert_string_equal(config->data_dir, "./posthaste-data");
    assert_string_equal(config->listen_host, "127.0.0.1");
    assert_int_equal(config->listen_port, 8025);
    assert_string_equal(config->public_url, "http://127.0.0.1:8025");
    assert_string_equal(config->bounce_domain, "");
    assert_string_equal(config->dns_server, "");
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_true(config->loops >= 1 && config->compose_threads >= 1);
    assert_int_equal(config->on_uncertain, UNCERTAIN_RESEND);
    assert_int_equal(config->retry_first_ms, 300000);
    assert_int_equal(config->retry_max_ms, 14400000);
    assert_int_equal(config->expires_after_ms, 259200000);
    assert_int_equal(config->shutdown_ms, 30000);
    assert_string_equal(config->tls_cert, "");
    assert_string_equal(config->tls_key, "");
    assert_int_equal(config->api_rate.count, 20000);
    assert_int_equal(config->timeouts.connect_ms, 60000); /* the rest as RFC 5321 section 4.5.3.2 */
    assert_int_equal(config->timeouts.greeting_ms, 300000);
    assert_int_equal(config->timeouts.mail_ms, 300000);
    assert_int_equal(config->timeouts.rcpt_ms, 300000);
    assert_int_equal(config->timeouts.data_ms, 120000);
    assert_int_equal(config->timeouts.block_ms, 180000);
    assert_int_equal(config->timeouts.final_ms, 600000);
    assert_int_equal(config->route_count + config->source_count + config->pool_count + config->domain_count, 0);
    assert_true(config->profile_count > 15); /* those that come with the program */
    const struct config_profile *profile = config_profile_for_domain(config, "example.com");
    assert_string_equal(profile->name, "default");
    assert_int_equal(profile->connections, 10);
    assert_int_equal(profile->messages_per_connection, 100);
    assert_int_equal(profile->rate.count, 100);
    assert_int_equal(profile->rate.period_us, 1000000);
    assert_int_equal(profile->pipeline_depth, 10);
    assert_int_equal(profile->tls, TLS_OPPORTUNISTIC);
    assert_int_equal(profile->idle_timeout_ms, 5000);
    config_free(config);
    config_free(NULL);
}

static const char whole[] =
    "# every key there is\n"
    "hostname   = \"MTA1.example.com\"   # EHLO and PTR name\n"
    "data_dir   = \"/var/lib/post \\\"haste\\\" \\$HOME \\\\\"\n"
    "listen     = \"[::1]:9025\"\n"
    "public_url = 'https://mail.example.com/t/' // tracking\n"
    "bounce_domain = \"b\xc3\xbcnce.example\"\n"
    "log_level = debug\n"
    "loops = 3  compose_threads = 5\n"
    "on_uncertain = \"hold\"\n"
    "mta_sts = false  https_port = 8443\n"
    "preflight = \"warn\"  preflight_every = 12h\n"
    "expires_after = 2d\n"
    "keep_deliveries = \"180d\"  keep_links = 500d  signature_expires = 14d\n"
    "profiles = none\n"
    "shutdown = \"500ms\"\n"
    "tls_cert = \"/etc/cert.pem\" tls_key = \"/etc/key.pem\" api_rate = \"600/min\"\n"
    "timeouts { greeting = \"7s\" }\n"
    "/* the\n   resolver */\n"
    "dns { server = \"127.0.0.1@5353\"  trust_anchor = \"system\" }\n"
    "retry { first = \"1s\" max = \"90s\" }\n"
    "route \"Example.Test\" { host = \"127.0.0.1\"  port = 2525  tls = \"none\" }\n"
    "route \".test\" { host = \"[::1]\" tls = required }\n"
    "route \"*\" { host = \"Smart.Example\" port = 587 tls = \"verified\" }\n"
    "source \"ip1\" { address = \"192.0.2.1\"  hostname = \"mta1.example.com\" }\n"
    "source \"ip2\" { address = \"2001:db8::1\" rate = \"20/s\" byte_rate = \"5M/s\" connection_rate = \"30/min\"\n"
    "  connections = 9 burst = 4 }\n"
    "pool \"default\" { sources = { \"ip1\", \"ip2\" } }\n"
    "profile \"google\"  { mx = { \".google.com\", \".GoogleMail.com\" }  connections = 5 domain = gmail.com\n"
    "  byte_rate = \"300k/s\" connection_rate = \"2/s\" burst = 3 source_rate = \"4/s\" source_connections = 2\n"
    "  provider_rate = \"9/s\" provider_connections = 8 adaptive = false }\n"
    "profile \"default\" { connections = 20  messages_per_connection = 7  rate = \"10/min\"  pipeline_depth = 3\n"
    "  tls = \"required\" idle_timeout = 1min }\r\n"
    "domain  \"example.org\" { rate = \"10/s\" }\n"
    "domain  \".m\xc3\xbcnchen.example\" { connections = 2 byte_rate = \"1G/d\" burst = 5 }\n"
    "bounces { listen = \"[::]:2526\" domain = Reports.Example tls_cert = \"/c\" tls_key = \"/k\" feedback = "
    "\"abuse\"\n"
    "  connections = 7 connections_per_address = 2 message_bytes = 70000 timeout = 9s suppress_hard = false\n"
    "  suppress_complaints = false soft_bounces = 0 soft_window = 3d complaint_dkim = false\n"
    "  complaint_sources = { \"yahoo.com\", \".example\" } }\n"
    "guard { hard_bounces = \"2.5%\" complaints = off after = 50 }\n"
    "limits { rate = \"7000/s\" byte_rate = \"70M/s\" connection_rate = \"50/s\" connections = 300 burst = 70 }\n"
    "warmup \"ip1\" { start = \"200/d\" growth = 1.25 days = 14 }\n"
    "sending_domain \"Example.com\" { rate = \"100000/d\" byte_rate = \"2M/s\" burst = 50 }\n";

static void check_limits(const struct config *config, const struct config_profile *google)
{
    assert_int_equal(google->byte_rate.count, 300000);
    assert_int_equal(google->connection_rate.count, 2);
    assert_int_equal(google->burst, 3);
    assert_int_equal(google->source_rate.count, 4);
    assert_int_equal(google->source_connections, 2);
    assert_int_equal(google->provider_rate.count, 9);
    assert_int_equal(google->provider_connections, 8);
    assert_false(google->adaptive);
    assert_true(config->profiles[0].adaptive);
    assert_int_equal(config->limits.rate.count, 7000);
    assert_int_equal(config->limits.byte_rate.count, 70000000);
    assert_int_equal(config->limits.connection_rate.count, 50);
    assert_int_equal(config->limits.connections, 300);
    assert_int_equal(config->limits.burst, 70);
    assert_int_equal(config->warmup_count, 1);
    assert_int_equal(config->warmups[0].start.count, 200);
    assert_true(config->warmups[0].growth > 1.24 && config->warmups[0].growth < 1.26);
    assert_int_equal(config->warmups[0].days, 14);
    assert_string_equal(config_sender_for(config, "example.com")->name, "example.com");
    assert_int_equal(config->senders[0].byte_rate.count, 2000000);
    assert_int_equal(config->senders[0].burst, 50);
}

static void check_whole(const struct config *config)
{
    assert_string_equal(config->hostname, "mta1.example.com");
    assert_string_equal(config->data_dir, "/var/lib/post \"haste\" $HOME \\");
    assert_string_equal(config->listen_host, "::1");
    assert_int_equal(config->listen_port, 9025);
    assert_string_equal(config->public_url, "https://mail.example.com/t");
    assert_string_equal(config->bounce_domain, "xn--bnce-0ra.example");
    assert_string_equal(config->dns_server, "127.0.0.1@5353");
    assert_string_equal(config->dns_trust_anchor, "system");
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->loops, 3);
    assert_int_equal(config->compose_threads, 5);
    assert_int_equal(config->on_uncertain, UNCERTAIN_HOLD);
    assert_int_equal(config->preflight, PREFLIGHT_WARN);
    assert_false(config->mta_sts);
    assert_int_equal(config->https_port, 8443);
    assert_int_equal(config->preflight_every_ms, 43200000);
    assert_int_equal(config->expires_after_ms, 172800000);
    assert_int_equal(config->keep_deliveries_ms, 15552000000);
    assert_int_equal(config->keep_links_ms, 43200000000);
    assert_int_equal(config->signature_expires_ms, 1209600000);
    assert_int_equal(config->shutdown_ms, 500);
    assert_string_equal(config->tls_cert, "/etc/cert.pem");
    assert_string_equal(config->tls_key, "/etc/key.pem");
    assert_int_equal(config->api_rate.count, 600);
    assert_int_equal(config->timeouts.greeting_ms, 7000);
    assert_int_equal(config->retry_first_ms, 1000);
    assert_int_equal(config->retry_max_ms, 90000);
    assert_int_equal(config->route_count, 3);
    assert_string_equal(config->routes[0].pattern, "example.test");
    assert_int_equal(config->routes[0].port, 2525);
    assert_int_equal(config->routes[0].tls, TLS_NONE);
    assert_string_equal(config->routes[1].host, "::1");
    assert_int_equal(config->routes[1].port, 25);
    assert_int_equal(config->routes[1].tls, TLS_REQUIRED);
    assert_string_equal(config->routes[2].host, "smart.example");
    assert_int_equal(config->routes[2].tls, TLS_VERIFIED);
    assert_int_equal(config->source_count, 2);
    assert_string_equal(config->sources[1].hostname, "");
    assert_int_equal(config->pool_count, 1);
    assert_int_equal(config->pools[0].source_count, 2);
    assert_string_equal(config->pools[0].sources[1], "ip2");
    assert_int_equal(config->profile_count, 2);
    const struct config_profile *fallback = &config->profiles[0];
    const struct config_profile *google = &config->profiles[1];
    assert_string_equal(fallback->name, "default");
    assert_int_equal(fallback->connections, 20);
    assert_int_equal(fallback->rate.period_us, 60000000);
    assert_int_equal(fallback->idle_timeout_ms, 60000);
    assert_int_equal(fallback->mx_count, 0);
    assert_string_equal(google->name, "google");
    assert_int_equal(google->mx_count, 2);
    assert_string_equal(google->mx[1], ".googlemail.com");
    assert_int_equal(google->domain_count, 1);
    assert_int_equal(google->connections, 5);
    assert_int_equal(google->messages_per_connection, 7); /* taken from "default", though that stands behind it */
    assert_int_equal(google->tls, TLS_REQUIRED);
    assert_int_equal(config->domain_count, 2);
    assert_int_equal(config->domains[0].rate.count, 10);
    assert_int_equal(config->domains[1].byte_rate.count, 1000000000);
    assert_int_equal(config->domains[1].burst, 5);
    assert_int_equal(config->sources[1].rate.count, 20);
    assert_int_equal(config->sources[1].byte_rate.count, 5000000);
    assert_int_equal(config->sources[1].connection_rate.period_us, 60000000);
    assert_int_equal(config->sources[1].connections, 9);
    assert_int_equal(config->sources[1].burst, 4);
    check_limits(config, google);
    assert_int_equal(config->domains[0].connections, 0);
    assert_string_equal(config->domains[1].name, ".xn--mnchen-3ya.example");
    assert_true(rate_is_unlimited(config->domains[1].rate));
    const struct config_bounces *bounces = &config->bounces;
    assert_string_equal(bounces->listen_host, "::");
    assert_int_equal(bounces->listen_port, 2526);
    assert_string_equal(bounces->domain, "reports.example");
    assert_string_equal(bounces->tls_cert, "/c");
    assert_string_equal(bounces->tls_key, "/k");
    assert_string_equal(bounces->feedback, "abuse");
    assert_int_equal(bounces->connections, 7);
    assert_int_equal(bounces->connections_per_address, 2);
    assert_int_equal(bounces->message_bytes, 70000);
    assert_int_equal(bounces->timeout_ms, 9000);
    assert_false(bounces->suppress_hard || bounces->suppress_complaints || bounces->complaint_dkim);
    assert_int_equal(bounces->soft_bounces, 0);
    assert_int_equal(bounces->soft_window_ms, 259200000);
    assert_int_equal(bounces->complaint_source_count, 2);
    assert_string_equal(bounces->complaint_sources[1], ".example");
    assert_int_equal(config->guard.hard_bounces_ppm, 25000);
    assert_int_equal(config->guard.complaints_ppm, 0);
    assert_int_equal(config->guard.after, 50);
}

static void every_key_is_read_and_written_back(void **state)
{
    (void)state;
    struct config *config = load(whole);
    check_whole(config);
    char *text = config_format(config);
    assert_non_null(text);
    config_free(config);
    config = load(text);
    check_whole(config);
    char *again = config_format(config);
    assert_string_equal(again, text);
    config_free(config);
    free(again);
    free(text);
}

static void shipped_profiles_are_overridden_key_by_key(void **state)
{
    (void)state;
    char where[CONFIG_WHERE_BYTES];
    struct config *config = load("loops = 1\nprofile google {\n connections = 3\n mx = { .only.example } }\n"
                                 "profile default { rate = \"7/s\" }\n");
    const struct config_profile *google = &config->profiles[0];
    for (size_t i = 0; i < config->profile_count; i++) {
        if (strcmp(config->profiles[i].name, "google") == 0)
            google = &config->profiles[i];
    }
    assert_int_equal(google->connections, 3);
    assert_int_equal(google->mx_count, 1);
    assert_int_equal(google->messages_per_connection, 50);
    assert_int_equal(google->rate.count, 7);
    for (size_t i = 0; i < config->profile_count; i++) {
        const struct rate *connects = &config->profiles[i].connection_rate;
        bool fallback = strcmp(config->profiles[i].name, "default") == 0;
        assert_int_equal(connects->count, fallback ? 0 : 100);
        assert_int_equal(connects->period_us, fallback ? 0 : 60000000);
    }
    assert_string_equal(config_where(config, "profile", "google", "connections", where), "test.conf:3");
    assert_string_equal(config_where(config, "profile", "google", "rate", where), "test.conf:5");
    assert_non_null(
        strstr(config_where(config, "profile", "google", "messages_per_connection", where), "profiles.conf"));
    assert_string_equal(config_where(config, "profile", "google", "byte_rate", where), "built in");
    config_free(config);
    config = load("profiles = none");
    assert_int_equal(config->profile_count, 1);
    config_free(config);
}

static void count_sentence(void *context, const char *sentence)
{
    const char **wanted = context;
    for (size_t i = 0; wanted[i] != NULL; i++) {
        if (strstr(sentence, wanted[i]) != NULL) {
            wanted[i] = "found";
            return;
        }
    }
    print_error("unexpected: %s\n", sentence);
    fail();
}

static void what_can_never_take_effect_is_told(void **state)
{
    (void)state;
    struct config *config = load("");
    const char *none[] = {NULL};
    config_warnings(config, count_sentence, none); /* the shipped profiles have nothing of it */
    config_free(config);
    config = load("profile empty {\n connections = 2\n pipeline_depth = 3\n}\nprofile mine { mx = { .google.com } }\n"
                  "profile wide { mx = { .a.example, .x.a.example } domain = { b.example } }\n"
                  "profile late { domain = { b.example } }\n"
                  "source lone { address = 192.0.2.1 }\nwarmup nobody { start = \"5/d\" }\n"
                  "route \"c.example\" { host = h.example }\ndomain c.example { rate = \"900/s\" connections = 11 }\n"
                  "domain d.example { burst = 2 }\nsending_domain e.example { burst = 2 }\n");
    const char *wanted[] = {"test.conf:1: profile \"empty\": matches nothing",
                            "\"google\": \".google.com\" never matches",
                            "\"wide\": \".x.a.example\" is within",
                            "\"late\": \"b.example\" never matches",
                            "source \"lone\": is never used",
                            "warmup \"nobody\": does nothing",
                            "\"c.example\": never binds: the profile \"default\" of its site has a lower",
                            "\"c.example\": never binds: the profile \"default\" of its site allows 10",
                            "\"d.example\": limits nothing",
                            "\"e.example\": limits nothing",
                            NULL};
    config_warnings(config, count_sentence, wanted);
    for (size_t i = 0; wanted[i] != NULL; i++)
        assert_string_equal(wanted[i], "found");
    config_free(config);
}

static void defaults_are_written_back(void **state)
{
    (void)state;
    struct config *config = load("");
    char *text = config_format(config);
    config_free(config);
    config = load(text);
    char *again = config_format(config);
    assert_string_equal(again, text);
    config_free(config);
    free(again);
    free(text);
}

static void look_ups_prefer_the_most_specific(void **state)
{
    (void)state;
    struct config *config = load("route \"*\" { host = a.example }\n"
                                 "route \".example.com\" { host = b.example }\n"
                                 "route \".mail.example.com\" { host = c.example }\n"
                                 "route \"x.mail.example.com\" { host = d.example }\n"
                                 "domain \".example.com\" { rate = \"1/s\" }\n"
                                 "domain \"example.com\" { rate = \"2/s\" }\n"
                                 "profile one { domain = { .example.com } }\n"
                                 "profile two { domain = { example.com, a.example.com } }\n");
    static const struct {
        const char *domain, *host;
    } routes[] = {
        {"other.org", "a.example"},          {"example.com", "a.example"}, /* ".example.com" is below it only */
        {"m.example.com", "b.example"},      {"y.mail.example.com", "c.example"},
        {"x.mail.example.com", "d.example"}, {"z.x.mail.example.com", "c.example"},
        {"notexample.com", "a.example"},
    };
    for (size_t i = 0; i < countof(routes); i++)
        assert_string_equal(config_route_for(config, routes[i].domain)->host, routes[i].host);
    assert_int_equal(config_domain_for(config, "example.com")->rate.count, 2);
    assert_int_equal(config_domain_for(config, "a.example.com")->rate.count, 1);
    assert_null(config_domain_for(config, "example.org"));
    assert_string_equal(config_profile_for_domain(config, "example.com")->name, "two");
    assert_string_equal(config_profile_for_domain(config, "b.example.com")->name, "one");
    assert_string_equal(config_profile_for_domain(config, "a.example.com")->name, "two");
    assert_string_equal(config_profile_for_domain(config, "example.net")->name, "default");
    config_free(config);
    config = load("");
    assert_null(config_route_for(config, "example.com"));
    config_free(config);
}

static void values_come_from_the_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("POSTHASTE_TEST_DIR", "/srv/x", 1), 0);
    assert_int_equal(unsetenv("POSTHASTE_TEST_NONE"), 0);
    struct config *config =
        load("data_dir = \"${POSTHASTE_TEST_DIR}/data\"\nlog_level = \"${POSTHASTE_TEST_NONE:-warn}\"\n");
    assert_string_equal(config->data_dir, "/srv/x/data");
    assert_int_equal(config->log_level, LOG_LEVEL_WARN);
    config_free(config);
    refuses("data_dir = \"${POSTHASTE_TEST_NONE}\"", "test.conf:1: data_dir: must not be empty");
}

static void mistakes_name_file_line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        /* keys */
        {"\n\nhostnam = \"a\"", "test.conf:3: hostnam: unknown key; did you mean \"hostname\"?"},
        {"# c\nprofil \"x\" { }", "test.conf:2: profil: unknown key; did you mean \"profile\"?"},
        {"# one\n## two\n// three\n/* four\n * five */ loops = 1 # six\nzebra = 1", "test.conf:6: zebra: unknown key"},
        {"zebra = 1", "test.conf:1: zebra: unknown key"},
        {"profile \"x\" {\n connection = 1\n}",
         "test.conf:2: connection: unknown key in \"profile\"; did you mean \"connections\"?"},
        {"dns {\n\n port = 53 }", "test.conf:3: port: unknown key in \"dns\""},
        {"retry { connections = 1 }", "test.conf:1: connections: unknown key in \"retry\""},
        {"loops = 1\nloops = 2", "test.conf:2: loops: set twice, first in line 1"},
        {"dns { server = \"127.0.0.1\" }\ndns { server = \"::1\" }", "test.conf:2: server: set twice"},
        /* grammar */
        {"hostname \"a\"", "test.conf:1: missing equal sign after option 'hostname'"},
        {"hostname =", "test.conf:1: premature end of file"},
        {"hostname = { a }", "test.conf:1: unexpected token"},
        {"\nroute { host = a.b }", "test.conf:2: missing title for section 'route'"},
        {"route \"a.b\" \n\n host = c", "test.conf:3: missing opening brace for section 'route'"},
        {"source \"a\" { address = \"::1\" }\nsource \"a\" { address = \"::2\" }",
         "test.conf:2: found duplicate title 'a'"},
        {"loops = 1\n)", "test.conf:2: ')' outside of quotes"},
        /* what libconfuse would swallow */
        {"loops = 1\nroute * { host = a.b }", "test.conf:2: '*' outside of quotes"},
        {"loops = 1;\n", "test.conf:1: ';' outside of quotes"},
        {"\nroute \"a.b\" { host = c.d\n\n", "test.conf:2: '{' is not closed"},
        {"loops = 1\n}", "test.conf:2: '}' without a '{'"},
        {"\n\n/* open\n\n", "test.conf:3: a comment is not closed"},
        {"hostname = \"open\nloops = 1", "test.conf:1: a string is not closed"},
        {"hostname = 'open", "test.conf:1: a string is not closed"},
        {"data_dir = \"a\\", "test.conf:1: a string is not closed"},
        {"data_dir = \"a\\n\"", "test.conf:1: only \\\\"},
        {"data_dir = \"a\\0\"", "test.conf:1: only \\\\"},
        {"data_dir = \"${open\"\nlisten = \"}\"", "test.conf:1: \"${\" is not closed"},
        {"data_dir = ${open\n", "test.conf:1: \"${\" is not closed"},
        {"data_dir = \"a\x01\"", "test.conf:1: a control character in a string"},
        {"loops\x01 = 1", "test.conf:1: a control character"},
        {"data_dir = \"\xff\"", "test.conf: is not UTF-8"},
        {"{{{{{{{{{", "test.conf:1: too many '{'"},
        /* values */
        {"loops = 0", "test.conf:1: loops: \"0\" is not a whole number from 1 to 256"},
        {"loops = 257", "test.conf:1: loops: \"257\" is not a whole number from 1 to 256"},
        {"loops = two", "test.conf:1: loops: \"two\" is not a whole number"},
        {"loops = -1", "test.conf:1: loops: \"-1\" is not a whole number"},
        {"loops = 0x10", "test.conf:1: loops: \"0x10\" is not a whole number"},
        {"loops = 99999999999999999999", "test.conf:1: loops: "},
        {"hostname = \"a b\"", "test.conf:1: hostname: \"a b\" is not a host name"},
        {"hostname = \"\"", "test.conf:1: hostname: \"\" is not a host name"},
        {"hostname = \"a_b.example\"", "test.conf:1: hostname: "},
        {"hostname = \"-a.example\"", "test.conf:1: hostname: "},
        {"hostname = \"a-.example\"", "test.conf:1: hostname: "},
        {"hostname = \"a..example\"", "test.conf:1: hostname: "},
        {"hostname = \"192.0.2.1\"", "test.conf:1: hostname: "},
        {"data_dir = \"\"", "test.conf:1: data_dir: must not be empty"},
        {"allow_private_mx = 1", "test.conf:1: allow_private_mx: \"1\" is not one of \"false\", \"true\""},
        {"mx_port = 0", "test.conf:1: mx_port: "},
        {"bounces { listen = \"127.0.0.1\" }", "test.conf:1: bounces: listen: "},
        {"bounces { listen = \"127.0.0.1:25\" }", "test.conf: bounces: \"listen\" needs \"domain\" beside it"},
        {"bounces { tls_cert = x }", "test.conf: bounces: tls_cert and tls_key are set together or not at all"},
        {"bounces { message_bytes = 1000 }", "test.conf:1: bounces: message_bytes: "},
        {"guard { hard_bounces = 5 }", "test.conf:1: guard: hard_bounces: \"5\" is not a share"},
        {"guard { hard_bounces = \"101%\" }", "test.conf:1: guard: hard_bounces: \"101%\" is not a share"},
        {"guard { hard_bounces = \"0%\" }", "test.conf:1: guard: hard_bounces: \"0%\" is not a share"},
        {"guard { complaints = \"0.12345%\" }", "test.conf:1: guard: complaints: "},
        {"guard { complaints = \".1%\" }", "test.conf:1: guard: complaints: "},
        {"guard { complaints = \"1.%\" }", "test.conf:1: guard: complaints: "},
        {"route \"*\" { host = a.b\n user = u }", "test.conf:2: route \"*\": user: needs \"password_file\" beside it"},
        {"route \"*\" { host = a.b\n password_file = p }",
         "test.conf:2: route \"*\": password_file: needs \"user\" beside it"},
        {"route \"*\" { host = a.b\n user = u\n password_file = p }",
         "test.conf:2: route \"*\": user: logging in needs tls"},
        {"route \"*\" { host = a.b\n user = \"\" }", "test.conf:2: route \"*\": user: must not be empty"},
        {"source \"s\" { address = \"::1\" weight = 0 }", "test.conf:1: source \"s\": weight: "},
        {"listen = \"8025\"", "test.conf:1: listen: \"8025\" is not HOST:PORT"},
        {"listen = \"127.0.0.1:\"", "test.conf:1: listen: "},
        {"listen = \":8025\"", "test.conf:1: listen: "},
        {"listen = \"127.0.0.1:65536\"", "test.conf:1: listen: "},
        {"listen = \"::1:8025\"", "test.conf:1: listen: \"::1:8025\": an IPv6 address needs brackets"},
        {"listen = \"[::g]:8025\"", "test.conf:1: listen: "},
        {"listen = \"1.2.3:80\"", "test.conf:1: listen: "},
        {"public_url = \"mail.example.com\"", "test.conf:1: public_url: "},
        {"public_url = \"https://\"", "test.conf:1: public_url: "},
        {"public_url = \"https:///x\"", "test.conf:1: public_url: "},
        {"public_url = \"https://a b\"", "test.conf:1: public_url: "},
        {"public_url = \"https://a/?q\"", "test.conf:1: public_url: "},
        {"public_url = \"javascript:alert(1)\"", "test.conf:1: public_url: "},
        {"bounce_domain = \"localhost\"", "test.conf:1: bounce_domain: \"localhost\": the domain has no dot"},
        {"log_level = \"loud\"",
         "test.conf:1: log_level: \"loud\" is not one of \"error\", \"warn\", \"info\", \"debug\""},
        {"on_uncertain = \"maybe\"", "test.conf:1: on_uncertain: \"maybe\" is not one of \"resend\", \"hold\""},
        {"keep_deliveries = \"6 months\"", "test.conf:1: keep_deliveries: \"6 months\" is not a duration"},
        {"keep_links = \"for ever\"", "test.conf:1: keep_links: \"for ever\" is not a duration"},
        {"signature_expires = \"400d\"", "test.conf:1: signature_expires: \"400d\" is too long"},
        {"expires_after = \"3\"", "test.conf:1: expires_after: \"3\" is not a duration"},
        {"expires_after = \"0\"", "test.conf:1: expires_after: \"0\" is too short"},
        {"expires_after = \"400d\"", "test.conf:1: expires_after: \"400d\" is too long"},
        {"shutdown = \"-1s\"", "test.conf:1: shutdown: "},
        {"tls_cert = \"x\"", "test.conf: tls_cert and tls_key are set together"},
        {"tls_key = \"x\"", "test.conf: tls_cert and tls_key are set together"},
        {"dns {\n server = \"localhost\" }", "test.conf:2: dns: server: \"localhost\" is not IP or IP@PORT"},
        {"dns { server = \"127.0.0.1@0\" }", "test.conf:1: dns: server: "},
        {"dns { server = \"127.0.0.1:53\" }", "test.conf:1: dns: server: "},
        {"retry {\n first = \"1h\"\n max = \"1min\" }", "test.conf:3: retry: max: \"max\" is shorter than \"first\""},
        {"retry {\n first = \"1d\" }", "test.conf:2: retry: first: \"max\" is shorter than \"first\""},
        {"loops = 1\nroute \"a.b\" {\n port = 25\n tls = none\n}\nmx_port = 25",
         "test.conf:2: route \"a.b\": host: is missing"},
        {"route \"a.b\" { host = c }\nroute \"A.B\" {\n host = d\n port = 25\n}\n",
         "test.conf:2: route \"A.B\": title: \"a.b\" is there twice"},
        {"route \"a.b\" {\n host = c\n port = 25\n}\nloops = 0", "test.conf:5: loops: "},
        {"route \"a.b\" { host = \"\" }", "test.conf:1: route \"a.b\": host: "},
        {"route \"a.b\" { host = \"c.d\" port = 0 }",
         "test.conf:1: route \"a.b\": port: \"0\" is not a whole number from 1 to 65535"},
        {"route \"a.b\" { host = \"c.d\" port = 65536 }", "test.conf:1: route \"a.b\": port: "},
        {"route \"a.b\" { host = \"c.d\" tls = \"maybe\" }", "test.conf:1: route \"a.b\": tls: \"maybe\" is not one of "
                                                             "\"none\", \"opportunistic\", \"required\", \"verified\""},
        {"route \"localhost\" { host = \"c.d\" }", "test.conf:1: route \"localhost\": title: "},
        {"route \"\" { host = \"c.d\" }", "test.conf:1: route \"\": title: must not be empty"},
        {"route \".\" { host = \"c.d\" }", "test.conf:1: route \".\": title: "},
        {"route \"a.b\" { host = c.d }\nroute \"A.B\" { host = c.d }",
         "test.conf:2: route \"A.B\": title: \"a.b\" is there twice"},
        {"source \"a b\" { address = \"::1\" }", "test.conf:1: source \"a b\": title: \"a b\" is not a name"},
        {"source \"a\" { address = \"localhost\" }",
         "test.conf:1: source \"a\": address: \"localhost\" is not an IPv4 or IPv6 address"},
        {"source \"a\" { }", "test.conf:1: source \"a\": address: is missing"},
        {"pool \"p\" { sources = { } }", "test.conf:1: pool \"p\": sources: is missing"},
        {"source \"a\" { address = \"::1\" }\npool \"p\" {\n sources = { \"a\", \"b\" } }",
         "test.conf:3: pool \"p\": sources: there is no source \"b\""},
        {"source \"a\" { address = \"::1\" }\npool \"p\" { sources = { \"a\", \"a\" } }",
         "test.conf:2: pool \"p\": sources: \"a\" is there twice"},
        {"profile \"x\" { connections = 0 }", "test.conf:1: profile \"x\": connections: "},
        {"profile \"x\" {\n rate = fast }", "test.conf:2: profile \"x\": rate: \"fast\" is not a rate"},
        {"profile \"x\" { rate = \"0/s\" }", "test.conf:1: profile \"x\": rate: "},
        {"profile \"x\" { mx = { \"*\" } }", "test.conf:1: profile \"x\": mx: "},
        {"domain \"x.y\" { connections = 0 }", "test.conf:1: domain \"x.y\": connections: "},
    };
    for (size_t i = 0; i < countof(cases); i++)
        refuses(cases[i].text, cases[i].message);
    config_free(load("loops = 1")); /* no mistake before has left the lexer in a strange state */
}

static void files_that_are_no_files(void **state)
{
    (void)state;
    struct config *config;
    struct error err = {0};
    assert_int_equal(config_load("none.conf", &config, &err), -ENOENT);
    assert_string_equal(err.text, "cannot open the configuration none.conf: No such file or directory");
    assert_null(config);
    assert_int_equal(config_load("/tmp", &config, &err), -EINVAL);
    assert_int_equal(config_load("/dev/zero", &config, &err), -EINVAL);
    size_t len = (size_t)5 << 20;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '\n', len);
    write_file("test.conf", text, len);
    free(text);
    assert_int_equal(config_load("test.conf", &config, &err), -EINVAL);
    assert_string_equal(err.text, "the configuration test.conf is larger than 4194304 bytes");
    write_file("test.conf", "loops = 1 # \0 hidden\nloops = 2", 30);
    assert_int_equal(config_load("test.conf", &config, &err), -EINVAL);
    assert_string_equal(err.text, "test.conf: contains a NUL byte");
}

static void usual_places_are_tried(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct error err = {0};
    write_file("posthaste.conf", "\xef\xbb\xbfloops = 7", 12);
    assert_int_equal(config_load(NULL, &config, &err), 0);
    assert_string_equal(config->file, "./posthaste.conf");
    assert_int_equal(config->loops, 7);
    config_free(config);
    write_file("posthaste.conf", "loops = no", 10);
    assert_int_equal(config_load(NULL, &config, &err), -EINVAL);
    assert_int_equal(unlink("posthaste.conf"), 0);
    if (access("/etc/posthaste/posthaste.conf", F_OK) != 0) {
        assert_int_equal(config_load(NULL, &config, &err), 0);
        assert_string_equal(config->file, "");
        assert_string_equal(err.text, "");
        config_free(config);
    }
}

/* Cuts, doubles and changes the whole example at random: it is read or refused, and never leaks or crashes. */
static void damaged_files_never_crash(void **state)
{
    (void)state;
    uint64_t seed = 31;
    for (int round = 0; round < 3000; round++) {
        char text[sizeof(whole) + 64];
        size_t len = sizeof(whole) - 1;
        memcpy(text, whole, len);
        for (size_t i = random_below(&seed, 4); i < 4; i++) {
            size_t at = random_below(&seed, len);
            switch (random_below(&seed, 4)) {
            case 0:
                text[at] = "{}\"'\\$#*=,\n/ x9"[random_below(&seed, 15)];
                break;
            case 1:
                len = at + 1;
                break;
            case 2:
                memmove(text + at, text + at + 1, len - at - 1);
                len = MAX_OF(len - 1, (size_t)1);
                break;
            default:
                text[at] = (char)random_below(&seed, 256);
            }
        }
        write_file("test.conf", text, len);
        struct config *config = NULL;
        struct error err = {0};
        int rc = config_load("test.conf", &config, &err);
        assert_true((rc == 0) == (config != NULL));
        assert_true(rc == 0 || (rc == -EINVAL && strncmp(err.text, "test.conf:", 10) == 0));
        config_free(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_file_gives_the_defaults),
        cmocka_unit_test(every_key_is_read_and_written_back),
        cmocka_unit_test(shipped_profiles_are_overridden_key_by_key),
        cmocka_unit_test(what_can_never_take_effect_is_told),
        cmocka_unit_test(defaults_are_written_back),
        cmocka_unit_test(look_ups_prefer_the_most_specific),
        cmocka_unit_test(values_come_from_the_environment),
        cmocka_unit_test(mistakes_name_file_line_and_key),
        cmocka_unit_test(files_that_are_no_files),
        cmocka_unit_test(usual_places_are_tried),
        cmocka_unit_test(damaged_files_never_crash),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
