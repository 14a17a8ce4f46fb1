/*
 * csv_out.c - quotes and neutralises. To other programs a cell that was neutralised has an apostrophe in it; that is
 * the price, and why there is `raw`.
 */
#include "api/csv_out.h"

/* Apostrophes in front do not count: a cell that looks guarded by itself is guarded once more, or reading it back
 * would take its own apostrophe for the guard. */
static bool is_formula(const char *text, size_t len)
{
    while (len > 0 && text[0] == '\'') {
        text++;
        len--;
    }
    return len > 0 && memchr("=+-@\t\r\n\0|%", text[0], 10) != NULL;
}

void csv_cell(struct buffer *out, const char *text, size_t len, bool raw)
{
    bool formula = is_formula(text, len);
    bool quote = len > 0 && (text[0] == ' ' || text[len - 1] == ' ');
    for (size_t i = 0; i < len && !quote; i++)
        quote =
            text[i] == '"' || text[i] == ',' || text[i] == ';' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t';
    if (quote)
        buffer_append_char(out, '"');
    if (formula && !raw)
        buffer_append_char(out, '\'');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"')
            buffer_append_char(out, '"');
        buffer_append_char(out, text[i]);
    }
    if (quote)
        buffer_append_char(out, '"');
}

void csv_text(struct buffer *out, const char *text, bool raw)
{
    csv_cell(out, text, strlen(text), raw);
}

const char *csv_unguard(const char *text)
{
    return text[0] == '\'' && is_formula(text, strlen(text)) ? text + 1 : text;
}

void csv_comma(struct buffer *out)
{
    buffer_append_char(out, ',');
}

void csv_end_row(struct buffer *out)
{
    buffer_append_str(out, "\r\n");
}
