/*
 * jsonl.c - the streaming line reader behind JSONL imports. See jsonl.h.
 *
 * A line that lies whole in one feed is told where it lies; only a line across a cut is gathered. Success means that
 * every line was told, not that it is JSON.
 */
#include <errno.h>

#include "base/str.h"

#include "campaign/audience/jsonl.h"

void jsonl_init(struct jsonl *jsonl, jsonl_line_cb *each, void *context)
{
    *jsonl =
        (struct jsonl){.each = each, .context = context, .line = 1, .pending = BUFFER_INIT(JSONL_LINE_MAX_BYTES + 1)};
}

void jsonl_fini(struct jsonl *jsonl)
{
    buffer_finish(&jsonl->pending);
}

static int tell(struct jsonl *jsonl, const char *text, size_t len)
{
    while (len > 0 && ascii_is_space(text[0])) {
        text++;
        len--;
    }
    while (len > 0 && ascii_is_space(text[len - 1]))
        len--;
    if (len == 0 && !jsonl->overlong)
        return 0;
    struct jsonl_line line = {jsonl->line, jsonl->overlong, text, len};
    return jsonl->each(jsonl->context, &line);
}

/* The bound counts the bytes before the LF, so the verdict does not depend on where the input is cut. */
static int keep(struct jsonl *jsonl, const char *bytes, size_t len)
{
    if (jsonl->overlong)
        return 0;
    if (len < JSONL_LINE_MAX_BYTES - jsonl->pending.len) {
        buffer_append(&jsonl->pending, bytes, len);
        return jsonl->pending.failed ? -ENOMEM : 0;
    }
    if (jsonl->pending.len < JSONL_RAW_MAX_BYTES)
        buffer_append(&jsonl->pending, bytes, JSONL_RAW_MAX_BYTES - jsonl->pending.len);
    if (jsonl->pending.failed)
        return -ENOMEM;
    struct buffer raw = BUFFER_INIT(JSONL_LINE_MAX_BYTES + 1);
    buffer_append(&raw, jsonl->pending.data, JSONL_RAW_MAX_BYTES);
    buffer_finish(&jsonl->pending);
    jsonl->pending = raw;
    jsonl->overlong = true;
    return raw.failed ? -ENOMEM : 0;
}

static int end_line(struct jsonl *jsonl, const char *bytes, size_t len)
{
    int rc;
    if (jsonl->pending.len == 0 && !jsonl->overlong && len < JSONL_LINE_MAX_BYTES) {
        rc = tell(jsonl, bytes, len);
    } else {
        rc = keep(jsonl, bytes, len);
        if (rc == 0)
            rc = tell(jsonl, buffer_text(&jsonl->pending), jsonl->pending.len);
    }
    jsonl->line++;
    jsonl->overlong = false;
    buffer_clear(&jsonl->pending);
    return rc;
}

int jsonl_feed(struct jsonl *jsonl, const char *bytes, size_t len)
{
    const char *end = bytes + len;
    while (bytes < end) {
        const char *lf = memchr(bytes, '\n', (size_t)(end - bytes));
        if (lf == NULL)
            return keep(jsonl, bytes, (size_t)(end - bytes));
        int rc = end_line(jsonl, bytes, (size_t)(lf - bytes));
        if (rc != 0)
            return rc;
        bytes = lf + 1;
    }
    return 0;
}

int jsonl_end(struct jsonl *jsonl)
{
    return jsonl->pending.len > 0 || jsonl->overlong ? end_line(jsonl, "", 0) : 0;
}
