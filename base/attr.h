/*
 * attr.h - compiler attributes and the few macros that every room uses.
 *
 * assure() is for our own bugs: it stays in release builds and aborts with the place, because a mail engine that goes
 * on with broken books does more harm than one that stops. What a peer, a file or a user does wrong is never assured;
 * it is reported.
 */
#ifndef POSTHASTE_BASE_ATTR_H
#define POSTHASTE_BASE_ATTR_H

#include <stddef.h>
#include <stdint.h>

#define ATTR_MUSTCHECK __attribute__((warn_unused_result))
#define ATTR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ATTR_NORETURN __attribute__((noreturn))
#define ATTR_MALLOC __attribute__((malloc, warn_unused_result))
#define ATTR_NONNULL __attribute__((nonnull))
#define ATTR_UNUSED __attribute__((unused))
#define ATTR_CLEANUP(fn) __attribute__((cleanup(fn)))

#define countof(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

ATTR_NORETURN void assure_failed(const char *expression, const char *file, int line);
#define assure(expression) ((expression) ? (void)0 : assure_failed(#expression, __FILE__, __LINE__))

#endif
