/*
 * record.c - "v=TLSRPTv1; rua=mailto:reports@example.com,https://example.com/tls". Keys that are not known are passed
 * over, and so are URIs of other schemes or with something odd in them: what is left is reported to.
 */
#include "campaign/tlsrpt/record.h"

#include <string.h>

#include "base/str.h"

#define VERSION "v=TLSRPTv1"

static int hex_value(char c)
{
    char lower = ascii_lower(c);
    if (ascii_is_digit(c))
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* %XX undone; false: it is not one, or what comes of it is no printable ASCII. `out` has TLSRPT_URI_BYTES. */
static bool decode(const char *text, size_t len, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1, low = i + 2 < len ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (c <= ' ' || c > 126 || used + 1 >= TLSRPT_URI_BYTES)
            return false;
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return used > 0;
}

static bool read_mail(const char *text, size_t len, struct tlsrpt_place *place)
{
    char decoded[TLSRPT_URI_BYTES];
    struct address address;
    struct error err;
    const char *query = memchr(text, '?', len); /* of a mailto: not asked for, and not obeyed */
    if (!decode(text, query != NULL ? (size_t)(query - text) : len, decoded) ||
        address_parse(decoded, strlen(decoded), &address, &err) != 0)
        return false;
    place->mail = true;
    (void)str_copy(place->uri, sizeof place->uri, address.text);
    return true;
}

/* Printable ASCII without white space, and a host that is a name: no user, no address literal. */
static bool read_https(const char *text, size_t len, struct tlsrpt_place *place)
{
    struct error err;
    const char *host = text + strlen("https://");
    if (len >= TLSRPT_URI_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > 126)
            return false;
    memcpy(place->uri, text, len);
    place->uri[len] = '\0';
    size_t host_len = strcspn(place->uri + strlen("https://"), ":/?#");
    size_t authority = strcspn(place->uri + strlen("https://"), "/?#");
    if (memchr(host, '@', authority) != NULL || memchr(host, '[', authority) != NULL)
        return false;
    place->mail = false;
    return domain_normalise(host, host_len, place->host, &err) == 0;
}

static void read_places(const char *text, size_t len, struct tlsrpt_record *out)
{
    while (len > 0 && out->count < TLSRPT_PLACES_MAX) {
        const char *comma = memchr(text, ',', len);
        size_t part = comma != NULL ? (size_t)(comma - text) : len, next = comma != NULL ? part + 1 : part;
        const char *at = text;
        size_t at_len = part;
        while (at_len > 0 && (*at == ' ' || *at == '\t')) {
            at++;
            at_len--;
        }
        while (at_len > 0 && (at[at_len - 1] == ' ' || at[at_len - 1] == '\t'))
            at_len--;
        struct tlsrpt_place *place = &out->places[out->count];
        *place = (struct tlsrpt_place){.mail = false};
        if (at_len > 7 && strncasecmp(at, "mailto:", 7) == 0)
            out->count += read_mail(at + 7, at_len - 7, place);
        else if (at_len > 8 && strncasecmp(at, "https://", 8) == 0)
            out->count += read_https(at, at_len, place);
        text += next;
        len -= next;
    }
}

static bool is_of_version(const struct resolve_record *record)
{
    size_t len = strlen(VERSION);
    return record->len >= len && memcmp(record->text, VERSION, len) == 0 &&
           (record->len == len || record->text[len] == ';' || record->text[len] == ' ' || record->text[len] == '\t');
}

void tlsrpt_record_read(const struct resolve_record *records, size_t count, struct tlsrpt_record *out)
{
    const struct resolve_record *one = NULL;
    size_t found = 0;
    *out = (struct tlsrpt_record){.count = 0};
    for (size_t i = 0; i < count; i++) {
        if (!is_of_version(&records[i]))
            continue;
        one = &records[i];
        found++;
    }
    if (found != 1 || memchr(one->text, '\0', one->len) != NULL)
        return;
    bool seen = false;
    for (const char *at = strchr(one->text, ';'); at != NULL; at = strchr(at, ';')) {
        at += 1 + strspn(at + 1, " \t");
        size_t len = strcspn(at, ";");
        if (len > 4 && strncmp(at, "rua=", 4) == 0 && !seen) {
            seen = true;
            read_places(at + 4, len - 4, out);
        }
    }
}
