/*
 * inet.c - the table of addresses that no stranger may lead us to, after the IANA special-purpose registries (RFC
 * 6890).
 *
 * The documentation blocks are left out: they are unreachable, not dangerous. IPv6 forms that carry an IPv4 address
 * (mapped, compatible, NAT64, 6to4) are judged by what they carry; a host behind NAT64 sees every IPv4 server so.
 */
#include "base/inet.h"

#include <string.h>

struct block {
    uint8_t bytes[16];
    uint8_t bits;
    enum inet_kind kind;
};

static const struct block v4_blocks[] = {
    {{0}, 8, INET_PRIVATE},          /* this network; connect() takes 0.0.0.0 for loopback */
    {{10}, 8, INET_PRIVATE},         /* RFC 1918 */
    {{100, 64}, 10, INET_PRIVATE},   /* RFC 6598 shared */
    {{127}, 8, INET_PRIVATE},        /* loopback */
    {{169, 254}, 16, INET_PRIVATE},  /* link-local, cloud metadata */
    {{172, 16}, 12, INET_PRIVATE},   /* RFC 1918 */
    {{192, 0, 0}, 24, INET_PRIVATE}, /* IETF protocol assignments */
    {{192, 168}, 16, INET_PRIVATE},  /* RFC 1918 */
    {{198, 18}, 15, INET_PRIVATE},   /* RFC 2544 benchmark networks */
    {{224}, 4, INET_NEVER},          /* multicast */
    {{240}, 4, INET_NEVER},          /* reserved, broadcast */
};

static const struct block v6_blocks[] = {
    {{0x00, 0x64, 0xff, 0x9b, 0, 1}, 48, INET_PRIVATE}, /* RFC 8215 local-use NAT64 */
    {{0x01, 0}, 64, INET_NEVER},                        /* RFC 6666 discard */
    {{0xfc}, 7, INET_PRIVATE},                          /* RFC 4193 unique local */
    {{0xfe, 0x80}, 10, INET_PRIVATE},                   /* link-local */
    {{0xfe, 0xc0}, 10, INET_PRIVATE},                   /* RFC 3879 site-local */
    {{0xff}, 8, INET_NEVER},                            /* multicast */
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

static enum inet_kind kind_in(const uint8_t *address, const struct block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (in_block(address, blocks[i].bytes, blocks[i].bits))
            return blocks[i].kind;
    return INET_PUBLIC;
}

enum inet_kind inet_kind(const void *address, bool v6)
{
    const uint8_t *bytes = address;
    if (!v6)
        return kind_in(bytes, v4_blocks, countof(v4_blocks));
    /* A mapped address would reach its IPv4 self past every comparison with addresses of our own: never public. */
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    for (size_t i = 0; i < countof(carriers); i++) {
        if (!in_block(bytes, carriers[i].bytes, carriers[i].bits))
            continue;
        enum inet_kind kind = kind_in(bytes + carriers[i].at, v4_blocks, countof(v4_blocks));
        bool is_mapped = memcmp(bytes, mapped, sizeof mapped) == 0;
        return kind == INET_PUBLIC && is_mapped ? INET_PRIVATE : kind;
    }
    return kind_in(bytes, v6_blocks, countof(v6_blocks));
}
