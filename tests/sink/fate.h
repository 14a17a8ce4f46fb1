/*
 * A recipient's fate: a fraction in [0, 1) that depends on nothing but the script's seed and the address.
 *
 * A test computes the same number on its side and so knows beforehand who is going to be refused. The definition, for
 * any language:
 *
 *     h = FNV-1a 64 over the bytes "<seed>:<address>", seed in decimal, ASCII letters of the address in lower case
 *         (offset basis 0xcbf29ce484222325, prime 0x100000001b3)
 *     h ^= h >> 33; h *= 0xff51afd7ed558ccd; h ^= h >> 33; h *= 0xc4ceb9fe1a85ec53; h ^= h >> 33     (all modulo 2^64)
 *     fate = (h >> 11) / 2^53
 *
 * The second line is the finaliser of MurmurHash3. It is needed because the last bytes of an address (mostly ".com" or
 * ".test") hardly reach the top bits of FNV-1a, which are the bits that decide here.
 */
#ifndef TESTS_SINK_FATE_H
#define TESTS_SINK_FATE_H

#include <stddef.h>
#include <stdint.h>

double fate_of(uint64_t seed, const char *address, size_t length);

/* The 64-bit hash behind it, before the last line; also keys the per-recipient counters. */
uint64_t fate_hash(uint64_t seed, const char *address, size_t length);

#endif
