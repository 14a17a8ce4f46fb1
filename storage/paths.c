/*
 * paths.c - each way of the mail once (see paths.h).
 *
 * What is known in memory only saves a look-up: when it is full, or there is no memory, it begins anew.
 */
#include "storage/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int paths_id(struct paths *paths, struct db *db, const struct outcome *outcome, int64_t *id, struct error *err)
{
    char key[sizeof(outcome->address) + sizeof(outcome->tls_version) + sizeof(outcome->tls_cipher)];
    *id = 0;
    if (outcome->address[0] == '\0')
        return 0;
    int len = snprintf(key, sizeof(key), "%s %s %s", outcome->address, outcome->tls_version, outcome->tls_cipher);
    assure(len > 0 && (size_t)len < sizeof(key));
    const struct path *path = hashmap_get(&paths->known, key, (size_t)len);
    if (path != NULL) {
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
    know(paths, key, (size_t)len, *id);
    return 0;
}
