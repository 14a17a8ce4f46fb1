/*
 * tls.c - a TLS connection at work, between two runs of bytes that the caller owns.
 *
 * What bounds `out` is tls_write(), which takes nothing while much is waiting; only what OpenSSL says of itself
 * (alerts, key updates) is unasked for, and past TLS_OUTPUT_MAX_BYTES it is a failure.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net/tls_private.h"

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
    int rc = tls_prepare(tls, peer, err);
    if (rc == 0) {
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
