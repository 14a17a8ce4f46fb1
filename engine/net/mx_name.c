/*
 * mx_name.c - names from the wire, and what sets of them are called.
 *
 * The digest in the key of a large set is SHA-256: a site is reached through the hosts of whichever domain made it, so
 * that a key which could be forged would lead one domain's mail to another's hosts.
 */
#include "engine/net/mx_name.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/str.h"

#define DIGEST_SHOWN_BYTES 16

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || ascii_is_digit(c) || c == '-' || c == '_';
}

static bool all_digits(const char *label)
{
    return label[strspn(label, "0123456789")] == '\0';
}

enum mx_name_result mx_name_from_wire(const void *wire, size_t len, char out[MX_NAME_BYTES])
{
    const unsigned char *bytes = wire;
    size_t at = 0, used = 0;
    const char *last_label = out;
    out[0] = '\0';
    if (len == 1 && bytes[0] == 0)
        return MX_NAME_ROOT;
    while (at < len && bytes[at] != 0) {
        size_t label = bytes[at++];
        /* Over 63 is a compression pointer or one of the extended types, which have no place here. */
        if (label > 63 || label > len - at || used + label + 2 > MX_NAME_BYTES)
            goto bad;
        if (used > 0)
            out[used++] = '.';
        last_label = out + used;
        for (size_t i = 0; i < label; i++) {
            char c = ascii_lower((char)bytes[at + i]);
            if (!is_name_byte(c))
                goto bad;
            out[used++] = c;
        }
        at += label;
        out[used] = '\0';
    }
    if (at + 1 == len && used > 0 && !all_digits(last_label))
        return MX_NAME_OK;
bad:
    out[0] = '\0';
    return MX_NAME_BAD;
}

/* What all names end with, at a label's edge, leaving each at least one label of its own; "" when nothing. */
static const char *common_suffix(const char *const *names, size_t count)
{
    const char *suffix = names[0];
    for (;;) {
        const char *dot = strchr(suffix, '.');
        if (dot == NULL)
            return "";
        suffix = dot + 1;
        size_t with_dot = strlen(dot), i = 0;
        while (i < count && strlen(names[i]) > with_dot && strcmp(names[i] + strlen(names[i]) - with_dot, dot) == 0)
            i++;
        if (i == count)
            return suffix;
    }
}

static void append_digest(const char *const *names, size_t count, struct buffer *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; i < count && done; i++)
        done = EVP_DigestUpdate(context, names[i], strlen(names[i]) + 1) == 1; /* with its NUL, as the separator */
    done = done && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!done) {
        out->failed = true;
        return;
    }
    buffer_printf(out, "%zu hosts ", count);
    for (size_t i = 0; i < DIGEST_SHOWN_BYTES; i++)
        buffer_printf(out, "%02x", digest[i]);
}

void mx_site_key(const char *const *names, size_t count, size_t spell_max, struct buffer *out)
{
    assure(count >= 1);
    if (count == 1) {
        buffer_append_str(out, names[0]);
        return;
    }
    const char *suffix = common_suffix(names, count);
    size_t cut = suffix[0] != '\0' ? strlen(suffix) + 1 : 0;
    buffer_append_char(out, '(');
    if (count > spell_max) {
        append_digest(names, count, out);
    } else {
        for (size_t i = 0; i < count; i++) {
            if (i > 0)
                buffer_append_char(out, '|');
            buffer_append(out, names[i], strlen(names[i]) - cut);
        }
    }
    buffer_append_char(out, ')');
    if (cut > 0) {
        buffer_append_char(out, '.');
        buffer_append_str(out, suffix);
    }
}

bool mx_name_matches(const char *name, const char *pattern)
{
    if (pattern[0] == '.')
        return strlen(name) > strlen(pattern) && str_ends_nocase(name, pattern);
    return str_eq_nocase(name, pattern);
}
