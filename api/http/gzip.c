/*
 * gzip.c - zlib, with its memory bounded: 256 KiB to pack, 48 KiB to unpack, whatever the body is.
 */
#include "api/http/gzip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/str.h"

#define GZIP_WINDOW_BITS (15 + 16) /* zlib's way of saying: gzip's header and trailer, nothing else */
#define PACK_LEVEL 5
#define PIECE_BYTES 16384

struct gunzip {
    z_stream stream;
    gunzip_sink *sink;
    void *context;
    bool begun, inside; /* some bytes came; not at the end of a member */
    int failed;
};

/* "q=0", "q=0.000": not wanted. */
static bool is_refused(const char *parameters, size_t len)
{
    for (size_t i = 0; i + 2 < len; i++) {
        if (ascii_lower(parameters[i]) != 'q' || parameters[i + 1] != '=')
            continue;
        return strspn(parameters + i + 2, "0.") >= strcspn(parameters + i + 2, ", \t;");
    }
    return false;
}

bool gzip_accepted(const char *accept_encoding)
{
    bool any = false;
    const char *at = accept_encoding != NULL ? accept_encoding : "";
    while (*at != '\0') {
        at += strspn(at, " \t,");
        size_t len = strcspn(at, ",");
        size_t name = strcspn(at, ",; \t");
        bool refused = is_refused(at + name, len - name);
        if ((name == 4 && str_starts_nocase(at, "gzip")) || (name == 6 && str_starts_nocase(at, "x-gzip")))
            return !refused;
        if (name == 1 && at[0] == '*')
            any = !refused;
        at += len;
    }
    return any;
}

int gzip_pack(const void *bytes, size_t len, struct buffer *out)
{
    z_stream stream = {0};
    if (len > UINT32_MAX ||
        deflateInit2(&stream, PACK_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return -EINVAL;
    size_t bound = deflateBound(&stream, len);
    int rc = bound <= UINT32_MAX ? buffer_reserve(out, bound) : -EINVAL;
    if (rc == 0) {
        stream.next_in = (Bytef *)(uintptr_t)bytes; /* zlib's signature predates const */
        stream.avail_in = (uInt)len;
        stream.next_out = (Bytef *)out->data + out->len;
        stream.avail_out = (uInt)bound;
        rc = deflate(&stream, Z_FINISH) == Z_STREAM_END ? 0 : -EINVAL;
        out->len += rc == 0 ? stream.total_out : 0;
    }
    (void)deflateEnd(&stream);
    return rc;
}

struct gunzip *gunzip_create(gunzip_sink *sink, void *context)
{
    struct gunzip *gunzip = calloc(1, sizeof(*gunzip));
    if (gunzip == NULL)
        return NULL;
    gunzip->sink = sink;
    gunzip->context = context;
    if (inflateInit2(&gunzip->stream, GZIP_WINDOW_BITS) != Z_OK) {
        free(gunzip);
        return NULL;
    }
    return gunzip;
}

void gunzip_free(struct gunzip *gunzip)
{
    if (gunzip == NULL)
        return;
    (void)inflateEnd(&gunzip->stream);
    free(gunzip);
}

static int unpack(struct gunzip *gunzip, struct error *err)
{
    z_stream *stream = &gunzip->stream;
    char piece[PIECE_BYTES];
    do {
        if (!gunzip->inside && stream->avail_in > 0) {
            if (gunzip->begun && inflateReset(stream) != Z_OK)
                return error_set(err, -EINVAL, "the gzip body cannot be unpacked");
            gunzip->begun = gunzip->inside = true;
        }
        stream->next_out = (Bytef *)piece;
        stream->avail_out = sizeof(piece);
        int code = inflate(stream, Z_NO_FLUSH);
        if (code == Z_MEM_ERROR)
            return error_memory(err);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return error_set(err, -EINVAL, "the body is not gzip, or damaged");
        size_t got = sizeof(piece) - stream->avail_out;
        int rc = got > 0 ? gunzip->sink(gunzip->context, piece, got) : 0;
        if (rc != 0)
            return rc;
        if (code == Z_STREAM_END)
            gunzip->inside = false;
        else if (got == 0)
            return 0; /* it wants more input */
    } while (stream->avail_in > 0 || (gunzip->inside && stream->avail_out == 0));
    return 0;
}

int gunzip_feed(struct gunzip *gunzip, const char *bytes, size_t len, struct error *err)
{
    assure(len <= UINT32_MAX);
    if (gunzip->failed != 0)
        return gunzip->failed;
    gunzip->stream.next_in = (Bytef *)(uintptr_t)bytes;
    gunzip->stream.avail_in = (uInt)len;
    gunzip->failed = len > 0 ? unpack(gunzip, err) : 0;
    return gunzip->failed;
}

int gunzip_end(const struct gunzip *gunzip, struct error *err)
{
    if (gunzip->failed == 0 && gunzip->begun && !gunzip->inside)
        return 0;
    return error_set(err, -EINVAL, "the gzip body is cut off");
}
