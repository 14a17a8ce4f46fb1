/*
 * exchange_body.c - the body of a request on its way in: counted, unpacked, into memory or into a file, never more than
 * its route takes.
 */
#include "api/http/exchange_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GZIP_RATIO_MAX 200
#define GZIP_FREE_BYTES ((uint64_t)16 << 20) /* not asked how much it grew */

uint64_t exchange_body_limit(const struct route *route)
{
    switch (route != NULL ? route->body : BODY_NONE) {
    case BODY_UPLOAD:
        return HTTP_UPLOAD_MAX_BYTES;
    case BODY_FORM:
        return HTTP_FORM_MAX_BYTES;
    case BODY_NONE:
    case BODY_JSON:
    case BODY_JSON_OPTIONAL:
    default:
        return HTTP_BODY_MAX_BYTES;
    }
}

bool exchange_open_spool(struct exchange *exchange)
{
    const char *dir = exchange->server->app->config->data_dir;
    /* A file without a name: whatever happens to us, it takes no room afterwards. */
    exchange->request.spool_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (exchange->request.spool_fd < 0) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/upload-XXXXXX", dir);
        exchange->request.spool_fd = mkostemp(path, O_CLOEXEC);
        if (exchange->request.spool_fd >= 0)
            (void)unlink(path);
    }
    if (exchange->request.spool_fd >= 0)
        return true;
    REFUSE(exchange, 503, "cannot make a file for the upload in %s: %s", dir, strerror(errno));
    return false;
}

static bool write_spool(struct exchange *exchange, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(exchange->request.spool_fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            REFUSE(exchange, 507, "cannot keep the upload: %s", strerror(errno));
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Unpacked bytes find their place. Anything but 0: the request is refused by now. */
int exchange_keep_bytes(void *context, const char *bytes, size_t len)
{
    struct exchange *exchange = context;
    uint64_t limit = exchange_body_limit(exchange->route);
    exchange->unpacked += len;
    /* A list of people packs to a tenth or a thirtieth; what grows more is made to fill our disk. */
    bool bomb = exchange->gunzip != NULL && exchange->route->body == BODY_UPLOAD &&
                exchange->unpacked > GZIP_FREE_BYTES && exchange->unpacked / GZIP_RATIO_MAX > exchange->received;
    if (exchange->unpacked > limit || bomb) {
        if (bomb)
            REFUSE(exchange, 413, "the body grows more than %d-fold when it is unpacked", GZIP_RATIO_MAX);
        else
            REFUSE(exchange, 413, "the body may have %llu bytes at most", (unsigned long long)limit);
        buffer_finish(&exchange->request.body);
        return -E2BIG;
    }
    if (exchange->route->body == BODY_UPLOAD)
        return write_spool(exchange, bytes, len) ? 0 : -EIO;
    if (exchange->route->body == BODY_NONE)
        return 0;
    buffer_append(&exchange->request.body, bytes, len);
    if (!exchange->request.body.failed)
        return 0;
    REFUSE(exchange, 503, "out of memory");
    return -ENOMEM;
}

/* MHD_NO ends the connection: for a client that goes on sending what was refused long ago. */
enum MHD_Result exchange_take_body(struct exchange *exchange, const char *bytes, size_t len)
{
    exchange->received += len;
    if (exchange->refused)
        return exchange->received > DRAIN_MAX_BYTES ? MHD_NO : MHD_YES;
    if (exchange->received > exchange_body_limit(exchange->route)) {
        REFUSE(exchange, 413, "the body may have %llu bytes at most",
               (unsigned long long)exchange_body_limit(exchange->route));
        buffer_finish(&exchange->request.body);
        return exchange->route->body == BODY_UPLOAD ? MHD_NO : MHD_YES;
    }
    if (exchange->route->body == BODY_UPLOAD && exchange->received >= exchange->next_step) {
        exchange->next_step = exchange->received + HTTP_UPLOAD_STEP_BYTES;
        watch_set(exchange->server->watch, exchange->watch, HTTP_BODY_DEADLINE_MS);
    }
    struct error err = {""};
    if (exchange->gunzip == NULL)
        (void)exchange_keep_bytes(exchange, bytes, len);
    else if (gunzip_feed(exchange->gunzip, bytes, len, &err) != 0 && !exchange->refused)
        REFUSE(exchange, 400, "%s", err.text);
    return MHD_YES;
}

void exchange_end_body(struct exchange *exchange)
{
    struct error err = {""};
    if (exchange->gunzip != NULL && !exchange->refused && gunzip_end(exchange->gunzip, &err) != 0)
        REFUSE(exchange, 400, "%s", err.text);
}
