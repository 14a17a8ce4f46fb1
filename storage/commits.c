/*
 * commits.c - how long transactions take, counted by the writer.
 *
 * What is timed is a transaction from its BEGIN to the point where the next one could begin, with the sync and with
 * whatever the writer carries over from the WAL: what somebody who posts at the wrong moment waits for.
 */
#include "storage/writer.h"

const int storage_commit_bounds_ms[STORAGE_COMMIT_BOUNDS] = {1, 2, 5, 10, 20, 50, 100, 250, 1000};

void commits_note(struct storage *storage, int64_t took_us, size_t rows)
{
    struct storage_commits *commits = &storage->commits;
    commits->count++;
    commits->rows += rows;
    commits->total_us += took_us;
    commits->max_us = MAX_OF(commits->max_us, took_us);
    for (size_t i = 0; i < STORAGE_COMMIT_BOUNDS; i++)
        commits->within[i] += took_us <= (int64_t)storage_commit_bounds_ms[i] * 1000;
}

void storage_commits(struct storage *storage, struct storage_commits *out)
{
    pthread_mutex_lock(&storage->lock);
    *out = storage->commits;
    pthread_mutex_unlock(&storage->lock);
}
