/*
 * tls_context.c - OpenSSL set up once for the connections of a loop: what it accepts, whom it trusts, the sessions that
 * it resumes, and the BIO through which its bytes go.
 *
 * One BIO of our own is both sides of a connection. Reading takes straight from the bytes that were fed, so nothing is
 * copied before OpenSSL's own record buffer. Writing appends to `out` and never asks to be called again: with that, an
 * SSL_write() is all or nothing, and there is no record that is half in OpenSSL and half with the caller.
 *
 * Memory: OpenSSL gives its record buffers back while they are empty (SSL_MODE_RELEASE_BUFFERS), and `out` gives its
 * own to the context when it has drained, where the next connection finds it. So an idle connection holds the SSL
 * object only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/net/tls_private.h"

#define SESSIONS_DEFAULT ((size_t)1000)
#define SESSION_LIFETIME_DEFAULT_MS ((int64_t)2 * 3600 * 1000)
#define CERTIFICATES_MAX_BYTES (32 << 10) /* of a server's chain; real ones have less than ten kilobytes */
#define CHAIN_DEPTH_MAX 10
#define TICKETS_KEPT_MAX 4u /* of one connection: a server may send any number, and each costs work */

/* ---- the BIO ---- */

static int bio_write(BIO *bio, const char *bytes, size_t len, size_t *written)
{
    struct tls *tls = BIO_get_data(bio);
    struct buffer *out = &tls->out;
    if (out->data == NULL) {
        *out = tls->context->spare;
        tls->context->spare = BUFFER_INIT(TLS_OUTPUT_MAX_BYTES);
    }
    /* Under steady back-pressure the front never drains whole; moving the rest once it is the smaller half costs
     * little. */
    if (tls->out_done > out->len / 2) {
        buffer_consume(out, tls->out_done);
        tls->out_done = 0;
    }
    buffer_append(out, bytes, len);
    BIO_clear_retry_flags(bio);
    tls->out_refused = out->failed;
    if (out->failed)
        return 0;
    *written = len;
    return 1;
}

static int bio_read(BIO *bio, char *bytes, size_t len, size_t *taken)
{
    struct tls *tls = BIO_get_data(bio);
    size_t n = MIN_OF(len, tls->in_len);
    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(bytes, tls->in, n);
    tls->in += n;
    tls->in_len -= n;
    *taken = n;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0; /* flushed: all is in `out`. 0 is "no" to whatever else OpenSSL asks */
}

static BIO_METHOD *make_method(void)
{
    /* No index of its own: those are few in a process and never come back, and no one looks for this BIO by type. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "posthaste");
    if (method != NULL && (BIO_meth_set_write_ex(method, bio_write) != 1 ||
                           BIO_meth_set_read_ex(method, bio_read) != 1 || BIO_meth_set_ctrl(method, bio_ctrl) != 1)) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

/* ---- the context ---- */

int tls_openssl_error(struct error *err, int code, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return error_set(err, code, "%s: %s", what, reason != NULL ? reason : "unknown reason");
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    if (!tls->dane && tls->tickets < TICKETS_KEPT_MAX && SSL_SESSION_is_resumable(session)) {
        tls->tickets++;
        tls_sessions_put(&tls->context->sessions, tls->key, session, clock_monotonic_ms());
    }
    return 0; /* no reference is kept */
}

static int set_up(SSL_CTX *ctx, const char *ca_file, struct error *err)
{
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, "DEFAULT:!PSK:!SRP") != 1)
        return tls_openssl_error(err, -EIO, "cannot set up TLS");
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, CERTIFICATES_MAX_BYTES);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH_MAX);
    if (SSL_CTX_dane_enable(ctx) != 1)
        return tls_openssl_error(err, -EIO, "cannot set up DANE");
    /* OpenSSL's own cache finds sessions by their id, which a client cannot know beforehand. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    if (ca_file == NULL) {
        /* A machine without a trust store is no error here: only TLS_VERIFIED needs one, and says then what it misses.
         */
        (void)SSL_CTX_set_default_verify_paths(ctx);
        ERR_clear_error();
        return 0;
    }
    if (SSL_CTX_load_verify_file(ctx, ca_file) != 1) {
        char what[320];
        (void)snprintf(what, sizeof what, "cannot read trusted certificates from %s", ca_file);
        return tls_openssl_error(err, -EINVAL, what);
    }
    return 0;
}

int tls_context_create(const struct tls_options *options, struct tls_context **out, struct error *err)
{
    *out = NULL;
    struct tls_context *context = calloc(1, sizeof *context);
    if (context == NULL)
        return error_memory(err);
    tls_sessions_init(&context->sessions, options->sessions_max != 0 ? options->sessions_max : SESSIONS_DEFAULT,
                      options->session_lifetime_ms != 0 ? options->session_lifetime_ms : SESSION_LIFETIME_DEFAULT_MS);
    context->spare = BUFFER_INIT(TLS_OUTPUT_MAX_BYTES);
    context->method = make_method();
    context->ssl_ctx = SSL_CTX_new(TLS_client_method());
    int rc = context->method == NULL || context->ssl_ctx == NULL
                 ? tls_openssl_error(err, -ENOMEM, "cannot make a TLS context")
                 : set_up(context->ssl_ctx, options->ca_file, err);
    if (rc < 0) {
        tls_context_free(context);
        return rc;
    }
    *out = context;
    return 0;
}

void tls_context_free(struct tls_context *context)
{
    if (context == NULL)
        return;
    assure(context->connections == 0);
    SSL_CTX_free(context->ssl_ctx);
    BIO_meth_free(context->method);
    tls_sessions_finish(&context->sessions);
    buffer_finish(&context->spare);
    OPENSSL_cleanse(context->plain, sizeof context->plain);
    free(context);
}
