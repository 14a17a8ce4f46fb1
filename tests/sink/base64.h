/*
 * Base64 (RFC 4648 section 4) as AUTH has it: padded, no line ends, nothing else between. The reader is strict, since
 * it judges a client.
 */
#ifndef TESTS_SINK_BASE64_H
#define TESTS_SINK_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/sink/text.h"

/* Appends the encoded bytes. */
void base64_encode(struct text *out, const char *bytes, size_t length);

/* Appends what `encoded` stands for. False: it is not base64; `out` may then hold a part of it. */
bool base64_decode(struct text *out, const char *encoded, size_t length);

#endif
