/*
 * The service extensions that EHLO may list, each once: name for the command line and EHLO, bit for the session.
 * STARTTLS and AUTH need a certificate and an account besides; main takes them out of the set where they have none.
 */
#ifndef TESTS_SINK_EXTENSIONS_H
#define TESTS_SINK_EXTENSIONS_H

#define EXTENSION_MAP(X)                                                                                               \
    X(PIPELINING, 0)          /* RFC 2920 */                                                                           \
    X(8BITMIME, 1)            /* RFC 6152 */                                                                           \
    X(SMTPUTF8, 2)            /* RFC 6531 */                                                                           \
    X(SIZE, 3)                /* RFC 1870 */                                                                           \
    X(ENHANCEDSTATUSCODES, 4) /* RFC 2034 */                                                                           \
    X(CHUNKING, 5)            /* RFC 3030 */                                                                           \
    X(DSN, 6)                 /* RFC 3461 */                                                                           \
    X(STARTTLS, 7)            /* RFC 3207 */                                                                           \
    X(AUTH, 8)                /* RFC 4954 */                                                                           \
    X(EHLO, 9)                /* not an extension: withheld, EHLO itself is answered with 502 */

enum extension {
#define X(name, bit) EXTENSION_##name = 1 << (bit),
    EXTENSION_MAP(X)
#undef X
        EXTENSION_ALL = (1 << 10) - 1
};

#endif
