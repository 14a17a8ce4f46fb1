/*
 * faulty_vfs.h - a wrapper around SQLite's file layer that fails reads, or writes and syncs, on demand, and counts
 * them.
 */
#ifndef POSTHASTE_TESTS_STORAGE_FAULTY_VFS_H
#define POSTHASTE_TESTS_STORAGE_FAULTY_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>

struct faulty_vfs {
    atomic_int fail_from;  /* the n-th operation from now on fails; 0 = none */
    atomic_int fail_count; /* how many fail from there, -1 = all */
    atomic_int code;       /* with what: SQLITE_FULL, SQLITE_IOERR_WRITE, ...; of SQLITE_IOERR_READ it is reads */
    atomic_int failed;     /* how many did */
    atomic_int wal_syncs, wal_writes;
    atomic_int wal_unsynced; /* writes since the last sync */
    atomic_llong wal_bytes;  /* the furthest that any of them ended */
    atomic_int slow_s;       /* what syncing the database takes longer */
};
extern struct faulty_vfs faulty_vfs;

/* Changes of database and WAL files. write and sync do the work themselves; truncate and remove are asked before it is
 * done: SQLITE_OK = go on. */
struct faulty_hooks {
    void (*opened)(const char *path, sqlite3_file *real);
    int (*write)(const char *path, sqlite3_file *real, const void *bytes, int amount, sqlite3_int64 at);
    int (*truncate)(const char *path, sqlite3_int64 size);
    int (*sync)(const char *path, sqlite3_file *real);
    int (*remove)(const char *path);
    void (*reading)(void); /* before each read; may be NULL */
};
void faulty_vfs_hooks(const struct faulty_hooks *hooks); /* NULL = none; while no file is open */

void faulty_vfs_install(void); /* becomes the default; once, before any database is opened */
void faulty_vfs_fail(int from, int count, int code);
void faulty_vfs_heal(void);

#endif
