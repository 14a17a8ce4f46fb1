/*
 * problem.c - collects what is wrong with an input, field by field.
 *
 * Success means that the problem is counted; only the first PROBLEM_FIELDS_MAX are kept, so that an input cannot make
 * the answer large. Texts are made one line of valid UTF-8, because they quote the input. NULL in place of a problem is
 * allowed and means that nobody will read it.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"
#include "campaign/campaign.h"

void problem_add(struct problem *problem, const char *field, const char *format, ...)
{
    if (problem == NULL)
        return;
    size_t at = problem->count++;
    if (at >= PROBLEM_FIELDS_MAX)
        return;
    char *name = problem->fields[at].field;
    char *message = problem->fields[at].message;
    (void)str_copy(name, sizeof(problem->fields[at].field), field);
    str_make_line(name);
    va_list args;
    va_start(args, format);
    if (vsnprintf(message, sizeof(problem->fields[at].message), format, args) < 0)
        message[0] = '\0';
    va_end(args);
    str_make_line(message);
}
