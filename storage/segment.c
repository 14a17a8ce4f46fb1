/*
 * segment.c - the stored form of a segment: written node by node, read back with every bound checked.
 *
 * A node: kind, op (a byte each), count (2 bytes), id (8), length of the name (2), name, NUL. A value: type (a byte),
 * then 8 bytes of number, or 4 bytes of length, text, NUL. Numbers are in the machine's order: a database does not
 * change its machine's kind without being dumped and loaded. A test's values follow it; a group's members follow it.
 * The first byte is the version.
 *
 * What comes from the database is not trusted: a program that this file did not write is refused as a whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/segment_private.h"

#define VERSION 1
#define NODES_MAX (SEGMENT_TESTS_MAX * 4) /* groups need not hold more than one */
const size_t segment_program_bytes_max = SEGMENT_BYTES_MAX * 4;

static void put_node(struct buffer *out, enum segment_kind kind, enum segment_op op, const char *name, int64_t id,
                     unsigned count)
{
    uint16_t count16 = (uint16_t)count, len = (uint16_t)strnlen(name, UINT16_MAX);
    if (out->len == 0)
        buffer_append_char(out, VERSION);
    buffer_append_char(out, (char)kind);
    buffer_append_char(out, (char)op);
    buffer_append(out, &count16, sizeof(count16));
    buffer_append(out, &id, sizeof(id));
    buffer_append(out, &len, sizeof(len));
    buffer_append(out, name, len);
    buffer_append_char(out, '\0');
}

void segment_put_group(struct buffer *out, enum segment_kind kind, unsigned members)
{
    put_node(out, kind, SEGMENT_NONE, "", 0, members);
}

void segment_put_test(struct buffer *out, enum segment_kind kind, enum segment_op op, const char *name, int64_t id,
                      unsigned values)
{
    put_node(out, kind, op, name, id, values);
}

void segment_put_value(struct buffer *out, const struct segment_value *value)
{
    buffer_append_char(out, (char)value->type);
    if (value->type != SEGMENT_TEXT) {
        buffer_append(out, &value->number, sizeof(value->number));
        return;
    }
    uint32_t len = (uint32_t)strlen(value->text);
    buffer_append(out, &len, sizeof(len));
    buffer_append(out, value->text, (size_t)len + 1);
}

struct input {
    const char *at, *end;
    unsigned depth;
};

static bool take(struct input *input, void *out, size_t bytes)
{
    if ((size_t)(input->end - input->at) < bytes)
        return false;
    memcpy(out, input->at, bytes);
    input->at += bytes;
    return true;
}

/* `len` bytes and a NUL, none within. */
static bool take_text(struct input *input, size_t len, const char **out)
{
    if ((size_t)(input->end - input->at) <= len || memchr(input->at, '\0', len + 1) != input->at + len)
        return false;
    *out = input->at;
    input->at += len + 1;
    return true;
}

static bool take_value(struct input *input, struct segment_value *value)
{
    uint8_t type;
    uint32_t len;
    *value = (struct segment_value){.text = ""};
    if (!take(input, &type, sizeof(type)))
        return false;
    value->type = type;
    if (type == SEGMENT_TEXT)
        return take(input, &len, sizeof(len)) && take_text(input, len, &value->text);
    return (type == SEGMENT_NUMBER || type == SEGMENT_BOOL) && take(input, &value->number, sizeof(value->number));
}

static bool is_group(enum segment_kind kind)
{
    return kind >= SEGMENT_AND && kind <= SEGMENT_NOT;
}

static bool sound(const struct segment_node *node)
{
    if (is_group(node->kind))
        return node->op == SEGMENT_NONE && (node->kind != SEGMENT_NOT || node->count == 1);
    return node->op > SEGMENT_NONE && node->op < SEGMENT_OP_END && (node->count == 1 || node->op == SEGMENT_IN);
}

/* One node with all that belongs to it. */
static bool take_node(struct input *input, struct segment *segment)
{
    uint8_t kind, op;
    uint16_t count, len;
    if (segment->node_count == NODES_MAX || input->depth > 2 * SEGMENT_DEPTH_MAX)
        return false;
    struct segment_node *node = &segment->nodes[segment->node_count++];
    if (!take(input, &kind, 1) || !take(input, &op, 1) || !take(input, &count, sizeof(count)) ||
        !take(input, &node->id, sizeof(node->id)) || !take(input, &len, sizeof(len)) ||
        !take_text(input, len, &node->name) || kind < SEGMENT_AND || kind >= SEGMENT_KIND_END)
        return false;
    node->kind = (enum segment_kind)kind;
    node->op = (enum segment_op)op;
    node->count = count;
    node->value = (unsigned)segment->value_count;
    if (!sound(node))
        return false;
    input->depth++;
    for (unsigned i = 0; i < count; i++) {
        if (is_group(node->kind) ? !take_node(input, segment)
                                 : segment->value_count == SEGMENT_VALUES_MAX ||
                                       !take_value(input, &segment->values[segment->value_count++]))
            return false;
    }
    input->depth--;
    node->end = (unsigned)segment->node_count;
    return true;
}

int segment_decode(struct segment *segment, struct error *err)
{
    size_t len;
    memcpy(&len, segment->bytes, sizeof(len));
    struct input input = {.at = segment->bytes + sizeof(len), .end = segment->bytes + sizeof(len) + len};
    uint8_t version = 0;
    segment->nodes = calloc(NODES_MAX, sizeof(*segment->nodes));
    segment->values = calloc(SEGMENT_VALUES_MAX, sizeof(*segment->values));
    if (segment->nodes == NULL || segment->values == NULL)
        return error_memory(err);
    if (!take(&input, &version, 1) || version != VERSION || !take_node(&input, segment) || input.at != input.end)
        return error_set(err, -EINVAL, "what is stored is no segment of this version");
    return 0;
}
