/*
 * paths.c - each way of the mail once (see paths.h).
 *
 * What is known in memory only saves a look-up: when it is full, or there is no memory, it begins anew.
 */
#include "storage/paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATH_KEY_BYTES                                                                                                 \
    (sizeof(((struct outcome *)0)->address) + sizeof(((struct outcome *)0)->tls_version) +                             \
     sizeof(((struct outcome *)0)->tls_cipher))

struct path {
    int64_t id;
    size_t len;
    char key[];
};

void paths_forget(struct paths *paths)
{
    size_t cursor = 0;
    struct path *path;
    while ((path = hashmap_next(&paths->known, &cursor)) != NULL)
        free(path);
    hashmap_finish(&paths->known);
    paths->known = HASHMAP_INIT;
    paths->last = NULL;
}

static void know(struct paths *paths, const char *key, size_t len, int64_t id)
{
    if (paths->known.count >= PATHS_MAX)
        paths_forget(paths);
    struct path *path = malloc(sizeof(*path) + len);
    if (path == NULL)
        return;
    path->id = id;
    path->len = len;
    memcpy(path->key, key, len);
    if (hashmap_put(&paths->known, path->key, len, path) != 0)
        free(path);
}

static int find(struct db *db, const struct outcome *outcome, int64_t *id, struct error *err)
{
    return db_get(db, err, id, "SELECT id FROM path WHERE address = ? AND tls_version = ? AND tls_cipher = ?",
                  DB_T(outcome->address), DB_T(outcome->tls_version), DB_T(outcome->tls_cipher));
}

/* The three with a NUL behind each; returns the length. Not printed: it is asked for each message. */
static size_t write_key(const struct outcome *outcome, char key[PATH_KEY_BYTES])
{
    const char *const parts[] = {outcome->address, outcome->tls_version, outcome->tls_cipher};
    size_t len = 0;
    for (size_t i = 0; i < countof(parts); i++) {
        size_t bytes = strlen(parts[i]) + 1;
        assure(len + bytes <= PATH_KEY_BYTES);
        memcpy(key + len, parts[i], bytes);
        len += bytes;
    }
    return len;
}

int paths_id(struct paths *paths, struct db *db, const struct outcome *outcome, int64_t *id, struct error *err)
{
    char key[PATH_KEY_BYTES];
    *id = 0;
    if (outcome->address[0] == '\0')
        return 0;
    size_t len = write_key(outcome, key);
    const struct path *path = paths->last; /* often the same again: that is a tenth of the look-up */
    if (path == NULL || path->len != len || memcmp(path->key, key, len) != 0)
        path = hashmap_get(&paths->known, key, len);
    if (path != NULL) {
        paths->last = path;
        *id = path->id;
        return 0;
    }
    int missing = find(db, outcome, id, err);
    if (missing > 0) {
        missing = db_run(db, err, "INSERT INTO path (address, tls_version, tls_cipher) VALUES (?, ?, ?)",
                         DB_T(outcome->address), DB_T(outcome->tls_version), DB_T(outcome->tls_cipher));
        if (!missing)
            missing = find(db, outcome, id, err);
    }
    if (missing)
        return missing < 0 ? missing : -EIO;
    know(paths, key, len, *id);
    return 0;
}
