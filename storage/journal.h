/*
 * journal.h - the flight journal: what is in the air this instant, in a memory-mapped file that outlives a kill of the
 * process; public, included through storage/storage.h.
 *
 * One slot per message whose end-of-data is out or whose outcome is not committed yet. The order for each message:
 *
 *   journal_sent()      on the loop thread, before the bytes that end its content are handed to the kernel
 *   journal_outcome()   on the loop thread, as soon as its final reply has been judged, before storage_outcomes_post()
 *   (the writer clears the slot after the commit that holds the row, before the record's `done`)
 *
 * Any thread may work on a slot that is its own; the slot passes from the loop to the writer with the record. None of
 * the three makes a system call.
 * journal.c tells what each crash leaves behind.
 */
#ifndef POSTHASTE_STORAGE_JOURNAL_H
#define POSTHASTE_STORAGE_JOURNAL_H

#include "storage/storage.h"

struct journal;
struct storage_outcome;

#define JOURNAL_STEP 4096           /* the number of slots, of 128 bytes each, is rounded up to this */
#define JOURNAL_SLOTS_MAX (1 << 20) /* at the very most: 128 MB */

/*
 * Makes DIR/flight.journal anew, with room for slots_max messages (rounded up to a step). Only for a server, once, after
 * storage_recover() and before the first claim: from here on recovery believes that who is not in the journal was never
 * sent. STORAGE_WRONG_STATE: open claims are there (nobody recovered). -EINVAL: not opened as a server. Other failures: the file.
 * The journal ends with storage_close().
 */
int storage_journal_begin(struct storage *storage, int slots_max, struct error *err) ATTR_MUSTCHECK;
/* NULL until it has begun. Any thread. */
struct journal *storage_journal(struct storage *storage);

/*
 * The end-of-data of this delivery is about to go out, as attempt number `attempt` (storage_job.attempts + 1). The slot, or 0: none is free, so
 * nothing may be sent until an outcome was committed.
 */
uint32_t journal_sent(struct journal *journal, int64_t campaign_id, int64_t recipient_id, int attempt) ATTR_MUSTCHECK;
/* Notes what will be posted in record->journal_slot (0: nothing is done). The record is only read. */
void journal_outcome(struct journal *journal, const struct storage_outcome *record);
/* Frees the slot: the end-of-data was not handed to the kernel after all. The writer's own call after a commit. 0 allowed. */
void journal_clear(struct journal *journal, uint32_t slot);

#endif
