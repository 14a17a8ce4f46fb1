/*
 * local_state.c - writes the two small files through a temporary name and rename(2), so that nobody reads half of one.
 */
#include "api/local_state.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http/auth.h"
#include "base/str.h"

static const char STATE_FILE[] = "serve.json";
static const char TOKEN_FILE[] = "local.token";

static int write_all(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int write_file(const char *data_dir, const char *name, const char *text, struct error *err)
{
    char *path = str_printf("%s/%s", data_dir, name);
    char *temporary = str_printf("%s/%s.new", data_dir, name);
    int rc = path == NULL || temporary == NULL ? error_memory(err) : 0;
    if (rc == 0) {
        (void)unlink(temporary);
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        rc = fd >= 0 ? write_all(fd, text) : -errno;
        if (fd >= 0 && close(fd) != 0 && rc == 0)
            rc = -errno;
        if (rc == 0 && rename(temporary, path) != 0)
            rc = -errno;
        if (rc != 0)
            rc = error_errno(err, rc, "cannot write %s", path);
    }
    free(temporary);
    free(path);
    return rc;
}

int local_state_write(const char *data_dir, const char *url, uint8_t token_sha256[32], struct error *err)
{
    char token[TOKEN_TEXT_BYTES];
    char line[TOKEN_TEXT_BYTES + 1];
    int rc = token_generate(token, token_sha256, err);
    if (rc != 0)
        return rc;
    (void)snprintf(line, sizeof(line), "%s\n", token);
    rc = write_file(data_dir, TOKEN_FILE, line, err);
    if (rc != 0)
        return rc;
    json_t *state = json_pack("{s:s, s:I}", "url", url, "pid", (json_int_t)getpid());
    char *text = state != NULL ? json_dumps(state, 0) : NULL;
    rc = text != NULL ? write_file(data_dir, STATE_FILE, text, err) : error_memory(err);
    free(text);
    json_decref(state);
    return rc;
}

void local_state_remove(const char *data_dir)
{
    static const char *const names[] = {"serve.json", "local.token"};
    for (size_t i = 0; i < countof(names); i++) {
        char *path = str_printf("%s/%s", data_dir, names[i]);
        if (path != NULL)
            (void)unlink(path);
        free(path);
    }
}
