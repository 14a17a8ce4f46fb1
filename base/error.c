/*
 * error.c - writes the one sentence that explains a negative return value.
 *
 * Success means that the sentence in the caller's struct is terminated, is one line and is valid UTF-8, whatever the
 * arguments held; a sentence that does not fit is cut. The arguments may point into the very struct that is written.
 * Also the end of assure(). It does not log: the caller that decides what the failure means does that.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void write_sentence(struct error *err, const char *before, const char *separator, const char *after)
{
    char text[sizeof(err->text)];
    int n = snprintf(text, sizeof(text), "%s%s%s", before, separator, after);
    if (n < 0)
        text[0] = '\0';
    str_make_line(text);
    memcpy(err->text, text, sizeof(text));
}

#define FORMAT_INTO(out, format)                                                                                       \
    do {                                                                                                               \
        va_list args;                                                                                                  \
        va_start(args, format);                                                                                        \
        if (vsnprintf(out, sizeof(out), format, args) < 0)                                                             \
            (out)[0] = '\0';                                                                                           \
        va_end(args);                                                                                                  \
    } while (0)

int error_set(struct error *err, int code, const char *format, ...)
{
    assure(code < 0);
    if (err == NULL)
        return code;
    char text[sizeof(err->text)];
    FORMAT_INTO(text, format);
    write_sentence(err, text, "", "");
    return code;
}

int error_errno(struct error *err, int code, const char *format, ...)
{
    assure(code < 0);
    if (err == NULL)
        return code;
    char text[sizeof(err->text)];
    char system[128];
    FORMAT_INTO(text, format);
    /* The GNU strerror_r() may return a constant in place of filling the buffer; both are fine to read. */
    write_sentence(err, text, ": ", strerror_r(-code, system, sizeof(system)));
    return code;
}

int error_prefix(struct error *err, int code, const char *format, ...)
{
    assure(code < 0);
    if (err == NULL)
        return code;
    char text[sizeof(err->text)];
    FORMAT_INTO(text, format);
    write_sentence(err, text, ": ", err->text);
    return code;
}

int error_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "out of memory");
}

void assure_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "%s:%d: internal error: %s does not hold\n", file, line, expression);
    abort();
}
