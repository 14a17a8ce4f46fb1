/*
 * output.h - how the CLI talks: aligned tables, numbers that can be read, one sentence for a failure. Whatever is
 * printed was made one line of valid UTF-8 without control characters, so that no reply of a mail server can drive
 * somebody's terminal.
 */
#ifndef POSTHASTE_API_CLI_OUTPUT_H
#define POSTHASTE_API_CLI_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

#include "api/cli/cli.h"
#include "api/cli/terminal.h"
#include "base/buffer.h"

/* "posthaste: …" on stderr; returns CLI_FAILED. */
int out_fail(const char *format, ...) ATTR_PRINTF(1, 2);
/* The sentence of a negative code, or of a positive condition with `what` ("list \"news\""). Returns CLI_FAILED. */
int out_condition(int code, const char *what, const struct error *err);
/* Indented JSON on stdout; takes over the reference. CLI_DONE, or CLI_FAILED when it could not be written. */
int out_json(json_t *value);
/* The commands whose words begin with these ("" = all), with their options, for programs. */
json_t *cli_help_json(const struct cli_command *commands, size_t count, const char *words);
/* A line on stdout. */
void out_line(const char *format, ...) ATTR_PRINTF(1, 2);

#define OUT_NUMBER_BYTES 32
const char *out_number(int64_t value, char text[OUT_NUMBER_BYTES]);     /* "1,234,567" */
const char *out_duration(int64_t seconds, char text[OUT_NUMBER_BYTES]); /* "3d 4h", "12min 5s", "0s" */
const char *out_bytes(int64_t bytes, char text[OUT_NUMBER_BYTES]);      /* "12.3 MB" */

/* ---- tables: a header and rows of cells; columns as wide as they need; numbers to the right ---- */
struct table {
    int columns;
    const char *align;   /* one letter a column: 'l' or 'r' */
    struct buffer cells; /* NUL-terminated, one after the other */
    size_t cell_count;
};
void table_begin(struct table *table, const char *align, ...) __attribute__((sentinel)); /* header texts, NULL */
void table_cell(struct table *table, const char *text);                                  /* NULL = "" */
void table_state(struct table *table, const char *word); /* in the tone of the word */
void table_number(struct table *table, int64_t value);
void table_format(struct table *table, const char *format, ...) ATTR_PRINTF(2, 3);
/* Prints and frees. `empty` is printed in place of a table without rows. `max_columns` 0 = not cut. */
void table_print(struct table *table, FILE *file, const char *empty, int max_columns);

/* ---- a progress bar on stderr, drawn only when that is a terminal ---- */
struct progress {
    bool shown;
    int64_t last_us, begun_us;
};
void progress_begin(struct progress *progress);
/* At most ten times a second. `total` 0 = unknown. `note` stands behind the bar, as far as there is room in the line. */
void progress_step(struct progress *progress, int64_t done, int64_t total, const char *note);
void progress_end(struct progress *progress);

#endif
