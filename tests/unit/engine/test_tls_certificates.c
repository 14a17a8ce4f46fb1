/*
 * test_tls_certificates.c - failures row 13: what each policy makes of each kind of certificate. Opportunistic and
 * required take them all and say what was wrong; verified takes only the good ones.
 */
#include "tls_server.h"

#include <openssl/x509_vfy.h>
#include <errno.h>
#include <unistd.h>

enum issued_by {
    BY_ROOT,
    BY_ITSELF,
    BY_STRANGER,
    BY_MIDDLE,
    BY_MIDDLE_UNSENT,
    BY_OLD_MIDDLE,
    BY_LEAF,
    BY_WEAK_MIDDLE,
    ISSUERS
};

struct row {
    const char *what;
    const char *host;
    struct cert_spec spec;
    enum issued_by by;
    bool spoilt;     /* the signature is changed afterwards */
    const char *why; /* NULL = valid */
};

#define HOST "mx.example.com"
static const char nul_inside[] = "mx.example.com\0.evil.example";
static const char nul_before[] = "evil.example\0mx.example.com";
static const char nul_last[] = "mx.example.com\0";

#define EXPIRED "certificate has expired"
#define NAME "hostname mismatch"
#define ADDRESS "IP address mismatch"
#define NO_ISSUER "unable to get local issuer certificate"

static struct row rows[] = {
    {"good", HOST, {.cn = "x", .san = "DNS:mx.example.com"}, .why = NULL},
    {"the last of three names",
     HOST,
     {.cn = "x", .san = "DNS:a.example,DNS:b.example,DNS:mx.example.com"},
     .why = NULL},
    {"case and final dot", "MX.Example.COM.", {.cn = "x", .san = "DNS:mX.exAMPLE.com"}, .why = NULL},
    {"underscore", "_mx.example.com", {.cn = "x", .san = "DNS:_mx.example.com"}, .why = NULL},
    {"expired", HOST, {.cn = "x", .san = "DNS:mx.example.com", .from_s = -7200, .until_s = -60}, .why = EXPIRED},
    {"not yet valid",
     HOST,
     {.cn = "x", .san = "DNS:mx.example.com", .from_s = 600, .until_s = 7200},
     .why = "certificate is not yet valid"},
    {"wrong name", HOST, {.cn = "x", .san = "DNS:mx.example.net"}, .why = NAME},
    {"name of the parent", HOST, {.cn = "x", .san = "DNS:example.com"}, .why = NAME},
    {"name with a dot in front", HOST, {.cn = "x", .san = "DNS:.example.com"}, .why = NAME},
    {"wildcard for one label", HOST, {.cn = "x", .san = "DNS:*.example.com"}, .why = NULL},
    {"wildcard and an A-label", "xn--bcher-kva.example.com", {.cn = "x", .san = "DNS:*.example.com"}, .why = NULL},
    {"wildcard for no label", "example.com", {.cn = "x", .san = "DNS:*.example.com"}, .why = NAME},
    {"wildcard for two labels", "a.mx.example.com", {.cn = "x", .san = "DNS:*.example.com"}, .why = NAME},
    {"two wildcards", "a.mx.example.com", {.cn = "x", .san = "DNS:*.*.example.com"}, .why = NAME},
    {"partial wildcard at the end", "foo.example.com", {.cn = "x", .san = "DNS:f*.example.com"}, .why = NAME},
    {"partial wildcard in front", "foo.example.com", {.cn = "x", .san = "DNS:*o.example.com"}, .why = NAME},
    {"wildcard inside", HOST, {.cn = "x", .san = "DNS:mx.*.com"}, .why = NAME},
    {"wildcard under a top level", "example.com", {.cn = "x", .san = "DNS:*.com"}, .why = NAME},
    {"bare wildcard", HOST, {.cn = "x", .san = "DNS:*"}, .why = NAME},
    {"NUL in the name", HOST, {.cn = "x", .raw_name = nul_inside, .raw_name_len = sizeof nul_inside - 1}, .why = NAME},
    {"NUL before the name",
     HOST,
     {.cn = "x", .raw_name = nul_before, .raw_name_len = sizeof nul_before - 1},
     .why = NAME},
    {"NUL at the end", HOST, {.cn = "x", .raw_name = nul_last, .raw_name_len = sizeof nul_last - 1}, .why = NAME},
    {"CN only", HOST, {.cn = HOST}, .why = NAME},
    {"right CN, wrong name", HOST, {.cn = HOST, .san = "DNS:mx.example.net"}, .why = NAME},
    {"address", "192.0.2.1", {.cn = "x", .san = "IP:192.0.2.1"}, .why = NULL},
    {"IPv6 address", "2001:db8::1", {.cn = "x", .san = "IP:2001:db8:0:0::1"}, .why = NULL},
    {"other address", "192.0.2.1", {.cn = "x", .san = "IP:192.0.2.2"}, .why = ADDRESS},
    {"address as a name", "192.0.2.1", {.cn = "x", .san = "DNS:192.0.2.1"}, .why = ADDRESS},
    {"wildcard for an address", "192.0.2.1", {.cn = "192.0.2.1", .san = "DNS:*.0.2.1"}, .why = ADDRESS},
    {"address for a name", HOST, {.cn = "x", .san = "IP:192.0.2.1"}, .why = NAME},
    {"self-signed", HOST, {.cn = HOST, .san = "DNS:mx.example.com"}, BY_ITSELF, .why = "self-signed certificate"},
    {"wrong CA", HOST, {.cn = "x", .san = "DNS:mx.example.com"}, BY_STRANGER, .why = NO_ISSUER},
    {"intermediate sent", HOST, {.cn = "x", .san = "DNS:mx.example.com"}, BY_MIDDLE, .why = NULL},
    {"intermediate missing", HOST, {.cn = "x", .san = "DNS:mx.example.com"}, BY_MIDDLE_UNSENT, .why = NO_ISSUER},
    {"intermediate expired", HOST, {.cn = "x", .san = "DNS:mx.example.com"}, BY_OLD_MIDDLE, .why = EXPIRED},
    {"issuer is no CA", HOST, {.cn = "x", .san = "DNS:mx.example.com"}, BY_LEAF, .why = "invalid CA certificate"},
    {"weak intermediate",
     HOST,
     {.cn = "x", .san = "DNS:mx.example.com"},
     BY_WEAK_MIDDLE,
     .why = "CA certificate key too weak"},
    {"signature changed",
     HOST,
     {.cn = "x", .san = "DNS:mx.example.com"},
     .spoilt = true,
     .why = "certificate signature failure"},
    {"for clients only",
     HOST,
     {.cn = "x", .san = "DNS:mx.example.com", .usage = "clientAuth"},
     .why = "unsuitable certificate purpose"},
    {"1024 bits of RSA",
     HOST,
     {.cn = "x", .san = "DNS:mx.example.com", .rsa_bits = 1024},
     .why = "EE certificate key too weak"},
    {"2048 bits of RSA", HOST, {.cn = "x", .san = "DNS:mx.example.com", .rsa_bits = 2048}, .why = NULL},
    {"signed with SHA-1",
     HOST,
     {.cn = "x", .san = "DNS:mx.example.com"},
     .why = "CA signature digest algorithm too weak"},
};

static struct identity issuers[ISSUERS];
static struct tls_context *context;
static char *ca_path;

static int set_up(void **state)
{
    (void)state;
    struct cert_spec root = {.cn = "Root", .ca = true};
    issuers[BY_ROOT] = identity_make(&root);
    struct cert_spec stranger = {.cn = "Stranger", .ca = true};
    issuers[BY_STRANGER] = identity_make(&stranger);
    struct cert_spec middle = {.cn = "Middle", .ca = true, .issuer = &issuers[BY_ROOT]};
    issuers[BY_MIDDLE] = identity_make(&middle);
    issuers[BY_MIDDLE_UNSENT] = identity_make(&middle);
    middle.cn = "Old middle";
    middle.from_s = -7200;
    middle.until_s = -60;
    issuers[BY_OLD_MIDDLE] = identity_make(&middle);
    struct cert_spec leaf = {.cn = "Leaf", .san = "DNS:leaf.example", .issuer = &issuers[BY_ROOT]};
    issuers[BY_LEAF] = identity_make(&leaf);
    struct cert_spec weak = {.cn = "Weak", .ca = true, .issuer = &issuers[BY_ROOT], .rsa_bits = 1024};
    issuers[BY_WEAK_MIDDLE] = identity_make(&weak);
    ca_path = identity_to_file(&issuers[BY_ROOT]);
    struct tls_options options = {.ca_file = ca_path};
    rows[countof(rows) - 1].spec.digest = EVP_sha1(); /* not a constant */
    return tls_context_create(&options, &context, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    tls_context_free(context);
    (void)unlink(ca_path);
    free(ca_path);
    for (size_t i = 0; i < ISSUERS; i++)
        identity_free(&issuers[i]);
    return 0;
}

static struct identity make_row(const struct row *row)
{
    struct cert_spec spec = row->spec;
    spec.issuer = row->by == BY_ITSELF ? NULL : &issuers[row->by];
    struct identity made = identity_make(&spec);
    if (row->spoilt) {
        const ASN1_BIT_STRING *signature;
        X509_get0_signature(&signature, NULL, made.cert);
        signature->data[signature->length - 1] ^= 1;
    }
    return made;
}

static const struct identity *chain_of(enum issued_by by)
{
    return by == BY_ROOT || by == BY_ITSELF || by == BY_STRANGER || by == BY_MIDDLE_UNSENT ? NULL : &issuers[by];
}

static void try_row(const struct row *row, SSL_CTX *ctx, enum tls_policy policy)
{
    struct joint joint;
    struct server server;
    struct tls_info info;
    struct tls_peer peer = {.host = row->host, .port = 25, .policy = policy};
    bool refused = policy == TLS_VERIFIED && row->why != NULL;
    joint_open(&joint, context, &peer, &server, ctx);
    tls_info(joint.tls, &info);
    if (tls_state(joint.tls) != (refused ? TLS_STATE_FAILED : TLS_STATE_OPEN))
        fail_msg("%s, policy %d: state %d, %s %s", row->what, (int)policy, (int)tls_state(joint.tls),
                 tls_fault(joint.tls), info.why_not);
    if (refused) {
        if (strstr(tls_fault(joint.tls), row->why) == NULL || strstr(tls_fault(joint.tls), "is not valid") == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", row->what, tls_fault(joint.tls), row->why);
        assert_true(server.failed); /* it was told by an alert */
    } else {
        const char *why = row->why != NULL ? row->why : "";
        if (info.verified != (row->why == NULL) || strncmp(info.why_not, why, strlen(why)) != 0)
            fail_msg("%s, policy %d: verified=%d \"%s\", not \"%s\"", row->what, (int)policy, info.verified,
                     info.why_not, why);
        assert_string_equal(tls_fault(joint.tls), "");
    }
    joint_close(&joint);
}

static void every_certificate_under_every_policy(void **state)
{
    (void)state;
    static const enum tls_policy policies[] = {TLS_OPPORTUNISTIC, TLS_REQUIRED, TLS_VERIFIED};
    for (size_t i = 0; i < countof(rows); i++) {
        struct identity identity = make_row(&rows[i]);
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            SSL_CTX *ctx = server_ctx(&identity, chain_of(rows[i].by));
            assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
            for (size_t k = 0; k < countof(policies); k++) {
                try_row(&rows[i], ctx, policies[k]);
                try_row(&rows[i], ctx, policies[k]); /* resumed: the verdict stays */
            }
            SSL_CTX_free(ctx);
        }
        identity_free(&identity);
    }
}

/* The system's store knows no root of ours; without any store at all it is the same. */
static void system_store_does_not_know_our_root(void **state)
{
    (void)state;
    struct tls_context *system = NULL;
    struct tls_options options = {.ca_file = NULL};
    assert_int_equal(tls_context_create(&options, &system, NULL), 0);
    struct identity identity = make_row(&rows[0]);
    SSL_CTX *ctx = server_ctx(&identity, NULL);
    struct joint joint;
    struct server server;
    struct tls_peer peer = {.host = HOST, .port = 25, .policy = TLS_VERIFIED};
    joint_open(&joint, system, &peer, &server, ctx);
    assert_int_equal(tls_state(joint.tls), TLS_STATE_FAILED);
    assert_non_null(strstr(tls_fault(joint.tls), NO_ISSUER));
    joint_close(&joint);
    SSL_CTX_free(ctx);
    identity_free(&identity);
    tls_context_free(system);
}

/* A chain without end would be memory that a stranger chooses. */
static void huge_certificate_is_refused(void **state)
{
    (void)state;
    struct buffer names = BUFFER_INIT(0);
    for (int i = 0; i < 2000; i++)
        buffer_printf(&names, "%sDNS:host%d.with-a-long-name.example", i > 0 ? "," : "", i);
    struct cert_spec spec = {.cn = "x", .san = buffer_text(&names), .issuer = &issuers[BY_ROOT]};
    struct identity identity = identity_make(&spec);
    SSL_CTX *ctx = server_ctx(&identity, NULL);
    struct joint joint;
    struct server server;
    struct tls_peer peer = {.host = HOST, .port = 25, .policy = TLS_OPPORTUNISTIC};
    joint_open(&joint, context, &peer, &server, ctx);
    assert_int_equal(tls_state(joint.tls), TLS_STATE_FAILED);
    assert_non_null(strstr(tls_fault(joint.tls), "excessive message size"));
    joint_close(&joint);
    SSL_CTX_free(ctx);
    identity_free(&identity);
    buffer_finish(&names);
}

static void bad_trust_store_is_an_error(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nonexistent/ca.pem", "/dev/null", "/tmp", "/etc/passwd"};
    for (size_t i = 0; i < countof(paths); i++) {
        struct tls_context *none = NULL;
        struct error err = {{0}};
        struct tls_options options = {.ca_file = paths[i]};
        assert_int_equal(tls_context_create(&options, &none, &err), -EINVAL);
        assert_null(none);
        assert_non_null(strstr(err.text, paths[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_certificate_under_every_policy),
        cmocka_unit_test(system_store_does_not_know_our_root),
        cmocka_unit_test(huge_certificate_is_refused),
        cmocka_unit_test(bad_trust_store_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
