/*
 * power.c - the power fails at the N-th write, truncation or sync of the database: POSTHASTE_POWER=N:SEED:DATA_DIR.
 *
 * What was not synced is lost, kept or scrambled, sector by sector (tests/unit/storage/powercut.h); of the flight
 * journal, which is never synced, each sector is as it was when the file was made, as it is now, or half of each; and
 * the machine that starts again is another boot of it. Then the process is gone, as all processes are.
 */
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/journal_file.h"
#include "tests/unit/storage/faulty_vfs.h"
#include "tests/unit/storage/powercut.h"

enum { SECTOR = 512 };

static const char *data_dir;

static void another_boot(struct journal_head *head)
{
    head->boot[0] = 'x'; /* the kernel's is of hexadecimal digits; another cut may find ours */
    head->check = journal_check(head, offsetof(struct journal_head, check), 0);
}

/* Into a file of its own, which takes the other's place: threads that still run have that mapped. */
static void settle_journal(void)
{
    enum { OLD, HALF, NOW };
    char path[512], settled[520];
    union {
        struct journal_head head;
        char bytes[JOURNAL_HEAD_BYTES];
    } block;
    (void)snprintf(path, sizeof path, "%s/%s", data_dir, JOURNAL_NAME);
    (void)snprintf(settled, sizeof settled, "%s.cut", path);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(settled, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from < 0)
        return; /* not made yet */
    assure(to >= 0 && read(from, &block, sizeof block) == (ssize_t)sizeof block);
    another_boot(&block.head);
    assure(write(to, &block, sizeof block) == (ssize_t)sizeof block);
    while (read(from, block.bytes, SECTOR) == SECTOR) {
        long fate = random() % 4;
        size_t lost = fate == OLD ? SECTOR : fate == HALF ? (size_t)random() % SECTOR : 0;
        memset(block.bytes + SECTOR - lost, 0, lost);
        assure(write(to, block.bytes, SECTOR) == SECTOR);
    }
    assure(rename(settled, path) == 0);
}

static void go_out(void)
{
    settle_journal();
    (void)kill(getpid(), SIGKILL);
}

/* Before the first database is opened. */
__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("POSTHASTE_POWER");
    char *end;
    if (text == NULL)
        return;
    long n = strtol(text, &end, 10);
    assure(n > 0 && *end == ':');
    srandom((unsigned)strtoul(end + 1, &end, 10));
    assure(*end == ':');
    data_dir = end + 1;
    faulty_vfs_install();
    powercut_then(go_out);
    powercut_watch((int)n);
}
