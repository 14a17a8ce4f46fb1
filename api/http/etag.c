/*
 * etag.c - makes and compares entity tags. Each text goes into the hash with its length in front, so that no two lists
 * of texts have one tag.
 */
#include "api/http/etag.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "dkim/dkim.h"

void etag_make(char out[ETAG_BYTES], const char *const *texts, size_t count)
{
    struct buffer all = BUFFER_INIT((size_t)64 << 20);
    uint8_t sha256[32];
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *text = texts[i] != NULL ? texts[i] : "";
        buffer_printf(&all, "%zu:", strlen(text));
        buffer_append_str(&all, text);
    }
    if (!all.failed && digest_sha256(buffer_text(&all), all.len, sha256) == 0) {
        out[0] = '"';
        for (size_t i = 0; i < 16; i++)
            (void)snprintf(out + 1 + 2 * i, 3, "%02x", sha256[i]);
        out[33] = '"';
        out[34] = '\0';
    }
    buffer_finish(&all);
}

bool etag_matches(const char *if_match, const char *tag)
{
    size_t tag_len = strlen(tag);
    const char *at = if_match + strspn(if_match, " \t");
    if (tag_len == 0)
        return false;
    if (at[0] == '*' && at[1 + strspn(at + 1, " \t")] == '\0')
        return true;
    while (*at != '\0') {
        at += strspn(at, " \t,");
        bool weak = strncmp(at, "W/", 2) == 0;
        const char *open = weak ? at + 2 : at;
        const char *close = *open == '"' ? strchr(open + 1, '"') : NULL;
        if (close == NULL)
            return false; /* not a list of tags */
        size_t len = (size_t)(close + 1 - open);
        if (!weak && len == tag_len && memcmp(open, tag, len) == 0)
            return true;
        at = close + 1;
    }
    return false;
}

bool etag_check(const struct request *request, const char *tag, struct response *response)
{
    if (request->if_match == NULL || etag_matches(request->if_match, tag))
        return true;
    response_problem(response, 412,
                     "somebody changed it meanwhile: If-Match does not name its present ETag; read it again");
    return false;
}
