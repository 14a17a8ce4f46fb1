/*
 * published.c - reading a key record as somebody has published it (RFC 6376 section 3.6.1, RFC 8463 section 4), and
 * whether it is the counterpart of a key of ours.
 *
 * What stands there may be anybody's bytes of any length: a record that cannot be read says so, it never fails the
 * program. Whether signatures verify with it is for libopendkim to say (dkim_check()).
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/str.h"
#include "dkim/key.h"

#define KEY_TEXT_MAX 8192

/* The value of a tag without surrounding white space; NULL = it is not there. */
static const char *find_tag(const char *record, size_t len, const char *name, size_t *value_len)
{
    size_t name_len = strlen(name);
    const char *end = record + len;
    for (const char *at = record; at < end;) {
        const char *stop = memchr(at, ';', (size_t)(end - at));
        stop = stop != NULL ? stop : end;
        while (at < stop && ascii_is_space(*at))
            at++;
        const char *equals = memchr(at, '=', (size_t)(stop - at));
        const char *name_end = equals;
        while (equals != NULL && name_end > at && ascii_is_space(name_end[-1]))
            name_end--;
        if (equals != NULL && (size_t)(name_end - at) == name_len && memcmp(at, name, name_len) == 0) {
            const char *value = equals + 1, *value_end = stop;
            while (value < value_end && ascii_is_space(*value))
                value++;
            while (value_end > value && ascii_is_space(value_end[-1]))
                value_end--;
            *value_len = (size_t)(value_end - value);
            return value;
        }
        at = stop + 1;
    }
    return NULL;
}

/* True when one of the colon-separated words is `word` or "*". */
static bool has_word(const char *list, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    for (size_t at = 0; at <= len;) {
        const char *colon = at < len ? memchr(list + at, ':', len - at) : NULL;
        size_t stop = colon != NULL ? (size_t)(colon - list) : len, begin = at, end = stop;
        while (begin < end && ascii_is_space(list[begin]))
            begin++;
        while (end > begin && ascii_is_space(list[end - 1]))
            end--;
        if ((end - begin == word_len && strncasecmp(list + begin, word, word_len) == 0) ||
            (end - begin == 1 && list[begin] == '*'))
            return true;
        at = stop + 1;
    }
    return false;
}

static EVP_PKEY *read_key(const char *text, size_t len, bool ed25519)
{
    char clean[KEY_TEXT_MAX];
    unsigned char der[KEY_TEXT_MAX];
    size_t clean_len = 0;
    if (len >= sizeof clean)
        return NULL;
    for (size_t i = 0; i < len; i++)
        if (!ascii_is_space(text[i]))
            clean[clean_len++] = text[i];
    if (clean_len == 0 || clean_len % 4 != 0)
        return NULL;
    int decoded = EVP_DecodeBlock(der, (const unsigned char *)clean, (int)clean_len);
    if (decoded <= 0)
        return NULL;
    long der_len = decoded - (clean[clean_len - 1] == '=') - (clean_len > 1 && clean[clean_len - 2] == '=');
    const unsigned char *at = der;
    EVP_PKEY *key = ed25519 ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, der, (size_t)der_len)
                            : d2i_PUBKEY(NULL, &at, der_len);
    ERR_clear_error();
    return key;
}

void dkim_published_read(const char *record, size_t len, const struct dkim_key *ours, struct dkim_published_key *out)
{
    size_t value_len = 0;
    *out = (struct dkim_published_key){.sha256 = true, .email = true};
    const char *value = find_tag(record, len, "v", &value_len);
    bool version = value == NULL || (value_len == 5 && memcmp(value, "DKIM1", 5) == 0);
    value = find_tag(record, len, "k", &value_len);
    out->ed25519 = value != NULL && value_len == 7 && strncasecmp(value, "ed25519", 7) == 0;
    bool known = value == NULL || out->ed25519 || (value_len == 3 && strncasecmp(value, "rsa", 3) == 0);
    if ((value = find_tag(record, len, "h", &value_len)) != NULL)
        out->sha256 = has_word(value, value_len, "sha256");
    if ((value = find_tag(record, len, "s", &value_len)) != NULL)
        out->email = has_word(value, value_len, "email");
    if ((value = find_tag(record, len, "t", &value_len)) != NULL)
        out->testing = has_word(value, value_len, "y");
    value = find_tag(record, len, "p", &value_len);
    out->readable = version && known && value != NULL && memchr(record, '\0', len) == NULL;
    out->revoked = out->readable && value_len == 0;
    if (!out->readable || out->revoked)
        return;
    EVP_PKEY *key = read_key(value, value_len, out->ed25519);
    out->readable = key != NULL && (out->ed25519 || EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA);
    if (out->readable) {
        out->bits = EVP_PKEY_get_bits(key);
        out->equal = ours != NULL && EVP_PKEY_eq(key, ours->private_key) == 1;
    }
    ERR_clear_error();
    EVP_PKEY_free(key);
}
