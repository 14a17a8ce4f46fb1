/*
 * powercut.h - a disk that loses what was not synced, under SQLite's file layer (faulty_vfs.h must be installed).
 *
 * What was written since its file's last sync is, after the cut and by sectors of 512 bytes, as it was before, as it was
 * written, or neither; sectors written together do not fare alike. A file's size is the synced one or the last one.
 */
#ifndef POSTHASTE_TESTS_STORAGE_POWERCUT_H
#define POSTHASTE_TESTS_STORAGE_POWERCUT_H

#include <stdbool.h>

/* From here on the disk is watched, and the power goes off at the n-th write, truncation or sync (0 = not by itself).
 * What is in the files now counts as synced. While no file is open. */
void powercut_watch(int n);
/* Instead of letting everything fail from the cut on: `gone` is called with the files as the cut leaves them, while no
 * other thread can read or write one. It ends the process. Before powercut_watch(). */
void powercut_then(void (*gone)(void));
/* Now, at the latest. Everything that changes a file fails from here on. */
void powercut_off(void);
bool powercut_is_off(void);
/* Leaves in the files what the cut leaves, and stops watching. While no file is open. */
void powercut_settle(void);

#endif
