/*
 * json_text.h - JSON text into values and back, for want of memory too; public, included through campaign/campaign.h.
 *
 * jansson's reader goes on when it cannot enlarge the token that it reads: the token then lacks a byte, and what comes
 * out may be well-formed JSON that says something else. Its writer leaves out a member in the same case. So all text that
 * is kept or believed goes through here, where an allocation that failed meanwhile makes the whole of it fail.
 */
#ifndef POSTHASTE_CAMPAIGN_JSON_TEXT_H
#define POSTHASTE_CAMPAIGN_JSON_TEXT_H

#include <stddef.h>

#include <jansson.h>

/* As json_loadb() and json_loads(). NULL with json_error_code(why) == json_error_out_of_memory: there was no memory;
 * `why` may be NULL. Any thread. */
json_t *json_text_read(const char *text, size_t len, size_t flags, json_error_t *why);
json_t *json_text_reads(const char *text, size_t flags, json_error_t *why);

/* As json_dumps() and json_dump_callback(); NULL and -1 when there was no memory. Any thread. */
char *json_text_write(const json_t *value, size_t flags);
int json_text_write_to(const json_t *value, json_dump_callback_t piece, void *context, size_t flags);

#endif
