/*
 * import.h - recipients from CSV (RFC 4180) or JSONL into a list; public, included through campaign/campaign.h.
 *
 * CSV: a header row with a column `email` (any case, any place; surrounding space ignored); every other column becomes an attribute of that name (text). Delimiter `,` `;` or tab is detected from the
 * header row; BOM, CRLF, LF and CR line ends, quoted fields with line breaks. JSONL: one object a line with "email" and any other keys as attributes
 * (or an "attributes" object). Streaming: memory does not depend on the input. Rows that are not taken go to the reject sink with line number (of the row's first line) and reason.
 */
#ifndef POSTHASTE_CAMPAIGN_AUDIENCE_IMPORT_H
#define POSTHASTE_CAMPAIGN_AUDIENCE_IMPORT_H

#include "storage/storage.h"

enum import_format { IMPORT_CSV, IMPORT_JSONL };

struct import_counts { int64_t read, created, updated, unchanged, rejected, bytes; }; /* read = data rows seen; = the sum of the other four when finished */

struct import_options {
    enum import_format format;
    int64_t list_id;
    enum upsert_mode mode;
    /* May be NULL. `line` is 1-based; row is the raw text, cut to 1 KiB, not terminated. */
    void (*reject)(void *context, int64_t line, const char *reason, const char *row, size_t row_len);
    void *context;
};

struct import;
int import_begin(struct storage *storage, const struct import_options *options, struct import **out, struct error *err) ATTR_MUSTCHECK;
/* Feeds the next bytes of the input, any cut. -EINVAL: the input as a whole is refused (no header, no email column, UTF-16): nothing was stored. */
int import_feed(struct import *import, const char *bytes, size_t len, struct error *err) ATTR_MUSTCHECK;
/* End of input: writes the rest, gives the counts, frees (also after a failure: then with abandon = true). IMPORT_INCOMPLETE, with the sentence in `err`: what could be taken is stored, but a quote that
 * is never closed took in lines that may well be rows, or of the rows that were read none could be taken. */
enum { IMPORT_INCOMPLETE = 100 }; /* apart from what storage returns */
int import_finish(struct import *import, bool abandon, struct import_counts *counts, struct error *err);
void import_progress(const struct import *import, struct import_counts *counts);

#endif
