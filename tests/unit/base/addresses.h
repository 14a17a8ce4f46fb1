/* addresses.h - addresses that are taken, with their normal forms: what the reader takes the composer has to take. */
#ifndef POSTHASTE_TESTS_UNIT_BASE_ADDRESSES_H
#define POSTHASTE_TESTS_UNIT_BASE_ADDRESSES_H

#include <stdbool.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L63 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define L59 "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static const struct {
    const char *in, *out;
    bool utf8;
} good_addresses[] = {
    {"ann@example.com", "ann@example.com", false},
    {"Ann.LEE+Tag@Example.COM", "ann.lee+tag@example.com", false},
    {"  ann@example.com \t\r\n", "ann@example.com", false},
    {"!#$%&'*+-/?=^_`{|}~@example.com", "!#$%&'*+-/?=^_`{|}~@example.com", false},
    {"a@b.c", "a@b.c", false},
    {"1@2.x3", "1@2.x3", false},
    {"\"john\"@example.com", "john@example.com", false},
    {"\"John\\.Doe\"@example.com", "john.doe@example.com", false},
    {A64 "@example.com", A64 "@example.com", false},
    {"a@" L63 ".com", "a@" L63 ".com", false},
    {"a@" L63 "." L63 "." L63 "." L59 "c", "a@" L63 "." L63 "." L63 "." L59 "c", false}, /* 254 in all */
    {"a@r3---sn-abc.example", "a@r3---sn-abc.example", false},
    {"a@b\xc3\xbc"
     "cher.example",
     "a@xn--bcher-kva.example", false},
    {"a@B\xc3\x9c"
     "CHER.Example",
     "a@xn--bcher-kva.example", false},
    {"a@bu\xcc\x88"
     "cher.example",
     "a@xn--bcher-kva.example", false}, /* u and a combining diaeresis */
    {"a@xn--bcher-kva.example", "a@xn--bcher-kva.example", false},
    {"a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example", false},
    {"a@fa\xc3\x9f.de", "a@xn--fa-hia.de", false}, /* non-transitional: sharp s stays */
    {"a@\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd1\x80\xd1\x84", "a@xn--e1afmkfd.xn--p1ai", false},
    {"a@example\xe3\x80\x82"
     "com",
     "a@example.com", false}, /* ideographic full stop */
    {"gr\xc3\xbc\xc3\x9f"
     "e@example.com",
     "gr\xc3\xbc\xc3\x9f"
     "e@example.com",
     true},
    {"\xe7\x94\xa8\xe6\x88\xb7@\xe4\xbe\x8b\xe5\xad\x90.example", "\xe7\x94\xa8\xe6\x88\xb7@xn--fsqu00a.example",
     true},
    {"\xf0\x9f\x92\x8c@example.com", "\xf0\x9f\x92\x8c@example.com", true}, /* an emoji is allowed before the '@' */
};

#endif
