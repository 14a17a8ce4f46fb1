/*
 * sign.c - one DKIM-Signature field for one message (RFC 6376 section 5, RFC 8463).
 *
 * A signer belongs to one thread and holds everything that can be made ready before a message is there: its own copy of
 * the key (RSA blinding takes a lock in a key that threads share), a signing context with padding and digest set, the
 * fetched SHA-256 and its context. What is left per message is hashing and the private-key operation.
 *
 * The list below is what a forger must not be able to change or add. Names in `oversigned` are listed once more than
 * they occur, so that a verifier sees a second From or Subject as part of what was signed, and fails. l= is never
 * written: it would let anybody append to the body.
 *
 * Success means that the field was appended, whole. It does not mean that the key is the published one: dkim_check()
 * tells.
 */
#include <errno.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/rsa.h>

#include "base/address.h"
#include "base/str.h"
#include "dkim/canon.h"
#include "dkim/key.h"

#define HEADER_FIELDS_MAX 256
#define DIGEST_BYTES 32
#define DIGEST_BASE64_BYTES 44
#define SIGNATURE_BASE64_BYTES ((SIGNATURE_MAX_BYTES + 2) / 3 * 4)
#define LINE_BYTES 76 /* of our own folded lines, CRLF left out */
#define SELECTOR_MAX_BYTES 63

static const struct {
    const char *name;
    uint8_t len;
    bool oversigned;
} signed_fields[] = {
#define FIELD(name, oversigned)                                                                                        \
    {                                                                                                                  \
        name, sizeof(name) - 1, oversigned                                                                             \
    }
    FIELD("From", true),
    FIELD("To", true),
    FIELD("Cc", false),
    FIELD("Subject", true),
    FIELD("Date", true),
    FIELD("Message-ID", false),
    FIELD("Reply-To", true),
    FIELD("Sender", false),
    FIELD("In-Reply-To", false),
    FIELD("References", false),
    FIELD("MIME-Version", false),
    FIELD("Content-Type", true),
    FIELD("Content-Transfer-Encoding", false),
    FIELD("List-Id", false),
    FIELD("List-Unsubscribe", true),
    FIELD("List-Unsubscribe-Post", true),
    FIELD("Feedback-ID", false),
#undef FIELD
};

struct field {
    const char *start;
    size_t len, name_len;
    size_t kind; /* index into signed_fields, or countof(signed_fields) */
};

struct dkim_signer {
    struct dkim_key *key;
    EVP_PKEY *own_key;
    EVP_PKEY_CTX *rsa;   /* NULL for Ed25519 */
    EVP_MD_CTX *ed25519; /* NULL for RSA */
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    struct buffer canonical; /* scratch: the header as it is hashed */
    char domain[DOMAIN_MAX_BYTES + 1];
    char selector[SELECTOR_MAX_BYTES + 1];
};

static int digest_write(void *context, const void *bytes, size_t len)
{
    return EVP_DigestUpdate(context, bytes, len) == 1 ? 0 : -EIO;
}

static int hash_body(EVP_MD_CTX *digest, const EVP_MD *sha256, const char *body, size_t len, uint8_t out[DIGEST_BYTES])
{
    if (EVP_DigestInit_ex2(digest, sha256, NULL) != 1)
        return -EIO;
    int rc = canon_body(body, len, digest_write, digest);
    if (rc < 0)
        return rc;
    return EVP_DigestFinal_ex(digest, out, NULL) == 1 ? 0 : -EIO;
}

int dkim_body_hash(const char *body, size_t body_len, uint8_t out[DIGEST_BYTES])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int rc = digest != NULL ? hash_body(digest, EVP_sha256(), body, body_len, out) : -ENOMEM;
    EVP_MD_CTX_free(digest);
    return rc;
}

/* What goes into d= and s= as it stands: letters, digits, hyphens, underscores, single inner dots. */
static bool is_dns_name(const char *text)
{
    char before = '.';
    for (const char *p = text; *p != '\0'; before = *p++) {
        char lower = ascii_lower(*p);
        bool word = (lower >= 'a' && lower <= 'z') || ascii_is_digit(*p) || *p == '-' || *p == '_';
        if (!word && (*p != '.' || before == '.'))
            return false;
    }
    return before != '.';
}

static bool prepare_key(struct dkim_signer *signer)
{
    signer->own_key = EVP_PKEY_dup(signer->key->private_key);
    signer->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    signer->digest = EVP_MD_CTX_new();
    if (signer->own_key == NULL || signer->sha256 == NULL || signer->digest == NULL)
        return false;
    if (signer->key->ed25519) {
        signer->ed25519 = EVP_MD_CTX_new();
        return signer->ed25519 != NULL && EVP_DigestSignInit(signer->ed25519, NULL, NULL, NULL, signer->own_key) == 1;
    }
    signer->rsa = EVP_PKEY_CTX_new_from_pkey(NULL, signer->own_key, NULL);
    return signer->rsa != NULL && EVP_PKEY_sign_init(signer->rsa) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(signer->rsa, RSA_PKCS1_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(signer->rsa, signer->sha256) == 1;
}

int dkim_signer_create(struct dkim_key *key, const char *domain, const char *selector, struct dkim_signer **out,
                       struct error *err)
{
    *out = NULL;
    struct dkim_signer *signer = calloc(1, sizeof(*signer));
    if (signer == NULL)
        return error_memory(err);
    signer->key = dkim_key_ref(key);
    int rc = 0;
    if (!is_dns_name(domain) || !str_copy(signer->domain, sizeof(signer->domain), domain))
        rc = error_set(err, -EINVAL, "\"%s\" is not a domain to sign for", domain);
    else if (!is_dns_name(selector) || !str_copy(signer->selector, sizeof(signer->selector), selector))
        rc = error_set(err, -EINVAL, "\"%s\" is not a DKIM selector", selector);
    else if (!prepare_key(signer))
        rc = key_openssl_error(err, -EIO, "cannot prepare the DKIM key");
    if (rc < 0)
        dkim_signer_free(signer);
    else
        *out = signer;
    return rc;
}

void dkim_signer_free(struct dkim_signer *signer)
{
    if (signer == NULL)
        return;
    EVP_MD_CTX_free(signer->ed25519);
    EVP_PKEY_CTX_free(signer->rsa);
    EVP_MD_CTX_free(signer->digest);
    EVP_MD_free(signer->sha256);
    EVP_PKEY_free(signer->own_key);
    dkim_key_unref(signer->key);
    buffer_finish(&signer->canonical);
    free(signer);
}

static size_t field_kind(const char *name, size_t len)
{
    for (size_t i = 0; i < countof(signed_fields); i++)
        if (signed_fields[i].len == len && strncasecmp(signed_fields[i].name, name, len) == 0)
            return i;
    return countof(signed_fields);
}

/* One field from `at`: up to the first CRLF that no white space follows. Returns its length with the CRLF, or 0 when
 * there is no such end. */
static size_t field_length(const char *at, const char *end)
{
    const char *p = at;
    for (;;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL || lf == at || lf[-1] != '\r')
            return 0;
        p = lf + 1;
        if (p == end || (*p != ' ' && *p != '\t'))
            return (size_t)(p - at);
    }
}

static int split_fields(const char *header, size_t len, struct field fields[HEADER_FIELDS_MAX], size_t *count,
                        struct error *err)
{
    const char *at = header;
    const char *end = header + len;
    *count = 0;
    while (at < end) {
        size_t number = *count + 1;
        if (*count == HEADER_FIELDS_MAX)
            return error_set(err, -EINVAL, "the header has more than %d fields", HEADER_FIELDS_MAX);
        struct field *field = &fields[*count];
        field->start = at;
        field->len = field_length(at, end);
        if (field->len == 0)
            return error_set(err, -EINVAL, "header field %zu does not end with CRLF", number);
        const char *colon = memchr(at, ':', field->len);
        if (colon == NULL || colon == at)
            return error_set(err, -EINVAL, "header field %zu has no name", number);
        field->name_len = (size_t)(colon - at);
        size_t bare = field->name_len;
        while (bare > 0 && (at[bare - 1] == ' ' || at[bare - 1] == '\t'))
            bare--;
        field->kind = field_kind(at, bare);
        at += field->len;
        (*count)++;
    }
    return 0;
}

struct folder {
    struct buffer *out;
    size_t column;
};

/* Appends a word of a tag list, on a new line when this one is full; white space is free around the words (RFC 6376
 * section 3.2). */
static void append_folded(struct folder *folder, const char *word, size_t len)
{
    if (folder->column + len > LINE_BYTES && folder->column > 1) {
        buffer_append(folder->out, "\r\n\t", 3);
        folder->column = 1;
    }
    buffer_append(folder->out, word, len);
    folder->column += len;
}

/* Writes h= and gathers the canonical form of what it names: instances of a name from the last to the first
 * (section 5.4.2). */
static int append_signed_fields(struct dkim_signer *signer, const struct field *fields, size_t count,
                                struct buffer *out, struct error *err)
{
    struct folder folder = {out, 1};
    append_folded(&folder, "h=", 2);
    bool first = true;
    for (size_t kind = 0; kind < countof(signed_fields); kind++) {
        size_t present = 0;
        for (size_t i = count; i > 0; i--) {
            const struct field *field = &fields[i - 1];
            if (field->kind != kind)
                continue;
            present++;
            canon_field(field->start, field->len, field->name_len, &signer->canonical);
            buffer_append(&signer->canonical, "\r\n", 2);
        }
        if (kind == 0 && present == 0)
            return error_set(err, -EINVAL, "the header has no From field");
        size_t listed = present + (signed_fields[kind].oversigned ? 1 : 0);
        for (size_t i = 0; i < listed; i++) {
            char word[40] = ":";
            memcpy(word + 1, signed_fields[kind].name, signed_fields[kind].len);
            append_folded(&folder, first ? word + 1 : word, signed_fields[kind].len + (first ? 0 : 1u));
            first = false;
        }
    }
    buffer_append_str(out, ";\r\n\t");
    return 0;
}

static int sign_digest(struct dkim_signer *signer, const uint8_t digest[DIGEST_BYTES],
                       unsigned char signature[SIGNATURE_MAX_BYTES], size_t *len)
{
    *len = SIGNATURE_MAX_BYTES;
    if (signer->rsa != NULL)
        return EVP_PKEY_sign(signer->rsa, signature, len, digest, DIGEST_BYTES) == 1 ? 0 : -EIO;
    /* RFC 8463 section 3: PureEdDSA over the SHA-256 of the header. Since OpenSSL 3.2 a context signs once, and has to
     * be made ready anew, with the key that it has. */
    return EVP_DigestSignInit(signer->ed25519, NULL, NULL, NULL, NULL) == 1 &&
                   EVP_DigestSign(signer->ed25519, signature, len, digest, DIGEST_BYTES) == 1
               ? 0
               : -EIO;
}

/* Hashes the gathered header with the unfinished signature field behind it, signs, and finishes the field. */
static int append_signature(struct dkim_signer *signer, size_t field_start, struct buffer *out, struct error *err)
{
    if (out->failed)
        return error_memory(err);
    canon_field(out->data + field_start, out->len - field_start, sizeof("DKIM-Signature") - 1, &signer->canonical);
    if (signer->canonical.failed)
        return error_memory(err);
    uint8_t digest[DIGEST_BYTES];
    unsigned char signature[SIGNATURE_MAX_BYTES];
    unsigned char text[SIGNATURE_BASE64_BYTES + 1];
    size_t len = 0;
    if (EVP_DigestInit_ex2(signer->digest, signer->sha256, NULL) != 1 ||
        EVP_DigestUpdate(signer->digest, signer->canonical.data, signer->canonical.len) != 1 ||
        EVP_DigestFinal_ex(signer->digest, digest, NULL) != 1 || sign_digest(signer, digest, signature, &len) < 0)
        return key_openssl_error(err, -EIO, "cannot sign");
    size_t text_len = (size_t)EVP_EncodeBlock(text, signature, (int)len);
    size_t column = 3; /* behind "\tb=" */
    for (size_t at = 0; at < text_len;) {
        size_t piece = MIN_OF(text_len - at, LINE_BYTES - column);
        if (at > 0)
            buffer_append(out, "\r\n\t", 3);
        buffer_append(out, text + at, piece);
        at += piece;
        column = 1;
    }
    buffer_append(out, "\r\n", 2);
    return out->failed ? error_memory(err) : 0;
}

int dkim_signer_sign_hashed(struct dkim_signer *signer, const char *header, size_t header_len,
                            const uint8_t body_sha256[DIGEST_BYTES], int64_t now_s, int64_t expires_s,
                            struct buffer *out, struct error *err)
{
    struct field fields[HEADER_FIELDS_MAX];
    size_t count = 0;
    int rc = split_fields(header, header_len, fields, &count, err);
    if (rc < 0)
        return rc;
    size_t start = out->len;
    buffer_clear(&signer->canonical);
    buffer_printf(out, "DKIM-Signature: v=1; a=%s; c=relaxed/relaxed;\r\n\td=%s; s=%s;\r\n\tt=%lld;",
                  signer->key->ed25519 ? "ed25519-sha256" : "rsa-sha256", signer->domain, signer->selector,
                  (long long)now_s);
    if (expires_s > 0)
        buffer_printf(out, " x=%lld;", (long long)expires_s);
    buffer_append(out, "\r\n\t", 3);
    rc = append_signed_fields(signer, fields, count, out, err);
    if (rc == 0) {
        unsigned char hash_text[DIGEST_BASE64_BYTES + 1];
        (void)EVP_EncodeBlock(hash_text, body_sha256, DIGEST_BYTES);
        buffer_append_str(out, "bh=");
        buffer_append(out, hash_text, DIGEST_BASE64_BYTES);
        buffer_append_str(out, ";\r\n\tb=");
        rc = append_signature(signer, start, out, err);
    }
    if (rc < 0 && out->data != NULL && out->len > start) {
        out->len = start;
        out->data[start] = '\0';
    }
    return rc;
}

int dkim_signer_body_hash(struct dkim_signer *signer, const char *body, size_t body_len, uint8_t out[DIGEST_BYTES])
{
    return hash_body(signer->digest, signer->sha256, body, body_len, out);
}

int dkim_signer_sign(struct dkim_signer *signer, const char *header, size_t header_len, const char *body,
                     size_t body_len, int64_t now_s, int64_t expires_s, struct buffer *out, struct error *err)
{
    uint8_t hash[DIGEST_BYTES];
    if (hash_body(signer->digest, signer->sha256, body, body_len, hash) < 0)
        return key_openssl_error(err, -EIO, "cannot hash the body");
    return dkim_signer_sign_hashed(signer, header, header_len, hash, now_s, expires_s, out, err);
}
