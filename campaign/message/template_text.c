/*
 * template_text.c - the text/plain template of an HTML template.
 *
 * The HTML is written out with a mark in the place of each tag, partials in theirs; html_to_text() takes the markup
 * away and lets the marks through; what is left is cut at the marks into nodes again. A mark in text is written as a
 * comment, which may stand anywhere, between the rows of a table too; a mark in an attribute cannot be one. So the
 * writer follows the markup just far enough to know where it is; when it is led astray, a tag is lost or stands in the
 * text as well.
 *
 * A section of which only one end comes through is refused: what it encloses would be shown to everybody. A partial
 * that calls itself is followed once: the text of deeper levels is not in the text part.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#include "campaign/message/html.h"
#include "campaign/message/template.h"

/* Where in the markup the writer is. */
enum place {
    IN_TEXT,
    IN_TAG,
    IN_QUOTES,  /* of an attribute's value */
    IN_COMMENT, /* and all else that begins with "<!" or "<?" */
    IN_RAW      /* the content of a script, a style, …: ends at its end tag only */
};

struct linear {
    const struct template *html;
    struct buffer out;
    uint32_t calls[TEMPLATE_CALLS_MAX]; /* first nodes of the partials that are being written */
    size_t call_count;
    enum place place;
    char quote;      /* IN_QUOTES */
    bool assigned;   /* IN_TAG: the last character was '=', spaces aside */
    bool long_one;   /* IN_COMMENT: "<!--", which ends with "-->" */
    const char *raw; /* IN_TAG, IN_RAW: the element's name when its content is raw, else NULL */
};

static const char *raw_element(const char *name, size_t len)
{
    static const char *const raw[] = {"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"};
    for (size_t i = 0; i < countof(raw); i++)
        if (len > strlen(raw[i]) && strncasecmp(name, raw[i], strlen(raw[i])) == 0 &&
            strchr(" \t\n\f/>", name[strlen(raw[i])]) != NULL)
            return raw[i];
    return NULL;
}

static bool is_letter(char c)
{
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'z';
}

/* What the character at `p` makes of a place outside tags. */
static void leave_text(struct linear *linear, const char *p, size_t left)
{
    if (linear->place == IN_COMMENT) {
        if (*p == '>' && (!linear->long_one || (p[-1] == '-' && p[-2] == '-')))
            linear->place = IN_TEXT;
    } else if (linear->place == IN_RAW) {
        size_t len = strlen(linear->raw);
        if (*p == '<' && left > len + 2 && p[1] == '/' && strncasecmp(p + 2, linear->raw, len) == 0) {
            linear->place = IN_TAG;
            linear->raw = NULL;
            linear->assigned = false;
        }
    } else if (*p == '<' && left > 1 && (p[1] == '!' || p[1] == '?')) {
        linear->place = IN_COMMENT;
        linear->long_one = left > 3 && memcmp(p, "<!--", 4) == 0;
    } else if (*p == '<' && left > 1 && (is_letter(p[1]) || (left > 2 && p[1] == '/' && is_letter(p[2])))) {
        linear->place = IN_TAG;
        linear->raw = raw_element(p + 1, left - 1);
        linear->assigned = false;
    }
}

static void step_over(struct linear *linear, const char *p, size_t left)
{
    if (linear->place == IN_QUOTES) {
        if (*p == linear->quote)
            linear->place = IN_TAG;
    } else if (linear->place != IN_TAG) {
        leave_text(linear, p, left);
    } else if (*p == '>') {
        linear->place = linear->raw != NULL ? IN_RAW : IN_TEXT;
    } else if (linear->assigned && (*p == '"' || *p == '\'')) {
        linear->place = IN_QUOTES;
        linear->quote = *p;
        linear->assigned = false;
    } else if (!ascii_is_space(*p)) {
        linear->assigned = *p == '=';
    }
}

/* What could pass for a mark becomes a space. */
static void write_text(struct linear *linear, const struct template_node *node)
{
    size_t start = linear->out.len;
    const char *end = node->text + node->len;
    for (const char *at = node->text; at < end;) {
        const char *odd = memmem(at, (size_t)(end - at), HTML_MARK_PREFIX, HTML_MARK_PREFIX_BYTES);
        bool mark = odd != NULL && html_mark_character(odd, (size_t)(end - odd));
        const char *next = odd == NULL ? end : odd + HTML_MARK_PREFIX_BYTES + (mark ? 1 : 0);
        buffer_append(&linear->out, at, (size_t)((mark ? odd : next) - at));
        if (mark)
            buffer_append_char(&linear->out, ' ');
        at = next;
    }
    /* Two characters before each are looked at: those of a comment's beginning are there. */
    for (size_t at = start; at < linear->out.len && !linear->out.failed; at++)
        step_over(linear, linear->out.data + at, linear->out.len - at);
}

static void write_mark(struct linear *linear, enum template_node_kind kind, uint32_t index)
{
    char begin = HTML_MARK_VALUE;
    if (kind == NODE_END)
        begin = HTML_MARK_CLOSE;
    else if (kind != NODE_VALUE)
        begin = HTML_MARK_OPEN;
    if (linear->place == IN_TEXT)
        buffer_printf(&linear->out, "<!--" HTML_MARK_PREFIX "%c%u" HTML_MARK_PREFIX "%c-->", begin, index,
                      HTML_MARK_END);
    else if (linear->place == IN_TAG || linear->place == IN_QUOTES)
        buffer_printf(&linear->out, HTML_MARK_PREFIX "%c%u" HTML_MARK_PREFIX "%c", begin, index, HTML_MARK_END);
    linear->assigned = false;
}

static bool is_being_written(const struct linear *linear, uint32_t start)
{
    for (size_t i = 0; i < linear->call_count; i++)
        if (linear->calls[i] == start)
            return true;
    return false;
}

/* From one node to the end of its text or partial; as deep as partials may call. */
static void write_nodes(struct linear *linear, uint32_t start)
{
    for (uint32_t i = start;; i++) {
        const struct template_node *node = &linear->html->nodes[i];
        if (node->kind == NODE_RETURN || linear->out.failed)
            return;
        if (node->kind == NODE_TEXT) {
            write_text(linear, node);
        } else if (node->kind != NODE_PARTIAL) {
            write_mark(linear, node->kind, i);
        } else if (node->target != TEMPLATE_NOWHERE && linear->call_count < TEMPLATE_CALLS_MAX &&
                   !is_being_written(linear, node->target)) {
            linear->calls[linear->call_count++] = node->target;
            write_nodes(linear, node->target);
            linear->call_count--;
        }
    }
}

/* The text is cut into pieces: each a stretch of text, and the node that follows it (NULL at the end). */
struct piece {
    const char *text;
    size_t len;
    const struct template_node *node;
};

/* The node that a mark names; NULL when there is none such: nobody but us makes marks, but entities can spell one. */
static const struct template_node *named_node(const struct template *html, uint32_t index)
{
    if (index >= html->count)
        return NULL;
    const struct template_node *node = &html->nodes[index];
    return node->kind == NODE_TEXT || node->kind == NODE_PARTIAL || node->kind == NODE_RETURN ? NULL : node;
}

static size_t cut(const struct template *html, const char *text, size_t len, struct piece *pieces)
{
    const char *end = text + len;
    const char *at = text;
    size_t count = 0;
    for (const char *p = text; p < end;) {
        uint32_t index = 0;
        size_t mark = *p == HTML_MARK_PREFIX[0] ? html_mark(p, (size_t)(end - p), &index) : 0;
        if (mark == 0) {
            p++;
            continue;
        }
        pieces[count++] = (struct piece){.text = at, .len = (size_t)(p - at), .node = named_node(html, index)};
        p += mark;
        at = p;
    }
    pieces[count++] = (struct piece){.text = at, .len = (size_t)(end - at)};
    return count;
}

/* Every beginning must meet its own end. Returns the section that does not, or NULL. */
static const struct template_node *find_half(const struct template *html, const struct piece *pieces, size_t count,
                                             size_t *open)
{
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        const struct template_node *node = pieces[i].node;
        if (node == NULL || node->kind == NODE_VALUE)
            continue;
        if (node->kind != NODE_END)
            open[depth++] = i;
        else if (depth == 0 || pieces[open[--depth]].node != &html->nodes[node->target])
            return &html->nodes[node->target];
    }
    return depth > 0 ? pieces[open[depth - 1]].node : NULL;
}

static int add_named(struct template *text, const struct template_node *from, struct template_node *node)
{
    *node = *from;
    node->raw = true;
    node->text = arena_dup_len(&text->storage, from->text, from->len);
    if (from->otherwise != NULL)
        node->otherwise = arena_dup_len(&text->storage, from->otherwise, from->otherwise_len);
    text->uses_values = true;
    text->uses_attributes = text->uses_attributes || (node->kind != NODE_END && node->builtin == BUILTIN_NONE);
    return node->text != NULL && (from->otherwise == NULL || node->otherwise != NULL) ? 0 : -ENOMEM;
}

/* After find_half() ends and beginnings are known to nest. */
static int make_nodes(struct template *text, const struct piece *pieces, size_t count, size_t *open)
{
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        const struct piece *piece = &pieces[i];
        if (piece->len > 0)
            text->nodes[text->count++] =
                (struct template_node){.kind = NODE_TEXT, .text = piece->text, .len = piece->len};
        if (piece->node == NULL)
            continue;
        uint32_t index = (uint32_t)text->count++;
        struct template_node *node = &text->nodes[index];
        if (add_named(text, piece->node, node) < 0)
            return -ENOMEM;
        if (node->kind == NODE_SECTION || node->kind == NODE_INVERTED) {
            open[depth++] = index;
        } else if (node->kind == NODE_END) {
            node->target = (uint32_t)open[--depth];
            text->nodes[node->target].target = index;
        }
    }
    text->nodes[text->count++] = (struct template_node){.kind = NODE_RETURN};
    return 0;
}

/* `bytes`, the text with marks, has its copy in the template's arena. */
static int build(const struct template *html, struct template *text, const char *bytes, size_t len, struct error *err)
{
    size_t marks = 0;
    for (size_t i = 0; i < len; i++)
        marks += bytes[i] == HTML_MARK_PREFIX[0];
    struct piece *pieces = calloc(marks + 2, sizeof(*pieces));
    size_t *open = calloc(marks + 1, sizeof(*open));
    text->nodes = calloc(2 * marks + 4, sizeof(*text->nodes));
    int rc = pieces != NULL && open != NULL && text->nodes != NULL ? 0 : error_memory(err);
    if (rc == 0) {
        size_t count = cut(html, bytes, len, pieces);
        const struct template_node *half = find_half(html, pieces, count, open);
        if (half != NULL)
            rc = error_set(
                err, -EINVAL,
                "the section \"%s\" of line %u begins in the text and ends in markup that is left out, or the "
                "other way round",
                half->text, half->line);
        else if (make_nodes(text, pieces, count, open) < 0)
            rc = error_memory(err);
    }
    free(pieces);
    free(open);
    return rc;
}

static int from_marked(const struct template *html, const struct buffer *marked, struct template *text,
                       struct error *err)
{
    struct buffer plain = BUFFER_INIT(0);
    int rc = html_to_text(buffer_text(marked), marked->len, &plain);
    if (rc == -E2BIG) {
        (void)error_set(err, rc, "the HTML is too large or nests too deep to make a text of it");
    } else if (rc < 0) {
        rc = error_memory(err);
    } else {
        char *bytes = arena_dup_len(&text->storage, buffer_text(&plain), plain.len);
        rc = bytes != NULL ? build(html, text, bytes, plain.len, err) : error_memory(err);
    }
    buffer_finish(&plain);
    return rc;
}

int template_text_from_html(const struct template *html, struct template **out, struct error *err)
{
    *out = NULL;
    struct template *text = calloc(1, sizeof(*text));
    if (text == NULL)
        return error_memory(err);
    struct linear linear = {.html = html, .out = BUFFER_INIT(TEMPLATE_SOURCE_MAX_BYTES)};
    /* All at once, so that a failure behind it can only mean too much text. */
    int rc = buffer_reserve(&linear.out, TEMPLATE_SOURCE_MAX_BYTES) < 0 ? error_memory(err) : 0;
    if (rc == 0)
        write_nodes(&linear, 0);
    if (rc == 0 && linear.out.failed)
        rc = error_set(err, -E2BIG, "the text made from the HTML and its partials is too large");
    if (rc == 0)
        rc = from_marked(html, &linear.out, text, err);
    buffer_finish(&linear.out);
    if (rc < 0)
        template_free(text);
    else
        *out = text;
    return rc;
}
