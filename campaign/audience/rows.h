/*
 * rows.h - what the halves of an import share: the import itself and the way out of a row, taken or rejected. Private
 * to audience/.
 */
#ifndef POSTHASTE_CAMPAIGN_AUDIENCE_ROWS_H
#define POSTHASTE_CAMPAIGN_AUDIENCE_ROWS_H

#include <stdbool.h>

#include "base/address.h"
#include "base/buffer.h"

#include "campaign/audience/csv.h"
#include "campaign/audience/import.h"
#include "campaign/audience/jsonl.h"

struct column {
    char *json_key; /* "\"name\":" ready to be written; NULL: a column without a name, which must stay empty */
    size_t json_key_len;
};

struct import {
    struct import_options options;
    struct storage_import *storage;
    struct error *err; /* of the call that is running, for the readers' callbacks */

    unsigned char head[3]; /* the first bytes, until it is known whether they are a byte order mark */
    size_t head_len;
    bool started; /* the head is behind */
    bool failed;  /* a call returned a failure: nothing more is stored */

    struct csv *csv;
    bool has_header;
    struct column *columns;
    size_t column_count, email_column;

    struct jsonl jsonl;

    char open_quote[160]; /* the problem of the first row whose quote took in the lines behind; "" = none */

    struct buffer json; /* attributes of the row at hand */
    int64_t accepted, rejected, bytes;
};

/* One row that is not taken; returns 0, so that a reader's callback may end with it. */
int rows_reject(struct import *import, int64_t line, const char *raw, size_t raw_len, const char *format, ...)
    ATTR_PRINTF(5, 6);

/* One row whose attributes are in import->json. 0 or storage's failure. */
int rows_take(struct import *import, const struct address *address) ATTR_MUSTCHECK;

/* The callbacks of the two readers; context is the import. */
int rows_csv(void *context, const struct csv_row *row);
int rows_jsonl(void *context, const struct jsonl_line *line);

void rows_free_columns(struct import *import);

#endif
