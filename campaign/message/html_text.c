/*
 * html_text.c - plain text out of HTML, for campaigns that give no text part.
 *
 * gumbo makes the tree as a browser would; one walk over it writes lines. White space and line ends are owed until text
 * comes, so that markup that shows nothing leaves no gaps. What is owed is settled before the beginning and before the
 * end of a section, so that what a section repeats or leaves out takes its own line ends with it.
 *
 * gumbo does not check its allocations, frees its tree by recursion, and is slow on markup that nests deep. So it gets
 * an arena in place of the heap, and when memory, the arena or the time is used up the allocator leaves the parser by
 * longjmp: there is no other way out, and nothing to clean up but the arena. The walk keeps its own stack.
 *
 * Success means readable lines, not a rendering: of styles only what hides an element is looked at. Text that stands in
 * a table outside its cells is moved before the table, as browsers do, and out of a section that is there.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <gumbo.h>

#include "base/arena.h"
#include "base/str.h"

#include "campaign/message/html.h"

#define TREE_MAX_BYTES ((size_t)128 << 20)
#define PARSE_MAX_MS 2000  /* of processor time; a million bytes of common markup take 50 */
#define INDENT_MAX 8       /* lists one inside the other that are indented */
#define LIST_SEARCH_MAX 64 /* elements around an item among which its list is looked for */

struct pool {
    struct arena arena;
    jmp_buf leave;
    int64_t deadline_ms;
    unsigned allocations;
    int rc; /* why it was left */
};

struct open_element {
    const GumboNode *node;
    unsigned next;     /* child to go on with */
    unsigned number;   /* <ol>: of the last item */
    unsigned sections; /* open when it began */
};

struct writer {
    struct buffer *out;
    struct buffer href;  /* of the open link; empty = none */
    size_t link_start;   /* where the open link's text begins in `out` */
    unsigned owed;       /* line ends before the next text */
    unsigned ended;      /* line ends that `out` ends with, sections' marks left aside */
    bool space, spaced;  /* white space is owed; was written last */
    bool any;            /* text was written */
    bool at_bullet;      /* nothing came since a bullet: what begins in the item stays on its line */
    unsigned pre, lists; /* open elements */
    unsigned sections;   /* open */
    struct open_element *stack;
    size_t depth, capacity;
};

/* ---- the tree ---- */

static int64_t processor_ms(void)
{
    struct timespec now;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0 ? (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 : 0;
}

static void *pool_take(void *context, size_t bytes)
{
    struct pool *pool = context;
    bool big = bytes > pool->arena.limit_bytes / 2 || pool->arena.used_bytes > pool->arena.limit_bytes - bytes;
    bool late = ++pool->allocations % 64 == 0 && processor_ms() > pool->deadline_ms;
    void *memory = big || late ? NULL : arena_alloc(&pool->arena, bytes);
    if (memory == NULL) {
        pool->rc = big || late ? -E2BIG : -ENOMEM;
        longjmp(pool->leave, 1);
    }
    return memory;
}

static void pool_give_back(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

/* NULL when memory or a limit ended it: pool->rc. */
static const GumboOutput *parse(struct pool *pool, const char *html, size_t len)
{
    GumboOptions options = kGumboDefaultOptions;
    options.allocator = pool_take;
    options.deallocator = pool_give_back;
    options.userdata = pool;
    options.max_errors = 0;
    /* As if the body had begun: white space around a tag counts, and a tag between head and body is text. */
    options.fragment_context = GUMBO_TAG_BODY;
    if (setjmp(pool->leave) != 0)
        return NULL;
    return gumbo_parse_with_options(&options, html, len);
}

/* ---- writing ---- */

static void owe_lines(struct writer *writer, unsigned lines)
{
    if (writer->at_bullet)
        return;
    writer->owed = MAX_OF(writer->owed, lines);
    writer->space = false;
}

/* Writes what is owed: line ends at most two in a row, none at the top, or one space. */
static void settle(struct writer *writer)
{
    if (writer->any && writer->owed > writer->ended) {
        for (; writer->ended < writer->owed; writer->ended++)
            buffer_append_char(writer->out, '\n');
    } else if (writer->any && writer->owed == 0 && writer->space && !writer->spaced && writer->ended == 0) {
        buffer_append_char(writer->out, ' ');
        writer->spaced = true;
    }
    writer->owed = 0;
    writer->space = false;
}

static void put_text(struct writer *writer, const char *text, size_t len)
{
    settle(writer);
    buffer_append(writer->out, text, len);
    writer->any = true;
    writer->at_bullet = false;
    writer->spaced = false;
    writer->ended = 0;
}

/* Characters that would be invisible or harmful in text become nothing (0); odd spaces become a space. */
static uint32_t tame(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == 0xa0 || (c >= 0x2000 && c <= 0x200a) || c == 0x202f ||
        c == 0x3000)
        return ' ';
    bool invisible = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x200b || c == 0x200c || c == 0x2028 ||
                     c == 0x2029 || c == 0xfeff || c == 0xfffd || c == 0x34f;
    return invisible ? 0 : c;
}

static void put_mark(struct writer *writer, const char *mark, size_t len)
{
    char kind = mark[HTML_MARK_PREFIX_BYTES];
    if (kind == HTML_MARK_VALUE) {
        put_text(writer, mark, len);
        return;
    }
    if (kind == HTML_MARK_OPEN)
        writer->sections++;
    else if (writer->sections > 0)
        writer->sections--;
    settle(writer);
    buffer_append(writer->out, mark, len);
}

/* Text of an attribute, as one line with its marks. */
static void tame_into(const char *text, struct buffer *out)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t mark = html_mark(text + i, len - i, &(uint32_t){0});
        size_t n = mark > 0 ? mark : utf8_decode(text + i, len - i, &c);
        uint32_t kept = mark > 0 ? 1 : n > 0 ? tame(c) : 0;
        if (kept == ' ' && out->len > 0 && out->data[out->len - 1] != ' ')
            buffer_append_char(out, ' ');
        else if (kept != ' ' && kept != 0)
            buffer_append(out, text + i, n);
        i += MAX_OF(n, (size_t)1);
    }
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
}

static void put_characters(struct writer *writer, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t mark = html_mark(text + i, len - i, &(uint32_t){0});
        size_t n = mark > 0 ? mark : utf8_decode(text + i, len - i, &c);
        if (mark > 0) {
            put_mark(writer, text + i, mark);
        } else if (n > 0 && writer->pre > 0 && c == '\n') {
            writer->owed = MIN_OF(writer->owed + 1, 2u);
        } else if (n > 0 && tame(c) == ' ') {
            if (writer->pre > 0)
                put_text(writer, " ", 1);
            else
                writer->space = true;
        } else if (n > 0 && tame(c) != 0) {
            size_t run = n;
            while (i + run < len && text[i + run] > ' ' && text[i + run] < 0x7f)
                run++;
            put_text(writer, text + i, run);
            n = run;
        }
        i += MAX_OF(n, (size_t)1);
    }
}

/* ---- elements ---- */

static const char *attribute(const GumboNode *node, const char *name)
{
    const GumboAttribute *found = gumbo_get_attribute(&node->v.element.attributes, name);
    return found != NULL ? found->value : NULL;
}

/* True when the style sets the property to the value, spaces left aside. */
static bool style_has(const char *style, const char *wanted)
{
    size_t len = strlen(wanted);
    char before = ';';
    for (const char *p = style; *p != '\0'; p++) {
        if (ascii_is_space(*p))
            continue;
        size_t matched = 0;
        const char *q = p;
        for (; *q != '\0' && matched < len; q++) {
            if (ascii_is_space(*q))
                continue;
            if (ascii_lower(*q) != wanted[matched])
                break;
            matched++;
        }
        if (matched == len && before == ';')
            return true;
        before = *p;
    }
    return false;
}

static bool is_hidden(const GumboNode *node)
{
    switch (node->v.element.tag) {
    case GUMBO_TAG_SCRIPT:
    case GUMBO_TAG_STYLE:
    case GUMBO_TAG_TITLE:
    case GUMBO_TAG_TEMPLATE:
    case GUMBO_TAG_TEXTAREA:
    case GUMBO_TAG_SELECT:
    case GUMBO_TAG_IFRAME:
    case GUMBO_TAG_OBJECT:
    case GUMBO_TAG_NOFRAMES:
    case GUMBO_TAG_NOEMBED:
    case GUMBO_TAG_SVG:
    case GUMBO_TAG_MATH:
        return true;
    default:
        break;
    }
    const char *style = attribute(node, "style");
    return attribute(node, "hidden") != NULL ||
           (style != NULL && (style_has(style, "display:none") || style_has(style, "visibility:hidden") ||
                              style_has(style, "mso-hide:all")));
}

/* Elements that begin and end a line (1), or stand apart by an empty line (2). */
static unsigned lines_around(GumboTag tag)
{
    switch (tag) {
    case GUMBO_TAG_P:
    case GUMBO_TAG_H1:
    case GUMBO_TAG_H2:
    case GUMBO_TAG_H3:
    case GUMBO_TAG_H4:
    case GUMBO_TAG_H5:
    case GUMBO_TAG_H6:
    case GUMBO_TAG_DL:
    case GUMBO_TAG_PRE:
    case GUMBO_TAG_BLOCKQUOTE:
        return 2;
    case GUMBO_TAG_DIV:
    case GUMBO_TAG_TABLE:
    case GUMBO_TAG_TR:
    case GUMBO_TAG_SECTION:
    case GUMBO_TAG_ARTICLE:
    case GUMBO_TAG_HEADER:
    case GUMBO_TAG_FOOTER:
    case GUMBO_TAG_MAIN:
    case GUMBO_TAG_NAV:
    case GUMBO_TAG_ASIDE:
    case GUMBO_TAG_FORM:
    case GUMBO_TAG_FIGURE:
    case GUMBO_TAG_FIGCAPTION:
    case GUMBO_TAG_ADDRESS:
    case GUMBO_TAG_CENTER:
    case GUMBO_TAG_LI:
    case GUMBO_TAG_DT:
    case GUMBO_TAG_DD:
    case GUMBO_TAG_FIELDSET:
    case GUMBO_TAG_CAPTION:
        return 1;
    default:
        return 0;
    }
}

static void end_link(struct writer *writer)
{
    if (writer->href.len == 0)
        return;
    const char *href = writer->href.data;
    size_t len = writer->href.len;
    size_t start = MIN_OF(writer->link_start, writer->out->len);
    const char *text = buffer_text(writer->out) + start;
    size_t text_len = writer->out->len - start;
    while (text_len > 0 && ascii_is_space(*text)) {
        text++;
        text_len--;
    }
    bool same = text_len == len && memcmp(text, href, len) == 0;
    bool mail = str_starts_nocase(href, "mailto:") && len - 7 == text_len && memcmp(text, href + 7, text_len) == 0;
    if (!same && !mail) {
        /* What the link's text owes at its end belongs behind the address. */
        bool space = writer->space;
        unsigned owed = writer->owed;
        writer->space = text_len > 0;
        writer->owed = text_len > 0 ? 0 : owed;
        struct buffer address = BUFFER_INIT(0);
        buffer_append_char(&address, '<');
        buffer_append(&address, href, len);
        buffer_append_char(&address, '>');
        if (address.failed)
            writer->out->failed = true;
        else
            put_text(writer, address.data, address.len);
        buffer_finish(&address);
        writer->space = space;
        writer->owed = text_len > 0 ? owed : 0;
    }
    buffer_clear(&writer->href);
}

static void begin_link(struct writer *writer, const GumboNode *node)
{
    end_link(writer);
    const char *href = attribute(node, "href");
    if (href == NULL)
        return;
    tame_into(href, &writer->href);
    if (writer->href.len > 0 && (writer->href.data[0] == '#' || str_starts_nocase(writer->href.data, "javascript:")))
        buffer_clear(&writer->href);
    writer->link_start = writer->out->len;
}

static void put_image(struct writer *writer, const GumboNode *node)
{
    const char *alt = attribute(node, "alt");
    struct buffer text = BUFFER_INIT(0);
    if (alt != NULL)
        tame_into(alt, &text);
    if (text.len > 0)
        put_text(writer, text.data, text.len);
    writer->out->failed = writer->out->failed || text.failed;
    buffer_finish(&text);
}

static void begin_item(struct writer *writer)
{
    char bullet[24] = "- ";
    unsigned indent = 2 * MIN_OF(writer->lists > 0 ? writer->lists - 1 : 0, (unsigned)INDENT_MAX);
    size_t farthest = writer->depth > LIST_SEARCH_MAX ? writer->depth - LIST_SEARCH_MAX : 0;
    for (size_t i = writer->depth - 1; i > farthest; i--) {
        struct open_element *around = &writer->stack[i - 1];
        if (around->node->type != GUMBO_NODE_ELEMENT || around->node->v.element.tag == GUMBO_TAG_UL)
            break;
        if (around->node->v.element.tag != GUMBO_TAG_OL)
            continue;
        /* An item that a section repeats has no number of its own. */
        if (writer->sections == around->sections)
            (void)snprintf(bullet, sizeof(bullet), "%u. ", ++around->number);
        break;
    }
    put_text(writer, "                ", indent);
    put_text(writer, bullet, strlen(bullet));
    writer->at_bullet = true;
}

static void begin_element(struct writer *writer, const GumboNode *node)
{
    GumboTag tag = node->v.element.tag;
    unsigned lines = lines_around(tag);
    if (tag == GUMBO_TAG_UL || tag == GUMBO_TAG_OL)
        lines = writer->lists++ == 0 ? 2 : 1;
    if (tag == GUMBO_TAG_LI)
        writer->at_bullet = false;
    if (lines > 0)
        owe_lines(writer, lines);
    if (tag == GUMBO_TAG_BR) {
        writer->owed = MIN_OF(writer->owed + 1, 2u);
        writer->space = false;
    } else if (tag == GUMBO_TAG_HR) {
        owe_lines(writer, 1);
        put_text(writer, "----------", 10);
        owe_lines(writer, 1);
    } else if (tag == GUMBO_TAG_LI) {
        begin_item(writer);
    } else if (tag == GUMBO_TAG_TD || tag == GUMBO_TAG_TH) {
        writer->space = true;
    } else if (tag == GUMBO_TAG_A) {
        begin_link(writer, node);
    } else if (tag == GUMBO_TAG_IMG) {
        put_image(writer, node);
    } else if (tag == GUMBO_TAG_PRE) {
        writer->pre++;
    }
}

static void end_element(struct writer *writer, const GumboNode *node)
{
    GumboTag tag = node->v.element.tag;
    unsigned lines = lines_around(tag);
    if (tag == GUMBO_TAG_A)
        end_link(writer);
    if (tag == GUMBO_TAG_PRE)
        writer->pre--;
    if (tag == GUMBO_TAG_UL || tag == GUMBO_TAG_OL)
        lines = --writer->lists == 0 ? 2 : 1;
    if (tag == GUMBO_TAG_LI)
        writer->at_bullet = false;
    if (lines > 0)
        owe_lines(writer, lines);
    if (tag == GUMBO_TAG_TD || tag == GUMBO_TAG_TH)
        writer->space = true;
}

/* ---- the walk ---- */

static int push(struct writer *writer, const GumboNode *node)
{
    if (writer->depth == writer->capacity) {
        size_t capacity = writer->capacity == 0 ? 64 : writer->capacity * 2;
        struct open_element *stack = realloc(writer->stack, capacity * sizeof(*stack));
        if (stack == NULL)
            return -ENOMEM;
        writer->stack = stack;
        writer->capacity = capacity;
    }
    writer->stack[writer->depth++] = (struct open_element){.node = node, .sections = writer->sections};
    return 0;
}

static int visit(struct writer *writer, const GumboNode *node)
{
    int rc = 0;
    size_t mark = 0;
    switch (node->type) {
    case GUMBO_NODE_TEXT:
    case GUMBO_NODE_CDATA:
    case GUMBO_NODE_WHITESPACE:
        put_characters(writer, node->v.text.text);
        break;
    case GUMBO_NODE_COMMENT:
        mark = html_mark(node->v.text.text, strlen(node->v.text.text), &(uint32_t){0});
        if (mark > 0)
            put_mark(writer, node->v.text.text, mark);
        break;
    case GUMBO_NODE_ELEMENT:
        if (is_hidden(node))
            break;
        rc = push(writer, node);
        if (rc == 0)
            begin_element(writer, node);
        break;
    case GUMBO_NODE_DOCUMENT:
    case GUMBO_NODE_TEMPLATE:
    default:
        break;
    }
    return rc;
}

static const GumboVector *children_of(const GumboNode *node)
{
    return node->type == GUMBO_NODE_DOCUMENT ? &node->v.document.children : &node->v.element.children;
}

static int walk(struct writer *writer, const GumboNode *document)
{
    int rc = push(writer, document);
    while (rc == 0 && writer->depth > 0 && !writer->out->failed) {
        struct open_element *top = &writer->stack[writer->depth - 1];
        const GumboVector *children = children_of(top->node);
        if (top->next < children->length) {
            rc = visit(writer, children->data[top->next++]);
            continue;
        }
        if (top->node->type == GUMBO_NODE_ELEMENT)
            end_element(writer, top->node);
        writer->depth--;
    }
    end_link(writer);
    if (writer->any && writer->ended == 0)
        buffer_append_char(writer->out, '\n');
    return rc;
}

int html_to_text(const char *html, size_t len, struct buffer *out)
{
    struct pool pool = {.arena = ARENA_INIT(TREE_MAX_BYTES), .deadline_ms = processor_ms() + PARSE_MAX_MS};
    struct writer writer = {.out = out};
    const GumboOutput *tree = parse(&pool, html, len);
    int rc = tree != NULL ? walk(&writer, tree->document) : pool.rc;
    bool failed = writer.href.failed || out->failed;
    buffer_finish(&writer.href);
    free(writer.stack);
    arena_finish(&pool.arena);
    return rc == 0 && failed ? -ENOMEM : rc;
}
