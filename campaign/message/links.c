/*
 * links.c - the table of a campaign's links, and the cutting of templates at what the scanners found.
 *
 * A link becomes a value node with its number in the place of the nodes, and parts of nodes, that made its URL. All
 * else stays, so sections and partials need only their jumps put right.
 *
 * Why the host must be literal: whoever holds a token can make us redirect. If a recipient's attribute could choose
 * where to, a list imported from strangers would turn our domain into an open redirect.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#include "campaign/message/links_private.h"

/* ---- the table ---- */

static void free_all(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

void links_finish(struct links *links)
{
    free_all(links->urls, links->count);
    free_all(links->untracked, links->untracked_count);
    *links = (struct links){0};
}

static bool append(char ***texts, size_t *count, const char *text)
{
    char **grown = reallocarray(*texts, *count + 1, sizeof(**texts));
    char *copy = grown != NULL ? str_dup(text) : NULL;
    if (grown != NULL)
        *texts = grown;
    if (copy == NULL)
        return false;
    grown[(*count)++] = copy;
    return true;
}

int links_load(struct links *links, const json_t *urls)
{
    size_t i;
    json_t *url;
    *links = (struct links){.fixed = true};
    json_array_foreach(urls, i, url)
    {
        const char *text = json_string_value(url);
        if (!append(&links->urls, &links->count, text != NULL ? text : "")) {
            links_finish(links);
            return -ENOMEM;
        }
    }
    return 0;
}

static size_t find(char *const *texts, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(texts[i], text) == 0)
            return i + 1;
    return 0;
}

/* http(s), and the host ends before the first tag. */
static bool is_trackable(const char *url)
{
    size_t scheme = str_starts_nocase(url, "https://") ? 8 : str_starts_nocase(url, "http://") ? 7 : 0;
    if (scheme == 0)
        return false;
    const char *host = url + scheme;
    size_t len = strcspn(host, "/?#{\\");
    return len > 0 && host[len] != '{' && host[len] != '\\';
}

uint32_t links_number(struct links *links, struct finds *finds, const struct url *url, bool off)
{
    const char *text = buffer_text(&url->text);
    if (url->text.failed || url->broken || !is_trackable(text))
        return 0;
    if (off) {
        if (find(links->untracked, links->untracked_count, text) == 0)
            finds->failed |= !append(&links->untracked, &links->untracked_count, text);
        return 0;
    }
    if (find(links->untracked, links->untracked_count, text) > 0)
        return 0;
    size_t number = find(links->urls, links->count, text);
    if (number > 0 || links->fixed)
        return (uint32_t)number;
    if (links->count == LINKS_MAX) {
        links->overfull = true;
        return 0;
    }
    if (!append(&links->urls, &links->count, text)) {
        finds->failed = true;
        return 0;
    }
    return (uint32_t)links->count;
}

void url_begin(struct url *url)
{
    buffer_clear(&url->text);
    url->broken = false;
}

void url_add(struct url *url, char c)
{
    buffer_append_char(&url->text, c);
    /* Would read as a tag when the table's template is compiled. */
    size_t len = url->text.len;
    url->broken |= len >= 2 && url->text.data[len - 1] == '{' && url->text.data[len - 2] == '{';
}

void url_add_tag(struct url *url, const struct template_node *node)
{
    /* A page's address holds the recipient's token of its own kind, which a click does not make. */
    url->broken |= node->builtin == BUILTIN_UNSUBSCRIBE_URL || node->builtin == BUILTIN_PREFERENCES_URL ||
                   node->builtin == BUILTIN_VIEW_URL;
    buffer_append_str(&url->text, "{{{");
    buffer_append(&url->text, node->text, node->len);
    if (node->otherwise != NULL) {
        buffer_append_char(&url->text, '|');
        buffer_append(&url->text, node->otherwise, node->otherwise_len);
    }
    buffer_append_str(&url->text, "}}}");
}

void link_escape(const char *url, size_t len, struct buffer *out)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)url[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c) != NULL)
            buffer_printf(out, "%%%02X", c);
        else
            buffer_append_char(out, (char)c);
    }
}

/* ---- cutting ---- */

void finds_add(struct finds *finds, struct spot from, struct spot to, uint32_t number)
{
    if (number == 0)
        return;
    if (finds->count == finds->capacity) {
        size_t capacity = finds->capacity == 0 ? 32 : finds->capacity * 2;
        struct found_link *grown = reallocarray(finds->items, capacity, sizeof(*grown));
        if (grown == NULL) {
            finds->failed = true;
            return;
        }
        finds->items = grown;
        finds->capacity = capacity;
    }
    finds->items[finds->count++] = (struct found_link){from, to, number};
}

static int compare(const void *a, const void *b)
{
    const struct found_link *x = a, *y = b;
    if (x->from.node != y->from.node)
        return x->from.node < y->from.node ? -1 : 1;
    return x->from.offset < y->from.offset ? -1 : x->from.offset > y->from.offset;
}

struct cutter {
    const struct template *template;
    struct template_node *nodes;
    uint32_t *moved; /* where each old node begins now */
    size_t count;
};

static void put_text(struct cutter *cutter, const struct template_node *node, size_t from, size_t to)
{
    if (from >= to)
        return;
    struct template_node *made = &cutter->nodes[cutter->count++];
    *made = *node;
    made->text = node->text + from;
    made->len = to - from;
}

static void put_link(struct cutter *cutter, const struct template_node *node, enum template_builtin builtin,
                     uint32_t number)
{
    cutter->nodes[cutter->count++] = (struct template_node){.kind = NODE_VALUE,
                                                            .line = node->line,
                                                            .column = node->column,
                                                            .target = number,
                                                            .text = "",
                                                            .raw = true,
                                                            .builtin = builtin};
}

static void copy_nodes(struct cutter *cutter, const struct finds *finds)
{
    const struct template *template = cutter->template;
    size_t next = 0;
    struct spot done = {0, 0}; /* up to here everything is put */
    for (uint32_t i = 0; i < template->count; i++) {
        const struct template_node *node = &template->nodes[i];
        cutter->moved[i] = (uint32_t)cutter->count;
        if (i < done.node)
            continue; /* inside a URL */
        size_t at = i == done.node ? done.offset : 0;
        while (next < finds->count && finds->items[next].from.node < i)
            next++; /* began inside another URL */
        for (; next < finds->count && finds->items[next].from.node == i; next++) {
            const struct found_link *link = &finds->items[next];
            if (link->from.offset < at)
                continue; /* overlaps: a partial that was read in two places */
            put_text(cutter, node, at, link->from.offset);
            put_link(cutter, node, BUILTIN_LINK, link->number);
            done = link->to;
            at = done.offset;
            if (done.node != i)
                break;
        }
        if (done.node > i)
            continue;
        if (node->kind == NODE_TEXT)
            put_text(cutter, node, at, node->len);
        else if (at == 0)
            cutter->nodes[cutter->count++] = *node;
    }
}

static void mend_jumps(struct cutter *cutter)
{
    for (size_t i = 0; i < cutter->count; i++) {
        struct template_node *node = &cutter->nodes[i];
        bool jumps = node->kind == NODE_SECTION || node->kind == NODE_INVERTED || node->kind == NODE_END ||
                     (node->kind == NODE_PARTIAL && node->target != TEMPLATE_NOWHERE);
        if (jumps)
            node->target = cutter->moved[node->target];
    }
}

static int cut(struct template *template, struct finds *finds, size_t more)
{
    struct cutter cutter = {.template = template};
    cutter.nodes = calloc(template->count + 3 * finds->count + more + 1, sizeof(*cutter.nodes));
    cutter.moved = calloc(template->count + 1, sizeof(*cutter.moved));
    if (cutter.nodes == NULL || cutter.moved == NULL) {
        free(cutter.nodes);
        free(cutter.moved);
        return -ENOMEM;
    }
    if (finds->count > 1)
        qsort(finds->items, finds->count, sizeof(*finds->items), compare);
    copy_nodes(&cutter, finds);
    mend_jumps(&cutter);
    free(cutter.moved);
    free(template->nodes);
    template->nodes = cutter.nodes;
    template->count = cutter.count;
    template->uses_values = template->uses_values || finds->count > 0;
    return 0;
}

typedef void scan_fn(struct links *links, const struct template *template, struct finds *finds);

static int track(struct links *links, struct template *template, scan_fn *scan)
{
    struct finds finds = {0};
    scan(links, template, &finds);
    int rc = finds.failed ? -ENOMEM : finds.count > 0 ? cut(template, &finds, 0) : 0;
    free(finds.items);
    return rc;
}

int links_track_html(struct links *links, struct template *html)
{
    return track(links, html, link_scan_html);
}

int links_track_text(struct links *links, struct template *text)
{
    return track(links, text, link_scan_text);
}

/* ---- the pixel ---- */

static const char PIXEL_BEGIN[] = "<img src=\"";
static const char PIXEL_END[] = "\" width=\"1\" height=\"1\" alt=\"\" style=\"border:0;width:1px;height:1px\">";

/* The last </body> of the text itself; where there is none, its end. */
static struct spot pixel_place(const struct template *html)
{
    struct spot place = {0, 0};
    bool found = false;
    for (uint32_t i = 0; i < html->count && html->nodes[i].kind != NODE_RETURN; i++) {
        const struct template_node *node = &html->nodes[i];
        for (size_t at = 0; node->kind == NODE_TEXT && at + 6 <= node->len; at++)
            if (node->text[at] == '<' && strncasecmp(node->text + at, "</body", 6) == 0) {
                place = (struct spot){i, at};
                found = true;
            }
        if (!found)
            place = (struct spot){i + 1, 0};
    }
    return place;
}

int links_add_pixel(struct template *html)
{
    struct spot place = pixel_place(html);
    struct template_node *nodes = calloc(html->count + 4, sizeof(*nodes));
    uint32_t *moved = calloc(html->count + 1, sizeof(*moved));
    if (nodes == NULL || moved == NULL) {
        free(nodes);
        free(moved);
        return -ENOMEM;
    }
    struct cutter cutter = {.template = html, .nodes = nodes, .moved = moved};
    for (uint32_t i = 0; i < html->count; i++) {
        const struct template_node *node = &html->nodes[i];
        moved[i] = (uint32_t)cutter.count;
        if (i == place.node) {
            const struct template_node begin = {.kind = NODE_TEXT, .text = PIXEL_BEGIN, .len = sizeof(PIXEL_BEGIN) - 1};
            const struct template_node end = {.kind = NODE_TEXT, .text = PIXEL_END, .len = sizeof(PIXEL_END) - 1};
            if (node->kind == NODE_TEXT)
                put_text(&cutter, node, 0, place.offset);
            put_text(&cutter, &begin, 0, begin.len);
            put_link(&cutter, node, BUILTIN_OPEN_URL, 0);
            put_text(&cutter, &end, 0, end.len);
        }
        if (node->kind == NODE_TEXT)
            put_text(&cutter, node, i == place.node ? place.offset : 0, node->len);
        else
            nodes[cutter.count++] = *node;
    }
    mend_jumps(&cutter);
    free(moved);
    free(html->nodes);
    html->nodes = nodes;
    html->count = cutter.count;
    html->uses_values = true;
    return 0;
}
