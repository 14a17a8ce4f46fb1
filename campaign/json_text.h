/*
 * json_text.h - JSON text into values, for want of memory too; public, included through campaign/campaign.h.
 *
 * jansson's reader goes on when it cannot enlarge the token that it reads: the token then lacks a byte, and what comes
 * out may be well-formed JSON that says something else. So all text is read through here, where an allocation that
 * failed while it was read makes the whole of it fail.
 */
#ifndef POSTHASTE_CAMPAIGN_JSON_TEXT_H
#define POSTHASTE_CAMPAIGN_JSON_TEXT_H

#include <stddef.h>

#include <jansson.h>

/* As json_loadb() and json_loads(). NULL with json_error_code(why) == json_error_out_of_memory: there was no memory;
 * `why` may be NULL. Any thread. */
json_t *json_text_read(const char *text, size_t len, size_t flags, json_error_t *why);
json_t *json_text_reads(const char *text, size_t flags, json_error_t *why);

#endif
