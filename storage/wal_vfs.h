/*
 * wal_vfs.h - SQLite's file system with the writes of a commit put together; private to storage/.
 *
 * For a connection that syncs every commit (synchronous=FULL) and no other: without the sync, what was committed could
 * still be waiting here when another connection looks for it.
 */
#ifndef POSTHASTE_STORAGE_WAL_VFS_H
#define POSTHASTE_STORAGE_WAL_VFS_H

/* The name to open a database with; NULL, which is the usual file system, when it cannot be had. Any thread. The file
 * system that is the default at the first call is the one that does the work. */
const char *wal_vfs_name(void);

#endif
