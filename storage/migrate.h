/*
 * migrate.h - brings a database to this program's schema; private to storage/.
 */
#ifndef POSTHASTE_STORAGE_MIGRATE_H
#define POSTHASTE_STORAGE_MIGRATE_H

#include "storage/db.h"

/* The text of schema/NNN.sql, storage_schema[0] = 001; made at build time by schema/embed.py. */
extern const char *const storage_schema[];
extern const int storage_schema_version; /* how many there are */

/*
 * 0, or -EINVAL: the file belongs to another program, or to a newer posthaste; -EBUSY: it would have to be changed and
 * is `served` by a running server, which knows it as it is. Each step is one transaction together with the version it
 * leads to, so that a crash leaves a database of one version or the other, and two processes that start at once do not
 * both run it.
 */
int migrate(struct db *db, bool served, struct error *err) ATTR_MUSTCHECK;

#endif
