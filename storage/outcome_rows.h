/*
 * outcome_rows.h - outcomes in the shape of delivery rows; private to storage/, writer thread only.
 *
 * These functions know the columns and nothing of claims, counters or what a state leads to; that is outcomes.c. All
 * return 0, or negative with `err`.
 */
#ifndef POSTHASTE_STORAGE_OUTCOME_ROWS_H
#define POSTHASTE_STORAGE_OUTCOME_ROWS_H

#include "storage/writer.h"

#define OUTCOME_ROWS_MAX 32

/* First outcomes, each of another delivery. */
struct outcome_rows {
    const struct storage_outcome *records[OUTCOME_ROWS_MAX];
    enum delivery_state states[OUTCOME_ROWS_MAX];
    size_t count;
};

/* The record will be among them: the other core that wrote it has the memory in its cache, and one after the other what
 * is read of it would be waited for. */
void outcome_rows_expect(const struct storage_outcome *record);
/* Inserts the rows that are not there yet; stored[i]: this one was not. */
int outcome_rows_insert(struct storage *storage, const struct outcome_rows *rows, bool stored[OUTCOME_ROWS_MAX],
                        struct error *err);
/* Writes over the row that is there. What it knew of an attempt is kept in `attempt`, if another one was made. */
int outcome_row_update(struct storage *storage, int64_t delivery_id, const struct storage_outcome *record,
                       enum delivery_state state, struct error *err);

/* Wall clock: when the attempt ended, or now. */
int64_t outcome_ended_ms(const struct storage_outcome *record);

#endif
