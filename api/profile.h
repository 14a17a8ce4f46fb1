/*
 * profile.h - everything that is known about one recipient, as JSON: attributes, lists, suppression, deliveries with
 * each attempt.
 */
#ifndef POSTHASTE_API_PROFILE_H
#define POSTHASTE_API_PROFILE_H

#include <jansson.h>

#include "storage/storage.h"

/* `email` as somebody typed it. 0; STORAGE_NOT_FOUND, also when it is not an address; negative. */
int profile_get(struct storage_reader *reader, const char *email, json_t **out, struct error *err) ATTR_MUSTCHECK;

#endif
