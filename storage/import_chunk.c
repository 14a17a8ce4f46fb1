/*
 * import_chunk.c - the rows of a load, a chunk of fixed size at a time, so that memory does not grow with the file.
 *
 * Two chunks take turns: the caller fills and sorts `next` while a thread of its own writes the other, which takes
 * several times as long. The thread lives for one chunk; it is joined before the next is handed over and before the
 * load ends, and only then are its failure and the connection looked at. A load that fits into one chunk never sees it.
 * Nor does one within a server, whose cores have mail to sign: there the chunk is written where it was filled.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "storage/import.h"
#include "storage/writer.h"

/* The larger a chunk, the more of its rows share a page of the index of addresses. A command has the memory for two of
 * these (some 250 MB in all), a server that also sends does not. */
#define ROWS_MAX ((size_t)600000)
#define SERVER_ROWS_MAX ((size_t)250000)
#define ROWS_FIRST ((size_t)1024) /* room to begin with: most loads over HTTP are small */
#define TEXT_BYTES ((size_t)72 << 20)
#define SERVER_TEXT_BYTES ((size_t)28 << 20)

void import_chunks_init(struct storage_import *import)
{
    bool server = import->storage->server;
    import->rows_max = server ? SERVER_ROWS_MAX : ROWS_MAX;
    import->text_bytes = server ? SERVER_TEXT_BYTES : TEXT_BYTES;
}

static void chunk_free(struct import_chunk *chunk)
{
    free(chunk->keys);
    free(chunk->rows);
    free(chunk->text);
}

void import_chunks_free(struct storage_import *import)
{
    assure(!import->beside);
    chunk_free(&import->next);
    chunk_free(&import->chunk);
}

/* ---- written ---- */

/* Not through the statement cache: this pragma acts when it is prepared, not when it is stepped. */
int import_set_sync(struct storage_import *import, bool full, struct error *err)
{
    int code = sqlite3_exec(import->db->handle, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL,
                            NULL, NULL);
    if (code != SQLITE_OK)
        return db_failure(import->db, code, err);
    import->unsynced = !full;
    return 0;
}

/* In whichever thread has the connection. The chunk is empty afterwards. Only a load that fits into one transaction is
 * synced with it. */
static int write_chunk(struct storage_import *import, bool last, struct error *err)
{
    struct import_chunk *chunk = &import->chunk;
    bool short_load = last && chunk->row_count <= IMPORT_SLICE_ROWS;
    int failed = short_load || import->unsynced ? 0 : import_set_sync(import, false, err);
    if (!failed)
        failed = import_domains(import, err);
    if (!failed)
        failed = import_rows(import, err);
    /* Nobody may be kept waiting while the next rows are being read. The last chunk's is ended by the flush of the
     * domains. */
    if (!failed && !last) {
        failed = import_commit(import, err);
        if (failed)
            import_rollback(import);
    }
    free(chunk->keys);
    chunk->keys = NULL;
    chunk->row_count = 0;
    chunk->text_used = 0;
    arena_finish(&import->merged);
    return failed;
}

static void *write_beside(void *arg)
{
    struct storage_import *import = arg;
    (void)pthread_setname_np(pthread_self(), "import");
    atomic_store(&import->result, write_chunk(import, false, &import->why));
    return NULL;
}

/* False: there can be no thread now. */
static bool start_beside(struct storage_import *import)
{
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the caller's */
    import->beside = pthread_create(&import->thread, NULL, write_beside, import) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return import->beside;
}

/* Until nothing is being written; returns how that went. */
static int wait_written(struct storage_import *import, struct error *err)
{
    if (!import->beside)
        return 0;
    pthread_join(import->thread, NULL);
    import->beside = false;
    int failed = atomic_load(&import->result);
    if (failed && err != NULL)
        *err = import->why;
    return failed;
}

static void swap_chunks(struct storage_import *import)
{
    struct import_chunk filled = import->next;
    import->next = import->chunk;
    import->chunk = filled;
}

/* What was filled becomes what is to be written. */
static int take_next(struct storage_import *import, struct error *err)
{
    struct import_chunk *next = &import->next;
    next->keys = reallocarray(NULL, next->row_count, 2 * sizeof(*next->keys));
    if (next->keys == NULL)
        return error_memory(err);
    import_sort(next->rows, next->keys, next->keys + next->row_count, next->row_count);
    swap_chunks(import);
    return 0;
}

static int write_next(struct storage_import *import, bool last, struct error *err)
{
    if (import->next.row_count == 0)
        return 0;
    int failed = take_next(import, err);
    if (failed || (!last && !import->storage->server && start_beside(import)))
        return failed;
    failed = write_chunk(import, last, err);
    swap_chunks(import); /* one is enough */
    return failed;
}

int import_chunks_end(struct storage_import *import, bool abandon, struct error *err)
{
    if (import->failed)
        return 0; /* it was told when it happened */
    int failed = wait_written(import, err);
    if (!failed && !abandon)
        failed = write_next(import, true, err);
    if (!failed)
        failed = import_domains_flush(import, err);
    import->failed = failed != 0;
    return failed;
}

/* ---- filled ---- */

static int make_room(struct storage_import *import, struct error *err)
{
    struct import_chunk *next = &import->next;
    if (next->text == NULL) {
        /* Touched page by page as it fills: a small load does not pay for it. */
        next->text = malloc(import->text_bytes);
        if (next->text == NULL)
            return error_memory(err);
    }
    if (next->row_count == next->row_capacity) {
        size_t capacity = next->row_capacity == 0 ? ROWS_FIRST : MIN_OF(next->row_capacity * 4, import->rows_max);
        struct import_row *grown = reallocarray(next->rows, capacity, sizeof(*grown));
        if (grown == NULL)
            return error_memory(err);
        next->rows = grown;
        next->row_capacity = capacity;
    }
    return 0;
}

int import_chunk_add(struct storage_import *import, const struct import_row *row, struct error *err)
{
    struct import_chunk *next = &import->next;
    bool full = next->row_count == import->rows_max ||
                next->text_used + row->email_len + row->attributes_len > import->text_bytes;
    if (full || atomic_load_explicit(&import->result, memory_order_relaxed) != 0) {
        int failed = wait_written(import, err);
        if (!failed)
            failed = write_next(import, false, err);
        import->failed = failed != 0;
        if (failed)
            return failed;
    }
    int failed = make_room(import, err);
    if (failed)
        return failed;
    char *place = next->text + next->text_used;
    memcpy(place, row->email, row->email_len);
    memcpy(place + row->email_len, row->attributes, row->attributes_len);
    next->text_used += row->email_len + row->attributes_len;
    next->rows[next->row_count] = *row;
    next->rows[next->row_count].email = place;
    next->rows[next->row_count++].attributes = place + row->email_len;
    return 0;
}
