/*
 * journal.c - the flight journal as it is written: a free list without a lock over slots in a shared mapping.
 *
 * What it is for. A claim is durable before the first byte goes out, a delivery row is durable some milliseconds after
 * the final reply. Between the two the database only knows "in flight". The journal splits that: not yet sent (to be
 * sent, no doubt about it), end-of-data out without a reply (uncertain, RFC 1047), reply known (the outcome itself).
 *
 * What a kill -9 leaves. The mapping is the page cache, which does not die with the process: every store that the
 * program had made is there, in the program's order, and none that it had not. Hence:
 *
 *   killed before journal_sent() ended   the line's checksum is 0: not sent. Right, for the bytes follow the call.
 *   between it and the final reply       sent without an outcome: uncertain. Right, even if the bytes never left: a
 *                                        doubt too many is allowed, a doubt too few is not.
 *   connection lost in the content       journal_clear(): not sent, under the same attempt number as before; sent again
 *                                        it takes a new slot.
 *   within journal_outcome()             the second line's checksum is still 0: as above.
 *   before the commit                    the outcome is in the slot and recovery records it.
 *   after the commit, before the clear   the row is there and the claim or the row's state no longer covers it; nobody
 *                                        asks the slot. The attempt's number keeps a later retry from taking it for its
 *                                        own.
 *
 * What a power cut leaves. The kernel writes the page back whenever it likes, so a slot can be older or newer than the
 * database, half of each (a sector is smaller than a page), or absent. Therefore who is absent proves nothing; recovery
 * sees that the machine has started anew (boot_id) and takes everyone without an outcome for uncertain, as if there
 * were no journal. What a slot does say is still true: an outcome whose checksum holds did arrive, for that attempt of
 * that delivery, and an old one cannot be taken for a new one because a retry has a higher number and because the file
 * is made anew after each recovery. Group commits bound how many are in doubt.
 *
 * Which database. meta.run is drawn when the journal begins and stands in both. A database restored from a backup, or
 * moved, has another one than the file; then the file is refused whole, with a warning.
 *
 * Disk full. All space is allocated when the file is made: a store into a hole of a full disk would be SIGBUS, and a
 * message that finds no slot could not be sent. So there are as many slots as the server holds deliveries at most.
 *
 * What it does not do: it never syncs a slot (that would be a disk's turn per message), and it holds no reply text.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/str.h"
#include "storage/journal_file.h"

struct journal {
    struct journal_slot *slots; /* slot n is slots[n - 1] */
    uint8_t *mapping;
    size_t mapping_bytes;
    int fd;
    uint32_t slots_max;
    /* The free list: low half = the first free slot's number (0 = none), high half counts changes, without which a slot
     * that was taken and came back between another thread's two looks would pass for unchanged. */
    _Atomic uint64_t free;
    _Atomic uint32_t *next; /* by number */
};

static void push_chain(struct journal *journal, uint32_t first, uint32_t last)
{
    uint64_t seen = atomic_load_explicit(&journal->free, memory_order_relaxed);
    uint64_t wanted;
    do {
        atomic_store_explicit(&journal->next[last], (uint32_t)seen, memory_order_relaxed);
        wanted = ((seen >> 32) + 1) << 32 | first;
    } while (!atomic_compare_exchange_weak_explicit(&journal->free, &seen, wanted, memory_order_release,
                                                    memory_order_relaxed));
}

static uint32_t pop(struct journal *journal)
{
    uint64_t seen = atomic_load_explicit(&journal->free, memory_order_acquire);
    while ((uint32_t)seen != 0) {
        uint32_t after = atomic_load_explicit(&journal->next[(uint32_t)seen], memory_order_relaxed);
        uint64_t wanted = ((seen >> 32) + 1) << 32 | after;
        if (atomic_compare_exchange_weak_explicit(&journal->free, &seen, wanted, memory_order_acquire,
                                                  memory_order_acquire))
            return (uint32_t)seen;
    }
    return 0;
}

uint32_t journal_sent(struct journal *journal, int64_t campaign_id, int64_t recipient_id, int attempt)
{
    uint32_t number = pop(journal);
    if (number == 0)
        return 0;
    struct journal_slot *slot = &journal->slots[number - 1];
    slot->sequence++;
    slot->campaign_id = campaign_id;
    slot->recipient_id = recipient_id;
    slot->attempt = attempt;
    CRASH_POINT("slot-filled");
    /* Release: a compiler must not move the line behind its checksum. The processor's order does not matter, for the
     * only reader is a later process. */
    atomic_store_explicit(&slot->sent_check, journal_sent_check(slot), memory_order_release);
    return number;
}

static struct journal_slot *slot_of(struct journal *journal, uint32_t number)
{
    assure(number <= journal->slots_max);
    return &journal->slots[number - 1];
}

void journal_outcome(struct journal *journal, const struct storage_outcome *record)
{
    if (record->journal_slot == 0)
        return;
    struct journal_slot *slot = slot_of(journal, record->journal_slot);
    const struct outcome *outcome = &record->outcome;
    assure(slot->campaign_id == record->campaign_id && slot->recipient_id == record->recipient_id);
    atomic_store_explicit(&slot->outcome_check, 0, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    slot->next_attempt_ms = record->next_attempt_ms;
    slot->ended_ms = outcome->ended_wall_ms > 0 ? outcome->ended_wall_ms : clock_wall_ms();
    slot->duration_ms = outcome->duration_ms;
    slot->code = outcome->code;
    slot->state = (uint8_t)record->state;
    slot->stage = (uint8_t)outcome->stage;
    slot->flags =
        (uint8_t)((outcome->tls ? JOURNAL_TLS : 0) | (record->tried ? JOURNAL_TRIED : 0) |
                  (record->uncertain ? JOURNAL_UNCERTAIN : 0) | (record->missing_attributes ? JOURNAL_MISSING : 0));
    memcpy(slot->enhanced, outcome->enhanced, sizeof(slot->enhanced));
    memset(slot->reason, 0, sizeof(slot->reason));
    if (record->suppress_reason != NULL)
        memcpy(slot->reason, record->suppress_reason, strnlen(record->suppress_reason, sizeof(slot->reason) - 1));
    CRASH_POINT("outcome-filled");
    atomic_store_explicit(&slot->outcome_check, journal_outcome_check(slot), memory_order_release);
}

void journal_clear(struct journal *journal, uint32_t number)
{
    if (number == 0)
        return;
    struct journal_slot *slot = slot_of(journal, number);
    assure(atomic_load_explicit(&slot->sent_check, memory_order_relaxed) != 0);
    atomic_store_explicit(&slot->sent_check, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->outcome_check, 0, memory_order_relaxed);
    push_chain(journal, number, number);
}

static int write_head(struct journal *journal, const uint8_t run[JOURNAL_RUN_BYTES])
{
    struct journal_head head = {.magic = {'p', 'h', 'f', 'l', 'i', 'g', 'h', 't'},
                                .version = JOURNAL_VERSION,
                                .order = 0x01020304,
                                .slot_bytes = sizeof(struct journal_slot),
                                .step = JOURNAL_STEP};
    memcpy(head.run, run, sizeof(head.run));
    journal_boot_id(head.boot);
    head.check = journal_check(&head, offsetof(struct journal_head, check), 0);
    int code = posix_fallocate(journal->fd, 0, JOURNAL_HEAD_BYTES);
    if (code != 0)
        return -code;
    ssize_t written = pwrite(journal->fd, &head, sizeof(head), 0);
    return written == (ssize_t)sizeof(head) ? 0 : written < 0 ? -errno : -EIO;
}

/* The name too must be there after a power cut, or the next run would find no journal where it had been promised one.
 */
static int sync_all(struct journal *journal, const char *data_dir)
{
    if (fsync(journal->fd) != 0)
        return -errno;
    int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    int failed = fsync(dir) != 0 ? -errno : 0;
    close(dir);
    return failed;
}

/* Room on the disk first, then the mapping, then the free list. */
static int lay_out(struct journal *journal)
{
    int code;
    journal->mapping_bytes = JOURNAL_HEAD_BYTES + (size_t)journal->slots_max * sizeof(struct journal_slot);
    do {
        code = posix_fallocate(journal->fd, 0, (off_t)journal->mapping_bytes);
    } while (code == EINTR);
    if (code != 0)
        return -code;
    void *mapping = mmap(NULL, journal->mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, journal->fd, 0);
    if (mapping == MAP_FAILED)
        return -errno;
    journal->mapping = mapping;
    journal->slots = (struct journal_slot *)(void *)(journal->mapping + JOURNAL_HEAD_BYTES);
    journal->next = calloc((size_t)journal->slots_max + 1, sizeof(*journal->next));
    if (journal->next == NULL)
        return -ENOMEM;
    for (uint32_t i = 1; i < journal->slots_max; i++)
        atomic_store_explicit(&journal->next[i], i + 1, memory_order_relaxed);
    push_chain(journal, 1, journal->slots_max);
    return 0;
}

int journal_create(const char *data_dir, const uint8_t run[JOURNAL_RUN_BYTES], int slots_max, struct journal **out,
                   struct error *err)
{
    *out = NULL;
    assure(slots_max > 0 && slots_max <= JOURNAL_SLOTS_MAX);
    char *path = str_printf("%s/" JOURNAL_NAME, data_dir);
    struct journal *journal = calloc(1, sizeof(*journal));
    if (path == NULL || journal == NULL) {
        free(path);
        free(journal);
        return error_memory(err);
    }
    journal->slots_max = ((uint32_t)slots_max + JOURNAL_STEP - 1) / JOURNAL_STEP * JOURNAL_STEP;
    int failed = unlink(path) != 0 && errno != ENOENT ? -errno : 0;
    journal->fd = failed ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (!failed && journal->fd < 0)
        failed = -errno;
    if (!failed)
        failed = write_head(journal, run);
    if (!failed)
        failed = lay_out(journal);
    if (!failed)
        failed = sync_all(journal, data_dir);
    if (failed) {
        (void)error_errno(err, failed, "cannot make %s", path);
        journal_close(journal);
        journal = NULL;
    }
    free(path);
    *out = journal;
    return failed;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL)
        return;
    if (journal->mapping != NULL)
        (void)munmap(journal->mapping, journal->mapping_bytes);
    if (journal->fd >= 0)
        close(journal->fd);
    free(journal->next);
    free(journal);
}
