/*
 * paths.h - the ways that mail takes: address, TLS version and cipher, each combination stored once in the table
 * `path`, because millions of deliveries share a few thousand of them.
 *
 * The writer's own; the ids it has seen lately are kept in memory, PATHS_MAX of them at most.
 */
#ifndef POSTHASTE_STORAGE_PATHS_H
#define POSTHASTE_STORAGE_PATHS_H

#include "base/hashmap.h"
#include "base/outcome.h"
#include "storage/db.h"

#define PATHS_MAX 20000

struct paths {
    struct hashmap known;
    const struct path *last; /* of them, the one that was asked for last; NULL = none */
};

/* *id = 0 when there is nothing to tell. 0, or the database's failure. In a transaction; paths_forget() after it was
 * rolled back. */
int paths_id(struct paths *paths, struct db *db, const struct outcome *outcome, int64_t *id,
             struct error *err) ATTR_MUSTCHECK;
void paths_forget(struct paths *paths); /* also its end */

#endif
