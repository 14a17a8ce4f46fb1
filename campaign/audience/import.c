/*
 * import.c - the door of an import: byte order mark, choice of reader, counts, and the hand-over to storage.
 *
 * Success of import_feed() means that the bytes were read; their rows are durable only when import_finish() returned 0.
 * A refusal of the input as a whole (encoding, header) comes before the first row is handed to storage, so nothing of
 * it is stored. Rows that are handed over are stored or, when storage fails, the call fails; none is dropped in
 * between.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#include "campaign/audience/attributes.h"
#include "campaign/audience/rows.h"

/* Attributes up to their bound, then one more value before the bound is seen, each of its bytes escaped to six. */
#define JSON_LIMIT_BYTES (8 * ATTRIBUTES_MAX_BYTES)

int rows_reject(struct import *import, int64_t line, const char *raw, size_t raw_len, const char *format, ...)
{
    import->rejected++;
    if (import->options.reject == NULL)
        return 0;
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    str_make_line(reason);
    import->options.reject(import->options.context, line, reason, raw, raw_len);
    return 0;
}

int rows_take(struct import *import, const struct address *address)
{
    size_t email_len = address->at + 1 + strlen(address_domain(address));
    int rc = storage_import_add(import->storage, address->text, email_len, buffer_text(&import->json), import->json.len,
                                import->err);
    if (rc == 0)
        import->accepted++;
    return rc;
}

static void import_free(struct import *import)
{
    csv_free(&import->csv);
    jsonl_fini(&import->jsonl);
    rows_free_columns(import);
    buffer_finish(&import->json);
    free(import);
}

int import_begin(struct storage *storage, const struct import_options *options, struct import **out, struct error *err)
{
    *out = NULL;
    struct import *import = calloc(1, sizeof(*import));
    if (import == NULL)
        return error_memory(err);
    import->options = *options;
    import->json = BUFFER_INIT(JSON_LIMIT_BYTES);
    jsonl_init(&import->jsonl, rows_jsonl, import);
    if (csv_create(rows_csv, import, "email", &import->csv) != 0) {
        import_free(import);
        return error_memory(err);
    }
    int rc = storage_import_begin(storage, options->list_id, options->mode, &import->storage, err);
    if (rc != 0) {
        import_free(import);
        return rc;
    }
    *out = import;
    return 0;
}

static int read_bytes(struct import *import, const char *bytes, size_t len)
{
    int rc = import->options.format == IMPORT_CSV ? csv_feed(import->csv, bytes, len)
                                                  : jsonl_feed(&import->jsonl, bytes, len);
    return rc == -ENOMEM ? error_memory(import->err) : rc;
}

/* The first bytes are here, three of them or all there are: drops a UTF-8 byte order mark, refuses one of UTF-16 or
 * UTF-32. */
static int start(struct import *import)
{
    import->started = true;
    const unsigned char *head = import->head;
    if (import->head_len == 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0)
        return 0;
    if (import->head_len >= 2 && ((head[0] == 0xfe && head[1] == 0xff) || (head[0] == 0xff && head[1] == 0xfe)))
        return error_set(import->err, -EINVAL,
                         "the input is UTF-16, not UTF-8 (its first bytes say so): save it as UTF-8 and try again");
    return read_bytes(import, (const char *)head, import->head_len);
}

int import_feed(struct import *import, const char *bytes, size_t len, struct error *err)
{
    if (import->failed)
        return error_set(err, -EINVAL, "the import was refused before");
    import->err = err;
    import->bytes += (int64_t)len;
    int rc = 0;
    while (!import->started && len > 0 && rc == 0) {
        import->head[import->head_len++] = (unsigned char)*bytes++;
        len--;
        if (import->head_len == sizeof(import->head))
            rc = start(import);
    }
    if (rc == 0 && len > 0)
        rc = read_bytes(import, bytes, len);
    import->failed = rc != 0;
    import->err = NULL;
    return rc;
}

static int read_end(struct import *import)
{
    int rc = import->started ? 0 : start(import);
    if (rc != 0)
        return rc;
    rc = import->options.format == IMPORT_CSV ? csv_finish(import->csv) : jsonl_end(&import->jsonl);
    if (rc == -ENOMEM)
        return error_memory(import->err);
    if (rc == 0 && import->options.format == IMPORT_CSV && !import->has_header)
        return error_set(import->err, -EINVAL, "the input is empty: it needs a header row with a column named email");
    return rc;
}

void import_progress(const struct import *import, struct import_counts *counts)
{
    struct upsert_counts rows = {0, 0, 0};
    if (import->storage != NULL)
        storage_import_counts(import->storage, &rows);
    *counts = (struct import_counts){
        .read = import->accepted + import->rejected,
        .created = rows.created,
        .updated = rows.updated,
        .unchanged = rows.unchanged,
        .rejected = import->rejected,
        .bytes = import->bytes,
    };
}

/* All is stored that could be; is that what the file says? One bad row is nothing unusual, these two are. */
static int check_complete(const struct import *import, struct error *err)
{
    if (import->open_quote[0] != '\0')
        (void)error_set(err, -EINVAL, "%s; %s", import->open_quote,
                        import->accepted > 0 ? "the other rows are stored" : "nothing is stored");
    else if (import->accepted == 0 && import->rejected > 0)
        (void)error_set(err, -EINVAL, "all rows were rejected (%lld)", (long long)import->rejected);
    else
        return 0;
    return IMPORT_INCOMPLETE;
}

int import_finish(struct import *import, bool abandon, struct import_counts *counts, struct error *err)
{
    int rc = 0;
    import->err = err;
    if (import->failed && !abandon)
        rc = error_set(err, -EINVAL, "the import was refused before");
    else if (!abandon)
        rc = read_end(import);
    struct upsert_counts rows = {0, 0, 0};
    struct error *finish_err = rc == 0 ? err : NULL; /* the first failure is the one to tell */
    int finished = storage_import_finish(import->storage, abandon || rc != 0, &rows, finish_err);
    import->storage = NULL;
    if (rc == 0)
        rc = finished;
    if (counts != NULL) {
        import_progress(import, counts);
        counts->created = rows.created;
        counts->updated = rows.updated;
        counts->unchanged = rows.unchanged;
        /* A row that repeats an address of the same file was merged into the other and changed nothing of its own. */
        if (rc == 0 && !abandon)
            counts->unchanged = import->accepted - rows.created - rows.updated;
    }
    if (rc == 0 && !abandon)
        rc = check_complete(import, err);
    import_free(import);
    return rc;
}
