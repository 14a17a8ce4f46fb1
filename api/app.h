/*
 * app.h - what a running server consists of, as the HTTP side sees it.
 *
 * main wires it once in `serve` before the first request and takes it apart after the last one, so the pointers need no
 * lock. The counters are atomic; everything else is immutable or guards itself.
 */
#ifndef POSTHASTE_API_APP_H
#define POSTHASTE_API_APP_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/config.h"
#include "campaign/campaign.h"
#include "storage/storage.h"

struct readers;
struct hub;
struct import_jobs;

struct app {
    const struct config *config; /* the start's: for keys that are fixed (base/config_live.h) */
    struct config_live *live;    /* for all others; read with config_live_hold() */
    struct storage *storage;
    struct mailer *mailer;
    struct readers *readers;
    struct import_jobs *imports;
    struct intake *intake; /* NULL: no listener for reports */
    struct hub *hub; /* events */
    uint8_t local_token_sha256[32]; /* of data_dir/local.token, scope admin, this process only */
    pthread_mutex_t edits; /* held between the check of an If-Match and the change that it guards */
    int64_t started_mono_ms;
    int64_t started_wall_ms;
    atomic_bool stopping;                  /* readiness says no from here on */
    atomic_uint_fast64_t http_requests[6]; /* by status class; [0] unused */
};

#endif
