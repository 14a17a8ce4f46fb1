/*
 * report.c - one "policies" entry for each kind of policy that held on the day. Hosts, addresses and policies are
 * strangers' words: jansson writes them, and what is no UTF-8 was made text before.
 */
#include "campaign/tlsrpt/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zlib.h>

#include "base/str.h"
#include "campaign/message/base64.h"

#define DAY_S INT64_C(86400)
#define GZIP_WINDOW (15 + 16)

struct tlsrpt_report {
    const struct tlsrpt_head *head;
    json_t *policies;
    json_t *policy; /* of the kind under way, in `policies` */
    enum tls_kind kind;
    int64_t good, bad;
};

static void day_text(int64_t day, char out[32])
{
    struct tm tm;
    time_t at = (time_t)(day * DAY_S);
    if (gmtime_r(&at, &tm) == NULL || strftime(out, 32, "%Y-%m-%d", &tm) == 0)
        (void)str_copy(out, 32, "1970-01-01");
}

void tlsrpt_id(const struct tlsrpt_head *head, char out[TLSRPT_ID_BYTES])
{
    char date[32];
    day_text(head->day, date);
    (void)snprintf(out, TLSRPT_ID_BYTES, "%s.%.253s@%.253s", date, head->domain, head->submitter);
}

struct tlsrpt_report *tlsrpt_report_begin(const struct tlsrpt_head *head)
{
    struct tlsrpt_report *report = calloc(1, sizeof *report);
    if (report == NULL)
        return NULL;
    report->head = head;
    report->policies = json_array();
    if (report->policies == NULL) {
        free(report);
        return NULL;
    }
    return report;
}

static json_t *text(const char *bytes, size_t len)
{
    char line[1024];
    (void)snprintf(line, sizeof line, "%.*s", (int)MIN_OF(len, sizeof line - 1), bytes);
    str_make_line(line);
    return json_string(line);
}

/* Lines as published; the names behind "mx: " are listed once more (section 4.4). */
static void add_policy_text(json_t *policy, const char *lines)
{
    json_t *strings = json_array(), *hosts = json_array();
    while (*lines != '\0') {
        size_t len = strcspn(lines, "\n");
        (void)json_array_append_new(strings, text(lines, len));
        if (len > 4 && strncmp(lines, "mx: ", 4) == 0)
            (void)json_array_append_new(hosts, text(lines + 4, len - 4));
        lines += len + (lines[len] != '\0' ? 1 : 0);
    }
    (void)json_object_set_new(policy, "policy-string", strings);
    if (json_array_size(hosts) > 0)
        (void)json_object_set(policy, "mx-host", hosts);
    json_decref(hosts);
}

static void close_policy(struct tlsrpt_report *report)
{
    if (report->policy == NULL)
        return;
    json_t *summary = json_pack("{s:I, s:I}", "total-successful-session-count", (json_int_t)report->good,
                                "total-failure-session-count", (json_int_t)report->bad);
    (void)json_object_set_new(report->policy, "summary", summary);
    report->policy = NULL;
}

static bool open_policy(struct tlsrpt_report *report, enum tls_kind kind)
{
    static const char *const names[TLS_KIND_COUNT] = {
        [TLS_KIND_NONE] = "no-policy-found", [TLS_KIND_STS] = "sts", [TLS_KIND_TLSA] = "tlsa"};
    close_policy(report);
    report->kind = kind;
    report->good = report->bad = 0;
    json_t *entry = json_pack("{s:{s:s, s:o}, s:{}, s:[]}", "policy", "policy-type", names[kind], "policy-domain",
                              text(report->head->domain, strlen(report->head->domain)), "summary", "failure-details");
    if (entry == NULL || json_array_append_new(report->policies, entry) != 0)
        return false;
    report->policy = entry;
    return true;
}

/* "192.0.2.1:25" and "[2001:db8::1]:25" without the port. */
static void set_address(json_t *object, const char *key, const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t skip = address[0] == '[' ? 1 : 0, len = colon != NULL ? (size_t)(colon - address) : strlen(address);
    if (len > 2 * skip)
        (void)json_object_set_new(object, key, text(address + skip, len - 2 * skip));
}

int tlsrpt_report_add(struct tlsrpt_report *report, const struct storage_tls_tally *tally)
{
    if ((report->policy == NULL || tally->kind != report->kind) && !open_policy(report, tally->kind))
        return -ENOMEM;
    json_t *policy = json_object_get(report->policy, "policy");
    if (tally->policy[0] != '\0' && json_object_get(policy, "policy-string") == NULL)
        add_policy_text(policy, tally->policy);
    if (!tls_result_is_failure(tally->result)) {
        report->good += tally->sessions;
        return 0;
    }
    report->bad += tally->sessions;
    json_t *detail = json_pack("{s:s, s:I}", "result-type", tls_result_name(tally->result), "failed-session-count",
                               (json_int_t)tally->sessions);
    if (detail == NULL)
        return -ENOMEM;
    set_address(detail, "sending-mta-ip", tally->source);
    if (tally->mx_host[0] != '\0')
        (void)json_object_set_new(detail, "receiving-mx-hostname", text(tally->mx_host, strlen(tally->mx_host)));
    set_address(detail, "receiving-ip", tally->address);
    return json_array_append_new(json_object_get(report->policy, "failure-details"), detail) == 0 ? 0 : -ENOMEM;
}

static int gzip_text(const char *plain, size_t len, struct buffer *out)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)plain, .avail_in = (uInt)len};
    if (deflateInit2(&stream, 9, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    int r;
    do {
        unsigned char chunk[4096];
        stream.next_out = chunk;
        stream.avail_out = sizeof chunk;
        r = deflate(&stream, Z_FINISH);
        buffer_append(out, chunk, sizeof chunk - stream.avail_out);
    } while (r == Z_OK);
    (void)deflateEnd(&stream);
    return r == Z_STREAM_END && !out->failed ? 0 : -ENOMEM;
}

int tlsrpt_report_end(struct tlsrpt_report *report, struct buffer *gzip)
{
    char date[32], from[64], to[64], id[TLSRPT_ID_BYTES];
    const struct tlsrpt_head *head = report->head;
    close_policy(report);
    day_text(head->day, date);
    (void)snprintf(from, sizeof from, "%sT00:00:00Z", date);
    (void)snprintf(to, sizeof to, "%sT23:59:59Z", date);
    tlsrpt_id(head, id);
    json_t *json = json_pack("{s:s, s:{s:s, s:s}, s:s, s:s, s:o}", "organization-name", head->submitter, "date-range",
                             "start-datetime", from, "end-datetime", to, "contact-info", head->contact, "report-id", id,
                             "policies", report->policies);
    free(report);
    char *plain = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (plain == NULL)
        return -ENOMEM;
    int r = gzip_text(plain, strlen(plain), gzip);
    free(plain);
    return r;
}

void tlsrpt_mail(const struct tlsrpt_head *head, const char *to, const struct buffer *gzip, int64_t now_ms,
                 struct buffer *header, struct buffer *body)
{
    char date[RFC5322_DATE_BYTES], day[32], id[TLSRPT_ID_BYTES], boundary[64];
    tlsrpt_id(head, id);
    day_text(head->day, day);
    (void)snprintf(boundary, sizeof boundary, "tlsrpt-%s-%08lx", day,
                   crc32(0, (const Bytef *)gzip->data, (uInt)gzip->len));
    buffer_printf(
        header,
        "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: <%s>\r\n"
        "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n"
        "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\nAuto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"%s\"\r\n",
        head->contact, to, time_format_rfc5322(now_ms, date), id, head->domain, head->submitter, id, head->domain,
        head->submitter, boundary);
    buffer_printf(body,
                  "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
                  "This is an aggregate TLS report (RFC 8460) of mail that %s\r\nsent to %s on %s (UTC).\r\n\r\n"
                  "--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
                  "Content-Disposition: attachment;\r\n filename=\"%s!%s!%lld!%lld.json.gz\"\r\n\r\n",
                  boundary, head->submitter, head->domain, day, boundary, head->submitter, head->domain,
                  (long long)(head->day * DAY_S), (long long)((head->day + 1) * DAY_S - 1));
    struct base64 base64;
    base64_begin(&base64, body, false);
    base64_write(&base64, gzip->data, gzip->len);
    base64_end(&base64);
    buffer_printf(body, "\r\n--%s--\r\n", boundary);
}
