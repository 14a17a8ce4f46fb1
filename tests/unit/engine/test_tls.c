/*
 * test_tls.c - the TLS engine against a real OpenSSL server: both versions, data in random cuts, bounds, endings
 * (failures row 3), resumption, and servers that do everything wrong. Certificates have a test of their own.
 */
#include "tls_server.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"

#define HOST "mx.example.com"

static struct identity root, good;
static char *ca_path;
static const struct tls_peer verified_peer = {.host = HOST, .port = 25, .policy = TLS_VERIFIED};
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static int set_up(void **state)
{
    (void)state;
    struct cert_spec spec = {.cn = "Root", .ca = true};
    root = identity_make(&spec);
    spec = (struct cert_spec){.cn = "x", .san = "DNS:mx.example.com,DNS:mx2.example.com,IP:192.0.2.1", .issuer = &root};
    good = identity_make(&spec);
    ca_path = identity_to_file(&root);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(ca_path);
    free(ca_path);
    identity_free(&root);
    identity_free(&good);
    return 0;
}

static struct tls_context *make_context(size_t sessions_max, int64_t lifetime_ms)
{
    struct tls_context *context = NULL;
    struct tls_options options = {.ca_file = ca_path, .sessions_max = sessions_max, .session_lifetime_ms = lifetime_ms};
    assert_int_equal(tls_context_create(&options, &context, NULL), 0);
    return context;
}

static SSL_CTX *make_server_ctx(int version)
{
    SSL_CTX *ctx = server_ctx(&good, NULL);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    return ctx;
}

/* One open connection of the version, with all that it needs. */
struct setting {
    struct tls_context *context;
    SSL_CTX *ctx;
    struct server server;
    struct joint joint;
};

static void open_setting(struct setting *s, int version)
{
    s->context = make_context(0, 0);
    s->ctx = make_server_ctx(version);
    joint_open(&s->joint, s->context, &verified_peer, &s->server, s->ctx);
    assert_string_equal(tls_fault(s->joint.tls), "");
    assert_int_equal(tls_state(s->joint.tls), TLS_STATE_OPEN);
}

static void close_setting(struct setting *s)
{
    joint_close(&s->joint);
    SSL_CTX_free(s->ctx);
    tls_context_free(s->context);
}

static ssize_t say(struct tls *tls, const char *text)
{
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    return tls_write(tls, &piece, 1);
}

static void feed_end_of(struct joint *joint, const char *bytes, size_t len)
{
    buffer_clear(&joint->received);
    feed_all(joint, bytes, len);
}

/* ---- the plain way ---- */

static void both_versions_talk(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct setting s;
        struct tls_info info;
        open_setting(&s, versions[i]);
        tls_info(s.joint.tls, &info);
        assert_string_equal(info.version, versions[i] == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
        assert_string_not_equal(info.cipher, "");
        assert_true(info.verified);
        assert_false(info.resumed);
        assert_string_equal(info.why_not, "");
        assert_string_equal(SSL_get_servername(s.server.ssl, TLSEXT_NAMETYPE_host_name), HOST);
        const unsigned char *alpn;
        unsigned alpn_len;
        SSL_get0_alpn_selected(s.server.ssl, &alpn, &alpn_len);
        assert_int_equal(alpn_len, 0);
        assert_null(SSL_get_current_compression(s.server.ssl));
        assert_int_equal(say(s.joint.tls, "EHLO me\r\n"), 9);
        (void)pump(&s.joint);
        assert_string_equal(buffer_text(&s.server.received), "EHLO me\r\n");
        server_say(&s.server, "250 hello\r\n", 11);
        (void)pump(&s.joint);
        assert_string_equal(buffer_text(&s.joint.received), "250 hello\r\n");
        tls_close(s.joint.tls);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_CLOSING);
        assert_int_equal(say(s.joint.tls, "x"), -EPIPE);
        (void)pump(&s.joint);
        assert_true((SSL_get_shutdown(s.server.ssl) & SSL_RECEIVED_SHUTDOWN) != 0);
        server_say(&s.server, "221 bye\r\n", 9); /* reading still works */
        assert_int_equal(SSL_shutdown(s.server.ssl), 1);
        (void)pump(&s.joint);
        assert_string_equal(buffer_text(&s.joint.received), "250 hello\r\n221 bye\r\n");
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_EOF);
        close_setting(&s);
    }
}

static void nothing_is_said_before_the_handshake(void **state)
{
    (void)state;
    struct tls_context *context = make_context(0, 0);
    struct tls *tls = NULL;
    struct tls_info info;
    const char *out, *plain;
    assert_int_equal(tls_create(context, &verified_peer, &tls, NULL), 0);
    size_t hello = tls_output(tls, &out);
    assert_true(hello > 100 && out[0] == 22);
    assert_int_equal(say(tls, "MAIL FROM:<a@example.com>\r\n"), 0);
    tls_close(tls);
    assert_int_equal(tls_read(tls, &plain), 0);
    assert_int_equal(tls_state(tls), TLS_STATE_HANDSHAKE);
    assert_int_equal(tls_output(tls, &out), hello);
    tls_info(tls, &info);
    assert_false(info.verified);
    assert_string_equal(info.version, "");
    tls_free(tls);
    tls_free(NULL);
    tls_context_free(context);
    tls_context_free(NULL);
}

static void literals_send_no_sni(void **state)
{
    (void)state;
    struct tls_context *context = make_context(0, 0);
    SSL_CTX *ctx = make_server_ctx(TLS1_3_VERSION);
    struct joint joint;
    struct server server;
    struct tls_peer peer = {.host = "192.0.2.1", .port = 465, .policy = TLS_VERIFIED};
    joint_open(&joint, context, &peer, &server, ctx);
    assert_int_equal(tls_state(joint.tls), TLS_STATE_OPEN);
    assert_null(SSL_get_servername(server.ssl, TLSEXT_NAMETYPE_host_name));
    joint_close(&joint);
    SSL_CTX_free(ctx);
    tls_context_free(context);
}

static void bad_hosts_are_refused(void **state)
{
    (void)state;
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    for (size_t i = 60; i < sizeof longest; i += 60)
        longest[i] = '.';
    longest[254] = '\0'; /* 254 characters */
    const char *const bad[] = {"",          ".",   "..",          "a..b", ".a",        "a b",  "a\nb",
                               "a\xc3\xa9", "a/b", "[192.0.2.1]", "a,b",  "*.example", "a:25", longest};
    struct tls_context *context = make_context(0, 0);
    struct error err = {{0}};
    struct tls *tls = NULL;
    for (size_t i = 0; i < countof(bad); i++) {
        struct tls_peer peer = {.host = bad[i], .port = 25, .policy = TLS_OPPORTUNISTIC};
        assert_int_equal(tls_create(context, &peer, &tls, &err), -EINVAL);
        assert_null(tls);
    }
    longest[253] = '\0';
    struct tls_peer peer = {.host = longest, .port = 65535, .policy = TLS_VERIFIED};
    assert_int_equal(tls_create(context, &peer, &tls, &err), 0);
    tls_free(tls);
    peer = (struct tls_peer){.host = HOST, .port = 25, .policy = TLS_NONE};
    assert_int_equal(tls_create(context, &peer, &tls, &err), -EINVAL);
    tls_context_free(context);
}

/* ---- data ---- */

static size_t random_pieces(uint64_t *random, const char *bytes, size_t len, struct iovec *pieces, size_t max,
                            size_t *total)
{
    size_t count = random_below(random, max + 1), at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t want = random_below(random, 4) == 0 ? random_below(random, 60000) : random_below(random, 80);
        pieces[i] = (struct iovec){(void *)(uintptr_t)(bytes + at), MIN_OF(want, len - at)};
        at += pieces[i].iov_len;
    }
    *total = at;
    return count;
}

static void big_data_both_ways_in_random_cuts(void **state)
{
    (void)state;
    static const size_t cuts[] = {1, 7, 1500, 70000};
    enum { SIZE = 600000 };
    uint64_t random = 7;
    char *there = malloc(SIZE), *back = malloc(SIZE);
    assert_true(there != NULL && back != NULL);
    for (size_t i = 0; i < SIZE; i++) {
        there[i] = (char)random_next(&random);
        back[i] = (char)random_next(&random);
    }
    for (size_t round = 0; round < countof(versions) * countof(cuts); round++) {
        struct setting s;
        size_t size = cuts[round / 2] < 100 ? SIZE / 20 : SIZE, sent = 0, answered = 0;
        open_setting(&s, versions[round % 2]);
        s.joint.cut_max_bytes = cuts[round / 2];
        while (sent < size || answered < size) {
            struct iovec pieces[8];
            size_t total;
            size_t count = random_pieces(&random, there + sent, size - sent, pieces, countof(pieces), &total);
            ssize_t taken = tls_write(s.joint.tls, pieces, count);
            assert_true(taken >= 0 && (size_t)taken <= total);
            sent += (size_t)taken;
            size_t piece = random_below(&random, 20000);
            piece = MIN_OF(size - answered, piece);
            server_say(&s.server, back + answered, piece);
            answered += piece;
            (void)pump(&s.joint);
        }
        assert_int_equal(s.server.received.len, size);
        assert_memory_equal(s.server.received.data, there, size);
        assert_int_equal(s.joint.received.len, size);
        assert_memory_equal(s.joint.received.data, back, size);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_OPEN);
        close_setting(&s);
    }
    free(there);
    free(back);
}

static void small_pieces_share_a_record(void **state)
{
    (void)state;
    struct setting s;
    struct iovec pieces[100];
    const char *out;
    open_setting(&s, TLS1_3_VERSION);
    for (size_t i = 0; i < countof(pieces); i++)
        pieces[i] = (struct iovec){(void *)(uintptr_t) "NOOP\r\n", i % 3 == 0 ? 0 : 6};
    assert_int_equal(tls_write(s.joint.tls, pieces, countof(pieces)), 66 * 6);
    assert_true(tls_output(s.joint.tls, &out) < 66 * 6 + 40);
    assert_int_equal(tls_write(s.joint.tls, pieces, 1), 0);
    assert_int_equal(tls_write(s.joint.tls, NULL, 0), 0);
    close_setting(&s);
}

/* A peer that reads a little at a time: nothing is lost, and no more waits than the bound says. */
static void output_is_bounded_under_back_pressure(void **state)
{
    (void)state;
    enum { SIZE = 1000000 };
    struct setting s;
    uint64_t random = 3;
    char *content = malloc(SIZE);
    size_t sent = 0;
    assert_non_null(content);
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (char)random_next(&random);
    open_setting(&s, TLS1_3_VERSION);
    while (sent < SIZE || tls_output(s.joint.tls, &(const char *){NULL}) > 0) {
        struct iovec piece = {content + sent, SIZE - sent};
        const char *out;
        ssize_t taken = tls_write(s.joint.tls, &piece, 1);
        assert_true(taken >= 0);
        sent += (size_t)taken;
        size_t waiting = tls_output(s.joint.tls, &out);
        assert_true(waiting < TLS_OUTPUT_HIGH_BYTES + 17000);
        assert_true(taken == 0 || waiting > 0);
        size_t len = 1 + random_below(&random, 3000);
        len = MIN_OF(waiting, len);
        assert_int_equal(BIO_write(s.server.in, out, (int)len), (int)len);
        tls_sent(s.joint.tls, len);
    }
    (void)pump(&s.joint);
    assert_int_equal(s.server.received.len, SIZE);
    assert_memory_equal(s.server.received.data, content, SIZE);
    free(content);
    close_setting(&s);
}

/* Connections of one context, turn by turn: shared memory must not mix them up. */
static void connections_of_one_context_do_not_mix(void **state)
{
    (void)state;
    enum { MANY = 20 };
    struct tls_context *context = make_context(0, 0);
    SSL_CTX *ctx = make_server_ctx(TLS1_3_VERSION);
    struct joint joints[MANY];
    struct server servers[MANY];
    uint64_t random = 11;
    char text[4096];
    for (size_t i = 0; i < MANY; i++)
        joint_open(&joints[i], context, &verified_peer, &servers[i], ctx);
    for (int round = 0; round < 400; round++) {
        size_t i = random_below(&random, MANY);
        memset(text, 'a' + (int)i, sizeof text);
        struct iovec piece = {text, random_below(&random, sizeof text)};
        assert_true(tls_write(joints[i].tls, &piece, 1) >= 0);
        if (random_below(&random, 3) == 0)
            (void)pump(&joints[random_below(&random, MANY)]);
    }
    for (size_t i = 0; i < MANY; i++) {
        (void)pump(&joints[i]);
        for (size_t k = 0; k < servers[i].received.len; k++)
            assert_int_equal(servers[i].received.data[k], 'a' + (int)i);
        joint_close(&joints[i]);
    }
    SSL_CTX_free(ctx);
    tls_context_free(context);
}

/* ---- endings ---- */

/* The bytes of the server's close_notify, or of what it says. */
static size_t server_bytes(struct setting *s, const char *text, bool notify, char *out, size_t max)
{
    server_say(&s->server, text, strlen(text));
    if (notify)
        assert_true(SSL_shutdown(s->server.ssl) >= 0);
    return take_server_bytes(&s->server, out, max);
}

static void nothing_after_close_notify_is_believed(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct setting s;
        char bytes[4096], extra[4096];
        open_setting(&s, versions[i]);
        assert_int_equal(say(s.joint.tls, "BDAT 100000 LAST\r\n"), 18);
        (void)pump(&s.joint);
        size_t len = server_bytes(&s, "250 first\r\n", true, bytes, sizeof bytes - 64);
        memcpy(bytes + len, "250 OK queued\r\n", 15); /* clear text in the same segment */
        feed_end_of(&s.joint, bytes, len + 15);
        assert_string_equal(buffer_text(&s.joint.received), "250 first\r\n");
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_EOF);
        /* and in later ones, in clear or as a copy of a good record */
        feed_end_of(&s.joint, "250 OK\r\n", 8);
        feed_end_of(&s.joint, bytes, len);
        assert_int_equal(s.joint.received.len, 0);
        tls_feed_end(s.joint.tls);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_EOF);
        assert_int_equal(say(s.joint.tls, "rest of the content"), -EPIPE);
        tls_close(s.joint.tls); /* our good-bye may still be said, once */
        const char *out;
        len = tls_output(s.joint.tls, &out);
        assert_true(len > 0 && len < sizeof extra);
        tls_close(s.joint.tls);
        assert_int_equal(tls_output(s.joint.tls, &out), len);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_EOF);
        close_setting(&s);
    }
}

static void clear_text_in_an_open_connection_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct setting s;
        open_setting(&s, versions[i]);
        feed_end_of(&s.joint, "250 OK queued\r\n", 15);
        assert_int_equal(s.joint.received.len, 0);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_FAILED);
        assert_string_not_equal(tls_fault(s.joint.tls), "");
        close_setting(&s);
    }
}

static void end_without_close_notify_is_a_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct setting s;
        char bytes[4096];
        open_setting(&s, versions[i]);
        size_t len = server_bytes(&s, "250 OK\r\n", false, bytes, sizeof bytes);
        feed_end_of(&s.joint, bytes, len - 1); /* half a record is nothing */
        assert_int_equal(s.joint.received.len, 0);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_OPEN);
        tls_feed_end(s.joint.tls);
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_FAILED);
        assert_non_null(strstr(tls_fault(s.joint.tls), "without close_notify"));
        close_setting(&s);
        open_setting(&s, versions[i]);
        tls_close(s.joint.tls);
        tls_feed_end(s.joint.tls); /* we had said all */
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_EOF);
        close_setting(&s);
    }
}

/* The server's first flight, cut at every byte, and the end of the network behind it. */
static void truncated_handshake_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct tls_context *context = make_context(0, 0);
        SSL_CTX *ctx = make_server_ctx(versions[i]);
        size_t flight = 1;
        for (size_t at = 0; at < flight; at += at < 200 ? 1 : 37) {
            struct server server;
            struct joint joint = {.server = &server};
            char bytes[8192];
            const char *out;
            server_init(&server, ctx);
            assert_int_equal(tls_create(context, &verified_peer, &joint.tls, NULL), 0);
            size_t len = tls_output(joint.tls, &out);
            assert_int_equal(BIO_write(server.in, out, (int)len), (int)len);
            assert_int_equal(SSL_accept(server.ssl), -1);
            flight = take_server_bytes(&server, bytes, sizeof bytes);
            assert_true(flight > 500 && at < flight);
            feed_all(&joint, bytes, at);
            assert_int_equal(tls_state(joint.tls), TLS_STATE_HANDSHAKE);
            tls_feed_end(joint.tls);
            assert_int_equal(tls_state(joint.tls), TLS_STATE_FAILED);
            assert_non_null(strstr(tls_fault(joint.tls), "closed the connection"));
            joint_close(&joint);
        }
        SSL_CTX_free(ctx);
        tls_context_free(context);
    }
}

static void changed_record_fails_and_what_came_before_stays(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct setting s;
        char bytes[4096];
        open_setting(&s, versions[i]);
        size_t first = server_bytes(&s, "250 first\r\n", false, bytes, sizeof bytes);
        size_t second = server_bytes(&s, "250 second\r\n", false, bytes + first, sizeof bytes - first);
        bytes[first + second - 3] ^= 1;
        feed_end_of(&s.joint, bytes, first + second);
        assert_string_equal(buffer_text(&s.joint.received), "250 first\r\n");
        assert_int_equal(tls_state(s.joint.tls), TLS_STATE_FAILED);
        const char *out;
        assert_true(tls_output(s.joint.tls, &out) > 0); /* the alert */
        close_setting(&s);
    }
}

/* ---- servers that do not behave ---- */

static void old_versions_are_refused(void **state)
{
    (void)state;
    static const int old[] = {TLS1_VERSION, TLS1_1_VERSION};
    static const enum tls_policy policies[] = {TLS_OPPORTUNISTIC, TLS_REQUIRED, TLS_VERIFIED};
    for (size_t i = 0; i < countof(old) * countof(policies); i++) {
        struct tls_context *context = make_context(0, 0);
        SSL_CTX *ctx = make_server_ctx(old[i % 2]);
        struct tls_peer peer = {.host = HOST, .port = 25, .policy = policies[i / 2]};
        struct joint joint;
        struct server server;
        joint_open(&joint, context, &peer, &server, ctx);
        assert_int_equal(tls_state(joint.tls), TLS_STATE_FAILED);
        assert_non_null(strstr(tls_fault(joint.tls), "protocol version"));
        assert_true(server.failed);
        joint_close(&joint);
        SSL_CTX_free(ctx);
        tls_context_free(context);
    }
}

static void garbage_in_place_of_a_handshake_fails(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *words; /* part of the sentence; NULL = any */
    } cases[] = {
        {"220 mx.example.com ESMTP\r\n", 26, "not TLS"},
        {"454 4.7.0 TLS not available\r\n", 29, "not TLS"},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, "not TLS"},
        {"\0\0\0\0\0\0\0\0", 8, "not TLS"},
        {"\x16\x03\x03\xff\xff\x02", 6, NULL}, /* a record of 64 KB */
        {"\x16\x03\x03\x00\x00", 5, NULL},     /* an empty handshake record */
        {"\x17\x03\x03\x00\x04"
         "data",
         9, NULL},                                                /* data before its time */
        {"\x14\x03\x03\x00\x01\x01", 6, NULL},                    /* change cipher spec before its time */
        {"\x15\x03\x03\x00\x02\x02\x28", 7, "handshake failure"}, /* fatal alert 40 */
        {"\x15\x03\x03\x00\x02\x02\x46", 7, "protocol version"},  /* fatal alert 70 */
        {"\x15\x03\x03\x00\x02\x02\xff", 7, NULL},                /* an alert that nobody knows */
        {"\x16\x03\x03\x00\x04\x02\xff\xff\xff", 9, NULL},        /* a ServerHello of 16 MB */
        {"\x16\x03\x03\x00\x04\x0e\x00\x00\x00", 9, NULL},        /* ServerHelloDone first */
        {"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01"
         "01234567890123456789012345678901"
         "\x00\x00\x2f\x00",
         47, "unsupported protocol"},
        {"\x80\x2e\x01\x00\x02\x00\x15\x00", 8, NULL}, /* SSL 2 */
    };
    for (size_t i = 0; i < countof(cases); i++) {
        for (size_t cut = 0; cut < 2; cut++) { /* at once, and byte by byte */
            struct tls_context *context = make_context(0, 0);
            struct joint joint = {.tls = NULL};
            assert_int_equal(tls_create(context, &verified_peer, &joint.tls, NULL), 0);
            for (size_t at = 0; at < cases[i].len; at += cut != 0 ? 1 : cases[i].len)
                feed_all(&joint, cases[i].bytes + at, cut != 0 ? 1 : cases[i].len);
            if (tls_state(joint.tls) == TLS_STATE_HANDSHAKE)
                tls_feed_end(joint.tls);
            assert_int_equal(tls_state(joint.tls), TLS_STATE_FAILED);
            if (strstr(tls_fault(joint.tls), cases[i].words != NULL ? cases[i].words : HOST) == NULL)
                fail_msg("case %zu: %s", i, tls_fault(joint.tls));
            assert_int_equal(joint.received.len, 0);
            tls_free(joint.tls);
            tls_context_free(context);
        }
    }
}

/* Bytes of real servers, changed at random places: it ends open or failed, never elsewhere, and never verified without
 * being so. */
static void changed_handshakes_never_verify(void **state)
{
    (void)state;
    uint64_t random = 5;
    struct cert_spec spec = {.cn = "x", .san = "DNS:mx.example.com"};
    struct identity stranger = identity_make(&spec);
    unsigned failed = 0;
    for (int round = 0; round < 400; round++) {
        struct tls_context *context = make_context(0, 0);
        SSL_CTX *ctx = server_ctx(&stranger, NULL);
        assert_int_equal(SSL_CTX_set_max_proto_version(ctx, versions[round % 2]), 1);
        struct server server;
        struct joint joint = {.server = &server};
        struct tls_peer peer = {.host = HOST, .port = 25, .policy = round % 3 == 0 ? TLS_VERIFIED : TLS_OPPORTUNISTIC};
        server_init(&server, ctx);
        assert_int_equal(tls_create(context, &peer, &joint.tls, NULL), 0);
        for (int turn = 0; turn < 6; turn++) {
            char bytes[16384];
            const char *out;
            size_t len = tls_output(joint.tls, &out);
            if (len > 0)
                assert_int_equal(BIO_write(server.in, out, (int)len), (int)len);
            tls_sent(joint.tls, len);
            (void)SSL_accept(server.ssl);
            len = take_server_bytes(&server, bytes, sizeof bytes);
            for (size_t n = random_below(&random, 3); n > 0 && len > 0; n--)
                bytes[random_below(&random, len)] ^= (char)(1 << random_below(&random, 8));
            feed_all(&joint, bytes, random_below(&random, 10) == 0 ? random_below(&random, len + 1) : len);
        }
        struct tls_info info;
        tls_info(joint.tls, &info);
        assert_false(info.verified);
        assert_true(tls_state(joint.tls) != TLS_STATE_OPEN || peer.policy == TLS_OPPORTUNISTIC);
        failed += tls_state(joint.tls) == TLS_STATE_FAILED;
        assert_int_equal(tls_state(joint.tls) == TLS_STATE_FAILED, tls_fault(joint.tls)[0] != '\0');
        joint_close(&joint);
        SSL_CTX_free(ctx);
        tls_context_free(context);
    }
    assert_true(failed > 100);
    identity_free(&stranger);
}

static void renegotiation_is_refused(void **state)
{
    (void)state;
    struct setting s;
    open_setting(&s, TLS1_2_VERSION);
    assert_int_equal(SSL_renegotiate(s.server.ssl), 1);
    assert_true(SSL_do_handshake(s.server.ssl) == 1); /* HelloRequest */
    (void)pump(&s.joint);
    assert_int_equal(SSL_num_renegotiations(s.server.ssl), 1); /* asked for once, and not had */
    assert_true(s.server.failed);                              /* OpenSSL's server gives up at our "no" */
    close_setting(&s);
}

/* A server that makes us answer and reads no answer: the answers are bounded. */
static void endless_key_updates_are_bounded(void **state)
{
    (void)state;
    struct setting s;
    char bytes[4096];
    const char *out;
    bool failed = false;
    open_setting(&s, TLS1_3_VERSION);
    for (int i = 0; i < 20000 && !failed; i++) {
        assert_int_equal(SSL_key_update(s.server.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(s.server.ssl), 1);
        size_t len = take_server_bytes(&s.server, bytes, sizeof bytes);
        assert_true(len > 0);
        feed_all(&s.joint, bytes, len);
        assert_true(tls_output(s.joint.tls, &out) <= TLS_OUTPUT_MAX_BYTES);
        failed = tls_state(s.joint.tls) == TLS_STATE_FAILED;
    }
    assert_true(failed);
    assert_non_null(strstr(tls_fault(s.joint.tls), "does not read"));
    close_setting(&s);
    open_setting(&s, TLS1_3_VERSION); /* the same, read: a server may */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(SSL_key_update(s.server.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(s.server.ssl), 1);
        (void)pump(&s.joint);
        assert_true(say(s.joint.tls, "NOOP\r\n") == 6);
    }
    (void)pump(&s.joint);
    assert_int_equal(s.server.received.len, 600);
    close_setting(&s);
}

static void wish_for_a_client_certificate_is_no_obstacle(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions) * 2; i++) {
        bool must = i >= countof(versions);
        struct tls_context *context = make_context(0, 0);
        SSL_CTX *ctx = make_server_ctx(versions[i % 2]);
        struct joint joint;
        struct server server;
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (must ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
        joint_open(&joint, context, &verified_peer, &server, ctx);
        assert_int_equal(tls_state(joint.tls), must ? TLS_STATE_FAILED : TLS_STATE_OPEN);
        if (must)
            assert_non_null(strstr(tls_fault(joint.tls), "alert"));
        joint_close(&joint);
        SSL_CTX_free(ctx);
        tls_context_free(context);
    }
}

/* ---- resumption ---- */

/* Opens a connection, closes it in good order, and says whether it was resumed; both sides must agree. */
static bool connect_once(struct tls_context *context, SSL_CTX *ctx, const struct tls_peer *peer)
{
    struct joint joint;
    struct server server;
    struct tls_info info;
    joint_open(&joint, context, peer, &server, ctx);
    assert_int_equal(tls_state(joint.tls), TLS_STATE_OPEN);
    tls_info(joint.tls, &info);
    assert_int_equal(info.resumed, SSL_session_reused(server.ssl) == 1);
    assert_int_equal(info.verified, strcmp(peer->host, "other.example") != 0);
    tls_close(joint.tls);
    (void)pump(&joint);
    joint_close(&joint);
    return info.resumed;
}

static void sessions_are_resumed(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) { /* 1.2 with tickets, 1.2 with the server's memory, 1.3 */
        struct tls_context *context = make_context(0, 0);
        SSL_CTX *ctx = make_server_ctx(i < 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        if (i == 1)
            SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        struct tls_peer other = verified_peer;
        assert_false(connect_once(context, ctx, &verified_peer));
        assert_true(connect_once(context, ctx, &verified_peer));
        assert_true(connect_once(context, ctx, &verified_peer));
        other.host = "MX.example.com.";
        assert_true(connect_once(context, ctx, &other)); /* the same host */
        other.port = 465;
        assert_false(connect_once(context, ctx, &other));
        other.port = 25;
        other.policy = TLS_REQUIRED; /* what another policy accepted proves nothing here */
        assert_false(connect_once(context, ctx, &other));
        other.policy = TLS_VERIFIED;
        other.host = "mx2.example.com";
        assert_false(connect_once(context, ctx, &other));
        SSL_CTX_free(ctx);
        ctx = make_server_ctx(i < 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        assert_false(
            connect_once(context, ctx, &verified_peer)); /* the server has forgotten: a full handshake, no failure */
        SSL_CTX_free(ctx);
        tls_context_free(context);
    }
}

/* A connection that breaks off does not take the session with it; a handshake that fails does. */
static void broken_connections_keep_the_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct tls_context *context = make_context(0, 0);
        SSL_CTX *ctx = make_server_ctx(versions[i]);
        struct joint joint;
        struct server server;
        assert_false(connect_once(context, ctx, &verified_peer));
        joint_open(&joint, context, &verified_peer, &server, ctx);
        tls_feed_end(joint.tls);
        joint_close(&joint);
        assert_true(connect_once(context, ctx, &verified_peer));
        struct tls *tls = NULL;
        assert_int_equal(tls_create(context, &verified_peer, &tls, NULL), 0);
        tls_feed_end(tls);
        tls_free(tls);
        assert_false(connect_once(context, ctx, &verified_peer));
        SSL_CTX_free(ctx);
        tls_context_free(context);
    }
}

static void old_sessions_are_not_offered(void **state)
{
    (void)state;
    struct tls_context *context = make_context(0, 1);
    SSL_CTX *ctx = make_server_ctx(TLS1_3_VERSION);
    assert_false(connect_once(context, ctx, &verified_peer));
    for (int64_t since = clock_monotonic_ms(); clock_monotonic_ms() < since + 3;)
        ;
    assert_false(connect_once(context, ctx, &verified_peer));
    SSL_CTX_free(ctx);
    tls_context_free(context);
}

static void least_recently_used_session_goes_first(void **state)
{
    (void)state;
    struct tls_context *context = make_context(2, 0);
    SSL_CTX *ctx = make_server_ctx(TLS1_3_VERSION);
    struct tls_peer a = verified_peer, b = verified_peer, c = verified_peer;
    b.port = 26;
    c.port = 27;
    assert_false(connect_once(context, ctx, &a));
    assert_false(connect_once(context, ctx, &b));
    assert_true(connect_once(context, ctx, &a)); /* now b is the older */
    assert_false(connect_once(context, ctx, &c));
    assert_true(connect_once(context, ctx, &a));
    assert_true(connect_once(context, ctx, &c));
    assert_false(connect_once(context, ctx, &b));
    SSL_CTX_free(ctx);
    tls_context_free(context);
}

static void endless_tickets_cost_nothing(void **state)
{
    (void)state;
    struct setting s;
    open_setting(&s, TLS1_3_VERSION);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(SSL_new_session_ticket(s.server.ssl), 1);
        server_say(&s.server, ".", 1);
        (void)pump(&s.joint);
    }
    assert_int_equal(s.joint.received.len, 300);
    assert_int_equal(tls_state(s.joint.tls), TLS_STATE_OPEN);
    close_setting(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_talk),
        cmocka_unit_test(nothing_is_said_before_the_handshake),
        cmocka_unit_test(literals_send_no_sni),
        cmocka_unit_test(bad_hosts_are_refused),
        cmocka_unit_test(big_data_both_ways_in_random_cuts),
        cmocka_unit_test(small_pieces_share_a_record),
        cmocka_unit_test(output_is_bounded_under_back_pressure),
        cmocka_unit_test(connections_of_one_context_do_not_mix),
        cmocka_unit_test(nothing_after_close_notify_is_believed),
        cmocka_unit_test(clear_text_in_an_open_connection_fails),
        cmocka_unit_test(end_without_close_notify_is_a_failure),
        cmocka_unit_test(truncated_handshake_fails),
        cmocka_unit_test(changed_record_fails_and_what_came_before_stays),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(garbage_in_place_of_a_handshake_fails),
        cmocka_unit_test(changed_handshakes_never_verify),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(endless_key_updates_are_bounded),
        cmocka_unit_test(wish_for_a_client_certificate_is_no_obstacle),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(broken_connections_keep_the_session),
        cmocka_unit_test(old_sessions_are_not_offered),
        cmocka_unit_test(least_recently_used_session_goes_first),
        cmocka_unit_test(endless_tickets_cost_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
