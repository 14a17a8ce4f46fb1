/*
 * record.c - the text to publish in DNS for a key (RFC 6376 section 3.6.1, RFC 8463 section 4).
 *
 * The record is public: it holds the public half only. Whether it is published, and the same, is not known here.
 */
#include <errno.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/x509.h>

#include "dkim/key.h"

#define ZONE_STRING_BYTES 255 /* RFC 1035 section 3.3: a character-string */
#define ED25519_PUBLIC_BYTES 32

static int append_base64(const unsigned char *bytes, size_t len, struct buffer *out)
{
    size_t text_len = (len + 2) / 3 * 4;
    if (buffer_reserve(out, text_len) < 0)
        return -ENOMEM;
    /* EVP_EncodeBlock() writes a NUL behind the text, for which a buffer always has room. */
    (void)EVP_EncodeBlock((unsigned char *)out->data + out->len, bytes, (int)len);
    out->len += text_len;
    return 0;
}

int dkim_record(const struct dkim_key *key, struct buffer *out, struct error *err)
{
    buffer_append_str(out, key->ed25519 ? "v=DKIM1; k=ed25519; p=" : "v=DKIM1; k=rsa; p=");
    int rc = 0;
    if (key->ed25519) {
        unsigned char raw[ED25519_PUBLIC_BYTES];
        size_t len = sizeof(raw);
        if (EVP_PKEY_get_raw_public_key(key->private_key, raw, &len) != 1)
            return key_openssl_error(err, -EIO, "cannot take the public key");
        rc = append_base64(raw, len, out);
    } else {
        unsigned char *der = NULL;
        int len = i2d_PUBKEY(key->private_key, &der);
        if (len <= 0)
            return key_openssl_error(err, -EIO, "cannot take the public key");
        rc = append_base64(der, (size_t)len, out);
        OPENSSL_free(der);
    }
    return rc < 0 || out->failed ? error_memory(err) : 0;
}

int dkim_record_name(const char *selector, const char *domain, struct buffer *out)
{
    buffer_printf(out, "%s._domainkey.%s", selector, domain);
    return out->failed ? -ENOMEM : 0;
}

int dkim_record_zone_text(const char *value, struct buffer *out)
{
    size_t in_string = 0;
    buffer_append_char(out, '"');
    for (const char *p = value; *p != '\0'; p++) {
        if (in_string == ZONE_STRING_BYTES) {
            buffer_append_str(out, "\" \"");
            in_string = 0;
        }
        if (*p == '"' || *p == '\\')
            buffer_append_char(out, '\\');
        buffer_append_char(out, *p);
        in_string++;
    }
    buffer_append_char(out, '"');
    return out->failed ? -ENOMEM : 0;
}
