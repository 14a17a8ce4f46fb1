/*
 * suppressions.h - addresses that must not be mailed; public, included through storage/storage.h. Looked up inside each claim, so an entry holds from the next claim on, whichever process made it.
 */
#ifndef POSTHASTE_STORAGE_SUPPRESSIONS_H
#define POSTHASTE_STORAGE_SUPPRESSIONS_H

#include "storage/storage.h"

struct storage_suppression {
    const char *email;
    const char *reason; /* "hard-bounce", "soft-bounce", "complaint", "unsubscribe", "manual", "invalid" */
    const char *origin; /* free text: who or what said so, e.g. "cli", "api", "campaign 7: 550 5.1.1 …" */
    int64_t created_ms;
};
typedef int storage_suppression_cb(void *context, const struct storage_suppression *suppression);

/* 0 added; STORAGE_EXISTS: it was there (kept as it was). */
int storage_suppression_add(struct storage *storage, const struct storage_suppression *suppression, struct error *err);
/* Many in short transactions; `added` counts the new ones. */
int storage_suppression_add_many(struct storage *storage, const struct storage_suppression *items, size_t count, int64_t *added, struct error *err);
int storage_suppression_remove(struct storage *storage, const char *email, struct error *err); /* 0 or NOT_FOUND */
int storage_suppression_get(struct storage_reader *reader, const char *email, storage_suppression_cb *each, void *context, struct error *err);
/* In address order, email > after ("" = from the start). */
int storage_suppression_page(struct storage_reader *reader, const char *after, int limit, storage_suppression_cb *each, void *context, int64_t *total, struct error *err);

#endif
