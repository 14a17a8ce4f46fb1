/*
 * faulty_vfs.h - a wrapper around SQLite's file layer that fails writes and syncs on demand, and counts them.
 */
#ifndef POSTHASTE_TESTS_STORAGE_FAULTY_VFS_H
#define POSTHASTE_TESTS_STORAGE_FAULTY_VFS_H

#include <stdatomic.h>

struct faulty_vfs {
    atomic_int fail_from;  /* the n-th operation from now on fails; 0 = none */
    atomic_int fail_count; /* how many fail from there, -1 = all */
    atomic_int code;       /* with what: SQLITE_FULL, SQLITE_IOERR_WRITE, ... */
    atomic_int failed;     /* how many did */
    atomic_int wal_syncs;
};
extern struct faulty_vfs faulty_vfs;

void faulty_vfs_install(void); /* becomes the default; once, before any database is opened */
void faulty_vfs_fail(int from, int count, int code);
void faulty_vfs_heal(void);

#endif
