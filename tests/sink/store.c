/*
 * Keeping of messages. Success means that write(2) has taken every byte; nothing is synced, since tests read the files
 * from the same machine.
 */
#include "tests/sink/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

int store_write(const struct store *store, uint64_t number, const char *bytes, size_t length,
                char name[STORE_NAME_BYTES])
{
    char path[PATH_MAX];
    int file;
    int result;

    (void)snprintf(name, STORE_NAME_BYTES, "%" PRIu64, number);
    if (snprintf(path, sizeof(path), "%s/%s", store->folder, name) >= (int)sizeof(path)) {
        fprintf(stderr, "sink: store: path too long\n");
        return -1;
    }
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) {
        fprintf(stderr, "sink: store: %s: %s\n", path, strerror(errno));
        return -1;
    }
    result = write_all(file, bytes, length);
    if (close(file) != 0 || result != 0) {
        fprintf(stderr, "sink: store: %s: %s\n", path, strerror(errno));
        return -1;
    }
    return 0;
}
