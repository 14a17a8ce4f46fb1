/*
 * mime.c - the quoted-printable encoder, and parts that are encoded ahead where that is exact.
 *
 * A soft line break depends on the position in the output line only, and a line of a text that holds no tag starts at
 * position 0 and ends with a line end; so its encoding is the same for every recipient, in a section or a partial too.
 * Such lines are encoded when the part is made and copied afterwards. Only lines that hold a tag go through the encoder
 * for each recipient.
 *
 * White space at the end of a line must be encoded (RFC 2045 section 6.7 rule 3): it is written plain and put right
 * when the line ends, which spares looking ahead across the pieces. A dot at the beginning of a line is encoded, for
 * receivers that are careless with SMTP's dot-stuffing.
 */
#include "campaign/message/mime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "campaign/message/base64.h"
#include "campaign/message/html.h"

#define LINE_BYTES 75u /* and "=" of a soft line break makes 76 */
#define CHUNK_BYTES ((size_t)4096)

enum { OTHER, LITERAL };
/* Space and tab are literal; the end of the line looks back at them. */
static const uint8_t kinds[256] = {
    ['\t'] = LITERAL,
    [' ' ... '<'] = LITERAL,
    ['>' ... '~'] = LITERAL,
};

static const char hex[] = "0123456789ABCDEF";

static char *put_soft_break(struct qp *qp, char *to)
{
    memcpy(to, "=\r\n", 3);
    qp->column = 0;
    return to + 3;
}

static char *put_encoded(struct qp *qp, char *to, uint8_t c)
{
    if (qp->column + 3 > LINE_BYTES)
        to = put_soft_break(qp, to);
    to[0] = '=';
    to[1] = hex[c >> 4];
    to[2] = hex[c & 15];
    qp->column += 3;
    return to + 3;
}

static char *put_line_end(struct qp *qp, char *to)
{
    if (qp->column > 0 && (to[-1] == ' ' || to[-1] == '\t')) {
        uint8_t last = (uint8_t)to[-1];
        qp->column--;
        to = put_encoded(qp, to - 1, last);
    }
    to[0] = '\r';
    to[1] = '\n';
    qp->column = 0;
    return to + 2;
}

/* At most CHUNK_BYTES; room for the worst case is reserved. */
static char *encode_chunk(struct qp *qp, const uint8_t *p, const uint8_t *end, char *to)
{
    while (p < end) {
        if (kinds[*p] == LITERAL && (*p != '.' || qp->column > 0)) {
            size_t room = MIN_OF((size_t)(LINE_BYTES - qp->column), (size_t)(end - p));
            if (room == 0) {
                to = put_soft_break(qp, to);
                continue;
            }
            size_t n = 1;
            to[0] = (char)p[0];
            for (; n < room && kinds[p[n]] == LITERAL; n++)
                to[n] = (char)p[n];
            to += n;
            p += n;
            qp->column += (unsigned)n;
            qp->after_cr = false;
            continue;
        }
        uint8_t c = *p++;
        if (c == '\n' && qp->after_cr)
            qp->after_cr = false;
        else if (c == '\n' || c == '\r')
            to = put_line_end(qp, to);
        else if (c != '\0')
            to = put_encoded(qp, to, c);
        qp->after_cr = c == '\r';
    }
    return to;
}

void qp_write(struct qp *qp, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    while (len > 0) {
        size_t chunk = MIN_OF(len, CHUNK_BYTES);
        /* Three bytes for each, a soft break at most every 24 of them, and one encoded space more. */
        if (buffer_reserve(qp->out, chunk * 4 + 16) < 0)
            return;
        char *to = encode_chunk(qp, p, p + chunk, qp->out->data + qp->out->len);
        qp->out->len = (size_t)(to - qp->out->data);
        *to = '\0';
        p += chunk;
        len -= chunk;
    }
}

void qp_end(struct qp *qp)
{
    if (qp->column > 0)
        qp_write(qp, "\n", 1);
    qp->after_cr = false;
}

/* A text node, cut in three: what belongs to the line of the tag before, whole lines (encoded), and what belongs to the
 * line of the next tag. */
struct stretch {
    size_t first, lines; /* bytes of the text; the rest is the third */
    size_t start, len;   /* of the lines in part->encoded */
};

struct part {
    struct template *template;
    enum template_escape escape;
    bool base64;
    struct buffer encoded;     /* quoted-printable only: base64 has no lines of its own */
    struct stretch *stretches; /* one for each node */
};

static void cut_text(struct part *part, const struct template_node *node, bool at_line_start, struct stretch *stretch)
{
    const char *end = node->text + node->len;
    const char *lines = node->text;
    if (!at_line_start) {
        const char *lf = memchr(lines, '\n', node->len);
        lines = lf != NULL ? lf + 1 : end;
        stretch->first = (size_t)(lines - node->text);
    }
    const char *last = lines < end ? memrchr(lines, '\n', (size_t)(end - lines)) : NULL;
    if (last == NULL)
        return;
    struct qp qp = QP_INIT(&part->encoded);
    stretch->start = part->encoded.len;
    stretch->lines = (size_t)(last + 1 - lines);
    qp_write(&qp, lines, stretch->lines);
    stretch->len = part->encoded.len - stretch->start;
}

/* Quoted-printable takes three bytes for one, base64 four for three. */
static bool prefers_base64(const struct template *template)
{
    size_t bytes = 0;
    size_t encoded = 0;
    for (size_t i = 0; i < template->count; i++) {
        const struct template_node *node = &template->nodes[i];
        if (node->kind != NODE_TEXT)
            continue;
        bytes += node->len;
        for (size_t at = 0; at < node->len; at++)
            encoded += (uint8_t)node->text[at] >= 0x80;
    }
    return bytes + 2 * encoded > bytes / 3 * 4 + 4;
}

int part_create(struct template *template, enum template_escape escape, struct part **out)
{
    *out = NULL;
    struct part *part = calloc(1, sizeof(*part));
    if (part == NULL) {
        template_free(template);
        return -ENOMEM;
    }
    part->template = template;
    part->escape = escape;
    part->stretches = calloc(template->count, sizeof(*part->stretches));
    if (part->stretches == NULL) {
        part_free(part);
        return -ENOMEM;
    }
    part->base64 = prefers_base64(template);
    /* Only the very first node is known to begin a line; behind a tag, or in a partial, it depends. */
    for (size_t i = 0; i < template->count && !part->base64; i++)
        if (template->nodes[i].kind == NODE_TEXT)
            cut_text(part, &template->nodes[i], i == 0, &part->stretches[i]);
    if (part->encoded.failed) {
        part_free(part);
        return -ENOMEM;
    }
    *out = part;
    return 0;
}

void part_free(struct part *part)
{
    if (part == NULL)
        return;
    template_free(part->template);
    buffer_finish(&part->encoded);
    free(part->stretches);
    free(part);
}

const struct template *part_template(const struct part *part)
{
    return part->template;
}

const char *part_encoding(const struct part *part)
{
    return part->base64 ? "base64" : "quoted-printable";
}

/* The one or the other. */
struct encoder {
    const struct part *part;
    struct qp qp;
    struct base64 base64;
};

static void encode(struct encoder *encoder, const char *text, size_t len)
{
    if (encoder->part->base64)
        base64_write(&encoder->base64, text, len);
    else
        qp_write(&encoder->qp, text, len);
}

static size_t write_html(struct encoder *encoder, const char *text, size_t len)
{
    size_t written = 0;
    for (size_t at = 0; at < len; at++) {
        size_t run = html_clean_run(text + at, len - at);
        encode(encoder, text + at, run);
        at += run;
        written += run;
        if (at == len)
            break;
        const char *entity = html_entity(text[at]);
        size_t entity_len = strlen(entity);
        encode(encoder, entity, entity_len);
        written += entity_len;
    }
    return written;
}

static void write_text(struct encoder *encoder, const struct template_node *node)
{
    const struct part *part = encoder->part;
    const struct stretch *stretch = &part->stretches[node - part->template->nodes];
    size_t done = stretch->first + stretch->lines;
    if (part->base64) {
        base64_write(&encoder->base64, node->text, node->len);
        return;
    }
    qp_write(&encoder->qp, node->text, stretch->first);
    /* The text before these lines ended with LF, so the encoder stands at the beginning of a line. */
    if (stretch->len > 0)
        buffer_append(encoder->qp.out, part->encoded.data + stretch->start, stretch->len);
    qp_write(&encoder->qp, node->text + done, node->len - done);
}

/* As part_render(); the last line is not ended. */
static int write_nodes(struct encoder *encoder, const struct template_values *values, size_t max_bytes,
                       unsigned *missing)
{
    const struct part *part = encoder->part;
    struct template_walk walk;
    struct template_step step;
    size_t rendered = 0;
    int rc;
    template_begin(&walk, part->template, values);
    while ((rc = template_next(&walk, &step)) > 0) {
        if (step.missing)
            (*missing)++;
        if (step.node->kind == NODE_TEXT) {
            write_text(encoder, step.node);
            rendered += step.len;
        } else if (part->escape == TEMPLATE_HTML && !step.node->raw) {
            rendered += write_html(encoder, step.text, step.len);
        } else {
            encode(encoder, step.text, step.len);
            rendered += step.len;
        }
        if (rendered > max_bytes)
            return -E2BIG;
        if (encoder->qp.out->failed)
            return -ENOMEM;
    }
    return rc;
}

int part_render(const struct part *part, const struct template_values *values, size_t max_bytes, struct buffer *out,
                unsigned *missing)
{
    struct encoder encoder = {.part = part, .qp = QP_INIT(out)};
    base64_begin(&encoder.base64, out, true);
    int rc = write_nodes(&encoder, values, max_bytes, missing);
    if (rc < 0)
        return rc;
    qp_end(&encoder.qp);
    base64_end(&encoder.base64);
    return out->failed ? -ENOMEM : 0;
}
