/*
 * secure.c - OpenSSL between two memory BIOs. Reports are few and small, so unlike net/tls.c nothing here is tuned.
 */
#include "engine/receive/secure.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

struct secure_context {
    SSL_CTX *ctx;
};

struct secure {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

static int refuse(struct secure_context *context, int code, const char *what, struct error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    secure_context_free(context);
    return error_set(err, code, "%s: %s", what, reason != NULL ? reason : "unknown reason");
}

int secure_context_create(const char *cert_file, const char *key_file, struct secure_context **out, struct error *err)
{
    *out = NULL;
    struct secure_context *context = calloc(1, sizeof(*context));
    if (context == NULL)
        return error_memory(err);
    ERR_clear_error();
    context->ctx = SSL_CTX_new(TLS_server_method());
    if (context->ctx == NULL || SSL_CTX_set_min_proto_version(context->ctx, TLS1_2_VERSION) != 1)
        return refuse(context, -ENOMEM, "cannot make a TLS context", err);
    (void)SSL_CTX_set_options(context->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(context->ctx, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(context->ctx, cert_file) != 1)
        return refuse(context, -EINVAL, cert_file, err);
    if (SSL_CTX_use_PrivateKey_file(context->ctx, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context->ctx) != 1)
        return refuse(context, -EINVAL, key_file, err);
    *out = context;
    return 0;
}

void secure_context_free(struct secure_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ctx);
    free(context);
}

struct secure *secure_create(struct secure_context *context)
{
    struct secure *secure = calloc(1, sizeof(*secure));
    if (secure == NULL)
        return NULL;
    secure->ssl = SSL_new(context->ctx);
    secure->in = BIO_new(BIO_s_mem());
    secure->out = BIO_new(BIO_s_mem());
    if (secure->ssl == NULL || secure->in == NULL || secure->out == NULL) {
        BIO_free(secure->in);
        BIO_free(secure->out);
        SSL_free(secure->ssl);
        free(secure);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_bio(secure->ssl, secure->in, secure->out);
    SSL_set_accept_state(secure->ssl);
    return secure;
}

void secure_free(struct secure *secure)
{
    if (secure == NULL)
        return;
    SSL_free(secure->ssl);
    free(secure);
}

bool secure_is_open(const struct secure *secure)
{
    return SSL_is_init_finished(secure->ssl) == 1;
}

bool secure_feed(struct secure *secure, const char *bytes, size_t len)
{
    assure(len <= INT_MAX);
    ERR_clear_error();
    if (len > 0 && BIO_write(secure->in, bytes, (int)len) != (int)len)
        return false;
    if (secure_is_open(secure))
        return true;
    int r = SSL_do_handshake(secure->ssl);
    bool good = r == 1 || SSL_get_error(secure->ssl, r) == SSL_ERROR_WANT_READ;
    ERR_clear_error();
    return good;
}

ssize_t secure_read(struct secure *secure, char *out, size_t out_bytes)
{
    size_t got;
    ERR_clear_error();
    if (!secure_is_open(secure))
        return 0;
    int r = SSL_read_ex(secure->ssl, out, out_bytes, &got);
    if (r == 1)
        return (ssize_t)got;
    bool more = SSL_get_error(secure->ssl, r) == SSL_ERROR_WANT_READ;
    ERR_clear_error();
    return more ? 0 : -1;
}

int secure_write(struct secure *secure, const char *bytes, size_t len)
{
    size_t written;
    ERR_clear_error();
    if (len == 0)
        return 0;
    int r = SSL_write_ex(secure->ssl, bytes, len, &written);
    ERR_clear_error();
    return r == 1 && written == len ? 0 : -1;
}

void secure_close(struct secure *secure)
{
    ERR_clear_error();
    if (secure_is_open(secure))
        (void)SSL_shutdown(secure->ssl);
    ERR_clear_error();
}

void secure_output(struct secure *secure, struct buffer *out)
{
    char chunk[4096];
    int got;
    while ((got = BIO_read(secure->out, chunk, (int)sizeof(chunk))) > 0)
        buffer_append(out, chunk, (size_t)got);
    ERR_clear_error();
}
