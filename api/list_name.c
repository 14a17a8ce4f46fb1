/*
 * list_name.c - see list_name.h. A list is asked for by its name or its number, the name first: a name of digits would
 * hide the list of that number.
 */
#include "api/list_name.h"

#include <stddef.h>
#include <string.h>

_Static_assert(LIST_NAME_MAX_BYTES == 200, "a sentence below says so");

const char *list_name_problem(const char *name)
{
    if (name[strspn(name, " \t\r\n")] == '\0')
        return "may not be blank";
    if (strlen(name) > LIST_NAME_MAX_BYTES)
        return "is longer than 200 bytes";
    if (name[strspn(name, "0123456789")] == '\0')
        return "may not be a number alone: it would hide the list of that number";
    for (const char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == '\x7f')
            return "may not hold tabs, line breaks or other control characters";
    }
    return NULL;
}
