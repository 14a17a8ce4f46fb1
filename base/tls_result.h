/*
 * tls_result.h - which rule about TLS a recipient's domain made for an attempt, and how it went, in the words of RFC
 * 8460 section 4.3.
 *
 * The engine finds out, storage keeps it (one byte, together with "under TLS or not"), the API and TLS reports show it.
 */
#ifndef POSTHASTE_BASE_TLS_RESULT_H
#define POSTHASTE_BASE_TLS_RESULT_H

#include <stdbool.h>

#include "base/attr.h"

/* Numbers of both are in databases: they stay. */
enum tls_rule { TLS_RULE_NONE, TLS_RULE_STS_TESTING, TLS_RULE_STS_ENFORCE, TLS_RULE_DANE, TLS_RULE_COUNT };

enum tls_result {
    TLS_RESULT_NONE, /* no rule, or the attempt ended before it could be told */
    TLS_RESULT_OK,
    TLS_RESULT_NO_STARTTLS,
    TLS_RESULT_HOST_MISMATCH,
    TLS_RESULT_EXPIRED,
    TLS_RESULT_NOT_TRUSTED,
    TLS_RESULT_VALIDATION,
    TLS_RESULT_TLSA_INVALID,
    TLS_RESULT_DNSSEC_INVALID,
    TLS_RESULT_STS_FETCH,
    TLS_RESULT_STS_INVALID,
    TLS_RESULT_STS_WEBPKI,
    TLS_RESULT_COUNT
};

const char *tls_rule_name(enum tls_rule rule);       /* "none", "sts-testing", "sts-enforce", "dane" */
const char *tls_result_name(enum tls_result result); /* "", "ok", "certificate-expired", … */

static inline bool tls_result_is_failure(enum tls_result result)
{
    return result > TLS_RESULT_OK;
}

/* One byte of all three: 0 and 1 are an attempt without a rule, in clear text and under TLS. */
uint8_t tls_pack(bool tls, enum tls_rule rule, enum tls_result result);
void tls_unpack(int64_t packed, bool *tls, enum tls_rule *rule, enum tls_result *result); /* any number */

#endif
