/*
 * check_web.c - the host of the links: does it exist, has it a good certificate, and does a one-click unsubscription
 * arrive at this program (RFC 8058 wants https)?
 *
 * The probe asks for an unsubscribe link that cannot be ours; our server's answer to it is known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "campaign/preflight/check.h"

#define PROBE_MAX_MS 5000
#define ADDRESSES_MAX 8
#define DAY_S INT64_C(86400)
#define CERTIFICATE_WARN_DAYS 14

struct web {
    struct check *check;
    char host[256];
    bool https, literal;
    const char *addresses[ADDRESSES_MAX];
    size_t address_count;
};

static void find_addresses(struct web *web)
{
    static const enum resolve_type types[] = {RESOLVE_A, RESOLVE_AAAA};
    struct check *check = web->check;
    const char *why = "";
    if (web->literal) {
        web->addresses[web->address_count++] = web->host;
        return;
    }
    for (size_t t = 0; t < countof(types); t++) {
        const struct resolve_answer *answer = lookup_ask(check->lookup, web->host, types[t]);
        for (size_t i = 0; i < answer->count && web->address_count < ADDRESSES_MAX; i++)
            web->addresses[web->address_count++] = answer->records[i].text;
        why = answer->status == RESOLVE_FAILED ? answer->why : why;
    }
    struct finding finding = {.check = "tracking", .code = "tracking-host-good", .subject = web->host};
    finding_wanted(&finding, "an address (A or AAAA) of the host in public_url");
    if (web->address_count > 0) {
        finding_seen(&finding, "%s has the address %s", web->host, web->addresses[0]);
    } else if (why[0] != '\0') {
        finding.code = "tracking-host-unknown";
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "the look-up of %s failed: %s", web->host, why);
    } else {
        finding.code = "tracking-host-missing";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "%s has no address: the links in the mail would lead nowhere", web->host);
        finding.record_name = web->host;
        finding.record_type = "CNAME";
        finding.record_value = str_printf("%s.", check->config->hostname);
    }
    finding_add(check, &finding);
}

static void judge_certificate(struct web *web, const struct fetch_answer *answer)
{
    int64_t days = (answer->certificate_ends_s - web->check->now_s) / DAY_S;
    struct finding finding = {.check = "tracking", .code = "tracking-certificate-good", .subject = web->host};
    finding_wanted(&finding, "a certificate for %s, by an authority that mail programs trust", web->host);
    if (answer->status == FETCH_TLS) {
        finding.code = "tracking-certificate-bad";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "%s", answer->why);
    } else if (answer->certificate_ends_s > 0 && days < CERTIFICATE_WARN_DAYS) {
        finding.code = "tracking-certificate-ends";
        finding.status = FINDING_WARNING;
        finding_seen(&finding, "the certificate ends in %lld days", (long long)days);
    } else {
        finding_seen(&finding, "the certificate is good for %lld more days", (long long)days);
    }
    finding_add(web->check, &finding);
}

static bool is_our_answer(const struct fetch_answer *answer)
{
    return answer->status == FETCH_ANSWERED && answer->http_status == 404 &&
           strstr(answer->body, "unsubscribe link") != NULL;
}

static void probe(struct web *web)
{
    struct check *check = web->check;
    struct fetch_answer answer = {.http_status = 0};
    char *url = str_printf("%s/u/preflight", check->config->public_url);
    struct finding finding = {.check = "unsubscribe", .code = "unsubscribe-good", .subject = web->host};
    const struct fetch_request request = {
        .url = url,
        .addresses = web->addresses,
        .address_count = web->address_count,
        .ca_file = check->config->tls_ca_file,
        .max_bytes = 65536,
        .timeout_ms = MIN_OF(MAX_OF(check->deadline_ms - clock_monotonic_ms(), (int64_t)500), (int64_t)PROBE_MAX_MS),
    };
    if (url == NULL) {
        check->no_memory = true;
        return;
    }
    fetch(&request, &answer);
    if (answer.status == FETCH_ANSWERED || answer.status == FETCH_TLS)
        judge_certificate(web, &answer);
    finding_wanted(&finding, "%s/u/… answered by this server", check->config->public_url);
    if (is_our_answer(&answer)) {
        finding_seen(&finding, "one-click unsubscriptions reach this program");
    } else if (answer.status == FETCH_ANSWERED) {
        finding.code = "unsubscribe-elsewhere";
        finding.status = FINDING_ERROR;
        finding_seen(&finding, "somebody else answers there: HTTP status %d", answer.http_status);
    } else {
        finding.code = "unsubscribe-unreachable";
        /* Seen from here only: a firewall that keeps us from our own public address is no fault of the link. */
        finding.status = answer.status == FETCH_TLS ? FINDING_ERROR : FINDING_WARNING;
        finding_seen(&finding, "%s", answer.why);
    }
    finding_add(check, &finding);
    fetch_answer_finish(&answer);
    free(url);
}

void check_web(struct check *check)
{
    struct web web = {.check = check};
    struct finding finding = {.check = "unsubscribe", .code = "unsubscribe-not-https", .status = FINDING_ERROR};
    if (!url_host(check->config->public_url, web.host, &web.https))
        return;
    web.literal = strchr(web.host, ':') != NULL || strspn(web.host, "0123456789.") == strlen(web.host);
    find_addresses(&web);
    if (!web.https) {
        finding.subject = check->config->public_url;
        finding_seen(&finding,
                     "public_url is %s: mail programs offer one-click unsubscription for https only (RFC 8058)",
                     check->config->public_url);
        finding_wanted(&finding, "public_url = \"https://…\"");
        finding_add(check, &finding);
    } else if (web.address_count > 0) {
        probe(&web);
    }
}
