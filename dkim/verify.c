/*
 * verify.c - a second opinion on a signed message, by libopendkim: the check of our own signatures before a campaign
 * starts.
 *
 * The library is given the records in place of DNS. Every signature of the message must be good; expiry (x=) is judged
 * by the library with the system's time. A message that the library cannot take apart is a failure, not a bad
 * signature.
 *
 * Not for the sending path: the library allocates and parses anew for each message.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/types.h>

#include <stdbool.h>
#include <opendkim/dkim.h>

#include "dkim/dkim.h"

#define CHECK_OK 0
#define CHECK_BAD 1
#define CHECK_NONE 2

struct answers {
    const struct dkim_published *published;
    size_t count;
};

static DKIM_CBSTAT answer_record(DKIM *dkim, DKIM_SIGINFO *sig, u_char *out, size_t out_bytes)
{
    const struct answers *answers = dkim_get_user_context(dkim);
    const char *selector = (const char *)dkim_sig_getselector(sig);
    const char *record = NULL;
    for (size_t i = 0; i < answers->count && record == NULL; i++) {
        const char *wanted = answers->published[i].selector;
        if (wanted == NULL || (selector != NULL && strcasecmp(wanted, selector) == 0))
            record = answers->published[i].record;
    }
    if (record == NULL)
        return DKIM_CBSTAT_NOTFOUND;
    size_t len = strlen(record);
    if (len >= out_bytes)
        return DKIM_CBSTAT_ERROR;
    memcpy(out, record, len + 1);
    return DKIM_CBSTAT_CONTINUE;
}

static int library_error(DKIM *dkim, DKIM_STAT status, struct error *err)
{
    const char *detail = dkim != NULL ? dkim_geterror(dkim) : NULL;
    const char *text = dkim_getresultstr(status);
    return error_set(err, status == DKIM_STAT_NORESOURCE ? -ENOMEM : -EIO, "libopendkim: %s%s%s",
                     text != NULL ? text : "failure", detail != NULL ? ": " : "", detail != NULL ? detail : "");
}

static bool is_signature(const char *field, size_t len)
{
    static const char name[] = "DKIM-Signature";
    size_t skip = sizeof(name) - 1;
    return len > skip && strncasecmp(field, name, skip) == 0 && strchr(": \t", field[skip]) != NULL;
}

/* Feeds the header field by field and returns where the body starts, or NULL with `status` set. Signatures beyond the
 * first `signatures_max` are left out: each would cost a look at the whole body, and one into the DNS. */
static const char *feed_header(DKIM *dkim, const char *at, const char *end, int signatures_max, DKIM_STAT *status)
{
    const char *field = at;
    *status = DKIM_STAT_OK;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *next = lf != NULL ? lf + 1 : end;
        if (at == field && lf == at + 1 && *at == '\r')
            return next;
        at = next;
        if (next < end && (*next == ' ' || *next == '\t'))
            continue;
        size_t len = (size_t)(next - field);
        while (len > 0 && (field[len - 1] == '\n' || field[len - 1] == '\r'))
            len--;
        if (len == 0) { /* a line of CRs alone: the library would end the process */
            *status = DKIM_STAT_SYNTAX;
            return NULL;
        }
        bool signature = is_signature(field, len);
        *status = signature && signatures_max == 0 ? DKIM_STAT_OK : dkim_header(dkim, (u_char *)(uintptr_t)field, len);
        signatures_max -= signature && signatures_max > 0;
        if (*status != DKIM_STAT_OK)
            return NULL;
        field = next;
    }
    return end;
}

/* All signatures, after end of message: the library itself stops at the first good one. */
static int judge(DKIM *dkim, struct error *err)
{
    DKIM_SIGINFO **sigs = NULL;
    int count = 0;
    if (dkim_getsiglist(dkim, &sigs, &count) != DKIM_STAT_OK || count == 0)
        return CHECK_NONE;
    for (int i = 0; i < count; i++) {
        if ((dkim_sig_getflags(sigs[i]) & DKIM_SIGFLAG_PROCESSED) == 0)
            (void)dkim_sig_process(dkim, sigs[i]);
        if (DKIM_SIG_CHECK(sigs[i]))
            continue;
        bool body_differs = dkim_sig_getbh(sigs[i]) == DKIM_SIGBH_MISMATCH;
        DKIM_SIGERROR code = dkim_sig_geterror(sigs[i]);
        const char *why = code > DKIM_SIGERROR_OK ? dkim_sig_geterrorstr(code) : "a signed field was changed";
        (void)error_set(err, -EINVAL, "signature %d of %d (d=%s) is bad: %s", i + 1, count,
                        (const char *)dkim_sig_getdomain(sigs[i]),
                        body_differs  ? "the body was changed"
                        : why != NULL ? why
                                      : "unknown reason");
        return CHECK_BAD;
    }
    return CHECK_OK;
}

static int check_with(DKIM *dkim, const char *message, size_t len, struct error *err)
{
    DKIM_STAT status = DKIM_STAT_OK;
    const char *end = message + len;
    const char *body = feed_header(dkim, message, end, INT_MAX, &status);
    if (body == NULL)
        return library_error(dkim, status, err);
    status = dkim_eoh(dkim);
    if (status == DKIM_STAT_NOSIG)
        return CHECK_NONE;
    /* A signature that cannot be used (bad syntax, expired) is told here; judge() finds the reason. */
    if (status != DKIM_STAT_OK && status != DKIM_STAT_CANTVRFY && status != DKIM_STAT_SYNTAX)
        return library_error(dkim, status, err);
    if (status == DKIM_STAT_OK && end > body)
        status = dkim_body(dkim, (u_char *)(uintptr_t)body, (size_t)(end - body));
    if (status == DKIM_STAT_OK)
        status = dkim_eom(dkim, NULL);
    if (status == DKIM_STAT_NOSIG)
        return CHECK_NONE;
    if (status == DKIM_STAT_INTERNAL || status == DKIM_STAT_NORESOURCE)
        return library_error(dkim, status, err);
    return judge(dkim, err);
}

int dkim_check_all(const char *message, size_t len, const struct dkim_published *published, size_t count,
                   struct error *err)
{
    struct answers answers = {published, count};
    DKIM_LIB *library = dkim_init(NULL, NULL);
    if (library == NULL)
        return error_memory(err);
    DKIM_STAT status = dkim_set_key_lookup(library, answer_record);
    const unsigned char id[] = "posthaste-check";
    DKIM *dkim = status == DKIM_STAT_OK ? dkim_verify(library, id, NULL, &status) : NULL;
    int rc;
    if (dkim == NULL) {
        rc = library_error(NULL, status, err);
    } else {
        (void)dkim_set_user_context(dkim, &answers);
        rc = check_with(dkim, message, len, err);
        (void)dkim_free(dkim);
    }
    dkim_close(library);
    return rc;
}

/* ---- what others signed ---- */

struct vouching {
    dkim_lookup_fn *lookup;
    dkim_good_fn *good;
    void *context;
    bool unknown;
};

static DKIM_CBSTAT ask_record(DKIM *dkim, DKIM_SIGINFO *sig, u_char *out, size_t out_bytes)
{
    struct vouching *vouching = dkim_get_user_context(dkim);
    char name[320];
    struct buffer record = BUFFER_INIT(65536);
    int len = snprintf(name, sizeof(name), "%s._domainkey.%s", (const char *)dkim_sig_getselector(sig),
                       (const char *)dkim_sig_getdomain(sig));
    if (len < 0 || (size_t)len >= sizeof(name))
        return DKIM_CBSTAT_NOTFOUND;
    int rc = vouching->lookup(vouching->context, name, &record);
    bool fits = rc == 0 && !record.failed && record.len < out_bytes && memchr(record.data, '\0', record.len) == NULL;
    if (fits) {
        memcpy(out, record.data, record.len);
        out[record.len] = '\0';
    }
    buffer_finish(&record);
    if (rc < 0)
        vouching->unknown = true;
    return fits ? DKIM_CBSTAT_CONTINUE : rc < 0 ? DKIM_CBSTAT_TRYAGAIN : DKIM_CBSTAT_NOTFOUND;
}

/* l= would let anybody append a report to somebody's mail. */
static bool covers_all(DKIM *dkim, DKIM_SIGINFO *sig)
{
    ssize_t message_bytes, canon_bytes, sign_bytes;
    return dkim_sig_getcanonlen(dkim, sig, &message_bytes, &canon_bytes, &sign_bytes) == DKIM_STAT_OK && sign_bytes < 0;
}

static int count_good(DKIM *dkim, struct vouching *vouching)
{
    DKIM_SIGINFO **sigs = NULL;
    int count = 0, good = 0;
    if (dkim_getsiglist(dkim, &sigs, &count) != DKIM_STAT_OK)
        return 0;
    for (int i = 0; i < count && i < DKIM_SIGNATURES_MAX; i++) {
        if ((dkim_sig_getflags(sigs[i]) & DKIM_SIGFLAG_PROCESSED) == 0)
            (void)dkim_sig_process(dkim, sigs[i]);
        if (!DKIM_SIG_CHECK(sigs[i]) || !covers_all(dkim, sigs[i]))
            continue;
        good++;
        vouching->good(vouching->context, (const char *)dkim_sig_getdomain(sigs[i]));
    }
    return good;
}

static int vouch(DKIM *dkim, const char *message, size_t len, struct vouching *vouching, struct error *err)
{
    DKIM_STAT status = DKIM_STAT_OK;
    const char *end = message + len;
    const char *body = feed_header(dkim, message, end, DKIM_SIGNATURES_MAX, &status);
    if (body == NULL)
        return library_error(dkim, status, err);
    status = dkim_eoh(dkim);
    if (status == DKIM_STAT_OK && end > body)
        status = dkim_body(dkim, (u_char *)(uintptr_t)body, (size_t)(end - body));
    if (status == DKIM_STAT_OK)
        status = dkim_eom(dkim, NULL);
    if (status == DKIM_STAT_INTERNAL || status == DKIM_STAT_NORESOURCE)
        return library_error(dkim, status, err);
    int good = count_good(dkim, vouching);
    return good == 0 && vouching->unknown ? -EAGAIN : good;
}

/* With CRLF line ends, whatever it came with. */
static bool with_crlf(const char *message, size_t len, struct buffer *out)
{
    for (size_t at = 0; at < len;) {
        const char *lf = memchr(message + at, '\n', len - at);
        size_t line = lf != NULL ? (size_t)(lf - message) - at : len - at;
        size_t text = line > 0 && message[at + line - 1] == '\r' && lf != NULL ? line - 1 : line;
        buffer_append(out, message + at, text);
        if (lf != NULL)
            buffer_append(out, "\r\n", 2);
        at += line + (lf != NULL);
    }
    return !out->failed;
}

int dkim_vouchers(const char *message, size_t len, dkim_lookup_fn *lookup, dkim_good_fn *good, void *context,
                  struct error *err)
{
    struct vouching vouching = {.lookup = lookup, .good = good, .context = context};
    struct buffer text = BUFFER_INIT(len * 2 + 16);
    DKIM_LIB *library = with_crlf(message, len, &text) ? dkim_init(NULL, NULL) : NULL;
    if (library == NULL) {
        buffer_finish(&text);
        return error_memory(err);
    }
    DKIM_STAT status = dkim_set_key_lookup(library, ask_record);
    const unsigned char id[] = "posthaste-report";
    DKIM *dkim = status == DKIM_STAT_OK ? dkim_verify(library, id, NULL, &status) : NULL;
    int rc;
    if (dkim == NULL) {
        rc = library_error(NULL, status, err);
    } else {
        (void)dkim_set_user_context(dkim, &vouching);
        rc = vouch(dkim, buffer_text(&text), text.len, &vouching, err);
        (void)dkim_free(dkim);
    }
    dkim_close(library);
    buffer_finish(&text);
    return rc;
}

int dkim_check(const char *message, size_t len, const char *record, struct error *err)
{
    const struct dkim_published any = {.record = record};
    return dkim_check_all(message, len, &any, 1, err);
}
