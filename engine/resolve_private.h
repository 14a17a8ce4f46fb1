/*
 * resolve_private.h - how answers of the resolver come to be; private to the room.
 */
#ifndef POSTHASTE_ENGINE_RESOLVE_PRIVATE_H
#define POSTHASTE_ENGINE_RESOLVE_PRIVATE_H

#include "engine/net/dns.h"
#include "engine/resolve.h"

/* One block each, to be freed with resolve_answer_free(); NULL = no memory. */
struct resolve_answer *resolve_answer_failed(const char *why) ATTR_MUSTCHECK;
struct resolve_answer *resolve_answer_make(enum resolve_type type, const struct dns_answer *from) ATTR_MUSTCHECK;

#endif
