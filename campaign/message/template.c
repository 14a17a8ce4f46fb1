/*
 * template.c - compiles a text with tags into nodes.
 *
 * The nodes lie in one array in the order of the text; each knows its place in the source, so that whatever is found
 * out later can be told with line and column. A partial is compiled once for each indentation it is called with, behind
 * the text that calls it; a call is an index into the array, so a partial may call itself. Each source is copied into
 * the template's arena and kept there: texts and names point into it, names are terminated in place, over the
 * delimiters.
 *
 * Success means that every tag is understood, every section is closed where it was opened, and the partials do not call
 * each other without end. It means nothing about the values: what is absent is rendered empty and counted.
 */
#include "campaign/message/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define DELIMITER_MAX_BYTES 16
#define ROUTINES_MAX 256 /* partials, times the indentations they are called with */

static const struct {
    const char *name;
    enum template_builtin builtin;
} builtin_names[] = {
    {"campaign.name", BUILTIN_CAMPAIGN_NAME},
    {"campaign.id", BUILTIN_CAMPAIGN_ID},
    {"recipient.email", BUILTIN_RECIPIENT_EMAIL},
    {"recipient.id", BUILTIN_RECIPIENT_ID},
    {"recipient.domain", BUILTIN_RECIPIENT_DOMAIN},
    {"unsubscribe_url", BUILTIN_UNSUBSCRIBE_URL},
    {"preferences_url", BUILTIN_PREFERENCES_URL},
    {"view_url", BUILTIN_VIEW_URL},
    {"today", BUILTIN_TODAY},
};

/* A partial with one indentation; [0] is the text itself. */
struct routine {
    const char *name, *indent;
    size_t indent_len;
    unsigned depth; /* calls from the text */
    uint32_t start; /* its first node */
};

struct delimiters {
    char open[DELIMITER_MAX_BYTES + 1], close[DELIMITER_MAX_BYTES + 1];
    size_t open_len, close_len;
};

/* Where the compiler stands. */
struct compiler {
    struct template *template;
    const struct template_partials *partials;
    size_t capacity; /* of nodes */
    size_t tags, source_bytes;
    struct routine routines[ROUTINES_MAX];
    size_t routine_count;
    struct error *err;
    /* of the routine that is being compiled */
    const struct routine *routine;
    const char *source, *end;
    const char *counted; /* up to here lines and columns are counted */
    uint32_t line, column;
    struct delimiters delimiters;
    uint32_t open[TEMPLATE_SECTIONS_MAX]; /* sections, as nodes */
    size_t open_count;
};

struct tag {
    char kind;        /* the character after the opening delimiter, or ' ' for a plain name */
    const char *next; /* behind the closing delimiter */
    char *name, *otherwise;
    size_t name_len, otherwise_len;
    uint32_t line, column;
    const char *indent; /* of the line, when the tag stands alone on it */
    size_t indent_len;
    bool alone;
};

static int fault(const struct compiler *compiler, uint32_t line, uint32_t column, const char *what)
{
    if (compiler->routine->name != NULL)
        return error_set(compiler->err, -EINVAL, "partial \"%s\", line %u, column %u: %s", compiler->routine->name,
                         line, column, what);
    return error_set(compiler->err, -EINVAL, "line %u, column %u: %s", line, column, what);
}

static int tag_fault(const struct compiler *compiler, const struct tag *tag, const char *what)
{
    return fault(compiler, tag->line, tag->column, what);
}

static struct template_node *add_node(struct compiler *compiler, enum template_node_kind kind)
{
    struct template *template = compiler->template;
    if (template->count == compiler->capacity) {
        size_t capacity = compiler->capacity == 0 ? 16 : compiler->capacity * 2;
        struct template_node *nodes = realloc(template->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL) {
            (void)error_memory(compiler->err);
            return NULL;
        }
        template->nodes = nodes;
        compiler->capacity = capacity;
    }
    struct template_node *node = &template->nodes[template->count++];
    *node = (struct template_node){.kind = kind, .line = compiler->line, .column = compiler->column};
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

static int add_text(struct compiler *compiler, const char *text, const char *end)
{
    if (text == end)
        return 0;
    struct template_node *node = add_node(compiler, NODE_TEXT);
    if (node == NULL)
        return -ENOMEM;
    node->text = text;
    node->len = (size_t)(end - text);
    return 0;
}

static struct template_node *add_named(struct compiler *compiler, enum template_node_kind kind, const struct tag *tag)
{
    struct template_node *node = add_node(compiler, kind);
    if (node == NULL)
        return NULL;
    tag->name[tag->name_len] = '\0';
    node->line = tag->line;
    node->column = tag->column;
    node->text = tag->name;
    node->len = tag->name_len;
    compiler->template->uses_values = true;
    if (kind == NODE_PARTIAL || kind == NODE_END)
        return node;
    for (size_t i = 0; i < countof(builtin_names); i++)
        if (strcmp(node->text, builtin_names[i].name) == 0)
            node->builtin = builtin_names[i].builtin;
    if (node->builtin == BUILTIN_NONE)
        compiler->template->uses_attributes = true;
    return node;
}

static int add_value(struct compiler *compiler, const struct tag *tag)
{
    struct template_node *node = add_named(compiler, NODE_VALUE, tag);
    if (node == NULL)
        return -ENOMEM;
    node->raw = tag->kind == '&' || tag->kind == '{';
    if (strcmp(node->text, "email") == 0)
        node->fallback = BUILTIN_RECIPIENT_EMAIL;
    if (tag->otherwise != NULL) {
        node->otherwise = tag->otherwise;
        node->otherwise_len = tag->otherwise_len;
    }
    return 0;
}

static int open_section(struct compiler *compiler, const struct tag *tag)
{
    if (compiler->open_count == TEMPLATE_SECTIONS_MAX)
        return tag_fault(compiler, tag, "sections nest too deep");
    enum template_node_kind kind = tag->kind == '#' ? NODE_SECTION : NODE_INVERTED;
    compiler->open[compiler->open_count++] = (uint32_t)compiler->template->count;
    return add_named(compiler, kind, tag) != NULL ? 0 : -ENOMEM;
}

static int close_section(struct compiler *compiler, const struct tag *tag)
{
    char what[2 * TEMPLATE_NAME_MAX_BYTES + 100];
    if (compiler->open_count == 0)
        return tag_fault(compiler, tag, "a section is closed that was not opened");
    uint32_t index = compiler->open[--compiler->open_count];
    const struct template_node *opened = &compiler->template->nodes[index];
    if (opened->len != tag->name_len || memcmp(opened->text, tag->name, tag->name_len) != 0) {
        (void)snprintf(what, sizeof(what), "the section \"%s\" of line %u must be closed before \"%.*s\"", opened->text,
                       opened->line, (int)tag->name_len, tag->name);
        return tag_fault(compiler, tag, what);
    }
    struct template_node *node = add_named(compiler, NODE_END, tag);
    if (node == NULL)
        return -ENOMEM;
    node->target = index;
    compiler->template->nodes[index].target = (uint32_t)(node - compiler->template->nodes);
    return 0;
}

/* The routine of the partial with this indentation, made when it is new. */
static int find_routine(struct compiler *compiler, const struct tag *tag, uint32_t *out)
{
    char what[TEMPLATE_NAME_MAX_BYTES + 60];
    size_t indent_len = tag->alone ? tag->indent_len : 0;
    for (size_t i = 1; i < compiler->routine_count; i++) {
        const struct routine *routine = &compiler->routines[i];
        if (strcmp(routine->name, tag->name) == 0 && routine->indent_len == indent_len &&
            memcmp(routine->indent, tag->indent, indent_len) == 0) {
            *out = (uint32_t)i;
            return 0;
        }
    }
    *out = TEMPLATE_NOWHERE;
    /* Only a partial that calls itself with ever more indentation comes here; a rendering that does so fails. */
    if (compiler->routine->depth == TEMPLATE_CALLS_MAX)
        return 0;
    const json_t *source = compiler->partials != NULL ? json_object_get(compiler->partials->texts, tag->name) : NULL;
    if (source == NULL && compiler->partials != NULL && compiler->partials->strict) {
        (void)snprintf(what, sizeof(what), "there is no partial named \"%s\"", tag->name);
        return tag_fault(compiler, tag, what);
    }
    if (compiler->routine_count == ROUTINES_MAX)
        return tag_fault(compiler, tag, "too many partials, or too many indentations of them");
    *out = (uint32_t)compiler->routine_count++;
    compiler->routines[*out] = (struct routine){
        .name = tag->name, .indent = tag->indent, .indent_len = indent_len, .depth = compiler->routine->depth + 1};
    return 0;
}

static int add_partial(struct compiler *compiler, const struct tag *tag)
{
    uint32_t routine = 0;
    struct template_node *node = add_named(compiler, NODE_PARTIAL, tag);
    if (node == NULL)
        return -ENOMEM;
    int rc = find_routine(compiler, tag, &routine);
    node->target = routine; /* becomes a node when all are compiled */
    return rc;
}

static int check_name(const struct compiler *compiler, const struct tag *tag)
{
    const char *name = tag->name;
    size_t len = tag->name_len;
    if (len == 0)
        return tag_fault(compiler, tag, "the tag has no name");
    if (len > TEMPLATE_NAME_MAX_BYTES || tag->otherwise_len > TEMPLATE_OTHERWISE_MAX_BYTES)
        return tag_fault(compiler, tag, "the name in the tag is too long");
    const char *end = tag->otherwise != NULL ? tag->otherwise + tag->otherwise_len : name + len;
    for (const char *p = name; p < end; p++)
        if (*p == '{' || *p == '}' || ((uint8_t)*p < 0x20))
            return tag_fault(compiler, tag, "the tag is not closed, or its name has a brace or a line break");
    if (len == 1 && name[0] == '.' && tag->kind != '>')
        return 0;
    if (name[0] == '.' || name[len - 1] == '.' || memmem(name, len, "..", 2) != NULL)
        return tag_fault(compiler, tag, "the name in the tag begins or ends with a dot, or has two in a row");
    return 0;
}

static void trim(char **text, size_t *len)
{
    while (*len > 0 && ascii_is_space(**text)) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && ascii_is_space((*text)[*len - 1]))
        (*len)--;
}

/* {{name|text}}: what is behind the bar is for want of a value. */
static void split_otherwise(struct tag *tag)
{
    char *bar = memchr(tag->name, '|', tag->name_len);
    if (bar == NULL)
        return;
    tag->otherwise = bar + 1;
    tag->otherwise_len = tag->name_len - (size_t)(bar + 1 - tag->name);
    trim(&tag->otherwise, &tag->otherwise_len);
    tag->name_len = (size_t)(bar - tag->name);
    trim(&tag->name, &tag->name_len);
}

static int set_delimiters(struct compiler *compiler, const struct tag *tag)
{
    struct delimiters *set = &compiler->delimiters;
    const char *end = tag->name + tag->name_len;
    const char *gap = tag->name;
    while (gap < end && !ascii_is_space(*gap))
        gap++;
    const char *close = gap;
    while (close < end && ascii_is_space(*close))
        close++;
    size_t open_len = (size_t)(gap - tag->name);
    size_t close_len = (size_t)(end - close);
    bool odd = memchr(tag->name, '=', tag->name_len) != NULL;
    for (const char *p = close; p < end; p++)
        odd = odd || ascii_is_space(*p);
    if (odd || open_len == 0 || close_len == 0 || open_len > DELIMITER_MAX_BYTES || close_len > DELIMITER_MAX_BYTES)
        return tag_fault(compiler, tag, "delimiters are set like {{=<% %>=}}: two, with a space between");
    *set = (struct delimiters){.open_len = open_len, .close_len = close_len};
    memcpy(set->open, tag->name, open_len);
    memcpy(set->close, close, close_len);
    return 0;
}

/* A tag that shows nothing itself takes its whole line away when nothing else is on it. */
static void find_line(const struct compiler *compiler, const char *start, struct tag *tag)
{
    const char *before = start;
    while (before > compiler->source && (before[-1] == ' ' || before[-1] == '\t'))
        before--;
    const char *after = tag->next;
    while (after < compiler->end && (*after == ' ' || *after == '\t'))
        after++;
    if ((before > compiler->source && before[-1] != '\n') || (after < compiler->end && *after != '\n'))
        return;
    tag->alone = true;
    tag->indent = before;
    tag->indent_len = (size_t)(start - before);
    tag->next = after < compiler->end ? after + 1 : after;
}

/* The tag whose opening delimiter is at `start`. */
static int read_tag(const struct compiler *compiler, const char *start, struct tag *tag)
{
    const struct delimiters *set = &compiler->delimiters;
    char closer[DELIMITER_MAX_BYTES + 2] = "";
    size_t extra = 0;
    const char *at = start + set->open_len;
    *tag = (struct tag){.kind = ' ', .line = compiler->line, .column = compiler->column, .indent = start};
    /* {{{name}}} wants its brace at once; the others may be spaced. */
    if (at < compiler->end && *at == '{')
        tag->kind = '{';
    for (const char *p = at; tag->kind == ' ' && p < compiler->end; p++) {
        if (ascii_is_space(*p))
            continue;
        if (strchr("#^/>!=&<$", *p) == NULL || *p == '\0')
            break;
        tag->kind = *p;
        at = p;
    }
    if (tag->kind != ' ')
        at++;
    if (tag->kind == '{' || tag->kind == '=')
        closer[extra++] = tag->kind == '{' ? '}' : '=';
    memcpy(closer + extra, set->close, set->close_len);
    const char *close = memmem(at, (size_t)(compiler->end - at), closer, extra + set->close_len);
    if (close == NULL)
        return tag_fault(compiler, tag, "the tag is not closed");
    tag->next = close + extra + set->close_len;
    tag->name = (char *)(uintptr_t)at;
    tag->name_len = (size_t)(close - at);
    trim(&tag->name, &tag->name_len);
    if (strchr("#^/>!=", tag->kind) != NULL)
        find_line(compiler, start, tag);
    else
        split_otherwise(tag);
    return tag->kind == '!' || tag->kind == '=' ? 0 : check_name(compiler, tag);
}

static int take_tag(struct compiler *compiler, const struct tag *tag)
{
    switch (tag->kind) {
    case '!':
        return 0;
    case '=':
        return set_delimiters(compiler, tag);
    case '#':
    case '^':
        return open_section(compiler, tag);
    case '/':
        return close_section(compiler, tag);
    case '>':
        tag->name[tag->name_len] = '\0';
        return add_partial(compiler, tag);
    case '<':
    case '$':
        return tag_fault(compiler, tag, "blocks ({{<name}}, {{$name}}) are not supported");
    default:
        return add_value(compiler, tag);
    }
}

static int compile_source(struct compiler *compiler)
{
    struct tag tag;
    const char *end = compiler->end;
    for (const char *at = compiler->source; at < end; at = tag.next) {
        const char *start = memmem(at, (size_t)(end - at), compiler->delimiters.open, compiler->delimiters.open_len);
        if (start == NULL)
            return add_text(compiler, at, end);
        count_up_to(compiler, start);
        int rc = read_tag(compiler, start, &tag);
        if (rc < 0)
            return rc;
        if (++compiler->tags > TEMPLATE_TAGS_MAX)
            return tag_fault(compiler, &tag, "the text has too many tags");
        count_up_to(compiler, tag.next);
        rc = add_text(compiler, at, tag.alone ? tag.indent : start);
        if (rc == 0)
            rc = take_tag(compiler, &tag);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static size_t count_lines(const char *text, size_t len)
{
    size_t lines = 1;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n' || text[i] == '\r';
    return lines;
}

/* LF for every line end, and the indentation before every line. Returns the length. */
static size_t copy_source(const struct routine *routine, const char *text, size_t len, char *copy)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (routine->indent_len > 0 && (n == 0 || copy[n - 1] == '\n')) {
            memcpy(copy + n, routine->indent, routine->indent_len);
            n += routine->indent_len;
        }
        copy[n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
            i++;
    }
    return n;
}

static int compile_routine(struct compiler *compiler, struct routine *routine, const char *text, size_t len)
{
    compiler->routine = routine;
    routine->start = (uint32_t)compiler->template->count;
    size_t need = len + routine->indent_len * count_lines(text, len);
    compiler->source_bytes += need;
    if (compiler->source_bytes > TEMPLATE_SOURCE_MAX_BYTES)
        return fault(compiler, 1, 1, "the text and its partials are too large");
    char *source = arena_alloc(&compiler->template->storage, need + 1);
    if (source == NULL)
        return error_memory(compiler->err);
    compiler->source = source;
    compiler->end = source + copy_source(routine, text, len, source);
    compiler->counted = compiler->source;
    compiler->line = 1;
    compiler->column = 1;
    compiler->delimiters = (struct delimiters){"{{", "}}", 2, 2};
    compiler->open_count = 0;
    int rc = compile_source(compiler);
    if (rc == 0 && compiler->open_count > 0) {
        const struct template_node *opened = &compiler->template->nodes[compiler->open[compiler->open_count - 1]];
        return fault(compiler, opened->line, opened->column, "the section is not closed");
    }
    if (rc == 0 && add_node(compiler, NODE_RETURN) == NULL)
        return -ENOMEM;
    return rc;
}

/* Partials call partials: the list grows while it is worked off. */
static int compile_partials(struct compiler *compiler)
{
    struct template *template = compiler->template;
    for (size_t i = 1; i < compiler->routine_count; i++) {
        struct routine *routine = &compiler->routines[i];
        const json_t *text =
            compiler->partials != NULL ? json_object_get(compiler->partials->texts, routine->name) : NULL;
        const char *bytes = json_string_value(text);
        int rc = compile_routine(compiler, routine, bytes != NULL ? bytes : "", json_string_length(text));
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < template->count; i++) {
        struct template_node *node = &template->nodes[i];
        if (node->kind == NODE_PARTIAL && node->target != TEMPLATE_NOWHERE)
            node->target = compiler->routines[node->target].start;
    }
    return 0;
}

/* Without any value: partials that call each other still do so without end, for every recipient. */
static int check_recursion(struct compiler *compiler)
{
    static const struct template_values none = {0};
    struct template_walk walk;
    struct template_step step;
    int rc;
    if (compiler->routine_count == 1)
        return 0;
    template_begin(&walk, compiler->template, &none);
    while ((rc = template_next(&walk, &step)) > 0) {
    }
    if (rc == 0)
        return 0;
    compiler->routine = &compiler->routines[0];
    for (size_t i = 1; i < compiler->routine_count; i++)
        if (compiler->routines[i].start <= (uint32_t)(step.node - compiler->template->nodes))
            compiler->routine = &compiler->routines[i];
    return fault(compiler, step.node->line, step.node->column, "partials call each other without end, or too often");
}

int template_compile(const char *text, size_t len, const struct template_partials *partials, struct template **out,
                     struct error *err)
{
    *out = NULL;
    struct compiler *compiler = calloc(1, sizeof(*compiler));
    struct template *template = calloc(1, sizeof(*template));
    if (compiler == NULL || template == NULL) {
        free(compiler);
        free(template);
        return error_memory(err);
    }
    template->storage = ARENA_INIT(2 * TEMPLATE_SOURCE_MAX_BYTES);
    compiler->template = template;
    compiler->partials = partials;
    compiler->routine_count = 1;
    compiler->err = err;
    int rc = compile_routine(compiler, &compiler->routines[0], text, len);
    if (rc == 0)
        rc = compile_partials(compiler);
    if (rc == 0)
        rc = check_recursion(compiler);
    free(compiler);
    if (rc < 0)
        template_free(template);
    else
        *out = template;
    return rc;
}

void template_free(struct template *template)
{
    if (template == NULL)
        return;
    free(template->nodes);
    arena_finish(&template->storage);
    free(template);
}
