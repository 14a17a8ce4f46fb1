/*
 * template.c - compiles a text with tags into nodes, and renders them.
 *
 * The nodes lie in one array in the order of the text; each value node knows its place in the source, so that whatever
 * is found out later can be told with line and column. Node texts and names point into one block.
 *
 * Success of compiling means that every tag is understood; success of rendering means nothing about the values: what is
 * absent is rendered empty and counted. Values are never looked at again for tags, so a recipient cannot bring a
 * template along.
 */
#include "campaign/message/template.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "campaign/message/html.h"

#define TEXT_MARK_BEGIN '\x01' /* html_to_text() lets these through: MARK number END is a tag */
#define TEXT_MARK_END '\x02'

static const struct {
    const char *name;
    enum template_builtin builtin;
} builtin_names[] = {
    {"campaign.name", BUILTIN_CAMPAIGN_NAME},
    {"recipient.email", BUILTIN_RECIPIENT_EMAIL},
    {"unsubscribe_url", BUILTIN_UNSUBSCRIBE_URL},
    {"today", BUILTIN_TODAY},
};

/* Where the compiler stands. */
struct compiler {
    struct template *template;
    size_t capacity; /* of nodes */
    char *store;     /* next free byte of template->storage */
    const char *store_end;
    const char *counted; /* up to here lines and columns are counted */
    uint32_t line, column;
    size_t tags;
    struct error *err;
};

struct tag {
    const char *start; /* first brace */
    const char *next;  /* behind the last brace */
    const char *name;
    size_t name_len;
    bool raw, comment;
};

static struct template_node *add_node(struct compiler *compiler, enum template_node_kind kind)
{
    struct template *template = compiler->template;
    if (template->count == compiler->capacity) {
        size_t capacity = compiler->capacity == 0 ? 16 : compiler->capacity * 2;
        struct template_node *nodes = realloc(template->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL)
            return NULL;
        template->nodes = nodes;
        compiler->capacity = capacity;
    }
    struct template_node *node = &template->nodes[template->count++];
    *node = (struct template_node){.kind = kind, .line = compiler->line, .column = compiler->column};
    node->text = compiler->store;
    return node;
}

static void count_up_to(struct compiler *compiler, const char *at)
{
    for (; compiler->counted < at; compiler->counted++) {
        if (*compiler->counted == '\n') {
            compiler->line++;
            compiler->column = 1;
        } else if (((uint8_t)*compiler->counted & 0xc0) != 0x80) {
            compiler->column++;
        }
    }
}

static int add_text(struct compiler *compiler, const char *text, size_t len)
{
    if (len == 0)
        return 0;
    struct template_node *last =
        compiler->template->count > 0 ? &compiler->template->nodes[compiler->template->count - 1] : NULL;
    if (last == NULL || last->kind != NODE_TEXT)
        last = add_node(compiler, NODE_TEXT);
    if (last == NULL)
        return error_memory(compiler->err);
    assure(len <= (size_t)(compiler->store_end - compiler->store));
    memcpy(compiler->store, text, len);
    compiler->store += len;
    last->len += len;
    return 0;
}

static int add_value(struct compiler *compiler, const struct tag *tag)
{
    struct template_node *node = add_node(compiler, NODE_VALUE);
    if (node == NULL)
        return error_memory(compiler->err);
    assure(tag->name_len < (size_t)(compiler->store_end - compiler->store));
    memcpy(compiler->store, tag->name, tag->name_len);
    compiler->store[tag->name_len] = '\0';
    compiler->store += tag->name_len + 1;
    node->len = tag->name_len;
    node->raw = tag->raw;
    for (size_t i = 0; i < countof(builtin_names); i++)
        if (strcmp(node->text, builtin_names[i].name) == 0)
            node->builtin = builtin_names[i].builtin;
    if (strcmp(node->text, "email") == 0)
        node->fallback = BUILTIN_RECIPIENT_EMAIL;
    compiler->template->uses_values = true;
    if (node->builtin == BUILTIN_NONE)
        compiler->template->uses_attributes = true;
    return 0;
}

static int tag_error(const struct compiler *compiler, const char *what)
{
    return error_set(compiler->err, -EINVAL, "line %u, column %u: %s", compiler->line, compiler->column, what);
}

/* What Mustache has and this compiler does not. */
static const char *refused_tag(char sigil)
{
    switch (sigil) {
    case '#':
    case '^':
    case '/':
        return "sections ({{#name}}, {{^name}}, {{/name}}) are not supported";
    case '>':
    case '<':
    case '$':
        return "partials and blocks ({{>name}}, {{<name}}, {{$name}}) are not supported";
    case '=':
        return "other delimiters ({{=<% %>=}}) are not supported";
    default:
        return NULL;
    }
}

static int check_name(const struct compiler *compiler, const struct tag *tag)
{
    if (tag->name_len == 0)
        return tag_error(compiler, "the tag has no name");
    if (tag->name_len > TEMPLATE_NAME_MAX_BYTES)
        return tag_error(compiler, "the name in the tag is too long");
    for (size_t i = 0; i < tag->name_len; i++)
        if (tag->name[i] == '{' || tag->name[i] == '}' || ((uint8_t)tag->name[i] < 0x20))
            return tag_error(compiler, "the tag is not closed, or its name has a brace or a line break");
    if (tag->name[0] == '.' || tag->name[tag->name_len - 1] == '.' || memmem(tag->name, tag->name_len, "..", 2) != NULL)
        return tag_error(compiler, "the name in the tag begins or ends with a dot, or has two in a row");
    return 0;
}

/* The tag whose first brace is at tag->start. */
static int read_tag(const struct compiler *compiler, const char *end, struct tag *tag)
{
    const char *at = tag->start + 2;
    bool triple = at < end && *at == '{';
    const char *closer = triple ? "}}}" : "}}";
    size_t closer_len = triple ? 3 : 2;
    if (triple)
        at++;
    const char *close = memmem(at, (size_t)(end - at), closer, closer_len);
    if (close == NULL)
        return tag_error(compiler, "the tag is not closed");
    tag->next = close + closer_len;
    while (at < close && ascii_is_space(*at))
        at++;
    if (!triple && at < close) {
        const char *refused = refused_tag(*at);
        if (refused != NULL)
            return tag_error(compiler, refused);
        tag->comment = *at == '!';
        if (*at == '&') {
            tag->raw = true;
            at++;
        }
    }
    tag->raw = tag->raw || triple;
    while (at < close && ascii_is_space(*at))
        at++;
    while (close > at && ascii_is_space(close[-1]))
        close--;
    tag->name = at;
    tag->name_len = (size_t)(close - at);
    return tag->comment ? 0 : check_name(compiler, tag);
}

static int compile_all(struct compiler *compiler, const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *at = text; at < end;) {
        struct tag tag = {.start = memmem(at, (size_t)(end - at), "{{", 2)};
        const char *text_end = tag.start != NULL ? tag.start : end;
        int rc = add_text(compiler, at, (size_t)(text_end - at));
        count_up_to(compiler, text_end);
        if (rc < 0 || tag.start == NULL)
            return rc;
        if (++compiler->tags > TEMPLATE_TAGS_MAX)
            return tag_error(compiler, "the text has too many tags");
        rc = read_tag(compiler, end, &tag);
        if (rc == 0 && !tag.comment)
            rc = add_value(compiler, &tag);
        if (rc < 0)
            return rc;
        at = tag.next;
    }
    return 0;
}

/* A copy with LF for every line end. */
static char *normalise_lines(const char *text, size_t len, size_t *out_len)
{
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r') {
            copy[n++] = '\n';
            if (i + 1 < len && text[i + 1] == '\n')
                i++;
        } else {
            copy[n++] = text[i];
        }
    }
    copy[n] = '\0';
    *out_len = n;
    return copy;
}

static struct template *create(size_t storage_bytes)
{
    struct template *template = calloc(1, sizeof(*template));
    if (template == NULL)
        return NULL;
    template->storage = malloc(storage_bytes);
    if (template->storage == NULL) {
        free(template);
        return NULL;
    }
    return template;
}

int template_compile(const char *text, size_t len, struct template **out, struct error *err)
{
    *out = NULL;
    size_t source_len = 0;
    char *source = normalise_lines(text, len, &source_len);
    /* A tag takes at least five bytes of the source, and its name one more for the terminator: never more than the
     * source. */
    struct template *template = source != NULL ? create(source_len + 1) : NULL;
    if (template == NULL) {
        free(source);
        return error_memory(err);
    }
    struct compiler compiler = {.template = template,
                                .store = template->storage,
                                .store_end = template->storage + source_len + 1,
                                .counted = source,
                                .line = 1,
                                .column = 1,
                                .err = err};
    int rc = compile_all(&compiler, source, source_len);
    free(source);
    if (rc < 0) {
        template_free(template);
        return rc;
    }
    *out = template;
    return 0;
}

void template_free(struct template *template)
{
    if (template == NULL)
        return;
    free(template->nodes);
    free(template->storage);
    free(template);
}

/* The HTML with a mark for each tag; control characters of the text itself are left out, so that none can pass for a
 * mark. */
static void linearise(const struct template *html, struct buffer *out)
{
    for (size_t i = 0; i < html->count; i++) {
        const struct template_node *node = &html->nodes[i];
        if (node->kind == NODE_VALUE) {
            buffer_printf(out, "%c%zu%c", TEXT_MARK_BEGIN, i, TEXT_MARK_END);
            continue;
        }
        for (size_t at = 0; at < node->len;) {
            size_t run = 0;
            while (at + run < node->len && ((uint8_t)node->text[at + run] > 0x08))
                run++;
            buffer_append(out, node->text + at, run);
            at += run + 1;
        }
    }
}

static int nodes_from_marks(struct compiler *compiler, const struct template *html, const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *at = text; at < end;) {
        const char *mark = memchr(at, TEXT_MARK_BEGIN, (size_t)(end - at));
        int rc = add_text(compiler, at, (size_t)((mark != NULL ? mark : end) - at));
        if (rc < 0 || mark == NULL)
            return rc;
        char *after = NULL;
        unsigned long index = strtoul(mark + 1, &after, 10);
        assure(*after == TEXT_MARK_END && index < html->count && html->nodes[index].kind == NODE_VALUE);
        const struct template_node *from = &html->nodes[index];
        struct tag tag = {.name = from->text, .name_len = from->len, .raw = true};
        compiler->line = from->line;
        compiler->column = from->column;
        rc = add_value(compiler, &tag);
        if (rc < 0)
            return rc;
        at = after + 1;
    }
    return 0;
}

static int compile_text(const struct template *html, const char *text, size_t len, struct template **out,
                        struct error *err)
{
    /* Each tag stands in the text at most once, so its name takes room at most once. */
    size_t names = 0;
    for (size_t i = 0; i < html->count; i++)
        names += html->nodes[i].kind == NODE_VALUE ? html->nodes[i].len + 1 : 0;
    struct template *template = create(len + names + 1);
    if (template == NULL)
        return error_memory(err);
    struct compiler compiler = {.template = template, .store = template->storage, .err = err};
    compiler.store_end = template->storage + len + names + 1;
    int rc = nodes_from_marks(&compiler, html, text, len);
    if (rc < 0)
        template_free(template);
    else
        *out = template;
    return rc;
}

int template_text_from_html(const struct template *html, struct template **out, struct error *err)
{
    *out = NULL;
    struct buffer marked = BUFFER_INIT(0);
    struct buffer text = BUFFER_INIT(0);
    linearise(html, &marked);
    if (!marked.failed)
        html_to_text(buffer_text(&marked), marked.len, &text);
    int rc =
        marked.failed || text.failed ? error_memory(err) : compile_text(html, buffer_text(&text), text.len, out, err);
    buffer_finish(&marked);
    buffer_finish(&text);
    return rc;
}

/* The member named by the whole name, or by its dotted parts one inside the other. */
static const json_t *look_up(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (value != NULL || strchr(name, '.') == NULL)
        return value;
    value = object;
    for (const char *at = name; value != NULL;) {
        size_t n = strcspn(at, ".");
        value = json_object_getn(value, at, n);
        if (at[n] == '\0')
            return value;
        at += n + 1;
    }
    return NULL;
}

/* The shortest text that reads back as the same number; whole numbers without a point. */
static size_t format_real(double number, char out[TEMPLATE_SCRATCH_BYTES])
{
    int n = 0;
    if (fabs(number) < 1e15 && number == floor(number))
        n = snprintf(out, TEMPLATE_SCRATCH_BYTES, "%.0f", number == 0 ? 0.0 : number);
    else
        for (int digits = 15; digits <= 17; digits++) {
            n = snprintf(out, TEMPLATE_SCRATCH_BYTES, "%.*g", digits, number);
            if (strtod(out, NULL) == number)
                break;
        }
    return n > 0 ? (size_t)n : 0;
}

static bool builtin_value(enum template_builtin builtin, const struct template_values *values, const char **text,
                          size_t *len)
{
    *text = values->builtins[builtin] != NULL ? values->builtins[builtin] : "";
    *len = strlen(*text);
    return true;
}

bool template_value(const struct template_node *node, const struct template_values *values,
                    char scratch[TEMPLATE_SCRATCH_BYTES], const char **text, size_t *len)
{
    if (node->builtin != BUILTIN_NONE)
        return builtin_value(node->builtin, values, text, len);
    const json_t *value = look_up(values->attributes, node->text);
    *text = scratch;
    *len = 0;
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        *text = json_string_value(value);
        *len = json_string_length(value);
        return true;
    case JSON_INTEGER:
        *len = (size_t)snprintf(scratch, TEMPLATE_SCRATCH_BYTES, "%lld", (long long)json_integer_value(value));
        return true;
    case JSON_REAL:
        *len = format_real(json_real_value(value), scratch);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *text = json_is_true(value) ? "true" : "false";
        *len = strlen(*text);
        return true;
    case JSON_NULL:
    case JSON_OBJECT:
    case JSON_ARRAY:
    default:
        if (node->fallback != BUILTIN_NONE)
            return builtin_value(node->fallback, values, text, len);
        return false;
    }
}

void template_render(const struct template *template, const struct template_values *values, enum template_escape escape,
                     struct buffer *out, unsigned *missing)
{
    char scratch[TEMPLATE_SCRATCH_BYTES];
    for (size_t i = 0; i < template->count; i++) {
        const struct template_node *node = &template->nodes[i];
        if (node->kind == NODE_TEXT) {
            buffer_append(out, node->text, node->len);
            continue;
        }
        const char *text = NULL;
        size_t len = 0;
        if (!template_value(node, values, scratch, &text, &len))
            (*missing)++;
        if (escape == TEMPLATE_HTML && !node->raw)
            html_escape(text, len, out);
        else
            buffer_append(out, text, len);
    }
}
