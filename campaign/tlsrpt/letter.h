/*
 * letter.h - a signed TLS report as the engine sends it. The bytes are shared by all tries, and live until the last
 * message that was made of them has been released (any thread).
 */
#ifndef POSTHASTE_CAMPAIGN_TLSRPT_LETTER_H
#define POSTHASTE_CAMPAIGN_TLSRPT_LETTER_H

#include "campaign/mailer.h"
#include "campaign/tlsrpt/report.h"

struct letter;

/* Composed and signed with the keys of head->submitter, which has to be a sending domain. */
int letter_make(struct mailer *mailer, struct storage_reader *reader, const struct tlsrpt_head *head, const char *to,
                const struct buffer *gzip, struct letter **out, struct error *err) ATTR_MUSTCHECK;
struct engine_message *letter_message(struct letter *letter); /* NULL = no memory */
void letter_unref(struct letter *letter);                     /* NULL is harmless */

#endif
