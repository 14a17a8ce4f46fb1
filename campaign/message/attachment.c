/*
 * attachment.c - reads a campaign's files and writes them as body parts, once for all recipients.
 *
 * Every part is base64, whatever its type: so no line is too long and nothing in it can be a boundary. A type is
 * written as it was posted, so its grammar is checked to the last character; multipart and message types are refused,
 * because RFC 2046 sections 5.1 and 5.2 allow them no base64.
 *
 * Success means well-formed parts. Whether a file is what its type says, or harmless, is not looked at.
 */
#include "campaign/message/attachment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/str.h"

#include "campaign/message/base64.h"
#include "campaign/message/header.h"

#define FILENAME_MAX_BYTES 255
#define TYPE_MAX_BYTES 200
#define CID_MAX_BYTES 100
#define FIELD_BYTES 80

struct reader {
    struct attachments *out;
    const json_t *list;
    bool has_html, *faulty;
    struct problem *problem;
    size_t index; /* of the file that is being read */
    size_t total_bytes;
};

struct file {
    const char *filename, *type, *cid; /* cid: NULL unless inline */
    bool inlined;
};

#define FAULT(reader, key, ...)                                                                                        \
    do {                                                                                                               \
        char fault_field[FIELD_BYTES];                                                                                 \
        *(reader)->faulty = true;                                                                                      \
        problem_add((reader)->problem, field_name((reader), (key), fault_field), __VA_ARGS__);                         \
    } while (0)

static const char *field_name(const struct reader *reader, const char *key, char out[FIELD_BYTES])
{
    (void)snprintf(out, FIELD_BYTES, "attachments[%zu]%s%.30s", reader->index, key[0] != '\0' ? "." : "", key);
    return out;
}

static bool is_token_char(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || ascii_is_digit(c) || (c != '\0' && strchr("!#$&+-.^_", c) != NULL);
}

static const char *skip_token(const char *p)
{
    while (is_token_char(*p))
        p++;
    return p;
}

/* type "/" subtype *(";" attribute "=" token): no quoted strings, no comments. */
static bool is_type(const char *text)
{
    const char *p = skip_token(text);
    if (p == text || *p != '/')
        return false;
    const char *part = p + 1;
    p = skip_token(part);
    if (p == part)
        return false;
    while (*p == ';') {
        part = p + 1 + strspn(p + 1, " ");
        p = skip_token(part);
        if (p == part || *p != '=')
            return false;
        part = p + 1;
        p = skip_token(part);
        if (p == part)
            return false;
    }
    return *p == '\0';
}

/* A member that is text; NULL when it is absent or, with a fault noted, not usable. */
static const char *take_text(struct reader *reader, const json_t *entry, const char *key, size_t max_bytes)
{
    const json_t *value = json_object_get(entry, key);
    if (value == NULL || json_is_null(value))
        return NULL;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    bool plain = text != NULL;
    for (size_t i = 0; i < len && plain; i++)
        plain = (uint8_t)text[i] >= 0x20 && text[i] != 0x7f;
    if (plain && len > 0 && len <= max_bytes)
        return text;
    FAULT(reader, key, "must be a text of 1 to %zu bytes without control characters", max_bytes);
    return NULL;
}

static bool has(const json_t *entry, const char *key)
{
    const json_t *value = json_object_get(entry, key);
    return value != NULL && !json_is_null(value);
}

static void check_cid(struct reader *reader, const json_t *entry, struct file *file)
{
    file->cid = take_text(reader, entry, "cid", CID_MAX_BYTES);
    if (!file->inlined) {
        if (has(entry, "cid"))
            FAULT(reader, "cid", "is for inline files only");
        return;
    }
    if (!reader->has_html)
        FAULT(reader, "inline", "needs an HTML part that shows the file");
    if (!has(entry, "cid"))
        FAULT(reader, "cid", "is missing: an inline file is shown by its cid");
    if (file->cid == NULL)
        return;
    for (const char *p = file->cid; *p != '\0'; p++)
        if (!is_token_char(*p) && *p != '@') {
            FAULT(reader, "cid", "may hold letters, digits and . _ - + @ only");
            return;
        }
    for (size_t i = 0; i < reader->index; i++) {
        const char *other = json_string_value(json_object_get(json_array_get(reader->list, i), "cid"));
        if (other != NULL && strcmp(other, file->cid) == 0)
            FAULT(reader, "cid", "is that of another file too");
    }
}

static void check_names(struct reader *reader, const json_t *entry, struct file *file)
{
    file->filename = take_text(reader, entry, "filename", FILENAME_MAX_BYTES);
    if (!has(entry, "filename"))
        FAULT(reader, "filename", "is missing");
    else if (file->filename != NULL && strpbrk(file->filename, "/\\") != NULL)
        FAULT(reader, "filename", "must not hold a slash");
    file->type = take_text(reader, entry, "content_type", TYPE_MAX_BYTES);
    if (!has(entry, "content_type"))
        file->type = "application/octet-stream";
    else if (file->type != NULL && !is_type(file->type))
        FAULT(reader, "content_type", "is not a media type like image/png");
    else if (file->type != NULL &&
             (str_starts_nocase(file->type, "multipart/") || str_starts_nocase(file->type, "message/")))
        FAULT(reader, "content_type", "cannot be a multipart or a message");
    const json_t *inlined = json_object_get(entry, "inline");
    if (has(entry, "inline") && !json_is_boolean(inlined))
        FAULT(reader, "inline", "must be true or false");
    file->inlined = json_is_true(inlined);
    check_cid(reader, entry, file);
}

static void check_members(struct reader *reader, const json_t *entry)
{
    static const char *const known[] = {"filename", "content_type", "content", "inline", "cid"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)entry, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < countof(known); i++)
            found = found || strcmp(known[i], key) == 0;
        if (!found)
            FAULT(reader, key, "is not a known field");
    }
}

static void write_file(const struct attachments *out, const struct file *file, const struct buffer *content,
                       struct buffer *to)
{
    struct base64 base64;
    buffer_append_str(to, "\r\n--");
    buffer_append_str(to, file->inlined ? out->inline_boundary : out->boundary);
    buffer_append_str(to, "\r\n");
    header_raw(to, "Content-Type", file->type);
    header_raw(to, "Content-Transfer-Encoding", "base64");
    if (file->inlined) {
        char id[CID_MAX_BYTES + 3];
        (void)snprintf(id, sizeof(id), "<%s>", file->cid);
        header_raw(to, "Content-ID", id);
    }
    header_disposition(to, file->inlined ? "inline" : "attachment", file->filename);
    buffer_append_str(to, "\r\n");
    base64_begin(&base64, to, false);
    base64_write(&base64, buffer_text(content), content->len);
    base64_end(&base64);
}

/* 0; -EINVAL: not base64; -ENOMEM. */
static int decode(const char *text, size_t len, struct buffer *content)
{
    if (buffer_reserve(content, BASE64_DECODED_MAX_BYTES(len)) < 0)
        return -ENOMEM;
    ssize_t n = base64_decode(text, len, true, content->data);
    if (n < 0)
        return (int)n;
    content->len = (size_t)n;
    content->data[n] = '\0';
    return 0;
}

/* 0 or -ENOMEM; faults are noted. */
static int read_content(struct reader *reader, const json_t *entry, struct buffer *content)
{
    const json_t *value = json_object_get(entry, "content");
    if (!json_is_string(value)) {
        FAULT(reader, "content", has(entry, "content") ? "must be a text in base64" : "is missing");
        return 0;
    }
    size_t len = json_string_length(value);
    int rc = BASE64_DECODED_MAX_BYTES(len) > 2 * ATTACHMENTS_MAX_BYTES ? -E2BIG : decode(json_string_value(value), len, content);
    if (rc == -EINVAL)
        FAULT(reader, "content", "is not base64");
    bool fitted = reader->total_bytes <= ATTACHMENTS_MAX_BYTES;
    reader->total_bytes += rc == -E2BIG ? 2 * ATTACHMENTS_MAX_BYTES : content->len;
    if (fitted && reader->total_bytes > ATTACHMENTS_MAX_BYTES)
        FAULT(reader, "content", "makes the files larger than %zu bytes together", ATTACHMENTS_MAX_BYTES);
    return rc == -ENOMEM ? rc : 0;
}

static int read_file(struct reader *reader, const json_t *entry)
{
    struct file file = {.filename = NULL};
    if (!json_is_object(entry)) {
        FAULT(reader, "", "must be an object with filename, content_type and content");
        return 0;
    }
    check_members(reader, entry);
    check_names(reader, entry, &file);
    struct buffer content = BUFFER_INIT(0);
    int rc = read_content(reader, entry, &content);
    if (rc == 0 && !*reader->faulty)
        write_file(reader->out, &file, &content, file.inlined ? &reader->out->inlined : &reader->out->attached);
    buffer_finish(&content);
    return rc;
}

static void close_parts(struct buffer *parts, const char *boundary)
{
    if (parts->len == 0)
        return;
    buffer_append_str(parts, "\r\n--");
    buffer_append_str(parts, boundary);
    buffer_append_str(parts, "--\r\n");
}

int attachments_compile(const json_t *list, bool has_html, struct attachments *out, bool *faulty,
                        struct problem *problem, struct error *err)
{
    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > ATTACHMENTS_MAX) {
        *faulty = true;
        problem_add(problem, "attachments", "must be an array of at most %d files", ATTACHMENTS_MAX);
        return 0;
    }
    bool own_fault = false;
    struct reader reader = {.out = out, .list = list, .has_html = has_html, .faulty = &own_fault, .problem = problem};
    for (; reader.index < json_array_size(list); reader.index++)
        if (read_file(&reader, json_array_get(list, reader.index)) < 0)
            return error_memory(err);
    *faulty = *faulty || own_fault;
    close_parts(&out->inlined, out->inline_boundary);
    close_parts(&out->attached, out->boundary);
    return out->inlined.failed || out->attached.failed ? error_memory(err) : 0;
}
