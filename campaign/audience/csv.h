/*
 * csv.h - a streaming reader of CSV (RFC 4180): bytes in, rows out. It does no I/O and knows nothing of recipients.
 *
 * Grammar: rows end with LF, CRLF or CR; empty lines are skipped. A field that begins with a double quote is quoted: it
 * may hold delimiters and line breaks, and "" stands for one quote. A quote anywhere else is an ordinary character
 * (people write 5'4"). White space is kept. The delimiter (comma, semicolon or tab) is read from the first row: the
 * candidate under which the row holds `key_column`, and among equals the one that occurs most often outside quotes.
 *
 * Bounds: a row is shorter than CSV_ROW_MAX_BYTES and has at most CSV_COLUMNS_MAX columns. Whatever is not a row is
 * told to the caller as a row with a `problem`, and reading goes on behind it. A quote that is still open when the
 * bound is reached is taken as a slip of the pen: reading goes on at the next line end, so that one missing quote
 * cannot swallow a file. Text behind a closing quote in a row of several lines is another: the next quote of the file
 * has closed a stray one, and the problem names the lines that it took in. Memory does not depend on the input.
 *
 * How the input is cut into feeds changes nothing. One thread at a time.
 */
#ifndef POSTHASTE_CAMPAIGN_AUDIENCE_CSV_H
#define POSTHASTE_CAMPAIGN_AUDIENCE_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define CSV_ROW_MAX_BYTES ((size_t)1 << 20)
#define CSV_COLUMNS_MAX 1000
#define CSV_RAW_MAX_BYTES ((size_t)1024)

struct csv_field {
    const char *text; /* not terminated */
    size_t len;
};

struct csv_row {         /* everything in it lives during the callback */
    int64_t line;        /* 1-based line on which the row begins */
    const char *problem; /* NULL, or why these bytes are not a row, for a person to read; then `count` is 0 */
    bool open_quote;     /* the problem is a quote that took in the lines behind it */
    const struct csv_field *fields;
    size_t count;
    const char *raw; /* as it stood in the input, cut to CSV_RAW_MAX_BYTES, not terminated */
    size_t raw_len;
};

/* The header is a row like any other: the first. Anything but 0 stops the reading; csv_feed() returns it. */
typedef int csv_row_cb(void *context, const struct csv_row *row);

struct csv;

/* `key_column` (may be NULL) must outlive the reader. 0 or -ENOMEM. */
int csv_create(csv_row_cb *each, void *context, const char *key_column, struct csv **out) ATTR_MUSTCHECK;
void csv_free(struct csv **csv); /* takes NULL in either place; sets *csv to NULL */

/* Reads `len` bytes; the callback runs inside the call for each row that ends in them. 0, what the callback returned,
 * or -ENOMEM. */
int csv_feed(struct csv *csv, const char *bytes, size_t len) ATTR_MUSTCHECK;

/* End of the input: a last row without a line end, or the report of an open quote. Returns as csv_feed(). */
int csv_finish(struct csv *csv) ATTR_MUSTCHECK;

#endif
