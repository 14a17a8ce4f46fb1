/*
 * readers.h - a pool of database readers for the HTTP threads: a request holds one from its first query to its last,
 * nobody else meanwhile.
 */
#ifndef POSTHASTE_API_READERS_H
#define POSTHASTE_API_READERS_H

#include "storage/storage.h"

struct readers;

int readers_create(struct storage *storage, struct readers **out, struct error *err) ATTR_MUSTCHECK;
void readers_free(struct readers *readers); /* all must have been given back; NULL is allowed */

/* An idle reader, or a newly opened one. Any thread. */
int readers_take(struct readers *readers, struct storage_reader **out, struct error *err) ATTR_MUSTCHECK;
void readers_give(struct readers *readers, struct storage_reader *reader); /* NULL is allowed */

#endif
