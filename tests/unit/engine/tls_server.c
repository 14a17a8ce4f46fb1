/*
 * tls_server.c - see the header. The server reads and writes memory BIOs; nothing here touches the network.
 */
#include "tls_server.h"

#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_raw_name(X509 *cert, const char *name, size_t len)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *one = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    assert_true(names != NULL && one != NULL && text != NULL);
    assert_int_equal(ASN1_STRING_set(text, name, (int)len), 1);
    GENERAL_NAME_set0_value(one, GEN_DNS, text);
    assert_true(sk_GENERAL_NAME_push(names, one) > 0);
    assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
}

struct identity identity_make(const struct cert_spec *spec)
{
    static long serial = 1;
    struct identity made = {.key = spec->rsa_bits != 0 ? EVP_RSA_gen((unsigned)spec->rsa_bits) : EVP_EC_gen("P-256"),
                            .cert = X509_new()};
    assert_true(made.key != NULL && made.cert != NULL);
    bool dated = spec->from_s != 0 || spec->until_s != 0;
    assert_int_equal(X509_set_version(made.cert, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made.cert), serial++), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(made.cert), dated ? spec->from_s : -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(made.cert), dated ? spec->until_s : 3600));
    assert_int_equal(X509_set_pubkey(made.cert, made.key), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(made.cert), "CN", MBSTRING_ASC,
                                                (const unsigned char *)spec->cn, -1, -1, 0),
                     1);
    X509 *issuer = spec->issuer != NULL ? spec->issuer->cert : made.cert;
    assert_int_equal(X509_set_issuer_name(made.cert, X509_get_subject_name(issuer)), 1);
    add_extension(made.cert, issuer, NID_subject_key_identifier, "hash");
    add_extension(made.cert, issuer, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (spec->san != NULL)
        add_extension(made.cert, issuer, NID_subject_alt_name, spec->san);
    if (spec->raw_name != NULL)
        add_raw_name(made.cert, spec->raw_name, spec->raw_name_len);
    if (spec->usage != NULL)
        add_extension(made.cert, issuer, NID_ext_key_usage, spec->usage);
    assert_true(X509_sign(made.cert, spec->issuer != NULL ? spec->issuer->key : made.key,
                          spec->digest != NULL ? spec->digest : EVP_sha256()) > 0);
    return made;
}

void identity_free(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->cert);
    *identity = (struct identity){NULL, NULL};
}

char *identity_to_file(const struct identity *identity)
{
    char *path = strdup("/tmp/posthaste-ca-XXXXXX");
    assert_non_null(path);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, identity->cert), 1);
    assert_int_equal(fclose(file), 0);
    return path;
}

SSL_CTX *server_ctx(const struct identity *identity, const struct identity *chain)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_non_null(ctx);
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, 0), 1);
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0"), 1);
    assert_int_equal(SSL_CTX_use_certificate(ctx, identity->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, identity->key), 1);
    if (chain != NULL)
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, chain->cert), 1);
    assert_int_equal(SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4), 1);
    return ctx;
}

void server_init(struct server *server, SSL_CTX *ctx)
{
    *server = (struct server){.ctx = ctx, .ssl = SSL_new(ctx), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
    assert_true(server->ssl != NULL && server->in != NULL && server->out != NULL);
    SSL_set_bio(server->ssl, server->in, server->out);
    SSL_set_accept_state(server->ssl);
}

void server_finish(struct server *server)
{
    SSL_set_shutdown(server->ssl, SSL_SENT_SHUTDOWN); /* else OpenSSL forgets the session that it may have to resume */
    SSL_free(server->ssl);
    buffer_finish(&server->received);
}

void server_say(struct server *server, const char *bytes, size_t len)
{
    if (len > 0)
        assert_int_equal(SSL_write(server->ssl, bytes, (int)len), (int)len);
}

static void server_turn(struct server *server)
{
    char bytes[16384];
    ERR_clear_error();
    int r = server->finished ? 1 : SSL_accept(server->ssl);
    server->finished = r == 1;
    while (r > 0 && !server->failed) {
        r = SSL_read(server->ssl, bytes, sizeof bytes);
        if (r > 0)
            buffer_append(&server->received, bytes, (size_t)r);
    }
    int why = r > 0 ? SSL_ERROR_NONE : SSL_get_error(server->ssl, r);
    if (why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL)
        server->failed = true;
    ERR_clear_error();
}

void feed_all(struct joint *joint, const char *bytes, size_t len)
{
    const char *plain;
    size_t n;
    tls_feed(joint->tls, bytes, len);
    while ((n = tls_read(joint->tls, &plain)) > 0)
        buffer_append(&joint->received, plain, n);
}

size_t take_server_bytes(struct server *server, char *out, size_t max)
{
    int n = BIO_read(server->out, out, (int)max);
    return n > 0 ? (size_t)n : 0;
}

static size_t cut(struct joint *joint, size_t len)
{
    size_t max = joint->cut_max_bytes;
    size_t chosen = max == 0 ? len : 1 + random_below(&joint->random, max);
    return MIN_OF(len, chosen);
}

bool pump(struct joint *joint)
{
    static char bytes[65536];
    bool any = false, moved = true;
    while (moved) {
        const char *out;
        moved = false;
        size_t len = tls_output(joint->tls, &out);
        if (len > 0) {
            len = cut(joint, len);
            assert_int_equal(BIO_write(joint->server->in, out, (int)len), (int)len);
            tls_sent(joint->tls, len);
            moved = true;
        }
        server_turn(joint->server);
        len = take_server_bytes(joint->server, bytes, cut(joint, sizeof bytes));
        if (len > 0) {
            feed_all(joint, bytes, len);
            moved = true;
        }
        any = any || moved;
    }
    return any;
}

void joint_open(struct joint *joint, struct tls_context *context, const struct tls_peer *peer, struct server *server,
                SSL_CTX *ctx)
{
    struct error err = {{0}};
    *joint = (struct joint){.server = server, .random = 88172645463325252ULL};
    server_init(server, ctx);
    int rc = tls_create(context, peer, &joint->tls, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    assert_int_equal(tls_state(joint->tls), TLS_STATE_HANDSHAKE);
    (void)pump(joint);
}

void joint_close(struct joint *joint)
{
    tls_free(joint->tls);
    server_finish(joint->server);
    buffer_finish(&joint->received);
}
