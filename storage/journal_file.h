/*
 * journal_file.h - the bytes of DIR/flight.journal and how a former run's are read; private to storage/.
 *
 * In the byte order of the machine: the file never travels, and `order` finds out if it did.
 */
#ifndef POSTHASTE_STORAGE_JOURNAL_FILE_H
#define POSTHASTE_STORAGE_JOURNAL_FILE_H

#include <stdatomic.h>

#include "storage/storage.h"

#define JOURNAL_NAME "flight.journal"
#define JOURNAL_VERSION 1
#define JOURNAL_HEAD_BYTES 4096
#define JOURNAL_RUN_BYTES 16

struct journal_head {
    char magic[8]; /* "phflight" */
    uint32_t version, order, slot_bytes, step;
    uint8_t run[JOURNAL_RUN_BYTES]; /* = meta.run of the database whose claims it knows */
    char boot[40];                  /* the kernel's boot_id, "" = unknown */
    uint64_t check;                 /* of all before it */
};

/* Two cache lines with a checksum each, written last; 0 = the line says nothing. The second line's is seeded with
 * `sequence`, so that it cannot pass for the outcome of another message that had the slot. */
struct journal_slot {
    uint64_t sequence; /* of uses of this slot */
    int64_t campaign_id, recipient_id;
    int32_t attempt, unused[7];
    _Atomic uint64_t sent_check;

    int64_t next_attempt_ms, ended_ms;
    uint32_t duration_ms;
    uint16_t code;
    uint8_t state, stage;
    uint8_t flags;
    char enhanced[12], reason[19];
    _Atomic uint64_t outcome_check;
};
_Static_assert(sizeof(struct journal_slot) == 128, "the format of the file");
_Static_assert(sizeof(struct journal_head) <= JOURNAL_HEAD_BYTES, "the format of the file");

enum { JOURNAL_TLS = 1, JOURNAL_TRIED = 2, JOURNAL_UNCERTAIN = 4, JOURNAL_MISSING = 8 };

/* Never 0. */
uint64_t journal_check(const void *bytes, size_t len, uint64_t seed);
uint64_t journal_sent_check(const struct journal_slot *slot);
uint64_t journal_outcome_check(const struct journal_slot *slot);
void journal_boot_id(char out[40]);

/* Makes the file anew and maps it. */
int journal_create(const char *data_dir, const uint8_t run[JOURNAL_RUN_BYTES], int slots_max, struct journal **out,
                   struct error *err) ATTR_MUSTCHECK;
void journal_close(struct journal *journal); /* NULL allowed; the file stays */

/* What a former run left, sorted by delivery. */
struct journal_past {
    struct journal_slot *slots; /* sent ones; those without a sound outcome have outcome_check 0 */
    size_t count;
    bool complete; /* who is not in it had no end-of-data out */
};
/* A file that is missing, foreign or damaged is no failure: an empty or incomplete past, and a warning. Negative: no
 * memory, cannot be read. */
int journal_past_read(const char *data_dir, const uint8_t run[JOURNAL_RUN_BYTES], struct journal_past *out,
                      struct error *err) ATTR_MUSTCHECK;
void journal_past_finish(struct journal_past *past);
/* The slot of that attempt, or NULL. */
const struct journal_slot *journal_past_find(const struct journal_past *past, int64_t campaign_id, int64_t recipient_id,
                                             int attempt);
/* Everything in the past is in the database now: the file goes. */
int journal_past_remove(const char *data_dir, struct error *err) ATTR_MUSTCHECK;

#endif
