/*
 * attributes.h - the text of a recipient's attributes: one JSON object (RFC 8259), built field by field.
 *
 * This is the hot loop of an import, so it writes text; it does not build a tree.
 */
#ifndef POSTHASTE_CAMPAIGN_AUDIENCE_ATTRIBUTES_H
#define POSTHASTE_CAMPAIGN_AUDIENCE_ATTRIBUTES_H

#include "base/buffer.h"

/* One recipient's attributes are at most this long, as JSON text. */
#define ATTRIBUTES_MAX_BYTES ((size_t)64 << 10)
/* And a name of one at most this long. */
#define ATTRIBUTE_NAME_MAX_BYTES 128

/*
 * Appends `text` as a JSON string, quotes included. Returns NULL, or why it cannot be one ("is not valid UTF-8", "holds
 * a NUL byte"); then the buffer's content is undefined. A failed buffer is seen by the caller.
 */
const char *attributes_append_string(struct buffer *out, const char *text, size_t len) ATTR_MUSTCHECK;

/* NULL, or why this cannot be the name of an attribute ("is longer than ...", "holds a control character", ...). */
const char *attributes_check_name(const char *name, size_t len) ATTR_MUSTCHECK;

#endif
