/*
 * link_html.c - finds the links of an HTML template by its source.
 *
 * A tokeniser after HTML's own rules (tags, attributes, comments, raw text), which is all that is needed to know where
 * an attribute's value begins and ends: unlike a tree it keeps the places, and it reads through tags of the template,
 * also where they make markup that is complete only when rendered. Links in comments (conditional markup for one mail
 * program) are left alone.
 *
 * Each partial is read once, where it is called first. A tag in a URL is taken over only where it means the same when
 * the link is followed: in the text itself, outside sections.
 */
#include <string.h>
#include <strings.h>

#include "base/str.h"

#include "campaign/message/links_private.h"

enum place {
    IN_TEXT,
    AT_LESS,      /* behind "<" */
    AT_SLASH,     /* behind "</" */
    IN_NAME,      /* of the element */
    IN_TAG,       /* between attributes */
    IN_ATTRIBUTE, /* in an attribute's name */
    BEHIND_NAME,  /* behind it, before "=" */
    BEFORE_VALUE,
    IN_VALUE,
    AT_BANG, /* behind "<!" */
    AT_DASH, /* behind "<!-" */
    IN_COMMENT,
    IN_DECLARATION, /* "<!", "<?" and all else up to ">" */
    IN_RAW,
};

#define WORD_BYTES 16
#define ENTITY_BYTES 10
#define CALLED_MAX 256 /* as many as a template can have */

struct word {
    char text[WORD_BYTES]; /* lower case; longer ones are cut, and equal none of ours */
    size_t len;
};

struct scanner {
    struct links *links;
    const struct template *html;
    struct finds *finds;
    enum place place;
    bool closing; /* an end tag */
    struct word element, attribute, value;
    char quote;           /* of the value; 0 = none */
    size_t matched;       /* IN_COMMENT: dashes; IN_RAW: of "</name" */
    char raw[WORD_BYTES]; /* the element whose end is looked for */
    struct spot here;
    bool reads_href; /* the value is the href */
    struct url url;
    char entity[ENTITY_BYTES]; /* behind '&'; entity_len 0 = none is open */
    size_t entity_len;
    struct spot href_from, href_to;
    bool has_href, off;
    unsigned sections, calls;
    uint32_t called[CALLED_MAX]; /* first nodes of the partials that were read */
    size_t called_count;
};

static void word_add(struct word *word, char c)
{
    if (word->len < WORD_BYTES - 1)
        word->text[word->len++] = ascii_lower(c);
    word->text[word->len] = '\0';
}

static void word_clear(struct word *word)
{
    word->len = 0;
    word->text[0] = '\0';
}

static bool word_is(const struct word *word, const char *text)
{
    return strcmp(word->text, text) == 0;
}

static bool is_letter(char c)
{
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'z';
}

/* ---- the value of an href ---- */

/* What an entity of an attribute stands for; false = none that we know. */
static bool entity_decode(const char *name, struct url *url)
{
    static const struct {
        const char *name;
        char c;
    } names[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    for (size_t i = 0; i < countof(names); i++)
        if (strcmp(name, names[i].name) == 0) {
            url_add(url, names[i].c);
            return true;
        }
    if (name[0] != '#')
        return false;
    bool hex = name[1] == 'x' || name[1] == 'X';
    uint32_t code = 0;
    const char *p = name + (hex ? 2 : 1);
    if (*p == '\0')
        return false;
    for (; *p != '\0'; p++) {
        char lower = ascii_lower(*p);
        uint32_t digit = ascii_is_digit(*p)                    ? (uint32_t)(*p - '0')
                         : hex && lower >= 'a' && lower <= 'f' ? (uint32_t)(lower - 'a' + 10)
                                                               : 99;
        if (digit == 99)
            return false;
        code = code * (hex ? 16 : 10) + digit;
    }
    if (code < 0x20 || code > 0x7e)
        return false;
    url_add(url, (char)code);
    return true;
}

/* An '&' with what followed it, as it stands. */
static void entity_flush(struct scanner *scanner)
{
    if (scanner->entity_len == 0)
        return;
    for (size_t i = 0; i < scanner->entity_len; i++)
        url_add(&scanner->url, scanner->entity[i]);
    scanner->entity_len = 0;
}

static void href_character(struct scanner *scanner, char c)
{
    if (scanner->entity_len > 0) {
        bool part = is_letter(c) || ascii_is_digit(c) || (c == '#' && scanner->entity_len == 1);
        if (part && scanner->entity_len < ENTITY_BYTES - 1) {
            scanner->entity[scanner->entity_len++] = c;
            return;
        }
        scanner->entity[scanner->entity_len] = '\0';
        if (c == ';' && entity_decode(scanner->entity + 1, &scanner->url)) {
            scanner->entity_len = 0;
            return;
        }
        /* An entity that we do not know: the browser may. */
        scanner->url.broken |= c == ';';
        entity_flush(scanner);
    }
    if (c == '&')
        scanner->entity[scanner->entity_len++] = c;
    else if (c != '\t' && c != '\n' && c != '\r') /* browsers leave these out */
        url_add(&scanner->url, c);
}

/* White space around it is not part of a URL. */
static void href_end(struct scanner *scanner)
{
    entity_flush(scanner);
    struct buffer *text = &scanner->url.text;
    while (text->len > 0 && text->data[text->len - 1] == ' ')
        text->data[--text->len] = '\0';
    size_t lead = strspn(buffer_text(text), " ");
    if (lead > 0)
        buffer_consume(text, lead);
    scanner->href_to = scanner->here;
    scanner->has_href = true;
}

/* ---- tags ---- */

static void begin_value(struct scanner *scanner, char quote, struct spot from)
{
    scanner->place = IN_VALUE;
    scanner->quote = quote;
    word_clear(&scanner->value);
    /* Of two attributes of one name the first counts. */
    scanner->reads_href = word_is(&scanner->attribute, "href") && !scanner->has_href;
    if (scanner->reads_href) {
        url_begin(&scanner->url);
        scanner->entity_len = 0;
        scanner->href_from = from;
    }
}

static void end_value(struct scanner *scanner)
{
    if (scanner->reads_href)
        href_end(scanner);
    if (word_is(&scanner->attribute, "data-track") && word_is(&scanner->value, "off"))
        scanner->off = true;
    scanner->reads_href = false;
    scanner->place = IN_TAG;
    word_clear(&scanner->attribute);
}

static void end_tag(struct scanner *scanner)
{
    static const char *const raw[] = {"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"};
    bool link = word_is(&scanner->element, "a") || word_is(&scanner->element, "area");
    if (link && !scanner->closing && scanner->has_href)
        finds_add(scanner->finds, scanner->href_from, scanner->href_to,
                  links_number(scanner->links, scanner->finds, &scanner->url, scanner->off));
    scanner->place = IN_TEXT;
    for (size_t i = 0; i < countof(raw) && !scanner->closing; i++)
        if (word_is(&scanner->element, raw[i])) {
            scanner->place = IN_RAW;
            scanner->matched = 0;
            (void)str_copy(scanner->raw, sizeof(scanner->raw), raw[i]);
        }
}

static void begin_tag(struct scanner *scanner, char c, bool closing)
{
    scanner->closing = closing;
    scanner->has_href = scanner->off = false;
    word_clear(&scanner->element);
    word_clear(&scanner->attribute);
    word_add(&scanner->element, c);
    scanner->place = IN_NAME;
}

/* In a tag, outside values. */
static void tag_character(struct scanner *scanner, char c)
{
    bool space = ascii_is_space(c);
    if (c == '>') {
        end_tag(scanner);
    } else if (scanner->place == IN_NAME) {
        if (space || c == '/')
            scanner->place = IN_TAG;
        else
            word_add(&scanner->element, c);
    } else if (c == '=' && scanner->place != IN_TAG) {
        scanner->place = BEFORE_VALUE;
    } else if (space || c == '/') {
        if (scanner->place == IN_ATTRIBUTE)
            scanner->place = BEHIND_NAME;
    } else {
        if (scanner->place != IN_ATTRIBUTE)
            word_clear(&scanner->attribute);
        scanner->place = IN_ATTRIBUTE;
        word_add(&scanner->attribute, c);
    }
}

static void value_character(struct scanner *scanner, char c)
{
    bool ends = scanner->quote != 0 ? c == scanner->quote : ascii_is_space(c) || c == '>';
    if (ends) {
        end_value(scanner);
        if (c == '>' && scanner->quote == 0)
            end_tag(scanner);
        return;
    }
    word_add(&scanner->value, c);
    if (scanner->reads_href)
        href_character(scanner, c);
}

static void raw_character(struct scanner *scanner, char c)
{
    size_t len = strlen(scanner->raw);
    char wanted = scanner->matched == 0 ? '<' : scanner->matched == 1 ? '/' : scanner->raw[scanner->matched - 2];
    if (ascii_lower(c) != wanted) {
        scanner->matched = c == '<' ? 1 : 0;
    } else if (++scanner->matched == len + 2) {
        begin_tag(scanner, 'x', true);
        scanner->place = IN_TAG;
    }
}

/* Behind "<!". */
static void markup_character(struct scanner *scanner, char c)
{
    switch (scanner->place) {
    case AT_BANG:
        scanner->place = c == '-' ? AT_DASH : c == '>' ? IN_TEXT : IN_DECLARATION;
        break;
    case AT_DASH:
        scanner->place = c == '-' ? IN_COMMENT : c == '>' ? IN_TEXT : IN_DECLARATION;
        scanner->matched = 2; /* "<!-->" is a whole comment */
        break;
    case IN_COMMENT:
        if (c == '>' && scanner->matched >= 2)
            scanner->place = IN_TEXT;
        scanner->matched = c == '-' ? scanner->matched + 1 : 0;
        break;
    default:
        if (c == '>')
            scanner->place = IN_TEXT;
        break;
    }
}

static void character(struct scanner *scanner, char c)
{
    switch (scanner->place) {
    case IN_TEXT:
        if (c == '<')
            scanner->place = AT_LESS;
        break;
    case AT_LESS:
        if (is_letter(c))
            begin_tag(scanner, c, false);
        else
            scanner->place = c == '/'   ? AT_SLASH
                             : c == '!' ? AT_BANG
                             : c == '?' ? IN_DECLARATION
                             : c == '<' ? AT_LESS
                                        : IN_TEXT;
        break;
    case AT_SLASH:
        if (is_letter(c))
            begin_tag(scanner, c, true);
        else
            scanner->place = c == '>' ? IN_TEXT : IN_DECLARATION;
        break;
    case IN_NAME:
    case IN_TAG:
    case IN_ATTRIBUTE:
    case BEHIND_NAME:
        tag_character(scanner, c);
        break;
    case BEFORE_VALUE:
        if (c == '"' || c == '\'') {
            begin_value(scanner, c, (struct spot){scanner->here.node, scanner->here.offset + 1});
        } else if (c == '>') {
            end_tag(scanner);
        } else if (!ascii_is_space(c)) {
            begin_value(scanner, 0, scanner->here);
            value_character(scanner, c);
        }
        break;
    case IN_VALUE:
        value_character(scanner, c);
        break;
    case IN_RAW:
        raw_character(scanner, c);
        break;
    case AT_BANG:
    case AT_DASH:
    case IN_COMMENT:
    case IN_DECLARATION:
        markup_character(scanner, c);
        break;
    }
}

/* ---- nodes ---- */

/* A tag of the template where the scanner stands. */
static void template_tag(struct scanner *scanner, const struct template_node *node)
{
    if (scanner->place == BEFORE_VALUE)
        begin_value(scanner, 0, scanner->here);
    if (scanner->place == AT_LESS)
        scanner->place = IN_TEXT;
    if (scanner->place != IN_VALUE)
        return;
    word_add(&scanner->value, '{'); /* is not "off" any more */
    if (!scanner->reads_href)
        return;
    entity_flush(scanner);
    if (node->kind == NODE_VALUE && scanner->sections == 0 && scanner->calls == 0)
        url_add_tag(&scanner->url, node);
    else
        scanner->url.broken = true;
}

static bool is_new(struct scanner *scanner, uint32_t partial)
{
    for (size_t i = 0; i < scanner->called_count; i++)
        if (scanner->called[i] == partial)
            return false;
    if (scanner->called_count == countof(scanner->called))
        return false;
    scanner->called[scanner->called_count++] = partial;
    return true;
}

static void scan(struct scanner *scanner, uint32_t start)
{
    for (uint32_t i = start;; i++) {
        const struct template_node *node = &scanner->html->nodes[i];
        scanner->here = (struct spot){i, 0};
        switch (node->kind) {
        case NODE_RETURN:
            return;
        case NODE_TEXT:
            for (; scanner->here.offset < node->len; scanner->here.offset++)
                character(scanner, node->text[scanner->here.offset]);
            break;
        case NODE_SECTION:
        case NODE_INVERTED:
            scanner->sections++;
            template_tag(scanner, node);
            break;
        case NODE_END:
            scanner->sections--;
            template_tag(scanner, node);
            break;
        case NODE_VALUE:
            template_tag(scanner, node);
            break;
        case NODE_PARTIAL:
            template_tag(scanner, node);
            if (node->target == TEMPLATE_NOWHERE || scanner->calls == TEMPLATE_CALLS_MAX ||
                !is_new(scanner, node->target))
                break;
            scanner->calls++;
            scan(scanner, node->target);
            scanner->calls--;
            break;
        }
    }
}

void link_scan_html(struct links *links, const struct template *html, struct finds *finds)
{
    struct scanner scanner = {.links = links, .html = html, .finds = finds, .url = URL_INIT};
    scan(&scanner, 0);
    buffer_finish(&scanner.url.text);
}
