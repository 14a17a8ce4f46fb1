/*
 * mime.h - quoted-printable (RFC 2045 section 6.7), and text parts whose unchanging lines are encoded ahead. Private to
 * the room.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_MIME_H
#define POSTHASTE_CAMPAIGN_MESSAGE_MIME_H

#include "campaign/message/template.h"

/*
 * A running encoder of text. Whatever the line ends of the input (CRLF, LF, CR), the output has CRLF. No output line is
 * longer than 76 characters, none ends in white space, none begins with a dot. NUL is left out. Only the position in
 * the current line is state, so a line that begins and ends within one call encodes the same everywhere.
 */
struct qp {
    struct buffer *out;
    unsigned column; /* characters in the current output line */
    bool after_cr;   /* the last input byte was a CR: a following LF belongs to it */
};

#define QP_INIT(buffer) ((struct qp){.out = (buffer)})

void qp_write(struct qp *qp, const char *text, size_t len);
void qp_end(struct qp *qp); /* ends the last line, if it has begun */

/* One text part of a message, compiled. It is quoted-printable, or base64 where the template's own text makes that the
 * shorter one: in the scripts that have no Latin letters. */
struct part;
/* Takes the template over (freed with the part, or on failure). 0 or -ENOMEM. */
int part_create(struct template *template, enum template_escape escape, struct part **out) ATTR_MUSTCHECK;
void part_free(struct part *part);
const struct template *part_template(const struct part *part);
const char *part_encoding(const struct part *part); /* of Content-Transfer-Encoding */
/* Appends the rendered, encoded part. -E2BIG when the rendering passes `max_bytes`; -ENOMEM; or as template_next(). */
int part_render(const struct part *part, const struct template_values *values, size_t max_bytes, struct buffer *out,
                unsigned *missing) ATTR_MUSTCHECK;

#endif
