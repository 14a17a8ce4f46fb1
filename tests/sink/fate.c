/* The share hash; its definition is in the header. It keeps no state and cannot fail. */
#include "tests/sink/fate.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t fnv_add(uint64_t hash, unsigned char byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

uint64_t fate_hash(uint64_t seed, const char *address, size_t length)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char prefix[24];

    (void)snprintf(prefix, sizeof(prefix), "%" PRIu64 ":", seed);
    for (const char *at = prefix; *at != '\0'; at++)
        hash = fnv_add(hash, (unsigned char)*at);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)address[i];

        hash = fnv_add(hash, byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + 32) : byte);
    }
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 33;
    hash *= UINT64_C(0xc4ceb9fe1a85ec53);
    hash ^= hash >> 33;
    return hash;
}

double fate_of(uint64_t seed, const char *address, size_t length)
{
    return (double)(fate_hash(seed, address, length) >> 11) / 9007199254740992.0;
}
