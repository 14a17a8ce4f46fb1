/*
 * upkeep.h - looking after the database: check, backup, vacuum, retention; public, included through storage/storage.h.
 *
 * All but storage_vacuum() may run beside a sending server, in its process or in another: each piece of work is short, so
 * that a commit never waits for it.
 */
#ifndef POSTHASTE_STORAGE_UPKEEP_H
#define POSTHASTE_STORAGE_UPKEEP_H

#include "storage/storage.h"

/*
 * Reads the whole file: 0 = sound, STORAGE_DAMAGED = the sentence in `err` says what was found first, negative = could
 * not be read. `quick` leaves out comparing indexes with their tables. The reader's thread is busy for as long as it takes (about a second per
 * gigabyte that is cached), and the WAL grows meanwhile.
 */
enum { STORAGE_DAMAGED = 4 };
int storage_check(struct storage_reader *reader, bool quick, struct error *err) ATTR_MUSTCHECK;

/* After each step of a backup, on the caller's thread; anything but 0 ends it with -ECANCELED. */
typedef int storage_backup_cb(void *context, int64_t done_bytes, int64_t total_bytes);
/*
 * Copies the database as it is at this moment into a new file (mode 0600), which appears under `path` only when it is
 * whole and synced; -EEXIST when there is one. STORAGE_BACKUP_STEP_BYTES at a time with a pause after each, so that commits keep
 * their share of the disk. The WAL grows meanwhile. A server that starts on the copy takes what was in flight for uncertain.
 */
#define STORAGE_BACKUP_STEP_BYTES (512 << 10)
#define STORAGE_BACKUP_PAUSE_MS 4
int storage_backup(struct storage_reader *reader, const char *path, storage_backup_cb *progress, void *context,
                   struct error *err) ATTR_MUSTCHECK;

/* Gives free pages back to the file system. Rewrites the file and locks everybody out meanwhile: -EBUSY while a server runs. Needs the
 * size of the database once more on the disk. */
int storage_vacuum(struct storage *storage, struct error *err) ATTR_MUSTCHECK;

/*
 * Retention: of campaigns that were finished or cancelled more than keep_ms ago, deletes up to `slice` (1..10000) deliveries with their attempts and hits.
 * The campaign's counters and minute totals stay. *removed < slice: nothing is left to do. One short transaction a call.
 */
int storage_retain(struct storage *storage, int64_t keep_ms, int slice, int64_t now_ms, int64_t *removed,
                   struct error *err) ATTR_MUSTCHECK;
/* The links (with their counts) and the frozen snippets of one such campaign, and to whom some removed messages went
 * that came so long ago: until then they can be unsubscribed from, and reports about them are taken. *removed 0: there
 * is none left. */
int storage_retain_links(struct storage *storage, int64_t keep_ms, int64_t now_ms, int64_t *removed,
                         struct error *err) ATTR_MUSTCHECK;

#endif
