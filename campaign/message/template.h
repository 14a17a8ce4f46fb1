/*
 * template.h - Mustache interpolation: a text with tags, compiled once, rendered per recipient. Private to the room.
 *
 * Tags: {{name}} (escaped as the place demands), {{{name}}} and {{&name}} (never escaped as HTML), {{! comment }}. A
 * name may hold dots, which walk nested objects; a member whose own name holds the dots goes first. Sections, partials
 * and other delimiters are refused by name. Values come from the recipient's attributes and from a few built-in names,
 * which no attribute can shadow.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_TEMPLATE_H
#define POSTHASTE_CAMPAIGN_MESSAGE_TEMPLATE_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/error.h"

#define TEMPLATE_TAGS_MAX 10000
#define TEMPLATE_NAME_MAX_BYTES 128

enum template_escape { TEMPLATE_PLAIN, TEMPLATE_HTML };

enum template_node_kind { NODE_TEXT, NODE_VALUE };

enum template_builtin {
    BUILTIN_NONE,
    BUILTIN_CAMPAIGN_NAME,
    BUILTIN_RECIPIENT_EMAIL,
    BUILTIN_UNSUBSCRIBE_URL,
    BUILTIN_TODAY,
    BUILTIN_COUNT
};

struct template_node {
    enum template_node_kind kind;
    uint32_t line, column; /* of the tag's first brace, 1-based; column in characters */
    const char *text;      /* TEXT: the bytes; VALUE: the name, terminated */
    size_t len;
    bool raw; /* VALUE: {{{name}}} or {{&name}} */
    enum template_builtin builtin;
    enum template_builtin fallback; /* for want of an attribute: {{email}} is the recipient's address */
};

struct template
{
    struct template_node *nodes;
    size_t count;
    bool uses_values;     /* has a VALUE node */
    bool uses_attributes; /* has one that is not built in */
    char *storage;        /* what the nodes point into */
};

/* What the values are taken from. */
struct template_values {
    const json_t *attributes;            /* object, or NULL */
    const char *builtins[BUILTIN_COUNT]; /* NULL = empty */
};

/* 0; -EINVAL: "line 3, column 7: …"; -ENOMEM. The text is copied; it must be valid UTF-8. Line ends become LF. */
int template_compile(const char *text, size_t len, struct template **out, struct error *err) ATTR_MUSTCHECK;
/* The text/plain counterpart of an HTML template: markup taken away, tags kept in their places. */
int template_text_from_html(const struct template *html, struct template **out, struct error *err) ATTR_MUSTCHECK;
void template_free(struct template *template);

/*
 * The value of a VALUE node as text: `*text` points into the attributes or into `scratch`. Returns false when there is
 * none (absent, null, or an object or array); then the text is empty. Strings may hold any character, NUL too.
 */
#define TEMPLATE_SCRATCH_BYTES 64
bool template_value(const struct template_node *node, const struct template_values *values,
                    char scratch[TEMPLATE_SCRATCH_BYTES], const char **text, size_t *len);

/* Renders the whole; adds to *missing per tag without a value. The output is bounded by out->limit_bytes (out->failed).
 */
void template_render(const struct template *template, const struct template_values *values, enum template_escape escape,
                     struct buffer *out, unsigned *missing);

#endif
