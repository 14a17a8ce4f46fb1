/*
 * snippets.h - stored partials of templates ({{>header}}); public, included through storage/storage.h. What stands in
 * them is campaign/'s matter.
 */
#ifndef POSTHASTE_STORAGE_SNIPPETS_H
#define POSTHASTE_STORAGE_SNIPPETS_H

#include "storage/storage.h"

#define SNIPPETS_MAX 1000
#define SNIPPETS_MAX_BYTES ((int64_t)32 << 20) /* all together */

struct storage_snippet {
    const char *name, *text;
    int64_t created_ms, updated_ms;
};
typedef int storage_snippet_cb(void *context, const struct storage_snippet *snippet);

/* Makes it, or replaces its text; *created (may be NULL) says which. -E2BIG: too many, or too large together. */
int storage_snippet_set(struct storage *storage, const char *name, const char *text, int64_t now_ms, bool *created,
                        struct error *err) ATTR_MUSTCHECK;
int storage_snippet_delete(struct storage *storage, const char *name, struct error *err) ATTR_MUSTCHECK; /* NOT_FOUND */
int storage_snippet_get(struct storage_reader *reader, const char *name, storage_snippet_cb *each, void *context,
                        struct error *err) ATTR_MUSTCHECK; /* NOT_FOUND */
/* Name > after ("" = from the first), in that order; limit 0 = all. `total` may be NULL. */
int storage_snippet_page(struct storage_reader *reader, const char *after, int limit, storage_snippet_cb *each,
                         void *context, int64_t *total, struct error *err) ATTR_MUSTCHECK;

#endif
