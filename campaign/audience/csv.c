/*
 * csv.c - the streaming CSV reader. See csv.h for grammar and bounds.
 *
 * Two steps a row: find its end, then split it. Finding the end needs only to know where quoted fields begin and end,
 * and this state (struct csv) survives a cut of the input, so a row that lies whole in one feed, which is nearly every
 * row, is split where it lies and never copied. Only the row across a cut is gathered in `pending`. The search leans on
 * memchr(): three cursors remember where the next LF, CR and quote are, so each byte is looked at once by each,
 * whatever the rows look like.
 *
 * Success of csv_feed() means that every row that ended was told to the callback, the unusable ones too. It does not
 * mean that the input was good CSV.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/str.h"

#include "campaign/audience/csv.h"

struct csv {
    csv_row_cb *each;
    void *context;
    const char *key_column;
    char delimiter; /* NUL until the first row was read */

    int64_t line;      /* of the byte that comes next */
    int64_t row_line;  /* where the current row began */
    size_t row_bytes;  /* of it seen so far; counts up to CSV_ROW_MAX_BYTES */
    bool in_quotes;    /* inside a quoted field */
    bool quote_seen;   /* inside it, and the last byte was a quote: the next one tells "" from the end */
    bool field_start;  /* a quote here would open a quoted field */
    bool has_quotes;   /* some field of the row is quoted */
    bool overlong;     /* the bound was passed; only the first CSV_RAW_MAX_BYTES are kept */
    bool broken_quote; /* and a quote was open at that point */
    bool skip_lf;      /* the last row ended with CR; an LF right behind belongs to it */
    bool counted_cr;   /* the last byte of a quoted span was CR, already counted as a line */
    int64_t quote_line;

    struct buffer pending; /* the row across a cut */
    struct buffer scratch; /* unquoted text of a row with quotes */
    char problem[160];
    struct csv_field fields[CSV_COLUMNS_MAX];
};

/* Where the next byte of each kind is, at or after the place last asked for; `end` when there is none. */
struct cursors {
    const char *lf, *cr, *quote;
    const char *end;
};

static const char delimiters[] = ",;\t";

static const char *seek(const char **cursor, char c, const char *from, const char *end)
{
    if (*cursor < from) {
        const char *hit = from < end ? memchr(from, c, (size_t)(end - from)) : NULL;
        *cursor = hit != NULL ? hit : end;
    }
    return *cursor;
}

static const char *seek_line_end(struct cursors *cursors, const char *from)
{
    const char *lf = seek(&cursors->lf, '\n', from, cursors->end);
    const char *cr = seek(&cursors->cr, '\r', from, cursors->end);
    return MIN_OF(lf, cr);
}

static bool is_delimiter(const struct csv *csv, char c)
{
    if (csv->delimiter != '\0')
        return c == csv->delimiter;
    return c == ',' || c == ';' || c == '\t';
}

/* Line breaks inside quotes belong to the row, but the lines of the file must still be counted. */
static void count_lines(struct csv *csv, struct cursors *cursors, const char *at, const char *end)
{
    if (at == end)
        return;
    if (seek_line_end(cursors, at) >= end) {
        csv->counted_cr = false;
        return;
    }
    for (; at < end; at++) {
        if (*at == '\r' || (*at == '\n' && !csv->counted_cr))
            csv->line++;
        csv->counted_cr = *at == '\r';
    }
}

/* From inside a quoted field to the byte behind its closing quote; NULL when that is not before `end`. */
static const char *skip_quoted(struct csv *csv, struct cursors *cursors, const char *at, const char *end)
{
    for (;;) {
        if (csv->quote_seen) {
            if (at == end)
                return NULL;
            csv->quote_seen = false;
            if (*at != '"') {
                csv->in_quotes = false;
                return at;
            }
            at++;
        }
        const char *quote = seek(&cursors->quote, '"', at, cursors->end);
        if (quote >= end) {
            count_lines(csv, cursors, at, end);
            return NULL;
        }
        count_lines(csv, cursors, at, quote);
        csv->counted_cr = false;
        csv->quote_seen = true;
        at = quote + 1;
    }
}

/* The CR or LF that ends the current row, or NULL when it does not end before `end`. */
static const char *find_row_end(struct csv *csv, struct cursors *cursors, const char *at, const char *end)
{
    for (;;) {
        if (csv->in_quotes) {
            at = skip_quoted(csv, cursors, at, end);
            if (at == NULL)
                return NULL;
        }
        const char *stop = MIN_OF(seek_line_end(cursors, at), end);
        /* A row that is given up ends with its line: a quote in it must not reach further. */
        const char *quote = csv->overlong ? stop : seek(&cursors->quote, '"', at, cursors->end);
        if (quote >= stop) {
            if (stop < end)
                return stop;
            if (end > at)
                csv->field_start = is_delimiter(csv, end[-1]);
            return NULL;
        }
        bool opens = quote > at ? is_delimiter(csv, quote[-1]) : csv->field_start;
        csv->field_start = false;
        if (opens) {
            csv->in_quotes = true;
            csv->has_quotes = true;
            csv->quote_line = csv->line;
            csv->counted_cr = false;
        }
        at = quote + 1;
    }
}

/* Splits an unquoted run; returns the number of fields or CSV_COLUMNS_MAX + 1. */
static size_t split_plain(struct csv *csv, const char *at, const char *end, char delimiter)
{
    size_t count = 0;
    for (;;) {
        if (count == CSV_COLUMNS_MAX)
            return CSV_COLUMNS_MAX + 1;
        const char *stop = at < end ? memchr(at, delimiter, (size_t)(end - at)) : NULL;
        if (stop == NULL)
            stop = end;
        csv->fields[count++] = (struct csv_field){at, (size_t)(stop - at)};
        if (stop == end)
            return count;
        at = stop + 1;
    }
}

/* One quoted field, `at` behind its opening quote, written to `out`. Returns the byte behind the closing quote, or NULL
 * when there is none. */
static const char *unquote(const char *at, const char *end, char **out)
{
    for (;;) {
        const char *quote = at < end ? memchr(at, '"', (size_t)(end - at)) : NULL;
        if (quote == NULL)
            return NULL;
        memcpy(*out, at, (size_t)(quote - at));
        *out += quote - at;
        if (quote + 1 == end || quote[1] != '"')
            return quote + 1;
        *(*out)++ = '"';
        at = quote + 2;
    }
}

/* As split_plain() for a row with quotes; 0 and a problem when text follows a closing quote. -ENOMEM is told by
 * `failed` of the scratch buffer. */
static size_t split_quoted(struct csv *csv, const char *at, const char *end, char delimiter)
{
    size_t count = 0;
    buffer_clear(&csv->scratch);
    if (buffer_reserve(&csv->scratch, (size_t)(end - at) + 1) != 0)
        return 0;
    char *out = csv->scratch.data;
    for (;;) {
        if (count == CSV_COLUMNS_MAX)
            return CSV_COLUMNS_MAX + 1;
        const char *stop;
        if (at < end && *at == '"') {
            char *text = out;
            stop = unquote(at + 1, end, &out);
            if (stop == NULL || (stop < end && *stop != delimiter)) {
                snprintf(csv->problem, sizeof(csv->problem), "column %zu has text behind its closing quote", count + 1);
                return 0;
            }
            csv->fields[count++] = (struct csv_field){text, (size_t)(out - text)};
        } else {
            stop = at < end ? memchr(at, delimiter, (size_t)(end - at)) : NULL;
            if (stop == NULL)
                stop = end;
            csv->fields[count++] = (struct csv_field){at, (size_t)(stop - at)};
        }
        if (stop == end)
            return count;
        at = stop + 1;
    }
}

static size_t split(struct csv *csv, const char *raw, size_t len, char delimiter)
{
    return csv->has_quotes ? split_quoted(csv, raw, raw + len, delimiter) : split_plain(csv, raw, raw + len, delimiter);
}

static bool holds_key_column(const struct csv *csv, size_t count)
{
    size_t key_len = strlen(csv->key_column);
    for (size_t i = 0; i < count && i < CSV_COLUMNS_MAX; i++) {
        const char *text = csv->fields[i].text;
        size_t len = csv->fields[i].len;
        while (len > 0 && ascii_is_space(text[0])) {
            text++;
            len--;
        }
        while (len > 0 && ascii_is_space(text[len - 1]))
            len--;
        size_t k = 0;
        while (k < len && len == key_len && ascii_lower(text[k]) == ascii_lower(csv->key_column[k]))
            k++;
        if (len == key_len && k == len)
            return true;
    }
    return false;
}

/* Reads the delimiter out of the first row. A row without any candidate has one column, and any delimiter will do. */
static void detect_delimiter(struct csv *csv, const char *raw, size_t len)
{
    size_t best_score = 0;
    char best = delimiters[0];
    for (const char *candidate = delimiters; *candidate != '\0'; candidate++) {
        size_t occurrences = 0;
        bool quoted = false;
        for (size_t i = 0; i < len; i++) {
            quoted = quoted != (raw[i] == '"');
            occurrences += !quoted && raw[i] == *candidate;
        }
        size_t score = occurrences + 1;
        if (csv->key_column != NULL && holds_key_column(csv, split(csv, raw, len, *candidate)))
            score += CSV_ROW_MAX_BYTES; /* more than any number of occurrences */
        if (score > best_score) {
            best_score = score;
            best = *candidate;
        }
    }
    csv->problem[0] = '\0';
    csv->delimiter = best;
}

static int tell(struct csv *csv, const char *raw, size_t len, size_t count, bool open_quote)
{
    struct csv_row row = {
        .line = csv->row_line,
        .problem = csv->problem[0] != '\0' ? csv->problem : NULL,
        .open_quote = open_quote,
        .fields = csv->fields,
        .count = csv->problem[0] != '\0' ? 0 : count,
        .raw = raw,
        .raw_len = MIN_OF(len, CSV_RAW_MAX_BYTES),
    };
    return csv->each(csv->context, &row);
}

/* A whole row lies at `raw`, or what was kept of one that cannot be used. */
static int emit(struct csv *csv, const char *raw, size_t len)
{
    csv->problem[0] = '\0';
    size_t count = 0;
    bool open_quote = csv->broken_quote || csv->in_quotes;
    if (csv->broken_quote) {
        snprintf(csv->problem, sizeof(csv->problem),
                 "the quote opened in line %" PRId64 " is not closed within %zu bytes; lines %" PRId64 " to %" PRId64
                 " were skipped",
                 csv->quote_line, CSV_ROW_MAX_BYTES, csv->row_line, csv->line);
    } else if (csv->overlong) {
        snprintf(csv->problem, sizeof(csv->problem), "the row is longer than %zu bytes", CSV_ROW_MAX_BYTES - 1);
    } else if (csv->in_quotes) {
        snprintf(csv->problem, sizeof(csv->problem),
                 "the quote opened in line %" PRId64 " is never closed; the rest of the file, lines %" PRId64
                 " to %" PRId64 ", was taken for one row",
                 csv->quote_line, csv->row_line, csv->line);
    } else if (len == 0) {
        return 0;
    } else {
        if (csv->delimiter == '\0')
            detect_delimiter(csv, raw, len);
        count = split(csv, raw, len, csv->delimiter);
        if (csv->scratch.failed)
            return -ENOMEM;
        if (count > CSV_COLUMNS_MAX)
            snprintf(csv->problem, sizeof(csv->problem), "the row has more than %d columns", CSV_COLUMNS_MAX);
        /* A stray quote is closed by the next quote of the file, lines behind, and text of another row follows that. */
        open_quote = count == 0 && csv->line > csv->row_line;
        if (open_quote) {
            size_t told = strlen(csv->problem);
            snprintf(csv->problem + told, sizeof(csv->problem) - told,
                     "; lines %" PRId64 " to %" PRId64 " were skipped", csv->row_line, csv->line);
        }
    }
    return tell(csv, raw, len, count, open_quote);
}

static void begin_row(struct csv *csv)
{
    csv->row_line = csv->line;
    csv->row_bytes = 0;
    csv->in_quotes = csv->quote_seen = csv->has_quotes = csv->overlong = csv->broken_quote = csv->counted_cr = false;
    csv->field_start = true;
    buffer_clear(&csv->pending);
}

/* Takes `len` more bytes of a row that did not end yet, or that ends across a cut. */
static int keep(struct csv *csv, const char *bytes, size_t len)
{
    if (csv->overlong)
        return 0;
    csv->row_bytes += len;
    buffer_append(&csv->pending, bytes, len);
    return csv->pending.failed ? -ENOMEM : 0;
}

/* The bound is reached: keep what a reject file shows, forget the rest, and leave an open quote behind. */
static void give_up_row(struct csv *csv)
{
    csv->overlong = true;
    csv->broken_quote = csv->in_quotes && !csv->quote_seen;
    csv->in_quotes = csv->quote_seen = csv->field_start = false;
    char raw[CSV_RAW_MAX_BYTES];
    memcpy(raw, csv->pending.data, sizeof(raw));
    buffer_finish(&csv->pending);
    csv->pending = BUFFER_INIT(CSV_ROW_MAX_BYTES + 1);
    buffer_append(&csv->pending, raw, sizeof(raw));
}

static int end_row(struct csv *csv, const char *at, const char *row_end)
{
    int rc = 0;
    if (csv->row_bytes == 0 && !csv->overlong) {
        rc = emit(csv, at, (size_t)(row_end - at));
    } else {
        rc = keep(csv, at, (size_t)(row_end - at));
        if (rc == 0)
            rc = emit(csv, buffer_text(&csv->pending), csv->pending.len);
    }
    csv->skip_lf = *row_end == '\r';
    csv->line++;
    begin_row(csv);
    return rc;
}

int csv_feed(struct csv *csv, const char *bytes, size_t len)
{
    const char *at = bytes;
    struct cursors cursors = {NULL, NULL, NULL, bytes + len};
    while (at < cursors.end) {
        if (csv->skip_lf) {
            csv->skip_lf = false;
            if (*at == '\n') {
                at++;
                continue;
            }
        }
        size_t left = (size_t)(cursors.end - at);
        if (!csv->overlong)
            left = MIN_OF(left, CSV_ROW_MAX_BYTES - csv->row_bytes);
        const char *row_end = find_row_end(csv, &cursors, at, at + left);
        int rc;
        if (row_end != NULL) {
            rc = end_row(csv, at, row_end);
            at = row_end + 1;
        } else {
            rc = keep(csv, at, left);
            at += left;
            if (rc == 0 && !csv->overlong && csv->row_bytes == CSV_ROW_MAX_BYTES)
                give_up_row(csv);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

int csv_finish(struct csv *csv)
{
    if (csv->quote_seen)
        csv->in_quotes = csv->quote_seen = false; /* the last byte closed the field */
    if (csv->row_bytes == 0 && !csv->overlong)
        return 0;
    int rc = emit(csv, buffer_text(&csv->pending), csv->pending.len);
    begin_row(csv);
    return rc;
}

int csv_create(csv_row_cb *each, void *context, const char *key_column, struct csv **out)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return -ENOMEM;
    struct csv *csv = *out;
    csv->each = each;
    csv->context = context;
    csv->key_column = key_column;
    csv->line = 1;
    csv->pending = BUFFER_INIT(CSV_ROW_MAX_BYTES + 1);
    csv->scratch = BUFFER_INIT(CSV_ROW_MAX_BYTES + 64);
    begin_row(csv);
    return 0;
}

void csv_free(struct csv **csv)
{
    if (csv == NULL || *csv == NULL)
        return;
    buffer_finish(&(*csv)->pending);
    buffer_finish(&(*csv)->scratch);
    free(*csv);
    *csv = NULL;
}
