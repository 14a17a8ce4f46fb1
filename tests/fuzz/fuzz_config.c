/*
 * fuzz_config.c - configuration files: read, or refused with a sentence; nothing leaks in either case.
 */
#include "base/config.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

int fuzz_one(const uint8_t *data, size_t size)
{
    static int fd = -1; /* one file for all, in memory, rewritten each time */
    char path[64];
    if (fd < 0)
        fd = memfd_create("fuzz.conf", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        return -1;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct error err = {""};
    struct config *config = NULL;
    if (config_load(path, &config, &err) == 0) {
        assure(config != NULL);
        config_free(config);
    } else {
        assure(err.text[0] != '\0');
    }
    return 0;
}
