/*
 * imports.h - uploads on their way into lists: one worker thread, one import at a time, the others wait in order.
 *
 * An upload is complete on disk (in a file without a name) before its import begins, so one that breaks off imports
 * nothing. Jobs live as long as the process; a job that a shutdown interrupts keeps what it had written. The last
 * IMPORTS_KEPT of them can be asked for.
 */
#ifndef POSTHASTE_API_IMPORTS_H
#define POSTHASTE_API_IMPORTS_H

#include <jansson.h>

#include "campaign/campaign.h"

#define IMPORTS_KEPT 256
#define IMPORTS_WAITING_MAX 32
#define IMPORT_REJECTS_SHOWN 100
#define IMPORT_REJECTS_MAX_BYTES ((size_t)16 << 20)      /* of one job's file of rejected rows */
#define IMPORT_REJECTS_ALL_MAX_BYTES ((size_t)512 << 20) /* of all that are kept */

struct import_jobs;

/* `data_dir` has room for files without a name; it outlives the jobs. */
int import_jobs_start(struct storage *storage, const char *data_dir, struct import_jobs **out,
                      struct error *err) ATTR_MUSTCHECK;
void import_jobs_stop(struct import_jobs *jobs); /* ends the running import, drops the waiting ones; NULL is allowed */

/* Takes over `fd` on success. 0, or -EBUSY when too many wait. */
int import_jobs_add(struct import_jobs *jobs, int64_t list_id, enum import_format format, enum upsert_mode mode, int fd,
                    int64_t *id, struct error *err) ATTR_MUSTCHECK;
/* The job as JSON; NULL = no such job. */
json_t *import_jobs_get(struct import_jobs *jobs, int64_t id);
/* The rejected rows of an ended job as CSV (line,reason,row; cells that a spreadsheet would run are neutralised): a
 * descriptor for the caller and its length. 0; STORAGE_NOT_FOUND; STORAGE_WRONG_STATE: not ended. */
int import_jobs_rejects(struct import_jobs *jobs, int64_t id, int *fd, size_t *len, struct error *err) ATTR_MUSTCHECK;

#endif
