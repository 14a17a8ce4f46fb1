/*
 * tls.c - OpenSSL 3 between two runs of bytes that the caller owns.
 *
 * One BIO of our own is both sides of the connection. Reading takes straight from the bytes that were fed, so nothing
 * is copied before OpenSSL's own record buffer. Writing appends to `out` and never asks to be called again: with that,
 * an SSL_write() is all or nothing, and there is no record that is half in OpenSSL and half with the caller. What
 * bounds `out` is tls_write(), which takes nothing while much is waiting; only what OpenSSL says of itself (alerts, key
 * updates) is unasked for, and past TLS_OUTPUT_MAX_BYTES it is a failure.
 *
 * Memory: OpenSSL gives its record buffers back while they are empty (SSL_MODE_RELEASE_BUFFERS), and `out` gives its
 * own to the context when it has drained, where the next connection finds it. So an idle connection holds the SSL
 * object only.
 */
#include "engine/net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/str.h"

#include "engine/net/tls_sessions.h"

#define RECORD_BYTES ((size_t)SSL3_RT_MAX_PLAIN_LENGTH) /* 16 KB: RFC 8446 section 5.1 */
#define SESSIONS_DEFAULT ((size_t)1000)
#define SESSION_LIFETIME_DEFAULT_MS ((int64_t)2 * 3600 * 1000)
#define CERTIFICATES_MAX_BYTES (32 << 10) /* of a server's chain; real ones have less than ten kilobytes */
#define CHAIN_DEPTH_MAX 10
#define TICKETS_KEPT_MAX 4u /* of one connection: a server may send any number, and each costs work */
#define HOST_MAX_BYTES 253  /* RFC 1035 section 2.3.4, without the root's dot */

/*
 * Without a demand on the certificate the alternative to an old key is no encryption at all (RFC 7435 section 3), so
 * level 1 will do. A verified connection promises something, so it asks for 112 bits.
 */
#define LEVEL_ANY 1
#define LEVEL_VERIFIED 2

struct tls_context {
    SSL_CTX *ssl_ctx;
    BIO_METHOD *method;
    struct tls_sessions sessions;
    struct buffer spare; /* memory of an output that has drained, for the next one */
    size_t connections;
    char plain[RECORD_BYTES];  /* what tls_read() shows */
    char gather[RECORD_BYTES]; /* where tls_write() puts small pieces together */
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    enum tls_policy policy;
    enum tls_state state;
    bool dane;        /* TLSA records decide */
    bool notified;    /* our close_notify is queued */
    bool out_refused; /* `out` could not take what OpenSSL wanted to say */
    unsigned tickets; /* sessions kept of this connection */
    const char *in;   /* borrowed */
    size_t in_len;
    struct buffer out;
    size_t out_done;  /* its bytes that have left */
    const char *host; /* normal form, inside `key` */
    struct error fault;
    enum tls_result fault_result;
    char key[HOST_MAX_BYTES + 16]; /* of the session: "policy port host" */
};

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

/* Writes OpenSSL's own words for the oldest error in its queue, which is the cause of the others, and empties the
 * queue. */
static int openssl_error(struct error *err, int code, const char *what)
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
        return openssl_error(err, -EIO, "cannot set up TLS");
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, CERTIFICATES_MAX_BYTES);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH_MAX);
    if (SSL_CTX_dane_enable(ctx) != 1)
        return openssl_error(err, -EIO, "cannot set up DANE");
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
        return openssl_error(err, -EINVAL, what);
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
                 ? openssl_error(err, -ENOMEM, "cannot make a TLS context")
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

/* ---- failing ---- */

/* RFC 8460 section 4.3.1. A certificate that fits no TLSA record has no word of its own there. */
static enum tls_result result_of(long verdict)
{
    switch (verdict) {
    case X509_V_OK:
        return TLS_RESULT_OK;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_RESULT_HOST_MISMATCH;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_RESULT_EXPIRED;
    case X509_V_ERR_DANE_NO_MATCH:
        return TLS_RESULT_VALIDATION;
    default:
        return TLS_RESULT_NOT_TRUSTED;
    }
}

static void fail(struct tls *tls, const char *format, ...) ATTR_PRINTF(2, 3);

static void fail(struct tls *tls, const char *format, ...)
{
    char text[sizeof tls->fault.text];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0)
        text[0] = '\0';
    va_end(args);
    (void)error_set(&tls->fault, -EIO, "%s", text);
    /* A session that the server chokes on must not be offered again. */
    if (tls->state == TLS_STATE_HANDSHAKE) {
        tls_sessions_drop(&tls->context->sessions, tls->key);
        tls->fault_result = TLS_RESULT_VALIDATION;
    }
    tls->state = TLS_STATE_FAILED;
    tls->in_len = 0;
}

/* The first error of the protocol itself; what the algorithms below it said is older but tells people less. Empties the
 * queue. */
static unsigned long take_error(void)
{
    unsigned long chosen = 0, code;
    while ((code = ERR_get_error()) != 0) {
        if (chosen == 0 || (ERR_GET_LIB(chosen) != ERR_LIB_SSL && ERR_GET_LIB(code) == ERR_LIB_SSL))
            chosen = code;
    }
    return chosen;
}

/* After an SSL call that failed for good. */
static void fail_ssl(struct tls *tls)
{
    unsigned long code = take_error();
    long verdict = SSL_get_verify_result(tls->ssl);
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char *doing = tls->state == TLS_STATE_HANDSHAKE ? "TLS handshake" : "TLS connection";
    if (tls->out_refused) {
        fail(tls, "%s with %s failed: %s", doing, tls->host,
             tls->out.len + RECORD_BYTES > TLS_OUTPUT_MAX_BYTES ? "the server does not read what it makes us say"
                                                                : "out of memory");
    } else if ((tls->policy == TLS_VERIFIED || tls->dane) && tls->state == TLS_STATE_HANDSHAKE &&
               verdict != X509_V_OK) {
        fail(tls, "the certificate of %s is not valid: %s", tls->host, X509_verify_cert_error_string(verdict));
        tls->fault_result = result_of(verdict);
    } else if (reason == SSL_R_WRONG_VERSION_NUMBER && tls->state == TLS_STATE_HANDSHAKE) {
        fail(tls, "%s with %s failed: what the server says is not TLS", doing, tls->host);
    } else if (reason > SSL_AD_REASON_OFFSET) {
        fail(tls, "%s with %s failed: the server sent the alert \"%s\"", doing, tls->host,
             SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    } else {
        const char *words = ERR_reason_error_string(code);
        fail(tls, "%s with %s failed: %s", doing, tls->host, words != NULL ? words : "unknown reason");
    }
}

/* ---- a connection ---- */

/* Writes the session key; its last part is the host in normal form: 0 or -EINVAL. */
static int set_host(struct tls *tls, const struct tls_peer *peer)
{
    size_t len = strlen(peer->host);
    if (len > 0 && peer->host[len - 1] == '.')
        len--;
    if (len == 0 || len > HOST_MAX_BYTES)
        return -EINVAL;
    int prefix = snprintf(tls->key, sizeof tls->key, "%d %u ", (int)peer->policy, (unsigned)peer->port);
    assure(prefix > 0 && (size_t)prefix + HOST_MAX_BYTES < sizeof tls->key);
    char *host = tls->key + prefix;
    memcpy(host, peer->host, len);
    host[len] = '\0';
    str_lower(host);
    tls->host = host;
    return 0;
}

static bool is_address(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Letters, digits, hyphens (and underscores, which live in the wild) in labels of 1 to 63, so that no byte of it can
 * surprise OpenSSL. */
static bool is_host_name(const char *host)
{
    size_t label = 0;
    for (const char *at = host; *at != '\0'; at++) {
        if (*at == '.') {
            if (label == 0)
                return false;
            label = 0;
            continue;
        }
        bool good = (*at >= 'a' && *at <= 'z') || ascii_is_digit(*at) || *at == '-' || *at == '_';
        if (!good || ++label > 63)
            return false;
    }
    return label > 0;
}

/* Whom we expect: the name for SNI and for the certificate. Set whatever the policy, so that tls_info() can tell. 1 =
 * done. */
static int expect_peer(struct tls *tls, bool address)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    X509_VERIFY_PARAM_set_auth_level(param, LEVEL_VERIFIED);
    if (address)
        return X509_VERIFY_PARAM_set1_ip_asc(param, tls->host);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (X509_VERIFY_PARAM_set1_host(param, tls->host, 0) != 1)
        return 0;
    return (int)SSL_set_tlsext_host_name(tls->ssl, tls->host);
}

static void offer_session(struct tls *tls)
{
    SSL_SESSION *session = tls_sessions_get(&tls->context->sessions, tls->key, clock_monotonic_ms());
    if (session == NULL)
        return;
    if (SSL_set_session(tls->ssl, session) != 1)
        ERR_clear_error(); /* then there will be a full handshake */
    SSL_SESSION_free(session);
}

/* 1 = the connection is ready for its first byte. */
static int make_ssl(struct tls *tls, bool address)
{
    bool verified = tls->policy == TLS_VERIFIED;
    tls->ssl = SSL_new(tls->context->ssl_ctx);
    BIO *bio = tls->ssl != NULL && SSL_set_app_data(tls->ssl, tls) == 1 ? BIO_new(tls->context->method) : NULL;
    if (bio == NULL)
        return 0;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); /* takes the reference */
    SSL_set_connect_state(tls->ssl);
    SSL_set_security_level(tls->ssl, verified ? LEVEL_VERIFIED : LEVEL_ANY);
    SSL_set_verify(tls->ssl, verified ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return expect_peer(tls, address);
}

/* The records in place of the policy's demand. 1 = done; 0 when none of them is of use to OpenSSL, too. */
static int expect_dane(struct tls *tls, const struct tls_dane *dane)
{
    int used = 0;
    if (SSL_dane_enable(tls->ssl, tls->host) != 1)
        return 0;
    /* RFC 7672 section 3.1.1: with usage 3 neither names nor dates count. */
    (void)SSL_dane_set_flags(tls->ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    for (size_t i = 0; i < dane->count; i++) {
        const struct tls_dane_record *record = &dane->records[i];
        if (SSL_dane_tlsa_add(tls->ssl, record->usage, record->selector, record->matching, record->data, record->len) >
            0)
            used++;
    }
    ERR_clear_error();
    SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
    tls->dane = true;
    return used > 0;
}

static void shake_hands(struct tls *tls)
{
    ERR_clear_error();
    int r = SSL_do_handshake(tls->ssl);
    if (r == 1)
        tls->state = TLS_STATE_OPEN;
    else if (SSL_get_error(tls->ssl, r) != SSL_ERROR_WANT_READ)
        fail_ssl(tls);
}

int tls_create(struct tls_context *context, const struct tls_peer *peer, struct tls **out, struct error *err)
{
    *out = NULL;
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return error_memory(err);
    tls->context = context;
    context->connections++;
    tls->policy = peer->policy;
    tls->out = BUFFER_INIT(TLS_OUTPUT_MAX_BYTES);
    int rc = 0;
    bool usable = peer->policy != TLS_NONE && set_host(tls, peer) == 0;
    bool address = usable && is_address(tls->host);
    if (!usable || (!address && !is_host_name(tls->host)))
        rc = error_set(err, -EINVAL, "no TLS with \"%.300s\": %s", peer->host,
                       peer->policy == TLS_NONE ? "the policy says so" : "not a host name");
    ERR_clear_error();
    if (rc == 0 && make_ssl(tls, address) != 1)
        rc = openssl_error(err, -ENOMEM, "cannot make a TLS connection");
    if (rc == 0 && !address && peer->dane != NULL && peer->dane->count > 0 && expect_dane(tls, peer->dane) != 1)
        rc = openssl_error(err, -EIO, "cannot use the TLSA records");
    if (rc == 0) {
        if (!tls->dane)
            offer_session(tls);
        shake_hands(tls);
        if (tls->state == TLS_STATE_FAILED)
            rc = error_set(err, -EIO, "%s", tls->fault.text);
    }
    if (rc < 0) {
        tls_free(tls);
        return rc;
    }
    *out = tls;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    buffer_finish(&tls->out);
    tls->context->connections--;
    free(tls);
}

enum tls_state tls_state(const struct tls *tls)
{
    return tls->state;
}

const char *tls_fault(const struct tls *tls)
{
    return tls->fault.text;
}

enum tls_result tls_fault_result(const struct tls *tls)
{
    return tls->fault_result;
}

/* ---- in ---- */

static bool is_over(const struct tls *tls)
{
    return tls->state == TLS_STATE_EOF || tls->state == TLS_STATE_FAILED;
}

void tls_feed(struct tls *tls, const char *bytes, size_t len)
{
    if (is_over(tls))
        return;
    assure(tls->in_len == 0); /* else the bytes before would be lost */
    tls->in = bytes;
    tls->in_len = len;
}

void tls_feed_end(struct tls *tls)
{
    if (is_over(tls))
        return;
    if (tls->state == TLS_STATE_HANDSHAKE)
        fail(tls, "TLS handshake with %s failed: the server closed the connection", tls->host);
    else if (tls->state == TLS_STATE_OPEN)
        fail(tls, "TLS connection with %s failed: it ended without close_notify", tls->host);
    else
        tls->state = TLS_STATE_EOF; /* we had said all; many servers do not say good-bye */
}

size_t tls_read(struct tls *tls, const char **bytes)
{
    size_t len = 0;
    *bytes = tls->context->plain;
    if (tls->state == TLS_STATE_HANDSHAKE)
        shake_hands(tls);
    if (tls->state != TLS_STATE_OPEN && tls->state != TLS_STATE_CLOSING)
        return 0;
    ERR_clear_error();
    int r = SSL_read_ex(tls->ssl, tls->context->plain, sizeof tls->context->plain, &len);
    if (r == 1)
        return len;
    int why = SSL_get_error(tls->ssl, r);
    if (why == SSL_ERROR_ZERO_RETURN) {
        tls->state = TLS_STATE_EOF;
        tls->in_len = 0; /* what stands behind close_notify is nobody's word */
    } else if (why == SSL_ERROR_WANT_READ) {
        assure(tls->in_len == 0); /* it has taken all that was there, into its own buffer if need be */
    } else {
        fail_ssl(tls);
    }
    return 0;
}

/* ---- out ---- */

struct cursor {
    const struct iovec *iov;
    size_t count;
    size_t skip; /* bytes of the first piece that are taken */
};

static void advance(struct cursor *at, size_t len)
{
    at->skip += len;
    while (at->count > 0 && at->skip == at->iov->iov_len) {
        at->iov++;
        at->count--;
        at->skip = 0;
    }
}

/*
 * The plaintext of the next record: straight from the piece where that fills it, else several pieces put together,
 * because a record for each command would double the bytes of a small group and show the peer its seams.
 */
static size_t next_record(struct cursor *at, char scratch[RECORD_BYTES], const char **bytes)
{
    size_t len = 0;
    *bytes = scratch;
    advance(at, 0);
    if (at->count > 0 && at->iov->iov_len - at->skip >= RECORD_BYTES) {
        *bytes = (const char *)at->iov->iov_base + at->skip;
        advance(at, RECORD_BYTES);
        return RECORD_BYTES;
    }
    while (at->count > 0 && len < RECORD_BYTES) {
        size_t n = MIN_OF(at->iov->iov_len - at->skip, RECORD_BYTES - len);
        memcpy(scratch + len, (const char *)at->iov->iov_base + at->skip, n);
        len += n;
        advance(at, n);
    }
    return len;
}

ssize_t tls_write(struct tls *tls, const struct iovec *iov, size_t count)
{
    if (tls->state == TLS_STATE_HANDSHAKE)
        return 0;
    if (tls->state != TLS_STATE_OPEN)
        return -EPIPE;
    struct cursor at = {iov, count, 0};
    size_t taken = 0;
    char *gather = tls->context->gather;
    while (tls->out.len - tls->out_done < TLS_OUTPUT_HIGH_BYTES) {
        const char *bytes;
        size_t written = 0;
        size_t len = next_record(&at, gather, &bytes);
        if (len == 0)
            break;
        ERR_clear_error();
        int r = SSL_write_ex(tls->ssl, bytes, len, &written);
        if (bytes == gather)
            OPENSSL_cleanse(gather, len); /* passwords go this way too */
        if (r != 1) {
            fail_ssl(tls);
            return -EPIPE;
        }
        assure(written == len);
        taken += len;
    }
    return (ssize_t)taken;
}

void tls_close(struct tls *tls)
{
    bool open = tls->state == TLS_STATE_OPEN;
    if ((!open && tls->state != TLS_STATE_EOF) || tls->notified)
        return;
    tls->notified = true;
    ERR_clear_error();
    if (SSL_shutdown(tls->ssl) < 0)
        fail_ssl(tls);
    else if (open)
        tls->state = TLS_STATE_CLOSING;
}

size_t tls_output(const struct tls *tls, const char **bytes)
{
    size_t len = tls->out.len - tls->out_done;
    *bytes = len > 0 ? tls->out.data + tls->out_done : "";
    return len;
}

void tls_sent(struct tls *tls, size_t bytes)
{
    assure(bytes <= tls->out.len - tls->out_done);
    tls->out_done += bytes;
    if (tls->out_done < tls->out.len || tls->out.failed)
        return;
    tls->out_done = 0;
    buffer_clear(&tls->out);
    if (tls->context->spare.data == NULL) {
        tls->context->spare = tls->out;
        tls->out = BUFFER_INIT(TLS_OUTPUT_MAX_BYTES);
    } else {
        buffer_finish(&tls->out);
    }
}

/* ---- what came of it ---- */

void tls_info(const struct tls *tls, struct tls_info *out)
{
    *out = (struct tls_info){.version = "", .cipher = "", .why_not = "the handshake is not done"};
    if (SSL_is_init_finished(tls->ssl) != 1)
        return;
    out->version = SSL_get_version(tls->ssl);
    out->cipher = SSL_get_cipher_name(tls->ssl);
    out->resumed = SSL_session_reused(tls->ssl) == 1;
    long result = SSL_get_verify_result(tls->ssl);
    bool certificate = SSL_get0_peer_certificate(tls->ssl) != NULL;
    out->verified = certificate && result == X509_V_OK;
    out->dane = tls->dane && out->verified;
    out->result = certificate ? result_of(result) : TLS_RESULT_VALIDATION;
    out->why_not = out->verified ? "" : certificate ? X509_verify_cert_error_string(result) : "there is no certificate";
}
