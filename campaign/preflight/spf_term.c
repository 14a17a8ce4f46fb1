/*
 * spf_term.c - the grammar of RFC 7208 sections 4.6.1 and 5 to 7, term by term. A record is read whole before anything
 * of it is believed: one bad term makes all of it an error.
 */
#include "campaign/preflight/spf_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool is_alpha(char c)
{
    c = ascii_lower(c);
    return c >= 'a' && c <= 'z';
}

bool spf_ip_parse(const char *text, size_t len, struct spf_ip *out)
{
    char copy[INET6_ADDRSTRLEN];
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    *out = (struct spf_ip){0};
    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_pton(AF_INET, copy, out->bytes) == 1)
        return true;
    out->v6 = inet_pton(AF_INET6, copy, out->bytes) == 1;
    if (!out->v6)
        return false;
    if (memcmp(out->bytes, mapped, sizeof mapped) == 0) {
        memmove(out->bytes, out->bytes + 12, 4);
        out->v6 = false;
    }
    return true;
}

/* "/24" at the end of `text`: its digits' value, and `*len` without it. False: none is there; a bad one is -1. */
static bool take_prefix(const char *text, size_t *len, int max, int *value)
{
    size_t at = *len;
    while (at > 0 && ascii_is_digit(text[at - 1]))
        at--;
    if (at == 0 || at == *len || text[at - 1] != '/')
        return false;
    size_t digits = *len - at;
    int number = 0;
    for (size_t i = at; i < *len && number <= max; i++)
        number = number * 10 + (text[i] - '0');
    *value = number > max || (text[at] == '0' && digits > 1) ? -1 : number;
    *len = at - 1;
    return true;
}

/* dual-cidr-length, "/24", "//64" or "/24//64". */
static int read_prefixes(const char *text, size_t *len, struct spf_term *out)
{
    int value = 0;
    size_t before = *len;
    out->bits4 = 32;
    out->bits6 = 128;
    if (!take_prefix(text, len, 128, &value))
        return 0;
    if (*len > 0 && text[*len - 1] == '/') {
        (*len)--;
        if (value < 0)
            return -EINVAL;
        out->bits6 = (unsigned)value;
        if (!take_prefix(text, len, 32, &value))
            return 0;
    } else {
        *len = before;
        (void)take_prefix(text, len, 32, &value);
    }
    if (value < 0)
        return -EINVAL;
    out->bits4 = (unsigned)value;
    return 0;
}

static int read_network(const char *text, size_t len, struct spf_term *out)
{
    int value, max = out->kind == SPF_IP4 ? 32 : 128;
    if (len == 0 || text[0] != ':')
        return -EINVAL;
    text++;
    len--;
    if (!take_prefix(text, &len, max, &value))
        value = max;
    /* An IPv4-mapped network of an ip6 term stays what it is: no client's address is one (section 5). */
    char copy[INET6_ADDRSTRLEN];
    if (value < 0 || len == 0 || len >= sizeof copy)
        return -EINVAL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    out->network.v6 = out->kind == SPF_IP6;
    out->bits4 = out->bits6 = (unsigned)value;
    return inet_pton(out->network.v6 ? AF_INET6 : AF_INET, copy, out->network.bytes) == 1 ? 0 : -EINVAL;
}

static const struct mechanism {
    const char *name;
    enum spf_kind kind;
    bool spec, spec_needed, prefixes;
} mechanisms[] = {
    {"all", SPF_ALL, false, false, false}, {"include", SPF_INCLUDE, true, true, false},
    {"a", SPF_A, true, false, true},       {"mx", SPF_MX, true, false, true},
    {"ptr", SPF_PTR, true, false, false},  {"exists", SPF_EXISTS, true, true, false},
    {"ip4", SPF_IP4, false, false, false}, {"ip6", SPF_IP6, false, false, false},
};

static const struct mechanism *find_mechanism(const char *text, size_t len)
{
    for (size_t i = 0; i < countof(mechanisms); i++)
        if (strlen(mechanisms[i].name) == len && strncasecmp(mechanisms[i].name, text, len) == 0)
            return &mechanisms[i];
    return NULL;
}

static int bad(char why[160], const char *what, const char *text, size_t len)
{
    (void)snprintf(why, 160, "%s: \"%.*s\"", what, (int)MIN_OF(len, (size_t)100), text);
    str_make_line(why);
    return -EINVAL;
}

static int read_mechanism(const char *text, size_t len, struct spf_term *out, char why[160])
{
    size_t name_len = 0, rest_len;
    out->qualifier = SPF_PASS;
    const char *at = text;
    switch (*at) {
    case '+':
    case '-':
    case '~':
    case '?':
        out->qualifier = *at == '+' ? SPF_PASS : *at == '-' ? SPF_FAIL : *at == '~' ? SPF_SOFTFAIL : SPF_NEUTRAL;
        at++;
        break;
    default:
        break;
    }
    size_t left = len - (size_t)(at - text);
    while (name_len < left && (is_alpha(at[name_len]) || ascii_is_digit(at[name_len])))
        name_len++;
    const struct mechanism *found = find_mechanism(at, name_len);
    if (found == NULL)
        return bad(why, "an unknown mechanism", text, len);
    out->kind = found->kind;
    const char *rest = at + name_len;
    rest_len = left - name_len;
    if (found->kind == SPF_IP4 || found->kind == SPF_IP6)
        return read_network(rest, rest_len, out) == 0 ? 0 : bad(why, "a network that is none", text, len);
    if (found->prefixes && read_prefixes(rest, &rest_len, out) < 0)
        return bad(why, "a prefix length that cannot be", text, len);
    if (rest_len > 0) {
        if (!found->spec || rest[0] != ':' || !spf_macro_valid(rest + 1, rest_len - 1, true))
            return bad(why, "a domain that cannot be", text, len);
        out->spec = rest + 1;
        out->spec_len = rest_len - 1;
    }
    return out->spec != NULL || !found->spec_needed ? 0 : bad(why, "a mechanism without its domain", text, len);
}

int spf_term_parse(const char *text, size_t len, struct spf_term *out, char why[160])
{
    size_t name_len = 0;
    *out = (struct spf_term){.bits4 = 32, .bits6 = 128};
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x21 || text[i] > 0x7e)
            return bad(why, "a byte that is not printable ASCII", text, len);
    /* A name and "=" before anything else makes it a modifier. */
    while (name_len < len && (is_alpha(text[name_len]) || (name_len > 0 && (ascii_is_digit(text[name_len]) ||
                                                                            strchr("-_.", text[name_len]) != NULL))))
        name_len++;
    if (name_len == 0 || name_len == len || text[name_len] != '=')
        return read_mechanism(text, len, out, why);
    out->spec = text + name_len + 1;
    out->spec_len = len - name_len - 1;
    out->kind = name_len == 8 && strncasecmp(text, "redirect", 8) == 0 ? SPF_REDIRECT
                : name_len == 3 && strncasecmp(text, "exp", 3) == 0    ? SPF_EXP
                                                                       : SPF_OTHER;
    if (!spf_macro_valid(out->spec, out->spec_len, out->kind != SPF_OTHER))
        return bad(why, "a modifier whose value cannot be", text, len);
    return 0;
}
