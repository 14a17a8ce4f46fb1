/*
 * log.h - the program's log: one line an event, on stderr, safe from any thread.
 *
 * A line is `TIME LEVEL room event key=value key="value with spaces"`. Values that come from outside are written
 * through log_quote(), so that no peer can forge a line. Rooms below campaign/ log at debug only, except where an
 * operator must act.
 */
#ifndef POSTHASTE_BASE_LOG_H
#define POSTHASTE_BASE_LOG_H

#include "base/attr.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Process-wide; set once at start-up (default: info). */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "error" | "warn" | "info" | "debug"; -EINVAL for anything else. */
int log_level_parse(const char *text, enum log_level *out) ATTR_MUSTCHECK;

const char *log_level_name(enum log_level level); /* the same words */

void log_write(enum log_level level, const char *room, const char *format, ...) ATTR_PRINTF(3, 4);

#define log_error(room, ...) log_write(LOG_LEVEL_ERROR, room, __VA_ARGS__)
#define log_warn(room, ...) log_write(LOG_LEVEL_WARN, room, __VA_ARGS__)
#define log_info(room, ...) log_write(LOG_LEVEL_INFO, room, __VA_ARGS__)
#define log_debug(room, ...)                                                                                           \
    (log_get_level() >= LOG_LEVEL_DEBUG ? log_write(LOG_LEVEL_DEBUG, room, __VA_ARGS__) : (void)0)

/*
 * Writes `text` quoted into `out` (control bytes, quotes and backslashes escaped, cut with "..." when it does not fit)
 * and returns `out`. LOG_QUOTE gives a buffer that lives until the end of the enclosing block.
 */
const char *log_quote(char *out, size_t out_bytes, const char *text);
#define LOG_QUOTE(text) log_quote((char[256]){0}, 256, (text))

#endif
