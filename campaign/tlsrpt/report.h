/*
 * report.h - a TLS report (RFC 8460): what was counted of one domain on one day, as JSON (section 4.4), and as the mail
 * that carries it (section 5.3). Pure.
 */
#ifndef POSTHASTE_CAMPAIGN_TLSRPT_REPORT_H
#define POSTHASTE_CAMPAIGN_TLSRPT_REPORT_H

#include <jansson.h>

#include "base/buffer.h"
#include "storage/storage.h"

#define TLSRPT_ID_BYTES 600

struct tlsrpt_head {
    int64_t day;
    const char *domain;    /* reported on */
    const char *submitter; /* our own */
    const char *contact;   /* address */
};

/* The same for every try: a receiver knows a report that comes twice. */
void tlsrpt_id(const struct tlsrpt_head *head, char out[TLSRPT_ID_BYTES]);

struct tlsrpt_report;
/* NULL = no memory; tallies are added one by one, in the order of storage_tls_tallies(). */
struct tlsrpt_report *tlsrpt_report_begin(const struct tlsrpt_head *head); /* `head` and its strings outlive it */
int tlsrpt_report_add(struct tlsrpt_report *report, const struct storage_tls_tally *tally) ATTR_MUSTCHECK;
/* The JSON, gzipped: 0 or -ENOMEM. Frees the report. */
int tlsrpt_report_end(struct tlsrpt_report *report, struct buffer *gzip) ATTR_MUSTCHECK;

/* Header fields (without signature, with CRLF, without the empty line) and body of the mail. */
void tlsrpt_mail(const struct tlsrpt_head *head, const char *to, const struct buffer *gzip, int64_t now_ms,
                 struct buffer *header, struct buffer *body);

#endif
