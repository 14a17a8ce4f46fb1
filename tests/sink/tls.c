/*
 * OpenSSL as a machine that turns bytes into bytes.
 *
 * Success of tls_feed() means that the bytes were taken in; whether the handshake came to its end, or failed, is
 * tls_state(). This file neither knows when bytes leave (the connection queues them with the replies, so that delays
 * and order hold for both) nor judges what the client does inside TLS.
 */
#include "tests/sink/tls.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl;
};

struct tls {
    SSL *ssl;
    BIO *in; /* both belong to ssl */
    BIO *out;
    enum tls_state state;
    char error[TLS_ERROR_BYTES];
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "sink: tls: %s\n", what);
    exit(1);
}

/* The reason of the oldest error in OpenSSL's queue, which is emptied. */
static void take_error(char *error, const char *otherwise)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);

    (void)snprintf(error, TLS_ERROR_BYTES, "%s", reason == NULL ? otherwise : reason);
    ERR_clear_error();
}

static bool load(SSL_CTX *ssl, const struct tls_options *options)
{
    char error[TLS_ERROR_BYTES];

    if (SSL_CTX_use_certificate_chain_file(ssl, options->certificate) != 1) {
        take_error(error, "cannot be used");
        fprintf(stderr, "sink: --tls-cert %s: %s\n", options->certificate, error);
        return false;
    }
    if (SSL_CTX_use_PrivateKey_file(ssl, options->key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
        take_error(error, "cannot be used");
        fprintf(stderr, "sink: --tls-key %s: %s\n", options->key, error);
        return false;
    }
    return true;
}

struct tls_context *tls_context_create(const struct tls_options *options)
{
    static const unsigned char id[] = "sink";
    struct tls_context *context = sink_realloc(NULL, sizeof(*context));

    context->ssl = SSL_CTX_new(TLS_server_method());
    if (context->ssl == NULL)
        die("no context");
    /* Level 0: old versions and weak certificates are part of what is tested. */
    if (SSL_CTX_set_cipher_list(context->ssl, "DEFAULT:@SECLEVEL=0") != 1 ||
        SSL_CTX_set_session_id_context(context->ssl, id, sizeof(id) - 1) != 1 ||
        SSL_CTX_set_min_proto_version(context->ssl, options->lowest_version) != 1 ||
        SSL_CTX_set_max_proto_version(context->ssl, options->highest_version) != 1)
        die("the context refuses its settings");
    (void)SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_options(context->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    if (!load(context->ssl, options)) {
        tls_context_free(context);
        return NULL;
    }
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

struct tls *tls_create(struct tls_context *context)
{
    struct tls *tls = sink_realloc(NULL, sizeof(*tls));

    *tls = (struct tls){.ssl = SSL_new(context->ssl), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
    if (tls->ssl == NULL || tls->in == NULL || tls->out == NULL)
        die("out of memory");
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

enum tls_state tls_state(const struct tls *tls)
{
    return tls->state;
}

const char *tls_error(const struct tls *tls)
{
    return tls->error;
}

static void drain(struct tls *tls, struct text *out)
{
    char *bytes = NULL;
    long length = BIO_get_mem_data(tls->out, &bytes);

    if (length > 0)
        text_add(out, bytes, (size_t)length);
    (void)BIO_reset(tls->out);
}

/* What an SSL call that did not succeed means. */
static void settle(struct tls *tls, int result)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        break;
    case SSL_ERROR_ZERO_RETURN:
        tls->state = TLS_ENDED;
        break;
    default:
        tls->state = TLS_ENDED;
        take_error(tls->error, "broken off");
        break;
    }
}

void tls_feed(struct tls *tls, const char *bytes, size_t length, struct text *out)
{
    if (length > INT_MAX || BIO_write(tls->in, bytes, (int)length) != (int)length)
        die("out of memory");
    if (tls->state == TLS_HANDSHAKE) {
        int result;

        ERR_clear_error();
        result = SSL_do_handshake(tls->ssl);
        if (result == 1)
            tls->state = TLS_OPEN;
        else
            settle(tls, result);
    }
    drain(tls, out);
}

size_t tls_read(struct tls *tls, char *plain, size_t room, struct text *out)
{
    size_t length = 0;
    int result;

    if (tls->state != TLS_OPEN)
        return 0;
    ERR_clear_error();
    result = SSL_read_ex(tls->ssl, plain, room, &length);
    if (result != 1) {
        length = 0;
        settle(tls, result);
    }
    /* Reading may answer: an alert, or the client's request for new keys. */
    drain(tls, out);
    return length;
}

void tls_seal(struct tls *tls, const char *bytes, size_t length, struct text *out)
{
    size_t written = 0;

    if (tls->state != TLS_OPEN || length == 0)
        return;
    ERR_clear_error();
    /* A memory BIO takes everything. */
    if (SSL_write_ex(tls->ssl, bytes, length, &written) != 1 || written != length) {
        tls->state = TLS_ENDED;
        take_error(tls->error, "cannot encrypt");
    }
    drain(tls, out);
}

void tls_close(struct tls *tls, struct text *out)
{
    if (tls->state == TLS_HANDSHAKE)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
    drain(tls, out);
}

struct tls_facts tls_facts(const struct tls *tls)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);

    return (struct tls_facts){
        .version = SSL_get_version(tls->ssl),
        .cipher = cipher == NULL ? NULL : SSL_CIPHER_standard_name(cipher),
        .sni = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name),
        .resumed = SSL_session_reused(tls->ssl) == 1,
    };
}
