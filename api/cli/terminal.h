/*
 * terminal.h - what the CLI knows about the place where it prints: whether colours are wanted there, how wide it is,
 * and how many cells a text takes. One thread.
 */
#ifndef POSTHASTE_API_CLI_TERMINAL_H
#define POSTHASTE_API_CLI_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/attr.h"

enum tone { TONE_PLAIN, TONE_STRONG, TONE_QUIET, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_BUSY, TONE_COUNT };

/*
 * The escape sequence that begins a tone on that file; "" where no colours are wanted: it is no terminal, --no-color
 * was given, NO_COLOR is set (https://no-color.org), TERM is unset or "dumb". A file without a descriptor
 * (open_memstream) counts as standard output.
 */
const char *tone_begin(FILE *file, enum tone tone);
const char *tone_end(FILE *file); /* ends any tone */
void tone_never(void);            /* --no-color */
/* The tone of a word of the API ("running", "bounced", "warning"), TONE_PLAIN for any other. */
enum tone tone_of(const char *word);

/* Columns and rows of the terminal behind a descriptor; false when it is none. */
bool terminal_size(int descriptor, int *columns, int *rows);

/* In cells of a terminal: wide characters take two, combining ones none. `text` is UTF-8. */
size_t text_width(const char *text);
/* How many bytes of the text fit into so many cells, with the marks that belong to the last one; escape sequences take
 * none. */
size_t text_fitting(const char *text, size_t cells);

#endif
