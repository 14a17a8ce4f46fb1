/*
 * header.h - the one place that writes header fields (RFC 5322 section 2.2, RFC 2047). Private to the room.
 *
 * Whatever a value holds, exactly one field comes out: control characters and line separators become spaces, other text
 * than printable ASCII becomes encoded words, and so does text that looks like an encoded word, so that nothing is
 * decoded that we did not encode. Lines are folded to 78 characters where a space allows, and are never longer than
 * 998.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_HEADER_H
#define POSTHASTE_CAMPAIGN_MESSAGE_HEADER_H

#include "base/buffer.h"

#define HEADER_VALUE_MAX_BYTES 2000 /* longer text is cut at a character */

/* "Name: text": unstructured (Subject and the like). */
void header_text(struct buffer *out, const char *name, const char *text, size_t len);
/* "Name: Display Name <address>"; display may be "". The address is in the normal form of base/address.h and is written
 * as it stands. */
void header_mailbox(struct buffer *out, const char *name, const char *display, const char *address);
/* "Name: Display Name <id>" for List-Id: the same form, the angle brackets always. */
void header_phrase_id(struct buffer *out, const char *name, const char *display, const char *id);
/* "Name: value" for a value that we made ourselves: printable ASCII, bounded; asserted. */
void header_raw(struct buffer *out, const char *name, const char *value);
/* "Content-Disposition: kind; filename=…" (RFC 2183); a name that needs it in the segments of RFC 2231. */
void header_disposition(struct buffer *out, const char *kind, const char *filename);

/* True when the address may stand in a header and in a command as it is: dot-atom or UTF-8 local part, ASCII domain, no
 * control, separator or quote; at most 254 octets. *utf8: has non-ASCII. */
bool header_address_valid(const char *address, bool *utf8);
/* RFC 5322 field-name: printable ASCII without colon, 1 to 76 characters. */
bool header_name_valid(const char *name);
/* Fields that the program writes itself, or that would change how the message is read: "Subject", "Content-…",
 * "Received" … */
bool header_name_protected(const char *name);

#endif
