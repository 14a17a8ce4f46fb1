/*
 * output.c - writes for people. It decides nothing; a write to stdout that fails is found at the end by main (ferror).
 */
#include "api/cli/output.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

static void ATTR_PRINTF(3, 0) print_line(FILE *file, const char *before, const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        return;
    str_make_line(text);
    fprintf(file, "%s%s\n", before, text);
    free(text);
}

int out_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(tone_begin(stderr, TONE_BAD), stderr);
    fputs("posthaste:", stderr);
    fputs(tone_end(stderr), stderr);
    print_line(stderr, " ", format, args);
    va_end(args);
    return CLI_FAILED;
}

void out_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(stdout, "", format, args);
    va_end(args);
}

int out_condition(int code, const char *what, const struct error *err)
{
    const char *text = err != NULL ? err->text : "";
    if (code == STORAGE_NOT_FOUND)
        return out_fail("there is no %s", what);
    if (code == STORAGE_EXISTS)
        return out_fail("there is a %s already", what);
    if (code == STORAGE_WRONG_STATE)
        return out_fail("%s: %s", what, text[0] != '\0' ? text : "its present state does not allow this");
    return text[0] != '\0' ? out_fail("%s", text) : out_fail("%s: %s", what, code < 0 ? strerror(-code) : "refused");
}

int out_json(json_t *value)
{
    int rc = value != NULL ? json_dumpf(value, stdout, JSON_INDENT(2)) : -1;
    json_decref(value);
    if (rc != 0) /* main tells of a standard output that cannot be written */
        return ferror(stdout) != 0 ? CLI_FAILED : out_fail("cannot write the answer");
    fputc('\n', stdout);
    return CLI_DONE;
}

const char *out_number(int64_t value, char text[OUT_NUMBER_BYTES])
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%lld", (long long)value);
    size_t len = strlen(digits);
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-')
            text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = '\0';
    return text;
}

const char *out_duration(int64_t seconds, char text[OUT_NUMBER_BYTES])
{
    long long s = seconds;
    if (s >= 86400)
        (void)snprintf(text, OUT_NUMBER_BYTES, "%lldd %lldh", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        (void)snprintf(text, OUT_NUMBER_BYTES, "%lldh %lldmin", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        (void)snprintf(text, OUT_NUMBER_BYTES, "%lldmin %llds", s / 60, s % 60);
    else
        (void)snprintf(text, OUT_NUMBER_BYTES, "%llds", s);
    return text;
}

const char *out_bytes(int64_t bytes, char text[OUT_NUMBER_BYTES])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < countof(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text, OUT_NUMBER_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

/* ---- tables ---- */

/* Each cell begins with a byte for its tone, so that none is empty and none is taken for text. */
static void add_cell(struct table *table, const char *text, enum tone tone)
{
    char *copy = str_printf(" %s", text != NULL ? text : "");
    if (copy == NULL)
        return;
    str_make_line(copy);
    copy[0] = (char)('0' + (int)tone);
    buffer_append(&table->cells, copy, strlen(copy) + 1);
    table->cell_count++;
    free(copy);
}

void table_cell(struct table *table, const char *text)
{
    add_cell(table, text, TONE_PLAIN);
}

void table_state(struct table *table, const char *word)
{
    add_cell(table, word, word != NULL ? tone_of(word) : TONE_PLAIN);
}

void table_begin(struct table *table, const char *align, ...)
{
    *table = (struct table){.columns = (int)strlen(align), .align = align, .cells = BUFFER_INIT((size_t)256 << 20)};
    va_list args;
    va_start(args, align);
    const char *title;
    while ((title = va_arg(args, const char *)) != NULL)
        add_cell(table, title, TONE_STRONG);
    va_end(args);
    assure(table->cell_count == (size_t)table->columns);
}

void table_number(struct table *table, int64_t value)
{
    char text[OUT_NUMBER_BYTES];
    table_cell(table, out_number(value, text));
}

void table_format(struct table *table, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    table_cell(table, text);
}

#define TABLE_COLUMNS_MAX 16

static void measure(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
    const char *cell = table->cells.data;
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t *width = &widths[i % (size_t)table->columns];
        *width = MAX_OF(*width, text_width(cell + 1));
        cell += strlen(cell) + 1;
    }
}

static void print_row(const struct table *table, FILE *file, const char **cell, const size_t *widths,
                      size_t max_columns)
{
    size_t used = 0;
    for (int column = 0; column < table->columns; column++) {
        const char *text = *cell + 1;
        enum tone tone = (enum tone)(**cell - '0');
        *cell += strlen(text) + 2;
        size_t width = text_width(text);
        size_t pad = widths[column] - width;
        bool last = column + 1 == table->columns;
        size_t before = table->align[column] == 'r' ? pad : 0;
        size_t after = last ? 0 : (table->align[column] == 'r' ? 0 : pad) + 2;
        size_t room = max_columns > used + before ? max_columns - used - before : 0;
        if (max_columns != 0 && room == 0)
            continue;
        fprintf(file, "%*s", (int)before, "");
        int bytes = (int)(max_columns != 0 ? text_fitting(text, room) : strlen(text));
        if (tone != TONE_PLAIN)
            fprintf(file, "%s%.*s%s", tone_begin(file, tone), bytes, text, tone_end(file));
        else
            fprintf(file, "%.*s", bytes, text);
        used += before + (max_columns != 0 ? MIN_OF(width, room) : width);
        if (max_columns == 0 || used + after < max_columns)
            fprintf(file, "%*s", (int)after, "");
        used += after;
    }
    fputc('\n', file);
}

void table_print(struct table *table, FILE *file, const char *empty, int max_columns)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    assure(table->columns <= TABLE_COLUMNS_MAX);
    size_t rows = table->cell_count / (size_t)table->columns;
    if (table->cells.failed) {
        fprintf(file, "(out of memory)\n");
    } else if (rows <= 1 && empty != NULL) {
        fprintf(file, "%s\n", empty);
    } else {
        measure(table, widths);
        const char *cell = table->cells.data;
        for (size_t row = 0; row < rows; row++)
            print_row(table, file, &cell, widths, (size_t)MAX_OF(max_columns, 0));
    }
    buffer_finish(&table->cells);
}

/* ---- progress ---- */

#define BAR_CELLS 24
#define BAR_FRAME_CELLS 9 /* "[", "] 100%  " */
#define PROGRESS_STEP_US 100000

void progress_begin(struct progress *progress)
{
    *progress = (struct progress){.shown = isatty(STDERR_FILENO) == 1, .begun_us = clock_monotonic_us()};
}

void progress_step(struct progress *progress, int64_t done, int64_t total, const char *note)
{
    int64_t now_us = clock_monotonic_us();
    if (!progress->shown || now_us - progress->last_us < PROGRESS_STEP_US)
        return;
    progress->last_us = now_us;
    int columns = 80, rows;
    (void)terminal_size(STDERR_FILENO, &columns, &rows);
    /* A line that reached the last column would be wrapped, and the next one would not be drawn over it. */
    size_t room = (size_t)MAX_OF(columns - 1, 1);
    fprintf(stderr, "\r\033[K");
    if (total > 0 && room >= BAR_CELLS + BAR_FRAME_CELLS) {
        double share = (double)MIN_OF(done, total) / (double)total;
        int full = (int)(share * BAR_CELLS);
        fprintf(stderr, "[%s", tone_begin(stderr, TONE_BUSY));
        for (int i = 0; i < BAR_CELLS; i++)
            fputs(i < full ? "#" : "-", stderr);
        fprintf(stderr, "%s] %3.0f%%  ", tone_end(stderr), share * 100);
        room -= BAR_CELLS + BAR_FRAME_CELLS;
    }
    fprintf(stderr, "%.*s", (int)text_fitting(note, room), note);
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->shown && progress->last_us != 0)
        fprintf(stderr, "\r\033[K");
    fflush(stderr);
}
