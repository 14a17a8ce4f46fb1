/*
 * local_state.c - the two small files.
 */
#include "api/local_state.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http/auth.h"
#include "base/file.h"
#include "base/str.h"

static const char STATE_FILE[] = "serve.json";
static const char TOKEN_FILE[] = "local.token";

static int write_file(const char *data_dir, const char *name, const char *text, struct error *err)
{
    char *path = str_printf("%s/%s", data_dir, name);
    int rc = path == NULL ? error_memory(err) : file_replace(path, text, strlen(text));
    if (rc != 0 && path != NULL)
        rc = error_errno(err, rc, "cannot write %s", path);
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
