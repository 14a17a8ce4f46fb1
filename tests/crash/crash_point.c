/*
 * crash_point.c - the end of the process at a named place, at its N-th passing: POSTHASTE_CRASH=NAME:N.
 *
 * SIGKILL and not abort(): nothing may be written on the way out, by nobody.
 */
#include "base/crash_point.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char wanted[64];
static _Atomic long left;

static void read_environment(void)
{
    const char *text = getenv("POSTHASTE_CRASH");
    const char *colon = text != NULL ? strchr(text, ':') : NULL;
    if (colon == NULL || (size_t)(colon - text) >= sizeof(wanted))
        return;
    memcpy(wanted, text, (size_t)(colon - text));
    atomic_store(&left, strtol(colon + 1, NULL, 10));
}

void crash_point(const char *name)
{
    (void)pthread_once(&once, read_environment);
    if (strcmp(name, wanted) == 0 && atomic_fetch_sub(&left, 1) == 1)
        (void)kill(getpid(), SIGKILL);
}
