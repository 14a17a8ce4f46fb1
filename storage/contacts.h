/*
 * contacts.h - lists, recipients and members; public, but included through storage/storage.h.
 *
 * A recipient belongs to one lane for life (fixed when it is first stored, from the size of its domain at that moment), so
 * (list, lane, recipient) is unique and lists can be merged lane by lane. An import never re-subscribes anybody.
 * Addresses come in normal form (base/address.h); attributes are the text of one JSON object.
 */
#ifndef POSTHASTE_STORAGE_CONTACTS_H
#define POSTHASTE_STORAGE_CONTACTS_H

#include "storage/storage.h"

enum member_status { MEMBER_ACTIVE, MEMBER_UNSUBSCRIBED, MEMBER_REMOVED };

struct storage_list {
    int64_t id;
    const char *name, *description;
    int64_t active_count; /* members that would be mailed */
    int64_t created_ms;
};
typedef int storage_list_cb(void *context, const struct storage_list *list); /* non-zero stops the walk; strings live during the call */

int storage_list_create(struct storage *storage, const char *name, const char *description, int64_t *id, struct error *err); /* 0 or STORAGE_EXISTS (id set) */
int storage_list_update(struct storage *storage, int64_t id, const char *name, const char *description, struct error *err); /* NULL = keep; NOT_FOUND, EXISTS */
/* Members and suppressions of the list alone go with it, recipients stay. STORAGE_WRONG_STATE while a scheduled,
 * running or paused campaign uses it. */
int storage_list_delete(struct storage *storage, int64_t id, struct error *err);
int storage_list_find(struct storage_reader *reader, const char *name, int64_t *id, struct error *err);
int storage_list_get(struct storage_reader *reader, int64_t id, storage_list_cb *each, void *context, struct error *err);
/* Lists with id > after in id order, at most `limit`; `total` (may be NULL) counts all. */
int storage_list_page(struct storage_reader *reader, int64_t after, int limit, storage_list_cb *each, void *context, int64_t *total, struct error *err);

enum upsert_mode {
    UPSERT_UPDATE, /* known recipient: the given attributes are merged over the stored ones (RFC 7396) */
    UPSERT_SKIP,   /* known recipient: its attributes stay as they are; only the membership is added */
};
struct upsert_counts {
    int64_t created, updated, unchanged; /* rows; a row is `updated` when attributes or membership changed */
};

/*
 * A bulk load. Rows are copied, gathered in chunks, sorted by address and merged (the later row of the same address wins key by key), then written in
 * transactions that hold the database at most about 50 ms when a server runs on it, longer ones when not. One thread; outside a server a full chunk is written by
 * another while the next is gathered, so a failure to write may be told by a later call than the one that filled it.
 */
struct storage_import;
int storage_import_begin(struct storage *storage, int64_t list_id, enum upsert_mode mode, struct storage_import **out, struct error *err);
int storage_import_add(struct storage_import *import, const char *email, size_t email_len, const char *attributes_json, size_t json_len, struct error *err);
/* Writes the rest and frees. With `abandon` the rows not yet written are dropped (what was written stays). counts may be NULL. */
int storage_import_finish(struct storage_import *import, bool abandon, struct upsert_counts *counts, struct error *err);
/* Counts so far (rows written). */
void storage_import_counts(struct storage_import *import, struct upsert_counts *counts);

struct storage_member {
    int64_t recipient_id, list_id;
    const char *email, *list_name, *attributes;
    enum member_status status;
    int64_t joined_ms;
};
typedef int storage_member_cb(void *context, const struct storage_member *member);
/* Members of a list, recipient_id > after, in that order. */
int storage_member_page(struct storage_reader *reader, int64_t list_id, int64_t after, int limit, storage_member_cb *each, void *context, int64_t *total, struct error *err);
/* Status of one member; REMOVED takes it off the list. NOT_FOUND. */
int storage_member_set(struct storage *storage, int64_t list_id, const char *email, enum member_status status, struct error *err);

struct storage_recipient {
    int64_t id;
    const char *email, *attributes;
    int64_t created_ms, updated_ms;
};
typedef int storage_recipient_cb(void *context, const struct storage_recipient *recipient);
int storage_recipient_find(struct storage_reader *reader, const char *email, storage_recipient_cb *each, void *context, struct error *err);
/* By its id, or by that of a message to it (messages.h), like its memberships. */
int storage_recipient_get(struct storage_reader *reader, int64_t id, storage_recipient_cb *each, void *context, struct error *err);
int storage_recipient_memberships(struct storage_reader *reader, int64_t recipient_id, storage_member_cb *each, void *context, struct error *err);
/* The first active member of the list (a sample for preview); NOT_FOUND when empty. */
int storage_list_sample(struct storage_reader *reader, int64_t list_id, storage_recipient_cb *each, void *context, struct error *err);
/* One-click unsubscribe: takes the recipient off every list of the campaign, stamps the delivery, counts once. NOT_FOUND for an unknown pair; repeated = 0. */
int storage_unsubscribe(struct storage *storage, int64_t campaign_id, int64_t recipient_id, int64_t now_ms, struct error *err);

#endif
