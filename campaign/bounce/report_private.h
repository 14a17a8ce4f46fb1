/*
 * report_private.h - what the files of the report reader share.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_REPORT_PRIVATE_H
#define POSTHASTE_CAMPAIGN_BOUNCE_REPORT_PRIVATE_H

#include "campaign/bounce/report.h"

/* A new recipient, zeroed; NULL when there are too many already. */
struct report_recipient *report_add(struct report *report);

/* The groups of a delivery-status part, or of text that holds such groups. Returns how many recipients it added. */
size_t report_fields_status(struct report *report, const char *fields);
/* The fields of a feedback-report part. */
void report_fields_feedback(struct report *report, const char *fields);

/* The words of people's reports. `own` are addresses that are not the failed ones: the report's To and From. */
struct report_own {
    const char *addresses[2];
};
/* Where the returned message begins in `text`: its length when there is none. */
size_t report_text_end(const char *text);
/* Adds recipients found in text[0..end); returns how many. `line_starts`: only where a line begins with the address,
 * for the caller knows better than to guess. */
size_t report_text_recipients(struct report *report, const char *text, size_t end, const struct report_own *own,
                              bool line_starts);
void report_make_words(struct report *report, const char *text, size_t end);
/* Fills in what a recipient of a delivery-status part lacks, from the part for people. */
void report_text_complete(struct report *report, const char *text, size_t end);
/* Amazon's notifications in JSON: how many recipients. */
size_t report_json(struct report *report, const char *text);

/* Takes code, enhanced code and stage out of what a server said, and cleans it into recipient->text. */
void report_take_reply(struct report_recipient *recipient, const char *text, size_t len);

/* The first mailbox in text[0..len): its length, *start set; 0 = none. */
size_t report_find_address(const char *text, size_t len, size_t *start);
/* Copies an address without its brackets, "" when too long; type prefixes ("rfc822;") are dropped. */
void report_copy_address(char out[REPORT_ADDRESS_BYTES], const char *text, size_t len);
/* strcasestr() within bounds: the index, or -1. */
long report_find(const char *text, size_t len, const char *needle);

#endif
