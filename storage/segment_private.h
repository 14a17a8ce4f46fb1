/*
 * segment_private.h - a stored segment, read and ready to be asked; private to storage/.
 */
#ifndef POSTHASTE_STORAGE_SEGMENT_PRIVATE_H
#define POSTHASTE_STORAGE_SEGMENT_PRIVATE_H

#include "storage/db.h"
#include "storage/segment.h"

struct segment_node {
    enum segment_kind kind;
    enum segment_op op;
    unsigned count; /* members of a group, values of a test */
    unsigned end;   /* index behind the node and all its members */
    unsigned value; /* index of its first value */
    int column;     /* of its first column; tests */
    const char *name;
    int64_t id;
};
struct segment {
    struct segment_node *nodes;
    struct segment_value *values;
    size_t node_count, value_count;
    sqlite3_stmt *statement; /* one recipient's columns, for all tests at once */
    char *bytes;             /* what names and texts point into */
    int64_t now_ms;          /* WITHIN counts back from here */
};

/* The segment of the campaign, prepared on the connection: 0 and *out (NULL = it has none). -EIO: what is stored is no
 * segment. */
int segment_load(struct db *db, int64_t campaign_id, struct segment **out, struct error *err) ATTR_MUSTCHECK;
void segment_free(struct segment *segment); /* NULL allowed; before its connection is closed */
/* 1 = the recipient is in it, 0 = not (or there is no such recipient). */
int segment_match(struct db *db, struct segment *segment, int64_t recipient_id, struct error *err) ATTR_MUSTCHECK;

/* segment.c: reads a program; the parts of struct segment above `statement`. -EINVAL when it is not one. */
int segment_decode(struct segment *segment, struct error *err) ATTR_MUSTCHECK;
extern const size_t segment_program_bytes_max;

#endif
