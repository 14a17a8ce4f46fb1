/*
 * rows_csv.c - one CSV row becomes one recipient: header, address, attributes.
 *
 * The header names the attributes. It is refused as a whole (and with it the file, before anything is stored) when it
 * has no `email` column or two of them, the same name twice, or a name that cannot be one. A column without a name, and
 * columns behind the header's last, are allowed as long as their cells are empty, because spreadsheets write such
 * columns; a value in one rejects its row, because it would be lost in silence or belongs to a neighbour. A row may be
 * shorter than the header (spreadsheets leave out empty cells at the end): those attributes are then absent.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/hashmap.h"
#include "base/str.h"

#include "campaign/audience/attributes.h"
#include "campaign/audience/rows.h"

static struct csv_field trim(struct csv_field field)
{
    while (field.len > 0 && ascii_is_space(field.text[0])) {
        field.text++;
        field.len--;
    }
    while (field.len > 0 && ascii_is_space(field.text[field.len - 1]))
        field.len--;
    return field;
}

static bool is_email(struct csv_field name)
{
    static const char email[] = "email";
    if (name.len != sizeof(email) - 1)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (ascii_lower(name.text[i]) != email[i])
            return false;
    }
    return true;
}

/* The names of the header for a sentence, cut to what fits. */
static void list_names(const struct csv_row *row, char *out, size_t out_bytes)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < row->count && len + 8 < out_bytes; i++) {
        struct csv_field name = trim(row->fields[i]);
        size_t room = out_bytes - len - 6;
        size_t take = MIN_OF(name.len, MIN_OF(room, (size_t)32));
        if (i > 0) {
            memcpy(out + len, ", ", 2);
            len += 2;
        }
        memcpy(out + len, name.text, take);
        len += take;
        out[len] = '\0';
    }
    for (size_t i = 0; i < len; i++) {
        if (out[i] == '\0')
            out[i] = ' ';
    }
    str_make_line(out);
}

static int name_column(struct import *import, const struct csv_row *row, size_t i)
{
    struct csv_field name = trim(row->fields[i]);
    if (name.len == 0)
        return 0;
    if (memchr(name.text, '\0', name.len) != NULL)
        return error_set(import->err, -EINVAL,
                         "the header row (line %" PRId64 ") holds NUL bytes: is the file UTF-16? Save it as UTF-8",
                         row->line);
    const char *why = attributes_check_name(name.text, name.len);
    if (why != NULL)
        return error_set(import->err, -EINVAL, "the name of column %zu in the header row (line %" PRId64 ") %s", i + 1,
                         row->line, why);
    buffer_clear(&import->json);
    why = attributes_append_string(&import->json, name.text, name.len);
    assure(why == NULL); /* its characters were checked above */
    buffer_append_char(&import->json, ':');
    import->columns[i].json_key = buffer_steal(&import->json, &import->columns[i].json_key_len);
    return import->columns[i].json_key != NULL ? 0 : error_memory(import->err);
}

static int check_columns(struct import *import, const struct csv_row *row)
{
    struct hashmap seen = HASHMAP_INIT;
    bool found = false;
    int rc = 0;
    for (size_t i = 0; i < row->count && rc == 0; i++) {
        rc = name_column(import, row, i);
        if (rc != 0 || import->columns[i].json_key == NULL)
            continue;
        if (is_email(trim(row->fields[i]))) {
            if (found)
                rc = error_set(import->err, -EINVAL,
                               "the header row (line %" PRId64 ") has two email columns, %zu and %zu", row->line,
                               import->email_column + 1, i + 1);
            found = true;
            import->email_column = i;
            continue;
        }
        int put = hashmap_put(&seen, import->columns[i].json_key, import->columns[i].json_key_len, &import->columns[i]);
        if (put < 0)
            rc = error_memory(import->err);
        else if (put > 0)
            rc = error_set(import->err, -EINVAL, "the header row (line %" PRId64 ") has the column %.*s twice",
                           row->line, (int)import->columns[i].json_key_len - 1, import->columns[i].json_key);
    }
    hashmap_finish(&seen);
    if (rc == 0 && !found) {
        char names[200];
        list_names(row, names, sizeof(names));
        rc = error_set(import->err, -EINVAL,
                       "the header row (line %" PRId64 ") has no column named email; its columns are: %s", row->line,
                       names);
    }
    return rc;
}

static int take_header(struct import *import, const struct csv_row *row)
{
    if (row->problem != NULL)
        return error_set(import->err, -EINVAL, "the header row (line %" PRId64 ") cannot be read: %s", row->line,
                         row->problem);
    import->columns = calloc(row->count, sizeof(*import->columns));
    if (import->columns == NULL)
        return error_memory(import->err);
    import->column_count = row->count;
    int rc = check_columns(import, row);
    import->has_header = rc == 0;
    return rc;
}

void rows_free_columns(struct import *import)
{
    for (size_t i = 0; i < import->column_count; i++)
        free(import->columns[i].json_key);
    free(import->columns);
    import->columns = NULL;
    import->column_count = 0;
}

static int reject_row(struct import *import, const struct csv_row *row, const char *reason)
{
    return rows_reject(import, row->line, row->raw, row->raw_len, "%s", reason);
}

/* The rejection of a row whose attributes are too long; returns 1. */
static int reject_long(struct import *import, const struct csv_row *row)
{
    rows_reject(import, row->line, row->raw, row->raw_len, "its attributes are longer than %zu bytes",
                ATTRIBUTES_MAX_BYTES);
    return 1;
}

/* Writes the attributes into import->json. 0; 1 = the row was rejected; -ENOMEM. */
static int write_attributes(struct import *import, const struct csv_row *row)
{
    bool first = true;
    buffer_clear(&import->json);
    buffer_append_char(&import->json, '{');
    for (size_t i = 0; i < row->count; i++) {
        const struct csv_field *field = &row->fields[i];
        if (i == import->email_column)
            continue;
        const struct column *column = i < import->column_count ? &import->columns[i] : NULL;
        if (column == NULL || column->json_key == NULL) {
            if (field->len == 0)
                continue;
            rows_reject(import, row->line, row->raw, row->raw_len,
                        "column %zu has a value, but the header has no name for it", i + 1);
            return 1;
        }
        if (import->json.len + field->len > ATTRIBUTES_MAX_BYTES)
            return reject_long(import, row);
        if (!first)
            buffer_append_char(&import->json, ',');
        first = false;
        buffer_append(&import->json, column->json_key, column->json_key_len);
        const char *why = attributes_append_string(&import->json, field->text, field->len);
        if (why != NULL) {
            rows_reject(import, row->line, row->raw, row->raw_len, "column %.*s %s", (int)column->json_key_len - 1,
                        column->json_key, why);
            return 1;
        }
    }
    buffer_append_char(&import->json, '}');
    if (import->json.len > ATTRIBUTES_MAX_BYTES)
        return reject_long(import, row);
    return import->json.failed ? error_memory(import->err) : 0;
}

int rows_csv(void *context, const struct csv_row *row)
{
    struct import *import = context;
    if (!import->has_header)
        return take_header(import, row);
    if (row->open_quote && import->open_quote[0] == '\0')
        (void)str_copy(import->open_quote, sizeof(import->open_quote), row->problem);
    if (row->problem != NULL)
        return reject_row(import, row, row->problem);
    if (row->count <= import->email_column)
        return rows_reject(import, row->line, row->raw, row->raw_len,
                           "the row has %zu columns, the email is in column %zu", row->count, import->email_column + 1);
    struct address address;
    struct error why = {{0}};
    const struct csv_field *email = &row->fields[import->email_column];
    if (address_parse(email->text, email->len, &address, &why) != 0)
        return reject_row(import, row, why.text);
    int rc = write_attributes(import, row);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    return rows_take(import, &address);
}
