/*
 * link_text.c - finds the URLs of a plain text template.
 *
 * A URL begins with http:// or https:// behind something that is no letter or digit, and ends before white space, an
 * angle bracket or a quote. Punctuation at its end belongs to the sentence, a closing bracket to the text unless it was
 * opened in the URL: what mail programs make of it, too.
 */
#include <string.h>

#include "base/str.h"

#include "campaign/message/links_private.h"

struct scanner {
    struct links *links;
    struct finds *finds;
    struct url url;
    bool open; /* a URL is being read */
    struct spot from, to;
    size_t tail; /* bytes of the URL behind its last tag */
    char before; /* the last character outside a URL */
    unsigned sections;
    bool partial; /* not in the text itself */
};

static size_t scheme_length(const char *text, size_t len)
{
    if (len > 8 && str_starts_nocase(text, "https://"))
        return 8;
    return len > 7 && str_starts_nocase(text, "http://") ? 7 : 0;
}

static bool ends_url(char c)
{
    return (uint8_t)c <= ' ' || c == '<' || c == '>' || c == '"' || c == 0x7f;
}

static void drop_last(struct scanner *scanner)
{
    scanner->url.text.data[--scanner->url.text.len] = '\0';
    scanner->to.offset--;
    scanner->tail--;
}

static void end(struct scanner *scanner)
{
    if (!scanner->open)
        return;
    scanner->open = false;
    struct buffer *text = &scanner->url.text;
    while (scanner->tail > 0 && text->len > 0 && !text->failed) {
        char last = text->data[text->len - 1];
        bool bracket = (last == ')' && memchr(text->data, '(', text->len) == NULL) ||
                       (last == ']' && memchr(text->data, '[', text->len) == NULL);
        if (strchr(".,;:!?'", last) == NULL && !bracket)
            break;
        drop_last(scanner);
    }
    finds_add(scanner->finds, scanner->from, scanner->to,
              links_number(scanner->links, scanner->finds, &scanner->url, false));
}

static bool is_word(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c);
}

static void read_text(struct scanner *scanner, uint32_t index, const struct template_node *node)
{
    for (size_t at = 0; at < node->len; at++) {
        char c = node->text[at];
        if (scanner->open && ends_url(c))
            end(scanner);
        size_t scheme = scanner->open || is_word(scanner->before) ? 0 : scheme_length(node->text + at, node->len - at);
        if (scheme > 0) {
            scanner->open = true;
            scanner->from = (struct spot){index, at};
            scanner->tail = 0;
            url_begin(&scanner->url);
        }
        scanner->before = c;
        if (!scanner->open)
            continue;
        url_add(&scanner->url, c);
        scanner->tail++;
        scanner->to = (struct spot){index, at + 1};
    }
}

void link_scan_text(struct links *links, const struct template *text, struct finds *finds)
{
    struct scanner scanner = {.links = links, .finds = finds, .url = URL_INIT, .before = ' '};
    for (uint32_t i = 0; i < text->count; i++) {
        const struct template_node *node = &text->nodes[i];
        if (node->kind == NODE_TEXT) {
            read_text(&scanner, i, node);
            continue;
        }
        if (node->kind == NODE_VALUE && scanner.open && scanner.sections == 0 && !scanner.partial) {
            url_add_tag(&scanner.url, node);
            scanner.tail = 0;
            scanner.to = (struct spot){i + 1, 0};
            continue;
        }
        /* A section or a partial may go on with the URL: then nobody knows its end. */
        scanner.url.broken |= node->kind != NODE_RETURN;
        end(&scanner);
        scanner.before = ' ';
        scanner.sections += node->kind == NODE_SECTION || node->kind == NODE_INVERTED ? 1u : 0u;
        scanner.sections -= node->kind == NODE_END ? 1u : 0u;
        scanner.partial |= node->kind == NODE_RETURN;
    }
    buffer_finish(&scanner.url.text);
}
