/*
 * journal_past.c - the flight journal as a later process reads it: is it ours, what does it say, what may be concluded.
 *
 * Every byte is doubted. A head that is not exactly ours refuses the file; a slot whose checksum fails is passed over
 * and takes away the right to conclude anything from who is absent. `complete` is that right, and it needs all of: the
 * head sound and of this database's last run, the same boot of the machine, a file of whole steps, no damaged slot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "storage/journal_file.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Found to be different, not hard to make alike: the file is as trusted as the database beside it. */
uint64_t journal_check(const void *bytes, size_t len, uint64_t seed)
{
    const uint8_t *at = bytes;
    uint64_t sum = (seed ^ len) * 0x9E3779B97F4A7C15u;
    while (len > 0) {
        uint64_t word = 0;
        size_t take = MIN_OF(len, sizeof(word));
        memcpy(&word, at, take);
        sum = (sum ^ word) * 0xff51afd7ed558ccdu;
        sum ^= sum >> 32;
        at += take;
        len -= take;
    }
    return sum | 1;
}

uint64_t journal_sent_check(const struct journal_slot *slot)
{
    return journal_check(slot, offsetof(struct journal_slot, sent_check), 1);
}

uint64_t journal_outcome_check(const struct journal_slot *slot)
{
    const size_t from = offsetof(struct journal_slot, next_attempt_ms);
    return journal_check((const uint8_t *)slot + from, offsetof(struct journal_slot, outcome_check) - from,
                         slot->sequence + 2);
}

void journal_boot_id(char out[40])
{
    memset(out, 0, 40);
    int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t got = read(fd, out, 36);
    close(fd);
    if (got != 36)
        memset(out, 0, 40);
}

/* What is wrong with the head, or NULL. */
static const char *judge_head(const struct journal_head *head, const uint8_t run[JOURNAL_RUN_BYTES])
{
    static const uint8_t none[JOURNAL_RUN_BYTES];
    if (memcmp(head->magic, "phflight", sizeof(head->magic)) != 0)
        return "is not a flight journal";
    if (head->check != journal_check(head, offsetof(struct journal_head, check), 0))
        return "is damaged";
    if (head->version != JOURNAL_VERSION || head->order != 0x01020304 ||
        head->slot_bytes != sizeof(struct journal_slot) || head->step != JOURNAL_STEP)
        return "has another format than this program's";
    if (memcmp(head->run, none, sizeof(none)) == 0 || memcmp(head->run, run, sizeof(head->run)) != 0)
        return "belongs to another database, or to another state of this one";
    return NULL;
}

static bool same_boot(const struct journal_head *head)
{
    char boot[40];
    journal_boot_id(boot);
    return boot[0] != '\0' && memcmp(boot, head->boot, sizeof(boot)) == 0;
}

static bool sound_outcome(const struct journal_slot *slot)
{
    return slot->outcome_check == journal_outcome_check(slot) && slot->state > DELIVERY_SENDING &&
           slot->state < DELIVERY_STATE_COUNT && slot->stage < STAGE_COUNT && slot->code < 1000 &&
           memchr(slot->enhanced, '\0', sizeof(slot->enhanced)) != NULL &&
           memchr(slot->reason, '\0', sizeof(slot->reason)) != NULL;
}

static int compare(const void *a, const void *b)
{
    const struct journal_slot *x = a, *y = b;
    if (x->campaign_id != y->campaign_id)
        return x->campaign_id < y->campaign_id ? -1 : 1;
    if (x->recipient_id != y->recipient_id)
        return x->recipient_id < y->recipient_id ? -1 : 1;
    if (x->attempt != y->attempt)
        return x->attempt < y->attempt ? -1 : 1;
    /* The same attempt twice (an old page came back): an outcome, which is a fact, goes before a doubt. */
    return (x->outcome_check == 0) - (y->outcome_check == 0);
}

static int read_all(int fd, void *out, size_t len, off_t at)
{
    uint8_t *to = out;
    while (len > 0) {
        ssize_t got = pread(fd, to, len, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        to += got;
        at += got;
        len -= (size_t)got;
    }
    return 0;
}

/* Keeps the slots that say something, in place. */
static void sift(struct journal_past *past, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct journal_slot *slot = &past->slots[i];
        if (slot->sent_check == 0)
            continue;
        if (slot->sent_check != journal_sent_check(slot)) {
            past->complete = false;
            continue;
        }
        if (!sound_outcome(slot))
            slot->outcome_check = 0;
        if (past->count != i)
            memcpy(&past->slots[past->count], slot, sizeof(*slot));
        past->count++;
    }
    if (past->count > 1)
        qsort(past->slots, past->count, sizeof(*past->slots), compare);
}

static int read_file(int fd, const char *path, const uint8_t run[JOURNAL_RUN_BYTES], struct journal_past *out,
                     struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_errno(err, -errno, "cannot read %s", path);
    int64_t slot_bytes = (int64_t)status.st_size - JOURNAL_HEAD_BYTES;
    struct journal_head head = {.version = 0};
    const char *wrong = slot_bytes < 0 || !S_ISREG(status.st_mode) ? "is cut off" : NULL;
    int failed = wrong == NULL ? read_all(fd, &head, sizeof(head), 0) : 0;
    if (failed)
        return error_errno(err, failed, "cannot read %s", path);
    if (wrong == NULL)
        wrong = judge_head(&head, run);
    if (wrong != NULL) {
        log_warn("storage", "journal_refused file=%s why=%s", LOG_QUOTE(path), LOG_QUOTE(wrong));
        return 0;
    }
    size_t count = MIN_OF((size_t)slot_bytes / sizeof(struct journal_slot), (size_t)JOURNAL_SLOTS_MAX);
    out->complete =
        same_boot(&head) && count > 0 && (size_t)slot_bytes % ((size_t)JOURNAL_STEP * sizeof(struct journal_slot)) == 0;
    if (count == 0)
        return 0;
    out->slots = calloc(count, sizeof(*out->slots));
    if (out->slots == NULL)
        return error_memory(err);
    failed = read_all(fd, out->slots, count * sizeof(*out->slots), JOURNAL_HEAD_BYTES);
    if (failed)
        return error_errno(err, failed, "cannot read %s", path);
    sift(out, count);
    return 0;
}

int journal_past_read(const char *data_dir, const uint8_t run[JOURNAL_RUN_BYTES], struct journal_past *out,
                      struct error *err)
{
    *out = (struct journal_past){.slots = NULL};
    char *path = str_printf("%s/" JOURNAL_NAME, data_dir);
    if (path == NULL)
        return error_memory(err);
    int failed = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        failed = read_file(fd, path, run, out, err);
        close(fd);
    } else if (errno != ENOENT) {
        failed = error_errno(err, -errno, "cannot read %s", path);
    }
    free(path);
    if (failed)
        journal_past_finish(out);
    return failed;
}

void journal_past_finish(struct journal_past *past)
{
    free(past->slots);
    *past = (struct journal_past){.slots = NULL};
}

const struct journal_slot *journal_past_find(const struct journal_past *past, int64_t campaign_id, int64_t recipient_id,
                                             int attempt)
{
    /* The lowest that is not below the wanted one; an outcome sorts before everything else of its attempt. */
    const struct journal_slot wanted = {
        .campaign_id = campaign_id, .recipient_id = recipient_id, .attempt = attempt, .outcome_check = 1};
    size_t low = 0, high = past->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&past->slots[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == past->count || past->slots[low].campaign_id != campaign_id ||
        past->slots[low].recipient_id != recipient_id || past->slots[low].attempt != attempt)
        return NULL;
    return &past->slots[low];
}

int journal_past_remove(const char *data_dir, struct error *err)
{
    char *path = str_printf("%s/" JOURNAL_NAME, data_dir);
    if (path == NULL)
        return error_memory(err);
    int failed = unlink(path) != 0 && errno != ENOENT ? error_errno(err, -errno, "cannot remove %s", path) : 0;
    free(path);
    return failed;
}
