/*
 * tuning.h - the engine's numbers that no one configures. engine_start() uses the defaults; tests shorten the waits.
 */
#ifndef POSTHASTE_ENGINE_TUNING_H
#define POSTHASTE_ENGINE_TUNING_H

#include "engine/engine.h"

struct engine_tuning {
    int64_t backoff_first_ms; /* after the first failed connection ... */
    int64_t backoff_max_ms;   /* ... doubling up to this, with a fifth of jitter */
    int64_t site_idle_ms;     /* a site without jobs and connections is forgotten after it */
    uint32_t prefetch_max;    /* composed messages of one site that wait for a connection */
    uint32_t connections_max; /* of one loop; 0 = from the limit of file descriptors */
};

#define ENGINE_TUNING_DEFAULT                                                                                          \
    ((struct engine_tuning){.backoff_first_ms = 1000,                                                                  \
                            .backoff_max_ms = 300000,                                                                  \
                            .site_idle_ms = 120000,                                                                    \
                            .prefetch_max = 256})

/* engine_start() with other numbers; `tuning` is copied. */
int engine_start_tuned(const struct config *config, const struct engine_callbacks *callbacks, const struct engine_tuning *tuning,
                       struct engine **out, struct error *err) ATTR_MUSTCHECK;

#endif
