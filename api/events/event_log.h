/*
 * event_log.h - every event as a line of JSON in a file (`events { log = "…" }`), in order. The hub's thread only.
 *
 * A line is in the file, synced, before the log's place in the outbox moves; a crash in between writes it again, so
 * readers tell events apart by their id. A line that the crash left half is ended where it is: readers pass it over, it
 * comes again whole. The file is renamed to FILE.1 when it is large, older ones move on. A pipe that nobody reads, or
 * not fast enough, holds up the log and nothing else.
 */
#ifndef POSTHASTE_API_EVENTS_EVENT_LOG_H
#define POSTHASTE_API_EVENTS_EVENT_LOG_H

#include "api/app.h"
#include "api/events/event_view.h"

struct event_log;

/* NULL with *out when there is to be no log. */
int event_log_open(struct app *app, struct event_view *view, struct event_log **out, struct error *err) ATTR_MUSTCHECK;
void event_log_close(struct event_log *log); /* NULL is allowed */
/* Writes what is new. True when there may be more at once. A file that cannot be written is tried again after a while;
 * nothing is lost meanwhile. */
bool event_log_run(struct event_log *log, int64_t now_ms);
/* The descriptor of a pipe that has no room: event_log_run() goes on when it can be written again. -1: none. */
int event_log_full(const struct event_log *log);
/* Whether event_log_open() could write the file, which is not made. */
int event_log_check(const struct config *config, struct error *err) ATTR_MUSTCHECK;

#endif
