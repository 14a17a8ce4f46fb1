/*
 * csv_out.c - quotes and neutralises. A cell that was neutralised reads back with the apostrophe in it; that is the
 * price, and why there is `raw`.
 */
#include "api/csv_out.h"

void csv_cell(struct buffer *out, const char *text, size_t len, bool raw)
{
    bool formula = len > 0 && memchr("=+-@\t\r\n\0|%", text[0], 10) != NULL;
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

void csv_comma(struct buffer *out)
{
    buffer_append_char(out, ',');
}

void csv_end_row(struct buffer *out)
{
    buffer_append_str(out, "\r\n");
}
