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
#define RAW_MAX_BYTES (1 + 2 * ID_MAX_BYTES + MAC_BYTES)
#define FORMAT 1u /* in the two upper bits of the first byte */

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static const char *const purposes[TOKEN_PURPOSE_COUNT] = {
    [TOKEN_UNSUBSCRIBE] = "posthaste unsubscribe",
    [TOKEN_RETURN_PATH] = "posthaste return-path",
    [TOKEN_MESSAGE_ID] = "posthaste message-id",
};

static void put_u64(uint8_t out[8], uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

static int make_mac(const struct mac_key *mac, enum token_purpose purpose, int64_t campaign_id, int64_t recipient_id,
                    uint8_t out[MAC_BYTES])
{
    uint8_t input[64];
    uint8_t full[32];
    size_t len = strlen(purposes[purpose]) + 1;
    assure(len + 16 <= sizeof(input));
    memcpy(input, purposes[purpose], len);
    put_u64(input + len, (uint64_t)campaign_id);
    put_u64(input + len + 8, (uint64_t)recipient_id);
    if (mac_sha256(mac, input, len + 16, full) < 0)
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
static size_t pack(uint64_t campaign_id, uint64_t recipient_id, uint8_t raw[RAW_MAX_BYTES])
{
    uint8_t full[8];
    size_t first = width_of(campaign_id);
    size_t second = width_of(recipient_id);
    raw[0] = (uint8_t)(FORMAT << 6 | (first - 1) << 3 | (second - 1));
    put_u64(full, campaign_id);
    memcpy(raw + 1, full + 8 - first, first);
    put_u64(full, recipient_id);
    memcpy(raw + 1 + first, full + 8 - second, second);
    return 1 + first + second;
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
    if (len > TOKEN_MAX_BYTES)
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

int token_make(const struct mac_key *mac, enum token_purpose purpose, int64_t campaign_id, int64_t recipient_id,
               char out[TOKEN_MAX_BYTES + 1])
{
    assure(campaign_id >= 0 && recipient_id >= 0);
    uint8_t raw[RAW_MAX_BYTES];
    size_t len = pack((uint64_t)campaign_id, (uint64_t)recipient_id, raw);
    int rc = make_mac(mac, purpose, campaign_id, recipient_id, raw + len);
    if (rc < 0)
        return rc;
    encode(raw, len + MAC_BYTES, out);
    return 0;
}

int token_parse(const struct mac_key *mac, enum token_purpose purpose, const char *text, size_t len,
                int64_t *campaign_id, int64_t *recipient_id)
{
    uint8_t raw[RAW_MAX_BYTES];
    uint8_t again[RAW_MAX_BYTES];
    uint8_t expected[MAC_BYTES];
    *campaign_id = *recipient_id = 0;
    size_t n = decode(text, len, raw);
    if (n == 0 || raw[0] >> 6 != FORMAT)
        return 1;
    size_t first = (size_t)(raw[0] >> 3 & 7) + 1;
    size_t second = (size_t)(raw[0] & 7) + 1;
    if (n != 1 + first + second + MAC_BYTES)
        return 1;
    uint64_t campaign = get_id(raw + 1, first);
    uint64_t recipient = get_id(raw + 1 + first, second);
    if (campaign > INT64_MAX || recipient > INT64_MAX || pack(campaign, recipient, again) != 1 + first + second)
        return 1;
    int rc = make_mac(mac, purpose, (int64_t)campaign, (int64_t)recipient, expected);
    if (rc < 0)
        return rc;
    if (!digest_equal(expected, raw + 1 + first + second, MAC_BYTES))
        return 1;
    *campaign_id = (int64_t)campaign;
    *recipient_id = (int64_t)recipient;
    return 0;
}
