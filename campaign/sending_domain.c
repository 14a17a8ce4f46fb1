/*
 * sending_domain.c - a domain that mail is sent from, and its DKIM key.
 *
 * The key is a file of mode 0600 in data_dir/dkim, written whole under another name and renamed, so that there is never half a key; the
 * database holds its name and the record to publish. The file comes first: a registered domain without a key could not be sent from, a key without a
 * registration is only a file. A key file that is already there is used, not overwritten: somebody may have published it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/str.h"
#include "dkim/dkim.h"

#include "campaign/campaign.h"
#include "campaign/sending_domain.h"

#define KEY_FILE_MAX_BYTES 16384

static bool selector_valid(const char *selector)
{
    size_t len = strlen(selector);
    if (len == 0 || len > 63 || selector[0] == '-' || selector[len - 1] == '-')
        return false;
    return strspn(selector, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static int make_dir(const char *path, struct error *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_errno(err, -errno, "cannot create %s", path);
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done == 0 ? -EIO : -errno;
        bytes += done;
        len -= (size_t)done;
    }
    return 0;
}

/* The whole file durably under `path`, never seen half; 1 = there is a file of that name. */
static int write_key(const char *path, const struct buffer *pem, struct error *err)
{
    char *temporary = str_printf("%s.%ld.new", path, (long)getpid());
    if (temporary == NULL)
        return error_memory(err);
    int result = 0;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        result = error_errno(err, -errno, "cannot create %s", temporary);
        free(temporary);
        return result;
    }
    result = write_all(fd, pem->data, pem->len);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && link(temporary, path) != 0) /* link, not rename: it never replaces */
        result = errno == EEXIST ? 1 : -errno;
    (void)unlink(temporary);
    free(temporary);
    return result < 0 ? error_errno(err, result, "cannot write %s", path) : result;
}

int sending_domain_load_key(const char *data_dir, const char *key_file, struct dkim_key **out, struct error *err)
{
    char pem[KEY_FILE_MAX_BYTES + 1];
    char *path = str_printf("%s/%s", data_dir, key_file);
    if (path == NULL)
        return error_memory(err);
    int result = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        result = error_errno(err, -errno, "cannot read the DKIM key %s", path);
    } else {
        size_t len = fread(pem, 1, sizeof(pem), file);
        if (ferror(file))
            result = error_set(err, -EIO, "cannot read the DKIM key %s", path);
        else if (len > KEY_FILE_MAX_BYTES)
            result = error_set(err, -EINVAL, "the DKIM key %s is longer than %d bytes", path, KEY_FILE_MAX_BYTES);
        else
            result = dkim_key_load(pem, len, out, err);
        if (result == -EINVAL)
            (void)error_prefix(err, result, "DKIM key %s", path);
        (void)fclose(file);
    }
    explicit_bzero(pem, sizeof(pem));
    free(path);
    return result;
}

/* Makes the key file unless it is there already. */
static int ensure_key(const char *data_dir, const char *key_file, struct error *err)
{
    char *dir = str_printf("%s/dkim", data_dir);
    char *path = str_printf("%s/%s", data_dir, key_file);
    struct buffer pem = BUFFER_INIT(KEY_FILE_MAX_BYTES);
    int result = dir == NULL || path == NULL ? error_memory(err) : make_dir(dir, err);
    if (result == 0 && access(path, F_OK) != 0) {
        result = dkim_key_generate(&pem, err);
        if (result == 0)
            result = write_key(path, &pem, err);
        if (result > 0)
            result = 0; /* somebody else made it meanwhile: that one counts */
    }
    if (pem.data != NULL)
        explicit_bzero(pem.data, pem.len);
    buffer_finish(&pem);
    free(dir);
    free(path);
    return result;
}

int sending_domain_add(struct storage *storage, const struct config *config, const char *domain, const char *selector,
                       struct problem *problem, struct error *err)
{
    char name[DOMAIN_MAX_BYTES + 1];
    struct error why = {""};
    if (selector == NULL)
        selector = "ph1";
    if (domain_normalise(domain, strlen(domain), name, &why) != 0)
        problem_add(problem, "domain", "%s", why.text);
    if (!selector_valid(selector))
        problem_add(problem, "selector", "must be 1 to 63 of a-z, 0-9 and inner hyphens");
    if (problem->count > 0)
        return error_set(err, -EINVAL, "%s", problem->fields[0].message);

    char *key_file = str_printf("dkim/%s.%s.pem", name, selector);
    if (key_file == NULL)
        return error_memory(err);
    struct dkim_key *key = NULL;
    struct buffer record = BUFFER_INIT(0);
    int result = ensure_key(config->data_dir, key_file, err);
    if (result == 0)
        result = sending_domain_load_key(config->data_dir, key_file, &key, err);
    if (result == 0)
        result = dkim_record(key, &record, err);
    if (result == 0) {
        struct storage_domain row = {
            .name = name,
            .selector = selector,
            .key_file = key_file,
            .dkim_record = buffer_text(&record),
            .created_ms = clock_wall_ms(),
        };
        result = storage_domain_add(storage, &row, err);
    }
    buffer_finish(&record);
    dkim_key_unref(key);
    free(key_file);
    return result;
}
