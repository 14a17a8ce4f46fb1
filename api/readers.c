/*
 * readers.c - keeps as many open readers as were ever in use at one time, which is bounded by the number of HTTP
 * threads.
 *
 * Last given, first taken: the one whose page cache is warm. It does not know what a reader is used for.
 */
#include "api/readers.h"

#include <pthread.h>
#include <stdlib.h>

#define IDLE_MAX 32

struct readers {
    pthread_mutex_t lock;
    struct storage *storage;
    struct storage_reader *idle[IDLE_MAX];
    size_t idle_count;
    size_t taken_count;
};

int readers_create(struct storage *storage, struct readers **out, struct error *err)
{
    struct readers *readers = calloc(1, sizeof(*readers));
    if (readers == NULL)
        return error_memory(err);
    readers->storage = storage;
    assure(pthread_mutex_init(&readers->lock, NULL) == 0);
    *out = readers;
    return 0;
}

void readers_free(struct readers *readers)
{
    if (readers == NULL)
        return;
    assure(readers->taken_count == 0);
    for (size_t i = 0; i < readers->idle_count; i++)
        storage_reader_close(readers->idle[i]);
    (void)pthread_mutex_destroy(&readers->lock);
    free(readers);
}

int readers_take(struct readers *readers, struct storage_reader **out, struct error *err)
{
    struct storage_reader *reader = NULL;
    (void)pthread_mutex_lock(&readers->lock);
    if (readers->idle_count > 0)
        reader = readers->idle[--readers->idle_count];
    readers->taken_count++;
    (void)pthread_mutex_unlock(&readers->lock);
    int rc = 0;
    if (reader == NULL) {
        rc = storage_reader_open(readers->storage, &reader, err);
        if (rc != 0) {
            (void)pthread_mutex_lock(&readers->lock);
            readers->taken_count--;
            (void)pthread_mutex_unlock(&readers->lock);
            return rc;
        }
    }
    *out = reader;
    return 0;
}

void readers_give(struct readers *readers, struct storage_reader *reader)
{
    if (reader == NULL)
        return;
    (void)pthread_mutex_lock(&readers->lock);
    readers->taken_count--;
    if (readers->idle_count < IDLE_MAX) {
        readers->idle[readers->idle_count++] = reader;
        reader = NULL;
    }
    (void)pthread_mutex_unlock(&readers->lock);
    if (reader != NULL)
        storage_reader_close(reader);
}
