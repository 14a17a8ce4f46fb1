/*
 * template_text.c - the text/plain template of an HTML template.
 *
 * The HTML is written out with a mark in the place of each tag, partials in theirs; html_to_text() takes the markup
 * away and lets the marks through; what is left is cut at the marks into nodes again. Taking markup away may take a
 * mark along (in a style, in a hidden element) and so leave a section open or closed on one side only: such a mark goes
 * too.
 *
 * A partial that calls itself is followed once: the text of deeper levels is not in the text part.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "campaign/message/html.h"
#include "campaign/message/template.h"

struct linear {
    const struct template *html;
    struct buffer out;
    uint32_t calls[TEMPLATE_CALLS_MAX]; /* first nodes of the partials that are being written */
    size_t call_count;
};

/* Control characters of the text itself are left out, so that none can pass for a mark. */
static void write_text(struct linear *linear, const struct template_node *node)
{
    for (size_t at = 0; at < node->len;) {
        size_t run = 0;
        while (at + run < node->len && ((uint8_t)node->text[at + run] > 0x08))
            run++;
        buffer_append(&linear->out, node->text + at, run);
        at += run + 1;
    }
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
            buffer_printf(&linear->out, "%c%u%c", HTML_MARK_BEGIN, i, HTML_MARK_END);
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
    uint32_t made; /* the new node's index */
    bool kept;
};

/* Reads the mark at `at`; what is no mark of ours gives NULL. */
static const struct template_node *read_mark(const struct template *html, const char *at, const char *end,
                                             const char **after)
{
    size_t index = 0;
    const char *p = at + 1;
    for (; p < end && *p >= '0' && *p <= '9' && index < html->count; p++)
        index = index * 10 + (size_t)(*p - '0');
    if (p == at + 1 || p == end || *p != HTML_MARK_END || index >= html->count)
        return NULL;
    *after = p + 1;
    const struct template_node *node = &html->nodes[index];
    return node->kind == NODE_TEXT || node->kind == NODE_PARTIAL || node->kind == NODE_RETURN ? NULL : node;
}

static size_t cut(const struct template *html, const char *text, size_t len, struct piece *pieces)
{
    const char *end = text + len;
    size_t count = 0;
    for (const char *at = text; at < end;) {
        const char *mark = memchr(at, HTML_MARK_BEGIN, (size_t)(end - at));
        const char *stop = mark != NULL ? mark : end;
        const char *after = mark != NULL ? mark + 1 : end;
        const struct template_node *node = mark != NULL ? read_mark(html, mark, end, &after) : NULL;
        pieces[count++] = (struct piece){.text = at, .len = (size_t)(stop - at), .node = node};
        at = after;
    }
    return count;
}

/* Keeps values, and of sections those whose two ends are both there and do not cross another's. */
static int pair_sections(const struct template *html, struct piece *pieces, size_t count)
{
    size_t *open = malloc((count + 1) * sizeof(*open));
    size_t depth = 0;
    if (open == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct template_node *node = pieces[i].node;
        if (node == NULL)
            continue;
        pieces[i].kept = node->kind == NODE_VALUE;
        if (node->kind == NODE_SECTION || node->kind == NODE_INVERTED)
            open[depth++] = i;
        if (node->kind != NODE_END)
            continue;
        size_t found = depth;
        while (found > 0 && pieces[open[found - 1]].node != &html->nodes[node->target])
            found--;
        if (found == 0)
            continue;
        depth = found - 1;
        pieces[i].kept = true;
        pieces[open[depth]].kept = true;
    }
    free(open);
    return 0;
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

/* After pair_sections() the kept ends and beginnings nest, so a stack of beginnings is all it takes. */
static int make_nodes(struct template *text, struct piece *pieces, size_t count, uint32_t *open)
{
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        const struct piece *piece = &pieces[i];
        if (piece->len > 0)
            text->nodes[text->count++] =
                (struct template_node){.kind = NODE_TEXT, .text = piece->text, .len = piece->len};
        if (!piece->kept)
            continue;
        uint32_t index = (uint32_t)text->count++;
        struct template_node *node = &text->nodes[index];
        if (add_named(text, piece->node, node) < 0)
            return -ENOMEM;
        if (node->kind == NODE_SECTION || node->kind == NODE_INVERTED) {
            open[depth++] = index;
        } else if (node->kind == NODE_END) {
            node->target = open[--depth];
            text->nodes[node->target].target = index;
        }
    }
    text->nodes[text->count++] = (struct template_node){.kind = NODE_RETURN};
    return 0;
}

/* `bytes`, the text with marks, has its copy in the template's arena. */
static int build(const struct template *html, struct template *text, const char *bytes, size_t len)
{
    size_t marks = 0;
    for (size_t i = 0; i < len; i++)
        marks += bytes[i] == HTML_MARK_BEGIN;
    struct piece *pieces = calloc(marks + 2, sizeof(*pieces));
    uint32_t *open = calloc(marks + 1, sizeof(*open));
    text->nodes = calloc(2 * marks + 4, sizeof(*text->nodes));
    int rc = pieces != NULL && open != NULL && text->nodes != NULL ? 0 : -ENOMEM;
    if (rc == 0) {
        size_t count = cut(html, bytes, len, pieces);
        rc = pair_sections(html, pieces, count);
        if (rc == 0)
            rc = make_nodes(text, pieces, count, open);
    }
    free(pieces);
    free(open);
    return rc;
}

static int from_marked(const struct template *html, const struct buffer *marked, struct template *text)
{
    struct buffer plain = BUFFER_INIT(0);
    html_to_text(buffer_text(marked), marked->len, &plain);
    char *bytes = plain.failed ? NULL : arena_dup_len(&text->storage, buffer_text(&plain), plain.len);
    int rc = bytes != NULL ? build(html, text, bytes, plain.len) : -ENOMEM;
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
    int rc = buffer_reserve(&linear.out, TEMPLATE_SOURCE_MAX_BYTES);
    if (rc == 0)
        write_nodes(&linear, 0);
    if (rc == 0 && linear.out.failed)
        rc = -E2BIG;
    if (rc == 0)
        rc = from_marked(html, &linear.out, text);
    buffer_finish(&linear.out);
    if (rc == -E2BIG)
        (void)error_set(err, rc, "the text made from the HTML and its partials is too large");
    else if (rc < 0)
        (void)error_memory(err);
    if (rc < 0)
        template_free(text);
    else
        *out = text;
    return rc;
}
