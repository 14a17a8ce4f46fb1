/*
 * mx_name.h - host names out of MX records: from wire format to text that may be shown, logged, looked up and compared;
 * the key of a site; profile suffixes.
 *
 * A name is lower case, without the final dot, of labels of letters, digits, hyphens and underscores (hosts with
 * underscores exist and get mail), the last label not all digits (an address in the place of a name, which RFC 5321
 * section 5.1 forbids). So it holds no byte that means something elsewhere.
 */
#ifndef POSTHASTE_ENGINE_NET_MX_NAME_H
#define POSTHASTE_ENGINE_NET_MX_NAME_H

#include <stdbool.h>

#include "base/buffer.h"

#define MX_NAME_BYTES 254 /* longest name (RFC 1035 section 2.3.4) as text, with NUL */

enum mx_name_result { MX_NAME_OK, MX_NAME_ROOT, MX_NAME_BAD };

/* Reads an uncompressed name that fills exactly `len` bytes. MX_NAME_ROOT is "." (the null MX of RFC 7505); `out` is ""
 * unless OK. */
enum mx_name_result mx_name_from_wire(const void *wire, size_t len, char out[MX_NAME_BYTES]);

/*
 * Appends the key of the site that these hosts make: the names sorted, what they end with in common written once,
 * "(alt1.aspmx|alt2.aspmx|aspmx).l.google.com". Equal sets have equal keys, whatever their order; different sets have
 * different ones. More than `spell_max` names are not spelled out but counted, with a digest: "(500 hosts
 * 0123…).example.com". Names are sorted and without duplicates, count >= 1. `out` is marked failed without memory.
 */
void mx_site_key(const char *const *names, size_t count, size_t spell_max, struct buffer *out);

/* ".google.com" matches all names below google.com, "mx.example.com" only itself. Case does not matter. */
bool mx_name_matches(const char *name, const char *pattern);

#endif
