/*
 * watch.h - a deadline for every connection. The HTTP library closes a connection on which nothing moves; one that
 * sends a byte now and then would stay for ever. The watch ends whatever has not got as far as it should have.
 */
#ifndef POSTHASTE_API_HTTP_WATCH_H
#define POSTHASTE_API_HTTP_WATCH_H

#include "base/attr.h"
#include "base/error.h"

struct watch;
struct watch_entry;

int watch_start(struct watch **out, struct error *err) ATTR_MUSTCHECK; /* with a thread of its own */
void watch_stop(struct watch *watch);                                  /* after all entries are gone; NULL is allowed */

/* A new connection; `fd` stays open until watch_remove(). NULL when no memory. Any thread, like all that follow. */
struct watch_entry *watch_add(struct watch *watch, int fd, int64_t deadline_ms);
void watch_remove(struct watch *watch, struct watch_entry *entry);
/* The connection has until now + deadline_ms for its next step. */
void watch_set(struct watch *watch, struct watch_entry *entry, int64_t deadline_ms);

#endif
