/*
 * template.h - Mustache: a text with tags, compiled once, rendered per recipient. Private to the room.
 *
 * The whole core of the Mustache specification: {{name}} (escaped as the place demands), {{{name}}} and {{&name}}
 * (never escaped as HTML), {{#name}}…{{/name}} and {{^name}}…{{/name}}, {{>partial}}, {{! comment }}, {{=<% %>=}}; and
 * {{name|text}}, which shows the text when there is no value or an empty one. Dots in a name walk nested objects, as
 * the specification has it: they are never part of a member's name. False are: absent, null, false, 0, "" and [].
 * Blocks and lambdas are no part of the core and are refused. Values come from the recipient's attributes and from a
 * few built-in names, which no attribute can shadow; "recipient.x" is the attribute x where it is not built in.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_TEMPLATE_H
#define POSTHASTE_CAMPAIGN_MESSAGE_TEMPLATE_H

#include <jansson.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"

#define TEMPLATE_TAGS_MAX 10000 /* of a text and its partials */
#define TEMPLATE_NAME_MAX_BYTES 128
#define TEMPLATE_OTHERWISE_MAX_BYTES 1000
#define TEMPLATE_SOURCE_MAX_BYTES ((size_t)4 << 20) /* of a text and its partials, indented */
#define TEMPLATE_SECTIONS_MAX 32                    /* open at once, in a text and while rendering */
#define TEMPLATE_CALLS_MAX 16                       /* partials one inside the other */
#define TEMPLATE_STEPS_MAX 200000                   /* nodes that one rendering goes through */

enum template_escape { TEMPLATE_PLAIN, TEMPLATE_HTML };

enum template_node_kind {
    NODE_TEXT,
    NODE_VALUE,
    NODE_SECTION,
    NODE_INVERTED,
    NODE_END, /* of a section */
    NODE_PARTIAL,
    NODE_RETURN /* the end of the text or of a partial */
};

enum template_builtin {
    BUILTIN_NONE,
    BUILTIN_CAMPAIGN_NAME,
    BUILTIN_CAMPAIGN_ID,
    BUILTIN_RECIPIENT_EMAIL,
    BUILTIN_RECIPIENT_ID,
    BUILTIN_RECIPIENT_DOMAIN,
    BUILTIN_UNSUBSCRIBE_URL,
    BUILTIN_PREFERENCES_URL,
    BUILTIN_VIEW_URL,
    BUILTIN_TODAY,
    BUILTIN_OPEN_URL, /* no tag has its name: links.c puts it in */
    BUILTIN_LINK,     /* nor this: a tracked link, `target` is its number */
    BUILTIN_COUNT
};

#define TEMPLATE_NOWHERE UINT32_MAX

struct template_node {
    enum template_node_kind kind;
    uint32_t line, column; /* of the tag's first character, 1-based, in its own text; column in characters */
    uint32_t target;       /* SECTION, INVERTED: its END; END: its beginning; PARTIAL: the first node, or NOWHERE;
                              VALUE that is a tracked link: its number */
    const char *text;      /* TEXT: the bytes; else the name, terminated */
    size_t len;
    const char *otherwise; /* VALUE: what to show for want of a value; NULL = nothing, and count it */
    size_t otherwise_len;
    bool raw; /* VALUE: {{{name}}} or {{&name}} */
    enum template_builtin builtin;
    enum template_builtin fallback; /* for want of an attribute: {{email}} is the recipient's address */
};

struct template
{
    struct template_node *nodes; /* the text, RETURN, then each partial, RETURN */
    size_t count;
    bool uses_values;     /* has any tag */
    bool uses_attributes; /* has one that is not built in */
    struct arena storage; /* what the nodes point into */
};

/* Object of names and texts; NULL = none. `strict`: a partial that is not there is an error, not empty. */
struct template_partials {
    const json_t *texts;
    bool strict;
};

/* What the values are taken from. */
struct template_values {
    const json_t *attributes;            /* an object as a rule, or NULL */
    const char *builtins[BUILTIN_COUNT]; /* NULL = empty */
    /* The address to show for a tracked link; NULL = none, the link is empty. The text lives until the next call. */
    const char *(*link)(void *context, uint32_t number);
    void *link_context;
};

/* 0; -EINVAL: "line 3, column 7: …" (in a partial: "partial \"x\", line …"); -ENOMEM. The text is copied; it must be
 * valid UTF-8. Line ends become LF. `partials` may be NULL. */
int template_compile(const char *text, size_t len, const struct template_partials *partials, struct template **out,
                     struct error *err) ATTR_MUSTCHECK;
/* The text/plain counterpart of an HTML template: markup taken away, tags kept in their places, partials put in theirs.
 * -E2BIG when that is too much; -EINVAL when a section's ends come apart; -ENOMEM. */
int template_text_from_html(const struct template *html, struct template **out, struct error *err) ATTR_MUSTCHECK;
void template_free(struct template *template);

/* ---- rendering, one step at a time ---- */

#define TEMPLATE_SCRATCH_BYTES 64

struct template_frame {
    const json_t *context, *list; /* list: NULL unless the section goes over one */
    size_t index;                 /* in list */
    uint32_t back;                /* PARTIAL: where to go on */
    bool call;                    /* a partial, not a section */
    enum template_builtin builtin;
};

struct template_walk {
    const struct template *template;
    const struct template_values *values;
    uint32_t at, steps;
    unsigned depth, sections, calls; /* depth = sections + calls */
    struct template_frame frames[TEMPLATE_SECTIONS_MAX + TEMPLATE_CALLS_MAX];
    char scratch[TEMPLATE_SCRATCH_BYTES];
};

struct template_step {
    const struct template_node *node; /* TEXT or VALUE; of an error: where it is */
    const char *text;                 /* until the next step. A value may hold any character, NUL too */
    size_t len;
    bool missing; /* a VALUE that is absent, null, an object or an array: the text is empty */
};

void template_begin(struct template_walk *walk, const struct template *template, const struct template_values *values);
/* 1 = a step; 0 = the end; -ELOOP = sections or partials nest too deep; -ETIME = too many steps. */
int template_next(struct template_walk *walk, struct template_step *step) ATTR_MUSTCHECK;
/* A sentence for a negative of template_next() and of template_render(); other codes are a matter of memory. */
int template_failure(int rc, struct error *err);

/* Renders the whole; adds to *missing per tag without a value. As template_next(), and -E2BIG when the output passes
 * out->limit_bytes or memory (out->failed). */
int template_render(const struct template *template, const struct template_values *values, enum template_escape escape,
                    struct buffer *out, unsigned *missing) ATTR_MUSTCHECK;

#endif
