/*
 * csv_out.h - CSV that we write (RFC 4180). People open it with a spreadsheet, and a spreadsheet runs a cell that
 * begins with = + - @ TAB or CR as a formula (OWASP ASVS 1.2.10), so such a cell gets an apostrophe in front unless
 * `raw` is asked for.
 */
#ifndef POSTHASTE_API_CSV_OUT_H
#define POSTHASTE_API_CSV_OUT_H

#include <stdbool.h>

#include "base/buffer.h"

/* Appends one cell; NULs cannot occur. `len` bytes, any text. */
void csv_cell(struct buffer *out, const char *text, size_t len, bool raw);
void csv_text(struct buffer *out, const char *text, bool raw);
/* A cell that csv_text() wrote without `raw`, after unquoting, as it was before: points into `text`. */
const char *csv_unguard(const char *text);
void csv_comma(struct buffer *out);
void csv_end_row(struct buffer *out); /* CRLF */

#endif
