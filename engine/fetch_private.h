/*
 * fetch_private.h - a request under way, for the caller that waits (fetch.c) and the thread that has many
 * (sts_fetch.c).
 */
#ifndef POSTHASTE_ENGINE_FETCH_PRIVATE_H
#define POSTHASTE_ENGINE_FETCH_PRIVATE_H

#include <curl/curl.h>

#include "base/buffer.h"
#include "engine/fetch.h"

struct fetch_work {
    CURL *curl;
    struct curl_slist *pinned, *connect_to, *headers;
    struct buffer body;
    size_t max_bytes;
    bool too_large;
    char reason[CURL_ERROR_SIZE];
};

/* Ready for curl_easy_perform() or a multi handle; false: no memory. fetch_work_end() in any case, which frees. It
 * stays where it is until then. */
bool fetch_work_begin(struct fetch_work *work, const struct fetch_request *request) ATTR_MUSTCHECK;
void fetch_work_end(struct fetch_work *work, CURLcode code, struct fetch_answer *out);

#endif
