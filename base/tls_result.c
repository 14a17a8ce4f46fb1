/*
 * tls_result.c - names and the packed form: bit 0 = under TLS, bits 1 and 2 the rule, bits 3 to 6 the result. Seven
 * bits, because SQLite keeps -128..127 in one byte (and 0 and 1 in none).
 */
#include "base/tls_result.h"

_Static_assert(TLS_RULE_COUNT <= 4 && TLS_RESULT_COUNT <= 16, "the packed form");

const char *tls_rule_name(enum tls_rule rule)
{
    static const char *const names[TLS_RULE_COUNT] = {
        [TLS_RULE_NONE] = "none",
        [TLS_RULE_STS_TESTING] = "sts-testing",
        [TLS_RULE_STS_ENFORCE] = "sts-enforce",
        [TLS_RULE_DANE] = "dane",
    };
    assure((size_t)rule < countof(names));
    return names[rule];
}

const char *tls_result_name(enum tls_result result)
{
    static const char *const names[TLS_RESULT_COUNT] = {
        [TLS_RESULT_NONE] = "",
        [TLS_RESULT_OK] = "ok",
        [TLS_RESULT_NO_STARTTLS] = "starttls-not-supported",
        [TLS_RESULT_HOST_MISMATCH] = "certificate-host-mismatch",
        [TLS_RESULT_EXPIRED] = "certificate-expired",
        [TLS_RESULT_NOT_TRUSTED] = "certificate-not-trusted",
        [TLS_RESULT_VALIDATION] = "validation-failure",
        [TLS_RESULT_TLSA_INVALID] = "tlsa-invalid",
        [TLS_RESULT_DNSSEC_INVALID] = "dnssec-invalid",
        [TLS_RESULT_STS_FETCH] = "sts-policy-fetch-error",
        [TLS_RESULT_STS_INVALID] = "sts-policy-invalid",
        [TLS_RESULT_STS_WEBPKI] = "sts-webpki-invalid",
    };
    assure((size_t)result < countof(names));
    return names[result];
}

uint8_t tls_pack(bool tls, enum tls_rule rule, enum tls_result result)
{
    return (uint8_t)((tls ? 1u : 0u) | (unsigned)rule << 1 | (unsigned)result << 3);
}

void tls_unpack(int64_t packed, bool *tls, enum tls_rule *rule, enum tls_result *result)
{
    unsigned bits = packed > 0 && packed < 128 ? (unsigned)packed : 0;
    unsigned kind = bits >> 3;
    *tls = (bits & 1) != 0;
    *rule = (enum tls_rule)(bits >> 1 & 3);
    *result = kind < TLS_RESULT_COUNT ? (enum tls_result)kind : TLS_RESULT_NONE;
}
