/*
 * tls_peer.c - whom a connection expects: the host's name in SNI and in the certificate, how strong its keys must be,
 * TLSA records in place of the trust store, and the session of last time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "engine/net/tls_private.h"

/*
 * Without a demand on the certificate the alternative to an old key is no encryption at all (RFC 7435 section 3), so
 * level 1 will do. A verified connection promises something, so it asks for 112 bits.
 */
#define LEVEL_ANY 1
#define LEVEL_VERIFIED 2

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

int tls_prepare(struct tls *tls, const struct tls_peer *peer, struct error *err)
{
    int rc = 0;
    bool usable = peer->policy != TLS_NONE && set_host(tls, peer) == 0;
    bool address = usable && is_address(tls->host);
    if (!usable || (!address && !is_host_name(tls->host)))
        rc = error_set(err, -EINVAL, "no TLS with \"%.300s\": %s", peer->host,
                       peer->policy == TLS_NONE ? "the policy says so" : "not a host name");
    ERR_clear_error();
    if (rc == 0 && make_ssl(tls, address) != 1)
        rc = tls_openssl_error(err, -ENOMEM, "cannot make a TLS connection");
    if (rc == 0 && !address && peer->dane != NULL && peer->dane->count > 0 && expect_dane(tls, peer->dane) != 1)
        rc = tls_openssl_error(err, -EIO, "cannot use the TLSA records");
    if (rc == 0 && !tls->dane)
        offer_session(tls);
    return rc;
}
