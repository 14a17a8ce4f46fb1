/*
 * fetch.c - libcurl, told to do little.
 *
 * Why CURLOPT_CONNECT_TO and not the system's resolver: an answer of the DNS is looked at once, and what is connected
 * to is what was looked at (a name may point elsewhere a moment later). The name stays the host's for SNI and
 * certificate.
 */
#include "engine/fetch_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
    struct fetch_work *work = context;
    size_t len = size * count;
    if (work->body.len + len > work->max_bytes) {
        work->too_large = true;
        return 0;
    }
    buffer_append(&work->body, bytes, len);
    return work->body.failed ? 0 : len;
}

/* "HOST:PORT:ADDRESS,ADDRESS": libcurl then looks nothing up. False: no memory, or a URL without a host. */
static bool pin(struct fetch_work *work, const struct fetch_request *request)
{
    CURLU *url = curl_url();
    char *host = NULL, *port = NULL;
    bool done = false;
    struct buffer entry = BUFFER_INIT(4096);
    if (url == NULL || curl_url_set(url, CURLUPART_URL, request->url, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
        goto out;
    if (request->port != 0) {
        buffer_printf(&entry, "%s:%s:%s:%u", host, port, host, request->port);
        work->connect_to = curl_slist_append(NULL, buffer_text(&entry));
        buffer_clear(&entry);
    }
    if (request->port != 0)
        buffer_printf(&entry, "%s:%u:", host, request->port);
    else
        buffer_printf(&entry, "%s:%s:", host, port);
    for (size_t i = 0; i < request->address_count; i++) {
        bool v6 = strchr(request->addresses[i], ':') != NULL;
        buffer_printf(&entry, "%s%s%s%s", i > 0 ? "," : "", v6 ? "[" : "", request->addresses[i], v6 ? "]" : "");
    }
    work->pinned = entry.failed ? NULL : curl_slist_append(NULL, buffer_text(&entry));
    done = work->pinned != NULL && (request->port == 0 || work->connect_to != NULL);
out:
    buffer_finish(&entry);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(url);
    return done;
}

static bool set_body(struct fetch_work *work, const struct fetch_request *request)
{
    char line[256];
    CURL *curl = work->curl;
    (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_bytes);
    if (curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, request->body) != CURLE_OK)
        return false;
    (void)snprintf(line, sizeof line, "Content-Type: %s", request->content_type);
    work->headers = curl_slist_append(NULL, line);
    if (work->headers != NULL && request->content_encoding != NULL) {
        (void)snprintf(line, sizeof line, "Content-Encoding: %s", request->content_encoding);
        if (curl_slist_append(work->headers, line) == NULL)
            return false;
    }
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, work->headers);
    return work->headers != NULL;
}

static int is_cancelled(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const atomic_bool *cancelled = context;
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(cancelled) ? 1 : 0;
}

bool fetch_work_begin(struct fetch_work *work, const struct fetch_request *request)
{
    *work = (struct fetch_work){.max_bytes = request->max_bytes, .body = BUFFER_INIT(request->max_bytes + 1)};
    (void)pthread_once(&once, set_up);
    CURL *curl = work->curl = curl_easy_init();
    if (curl == NULL || !pin(work, request))
        return false;
    (void)curl_easy_setopt(curl, CURLOPT_URL, request->url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_RESOLVE, work->pinned);
    if (work->connect_to != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_CONNECT_TO, work->connect_to);
    (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (request->ca_file != NULL && request->ca_file[0] != '\0') {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, request->ca_file);
        (void)curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    (void)curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)MAX_OF(request->timeout_ms, (int64_t)1));
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)MAX_OF(request->timeout_ms, (int64_t)1));
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, work);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, work->reason);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "posthaste/" POSTHASTE_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    if (request->cancelled != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_cancelled);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)(uintptr_t)request->cancelled);
    }
    return request->body == NULL || set_body(work, request);
}

static enum fetch_status status_of(const struct fetch_work *work, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return FETCH_ANSWERED;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return FETCH_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return FETCH_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return FETCH_TLS;
    default:
        return work->too_large ? FETCH_TOO_LARGE : FETCH_FAILED;
    }
}

/* The first certificate is the host's own. */
static int64_t certificate_end(CURL *curl)
{
    struct curl_certinfo *info = NULL;
    if (curl_easy_getinfo(curl, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL || info->num_of_certs < 1)
        return 0;
    for (const struct curl_slist *line = info->certinfo[0]; line != NULL; line = line->next) {
        if (strncmp(line->data, "Expire date:", 12) == 0) {
            time_t end = curl_getdate(line->data + 12, NULL);
            return end > 0 ? (int64_t)end : 0;
        }
    }
    return 0;
}

void fetch_work_end(struct fetch_work *work, CURLcode code, struct fetch_answer *out)
{
    static const char *const words[] = {
        [FETCH_ANSWERED] = "",         [FETCH_CONNECT] = "cannot connect",
        [FETCH_TLS] = "TLS failed",    [FETCH_TOO_LARGE] = "the answer is too large",
        [FETCH_TIMEOUT] = "timed out", [FETCH_FAILED] = "failed",
    };
    long http_status = 0;
    const char *type = NULL;
    *out = (struct fetch_answer){.status = status_of(work, code)};
    if (work->curl != NULL) {
        (void)curl_easy_getinfo(work->curl, CURLINFO_RESPONSE_CODE, &http_status);
        (void)curl_easy_getinfo(work->curl, CURLINFO_CONTENT_TYPE, &type);
        out->certificate_ends_s = certificate_end(work->curl);
    }
    out->http_status = (int)http_status;
    (void)str_copy(out->content_type, sizeof out->content_type, type != NULL ? type : "");
    str_make_line(out->content_type);
    if (out->status == FETCH_ANSWERED) {
        out->len = work->body.len;
        buffer_append_char(&work->body, '\0');
        out->body = buffer_steal(&work->body, NULL);
        if (out->body == NULL)
            out->status = FETCH_FAILED;
    }
    if (out->status != FETCH_ANSWERED) {
        const char *reason = work->reason[0] != '\0' ? work->reason : curl_easy_strerror(code);
        (void)snprintf(out->why, sizeof out->why, "%s%s%.200s", words[out->status],
                       out->status == FETCH_TOO_LARGE ? "" : ": ", out->status == FETCH_TOO_LARGE ? "" : reason);
        str_make_line(out->why);
    }
    curl_easy_cleanup(work->curl);
    curl_slist_free_all(work->pinned);
    curl_slist_free_all(work->connect_to);
    curl_slist_free_all(work->headers);
    buffer_finish(&work->body);
}

void fetch(const struct fetch_request *request, struct fetch_answer *out)
{
    struct fetch_work work;
    CURLcode code = fetch_work_begin(&work, request) ? curl_easy_perform(work.curl) : CURLE_OUT_OF_MEMORY;
    fetch_work_end(&work, code, out);
}

void fetch_answer_finish(struct fetch_answer *answer)
{
    free(answer->body);
    *answer = (struct fetch_answer){.status = FETCH_FAILED};
}
