/*
 * event_write.h - how the rest of storage/ writes events; private to the room, writer thread only.
 *
 * Call it in the transaction (or the savepoint) that makes the change, after the change: if either is rolled back, both
 * are.
 */
#ifndef POSTHASTE_STORAGE_EVENT_WRITE_H
#define POSTHASTE_STORAGE_EVENT_WRITE_H

#include "storage/storage.h"

/* True when somebody wants the kind: spares the caller to gather what the event would say. */
bool event_wanted(const struct storage *storage, enum event_kind kind);
/* Nothing when nobody wants it. Texts may be NULL; `id`, `email` and `campaign_name` are not read. */
int event_write(struct storage *storage, const struct storage_event *event, struct error *err) ATTR_MUSTCHECK;
/* For the common ones that tell no more than who, when and why. */
int event_write_plain(struct storage *storage, enum event_kind kind, int64_t campaign_id, int64_t recipient_id,
                      int64_t at_ms, const char *detail, struct error *err) ATTR_MUSTCHECK;

/* writer.c: at the begin of each transaction, and whenever something was rolled back. */
int event_write_begin(struct storage *storage, struct error *err) ATTR_MUSTCHECK;
void event_write_undone(struct storage *storage);
/* A call was run, which may have changed what is wanted from the next transaction on. */
void event_write_called(struct storage *storage);

#endif
