/*
 * json_text.c - jansson's allocations go through two functions that remember, for each thread, that one has failed.
 */
#include "campaign/json_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static _Thread_local bool lacked; /* an allocation failed since it was last cleared */

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    lacked = lacked || memory == NULL;
    return memory;
}

/* Before main(), and so before any thread and any value: jansson wants to be told first. */
__attribute__((constructor)) static void install(void)
{
    json_set_alloc_funcs(allocate, free);
}

json_t *json_text_read(const char *text, size_t len, size_t flags, json_error_t *why)
{
    json_error_t own;
    why = why != NULL ? why : &own;
    lacked = false;
    json_t *value = json_loadb(text, len, flags, why);
    if (!lacked)
        return value;
    json_decref(value);
    *why = (json_error_t){.line = -1, .column = -1};
    (void)str_copy(why->text, sizeof why->text, "out of memory");
    why->text[sizeof why->text - 1] = json_error_out_of_memory; /* where json_error_code() looks */
    return NULL;
}

json_t *json_text_reads(const char *text, size_t flags, json_error_t *why)
{
    return json_text_read(text, strlen(text), flags, why);
}

char *json_text_write(const json_t *value, size_t flags)
{
    lacked = false;
    char *text = json_dumps(value, flags);
    if (!lacked)
        return text;
    free(text);
    return NULL;
}

int json_text_write_to(const json_t *value, json_dump_callback_t piece, void *context, size_t flags)
{
    lacked = false;
    int rc = json_dump_callback(value, piece, context, flags);
    return lacked ? -1 : rc;
}
