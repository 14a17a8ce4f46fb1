/*
 * template_render.c - goes through a compiled template and says what comes next: a text or a value.
 *
 * It is a small machine: a place in the nodes and a stack of frames, one for each open section and each partial that is
 * being shown. So neither nesting nor recursion of partials uses the C stack, and whoever encodes the output (mime.c)
 * takes it piece by piece. Bounds on depth and steps hold whatever the attributes bring: a list of a million entries, a
 * partial that calls itself for each child of a tree.
 *
 * Names are looked up from the innermost context outwards; once the first part of a dotted name is found, the rest is
 * looked for there and nowhere else. Values are never looked at for tags, so a recipient cannot bring a template along.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "campaign/message/html.h"
#include "campaign/message/template.h"

#define OF_RECIPIENT "recipient."

/* What a name stands for: a built-in, or a value of the attributes (NULL = absent). */
struct found {
    enum template_builtin builtin;
    const json_t *value;
};

void template_begin(struct template_walk *walk, const struct template *template, const struct template_values *values)
{
    walk->template = template;
    walk->values = values;
    walk->at = 0;
    walk->steps = 0;
    walk->depth = 0;
    walk->sections = 0;
    walk->calls = 0;
}

/* True when the context settles what the name means: it has a member of that name, or of its first part. */
static bool look_up(const json_t *context, const char *name, const json_t **value)
{
    const char *dot = strchr(name, '.');
    const json_t *at =
        dot == NULL ? json_object_get(context, name) : json_object_getn(context, name, (size_t)(dot - name));
    if (at == NULL)
        return false;
    while (at != NULL && dot != NULL) {
        const char *part = dot + 1;
        dot = strchr(part, '.');
        at = dot != NULL ? json_object_getn(at, part, (size_t)(dot - part)) : json_object_get(at, part);
    }
    *value = at;
    return true;
}

static struct found find(const struct template_walk *walk, const struct template_node *node)
{
    struct found found = {.builtin = node->builtin};
    if (node->builtin != BUILTIN_NONE)
        return found;
    bool self = node->len == 1 && node->text[0] == '.';
    if (strncmp(node->text, OF_RECIPIENT, sizeof(OF_RECIPIENT) - 1) == 0 &&
        look_up(walk->values->attributes, node->text + sizeof(OF_RECIPIENT) - 1, &found.value))
        return found;
    for (unsigned i = walk->depth; i > 0; i--) {
        const struct template_frame *frame = &walk->frames[i - 1];
        if (frame->call)
            continue;
        if (self)
            return (struct found){frame->builtin, frame->context};
        if (look_up(frame->context, node->text, &found.value))
            return found;
    }
    if (self)
        found.value = walk->values->attributes;
    else
        (void)look_up(walk->values->attributes, node->text, &found.value);
    return found;
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

static void show_builtin(const struct template_walk *walk, enum template_builtin builtin, struct template_step *step)
{
    const char *text = walk->values->builtins[builtin];
    step->text = text != NULL ? text : "";
    step->len = strlen(step->text);
}

static void show_link(const struct template_walk *walk, const struct template_node *node, struct template_step *step)
{
    const struct template_values *values = walk->values;
    const char *text = values->link != NULL ? values->link(values->link_context, node->target) : NULL;
    step->text = text != NULL ? text : "";
    step->len = strlen(step->text);
}

static void show_json(struct template_walk *walk, const json_t *value, struct template_step *step)
{
    step->text = walk->scratch;
    step->len = 0;
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        step->text = json_string_value(value);
        step->len = json_string_length(value);
        break;
    case JSON_INTEGER:
        step->len =
            (size_t)snprintf(walk->scratch, TEMPLATE_SCRATCH_BYTES, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        step->len = format_real(json_real_value(value), walk->scratch);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        step->text = json_is_true(value) ? "true" : "false";
        step->len = strlen(step->text);
        break;
    case JSON_NULL:
    case JSON_OBJECT:
    case JSON_ARRAY:
    default:
        step->missing = true;
        break;
    }
}

static void show_value(struct template_walk *walk, const struct template_node *node, struct template_step *step)
{
    struct found found = find(walk, node);
    step->missing = false;
    if (found.builtin == BUILTIN_LINK)
        show_link(walk, node, step);
    else if (found.builtin != BUILTIN_NONE)
        show_builtin(walk, found.builtin, step);
    else
        show_json(walk, found.value, step);
    if (step->missing && node->fallback != BUILTIN_NONE) {
        show_builtin(walk, node->fallback, step);
        step->missing = false;
    }
    if (step->len == 0 && node->otherwise != NULL) {
        step->text = node->otherwise;
        step->len = node->otherwise_len;
        step->missing = false;
    }
}

static bool is_true(const struct template_walk *walk, const struct found *found)
{
    if (found->builtin != BUILTIN_NONE) {
        const char *text = walk->values->builtins[found->builtin];
        return text != NULL && text[0] != '\0';
    }
    const json_t *value = found->value;
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        return json_string_length(value) > 0;
    case JSON_ARRAY:
        return json_array_size(value) > 0;
    case JSON_INTEGER:
        return json_integer_value(value) != 0;
    case JSON_REAL:
        return json_real_value(value) != 0;
    case JSON_TRUE:
    case JSON_OBJECT:
        return true;
    case JSON_FALSE:
    case JSON_NULL:
    default:
        return false;
    }
}

static int enter_section(struct template_walk *walk, const struct template_node *node)
{
    struct found found = find(walk, node);
    if (is_true(walk, &found) != (node->kind == NODE_SECTION)) {
        walk->at = node->target + 1;
        return 0;
    }
    walk->at++;
    if (node->kind == NODE_INVERTED)
        return 0;
    if (walk->sections == TEMPLATE_SECTIONS_MAX)
        return -ELOOP;
    struct template_frame *frame = &walk->frames[walk->depth++];
    walk->sections++;
    *frame = (struct template_frame){.context = found.value, .builtin = found.builtin};
    if (json_is_array(found.value)) {
        frame->list = found.value;
        frame->context = json_array_get(found.value, 0);
    }
    return 0;
}

static void end_section(struct template_walk *walk, const struct template_node *node)
{
    if (walk->template->nodes[node->target].kind == NODE_SECTION) {
        struct template_frame *frame = &walk->frames[walk->depth - 1];
        if (frame->list != NULL && ++frame->index < json_array_size(frame->list)) {
            frame->context = json_array_get(frame->list, frame->index);
            walk->at = node->target + 1;
            return;
        }
        walk->depth--;
        walk->sections--;
    }
    walk->at++;
}

static int enter_partial(struct template_walk *walk, const struct template_node *node)
{
    if (node->target == TEMPLATE_NOWHERE || walk->calls == TEMPLATE_CALLS_MAX)
        return -ELOOP;
    walk->frames[walk->depth++] = (struct template_frame){.call = true, .back = walk->at + 1};
    walk->calls++;
    walk->at = node->target;
    return 0;
}

int template_next(struct template_walk *walk, struct template_step *step)
{
    for (int rc = 0;;) {
        const struct template_node *node = &walk->template->nodes[walk->at];
        step->node = node;
        if (++walk->steps > TEMPLATE_STEPS_MAX)
            return -ETIME;
        switch (node->kind) {
        case NODE_TEXT:
            step->text = node->text;
            step->len = node->len;
            step->missing = false;
            walk->at++;
            return 1;
        case NODE_VALUE:
            show_value(walk, node, step);
            walk->at++;
            return 1;
        case NODE_SECTION:
        case NODE_INVERTED:
            rc = enter_section(walk, node);
            break;
        case NODE_END:
            end_section(walk, node);
            break;
        case NODE_PARTIAL:
            rc = enter_partial(walk, node);
            break;
        case NODE_RETURN:
            if (walk->depth == 0)
                return 0;
            walk->calls--;
            walk->at = walk->frames[--walk->depth].back;
            break;
        }
        if (rc < 0)
            return rc;
    }
}

int template_failure(int rc, struct error *err)
{
    if (rc == -ELOOP)
        return error_set(err, rc, "sections nest deeper than %d, or partials deeper than %d", TEMPLATE_SECTIONS_MAX,
                         TEMPLATE_CALLS_MAX);
    if (rc == -ETIME)
        return error_set(err, rc, "the template goes through more than %d tags and texts", TEMPLATE_STEPS_MAX);
    return error_memory(err);
}

int template_render(const struct template *template, const struct template_values *values, enum template_escape escape,
                    struct buffer *out, unsigned *missing)
{
    struct template_walk walk;
    struct template_step step;
    int rc;
    template_begin(&walk, template, values);
    while ((rc = template_next(&walk, &step)) > 0) {
        if (step.missing)
            (*missing)++;
        if (escape == TEMPLATE_HTML && step.node->kind == NODE_VALUE && !step.node->raw)
            html_escape(step.text, step.len, out);
        else
            buffer_append(out, step.text, step.len);
        if (out->failed)
            return -E2BIG;
    }
    return rc;
}
