/*
 * members.h - how a membership changes; private to storage/, shared by calls and import.
 */
#ifndef POSTHASTE_STORAGE_MEMBERS_H
#define POSTHASTE_STORAGE_MEMBERS_H

#include "storage/db.h"
#include "storage/storage.h"

struct member_row {
    int64_t list_id, lane, recipient_id;
    int64_t status, epoch, since, joined_ms; /* as in schema/001.sql */
};
struct member_change {
    int active, total; /* what it adds to list_lane.n and list_lane.total */
};

/* The row as it is after the change, by the present epoch. Writes nothing. */
struct member_change member_transition(struct member_row *row, enum member_status to, int64_t epoch, int64_t now_ms);

/* 1 = filled from (list, lane, recipient), 0 = there is none. */
int member_read(struct db *db, struct member_row *row, struct error *err) ATTR_MUSTCHECK;
int member_update(struct db *db, const struct member_row *row, struct error *err) ATTR_MUSTCHECK;
int member_count(struct db *db, int64_t list_id, int64_t lane, int64_t active, int64_t total,
                 struct error *err) ATTR_MUSTCHECK;

#endif
