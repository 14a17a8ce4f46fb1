/*
 * mx_address.c - the table of addresses that no MX may lead to, after the IANA special-purpose registries (RFC 6890).
 *
 * The documentation blocks are left out: they are unreachable, not dangerous. IPv6 forms that carry an IPv4 address
 * (mapped, compatible, NAT64, 6to4) are judged by what they carry; a host behind NAT64 sees every IPv4 mail server so.
 */
#include "engine/net/mx_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

struct block {
    uint8_t bytes[16];
    uint8_t bits;
    enum mx_address_kind kind;
};

static const struct block v4_blocks[] = {
    {{0}, 8, MX_ADDRESS_PRIVATE},          /* this network; connect() takes 0.0.0.0 for loopback */
    {{10}, 8, MX_ADDRESS_PRIVATE},         /* RFC 1918 */
    {{100, 64}, 10, MX_ADDRESS_PRIVATE},   /* RFC 6598 shared */
    {{127}, 8, MX_ADDRESS_PRIVATE},        /* loopback */
    {{169, 254}, 16, MX_ADDRESS_PRIVATE},  /* link-local, cloud metadata */
    {{172, 16}, 12, MX_ADDRESS_PRIVATE},   /* RFC 1918 */
    {{192, 0, 0}, 24, MX_ADDRESS_PRIVATE}, /* IETF protocol assignments */
    {{192, 168}, 16, MX_ADDRESS_PRIVATE},  /* RFC 1918 */
    {{198, 18}, 15, MX_ADDRESS_PRIVATE},   /* RFC 2544 benchmark networks */
    {{224}, 4, MX_ADDRESS_NEVER},          /* multicast */
    {{240}, 4, MX_ADDRESS_NEVER},          /* reserved, broadcast */
};

static const struct block v6_blocks[] = {
    {{0x00, 0x64, 0xff, 0x9b, 0, 1}, 48, MX_ADDRESS_PRIVATE}, /* RFC 8215 local-use NAT64 */
    {{0x01, 0}, 64, MX_ADDRESS_NEVER},                        /* RFC 6666 discard */
    {{0xfc}, 7, MX_ADDRESS_PRIVATE},                          /* RFC 4193 unique local */
    {{0xfe, 0x80}, 10, MX_ADDRESS_PRIVATE},                   /* link-local */
    {{0xfe, 0xc0}, 10, MX_ADDRESS_PRIVATE},                   /* RFC 3879 site-local */
    {{0xff}, 8, MX_ADDRESS_NEVER},                            /* multicast */
};

/* Where IPv6 carries IPv4: the prefix, and at which byte the four bytes are. */
static const struct {
    uint8_t bytes[16];
    uint8_t bits, at;
} carriers[] = {
    {{0}, 96, 12},                                        /* compatible; ::1 and :: fall into 0/8 */
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, 12}, /* mapped */
    {{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, 12},       /* RFC 2765 translated */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12},                   /* RFC 6052 NAT64 */
    {{0x20, 0x02}, 16, 2},                                /* RFC 3056 6to4 */
};

static bool in_block(const uint8_t *address, const uint8_t *block, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(address, block, whole) != 0)
        return false;
    return rest == 0 || ((address[whole] ^ block[whole]) >> (8 - rest)) == 0;
}

static enum mx_address_kind kind_in(const uint8_t *address, const struct block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (in_block(address, blocks[i].bytes, blocks[i].bits))
            return blocks[i].kind;
    return MX_ADDRESS_PUBLIC;
}

enum mx_address_kind mx_address_kind(const struct mx_address *address)
{
    if (!address->v6)
        return kind_in(address->bytes, v4_blocks, countof(v4_blocks));
    /* A mapped address would reach its IPv4 self past every comparison with addresses of our own: never public. */
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    for (size_t i = 0; i < countof(carriers); i++) {
        if (!in_block(address->bytes, carriers[i].bytes, carriers[i].bits))
            continue;
        enum mx_address_kind kind = kind_in(address->bytes + carriers[i].at, v4_blocks, countof(v4_blocks));
        bool is_mapped = memcmp(address->bytes, mapped, sizeof mapped) == 0;
        return kind == MX_ADDRESS_PUBLIC && is_mapped ? MX_ADDRESS_PRIVATE : kind;
    }
    return kind_in(address->bytes, v6_blocks, countof(v6_blocks));
}

int mx_address_from_rdata(const void *data, int len, bool v6, struct mx_address *out)
{
    if (len != (v6 ? 16 : 4))
        return -EINVAL;
    *out = (struct mx_address){.v6 = v6};
    memcpy(out->bytes, data, (size_t)len);
    return 0;
}

int mx_address_parse(const char *text, struct mx_address *out)
{
    bool v6 = strchr(text, ':') != NULL;
    *out = (struct mx_address){.v6 = v6};
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, out->bytes) == 1 ? 0 : -EINVAL;
}

bool mx_address_equal(const struct mx_address *a, const struct mx_address *b)
{
    return a->v6 == b->v6 && memcmp(a->bytes, b->bytes, a->v6 ? 16 : 4) == 0;
}

const char *mx_address_text(const struct mx_address *address, char out[MX_ADDRESS_TEXT_BYTES])
{
    assure(inet_ntop(address->v6 ? AF_INET6 : AF_INET, address->bytes, out, MX_ADDRESS_TEXT_BYTES) != NULL);
    return out;
}

void mx_address_socket(const struct mx_address *address, uint16_t port, struct stream_address *out)
{
    *out = (struct stream_address){0};
    if (address->v6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&in6.sin6_addr, address->bytes, 16);
        memcpy(&out->storage, &in6, sizeof in6);
        out->len = sizeof in6;
    } else {
        struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&in4.sin_addr, address->bytes, 4);
        memcpy(&out->storage, &in4, sizeof in4);
        out->len = sizeof in4;
    }
}
