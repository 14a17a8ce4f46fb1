/*
 * test_tls_memory.c - the whole life of a connection with the n-th allocation failing, ours or OpenSSL's, for every n:
 * each call reports or goes on, a failed connection says why, and nothing leaks (the sanitizers look). The server's
 * memory never fails.
 */
#include "tls_server.h"

#include <errno.h>
#include <unistd.h>

#include "tests/unit/short_memory.h"

static bool armed;     /* inside a call of the engine */
static size_t count;   /* allocations of the engine so far */
static size_t fail_at; /* the one that fails; 0 = none */

static bool may_allocate(void)
{
    return !armed || ++count != fail_at;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size == 0 || !may_allocate() ? NULL : __real_malloc(size);
}

static void *openssl_realloc(void *block, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return may_allocate() ? __real_realloc(block, size) : NULL;
}

static void openssl_free(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    free(block);
}

#define ENGINE(call)                                                                                                   \
    do {                                                                                                               \
        armed = true;                                                                                                  \
        call;                                                                                                          \
        armed = false;                                                                                                 \
    } while (0)

static struct identity root, good;
static char *ca_path;
static SSL_CTX *ctx;

static int set_up(void **state)
{
    (void)state;
    struct cert_spec spec = {.cn = "Root", .ca = true};
    root = identity_make(&spec);
    spec = (struct cert_spec){.cn = "x", .san = "DNS:mx.example.com", .issuer = &root};
    good = identity_make(&spec);
    ca_path = identity_to_file(&root);
    ctx = server_ctx(&good, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(ca_path);
    free(ca_path);
    identity_free(&root);
    identity_free(&good);
    SSL_CTX_free(ctx);
    return 0;
}

/* Bytes both ways until there are none. */
static size_t converse(struct tls *tls, struct server *server)
{
    static char bytes[65536];
    size_t heard = 0;
    for (int turn = 0; turn < 8; turn++) {
        const char *out, *plain;
        size_t n, len = tls_output(tls, &out);
        if (len > 0)
            assert_int_equal(BIO_write(server->in, out, (int)len), (int)len);
        ENGINE(tls_sent(tls, len));
        if (!server->finished)
            server->finished = SSL_accept(server->ssl) == 1;
        if (server->finished)
            (void)SSL_read(server->ssl, bytes, sizeof bytes);
        len = take_server_bytes(server, bytes, sizeof bytes);
        ENGINE(tls_feed(tls, bytes, len));
        do {
            ENGINE(n = tls_read(tls, &plain));
            heard += n;
        } while (n > 0);
    }
    return heard;
}

/* One connection: 0 = all went well, 1 = it reported a failure. */
static int live(struct tls_context *context)
{
    static const struct tls_peer peer = {.host = "mx.example.com", .port = 25, .policy = TLS_VERIFIED};
    struct tls *tls = NULL;
    struct server server;
    struct error err = {{0}};
    int rc;
    ENGINE(rc = tls_create(context, &peer, &tls, &err));
    if (rc < 0) {
        assert_null(tls);
        assert_string_not_equal(err.text, "");
        return 1;
    }
    server_init(&server, ctx);
    (void)converse(tls, &server);
    struct iovec pieces[] = {{(void *)(uintptr_t) "EHLO me\r\n", 9}, {NULL, 0}};
    ssize_t taken = -EPIPE;
    ENGINE(taken = tls_write(tls, pieces, countof(pieces)));
    size_t heard = 0;
    if (taken == 9 && server.finished) {
        server_say(&server, "250 me\r\n", 8);
        heard = converse(tls, &server);
    }
    ENGINE(tls_close(tls));
    bool failed = tls_state(tls) == TLS_STATE_FAILED;
    assert_int_equal(failed, tls_fault(tls)[0] != '\0');
    assert_true(failed || heard == 8);
    tls_free(tls);
    server_finish(&server);
    return failed ? 1 : 0;
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    size_t failures = 0, whole = 0;
    struct tls_options options = {.ca_file = ca_path};
    for (size_t n = 1;; n += n < 600 ? 1 : 5) {
        struct tls_context *context = NULL;
        struct error err = {{0}};
        int rc;
        count = 0;
        fail_at = n;
        ENGINE(rc = tls_context_create(&options, &context, &err));
        if (rc < 0) {
            assert_null(context);
            assert_string_not_equal(err.text, "");
            failures++;
        } else {
            failures += (size_t)live(context);
            failures += (size_t)live(context); /* resumed, if that could be kept */
            tls_context_free(context);
        }
        if (count < n) { /* the life was over before it */
            whole = n;
            break;
        }
    }
    fail_at = 0;
    assert_true(whole > 300 && failures > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_allocation_may_fail)};
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
