/*
 * segment.h - a filter over recipients, in the form in which it is stored; public, included through storage/storage.h.
 *
 * campaign/ reads what people write and builds this program; storage/ keeps it with the campaign and asks it about one
 * recipient at a time, when the recipient is claimed or counted. A program is a tree in prefix order: a group says how
 * many nodes are its members, a test carries its values. Fields that name columns or attributes are never part of an
 * SQL text.
 *
 * Meaning. A test of something that is not there (no such attribute, null) is false, but for NE and NOT, which are
 * true. Text is compared byte by byte. A number also equals its text ("35", as CSV gives it); true and false also their
 * names. CONTAINS: the text holds it, or the list has an element equal to it. BEFORE, AFTER, WITHIN: the value reads as
 * a date (RFC 3339, or its date alone). What a campaign did is known as long as its deliveries are kept (retention).
 */
#ifndef POSTHASTE_STORAGE_SEGMENT_H
#define POSTHASTE_STORAGE_SEGMENT_H

#include "base/buffer.h"
#include "storage/storage.h"

#define SEGMENT_DEPTH_MAX 8     /* groups within groups */
#define SEGMENT_TESTS_MAX 100   /* tests of one segment */
#define SEGMENT_VALUES_MAX 1000 /* of all its tests together */
#define SEGMENT_BYTES_MAX ((size_t)65536)

enum segment_kind {
    SEGMENT_AND = 1,
    SEGMENT_OR,
    SEGMENT_NOT,       /* of one */
    SEGMENT_ATTRIBUTE, /* `name` is the path in SQLite's form: $."city" or $."address"."city" */
    SEGMENT_EMAIL,
    SEGMENT_DOMAIN,
    SEGMENT_CREATED,  /* when the recipient was first stored; a date */
    SEGMENT_LIST,     /* `id`: the member's status there, by SEGMENT_IS with enum member_status; -1 = not on it */
    SEGMENT_CAMPAIGN, /* `id`: what that campaign's delivery came to, by SEGMENT_IS with enum segment_event */
    SEGMENT_KIND_END
};
enum segment_op {
    SEGMENT_NONE, /* groups */
    SEGMENT_EQ,
    SEGMENT_NE,
    SEGMENT_LT,
    SEGMENT_LTE,
    SEGMENT_GT,
    SEGMENT_GTE,
    SEGMENT_IN,
    SEGMENT_CONTAINS,
    SEGMENT_STARTS,
    SEGMENT_EXISTS, /* one value: true or false */
    SEGMENT_BEFORE, /* one value, ms; exclusive */
    SEGMENT_AFTER,  /* one value, ms; inclusive */
    SEGMENT_WITHIN, /* one value, ms: in so much time before the launch */
    SEGMENT_IS,
    SEGMENT_OP_END
};
enum segment_event {
    SEGMENT_EVENT_SENT, /* it has a delivery, whatever became of it */
    SEGMENT_EVENT_DELIVERED,
    SEGMENT_EVENT_BOUNCED,
    SEGMENT_EVENT_OPENED,
    SEGMENT_EVENT_CLICKED,
    SEGMENT_EVENT_NOT_OPENED,  /* delivered, and not opened */
    SEGMENT_EVENT_NOT_CLICKED, /* delivered, and not clicked */
    SEGMENT_EVENT_UNSUBSCRIBED,
    SEGMENT_EVENT_END
};
struct segment_value {
    enum { SEGMENT_TEXT = 1, SEGMENT_NUMBER, SEGMENT_BOOL } type;
    const char *text; /* TEXT */
    double number;    /* NUMBER; BOOL: 0 or 1 */
};

/* Building, node by node in prefix order. What memory lacks shows as out->failed. */
void segment_put_group(struct buffer *out, enum segment_kind kind, unsigned members);
void segment_put_test(struct buffer *out, enum segment_kind kind, enum segment_op op, const char *name, int64_t id,
                      unsigned values);
void segment_put_value(struct buffer *out, const struct segment_value *value);

#endif
