/*
 * token.c - makes and reads tokens.
 *
 * Layout before base32: one byte (format and the widths of the ids, see pack()), the ids, 16 bytes of MAC. Each pair of
 * ids has exactly one text: minimal widths, zero pad bits and lower case are demanded when reading, so no second
 * spelling of a token passes.
 *
 * The ids are not secret, the MAC is what nobody else can make: 128 bits over the purpose and both ids at full width.
 */
#include "campaign/message/token.h"

#include <errno.h>
#include <string.h>

#define MAC_BYTES 16
#define ID_MAX_BYTES 8
#define LINK_BYTES 2
#define RAW_MAX_BYTES (1 + 2 * ID_MAX_BYTES + LINK_BYTES + MAC_BYTES)
#define FORMAT_PAIR 1u /* in the two upper bits of the first byte */
#define FORMAT_LINK 2u

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static const char *const purposes[TOKEN_PURPOSE_COUNT] = {
    [TOKEN_UNSUBSCRIBE] = "posthaste unsubscribe",
    [TOKEN_RETURN_PATH] = "posthaste return-path",
    [TOKEN_MESSAGE_ID] = "posthaste message-id",
    [TOKEN_CLICK] = "posthaste click",
    [TOKEN_OPEN] = "posthaste open",
    [TOKEN_VIEW] = "posthaste view",
    [TOKEN_PREFERENCES] = "posthaste preferences",
};

static void put_u64(uint8_t out[8], uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

/* What a token names; `link` is 0 in a pair. */
struct named {
    uint64_t campaign, recipient;
    uint16_t link;
    unsigned format;
};

static int make_mac(const struct mac_key *mac, enum token_purpose purpose, const struct named *named,
                    uint8_t out[MAC_BYTES])
{
    uint8_t input[64];
    uint8_t full[32];
    size_t len = strlen(purposes[purpose]) + 1;
    assure(len + 16 + LINK_BYTES <= sizeof(input));
    memcpy(input, purposes[purpose], len);
    put_u64(input + len, named->campaign);
    put_u64(input + len + 8, named->recipient);
    len += 16;
    if (named->format == FORMAT_LINK) {
        input[len++] = (uint8_t)(named->link >> 8);
        input[len++] = (uint8_t)named->link;
    }
    if (mac_sha256(mac, input, len, full) < 0)
        return -EIO;
    memcpy(out, full, MAC_BYTES);
    return 0;
}

static size_t width_of(uint64_t value)
{
    size_t width = 1;
    while (width < ID_MAX_BYTES && value >> (8 * width) != 0)
        width++;
    return width;
}

/* First byte: format in bits 7-6, width of the campaign id less one in 5-3, of the recipient id less one in 2-0. */
static size_t pack(const struct named *named, uint8_t raw[RAW_MAX_BYTES])
{
    uint8_t full[8];
    size_t first = width_of(named->campaign);
    size_t second = width_of(named->recipient);
    raw[0] = (uint8_t)(named->format << 6 | (first - 1) << 3 | (second - 1));
    put_u64(full, named->campaign);
    memcpy(raw + 1, full + 8 - first, first);
    put_u64(full, named->recipient);
    memcpy(raw + 1 + first, full + 8 - second, second);
    size_t len = 1 + first + second;
    if (named->format == FORMAT_LINK) {
        raw[len++] = (uint8_t)(named->link >> 8);
        raw[len++] = (uint8_t)named->link;
    }
    return len;
}

static void encode(const uint8_t *raw, size_t len, char *out)
{
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | raw[i];
        held += 8;
        for (; held >= 5; held -= 5)
            *out++ = alphabet[bits >> (held - 5) & 31];
    }
    if (held > 0)
        *out++ = alphabet[bits << (5 - held) & 31];
    *out = '\0';
}

/* Number of bytes, or 0 when the text is not the one encoding of any. */
static size_t decode(const char *text, size_t len, uint8_t raw[RAW_MAX_BYTES])
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;
    if (len > TOKEN_LINK_MAX_BYTES)
        return 0;
    for (size_t i = 0; i < len; i++) {
        const char *at = text[i] != '\0' ? strchr(alphabet, text[i]) : NULL;
        if (at == NULL)
            return 0;
        bits = bits << 5 | (uint32_t)(at - alphabet);
        held += 5;
        if (held >= 8) {
            held -= 8;
            raw[n++] = (uint8_t)(bits >> held);
        }
    }
    bool pad_is_zero = (bits & ((1u << held) - 1)) == 0;
    return held < 5 && pad_is_zero ? n : 0;
}

static uint64_t get_id(const uint8_t *bytes, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return value;
}

static int make(const struct mac_key *mac, enum token_purpose purpose, const struct named *named, char *out)
{
    uint8_t raw[RAW_MAX_BYTES];
    size_t len = pack(named, raw);
    int rc = make_mac(mac, purpose, named, raw + len);
    if (rc < 0)
        return rc;
    encode(raw, len + MAC_BYTES, out);
    return 0;
}

static int parse(const struct mac_key *mac, enum token_purpose purpose, const char *text, size_t len,
                 struct named *named)
{
    uint8_t raw[RAW_MAX_BYTES];
    uint8_t again[RAW_MAX_BYTES];
    uint8_t expected[MAC_BYTES];
    size_t n = decode(text, len, raw);
    if (n == 0 || raw[0] >> 6 != named->format)
        return 1;
    size_t first = (size_t)(raw[0] >> 3 & 7) + 1;
    size_t second = (size_t)(raw[0] & 7) + 1;
    size_t ids = 1 + first + second + (named->format == FORMAT_LINK ? LINK_BYTES : 0);
    if (n != ids + MAC_BYTES)
        return 1;
    named->campaign = get_id(raw + 1, first);
    named->recipient = get_id(raw + 1 + first, second);
    if (named->format == FORMAT_LINK)
        named->link = (uint16_t)get_id(raw + 1 + first + second, LINK_BYTES);
    if (named->campaign > INT64_MAX || named->recipient > INT64_MAX || pack(named, again) != ids)
        return 1;
    int rc = make_mac(mac, purpose, named, expected);
    if (rc < 0)
        return rc;
    return digest_equal(expected, raw + ids, MAC_BYTES) ? 0 : 1;
}

int token_make(const struct mac_key *mac, enum token_purpose purpose, int64_t campaign_id, int64_t recipient_id,
               char out[TOKEN_MAX_BYTES + 1])
{
    assure(campaign_id >= 0 && recipient_id >= 0);
    const struct named named = {(uint64_t)campaign_id, (uint64_t)recipient_id, 0, FORMAT_PAIR};
    return make(mac, purpose, &named, out);
}

int token_make_link(const struct mac_key *mac, int64_t campaign_id, int64_t recipient_id, uint16_t link,
                    char out[TOKEN_LINK_MAX_BYTES + 1])
{
    assure(campaign_id >= 0 && recipient_id >= 0 && link > 0);
    const struct named named = {(uint64_t)campaign_id, (uint64_t)recipient_id, link, FORMAT_LINK};
    return make(mac, TOKEN_CLICK, &named, out);
}

int token_parse(const struct mac_key *mac, enum token_purpose purpose, const char *text, size_t len,
                int64_t *campaign_id, int64_t *recipient_id)
{
    struct named named = {.format = FORMAT_PAIR};
    int rc = parse(mac, purpose, text, len, &named);
    *campaign_id = rc == 0 ? (int64_t)named.campaign : 0;
    *recipient_id = rc == 0 ? (int64_t)named.recipient : 0;
    return rc;
}

int token_parse_link(const struct mac_key *mac, const char *text, size_t len, int64_t *campaign_id,
                     int64_t *recipient_id, uint16_t *link)
{
    struct named named = {.format = FORMAT_LINK};
    int rc = parse(mac, TOKEN_CLICK, text, len, &named);
    *campaign_id = rc == 0 ? (int64_t)named.campaign : 0;
    *recipient_id = rc == 0 ? (int64_t)named.recipient : 0;
    *link = rc == 0 ? named.link : 0;
    return rc;
}
